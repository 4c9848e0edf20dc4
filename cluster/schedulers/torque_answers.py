"""What PBS prints, read: the jobs of `qstat -f`, the nodes of `pbsnodes`, what an end means.

Pure.  It reads the long text form, which every Torque and every PBS Pro prints
alike.  Their JSON and XML differ from each other, and older PBS Pro writes JSON
that is none as soon as a variable of the job holds a quote.

Who wrote an answer shows in its own words: Torque says `exit_status`, PBS Pro
`Exit_status`, and the same negative number means another thing in each.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

from cluster.local.wire import JobInfo
from cluster.schedulers.base import Resources
from cluster.schedulers.dialect import Seen, not_started

__all__ = ["MARK", "Native", "native", "read_jobs", "read_nodes", "seen"]

MARK = "CLUSTER_MARK"  # the variable of a job that carries its mark

Attributes = Mapping[str, str]

_NATIVE = re.compile(r"(\d{1,18})(?:\[(\d{0,18})\])?(?:\.([\w.\-]+))?\Z", re.ASCII)
_ATTRIBUTE = re.compile(r" {4}([A-Za-z][\w.]*) = (.*)\Z", re.ASCII)
_MARKED = re.compile(rf"(?:^|,)\s*{MARK}=([\w\-]+)", re.ASCII)
_STATES = {
    "Q": "PENDING",
    "W": "PENDING",  # waits for its time to begin
    "T": "PENDING",  # on its way to another queue
    "M": "PENDING",  # moved to another server
    "R": "RUNNING",
    "E": "RUNNING",  # its files are being copied back
    "B": "RUNNING",  # an array of which something has started
    "S": "SUSPENDED",
    "U": "SUSPENDED",  # the workstation's owner came back
}
_ENDED = "FCX"  # PBS Pro; Torque; PBS Pro's elements while their array goes on

# Limits and accidents, by the negative status that the node's daemon gives.
_PRO_ENDINGS = {
    -4: ("NODE_FAIL", "the node's daemon started anew"),
    -5: ("NODE_FAIL", "the node's daemon started anew"),
    -6: ("NODE_FAIL", "the node's daemon started anew"),
    -17: ("CANCELLED", "a hook of the site deleted it"),
    -19: ("CANCELLED", "a hook of the site deleted it"),
    -20: ("NODE_FAIL", "the node could not be reached"),
    -24: ("FAILED", "it used more cores than it asked for"),
    -25: ("FAILED", "it used more cores than it asked for"),
    -26: ("OUT_OF_MEMORY", "it exceeded its virtual memory"),
    -27: ("OUT_OF_MEMORY", "it exceeded its memory"),
    -28: ("TIMEOUT", "it exceeded its CPU time"),
    -29: ("TIMEOUT", "it exceeded its walltime"),
}
_TORQUE_ENDINGS = {
    -4: _PRO_ENDINGS[-4],
    -5: _PRO_ENDINGS[-5],
    -6: _PRO_ENDINGS[-6],
    -9: ("FAILED", "its output files could not be opened"),
    -10: ("OUT_OF_MEMORY", "it exceeded its memory"),
    -11: ("TIMEOUT", "it exceeded its walltime"),
    -12: ("TIMEOUT", "it exceeded its CPU time"),
}
_TRIED = "failed attempts"  # "job held, too many failed attempts to run"
_OPERATORS = "only operators release such a hold (qrls -h s); ask them, or cancel it"
_DELETED = "91"  # substate in PBS Pro: ended by qdel


# ---------------------------------------------------------------- ids


class Native(NamedTuple):
    """An id as PBS writes it, in its parts."""

    number: str
    element: str  # its index; empty for a whole job
    server: str
    is_array: bool  # of a whole array, `17[]`

    @property
    def id(self) -> str:
        """Give it as people see it: "17", "17_3"."""
        return f"{self.number}_{self.element}" if self.element else self.number


def native(text: str) -> Native | None:
    """Take `17.server`, `17[].server` or `17[3].server` apart; None if it is no id."""
    match = _NATIVE.match(text)
    if match is None:
        return None
    number, index, server = match.groups()
    return Native(number, index or "", server or "", index == "")


# ---------------------------------------------------------------- the text of qstat -f


def read_jobs(text: str) -> list[tuple[Native, Attributes]]:
    """Take the text apart into jobs; a value keeps what was wrapped to the next lines."""
    jobs: list[tuple[Native, dict[str, str]]] = []
    attributes: dict[str, str] | None = None
    last = ""
    for line in text.split("\n"):
        if line.startswith("Job Id:"):
            id = native(line.removeprefix("Job Id:").strip())
            attributes, last = {}, ""
            if id:
                jobs.append((id, attributes))
        elif attributes is None:
            continue
        elif found := _ATTRIBUTE.match(line):
            # The first one counts: a variable of the job may hold lines that look like these.
            last = found[1] if found[1] not in attributes else ""
            if last:
                attributes[last] = found[2]
        elif last and line:
            attributes[last] += line[1:] if line.startswith("\t") else "\n" + line
    return list(jobs)


def seen(id: Native, attributes: Attributes) -> Seen | None:
    """Say in our words what PBS says of one job; None if that says nothing yet."""
    letter = attributes.get("job_state", "").strip()
    if letter in tuple(_ENDED):
        if letter == "X" and _status(attributes) is None and not _was_deleted(attributes):
            return None  # older PBS Pro does not say how an element ended
        state, exitcode, signal, reason = _end(attributes)
    elif letter in _STATES or letter == "H":
        exitcode, signal = None, 0
        state, reason = _waiting(letter, attributes)
    else:
        return None
    info = JobInfo(
        id=id.id,
        name=attributes.get("Job_Name", ""),
        state=state,
        index=int(id.element) if id.element else None,
        exitcode=exitcode,
        signal=signal,
        reason=reason,
        ending=letter == "E",
        host=attributes.get("exec_host", "").split("/")[0].split("+")[0],
        dependencies=_dependencies(attributes.get("depend", "")),
        submitted=_time(attributes.get("ctime", "")),
        eligible=_time(attributes.get("etime", "")),
        started=_time(attributes.get("stime", attributes.get("start_time", ""))),
        ended=_ended(attributes) if letter in _ENDED else 0.0,
        begin=_time(attributes.get("Execution_Time", "")),
        cores=_cores(attributes),
        memory_mib=round(_mib(attributes.get("Resource_List.mem", ""))),
        walltime_s=_seconds(attributes.get("Resource_List.walltime", "")),
        cpu_s=_seconds(attributes.get("resources_used.cput", "")),
        peak_memory_mib=_mib(attributes.get("resources_used.mem", "")),
        priority=_int(attributes.get("Priority", "")),
    )
    mark = _MARKED.search(attributes.get("Variable_List", ""))
    return Seen(
        info=info,
        user=attributes.get("Job_Owner", "").partition("@")[0],
        partition=attributes.get("queue", ""),
        mark=mark[1] if mark else "",
        requested=_requested(attributes),
        stuck=letter == "H" and _is_stuck(attributes),
    )


def _waiting(letter: str, attributes: Attributes) -> tuple[str, str]:
    reason = attributes.get("comment", "") if letter in "QHWT" else ""
    if letter != "H":
        return _STATES[letter], reason
    if _is_stuck(attributes):
        return "HELD", not_started("PBS", reason, _OPERATORS)
    by_hand = set("uo") & set(attributes.get("Hold_Types", "n").partition(" ")[0])
    if not by_hand and _dependencies(attributes.get("depend", "")):
        return "PENDING", reason or "it waits for its dependencies"
    return "HELD", reason


def _is_stuck(attributes: Attributes) -> bool:
    """Tell whether the server holds it because it could not start it, as often as it tried.

    Its hold is of the same type as that of a job which waits for another.
    """
    holds = set(attributes.get("Hold_Types", "n").partition(" ")[0])
    return "p" in holds or ("s" in holds and _TRIED in attributes.get("comment", ""))


def _dependencies(text: str) -> tuple[str, ...]:
    """Read "afterok:1", "afterok:2" from `afterok:1.vm@vm:2.vm@vm,beforeany:3.vm@vm`."""
    found = []
    for one in text.split(","):
        kind, *jobs = one.strip().split(":")
        word = kind.removesuffix("array").removesuffix("start")  # Torque, of whole arrays
        if word.startswith("after"):
            ids = [native(job.partition("@")[0].strip()) for job in jobs]
            found += [f"{word}:{id.id}" for id in ids if id]
    return tuple(dict.fromkeys(found))


# ---------------------------------------------------------------- how it ended


def _status(attributes: Attributes) -> int | None:
    text = attributes.get("Exit_status", attributes.get("exit_status", "")).strip()
    return int(text) if re.fullmatch(r"-?[0-9]{1,9}", text) else None


def _end(attributes: Attributes) -> tuple[str, int | None, int, str]:
    """State, exit code, signal and reason of a job that is over."""
    status, comment = _status(attributes), attributes.get("comment", "")
    torque = "exit_status" in attributes
    if status is None or (torque and status > 0 and "exec_host" not in attributes):
        return "CANCELLED", None, 0, _why_never_started(attributes)
    if status < 0:
        state, reason = (_TORQUE_ENDINGS if torque else _PRO_ENDINGS).get(
            status, ("FAILED", comment or f"PBS could not run it (status {status})")
        )
        return state, None, 0, reason
    signal = status - 256 if status > 256 else 0
    exitcode = 128 + signal if signal else status
    if state := _limit_in(comment):
        return state, exitcode, signal, comment
    if signal and torque and _ran_out_of_time(attributes):
        return "TIMEOUT", exitcode, signal, "it reached its walltime"
    if _was_deleted(attributes) and "array" not in attributes:
        return "CANCELLED", exitcode, signal, "it was deleted with qdel"
    # A shell outlives a SIGTERM for its command only; for the whole job it is qdel's.
    if torque and signal == 15:
        return "CANCELLED", exitcode, signal, "it was deleted with qdel"
    return ("FAILED" if status else "COMPLETED"), exitcode, signal, ""


def _limit_in(comment: str) -> str:
    found = re.search(r"exceeded resource (\w+)", comment)
    if not found:
        return ""
    kinds = {"walltime": "TIMEOUT", "cput": "TIMEOUT", "mem": "OUT_OF_MEMORY"}
    return {**kinds, "vmem": "OUT_OF_MEMORY"}.get(found[1], "")


def _ran_out_of_time(attributes: Attributes) -> bool:
    limit = _seconds(attributes.get("Resource_List.walltime", ""))
    return 0 < limit <= _seconds(attributes.get("resources_used.walltime", ""))


def _was_deleted(attributes: Attributes) -> bool:
    return attributes.get("substate", "").strip() == _DELETED


def _why_never_started(attributes: Attributes) -> str:
    wanted = _dependencies(attributes.get("depend", ""))
    if wanted and not _was_deleted(attributes):
        return f"its dependency can never hold: {', '.join(wanted)}"
    comment = attributes.get("comment", "")
    return "it was deleted before it started" + (f" ({comment})" if comment else "")


# ---------------------------------------------------------------- times and amounts


def _ended(attributes: Attributes) -> float:
    last = (attributes.get(name, "") for name in ("obittime", "comp_time", "mtime"))
    return _time(next((text for text in last if text), ""))


def _time(text: str) -> float:
    """Read `Sat Nov 21 07:54:10 2026`, local time as everywhere in PBS; 0 if it is none."""
    try:
        return datetime.strptime(text.strip(), "%a %b %d %H:%M:%S %Y").timestamp()
    except (ValueError, OverflowError, OSError):
        return 0.0


def _cores(attributes: Attributes) -> int:
    ncpus = _int(attributes.get("Resource_List.ncpus", ""))
    if ncpus > 0:
        return ncpus
    nodes = re.match(r"(\d{1,9})(?=[:\s]|\Z)", attributes.get("Resource_List.nodes", ""), re.ASCII)
    each = re.search(r":ppn=(\d{1,9})", attributes.get("Resource_List.nodes", ""), re.ASCII)
    return max(1, int(nodes[1] if nodes else 1) * int(each[1] if each else 1))


def _requested(attributes: Attributes) -> dict[str, str]:
    """What of the request has no place of its own in `JobInfo`."""
    prefix = "Resource_List."
    known = ("ncpus", "mem", "walltime", "nodect")
    wanted = {k.removeprefix(prefix): v for k, v in attributes.items() if k.startswith(prefix)}
    return {name: value for name, value in wanted.items() if name not in known}


def _int(text: str) -> int:
    return int(text) if re.fullmatch(r"-?[0-9]{1,9}", text.strip()) else 0


def _seconds(text: str) -> float:
    """Read `[[DD:]HH:]MM:SS` or plain seconds; 0 if it is neither."""
    if not re.fullmatch(r"\d{1,9}(:\d{1,9}){0,3}", text.strip(), re.ASCII):
        return 0.0
    *days, hours, minutes, seconds = (0, 0, *map(int, text.strip().split(":")))[-4:]
    return float(sum(days) * 86400 + hours * 3600 + minutes * 60 + seconds)


def _mib(text: str) -> float:
    """Read `6588kb`; a number alone is bytes."""
    match = re.fullmatch(r"(\d{1,18})([kmgtp]?)(b?)", text.strip().lower(), re.ASCII)
    if match is None:
        return 0.0
    return int(match[1]) * 1024.0 ** (" kmgtp".index(match[2] or " ") - 2)


# ---------------------------------------------------------------- pbsnodes -a


def read_nodes(text: str) -> Resources:
    """Add up the nodes of `pbsnodes -a` that are up."""
    nodes = [one for one in _nodes(text) if not re.search("down|offline|unknown", one["state"])]
    cores = sum(_node_cores(one) for one in nodes)
    used = sum(_node_used(one) for one in nodes)
    return Resources(
        cores=cores,
        memory_mib=round(sum(_node_mib(one) for one in nodes)),
        gpus=sum(_int(one.get("gpus", one.get("resources_available.ngpus", ""))) for one in nodes),
        nodes=len(nodes),
        free_cores=max(0, cores - used),
    )


def _nodes(text: str) -> Iterable[dict[str, str]]:
    node: dict[str, str] = {}
    for line in text.splitlines():
        if line and not line[0].isspace():
            yield from [node] if "state" in node else []
            node = {}
        elif " = " in line:
            name, _, value = line.strip().partition(" = ")
            node.setdefault(name, value)
    yield from [node] if "state" in node else []


def _node_cores(node: Attributes) -> int:
    return _int(node.get("np", node.get("resources_available.ncpus", "")))


def _node_used(node: Attributes) -> int:
    if "np" not in node:
        return _int(node.get("resources_assigned.ncpus", ""))
    used = 0
    for slots in re.findall(r"([\d,\-]+)/\d", node.get("jobs", ""), re.ASCII):
        for one in filter(None, slots.split(",")):
            first, _, last = one.partition("-")
            used += max(1, _int(last) - _int(first) + 1) if last else 1
    return used


def _node_mib(node: Attributes) -> float:
    physical = re.search(r"physmem=(\d+kb)", node.get("status", ""), re.ASCII)
    return _mib(physical[1] if physical else node.get("resources_available.mem", ""))
