"""`cluster profile`: sets of keywords under a name, kept in the configuration file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click

from cluster import config_file, options
from cluster.cli.app import FAILED, NOT_THERE, complain
from cluster.cli.common import confirmed, json_option, print_json, print_lines
from cluster.cli.text import fields, safe
from cluster.cli.values import assignments
from cluster.errors import ConfigError, OptionsError

_pairs = click.argument("pairs", nargs=-1, required=True, metavar="KEYWORD=VALUE...")
_name = click.argument("name", metavar="NAME")


@click.group()
def command() -> None:
    """Keep sets of keywords under a name.

    A job takes those of "default" and the global ones, then those of
    --profile NAME, then its own. A profile starts from another one with
    inherits=OTHER.
    """


@command.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the profiles and the global keywords."""
    profiles = {name: found.kwds for name, found in config_file.get_profile().items()}
    shared = config_file.global_options()
    if as_json:
        print_json({"profiles": profiles, "global": shared})
        return
    rows = [(safe(name), _brief(kwds)) for name, kwds in profiles.items()]
    rows += [("(all jobs)", _brief(shared))] if shared else []
    print_lines(fields(rows) or ["There are no profiles. As in: cluster profile add big mem=16G"])


@command.command()
@_name
@json_option
def show(name: str, as_json: bool) -> int:
    """Show one profile, with what it inherits."""
    found = config_file.get_profile(name)
    if found is None:
        return _missing(name)
    if as_json:
        print_json({"name": name, "keywords": found.kwds})
    else:
        print_lines(fields((safe(key), safe(value)) for key, value in found.kwds.items()))
    return 0


@command.command()
@_name
@_pairs
def add(name: str, pairs: tuple[str, ...]) -> None:
    """Make a profile, in place of an earlier one of this name."""
    config_file.set_profile(name, read_keywords(pairs, name))


@command.command()
@_name
@click.argument("pairs", nargs=-1, metavar="[KEYWORD=VALUE...]")
@click.option("-d", "--delete", "gone", multiple=True, metavar="KEYWORD", help="Take it out.")
def edit(name: str, pairs: tuple[str, ...], gone: tuple[str, ...]) -> int:
    """Change some keywords of a profile and keep the others."""
    if not pairs and not gone:
        raise click.UsageError("Say what to change: KEYWORD=VALUE or --delete KEYWORD.")
    if name not in config_file.profile_names():
        return _missing(name)
    removed = config_file.edit_profile(name, read_keywords(pairs, name), gone)
    return _report_missing(
        (key for key in gone if key not in removed), f"profile {name} has no keyword"
    )


@command.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
def remove(names: tuple[str, ...]) -> int:
    """Remove profiles."""
    for name in names:
        left = [heir for heir in config_file.heirs(name) if heir not in names]
        if left:
            raise ConfigError(
                f"profile {left[0]!r} inherits {name!r}. Remove both, or: "
                f"cluster profile edit {left[0]} --delete {config_file.INHERITS}"
            )
    return _report_missing((name for name in names if not _remove(name)), "there is no profile")


def _remove(name: str) -> bool:
    # Both spellings of the default profile's section may be in a file.
    sections = [f"profile {name}", *(["default"] if name == "default" else [])]
    return any([config_file.delete(section) for section in sections])


@command.command("add-global")
@_pairs
def add_global(pairs: tuple[str, ...]) -> None:
    """Add keywords to every job."""
    config_file.add_global(read_keywords(pairs))


@command.command("remove-global")
@click.argument("keys", nargs=-1, required=True, metavar="KEYWORD...")
def remove_global(keys: tuple[str, ...]) -> int:
    """Take keywords away from every job."""
    words = [key.replace("-", "_") for key in keys]
    removed = config_file.remove_global(words)
    return _report_missing((w for w in words if w not in removed), "no global keyword")


@command.command()
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def reset(yes: bool) -> int:
    """Remove every profile and every global keyword."""
    if not yes and not confirmed("Remove every profile and every global keyword?"):
        complain("nothing was removed")
        return FAILED
    config_file.reset_profiles()
    return 0


def read_keywords(pairs: Iterable[str], name: str = "") -> dict[str, Any]:
    """Read `KEYWORD=VALUE` texts and check them as a submission would.

    Args:
        pairs: the texts.
        name: the profile that they are for.

    Returns:
        Keyword to text, as the user wrote it.

    Raises:
        OptionsError: an unknown keyword, a value that it does not accept, or a
            profile that cannot be inherited from.
    """
    found = {k.replace("-", "_"): v for k, v in assignments(pairs, "keyword").items()}
    if not found:
        return found
    options.check_arguments({k: v for k, v in found.items() if k != config_file.INHERITS})
    try:
        config_file.check_parents(
            name, found.get(config_file.INHERITS, "").replace(",", " ").split()
        )
    except ConfigError as error:
        raise OptionsError(str(error)) from None
    return found


def _brief(kwds: dict[str, str]) -> str:
    return safe(", ".join(f"{key}={value}" for key, value in kwds.items())) or "(empty)"


def _missing(name: str) -> int:
    return _report_missing([name], "there is no profile")


def _report_missing(names: Iterable[str], what: str) -> int:
    missing = list(names)
    for name in missing:
        complain(f"{what} {name!r}; see cluster profile list")
    return NOT_THERE if missing else 0
