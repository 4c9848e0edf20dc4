"""What of a request cannot work on this machine, found before anything is queued.

Each function looks at one thing and returns sentences, one for each mistake;
none is no mistake.  It changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

__all__ = ["find_program", "oversized", "path_problems", "program_problems", "show"]

MAX_STRING = 128 * 1024  # MAX_ARG_STRLEN of Linux: one argument or variable, with its NUL
_POINTER = 8  # each string costs a pointer too
_RESERVE = 8 * 1024  # CLUSTER_*, *_NUM_THREADS and what execve itself takes


def show(path: bytes) -> str:
    """Write bytes for people."""
    return repr(os.fsdecode(path))


def path_problems(cwd: bytes, outputs: Mapping[str, bytes]) -> list[str]:
    """Check the working directory and the files that the user named.

    Args:
        cwd: absolute.
        outputs: keyword ("outfile", "errfile") to absolute path, or empty.
    """
    problems = []
    if not os.path.isdir(cwd):
        there = "is not a directory" if os.path.lexists(cwd) else "does not exist"
        problems.append(f"dir {show(cwd)} {there}. Create it first, or give another with dir=.")
    elif not os.access(cwd, os.X_OK):
        problems.append(f"dir {show(cwd)} may not be entered. Give another with dir=.")
    for keyword, path in outputs.items():
        problem = _why_unwritable(path) if path else ""
        if problem:
            problems.append(f"{keyword} {show(path)} {problem}")
    return problems


def _why_unwritable(path: bytes) -> str:
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        return f"cannot be written: there is no directory {show(folder)}. Create it first."
    if os.path.isdir(path):
        return "is a directory. Name a file in it."
    target = path if os.path.exists(path) else folder
    if not os.access(target, os.W_OK):
        return f"cannot be written: no permission to write {show(target)}. Name another file."
    return ""


def find_program(program: bytes, *, path: bytes, cwd: bytes) -> bytes | None:
    """Find what the kernel would execute; None if there is nothing of this name."""
    if b"/" in program:
        places = [os.path.join(cwd, program)]
    else:
        places = [os.path.join(cwd, folder, program) for folder in path.split(b":")]
    found = [place for place in places if os.path.isfile(place)]
    return next((place for place in found if os.access(place, os.X_OK)), next(iter(found), None))


def program_problems(program: bytes, *, path: bytes, cwd: bytes) -> list[str]:
    """Check that a program exists, may be executed, and has its interpreter."""
    if not program:
        return ["the command is empty. Name a program to run."]
    found = find_program(program, path=path, cwd=cwd)
    if found is None:
        if b"/" in program:
            where = os.path.join(cwd, program)
            what = "is a directory" if os.path.isdir(where) else "does not exist"
            return [f"program {show(where)} {what}. Check its path, or the job's dir=."]
        return [
            f"program {show(program)} is not on the job's PATH. "
            "Install it, give its full path, or set env_prepend={'PATH': ...}."
        ]
    if not os.access(found, os.X_OK):
        return [f"program {show(found)} is not executable. Run chmod +x on it."]
    return _interpreter_problems(found, path=path, cwd=cwd)


def _interpreter_problems(script: bytes, *, path: bytes, cwd: bytes) -> list[str]:
    try:
        with open(script, "rb", buffering=0) as file:
            first = file.read(256)
    except OSError:
        return []  # a program may be executable and not readable
    if not first.startswith(b"#!"):
        return []
    words = first[2:].split(b"\n", 1)[0].split()
    if not words:
        return []
    if not os.path.isfile(os.path.join(cwd, words[0])):
        return [
            f"program {show(script)} cannot start: its interpreter {show(words[0])} does not "
            "exist. Correct its first line."
        ]
    if os.path.basename(words[0]) == b"env" and len(words) > 1:
        wanted = next((w for w in words[1:] if not w.startswith(b"-") and b"=" not in w), b"")
        if wanted and find_program(wanted, path=path, cwd=cwd) is None:
            return [
                f"program {show(script)} cannot start: its interpreter {show(wanted)} is not on "
                "the job's PATH. Install it, or correct the first line."
            ]
    return []


def oversized(argv: Sequence[bytes], env_set: Mapping[bytes, bytes], inherited: int) -> list[str]:
    """Check that the kernel takes these arguments and variables.

    Args:
        argv: program and arguments.
        env_set: what the job sets.
        inherited: bytes of the environment that it inherits.
    """
    problems = []
    for number, word in enumerate(argv):
        if len(word) >= MAX_STRING:
            what = f"argument {number}" if number else "the program's name"
            problems.append(
                f"{what} has {len(word)} bytes, and the kernel takes at most "
                f"{MAX_STRING - 1}. Put it into a file and pass the file's name."
            )
    for name, value in env_set.items():
        if len(name) + len(value) + 1 >= MAX_STRING:
            problems.append(
                f"variable {show(name)} has {len(value)} bytes, and the kernel takes "
                f"at most {MAX_STRING - 2 - len(name)}. Put it into a file."
            )
    total = _size(argv) + _size(env_set) + _size(env_set.values()) + inherited
    limit = os.sysconf("SC_ARG_MAX") - _RESERVE
    if not problems and total > limit:
        problems.append(
            f"arguments and environment have {total} bytes together, and the kernel "
            f"takes at most {limit}. Put the long list into a file."
        )
    return problems


def _size(words: Iterable[bytes]) -> int:
    return sum(len(word) + 1 + _POINTER for word in words)
