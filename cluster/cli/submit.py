"""`cluster submit`: queue a command, print its id, go on."""

from __future__ import annotations

from typing import Any

import click

from cluster.cli.common import json_option, print_json
from cluster.cli.job_options import CONTEXT, all_job_options, command_line, keywords


@click.command(context_settings=CONTEXT)
@all_job_options
@click.option("--qtype", metavar="QTYPE", help="local, slurm, ...; found out unless given.")
@click.option("--dry-run", is_flag=True, help="Print what would be done; queue nothing.")
@json_option
@click.argument("cmd", nargs=-1, type=click.UNPROCESSED, metavar="[--] CMD [ARG...]")
def command(
    cmd: tuple[str, ...],
    bash: str | None,
    profile: str | None,
    qtype: str | None,
    dry_run: bool,
    as_json: bool,
    **params: Any,
) -> None:
    """Queue a command and print the id of its job.

    CMD and its arguments reach the job verbatim, by no shell; for pipes and the
    like: --bash 'a | b'. The queue keeps what the job prints (cluster logs),
    unless --outfile and --errfile name files.
    """
    from cluster import job as jobs  # costs 25 ms; list, show and cancel do without

    job = jobs.Job(
        command_line(cmd, bash),
        qtype=qtype,
        profile=profile,
        **keywords("submit", params, profile),
    )
    if dry_run:
        click.echo(job.preview())
        return
    job.submit()
    if as_json:
        print_json(job.scheduler.query([str(job.id)]))
    else:
        click.echo(job.id)
