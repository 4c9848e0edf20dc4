"""`cluster array`: many jobs from one command, what became of them, and those that failed again."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

import click

from cluster.cli.common import json_option, print_json, print_lines, read_ids
from cluster.cli.job_options import CONTEXT, all_job_options, command_line, keywords
from cluster.cli.text import reason_text, safe, state_text
from cluster.errors import OptionsError, UnknownJob

if TYPE_CHECKING:
    from cluster.array import JobArray

_INDICES = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?\Z", re.ASCII)


@click.command(context_settings=CONTEXT)
@click.option(
    "--items", "file", metavar="FILE", help="An item in each line that is not empty; - is stdin."
)
@click.option("--max", "most", metavar="N", type=int, help="At most so many run at once.")
@click.option("--show", "shown", metavar="ID", help="Tell what became of an array; submit nothing.")
@click.option(
    "--retry", "retried", metavar="ID", help="Submit the failed elements of an array once more."
)
@all_job_options
@click.option("--qtype", metavar="QTYPE", help="local, slurm, ...; found out unless given.")
@json_option
@click.argument("cmd", nargs=-1, type=click.UNPROCESSED, metavar="[N | A-B[:STEP]] -- CMD [ARG...]")
def command(
    cmd: tuple[str, ...],
    file: str | None,
    most: int | None,
    shown: str | None,
    retried: str | None,
    bash: str | None,
    profile: str | None,
    qtype: str | None,
    as_json: bool,
    **params: Any,
) -> None:
    """Queue a command once for each index or item, and print the id of the array.

    In CMD, {index} and {item} are filled in; they are one word, whatever stands
    in them. N is 1-N.

    \b
      cluster array 100 -- ./simulate --seed {index}
      ls *.wav | cluster array --items - -- flac {item}
    """
    from cluster.array import submit_array  # costs 25 ms

    if shown is not None or retried is not None:
        if cmd or file or bash or (shown and retried):
            raise click.UsageError("--show and --retry take an id and nothing else.")
        array = _load(str(shown or retried), qtype)
        if retried is None:
            _show(array, as_json)
            return
        count = len(array.failed)
        array.retry_failed(**keywords("array", params, profile))
        click.echo(f"{array.id}: {count} elements again" if count else f"{array.id}: none failed")
        return
    items, words = _read(cmd, file)
    if bash is None and len(words) == 2 and words[0] == "--bash":
        bash, words = words[1], ()
    argv = command_line(words, bash)  # it knows what is missing
    made = submit_array(
        argv if bash is None else bash,  # as text: an item is one word in it too
        items,
        max_running=most,
        qtype=qtype,
        profile=profile,
        **keywords("array", params, profile),
    )
    if as_json:
        print_json({"id": made.id, "elements": len(made), "jobs": [p.id for p in made.parts]})
    else:
        click.echo(made.id)


def _load(id: str, qtype: str | None) -> JobArray:
    """Find an array, or say what else has this id and what can be done with that.

    Raises:
        OptionsError: no job can have this id.
        UnknownJob: it is no array of this command.
    """
    from cluster import queue
    from cluster.array import JobArray

    (id, *others) = read_ids((id,))
    if others:
        raise click.UsageError("--show and --retry take one id.")
    array = JobArray.find(id, qtype)
    if array is not None:
        return array
    found = queue.scheduler_for(qtype).query([id])
    if not found:
        raise UnknownJob(f"no job {id} in this queue. See which there are: cluster list --all")
    if not found[0].counts:
        raise UnknownJob(f"job {id} is no array. What became of it: cluster show {id}")
    raise UnknownJob(
        f"job {id} was not made by cluster array. What became of it: cluster show {id}, and "
        "cluster list --elements --state failed. "
        "Such elements again: cluster submit -a 3,7 -- CMD"
    )


def _read(cmd: tuple[str, ...], file: str | None) -> tuple[range | list[str], tuple[str, ...]]:
    """Take the items from the command line or a file; give them and the command."""
    if file is not None:
        words = cmd[1:] if cmd[:1] == ("--",) else cmd
        return _lines(file), words
    if not cmd:
        raise click.UsageError("How many? As in: cluster array 1-100 -- ./run {index}")
    rest = cmd[2:] if cmd[1:2] == ("--",) else cmd[1:]
    if len(rest) == len(cmd) - 1 and rest and rest[0] != "--bash" and rest[0].startswith("-"):
        raise click.UsageError(f"{rest[0]} stands behind the indices. Options go before them.")
    match = _INDICES.match(cmd[0])
    if match is None:
        raise OptionsError(
            f"{cmd[0]!r} are no indices. Write 100, 1-100 or 0-98:2, or give --items FILE."
        )
    first, last, step = int(match[1] or 1), int(match[2]), int(match[3] or 1)
    if not step or last < first:
        raise OptionsError(f"{cmd[0]!r} runs backwards or nowhere. Write first-last:step.")
    return range(first, last + 1, step), rest


def _lines(file: str) -> list[str]:
    try:
        if file == "-":
            text = sys.stdin.read()
        else:
            with open(file, encoding="utf-8", errors="surrogateescape") as source:
                text = source.read()
    except OSError as error:
        raise OptionsError(f"items {file!r} cannot be read: {error.strerror}.") from None
    return [line for line in text.split("\n") if line]


def _show(array: JobArray, as_json: bool) -> None:
    counts = array.states()
    failed = array.failed
    if as_json:
        states = {"id": array.id, "name": array.name, "states": counts}
        print_json({**states, "failed": [element.queue_info for element in failed]})
        return
    told = ", ".join(f"{count} {state}" for state, count in counts.items())
    lines = [f"{array.id} {safe(array.name)}: {told}"]
    for element in failed:
        info = element.queue_info
        assert info is not None
        why = reason_text(info)
        lines.append(f"  {info.id} {state_text(info)}" + (f": {why}" if why else ""))
    print_lines(lines)
