"""The options that `run` and `submit` share, and the keywords they become.

What is not given is not passed on, so that a profile's value holds.  Values are
text here; `options.check_arguments` reads them, as it does for every face.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from cluster import config_file
from cluster.cli import values
from cluster.options import canonical_name

F = TypeVar("F", bound=Callable[..., Any])

# Names of the options that are keywords of `cluster.submit` as they stand.
_VERBATIM = (
    *("name", "cores", "mem", "time", "expect", "gpus", "priority", "array", "hold", "retries"),
    *("requeue", "on_unsatisfiable", "outfile", "errfile", "append", "dir"),
)

_BOTH = (
    click.option("-n", "--name", help="Name of the job, for people."),
    click.option("-c", "--cores", metavar="N", help="Cores; 1 unless said otherwise."),
    click.option("-m", "--mem", metavar="SIZE", help="Memory: 512M, 2G. More ends the job."),
    click.option("-t", "--time", metavar="TIME", help="Limit of run time: 90s, 2h, 1-12:00:00."),
    click.option("--expect", metavar="TIME", help="Believed run time, to plan with; no limit."),
    click.option("--gpus", metavar="N", help="Gpus."),
    click.option(
        "-r", "--resource", "resources", multiple=True, metavar="NAME=N",
        help="So many of a named resource (cluster local set NAME=N).",
    ),
    click.option(
        "-d", "--depend", multiple=True, metavar="[TYPE:]ID[,ID]",
        help="Start after these: afterok (the default), afterany, afternotok, after.",
    ),
    click.option("--priority", metavar="N", help="Larger starts earlier."),
    click.option("--cwd", "dir", metavar="DIR", help="Working directory; the current one."),
    click.option("-e", "--env", multiple=True, metavar="NAME=VALUE", help="Set in the job."),
    click.option("--retries", metavar="N", help="Run again so many times after a failure."),
    click.option("--requeue", is_flag=True, help="Run again when the machine failed under it."),
    click.option("--profile", metavar="NAME", help="Take keywords from this profile."),
    click.option(
        "-o", "--option", "others", multiple=True, metavar="KEY=VALUE",
        help="Any other keyword, see cluster keywords.",
    ),
    click.option("--bash", metavar="TEXT", help="Run TEXT by bash, in place of CMD."),
)  # fmt: skip

_LATER = (
    click.option(
        "-a", "--array", metavar="FIRST-LAST[%MAX]",
        help="One job per index, at most MAX at once: 1-100%5, 0-98:2.",
    ),
    click.option("--begin", metavar="WHEN", help="Not before: 2h, 14:30, 2026-05-01T14:30."),
    click.option("--hold", is_flag=True, help="Keep it until cluster release."),
    click.option(
        "--on-unsatisfiable", metavar="WHAT",
        help="If a dependency can never hold: cancel (the default), pend or release.",
    ),
    click.option("--outfile", metavar="FILE", help="Write stdout there."),
    click.option("--errfile", metavar="FILE", help="Write stderr there."),
    click.option("--append", is_flag=True, help="Append to these files."),
)  # fmt: skip

CONTEXT = {"allow_interspersed_args": False}  # what follows CMD belongs to it


def job_options(function: F) -> F:
    """Add the options of one job that somebody waits for."""
    return _add(_BOTH, function)


def all_job_options(function: F) -> F:
    """Add every option of `submit`."""
    return _add((*_BOTH, *_LATER), function)


def _add(options: Sequence[Callable[[F], F]], function: F) -> F:
    for option in reversed(options):
        function = option(function)
    return function


def keywords(verb: str, params: dict[str, Any], profile: str | None = None) -> dict[str, Any]:
    """Turn the options given into keywords of `cluster.submit`.

    What the command line does not say comes from the configuration: from the
    profile it names, then from the section `[command VERB]`.
    """
    return with_defaults(
        given_keywords(params),
        config_file.command_options(verb),
        (config_file.get_profile(profile) if profile else None) or config_file.Profile(""),
    )


def with_defaults(
    given: dict[str, Any], defaults: dict[str, str], profile: config_file.Profile
) -> dict[str, Any]:
    """Add the defaults that neither the command line nor the profile says itself."""
    said = {canonical_name(key) or key for key in (*given, *profile.kwds)}
    return {k: v for k, v in defaults.items() if (canonical_name(k) or k) not in said} | given


def given_keywords(params: dict[str, Any]) -> dict[str, Any]:
    """Read the options of the command line; `-o KEY=VALUE` wins over the option of that name.

    Raises:
        OptionsError: a value that this face reads itself cannot be read.
    """
    found = {name: params[name] for name in _VERBATIM if params.get(name) not in (None, False)}
    if params.get("begin"):
        found["begin"] = values.begin(params["begin"])
    if params.get("depend"):
        found["dependencies"] = values.dependencies(params["depend"])
    if params.get("env"):
        found["env"] = values.assignments(params["env"], "environment variable")
    if params.get("resources"):
        found["resources"] = values.counts(params["resources"], "resource")
    return found | values.assignments(params.get("others") or (), "keyword")


def command_line(words: Sequence[str], bash: str | None) -> list[str]:
    """Give the argv of the job: the words verbatim, or bash with one text."""
    if bash is not None and words:
        raise click.UsageError("Either a command or --bash, not both.")
    if bash is None and not words:
        raise click.UsageError("No command was given. As in: cluster run -c 2 -- make -j2")
    return ["bash", "-c", bash] if bash is not None else list(words)
