"""`cluster release`: let held jobs start."""

from __future__ import annotations

import click

from cluster.cli.common import act, ids_argument, json_option


@click.command()
@ids_argument
@json_option
def command(ids: tuple[str, ...], as_json: bool) -> int:
    """Let held jobs start when their turn comes."""
    return act("release", ids, as_json=as_json)
