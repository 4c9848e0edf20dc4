"""bhist and bacct: what jobs did, after bjobs has forgotten them too."""

from __future__ import annotations

import time
from collections.abc import Sequence

from cluster.emulation import shims
from cluster.emulation.call import Call, Stop
from cluster.emulation.lsf import fields, jobs, site
from cluster.emulation.lsf.bjobs import shortened
from cluster.emulation.lsf.getopt import table
from cluster.emulation.lsf.jobs import View
from cluster.emulation.lsf.long import story

__all__ = ["bacct", "bhist"]

_HIST = table("a b d e hms l p r s w app0 cname UF", "C D n N P q S t T u f J m G x app Jd g o")
_ACCT = table("b d e l w x UF cname", "app C D f J Lp m M N P q sla S u U G")
_FILTERS = ("u", "q", "J", "P", "G", "app", "g", "Jd")
_LINE = "-" * 78


def _found(call: Call, given: dict[str, str], words: Sequence[str]) -> list[View]:
    home = shims.folder(call.machine.state_dir, "lsf")
    if words and words != ["0"]:
        views = []
        for word in words:
            for id in jobs.read_id(word):
                views += [View(row, home) for row in jobs.rows_of(call.machine, id)]
    else:
        rows = call.machine.rows(elements=True)
        views = [View(row, home) for row in rows if not row.is_array]
    filters = {name: given[name] for name in _FILTERS if name in given}
    if words:
        filters.pop("u", None)
    return [view for view in views if jobs.fits(call, view, filters)]


def bhist(call: Call) -> int:
    """Show how long jobs were in each state, or with -l all that happened to them."""
    given, words = site.options(call, _HIST)
    views = _found(call, given, words)
    if not words:
        views = [view for view in views if _is_wanted(view, given)]
    if not views:
        # OpenLava says it there.
        call.out("No matching job found\n") if "l" in given else call.err("No matching job found\n")
        return 255
    now = time.time()
    home = call.variable("HOME") or ""
    if "l" in given:
        shown = fields.Shown(now, call.machine.host, call.machine.user, home)
        rule = f"{_LINE}------------------------------------------------------\n"[:79] + "\n"
        texts = [story(view, shown) + _times(view, now) for view in views]
        call.out(rule.replace("\n\n", "\n").join(texts))
        return 0
    call.out("Summary of time in seconds spent in various states:\n")
    call.out("JOBID   USER    JOB_NAME  PEND    PSUSP   RUN     USUSP   SSUSP   UNKWN   TOTAL\n")
    call.out("".join(_line(call, view, now, wide="w" in given) for view in views) + "\n")
    return 0


def _is_wanted(view: View, given: dict[str, str]) -> bool:
    if "a" in given:
        return True
    kinds = {"d": view.is_over, "e": view.stat == "EXIT", "p": view.is_waiting,
             "r": view.stat == "RUN", "s": view.stat in ("USUSP", "PSUSP")}  # fmt: skip
    asked = [kinds[name] for name in kinds if name in given]
    return any(asked) if asked else not view.is_over


def _spent(view: View, now: float) -> list[int]:
    """PEND, PSUSP, RUN, USUSP, SSUSP, UNKWN, TOTAL in seconds."""
    info = view.info
    end = info.ended or now
    waited = max(0.0, (info.started or end) - info.submitted)
    ran = view.elapsed_s(now)
    held = view.is_psusp
    values = [0.0 if held else waited, waited if held else 0.0, ran, 0.0, 0.0, 0.0]
    whole = [int(value) for value in values]
    return [*whole, sum(whole)]


def _line(call: Call, view: View, now: float, *, wide: bool) -> str:
    name = view.name if wide else shortened(view.name, 8)
    times = "".join(f"{value:<8}" for value in _spent(view, now))
    return f"{view.id:<7} {call.machine.user[:7]:<7} {name:<9} {times}  \n"


def _times(view: View, now: float) -> str:
    when = time.strftime("%a %b %e %H:%M:%S %Y", time.localtime(view.info.ended or now))
    head = "  PEND     PSUSP    RUN      USUSP    SSUSP    UNKWN    TOTAL\n"
    row = "".join(f"{value:<9}" for value in _spent(view, now)).rstrip()
    return f"\nSummary of time in seconds spent in various states by  {when}\n{head}  {row}\n"


def bacct(call: Call) -> int:
    """Add up what finished jobs used."""
    given, words = site.options(call, _ACCT)
    views = [view for view in _found(call, given, words) if view.is_over]
    if "d" in given or "e" in given:
        wanted = ["DONE"] * ("d" in given) + ["EXIT"] * ("e" in given)
        views = [view for view in views if view.stat in wanted]
    if words and not views:
        raise Stop("No matching job found\n", 255)
    now = time.time()
    shown = fields.Shown(now, call.machine.host, call.machine.user, call.variable("HOME") or "")
    call.out(_preamble(call, given))
    if "l" in given:
        for view in views:
            call.out(_LINE + "\n" + story(view, shown) + _account(view, now))
    elif "b" in given:
        call.out(_brief(call, views))
    call.out(_summary(views, now))
    return 0


def _preamble(call: Call, given: dict[str, str]) -> str:
    user = given.get("u", call.machine.user)
    users = "all users." if user == "all" else f"users {user}"
    return (
        "\nAccounting information about jobs that are: \n"
        f"  - submitted by {users} \n"
        f"  - accounted on {'queues ' + given['q'] if 'q' in given else 'all projects.'}\n"
        "  - completed normally or exited\n"
        "  - executed on all hosts.\n"
        "  - submitted to all queues.\n"
        "  - accounted on all service classes.\n"
    )


def _account(view: View, now: float) -> str:
    waited, ran = _spent(view, now)[0], _spent(view, now)[2]
    memory = f"{view.info.peak_memory_mib:.0f}M"
    status = view.stat.lower()
    return (
        "\nAccounting information about this job:\n"
        "     CPU_T     WAIT     TURNAROUND   STATUS     HOG_FACTOR    MEM    SWAP\n"
        f"{view.info.cpu_s:10.2f} {waited:8d} {waited + ran:14d} {status:>8} "
        f"{view.info.cpu_s / max(1, waited + ran):14.4f} {memory:>6} {memory:>7}\n"
    )


def _brief(call: Call, views: list[View]) -> str:
    text = f"{_LINE}\nJOBID   USER    QUEUE     SUBMIT_TIME  CPU_TIME  START_TIME   STATUS\n"
    for view in views:
        text += (
            f"{view.id:<7} {call.machine.user[:7]:<7} {view.extra.partition[:9]:<9} "
            f"{fields.clock(view.info.submitted):<12} {view.info.cpu_s:8.1f}  "
            f"{fields.clock(view.info.started):<12} {view.stat.lower()}\n"
        )
    return text


def _summary(views: list[View], now: float) -> str:
    done = sum(view.stat == "DONE" for view in views)
    cpu = [view.info.cpu_s for view in views] or [0.0]
    turn = [_spent(view, now)[6] for view in views] or [0]
    wait = [_spent(view, now)[0] for view in views] or [0]
    return (
        f"{_LINE}\n\nSUMMARY:      ( time unit: second ) \n"
        f" Total number of done jobs: {done:7d}      Total number of exited jobs: "
        f"{len(views) - done:5d}\n"
        f" Total CPU time consumed: {sum(cpu):9.1f}      Average CPU time consumed: "
        f"{sum(cpu) / len(cpu):7.1f}\n"
        f" Maximum CPU time of a job: {max(cpu):7.1f}      Minimum CPU time of a job: "
        f"{min(cpu):7.1f}\n"
        f" Total wait time in queues: {sum(wait):7.1f}\n"
        f" Average wait time in queue: {sum(wait) / len(wait):6.1f}\n"
        f" Average turnaround time: {sum(turn) / len(turn):9.0f} (seconds/job)\n"
        f" Maximum turnaround time: {max(turn):9d}      Minimum turnaround time: {min(turn):9d}\n"
    )
