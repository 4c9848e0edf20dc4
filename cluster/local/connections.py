"""Non-blocking connections of the server: bytes to messages, messages to bytes.

It decides nothing: whoever owns a connection reads its messages and puts new
ones into `out`; one frame leaves per turn of the loop.
"""

from __future__ import annotations

import selectors
import socket
from typing import Any

from cluster.errors import ProtocolError
from cluster.local import wire

__all__ = ["Connection"]

_CHUNK = 1 << 18


class Connection:
    """One socket with a reader, what waits to be sent, and its owner's callback.

    Args:
        sock: connected; becomes non-blocking.
        kind: the union of messages it may bring.
        selector: where it registers; `data` is the connection itself.
    """

    def __init__(
        self, sock: socket.socket, kind: Any, selector: selectors.BaseSelector, role: str
    ) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.role = role
        self.out: list[Any] = []
        self.closed = False
        self.pid = 0  # of a client, once it said hello
        self.job = 0  # raw id of the job it runs in
        self.blocked = False
        self.watches: dict[int, bool] = {}  # raw id -> with content?
        self._reader = wire.Reader(kind)
        self._pending = bytearray()
        self._selector = selector
        self._waits_to_write = False
        selector.register(sock, selectors.EVENT_READ, self)

    def receive(self) -> list[Any]:
        """Read what is there.

        Returns:
            Messages; afterwards `closed` tells whether the other side left.

        Raises:
            ProtocolError: it speaks something else.
        """
        try:
            data = self.sock.recv(_CHUNK)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        if not data:
            self.closed = True
            return []
        return list(self._reader.feed(data))

    def flush(self) -> None:
        """Send what is waiting, as much as the other side takes now."""
        if self.out and not self.closed:
            self._pending += wire.frame(self.out)
        self.out = []
        if not self._pending or self.closed:
            return
        try:
            sent = self.sock.send(self._pending)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.closed = True
            return
        del self._pending[:sent]
        self._watch_writable(bool(self._pending))

    def _watch_writable(self, wanted: bool) -> None:
        if wanted == self._waits_to_write:
            return
        self._waits_to_write = wanted
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if wanted else 0)
        self._selector.modify(self.sock, events, self)

    def close(self) -> None:
        """Leave."""
        self.closed = True
        self._selector.unregister(self.sock)
        self.sock.close()


def failure(seq: int, error: Exception) -> wire.Failure:
    """Make the answer to a request that failed."""
    kind = type(error).__name__
    return wire.Failure(seq, kind, str(error) or kind)


def answer(seq: int, value: Any) -> wire.Answer:
    """Make the answer to a request that went well."""
    from msgspec import Raw

    return wire.Answer(seq, Raw(wire.encode_value(value)))


__all__ += ["ProtocolError", "answer", "failure"]
