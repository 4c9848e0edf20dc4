"""Endings that a client asks for before anybody waits for them.

    jobs = [cluster.submit(f, x) for x in xs]
    values = [job.get() for job in jobs]

Whoever gets what one of its jobs left will as a rule want the next one's too.
So the first question watches some of those that were submitted with it; their
endings come by themselves, and the next waits ask nobody.  It holds ids and
messages and sends none.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from cluster.local.wire import Ended

__all__ = ["Ahead"]

AT_ONCE = 64  # jobs that one question watches
KEPT_BYTES = 8 << 20  # of outputs; beyond it an ending is kept without them
REMEMBERED = 100_000  # jobs that were submitted here and not waited for


class Ahead:
    """What one connection's owner submitted, watches, and has heard of."""

    def __init__(self) -> None:
        self._submitted: dict[str, None] = {}  # and not asked for yet, in order
        self._watched: set[str] = set()
        self._heard: dict[str, Ended] = {}
        self._bytes = 0

    def submitted(self, ids: Iterable[str]) -> None:
        """Learn what may be waited for."""
        self._submitted.update(dict.fromkeys(ids))
        if len(self._submitted) > REMEMBERED:
            surplus = len(self._submitted) - REMEMBERED
            for id in list(islice(self._submitted, surplus)):
                del self._submitted[id]

    def heard(self, id: str) -> Ended | None:
        """Give the ending of a job that came already, once."""
        ended = self._heard.pop(id, None)
        if ended is not None:
            self._bytes -= _size(ended)
        return ended

    def is_watched(self, id: str) -> bool:
        """Tell whether the ending will come without another question."""
        return id in self._watched

    def next_after(self, id: str) -> list[str]:
        """Give the jobs that a question for this one watches too."""
        if id not in self._submitted:
            return []
        del self._submitted[id]
        chosen = list(islice(self._submitted, AT_ONCE - 1))
        for other in chosen:
            del self._submitted[other]
        self._watched.update(chosen)
        return chosen

    def take(self, ended: Ended, *, wanted: bool) -> None:
        """Note an ending; it is kept unless somebody has it already (`wanted`)."""
        id = ended.info.id
        self._submitted.pop(id, None)
        if id not in self._watched:
            return
        self._watched.remove(id)
        if wanted:
            return
        if self._bytes + _size(ended) > KEPT_BYTES:
            ended = Ended(ended.info)
        self._heard[id] = ended
        self._bytes += _size(ended)

    def unwatched(self) -> None:
        """Note that the server watches nothing for us any more."""
        self._watched.clear()

    def forget(self) -> None:
        """Drop what came: jobs that had ended may run again."""
        self._heard.clear()
        self._bytes = 0


def _size(ended: Ended) -> int:
    if ended.content is None:
        return 0
    parts = (ended.content.result, ended.content.stdout, ended.content.stderr)
    return sum(len(part.data) for part in parts)
