"""`cluster list`: the jobs of the queue, one a line.

Without options those that wait or run, as every scheduler's own command does;
`--all` adds those that ended.  In a terminal long names and reasons are clipped;
in a pipe every cell is whole.
"""

from __future__ import annotations

import time

import click

from cluster.cli import values
from cluster.cli.common import UNFINISHED, get_client, json_option, print_json, print_lines
from cluster.cli.common import terminal_columns as columns_here
from cluster.cli.text import COLUMNS, MORE_COLUMNS, job_table
from cluster.errors import OptionsError

ON_SCREEN = 1000  # rows: nobody reads more, and 100,000 take two seconds to make


@click.command()
@click.option("-a", "--all", "everything", is_flag=True, help="Jobs that ended, too.")
@click.option(
    "-s", "--state", "states", multiple=True, metavar="STATE[,STATE]",
    help="Only jobs in these states (running, failed, ...; active, final).",
)  # fmt: skip
@click.option("-n", "--name", default="", metavar="PATTERN", help="Only names like 'sim-*'.")
@click.option(
    "--since", metavar="WHEN",
    help="Only jobs submitted or ended since: 2h, 3d, 08:00, 2026-05-01. Ended ones, too.",
)  # fmt: skip
@click.option(
    "--limit", type=click.IntRange(0), default=None, metavar="N",
    help=f"Only the newest N; 0 is all. In a terminal the default is {ON_SCREEN}.",
)  # fmt: skip
@click.option("--elements", is_flag=True, help="Each element of an array on its own line.")
@click.option(
    "-c", "--columns", metavar="NAME[,NAME]",
    help=f"Which columns: {', '.join((*COLUMNS, *MORE_COLUMNS))}.",
)  # fmt: skip
@click.option("--no-header", is_flag=True, help="No heading.")
@json_option
def command(
    everything: bool,
    states: tuple[str, ...],
    name: str,
    since: str | None,
    limit: int | None,
    elements: bool,
    columns: str | None,
    no_header: bool,
    as_json: bool,
) -> None:
    """List jobs: waiting and running ones, unless told otherwise.

    A star after the state: the processes of the job are still being ended.
    """
    now = time.time()
    wanted = values.states(states) if states else () if everything or since else UNFINISHED
    names = _column_names(columns)
    width = columns_here()
    shown = limit if limit is not None else 0 if as_json or not width else ON_SCREEN
    jobs = get_client().query(
        states=wanted,
        name=name,
        since=values.since(since, now=now) if since else 0.0,
        limit=shown if limit is not None or not shown else shown + 1,
        elements=elements,
    )
    if as_json:
        print_json(jobs)
        return
    is_cut = limit is None and 0 < shown < len(jobs)
    lines = job_table(jobs[-shown:] if is_cut else jobs, names, now=now, columns=width)
    print_lines(lines[1:] if no_header else lines)
    if is_cut:
        click.echo(f"The newest {shown} are shown; --limit 0 lists all.", err=True)


def _column_names(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    names = tuple(word.strip().lower() for word in text.split(","))
    known = (*COLUMNS, *MORE_COLUMNS)
    for name in names:
        if name not in known:
            raise OptionsError(f"column {name!r} is unknown. There are: {', '.join(known)}.")
    return names
