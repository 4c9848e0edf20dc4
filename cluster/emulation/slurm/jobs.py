"""A job of the queue in Slurm's words: state, reason, exit code, ids and times."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cached_property, lru_cache

from cluster.emulation.call import Call
from cluster.emulation.machine import Machine, Row
from cluster.emulation.slurm.indices import compress, ids_of, parse
from cluster.emulation.slurm.site import MIN_JOB_AGE_S
from cluster.spec import ArraySpec

__all__ = ["COMPACT", "LIVE", "View", "find", "grouped", "of_environment", "recent"]

# Slurm's name -> its short form, in the order in which squeue lists states
COMPACT = {
    "PENDING": "PD", "RUNNING": "R", "SUSPENDED": "S", "COMPLETED": "CD", "CANCELLED": "CA",
    "FAILED": "F", "TIMEOUT": "TO", "NODE_FAIL": "NF", "PREEMPTED": "PR", "BOOT_FAIL": "BF",
    "DEADLINE": "DL", "OUT_OF_MEMORY": "OOM", "COMPLETING": "CG", "CONFIGURING": "CF",
    "RESIZING": "RS", "RESV_DEL_HOLD": "RD", "REQUEUED": "RQ", "REQUEUE_FED": "RF",
    "REQUEUE_HOLD": "RH", "REVOKED": "RV", "SIGNALING": "SI", "SPECIAL_EXIT": "SE",
    "STAGE_OUT": "SO", "STOPPED": "ST",
}  # fmt: skip
LIVE = ("HELD", "PENDING", "RUNNING", "SUSPENDED")
_NAMES = {"HELD": "PENDING", "LOST": "NODE_FAIL"}
_WAITS = (
    ("it waits for ever", "DependencyNeverSatisfied"),
    ("Dependency", "Dependency"),
    ("Begin:", "BeginTime"),
    ("Array limit:", "JobArrayTaskLimit"),
    ("Resources:", "Resources"),
    ("Priority:", "Priority"),
)
_ENDS = {"TIMEOUT": "TimeLimit", "OUT_OF_MEMORY": "OutOfMemory", "NODE_FAIL": "NodeDown"}
_NOT_STARTED = ("working directory ", "output file ", "a file for its output ")
_FIRST_PRIORITY = 4294901760


@lru_cache(maxsize=256)
def _array(text: str) -> ArraySpec:
    return parse(text)


class View:
    """One line of squeue: a job, an element, or the elements that wait together.

    Attributes:
        row: the job, or the first of the elements.
        indices: of the elements that it stands for; empty for a single job.
    """

    def __init__(self, row: Row, indices: Sequence[int] = (), now: float = 0.0) -> None:
        self.row, self.indices, self.now = row, indices, now
        self.info, self.extra = row.info, row.extra
        self.options = row.extra.options

    # ------------------------------------------------------------ ids

    @cached_property
    def id(self) -> str:
        """As squeue shows it: 4, 4_1, 4_[2-4%2]."""
        if not self.indices:
            return self.info.id
        if self.is_over:
            return str(self.row.array)
        return f"{self.row.array}_[{self.index}]"

    @property
    def long_id(self) -> str:
        """As sacct shows it: with its indices even when it is over."""
        return f"{self.row.array}_[{self.index}]" if self.indices else self.info.id

    @property
    def index(self) -> str:
        """The index or indices in the array; empty outside one."""
        if self.indices:
            limit = self.throttle
            return compress(self.indices) + (f"%{limit}" if limit else "")
        return "" if self.row.index is None else str(self.row.index)

    @property
    def throttle(self) -> int:
        """How many elements may run at once; 0 is any."""
        text = self.options.get("array", "")
        return _array(text).max_running if text else 0

    @cached_property
    def raw(self) -> int:
        """The number that is its alone; of elements that wait together the array's.

        One element has the array's own number, as with Slurm: clients look for it.
        """
        text = self.options.get("array", "")
        if self.row.index is None or self.indices or not text:
            return self.row.array
        return self.row.array + _array(text).indices().index(self.row.index)

    @property
    def is_array(self) -> bool:
        """Whether it is of an array."""
        return self.row.index is not None or bool(self.indices)

    @property
    def is_batch(self) -> bool:
        """Whether it has a batch script, rather than being srun's or salloc's."""
        return self.options.get("kind", "batch") == "batch"

    # ------------------------------------------------------------ state

    @cached_property
    def state(self) -> str:
        """Its state, COMPLETING while something of it lives."""
        return "COMPLETING" if self.info.ending else self.base_state

    @property
    def base_state(self) -> str:
        """Its state as the books have it."""
        return _NAMES.get(self.info.state, self.info.state)

    @property
    def is_pending(self) -> bool:
        """Whether it has not started yet."""
        return self.info.state in ("HELD", "PENDING")

    @property
    def is_over(self) -> bool:
        """Whether it is final."""
        return self.info.state not in LIVE

    @property
    def ran(self) -> bool:
        """Whether it was ever started."""
        return bool(self.info.started)

    @cached_property
    def reason(self) -> str:
        """Why it waits, or how it ended."""
        state = self.info.state
        if self.is_pending:
            return self._wait_reason()
        if state == "FAILED":
            is_code = self.exit_code[1] == 0
            return "NonZeroExitCode" if is_code else "JobLaunchFailure"
        if state == "CANCELLED" and not self.ran:
            never = self.info.reason.startswith("Dependency")
            before = "DependencyNeverSatisfied" if never else "None"
            return self.options.get("was", before)
        return _ENDS.get(state, "None")

    def _wait_reason(self) -> str:
        if self.options.get("blocked"):
            return self.options["blocked"]
        if self.info.state == "HELD":
            return "JobHeldAdmin" if self.options.get("held") == "admin" else "JobHeldUser"
        for sign, word in _WAITS:
            if sign in self.info.reason:
                return "None" if word == "BeginTime" and self.options.get("settles") else word
        return "None"

    @property
    def is_unstarted(self) -> bool:
        """Whether its directory or its output could not be opened."""
        return self.info.state == "FAILED" and self.info.reason.startswith(_NOT_STARTED)

    @cached_property
    def exit_code(self) -> tuple[int, int]:
        """Exit code and signal, as scontrol has them."""
        state = self.info.state
        if state == "OUT_OF_MEMORY":
            return 0, 125
        if state in ("CANCELLED", "TIMEOUT"):
            return 0, (self.info.signal or 15) if self.ran else 0
        if self.is_unstarted:
            return 0, 53
        if state == "FAILED" and ": no interpreter " in self.info.reason:
            return 2, 0
        if state in ("COMPLETED", "FAILED"):
            return self.info.exitcode or 0, self.info.signal
        return 0, 0

    @property
    def was_cancelled_by_hand(self) -> bool:
        """Whether somebody cancelled it, rather than a dependency."""
        return not self.info.reason.startswith("Dependency")

    # ------------------------------------------------------------ what it asked for

    @property
    def priority(self) -> int:
        """Larger is earlier; 0 while it is held."""
        if self.info.state == "HELD":
            return 0
        return int(self.options.get("priority") or _FIRST_PRIORITY - self.row.array)

    @property
    def walltime_s(self) -> float:
        """Its limit, 0 for none."""
        return self.info.walltime_s

    @property
    def elapsed_s(self) -> float:
        """How long it has run."""
        if not self.info.started:
            return 0.0
        return max(0.0, (self.info.ended or self.now) - self.info.started)

    @property
    def end(self) -> float:
        """When it ended, or has to; 0 is not known."""
        if self.info.ended or not self.info.started:
            return self.info.ended
        return self.info.started + self.walltime_s if self.walltime_s else 0.0

    @property
    def is_eligible(self) -> bool:
        """Whether it could have started as soon as there was room."""
        return bool(self.info.eligible) and self.info.state != "HELD"


# ---------------------------------------------------------------- choosing


def recent(
    machine: Machine, now: float, *, live_only: bool = False, folded: bool = False
) -> list[Row]:
    """Give what Slurm's controller remembers: what is not over, or only just.

    Args:
        machine: the queue.
        now: seconds since the epoch.
        live_only: leave out what is over.
        folded: see `wire.Query`.
    """
    if live_only:  # a cancelled one may still be COMPLETING
        states = (*LIVE, "CANCELLED")
        rows = machine.rows(states=states, since=now - 120, elements=True, folded=folded)
        return [row for row in rows if not row.done]
    since = now - MIN_JOB_AGE_S
    rows = machine.rows(since=since, elements=True, folded=folded)
    return [row for row in rows if not row.info.ended or row.info.ended >= since or not row.done]


def find(machine: Machine, words: Iterable[str], *, folded: bool = False) -> list[Row]:
    """Give the jobs and elements that ids name, raw ids of elements too.

    Raises:
        BadArray: one of them is no id.
    """
    found: dict[str, Row] = {}
    for word in words:
        for head, indices in ids_of(word):
            ids = [head] if indices is None else [f"{head}_{index}" for index in indices]
            for row in machine.rows(ids, elements=indices is None, folded=folded):
                for each in _numbered(machine, row, head) if indices is None else [row]:
                    found[each.id] = each
    return list(found.values())


def _numbered(machine: Machine, row: Row, head: str) -> list[Row]:
    """Find the element that has a raw number, which is one less than in the queue."""
    text = row.extra.options.get("array", "")
    if row.index is None or str(row.array) == head or not text:
        return [row]
    position = int(head) - row.array
    indices = _array(text).indices()
    if position >= len(indices):
        return []
    return machine.rows([f"{row.array}_{indices[position]}"])


def of_environment(call: Call, job: str) -> list[Row]:
    """Find the job that a process of it asks about by its `SLURM_JOB_ID`."""
    array, index = call.variable("SLURM_ARRAY_JOB_ID"), call.variable("SLURM_ARRAY_TASK_ID")
    if array and index:
        rows = find(call.machine, [f"{array}_{index}"])
        if rows and str(View(rows[0]).raw) == job:
            return rows
    return find(call.machine, [job])


def grouped(rows: Sequence[Row], now: float, *, apart: bool = False) -> list[View]:
    """Put the elements of an array that wait, or never ran, into one line each.

    Args:
        rows: jobs and elements.
        now: seconds since the epoch.
        apart: leave elements apart, as `squeue -r` does.
    """
    groups: dict[tuple[int, str, str], list[Row]] = {}
    views: list[View] = []
    for row in rows:
        if row.is_array:
            continue
        if apart or row.index is None or row.info.started or row.info.attempt:
            views.append(View(row, now=now))
            continue
        kind = re.sub(r"\d+ of at most.*|expected start.*", "", row.info.reason)
        groups.setdefault((row.array, row.info.state, kind), []).append(row)
    live = {array for array, state, _ in groups if state in LIVE}
    for (array, state, _), members in groups.items():
        if state not in LIVE and array in live:
            continue  # Slurm has no record of elements that it never made
        indices = sorted(
            index for row in members for index in row.info.indices or (row.index or 0,)
        )
        if len(indices) == 1 and _is_split(members[0]):
            views.append(View(members[0], now=now))
        else:
            views.append(View(members[0], indices, now))
    return views


def _is_split(row: Row) -> bool:
    """Tell whether Slurm has a record of its own of a single element."""
    return "Dependency" in row.info.reason or row.info.state not in ("HELD", "PENDING")
