"""A job whose program is started as several ranks: the command with its launcher around it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cluster import launchers
from cluster.errors import OptionsError
from cluster.payload import name_of
from cluster.schedulers import checks
from cluster.schedulers.base import Command, Request

__all__ = ["launched", "problems", "problems_here", "with_launcher"]


def launched(program: Command, options: Mapping[str, Any], *, shared: bool) -> Command:
    """Put the launcher, if there is one, around a program.

    Raises:
        OptionsError: see `problems`.
    """
    if not options.get("launcher"):
        return program
    words = [os.fsdecode(word) for word in program.argv]
    if program.text:
        text = f'{program.text.rstrip()} "$@"' if words else program.text
        words = ["/bin/bash", "-c", text, "bash", *words]
    tasks, nodes = options.get("tasks", 1), options.get("nodes", 1)
    ranks = launchers.Ranks(
        tasks=tasks,
        per_node=-(-tasks // nodes) if nodes > 1 else 0,
        cores=options.get("cores", 1),
        env=tuple(options.get("env") or ()),
        shared=shared,
    )
    found = launchers.argv(words, options["launcher"], ranks, is_text=bool(program.text))
    return Command(tuple(map(os.fsencode, found)))


def with_launcher(request: Request) -> Request:
    """Put the launcher around the program of a cluster's job."""
    if not isinstance(request.program, Command):
        return request
    return replace(request, program=launched(request.program, request.options, shared=False))


def problems(request: Request, *, shared: bool = False) -> list[str]:
    """Say what of a launcher cannot work, whatever there is on the machine."""
    if not request.options.get("launcher"):
        return []
    if not isinstance(request.program, Command):
        return [
            f"launcher needs a command, and {name_of(request.program.function)} is a function: "
            "all of its ranks would give a value. "
            "Submit a script, as in ['python', 'my_mpi_program.py']."
        ]
    try:
        launched(request.program, request.options, shared=shared)
    except OptionsError as error:
        return [str(error)]
    return []


def problems_here(request: Request, *, path: bytes) -> list[str]:
    """Say what of a launcher, or of the programs that it starts, cannot work on this machine."""
    if wrong := problems(request, shared=True):
        return wrong
    options, program = request.options, request.program
    if any(options.get(key) for key in ("modules", "prologue", "shell")):
        return []  # they may bring it along
    assert isinstance(program, Command)
    line = str(options["launcher"])
    found = _missing_launcher(line, path=path, cwd=request.cwd)
    if not program.text:
        words = [os.fsdecode(word) for word in program.argv]
        for part in launchers.read_parts(words, options.get("tasks", 1))[0]:
            name = os.fsencode(part.argv[0])
            found += checks.program_problems(name, path=path, cwd=request.cwd)
    return found


def _missing_launcher(line: str, *, path: bytes, cwd: bytes) -> list[str]:
    wanted = launchers.programs_of(line)
    found = [checks.find_program(os.fsencode(name), path=path, cwd=cwd) for name in wanted]
    if any(found) or not wanted:
        return []
    return [
        f"launcher {line!r} needs {' or '.join(wanted)}, which is not on the job's PATH. "
        "Install it (for MPI on Debian: apt install openmpi-bin), or set env_prepend={'PATH': ...}."
    ]
