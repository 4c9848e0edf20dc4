"""What became of the jobs of a node that died; for the server to ask.

    journal ──> examine ──┬─ exited   its exit is in the journal, its output in the slot
                          ├─ gone     no process; a function's own result may still tell how
                          └─ alive ──> Survivors ──> the same, once it has ended

The node's successor keeps the journal's open entries and their slots until the
server acknowledges them (`wire.Ack`), so all of this can be asked again when
the server dies in between.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from cluster.local import journal, places, processes, slots, wire
from cluster.local.journal import Entry, Key
from cluster.local.results import ENVELOPE, MAGIC

WHY_LOST = "node"
REASON_LOST = "exit status lost with the node"
REASON_REBOOT = "the machine was restarted while it ran"
REASON_NEVER = "the node ended before it could start it"
LEFTOVER_GRACE_S = 5.0
POLL_S = 0.2  # while leftovers are being ended, or where there are no pidfds
MEASURE_S = 1.0  # between two measurements of memory
_VALUE, _EXIT = 0, 2


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of one job.

    Attributes:
        key: raw job id and attempt.
        state: as drawn above.
        exited: the report that the node did not live to make; None while alive.
        processes: what of it still runs: all of it if alive, else what it left.
        entry: what the journal says.
    """

    key: Key
    state: Literal["exited", "alive", "gone"]
    exited: wire.Exited | None
    processes: tuple[processes.Process, ...]
    entry: Entry


def examine(state_dir: str, *, living_node: int = 0) -> list[Finding]:
    """Find out what became of every job that is open in the journal.

    Args:
        state_dir: as `lifecycle.state_dir()` gives it.
        living_node: pid of the node that serves now (0: none); its own jobs
            are left out.

    Returns:
        One finding for each job; those with `processes` are for `Survivors`.
    """
    entries = [each for each in journal.read(state_dir) if not _is_of(each, living_node)]
    if not entries:
        return []
    mark = places.token(state_dir)
    marked = processes.with_tokens(f"{mark}.")
    return [
        _examine(state_dir, entry, marked.get(_token(mark, journal.key_of(entry.begin)), []))
        for entry in entries
    ]


def _is_of(entry: Entry, living_node: int) -> bool:
    return bool(living_node) and (entry.node.pid, entry.node.boot_id) == (
        living_node,
        processes.boot_id(),
    )


def _token(mark: str, key: Key) -> str:
    return f"{mark}.{key[0]}.{key[1]}"


def _examine(state_dir: str, entry: Entry, marked: list[processes.Process]) -> Finding:
    key = journal.key_of(entry.begin)
    if entry.ended is not None:
        return Finding(key, "exited", _exited(state_dir, entry), tuple(marked), entry)
    if (leader := _leader(entry, marked)) is not None:
        return Finding(key, "alive", None, tuple(_tree(leader, marked)), entry)
    return Finding(key, "gone", _exited(state_dir, entry), tuple(marked), entry)


def _leader(entry: Entry, marked: list[processes.Process]) -> processes.Process | None:
    """Find the job's first process, if it runs: this boot, this pid, this start."""
    if entry.node.boot_id != processes.boot_id():
        return None
    spawned = entry.spawned
    if spawned is None or not spawned.ticks:
        # the node died between making it and writing its pid: it leads its own session
        return next((each for each in marked if each.session == each.pid), None)
    found = processes.look(spawned.pid)
    if found is None or not found.lives or not spawned.is_process(found.pid, found.ticks):
        return None
    return found


def _tree(
    leader: processes.Process, marked: Iterable[processes.Process]
) -> list[processes.Process]:
    tree = processes.trees([leader.pid])
    pids = {process.pid for process in tree}
    return tree + [process for process in marked if process.pid not in pids]


def _exited(state_dir: str, entry: Entry, *, was_seen: bool = False) -> wire.Exited:
    """Make the report of a job without a leader; `was_seen`: it had one."""
    key, begin, ended = journal.key_of(entry.begin), entry.begin, entry.ended
    # before it was spawned its slot may hold what another job wrote
    has_run = was_seen or entry.spawned is not None or _has_result(state_dir, begin)
    content = wire.Content()
    if has_run and (ended is None or ended.why != "start"):
        content = slots.collect(
            state_dir,
            begin.slot,
            *key,
            named=(begin.stdout, begin.stderr),
            result=begin.kind == "function",
        )
    if ended is not None:
        return wire.Exited(**msgspec.structs.asdict(ended), content=content)
    status = _status_of_result(content.result, key) if begin.kind == "function" else None
    started = entry.spawned.time if entry.spawned else begin.time
    return wire.Exited(
        *key,
        status=status or 0,
        why="" if status is not None else WHY_LOST,
        reason="" if status is not None else _why_gone(entry, has_run=has_run),
        started=started,
        ended=time.time() if has_run else started,
        content=content,
    )


def _has_result(state_dir: str, begin: journal.Begin) -> bool:
    """Tell whether the function wrote its result; the node may have died before its pid."""
    if begin.kind != "function":
        return False
    result = wire.Output(file=os.fsencode(slots.slot_path(state_dir, begin.slot, "res")))
    return _status_of_result(result, journal.key_of(begin)) is not None


def _why_gone(entry: Entry, *, has_run: bool) -> str:
    if entry.node.boot_id != processes.boot_id():
        return REASON_REBOOT
    return REASON_LOST if has_run else REASON_NEVER


def _status_of_result(output: wire.Output, key: Key) -> int | None:
    """Give the wait status that a function's whole result stands for; None without one."""
    data = output.data
    if output.file:
        with contextlib.suppress(OSError), open(output.file, "rb") as file:
            data = file.read()
    if len(data) < ENVELOPE.size:
        return None
    magic, status, attempt, job, reason, body = ENVELOPE.unpack_from(data)
    start = ENVELOPE.size + reason
    if magic != MAGIC or (job, attempt) != key or len(data) != start + body:
        return None
    if status == _VALUE:
        return 0
    text = data[start:] if status == _EXIT else b""
    return (int(text) & 0xFF if text.isdigit() else 1) << 8


@dataclass(slots=True)
class _Survivor:
    finding: Finding
    fd: int = -1
    why: str = ""
    reason: str = ""
    kill_at: float = 0.0
    end_at: float = math.inf
    walltime_s: float = 0.0
    memory_mib: int = 0
    grace_s: float = 0.0
    known: set[processes.Process] = field(default_factory=set)


class Survivors:
    """Watches what outlived its node, and reports each job once all of it is gone.

    Nothing here blocks.  The server waits for `fds` and `timeout_s` with
    everything else it waits for, and then calls `turn`.

    Args:
        state_dir: as for `examine`.
        findings: what `examine` gave; those without processes are reported by
            the first turn.
    """

    def __init__(self, state_dir: str, findings: Iterable[Finding]) -> None:
        self._state_dir, self._mark = state_dir, places.token(state_dir)
        self._jobs = {finding.key: _Survivor(finding) for finding in findings}
        self._next_measure = 0.0
        for job in self._jobs.values():
            if job.finding.state == "alive":
                job.fd = _open_pidfd(job.finding.processes[0])

    @property
    def keys(self) -> list[Key]:
        """The jobs not yet reported."""
        return list(self._jobs)

    def fds(self) -> list[int]:
        """Give pidfds; one can be read when the first process of a job ended.

        After a turn ask again: those of reported jobs are closed, and a job that
        is being ended is looked at every `timeout_s`, or its fd would never rest.
        """
        return [job.fd for job in self._jobs.values() if job.fd >= 0 and not job.kill_at]

    def timeout_s(self) -> float | None:
        """Tell how soon `turn` must be called even if no descriptor is ready; None: never."""
        jobs = self._jobs.values()
        due = [job.end_at - time.monotonic() for job in jobs if job.end_at < math.inf]
        due += [POLL_S for job in jobs if job.fd < 0 or job.kill_at][:1]
        due += [MEASURE_S for job in jobs if job.memory_mib][:1]
        return max(min(due), 0.0) if due else None

    def limit(self, key: Key, *, walltime_s: float, memory_mib: int, grace_s: float) -> None:
        """Watch the limits of a job, as its node would; 0 is none.

        Its walltime counts from its start; what the machine slept since counts too.
        """
        job = self._jobs.get(key)
        if job is None or job.finding.state != "alive":
            return
        job.memory_mib, job.walltime_s, job.grace_s = memory_mib, walltime_s, grace_s
        if walltime_s:
            ran_s = processes.age_s(job.finding.processes[0])
            job.end_at = time.monotonic() + walltime_s - ran_s

    def _enforce(self, now: float) -> None:
        for key, job in self._jobs.items():
            if job.end_at <= now:
                job.end_at = math.inf
                reason = f"it reached its walltime of {job.walltime_s:g} s"
                self.end(key, "walltime", grace_s=job.grace_s, reason=reason)
        if now < self._next_measure:
            return
        self._next_measure = now + MEASURE_S
        for key, job in self._jobs.items():
            if job.memory_mib and not job.why:
                used = processes.memory_mib(self._tree(job), limit_mib=job.memory_mib)
                if used > job.memory_mib:
                    reason = f"it used {used:.0f} MiB of memory, its limit is {job.memory_mib} MiB"
                    self.end(key, "memory", grace_s=0.0, reason=reason)

    def turn(self) -> list[wire.Exited]:
        """Give the reports of the jobs of which nothing is left; end what jobs left."""
        now = time.monotonic()
        self._enforce(now)
        over = []
        candidates = [job for job in self._jobs.values() if job.kill_at or not _runs(job)]
        marked = (
            processes.with_tokens(f"{self._mark}.")
            if any(job.finding.processes for job in candidates)
            else {}
        )
        for job in candidates:
            left = self._left(job, marked.get(_token(self._mark, job.finding.key), []))
            if left:
                self._end_left(job, left, now)
            else:
                over.append(self._report(job))
        return over

    def _left(self, job: _Survivor, marked: list[processes.Process]) -> list[processes.Process]:
        job.known.update(job.finding.processes, marked)
        job.known = {each for each in job.known if processes.is_same(each.pid, each.ticks)}
        return list(job.known)

    def _end_left(self, job: _Survivor, left: list[processes.Process], now: float) -> None:
        if not job.kill_at:
            job.kill_at = now + LEFTOVER_GRACE_S
            _send_all(left, signal.SIGTERM, signal.SIGCONT)
        elif now >= job.kill_at:
            _send_all(left, signal.SIGKILL)

    def _report(self, job: _Survivor) -> wire.Exited:
        if job.fd >= 0:
            os.close(job.fd)
        del self._jobs[job.finding.key]
        if job.finding.exited is not None:
            return job.finding.exited
        was_seen = job.finding.state == "alive"
        exited = _exited(self._state_dir, job.finding.entry, was_seen=was_seen)
        if not job.why:
            return exited
        return msgspec.structs.replace(exited, why=job.why, reason=job.reason)

    def end(self, key: Key, why: str, *, grace_s: float, reason: str = "") -> None:
        """End all processes of a job; `why` comes back in its report."""
        job = self._jobs.get(key)
        if job is None:
            return
        if not job.why:
            job.why, job.reason = why, reason
        if not job.kill_at:
            _send_all(self._tree(job), signal.SIGTERM, signal.SIGCONT)
        until = time.monotonic() + grace_s
        job.kill_at = min(job.kill_at, until) if job.kill_at else until

    def signal(self, key: Key, number: int) -> None:
        """Send a signal to all processes of a job."""
        if job := self._jobs.get(key):
            _send_all(self._tree(job), number)

    def _tree(self, job: _Survivor) -> list[processes.Process]:
        token = _token(self._mark, job.finding.key)
        marked = processes.with_tokens(token).get(token, [])
        first = next(iter(job.finding.processes), None)
        if first is None or not processes.is_same(first.pid, first.ticks):
            found = marked
        else:
            found = _tree(first, marked)
        job.known.update(found)
        return found

    def close(self) -> None:
        """Watch no more; the jobs go on."""
        for job in self._jobs.values():
            if job.fd >= 0:
                os.close(job.fd)
        self._jobs.clear()


def _runs(job: _Survivor) -> bool:
    """Tell whether the first process of a job runs."""
    if job.finding.state != "alive":
        return False
    first = job.finding.processes[0]
    if job.fd < 0:
        return processes.is_same(first.pid, first.ticks)
    poll = select.poll()
    poll.register(job.fd, select.POLLIN)
    return not poll.poll(0)


def _open_pidfd(process: processes.Process) -> int:
    if not hasattr(os, "pidfd_open"):
        return -1
    try:
        fd = os.pidfd_open(process.pid)
    except OSError:
        return -1
    if processes.is_same(process.pid, process.ticks):
        return fd
    os.close(fd)
    return -1


def _send_all(targets: Iterable[processes.Process], *numbers: int) -> None:
    for process in list(targets):
        for number in numbers:
            processes.send(process, number)
