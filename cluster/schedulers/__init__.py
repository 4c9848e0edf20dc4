"""The schedulers that jobs can be handed to, by name, and which of them are here."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from cluster.errors import OptionsError, QueueError

if TYPE_CHECKING:
    from cluster.schedulers.base import Scheduler
    from cluster.schedulers.dialect import Dialect

__all__ = ["CLIENTS", "GROUP", "QTYPES", "Probe", "canonical", "get", "probe", "words_of"]

GROUP = "cluster.schedulers"  # of entry points: schedulers in packages of their own

QTYPES = ("local", "slurm", "torque", "sge", "lsf")
# Looked for in this order.  Grid Engine before PBS: it is the more picky about its answers,
# and both call their program qsub.
CLIENTS = {"slurm": "sbatch", "lsf": "bsub", "sge": "qsub", "torque": "qsub"}
_SYNONYMS = {"normal": "local", "pbs": "torque", "pbspro": "torque", "gridengine": "sge"}


class Probe(NamedTuple):
    """What was found when a scheduler was looked for.

    Attributes:
        qtype: its name.
        program: path of the program that asked, "" if there is none.
        version: what answered; "" if nothing of this kind did.
        problem: why it did not; "" if it did, or if there is no program.
        owner: the other scheduler whose program this is; "" unless that is seen.
    """

    qtype: str
    program: str
    version: str
    problem: str
    owner: str = ""


def canonical(qtype: str) -> str:
    """Give the one name of a scheduler: "normal" is "local".

    Raises:
        OptionsError: there is no scheduler of this name.
    """
    name = _SYNONYMS.get(qtype, qtype)
    if name not in QTYPES and name not in _plug_ins():
        known = ", ".join([*QTYPES, *sorted(_plug_ins())])
        raise OptionsError(f"qtype {qtype!r} is unknown. There are: {known}.")
    return name


def _plug_ins() -> dict[str, Any]:
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group=GROUP)}


@cache
def get(qtype: str) -> Scheduler:
    """Give the scheduler of this name.

    Raises:
        OptionsError: there is none of this name.
        QueueError: it is not there, or does not answer.
    """
    name = canonical(qtype)
    if name != qtype:
        return get(name)
    if name == "local":
        from cluster.schedulers.local import LocalScheduler

        return LocalScheduler()
    if name not in QTYPES:
        return _plug_in(name)
    from cluster.schedulers.command import CommandScheduler

    found = probe(name)
    if not found.program:
        raise QueueError(
            f"qtype {name!r} is not available: {CLIENTS[name]} is not on PATH. "
            "Load the scheduler's module, or give qtype='local'."
        )
    if not found.version and (owner := found.owner or _neighbour(name)):
        raise QueueError(
            f"qtype {name!r} is not available: {found.program} is {words_of(owner).title}'s, not "
            f"{words_of(name).title}'s. Load the scheduler's module, or give qtype={owner!r}."
        )
    # One that is down now may be up in a minute; what it is asked will say so.
    return CommandScheduler(words_of(name))


def _neighbour(qtype: str) -> str:
    """Give the scheduler that answers here with a program of the same name; "" if none does."""
    others = (one for one, client in CLIENTS.items() if client == CLIENTS[qtype] and one != qtype)
    return next((one for one in others if probe(one).version), "")


def _plug_in(name: str) -> Scheduler:
    """Make the scheduler of somebody else's package: a whole one, or one of its words."""
    from cluster import files

    point = _plug_ins()[name]
    try:
        made: Any = point.load()()
        called = made.qtype
    except Exception as error:  # it may raise anything
        raise QueueError(f"qtype {name!r} ({point.value}) cannot be loaded: {error!r}") from error
    if called != name:
        raise QueueError(
            f"{point.value} has the qtype {called!r} and the entry point {name!r}. "
            "Give both one name."
        )
    files.add_scheduler(name)
    if hasattr(made, "endings"):
        scheduler: Scheduler = made
        return scheduler
    from cluster.schedulers.command import CommandScheduler

    return CommandScheduler(made)


@cache
def words_of(qtype: str) -> Dialect:
    """Give the words of a scheduler.

    Raises:
        QueueError: it has none; the local queue is not asked by programs.
    """
    if qtype == "slurm":
        from cluster.schedulers.slurm import Slurm

        return Slurm()
    if qtype == "torque":
        from cluster.schedulers.torque import Torque

        return Torque()
    if qtype == "sge":
        from cluster import config_file
        from cluster._option_directives import Site
        from cluster.schedulers.sge import Sge

        return Sge(
            Site(
                pe=config_file.get("queue", "sge_parallel_environment"),
                memory_resource=config_file.get("queue", "sge_memory_resource"),
                gpu_resource=config_file.get("queue", "sge_gpu_resource"),
            )
        )
    if qtype == "lsf":
        from cluster.schedulers.lsf import Lsf

        return Lsf()
    raise QueueError(f"qtype {qtype!r} has no programs of its own.")


@cache
def probe(qtype: str) -> Probe:
    """Look whether a scheduler is here: its program on PATH, and somebody who answers it.

    Asked once; this process remembers the answer.
    """
    from shutil import which

    from cluster import config_file
    from cluster.schedulers._programs import Programs

    program = which(CLIENTS[qtype])
    if program is None:
        return Probe(qtype, "", "", "")
    words = words_of(qtype)
    argv = words.probe()
    limit = float(config_file.get("scheduler", "probe_s"))
    try:
        answer = Programs(timeout_s=limit, scrubbed=words.scrubbed).run(argv)
        version = words.recognises(answer)
    except QueueError as error:
        return Probe(qtype, program, "", str(error))
    if version:
        return Probe(qtype, program, version, "")
    said = " ".join((answer.stderr.strip() or answer.stdout.strip()).split())
    said = said[:200] or f"{argv[0]} ended with code {answer.code}"
    ask = getattr(words, "owner", None)
    return Probe(qtype, program, "", said, ask(answer) if ask is not None else "")
