"""Every message of the local cluster, and how bytes become messages.

Pure: it frames, encodes and decodes; sockets belong to others.

    client  <-- Request / Answer, Failure, Ended -->  server   (PROTOCOL)
    server  <-- Order / Report ------------------->   node     (NODE_PROTOCOL)

A frame is a length (4 bytes, little-endian) and a msgpack array of messages;
each message is an array whose first item is its tag.  One frame carries all
messages of one turn.  NODE_PROTOCOL is frozen: a node outlives servers, so a
newer server must still understand an older node.  A field is only ever added
at the end, with a default.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from cluster.errors import ProtocolError
from cluster.spec import JobSpec

PROTOCOL = 1
NODE_PROTOCOL = 1
MAX_FRAME = 1 << 28  # a length beyond this is not ours: some other program is talking
SPLIT_BYTES = 1 << 24  # several messages that are larger together go in several frames
RECALL = "recall"  # the `why` of an `End` that gives a queued job back
INLINE_LIMIT = 256 * 1024  # bytes of stdout, stderr or result that go into the store

Env = dict[bytes, bytes]


class _Message(msgspec.Struct, frozen=True, array_like=True):
    pass


# ---------------------------------------------------------------- client -> server


class Hello(_Message, frozen=True, tag="hello"):
    """First message of a connection.

    `job` is the raw id of the job this client runs in (0: none), so that its
    cores can be lent while it waits.
    """

    protocol: int
    version: str
    pid: int
    job: int = 0


class Submit(_Message, frozen=True, tag="submit"):
    """Queue jobs, all or none.

    `key` is made by the client; the same key again returns the same ids.
    `envs` holds the environments (by hash) not yet sent on this connection.
    `fresh`: it was never sent before, so nobody need look whether it was done.
    Answer: list of ids (str), one per spec.
    """

    seq: int
    key: bytes
    jobs: tuple[JobSpec, ...]
    envs: dict[str, Env] = {}
    fresh: bool = False


class Query(_Message, frozen=True, tag="query"):
    """Ask for jobs.  Answer: list[JobInfo], ordered by id.

    `ids` None means by the other fields: `states` (empty: all), `name` (shell
    pattern; empty: all), `since` (ended or submitted after, seconds), `limit`
    (0: all; the newest so many).  With `ids`, unknown ones are left out.
    An array is one JobInfo unless `elements`; with `folded` too, the elements of
    a live array that nobody has touched are the first of them with `indices`.
    """

    seq: int
    ids: tuple[str, ...] | None = None
    states: tuple[str, ...] = ()
    name: str = ""
    since: float = 0.0
    limit: int = 0
    elements: bool = False
    namespace: str = ""
    folded: bool = False


class Fetch(_Message, frozen=True, tag="fetch"):
    """Ask for what a job wrote.  Answer: Content."""

    seq: int
    id: str


class Describe(_Message, frozen=True, tag="describe"):
    """Ask how a job is launched.  Answer: the encoded `spec.Launch` (bytes)."""

    seq: int
    id: str


class Watch(_Message, frozen=True, tag="watch"):
    """Send `Ended` once for each of `ids` (at once if it is already final).

    `content` puts what the job wrote into it.  Answer: None.
    """

    seq: int
    ids: tuple[str, ...]
    content: bool = False


class Unwatch(_Message, frozen=True, tag="unwatch"):
    """Send no more `Ended` on this connection.  Answer: None."""

    seq: int


class Block(_Message, frozen=True, tag="block"):
    """The job of this client begins to wait for jobs: lend its cores.

    Answer: None.
    """

    seq: int


class Unblock(_Message, frozen=True, tag="unblock"):
    """It goes on.  Answer: None, once its cores are its own again."""

    seq: int


class Act(_Message, frozen=True, tag="act"):
    """Do `verb` to jobs.  Answer: dict id -> what happened, a short sentence.

    Verbs: cancel, hold, release, requeue, suspend, resume, signal (number),
    priority (number).  An id that is unknown is answered so, not raised.
    """

    seq: int
    verb: str
    ids: tuple[str, ...]
    number: int = 0


class Update(_Message, frozen=True, tag="update"):
    """Change what jobs that wait asked for.  Answer: as for `Act`.

    What is None stays.  An element of an array cannot be changed by itself.
    `extra` may be changed while the job runs, too.
    """

    seq: int
    ids: tuple[str, ...]
    name: str | None = None
    walltime_s: float | None = None
    begin: float | None = None
    comment: str | None = None
    extra: bytes | None = None


class Control(_Message, frozen=True, tag="control"):
    """Steer the server: status, stop, pause, resume, set.

    Answer: a dict; for `status` see `local.client.Client.status`.
    """

    seq: int
    verb: str
    args: dict[str, int | float | str | None] = {}


# ---------------------------------------------------------------- server -> client


class Welcome(_Message, frozen=True, tag="welcome"):
    """Answer to Hello."""

    protocol: int
    version: str
    pid: int
    epoch: int
    host: str = ""


class Answer(_Message, frozen=True, tag="answer"):
    """Answer to the request with this `seq`; `value` as that request says."""

    seq: int
    value: msgspec.Raw


class Failure(_Message, frozen=True, tag="failure"):
    """The request with this `seq` failed; `kind` is a class of `errors`."""

    seq: int
    kind: str
    message: str


class JobInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What people may see of a job.  Times are seconds since the epoch, 0 not yet.

    `id` is "17", or "17_3" for the element with index 3 of array 17.
    `exitcode` None: it did not run to an end of its own; `signal` 0: none.
    `ending`: final for the user, its processes are still being ended.
    `counts`: for an array, elements per state.
    `indices`: the elements that this stands for, see `Query.folded`.
    `stdout`, `stderr`: the user's files, or while it runs the queue's own.
    """

    id: str
    name: str
    state: str
    kind: str = "command"
    index: int | None = None
    cores: int = 1
    memory_mib: int = 0
    gpus: int = 0
    resources: dict[str, int] = {}
    priority: int = 0
    submitted: float = 0.0
    eligible: float = 0.0
    started: float = 0.0
    ended: float = 0.0
    begin: float = 0.0
    walltime_s: float = 0.0
    expect_s: float = 0.0
    expected_start: float = 0.0
    attempt: int = 0
    exitcode: int | None = None
    signal: int = 0
    reason: str = ""
    ending: bool = False
    lent: bool = False
    cpu_s: float = 0.0
    peak_memory_mib: float = 0.0
    host: str = ""
    pid: int = 0
    gpu_indices: tuple[int, ...] = ()
    dependencies: tuple[str, ...] = ()
    counts: dict[str, int] = {}
    comment: str = ""
    namespace: str = ""
    extra: bytes = b""
    stdout: bytes = b""
    stderr: bytes = b""
    indices: tuple[int, ...] = ()


class Output(msgspec.Struct, frozen=True, array_like=True):
    """Bytes that a job wrote: here, or in a file (large, or named by the user)."""

    data: bytes = b""
    file: bytes = b""


class Content(msgspec.Struct, frozen=True, array_like=True):
    """What a job left: result envelope (functions), stdout, stderr."""

    result: Output = Output()
    stdout: Output = Output()
    stderr: Output = Output()


class Ended(_Message, frozen=True, tag="ended"):
    """A watched job reached its final state."""

    info: JobInfo
    content: Content | None = None


# ---------------------------------------------------------------- server -> node


class Attach(_Message, frozen=True, tag="attach"):
    """First message; the node drops a server with a smaller epoch."""

    protocol: int
    epoch: int


class Keep(_Message, frozen=True, tag="env"):
    """Remember an environment by its hash."""

    hash: str
    env: Env


class Start(_Message, frozen=True, tag="start"):
    """Start a job.  It is written to the node's journal before the spawn.

    `cpus` and `gpus` are indices; empty cpus: no affinity is set.
    `index` is None unless it is an element of an array (then `array` is that
    array's id).  `memory_mib` and `walltime_s`: 0 is no limit.
    `label` is the id people see.
    `queued`: do not start it yet, but by yourself as soon as a job like it is
    over, on that job's cpus and gpus.  The same without `queued` starts it now.
    """

    job: int
    attempt: int
    label: str
    name: str
    launch: msgspec.Raw
    cores: int = 1
    memory_mib: int = 0
    cpus: tuple[int, ...] = ()
    gpus: tuple[int, ...] = ()
    walltime_s: float = 0.0
    grace_s: float = 5.0
    array: int = 0
    index: int | None = None
    queued: bool = False


class End(_Message, frozen=True, tag="end"):
    """End all processes of a job: SIGTERM, grace, SIGKILL.  `why` comes back.

    "recall" means only one that is queued: give it back, unless it has started.
    """

    job: int
    attempt: int
    why: str
    grace_s: float = 5.0


class Signal(_Message, frozen=True, tag="signal"):
    """Send a signal to all processes of a job."""

    job: int
    attempt: int
    number: int


class Ack(_Message, frozen=True, tag="ack"):
    """The exit is in the store; its slot may be used again."""

    job: int
    attempt: int


class Warm(_Message, frozen=True, tag="warm"):
    """Have a warm parent ready for this interpreter and environment."""

    python: bytes
    env: str
    sys_path: tuple[bytes, ...] = ()


class Leave(_Message, frozen=True, tag="leave"):
    """Go, once no job is running; with `now`, end all jobs first."""

    now: bool = False


# ---------------------------------------------------------------- node -> server


class Attached(_Message, frozen=True, tag="attached"):
    """Answer to Attach: what runs.  Unacknowledged exits follow as `Exited`.

    `running` is (job, attempt, pid) of each started job, ending ones too;
    `exited` is (job, attempt) of each exit that will be sent again.
    """

    protocol: int
    pid: int
    boot_id: str
    running: tuple[tuple[int, int, int], ...] = ()
    exited: tuple[tuple[int, int], ...] = ()


class Started(_Message, frozen=True, tag="started"):
    """The process exists.  `stdout`, `stderr`: where it writes."""

    job: int
    attempt: int
    pid: int
    time: float
    stdout: bytes = b""
    stderr: bytes = b""


class Exited(_Message, frozen=True, tag="exited"):
    """The job and all it left behind are gone; its cores are free.

    status: as waitpid gives it.  why: "" its own end; "start" it could not be
    started (`reason` says why); else what ended it: "cancel", "walltime",
    "memory", "requeue", or any `why` of an `End`.
    started, ended: seconds since the epoch.  cpu_s, peak_memory_mib: of the
    whole tree as far as it was reaped.
    next_job, next_attempt: the queued job that was started in its place, or 0.
    """

    job: int
    attempt: int
    status: int
    why: str = ""
    reason: str = ""
    started: float = 0.0
    ended: float = 0.0
    cpu_s: float = 0.0
    peak_memory_mib: float = 0.0
    content: Content = Content()
    next_job: int = 0
    next_attempt: int = 0


Request = (
    Hello
    | Submit
    | Query
    | Fetch
    | Describe
    | Watch
    | Unwatch
    | Block
    | Unblock
    | Act
    | Update
    | Control
)
Reply = Welcome | Answer | Failure | Ended
Order = Attach | Keep | Start | End | Signal | Ack | Warm | Leave
Report = Attached | Started | Exited

_LENGTH = struct.Struct("<I")
_encode = msgspec.msgpack.Encoder().encode
encode_value = _encode


def frame(messages: Iterable[_Message]) -> bytes:
    """Encode messages as one frame, or as few as keep each one small."""
    some = list(messages)
    body = _encode(some)
    if len(body) > SPLIT_BYTES and len(some) > 1:
        half = len(some) // 2
        return frame(some[:half]) + frame(some[half:])
    return _LENGTH.pack(len(body)) + body


class Reader:
    """Bytes in, messages out; keeps what is not whole yet.

    Args:
        kind: the union of messages this side accepts (`Request`, `Reply`,
            `Order` or `Report`).
    """

    def __init__(self, kind: Any) -> None:
        self._decode = msgspec.msgpack.Decoder(list[kind]).decode
        self._parts: list[bytes] = []  # not read yet; joined only once a frame is whole
        self._at = 0  # in the first part
        self._have = 0  # bytes not read yet
        self._need = 4  # bytes until there is something to do

    def feed(self, data: bytes) -> Iterator[Any]:
        """Give the messages that `data` completes, in time linear in all bytes fed.

        Raises:
            ProtocolError: the bytes are not messages of ours.
        """
        self._parts.append(data)
        self._have += len(data)
        while self._have >= self._need:
            if len(self._parts) > 1:
                self._parts = [b"".join(self._parts)[self._at :]]
                self._at = 0
            buffer, at = self._parts[0], self._at
            (length,) = _LENGTH.unpack_from(buffer, at)
            if length > MAX_FRAME:
                raise ProtocolError(f"a frame of {length} bytes is not a message of ours")
            self._need = 4 + length
            if self._have < self._need:
                break
            try:
                messages = self._decode(memoryview(buffer)[at + 4 : at + 4 + length])
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise ProtocolError(f"a message cannot be read: {error}") from error
            self._at, self._have, self._need = at + 4 + length, self._have - 4 - length, 4
            yield from messages
        if self._at:  # at most what the last piece brought
            self._parts = [b"".join(self._parts)[self._at :]]
            self._at = 0
