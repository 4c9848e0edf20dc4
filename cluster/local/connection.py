"""One connection to the server: knock, start it when nobody is there, shake hands.

    nobody listens ──> one of the clients that find this starts the server
    the server is older than us ──> it is asked to leave, and ours is started
    the server is newer than us ──> ProtocolError
    it listens and says nothing ──> ServerTimeout; a stopped server keeps its office

It moves messages and knows no request's meaning; `client` does.
"""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import msgspec

from cluster import errors
from cluster.errors import (
    ClusterError,
    OptionsError,
    ProtocolError,
    QueueError,
    ServerTimeout,
    ServerUnavailable,
)
from cluster.local import lifecycle, wire

__all__ = ["Connection", "connect", "decode", "knock", "rebuild"]

VERSION = f"protocol {wire.PROTOCOL}"
CHUNK = 1 << 16
FOREVER_S = 1e9  # 31 years, infinity too: the kernel's clocks cannot count much further
PAUSE_S = 0.002  # between two knocks while somebody else starts the server; doubled up to
LONGEST_PAUSE_S = 0.1
# A client that was stopped while it started the server must not hold up the others.
STARTER_S = 2.0


class Connection:
    """Messages to and from a server that was greeted.

    Attributes:
        pid: the server's process.
        envs: hashes of the environments that were sent here.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._reader = wire.Reader(wire.Reply)
        self._inbox: deque[Any] = deque()
        self.envs: set[str] = set()
        self.pid, uid = lifecycle.peer(sock)
        if uid != os.getuid():
            sock.close()
            raise QueueError(f"the server's socket belongs to user {uid}, not to us; not used")

    def send(self, message: Any, deadline: float | None) -> None:
        """Send a message.

        Raises:
            TimeoutError: the server did not take it in time.
            ConnectionError: it is gone.
            QueueError: it is larger than a message may be.
            OptionsError: a text in it cannot be sent.
        """
        try:
            data = wire.frame([message])
        except UnicodeEncodeError as error:  # from a command line or a locale that is not UTF-8
            raise OptionsError(
                f"{error.object!r} is not UTF-8. Use text that is; where it was typed as that, "
                "LC_ALL=C.UTF-8 says so to Python."
            ) from None
        if len(data) > wire.MAX_FRAME:
            raise QueueError(
                f"a request of {len(data) >> 20} MiB is too large (at most "
                f"{wire.MAX_FRAME >> 20} MiB): submit in parts"
            )
        self._limit(deadline)
        self._socket.sendall(data)

    def next(self, deadline: float | None) -> Any:
        """Give the next message; one that is here already is given after the deadline too.

        Raises:
            TimeoutError: there was none.
            ConnectionError: the server is gone.
        """
        while not self._inbox:
            self._limit(deadline)
            data = self._socket.recv(CHUNK)
            if not data:
                raise ConnectionResetError("the server closed the connection")
            self._inbox.extend(self._reader.feed(data))
        return self._inbox.popleft()

    def has_message(self) -> bool:
        """Tell whether `next` has something to give without reading."""
        return bool(self._inbox)

    def fileno(self) -> int:
        """Give the descriptor that becomes readable when there is something to read."""
        return self._socket.fileno()

    def _limit(self, deadline: float | None) -> None:
        # 1 us, not 0: 0 would make the socket non-blocking, with another error
        left = None if deadline is None else max(1e-6, deadline - time.monotonic())
        self._socket.settimeout(left if left is None or left < FOREVER_S else None)

    def close(self) -> None:
        """Close it; in a forked child this does not disturb the parent's."""
        self._socket.close()

    def __del__(self) -> None:
        self._socket.close()


def connect(
    state_dir: str,
    *,
    job: int = 0,
    settings: Mapping[str, Any] | None = None,
    start: bool = True,
    timeout_s: float = 30.0,
) -> Connection:
    """Reach the server of a queue.

    Args:
        state_dir: the queue's directory.
        job: raw id of the job of this queue that we are; 0 none.
        settings: what a server that we start gets.
        start: start one if there is none.
        timeout_s: seconds for all of it.

    Raises:
        ServerUnavailable: there is none, and none could be started.
        ServerTimeout: it is there and says nothing.
        ProtocolError: it is newer than we are.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        sock = knock(state_dir, settings=settings, start=start, deadline=deadline)
        connection = Connection(sock)
        try:
            if _greet(connection, job, deadline):
                return connection
        except TimeoutError:
            pid = connection.pid
            connection.close()
            raise no_answer(pid, timeout_s) from None
        except ConnectionError:  # it was leaving when we came
            connection.close()
            if time.monotonic() > deadline:
                raise ServerUnavailable(
                    f"the server of the queue in {state_dir} closes every connection; "
                    f"see server.log there"
                ) from None
            time.sleep(PAUSE_S)
        except BaseException:
            connection.close()
            raise


def no_answer(pid: int, timeout_s: float) -> ServerTimeout:
    """Make the error for a server that is there and silent."""
    return ServerTimeout(
        f"the server of the queue (process {pid}) did not answer within {timeout_s:g} s. "
        f"If it was stopped, `kill -CONT {pid}` lets it go on; no other server takes its place."
    )


def _greet(connection: Connection, job: int, deadline: float) -> bool:
    """Shake hands; False: the server was older, and has left."""
    connection.send(wire.Hello(wire.PROTOCOL, VERSION, os.getpid(), job), deadline)
    welcome = connection.next(deadline)
    if isinstance(welcome, wire.Failure):
        raise ProtocolError(f"the server (process {connection.pid}) refused: {welcome.message}")
    if not isinstance(welcome, wire.Welcome):
        raise ProtocolError(f"process {connection.pid} does not speak as a server of ours")
    if welcome.protocol == wire.PROTOCOL:
        return True
    if welcome.protocol > wire.PROTOCOL:
        raise ProtocolError(
            f"the running server (process {welcome.pid}, version {welcome.version}, protocol "
            f"{welcome.protocol}) is newer than this program (protocol {wire.PROTOCOL}). Upgrade "
            f"python-cluster here, or set CLUSTER_STATE_DIR to use a queue of its own."
        )
    connection.send(wire.Control(1, "stop"), deadline)
    with suppress(ConnectionError):
        while True:
            connection.next(deadline)
    connection.close()
    return False


def knock(
    state_dir: str,
    *,
    settings: Mapping[str, Any] | None = None,
    start: bool,
    deadline: float,
) -> socket.socket:
    """Connect to the server's socket, with `start` also when nobody listens there yet."""
    pause, first, lost = PAUSE_S, time.monotonic(), False
    while True:
        path = lifecycle.socket_path(state_dir, "server")
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(max(1e-3, deadline - time.monotonic()))
            sock.connect(path)
            return sock
        except (FileNotFoundError, ConnectionRefusedError, BlockingIOError, TimeoutError) as error:
            sock.close()
            silent = not isinstance(error, FileNotFoundError | ConnectionRefusedError)
        except BaseException as error:
            sock.close()
            if isinstance(error, OSError):
                raise ServerUnavailable(
                    f"the queue's socket {path} cannot be used: {error.strerror}"
                ) from error
            raise
        if not silent and not start:
            raise ServerUnavailable(f"no server runs for the queue in {state_dir}")
        now = time.monotonic()
        if now >= deadline:
            raise _nobody(state_dir, silent=silent, lost=lost)
        if not silent:
            outcome = _start(state_dir, settings, now - first > STARTER_S, deadline)
            if outcome == "ready":
                continue
            lost = lost or outcome == "lost"
        time.sleep(pause)  # between knocks only, while another process starts the server
        pause = min(pause * 2, LONGEST_PAUSE_S)


def _start(
    state_dir: str, settings: Mapping[str, Any] | None, impatient: bool, deadline: float
) -> str:
    """Start the server unless another client is doing it; "ready", "lost" or "other"."""
    with _sole_starter(state_dir) as ours:
        if not (ours or impatient):
            return "other"
        left = max(STARTER_S, deadline - time.monotonic())
        return lifecycle.start_daemon("server", state_dir, settings=settings, timeout_s=left)


@contextmanager
def _sole_starter(state_dir: str) -> Iterator[bool]:
    # 40 clients at once would else start 40 servers, of which 39 lose the election.
    path = os.path.join(state_dir, "starting")
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ServerUnavailable(
            f"the queue's directory {state_dir} cannot be written: {error.strerror}. "
            f"Set CLUSTER_STATE_DIR to a directory of your own on a local disk."
        ) from error
    try:
        ours = True
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            ours = False
        except OSError:
            ours = True  # no locks here: the server says so, with advice
        yield ours
    finally:
        os.close(fd)


def _nobody(state_dir: str, *, silent: bool, lost: bool) -> QueueError:
    holder = lifecycle.holder(state_dir)
    if silent or (lost and holder is not None and holder.host == os.uname().nodename):
        pid = holder.pid if holder else 0
        return ServerTimeout(
            f"process {pid} is the server of the queue in {state_dir} and accepts no "
            f"connection. If it was stopped, `kill -CONT {pid}` lets it go on."
        )
    if lost and holder is not None:
        return ServerUnavailable(
            f"the queue in {state_dir} is served on another machine ({holder.host}, process "
            f"{holder.pid}). Set CLUSTER_STATE_DIR to a directory on a local disk."
        )
    return ServerUnavailable(
        f"no server could be started for the queue in {state_dir}; see server.log there"
    )


_decoders: dict[Any, msgspec.msgpack.Decoder[Any]] = {}


def decode(data: bytes | msgspec.Raw, kind: Any) -> Any:
    """Read the value of an answer."""
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.msgpack.Decoder(kind)
    return decoder.decode(data)


def rebuild(failure: wire.Failure) -> ClusterError:
    """Make the error that a failure tells of."""
    kind = getattr(errors, failure.kind, None)
    if not (isinstance(kind, type) and issubclass(kind, ClusterError)):
        kind = QueueError
    error = kind.__new__(kind)  # not called: some classes make their own message
    Exception.__init__(error, failure.message)
    return error
