"""`cluster emulate`: run a program with a scheduler's own commands, backed by the queue.

The exit code is the program's, 128 + n after signal n; 126 and 127 if it could
not be started.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence

import click

from cluster.errors import OptionsError

EPILOG = """\b
cluster emulate slurm -- snakemake --executor slurm --jobs 8
cluster emulate sge                  a shell in which qsub and qstat work
eval "$(cluster emulate lsf --shell)"   this shell, from now on
"""
_PASSED_ON = (signal.SIGINT, signal.SIGQUIT)  # the terminal sends them to the program as well


@click.command(context_settings={"ignore_unknown_options": True}, epilog=EPILOG)
@click.argument("family", metavar="slurm|pbs|torque|sge|lsf")
@click.option("--cores", type=click.IntRange(1), help="Cores that the cluster has.")
@click.option("--memory", metavar="SIZE", help="Memory that it has: 16GB.")
@click.option("--gpus", type=click.IntRange(0), help="Gpus that it has.")
@click.option(
    "--partition", "partitions", multiple=True,
    metavar="NAME[:cores=N][:memory=SIZE][:nodes=N][:time=T]",
    help="A partition (queue) of it; may be given several times.",
)  # fmt: skip
@click.option("--strict", is_flag=True, help="Refuse what is not supported, or does not fit.")
@click.option("--private", is_flag=True, help="A queue of its own, which ends with CMD.")
@click.option("--shell", is_flag=True, help="Print lines for eval, instead of running anything.")
@click.argument("cmd", nargs=-1, type=click.UNPROCESSED, metavar="[-- CMD [ARG...]]")
def command(
    family: str,
    cores: int | None,
    memory: str | None,
    gpus: int | None,
    partitions: tuple[str, ...],
    strict: bool,
    private: bool,
    shell: bool,
    cmd: tuple[str, ...],
) -> int:
    """Run CMD with a scheduler's commands in front of its PATH, and of nothing else's.

    Jobs go to the queue of this machine and share its cores; the scheduler's
    commands see only jobs that they submitted. --cores, --memory, --gpus and
    --partition make a private queue, which ends with CMD. Without CMD: a shell.
    """
    from cluster.emulation import emulate

    is_private = bool(private or cores or memory or gpus is not None or partitions)
    if shell and (cmd or is_private):
        raise OptionsError(
            "--shell changes the shell that evaluates it, and lasts: it takes no CMD and no queue "
            "of its own. Leave out --private, --cores, --memory, --gpus and --partition."
        )
    with emulate(
        family,
        cores=cores,
        memory=memory,
        gpus=gpus,
        partitions=partitions,
        strict=strict,
        private=private,
    ) as env:
        if shell:
            _print_lines(env)
            return 0
        return _run(list(cmd) or _shell(family, env), env)


def _print_lines(env: Mapping[str, str]) -> None:
    for name, value in env.items():
        if os.environ.get(name) != value:
            click.echo(f"export {name}={shlex.quote(value)}")


def _shell(family: str, env: dict[str, str]) -> list[str]:
    shell = os.environ.get("SHELL") or "/bin/sh"
    if os.path.basename(shell) == "bash":
        # Its rc files may set PATH and the prompt anew: ours comes after them.
        rc = (
            '[ -r ~/.bashrc ] && . ~/.bashrc\n[ -n "$BASH_ENV" ] && . "$BASH_ENV"\n'
            f'PS1="({family}) $PS1"\n'
        )
        path = os.path.join(os.path.dirname(env["BASH_ENV"]), "bashrc")
        with open(path, "w", encoding="utf-8", opener=_private) as file:
            file.write(rc)
        return [shell, "--rcfile", path, "-i"]
    env["PS1"] = f"({family}) $ "
    return [shell, "-i"]


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _run(argv: Sequence[str], env: Mapping[str, str]) -> int:
    """Run a program to its end; a signal meant for us is passed on to it."""
    try:
        program = subprocess.Popen(argv, env=env)
    except FileNotFoundError:
        click.echo(f"cluster: {argv[0]}: not found", err=True)
        return 127
    except OSError as error:
        click.echo(f"cluster: {argv[0]}: {error.strerror}", err=True)
        return 126

    def pass_on(number: int, _frame: object) -> None:
        if number not in _PASSED_ON or not sys.stdin.isatty():
            program.send_signal(number)

    for number in (*_PASSED_ON, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, pass_on)
    code = program.wait()
    return 128 - code if code < 0 else code
