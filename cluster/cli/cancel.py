"""`cluster cancel`: end jobs, by id, by name, or all of one's own."""

from __future__ import annotations

import click

from cluster.cli import values
from cluster.cli.common import UNFINISHED, act_on, get_client, json_option, look_up, read_ids
from cluster.states import FINAL


@click.command()
@click.argument("ids", nargs=-1, metavar="[ID...]")
@click.option("-n", "--name", metavar="PATTERN", help="Jobs whose name is like 'sim-*'.")
@click.option("-a", "--all", "everything", is_flag=True, help="Every job that waits or runs.")
@click.option(
    "-s", "--state", "states", multiple=True, metavar="STATE[,STATE]",
    help="With --name or --all: only jobs in these states, as in: --all --state pending.",
)  # fmt: skip
@json_option
def command(
    ids: tuple[str, ...],
    name: str | None,
    everything: bool,
    states: tuple[str, ...],
    as_json: bool,
) -> int:
    """End jobs, or take them from the queue before they start.

    A running job gets SIGTERM, then SIGKILL after a grace time; nothing of it
    is left. A job that has already ended stays as it is.
    """
    by_query = everything or name is not None or bool(states)
    if bool(ids) == by_query:
        raise click.UsageError("Say which jobs: either ids, or --name, --state or --all.")
    client = get_client()
    if ids:
        jobs, code = look_up(client, read_ids(ids))
        return act_on(client, "cancel", jobs, as_json=as_json) or code
    wanted = [s for s in values.states(states) if s not in FINAL] if states else UNFINISHED
    jobs = client.query(states=tuple(wanted), name=name or "") if wanted else []
    if not jobs and not as_json:
        click.echo("No such job waits or runs.")
    return act_on(client, "cancel", jobs, as_json=as_json)
