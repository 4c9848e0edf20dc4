"""A server for tests of the client: a thread that speaks `wire` and does what it is told."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec

from cluster.local import lifecycle, wire


def answer(request: Any, value: Any = None) -> wire.Answer:
    return wire.Answer(request.seq, msgspec.Raw(wire.encode_value(value)))


def ended(id: str, **fields: Any) -> wire.Ended:
    return wire.Ended(wire.JobInfo(id=id, name="job", state="COMPLETED", **fields))


class FakeServer:
    """Answers each request by `replies[type]`, by None where there is none.

    Attributes:
        got: every request that came, over all connections, in order.
        replies: for a type of request a function of it that gives messages, or
            raises ConnectionError to hang up.
        connections: the connections that are open.
    """

    def __init__(self, state_dir: str, *, protocol: int = wire.PROTOCOL) -> None:
        self.state_dir, self.protocol = state_dir, protocol
        self.got: list[Any] = []
        self.replies: dict[type, Callable[[Any], list[Any]]] = {}
        self.connections: list[socket.socket] = []
        self.arrived = threading.Condition()
        self._listener = lifecycle.listen(state_dir, "server")
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def of(self, kind: type) -> list[Any]:
        return [each for each in self.got if isinstance(each, kind)]

    def wait_for(self, kind: type, count: int = 1) -> None:
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.of(kind)) >= count, 5.0)

    def send(self, *messages: Any) -> None:
        """Send messages to the newest connection."""
        self.connections[-1].sendall(wire.frame(messages))

    def hang_up(self) -> None:
        for connection in self.connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.connections.clear()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.hang_up()
        for thread in self._threads:
            thread.join(5.0)
        with suppress(FileNotFoundError):
            os.unlink(lifecycle.socket_path(self.state_dir, "server"))

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections.append(connection)
                thread = threading.Thread(target=self._serve, args=(connection,))
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        reader = wire.Reader(wire.Request)
        with suppress(OSError), connection:
            while data := connection.recv(65536):
                for request in reader.feed(data):
                    with self.arrived:
                        self.got.append(request)
                        self.arrived.notify_all()
                    connection.sendall(wire.frame(self._reply(request)))

    def _reply(self, request: Any) -> list[Any]:
        if type(request) in self.replies:
            return self.replies[type(request)](request)
        if isinstance(request, wire.Hello):
            return [wire.Welcome(self.protocol, "fake", os.getpid(), 1)]
        return [answer(request)]
