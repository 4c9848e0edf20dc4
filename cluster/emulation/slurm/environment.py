"""What a job's environment has of Slurm, and what `--export` leaves of the submitter's.

Pure.  Values may have places that are filled when the job starts.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from cluster.emulation.slurm.indices import parse
from cluster.emulation.slurm.request import Request, tasks_per_node
from cluster.spec import place

__all__ = ["CLUSTER", "KEPT", "allocation", "array_variables", "exported", "own_threads"]

CLUSTER = "cluster"
# Without these a job could not submit jobs of its own to this cluster.
KEPT = (b"BASH_ENV", b"CLUSTER_STATE_DIR", b"CLUSTER_QTYPE", b"CLUSTER_EMULATION",
        b"CLUSTER_EMULATION_BASH_ENV")  # fmt: skip
_LOGIN = (b"HOME", b"USER", b"LOGNAME", b"SHELL", b"LANG", b"TERM", b"TMPDIR", b"XDG_RUNTIME_DIR")
_PATH = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_THREADS = (b"OMP_NUM_THREADS", b"OPENBLAS_NUM_THREADS", b"MKL_NUM_THREADS",
            b"NUMEXPR_NUM_THREADS", b"VECLIB_MAXIMUM_THREADS", b"BLIS_NUM_THREADS",
            b"NUMBA_NUM_THREADS")  # fmt: skip


def exported(
    env: Mapping[bytes, bytes], text: str | None
) -> tuple[dict[bytes, bytes], dict[bytes, bytes]]:
    """Give the environment that `--export` lets through, and what it sets besides.

    Args:
        env: the submitter's.
        text: the option's value; None is ALL.
    """
    if text is None or text.upper() == "ALL":
        return dict(env), {}
    words = _split(text)
    is_all = any(word.upper() == "ALL" for word in words)
    kept = dict(env) if is_all else _login(env)
    added: dict[bytes, bytes] = {b"SLURM_EXPORT_ENV": os.fsencode(text)}
    if not is_all or len(words) > 1:
        added[b"SLURM_GET_USER_ENV"] = b"1"
    for word in words:
        name, equal, value = os.fsencode(word).partition(b"=")
        if equal:
            added[name] = value
        elif name in env and word.upper() not in ("ALL", "NONE", "NIL"):
            added[name] = env[name]
    return kept, added


def _split(text: str) -> list[str]:
    """Split at commas; `A='1,2'` keeps its own."""
    words, word, quote = [], "", ""
    for char in text:
        if quote:
            quote = "" if char == quote else quote
            word += "" if not quote else char
        elif char in "'\"":
            quote = char
        elif char == ",":
            words.append(word)
            word = ""
        else:
            word += char
    return [each for each in [*words, word] if each]


def _login(env: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    kept = {name: env[name] for name in (*_LOGIN, *KEPT) if name in env}
    bin = env.get(b"PATH", b"").partition(b":")[0]
    ours = b"/emulation/" in bin
    kept[b"PATH"] = bin + b":" + _PATH if ours else _PATH
    return kept


def own_threads(env: Mapping[bytes, bytes]) -> tuple[dict[bytes, bytes], tuple[bytes, ...]]:
    """Give the counts of threads that the user set, and those that are to be left alone."""
    mine = {name: env[name] for name in _THREADS if name in env}
    return mine, tuple(name for name in _THREADS if name not in env)


def allocation(
    request: Request,
    values: Mapping[str, str],
    *,
    host: str,
    user: str,
    facts: Mapping[str, Any],
) -> dict[str, bytes]:
    """Give the variables that describe a job's allocation.

    Args:
        request: its need, as it was asked for.
        values: its options.
        host, user: where, whose.
        facts: name, partition, account, qos, submit_dir.
    """
    cpus = tasks_per_node(request.cores, request.nodes)
    told = request.told
    found: dict[str, Any] = {
        "SLURM_CLUSTER_NAME": CLUSTER,
        "SLURM_JOB_ACCOUNT": facts["account"],
        "SLURM_JOB_CPUS_PER_NODE": cpus,
        "SLURM_JOB_ID": place("member"),
        "SLURM_JOBID": place("member"),
        "SLURM_JOB_NAME": facts["name"],
        "SLURM_JOB_NODELIST": host,
        "SLURM_JOB_NUM_NODES": request.nodes,
        "SLURM_JOB_PARTITION": facts["partition"],
        "SLURM_JOB_QOS": facts["qos"],
        "SLURM_NNODES": request.nodes,
        "SLURM_NODELIST": host,
        "SLURM_NODE_ALIASES": "(null)",
        "SLURM_SUBMIT_DIR": facts["submit_dir"],
        "SLURM_SUBMIT_HOST": host,
        "SLURM_TASKS_PER_NODE": tasks_per_node(request.ntasks, request.nodes),
    }
    if {"ntasks", "ntasks-per-node"} & told:
        found |= {"SLURM_NTASKS": request.ntasks, "SLURM_NPROCS": request.ntasks}
    if "ntasks-per-node" in told:
        found["SLURM_NTASKS_PER_NODE"] = values["ntasks-per-node"]
    if "cpus-per-task" in told:
        found["SLURM_CPUS_PER_TASK"] = request.cpus_per_task
    if "mem-per-cpu" in told:
        found["SLURM_MEM_PER_CPU"] = request.memory_mib // request.cores
    elif "mem" in told and request.memory_mib:
        found["SLURM_MEM_PER_NODE"] = request.memory_mib // request.nodes
    for key in ("gpus", "gpus-per-node", "gpus-per-task", "distribution"):
        if key in told:
            found["SLURM_" + key.upper().replace("-", "_")] = values[key]
    if request.gpus:
        found["SLURM_GPUS_ON_NODE"] = request.gpus
    if "overcommit" in told:
        found["SLURM_OVERCOMMIT"] = 1
    return {name: _bytes(value) for name, value in found.items()}


def batch(request: Request, *, host: str, user: str) -> dict[str, bytes]:
    """Give the variables that only the batch shell of a job has."""
    found: dict[str, Any] = {
        "ENVIRONMENT": "BATCH",
        "SLURMD_NODENAME": host,
        "SLURM_CPUS_ON_NODE": -(-request.cores // request.nodes),
        "SLURM_GTIDS": 0,
        "SLURM_JOB_GID": os.getgid(),
        "SLURM_JOB_UID": os.getuid(),
        "SLURM_JOB_USER": user,
        "SLURM_LOCALID": 0,
        "SLURM_NODEID": 0,
        "SLURM_PRIO_PROCESS": 0,
        "SLURM_PROCID": 0,
        "SLURM_RESTART_COUNT": place("again"),
        "SLURM_TOPOLOGY_ADDR": host,
        "SLURM_TOPOLOGY_ADDR_PATTERN": "node",
        "SLURM_WORKING_CLUSTER": f"{CLUSTER}:127.0.0.1:6817:9728:109",
    }
    return {name: _bytes(value) for name, value in found.items()}


def array_variables(text: str) -> dict[str, bytes]:
    """Give the variables of an array's elements."""
    indices = parse(text).indices()
    step = parse(text).step if len(indices) > 1 else 1
    found: dict[str, Any] = {
        "SLURM_ARRAY_JOB_ID": place("array"),
        "SLURM_ARRAY_TASK_ID": place("index"),
        "SLURM_ARRAY_TASK_COUNT": len(indices),
        "SLURM_ARRAY_TASK_MAX": indices[-1],
        "SLURM_ARRAY_TASK_MIN": indices[0],
        "SLURM_ARRAY_TASK_STEP": step,
    }
    return {name: _bytes(value) for name, value in found.items()}


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else os.fsencode(str(value))
