"""`cluster signal`: send a signal to running jobs."""

from __future__ import annotations

import click

from cluster.cli.common import act, ids_argument, json_option
from cluster.cli.values import signal_number


@click.command()
@click.argument("signal", metavar="SIGNAL")
@ids_argument
@json_option
def command(signal: str, ids: tuple[str, ...], as_json: bool) -> int:
    """Send SIGNAL (USR1, SIGUSR1 or 10) to every process of running jobs."""
    return act("signal", ids, number=signal_number(signal), as_json=as_json)
