"""The jobs of the queue as Grid Engine lists them: letters, tasks, order, and who is meant.

A job that is no array has one task whose number nobody shows.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from cluster import states
from cluster.emulation.call import Stop
from cluster.emulation.machine import Machine, Row
from cluster.emulation.sge import values

__all__ = [
    "Line",
    "Target",
    "error",
    "is_error",
    "job",
    "letters",
    "lines",
    "select",
    "tasks_of",
    "waits",
]

_ALIVE = tuple(state for state in states.ALL if state not in states.FINAL)
_ERROR = "Error: "  # begins the reason of what was started in vain, see `JobSpec.codes`
_ENDING_S = 300.0  # the longest that we look back for those being ended
_PRIORITY = 0.555  # of a job nobody gave a priority, as installed
_WORD = re.compile(r"(\d+)(?:\.(.+))?\Z", re.ASCII)


# ---------------------------------------------------------------- states


def is_error(row: Row) -> bool:
    """Whether it was started in vain, and waits for someone to clear that."""
    return row.info.state == states.HELD and row.info.reason.startswith(_ERROR)


def error(row: Row) -> str:
    """Say why, as Grid Engine does."""
    text = row.info.reason.removeprefix(_ERROR).partition("; Held:")[0]
    if text == "exit code 100":
        return "exit_status of job start = 100"
    for ours, theirs in (("output file", "open output file"), ("working directory", "chdir to")):
        match = re.match(rf"{ours} (.*): ([^:]*)$", text)
        if match and ours == "output file":
            return f'error: can\'t {theirs} "{match[1]}": {match[2]}'
        if match:
            return f"error: can't {theirs} {match[1]}: {match[2]}"
    return f"error: {text}"


def waits(row: Row) -> bool:
    """Whether it waits for other jobs."""
    return row.info.state == states.PENDING and "Dependency: waits" in row.info.reason


def letters(row: Row) -> str:
    """Give the state as qstat shows it."""
    info, held = row.info, "h" if row.extra.options.get("holds") else ""
    if info.ending:
        return "dr"
    if info.state in states.FINAL:
        return "z"
    if info.state == states.RUNNING:
        return held + ("Rr" if info.attempt > 1 else "r")
    if info.state == states.SUSPENDED:
        return held + ("Rs" if info.attempt > 1 else "s")
    if is_error(row):
        return "Eqw"
    waiting = "Rq" if info.attempt and not _was_error(row) else "qw"
    no_place = info.state == states.HELD and row.extra.options.get("impossible") and not held
    is_held = (info.state == states.HELD and not no_place) or waits(row)
    return ("h" if is_held else "") + waiting


def _was_error(row: Row) -> bool:
    return row.info.reason.startswith(_ERROR)


def priority(row: Row) -> float:
    """Give the number in the column `prior`; 0 for what is not to be scheduled."""
    info = row.info
    pending = info.state == states.PENDING and not waits(row) and info.begin <= time.time()
    pending = pending and "Array limit" not in info.reason
    is_seen = info.state in states.ACTIVE or pending or is_error(row)
    return _PRIORITY + info.priority / 2048 * 0.1 if is_seen else 0.0


# ---------------------------------------------------------------- lists


@dataclass
class Line:
    """One line of qstat: a running task, or tasks that wait in the same state.

    Attributes:
        row: of the task, or of one of them.
        state: letters.
        prior: its priority.
        tasks: as they are listed; empty for what is no array.
    """

    row: Row
    state: str
    prior: float
    tasks: str

    @property
    def is_running(self) -> bool:
        return self.row.info.state in states.ACTIVE or self.row.info.ending

    @property
    def when(self) -> float:
        """When it started, or was submitted."""
        started = self.row.info.started if self.is_running else 0.0
        return started or self.row.info.submitted

    @property
    def queue(self) -> str:
        """`all.q@host`, where it runs."""
        return f"{self.row.extra.partition}@{self.host}" if self.is_running else ""

    @property
    def host(self) -> str:
        return self.row.extra.options.get("host", "") or self.row.info.host.partition(".")[0]

    @property
    def slots(self) -> int:
        return self.row.extra.cores


def alive(machine: Machine, *, each: bool = False) -> list[Row]:
    """Give what is not over: arrays whole where no task differs, else by task."""
    rows: list[Row] = []
    for row in alive_jobs(machine):
        if not row.is_array:
            rows.append(row)
            continue
        same = len(row.info.counts) == 1 and next(iter(row.info.counts)) in ("PENDING", "HELD")
        if same and not each and not row.extra.options.get("elements"):
            rows.append(row)
        else:
            found = machine.rows([row.id], elements=True, folded=not each)
            rows += [r for r in found if r.info.state not in states.FINAL or r.info.ending]
    return rows


def tasks_of(row: Row) -> tuple[int, ...]:
    """Give the numbers of the tasks of an array; () for what is none."""
    text = row.extra.options.get("t", "")
    return values.tasks(text, "qstat") if text else ()


def lines(rows: Iterable[Row], *, grouped: bool = True) -> list[Line]:
    """Put rows into the order and the groups in which qstat lists them."""
    running: list[Line] = []
    waiting: dict[tuple[int, str], list[Row]] = {}
    for row in rows:
        state = letters(row)
        if row.info.state in states.ACTIVE or row.info.ending or state == "z":
            task = "" if row.index is None else str(row.index)
            if row.is_array:
                task = values.short(tasks_of(row))
            running.append(Line(row, state, 0.0 if state == "z" else priority(row), task))
        else:
            key = (row.array, state) if grouped else (row.array, f"{state} {row.index}")
            waiting.setdefault(key, []).append(row)
    running.sort(key=lambda line: (line.row.array, line.row.index or 0))
    pending = [_group(group) for group in waiting.values()]
    pending.sort(key=lambda line: (-round(line.prior, 5), -line.slots * bool(line.prior),
                                   line.row.array, line.row.index or 0))  # fmt: skip
    return running + pending


def _numbers(row: Row) -> Sequence[int]:
    if row.info.indices:
        return row.info.indices
    return () if row.index is None else (row.index,)


def _group(rows: Sequence[Row]) -> Line:
    first = rows[0]
    state = letters(first)
    numbers = tuple(sorted(number for row in rows for number in _numbers(row)))
    if first.is_array:
        numbers = tasks_of(first)
        whole = values.structure(numbers)
        return Line(first, state, priority(first), whole if len(numbers) > 2 else
                    values.short(numbers))  # fmt: skip
    return Line(first, state, priority(first), values.short(numbers))


# ---------------------------------------------------------------- who is meant


@dataclass
class Target:
    """What one word of a command means.

    Attributes:
        word: as it was typed.
        rows: what it names and is not over: jobs, arrays, or single tasks.
        by_task: tasks were named.
    """

    word: str
    rows: list[Row]
    by_task: bool = False


def select(machine: Machine, words: Sequence[str], program: str) -> list[Target]:
    """Find out what `41`, `41.1-3`, `41 -t 2`, a name, or a pattern mean.

    Raises:
        Stop: a range cannot be read.
    """
    targets: list[Target] = []
    listed: list[tuple[str, str]] = []
    queue = list(words)
    while queue:
        word = queue.pop(0)
        if word == "-t" and queue:
            chosen = queue.pop(0)
            if not listed:
                raise Stop(
                    f"found lonely '-t {chosen}' option "
                    "(The -t option needs a leading job name).\n", 2
                )  # fmt: skip
            listed[-1] = (listed[-1][0], chosen)
        else:
            listed += [(part, "") for part in word.split(",") if part]
    everything: list[Row] | None = None
    for word, chosen in listed:
        match = _WORD.match(word)
        if match is None and everything is None:
            everything = alive_jobs(machine)
        if match is None:
            named = [row for row in everything or () if fnmatchcase(row.info.name, word)]
            targets.append(_narrowed(machine, Target(word, named), chosen, program))
        else:
            row = job(machine, match[1])
            rows = [row] if row is not None and _is_alive(row) else []
            chosen = chosen or match[2] or ""
            targets.append(_narrowed(machine, Target(match[1], rows), chosen, program))
    return targets


def job(machine: Machine, number: str) -> Row | None:
    """Give a job or array; the numbers that tasks have in the queue are nobody's here."""
    row = machine.row(number)
    return row if row is not None and row.index is None else None


def alive_jobs(machine: Machine) -> list[Row]:
    """Give jobs and arrays that are not over."""
    shown = (*_ALIVE, states.CANCELLED)  # those that are being ended are cancelled already
    found = machine.rows(states=shown, since=time.time() - _ENDING_S)
    return [row for row in found if _is_alive(row)]


def _is_alive(row: Row) -> bool:
    if row.info.ending:
        return True
    if row.is_array:
        return not row.info.ended
    return row.info.state not in states.FINAL


def _narrowed(machine: Machine, target: Target, chosen: str, program: str) -> Target:
    if not chosen:
        return target
    if not re.fullmatch(r"[\d,:-]+", chosen):
        return Target(target.word, [])
    numbers = [n for part in chosen.split(",") if part for n in values.tasks(part, program)]
    wanted = [f"{row.id}_{number}" for row in target.rows if row.is_array for number in numbers] + [
        row.id for row in target.rows if not row.is_array and numbers == [1]
    ]
    found = [row for row in machine.rows(wanted) if _is_alive(row)]
    return Target(target.word, found, by_task=True)
