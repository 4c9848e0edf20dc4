"""How the process of a PBS job is made: where it runs, what it sees, where it writes.

The script runs from a copy, through its own first line.  A few lines of shell
in front of it make its TMPDIR, whose name only the start knows; see `_BEFORE`.
"""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from cluster.emulation.call import Call
from cluster.emulation.pbs.flavour import Flavour
from cluster.emulation.pbs.resources import Request
from cluster.emulation.pbs.tmpdirs import folder
from cluster.emulation.pbs.wishes import Indices
from cluster.spec import Launch, place

__all__ = ["Outputs", "Plan", "environment", "launch", "origin", "submitted"]

# With an irregular list of indices only the job can tell its own: CLUSTER_ARRAY_INDEX is
# its place in the list, counted from 0.  A directory of the output that was not there at
# submission may be now; if not, the output stays in the queue, as in the node's spool.
_BEFORE = b"""\
#!/bin/sh
index=
if [ -n "$CLUSTER_PBS_INDICES" ]; then
  index=$(echo "$CLUSTER_PBS_INDICES" | cut -d, -f$((CLUSTER_ARRAY_INDEX + 1)))
  PBS_ARRAYID=$index PBS_JOBID=${CLUSTER_ARRAY_ID}[$index].$CLUSTER_PBS_HOST
  PBS_JOBNAME=${PBS_JOBNAME%-*}-$index
  TMPDIR=${TMPDIR%/*}/pbs.$PBS_JOBID
  export PBS_ARRAYID PBS_JOBID PBS_JOBNAME TMPDIR
fi
if [ -n "$CLUSTER_PBS_OUT" ]; then
  out=$CLUSTER_PBS_OUT$index err=$CLUSTER_PBS_ERR$index
  [ -d "${out%/*}" ] && [ -w "${out%/*}" ] && exec > "$out"
  if [ "$out" = "$err" ]; then
    exec 2>&1
  elif [ -d "${err%/*}" ] && [ -w "${err%/*}" ]; then
    exec 2> "$err"
  fi
fi
unset CLUSTER_PBS_INDICES CLUSTER_PBS_OUT CLUSTER_PBS_ERR CLUSTER_PBS_HOST
mkdir -m 700 -p "$TMPDIR" || TMPDIR=/tmp
exec "$@"
"""
# What a login on the node would set as well, or what our own commands in the job need.
_KEPT = (
    *("HOME", "LOGNAME", "USER", "SHELL", "MAIL", "LANG", "LANGUAGE", "TZ", "PATH", "BASH_ENV"),
    *("CLUSTER_STATE_DIR", "CLUSTER_QTYPE", "CLUSTER_CONFIG", "CLUSTER_EMULATION"),
    "CLUSTER_EMULATION_BASH_ENV",
)
_INDEX = place("index")
_OF_JOBS = ("PBS_", "CLUSTER_JOB_", "CLUSTER_ARRAY_", "CLUSTER_RAW_ID", "NCPUS", "ENVIRONMENT")
_OF_SITE = ("PBS_SERVER", "PBS_DEFAULT", "PBS_EXEC", "PBS_CONF_FILE", "PBS_HOME")


@dataclass(frozen=True)
class Outputs:
    """Where a job writes.

    Attributes:
        stdout, stderr: paths with places; equal for one file.
        shown_out, shown_err: as `qstat -f` shows them; `%s` is the job's number.
    """

    stdout: bytes
    stderr: bytes
    shown_out: str
    shown_err: str


def environment(call: Call, *, whole: bool) -> dict[bytes, bytes]:
    """Give the environment a job begins with: the submitter's (`-V`), or a login's.

    PATH is the submitter's in both cases: what a login would set is not asked.
    """
    if not whole:
        kept = {os.fsencode(name) for name in _KEPT}
        return {n: v for n, v in call.env.items() if n in kept or n.startswith(b"LC_")}
    stale = tuple(os.fsencode(name) for name in _OF_JOBS)
    site = {os.fsencode(name) for name in _OF_SITE}
    return {n: v for n, v in call.env.items() if n in site or not n.startswith(stale)}


def submitted(call: Call) -> str:
    """Give the directory a job was submitted from, as the submitter's shell calls it."""
    cwd = os.fsdecode(call.cwd)
    logical = call.variable("PWD") or ""
    try:
        if logical.startswith("/") and os.path.samefile(logical, cwd):
            return os.path.normpath(logical)
    except OSError:
        pass
    return cwd


def origin(
    call: Call, flavour: Flavour, queue: str, variables: Mapping[str, str], workdir: str
) -> dict[str, str]:
    """Give the variables that a job has of its submission, in the order of qstat's list."""
    get = call.variable
    before = {
        "PBS_O_HOME": get("HOME"),
        "PBS_O_LANG": get("LANG"),
        "PBS_O_LOGNAME": get("LOGNAME") or call.machine.user,
        "PBS_O_PATH": get("PATH"),
        "PBS_O_MAIL": get("MAIL") or f"/var/mail/{call.machine.user}",
        "PBS_O_SHELL": get("SHELL") or "/bin/bash",
        "PBS_O_TZ": get("TZ"),
        "PBS_O_WORKDIR": workdir,
    }
    if flavour.is_pro:
        before["PBS_O_SYSTEM"] = os.uname().sysname
    else:
        before["PBS_O_SERVER"] = call.machine.host
    found = {name: value for name, value in before.items() if value}
    return {**found, **variables, "PBS_O_QUEUE": queue, "PBS_O_HOST": call.machine.host}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A job as it was asked for, every text read.

    Attributes:
        flavour: of the cluster.
        name, queue: of the job.
        request: what it asks for.
        indices: of an array; else None.
        outputs: where it writes.
        listed: variables of the submission and of `-v`.
        umask, cwd: it starts with.
        grace_s: from SIGTERM to SIGKILL; None is the queue's.
    """

    flavour: Flavour
    name: str
    queue: str
    request: Request
    indices: Indices | None
    outputs: Outputs
    listed: Mapping[str, str]
    umask: int
    cwd: str
    grace_s: float | None


_Changes: TypeAlias = "dict[str, str | bytes]"


def launch(call: Call, plan: Plan, argv: list[bytes]) -> Launch:
    """Make the launch of a job, but for its environment."""
    changes = _variables(call, plan)
    stdout, stderr = plan.outputs.stdout, plan.outputs.stderr
    if plan.indices is not None and not plan.indices.step:
        changes |= {
            "CLUSTER_PBS_INDICES": ",".join(map(str, plan.indices.listed)),
            "CLUSTER_PBS_HOST": call.machine.host,
        }
        changes |= _opened_by_itself(stdout.removesuffix(_INDEX), stderr.removesuffix(_INDEX))
        stdout = stderr = b""
    elif not all(os.path.isdir(os.path.dirname(path)) for path in (stdout, stderr)):
        changes |= _opened_by_itself(stdout, stderr)
        stdout = stderr = b""
    return Launch(
        argv=(b"/bin/sh", call.machine.spool(_BEFORE, "before"), *argv),
        cwd=os.fsencode(plan.cwd),
        umask=plan.umask,
        env_set={os.fsencode(key): os.fsencode(value) for key, value in changes.items()},
        stdout=stdout,
        stderr=stderr,
        grace_s=plan.grace_s,
        fills=True,
    )


def _variables(call: Call, plan: Plan) -> _Changes:
    """Give what the job's environment has of PBS."""
    host = os.fsencode(call.machine.host)
    id = place("job") + b"." + host
    if plan.indices is not None:
        id = place("array") + b"[" + place("index") + b"]." + host
    slots = f"{call.machine.host}\n".encode() * plan.request.slots
    changes: _Changes = {
        **plan.listed,
        "PBS_ENVIRONMENT": "PBS_BATCH",
        "PBS_JOBCOOKIE": f"{random.getrandbits(128):032X}",
        "PBS_JOBID": id,
        "PBS_JOBNAME": plan.name,
        "PBS_MOMPORT": "15003",
        "PBS_NODEFILE": call.machine.spool(slots, "nodefile"),
        "PBS_NODENUM": "0",
        "PBS_QUEUE": plan.queue,
        "PBS_TASKNUM": "1",
        "TMPDIR": os.fsencode(folder(call.machine)) + b"/pbs." + id,
        "ENVIRONMENT": "BATCH",
    }
    return changes | (_of_pro(call, plan) if plan.flavour.is_pro else _of_torque(plan))


def _of_pro(call: Call, plan: Plan) -> _Changes:
    changes: _Changes = {
        "PBS_JOBDIR": call.variable("HOME") or "/",
        "NCPUS": str(max(1, plan.request.cores // plan.request.nodes)),
    }
    if plan.indices is not None:
        changes["PBS_ARRAY_INDEX"] = _INDEX
        changes["PBS_ARRAY_ID"] = place("array") + b"[]." + os.fsencode(call.machine.host)
    return changes


def _of_torque(plan: Plan) -> _Changes:
    request = plan.request
    changes: _Changes = {
        "PBS_VERSION": f"TORQUE-{plan.flavour.version}",
        "PBS_NUM_NODES": str(request.nodes),
        "PBS_NUM_PPN": str(max(1, request.cores // request.nodes)),
        "PBS_NP": str(request.cores),
        "PBS_VNODENUM": "0",
        "PBS_O_INITDIR": plan.cwd,
    }
    if request.walltime_s:
        changes["PBS_WALLTIME"] = str(int(request.walltime_s))
    if plan.indices is not None:
        changes["PBS_ARRAYID"] = _INDEX
        changes["PBS_JOBNAME"] = os.fsencode(plan.name) + b"-" + _INDEX
    return changes


def _opened_by_itself(stdout: bytes, stderr: bytes) -> _Changes:
    return {"CLUSTER_PBS_OUT": stdout, "CLUSTER_PBS_ERR": stderr}
