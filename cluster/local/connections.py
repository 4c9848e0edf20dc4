"""Non-blocking connections of the server: bytes to messages, messages to bytes.

It decides nothing: whoever owns a connection reads its messages and puts new
ones into `out`; they leave with the end of the turn.  Who does not read what was
sent is not listened to, and is not sent outputs, until it has caught up.
"""

from __future__ import annotations

import selectors
import socket
from typing import Any

from cluster.errors import ProtocolError, QueueError
from cluster.local import wire

__all__ = ["Connection"]

_CHUNK = 1 << 16  # a larger buffer is mapped and unmapped for each call
FULL_BYTES = 8 << 20  # not read by the other side: more than it can miss by being slow


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
        self._promised = 0  # bytes of outputs in `out`
        self._selector = selector
        self._events = selectors.EVENT_READ
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

    @property
    def is_full(self) -> bool:
        """Whether the other side has much to read already."""
        return len(self._pending) + self._promised > FULL_BYTES

    def tell(self, info: wire.JobInfo, content: wire.Content | None) -> None:
        """Say that a job ended; without what it wrote if too much waits already.

        The client asks for it then, when it comes to it.
        """
        if content is not None:
            parts = (content.result, content.stdout, content.stderr)
            self._promised += sum(len(part.data) for part in parts)
        self.out.append(wire.Ended(info, None if self.is_full else content))

    def flush(self) -> None:
        """Send what is waiting, as much as the other side takes now."""
        if self.out and not self.closed:
            self._pending += wire.frame(self.out)
        self.out, self._promised = [], 0
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
        events = 0 if self.is_full else selectors.EVENT_READ
        events |= selectors.EVENT_WRITE if self._pending else 0
        if events != self._events:
            self._events = events
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


def answer(seq: int, value: Any) -> wire.Answer | wire.Failure:
    """Make the answer to a request that went well, unless no message can hold it."""
    from msgspec import Raw

    data = wire.encode_value(value)
    if len(data) > wire.MAX_FRAME - 1024:
        too_much = f"the answer has {len(data) >> 20} MiB: ask for fewer jobs at once (limit=...)"
        return failure(seq, QueueError(too_much))
    return wire.Answer(seq, Raw(data))


__all__ += ["ProtocolError", "answer", "failure"]
