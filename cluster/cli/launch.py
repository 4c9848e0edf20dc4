"""`cluster launch`: the ranks of a parallel program, started where this runs.

It queues nothing: inside a job it uses what the job has, elsewhere this machine.
It becomes the launcher, whose exit code is its own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from shutil import which
from typing import Any

import click

from cluster import launchers
from cluster.cli import values
from cluster.cli.job_options import CONTEXT
from cluster.errors import OptionsError

EPILOG = """\b
Several programs make one MPI program, each with its own number of ranks:
  cluster launch -n 1 ./server : -n 3 ./worker
As a job of the queue:
  cluster submit -o launcher=mpi -o tasks=4 -- ./program
"""


@click.command(context_settings=CONTEXT, epilog=EPILOG)
@click.option(
    "-n", "--tasks", type=click.IntRange(1), metavar="N", help="Ranks; what the job has, else 1."
)
@click.option(
    "-c", "--cores", type=click.IntRange(1), metavar="N", help="Cores of each rank; 1 unless said."
)
@click.option(
    "--per-node", type=click.IntRange(1), metavar="N", help="At most so many on one machine."
)
@click.option("-e", "--env", multiple=True, metavar="NAME=VALUE", help="Set in every rank.")
@click.option(
    "-l", "--launcher", metavar="LAUNCHER",
    help="mpi, mpiexec, mpirun, srun, or one of your own, with words for it behind; "
    "mpi unless there is only srun.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Print the command; start nothing.")
@click.argument("cmd", nargs=-1, type=click.UNPROCESSED, metavar="[--] CMD [ARG...]")
def command(cmd: tuple[str, ...], env: tuple[str, ...], dry_run: bool, **given: Any) -> None:
    """Start the ranks of a parallel program, and end with its exit code.

    Inside a job it takes what the job has; elsewhere it starts them on this
    machine, beside what the queue runs.
    """
    if not cmd:
        raise click.UsageError("No command was given. As in: cluster launch -n 4 -- ./program")
    extra = values.assignments(env, "environment variable")
    line = given["launcher"] or _default_launcher()
    wanted = launchers.programs_of(line)
    if wanted and not dry_run and not any(map(which, wanted)):
        raise OptionsError(
            f"launcher {line!r} needs {' or '.join(wanted)}, which is not on PATH. "
            "Install it (for MPI on Debian: apt install openmpi-bin), or load its module."
        )
    argv = launch_argv(cmd, line, env=extra, environ=os.environ, **_numbers(given))
    if dry_run:
        import shlex

        click.echo(shlex.join(argv))
        return
    environ = {**os.environ, **extra}
    if given["cores"]:
        environ["OMP_NUM_THREADS"] = extra.get("OMP_NUM_THREADS", str(given["cores"]))
    sys.stdout.flush()
    os.execvpe(argv[0], argv, environ)


def _numbers(given: Mapping[str, Any]) -> dict[str, int | None]:
    return {name: given[name] for name in ("tasks", "cores", "per_node")}


def _default_launcher() -> str:
    return "srun" if which("srun") and not (which("mpiexec") or which("mpirun")) else "mpi"


def launch_argv(
    words: tuple[str, ...],
    line: str,
    *,
    env: Mapping[str, str],
    environ: Mapping[str, str],
    tasks: int | None,
    cores: int | None,
    per_node: int | None,
) -> list[str]:
    """Give the command that starts the ranks.

    Args:
        words: the program, or several with `:` between them.
        line: the launcher and words for it.
        env: what is set in every rank.
        environ: what this process has; it tells what the job has.
        tasks, cores, per_node: None is not said.

    Raises:
        OptionsError: there is no such launcher, or the numbers do not fit.
    """
    if tasks is None and ":" not in words:
        tasks = _tasks_of_job(environ, cores or 1)
    elif ":" in words and words[0] not in ("-n", "-np") and tasks is not None:
        words, tasks = ("-n", str(tasks), *words), None  # it belongs to the first program
    return launchers.argv(
        words,
        line,
        launchers.Ranks(
            tasks=tasks or 0,
            per_node=per_node or 0,
            cores=cores or 1,
            env=tuple(env),
            shared="SLURM_JOB_ID" not in environ and not _in_cluster_job(environ),
        ),
    )


def _tasks_of_job(environ: Mapping[str, str], cores: int) -> int:
    slurm, ours = environ.get("SLURM_NTASKS", ""), environ.get("CLUSTER_CORES", "")
    if slurm.isdigit():
        return int(slurm)
    return max(1, int(ours) // cores) if ours.isdigit() else 1


def _in_cluster_job(environ: Mapping[str, str]) -> bool:
    return any(name in environ for name in ("PBS_JOBID", "LSB_JOBID", "PE_HOSTFILE"))
