"""`cluster hold`: keep waiting jobs from starting."""

from __future__ import annotations

import click

from cluster.cli.common import act, ids_argument, json_option


@click.command()
@ids_argument
@json_option
def command(ids: tuple[str, ...], as_json: bool) -> int:
    """Keep waiting jobs from starting, until `cluster release`."""
    return act("hold", ids, as_json=as_json)
