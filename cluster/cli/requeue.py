"""`cluster requeue`: put jobs back into the queue."""

from __future__ import annotations

import click

from cluster.cli.common import act, ids_argument, json_option


@click.command()
@ids_argument
@json_option
def command(ids: tuple[str, ...], as_json: bool) -> int:
    """End running jobs and put them back into the queue, to run again under the same id."""
    return act("requeue", ids, as_json=as_json)
