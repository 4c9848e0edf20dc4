"""Orders that the node may not have heard, for the next one that comes.

Pure.  An order to a node that has died, or to none, is lost without a word.
Most of what a node must know follows from the states of the jobs when it
attaches; this is the rest.  To queue a job again may be said twice, so it is
kept until its process is gone; a signal only while there is no node.
"""

from __future__ import annotations

from collections.abc import Mapping

from cluster.local import events as ev

__all__ = ["Orders"]


class Orders:
    """What was asked and perhaps not heard; by job."""

    def __init__(self) -> None:
        self._kept: dict[int, ev.EndProcesses] = {}
        self._untold: list[ev.SendSignal] = []

    def keep(self, effect: ev.EndProcesses) -> None:
        """Give this order again to each node that comes."""
        self._kept[effect.job] = effect

    def keep_signal(self, effect: ev.SendSignal) -> None:
        """Give this order to the next node, once."""
        self._untold.append(effect)

    def forget(self, job: int) -> None:
        """Its process is gone."""
        self._kept.pop(job, None)

    def again(self, jobs: Mapping[int, ev.Job]) -> list[ev.Effect]:
        """Give the orders for a node that has come."""
        untold, self._untold = self._untold, []
        found: list[ev.Effect] = []
        orders: list[ev.EndProcesses | ev.SendSignal] = [*self._kept.values(), *untold]
        for each in orders:
            job = jobs.get(each.job)
            if job is not None and job.allocation is not None and job.attempt == each.attempt:
                found.append(each)
        return found
