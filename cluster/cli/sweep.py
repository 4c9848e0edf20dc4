"""`cluster sweep`: one command for every combination of parameters that a file says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cluster.cli.app import FAILED, complain
from cluster.cli.common import json_option, print_json, print_lines, terminal_columns
from cluster.cli.text import safe, table

if TYPE_CHECKING:
    from cluster.sweep import Sweep

SHOWN = 20


@click.command()
@click.argument("file", metavar="FILE")
@click.option("--preview", is_flag=True, help="Print the first runs; queue nothing.")
@click.option("--status", is_flag=True, help="Count the runs by state, and group the failures.")
@click.option("--results", is_flag=True, help="Print parameters and result of each run.")
@click.option("--resume", is_flag=True, help="Queue what is missing or failed of an earlier start.")
@click.option("--wait", is_flag=True, help="Wait until all runs have ended, and tell how.")
@click.option("--cancel", is_flag=True, help="End the runs that wait or run.")
@json_option
def command(
    file: str,
    preview: bool,
    status: bool,
    results: bool,
    resume: bool,
    wait: bool,
    cancel: bool,
    as_json: bool,
) -> int:
    """Run a command for every combination of parameters in FILE (.ini or .toml).

    The command gets them as words behind it: model.lr=0.1. A directory beside
    FILE keeps the result of each run. With --wait, --status and --results the exit
    code is 1 if a run has failed.
    """
    from cluster import _sweep_file  # costs as much as a whole `cluster list`
    from cluster.sweep import Sweep

    only = [name for name, on in (("--preview", preview), ("--status", status),
            ("--results", results), ("--resume", resume), ("--cancel", cancel)) if on]  # fmt: skip
    if len(only) > 1:
        raise click.UsageError(f"{' and '.join(only)} do not go together.")
    program, keywords = _sweep_file.read(file)
    sweep = Sweep(program, **keywords)
    if preview:
        print_lines(map(safe, sweep.preview(SHOWN).splitlines()))
        return 0
    if cancel:
        answers = sweep.cancel()
        print_lines(f"{id}: {safe(answer)}" for id, answer in answers.items())
        return 0
    if status or results:
        return _tell(sweep, results, as_json, wait)
    _submit(sweep, resume)
    return _tell(sweep, False, as_json, wait) if wait else 0


def _submit(sweep: Sweep, resume: bool) -> None:
    if not resume and set(sweep.status()) - {"missing"}:
        raise click.UsageError(
            f"{sweep.directory} has runs of an earlier start. --status tells of them, --resume "
            "queues what is missing or failed."
        )
    queued = sweep.submit()
    click.echo(f"{len(queued)} of {sweep.count()} runs queued; results in {sweep.directory}")


def _tell(sweep: Sweep, results: bool, as_json: bool, wait: bool) -> int:
    if wait:
        sweep.wait()
    counts = sweep.status()
    failures = sweep.failures()
    if as_json:
        rows = sweep.results()
        grouped = {error: [row["run"] for row in group] for error, group in failures.items()}
        print_json(_jsonable(rows) if results else {"states": counts, "failures": grouped})
    elif results:
        _print_results(sweep.results())
    else:
        print_lines([f"sweep {safe(sweep.name)}: {sweep.count()} runs"])
        print_lines(f"  {count:5} {state}" for state, count in counts.items())
        for error, group in failures.items():
            numbers = ", ".join(str(row["run"]) for row in group[:SHOWN])
            more = ", ..." if len(group) > SHOWN else ""
            complain(f"{len(group)} runs ended with {error or 'no word'}: {numbers}{more}")
    return FAILED if failures else 0


def _print_results(rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    told = ("run", "state", "error", "value")
    hidden = {"job", "exitcode", "usage", *told}
    params = [key for key in rows[0] if key not in hidden]
    names = ("run", *params, "state", "error", "value")
    cells = [[safe(_cell(row[name], name)) for name in names] for row in rows]
    print_lines(table(names, cells, terminal_columns()))


def _cell(value: Any, name: str) -> str:
    from cluster.outcome import CommandResult

    if name == "value" and isinstance(value, CommandResult):
        return (value.stdout.strip().splitlines() or [""])[-1]
    return "" if value is None else value if isinstance(value, str) else repr(value)


def _jsonable(rows: list[dict[str, Any]]) -> Any:
    from msgspec.structs import asdict

    return [
        {k: asdict(v) if k == "usage" and v is not None else _plain(v) for k, v in row.items()}
        for row in rows
    ]


def _plain(value: Any) -> Any:
    import json

    from cluster.outcome import CommandResult

    if isinstance(value, CommandResult):
        return {"exitcode": value.exitcode, "stdout": value.stdout, "stderr": value.stderr}
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return repr(value)
    return value
