"""Grid Engine, pretended: its commands over the jobs of one queue.

It answers as Grid Engine 8.1.9 (Son of Grid Engine) does, with its words and
its exit codes.  The caller is an ordinary user of the pretended cluster, no
operator of it, even as root.
"""

from __future__ import annotations

from collections.abc import Mapping

from cluster.emulation.families import Handler
from cluster.emulation.sge.altering import qalter
from cluster.emulation.sge.books import qacct
from cluster.emulation.sge.interactive import qlogin, qrsh
from cluster.emulation.sge.listing import qstat
from cluster.emulation.sge.places import qhost, qping, qquota, qselect
from cluster.emulation.sge.qconf import qconf
from cluster.emulation.sge.steering import qdel, qhold, qmod, qrls
from cluster.emulation.sge.submitting import qresub, qsub

__all__ = ["COMMANDS"]

COMMANDS: Mapping[str, Handler] = {
    "qacct": qacct,
    "qalter": qalter,
    "qconf": qconf,
    "qdel": qdel,
    "qhold": qhold,
    "qhost": qhost,
    "qlogin": qlogin,
    "qmod": qmod,
    "qping": qping,
    "qquota": qquota,
    "qresub": qresub,
    "qrls": qrls,
    "qrsh": qrsh,
    "qselect": qselect,
    "qsh": qlogin,
    "qstat": qstat,
    "qsub": qsub,
}
