"""`cluster config`: settings, and where each comes from."""

from __future__ import annotations

from difflib import get_close_matches

import click

from cluster import config_file
from cluster._settings_table import SETTINGS
from cluster.cli.app import NOT_THERE, complain
from cluster.cli.common import json_option, print_json, print_lines, terminal_columns
from cluster.cli.text import safe, table
from cluster.errors import ConfigError, OptionsError

_OTHERS = ("default", "global", "command ", "profile ")  # sections that hold keywords of jobs
_setting = click.argument("setting", metavar="SECTION.KEY")


@click.group()
def command() -> None:
    """Read and change settings.

    The first that has it wins: $CLUSTER_CFG_SECTION_KEY, the file
    $CLUSTER_CONFIG, ./cluster.cfg, your own file, the built-in value.
    """


@command.command()
@click.argument("section", required=False)
@json_option
def show(section: str | None, as_json: bool) -> int:
    """Show every setting and where its value came from."""
    found = [s for s in config_file.sources() if section in (None, s.section)]
    if section is not None and not found:
        return _not_there(f"no section {section!r}")
    if as_json:
        print_json([source._asdict() for source in found])
        return 0
    rows = [[safe(f"{s.section}.{s.key}"), value_text(s.value), safe(s.where)] for s in found]
    print_lines(table(("setting", "value", "from"), rows, terminal_columns()))
    return 0


@command.command()
@_setting
@json_option
def get(setting: str, as_json: bool) -> int:
    """Print the value of one setting."""
    section, key = split(setting)
    for source in config_file.sources():
        if (source.section, source.key) == (section, key):
            if as_json:
                print_json(source._asdict())
            else:
                click.echo(value_text(source.value))
            return 0
    return _not_there(f"no setting {setting!r}")


@command.command("set")
@_setting
@click.argument("value")
def set_(setting: str, value: str) -> None:
    """Write one setting to the file."""
    section, key = split(setting)
    check_known(section, key)
    try:
        config_file.check(section, key, value)
    except ConfigError as error:
        raise OptionsError(str(error)) from None
    config_file.set(section, key, value)


@command.command()
@click.argument("setting", metavar="SECTION[.KEY]")
def delete(setting: str) -> int:
    """Delete one setting, or a whole section, from the file."""
    section, key = split(setting) if "." in setting else (setting, None)
    if config_file.delete(section, key):
        return 0
    return _not_there(f"{setting!r} is not in {config_file.default_path()}")


@command.command()
def path() -> None:
    """Print the path of the file that `set` writes."""
    click.echo(config_file.default_path())


def split(setting: str) -> tuple[str, str]:
    """Split `local.cores` into section and key.

    Raises:
        OptionsError: one of the two is missing.
    """
    section, _, key = setting.rpartition(".")
    if not section or not key:
        raise OptionsError(f"setting {setting!r} cannot be read. Write SECTION.KEY: local.cores")
    return section, key.lower()


def check_known(section: str, key: str) -> None:
    """Refuse a setting that nothing reads; it would be a typing mistake.

    Raises:
        OptionsError: there is none; the nearest one is named.
    """
    if (section, key) in SETTINGS or section.startswith(_OTHERS):
        return
    known = [".".join(pair) for pair in SETTINGS]
    near = get_close_matches(f"{section}.{key}", known, n=1)
    advice = f"Did you mean {near[0]}?" if near else "See: cluster config show"
    raise OptionsError(f"there is no setting {section}.{key}. {advice}")


def value_text(value: object) -> str:
    """Write a value as `set` would read it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return safe(", ".join(f"{name}={count}" for name, count in value.items())) or "-"
    return safe(f"{value:g}" if isinstance(value, float) else str(value))


def _not_there(what: str) -> int:
    complain(f"{what}; see cluster config show")
    return NOT_THERE
