"""The names of the files that a job may have, and writing them whole or not at all.

It knows names and bytes; what stands in a file is decided by others (`script`,
`payload`).  It deletes nothing by itself: `made_here` only finds.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from cluster.errors import OptionsError

__all__ = [
    "Disk",
    "add_scheduler",
    "current_umask",
    "endings",
    "free_stem",
    "made_here",
    "safe_stem",
    "write_atomic",
]

SUFFIX = "cluster"
MAX_STEM = (
    180  # bytes; 255 is the usual limit of a name, the longest ending and a number fit behind
)
_last_number: dict[tuple[str, str], int] = {}
_SUBMISSION = {"slurm": ".sbatch", "torque": ".qsub", "sge": ".sge", "lsf": ".lsf", "local": ""}


def add_scheduler(qtype: str) -> None:
    """Let the files of a scheduler from another package be known by their names, too."""
    _SUBMISSION.setdefault(qtype, f".{qtype}")


def endings(qtype: str | None = None, suffix: str = SUFFIX) -> tuple[str, ...]:
    """List how the names of a job's files end.

    Args:
        qtype: only files of this scheduler; None is all of them.
        suffix: the middle part that marks a file as one of ours.

    Raises:
        OptionsError: an empty suffix, one with a slash, or an unknown scheduler.
    """
    if not suffix or "/" in suffix or "\0" in suffix:
        raise OptionsError(f"suffix {suffix!r} cannot mark files: give a word such as 'cluster'.")
    qtype = "local" if qtype == "normal" else qtype
    if qtype is not None and qtype not in _SUBMISSION:
        raise OptionsError(f"qtype {qtype!r} is unknown. There are: {', '.join(_SUBMISSION)}.")
    scripts = [f".{suffix}{end}" for kind, end in _SUBMISSION.items() if qtype in (None, kind)]
    if qtype in (None, "slurm"):
        scripts.append(f".{suffix}.script")
    function = f"_func.{suffix}.py"
    outputs = [] if qtype == "local" else [f".{suffix}.{end}" for end in ("out", "err", "exit")]
    return (*scripts, *outputs, function, f"{function}.pickle.in", f"{function}.pickle.out")


def submission_ending(qtype: str, suffix: str = SUFFIX) -> str:
    """Give the ending of the file that is handed to this scheduler."""
    return f".{suffix}{_SUBMISSION[qtype]}"


def safe_stem(name: str) -> str:
    """Make a file name's beginning from a job's name.

    A slash cannot stand in a file name, a leading dot would hide the file, and
    a long name would not leave room for the endings.
    """
    stem = name.replace("/", "_").replace("\0", "_")
    if stem.startswith("."):
        stem = "_" + stem[1:]
    while len(os.fsencode(stem)) > MAX_STEM:
        stem = stem[:-1]
    return stem or "job"


def free_stem(directory: str, stem: str, ends: tuple[str, ...]) -> str:
    """Find a beginning that no file with one of these endings has: `stem`, `stem_2`, ..."""

    def candidate(number: int) -> str:
        return stem if number == 1 else f"{stem}_{number}"

    def is_taken(number: int) -> bool:
        start = os.path.join(directory, candidate(number))
        return any(os.path.lexists(start + end) for end in ends)

    # Of a thousand jobs of one name, each looks where the one before it ended.
    known = _last_number.get((directory, stem), 1)
    number = known if is_taken(known) else 1
    while is_taken(number):
        number += 1
    _last_number[directory, stem] = number
    return candidate(number)


def write_atomic(path: str, data: bytes, *, mode: int = 0o666, replace: bool = True) -> None:
    """Write a file so that its name never stands for a part of it.

    Args:
        path: its final name; the directory must exist.
        mode: permissions before the umask.
        replace: an existing file is replaced; if false it is left alone.

    Raises:
        FileExistsError: the file exists and `replace` is false.
        OSError: the directory is missing, full or not writable.
    """
    directory = os.path.dirname(path) or "."
    temporary = os.path.join(directory, f".cluster-{os.urandom(6).hex()}.tmp")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(handle)
        if replace:
            os.replace(temporary, path)
        else:
            os.link(temporary, path)  # unlike rename, it refuses an existing name
            os.unlink(temporary)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def current_umask() -> int:
    """Give this process's file mode mask."""
    # Reading it means setting it: for that instant other threads make private files.
    current = os.umask(0o077)
    os.umask(current)
    return current


class Disk:
    """The real files, as `script.Script` wants them."""

    @staticmethod
    def exists(path: str) -> bool:
        """Tell whether something has this name."""
        return os.path.lexists(path)

    @staticmethod
    def write(path: str, data: bytes, mode: int, replace: bool) -> None:
        """Write a whole file, see `write_atomic`."""
        write_atomic(path, data, mode=mode, replace=replace)

    @staticmethod
    def remove(path: str) -> bool:
        """Delete a file; tell whether there was one."""
        try:
            os.unlink(path)
        except FileNotFoundError:
            return False
        return True


def made_here(directory: str, *, suffix: str = SUFFIX, qtype: str | None = None) -> Iterator[Path]:
    """Find the files in a directory whose names say that this package made them.

    Only plain files directly in it: no directory is entered, no link followed.
    """
    ends = endings(qtype, suffix)
    elements = tuple(end for end in ends if end.endswith((".out", ".err", ".exit")))
    with os.scandir(directory) as entries:
        for entry in entries:
            name, _, index = entry.name.rpartition(".")
            of_element = index.isdecimal() and name.endswith(elements) and name not in elements
            stem = of_element or any(entry.name.endswith(end) and entry.name != end for end in ends)
            if stem and entry.is_file(follow_symlinks=False):
                yield Path(entry.path)
