"""A step of a job while it runs: its tasks, what becomes of them, who ends them."""

from __future__ import annotations

import os
import re
import select
import signal
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from cluster.emulation.call import Call
from cluster.emulation.slurm import site, steps
from cluster.emulation.slurm.indices import compress
from cluster.emulation.slurm.jobs import View
from cluster.emulation.slurm.step_tasks import Step, tasks_of, work_dir
from cluster.emulation.slurm.times import clock, parse_signal

__all__ = ["Room", "run_command", "run_step"]

_AGAIN_S = 1.0  # within it a second Ctrl-C ends the step
_NAMES = {1: "Hangup", 2: "Interrupt", 3: "Quit", 4: "Illegal instruction",
          5: "Trace/breakpoint trap", 6: "Aborted", 7: "Bus error",
          8: "Floating point exception", 9: "Killed",
          10: "User defined signal 1", 11: "Segmentation fault", 12: "User defined signal 2",
          13: "Broken pipe", 14: "Alarm clock", 15: "Terminated"}  # fmt: skip


# ---------------------------------------------------------------- room in a job

_changed = threading.Condition()
_taken: dict[tuple[int, int], int] = {}


class Room:
    """The cores of a job that a step holds; others wait until they are free."""

    def __init__(self, call: Call, raw: int, attempt: int, wanted: int, there: int) -> None:
        self._call, self._key, self._wanted, self._there = call, (raw, attempt), wanted, there

    def __enter__(self) -> None:
        is_told = False
        with _changed:
            while _taken.get(self._key, 0) and _taken[self._key] + self._wanted > self._there:
                if not is_told:
                    is_told = True
                    self._call.err(
                        f"srun: Job {self._key[0]} step creation temporarily disabled, retrying "
                        "(Requested nodes are busy)\n"
                    )
                _changed.wait(1.0)  # only to see whether the caller is still there
                if self._call.is_gone():
                    raise ConnectionAbortedError("the caller went away")
            _taken[self._key] = _taken.get(self._key, 0) + self._wanted
        if is_told:
            self._call.err(f"srun: Step created for job {self._key[0]}\n")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with _changed:
            _taken[self._key] -= self._wanted
            if not _taken[self._key]:
                del _taken[self._key]
            _changed.notify_all()


# ---------------------------------------------------------------- while it runs


class _Watch:
    """Follows the tasks of one step to their end."""

    def __init__(self, call: Call, step: Step, number: int) -> None:
        self._call, self._step, self._number = call, step, number
        self._host, self._raw = call.machine.host, View(step.row).raw
        self.codes: list[int] = []
        self.signals: list[int] = []
        self.used: dict[str, float] = {}
        self._interrupted = 0.0
        self._is_ended = False
        self._over = step.over
        self._warning = _warning(step)

    def follow(self) -> None:
        """Hear what becomes of the tasks until the last has ended."""
        poll = select.poll()
        poll.register(self._call.fileno(), select.POLLIN)
        if self._over >= 0:
            poll.register(self._over, select.POLLIN)
        while True:
            timeout_s = None
            if self._warning is not None:
                timeout_s = max(0.0, self._warning[1] - time.time())
            ready = [fd for fd, _ in poll.poll(None if timeout_s is None else timeout_s * 1000)]
            if not ready and self._warning is not None:
                self._call.send("signal", self._warning[0])
                self._warning = None
            if self._over in ready:
                poll.unregister(self._over)
                self._job_ended()
            if self._call.fileno() in ready and not self._hear(*self._call.receive()):
                return

    def _hear(self, kind: str, *rest: Any) -> bool:
        if kind == "done":
            # Nothing, from tasks of an older version.
            self.used = dict(zip(("user", "system", "peak_kib"), rest, strict=False))
            return False
        if kind == "pids":
            directory = self._call.machine.state_dir
            steps.note(directory, self._raw, self._number, pids=[pid for pid in rest[0] if pid])
        elif kind == "failed":
            _, number, program = rest
            said = (
                f"execve(): {os.fsdecode(program)}: {os.strerror(number)}"
                if program
                else "No executable program specified for this task"
            )
            self._call.err(f"slurmstepd-{self._host}: error: {said}\n")
        elif kind == "ended":
            self._tell(rest[0])
        elif kind == "signalled":
            self._signalled(rest[0])
        return True

    def _tell(self, ended: Sequence[tuple[int, int]]) -> None:
        by_status: dict[int, list[int]] = {}
        for rank, status in ended:
            by_status.setdefault(status, []).append(rank)
            self.codes.append(0 if status & 0x7F else status >> 8)
            self.signals.append(status & 0x7F)
        for status, ranks in sorted(by_status.items(), key=lambda each: min(each[1])):
            if status:
                many = "tasks" if len(ranks) > 1 else "task"
                how = f"Exited with exit code {status >> 8}"
                if status & 0x7F:
                    how = _NAMES.get(status & 0x7F, f"Unknown signal {status & 0x7F}")
                    how += " (core dumped)" if status & 0x80 else ""
                names = f"{many} {compress(sorted(ranks))}"
                self._call.err(f"srun: error: {self._host}: {names}: {how}\n")
        if self._kills_on_bad_exit() and any(by_status) and not self._is_ended:
            left = self._step.request.ntasks - len(self.codes)
            if left > 0:
                self._abort()

    def _kills_on_bad_exit(self) -> bool:
        return self._step.values.get("kill-on-bad-exit", "0") in ("", "1")

    def _abort(self) -> None:
        name = f"{self._raw}.{self._number}"
        self._call.err(f"srun: launch/slurm: _step_signal: Terminating StepId={name}\n")
        self._say_cancelled()
        self._end()

    def _say_cancelled(self, why: str = "") -> None:
        name = f"{self._raw}.{self._number}"
        self._call.err(
            f"slurmstepd-{self._host}: error: *** STEP {name} ON {self._host} CANCELLED AT "
            f"{clock(time.time())}{why} ***\n"
        )

    def _end(self) -> None:
        self._is_ended = True
        self._call.send("end", site.KILL_WAIT_S)

    def _signalled(self, number: int) -> None:
        now = time.monotonic()
        if number == signal.SIGINT and now - self._interrupted > _AGAIN_S:
            self._interrupted = now
            name = f"{self._raw}.{self._number}"
            count = self._step.request.ntasks
            ranks = "task 0" if count == 1 else f"tasks 0-{count - 1}"
            self._call.err("srun: interrupt (one more within 1 sec to abort)\n")
            self._call.err(f"srun: StepId={name} {ranks}: running\n")
            return
        if number == signal.SIGINT:
            self._call.err(f"srun: sending Ctrl-C to StepId={self._raw}.{self._number}\n")
            self._call.send("signal", int(signal.SIGINT))
            return
        self._job_ended()

    def _job_ended(self) -> None:
        if self._is_ended:
            return
        seconds = site.KILL_WAIT_S + 2
        self._call.err(
            f"srun: Job step aborted: Waiting up to {seconds} seconds for job step to finish.\n"
        )
        if self._over >= 0:
            row = self._call.machine.row(str(self._raw))
            timed_out = row is not None and row.info.state == "TIMEOUT"
            self._say_cancelled(" DUE TO TIME LIMIT" if timed_out else "")
        self._end()


def _warning(step: Step) -> tuple[int, float] | None:
    """Give the signal that `--signal` wants before the time limit, and when."""
    view = View(step.row)
    asked = parse_signal(step.values.get("signal") or view.options.get("signal", ""))
    if asked is None or asked[2] or not view.walltime_s:
        return None
    when = step.row.info.started + view.walltime_s - asked[1]
    return (asked[0], when) if when > time.time() else None


def run_step(call: Call, step: Step) -> tuple[int, int]:
    """Run the tasks of a step; give the worst exit code and signal."""
    state_dir, raw = call.machine.state_dir, View(step.row).raw
    request = step.request
    name = step.values.get("job-name") or os.path.basename(step.words[0])
    cpus = max(request.ntasks * request.cpus_per_task, 1)
    number = steps.begin(
        state_dir, raw, name, attempt=step.row.info.attempt, tasks=request.ntasks, cpus=cpus
    )
    watch = _Watch(call, step, number)
    try:
        call.send("tasks", _message(call, step, number))
        watch.follow()
    except BaseException:
        for each in steps.live(state_dir, raw, step.row.info.attempt):
            if each.number == number:
                steps.send(each, signal.SIGKILL)
        steps.end(state_dir, raw, number, 0, int(signal.SIGKILL))
        raise
    worst_signal = max(watch.signals, default=0)
    code = max(watch.codes, default=0)
    steps.end(state_dir, raw, number, 0 if worst_signal else code, worst_signal, **watch.used)
    if (worst_signal and watch._is_ended) or worst_signal in (signal.SIGKILL, signal.SIGTERM):
        call.err(f"srun: Force Terminated StepId={raw}.{number}\n")
    return (0, worst_signal) if worst_signal else (code, 0)


def _message(call: Call, step: Step, number: int) -> dict[str, Any]:
    values = step.values
    on_terminal = call.terminals[0] and step.request.ntasks == 1
    cpus: list[int] = []
    if step.over >= 0 and step.row.info.pid and hasattr(os, "sched_getaffinity"):
        try:
            cpus = sorted(os.sched_getaffinity(step.row.info.pid))
        except OSError:
            cpus = []
    return {
        "tasks": tasks_of(call, step, number),
        "cwd": work_dir(call, step),
        "label": "label" in values,
        "append": re.match("a", values.get("open-mode", "t"), re.IGNORECASE) is not None,
        "shares_terminal": bool("pty" in values or on_terminal),
        "cpus": cpus,
    }


def run_command(call: Call, argv: list[bytes], env: dict[bytes, bytes], over: int) -> int:
    """Run the one command of salloc to its end; give its exit code."""
    task = {"argv": argv, "env": env, "stdin": None, "stdout": None, "stderr": None}
    call.send("tasks", {
        "tasks": [task], "cwd": call.cwd or b"/", "label": False, "append": False,
        "shares_terminal": True, "cpus": [],
    })  # fmt: skip
    poll = select.poll()
    poll.register(call.fileno(), select.POLLIN)
    poll.register(over, select.POLLIN)
    code = 0
    while True:
        ready = [fd for fd, _ in poll.poll()]
        if over in ready:
            poll.unregister(over)
            call.err("salloc: Job allocation has been revoked.\n")
            call.send("signal", int(signal.SIGHUP))
        if call.fileno() not in ready:
            continue
        kind, *rest = call.receive()
        if kind == "done":
            return code
        if kind == "failed":
            name = os.fsdecode(argv[0])
            call.err(f'salloc: error: _fork_command: Unable to find command "{name}"\n')
            code = 1
        elif kind == "ended" and code == 0:
            status = rest[0][0][1]
            code = 128 + (status & 0x7F) if status & 0x7F else status >> 8
        elif kind == "signalled":
            call.send("signal", rest[0])
