"""The files of a local job: written only when somebody asks, for the queue needs none.

The submission is a bash script that does what the queue would do; a function's
script carries the runner and needs nothing of this package.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from typing import Any

from cluster import files, script
from cluster.schedulers.base import Command, Request, Scripts
from cluster.schedulers.environment import changes
from cluster.script import Function, Script, ScriptParts

__all__ = ["make", "shell_text"]


def shell_text(program: Command, options: Mapping[str, Any], *, arguments: bool) -> str:
    """Write the text that a job's shell runs.

    Args:
        program: the command.
        options: its `modules`, `prologue` and `epilogue` stand around it.
        arguments: the program's words are given to the shell apart, as `"$@"`;
            if false, they are written into the text, quoted.
    """
    return script.compose(_command(program, arguments), _parts(options))


def _command(program: Command, arguments: bool) -> str:
    words = '"$@"' if arguments else shlex.join(os.fsdecode(word) for word in program.argv)
    if not program.text:
        return words
    return f"{program.text.rstrip()} {words}" if program.argv else program.text


def _parts(options: Mapping[str, Any], **more: Any) -> ScriptParts:
    return ScriptParts(
        modules=options.get("modules", ()),
        prologue=_lines(options.get("prologue")),
        epilogue=_lines(options.get("epilogue")),
        **more,
    )


def _lines(text: str | None) -> list[str]:
    return text.splitlines() if text else []


def make(request: Request, *, directory: str, stem: str, suffix: str, python: str) -> Scripts:
    """Make the text of a job's files; write none."""
    base = os.path.join(directory, stem)
    function, program = None, request.program
    if isinstance(program, Command):
        text = _command(program, arguments=False)
    else:
        function = _function(request, f"{base}_func.{suffix}.py", python)
        text = shlex.join([python, function.file_name])
    options = request.options
    changed = changes(options, os.environb)
    parts = _parts(
        options,
        shell=options.get("shell") or "/bin/bash",
        cwd=os.fsdecode(request.cwd),
        env={os.fsdecode(key): os.fsdecode(value) for key, value in changed.set.items()},
        unset=[os.fsdecode(name) for name in changed.unset],
    )
    written = script.render(text, parts, title=f"job {request.name}")
    ending = files.submission_ending("local", suffix)
    return Scripts(Script(written, base + ending, files.Disk()), None, function)


def _function(request: Request, path: str, python: str) -> Function:
    from inspect import getsource

    from cluster import runner

    assert request.payload is not None
    infile, outfile = f"{path}.pickle.in", f"{path}.pickle.out"
    text = script.render_function(getsource(runner), python=python, infile=infile, outfile=outfile)
    disk = files.Disk()
    # Only its owner may be able to write what is unpickled: the runner looks.
    pickle = Script(request.payload.data, infile, disk, mode=0o600)
    return Function(text, path, disk, mode=0o755, pickle=pickle, outfile=outfile)
