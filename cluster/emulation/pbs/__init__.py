"""The commands of PBS: OpenPBS as family "pbs", Torque as family "torque".

    qsub        words -> wishes, resources, outputs, depend -> starting -> submission
    qstat ...   views -> state, attributes -> tables, show
    qdel ...    ids -> steering

`flavour` holds where the two part; an id is `17.host`, `17[].host` or `17[3].host`.
"""

from __future__ import annotations

from collections.abc import Mapping

from cluster.emulation.families import Handler
from cluster.emulation.pbs.alter import qalter
from cluster.emulation.pbs.nodes import pbsnodes, tracejob
from cluster.emulation.pbs.qstat import qselect, qstat
from cluster.emulation.pbs.qsub import qsub
from cluster.emulation.pbs.queues import qmgr
from cluster.emulation.pbs.steering import (
    qdel,
    qhold,
    qmove,
    qmsg,
    qorder,
    qrerun,
    qrls,
    qrun,
    qsig,
)

__all__ = ["COMMANDS"]

COMMANDS: Mapping[str, Handler] = {
    "qsub": qsub,
    "qstat": qstat,
    "qselect": qselect,
    "qdel": qdel,
    "qhold": qhold,
    "qrls": qrls,
    "qalter": qalter,
    "qsig": qsig,
    "qrerun": qrerun,
    "qmove": qmove,
    "qmsg": qmsg,
    "qorder": qorder,
    "qrun": qrun,
    "qmgr": qmgr,
    "pbsnodes": pbsnodes,
    "tracejob": tracejob,
}
