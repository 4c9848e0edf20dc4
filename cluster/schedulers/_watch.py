"""How one thread watches any number of a scheduler's jobs, while others add to them.

`Source` is what a scheduler's `watch()` gives; `EndingsSource` makes one of
nothing but `endings`, so that every scheduler has one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from cluster.errors import ClusterError, JobStuck, UnknownJob, WaitTimeout
from cluster.schedulers.base import Ending, JobInfo

if TYPE_CHECKING:
    from cluster.local.wire import Ended
    from cluster.schedulers.base import Scheduler

__all__ = ["EndingsSource", "Source", "source_of"]

ROUND_S = 1.0  # a scheduler that cannot be woken learns of new jobs after so long


class Source(Protocol):
    """Jobs that are watched.  One thread calls `next` and `close`, any the others.

    Attributes:
        brings_content: for a job added with `content`, one of the endings has it.
    """

    brings_content: bool

    def add(self, ids: Sequence[str], *, content: bool) -> None:
        """Watch more jobs; `content` brings along what they left, where that is cheap."""
        ...

    def forget(self, ids: Sequence[str]) -> None:
        """Watch jobs no more."""
        ...

    def lend(self, wanted: bool) -> None:
        """Lend the cores of the job that this process is, where that exists."""
        ...

    def next(self, timeout: float | None) -> Sequence[tuple[str, Ending | Ended | ClusterError]]:
        """Block until jobs have ended or one of the others was called; give those that have.

        Raises:
            QueueError: nobody can be asked; all jobs are forgotten.
        """
        ...

    def close(self) -> None:
        """Watch nothing any more."""
        ...


def source_of(scheduler: Scheduler) -> Source:
    """Give a new source of a scheduler: its own, or one made of its `endings`."""
    own = getattr(scheduler, "watch", None)
    if own is not None:
        made: Source = own()
        return made

    def endings(ids: Sequence[str], _: Callable[[], bool]) -> Iterator[Ending]:
        try:
            yield from scheduler.endings(ids, timeout=ROUND_S)
        except WaitTimeout:
            return

    return EndingsSource(endings, scheduler.query, wake=lambda: None)


class EndingsSource:
    """A source made of `endings`, which is begun again when there are other jobs.

    Args:
        endings: gives jobs as they end; leaves when its second argument says
            so, or now and then.
        query: as a scheduler's.
        wake: lets `endings` ask soon whether to leave.
    """

    brings_content = False

    def __init__(
        self,
        endings: Callable[[Sequence[str], Callable[[], bool]], Iterator[Ending]],
        query: Callable[[Sequence[str]], list[JobInfo]],
        *,
        wake: Callable[[], None],
    ) -> None:
        self._endings, self._query, self._wake = endings, query, wake
        self._condition = threading.Condition()
        self._wanted: dict[str, None] = {}
        self._changed = False
        self._stream: Iterator[Ending] | None = None

    def add(self, ids: Sequence[str], *, content: bool) -> None:
        """Watch more jobs; whoever wants to know what they left asks for it."""
        with self._condition:
            self._wanted.update(dict.fromkeys(ids))
            self._call()

    def forget(self, ids: Sequence[str]) -> None:
        """Watch jobs no more."""
        with self._condition:
            for id in ids:
                self._wanted.pop(id, None)
            self._call()

    def _call(self) -> None:
        self._changed = True
        self._condition.notify_all()
        self._wake()

    def lend(self, wanted: bool) -> None:
        """Do nothing: a cluster's job keeps its cores."""

    def next(self, timeout: float | None) -> list[tuple[str, Ending | Ended | ClusterError]]:
        """Block until a job has ended or somebody has called; see `Source`."""
        with self._condition:
            if not self._wanted and not self._changed:
                self._condition.wait(timeout)
            if self._changed:
                self._changed, self._stream = False, None
            ids = list(self._wanted)
        if not ids:
            return []
        try:
            if self._stream is None:
                self._stream = self._endings(ids, lambda: self._changed)
            ending = next(self._stream, None)
        except UnknownJob as error:
            self._stream = None
            return self._unknown(ids, error)
        except JobStuck as error:
            self._stream = None
            return self._stuck(error)
        except ClusterError:
            self._stream = None
            with self._condition:
                self._wanted.clear()
            raise
        if ending is None:
            self._stream = None
            return []
        with self._condition:
            self._wanted.pop(ending.info.id, None)
        return [(ending.info.id, ending)]

    def _stuck(self, error: JobStuck) -> list[tuple[str, Ending | Ended | ClusterError]]:
        with self._condition:
            for id in error.reasons:
                self._wanted.pop(id, None)
        return [(id, JobStuck({id: why}, error.held)) for id, why in error.reasons.items()]

    def _unknown(
        self, ids: Sequence[str], error: UnknownJob
    ) -> list[tuple[str, Ending | Ended | ClusterError]]:
        known = {info.id for info in self._query(ids)}
        lost = [id for id in ids if id not in known] or list(ids)
        with self._condition:
            for id in lost:
                self._wanted.pop(id, None)
        return [(id, error) for id in lost]

    def close(self) -> None:
        """Watch nothing any more."""
        self._stream = None
