"""The schedulers that can be pretended: their commands, and who answers them.

A family's module has a table `COMMANDS`: name of a command -> handler.  It is
imported by the emulation only, when the first of its commands is called.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING

from cluster.errors import OptionsError

if TYPE_CHECKING:
    from cluster.emulation.call import Call

__all__ = ["FAMILIES", "Family", "Handler", "get", "handlers"]

Handler = Callable[["Call"], int]


def _nothing(home: str) -> dict[str, str]:
    return {}


def _lsf_files(home: str) -> dict[str, str]:
    from cluster.emulation.lsf.conf import files

    return files(home)


@dataclass(frozen=True)
class Family:
    """One scheduler.

    Attributes:
        name: as `cluster emulate` has it.
        title: as people call it.
        qtype: what our own detection shall find.
        module: where its handlers are.
        commands: every command of the real one, so that none falls through to it.
        files: text files that its clients read, below its directory.
        variables: of the environment; values may have `{home}` in them.
    """

    name: str
    title: str
    qtype: str
    module: str
    commands: tuple[str, ...]
    files: Callable[[str], Mapping[str, str]] = _nothing
    variables: Mapping[str, str] = field(default_factory=dict)


def _sge_files(home: str) -> Mapping[str, str]:
    from cluster.emulation.sge.cell import files

    return files(home)


_SLURM = (
    "sbatch srun salloc squeue sacct scancel scontrol sinfo sacctmgr sshare sprio sstat "
    "sreport sdiag sattach sbcast strigger scrontab smap sview"
)
_PBS = (
    "qsub qstat qdel qhold qrls qalter qsig qselect qrerun qmove qmsg qorder qmgr qstart qstop "
    "pbsnodes pbs_rsub pbs_rstat pbs_rdel pbs_ralter pbsdsh pbs_tmrsh pbs_attach "
    "pbs_release_nodes pbs_wish xpbs qenable qdisable tracejob qterm qrun"
)
_TORQUE = (
    "qsub qstat qdel qhold qrls qalter qsig qselect qrerun qmove qmsg qorder qmgr qstart qstop "
    "pbsnodes qchkpt qrun tracejob checkjob showq momctl pbsdsh pbs_track xpbs qenable qdisable "
    "qterm qgpumode qgpureset"
)
_SGE = (
    "qsub qstat qdel qacct qhold qrls qhost qconf qrsh qlogin qsh qalter qmod qresub qselect "
    "qquota qping qmake qtcsh qmon qevent qrsub qrdel qrstat qsched qstatus"
)
_LSF = (
    "bsub bjobs bkill bhist bacct bqueues bhosts lsid lshosts lsload bresume bstop brequeue bmod "
    "bpeek bswitch btop bbot busers badmin lsadmin lsclusters bparams brestart bchkpnt bgadd "
    "bjgroup blimits bresources bapp bgdel bgmod busersets bmgroup bugroup blaunch lsrun lsgrun "
    "lsinfo lsplace lsacct lsmake lsrcp lstcsh lsmon lsltasks lsrtasks lseligible ssched bchkpnt "
    "bmig brun bslots bsla brsvs brsvadd brsvdel brsvmod bstatus bpost bread bstage bdata bentags "
    "bjdepinfo bimages bconf bhpart bclusters blstat bladmin blinfo blusers"
)

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family("slurm", "Slurm", "slurm", "cluster.emulation.slurm", tuple(_SLURM.split())),
        Family("pbs", "OpenPBS", "torque", "cluster.emulation.pbs", tuple(_PBS.split())),
        Family("torque", "Torque", "torque", "cluster.emulation.pbs", tuple(_TORQUE.split())),
        Family(
            "sge",
            "Grid Engine",
            "sge",
            "cluster.emulation.sge",
            tuple(_SGE.split()),
            _sge_files,
            {"SGE_ROOT": "{home}", "SGE_CELL": "default"},
        ),
        Family(
            "lsf",
            "LSF",
            "lsf",
            "cluster.emulation.lsf",
            tuple(_LSF.split()),
            _lsf_files,
            {
                "LSF_ENVDIR": "{home}/conf",
                "LSF_CONFDIR": "{home}/conf",
                "LSF_BINDIR": "{home}/bin",
                "LSF_SERVERDIR": "{home}/bin",
            },
        ),
    )
}


def get(name: str) -> Family:
    """Give a family by its name.

    Raises:
        OptionsError: there is none of this name.
    """
    try:
        return FAMILIES[name]
    except KeyError:
        known = ", ".join(FAMILIES)
        raise OptionsError(f"{name!r} cannot be emulated. There are: {known}.") from None


def handlers(family: Family) -> Mapping[str, Handler]:
    """Give who answers each command of a family; commands may be missing."""
    table: Mapping[str, Handler] = import_module(family.module).COMMANDS
    return table
