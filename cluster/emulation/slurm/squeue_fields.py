"""What squeue can show of a job: by letter and by name."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from cluster.emulation.slurm.dependency import One, show
from cluster.emulation.slurm.jobs import COMPACT, View
from cluster.emulation.slurm.table import Field
from cluster.emulation.slurm.times import clock, duration, size

__all__ = ["LETTERS", "NAMES", "Line", "by_letter"]

_FIRST = 4294967295


@dataclass(frozen=True)
class Line:
    """A job with what the call knows besides.

    Attributes:
        view: the job.
        host, user: of the cluster.
        form: SLURM_TIME_FORMAT.
        status: what became of a condition, see `dependency.show`.
    """

    view: View
    host: str
    user: str
    form: str = ""
    status: Callable[[View, One], str] = lambda view, one: ""


def _time(seconds: float, line: Line) -> str:
    return clock(seconds, line.form) if seconds else "N/A"


def _start(line: Line) -> str:
    view = line.view
    if view.ran:
        return _time(view.info.started, line)
    if view.is_over:
        return _time(view.info.ended, line)
    return _time(view.info.begin if view.info.begin > view.now else view.info.expected_start, line)


def _limit(line: Line) -> str:
    limit = line.view.walltime_s
    return duration(limit) if limit else "UNLIMITED"


def _left(line: Line) -> str:
    limit = line.view.walltime_s
    return duration(limit - line.view.elapsed_s) if limit else "UNLIMITED"


def _memory(line: Line) -> str:
    extra = line.view.extra
    if "mem-per-cpu" in line.view.options:
        return size(extra.memory_mib // max(1, extra.cores))
    return size(extra.memory_mib // max(1, extra.nodes)) if extra.memory_mib else "0"


def _nodes(line: Line) -> str:
    return line.host if line.view.ran else ""


_WITH_REASON = ("PENDING", "FAILED", "TIMEOUT", "OUT_OF_MEMORY", "DEADLINE")


def _nodes_or_reason(line: Line) -> str:
    if line.view.state in _WITH_REASON:
        return f"({line.view.reason})"
    return line.host if line.view.ran else ""


def _index(line: Line) -> str:
    return line.view.index or "N/A"


def dependency(line: Line) -> str:
    """What it still waits for, or (null)."""
    view = line.view
    text = view.options.get("dependency", "")
    if not text or (not view.is_pending and not view.reason.startswith("Dependency")):
        return "(null)"
    return show(text, lambda one: line.status(view, one)) or "(null)"


def _status(line: Line) -> str:
    code, number = line.view.exit_code
    return str(code << 8 | (253 if number == 125 else number))


def _output(key: str) -> Callable[[Line], str]:
    def value(line: Line) -> str:
        view = line.view
        text = view.options.get(key, "")
        if not view.is_batch or not text:
            return "/dev/null" if key == "stdin" and view.is_batch else ""
        path = os.path.join(view.options.get("workdir", view.extra.cwd), text)
        if text in ("slurm-%j.out", "slurm-%A_%a.out"):
            return (
                path.replace("%j", str(view.raw))
                .replace("%A", str(view.row.array))
                .replace("%a", str(view.row.index))
            )
        return path

    return value


def _option(key: str, default: str = "(null)") -> Callable[[Line], str]:
    return lambda line: line.view.options.get(key, default)


def _constant(text: str) -> Callable[[Line], str]:
    return lambda line: text


def _tres(line: Line) -> str:
    extra = line.view.extra
    memory = f",mem={size(extra.memory_mib)}" if extra.memory_mib else ""
    gpus = f",gres/gpu={extra.gpus}" if extra.gpus else ""
    return f"cpu={extra.cores}{memory},node={extra.nodes},billing={extra.cores}{gpus}"


def _work_dir(line: Line) -> str:
    return line.view.options.get("workdir") or line.view.extra.cwd


_F = Field[Line]
# heading, value, letter, names
_TABLE: tuple[tuple[str, Callable[[Line], str], str, str], ...] = (
    ("ACCOUNT", lambda n: n.view.extra.account, "a", "account"),
    ("JOBID", lambda n: str(n.view.raw), "A", "jobid"),
    ("TRES_PER_NODE", lambda n: n.view.options.get("gres", "N/A"), "b", "gres,tres-per-node"),
    ("EXEC_HOST", lambda n: n.host if n.view.ran else "n/a", "B", "batchhost"),
    ("MIN_CPUS", lambda n: n.view.options.get("cpus_per_task", "1"), "c", "mincpus"),
    ("CPUS", lambda n: str(n.view.extra.cores), "C", "numcpus"),
    ("MIN_TMP_DISK", _constant("0"), "d", "mintmpdisk"),
    ("NODES", lambda n: str(n.view.extra.nodes), "D", "numnodes"),
    ("END_TIME", lambda n: _time(n.view.end, n), "e", "endtime"),
    ("DEPENDENCY", dependency, "E", "dependency"),
    ("FEATURES", _option("constraint"), "f", "feature"),
    ("ARRAY_JOB_ID", lambda n: str(n.view.row.array), "F", "arrayjobid"),
    ("GROUP", lambda n: n.user, "g", "groupname"),
    ("GROUP", lambda n: str(os.getgid()), "G", "groupid"),
    ("OVER_SUBSCRIBE", lambda n: "NO" if "exclusive" in n.view.options else "OK", "h",
     "oversubscribe"),
    ("SOCKETS_PER_NODE", _constant("*"), "H", "sockets"),
    ("JOBID", lambda n: n.view.id, "i", "jobarrayid"),
    ("CORES_PER_SOCKET", _constant("*"), "I", "cores"),
    ("NAME", lambda n: n.view.info.name, "j", "name"),
    ("THREADS_PER_CORE", _constant("*"), "J", "threads"),
    ("COMMENT", lambda n: n.view.extra.comment or "(null)", "k", "comment"),
    ("ARRAY_TASK_ID", _index, "K", "arraytaskid"),
    ("TIME_LIMIT", _limit, "l", "timelimit"),
    ("TIME_LEFT", _left, "L", "timeleft"),
    ("MIN_MEMORY", _memory, "m", "minmemory"),
    ("TIME", lambda n: duration(n.view.elapsed_s), "M", "timeused"),
    ("REQ_NODES", lambda n: n.view.options.get("nodelist", ""), "n", "reqnodes"),
    ("NODELIST", _nodes, "N", "nodelist"),
    ("COMMAND", lambda n: n.view.extra.command or "(null)", "o", "command"),
    ("CONTIGUOUS", _constant("0"), "O", "contiguous"),
    ("PRIORITY", lambda n: f"{n.view.priority / _FIRST:.14f}", "p", "priority"),
    ("PARTITION", lambda n: n.view.extra.partition, "P", "partition"),
    ("QOS", _option("qos", "normal"), "q", "qos"),
    ("PRIORITY", lambda n: str(n.view.priority), "Q", "prioritylong"),
    ("REASON", lambda n: n.view.reason, "r", "reason"),
    ("NODELIST(REASON)", _nodes_or_reason, "R", "reasonlist"),
    ("START_TIME", _start, "S", "starttime"),
    ("ST", lambda n: COMPACT.get(n.view.state, n.view.state), "t", "statecompact"),
    ("STATE", lambda n: n.view.state, "T", "state"),
    ("USER", lambda n: n.user, "u", "username"),
    ("UID", lambda n: str(os.getuid()), "U", "userid"),
    ("RESERVATION", _option("reservation"), "v", "reservation"),
    ("SUBMIT_TIME", lambda n: _time(n.view.info.submitted, n), "V", "submittime"),
    ("WCKEY", _option("wckey"), "w", "wckey"),
    ("LICENSES", _option("licenses"), "W", "licenses"),
    ("EXC_NODES", lambda n: n.view.options.get("exclude", ""), "x", "excnodes"),
    ("CORE_SPEC", _constant("N/A"), "X", "corespec"),
    ("NICE", lambda n: n.view.options.get("nice", "0"), "y", "nice"),
    ("SCHEDNODES", lambda n: "(null)", "Y", "schednodes"),
    ("S:C:T", _constant("*:*:*"), "z", "sct"),
    ("WORK_DIR", _work_dir, "Z", "workdir"),
    ("EXIT_CODE", _status, "", "exitcode"),
    ("TASKS", lambda n: n.view.options.get("ntasks", "1"), "", "numtasks"),
    ("CPUS_PER_TASK", lambda n: n.view.options.get("cpus_per_task", "1"), "", "cpuspertask"),
    ("STDOUT", _output("stdout"), "", "stdout"),
    ("STDERR", _output("stderr"), "", "stderr"),
    ("STDIN", _output("stdin"), "", "stdin"),
    ("TRES_ALLOC", _tres, "", "tresalloc"),
    ("RESTART_COUNT", lambda n: str(max(0, n.view.info.attempt - 1)), "", "restartcnt"),
    ("REQUEUE", _option("requeue", "1"), "", "requeue"),
    ("ELIGIBLE_TIME", lambda n: _time(n.view.info.eligible, n), "", "eligibletime"),
    ("ACCRUE_TIME", lambda n: _time(n.view.info.eligible, n), "", "accruetime"),
    ("PENDING_TIME", lambda n: str(int((n.view.info.started or n.view.now)
                                       - n.view.info.submitted)), "", "pendingtime"),
    ("CLUSTER", _constant("cluster"), "", "cluster"),
    ("ALLOC_NODES", lambda n: n.host, "", "allocnodes"),
    ("ALLOC_SID", _constant("0"), "", "allocsid"),
    ("BATCH_FLAG", lambda n: str(int(n.view.is_batch)), "", "batchflag"),
    ("DERIVED_EXIT_CODE", _constant("0"), "", "derivedec"),
    ("GRES", _option("gres", "N/A"), "", "trespernode"),
    ("STATE_COMPACT", lambda n: COMPACT.get(n.view.state, n.view.state), "", "compactstate"),
    ("NTASKS_PER_NODE", _constant("0"), "", "ntpernode"),
    ("MAX_CPUS", _constant("0"), "", "maxcpus"),
    ("MAX_NODES", _constant("0"), "", "maxnodes"),
    ("PREEMPT_TIME", _constant("N/A"), "", "preempttime"),
    ("PROFILE", _constant("N/A"), "", "profile"),
    ("REBOOT", _constant("0"), "", "reboot"),
    ("SWITCH_WAIT", _constant("N/A"), "", "waitswitch"),
    ("ADMIN_COMMENT", _constant("(null)"), "", "admincomment"),
    ("SYSTEM_COMMENT", _constant("(null)"), "", "systemcomment"),
)  # fmt: skip

LETTERS: dict[str, _F] = {letter: Field(head, value) for head, value, letter, _ in _TABLE if letter}
NAMES: dict[str, _F] = {
    name.replace("-", ""): Field(head, value)
    for head, value, _, names in _TABLE
    for name in names.split(",")
}


def by_letter(line: Line, letter: str) -> str:
    """Give a field's text."""
    return LETTERS[letter].value(line)
