"""What several verbs share: the client, ids, JSON, answers to many jobs at once."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import click

from cluster.cli.app import FAILED, NOT_THERE, complain
from cluster.cli.text import plain, safe
from cluster.errors import OptionsError
from cluster.local.wire import JobInfo
from cluster.states import ALL, FINAL

if TYPE_CHECKING:
    from cluster.local.client import Client
    from cluster.local.wire import Content
    from cluster.spec import Launch

UNFINISHED = tuple(state for state in ALL if state not in FINAL)
_ID = re.compile(r"\d+(_\d+)?\Z")

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
ids_argument = click.argument("ids", nargs=-1, required=True, metavar="ID...")


class Jobs(Protocol):
    """What the verbs ask of a queue, this machine's or a cluster's."""

    def query(
        self,
        ids: Sequence[str] | None = None,
        *,
        states: Sequence[str] = (),
        name: str = "",
        since: float = 0.0,
        limit: int = 0,
        elements: bool = False,
    ) -> list[JobInfo]:
        """Give jobs by id, or all that match."""
        ...

    def act(self, verb: str, ids: Sequence[str], number: int = 0) -> dict[str, str]:
        """Do `verb` to jobs; say what happened to each."""
        ...

    def wait(self, ids: Sequence[str], *, timeout: float | None = None) -> Iterator[Any]:
        """Give each job as it ends."""
        ...

    def fetch(self, id: str) -> Content:
        """Give what a job wrote, so far."""
        ...

    def describe(self, id: str) -> Launch:
        """Give how a job is started."""
        ...


def get_client() -> Jobs:
    """Give the queue that jobs go to: this machine's, or a cluster's scheduler."""
    from cluster import queue

    if queue.MODE == "local":
        return local_client()
    from cluster.cli.cluster_jobs import ClusterJobs
    from cluster.schedulers.command import CommandScheduler

    scheduler = queue.scheduler_for()
    assert isinstance(scheduler, CommandScheduler)
    return ClusterJobs(scheduler)


def local_client() -> Client:
    """Give the connection to the queue of this machine; start its server if there is none."""
    from cluster.local import client

    return client.get_client()


def version() -> str:
    """Give the version of this package."""
    from cluster import __version__

    return str(__version__)


def read_ids(texts: Iterable[str]) -> tuple[str, ...]:
    """Read ids: `17`, `17_3`, or several with commas; each once, in order.

    Raises:
        OptionsError: a text that cannot be an id.
    """
    words: list[str] = []
    for text in texts:
        # An empty text is somebody's empty variable: doing nothing would look like success.
        words += [word for word in text.split(",") if word] or [text]
    for word in words:
        if not _ID.match(word):
            raise OptionsError(
                f"{word!r} is not the id of a job. Ids look like 17, or 17_3 for an element "
                "of an array; cluster list shows them."
            )
    # 007 is 7: the queue answers with the id as it writes it.
    return tuple(dict.fromkeys("_".join(str(int(n)) for n in w.split("_")) for w in words))


def look_up(client: Jobs, ids: Sequence[str]) -> tuple[list[JobInfo], int]:
    """Ask for jobs by id and complain of each that does not exist.

    Returns:
        The jobs in the order of `ids`, and the exit code so far.
    """
    found = {job.id: job for job in client.query(ids=tuple(ids))}
    missing = [id for id in ids if id not in found]
    for id in missing:
        complain(f"no job {id} in this queue. See which there are: cluster list --all")
    return [found[id] for id in ids if id in found], NOT_THERE if missing else 0


def act(verb: str, texts: Iterable[str], *, number: int = 0, as_json: bool = False) -> int:
    """Do `verb` to jobs by id, say what happened to each, and give the exit code."""
    client = get_client()
    jobs, code = look_up(client, read_ids(texts))
    return act_on(client, verb, jobs, number=number, as_json=as_json) or code


def act_on(
    client: Jobs, verb: str, jobs: Sequence[JobInfo], *, number: int = 0, as_json: bool = False
) -> int:
    """Do `verb` to jobs and say what happened to each."""
    answers = client.act(verb, tuple(job.id for job in jobs), number) if jobs else {}
    if as_json:
        print_json(answers)
    else:
        for id, answer in answers.items():
            click.echo(f"{id}: {safe(answer)}")
    return FAILED if any(is_refusal(verb, answer) for answer in answers.values()) else 0


def is_refusal(verb: str, answer: str) -> bool:
    """Tell "is COMPLETED: nothing to hold" from "held".

    A job that has "already" ended is what `cancel` was to bring about.
    """
    return answer.startswith(("is ", "no ")) or (verb != "cancel" and answer.startswith("already "))


def confirmed(question: str) -> bool:
    """Ask, and tell whether the answer is yes.

    Raises:
        UsageError: nobody is there to answer.
    """
    try:
        return click.confirm(question)
    except click.Abort as abort:
        if not isinstance(abort.__context__, EOFError):  # Ctrl-C
            raise
        click.echo()
        raise click.UsageError("Nobody answers. To do it without being asked: --yes") from None


def print_json(value: Any) -> None:
    """Print a value as JSON; text that is not UTF-8 comes out as escapes, never as an error."""
    import json

    indent = 2 if sys.stdout.isatty() else None
    click.echo(json.dumps(plain(value), indent=indent))


def print_lines(lines: Iterable[str]) -> None:
    """Print lines in one go."""
    text = "\n".join(lines)
    if text:
        click.echo(text)


def terminal_columns() -> int:
    """Give the width of the terminal; 0 when stdout is none."""
    if not sys.stdout.isatty():
        return 0
    set_by_user = os.environ.get("COLUMNS", "")
    if set_by_user.isdigit():
        return int(set_by_user)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns
    except OSError:
        return 80
