"""What a job's environment has of LSF, and what `-env` leaves of the submitter's.

Pure.  Values may have places that are filled when the job starts.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from cluster.local.spawn import THREADS
from cluster.spec import ArraySpec, place

__all__ = ["CLUSTER", "exported", "of_job", "own_threads"]

CLUSTER = "cluster"
# Without these a job could not submit jobs of its own to this cluster.
_KEPT = (b"BASH_ENV", b"CLUSTER_STATE_DIR", b"CLUSTER_QTYPE", b"CLUSTER_EMULATION",
         b"CLUSTER_EMULATION_BASH_ENV", b"LSF_ENVDIR", b"LSF_CONFDIR", b"LSF_BINDIR")  # fmt: skip
_LOGIN = (b"HOME", b"USER", b"LOGNAME", b"SHELL", b"LANG", b"TERM", b"TMPDIR", b"XDG_RUNTIME_DIR")
_PATH = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def exported(env: Mapping[bytes, bytes], text: str | None) -> dict[bytes, bytes]:
    """Give the environment that `-env` lets through.

    Args:
        env: the submitter's.
        text: "all", "none", or `all, NAME, NAME=value, ~NAME`; None is all.
    """
    if text is None or text.strip().lower() == "all":
        return dict(env)
    words = [word.strip() for word in text.split(",") if word.strip()]
    is_all = any(word.lower() == "all" for word in words) or all(w.startswith("~") for w in words)
    kept = dict(env) if is_all else _login(env)
    for word in words:
        name, equal, value = os.fsencode(word).partition(b"=")
        if word.startswith("~"):
            kept.pop(name[1:], None)
        elif equal:
            kept[name] = value.strip(b"'\"")
        elif name in env and word.lower() not in ("all", "none"):
            kept[name] = env[name]
    for name in (*_KEPT, b"PATH"):
        if name in env and name not in kept:
            kept[name] = env[name]
    return kept


def _login(env: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    kept = {name: env[name] for name in (*_LOGIN, *_KEPT) if name in env}
    bin = env.get(b"PATH", b"").partition(b":")[0]
    kept[b"PATH"] = bin + b":" + _PATH if b"/emulation/" in bin else _PATH
    return kept


def own_threads(env: Mapping[bytes, bytes]) -> tuple[dict[bytes, bytes], tuple[bytes, ...]]:
    """Give the counts of threads that the user set, and those that are to be left alone."""
    mine = {name: env[name] for name in THREADS if name in env}
    return mine, tuple(name for name in THREADS if name not in env)


def of_job(facts: Mapping[str, Any], array: ArraySpec | None) -> dict[bytes, bytes]:
    """Give the variables that LSF sets.

    Args:
        facts: name, queue, project, user, host, slots, cwd, script, home, hostfile, resreq,
            command, interactive.
        array: of which the job is an element.
    """
    host, slots = facts["host"], facts["slots"]
    script, home = facts["script"], facts["home"]
    job_file = script.removesuffix(".shell") or f"{home}/lsbatch/job"
    index = place("index") if array else b"0"
    label = place("array") + b"[" + place("index") + b"]" if array else place("array")
    indices = array.indices() if array else ()
    name = os.fsencode(facts["name"]) + (b"[" + place("index") + b"]" if array else b"")
    found: dict[str, Any] = {
        "LSB_ACCT_FILE": f"{home}/lsbatch/acct",
        "LSB_BATCH_JID": label,
        "LSB_CHKFILENAME": job_file,
        "LSB_DJOB_HOSTFILE": facts["hostfile"],
        "LSB_DJOB_NUMPROC": slots,
        "LSB_EXEC_CLUSTER": CLUSTER,
        "LSB_EXIT_PRE_ABORT": 99,
        "LSB_HOSTS": " ".join([host] * slots),
        "LSB_JOBEXIT_STAT": 0,
        "LSB_JOBFILENAME": job_file,
        "LSB_JOBID": place("array"),
        "LSB_JOBINDEX": index,
        "LSB_JOBNAME": name,
        "LSB_MAX_NUM_PROCESSORS": slots,
        "LSB_MCPU_HOSTS": f"{host} {slots} ",
        "LSB_PROJECT_NAME": facts["project"],
        "LSB_QUEUE": facts["queue"],
        "LSB_SUB_HOST": host,
        "LSB_SUB_USER": facts["user"],
        "LSB_TRAPSIGS": "trap # 15 10 12 2 1",
        "LSB_UNIXGROUP": facts["group"],
        "LSFUSER": facts["user"],
        "LSF_BINDIR": f"{home}/bin",
        "LSF_ENVDIR": f"{home}/conf",
        "LSF_SERVERDIR": f"{home}/bin",
        "LS_EXEC_T": "START",
        "LS_SUBCWD": facts["cwd"],
    }
    if facts["resreq"]:
        found |= {"LSB_EFFECTIVE_RSRCREQ": facts["resreq"], "LSB_SUB_RES_REQ": facts["resreq"]}
    if facts["interactive"]:
        found["LSB_INTERACTIVE"] = "Y"
    if array:
        step = indices[1] - indices[0] if len(indices) > 1 else 1
        found |= {"LSB_JOBINDEX_STEP": step, "LSB_JOBINDEX_END": indices[-1]}
    return {os.fsencode(name): _bytes(value) for name, value in found.items()}


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else os.fsencode(str(value))
