"""Running a scheduler's client programs: never for ever, never with our terminal.

It knows no scheduler.  A program that cannot be started or does not come back
is a `QueueError`; what its exit code means, the dialect says.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from typing import TypeVar

from cluster.errors import QueueError, ServerTimeout, ServerUnavailable
from cluster.schedulers.dialect import Answer

__all__ = ["Programs"]

T = TypeVar("T")
_FIRST_PAUSE_S = 0.5
_REAP_S = 5.0


class Programs:
    """Runs programs, and asks again when a question failed.

    Args:
        timeout_s: a program that takes longer is ended.
        scrubbed: names of variables (with `*`) that they do not inherit.
        tries: how often a question is asked before its failure counts.
    """

    def __init__(self, *, timeout_s: float, scrubbed: Sequence[str] = (), tries: int = 3) -> None:
        self.timeout_s, self.tries = timeout_s, tries
        self._scrubbed = tuple(scrubbed)
        self.calls = 0

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float | None = None,
        without: Sequence[str] = (),
        plain: bool = True,
    ) -> Answer:
        """Run a program to its end.

        Args:
            argv: program and arguments.
            timeout_s: None is the usual one.
            without: more variables that it does not inherit.
            plain: it shall answer in English; a submission carries our locale to the job.

        Raises:
            ServerUnavailable: there is no such program.
            QueueError: it could not be started.
            ServerTimeout: it took too long, and was ended.
        """
        self.calls += 1
        limit = self.timeout_s if timeout_s is None else timeout_s
        try:
            # A session of its own: Ctrl-C at the terminal is ours to handle, and must
            # not end an sbatch between its request and the answer.
            process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                env=self._environment(without, plain), start_new_session=True,
            )  # fmt: skip
        except FileNotFoundError:
            raise ServerUnavailable(
                f"{argv[0]} is not on PATH. Load the scheduler's module, or give qtype='local'."
            ) from None
        except OSError as error:
            raise QueueError(f"{argv[0]} cannot be run: {error.strerror or error}.") from error
        try:
            stdout, stderr = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            said = _end(process)
            raise ServerTimeout(
                f"{argv[0]} did not answer within {limit:g} s{said}. "
                "The scheduler may be busy or down."
            ) from None
        except BaseException:
            _end(process)
            raise
        code = process.returncode if process.returncode >= 0 else 128 - process.returncode
        return Answer(tuple(argv), code, _text(stdout), _text(stderr))

    def ask(
        self, argv: Sequence[str], read: Callable[[Answer], T], *, tries: int | None = None
    ) -> T:
        """Run a program that only asks, and read its answer; ask again if that fails.

        Raises:
            QueueError: it failed as often as it may.
        """
        left = self.tries if tries is None else tries
        pause = _FIRST_PAUSE_S
        while True:
            left -= 1
            try:
                return read(self.run(argv))
            except ServerUnavailable:
                raise
            except QueueError:
                if left <= 0:
                    raise
            time.sleep(pause * random.uniform(0.5, 1.5))
            pause *= 2

    def _environment(self, without: Sequence[str], plain: bool) -> dict[str, str]:
        unwanted = (*self._scrubbed, *without)
        kept = {
            name: value
            for name, value in os.environ.items()
            if not any(fnmatchcase(name, pattern) for pattern in unwanted)
        }
        return kept | {"LC_ALL": "C"} if plain else kept


def _end(process: subprocess.Popen[bytes]) -> str:
    """End a program with all it started; give its last words ("LSF is down. Please wait ...")."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        lines = _text(process.communicate(timeout=_REAP_S)[1]).split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f' (it said "{last[:200]}")' if last else ""
    return ""


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
