"""The fields of `bjobs -o`: their names, widths and values; and the format itself, read.

Pure.  Widths are those that LSF recommends (`name:`); without a colon a field is
as wide as its text.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cluster.emulation.lsf.jobs import View

__all__ = ["ALIASES", "FIELDS", "BadFormat", "Column", "Format", "Shown", "clock", "parse"]


class BadFormat(ValueError):
    """A field is unknown, or the format cannot be read."""


@dataclass(frozen=True)
class Shown:
    """What fields need beside the job: the time, the host, the user, the home directory."""

    now: float
    host: str
    user: str
    home: str


def clock(when: float) -> str:
    """Write a time as bjobs does: `Nov 21 07:46`."""
    return time.strftime("%b %e %H:%M", time.localtime(when)) if when else ""


def _seconds(value: float) -> str:
    return f"{value:.0f} second(s)"


def _size(mib: float) -> str:
    if not mib:
        return ""
    return f"{mib / 1024:.1f} Gbytes" if mib >= 1024 else f"{mib:.0f} Mbytes"


def _time_left(view: View, shown: Shown) -> str:
    if not view.runlimit_s or view.is_over:
        return ""
    left = max(0.0, view.runlimit_s - view.elapsed_s(shown.now))
    return f"{int(left) // 3600}:{int(left) % 3600 // 60} L"


def _hosts(view: View, shown: Shown) -> str:
    return ":".join([shown.host] * view.extra.cores) if view.ran else ""


def _finish(view: View, shown: Shown) -> str:
    if view.is_over:
        return clock(view.info.ended)
    if view.ran and view.runlimit_s:
        return clock(view.info.started + view.runlimit_s) + " L"
    return ""


def _option(name: str) -> Callable[[View, Shown], str]:
    return lambda view, shown: view.options.get(name, "")


def _nothing(view: View, shown: Shown) -> str:
    return ""


def _pend_time(view: View, shown: Shown) -> str:
    return (
        f"{max(0.0, (view.info.started or view.info.ended or shown.now) - view.info.submitted):.0f}"
    )


# name -> recommended width, value
FIELDS: dict[str, tuple[int, Callable[[View, Shown], str]]] = {
    "jobid": (7, lambda v, s: v.number),
    "jobindex": (8, lambda v, s: str(v.index)),
    "stat": (5, lambda v, s: v.stat),
    "user": (7, lambda v, s: s.user),
    "user_group": (15, _option("G")),
    "queue": (10, lambda v, s: v.extra.partition),
    "job_name": (10, lambda v, s: v.name),
    "job_description": (17, _option("Jd")),
    "proj_name": (11, lambda v, s: v.extra.account),
    "application": (13, _option("app")),
    "service_class": (13, _option("sla")),
    "job_group": (10, _option("g")),
    "job_priority": (12, _option("sp")),
    "rsvid": (40, _option("U")),
    "esub": (20, _option("a")),
    "kill_reason": (50, lambda v, s: v.exit_reason),
    "suspend_reason": (50, lambda v, s: "The job was suspended by the user"
                       if v.stat in ("USUSP", "PSUSP") else ""),
    "resume_reason": (50, _nothing),
    "dependency": (15, _option("w")),
    "pend_reason": (11, lambda v, s: v.pend_reason + ";" if v.is_waiting else ""),
    "command": (15, _option("text")),
    "pre_exec_command": (16, _option("E")),
    "post_exec_command": (17, _option("Ep")),
    "pids": (20, lambda v, s: str(v.info.pid) if v.info.pid and not v.is_over else ""),
    "exit_code": (10, lambda v, s: str(v.exit_code) if v.exit_code else ""),
    "exit_reason": (50, lambda v, s: v.exit_reason),
    "from_host": (11, lambda v, s: s.host),
    "first_host": (11, lambda v, s: s.host if v.ran else ""),
    "exec_host": (11, _hosts),
    "nexec_host": (10, lambda v, s: "1" if v.ran else ""),
    "ask_hosts": (30, _option("m")),
    "alloc_slot": (20, _hosts),
    "nalloc_slot": (10, lambda v, s: str(v.extra.cores) if v.ran else ""),
    "host_file": (10, _option("hostfile")),
    "exclusive": (13, lambda v, s: "Y" if "x" in v.options else "N"),
    "nreq_slot": (10, lambda v, s: str(v.extra.cores)),
    "submit_time": (15, lambda v, s: clock(v.info.submitted)),
    "start_time": (15, lambda v, s: clock(v.info.started)),
    "estimated_start_time": (20, lambda v, s: clock(v.info.expected_start)),
    "specified_start_time": (20, lambda v, s: clock(v.info.begin)),
    "specified_terminate_time": (24, _option("t")),
    "time_left": (11, _time_left),
    "finish_time": (16, _finish),
    "estimated_run_time": (20, _option("We")),
    "ru_utime": (12, lambda v, s: f"{v.info.cpu_s:.0f}" if v.ran else ""),
    "ru_stime": (12, lambda v, s: "0" if v.ran else ""),
    "%complete": (11, lambda v, s: f"{100 * v.elapsed_s(s.now) / v.runlimit_s:.2f}% L"
                  if v.runlimit_s and v.ran else ""),
    "warning_action": (15, _option("wa")),
    "action_warning_time": (19, _option("wt")),
    "pend_time": (12, _pend_time),
    "pendstate": (9, lambda v, s: ("IPEND" if "ependency" in v.pend_reason else "EPEND")
                  if v.is_waiting else ""),
    "cpu_used": (10, lambda v, s: f"{v.info.cpu_s:.1f} second(s)" if v.ran else ""),
    "cpu_efficiency": (14, lambda v, s: f"{100 * v.info.cpu_s / v.elapsed_s(s.now):.2f}%"
                       if v.elapsed_s(s.now) else ""),
    "run_time": (15, lambda v, s: _seconds(v.elapsed_s(s.now))),
    "idle_factor": (11, lambda v, s: f"{v.info.cpu_s / v.elapsed_s(s.now):.2f}"
                    if v.elapsed_s(s.now) else ""),
    "exception_status": (16, _nothing),
    "slots": (5, lambda v, s: str(v.extra.cores) if v.ran else ""),
    "mem": (10, lambda v, s: _size(v.memory_mib)),
    "max_mem": (10, lambda v, s: _size(v.memory_mib)),
    "avg_mem": (10, lambda v, s: _size(v.memory_mib)),
    "memlimit": (10, lambda v, s: _size(float(v.options.get("memlimit", 0)))),
    "swap": (10, lambda v, s: _size(v.memory_mib)),
    "swaplimit": (10, _option("v")),
    "gpu_num": (10, lambda v, s: str(v.extra.gpus) if v.extra.gpus else ""),
    "gpu_mode": (20, _option("gpu")),
    "gpu_alloc": (20, lambda v, s: ",".join(map(str, v.info.gpu_indices))),
    "nthreads": (10, lambda v, s: "1" if v.ran and not v.is_over else ""),
    "min_req_proc": (12, lambda v, s: str(v.extra.cores)),
    "max_req_proc": (12, lambda v, s: str(v.extra.cores)),
    "effective_resreq": (17, _option("R")),
    "combined_resreq": (20, _option("R")),
    "filelimit": (10, _option("F")),
    "corelimit": (10, _option("C")),
    "stacklimit": (10, _option("S")),
    "processlimit": (12, _option("p")),
    "runtimelimit": (12, lambda v, s: f"{v.runlimit_s / 60:.1f}" if v.runlimit_s else ""),
    "input_file": (10, _option("i")),
    "output_file": (11, lambda v, s: v.options.get("oo", v.options.get("o", ""))),
    "error_file": (10, lambda v, s: v.options.get("eo", v.options.get("e", ""))),
    "output_dir": (15, _option("outdir")),
    "sub_cwd": (10, lambda v, s: short(v.extra.cwd, s.home)),
    "exec_home": (10, lambda v, s: s.home if v.ran else ""),
    "exec_cwd": (10, lambda v, s: v.options.get("cwd", v.extra.cwd) if v.ran else ""),
    "forward_cluster": (15, _nothing),
    "forward_time": (15, _nothing),
    "srcjobid": (8, _nothing),
    "dstjobid": (8, _nothing),
    "source_cluster": (15, _nothing),
    "licproject": (20, _option("Lp")),
    "hrusage": (50, _nothing),
    "nice": (6, _nothing),
}  # fmt: skip
ALIASES: Mapping[str, str] = {
    "id": "jobid", "name": "job_name", "desc": "job_description", "proj": "proj_name",
    "project": "proj_name", "app": "application", "sla": "service_class", "group": "job_group",
    "priority": "job_priority", "ugroup": "user_group", "cmd": "command", "pre_cmd":
    "pre_exec_command", "post_cmd": "post_exec_command", "fhost": "first_host", "ehost":
    "exec_host", "from": "from_host", "nehost": "nexec_host", "nslot": "nalloc_slot",
    "ecode": "exit_code", "comp": "%complete", "pct_complete": "%complete",
    "estart_time": "estimated_start_time", "sstart_time": "specified_start_time",
    "sterminate_time": "specified_terminate_time", "eresreq": "effective_resreq",
    "cresreq": "combined_resreq", "ifile": "input_file", "ofile": "output_file",
    "efile": "error_file", "jobindex": "jobindex", "runlimit": "runtimelimit",
    "rtlimit": "runtimelimit", "prio": "job_priority", "susp_reason": "suspend_reason",
}  # fmt: skip


def short(path: str, home: str) -> str:
    """Write a path with $HOME, as LSF shows directories."""
    return f"$HOME{path[len(home) :]}" if home and (path + "/").startswith(home + "/") else path


# ---------------------------------------------------------------- the format


@dataclass(frozen=True)
class Column:
    """One field: its name, its width (0: as wide as its text), its side."""

    name: str
    width: int = 0
    right: bool = False


@dataclass(frozen=True)
class Format:
    """The columns, and what stands between them; empty: blanks, in columns of a width."""

    columns: tuple[Column, ...]
    delimiter: str = ""

    def header(self) -> str:
        """Give the line of names."""
        return self._line([column.name.upper() for column in self.columns], is_header=True)

    def line(self, view: View, shown: Shown) -> str:
        """Give the line of a job."""
        return self._line([FIELDS[column.name][1](view, shown) or "-" for column in self.columns])

    def record(self, view: View, shown: Shown) -> dict[str, str]:
        """Give the values of a job by name; what is not known is empty."""
        return {c.name.upper(): FIELDS[c.name][1](view, shown) for c in self.columns}

    def _line(self, values: list[str], is_header: bool = False) -> str:
        cells = [
            self._cell(c, text, is_header) for c, text in zip(self.columns, values, strict=True)
        ]
        return (self.delimiter or " ").join(cells)

    def _cell(self, column: Column, text: str, is_header: bool) -> str:
        if not column.width:
            return text
        if len(text) > column.width and not is_header:
            is_name = column.name == "job_name"
            text = "*" + text[1 - column.width :] if is_name else text[: column.width]
            text = text[-column.width :] if is_name else text
        return text.rjust(column.width) if column.right else text.ljust(column.width)


def parse(text: str) -> Format:
    """Read `jobid: stat:- queue:10 delimiter="|"`.

    Raises:
        BadFormat: a field is unknown.
    """
    delimiter = ""
    if match := re.search(r"""delimiter=(?:'([^']*)'|"([^"]*)"|(\S+))""", text):
        delimiter = next(group for group in match.groups() if group is not None)
        text = text[: match.start()] + " " + text[match.end() :]
    columns = [_column(word) for word in re.split(r"[\s,]+", text.strip()) if word]
    if not columns:
        raise BadFormat("No field is given")
    return Format(tuple(columns), delimiter)


def _column(word: str) -> Column:
    match = re.fullmatch(r"(%?\w+)(?:(:)(-)?(\d{1,5})?)?", word)
    name = ALIASES.get(match[1].lower(), match[1].lower()) if match else ""
    if match is None or name not in FIELDS:
        raise BadFormat(f"Unknown field name: {match[1] if match else word}")
    width = int(match[4]) if match[4] else FIELDS[name][0] if match[2] else 0
    return Column(name, width, bool(match[3]))
