"""Where a job runs and writes: -cwd, -o, -e, -j, -i and the names in them."""

from __future__ import annotations

import os
import re
from hashlib import sha256
from typing import TYPE_CHECKING

from cluster.emulation.call import Call
from cluster.emulation.sge import environment
from cluster.emulation.sge.options import Asked
from cluster.spec import place

if TYPE_CHECKING:
    from cluster.emulation.sge.submission import Plan

__all__ = ["place_files"]


def place_files(call: Call, asked: Asked, made: Plan) -> None:
    """Work out directory, files and scratch directory of a plan."""
    home, _, _ = environment.person(call)
    if asked.get("wd"):
        made.cwd = os.path.join(os.fsencode(home), os.fsencode(asked.get("wd")))
    else:
        made.cwd = (call.cwd or b"/") if asked.on("cwd") else os.fsencode(home)
    made.stdout = _output(call, asked, made, "o")
    made.stderr = made.stdout if asked.on("j") else _output(call, asked, made, "e")
    made.stdin = _first_path(asked.get("i"), call.machine.host)
    digest = sha256(os.fsencode(call.machine.state_dir)).hexdigest()[:8]
    task = place("index") if made.tasks else b"1"
    queue = os.fsencode(re.sub(r"[^\w.-]", "_", made.queue))
    made.scratch = b"/tmp/sge-%s.%s.%s.%s" % (digest.encode(), place("array"), task, queue)


def _output(call: Call, asked: Asked, made: Plan, letter: str) -> bytes:
    tail = b".%s" % place("index") if made.tasks else b""
    default = b"%s.%s%s%s" % (os.fsencode(made.name), letter.encode(), place("array"), tail)
    text = _first_path(asked.get(letter), call.machine.host)
    if not text:
        return os.path.join(made.cwd, default)
    path = os.path.join(made.cwd, _expanded(call, made, text))
    if text.endswith("/") or (b"\0" not in path and os.path.isdir(path)):
        return os.path.join(path, default)
    return path


def _first_path(text: str, host: str) -> str:
    """Choose among `[host:]path,...` the one for this host."""
    chosen = ""
    for part in text.split(",") if text else ():
        head, colon, tail = part.partition(":")
        if not colon or "/" in head:
            return part
        if not head or head == host or not chosen:
            chosen = tail
    return chosen


def _expanded(call: Call, made: Plan, text: str) -> bytes:
    home, user, _ = environment.person(call)
    known = {
        "HOME": os.fsencode(home),
        "USER": os.fsencode(user),
        "JOB_ID": place("array"),
        "JOB_NAME": os.fsencode(made.name),
        "HOSTNAME": os.fsencode(call.machine.host),
        "TASK_ID": place("index") if made.tasks else b"0",
        "SGE_TASK_ID": place("index") if made.tasks else b"undefined",
    }
    pattern = rb"\$(?:\{(SGE_TASK_ID|JOB_ID|JOB_NAME|TASK_ID|HOSTNAME|HOME|USER)\}" \
              rb"|(SGE_TASK_ID|JOB_ID|JOB_NAME|TASK_ID|HOSTNAME|HOME|USER))"  # fmt: skip
    return re.sub(pattern, lambda m: known[(m[1] or m[2]).decode()], os.fsencode(text))
