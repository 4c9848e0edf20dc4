"""`cluster run`: a command as a job, as if it had been typed here.

    exit code of `cluster run`
      n          the command's own
      128 + n    signal n ended it
      124        it reached its time limit
      125        it has no exit code: refused, cancelled before it started, or
                 lost with the machine
      126, 127   it could not be started: not executable, not found
      130, 143   Ctrl-C, or SIGTERM to `cluster run`: the job was cancelled
      137        it used more memory than it asked for
      2          the command line is wrong, or its program is not there; nothing queued

A job that has not started after two seconds is said to wait, and for what, if
stderr is a terminal.

Ctrl-C and SIGTERM cancel the job and wait until nothing of it is left; a second
Ctrl-C does not wait.  A closed terminal (SIGHUP) leaves the job alone.
"""

from __future__ import annotations

import signal
import sys
import time
from types import FrameType
from typing import Any

import click

from cluster.cli.app import TIMED_OUT, complain, silence
from cluster.cli.common import local_client
from cluster.cli.follow import Tail, follow, to_stderr, to_stdout
from cluster.cli.job_options import CONTEXT, command_line, job_options, keywords
from cluster.cli.text import reason_text, why_waiting
from cluster.errors import ClusterError, OptionsError
from cluster.local.wire import JobInfo

NO_CODE = 125  # as env, nohup and timeout say that they failed themselves
OUT_OF_MEMORY = 128 + signal.SIGKILL  # as a shell says it of what the kernel's killer ended
SAID_AFTER_S = 2.0
_PIPE_CLOSED = 128 + signal.SIGPIPE

EPILOG = """\b
Exit code: the command's own; 128+n after signal n. Besides:
  124       it reached its time limit
  125       it has no exit code: refused, cancelled before its start, or lost
  126, 127  it could not be started
  130, 143  Ctrl-C or SIGTERM here: the job was cancelled
  137       it used more memory than it asked for
"""


class Interrupted(KeyboardInterrupt):
    """SIGINT or SIGTERM came; the client of the queue knows how to leave a wait by it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.code = 128 + number


class Interrupts:
    """Turns SIGINT and SIGTERM into `Interrupted`, except while a job is handed over.

    A signal in that moment is kept until it is known which job to cancel; a
    second one is not.
    """

    def __init__(self) -> None:
        self._kept, self._keeping = 0, True
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) != signal.SIG_IGN:  # a shell's `&` has it ignored
                signal.signal(number, self._came)

    def _came(self, number: int, _frame: FrameType | None) -> None:
        if not self._keeping or self._kept:
            raise Interrupted(number)
        self._kept = number

    def release(self) -> None:
        """Keep no signal back any more."""
        self._keeping = False
        if self._kept:
            raise Interrupted(self._kept)


class Patience:
    """Says once that a job waits, and for what.

    Args:
        verbose: also where nobody seems to look.
    """

    def __init__(self, *, verbose: bool) -> None:
        self._when = time.monotonic() + SAID_AFTER_S
        self._is_said = not (verbose or sys.stderr.isatty())

    def __call__(self, job: JobInfo) -> None:
        """Take notice of how the job is."""
        if self._is_said or time.monotonic() < self._when:
            return
        if why := why_waiting(job, time.time()):
            complain(f"job {job.id} waits: {why}")
        self._is_said = True


@click.command(context_settings=CONTEXT, epilog=EPILOG)
@job_options
@click.option(
    "-v", "--verbose", is_flag=True, help="Say the job's id, what it waits for, and how it ended."
)
@click.argument("cmd", nargs=-1, type=click.UNPROCESSED, metavar="[--] CMD [ARG...]")
def command(
    cmd: tuple[str, ...], bash: str | None, profile: str | None, verbose: bool, **params: Any
) -> int:
    """Run a command as a job: wait, print what it prints, exit with its code.

    CMD and its arguments reach the job verbatim, by no shell; for pipes and the
    like: --bash 'a | b'. It starts when the queue has room for it. Ctrl-C
    cancels it.
    """
    argv = command_line(cmd, bash)
    interrupts = Interrupts()
    try:
        id = _submit(argv, profile, keywords("run", params, profile))
        if verbose:
            click.echo(f"cluster: job {id}", err=True)
        return _see_it_through(id, interrupts, verbose=verbose)
    except Interrupted as interrupt:
        return interrupt.code
    except OptionsError:
        raise
    except ClusterError as error:
        complain(error)
        return NO_CODE


def _submit(argv: list[str], profile: str | None, options: dict[str, Any]) -> str:
    from cluster import job as jobs

    return str(jobs.submit(argv, qtype="local", profile=profile, **options).id)


def _see_it_through(id: str, interrupts: Interrupts, *, verbose: bool) -> int:
    tails = [Tail("stdout", to_stdout), Tail("stderr", to_stderr)]
    try:
        interrupts.release()
        job = follow(local_client(), id, tails, local_client, seen=Patience(verbose=verbose))
    except Interrupted as interrupt:
        return _cancel(id, tails, interrupt.code)
    except BrokenPipeError:
        # Whoever read us has gone: a command typed here would get SIGPIPE now.
        silence()
        return _cancel(id, [], _PIPE_CLOSED)
    except OSError as error:
        silence()
        complain(
            f"what job {id} prints cannot be written here: {error.strerror}. The job is left "
            f"alone; cluster logs {id} prints it again."
        )
        return NO_CODE
    _say_how_it_ended(job, verbose=verbose)
    return job_code(job)


def _cancel(id: str, tails: list[Tail], code: int) -> int:
    """Cancel the job and print what it still writes until nothing of it is left."""
    client = local_client()
    client.act("cancel", (id,))
    try:
        follow(client, id, tails, local_client)
    except Interrupted:
        complain(f"job {id} is still being ended; see cluster show {id}")
    return code


def job_code(job: JobInfo) -> int:
    """Choose the exit code of `cluster run` for a job that has ended."""
    match job.state:
        case "TIMEOUT":
            return TIMED_OUT
        case "OUT_OF_MEMORY":
            return OUT_OF_MEMORY
        case "NODE_FAIL" | "LOST":
            return NO_CODE
    if job.signal:
        return 128 + job.signal
    return NO_CODE if job.exitcode is None else job.exitcode


def _say_how_it_ended(job: JobInfo, *, verbose: bool) -> None:
    """Tell, on stderr, an end that the exit code alone would not explain."""
    if verbose or job.state not in ("COMPLETED", "FAILED") or job.exitcode is None:
        complain(f"job {job.id} is {job.state}: {reason_text(job) or 'it ended by itself'}")
