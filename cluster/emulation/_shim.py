"""The body of every emulated command: tell the emulation what was typed, do what it answers.

It is copied into a file of its own for each command (`shims`), and run by
`python -IS`: no module of ours, and none of the standard library that is not
built in or as small, nor annotations, for pipelines make thousands of these
calls.  See `protocol` for the messages.
"""

# mypy: ignore-errors

import _signal
import _socket
import marshal
import posix
import sys

# ---- replaced in each copy
FAMILY = COMMAND = SOCKET = TASKS = ""
START = []
# ----

PROTOCOL = 1
CHUNK = 1 << 20


def connect():
    """Reach the emulation, which is started when nobody listens."""
    for attempt in range(3):
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        try:
            sock.connect(SOCKET)
            return sock
        except OSError as error:
            sock.close()
            reason = error
        if attempt < 2:
            pid = posix.posix_spawn(START[0], START, posix.environ)
            posix.waitpid(pid, 0)
    fail(f"the emulation of this command cannot be reached at {SOCKET}: {reason.strerror}")


def fail(text):
    posix.write(2, f"{COMMAND}: error: {text}\n".encode("utf-8", "surrogateescape"))
    posix._exit(1)


def send(sock, message):
    data = marshal.dumps(message, 2)
    sock.sendall(len(data).to_bytes(8, "little") + data)


def receive(sock):
    head = take(sock, 8)
    return marshal.loads(take(sock, int.from_bytes(head, "little")))


def take(sock, size):
    data = b""
    while len(data) < size:
        piece = sock.recv(min(size - len(data), CHUNK))
        if not piece:
            fail(f"the emulation went away before it answered; see emulation.log beside {SOCKET}")
        data += piece
    return data


def write(fd, data):
    try:
        while data:
            data = data[posix.write(fd, data) :]
    except OSError:  # nobody reads: as any program does, go
        posix._exit(141)


def read(path):
    """Give ("data", bytes) of a file, None being standard input; ("error", number)."""
    pieces = []
    try:
        fd = 0 if path is None else posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
        while True:
            piece = posix.read(fd, CHUNK)
            if not piece:
                break
            pieces.append(piece)
        if fd:
            posix.close(fd)
    except OSError as error:
        return ("error", error.errno)
    return ("data", b"".join(pieces))


def where():
    try:
        return posix.getcwdb()
    except OSError:
        return b""


def main():
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    mask = posix.umask(0o077)
    posix.umask(mask)
    terminals = tuple(posix.isatty(fd) for fd in (0, 1, 2))
    argv = [word.encode("utf-8", "surrogateescape") for word in sys.argv[1:]]
    about = {
        "family": FAMILY,
        "command": COMMAND,
        "argv": argv,
        "cwd": where(),
        "env": dict(posix.environ),
        "umask": mask,
        "terminals": terminals,
        "pid": posix.getpid(),
    }
    sock = connect()
    send(sock, ("call", PROTOCOL, about))
    while True:
        verb, *rest = receive(sock)
        if verb == "write":
            write(*rest)
        elif verb == "exit":
            posix._exit(rest[0])
        elif verb == "read":
            send(sock, read(*rest))
        elif verb == "exec":
            path, words, env = rest
            try:
                posix.execve(path, words, env)
            except OSError as error:
                send(sock, ("error", error.errno))
        elif verb == "tasks":
            names = {"sock": sock, "send": send, "receive": receive}
            with open(TASKS) as file:
                exec(compile(file.read(), TASKS, "exec"), names)
            send(sock, names["run"](*rest))
        elif verb not in ("signal", "end"):  # these were for tasks that have just ended
            fail(f"the emulation asks for {verb!r}, which this command does not know")


if COMMAND:
    main()
