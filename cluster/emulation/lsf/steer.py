"""bkill, bstop, bresume, brequeue, bmod, bpeek and their like: what is done to jobs."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import msgspec

from cluster.emulation import shims
from cluster.emulation.call import Call, Stop
from cluster.emulation.lsf import jobs, site, values, watcher
from cluster.emulation.lsf.getopt import Table, table
from cluster.emulation.lsf.jobs import View
from cluster.emulation.lsf.options import BSUB
from cluster.local import processes

__all__ = ["bbot", "bkill", "bmod", "bpeek", "brequeue", "bresume", "bstop", "bswitch", "btop"]

_CHOICE = "J q m u P app g sla G"
_KILL = table("b l r C0 d a H", f"{_CHOICE} s C stat")
_STEER = table("a H d", f"{_CHOICE} C stat")
_REQUEUE = table("d e r H a p", f"{_CHOICE} C stat")
_FILTERS = ("u", "m", "q", "J", "P", "G", "app", "g", "sla")
Deed = Callable[[Call, View], tuple[str, bool]]


def _targets(
    call: Call, given: dict[str, str], words: Sequence[str], *, finished: bool = False
) -> list[View]:
    """Give the jobs that are meant; say which are not there."""
    now = time.time()
    watcher.resume(call.machine)
    ids = [word for word in words if word != "0"]
    filters = {name: given[name] for name in _FILTERS if name in given}
    if ids:
        found = jobs.by_ids(call, ids, now)
        for word in ids:
            if not found[word]:
                call.err(f"Job <{word}>: No matching job found\n")
        unique = {view.id: view for some in found.values() for view in some}
        return list(unique.values())
    if not words and not filters:
        raise Stop("Job ID or job selection option must be specified.\n", 255)
    views = jobs.sorted_views(jobs.chosen(call, filters, now, finished=finished))
    if not views:
        named = "J" in filters
        raise Stop("No matching job found\n" if named else "No unfinished job found\n", 255)
    # Without an id or 0, LSF takes the most recent of the jobs that fit.
    return list(views) if words else [max(views, key=lambda view: view.info.submitted)]


def _each(
    call: Call, given: dict[str, str], words: Sequence[str], deed: Deed, *, finished: bool = False
) -> int:
    """Do something to each job, say what came of it, and give the exit code."""
    views = _targets(call, given, words, finished=finished)
    grouped = {view.number for view in views}
    whole = {word for word in words if word in grouped}
    bad = len(views) == 0 or any(not _is_there(word, views) for word in words if word != "0")
    said: dict[str, tuple[str, bool]] = {}
    for view in views:
        text, fine = deed(call, view)
        # An array that was named as a whole is answered as one.
        key = view.number if view.number in whole else view.id
        if key not in said or (fine and not said[key][1]):
            said[key] = (text, fine)
    for key, (text, fine) in said.items():
        line = f"Job <{key}>{text}\n"
        (call.out if fine else call.err)(line)
        bad = bad or not fine
    return 255 if bad else 0


def _is_there(word: str, views: Sequence[View]) -> bool:
    ids = set(jobs.read_id(word))
    return any(view.row.id in ids or view.number in ids for view in views)


def _need_words(call: Call, given: dict[str, str], words: list[str], options: Table) -> list[str]:
    if "J" in given and not words:
        return ["0"]  # a name means all jobs of it: bkill -J name
    return words


# ---------------------------------------------------------------- bkill


def bkill(call: Call) -> int:
    """End jobs, or send them a signal."""
    given, words = site.options(call, _KILL)
    if "l" in given:
        names = [one.name.removeprefix("SIG") for one in signal.Signals]
        call.out(" ".join(names) + "\n")
        return 0
    number = _signal_number(given["s"]) if "s" in given else 0
    words = _need_words(call, given, words, _KILL)
    if number:
        return _each(call, given, words, lambda call, view: _signal(call, view, number))
    return _each(call, given, words, _kill, finished=False)


def _signal_number(text: str) -> int:
    if text.isdigit() and 0 < int(text) < 65:
        return int(text)
    try:
        return int(signal.Signals[f"SIG{text.upper().removeprefix('SIG')}"])
    except KeyError:
        raise Stop(f"{text}: Illegal signal value\n", 255) from None


def _over(view: View) -> tuple[str, bool] | None:
    return (": Job has already finished", False) if view.is_over else None


def _kill(call: Call, view: View) -> tuple[str, bool]:
    over = _over(view)
    if over:
        return over
    said = " is being terminated", True
    _mark(call, view, "TERM_OWNER")
    if view.is_waiting or not _poke(view):
        call.machine.act("cancel", [view.row.id])
    return said


def _mark(call: Call, view: View, text: str) -> None:
    """Leave a word for the job's own process, and for those who ask later."""
    folder = os.path.join(shims.folder(call.machine.state_dir, "lsf"), "ends")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    with open(os.path.join(folder, f"{view.number}.{view.index}"), "w") as file:
        file.write(text)


def _poke(view: View) -> bool:
    """Have the job's own process look for that word; it ends the job step by step."""
    process = processes.look(view.info.pid) if view.info.pid else None
    if process is None or view.info.ending or view.stat == "USUSP":
        return False
    env = processes.environment(view.info.pid)
    if env.get(b"CLUSTER_JOB_ID") != view.row.id.encode():
        return False
    return processes.send(process, signal.SIGINT)


def _signal(call: Call, view: View, number: int) -> tuple[str, bool]:
    over = _over(view)
    if over:
        return over
    said = " is being signaled", True
    if view.is_waiting:
        if number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
            _mark(call, view, "TERM_OWNER")
            call.machine.act("cancel", [view.row.id])
        elif number == signal.SIGSTOP:
            _hold(call, view)
        elif number == signal.SIGCONT:
            _release(call, view)
        else:
            return ": Job has not started yet", False
        return said
    if number in (signal.SIGSTOP, signal.SIGTSTP, signal.SIGCONT):
        verb = "resume" if number == signal.SIGCONT else "suspend"
        call.machine.act(verb, [view.row.id])
        return said
    if number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        _mark(call, view, "TERM_OWNER")
    # All processes of the job but the one that reports its end.
    tree = [one for one in processes.trees([view.info.pid]) if one.pid != view.info.pid]
    for process in tree:
        processes.send(process, number)
    if not tree:
        call.machine.act("signal", [view.row.id], number)
    return said


# ---------------------------------------------------------------- bstop, bresume, brequeue


def bstop(call: Call) -> int:
    """Suspend jobs: those that run, and those that wait."""
    given, words = site.options(call, _STEER)
    return _each(call, given, _need_words(call, given, words, _STEER), _stop)


def _stop(call: Call, view: View) -> tuple[str, bool]:
    over = _over(view)
    if over:
        return over
    if view.stat in ("USUSP", "PSUSP"):
        return ": Job has already been suspended", False
    if view.is_waiting:
        _hold(call, view)
    else:
        call.machine.act("suspend", [view.row.id])
    return " is being stopped", True


def _hold(call: Call, view: View) -> None:
    if "watched" in view.options:
        _change(call, view, H="y")
    call.machine.act("hold", [view.row.id])


def _change(call: Call, view: View, **options: str) -> None:
    merged = {**view.options, **options}
    kept = {name: value for name, value in merged.items() if value}
    # What is kept with an array is kept with all of it.
    call.machine.keep(view.number, msgspec.structs.replace(view.extra, options=kept))


def bresume(call: Call) -> int:
    """Let suspended jobs go on."""
    given, words = site.options(call, _STEER)
    return _each(call, given, _need_words(call, given, words, _STEER), _resume)


def _resume(call: Call, view: View) -> tuple[str, bool]:
    over = _over(view)
    if over:
        return over
    if view.stat == "PSUSP":
        _release(call, view)
    elif view.stat == "USUSP":
        call.machine.act("resume", [view.row.id])
    else:
        return ": Job has not been suspended", False
    return " is being resumed", True


def _release(call: Call, view: View) -> None:
    if "H" in view.options:
        _change(call, view, H="")
    if "watched" not in view.options:  # else its condition releases it
        call.machine.act("release", [view.row.id])


def brequeue(call: Call) -> int:
    """Run jobs again."""
    given, words = site.options(call, _REQUEUE)
    held = "H" in given
    words = _need_words(call, given, words, _REQUEUE)
    return _each(call, given, words, lambda call, view: _requeue(call, view, held=held))


def _requeue(call: Call, view: View, *, held: bool) -> tuple[str, bool]:
    if view.is_over:
        return ": Job has already finished; this cluster cannot run it again", False
    if view.is_waiting:
        return ": Job has not started yet", False
    _mark(call, view, "REQUEUE")
    call.machine.act("requeue", [view.row.id])
    return " is being requeued", True


# ---------------------------------------------------------------- the rest


def bmod(call: Call) -> int:
    """Change what a job that waits asked for: its name, description, run limit, begin."""
    options = {**BSUB, **dict.fromkeys(("Wn", "Jn", "bn", "Jdn", "wn", "Mn", "on", "en"), False)}
    given, words = site.options(call, options, mixed=True)
    if not words:
        raise Stop("Job ID must be specified.\n", 255)
    try:
        return _each(call, {}, words, lambda call, view: _modify(call, view, given))
    except values.BadValue as bad:
        raise Stop(f"{bad}. Job not modified.\n", 255) from None


def _modify(call: Call, view: View, given: dict[str, str]) -> tuple[str, bool]:
    if not view.is_waiting:
        over = _over(view)
        return over or (": Cannot modify this option of a job that runs", False)
    refused = set(given) - {"J", "Jd", "W", "Wn", "b", "bn", "Jdn", "sp"}
    if refused:
        names = ", ".join(f"-{name}" for name in sorted(refused))
        return f": {names} cannot be changed on this cluster; submit the job anew", False
    fields: dict[str, object] = {}
    options = dict(view.options)
    if "J" in given:
        fields["name"] = options["jobname"] = values.split_name(given["J"])[0]
    if "Jd" in given or "Jdn" in given:
        fields["comment"] = options["Jd"] = given.get("Jd", "")
    if "W" in given or "Wn" in given:
        limit = values.minutes_s(given["W"], "RUNLIMIT") if "W" in given else 0.0
        # The job's own process has the old limit: the queue keeps the new one.
        fields["walltime_s"], options["runlimit"] = limit, f"{limit:g}" if limit else ""
    if "b" in given or "bn" in given:
        fields["begin"] = values.moment(given["b"], time.time()) if "b" in given else 0.0
    kept = {name: value for name, value in options.items() if value}
    call.machine.keep(view.number, msgspec.structs.replace(view.extra, options=kept), **fields)
    if given.get("sp", "").isdigit():
        call.machine.act("priority", [view.row.id], int(given["sp"]))
    return " is being modified", True


def bswitch(call: Call) -> int:
    """Refuse: a job keeps its queue."""
    _, words = site.options(call, _STEER)
    if len(words) < 2:
        raise Stop('Usage: bswitch [-h] [-V] dest_queue [jobId | "jobId[idxList]" ...]\n', 255)
    destination = words[0]
    if not site.exists(call, destination):
        raise Stop(f"{destination}: No such queue\n", 255)
    return _each(call, {}, words[1:], lambda call, view: _switch(call, view, destination))


def _switch(call: Call, view: View, queue: str) -> tuple[str, bool]:
    over = _over(view)
    if over:
        return over
    call.machine.keep(view.number, msgspec.structs.replace(view.extra, partition=queue))
    return f" is switched to queue <{queue}>", True


def btop(call: Call) -> int:
    """Put a job that waits before the others of its owner."""
    return _move(call, "top", 1)


def bbot(call: Call) -> int:
    """Put a job that waits behind the others of its owner."""
    return _move(call, "bottom", -1)


def _move(call: Call, where: str, sign: int) -> int:
    _, words = site.options(call, table("", "u"))
    waiting = jobs.chosen(call, {}, time.time(), finished=False)
    ends = [view.info.priority for view in waiting if view.is_waiting] or [0]
    number = max(ends) + 1 if sign > 0 else min(ends) - 1

    def deed(call: Call, view: View) -> tuple[str, bool]:
        if not view.is_waiting:
            return _over(view) or (": Job is not pending", False)
        call.machine.act("priority", [view.row.id], number)
        return f" has been moved to position 1 from {where}.", True

    return _each(call, {}, words[:1], deed)


def bpeek(call: Call) -> int:
    """Show what a job has written so far; after its end, what LSF would have mailed."""
    given, words = site.options(call, table("f", "q m J app"))
    named = {name: value for name, value in given.items() if name != "f"}
    if words:
        views = _targets(call, {}, words[:1])
    else:
        found = jobs.chosen(call, named, time.time(), finished=False)
        views = [view for view in found if view.stat in ("RUN", "USUSP", "SSUSP")][-1:]
        if not views:
            raise Stop("No matching job found\n" if named else "No unfinished job found\n", 255)
    if not views:
        return 255
    view = views[0]
    if view.is_waiting:
        raise Stop(f"Job <{view.id}> : Not yet started.\n", 255)
    out, err = jobs.output(call.machine, view.row)
    if view.is_over and not (out or err):
        raise Stop(f"Job <{view.id}> : Already finished.\n", 255)
    call.out("<< output from stdout >>\n")
    call.out(out)
    if "f" in given:
        out, err = _follow(call, view, len(out))
    if err:
        call.out("<< output from stderr >>\n")
        call.out(err)
    return 0


def _follow(call: Call, view: View, seen: int) -> tuple[bytes, bytes]:
    while True:
        row = call.machine.row(view.row.id)
        if row is None:
            return b"", b""
        out, err = jobs.output(call.machine, row)
        with suppress(IndexError):
            call.out(out[seen:])
        seen = max(seen, len(out))
        if row.done or call.is_gone(0.3):
            return out, err
