"""From what a user writes to a checked `Request`, with every mistake in one error.

It looks at values only; what a machine can tell (missing programs, unwritable
files) is asked of the scheduler.  It queues nothing and writes nothing.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cluster import payload, run
from cluster.errors import ClusterError, OptionsError, UnknownDependency
from cluster.schedulers.base import Call, Command
from cluster.spec import DEPENDENCY_TYPES

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "Problems",
    "check_main_is_there",
    "default_name",
    "learned_key",
    "name_problems",
    "read_program",
    "script_argv",
    "split_jobs",
]

NAME_LIMIT = 1000  # characters; every process of the job has its name in the environment


class Problems:
    """Mistakes found so far; raised together, nothing queued."""

    def __init__(self) -> None:
        self._found: list[ClusterError] = []

    def add(self, *sentences: str) -> None:
        """Note mistakes, a sentence each."""
        self._found += [OptionsError(text) for text in sentences]

    @contextmanager
    def collect(self) -> Iterator[None]:
        """Note an error of this package that the block raises, and go on after it."""
        try:
            yield
        except ClusterError as error:
            self._found.append(error)

    def __bool__(self) -> bool:
        return bool(self._found)

    def raise_all(self, what: str) -> None:
        """Raise what was noted: the one error itself, or one error that tells all.

        Args:
            what: the job, for people.
        """
        if not self._found:
            return
        if len(self._found) == 1:
            raise self._found[0]
        told = [str(error) for error in self._found]
        lines = "\n".join(f"- {line}" for text in told for line in [text.replace("\n", "\n  ")])
        raise OptionsError(f"{what} was not queued:\n{lines}") from self._found[0]


def read_program(
    command: Any, args: Any = None, kwargs: Mapping[str, Any] | None = None
) -> Command | Call:
    """Tell a function from a command, and a command from a shell's text.

    A callable is called with `args`; whatever is no tuple is its one argument.
    A list or tuple is an argv and no shell ever sees it.  A text without shell
    syntax is split into words as a shell would and executed directly; any
    other is left to the shell.  `args` of a command stand behind it verbatim.

    Raises:
        OptionsError: it is neither, or it is empty, or an argument has a NUL.
    """
    if kwargs is not None and not isinstance(kwargs, Mapping):
        raise OptionsError(f"kwargs {kwargs!r} is no mapping of names to values.")
    if callable(command):
        positional = () if args is None else args if isinstance(args, tuple) else (args,)
        return Call(command, positional, dict(kwargs or {}))
    if kwargs:
        raise OptionsError("kwargs= is for functions; a command takes args=.")
    behind = tuple(_words(args))
    if isinstance(command, list | tuple):
        argv = (*_words(command), *behind)
        if not argv or not argv[0]:
            raise OptionsError("the command is empty. Name a program to run.")
        return Command(argv)
    if isinstance(command, os.PathLike):
        return Command((_word(command), *behind))
    if not isinstance(command, str | bytes):
        raise OptionsError(
            f"{command!r} cannot be run: give a function, a text, or a list of program and "
            "arguments."
        )
    return _read_text(os.fsdecode(command), behind)


def _words(args: Any) -> list[bytes]:
    if args is None:
        return []
    if isinstance(args, Mapping | set | frozenset):
        raise OptionsError(f"args {args!r} have no order. Give a tuple or a list.")
    if isinstance(args, str | bytes | os.PathLike) or not isinstance(args, Iterable):
        args = (args,)
    return [_word(arg) for arg in args]


def _word(arg: Any) -> bytes:
    if isinstance(arg, int | float) and not isinstance(arg, bool):
        arg = str(arg)
    try:
        word = os.fsencode(arg)
    except TypeError:
        raise OptionsError(
            f"{arg!r} cannot be an argument of a command. Give text, bytes, a path or a number."
        ) from None
    except UnicodeEncodeError:
        raise OptionsError(f"argument {arg!r} cannot be encoded for the system.") from None
    if b"\0" in word:
        raise OptionsError(f"argument {arg!r} has a NUL in it, which no program can be given.")
    return word


def _read_text(text: str, behind: tuple[bytes, ...]) -> Command:
    _word(text)
    argv = run.parse_command(text)
    if argv[1:] != ["-c", text]:
        return Command((*(os.fsencode(word) for word in argv), *behind))
    if behind and re.search(r"[;&|)}]\s*\Z|#|<<", text):
        raise OptionsError(
            f"args= cannot be put behind the shell text {text!r}. Write them into the text, "
            "or give the command as a list."
        )
    return Command(behind, text)


def script_argv(path: bytes) -> list[bytes]:
    """Give the argv that runs a script: by its `#!` line, else by bash.

    Raises:
        OptionsError: there is no such file, or it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            first = file.read(1024)
    except OSError as error:
        raise OptionsError(
            f"script {os.fsdecode(path)!r} cannot be read: {error.strerror}. Check its path."
        ) from None
    if first.startswith(b"#!"):
        if os.access(path, os.X_OK):
            return [path]
        # As the kernel splits it: the interpreter, and all the rest as one argument.
        return [*first[2:].split(b"\n", 1)[0].strip().split(None, 1), path]
    return [path] if first.startswith(b"\x7fELF") else [b"/bin/bash", path]


def default_name(program: Command | Call) -> str:
    """Name a job after what it runs."""
    if isinstance(program, Call):
        name = getattr(program.function, "__name__", None) or type(program.function).__name__
    elif program.text:
        first = program.text.split(maxsplit=1)[0]
        name = first.rsplit("/", 1)[-1] or first
    else:
        name = os.path.basename(program.argv[0]).decode("utf-8", "backslashreplace")
    printable = "".join(char if char.isprintable() else "?" for char in str(name))
    return printable[:80] or "job"


def name_problems(name: Any) -> list[str]:
    """Check a name that the user gave."""
    if not isinstance(name, str) or not name.strip():
        return [f"name {name!r} is no name. Give a text, or leave it out."]
    if len(name) > NAME_LIMIT:
        return [f"name {name[:40]!r}... has {len(name)} characters, {NAME_LIMIT} are the most."]
    if any(char in name for char in "\n\r\0\v\f\x85\u2028\u2029"):
        return [f"name {name!r} has a newline or a NUL in it. Use one line of text."]
    if any(0xD800 <= ord(char) <= 0xDFFF for char in name):
        return [f"name {name!r} is not UTF-8. Use text that is; paths and arguments may be bytes."]
    return []


def count_problems(keyword: str, number: Any) -> list[str]:
    """Check a number of something that a job takes."""
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        return [f"{keyword} {number!r} is no number of {keyword}. Give 1 or more."]
    return []


def learned_key(program: Command | Call, name: str | None) -> str:
    """Give the key under which run times are learned: what usually takes equally long."""
    if isinstance(program, Call):
        return payload.name_of(program.function)
    return name or default_name(program)


def split_jobs(value: Any, kind: str = "afterok") -> tuple[list[Any], list[tuple[str, Any]]]:
    """Separate `Job` objects from dependencies that are told by id.

    Args:
        value: a job, an id, a text, a `Dependency`, `(type, job)`, a mapping of
            types to jobs, or lists of these.
        kind: the type where none is given.

    Returns:
        What `options.check_arguments` reads, and pairs of type and job object.
    """
    plain: list[Any] = []
    jobs: list[tuple[str, Any]] = []
    if value is None:
        return plain, jobs
    if isinstance(value, list | tuple | set | frozenset) and None in value:
        raise OptionsError(
            "None stands among the dependencies. Leave it out, or give the job that is meant."
        )
    if isinstance(value, Mapping):
        pieces = [split_jobs(item, str(key)) for key, item in value.items()]
    elif isinstance(value, tuple) and len(value) == 2 and value[0] in DEPENDENCY_TYPES:
        pieces = [split_jobs(value[1], value[0])]
    elif isinstance(value, list | tuple | set | frozenset):
        pieces = [split_jobs(item, kind) for item in value]
    elif hasattr(value, "members"):  # an array, which may be several jobs
        pieces = [split_jobs(member, kind) for member in value.members()]
    elif hasattr(value, "id") and hasattr(value, "scheduler"):
        _check_type(kind)
        return plain, [(kind, value)]
    else:
        return [{kind: value} if kind != "afterok" else value], jobs
    for texts, found in pieces:
        plain += texts
        jobs += found
    return plain, jobs


def _check_type(kind: str) -> None:
    if kind not in DEPENDENCY_TYPES:
        raise OptionsError(
            f"{kind!r} is no type of dependency. There are: {', '.join(DEPENDENCY_TYPES)}."
        )


def check_main_is_there() -> None:
    """Refuse to submit while a process of a pool only reads the script that started it.

    Raises:
        OptionsError: the same line would submit again in every such process.
    """
    processes = sys.modules.get("multiprocessing.process")
    if processes and getattr(processes.current_process(), "_inheriting", False):
        raise OptionsError(
            "this process of a pool is still reading the script that started it, and would submit "
            "its jobs again. Put what submits below: if __name__ == '__main__':"
        )


def unsubmitted(name: str, other: str) -> UnknownDependency:
    """Make the error for a dependency on a job that is not in the queue yet."""
    return UnknownDependency(
        f"job {name!r} depends on job {other!r}, which was not submitted. "
        f"Submit {other!r} first, or both with cluster.submit_many([...])."
    )
