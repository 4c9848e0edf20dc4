"""Sockets and a selector in memory: what arrives comes late, in pieces, in any order."""

from __future__ import annotations

import random
import selectors
from collections.abc import Callable
from itertools import count
from typing import Any

_numbers = count(1000)


class Pipe:
    """One direction of a connection."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.has_writer = self.has_reader = True


class Socket:
    """One end of a connection.

    Args:
        on_sent: gets the bytes that left this end.
        room: bytes that the other side may leave unread.
    """

    def __init__(self, rng: random.Random, incoming: Pipe, outgoing: Pipe, room: int) -> None:
        self._rng, self.incoming, self.outgoing, self._room = rng, incoming, outgoing, room
        self.on_sent: Callable[[bytes], None] = lambda data: None
        self.number = next(_numbers)

    def fileno(self) -> int:
        return self.number

    def setblocking(self, flag: bool) -> None:
        """It never blocks."""

    @property
    def can_read(self) -> bool:
        return bool(self.incoming.data) or not self.incoming.has_writer

    @property
    def can_write(self) -> bool:
        return len(self.outgoing.data) < self._room or not self.outgoing.has_reader

    def recv(self, size: int) -> bytes:
        data = self.incoming.data
        if not data:
            if self.incoming.has_writer:
                raise BlockingIOError
            return b""
        size = min(size, len(data))
        if self._rng.random() < 0.15:
            size = self._rng.randint(1, size)
        taken = bytes(data[:size])
        del data[:size]
        return taken

    def send(self, data: bytes) -> int:
        if not self.outgoing.has_reader:
            raise BrokenPipeError
        size = min(len(data), self._room - len(self.outgoing.data))
        if size <= 0:
            raise BlockingIOError
        if self._rng.random() < 0.05:
            size = self._rng.randint(1, size)
        self.outgoing.data += data[:size]
        self.on_sent(bytes(data[:size]))
        return size

    def close(self) -> None:
        self.outgoing.has_writer = self.incoming.has_reader = False

    def break_off(self) -> None:
        """Its owner was killed: of what it had sent, any part may arrive."""
        del self.outgoing.data[self._rng.randint(0, len(self.outgoing.data)) :]
        self.close()


def connection(rng: random.Random) -> tuple[Socket, Socket]:
    """Make the two ends of a connection."""
    one, other = Pipe(), Pipe()
    room = rng.choice((1 << 20, 1 << 20, 2000))
    return Socket(rng, one, other, room), Socket(rng, other, one, room)


class Listener:
    """What clients connect to."""

    def __init__(self) -> None:
        self.waiting: list[Socket] = []
        self.number = next(_numbers)

    def fileno(self) -> int:
        return self.number

    def accept(self) -> tuple[Socket, str]:
        if not self.waiting:
            raise BlockingIOError
        return self.waiting.pop(0), ""

    def getsockname(self) -> str:
        return "/none"

    def close(self) -> None:
        for each in self.waiting:
            each.close()


class Selector:
    """Tells of some of what is ready, in any order.

    Args:
        is_ready: whether a bare descriptor is.
    """

    def __init__(self, rng: random.Random, is_ready: Callable[[int], bool]) -> None:
        self._rng, self._is_ready = rng, is_ready
        self._keys: dict[Any, selectors.SelectorKey] = {}

    def register(self, file: Any, events: int, data: Any = None) -> None:
        if file in self._keys:
            raise KeyError(f"{file!r} is registered")
        number = file if isinstance(file, int) else file.fileno()
        self._keys[file] = selectors.SelectorKey(file, number, events, data)

    def unregister(self, file: Any) -> None:
        del self._keys[file]

    def modify(self, file: Any, events: int, data: Any = None) -> None:
        self.unregister(file)
        self.register(file, events, data)

    def files(self) -> list[Any]:
        """Give all that is registered."""
        return list(self._keys)

    def ready(self) -> list[tuple[selectors.SelectorKey, int]]:
        """Give all that is ready."""
        found = []
        for key in self._keys.values():
            mask = self._mask(key)
            if mask:
                found.append((key, mask))
        return found

    def _mask(self, key: selectors.SelectorKey) -> int:
        file: Any = key.fileobj
        if isinstance(file, Socket):
            mask = selectors.EVENT_READ if file.can_read else 0
            return (mask | (selectors.EVENT_WRITE if file.can_write else 0)) & key.events
        if isinstance(file, Listener):
            return selectors.EVENT_READ if file.waiting else 0
        return selectors.EVENT_READ if self._is_ready(file) else 0

    def select(self, timeout: float) -> list[tuple[selectors.SelectorKey, int]]:
        found = self.ready()
        self._rng.shuffle(found)
        return found[: self._rng.randint(1, len(found))] if found else []

    def close(self) -> None:
        """It holds nothing."""
