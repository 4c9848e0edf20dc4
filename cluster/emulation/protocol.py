"""What a shim and the emulation say to each other.

A frame is eight bytes of length, little endian, and a tuple in `marshal`'s
format 2: a shim has no other module at hand, and both sides are this user's.

    shim       ("call", PROTOCOL, about)        once, first
    emulation  ("write", fd, bytes)             no answer
               ("read", path or None)           ("data", bytes) or ("error", errno)
               ("exec", path, argv, env)        becomes that program, or ("error", errno)
               ("tasks", ...)                   see `_tasks`; answers when all have ended
               ("exit", code)                   last
"""

from __future__ import annotations

import marshal
import socket
from typing import Any

__all__ = ["MAX_FRAME", "PROTOCOL", "receive", "send"]

PROTOCOL = 1
FORMAT = 2
MAX_FRAME = 256 << 20
_CHUNK = 1 << 20


def send(connection: socket.socket, message: tuple[Any, ...]) -> None:
    """Send one frame.

    Raises:
        OSError: the other side is gone.
    """
    data = marshal.dumps(message, FORMAT)
    connection.sendall(len(data).to_bytes(8, "little") + data)


def receive(connection: socket.socket) -> tuple[Any, ...]:
    """Wait for one frame.

    Raises:
        ConnectionError: the other side is gone, or speaks something else.
    """
    size = int.from_bytes(_take(connection, 8), "little")
    if size > MAX_FRAME:
        raise ConnectionAbortedError(f"a frame of {size} bytes")
    try:
        message = marshal.loads(_take(connection, size))
    except (ValueError, EOFError, TypeError) as error:
        raise ConnectionAbortedError(f"no frame of ours: {error}") from error
    if not isinstance(message, tuple) or not message:
        raise ConnectionAbortedError("no frame of ours")
    return message


def _take(connection: socket.socket, size: int) -> bytes:
    pieces, left = [], size
    while left:
        piece = connection.recv(min(left, _CHUNK))
        if not piece:
            raise ConnectionResetError("the other side is gone")
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)
