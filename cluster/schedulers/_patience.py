"""When a wait for jobs has no point any more, and what the user is told meanwhile.

A job that its scheduler could not start stays in the queue, held, until somebody
does something.  While other jobs of a wait go on, that is a warning; when no other
is left, the wait ends with `JobStuck`.  A hold that somebody placed is respected,
and told once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cluster import logme
from cluster.errors import JobStuck
from cluster.schedulers._asking import Poller
from cluster.schedulers._tracking import InVain
from cluster.schedulers.dialect import split_id

__all__ = ["Patience"]


class Patience:
    """Looks at what is waited for; it knows what was told already."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def check(self, poller: Poller, ids: Sequence[str], *, each: bool) -> None:
        """Make sure that something is worth waiting for.

        Args:
            poller: knows the jobs.
            ids: what is waited for.
            each: one of them is enough, for somebody waits for it alone.

        Raises:
            JobStuck: these will not start before somebody does something.
        """
        reasons = poller.in_vain(ids)
        if reasons and (each or len(reasons) == len(ids)):
            # Somebody may have released them since they were last asked about.
            reasons = poller.in_vain(list(reasons), fresh=True)
            if reasons and (each or len(reasons) == len(ids)):
                raise _error(reasons)
        for id, why in reasons.items():
            self._say(id, f"{_error({id: why})}\nThe wait for other jobs goes on.")
        if poller.tracker.are_held(ids):
            for id in ids:
                info = poller.part_info(id)
                kept = f" ({info.reason})" if info is not None and info.reason else ""
                self._say(
                    id,
                    f"job {id} is HELD{kept}; waiting until somebody releases it: "
                    f"`cluster release {id}`",
                )

    def _say(self, id: str, words: str) -> None:
        if id not in self._told:
            self._told.add(id)
            logme.log(words, "warn")


def _error(reasons: Mapping[str, InVain]) -> JobStuck:
    told = {id: _words(id, why) for id, why in reasons.items()}
    return JobStuck(told, dict.fromkeys(why.held for why in reasons.values()))


def _words(id: str, why: InVain) -> str:
    is_itself = split_id(id)[0] == why.held
    return why.reason if is_itself else f"it waits for job {why.held}. {why.reason}"
