"""`bjobs -l` and `bhist -l`: all that is known of a job, in LSF's lines of 79 columns.

Pure.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from cluster.emulation.lsf.fields import Shown, short

if TYPE_CHECKING:
    from cluster.emulation.lsf.jobs import View

__all__ = ["full", "story", "wrapped"]

_WIDTH, _INDENT = 79, 21
_SCHEDULING = """
 SCHEDULING PARAMETERS:
           r15s   r1m  r15m   ut      pg    io   ls    it    tmp    swp    mem
 loadSched   -     -     -     -       -     -    -     -     -      -      - \x20
 loadStop    -     -     -     -       -     -    -     -     -      -      - \x20
"""


def wrapped(text: str, *, wide: bool = False) -> str:
    """Break a line at column 79, and go on in column 22, in the middle of a word as LSF does."""
    if wide:
        return text + "\n"
    lines, rest = [text[:_WIDTH]], text[_WIDTH:]
    while rest:
        rest = rest.removeprefix(" ")  # a blank at the break is gone
        lines.append(" " * _INDENT + rest[: _WIDTH - _INDENT])
        rest = rest[_WIDTH - _INDENT :]
    return "".join(f"{line}\n" for line in lines)


def _when(seconds: float, *, year: bool = False) -> str:
    form = "%a %b %e %H:%M:%S %Y" if year else "%a %b %e %H:%M:%S"
    return time.strftime(form, time.localtime(seconds))


def _head(view: View, shown: Shown, *, status: bool) -> str:
    words = [f"Job <{view.id}>", f"Job Name <{view.name}>"]
    if "Jd" in view.options:
        words.append(f"Job Description <{view.options['Jd']}>")
    words += [f"User <{shown.user}>", f"Project <{view.extra.account}>"]
    if "G" in view.options:
        words.append(f"User Group <{view.options['G']}>")
    if status:
        words += [f"Status <{view.stat}>", f"Queue <{view.extra.partition}>"]
    words.append(f"Command <{view.options.get('text', view.extra.command)}>")
    return ", ".join(words)


def _submitted(view: View, shown: Shown, *, year: bool, queue: bool) -> str:
    options = view.options
    to = f", to Queue <{view.extra.partition}>" if queue else ""
    text = (
        f"{_when(view.info.submitted, year=year)}: Submitted from host <{shown.host}>{to}, "
        f"CWD <{short(view.extra.cwd, shown.home)}>"
    )
    for names, words in ((("i", "is"), "Input File"), (("o",), "Output File"),
                         (("oo",), "Output File (overwrite)"), (("e",), "Error File"),
                         (("eo",), "Error File (overwrite)")):  # fmt: skip
        value = next((options[name] for name in names if name in options), "")
        if value:
            text += f", {words} <{value}>"
    if "w" in options:
        text += f", Dependency Condition <{options['w']}>"
    if view.extra.cores > 1:
        text += f", {view.extra.cores} Task(s)"
    if "R" in options:
        text += f", Requested Resources <{options['R']}>"
    if "m" in options:
        text += f", Specified Hosts <{options['m']}>"
    return text + ";"


def full(view: View, shown: Shown, *, wide: bool = False) -> str:
    """Give what `bjobs -l` prints of a job."""

    def line(text: str) -> str:
        return wrapped(text, wide=wide)

    info = view.info
    text = "\n" + line(_head(view, shown, status=True))
    text += line(_submitted(view, shown, year=False, queue=False))
    if view.runlimit_s:
        text += f"\n RUNLIMIT                \n {view.runlimit_s / 60:.1f} min of {shown.host}\n"
    if "memlimit" in view.options:
        text += f"\n MEMLIMIT\n {int(view.options['memlimit']):>6} M \n"
    if view.is_waiting:
        text += f" PENDING REASONS:\n {view.pend_reason};\n"
    if view.ran:
        hosts = f"<{view.extra.cores}*{shown.host}>" if view.extra.cores > 1 else f"<{shown.host}>"
        cwd = view.options.get("cwd", view.extra.cwd)
        text += line(
            f"{_when(info.started)}: Started on {hosts}, Execution Home <{shown.home}>, "
            f"Execution CWD <{cwd}>;"
        )
    if view.ran and not view.is_over:
        pad = " " * _INDENT
        memory = f"{view.memory_mib:.0f} Mbytes"
        text += f"{_when(shown.now)}: Resource usage collected.\n"
        text += f"{pad}MEM: {memory};  SWAP: {memory}\n"
        text += f"{pad}PGID: {info.pid};  PIDs: {info.pid} \n\n"
    if view.is_over:
        text += "".join(line(each) for each in _end(view, year=False))
        if view.info.peak_memory_mib:
            text += f"\n MEMORY USAGE:\n MAX MEM: {info.peak_memory_mib:.0f} Mbytes;  " \
                    f"AVG MEM: {info.peak_memory_mib:.0f} Mbytes\n"  # fmt: skip
    return text + _SCHEDULING + "\n"


def _end(view: View, *, year: bool) -> list[str]:
    when = _when(view.info.ended, year=year)
    cpu = f"The CPU time used is {view.info.cpu_s:.1f} seconds"
    if view.stat == "DONE":
        return [f"{when}: Done successfully. {cpu};", f"{when}: Completed <done>."]
    reason = f"; {view.exit_reason}" if view.exit_reason else ""
    if view.exit_code is None:
        return [f"{when}: Exited{reason}.", f"{when}: Completed <exit>{reason}."]
    return [
        f"{when}: Exited with exit code {view.exit_code}. {cpu};",
        f"{when}: Completed <exit>{reason}.",
    ]


def story(view: View, shown: Shown) -> str:
    """Give what `bhist -l` prints of a job."""
    info = view.info
    text = "\n" + wrapped(_head(view, shown, status=False))
    text += wrapped(_submitted(view, shown, year=True, queue=True))
    if view.runlimit_s:
        text += f"\n RUNLIMIT\n {view.runlimit_s / 60:.1f} min of {shown.host}\n"
    if view.ran:
        hosts = f"<{view.extra.cores}*{shown.host}>" if view.extra.cores > 1 else f"<{shown.host}>"
        text += wrapped(f"{_when(info.started, year=True)}: Dispatched to {hosts};")
        home, cwd = shown.home, view.options.get("cwd", view.extra.cwd)
        if info.pid:
            text += wrapped(f"{_when(info.started, year=True)}: Starting (Pid {info.pid});")
        pid = f", Execution Pid <{info.pid}>" if info.pid else ""
        text += wrapped(
            f"{_when(info.started, year=True)}: Running with execution home <{home}>, "
            f"Execution CWD <{cwd}>{pid};"
        )
    if view.is_over:
        text += "".join(wrapped(each) for each in _end(view, year=True))
        if info.peak_memory_mib:
            text += f"\n MEMORY USAGE:\n MAX MEM: {info.peak_memory_mib:.0f} Mbytes;  " \
                    f"AVG MEM: {info.peak_memory_mib:.0f} Mbytes\n"  # fmt: skip
    return text
