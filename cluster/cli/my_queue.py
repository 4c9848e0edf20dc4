"""`my-queue`: the user's jobs that wait or run, whatever the scheduler."""

from __future__ import annotations

import time

import click

from cluster.cli.common import print_lines, terminal_columns
from cluster.cli.text import job_table


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-r", "--running", is_flag=True, help="Only jobs that run.")
@click.option("-q", "--queued", is_flag=True, help="Only jobs that wait.")
@click.option("-c", "--count", is_flag=True, help="Print how many, nothing else.")
@click.option("-l", "--list", "ids", is_flag=True, help="Print their ids, one a line.")
def command(running: bool, queued: bool, count: bool, ids: bool) -> None:
    """Show your jobs that wait or run."""
    if running and queued:
        raise click.UsageError("Either --running or --queued; without them both are shown.")
    if count and ids:
        raise click.UsageError("Either --count or --list.")
    from cluster.queue import Queue

    queue = Queue()
    jobs = queue.running if running else queue.queued if queued else queue.running + queue.queued
    if count:
        click.echo(len(jobs))
    elif ids:
        print_lines(job.id for job in jobs)
    else:
        infos = [job.info for job in jobs]
        print_lines(job_table(infos, None, now=time.time(), columns=terminal_columns()))
