"""A submission that was taken twice: the answer to the first came too late, so it was repeated.

The lookup by mark, before a submission is repeated, does not see a request that
is still on its way.  So whoever asks about a repeated job looks for its mark
again for a while, and ends what else carries it.  The job whose id the user has
is the one that stays.

    kept    id that the user has, by mark
    copy    another job with the same mark
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from cluster import logme
from cluster.errors import QueueError
from cluster.local.wire import JobInfo
from cluster.registry import Entry
from cluster.schedulers._programs import Programs
from cluster.schedulers._tracking import Rhythm
from cluster.schedulers.dialect import Answer, Dialect, Seen, split_id
from cluster.states import FINAL

__all__ = ["Duplicates", "copies"]

LOOK_FOR_S = 600.0  # what a busy controller has not taken until then has long timed out
_OFTEN_S, _SELDOM_S = 1.0, 60.0  # the question is for all of a user's jobs: not too often


def copies(seen: Iterable[Seen], kept: Mapping[str, str]) -> dict[str, JobInfo]:
    """Find the jobs that carry the mark of another one: id to what is known of it.

    Args:
        seen: what the scheduler shows.
        kept: by mark, the id of the job that stays.
    """
    found: dict[str, JobInfo] = {}
    for each in seen:
        id = split_id(each.info.id)[0]
        if kept.get(each.mark, id) != id and not _never_ran(each.info):
            found.setdefault(id, each.info)
    return found


def _never_ran(info: JobInfo) -> bool:
    return info.state in FINAL and not info.started


class Duplicates:
    """Looks for copies of repeated submissions, and ends them.

    Args:
        dialect: the scheduler's words.
        programs: runs them.
        user: whose jobs.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        dialect: Dialect,
        programs: Programs,
        user: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._dialect, self._programs, self._user = dialect, programs, user
        self._clock = clock
        self._since: dict[str, float] = {}  # by mark, when it was repeated
        self._kept: dict[str, str] = {}
        self._ended: set[str] = set()
        self._rhythm = Rhythm(_OFTEN_S, _SELDOM_S)

    def expect(self, entry: Entry) -> None:
        """Look for copies of this job, if its submission was repeated not long ago."""
        if entry.mark and self._clock() - entry.repeated < LOOK_FOR_S:
            self._since[entry.mark], self._kept[entry.mark] = entry.repeated, entry.id
            self._rhythm.hurry()

    def look(self) -> None:
        """Ask for copies, if it is time, and end them; that nobody answers is no matter."""
        now = self._clock()
        for mark in [mark for mark, since in self._since.items() if now - since >= LOOK_FOR_S]:
            del self._since[mark], self._kept[mark]
        if not self._kept or self._rhythm.next > now:
            return
        self._rhythm.done(now, fruitful=False, chance=0.5)
        questions = dict.fromkeys(self._dialect.find(mark, self._user) for mark in self._kept)
        try:
            for argv in questions:
                seen = self._programs.ask(argv, self._dialect.parse_poll, tries=1)
                self._end(seen)
        except QueueError as error:
            logme.log(f"whether a job was submitted twice is not known yet: {error}", "debug")

    def _end(self, seen: Sequence[Seen]) -> None:
        marks = {split_id(each.info.id)[0]: each.mark for each in seen}
        for id, info in copies(seen, self._kept).items():
            if id in self._ended:
                continue
            wrong: dict[str, str] = {}
            if info.state not in FINAL:
                for argv in self._dialect.act("cancel", [id], 0):
                    wrong.update(self._programs.ask(argv, self._read_cancel, tries=1))
            self._ended.add(id)
            logme.log(_story(id, info, self._kept[marks[id]], wrong), "warn")

    def _read_cancel(self, answer: Answer) -> dict[str, str]:
        return self._dialect.parse_act("cancel", answer)


def _story(id: str, info: JobInfo, kept: str, wrong: Mapping[str, str]) -> str:
    what = (
        f"job {id} is a second copy of job {kept}: the answer to its submission was lost, "
        "and it arrived after all. "
    )
    if info.state in FINAL:
        return f"{what}It has run: what the job does was done twice."
    if wrong:
        return f"{what}It could not be cancelled ({'; '.join(wrong.values())}); do so yourself."
    ran = " though it had started" if info.state not in ("PENDING", "HELD") else ""
    return f"{what}It was cancelled{ran}."
