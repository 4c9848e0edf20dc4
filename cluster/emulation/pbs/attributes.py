"""All that PBS tells of a job, in the order of `qstat -f`.

A value is a text, a number, or a table whose members stand behind a dot
(`Resource_List.ncpus`).  `show` writes them as text, JSON or XML.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from cluster.emulation.machine import Row
from cluster.emulation.pbs import ids, state, wishes
from cluster.emulation.pbs.flavour import Flavour
from cluster.emulation.pbs.resources import clock, kilobytes
from cluster.states import HELD, PENDING, RUNNING, SUSPENDED

__all__ = ["Time", "Value", "View", "attributes"]


class Time(float):
    """A time: a date for people, seconds for XML."""


Value: TypeAlias = "str | int | Time | Mapping[str, str]"


@dataclass(frozen=True)
class View:
    """A job, and what it takes to show it.

    Attributes:
        row: the job.
        own: the flavour.
        host, user: of the machine.
        now: seconds since the epoch.
        in_live_array: it is an element of an array that is not over.
    """

    row: Row
    own: Flavour
    host: str
    user: str
    now: float
    in_live_array: bool = False

    @property
    def id(self) -> str:
        """As PBS writes it."""
        return ids.label(self.row, self.host)

    @property
    def letter(self) -> str:
        """Of its state."""
        return state.letter(self.row, self.own, self.now, in_live_array=self.in_live_array)

    @property
    def name(self) -> str:
        """Of the job; Torque adds an element's index."""
        name, index = self.row.info.name, ids.index_of(self.row)
        return name if index is None or self.own.is_pro else f"{name}-{index}"

    @property
    def queue(self) -> str:
        """Where it is."""
        return self.row.extra.partition

    @property
    def is_array(self) -> bool:
        """Whether it is a whole array."""
        return ids.is_array(self.row)

    @property
    def listed(self) -> dict[str, str]:
        """Its Resource_List."""
        found: dict[str, str] = json.loads(self.row.extra.options.get("l", "{}"))
        return found

    @property
    def used_s(self) -> float:
        """How long it has run."""
        info = self.row.info
        if not info.started or self.is_array:
            return 0.0
        return max(0.0, (info.ended if self.row.done and info.ended else self.now) - info.started)

    @property
    def has_run(self) -> bool:
        """Whether there is something to tell of its run."""
        return bool(self.row.info.started) and not self.is_array

    @property
    def exec_host(self) -> str:
        """Where it runs or ran; empty if nowhere."""
        if not self.has_run:
            return ""
        cores = self.row.extra.cores
        if not self.own.is_pro:
            return f"{self.host}/0" + (f"-{cores - 1}" if cores > 1 else "")
        return f"{self.host}/0" + (f"*{cores}" if cores > 1 else "")

    @property
    def exec_vnode(self) -> str:
        """The same with what it was given."""
        memory = kilobytes(self.listed.get("mem", ""))
        more = f":mem={int(memory)}kb" if memory else ""
        gpus = f":ngpus={self.row.extra.gpus}" if self.row.extra.gpus else ""
        return f"({self.host}:ncpus={self.row.extra.cores}{more}{gpus})"

    @property
    def comment(self) -> str:
        """What the scheduler says."""
        return state.comment(self.row, self.own, self.host, self.exec_vnode)

    def path(self, which: str) -> str:
        """Give where it writes, `out` or `err`."""
        index = ids.index_of(self.row)
        text = self.row.extra.options.get(which, "")
        text = text.replace("%(number)s", str(self.row.array)).replace(
            "%(name)s", self.row.info.name
        )
        text = text.replace("%(id)s", self.id)
        return text if index is None else text.replace("^array_index^", str(index))

    def depend(self) -> str:
        """Give what it waits for, and who waits for it."""
        options = self.row.extra.options
        return ",".join(filter(None, (options.get("depend"), options.get("before"))))

    def used(self) -> dict[str, str]:
        """Give what it used, beside the wall time."""
        info = self.row.info
        memory = f"{int(info.peak_memory_mib * 1024)}kb"
        return {"cput": clock(info.cpu_s), "mem": memory, "vmem": memory}


def attributes(view: View) -> dict[str, Value]:
    """Give all that is told of a job; what does not apply is left out."""
    found = _pro(view) if view.own.is_pro else _torque(view)
    return {
        name: value for name, value in found.items() if value is not None and value not in ("", {})
    }


def _times(view: View) -> tuple[Time, Time]:
    """When it was submitted, and when it last changed."""
    info = view.row.info
    return Time(info.submitted), Time(max(info.submitted, info.started, info.ended))


def _pro(view: View) -> dict[str, Value | None]:
    row, options = view.row, view.row.extra.options
    info = row.info
    letter, created, changed = view.letter, *_times(view)
    is_element = row.index is not None
    used = view.used()
    head: dict[str, Value | None] = {
        "Job_Name": view.name,
        "Job_Owner": f"{view.user}@{view.host}",
        "resources_used": {
            "cpupercent": "0",
            "cput": used["cput"],
            "mem": used["mem"],
            "ncpus": str(row.extra.cores),
            "vmem": used["vmem"],
            "walltime": clock(view.used_s),
        } if view.has_run else None,
        "job_state": letter,
        "queue": view.queue,
        "server": view.host,
        "Account_Name": row.extra.account,
        "Checkpoint": None if is_element else "u",
        "ctime": created,
        "depend": None if is_element else view.depend(),
        "Error_Path": view.path("err"),
        "exec_host": view.exec_host,
        "exec_vnode": view.exec_vnode if view.has_run else None,
        "Execution_Time": Time(info.begin) if letter == "W" else None,
        "Hold_Types": None if is_element else state.holds(row),
        "Join_Path": options.get("j", "n"),
        "Keep_Files": options.get("k", "n"),
        "Mail_Points": options.get("m", "a"),
        "Mail_Users": options.get("M"),
        "mtime": changed,
        "Output_Path": view.path("out"),
        "Priority": info.priority,
        "qtime": created,
        "Rerunable": _bool(options.get("r", "y")),
        "Resource_List": view.listed,
        "stime": _started(view),
        "obittime": Time(info.ended) if row.done and view.has_run else None,
        "session_id": info.pid if info.pid else None,
        "Shell_Path_List": options.get("S"),
        "jobdir": _home(view) if view.has_run else None,
        "substate": state.substate(row, letter),
        "Variable_List": _variables(view),
        "comment": view.comment,
        "etime": Time(info.eligible or info.submitted) if letter not in "HW" else None,
        "umask": options.get("umask"),
        "run_count": max(info.attempt, 1) if view.has_run else None,
    }  # fmt: skip
    over = row.done and view.has_run
    status = state.exit_status(row, view.own)
    tail: dict[str, Value | None] = {
        "Stageout_status": 1 if over else None,
        "Exit_status": status,
        "Submit_arguments": None if is_element else row.extra.submit,
        "executable": _executable(row),
        "history_timestamp": int(info.ended) if over else None,
        **_array(view),
        "project": options.get("P", "_pbs_project_default"),
        "Submit_Host": view.host,
    }
    return {**head, **tail}


def _started(view: View) -> Time | None:
    info = view.row.info
    if view.is_array and view.comment:  # the first element's time is not kept
        return Time(info.eligible or info.submitted)
    return Time(info.started) if info.started else None


def _array(view: View) -> dict[str, Value | None]:
    row = view.row
    if row.index is not None:
        return {
            "array_id": f"{row.array}[].{view.host}",
            "array_index": ids.index_of(row),
        }
    if not view.is_array:
        return {}
    counts = row.info.counts
    queued = counts.get(PENDING, 0) + counts.get(HELD, 0)
    running = counts.get(RUNNING, 0) + counts.get(SUSPENDED, 0)
    expired = 0 if row.done else sum(counts.values()) - queued - running
    return {
        "array": "True",
        "array_state_count": f"Queued:{queued} Running:{running} Exiting:0 Expired:{expired}",
        "array_indices_submitted": row.extra.options["array"],
        "array_indices_remaining": _remaining(row, queued),
        "max_run_subjobs": row.extra.options.get("limit"),
    }


def _remaining(row: Row, queued: int) -> str:
    """Say which indices wait still: they start in order, so it is the last ones."""
    if not queued:
        return "-"
    asked = wishes.indices(row.extra.options["array"], is_pro=True)
    left, step = asked.listed[-queued:], asked.step
    if len(left) == 1:
        return str(left[0])
    return f"{left[0]}-{left[-1]}" + (f":{step}" if step > 1 else "")


def _torque(view: View) -> dict[str, Value | None]:
    row, options = view.row, view.row.extra.options
    info = row.info
    letter, created, changed = view.letter, *_times(view)
    used = view.used()
    limit = info.walltime_s
    over = row.done
    left = max(0, int(limit - view.used_s)) if limit and not over else None
    return {
        "Job_Name": view.name,
        "Job_Owner": f"{view.user}@{view.host}",
        "resources_used": {
            "cput": used["cput"],
            "energy_used": "0",
            "mem": used["mem"],
            "vmem": used["vmem"],
            "walltime": clock(view.used_s),
        } if view.has_run else None,
        "job_state": letter,
        "queue": view.queue,
        "server": view.host,
        "Account_Name": row.extra.account,
        "Checkpoint": "u",
        "ctime": created,
        "depend": view.depend(),
        "Error_Path": view.path("err"),
        "exec_host": view.exec_host,
        "Execution_Time": Time(info.begin) if letter == "W" else None,
        "Hold_Types": state.holds(row),
        "Join_Path": options.get("j", "n"),
        "Keep_Files": options.get("k", "n"),
        "Mail_Points": options.get("m", "a"),
        "Mail_Users": options.get("M"),
        "mtime": changed,
        "Output_Path": view.path("out"),
        "Priority": info.priority,
        "qtime": created,
        "Rerunable": _bool(options.get("r", "y")),
        "Resource_List": view.listed,
        "session_id": info.pid if info.pid else None,
        "Shell_Path_List": options.get("S"),
        "Variable_List": _variables(view),
        "euser": view.user,
        "egroup": view.user,
        "queue_type": "E",
        "comment": view.comment,
        "etime": Time(info.eligible or info.submitted) if letter not in "HW" else None,
        "exit_status": state.exit_status(row, view.own),
        "submit_args": row.extra.submit,
        "job_array_id": ids.index_of(row),
        "job_array_request": options.get("array"),
        "umask": options.get("umask"),
        "start_time": Time(info.started) if view.has_run else None,
        "start_count": max(info.attempt, 1) if view.has_run else None,
        "Walltime": {"Remaining": str(left)} if left is not None else None,
        "fault_tolerant": "False",
        "comp_time": Time(info.ended) if over else None,
        "job_radix": 0,
        "total_runtime": f"{view.used_s:.6f}" if over and view.has_run else None,
        "submit_host": view.host,
        "init_work_dir": row.extra.options.get("d") or _home(view),
        "request_version": 1,
    }  # fmt: skip


def _bool(text: str) -> str:
    return "True" if text == "y" else "False"


def _variables(view: View) -> dict[str, str]:
    found: dict[str, str] = json.loads(view.row.extra.options.get("v", "{}"))
    return found


def _home(view: View) -> str:
    return _variables(view).get("PBS_O_HOME", "/")


def _executable(row: Row) -> str | None:
    if not row.extra.command:
        return None
    return f"<jsdl-hpcpa:Executable>{row.extra.command.split()[0]}</jsdl-hpcpa:Executable>"


def date(when: float) -> str:
    """Write a time as PBS does."""
    return time.strftime("%a %b %d %H:%M:%S %Y", time.localtime(when))
