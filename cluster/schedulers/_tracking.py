"""What is known of the cluster jobs of this process, and what to ask next.

Pure: answers go in with the time they came, and out come the ids to ask about,
when, and the jobs that have ended.  `_asking` runs the programs; `_endings`
says what the answers about one job mean.

A question that fails changes nothing of what is known: the jobs are stale, and
the time of grace of those that were absent begins anew.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from cluster import states
from cluster.local.wire import JobInfo
from cluster.schedulers._endings import Part, Policy, current, summary, verdict
from cluster.schedulers.dialect import Seen, split_id
from cluster.states import FINAL

if TYPE_CHECKING:
    from cluster.schedulers.exit_record import ExitRecord

__all__ = ["InVain", "Rhythm", "Stamp", "Track", "Tracker", "stamp"]

Stamp = tuple[int, float, float]

_WAITING = (states.PENDING, states.HELD)
_GROWTH = 1.5
_JITTER = 0.2


class InVain(NamedTuple):
    """Why a job will not start by itself.

    Attributes:
        held: the job that could not be started: itself, or one it waits for, maybe
            through others.
        reason: of that job, in words.
    """

    held: str
    reason: str


@dataclass(slots=True)
class Rhythm:
    """When to do something again: soon after something changed, later and later otherwise.

    Attributes:
        next: when it is due, seconds since the epoch.
        last: when it was done.
    """

    shortest_s: float
    longest_s: float
    next: float = 0.0
    last: float = 0.0
    interval_s: float = 0.0

    def done(self, now: float, *, fruitful: bool, chance: float) -> None:
        """Note that it was done.

        Args:
            now: when.
            fruitful: something had changed.
            chance: 0 to 1; processes that began together shall not stay together.
        """
        grown = max(self.shortest_s, self.interval_s * _GROWTH)
        self.interval_s = self.shortest_s if fruitful else min(grown, self.longest_s)
        self.last = now
        self.next = now + self.interval_s * (1 + _JITTER * (2 * chance - 1))

    def hurry(self, part: float = 0.0) -> None:
        """Make it due soon, and often for a while.

        Args:
            part: of the shortest interval must still lie between two times; with
                0 it is due now.
        """
        self.next = min(self.next, self.last + part * self.shortest_s) if part else 0.0
        self.interval_s = 0.0


@dataclass(slots=True)
class Track:
    """One job, with its elements if it is an array.

    Attributes:
        base: what was asked for.
        is_array: whether `parts` are its elements.
        known: it was submitted from here, or an answer had it.
        superseded: by id of a part, the record that belongs to an earlier attempt.
        asked: when the queue was last asked, and answered.
        stale: the last question about it failed.
        parts: by id; a single job is its own only part.
        open: ids of those that have not ended.
    """

    base: JobInfo
    is_array: bool = False
    known: bool = True
    superseded: Mapping[str, Stamp] = field(default_factory=dict)
    asked: float = 0.0
    stale: bool = False
    parts: dict[str, Part] = field(default_factory=dict)
    open: set[str] = field(default_factory=set)

    @property
    def is_final(self) -> bool:
        """Whether all of it has ended."""
        return bool(self.parts) and not self.open

    def info(self) -> JobInfo:
        """Show it as one job."""
        infos = self.elements()
        if not infos:
            return self.base
        return summary(self.base, infos) if self.is_array else infos[0]

    def elements(self) -> list[JobInfo]:
        """Show each part."""
        return [current(part) for part in self.parts.values()]

    def add(self, id: str, index: int | None = None, *, absent: float = 0.0) -> Part:
        """Begin to follow a part."""
        base = self.base
        if id != base.id:
            base = msgspec.structs.replace(base, id=id, index=index, counts={})
        if base.stdout or base.stderr:
            base = _place(base)
        part = self.parts[id] = Part(id, base, absent=absent)
        self.open.add(id)
        return part


def _place(base: JobInfo) -> JobInfo:
    index = b"" if base.index is None else b"%d" % base.index
    return msgspec.structs.replace(
        base,
        stdout=base.stdout.replace(b"{index}", index),
        stderr=base.stderr.replace(b"{index}", index),
    )


class Tracker:
    """All jobs that somebody in this process asked about.

    Args:
        policy: how patient we are.
        books: the scheduler keeps books.
    """

    def __init__(self, policy: Policy, *, books: bool) -> None:
        self.policy, self.books = policy, books
        self.tracks: dict[str, Track] = {}
        self._doubtful: dict[str, Part] = {}
        self._held: set[str] = set()  # parts, by the queue's last answer
        self._stuck: set[str] = set()  # those of them that could not be started

    # ------------------------------------------------------------ whom

    def follow(
        self,
        base: JobInfo,
        indices: Collection[int] = (),
        *,
        known: bool = True,
        superseded: Mapping[str, Stamp] | None = None,
        absent: float = 0.0,
    ) -> Track:
        """Begin to follow a job; one that is followed already stays as it is.

        Args:
            base: what was asked for, or only the id of a job nobody here knows.
            indices: of an array.
            known: it was submitted from here.
            superseded: records of earlier attempts, which do not count.
            absent: since when an earlier process missed it.
        """
        track = self.tracks.get(base.id)
        if track is None:
            track = Track(base, bool(indices), known, superseded or {})
            for index in indices:
                track.add(f"{base.id}_{index}", index, absent=absent)
            if known and not indices:
                track.add(base.id, absent=absent)
            self.tracks[base.id] = track
            self._doubtful.update((id, track.parts[id]) for id in track.parts if absent)
        return track

    def drop(self, id: str) -> None:
        """Forget a job."""
        track = self.tracks.pop(id, None)
        for part in track.parts if track else ():
            self._doubtful.pop(part, None)
            self._let_go([part])

    def begin_again(self, id: str, parts: Iterable[str]) -> Mapping[str, Stamp]:
        """Forget how parts of a job ended: they were put back into the queue.

        Returns:
            Their records, which count no more.
        """
        track = self.tracks[id]
        for each in parts:
            if each in track.parts:
                old = track.parts[each]
                if old.record is not None:
                    track.superseded = {**track.superseded, each: stamp(old.record)}
                track.parts[each] = Part(each, old.base)
                track.open.add(each)
                self._doubtful.pop(each, None)
                self._let_go([each])
        return track.superseded

    def released(self, id: str) -> None:
        """Forget that a job, or an element, is held: somebody has let it go."""
        track = self.tracks[split_id(id)[0]]
        self._let_go([id] if id in track.parts else track.parts)

    def _let_go(self, parts: Iterable[str]) -> None:
        self._held.difference_update(parts)
        self._stuck.difference_update(parts)

    def missing(self, ids: Iterable[str]) -> list[str]:
        """Choose the jobs that the books must be asked about."""
        wanted = {split_id(id)[0] for id, part in self._doubtful.items() if part.absent}
        unheard = [id for id in ids if not self.tracks[id].known]
        return [id for id in dict.fromkeys(ids) if id in wanted] + unheard

    # ------------------------------------------------------------ what was heard

    def hear_record(self, id: str, record: ExitRecord, now: float) -> bool:
        """Note the exit record of a part; tell whether it counts."""
        track = self.tracks.get(split_id(id)[0])
        part = track.parts.get(id) if track else None
        if track is None or part is None or track.superseded.get(id) == stamp(record):
            return False
        if part.record is None and part.final is None:
            part.record, part.heard = record, now
            self._doubtful[id] = part
        return True

    def hear_queue(self, asked: Iterable[str], seen: Iterable[Seen], now: float) -> bool:
        """Note the queue's answer about jobs; tell whether anything of them changed."""
        seen = list(seen)
        answers = _by_job(seen)
        stuck = {each.info.id for each in seen if each.stuck}
        changed = False
        for id in asked:
            track = self.tracks.get(id)
            if track is None:
                continue
            mine = _of(track, answers.get(id, {}))
            track.asked, track.stale = now, False
            for each in track.open:
                changed |= self._hear_part(track.parts[each], mine.get(each), now)
            self._let_go(track.open)
            held = [each for each in track.open if _is_held(mine.get(each))]
            self._held.update(held)
            self._stuck.update(each for each in held if stuck & {each, id})
        return changed

    def _hear_part(self, part: Part, said: JobInfo | None, now: float) -> bool:
        before = part.said.state if part.said is not None else ""
        if said is not None:
            part.said, part.in_books, part.absent, part.asked = said, False, 0.0, 0.0
            if said.state in FINAL:
                self._doubtful[part.id] = part
            elif part.record is None:
                self._doubtful.pop(part.id, None)
            return said.state != before
        self._doubtful[part.id] = part
        part.missed = now
        if part.absent:
            return False
        part.absent = now
        return True

    def hear_books(self, asked: Iterable[str], seen: Iterable[Seen], now: float) -> bool:
        """Note what the books say of jobs; tell whether any has ended."""
        answers = _by_job(seen)
        news = False
        for id in asked:
            track = self.tracks.get(id)
            if track is None:
                continue
            mine = _of(track, answers.get(id, {}))
            for each in track.open:
                part = track.parts[each]
                part.asked = now
                said = mine.get(each)
                if said is None:
                    continue
                # What the queue says counts while it has the job.
                if said.state in FINAL or part.absent or part.said is None:
                    part.said, part.in_books = said, True
                    news = news or said.state in FINAL
                    self._doubtful[each] = part
        return news

    def hear_nothing(self, asked: Iterable[str]) -> None:
        """Note that a question failed: what is known is old, and no time has passed."""
        for id in asked:
            track = self.tracks.get(id)
            for part in track.parts.values() if track else ():
                if part.final is None:
                    part.absent, part.asked = 0.0, 0.0
            if track is not None and not track.is_final:
                track.stale = True
                self._let_go(track.open)

    # ------------------------------------------------------------ what follows

    def in_vain(self, ids: Iterable[str]) -> dict[str, InVain]:
        """Find the jobs and elements that will not start by themselves, and say why."""
        if not self._stuck:
            return {}
        wanted = list(ids)
        order = self._with_predecessors(wanted)
        told: dict[str, InVain] = {}
        before = -1
        while before < len(told):  # once, but for jobs with several ways to the same one
            before = len(told)
            for id in reversed(order):
                if id not in told and (why := self._why_in_vain(id, told)):
                    told[id] = why
        return {id: told[id] for id in wanted if id in told}

    def _with_predecessors(self, ids: Iterable[str]) -> list[str]:
        found, todo = dict.fromkeys(ids), list(ids)
        while todo:
            track = self.tracks.get(split_id(todo.pop())[0])
            new = dict.fromkeys(_predecessors(track.base) if track else ())
            todo += [id for id in new if id not in found]
            found |= new
        return list(found)

    def are_held(self, ids: Iterable[str]) -> bool:
        """Tell whether all that has not ended of these jobs and elements is held."""
        return bool(self._held) and all(
            part in self._held
            for id in ids
            for part in self.tracks[split_id(id)[0]].open
            if id in (part, split_id(id)[0])
        )

    def _why_in_vain(self, id: str, told: Mapping[str, InVain]) -> InVain | None:
        track = self.tracks.get(split_id(id)[0])
        open = [part for part in track.open if id in (part, track.base.id)] if track else []
        whys = [self._why_part_in_vain(track.parts[each], told) for each in open if track]
        return whys[0] if whys and all(whys) else None

    def _why_part_in_vain(self, part: Part, told: Mapping[str, InVain]) -> InVain | None:
        if part.id in self._stuck:
            return InVain(split_id(part.id)[0], current(part).reason)
        said = part.said or part.base
        asked = part.base if part.base.dependencies else said
        waits = _predecessors(asked) if said.state in _WAITING else ()
        return next((told[job] for job in waits if job in told), None)

    def settle(self, now: float) -> list[str]:
        """Find the parts that are now known to have ended, and give their ids."""
        ended = []
        for id, part in list(self._doubtful.items()):
            track = self.tracks[split_id(id)[0]]
            final = verdict(part, now=now, policy=self.policy, books=self.books)
            if final is not None:
                part.final = final
                track.open.discard(id)
                self._let_go([id])
                del self._doubtful[id]
                ended.append(id)
        return ended

    def has_absent(self) -> bool:
        """Tell whether a job was not in the queue's last answer, and left no record yet."""
        return any(part.absent and part.record is None for part in self._doubtful.values())

    def has_failed(self) -> bool:
        """Tell whether a job left a record of failure, and the scheduler may know better."""
        return any(part.record is not None for part in self._doubtful.values())


def _predecessors(info: JobInfo) -> list[str]:
    return [text.rpartition(":")[2] for text in info.dependencies]


def _is_held(said: JobInfo | None) -> bool:
    return said is not None and said.state == states.HELD


def stamp(record: ExitRecord) -> Stamp:
    """Tell one record of a job from another: attempt, start, end."""
    return record.attempt, record.start, record.end


def _by_job(seen: Iterable[Seen]) -> dict[str, dict[str, JobInfo]]:
    answers: dict[str, dict[str, JobInfo]] = {}
    for each in seen:
        answers.setdefault(split_id(each.info.id)[0], {})[each.info.id] = each.info
    return answers


def _of(track: Track, answers: Mapping[str, JobInfo]) -> Mapping[str, JobInfo]:
    """Give what was said of each part; a job that nobody here knew gets its parts now."""
    if not answers:
        return answers
    whole = answers.get(track.base.id)
    elements = {id: info for id, info in answers.items() if "_" in id}
    if not track.known or (track.is_array and not track.parts):
        track.known = True
        track.is_array = bool(elements)
        if whole is not None and not elements:
            track.base = msgspec.structs.replace(whole, state=states.PENDING)
            track.add(track.base.id)
    if track.is_array:
        for id, info in elements.items():
            if id not in track.parts:
                track.base = track.base if track.base.name else _as_base(info, track.base.id)
                track.add(id, info.index)
        if whole is not None:  # it says of all what it says of none
            return {**dict.fromkeys(track.parts, whole), **elements}
        return elements
    return answers


def _as_base(info: JobInfo, id: str) -> JobInfo:
    return msgspec.structs.replace(info, id=id, index=None, state=states.PENDING)
