"""The jobs that ended last, with what they wrote, so that asking for them reads no disk.

Most results are fetched right after the job ended.  What is here is in the
store, too; this is only its memory of the last few.
"""

from __future__ import annotations

from cluster.local.events import Array, Job
from cluster.local.wire import Content

__all__ = ["Recent"]

JOBS = 2000
BYTES = 8 << 20


class Recent:
    """A bounded memory, the oldest goes first."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Job | Array, Content]] = {}
        self._bytes = 0

    def keep(self, label: str, record: Job | Array, content: Content) -> None:
        """Remember a job that is final and on disk."""
        self._drop(label)
        self._kept[label] = record, content
        self._bytes += _size(content)
        while len(self._kept) > JOBS or self._bytes > BYTES:
            self._drop(next(iter(self._kept)))

    def find(self, label: str) -> tuple[Job | Array, Content] | None:
        """Give the record and what it wrote, if it is among the last."""
        return self._kept.get(label)

    def _drop(self, label: str) -> None:
        gone = self._kept.pop(label, None)
        if gone is not None:
            self._bytes -= _size(gone[1])


def _size(content: Content) -> int:
    return sum(len(part.data) for part in (content.result, content.stdout, content.stderr))
