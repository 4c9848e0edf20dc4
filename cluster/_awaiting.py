"""The end of a job as something that a coroutine waits for.

The event loop is never blocked: the watching thread tells it, and what may
take time (a file, a question to the queue) is done in a thread.
"""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from cluster._waiting import id_of
from cluster._watching import watch
from cluster.errors import ClusterError
from cluster.schedulers.base import Ending

if TYPE_CHECKING:
    from cluster._job_view import JobView

__all__ = ["in_thread", "telling", "value"]

T = TypeVar("T")
_THREADS = 4  # each has a connection of its own to the queue
_threads: ThreadPoolExecutor | None = None


async def in_thread(function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Call something that blocks without blocking the event loop."""
    global _threads
    if _threads is None:
        _threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="cluster-aio")
    call = functools.partial(function, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(_threads, call)


def telling(tell: Callable[[Ending | ClusterError], None]) -> Callable[[Any], None]:
    """Make of a function of this event loop one that any thread may call."""
    loop = asyncio.get_running_loop()

    def told(what: Ending | ClusterError) -> None:
        try:
            loop.call_soon_threadsafe(tell, what)
        except RuntimeError:
            if not loop.is_closed():  # a loop that is gone waits for nothing
                raise

    return told


async def value(job: JobView) -> Any:
    """Wait until a job has ended, and give what `get` gives.

    When the task that waits is cancelled, the job goes on.
    """
    id = id_of(job)
    if not (job._final and job._content_is_whole):
        future: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()

        def tell(what: Ending | ClusterError) -> None:
            if future.done():
                return
            if isinstance(what, Ending):
                future.set_result(what)
            else:
                future.set_exception(what)

        forget = watch(job.scheduler, [id], telling(tell), content=True, awaited=True)
        try:
            job.note(await future)
        finally:
            forget()
    return job.get() if job._has_all_at_hand() else await in_thread(job.get)


def _after_fork() -> None:
    global _threads
    _threads = None


os.register_at_fork(after_in_child=_after_fork)
