"""The configuration files that clients of LSF read, and what they say of the pretended cluster.

Pure.  Sizes without a unit are MB (LSF_UNIT_FOR_LIMITS), as at most sites and as most
clients assume; all else has its default.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files as resources

__all__ = ["CLEAN_PERIOD_S", "PARAMETERS", "UNIT", "VERSION", "files", "shown"]

VERSION = "10.1.0.13"
CLEAN_PERIOD_S = 3600
UNIT = "MB"
PARAMETERS: Mapping[str, str] = {
    "DEFAULT_QUEUE": "normal",
    "DEFAULT_PROJECT": "default",
    "MBD_SLEEP_TIME": "10",
    "SBD_SLEEP_TIME": "7",
    "JOB_ACCEPT_INTERVAL": "0",
    "CLEAN_PERIOD": str(CLEAN_PERIOD_S),
    "MAX_JOB_ARRAY_SIZE": "1000",
    "MAX_JOBID": "9999999",
    "MAX_JOB_NUM": "10000",
    "JOB_TERMINATE_INTERVAL": "5",
    "PARALLEL_SCHED_BY_SLOT": "y",
    "DEFAULT_JOBGROUP": "",
}


def shown(home: str) -> dict[str, str]:
    """Give what `badmin showconf mbd` shows of lsf.conf."""
    return {
        "LSB_MAILTO": "!U",
        "LSB_SHAREDIR": f"{home}/work",
        "LSF_BINDIR": f"{home}/bin",
        "LSF_CONFDIR": f"{home}/conf",
        "LSF_ENVDIR": f"{home}/conf",
        "LSF_LOGDIR": f"{home}/log",
        "LSF_MEMFMT": "MB",
        "LSF_SERVERDIR": f"{home}/bin",
        "LSF_UNIT_FOR_LIMITS": UNIT,
        "LSF_VERSION": VERSION.rpartition(".")[0],
        "LSB_JOB_MEMLIMIT": "y",
    }


def files(home: str) -> dict[str, str]:
    """Give the files of the family, by path below its directory."""
    settings = "".join(f"{name}={value}\n" for name, value in shown(home).items())
    params = "".join(f"{name} = {value}\n" for name, value in PARAMETERS.items() if value)
    return {
        "conf/lsf.conf": settings,
        "conf/profile.lsf": f'export LSF_ENVDIR="{home}/conf" PATH="{home}/bin:$PATH"\n',
        "conf/lsbatch/cluster/configdir/lsb.params": f"Begin Parameters\n{params}End Parameters\n",
        "work/cluster/logdir/lsb.events": "",
        "job.py": resources("cluster.emulation.lsf").joinpath("_job.py").read_text("utf-8"),
    }
