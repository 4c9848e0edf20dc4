"""Where the output of a job goes: `-o`, `-e`, `-j`, `-k` and the names by default."""

from __future__ import annotations

import os
import re

from cluster.emulation.call import Call
from cluster.emulation.pbs.flavour import Flavour
from cluster.emulation.pbs.starting import Outputs
from cluster.emulation.pbs.wishes import Wishes
from cluster.spec import place

__all__ = ["outputs"]

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


def outputs(
    call: Call, flavour: Flavour, wishes: Wishes, *, name: str, workdir: str, is_array: bool
) -> Outputs:
    """Find both files of a job.

    A directory is given the name of the job's spool file by OpenPBS, and the
    name by default by Torque.
    """
    join = wishes.one.get("j", "n")
    keep = wishes.one.get("k", "n")
    gone = wishes.one.get("R", "")
    home = call.variable("HOME") or "/"
    paths: dict[str, str] = {}
    for letter in "oe":
        given = wishes.one.get(letter, "")
        if letter in keep and "d" not in keep:
            given = home + "/"  # kept where the job ran, under its own name
            path = os.path.join(home, _own_name(flavour, name, letter, is_array=is_array))
        else:
            path = _path(call, flavour, given, workdir, name, letter, is_array=is_array)
        paths[letter] = "/dev/null" if letter in gone else path
    shown = dict(paths)
    if join in ("oe", "eo"):
        paths["e" if join == "oe" else "o"] = paths[join[0]]
    host = call.machine.host
    return Outputs(
        stdout=_filled(paths["o"], host, name),
        stderr=_filled(paths["e"], host, name),
        shown_out=f"{host}:{shown['o']}",
        shown_err=f"{host}:{shown['e']}",
    )


def _path(
    call: Call,
    flavour: Flavour,
    given: str,
    workdir: str,
    name: str,
    letter: str,
    *,
    is_array: bool,
) -> str:
    own = _own_name(flavour, name, letter, is_array=is_array)
    text = re.sub(r"^[\w.\-]+:(?=/|[^\\]|$)", "", given)
    if not text:
        return os.path.join(workdir, own)
    if not flavour.is_pro:
        text = _VARIABLE.sub(lambda match: _value(call, match), text)
    path = os.path.join(workdir, text)
    if text.endswith("/") or os.path.isdir(os.fsencode(path)):
        if flavour.is_pro:
            end = "OU" if letter == "o" else "ER"
            own = f"%(id)s.{end}"
        return os.path.join(path, own)
    path = os.path.normpath(path)
    return f"{path}-^array_index^" if is_array and not flavour.is_pro else path


def _own_name(flavour: Flavour, name: str, letter: str, *, is_array: bool) -> str:
    index = (".^array_index^" if flavour.is_pro else "-^array_index^") if is_array else ""
    return f"{name}.{letter}%(number)s{index}"


def _value(call: Call, match: re.Match[str]) -> str:
    word = match[1] or match[2]
    ours = {"PBS_JOBID": "%(id)s", "PBS_ARRAYID": "^array_index^", "PBS_JOBNAME": "%(name)s"}
    return ours.get(word) or call.variable(word) or match[0]


def _filled(path: str, host: str, name: str) -> bytes:
    """Put places where the id and the index will stand."""
    index = b"[" + place("index") + b"]" if "^array_index^" in path else b""
    text = os.fsencode(path)
    text = text.replace(b"%(id)s", place("array") + index + b"." + os.fsencode(host))
    text = text.replace(b"%(number)s", place("array")).replace(b"%(name)s", os.fsencode(name))
    return text.replace(b"^array_index^", place("index"))
