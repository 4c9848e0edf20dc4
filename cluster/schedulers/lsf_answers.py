"""What LSF prints, read: the jobs of `bjobs` and `bhist`, and what an end means.

Pure.  LSF tells times without seconds and, as a rule, without the year; they
are left out then, and a job's own exit record has better ones.
"""

from __future__ import annotations

import re
from datetime import datetime

from cluster.local.wire import JobInfo
from cluster.schedulers.base import Resources
from cluster.schedulers.dialect import Seen

__all__ = ["FORMAT", "MARK", "native", "people", "read_bhist", "read_bhosts", "read_bjobs"]

# Every LSF since 9.1 knows these.  What may hold anything stands last.
_FIELDS = (
    *("jobid", "stat", "user", "queue", "exit_code", "slots", "run_time", "cpu_used"),
    *("max_mem", "first_host", "exit_reason", "job_description", "job_name"),
)
_BETWEEN = "^"
FORMAT = f'{" ".join(_FIELDS)} delimiter="{_BETWEEN}"'
MARK = re.compile(r"(?<![\w\-])cluster-[0-9a-f]{16}(?![\w\-])")

_ID = re.compile(r"(\d{1,18})(?:\[(\d{1,18})\])?\Z", re.ASCII)
_ELEMENT = re.compile(r"\[(\d{1,18})\]\Z", re.ASCII)
_STATES = {
    "PEND": "PENDING",
    "WAIT": "PENDING",  # in a chunk, behind another job
    "PROV": "PENDING",  # its host is being started
    "PSUSP": "HELD",
    "RUN": "RUNNING",
    "USUSP": "SUSPENDED",  # by bstop
    "SSUSP": "SUSPENDED",  # by LSF
    "UNKWN": "RUNNING",  # its host does not answer
    "DONE": "COMPLETED",
    "PDONE": "COMPLETED",  # and what the queue runs behind it, too
    "PERR": "COMPLETED",  # the job was done; what the queue runs behind it failed
    "EXIT": "FAILED",
    "ZOMBI": "NODE_FAIL",
}
_REASONS = {"UNKWN": "its host does not answer", "ZOMBI": "its host did not answer when it ended"}
_TERMINATED = {
    **dict.fromkeys(("RUNLIMIT", "CPULIMIT", "DEADLINE"), "TIMEOUT"),
    **dict.fromkeys(("MEMLIMIT", "SWAP", "SWAPLIMIT"), "OUT_OF_MEMORY"),
    **dict.fromkeys(("OWNER", "ADMIN", "FORCE_OWNER", "FORCE_ADMIN", "USER"), "CANCELLED"),
    **dict.fromkeys(("BUCKET_KILL", "REMOVE_HUNG_JOB", "ORPHAN_SYSTEM", "WINDOW"), "CANCELLED"),
    **dict.fromkeys(("PREEMPT", "LOAD", "MC_RECALL", "KUBE"), "CANCELLED"),
    **dict.fromkeys(("ZOMBIE", "SLURM", "RMS", "RC"), "NODE_FAIL"),
}


# ---------------------------------------------------------------- ids


def native(id: str) -> str:
    """Write "17_3" as LSF does, `17[3]`."""
    job, _, index = id.partition("_")
    return f"{job}[{index}]" if index else job


def people(text: str) -> str:
    """Write `17[3]` as people see it, "17_3"; empty if it is no id."""
    match = _ID.match(text)
    if match is None:
        return ""
    return f"{match[1]}_{match[2]}" if match[2] else match[1]


# ---------------------------------------------------------------- bjobs -o


def read_bjobs(text: str) -> list[Seen]:
    """Read what `bjobs -noheader -o` printed for `FORMAT`; other lines are left out."""
    return [one for line in text.split("\n") if (one := _read_line(line.rstrip("\r")))]


def _read_line(line: str) -> Seen | None:
    values = [value.strip() for value in line.split(_BETWEEN, len(_FIELDS) - 1)]
    if len(values) != len(_FIELDS):
        return None
    told = dict(zip(_FIELDS, ("" if value == "-" else value for value in values), strict=True))
    id = people(told["jobid"])
    if not id or told["stat"] not in _STATES:
        return None
    # Without LSB_BJOBS_DISPLAY_ENH the index of an element stands in its name only.
    if "_" not in id and (element := _ELEMENT.search(told["job_name"])):
        id = f"{id}_{element[1]}"
    return _seen(id, told)


def _seen(id: str, told: dict[str, str]) -> Seen:
    state, exitcode, signal, reason = _STATES[told["stat"]], None, 0, ""
    if state == "FAILED":
        started = bool(told["first_host"] or told["exit_code"])
        code = _int(told["exit_code"]) if told["exit_code"] else None
        state, exitcode, signal, reason = _end(code, told["exit_reason"], started=started)
    elif state == "COMPLETED":
        exitcode = 0
    index = id.partition("_")[2]
    mark = MARK.search(told["job_description"] + _BETWEEN + told["job_name"])
    info = JobInfo(
        id=id,
        name=_ELEMENT.sub("", told["job_name"]) if index else told["job_name"],
        state=state,
        index=int(index) if index else None,
        cores=max(1, _int(told["slots"])),
        exitcode=exitcode,
        signal=signal,
        reason=reason or _REASONS.get(told["stat"], ""),
        cpu_s=_number(told["cpu_used"]),
        peak_memory_mib=_mib(told["max_mem"]),
        host=told["first_host"].rpartition("*")[2],
        comment=MARK.sub("", told["job_description"]).strip(),
    )
    requested = {"run_time_s": f"{_number(told['run_time']):g}"} if told["run_time"] else {}
    return Seen(
        info=info,
        user=told["user"],
        partition=told["queue"],
        mark=mark[0] if mark else "",
        requested=requested,
    )


def _end(code: int | None, why: str, *, started: bool) -> tuple[str, int | None, int, str]:
    """State, exit code, signal and reason of a job in EXIT."""
    signal = code - 128 if code is not None and 128 < code < 193 else 0
    term = re.search(r"TERM_([A-Z_]+)", why)
    if term is None and not started:
        return "CANCELLED", None, 0, "it was killed before it started"
    state = _TERMINATED.get(term[1], "FAILED") if term else "FAILED"
    reason = why.partition("TERM_")[1] + why.partition("TERM_")[2] if term else ""
    if term and term[1] == "ORPHAN_SYSTEM":
        reason = f"its dependency can never hold ({reason})"
    return state, code, signal, reason.strip(" .;")


# ---------------------------------------------------------------- bhist -l


def read_bhist(text: str) -> list[Seen]:
    """Read the jobs of `bhist -l` that are over; the others are the queue's to tell."""
    blocks = re.split(r"^(?=Job <)", _unwrapped(text), flags=re.MULTILINE)
    return [one for block in blocks if (one := _read_block(block))]


def _unwrapped(text: str) -> str:
    """Long lines go on in column 22 of the next, in the middle of a word."""
    return re.sub(r"\n {21}(?=\S| )", "", text)


def _read_block(block: str) -> Seen | None:
    head, _, story = block.partition("\n")
    named = re.match(r"Job <([\d\[\]]+)>", head, re.ASCII)
    id = people(named[1]) if named else ""
    ended = re.search(
        r"(Done successfully|Exited with exit code (\d{1,9})|Exited by signal (\d{1,9})"
        r"|Exited\b|Completed <(done|exit)>)",
        story,
        re.ASCII,
    )
    if not id or ended is None:
        return None
    exitcode: int | None = 0
    state, signal, reason = "COMPLETED", 0, ""
    if ended[1] != "Done successfully" and ended[4] != "done":
        code = int(ended[2]) if ended[2] else 128 + int(ended[3]) if ended[3] else None
        why = re.findall(r"TERM_[A-Z_]+[^;\n]*", story)
        started = re.search(r": (Starting|Started|Dispatched)\b", story) is not None
        state, exitcode, signal, reason = _end(code, why[-1] if why else "", started=started)
    used = re.search(r"CPU time used is ([\d.]{1,20}) seconds", story, re.ASCII)
    peak = re.search(r"MAX MEM: ([\d.]+ \w+)", story, re.ASCII)
    times = re.findall(r"^(\w{3} \w{3} +\d+ [\d:]+ \d{4}): (\w+)", story, re.MULTILINE | re.ASCII)
    moments = {word: _time(text) for text, word in reversed(times)}
    index = id.partition("_")[2]
    info = JobInfo(
        id=id,
        name=_ELEMENT.sub("", _in(head, "Job Name")) if index else _in(head, "Job Name"),
        state=state,
        index=int(index) if index else None,
        exitcode=exitcode,
        signal=signal,
        reason=reason,
        submitted=moments.get("Submitted", 0.0),
        started=moments.get("Starting", moments.get("Started", 0.0)),
        ended=max(moments.get("Done", 0.0), moments.get("Exited", 0.0)),
        cpu_s=_number(used[1]) if used else 0.0,
        peak_memory_mib=_mib(peak[1]) if peak else 0.0,
    )
    mark = MARK.search(head)
    return Seen(info=info, user=_in(head, "User"), mark=mark[0] if mark else "")


def _in(head: str, field: str) -> str:
    found = re.search(rf"{field} <(.*?)>(?:,|$)", head)
    return found[1] if found else ""


# ---------------------------------------------------------------- numbers


def _int(text: str) -> int:
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text.strip()) else 0


def _number(text: str) -> float:
    """Read the number in front of `12.5 second(s)`."""
    match = re.match(r"\s*(\d{1,18}(?:\.\d{1,18})?)", text, re.ASCII)
    return float(match[1]) if match else 0.0


def _mib(text: str) -> float:
    """Read `4 Mbytes`, `1.5 Gbytes`, `2G`."""
    match = re.match(r"\s*(\d{1,18}(?:\.\d{1,9})?)\s*([KMGTP]?)", text, re.IGNORECASE | re.ASCII)
    if match is None:
        return 0.0
    return float(match[1]) * 1024.0 ** (" KMGTP".index(match[2].upper() or " ") - 2)


def _time(text: str) -> float:
    try:
        return datetime.strptime(" ".join(text.split()), "%a %b %d %H:%M:%S %Y").timestamp()
    except (ValueError, OverflowError, OSError):
        return 0.0


# ---------------------------------------------------------------- bhosts


def read_bhosts(text: str) -> Resources:
    """Add up the slots of the hosts of `bhosts -w` that are there."""
    rows = [line.split() for line in text.splitlines() if line.strip()]
    if not rows or "MAX" not in rows[0] or "NJOBS" not in rows[0]:
        return Resources(cores=0, nodes=0)
    most, taken = rows[0].index("MAX"), rows[0].index("NJOBS")
    up = [
        row
        for row in rows[1:]
        if len(row) == len(rows[0]) and not re.match(r"un|closed_Adm|closed_LIM", row[1])
    ]
    cores = sum(_int(row[most]) for row in up)
    used = sum(_int(row[taken]) for row in up)
    return Resources(cores=cores, nodes=len(up), free_cores=max(0, cores - used))
