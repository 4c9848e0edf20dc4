"""The end of a whole array: awaited in event loops, and told to callbacks.

It has ended when all jobs have that stand for it, see `JobArray.members`.  To
callbacks that is the end of one job, which only this module knows.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from cluster import _callbacks, logme
from cluster._awaiting import in_thread, telling
from cluster._job_view import JobView
from cluster._watching import watch
from cluster.errors import ClusterError, OptionsError
from cluster.schedulers.base import Ending, Scheduler

if TYPE_CHECKING:
    from cluster.array import JobArray

__all__ = ["Whole", "values"]


async def values(array: JobArray) -> list[Any]:
    """Wait until all elements have ended, and give what `get` gives.

    When the task that waits is cancelled, the jobs go on.
    """
    left = {str(member.id) for member in await in_thread(array.members)}
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def tell(what: Ending | ClusterError) -> None:
        if future.done():
            return
        if isinstance(what, ClusterError):
            future.set_exception(what)
            return
        left.discard(what.info.id)
        if not left:
            future.set_result(None)

    forget = watch(array.scheduler, list(left), telling(tell), awaited=True)
    try:
        await future
    finally:
        forget()
    return await in_thread(array.get)


class Whole(JobView):
    """A whole array as one job, for those who want to be told of its end.

    Without an id before that end, so that `_callbacks` does not watch one.
    """

    def __init__(self, scheduler: Scheduler, name: str, members: Sequence[JobView]) -> None:
        super().__init__(scheduler, None, name)
        self._left = {str(member.id) for member in members}
        self._all_completed = True

    def register(
        self,
        array: JobArray,
        on: str,
        callback: Callable[[Any], Any],
        condition: Callable[[Any], Any] | None,
    ) -> None:
        """Have something called with the array when it ends, soon if it has ended.

        Raises:
            OptionsError: it cannot be called.
        """
        for each in (callback, condition):
            if not callable(each) and (each is not None or callback is None):
                raise OptionsError(f"{each!r} cannot be called with the array. Give a function.")
        asked = None if condition is None else _called_with(array, condition)
        _callbacks.register(self, on, _called_with(array, callback), asked)
        if not self._is_watched and not self._final:
            self._is_watched = True
            watch(self.scheduler, list(self._left), lambda what: self._heard(array.id, what))

    def _heard(self, id: str, what: Ending | ClusterError) -> None:
        if isinstance(what, ClusterError):
            self._is_watched = False
            logme.log(f"callbacks of array {id} are not called for now: {what}", "error")
            return
        self._left.discard(what.info.id)
        self._all_completed &= what.info.state == "COMPLETED"
        if not self._left:
            self.id = id
            state = "COMPLETED" if self._all_completed else "FAILED"
            self._learn(msgspec.structs.replace(what.info, id=id, state=state, ending=False))


def _called_with(array: JobArray, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def called(_: Any) -> Any:
        return function(array)

    functools.update_wrapper(called, function, updated=())  # a log names the user's
    return called
