"""Asking a scheduler about the jobs of this process: one thread asks, all share the answer.

`_tracking` decides whom to ask and what an answer means; here the programs are
run, the records read, and what has ended is written into the registry.

    threads that wait  ->  one of them leads a step  ->  the others wake and look
    a step:  records on disk  ->  queue, if due  ->  books, if somebody is missing
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

import msgspec

from cluster import logme, states
from cluster.errors import QueueError
from cluster.local.wire import JobInfo
from cluster.registry import Entry, Registry
from cluster.schedulers import _dependents
from cluster.schedulers._duplicates import Duplicates
from cluster.schedulers._endings import Policy, recorded
from cluster.schedulers._programs import Programs
from cluster.schedulers._recalling import ended, recall_ends, requeued
from cluster.schedulers._records import Records
from cluster.schedulers._tracking import InVain, Rhythm, Track, Tracker
from cluster.schedulers.dialect import Dialect, Seen, split_id
from cluster.schedulers.exit_record import ExitRecord, path_of

__all__ = ["Poller"]

_TOGETHER = 500  # more ids than this are asked for by asking for all of the user's jobs
_LOOK_S, _LOOK_LONGEST_S = 0.05, 1.0  # between two looks at the records' directories
_BOOKS_S, _BOOKS_LONGEST_S = 0.5, 10.0
_HASTE = 0.25  # of the usual interval is enough when something must have changed
_SAY_AGAIN_S = 60.0  # between two warnings that the scheduler does not answer


class Poller:
    """Everything this process knows of a scheduler's jobs, and who asks about them.

    Args:
        dialect: the scheduler's words.
        programs: runs them.
        registry: jobs that were submitted from here.
        policy: how patient to be.
        user: whose jobs.
        give_up_s: a wait fails when nobody could be asked for so long.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        dialect: Dialect,
        programs: Programs,
        registry: Registry,
        policy: Policy,
        *,
        user: str,
        give_up_s: float = 3600.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._dialect, self._programs, self._registry = dialect, programs, registry
        self._user, self._clock, self._give_up_s = user, clock, give_up_s
        self.policy = policy
        self.tracker = Tracker(policy, books=bool(dialect.account(["1"])))
        self._records = Records()
        self._duplicates = Duplicates(dialect, programs, user, clock)
        self._turn = threading.Condition(threading.RLock())
        self._leading = False
        self._watched: Counter[str] = Counter()
        self._poll = Rhythm(policy.shortest_s, policy.longest_s)
        self._look = Rhythm(_LOOK_S, _LOOK_LONGEST_S)
        self._books = Rhythm(_BOOKS_S, _BOOKS_LONGEST_S)
        self._failing = 0.0
        self._said = 0.0

    # ------------------------------------------------------------ jobs

    def follow(self, id: str) -> Track:
        """Give what is known of a whole job, from now on kept up to date."""
        with self._turn:
            track = self.tracker.tracks.get(id)
            if track is None:
                entry = self._registry.recall(id)
                track = self.remember(entry) if entry is not None else self._stranger(id)
            return track

    def _stranger(self, id: str) -> Track:
        return self.tracker.follow(JobInfo(id=id, name="", state=states.PENDING), known=False)

    def remember(self, entry: Entry) -> Track:
        """Follow a job that was submitted from here."""
        with self._turn:
            self.tracker.drop(entry.id)
            self._duplicates.expect(entry)
            base = entry.info
            if (tell := getattr(self._dialect, "remember", None)) is not None:
                tell(entry.id, array=bool(entry.info.counts))
            if entry.is_final:
                base = msgspec.structs.replace(base, counts={}, state=states.PENDING)
            track = self.tracker.follow(
                base, entry.places(), superseded=entry.superseded, absent=entry.absent
            )
            for id, part in track.parts.items():
                part.cancelled = entry.id in entry.cancelled or id in entry.cancelled
            if entry.is_final:
                recall_ends(track, entry)
            for id in track.open:
                self._expect(entry, id)
            return track

    def _expect(self, entry: Entry, id: str) -> None:
        if entry.record:
            self._records.expect(id, path_of(entry.record, split_id(id)[1]))

    def look_for_copies(self) -> None:
        """End what was submitted twice, as far as it shows by now."""
        with self._leadership():
            self._duplicates.look()

    def begin_again(self, id: str) -> None:
        """Forget how a job or an element ended: it was put back into the queue."""
        whole = split_id(id)[0]
        with self._turn:
            track = self.follow(whole)
            parts = [id] if id in track.parts else list(track.parts)
            superseded = self.tracker.begin_again(whole, parts)
            entry = self._registry.recall(whole)
            if entry is not None:
                entry = requeued(entry, superseded)
                self._registry.remember(entry)
                for each in parts:
                    self._expect(entry, each)
            self._poll.hurry()

    def note_cancelled(self, id: str) -> None:
        """Remember that we asked for the end of a job: it may leave no other trace."""
        whole = split_id(id)[0]
        with self._turn:
            track = self.follow(whole)
            for each in [id] if id in track.parts else track.parts:
                track.parts[each].cancelled = True
            entry = self._registry.recall(whole)
            if entry is not None and id not in entry.cancelled:
                again = msgspec.structs.replace(entry, cancelled=(*entry.cancelled, id))
                self._registry.remember(again)
            self.hurry()

    def hurry(self) -> None:
        """Ask soon, and often for a while: something has been done to jobs."""
        with self._turn:
            self._poll.hurry(_HASTE)
            self._books.hurry()
            self._look.hurry()
            for track in self.tracker.tracks.values():
                track.asked = min(track.asked, 1.0)

    def note_released(self, id: str) -> None:
        """Remember that a job may start: what kept it is of yesterday."""
        with self._turn:
            self.follow(split_id(id)[0])
            self.tracker.released(id)

    def in_vain(self, ids: Sequence[str], *, fresh: bool = False) -> dict[str, InVain]:
        """Find the jobs that will not start by themselves, and say why.

        Args:
            ids: of whom.
            fresh: ask first; where nobody answers, there is none.
        """
        if fresh:
            with suppress(QueueError):  # they are not stuck then, as far as anybody knows
                whole = self._with_predecessors([split_id(id)[0] for id in ids])
                self.ask(whole, max_age_s=0.0)
        with self._turn:
            return self.tracker.in_vain(ids)

    def wake(self) -> None:
        """Let the threads that wait in `step` look again."""
        with self._turn:
            self._turn.notify_all()

    def end(self, id: str, state: str, reason: str) -> None:
        """Note the end of a job that was never to start."""
        with self._turn:
            track = self.follow(id)
            for part in track.parts.values():
                part.final = msgspec.structs.replace(
                    part.base, state=state, reason=reason, ended=self._clock()
                )
                self._records.ignore(part.id)
            track.open.clear()
            self._keep(id)

    def has_ended(self, id: str) -> bool:
        """Tell whether a job, or an element, is known to have ended."""
        with self._turn:
            track = self.follow(split_id(id)[0])
            if id == track.base.id:
                return track.is_final
            return id in track.parts and id not in track.open

    # ------------------------------------------------------------ asking once

    def hear(self, seen: Sequence[Seen]) -> None:
        """Use an answer that somebody else got: all of the user's jobs in the queue."""
        with self._turn:
            ids = dict.fromkeys(split_id(each.info.id)[0] for each in seen)
            mine = [id for id in ids if self.follow(id).known]
            self.tracker.hear_queue(mine, seen, self._clock())

    def look(self, ids: Iterable[str]) -> None:
        """Read the exit records of jobs that have come; ask nobody."""
        with self._turn:
            parts = [part for id in ids for part in self.follow(id).open]
            self._hear_records(self._records.look(parts))
            self._settle()

    def ask(self, ids: Sequence[str], *, max_age_s: float | None = None) -> None:
        """Learn the state of jobs now, from an answer not older than `max_age_s`.

        Raises:
            QueueError: nobody could be asked; what is known is from before.
        """
        oldest = self._clock() - (self.policy.shortest_s if max_age_s is None else max_age_s)
        self.look(ids)
        with self._leadership():
            with self._turn:
                wanted = [id for id in ids if self._is_open(id) and self._asked(id) < oldest]
            if wanted:
                self._ask_queue(wanted, tries=None)
                self._settle()
                self._ask_books(self.tracker.missing(wanted), tries=None)
                self._hear_fresh()
                self._settle()

    def _is_open(self, id: str) -> bool:
        return not self.follow(id).is_final

    def _asked(self, id: str) -> float:
        return self.follow(id).asked

    @contextmanager
    def _leadership(self) -> Iterator[None]:
        with self._turn:
            self._turn.wait_for(lambda: not self._leading)
            self._leading = True
        try:
            yield
        finally:
            with self._turn:
                self._leading = False
                self._turn.notify_all()

    # ------------------------------------------------------------ waiting

    @contextmanager
    def watching(self, ids: Sequence[str]) -> Iterator[None]:
        """Ask about these jobs, again and again, while somebody waits for them."""
        with self._turn:
            for id in ids:
                self.follow(id)
            ids = self._with_predecessors(ids)
            self._watched.update(ids)
            self._look.hurry()
            asked = [self._asked(id) for id in ids if self._is_open(id)]
            new = min((self.follow(id).base.submitted for id in ids), default=0.0)
            if not all(asked) and self._clock() - new > self.policy.shortest_s:
                self._poll.hurry(1.0)
        try:
            yield
        finally:
            with self._turn:
                self._watched.subtract(ids)
                self._watched += Counter()

    def _with_predecessors(self, ids: Sequence[str]) -> list[str]:
        """Add the jobs that these wait for: one of them may never start."""
        found, todo = dict.fromkeys(ids), list(ids)
        while todo:
            for text in self.follow(todo.pop()).base.dependencies:
                id = split_id(text.rpartition(":")[2])[0]
                known = id in self.tracker.tracks or self._registry.recall(id) is not None
                if known and id not in found:
                    found[id] = None
                    todo.append(id)
        return list(found)

    def step(self, until: float) -> None:
        """Do what is due, or sleep until it is, until another thread did, or until `until`.

        Raises:
            QueueError: nobody could be asked for `give_up_s` seconds.
        """
        with self._turn:
            now = self._clock()
            due = min(self._look.next, self._poll.next, until)
            if self._leading or due > now:
                wait_s = until - now if self._leading else due - now
                self._turn.wait(max(0.0, min(wait_s, _LOOK_LONGEST_S)))
                return
            self._leading = True
        try:
            self._lead()
        finally:
            with self._turn:
                self._leading = False
                self._turn.notify_all()

    def _lead(self) -> None:
        with self._turn:
            ids = [id for id in self._watched if self._is_open(id)]
            found = self._hear_records(self._records.look())
            self._settle()
            self._look.done(self._clock(), fruitful=found, chance=_chance())
            if found and self.tracker.has_failed():
                self._poll.hurry(_HASTE)
            open = [id for id in ids if self._is_open(id)]
        try:
            if open and self._poll.next <= self._clock():
                changed = self._ask_queue(open, tries=1)
                self._poll.done(self._clock(), fruitful=changed, chance=_chance())
                self._settle()
            self._ask_books_if_due(open)
            self._failing = 0.0
        except QueueError as error:
            self._poll.done(self._clock(), fruitful=False, chance=_chance())
            self._complain(error)
        finally:
            self._settle()

    def _ask_books_if_due(self, ids: Sequence[str]) -> None:
        with self._turn:
            missing = self.tracker.missing(ids)
            absent = self.tracker.has_absent()
        if not missing:
            self._books.hurry()
        elif self._books.next <= self._clock():
            told = self._ask_books(missing, tries=1)
            self._books.done(self._clock(), fruitful=told, chance=_chance())
            if absent:
                self._hear_fresh()

    def _complain(self, error: QueueError) -> None:
        now = self._clock()
        self._failing = self._failing or now
        if now - self._failing > self._give_up_s:
            raise QueueError(
                f"{self._dialect.title} could not be asked for {self._give_up_s:.0f} s; "
                f"the jobs may well go on. The last answer: {error}"
            ) from error
        if now - self._said > _SAY_AGAIN_S:
            self._said = now
            logme.log(f"{self._dialect.title} does not answer, waiting on: {error}", "warn")

    # ------------------------------------------------------------ questions

    def _ask_queue(self, ids: Sequence[str], *, tries: int | None) -> bool:
        """Ask for the state of jobs; tell whether anything has changed."""
        few = ids if len(ids) <= _TOGETHER else ()
        mine = all(self.follow(id).known for id in ids)
        # Of strangers' jobs we do not know whose they are: ask for everybody's.
        argv = self._dialect.poll(few, self._user if few or mine else "")
        try:
            seen = self._programs.ask(argv, self._dialect.parse_poll, tries=tries)
        except QueueError:
            with self._turn:
                self.tracker.hear_nothing(ids)
            raise
        with self._turn:
            changed = self.tracker.hear_queue(ids, seen, self._clock())
        self._duplicates.look()
        return changed

    def _ask_books(self, ids: Sequence[str], *, tries: int | None) -> bool:
        told = False
        for start in range(0, len(ids), _TOGETHER):
            some = ids[start : start + _TOGETHER]
            seen: list[Seen] = []
            try:
                for argv in self._dialect.account(some):
                    seen += self._programs.ask(argv, self._dialect.parse_account, tries=tries)
            except QueueError:
                with self._turn:
                    self.tracker.hear_nothing(some)
                raise
            with self._turn:
                told |= self.tracker.hear_books(some, seen, self._clock())
        return told

    def _hear_records(self, found: dict[str, ExitRecord]) -> bool:
        now, heard = self._clock(), False
        for id, record in found.items():
            if self.tracker.hear_record(id, record, now):
                heard = True
                self._records.ignore(id)
        return heard

    def _hear_fresh(self) -> None:
        """List directories anew: a record may be there that a network file system hid."""
        with self._turn:
            self._hear_records(self._records.look(fresh=True))

    # ------------------------------------------------------------ what has ended

    def _settle(self) -> None:
        with self._turn:
            ended = self.tracker.settle(self._clock())
            for id in ended:
                self._records.ignore(id)
                self._explain(id)
            for whole in dict.fromkeys(split_id(id)[0] for id in ended):
                self._keep(whole)

    def _explain(self, id: str) -> None:
        """Name the dependency because of which a job never ran."""
        track = self.tracker.tracks[split_id(id)[0]]
        part = track.parts[id]
        final = part.final
        if final is None or final.state not in (states.CANCELLED, states.LOST):
            return
        if part.cancelled or final.started or not final.dependencies:
            return
        for text in final.dependencies:
            dependency = _dependents.read(text)
            self.look([split_id(dependency.job)[0]])
            other = self._believed(dependency.job)
            if other and _dependents.verdict(dependency.type, other) == _dependents.NEVER:
                part.final = msgspec.structs.replace(
                    final, state=states.CANCELLED, reason=_dependents.story(other)
                )
                return

    def _believed(self, id: str) -> JobInfo | None:
        """Give a job as its record tells it, even while the books may still overrule that."""
        parts = self.follow(split_id(id)[0]).parts
        part = parts.get(id)
        if part is not None and part.final is None and part.record is not None:
            return recorded(part, part.record)
        info = self.part_info(id)
        if info is None or not info.counts:
            return info
        told = [
            recorded(each, each.record) if each.final is None and each.record else each.final
            for each in parts.values()
        ]
        counts = Counter(each.state if each else states.PENDING for each in told)
        return msgspec.structs.replace(info, counts=dict(counts))

    def part_info(self, id: str) -> JobInfo | None:
        """Give what is known of a job or an element; None if there is no such."""
        track = self.follow(split_id(id)[0])
        if id == track.base.id:
            return track.info() if track.parts else None
        return next((info for info in track.elements() if info.id == id), None)

    def _keep(self, id: str) -> None:
        track, entry = self.tracker.tracks[id], self._registry.recall(id)
        if entry is None or not track.is_final:
            return
        self._registry.remember(ended(entry, track))

    def keep_absences(self, ids: Iterable[str]) -> None:
        """Remember since when jobs are missing, for a process that lives too short to wait."""
        for id in ids:
            with self._turn:
                track = self.follow(id)
                since = max((track.parts[part].absent for part in track.open), default=0.0)
                entry = self._registry.recall(id)
                if entry is not None and not track.is_final and bool(since) != bool(entry.absent):
                    self._registry.remember(msgspec.structs.replace(entry, absent=since))


def _chance() -> float:
    return random.random()
