"""A wait that never ends: jobs are added to it and taken from it while it goes on.

One connection watches any number of jobs.  One thread calls `next`; `add`,
`forget` and `lend` may be called by any thread and wake that one.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from cluster.errors import ClusterError, UnknownJob
from cluster.local import wire
from cluster.local.client import Client, _Watcher

__all__ = ["WatchingClient"]


class WatchingClient(Client):
    """A client of the queue for the one thread that watches."""

    brings_content = True

    def __init__(self, state_dir: str, *, request_timeout_s: float) -> None:
        super().__init__(state_dir, request_timeout_s=request_timeout_s)
        self._plain, self._whole = _Watcher((), False), _Watcher((), True)
        self._watchers += [self._plain, self._whole]
        self._orders: deque[tuple[str, bool | None]] = deque()  # None: forget it
        self._wants_to_lend = False
        self._blocked_on: object = None
        self._wake_in, self._wake_out = os.pipe()
        os.set_blocking(self._wake_out, False)

    # ------------------------------------------------------------ any thread

    def add(self, ids: Sequence[str], *, content: bool) -> None:
        """Watch more jobs; `content` brings along what they wrote."""
        self._orders.extend((id, content) for id in ids)
        self._wake()

    def forget(self, ids: Sequence[str]) -> None:
        """Watch jobs no more."""
        self._orders.extend((id, None) for id in ids)
        self._wake()

    def lend(self, wanted: bool) -> None:
        """Lend the cores of the job that this process is, while somebody in it waits."""
        if self._job and wanted != self._wants_to_lend:
            self._wants_to_lend = wanted
            self._wake()

    def _wake(self) -> None:
        with suppress(BlockingIOError):  # full of calls already
            os.write(self._wake_out, b"!")

    # ------------------------------------------------------------ the one thread

    def next(self, timeout: float | None) -> list[tuple[str, wire.Ended | ClusterError]]:
        """Block until jobs have ended or somebody has called, and give those that have.

        Args:
            timeout: seconds; None is no limit.

        Raises:
            QueueError: nobody can be asked; all jobs are forgotten.
        """
        self._thread = threading.get_ident()
        try:
            found = self._obey()
            if not found:
                self._lend_or_take_back()
                self._listen(timeout)
                found = self._obey()
        except ClusterError:
            self._plain.pending.clear()
            self._whole.pending.clear()
            raise
        return found + self._ended()

    def _obey(self) -> list[tuple[str, wire.Ended | ClusterError]]:
        """Tell the server of jobs to watch; give those that it does not know."""
        new: dict[bool, list[str]] = {False: [], True: []}
        while self._orders:
            id, content = self._orders.popleft()
            if content is None:
                self._plain.pending.pop(id, None)
                self._whole.pending.pop(id, None)
            else:
                new[content].append(id)
        unknown: list[tuple[str, wire.Ended | ClusterError]] = []
        for content, ids in new.items():
            if ids:
                unknown += self._begin(self._whole if content else self._plain, tuple(ids))
        return unknown

    def _begin(
        self, watcher: _Watcher, ids: tuple[str, ...]
    ) -> list[tuple[str, wire.Ended | ClusterError]]:
        watcher.pending.update(dict.fromkeys(ids))
        try:
            self._ask(lambda seq, _: wire.Watch(seq, ids, watcher.content), None)
        except UnknownJob as error:
            for id in ids:
                watcher.pending.pop(id, None)
            if len(ids) == 1:
                return [(ids[0], error)]
            return [one for id in ids for one in self._begin(watcher, (id,))]
        return []

    def _lend_or_take_back(self) -> None:
        if not self._wants_to_lend:
            self._take_back()
            self._blocked_on = None
        elif self._blocked_on is not self._connected():
            self._lends = True
            self._ask(lambda seq, _: wire.Block(seq), None)
            self._blocked_on = self._connection

    def _listen(self, timeout: float | None) -> None:
        """Take in what the server says, if need be wait for it."""
        if self._plain.arrived or self._whole.arrived:
            return
        watching = bool(self._plain.pending or self._whole.pending)
        connection = self._connected() if watching else None
        if connection is None or not connection.has_message():
            ears: list[Any] = [self._wake_in, *([connection] if connection else [])]
            heard, _, _ = select.select(ears, (), (), timeout)
            if self._wake_in in heard:
                os.read(self._wake_in, 4096)
        if connection is None:
            return
        try:
            while True:
                self._take(connection.next(time.monotonic()))
        except TimeoutError:
            return
        except ConnectionError:
            self._drop()  # the next round connects again and watches what is missing

    def _ended(self) -> list[tuple[str, wire.Ended | ClusterError]]:
        found: list[tuple[str, wire.Ended | ClusterError]] = []
        for watcher in (self._plain, self._whole):
            if watcher.error is not None:
                found += [(id, watcher.error) for id in watcher.pending]
                watcher.pending.clear()
                watcher.error = None
            while watcher.arrived:
                ended = self._complete(watcher.arrived.popleft(), watcher)
                found.append((ended.info.id, ended))
        return found

    def close(self) -> None:
        """Close the connection; nobody calls `next` any more."""
        self._drop()
        os.close(self._wake_in)
        os.close(self._wake_out)
