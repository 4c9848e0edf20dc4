"""What changes jobs that are there: qdel, qhold, qrls, qsig, qrerun, qmove, qmsg, qorder, qrun."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import msgspec

from cluster.emulation.call import Call, Stop
from cluster.emulation.machine import Row
from cluster.emulation.pbs import flavour, ids
from cluster.emulation.pbs.views import is_listed, is_queue
from cluster.emulation.pbs.words import BadOption, options
from cluster.states import FINAL, HELD, PENDING, RUNNING, SUSPENDED

__all__ = ["change", "each", "qdel", "qhold", "qmove", "qmsg", "qorder", "qrerun", "qrls", "qrun",
           "qsig", "read"]  # fmt: skip

_HOLDS = frozenset("uosnp")


def read(call: Call, known: str) -> tuple[dict[str, str], list[str]]:
    """Read a command's options and the ids it names; answer `--version`."""
    try:
        given, operands, _ = options(call.argv, known)
    except BadOption as error:
        raise flavour.usage(call, str(error)) from None
    asked = dict(given)
    if "--version" in asked:
        own = flavour.of(call)
        (call.out if own.is_pro else call.err)(own.banner)
        raise Stop("", 0)
    if any(letter.startswith("--") for letter in asked):
        raise flavour.usage(call)
    return asked, operands


def each(call: Call, texts: list[str], act: Callable[[Row, str], int]) -> int:
    """Do something to each job that is named; give the exit code of the last trouble.

    Args:
        act: gets a job that is not over and its id; returns an exit code.
    """
    if not texts:
        raise flavour.usage(call)
    code = 0
    for name, text, rows in ids.lookup(call, texts):
        shown = name.shown if name else text
        if name is None:
            call.err(f"{call.command}: illegally formed job identifier: {text}\n")
            code = 1
        elif not rows:
            code = flavour.refused(call, "unknown job", shown)
        for row in rows:
            code = _one(call, row, act) or code
    return code


def _one(call: Call, row: Row, act: Callable[[Row, str], int]) -> int:
    label, own = ids.label(row, call.machine.host), flavour.of(call)
    if not row.done:
        return act(row, label)
    if is_listed(row, own, history=own.is_pro, now=time.time()):
        return flavour.refused(call, "finished", label)
    return flavour.refused(call, "unknown job", label)


def change(call: Call, row: Row, *drop: str, **options: str) -> None:
    """Keep something with a job, or no more; nothing can be kept with an element."""
    if row.index is not None:
        return
    kept = {name: value for name, value in row.extra.options.items() if name not in drop}
    row.extra = msgspec.structs.replace(row.extra, options={**kept, **options})
    call.machine.keep(row.id, row.extra)


# ---------------------------------------------------------------- the commands


def qdel(call: Call) -> int:
    """Delete jobs: SIGTERM, then SIGKILL."""
    own = flavour.of(call)
    asked, names = read(call, "W:xfs:" if own.is_pro else "ab:cm:pt:W:")
    if not own.is_pro and (names in (["all"], ["ALL"]) or "a" in asked):
        names = [ids.label(row, call.machine.host) for row in call.machine.rows() if not row.done]
        if not names:
            return 0

    def delete(row: Row, label: str) -> int:
        if row.info.state in FINAL:  # being ended already
            return 0 if own.is_pro else flavour.refused(call, "state", label)
        change(call, row, deleted="1")
        call.machine.act("cancel", [row.id])
        return 0

    if "x" in asked and own.is_pro:
        return _with_history(call, names, delete)
    return each(call, names, delete)


def _with_history(call: Call, names: list[str], delete: Callable[[Row, str], int]) -> int:
    """Delete jobs from the history, too; ours keeps what is over, and says nothing."""
    code = 0
    for name, text, rows in ids.lookup(call, names):
        if not rows:
            code = flavour.refused(call, "unknown job", name.shown if name else text)
        for row in rows:
            code = (0 if row.done else delete(row, "")) or code
    return code


def qhold(call: Call) -> int:
    """Hold jobs; one that runs goes on, and is held if it ever comes back."""
    asked, names = read(call, "h:t:")
    kinds = _kinds(call, asked.get("h", "u"))

    def hold(row: Row, label: str) -> int:
        held = set(row.extra.options.get("holds", "")) | (kinds - {"n"})
        change(call, row, holds="".join(sorted(held, reverse=True)))
        if row.info.state not in (RUNNING, SUSPENDED):
            call.machine.act("hold", [row.id])
        return 0

    return each(call, names, hold)


def qrls(call: Call) -> int:
    """Release jobs that are held."""
    asked, names = read(call, "h:t:")
    kinds = _kinds(call, asked.get("h", "u"))

    def release(row: Row, label: str) -> int:
        left = set(row.extra.options.get("holds", "")) - kinds
        if left:
            change(call, row, holds="".join(sorted(left, reverse=True)))
            return 0
        if "holds" in row.extra.options:
            change(call, row, "holds")
        if "never" not in row.extra.options:
            call.machine.act("release", [row.id])
        return 0

    return each(call, names, release)


def _kinds(call: Call, text: str) -> set[str]:
    if not text or not set(text) <= _HOLDS:
        raise flavour.usage(call, "illegal -h value")
    return set(text)


def qsig(call: Call) -> int:
    """Send a signal to the processes of jobs."""
    asked, names = read(call, "s:a")
    text = asked.get("s", "SIGTERM")
    verbs = {"suspend": "suspend", "admin-suspend": "suspend", "resume": "resume"}
    verbs |= {"SUSPEND": "suspend", "RESUME": "resume", "admin-resume": "resume"}
    number = _signal(text)

    def send(row: Row, label: str) -> int:
        if text not in verbs and number is None:
            return flavour.refused(call, "signal", label)
        if row.info.state not in (RUNNING, SUSPENDED) and not row.info.counts:
            return flavour.refused(call, "state", label)
        call.machine.act(verbs.get(text, "signal"), [row.id], number or 0)
        return 0

    return each(call, names, send)


def _signal(text: str) -> int | None:
    if text.isascii() and text.isdigit():
        return int(text) if int(text) < signal.NSIG else None
    name = text.upper()
    known = signal.Signals.__members__.get(name if name.startswith("SIG") else f"SIG{name}")
    return None if known is None else int(known)


def qrerun(call: Call) -> int:
    """End jobs, and queue them again."""
    _, names = read(call, "W:fm:")

    def rerun(row: Row, label: str) -> int:
        if row.info.state not in (RUNNING, SUSPENDED) and not row.info.counts:
            return flavour.refused(call, "state", label)
        if row.extra.options.get("r", "y") == "n":
            call.err(f"qrerun: Job is not rerunnable {label}\n")
            return 15047 % 256
        call.machine.act("requeue", [row.id])
        return 0

    return each(call, names, rerun)


def qmove(call: Call) -> int:
    """Put waiting jobs into another queue."""
    _, words = read(call, "")
    if len(words) < 2:
        raise flavour.usage(call)
    queue = words[0].partition("@")[0]
    strict = call.settings.strict or call.settings.partitions
    if not queue or (strict and not is_queue(call, queue)):
        return flavour.refused(call, "queue", words[1])

    def move(row: Row, label: str) -> int:
        if row.info.state not in (PENDING, HELD):
            return flavour.refused(call, "state", label)
        row.extra = msgspec.structs.replace(row.extra, partition=queue)
        call.machine.keep(row.id, row.extra)
        return 0

    return each(call, words[1:], move)


def qmsg(call: Call) -> int:
    """Write a message into the output of running jobs."""
    asked, words = read(call, "EO")
    if len(words) < 2:
        raise flavour.usage(call)

    def tell(row: Row, label: str) -> int:
        if row.info.state != RUNNING or row.info.counts:
            return flavour.refused(call, "state", label)
        for path in [row.info.stdout] * ("O" in asked) + [row.info.stderr] * (
            "E" in asked or "O" not in asked
        ):
            _append(path, words[0])
        return 0

    return each(call, words[1:], tell)


def _append(path: bytes, text: str) -> None:
    try:
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return
    try:
        os.write(file, os.fsencode(text) + b"\n")
    finally:
        os.close(file)


def qorder(call: Call) -> int:
    """Exchange the places of two waiting jobs: their priorities, that is."""
    _, words = read(call, "")
    if len(words) != 2:
        raise flavour.usage(call)
    rows: list[Row] = []

    def collect(row: Row, label: str) -> int:
        if row.info.state not in (PENDING, HELD):
            return flavour.refused(call, "state", label)
        rows.append(row)
        return 0

    code = each(call, words, collect)
    if code or len(rows) != 2:
        return code
    first, second = (row.info.priority for row in rows)
    if first == second:  # by age then: lift the one that shall pass
        younger = 0 if rows[0].array > rows[1].array else 1
        first, second = (first, second + 1) if younger == 0 else (first + 1, second)
    call.machine.act("priority", [rows[0].id], second)
    call.machine.act("priority", [rows[1].id], first)
    return 0


def qrun(call: Call) -> int:
    """Run a job now: only operators may."""
    _, names = read(call, "aH:")

    def refuse(row: Row, label: str) -> int:
        call.err(f"{call.command}: Unauthorized Request  {label}\n")
        return 15007 % 256

    return each(call, names, refuse)
