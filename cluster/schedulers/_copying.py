"""Copies of a job's scripts under a name that is free: the same job once more.

Every path in them begins with the directory and the stem of the first job, so
exchanging that exchanges all of them.
"""

from __future__ import annotations

import os

import msgspec

from cluster import files, states
from cluster.errors import QueueError
from cluster.registry import Entry
from cluster.schedulers._submitting import MARK

__all__ = ["copy_scripts"]

_END = ".exit"


def copy_scripts(entry: Entry, qtype: str, mark: str) -> tuple[Entry, str]:
    """Copy the scripts that a job was submitted with.

    Args:
        entry: the job.
        qtype: of its scheduler.
        mark: of the new submission.

    Returns:
        What to remember of the new job, but for its id, and the text to submit.

    Raises:
        QueueError: a file of it is gone.
    """
    base = entry.record.removesuffix(_END)  # directory/stem.suffix
    directory, name = os.path.split(base)
    stem, _, suffix = name.rpartition(".")
    new = files.free_stem(directory, stem, (*files.endings(qtype, suffix), f".{suffix}{_END}"))
    old_path, new_path = os.path.join(directory, stem), os.path.join(directory, new)
    text = ""
    for end in (
        f"_func.{suffix}.py.pickle.in", f"_func.{suffix}.py", f".{suffix}.script",
        files.submission_ending(qtype, suffix),
    ):  # fmt: skip
        path = old_path + end
        if not os.path.exists(path):
            continue
        try:
            with open(path, "rb") as file:
                data, mode = file.read(), os.fstat(file.fileno()).st_mode & 0o777
        except OSError as error:
            raise QueueError(f"{path} cannot be read: {error.strerror or error}.") from error
        if not end.endswith(".in"):
            data = _renamed(data, old_path, new_path, suffix)
        if path == entry.submission:
            text = MARK.sub(mark, data.decode("utf-8", "surrogateescape"), count=0)
            data = text.encode("utf-8", "surrogateescape")
        files.write_atomic(new_path + end, data, mode=mode, replace=False)
    info = msgspec.structs.replace(
        entry.info, state=states.PENDING, exitcode=None, signal=0, reason="", started=0.0,
        ended=0.0, attempt=0, host="", cpu_s=0.0, peak_memory_mib=0.0, counts={},
        stdout=_renamed(entry.info.stdout, old_path, new_path, suffix),
        stderr=_renamed(entry.info.stderr, old_path, new_path, suffix),
    )  # fmt: skip
    made = Entry(
        info=info, mark=mark, cwd=entry.cwd, words=entry.words, arguments=entry.arguments,
        array=entry.array, indices=entry.indices, on_unsatisfiable=entry.on_unsatisfiable,
        submission=new_path + files.submission_ending(qtype, suffix),
        record=f"{new_path}.{suffix}{_END}",
        result=entry.result and f"{new_path}_func.{suffix}.py.pickle.out",
    )  # fmt: skip
    return made, text


def _renamed(data: bytes, old: str, new: str, suffix: str) -> bytes:
    for end in (f".{suffix}.", f"_func.{suffix}.py"):
        data = data.replace(os.fsencode(old + end), os.fsencode(new + end))
    return data
