"""Keeps the cores that jobs lend in step with who really waits.

A job lends its cores with the first `Block` of any of its connections and has
them back with an `Unblock`.  Two things can go unsaid: that nobody of the job
waits any more (the server it would have told was killed), and that some of it
still waits (another thread took the cores back, and is done).  Both are put
right here, after a while in which they may be said after all.
"""

from __future__ import annotations

from collections.abc import Iterable

from cluster.local import events as ev
from cluster.local.connections import Connection
from cluster.local.queue_state import QueueState

__all__ = ["Loans"]

LOOK_S = 1.0
PATIENCE_S = 3.0  # a client is connected again to a new server within tenths of a second


class Loans:
    """Jobs whose loan and whose connections disagree, and since when."""

    def __init__(self) -> None:
        self._odd: dict[int, float] = {}
        self._next_look = 0.0
        self.is_needed = False  # is there anybody to look at?

    def look(
        self, queue: QueueState, peers: Iterable[Connection], *, now: float
    ) -> list[ev.Block | ev.Unblock]:
        """Give what must happen to the queue; `now` is on the monotonic clock."""
        if now < self._next_look:
            return []
        self._next_look = now + LOOK_S
        blocked = {peer.job for peer in peers if peer.blocked and peer.job}
        self.is_needed = bool(blocked or queue.lenders)
        forgotten = queue.lenders - blocked - queue.unblocking.keys()
        starving = blocked - queue.lenders if queue.waiting or queue.assigned else set()
        odd = forgotten | starving
        self._odd = {job: self._odd.get(job, now) for job in odd}
        due = sorted(job for job, since in self._odd.items() if now - since >= PATIENCE_S)
        for job in due:
            del self._odd[job]
        return [ev.Unblock(None, job) if job in forgotten else ev.Block(None, job) for job in due]
