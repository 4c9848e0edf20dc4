"""How jobs hang together, and why one does not start, in Grid Engine's words."""

from __future__ import annotations

from collections.abc import Sequence

from cluster import states
from cluster.emulation.call import Call
from cluster.emulation.machine import Row
from cluster.emulation.sge import jobs

__all__ = ["reasons", "successors", "tasks"]


def tasks(call: Call, row: Row) -> list[Row]:
    """Give the tasks of an array; a job that is none is its own."""
    if row.is_array:
        return call.machine.rows([row.id], elements=True, folded=True)
    return [row]


def successors(row: Row, kept: str, everyone: Sequence[Row]) -> list[str]:
    """Give the jobs that wait for one; `kept` says how: "waits", or "elements"."""
    return [
        other.id
        for other in everyone
        if str(row.array) in other.extra.options.get(kept, "").split(",")
    ]


def reasons(row: Row, tasks: Sequence[Row]) -> list[str]:
    """Say what keeps it from starting, in Grid Engine's words."""
    info, options = row.info, row.extra.options
    if any(jobs.is_error(one) for one in tasks):
        return ["Job is in error state"]
    if info.state == states.HELD and options.get("impossible"):
        return [options["impossible"]]
    if info.state == states.HELD:
        return ["Job is in hold state"]
    if jobs.waits(row) or any(jobs.waits(one) for one in tasks):
        return ["Job is in hold state" if options.get("elements")
                else "job dropped because of job dependencies"]  # fmt: skip
    if info.state == states.PENDING and "Begin" in info.reason:
        return ["execution time not reached"]
    if row.is_array and options.get("tc", "0") != "0" and info.counts.get(states.PENDING):
        return ["not all array tasks may be started due to 'max_aj_instances'"]
    if info.state == states.PENDING and options.get("pe"):
        return [f'cannot run in PE "{options["pe"].split()[0]}" because it only offers 0 slots']
    if info.state == states.PENDING and not row.is_array:
        return [f'queue instance "{row.extra.partition}@{options.get("host", "")}" dropped '
                "because it is full"]  # fmt: skip
    return []
