"""The steps of jobs (what srun ran): remembered beside the queue, and signalled.

One file for each job, to which lines are added; so steps outlive the emulation,
and a signal finds the processes of a step that another thread started.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from cluster.emulation.call import Call
from cluster.emulation.machine import Row
from cluster.emulation.slurm.jobs import View
from cluster.emulation.slurm.times import duration

__all__ = ["Step", "StepLine", "begin", "end", "lines_of", "live", "note", "read", "send"]

_lock = threading.Lock()


@dataclass
class Step:
    """A step.

    Attributes:
        number: from 0.
        attempt: of the job that it belongs to.
        pids: first process of each task, each with a group of its own.
        ended: 0 while it runs.
        code, signal: of its worst task.
        by: who cancelled it, "" nobody.
        user, system: seconds of processors that its tasks used; `peak_kib` of memory, by one.
    """

    number: int
    name: str
    attempt: int = 1
    tasks: int = 1
    cpus: int = 1
    started: float = 0.0
    ended: float = 0.0
    code: int = 0
    signal: int = 0
    by: str = ""
    user: float = 0.0
    system: float = 0.0
    peak_kib: int = 0
    pids: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class StepLine:
    """A step that runs, as squeue -s lists it."""

    id: str
    name: str
    partition: str
    elapsed: str


def _path(state_dir: str, raw: int) -> str:
    return os.path.join(state_dir, "emulation", "slurm", "steps", str(raw))


def _add(state_dir: str, raw: int, entry: dict[str, Any]) -> None:
    path = _path(state_dir, raw)
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, json.dumps(entry).encode() + b"\n")
    finally:
        os.close(fd)


def read(state_dir: str, raw: int) -> list[Step]:
    """Give the steps that a job had and has."""
    found: dict[int, Step] = {}
    with suppress(OSError), open(_path(state_dir, raw), "rb") as file:
        for line in file:
            entry = json.loads(line)
            number = entry["number"]
            if number not in found:
                found[number] = Step(number, entry["name"])
            for name, value in entry.items():
                setattr(found[number], name, value)
    return list(found.values())


def begin(state_dir: str, raw: int, name: str, **fields: Any) -> int:
    """Record the start of a step; give its number."""
    with _lock:
        number = len(read(state_dir, raw))
        entry = {"number": number, "name": name, "started": time.time(), **fields}
        _add(state_dir, raw, entry)
    return number


def note(state_dir: str, raw: int, number: int, **fields: Any) -> None:
    """Record something about a step."""
    _add(state_dir, raw, {"number": number, **fields})


def end(state_dir: str, raw: int, number: int, code: int, signal: int, **used: float) -> None:
    """Record the end of a step, and what it used."""
    note(state_dir, raw, number, ended=time.time(), code=code, signal=signal, **used)


def live(state_dir: str, raw: int, attempt: int) -> list[Step]:
    """Give the steps that run."""
    steps = read(state_dir, raw)
    return [step for step in steps if not step.ended and step.attempt == attempt]


def send(step: Step, number: int) -> None:
    """Send a signal to all tasks of a step."""
    for pid in step.pids:
        with suppress(OSError):
            os.killpg(pid, number)
            if number in (signal.SIGTERM, signal.SIGKILL):
                os.killpg(pid, signal.SIGCONT)


def lines_of(call: Call, rows: Sequence[Row]) -> list[StepLine]:
    """Give the steps that run of jobs, the batch script last."""
    found: list[StepLine] = []
    now = time.time()
    for row in rows:
        view = View(row, now=now)
        if view.state != "RUNNING":
            continue
        label, partition = row.id, row.extra.partition
        for step in live(call.machine.state_dir, view.raw, row.info.attempt):
            name = f"{label}.{step.number}"
            found.append(StepLine(name, step.name, partition, duration(now - step.started)))
        if view.is_batch:
            elapsed = duration(view.elapsed_s)
            found.append(StepLine(f"{label}.batch", "batch", partition, elapsed))
    return found
