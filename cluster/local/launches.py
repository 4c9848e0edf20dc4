"""How waiting jobs are launched, kept in memory so that starting one reads no disk.

Encoded as the client sent it: the server never looks into it beyond the hash of
the environment.  Beyond a bound they are read from the store when needed.
"""

from __future__ import annotations

import msgspec

from cluster.local.events import Changes
from cluster.local.queue_state import QueueState
from cluster.local.store import Store

__all__ = ["Launches"]

LIMIT_BYTES = 64 << 20
_NONE = msgspec.Raw(b"\x80")


class Launches:
    """The launches of jobs that are not over."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: dict[int, msgspec.Raw] = {}
        self._bytes = 0

    def keep(self, changes: Changes, queue: QueueState) -> None:
        """Take over those of a turn that is written; the queue's records let go of them."""
        for id, spec in changes.requests.items():
            size = len(bytes(spec.launch))
            if self._bytes + size <= LIMIT_BYTES:
                self._kept[id] = spec.launch
                self._bytes += size
            record = queue.jobs.get(id) or queue.arrays.get(id)
            if record is not None:
                record.spec = msgspec.structs.replace(spec, launch=_NONE)

    def of(self, request: int) -> msgspec.Raw | None:
        """Give how a job or array is launched; None if it is not known any more."""
        launch = self._kept.get(request)
        if launch is not None:
            return launch
        stored = self._store.launch(request)
        return None if stored is None else msgspec.Raw(stored)

    def drop(self, id: int) -> None:
        """It is over."""
        launch = self._kept.pop(id, None)
        if launch is not None:
            self._bytes -= len(bytes(launch))
