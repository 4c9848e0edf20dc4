"""What the pretended site has: queues, parallel environments, resources, limits.

The tables are those of a Grid Engine as it is after its installation.  Without
`--strict` each queue, environment, project and resource exists on first use,
for sites invent names, and a pipeline should run all the same.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from fnmatch import fnmatchcase
from typing import NamedTuple

from cluster.emulation.call import Call
from cluster.emulation.settings import Settings
from cluster.emulation.sge import values

__all__ = ["COMPLEXES", "MAX_TASKS", "Complex", "Site", "complex_of", "memory_of_machine"]

VERSION = "SGE 8.1.9"
MAX_TASKS = 75_000  # max_aj_tasks as installed
DEFAULT_QUEUE = "all.q"
_PARALLEL = ("smp",)
ARCH = "lx-amd64"


class Complex(NamedTuple):
    """A resource that jobs can ask for, as `qconf -sc` lists it."""

    name: str
    shortcut: str
    type: str
    relation: str
    requestable: str
    consumable: str
    default: str
    urgency: str


_TABLE = """\
arch a STRING == YES NO NONE 0
calendar c STRING == YES NO NONE 0
cpu cpu DOUBLE >= YES NO 0 0
display_win_gui dwg BOOL == YES NO 0 0
h_core h_core MEMORY <= YES NO 0 0
h_cpu h_cpu TIME <= YES NO 0:0:0 0
h_data h_data MEMORY <= YES NO 0 0
h_fsize h_fsize MEMORY <= YES NO 0 0
h_rss h_rss MEMORY <= YES NO 0 0
h_rt h_rt TIME <= YES NO 0:0:0 0
h_stack h_stack MEMORY <= YES NO 0 0
h_vmem h_vmem MEMORY <= YES NO 0 0
hostname h HOST == YES NO NONE 0
load_avg la DOUBLE >= NO NO 0 0
load_long ll DOUBLE >= NO NO 0 0
load_medium lm DOUBLE >= NO NO 0 0
load_short ls DOUBLE >= NO NO 0 0
m_core core INT <= YES NO 0 0
m_socket socket INT <= YES NO 0 0
m_thread thread INT <= YES NO 0 0
m_topology topo STRING == YES NO NONE 0
m_topology_inuse utopo STRING == YES NO NONE 0
mem_free mf MEMORY <= YES YES 0 0
mem_total mt MEMORY <= YES NO 0 0
mem_used mu MEMORY >= YES NO 0 0
min_cpu_interval mci TIME <= NO NO 0:0:0 0
np_load_avg nla DOUBLE >= NO NO 0 0
np_load_long nll DOUBLE >= NO NO 0 0
np_load_medium nlm DOUBLE >= NO NO 0 0
np_load_short nls DOUBLE >= NO NO 0 0
num_proc p INT == YES NO 0 0
qname q STRING == YES NO NONE 0
rerun re BOOL == NO NO 0 0
s_core s_core MEMORY <= YES NO 0 0
s_cpu s_cpu TIME <= YES NO 0:0:0 0
s_data s_data MEMORY <= YES NO 0 0
s_fsize s_fsize MEMORY <= YES NO 0 0
s_rss s_rss MEMORY <= YES NO 0 0
s_rt s_rt TIME <= YES NO 0:0:0 0
s_stack s_stack MEMORY <= YES NO 0 0
s_vmem s_vmem MEMORY <= YES NO 0 0
seq_no seq INT == NO NO 0 0
slots s INT <= YES YES 1 1000
swap_free sf MEMORY <= YES NO 0 0
swap_rate sr MEMORY >= YES NO 0 0
swap_rsvd srsv MEMORY >= YES NO 0 0
swap_total st MEMORY <= YES NO 0 0
swap_used su MEMORY >= YES NO 0 0
tmpdir tmp STRING == NO NO NONE 0
virtual_free vf MEMORY <= YES NO 0 0
virtual_total vt MEMORY <= YES NO 0 0
virtual_used vu MEMORY >= YES NO 0 0
"""
COMPLEXES: Mapping[str, Complex] = {
    line.split()[0]: Complex(*line.split()) for line in _TABLE.splitlines()
}
_BY_SHORTCUT = {each.shortcut: each for each in COMPLEXES.values()}
# What sites call their gpus; asked for, they are those of this machine.
GPU_NAMES = ("gpu", "gpus", "ngpus", "num_gpus", "cuda", "gpu_card")


def complex_of(name: str) -> Complex | None:
    """Give a resource by its name or shortcut."""
    return COMPLEXES.get(name) or _BY_SHORTCUT.get(name)


class Site:
    """The site as one call sees it.

    Args:
        call: whose machine and settings they are.
        used: names of queues that jobs are in.
    """

    def __init__(self, call: Call, used: Iterable[str] = ()) -> None:
        self.settings: Settings = call.settings
        self.strict = call.settings.strict
        self.host = call.machine.host
        self._call = call
        named = [each.name for each in call.settings.partitions]
        self.queues = tuple(dict.fromkeys([*(named or [DEFAULT_QUEUE]), *used]))

    # ------------------------------------------------------------ queues

    def queue_for(self, wanted: str, known: bool = False) -> str | None:
        """Choose the queue of a job from its -q, `a.q,b*,c.q@host`; None: there is no such one.

        Args:
            wanted: as it was given; empty is the default.
            known: never invent one.
        """
        if not wanted:
            return self.queues[0]
        for part in wanted.split(","):
            name, _, host = part.partition("@")
            if host and not host.startswith("@") and not fnmatchcase(self.host, host):
                continue
            for queue in self.queues:
                if fnmatchcase(queue, name or "*"):
                    return queue
            is_plain = name and not set(name) & set("*?[")
            if is_plain and not (known or self.strict or self.settings.partitions):
                return name
        return None

    def slots(self, queue: str) -> int:
        """Give the slots of a queue."""
        cores: int = self._call.machine.capacity().get("cores", 1)
        for each in self.settings.partitions:
            if each.name == queue and each.cores:
                return min(each.cores, cores) if self.strict else each.cores
        return cores

    def walltime_s(self, queue: str) -> float:
        """Give the longest that a job may run in a queue; 0 is for ever."""
        return next((p.walltime_s for p in self.settings.partitions if p.name == queue), 0.0)

    @property
    def environments(self) -> tuple[str, ...]:
        """Names of the parallel environments that are always there."""
        return _PARALLEL

    # ------------------------------------------------------------ resources

    def check_resources(self, asked: Mapping[str, str | None]) -> None:
        """Refuse resources that are not there, or whose value is none.

        Raises:
            Stop: as qmaster says it.
        """
        for name, value in asked.items():
            found = complex_of(name)
            if found is None:
                if self.strict:
                    raise values.refuse(f'unknown resource "{name}"')
                continue
            if value is None:
                value = "TRUE"
            if not value:
                raise values.refuse(f'denied: missing value for resource "{name}"')
            self._check_value(found, name, value)

    def _check_value(self, found: Complex, name: str, value: str) -> None:
        if value == "TRUE" and found.type != "BOOL":
            return
        if found.type == "TIME" and values.seconds(value) is None:
            raise values.refuse(f'attribute "{name}" is not a time value')
        if found.type == "MEMORY" and values.memory_bytes(value) is None:
            raise values.refuse(f'attribute "{name}" is not a memory value')
        if found.type == "INT" and not value.lstrip("+-").isdigit():
            raise values.refuse(f'attribute "{name}" is not a integer value')


def memory_of_machine() -> float:
    """Give the memory of this machine in bytes; 0 if nobody knows."""
    with suppress(OSError, ValueError):
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return 0.0
