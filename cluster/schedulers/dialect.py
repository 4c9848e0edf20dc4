"""What one scheduler's commands are called, and what they print: the words of a dialect.

A dialect is pure: argument lists go out, the text that a program printed comes
in.  `CommandScheduler` runs the programs, decides when, and decides what an
answer is worth: a dialect never says that a job is gone, only that an answer
does not have it.

    submit, find      -> id
    poll              -> the jobs that the queue still has
    account           -> the jobs that its books have
    act               -> what happened to each
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from cluster.local.wire import JobInfo
from cluster.schedulers.base import Request, Resources

__all__ = ["VERBS", "Answer", "Dialect", "Outputs", "Seen", "not_started", "split_id"]

VERBS = ("cancel", "hold", "release", "requeue", "suspend", "resume", "signal")


class Answer(NamedTuple):
    """What a client program said, as text (surrogateescape), and its exit code."""

    argv: tuple[str, ...]
    code: int
    stdout: str
    stderr: str


class Outputs(NamedTuple):
    """Where a job's standard output and error go, as the script's directives name them.

    Absolute paths.  `array`: they hold the place `{index}`, which each scheduler
    writes in its own way.
    """

    stdout: str
    stderr: str
    array: bool = False


def split_id(id: str) -> tuple[str, str]:
    """Take "17_3" apart into the job and the index of its element; "" for all of it."""
    job, _, index = id.partition("_")
    return job, index


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One job, or one element of an array, in the answer of a scheduler.

    Attributes:
        info: what it said, in our words.  `info.id` is "17" or "17_3" whatever
            the scheduler writes; an element that is not told apart yet (Slurm's
            `17_[4-9]`) is listed by itself all the same.
        user, partition: as the scheduler has them; empty if it does not say.
        mark: the unique word that `directives` put in, if the answer shows it.
        requested: seconds, MiB and the like that only this scheduler says.
        stuck: it could not be started, and the scheduler keeps it (HELD) until
            somebody releases it; see `not_started`.
    """

    info: JobInfo
    user: str = ""
    partition: str = ""
    mark: str = ""
    requested: Mapping[str, str] = field(default_factory=dict)
    stuck: bool = False


def not_started(title: str, words: str = "", advice: str = "") -> str:
    """Say why a job is `stuck`, in the same words for every scheduler.

    Args:
        title: who could not start it.
        words: its own, on what went wrong.
        advice: where releasing it is not the user's to do.
    """
    told = f": {words}" if words else ""
    return f"Held: {title} could not start it{told}" + (f"; {advice}" if advice else "")


class Dialect(Protocol):
    """One scheduler's words.

    Attributes:
        qtype: as users write it.
        title: as people call it.
        prefix: what a directive's line begins with.
        missing: what it cannot do, as a sentence for the user each.  Keys are
            verbs (`VERBS`), dependency types, and "array", "max_running",
            "begin", "requeue_flag", "memory_limit", "walltime", "elements" (a
            dependency on one element of an array).
        job_id, array_index: shell words that give the job's own id and index
            inside it, `${SLURM_JOB_ID}`; the index is empty outside an array.
        redirects: the job's script opens its files itself, and `directives` is
            given empty `outputs`: this scheduler writes into them, renames them
            or copies them late.
        scrubbed: names of variables (with `*`) that a job's own submissions
            must not inherit.
        restarts: shell word that gives how often this job was started before,
            `${SLURM_RESTART_COUNT:-0}`; "0" where a job cannot tell.
        reserved_codes: exit codes of a job's script that this scheduler takes
            for orders (Grid Engine runs a job again for 99).
        warns_script_only: the warning before the walltime reaches the script
            alone, which hands it on; else all processes of the job.
    """

    qtype: str
    title: str
    prefix: str
    missing: Mapping[str, str]
    job_id: str
    array_index: str
    redirects: bool
    restarts: str
    reserved_codes: tuple[int, ...]
    warns_script_only: bool

    @property
    def scrubbed(self) -> tuple[str, ...]:
        """See above; a constant of each dialect."""
        ...

    # ------------------------------------------------------------ is it there

    def probe(self) -> tuple[str, ...]:
        """Give a command that succeeds quickly, and only if the controller answers."""
        ...

    def recognises(self, answer: Answer) -> str:
        """Give the version that answered `probe`; empty if it is not this scheduler.

        It may remember a flavour from the answer (PBS Pro or Torque).
        """
        ...

    # ------------------------------------------------------------ submitting

    def directives(self, request: Request, outputs: Outputs, *, mark: str) -> list[str]:
        """Write the job's wishes, one text a line, without the prefix.

        Args:
            request: checked; dependencies are ids of this scheduler.
            outputs: where stdout and stderr go.
            mark: a word unique to this submission; it must be findable by `find`.

        Raises:
            OptionsError: a wish that this scheduler has no words for.
        """
        ...

    def guards(self, request: Request) -> list[tuple[str, str]]:
        """List dependencies, as (type, id), that the job's script must check itself.

        For a scheduler that starts a successor however its predecessor ended.
        """
        ...

    def submit(self, script: str, arguments: Sequence[str]) -> tuple[str, ...]:
        """Give the command that submits a script file.

        Args:
            script: its absolute path.
            arguments: the user's own, `submit_args`.
        """
        ...

    def parse_submit(self, answer: Answer) -> str:
        """Give the id of the job.

        Raises:
            OptionsError: it was refused and would be again: say what, and what to try.
            QueueError: the controller could not be asked, or is full for now;
                whether the job was taken is not known.
        """
        ...

    def find(self, mark: str, user: str) -> tuple[str, ...]:
        """Give the command that shows whether a submission was taken.  See `parse_poll`."""
        ...

    # ------------------------------------------------------------ asking

    def poll(self, jobs: Sequence[str], user: str) -> tuple[str, ...]:
        """Give one command that shows these jobs (ids of whole jobs) as they are queued.

        With no jobs: all of the user's; with an empty user: everybody's.
        """
        ...

    def parse_poll(self, answer: Answer) -> list[Seen]:
        """Read the answer to `poll` and `find`.

        A job that the scheduler says it does not know is left out.

        Raises:
            QueueError: the question failed; nothing is known.
        """
        ...

    def account(self, jobs: Sequence[str]) -> list[tuple[str, ...]]:
        """Give the commands (few, whatever the number of jobs) that ask the books.

        None where the site keeps none.
        """
        ...

    def parse_account(self, answer: Answer) -> list[Seen]:
        """Read an answer to `account`, like `parse_poll`; usage in `info` where it is told."""
        ...

    # ------------------------------------------------------------ steering

    def act(self, verb: str, ids: Sequence[str], number: int) -> list[tuple[str, ...]]:
        """Give the commands that do one of `VERBS` to jobs or elements.

        Args:
            number: of the signal, for "signal".
        """
        ...

    def parse_act(self, verb: str, answer: Answer) -> dict[str, str]:
        """Give what went wrong, for each id it went wrong with; "" for all of them.

        A job that has ended is no error.

        Raises:
            QueueError: the controller could not be asked.
        """
        ...

    # ------------------------------------------------------------ the site

    def show_resources(self, partition: str | None) -> tuple[str, ...]:
        """Give the command that shows what there is."""
        ...

    def parse_resources(self, answer: Answer, partition: str | None) -> Resources:
        """Read the answer to `show_resources`."""
        ...
