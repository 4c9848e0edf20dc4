"""The environment of a job: what Grid Engine sets, and what it takes along."""

from __future__ import annotations

import grp
import os
import pwd
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING

from cluster.emulation import shims
from cluster.emulation.call import Call
from cluster.emulation.settings import VARIABLE
from cluster.emulation.sge import site
from cluster.emulation.sge.options import Asked, pairs
from cluster.spec import place

if TYPE_CHECKING:
    from cluster.emulation.sge.submission import Plan

__all__ = ["base", "described", "group", "own", "person"]

# Without them a job could not find the commands, or would find another cluster.
_KEPT = ("BASH_ENV", "CLUSTER_STATE_DIR", "CLUSTER_QTYPE", VARIABLE, "CLUSTER_EMULATION_BASH_ENV",
         "SGE_ROOT", "SGE_CELL")  # fmt: skip
_OF_THE_SHELL = (b"PWD", b"OLDPWD", b"SHLVL", b"_")
_PATH = "/usr/local/bin:/bin:/usr/bin"
_FRESH_S, _PATIENCE_S = 300.0, 10.0
_SHOWN = (("O_HOME", "HOME"), ("O_LOGNAME", "LOGNAME"), ("O_PATH", "PATH"), ("O_SHELL", "SHELL"),
          ("O_TZ", "TZ"), ("O_MAIL", "MAIL"))  # fmt: skip


def person(call: Call) -> tuple[str, str, str]:
    """Give home, login name and shell of the caller."""
    home, shell = call.variable("HOME") or "", "/bin/bash"
    try:
        entry = pwd.getpwuid(os.getuid())
        home, shell = home or entry.pw_dir, entry.pw_shell or shell
    except KeyError:
        pass
    return home or "/", call.machine.user, shell


def group() -> str:
    """Give the name of the caller's group."""
    with suppress(KeyError):
        return grp.getgrgid(os.getgid()).gr_name
    return str(os.getgid())


def base(call: Call, asked: Asked, *, login: bool = False) -> dict[bytes, bytes]:
    """Give what a job sees before Grid Engine adds its own.

    Args:
        call, asked: whose job.
        login: a login shell starts it, which reads the files of the user.
    """
    home, user, shell = person(call)
    env: dict[bytes, bytes] = {}
    if asked.on("V"):
        env |= call.env
    elif login:
        env |= _of_login(home, user, shell, int(time.monotonic() / _FRESH_S))
    env |= _bytes({"HOME": home, "USER": user, "LOGNAME": user, "SHELL": shell})
    env[b"TERM"] = call.env.get(b"TERM", b"") if asked.on("V") else b""
    for name, value in pairs(asked.get("v")).items():
        given = call.variable(name) if value is None else value
        if given is not None:
            env |= _bytes({name: given.replace("\\,", ",")})
    for name in _KEPT:
        if (kept := call.variable(name)) is not None:
            env |= _bytes({name: kept})
    shims_bin = os.path.join(shims.folder(call.machine.state_dir, call.family), "bin")
    path = os.fsdecode(env.get(b"PATH", _PATH.encode()))
    rest = [part for part in path.split(":") if part != shims_bin]
    env |= _bytes({"PATH": ":".join([shims_bin, *rest])})
    return env


@lru_cache(maxsize=8)
def _of_login(home: str, user: str, shell: str, period: int) -> Mapping[bytes, bytes]:
    """Give what the user's own files make of an empty environment.

    They are read once in a while, not by each job: some take a second.
    """
    env = {"HOME": home, "USER": user, "LOGNAME": user, "SHELL": shell, "PATH": _PATH}
    try:
        said = subprocess.run(["/bin/bash", "-l", "-c", "env -0"], env=env, cwd=home,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, timeout=_PATIENCE_S,
                              check=False).stdout  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return {}
    found = dict(item.split(b"=", 1) for item in said.split(b"\0") if b"=" in item)
    return {name: value for name, value in found.items() if name not in _OF_THE_SHELL}


def own(call: Call, asked: Asked, plan: Plan) -> dict[bytes, bytes]:
    """Give Grid Engine's own variables; some have places for what the start knows."""
    array = bool(plan.tasks)
    root = call.variable("SGE_ROOT") or "/var/lib/gridengine"
    spool = os.path.join(call.machine.state_dir, "emulation", "spool")
    first, last, step = "undefined", "undefined", "undefined"
    if array:
        first, last = str(plan.tasks[0]), str(plan.tasks[-1])
        step = str(plan.tasks[1] - plan.tasks[0] if len(plan.tasks) > 1 else 1)
    text = {
        "ARC": site.ARCH,
        "ENVIRONMENT": "BATCH",
        "HOSTNAME": call.machine.host,
        "JOB_NAME": plan.name,
        "JOB_SCRIPT": plan.program,
        "NHOSTS": "1",
        "NQUEUES": "1",
        "NSLOTS": str(plan.slots),
        "QUEUE": plan.queue,
        "REQNAME": plan.name,
        "REQUEST": plan.name,
        "SGE_ACCOUNT": asked.get("A") or "sge",
        "SGE_ARCH": site.ARCH,
        "SGE_BINARY_PATH": os.path.join(root, "bin", site.ARCH),
        "SGE_CELL": call.variable("SGE_CELL") or "default",
        "SGE_CWD_PATH": os.fsdecode(plan.cwd),
        "SGE_JOB_SPOOL_DIR": spool,
        "SGE_ROOT": root,
        "SGE_STDIN_PATH": plan.stdin or "/dev/null",
        "SGE_TASK_FIRST": first,
        "SGE_TASK_LAST": last,
        "SGE_TASK_STEPSIZE": step,
        "SGE_O_WORKDIR": os.fsdecode(call.cwd),
        "SGE_O_HOST": call.machine.host,
    }
    for name, variable in _SHOWN:
        if (value := call.variable(variable)) is not None:
            text[f"SGE_{name}"] = value
    if plan.environment:
        text |= {"PE": plan.environment, "PE_HOSTFILE": os.fsdecode(plan.hostfile)}
    env = _bytes(text)
    env |= {
        b"JOB_ID": place("array"),
        b"SGE_TASK_ID": place("index") if array else b"undefined",
        b"RESTARTED": place("restarts"),
        b"SGE_STDOUT_PATH": plan.stdout,
        b"SGE_STDERR_PATH": plan.stderr,
        b"TMPDIR": plan.scratch,
        b"TMP": plan.scratch,
    }
    return env


def described(call: Call, asked: Asked) -> str:
    """Give the variables that go along, as `qstat -j` shows them."""
    found: dict[str, str | None] = {"TERM": None}
    if asked.on("V"):
        found |= {os.fsdecode(name): os.fsdecode(value) for name, value in call.env.items()}
        found["TERM"] = call.variable("TERM")
    for name, value in pairs(asked.get("v")).items():
        found[name] = call.variable(name) if value is None else value
    return ",".join(f"{name}={'NONE' if value is None else value}" for name, value in found.items())


def _bytes(text: Mapping[str, str]) -> dict[bytes, bytes]:
    return {os.fsencode(name): os.fsencode(value) for name, value in text.items()}
