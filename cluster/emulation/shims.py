"""The directories that stand first on PATH: one small program for each emulated command.

    <state>/emulation/slurm/bin/sbatch ...    the commands
    <state>/emulation/slurm/env.bash          puts them back in front, see `BASH_ENV`
    <state>/emulation/start.py                starts the emulation when nobody answers

They stay: jobs call them long after the command that began it all has ended.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable
from importlib.resources import files as resources

from cluster import files
from cluster.emulation.families import Family
from cluster.local import lifecycle

__all__ = ["folder", "make"]

_START = """\
import sys
sys.path += {paths!r}
from cluster.emulation.daemon import ensure
sys.exit(ensure({state_dir!r}))
"""
_BASH_ENV = """\
# Read by every bash that runs a script: `#!/bin/bash -l` and /etc/profile set PATH anew.
case "$PATH:" in
  {bin}:*) ;;
  *) PATH={bin}:$PATH ;;
esac
if [ -n "${{CLUSTER_EMULATION_BASH_ENV-}}" ] && [ -r "$CLUSTER_EMULATION_BASH_ENV" ]; then
  . "$CLUSTER_EMULATION_BASH_ENV"
fi
"""


def folder(state_dir: str, family: str) -> str:
    """Give the directory of a family; its commands are in `bin`."""
    return os.path.join(state_dir, "emulation", family)


def make(state_dir: str, family: Family) -> str:
    """Write what is missing or out of date; give the directory for PATH.

    Raises:
        OSError: the state directory cannot be written.
    """
    home = folder(state_dir, family.name)
    bin = os.path.join(home, "bin")
    for path in (os.path.dirname(home), home, bin):
        os.makedirs(path, mode=0o700, exist_ok=True)
    package = resources("cluster.emulation")
    tasks = os.path.join(state_dir, "emulation", "tasks.py")
    _write(tasks, package.joinpath("_tasks.py").read_text("utf-8"), 0o600)
    start = os.path.join(state_dir, "emulation", "start.py")
    paths = lifecycle.import_path()
    _write(start, _START.format(paths=paths, state_dir=state_dir), 0o600)
    body = package.joinpath("_shim.py").read_text("utf-8")
    for command in family.commands:
        _write_shim(os.path.join(bin, command), _filled(body, state_dir, family.name, command))
    for command in set(os.listdir(bin)) - set(family.commands) - _extra(family.commands):
        os.unlink(os.path.join(bin, command))
    _write(os.path.join(home, "env.bash"), _BASH_ENV.format(bin=shlex.quote(bin)), 0o600)
    for name, text in family.files(home).items():
        path = os.path.join(home, name)
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        _write(path, text, 0o600)
    return bin


def _filled(body: str, state_dir: str, family: str, command: str) -> str:
    place = os.path.join(state_dir, "emulation")
    start = [sys.executable, "-I", "-S", os.path.join(place, "start.py")]
    values = {
        "FAMILY": family,
        "COMMAND": command,
        "SOCKET": lifecycle.socket_path(state_dir, "emulation"),
        "TASKS": os.path.join(place, "tasks.py"),
        "START": start,
    }
    before, _, rest = body.partition("# ---- replaced in each copy\n")
    _, _, after = rest.partition("# ----\n")
    lines = "".join(f"{name} = {value!r}\n" for name, value in values.items())
    return before + lines + after


def _write_shim(path: str, text: str) -> None:
    first = f"#!{sys.executable} -IS\n"
    if len(first) < 127 and not any(char.isspace() for char in sys.executable):
        _write(path, first + text, 0o700)
        return
    # The kernel takes no blank and 127 bytes in the first line: a shell finds the way.
    _write(f"{path}.py", text, 0o600)
    words = shlex.join([sys.executable, "-IS", f"{path}.py"])
    _write(path, f'#!/bin/sh\nexec {words} "$@"\n', 0o700)


def _extra(commands: Iterable[str]) -> set[str]:
    return {f"{command}.py" for command in commands}


def _write(path: str, text: str, mode: int) -> None:
    data = text.encode("utf-8", "surrogateescape")
    try:
        with open(path, "rb") as file:
            if file.read() == data:
                return
    except OSError:
        pass
    files.write_atomic(path, data, mode=mode)
