"""qdel, qhold, qrls and qmod: what becomes of jobs that are there."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress
from fnmatch import fnmatchcase

import msgspec

from cluster import states
from cluster.emulation.call import Call, Stop
from cluster.emulation.machine import Machine, Row
from cluster.emulation.sge import jobs, usage
from cluster.emulation.sge.jobs import Target
from cluster.errors import WaitTimeout

__all__ = ["keep", "of_users", "qdel", "qhold", "qmod", "qrls"]

_USR2 = 12
_NOTIFY_S = 60.0


# ---------------------------------------------------------------- qdel


def qdel(call: Call) -> int:
    """Delete jobs and tasks."""
    words = list(call.argv)
    if words[:1] == ["-help"]:
        call.out(usage.text("qdel"))
        return 0
    force = "-f" in words
    words = [word for word in words if word != "-f"]
    users, words = of_users(words)
    if not any(words) and users is None:
        call.err(usage.text("qdel"))
        call.out("ERROR! no option argument\n")
        return 1
    if users is not None:
        return _delete_of(call, users, force)
    code = 0
    for target in jobs.select(call.machine, words, "qdel"):
        if not target.rows:
            call.out(_unknown(call, target.word))
            code = 1
        call.out("".join(_delete(call, row, target.by_task, force) for row in target.rows))
    return code


def of_users(words: Sequence[str]) -> tuple[list[str] | None, list[str]]:
    """Take `-u a,b` out of the words of a command; None if it was not there."""
    rest, users = list(words), None
    while "-u" in rest:
        at = rest.index("-u")
        users = (users or []) + (rest[at + 1].split(",") if at + 1 < len(rest) else [])
        del rest[at : at + 2]
    return users, rest


def _unknown(call: Call, word: str) -> str:
    if word[:1].isdigit():
        return f'denied: job "{word}" does not exist\n'
    return f"The job {word} of user(s) {call.machine.user} does not exist\n"


def _delete_of(call: Call, users: Sequence[str], force: bool) -> int:
    if not any(fnmatchcase(call.machine.user, user) for user in users):
        names = ",".join(users)
        call.out(f"There is no job registered for the following users: {names}\n")
        return 1
    rows = jobs.alive_jobs(call.machine)
    if not rows:
        call.out(f"There is no job registered for the following users: {','.join(users)}\n")
        return 1
    for row in rows:
        call.out(_delete(call, row, False, force))
    return 0


def _delete(call: Call, row: Row, by_task: bool, force: bool) -> str:
    user, machine = call.machine.user, call.machine
    live = [row]
    if row.is_array:
        live = [r for r in machine.rows([row.id], elements=True, folded=True) if _runs(r)]
    running = [each for each in live if _runs(each)]
    if row.info.ending and not row.is_array:
        return f"job {_label(row)} is already in deletion\n"
    said = "".join(
        f"{user} has registered the {_kind(each)} {_label(each)} for deletion\n"
        for each in running if not each.info.ending
    )  # fmt: skip
    if row.is_array and not any(s not in states.FINAL for s in row.info.counts):
        return f"job {row.id} is already in deletion\n"
    waits = not running
    if row.is_array:
        waits = any(row.info.counts.get(s) for s in (states.PENDING, states.HELD))
    if waits:
        said += f"{user} has deleted {_kind(row) if by_task else 'job'} {_label(row)}\n"
    if row.extra.options.get("notify") and running and not force:
        _notify(machine, row)
    else:
        machine.act("cancel", [row.id])
    return said


def _notify(machine: Machine, row: Row) -> None:
    """Warn a job that asked for it, and end it when its time is over."""
    machine.act("signal", [row.id], _USR2)
    state_dir, family = machine.state_dir, machine.family

    def end() -> None:
        mine = Machine(state_dir, family)
        with suppress(WaitTimeout):
            mine.wait([row.id], timeout=_NOTIFY_S)
        mine.act("cancel", [row.id])

    threading.Thread(target=end, daemon=True).start()


def _runs(row: Row) -> bool:
    return row.info.state in states.ACTIVE or row.info.ending


def _kind(row: Row) -> str:
    return "job" if row.index is None else "job-array task"


def _label(row: Row) -> str:
    return row.id.replace("_", ".")


# ---------------------------------------------------------------- holds


def qhold(call: Call) -> int:
    """Put holds on jobs."""
    return _hold_or_release(call, hold=True)


def qrls(call: Call) -> int:
    """Take holds from jobs."""
    return _hold_or_release(call, hold=False)


def _hold_or_release(call: Call, *, hold: bool) -> int:
    words = list(call.argv)
    if words[:1] == ["-help"]:
        call.out(usage.text(call.command))
        return 0
    kinds = "u"
    while "-h" in words:
        at = words.index("-h")
        if at + 1 >= len(words):
            raise Stop(f"{call.command}: -h option must have argument\n", 2)
        kinds = words[at + 1]
        del words[at : at + 2]
    if set(kinds) - set("uosnUOS"):
        raise Stop(f'{call.command}: Unknown hold list "{kinds}" specified to -h option\n', 7)
    users, words = of_users(words)
    if not words and users is None:
        call.err(usage.text(call.command) + "ERROR! no option argument\n")
        return 1
    targets = (
        jobs.select(call.machine, words, call.command)
        if users is None
        else [Target("", jobs.alive_jobs(call.machine))]
    )
    code = 0
    for target in targets:
        if not target.rows:
            call.out(f'denied: job "{target.word}" does not exist\n')
            code = 3
        for row in target.rows:
            said, wrong = change_hold(call, row, kinds, hold=hold)
            call.out(said)
            code = code or wrong
    return code


def change_hold(call: Call, row: Row, kinds: str, *, hold: bool) -> tuple[str, int]:
    """Change the holds of one job; give what is said, and an exit code."""
    had = row.extra.options.get("holds", "")
    kinds = kinds.replace("U", "u")
    if hold and set(kinds) & set("os"):
        who, what = ("operator", "operator") if "o" in kinds.lower() else ("manager", "system")
        return f'denied: "{call.machine.user}" must be {who} to set {what} hold\n', 10
    now = set(had) | set(kinds) if hold else set(had) - set(kinds)
    if row.index is not None:
        call.machine.act("hold" if hold else "release", [row.id])
        return f"modified hold of job-array task {_label(row)}\n", 0
    if not hold and set(kinds) & set("os") and "u" not in kinds:
        return "", 0
    if now != set(had):
        keep(call.machine, row, holds="".join(sorted(now)))
    if jobs.is_error(row):
        return f"modified hold of job {_label(row)}\n", 0
    if not (row.extra.options.get("impossible") or (not now and _waits_too(call.machine, row))):
        call.machine.act("hold" if now else "release", [row.id])
    if row.is_array:
        return _each_task(call, row), 0
    return f"modified hold of job {_label(row)}\n", 0


def _waits_too(machine: Machine, row: Row) -> bool:
    """Whether qalter has made it wait for jobs; it is released when they are over."""
    ids = [id for id in row.extra.options.get("after", "").split(",") if id]
    return any(not other.done for other in machine.rows(ids))


def _each_task(call: Call, row: Row) -> str:
    found = call.machine.rows([row.id], elements=True)
    tasks = [one for one in found if one.info.state not in states.FINAL]
    waiting = [one for one in tasks if not _runs(one)]
    running = [one for one in tasks if _runs(one)]
    return "".join(f"modified hold of job-array task {_label(one)}\n" for one in waiting + running)


def keep(machine: Machine, row: Row, **options: str) -> None:
    """Change what is kept with a job."""
    merged = {name: text for name, text in {**row.extra.options, **options}.items() if text}
    row.extra = msgspec.structs.replace(row.extra, options=merged)
    machine.keep(str(row.array), row.extra)


# ---------------------------------------------------------------- qmod


_VERBS = {"sj": "suspend", "usj": "resume", "cj": "clear", "rj": "requeue",
          "s": "suspend", "us": "resume", "c": "clear", "r": "requeue"}  # fmt: skip
_QUEUES = {"d": "disabled", "e": "enabled", "sq": "suspended", "usq": "unsuspended",
           "cq": "no error", "rq": "rescheduled"}  # fmt: skip


def qmod(call: Call) -> int:
    """Suspend, resume, requeue, or clear the error of jobs."""
    words = [word for word in call.argv if word != "-f"]
    if not words or words[0] == "-help":
        (call.out if words else call.err)(usage.text("qmod"))
        return 0 if words else 1
    name = words[0].removeprefix("-")
    if name in _QUEUES:
        raise Stop(
            f'{call.machine.user}@{call.machine.host} - you have no permission to modify '
            f'queue "{" ".join(words[1:])}"\n', 1
        )  # fmt: skip
    if name not in _VERBS or len(words) < 2:
        call.err(usage.text("qmod") + f'invalid option argument "{words[0]}"\n')
        return 1
    code = 0
    for target in jobs.select(call.machine, words[1:], "qmod"):
        if not target.rows:
            call.out(f'invalid queue or job "{target.word}"\n')
            code = 1
        for row in target.rows:
            said, wrong = _modify(call, row, _VERBS[name])
            call.out(said)
            code = code or wrong
    return code


def _modify(call: Call, row: Row, verb: str) -> tuple[str, int]:
    rows = [row]
    if row.is_array:
        found = call.machine.rows([row.id], elements=True)
        rows = [one for one in found if one.info.state not in states.FINAL]
    said = [_modify_one(call, one, verb) for one in rows]
    return "".join(text for text, _ in said), max((code for _, code in said), default=0)


def _modify_one(call: Call, row: Row, verb: str) -> tuple[str, int]:
    label, user, host = _label(row), call.machine.user, call.machine.host
    kind = "job" if row.index is None else "job-array task"
    if verb == "clear":
        if jobs.is_error(row):
            call.machine.act("release", [row.id])
            return f"{user}@{host} cleared error state of {kind} {label}\n", 1
        if _runs(row):
            return f"{kind.capitalize()} {label} is not in error state\n", 1
    if not _runs(row):
        task = label if row.index is not None else f"{label}.1"
        text = f"Modify operation can not be applied on job-array task {task} in"
        return f"{text} pending/hold state\n", 1 if verb == "clear" else 0
    if verb == "requeue":
        if row.extra.options.get("r") != "y":
            text = f"The {kind} {label} is running in queue none where jobs are not rerunable.\n"
            return text, 0
        call.machine.act("requeue", [row.id])
        return f"Pushed rescheduling of {kind} {label} on host {host}\n", 0
    is_stopped = row.info.state == states.SUSPENDED
    done = "suspended" if verb == "suspend" else "unsuspended"
    if is_stopped == (verb == "suspend"):
        return f"{user} - {kind} {label} is already {done}\n", 0
    call.machine.act(verb, [row.id])
    return f"{user} - {done} {kind} {label}\n", 0
