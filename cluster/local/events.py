"""What can happen to the queue, what it writes, and what it wants done.

Pure data: events go into `queue_state.QueueState.handle`, changes and effects
come out.  A turn of the server is: all events of the turn, then one decision of
the policy, then one transaction with the changes, and only then the effects.

`to` in an event is whoever asked (opaque to the queue); its answer is an effect,
so an answer never leaves before what it promises is on disk.
"""

from __future__ import annotations

from typing import Any

import msgspec

from cluster.local.resources import Allocation, Vector
from cluster.local.wire import Content
from cluster.spec import JobSpec

__all__ = [
    "Acknowledge",
    "Act",
    "Array",
    "Attached",
    "Block",
    "Changes",
    "Effect",
    "EndProcesses",
    "Event",
    "Exited",
    "Finished",
    "Job",
    "Known",
    "NeverToStart",
    "Reply",
    "Resize",
    "SendSignal",
    "StartProcess",
    "Started",
    "Submit",
    "Switch",
    "Tick",
    "Unblock",
]


# ------------------------------------------------------------------ the living records


class Job(msgspec.Struct, kw_only=True, eq=True):
    """A job that is not final yet, or an element of an array that was touched.

    The store keeps the fields by their order: a new one goes to the end, with a
    default (so it is for `Array`).

    `unmet` holds (raw id, dependency type) of what it still waits for.
    `failures` counts used retries.  `assigned`: still PENDING, but the node has
    it and starts it as soon as a job like it is over.  `ending`: final for people, its processes
    are still there and its cores still taken.  `was_stopped`: this attempt was
    suspended at some time, so that the order to go on may have been lost.
    """

    id: int
    label: str
    spec: JobSpec
    need: Vector
    state: str
    array: int = 0
    index: int | None = None
    attempt: int = 0
    failures: int = 0
    submitted: float = 0.0
    eligible: float = 0.0
    started: float = 0.0
    ended: float = 0.0
    exitcode: int | None = None
    signal: int = 0
    reason: str = ""
    priority: int = 0
    cpu_s: float = 0.0
    peak_memory_mib: float = 0.0
    ending: bool = False
    unmet: set[tuple[int, str]] = set()
    allocation: Allocation | None = None
    lent: bool = False
    assigned: bool = False
    recalled: bool = False
    pid: int = 0
    stdout: bytes = b""
    stderr: bytes = b""
    was_stopped: bool = False


class Array(msgspec.Struct, kw_only=True, eq=True):
    """Many jobs from one spec, as one record.

    Elements before `next` were touched (they are `Job`s, or final and counted in
    `counts`); those from `next` on share the state `rest` unless they are in
    `touched` (positions that were started, held or cancelled out of turn).
    """

    id: int
    spec: JobSpec
    need: Vector
    count: int
    next: int = 0
    rest: str = "PENDING"
    running: int = 0
    submitted: float = 0.0
    eligible: float = 0.0
    ended: float = 0.0
    reason: str = ""
    priority: int = 0
    counts: dict[str, int] = {}
    started_count: int = 0
    touched: set[int] = set()
    unmet: set[tuple[int, str]] = set()


class Known(msgspec.Struct, frozen=True):
    """A job that is final and lives in the store only.

    For an array, `state` is COMPLETED only if all its elements are.
    """

    state: str
    reason: str = ""
    exitcode: int | None = None
    signal: int = 0
    label: str = ""


# ------------------------------------------------------------------ events


class Submit(msgspec.Struct, frozen=True):
    """Queue these.  `known`: the dependencies (by label) that only the store knows."""

    to: Any
    key: bytes
    specs: tuple[JobSpec, ...]
    known: dict[str, Known] = {}


class Act(msgspec.Struct, frozen=True):
    """A verb of `wire.Act`.  `known`: final jobs among `ids` that only the store knows."""

    to: Any
    verb: str
    ids: tuple[str, ...]
    number: int = 0
    known: dict[str, Known] = {}


class Update(msgspec.Struct, frozen=True):
    """What `wire.Update` changes.  `known` as for `Act`."""

    to: Any
    ids: tuple[str, ...]
    fields: dict[str, Any]
    known: dict[str, Known] = {}


class Block(msgspec.Struct, frozen=True):
    """The process of job `job` waits for other jobs."""

    to: Any
    job: int


class Unblock(msgspec.Struct, frozen=True):
    """It wants to go on.  `to` None: nobody waits for the answer (it went away)."""

    to: Any
    job: int


class Attached(msgspec.Struct, frozen=True):
    """A node told what it has.

    `rebooted`: the machine was restarted since.  `is_unclean`: without a proper
    shutdown, so that the end of the node's journal may be lost.
    """

    running: tuple[tuple[int, int, int], ...]
    exited: tuple[tuple[int, int], ...]
    rebooted: bool = False
    is_unclean: bool = False


class Started(msgspec.Struct, frozen=True):
    """A job's process exists."""

    job: int
    attempt: int
    pid: int
    stdout: bytes = b""
    stderr: bytes = b""


class Exited(msgspec.Struct, frozen=True):
    """A job's processes are gone (see `wire.Exited`); `result_status` is the
    status byte of a function's envelope, None when it left none.  `next` is the
    assigned job (raw id, attempt) that the node started in its place."""

    job: int
    attempt: int
    status: int
    why: str = ""
    reason: str = ""
    started: float = 0.0
    ended: float = 0.0
    cpu_s: float = 0.0
    peak_memory_mib: float = 0.0
    result_status: int | None = None
    content: Content = Content()
    next: tuple[int, int] = (0, 0)


class Resize(msgspec.Struct, frozen=True):
    """The capacity is now this: name to amount."""

    to: Any
    capacity: dict[str, int]
    cpus: tuple[int, ...] = ()


class Switch(msgspec.Struct, frozen=True):
    """Start nothing new (`paused`), or go on."""

    to: Any
    paused: bool


class Tick(msgspec.Struct, frozen=True):
    """Time went by; `QueueState.next_time` said when to tell."""


Event = (
    Submit | Act | Update | Block | Unblock | Attached | Started | Exited | Resize | Switch | Tick
)


# ------------------------------------------------------------------ effects


class Reply(msgspec.Struct, frozen=True):
    """Answer `to`."""

    to: Any
    value: Any = None


class StartProcess(msgspec.Struct, frozen=True):
    """Have the node start this job; `queued`: once a job like it is over."""

    job: Job
    queued: bool = False


class EndProcesses(msgspec.Struct, frozen=True):
    """Have the node end this job's processes."""

    job: int
    attempt: int
    why: str


class SendSignal(msgspec.Struct, frozen=True):
    """Have the node send a signal to this job's processes."""

    job: int
    attempt: int
    number: int


class Acknowledge(msgspec.Struct, frozen=True):
    """Tell the node that an exit is written."""

    job: int
    attempt: int


class Finished(msgspec.Struct, frozen=True):
    """Tell whoever watches that this job (or array) reached its final state."""

    job: Job | Array


class NeverToStart(msgspec.Struct, frozen=True):
    """Tell whoever watches elements of this array that left no record: they are cancelled."""

    job: Array


Effect = Reply | StartProcess | EndProcesses | SendSignal | Acknowledge | Finished | NeverToStart


# ------------------------------------------------------------------ changes


class Changes(msgspec.Struct):
    """What one turn writes, in one transaction.

    `jobs` and `arrays` are written whole (their mutable part), new or not;
    `requests` holds the specs of what was submitted this turn.
    """

    requests: dict[int, JobSpec] = msgspec.field(default_factory=dict)
    updates: dict[int, JobSpec] = msgspec.field(default_factory=dict)  # without their launch
    jobs: dict[int, Job] = msgspec.field(default_factory=dict)
    arrays: dict[int, Array] = msgspec.field(default_factory=dict)
    contents: dict[int, Content] = msgspec.field(default_factory=dict)
    keys: dict[bytes, list[str]] = msgspec.field(default_factory=dict)
    meta: dict[str, Any] = msgspec.field(default_factory=dict)
    run_times: dict[str, list[float]] = msgspec.field(default_factory=dict)

    def __bool__(self) -> bool:
        """Tell whether there is anything to write."""
        return bool(
            self.jobs
            or self.arrays
            or self.meta
            or self.contents
            or self.keys
            or self.run_times
            or self.updates
        )
