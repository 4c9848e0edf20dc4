"""`monitor-jobs`: wait until jobs have ended, whatever the scheduler.

Exits with 0 if all of them are COMPLETED, with 1 if one is not.
"""

from __future__ import annotations

import click

from cluster.cli.app import FAILED
from cluster.cli.common import read_ids
from cluster.cli.text import reason_text, safe
from cluster.states import COMPLETED


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-p", "--partition", metavar="PART", help="Only jobs in this partition.")
@click.option("-u", "--user", metavar="USER", help="Jobs of this user; your own without it.")
@click.option(
    "-j", "--jobs", "ids", multiple=True, metavar="JOBS",
    help="These jobs, with commas; all that wait or run without it.",
)  # fmt: skip
@click.option("-v", "--verbose", is_flag=True, help="Say what is waited for, and each end.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing.")
def command(
    partition: str | None, user: str | None, ids: tuple[str, ...], verbose: bool, quiet: bool
) -> int:
    """Wait until jobs have ended; exit with 0 if all are COMPLETED, else with 1."""
    from cluster.queue import Queue

    queue = Queue(user, partition=partition)
    wanted = read_ids(ids) if ids else tuple(job.id for job in queue.running + queue.queued)
    if verbose and not quiet:
        click.echo(f"waiting for {len(wanted)} jobs: {', '.join(wanted)}")
    all_completed = True
    for ending in queue.scheduler.endings(wanted):
        info = ending.info
        all_completed &= info.state == COMPLETED
        if not quiet and (verbose or info.state != COMPLETED):
            why = reason_text(info)
            click.echo(f"{info.id} {safe(info.name)} {info.state}" + (f": {why}" if why else ""))
    return 0 if all_completed else FAILED
