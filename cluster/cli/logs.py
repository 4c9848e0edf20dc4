"""`cluster logs`: what a job wrote, or is writing."""

from __future__ import annotations

import click

from cluster.cli.common import get_client, read_ids
from cluster.cli.follow import Tail, follow, look, so_far, to_stdout
from cluster.errors import OptionsError


@click.command()
@click.argument("id", metavar="ID")
@click.option("-e", "--stderr", "errors", is_flag=True, help="Its stderr, not its stdout.")
@click.option("-f", "--follow", "following", is_flag=True, help="Go on until the job has ended.")
@click.option("-n", "--lines", type=click.IntRange(0), help="Only the last so many lines.")
def command(id: str, errors: bool, following: bool, lines: int | None) -> None:
    """Print what a job wrote to its stdout, byte for byte.

    Ctrl-C ends --follow; the job goes on.
    """
    if following and lines is not None:
        raise click.UsageError("Either --follow, which prints all, or --lines.")
    ids = read_ids([id])
    if len(ids) != 1:
        raise OptionsError("cluster logs prints one job at a time.")
    client = get_client()
    job = look(client, ids[0])
    if job.counts:
        raise OptionsError(f"job {job.id} is an array. Print one element of it: {job.id}_INDEX")
    kept = LastLines(lines or 0)
    tail = Tail("stderr" if errors else "stdout", to_stdout if lines is None else kept.add)
    if following:
        follow(client, job.id, [tail])
    else:
        so_far(client, job, tail)
    to_stdout(kept.data)


class LastLines:
    """Keeps the last lines of what is added to it.

    A last line that has no newline yet counts as one.
    """

    def __init__(self, lines: int) -> None:
        self._lines, self.data = lines, b""

    def add(self, more: bytes) -> None:
        """Add bytes; forget the lines that are no longer among the last."""
        data = self.data + more
        at = len(data) - 1 if data.endswith(b"\n") else len(data)
        for _ in range(self._lines):
            at = data.rfind(b"\n", 0, max(at, 0))
            if at < 0:
                break
        self.data = data[at + 1 :]
