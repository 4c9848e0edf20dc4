"""Files that jobs write to, used again and again: slots/N/{out,err,res}.

A new file per job costs more than starting the job (0.1 to 0.4 ms on ext4, a
reused one 0.007 ms), so a job borrows a slot and what it wrote is taken out at
its end: small outputs as bytes, large ones by renaming the file away.  Nothing
here knows processes; the node says when a slot is free.

What a job wrote is cleared away here, between two jobs, and jobs open these
files without truncating them: ext4 sends what is written to a file that was
truncated while open to the disk when it is closed (its `auto_da_alloc`), and
the job waits for that, 0.17 ms.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable

from cluster.local.wire import INLINE_LIMIT, Content, Output

NAMES = ("out", "err", "res")


def slot_path(state_dir: str, number: int, name: str) -> str:
    """Give the path of one file of a slot."""
    return f"{state_dir}/slots/{number}/{name}"


def kept_path(state_dir: str, job: int, attempt: int, name: str) -> str:
    """Give the path that a large output gets."""
    return f"{state_dir}/outputs/{job}.{attempt}.{name}"


class Slots:
    """All slots of one state directory.

    Args:
        state_dir: absolute path.
        taken: numbers that jobs of an earlier node still hold.
    """

    def __init__(self, state_dir: str, taken: Iterable[int] = ()) -> None:
        self._state_dir = state_dir
        os.makedirs(f"{state_dir}/slots", mode=0o700, exist_ok=True)
        os.makedirs(f"{state_dir}/outputs", mode=0o700, exist_ok=True)
        here = {int(name) for name in os.listdir(f"{state_dir}/slots") if name.isdigit()}
        held = set(taken)
        self._free = sorted(here - held, reverse=True)
        self._next = max(here | held, default=-1) + 1
        self._filled: dict[int, tuple[str, ...]] = {}  # files with something in them
        for number in self._free:
            self._make(number)

    def _make(self, number: int) -> None:
        os.makedirs(f"{self._state_dir}/slots/{number}", mode=0o700, exist_ok=True)
        for name in NAMES:
            self._make_file(number, name)

    def _make_file(self, number: int, name: str) -> None:
        # made here and not by the job, whose umask might keep even us from reading it
        path = slot_path(self._state_dir, number, name)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC | os.O_TRUNC, 0o600))

    def take(self) -> int:
        """Borrow a slot; its files exist and are empty.

        Raises:
            OSError: a new one was needed and could not be made.
        """
        if self._free:
            self._clear(self._free[-1])
            return self._free.pop()
        number = self._next
        self._make(number)
        self._next += 1
        return number

    def give_back(self, number: int) -> None:
        """Let the slot be used again."""
        self._free.append(number)
        self._filled.setdefault(number, NAMES)  # nobody looked
        with contextlib.suppress(OSError):  # `take` tries again
            self._clear(number)

    def _clear(self, number: int) -> None:
        for name in self._filled.get(number, ()):
            self._make_file(number, name)
        self._filled.pop(number, None)

    def retire(self, number: int) -> None:
        """Let the slot be used again, but not its files: somebody may still write to them."""
        with contextlib.suppress(OSError):  # then this number is simply never used again
            for name in NAMES:
                os.unlink(slot_path(self._state_dir, number, name))
                self._make_file(number, name)
            self._free.append(number)

    def path(self, number: int, name: str) -> str:
        """Give the path of `out`, `err` or `res`."""
        return slot_path(self._state_dir, number, name)

    def collect(
        self, number: int, job: int, attempt: int, *, named: tuple[bytes, bytes], result: bool
    ) -> Content:
        """Take out what a job wrote.

        Args:
            number: its slot.
            job, attempt: whose it is.
            named: the files that the user named for stdout and stderr, or empty.
            result: it is a function, so it left a result.

        Returns:
            Small outputs as bytes, others as the path of a file that stays.
        """
        found = _collect(self._state_dir, number, job, attempt, named, result, is_again=False)
        filled = []
        for name, output in zip(NAMES, (found.stdout, found.stderr, found.result), strict=True):
            if output.data:
                filled.append(name)
            elif output.file and output.file not in named:
                with contextlib.suppress(OSError):  # the next job's open makes it
                    self._make_file(number, name)
        self._filled[number] = tuple(filled)
        return found


def collect(
    state_dir: str,
    number: int,
    job: int,
    attempt: int,
    *,
    named: tuple[bytes, bytes],
    result: bool,
) -> Content:
    """Do as `Slots.collect` does, for a slot of a node that is gone.

    May be called again: an output already renamed is found where it is.
    """

    return _collect(state_dir, number, job, attempt, named, result, is_again=True)


def _collect(
    state_dir: str,
    number: int,
    job: int,
    attempt: int,
    named: tuple[bytes, bytes],
    result: bool,
    *,
    is_again: bool,
) -> Content:
    def take(name: str) -> Output:
        kept = kept_path(state_dir, job, attempt, name)
        if is_again and os.path.exists(kept):
            return Output(file=os.fsencode(kept))
        return _take(slot_path(state_dir, number, name), kept)

    return Content(
        result=take("res") if result else Output(),
        stdout=Output(file=named[0]) if named[0] else take("out"),
        stderr=Output(file=named[1]) if named[1] else take("err"),
    )


def _take(path: str, kept: str) -> Output:
    try:
        size = os.stat(path).st_size
    except OSError:
        size = 0
    if size == 0:
        return Output()
    if size <= INLINE_LIMIT:
        with contextlib.suppress(OSError):
            return Output(data=_read(path, size))
    _keep(path, kept)  # it is large; or there is no descriptor to read it with
    return Output(file=os.fsencode(kept))


def _read(path: str, size: int) -> bytes:
    # A buffer of the size that is there: one of the largest size is mapped and unmapped each time.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, size)
    finally:
        os.close(fd)


def _keep(path: str, kept: str) -> None:
    try:
        os.rename(path, kept)
    except OSError:
        with contextlib.suppress(OSError):  # the folder may have been cleared away
            os.makedirs(os.path.dirname(kept), mode=0o700, exist_ok=True)
            os.rename(path, kept)
