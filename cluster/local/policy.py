"""Which waiting job starts now: priority, then age, with EASY backfilling.

Pure: takes the time, what is free, who runs and who waits; returns ids.  It
never starts anything and reads no clock; `queue_state` does the one and is
given the other.

One pass: (1) start from the front of the queue while the head fits.  (2) The
first head that does not fit gets a reservation: the earliest time at which,
by the believed ends of what runs, all it needs is free.  What will be spare
besides it then is the `extra`.  (3) The others may pass it, those with a
trusted run time first (shortest first), then the rest in queue order: each
starts if it fits now and either ends by the reservation or takes only `extra`.

`decide` says this in the plainest way and looks at every job.  `Waiting` gives
the same answer from buckets of equal jobs, so that a pass over 100,000 jobs
looks at a few of them; a property test holds the two together.

Guaranteed: nothing is oversold; the head starts as soon as it fits; if the
believed ends are kept, no job that passed makes the head later than its
reservation.  Not guaranteed: that no core idles while somebody waits (it may
be kept for the head), nor a head's time when run times were believed wrongly.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from cluster.local.beliefs import Expectations, Running, believed_end
from cluster.local.resources import Vector, add, fits, subtract

__all__ = [
    "DEPTH",
    "Decision",
    "Ends",
    "Entry",
    "Expectations",
    "Reservation",
    "Running",
    "Waiting",
    "believed_end",
    "decide",
    "place",
]

DEPTH = 1000  # candidates; 50 already cost nothing on the KTH trace (benchmarks/schedule.py)

Ends = Iterable[tuple[float, Vector]]
Reservation = tuple[int, float]


class Entry(msgspec.Struct, frozen=True):
    """A job that may start, or `count` equal ones (elements of an array).

    Attributes:
        id: what a decision returns, once for each of `count`.
        need: what it takes of the machine.
        expect: believed run time in seconds; `math.inf`: no idea.
        trusted: the user gave it; else it was learned or is the default.
        priority: larger starts earlier; `math.inf` is allowed.
        place: the order among equal priorities, smaller earlier; see `place`.
        seq: the order of submission among equal places, unique.
        limit: seconds after which it is ended, 0 never; not used to decide.
    """

    id: int
    need: Vector
    expect: float
    trusted: bool = False
    priority: float = 0
    seq: int = 0
    count: int = 1
    limit: float = 0.0
    place: float = 0.0


def place(submitted: float, expect: float, overtake: float) -> float:
    """Give a job's place in the queue: as if it had come later by so much as it is long.

    Only jobs that come within `overtake` times its run time can get before it,
    so it is never put off for ever.  With 4 the mean slowdown on the KTH trace
    and on small machines is lower than with any order of backfilling alone, and
    the widest jobs wait less (benchmarks/schedule.py).

    Args:
        submitted: seconds on any clock.
        expect: believed run time; rounded down to a power of two, so that jobs
            of one kind keep their order while what is learned of them wavers.
        overtake: 0 keeps the order of submission.
    """
    if not overtake:
        return 0.0
    _, power = math.frexp(expect)
    return submitted + (overtake * 2.0 ** (power - 1) if 1 <= expect < math.inf else 0.0)


class Decision(msgspec.Struct, frozen=True):
    """Whom to start, in order, and what was promised to the first of the others.

    `reservation` is `(id, believed start)`, or None: nobody who could ever start
    is left waiting (or, from `Waiting.decide`, the pass had nothing to look at).
    """

    start: tuple[int, ...] = ()
    reservation: Reservation | None = None


def decide(
    now: float,
    capacity: Vector,
    running: Sequence[tuple[int, Vector, float]],
    queue: Sequence[Entry],
    *,
    depth: int = DEPTH,
) -> Decision:
    """Choose the jobs to start, looking at each: what `Waiting.decide` must answer.

    Args:
        now: seconds on the clock of the believed ends.
        capacity: what the machine has.  A job that needs more is passed over.
        running: `(id, need, believed end)` of all that take something.
        queue: the eligible jobs, in order: -priority, place, seq.
        depth: candidates to pass the head: jobs that fit now, each one weighed
            against its reservation.  One that is just like one refused in the
            same pass is refused unweighed and does not count.

    Returns:
        Ids to start now; with what runs they need at most `capacity`.
    """
    free = capacity
    for _, need, _ in running:
        free = subtract(free, need)
    waiting = [job for job in queue if fits(job.need, capacity) for _ in range(job.count)]
    front = 0
    ends = [(end, need) for _, need, end in running]
    while front < len(waiting) and fits(waiting[front].need, free):
        free = subtract(free, waiting[front].need)
        ends.append((now + waiting[front].expect, waiting[front].need))
        front += 1
    start = [job.id for job in waiting[:front]]
    if front == len(waiting):
        return Decision(tuple(start))

    head = waiting[front]
    gap = _Gap(now, free, *_shadow(head.need, free, sorted(ends)))
    rest = waiting[front + 1 :]
    trusted = sorted((job for job in rest if job.trusted), key=lambda job: job.expect)
    refused: set[tuple[Vector, float, bool]] = set()
    for job in trusted + [job for job in rest if not job.trusted]:
        if depth <= 0:
            break
        shape = (job.need, job.expect, job.trusted)
        if shape in refused or not fits(job.need, gap.free):
            continue
        depth -= 1
        if gap.admit(job.need, job.expect):
            start.append(job.id)
        else:
            refused.add(shape)
    return Decision(tuple(start), (head.id, gap.shadow))


def _shadow(need: Vector, free: Vector, ends: Ends) -> tuple[float, Vector]:
    """When `need` will be free, and what is spare besides it then.

    `ends` is sorted.  Whatever ends at that very time counts as ended.
    """
    shadow = -math.inf
    for end, held in ends:
        if shadow > -math.inf and end > shadow:
            break
        free = add(free, held)
        if shadow == -math.inf and fits(need, free):
            shadow = end
    if shadow == -math.inf:
        # Somebody unknown holds what is missing: promise nothing, lend no extra.
        return math.inf, (0,) * len(need)
    return shadow, subtract(free, need)


class _Gap:
    """What is left for those who pass the head; it shrinks with each admitted."""

    def __init__(self, now: float, free: Vector, shadow: float, extra: Vector) -> None:
        self.now, self.free, self.shadow, self.extra = now, free, shadow, extra

    def admit(self, need: Vector, expect: float) -> bool:
        """Let a job that fits pass, if the reservation holds with it; book it."""
        end = self.now + expect
        if end > self.shadow or end == math.inf:
            if not fits(need, self.extra):
                return False
            self.extra = subtract(self.extra, need)
        self.free = subtract(self.free, need)
        return True


_Key = tuple[float, float, int, int]  # -priority, place, seq, id


def _key(entry: Entry) -> _Key:
    return -entry.priority, entry.place, entry.seq, entry.id


class _Bucket:
    """Jobs that differ only in priority and age, in queue order."""

    __slots__ = ("expect", "keys", "need", "skip", "trusted")

    def __init__(self, need: Vector, expect: float, trusted: bool) -> None:
        self.need, self.expect, self.trusted = need, expect, trusted
        self.keys: list[_Key] = []
        self.skip = 0  # keys before this one are gone; a list is slow to shorten at its front

    def __len__(self) -> int:
        return len(self.keys) - self.skip

    def insert(self, key: _Key) -> None:
        insort(self.keys, key, lo=self.skip)

    def discard(self, key: _Key) -> None:
        at = bisect_left(self.keys, key, lo=self.skip)
        if at > self.skip:
            del self.keys[at]
            return
        self.skip += 1
        if self.skip > 64 and self.skip * 2 > len(self.keys):
            del self.keys[: self.skip]
            self.skip = 0


class Waiting:
    """The eligible jobs, kept so that a pass costs O(shapes + started * log n).

    Args:
        depth: as in `decide`.
    """

    def __init__(self, *, depth: int = DEPTH) -> None:
        self._depth = depth
        self._entries: dict[int, Entry] = {}
        self._shapes: dict[Vector, dict[tuple[float, bool], _Bucket]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, id: object) -> bool:
        return id in self._entries

    def __getitem__(self, id: int) -> Entry:
        return self._entries[id]

    def __iter__(self) -> Iterator[int]:
        return iter(self._entries)

    def add(self, entry: Entry) -> None:
        """Let a job wait.

        Raises:
            ValueError: one with this id waits already, or `count` is below 1.
        """
        if entry.id in self._entries or entry.count < 1:
            raise ValueError(f"{entry} cannot be added: waiting already, or a count below 1")
        self._entries[entry.id] = entry
        shapes = self._shapes.setdefault(entry.need, {})
        bucket = shapes.get((entry.expect, entry.trusted))
        if bucket is None:
            bucket = _Bucket(entry.need, entry.expect, entry.trusted)
            shapes[entry.expect, entry.trusted] = bucket
        bucket.insert(_key(entry))

    def remove(self, id: int) -> None:
        """Forget a job that started, or may not start any more.

        Raises:
            KeyError: it does not wait.
        """
        entry = self._entries.pop(id)
        shapes = self._shapes[entry.need]
        bucket = shapes[entry.expect, entry.trusted]
        bucket.discard(_key(entry))
        if not bucket:
            del shapes[entry.expect, entry.trusted]
        if not shapes:
            del self._shapes[entry.need]

    def set_count(self, id: int, count: int) -> None:
        """Change how many of an array's elements may start; 0 removes the entry.

        Raises:
            KeyError: it does not wait.
        """
        if count <= 0:
            self.remove(id)
        else:
            self._entries[id] = msgspec.structs.replace(self._entries[id], count=count)

    def decide(self, now: float, capacity: Vector, free: Vector, ends: Ends) -> Decision:
        """Choose the jobs to start; nothing changes until they are removed.

        Args:
            now: seconds on the clock of `ends`.
            capacity: what the machine has.
            free: what of it nobody holds; negative where it was made smaller.
            ends: `(believed end, need)` of all that runs, sorted; consumed only
                as far as needed, so a generator is best (`Running.ends`).

        Returns:
            As `decide`, but without a reservation when nothing that waits fits
            now, which is known at once; `reservation` gives it then.
        """
        for need in self._shapes:
            if fits(need, free):
                break
        else:
            return Decision()
        return self._pass(now, capacity, free, ends, self._depth)

    def front(self, capacity: Vector, need: Vector, limit: int) -> list[int]:
        """Tell who comes next as long as each of them needs exactly `need`.

        These are the first to start when something of that size ends, whichever
        it is.  An id is repeated for each of its count.

        Args:
            capacity: those that need more are passed over, as in `decide`.
            need: the size of what runs.
            limit: so many at most.
        """
        if need not in self._shapes:
            return []
        heap = [
            (bucket.keys[bucket.skip], _Front(bucket, self._entries))
            for bucket in self._fitting(capacity)
        ]
        heapq.heapify(heap)
        found: list[int] = []
        while heap and len(found) < limit and heap[0][1].need == need:
            front = heap[0][1]
            found.append(front.take())
            if front.key:
                heapq.heapreplace(heap, (front.key, front))
            else:
                heapq.heappop(heap)
        return found

    def reservation(
        self, now: float, capacity: Vector, free: Vector, ends: Ends
    ) -> Reservation | None:
        """Tell who is first to start later, and when; arguments as in `decide`."""
        return self._pass(now, capacity, free, ends, 0).reservation

    def _pass(self, now: float, capacity: Vector, free: Vector, ends: Ends, depth: int) -> Decision:
        start: list[int] = []
        begun: list[tuple[float, Vector]] = []
        fronts: dict[_Bucket, _Front] = {}
        heap = [(bucket.keys[bucket.skip], bucket) for bucket in self._fitting(capacity)]
        heapq.heapify(heap)
        while heap and fits(heap[0][1].need, free):
            bucket = heap[0][1]
            front = fronts.get(bucket) or fronts.setdefault(bucket, _Front(bucket, self._entries))
            start.append(front.take())
            free = subtract(free, bucket.need)
            begun.append((now + bucket.expect, bucket.need))
            if front.key:
                heapq.heapreplace(heap, (front.key, bucket))
            else:
                heapq.heappop(heap)
        if not heap:
            return Decision(tuple(start))
        bucket = heap[0][1]
        begun.sort()
        shadow, extra = _shadow(bucket.need, free, heapq.merge(ends, begun))
        head = heap[0][0][-1]
        if depth:
            behind = [fronts.get(one) or _Front(one, self._entries) for one in self._fitting(free)]
            start += _backfill(behind, _Gap(now, free, shadow, extra), depth)
        return Decision(tuple(start), (head, shadow))

    def _fitting(self, free: Vector) -> Iterator[_Bucket]:
        for need, shapes in self._shapes.items():
            if fits(need, free):
                yield from shapes.values()


class _Front:
    """The place of one pass in a bucket: whose turn is next there."""

    __slots__ = ("_at", "_bucket", "_entries", "_left", "expect", "key", "need")

    def __init__(self, bucket: _Bucket, entries: dict[int, Entry]) -> None:
        self.need, self.expect = bucket.need, bucket.expect
        self._bucket, self._entries, self._at = bucket, entries, bucket.skip
        self.key: _Key | None = bucket.keys[bucket.skip]
        self._left = entries[self.key[-1]].count

    def take(self) -> int:
        """Give the id whose turn it is, and step on to the next."""
        assert self.key is not None
        id, keys = self.key[-1], self._bucket.keys
        self._left -= 1
        if not self._left:
            self._at += 1
            self.key = keys[self._at] if self._at < len(keys) else None
            self._left = self._entries[self.key[-1]].count if self.key else 0
        return id

    def turn(self) -> tuple[bool, float, _Key]:
        """Order among those who may pass: trusted and short first, else the queue's."""
        assert self.key is not None
        trusted = self._bucket.trusted
        return not trusted, self.expect if trusted else 0.0, self.key


def _backfill(fronts: list[_Front], gap: _Gap, depth: int) -> list[int]:
    """Choose who passes the head; the head itself does not fit, so it is not among them."""
    start: list[int] = []
    heap = [(front.turn(), front) for front in fronts if front.key]
    heapq.heapify(heap)
    while heap and depth > 0:
        front = heap[0][1]
        if not fits(front.need, gap.free):
            heapq.heappop(heap)
            continue
        depth -= 1
        if not gap.admit(front.need, front.expect):
            heapq.heappop(heap)  # what is left only shrinks: its equals are refused too
            continue
        start.append(front.take())
        if front.key:
            heapq.heapreplace(heap, (front.turn(), front))
        else:
            heapq.heappop(heap)
    return start
