"""`cluster wait`: until jobs have ended."""

from __future__ import annotations

import click

from cluster.cli.app import FAILED, TIMED_OUT, complain
from cluster.cli.common import (
    get_client,
    ids_argument,
    json_option,
    look_up,
    print_json,
    read_ids,
)
from cluster.cli.text import reason_text, safe, state_text
from cluster.errors import WaitTimeout
from cluster.local.wire import JobInfo
from cluster.states import COMPLETED
from cluster.units import parse_seconds


@click.command()
@ids_argument
@click.option("--timeout", metavar="TIME", help="Give up after: 90s, 2h. The jobs go on.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing.")
@json_option
def command(ids: tuple[str, ...], timeout: str | None, quiet: bool, as_json: bool) -> int:
    """Wait until jobs have ended, and tell how.

    Exits with 0 if all are COMPLETED, 1 if one is not, 124 after the timeout.
    Ctrl-C ends the waiting; the jobs go on.
    """
    seconds = parse_seconds(timeout) if timeout is not None else None
    client = get_client()
    jobs, code = look_up(client, read_ids(ids))
    if code:
        return code
    wanted = [job.id for job in jobs]
    ended: dict[str, JobInfo] = {}
    try:
        for end in client.wait(wanted, timeout=seconds):
            ended[end.info.id] = end.info
            if not quiet and not as_json:
                click.echo(ended_line(end.info))
    except KeyboardInterrupt:
        complain(f"the jobs go on; wait again with: cluster wait {' '.join(ids)}")
        raise
    except WaitTimeout:
        code = TIMED_OUT
        left = ", ".join(id for id in wanted if id not in ended)
        complain(f"not ended yet: {left}. They go on; wait again for them.")
    if as_json:
        print_json([ended[id] for id in wanted if id in ended])
    return code or (0 if all(job.state == COMPLETED for job in ended.values()) else FAILED)


def ended_line(job: JobInfo) -> str:
    """Write how a job ended: `17 sim FAILED: exit code 3`."""
    why = reason_text(job)
    return f"{job.id} {safe(job.name)} {state_text(job)}" + (f": {why}" if why else "")
