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
_address = id


class Launches:
    """The launches of jobs that are not over."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: dict[int, msgspec.Raw] = {}
        self._holders: dict[int, int] = {}  # by address: jobs alike share one launch
        self._bytes = 0

    def keep(self, changes: Changes, queue: QueueState) -> None:
        """Take over those of a turn that is written; the queue's records let go of them."""
        before = bare = None
        for id, spec in changes.requests.items():
            if bare is None or spec is not before:  # many alike are one object
                before, bare = spec, msgspec.structs.replace(spec, launch=_NONE)
            self._take(id, spec.launch)
            record = queue.jobs.get(id) or queue.arrays.get(id)
            if record is not None:
                record.spec = bare

    def _take(self, id: int, launch: msgspec.Raw) -> None:
        holders = self._holders.get(_address(launch), 0)
        size = 0 if holders else len(bytes(launch))
        if self._bytes + size <= LIMIT_BYTES:
            self._kept[id] = launch
            self._holders[_address(launch)] = holders + 1
            self._bytes += size

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
        if launch is None:
            return
        holders = self._holders.pop(_address(launch)) - 1
        if holders:
            self._holders[_address(launch)] = holders
        else:
            self._bytes -= len(bytes(launch))
