"""One call of an emulated command: what was typed and where, and what it may answer.

A handler is a function that takes a `Call` and returns an exit code.  It runs
in a thread of the emulation; it must not touch this process's own working
directory, environment, umask or streams: those of the call are here.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cluster.emulation import protocol

if TYPE_CHECKING:
    from cluster.emulation.machine import Machine
    from cluster.emulation.settings import Settings

__all__ = ["Call", "Stop"]


class Stop(Exception):
    """End the call now: a text for its standard error, and an exit code."""

    def __init__(self, text: str = "", code: int = 1) -> None:
        super().__init__(text)
        self.text, self.code = text, code


class Call:
    """One call, open until its handler returns.

    Attributes:
        family, command: which scheduler, which of its commands.
        argv: its arguments, as text (surrogateescape).
        cwd: absolute; empty if that directory is gone.
        env, umask: of the caller.
        terminals: whether its streams 0, 1, 2 are terminals.
        pid: of the shim.
        machine: the queue behind the pretended cluster.
        settings: how the cluster was asked to be.
        silent: whether what it says is lost.
    """

    silent = False

    def __init__(
        self,
        connection: socket.socket,
        about: Mapping[str, Any],
        machine: Machine,
        settings: Settings,
    ) -> None:
        self._connection = connection
        self.family: str = about["family"]
        self.command: str = about["command"]
        self.argv: list[str] = [os.fsdecode(word) for word in about["argv"]]
        self.cwd: bytes = about["cwd"]
        self.env: dict[bytes, bytes] = about["env"]
        self.umask: int = about["umask"]
        self.terminals: tuple[bool, bool, bool] = about["terminals"]
        self.pid: int = about["pid"]
        self.machine = machine
        self.settings = settings

    # ------------------------------------------------------------ saying

    def out(self, text: str | bytes) -> None:
        """Write to its standard output; nothing is added."""
        self._write(1, text)

    def err(self, text: str | bytes) -> None:
        """Write to its standard error; nothing is added."""
        self._write(2, text)

    def _write(self, fd: int, text: str | bytes) -> None:
        data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
        if data and not self.silent:
            protocol.send(self._connection, ("write", fd, data))

    # ------------------------------------------------------------ asking

    def variable(self, name: str) -> str | None:
        """Give a variable of the caller's environment."""
        value = self.env.get(os.fsencode(name))
        return None if value is None else os.fsdecode(value)

    def path(self, name: str | bytes) -> bytes:
        """Make a path of the caller's absolute."""
        return os.path.join(self.cwd or b"/", os.fsencode(name))

    def read_stdin(self) -> bytes:
        """Read its standard input to the end."""
        return self._read(None)

    def read_file(self, name: str | bytes) -> bytes:
        """Read a file as the caller would: /dev/stdin and /dev/fd/63 are the caller's.

        Raises:
            OSError: it cannot be read.
        """
        return self._read(os.fsencode(name))

    def _read(self, path: bytes | None) -> bytes:
        protocol.send(self._connection, ("read", path))
        kind, value = protocol.receive(self._connection)
        if kind == "error":
            raise OSError(value, os.strerror(value), os.fsdecode(path or b"-"))
        data: bytes = value
        return data

    # ------------------------------------------------------------ running

    def execute(self, path: bytes, argv: Sequence[bytes], env: Mapping[bytes, bytes]) -> None:
        """Have the caller become another program; the connection ends with it.

        Raises:
            OSError: it cannot be executed.
            ConnectionError: it became that program.
        """
        protocol.send(self._connection, ("exec", path, list(argv), dict(env)))
        _, number = protocol.receive(self._connection)
        raise OSError(number, os.strerror(number), os.fsdecode(path))

    def run_tasks(self, *request: Any) -> tuple[Any, ...]:
        """Have the caller run tasks as its own children; wait until all have ended."""
        protocol.send(self._connection, ("tasks", *request))
        return self.receive()

    def send(self, *message: Any) -> None:
        """Send a message that `_tasks` understands."""
        protocol.send(self._connection, message)

    def receive(self) -> tuple[Any, ...]:
        """Wait for a message of `_tasks`.

        Raises:
            ConnectionError: the caller is gone.
        """
        return protocol.receive(self._connection)

    def fileno(self) -> int:
        """Give the descriptor of its connection, for polls."""
        return self._connection.fileno()

    def is_gone(self, timeout_s: float = 0.0) -> bool:
        """Tell whether the caller has ended, waiting for that at most so long."""
        poll = select.poll()
        poll.register(self._connection, select.POLLIN | getattr(select, "POLLRDHUP", 0))
        if not poll.poll(timeout_s * 1000):
            return False
        try:
            return not self._connection.recv(1, socket.MSG_PEEK)
        except OSError:
            return True

    def exit(self, code: int) -> None:
        """End the call."""
        protocol.send(self._connection, ("exit", code))
