"""`cluster keywords`: what a job can be submitted with, here and on clusters."""

from __future__ import annotations

import click

from cluster.cli.common import json_option, print_json, print_lines, terminal_columns
from cluster.cli.text import table


@click.command()
@click.argument("names", nargs=-1, metavar="[KEYWORD...]")
@click.option("--qtype", metavar="QTYPE", help="Only what this scheduler heeds: slurm, local, ...")
@click.option("--long", "at_length", is_flag=True, help="With synonyms and every directive.")
@json_option
def command(names: tuple[str, ...], qtype: str | None, at_length: bool, as_json: bool) -> None:
    """List every keyword that a job can be submitted with.

    In Python: cluster.submit(func, cores=2). Here: -o KEYWORD=VALUE, for those
    that have no option of their own. With names, only these, at length.
    """
    from cluster import options

    known = {_known(name) for name in names}
    rows = options.option_help(qtype, mode="table")
    assert isinstance(rows, list)
    heads, body = rows[0], [row for row in rows[1:] if not known or row[0] in known]
    if as_json:
        print_json([dict(zip(heads, row, strict=True)) for row in body])
    elif at_length or known:
        print_lines("\n\n".join(_paragraph(heads, row) for row in body).split("\n"))
    else:
        brief = [[row[0], row[2], row[4]] for row in body]
        print_lines(_fit(table(("keyword", "type", "help"), brief), terminal_columns()))


def _known(name: str) -> str:
    from cluster import options
    from cluster.errors import OptionsError

    found = options.canonical_name(name)
    if found is None:
        options.check_arguments({name: ""})  # raises, and knows the nearest name
        raise OptionsError(f"unknown keyword {name!r}")
    return found


def _paragraph(heads: list[str], row: list[str]) -> str:
    cells = dict(zip(heads, row, strict=True))
    default = f", default {cells['default']}" if cells["default"] else ""
    lines = [f"{cells['option']} ({cells['type']}{default})", f"    {cells['help']}"]
    if cells["synonyms"]:
        lines.append(f"    also: {cells['synonyms']}")
    return "\n".join(lines + [f"    {head + ':':<8}{cells[head]}" for head in heads[5:]])


def _fit(lines: list[str], columns: int) -> list[str]:
    return [line[:columns] for line in lines] if columns else lines
