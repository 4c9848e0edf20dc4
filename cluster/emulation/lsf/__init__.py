"""LSF, pretended: its commands.

bsub ──> submit ──> the queue ──> _job (one for each job) ──> -o and -e files
bjobs, bhist ──> jobs, fields, long        bkill, bstop ──> steer
bqueues, lsid, badmin ──> hosts            bsub -w ──> depend, watcher
"""

from __future__ import annotations

from collections.abc import Mapping

from cluster.emulation.families import Handler
from cluster.emulation.lsf import hosts, steer
from cluster.emulation.lsf.bjobs import bjobs
from cluster.emulation.lsf.history import bacct, bhist
from cluster.emulation.lsf.submit import bsub

__all__ = ["COMMANDS"]

COMMANDS: Mapping[str, Handler] = {
    "bsub": bsub,
    "bjobs": bjobs,
    "bhist": bhist,
    "bacct": bacct,
    "bkill": steer.bkill,
    "bstop": steer.bstop,
    "bresume": steer.bresume,
    "brequeue": steer.brequeue,
    "bmod": steer.bmod,
    "bpeek": steer.bpeek,
    "bswitch": steer.bswitch,
    "btop": steer.btop,
    "bbot": steer.bbot,
    "bqueues": hosts.bqueues,
    "bhosts": hosts.bhosts,
    "busers": hosts.busers,
    "lsid": hosts.lsid,
    "lshosts": hosts.lshosts,
    "lsload": hosts.lsload,
    "lsclusters": hosts.lsclusters,
    "bparams": hosts.bparams,
    "badmin": hosts.badmin,
    "lsadmin": hosts.lsadmin,
    "bapp": hosts.bapp,
    "bugroup": hosts.bugroup,
    "bmgroup": hosts.bugroup,
}
