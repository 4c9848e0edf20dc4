"""What a program wants to have called when a job ends: each once, none in the thread that watches.

A callback that was registered in a running event loop is called there; any
other in one thread that calls them in the order in which their jobs ended.
When the program ends, those whose jobs are known to have ended are still called.
"""

from __future__ import annotations

import atexit
import inspect
import os
import threading
import traceback
import weakref
from collections.abc import Callable, Coroutine
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple

from cluster import logme
from cluster._watching import watch
from cluster.errors import ClusterError, OptionsError
from cluster.schedulers.base import Ending

if TYPE_CHECKING:
    import asyncio

    from cluster._job_view import JobView

__all__ = ["Callback", "fire", "register", "start"]


class Callback(NamedTuple):
    """One wish.

    Attributes:
        on: "exit", "success" or "failure".
        function: called with the job; what it returns is awaited if it can be.
        condition: called with the job before; None is always true.
        loop: where it was registered; None was in no event loop.
    """

    on: str
    function: Callable[[Any], Any]
    condition: Callable[[Any], Any] | None
    loop: asyncio.AbstractEventLoop | None


_lock = threading.Lock()
# The jobs with callbacks.  One may be known to have ended before whoever learned
# it comes to call them; the end of the program must not fall in between.
_wishing: weakref.WeakValueDictionary[int, JobView] = weakref.WeakValueDictionary()


def register(
    job: JobView,
    on: str,
    function: Callable[[Any], Any],
    condition: Callable[[Any], Any] | None,
) -> None:
    """Have something called when a job ends, soon if it has ended.

    Raises:
        OptionsError: it cannot be called.
    """
    for each in (function, condition):
        if not callable(each) and (each is not None or function is None):
            raise OptionsError(f"{each!r} cannot be called with the job. Give a function.")
    callback = Callback(on, function, condition, _running_loop())
    with _lock:
        if callback.loop is None:
            _caller()  # now: a program that is ending can start no thread
        job._callbacks.append(callback)
        _wishing[id(job)] = job
    if job.id is not None:
        start(job)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    import asyncio

    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def start(job: JobView) -> None:
    """Watch a submitted job that has callbacks, unless it is watched or has ended."""
    if job._final:
        fire(job)
        return
    with _lock:
        is_watched, job._is_watched = job._is_watched, True
    if not is_watched:
        assert job.id is not None
        watch(job.scheduler, [job.id], lambda what: _heard(job, what))


def _heard(job: JobView, what: Ending | ClusterError) -> None:
    job._is_watched = False
    if isinstance(what, Ending):
        job.note(what)
    else:
        logme.log(f"callbacks of job {job.id} are not called for now: {what}", "error")


def fire(job: JobView) -> None:
    """Hand the callbacks of a job that has ended to whoever calls them."""
    with _lock:
        callbacks, job._callbacks[:] = list(job._callbacks), ()
        _wishing.pop(id(job), None)
        for callback in callbacks:
            if callback.loop is None:
                _caller().put(job, callback)
    for callback in callbacks:
        if callback.loop is None:
            continue
        try:
            callback.loop.call_soon_threadsafe(_call_in_loop, job, callback)
        except RuntimeError:
            logme.log(
                f"{callback.function!r} is not called for job {job.id}: its event loop is closed",
                "warn",
            )


# ---------------------------------------------------------------- calling


def _call(job: JobView, callback: Callback) -> Any:
    """Call it if it is meant; give what it returned."""
    if callback.on != "exit" and (callback.on == "success") != (job.state == "COMPLETED"):
        return None
    if callback.condition is not None and not callback.condition(job):
        return None
    return callback.function(job)


def _complain(job: JobView, callback: Callback, error: BaseException) -> None:
    told = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    logme.log(f"{callback.function!r}, called for job {job.id}, raised:\n{told}", "error")


async def _finish(job: JobView, callback: Callback, awaitable: Any) -> None:
    try:
        await awaitable
    except Exception as error:
        _complain(job, callback, error)


_tasks: set[Any] = set()  # an event loop holds its tasks weakly


def _call_in_loop(job: JobView, callback: Callback) -> None:
    try:
        returned = _call(job, callback)
    except Exception as error:
        _complain(job, callback, error)
        return
    if inspect.isawaitable(returned):
        assert callback.loop is not None
        task = callback.loop.create_task(_finish(job, callback, returned))
        _tasks.add(task)
        task.add_done_callback(_tasks.discard)


class _Caller:
    """The thread that calls what was registered in no event loop."""

    def __init__(self) -> None:
        self._todo: SimpleQueue[tuple[JobView, Callback]] = SimpleQueue()
        self._left = 0
        self._done = threading.Condition()
        threading.Thread(target=self._run, name="cluster-callbacks", daemon=True).start()

    def put(self, job: JobView, callback: Callback) -> None:
        with self._done:
            self._left += 1
        self._todo.put((job, callback))

    def _run(self) -> None:
        while True:
            job, callback = self._todo.get()
            try:
                returned = _call(job, callback)
                if inspect.isawaitable(returned):
                    _run_to_its_end(_finish(job, callback, returned))
            except BaseException as error:  # SystemExit too: it would end the thread unseen
                _complain(job, callback, error)
            with self._done:
                self._left -= 1
                self._done.notify_all()

    def drain(self) -> None:
        """Wait until all have been called."""
        with self._done:
            self._done.wait_for(lambda: not self._left)


def _run_to_its_end(coroutine: Coroutine[Any, Any, None]) -> None:
    import asyncio

    asyncio.run(coroutine)


_the_caller: _Caller | None = None


def _caller() -> _Caller:
    """Give it, under `_lock`."""
    global _the_caller
    if _the_caller is None:
        _the_caller = _Caller()
    return _the_caller


def _at_exit() -> None:
    for job in list(_wishing.values()):
        if job._final:
            fire(job)
    if _the_caller is not None:
        _the_caller.drain()


def _after_fork() -> None:
    global _lock, _the_caller
    _lock, _the_caller = threading.Lock(), None
    _tasks.clear()
    _wishing.clear()


atexit.register(_at_exit)
os.register_at_fork(after_in_child=_after_fork)
