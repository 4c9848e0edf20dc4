"""The command `cluster`: which verbs there are, and what their failures exit with.

A verb is `cluster/cli/<verb>.py` with a function `command` made by click; it is
imported only when that verb is used, for `cluster list` has 120 ms.

    exit codes
      0    done
      1    it failed (one sentence on stderr says what and what to do)
      2    the command line or a value in it is wrong
      3    what you named is not there: no such job, no server running
      124  a wait ended before its jobs did
      130  interrupted with Ctrl-C

`run` exits with the job's code, see `cluster.cli.run`.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

import click

from cluster.cli.text import safe
from cluster.errors import (
    ClusterError,
    OptionsError,
    UnknownDependency,
    UnknownJob,
    UnknownProfile,
    WaitTimeout,
)

VERBS = {
    "run": "Run a command as a job: wait, print what it prints, exit with its code.",
    "submit": "Queue a command and print the id of its job.",
    "array": "Queue a command once for each index or item; retry what failed.",
    "launch": "Start the ranks of a parallel program, here or in the job this is in.",
    "list": "List jobs: waiting and running ones, unless told otherwise.",
    "show": "Show all about jobs, and why they wait.",
    "wait": "Wait until jobs have ended.",
    "logs": "Print what a job wrote.",
    "cancel": "End jobs, or take them from the queue.",
    "hold": "Keep waiting jobs from starting.",
    "release": "Let held jobs start.",
    "requeue": "Put jobs back into the queue, to run again.",
    "signal": "Send a signal to running jobs.",
    "sweep": "Run a command for every combination of parameters in a file.",
    "emulate": "Run a program with the commands of Slurm, PBS, Grid Engine or LSF.",
    "local": "Steer the local queue: start, stop, status, set, pause, resume.",
    "doctor": "Tell what the queue found on this machine, and what is wrong.",
    "keywords": "List every keyword that a job can be submitted with.",
    "profile": "Keep sets of keywords under a name.",
    "config": "Read and change settings.",
}
FAILED, USAGE, NOT_THERE, TIMED_OUT, INTERRUPTED = 1, 2, 3, 124, 130

EPILOG = """\b
Exit codes:
  0    done
  1    it failed; one sentence on stderr says what, and what to do
  2    the command line, or a value in it, is wrong
  3    what you named is not there: no such job, no server running
  124  `wait` or `run` reached a time limit
  130  interrupted with Ctrl-C
`run` exits with the job's own code, 128+n after signal n; see cluster run -h.

\b
Completion in the shell, here bash (also: zsh_source, fish_source):
  eval "$(_CLUSTER_COMPLETE=bash_source cluster)"
"""


_CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)


class Verbs(click.Group):
    """A group that knows its verbs by name and imports one only to use it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Give the verbs in the order of the table, which is that of use."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the verb."""
        if cmd_name not in VERBS:
            return None
        command = import_module(f"cluster.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb; of an unknown one, name the nearest."""
        if args and not args[0].startswith("-") and args[0] not in VERBS:
            from difflib import get_close_matches

            near = get_close_matches(args[0], VERBS, n=1)
            advice = f"Did you mean {near[0]}?" if near else "cluster -h lists them."
            raise click.UsageError(f"there is no verb {safe(args[0])!r}. {advice}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of verbs without importing any."""
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


def _version(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from cluster.cli.common import version

        click.echo(f"cluster {version()}")
        ctx.exit()


@click.group(
    cls=Verbs,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version,
    help="Print the version and leave.",
)  # fmt: skip
def cluster() -> None:
    """Queue jobs on this machine, as on a compute cluster."""


def run(args: Sequence[str] | None = None) -> int:
    """Do what the command line asks.

    Args:
        args: without the program's name; None takes them from `sys.argv`.

    Returns:
        The exit code, see the top of this module.
    """
    return guard(lambda: cluster.main(args=args, prog_name="cluster", standalone_mode=False))


def guard(main: Callable[[], object]) -> int:
    """Run a command of click's and turn every end it can have into an exit code."""
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a name must not fail for the locale's sake
            stream.reconfigure(errors="backslashreplace")
    try:
        code = main()
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        silence()
        return FAILED
    except ClusterError as error:
        complain(error)
        return exit_code(error)
    except OSError as error:
        if error.errno not in _CANNOT_WRITE:
            raise
        silence()
        complain(f"the output cannot be written: {error.strerror}. Make room, or write elsewhere.")
        return FAILED
    return code if isinstance(code, int) else 0


def _open_closed_streams() -> None:
    """Give a program that was started with `>&-` streams that lead nowhere."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115 (to the end)
            setattr(sys, name, stream)


def silence() -> None:
    """Point stdout nowhere, so that the interpreter's last flush is not heard."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complain(error: object) -> None:
    """Say what went wrong, on stderr."""
    lines = str(error).splitlines() or [type(error).__name__]
    click.echo("cluster: " + "\n".join(map(safe, lines)), err=True)


def exit_code(error: ClusterError) -> int:
    """Choose the exit code for an error."""
    if isinstance(error, OptionsError):
        return USAGE
    if isinstance(error, UnknownJob | UnknownDependency | UnknownProfile):
        return NOT_THERE
    return TIMED_OUT if isinstance(error, WaitTimeout) else FAILED
