"""The state of the queue: which jobs there are, and what each event does to them.

Pure: `handle(event, now)` changes the state and collects what must be written
(`Changes`) and then done (effects); `take()` hands both over, `schedule(now)`
lets the policy choose.  It reads no clock, opens no file, sends nothing.

    submit --> unmet dependencies, begin time, hold --> Waiting --> policy
                                                                      |
    final  <-- exit (after the processes are gone)  <-- running  <----+

Only jobs that are not final, or whose processes are still being ended, live
here; final ones live in the store.  `submission`, `exits`, `settling` (of
dependents), `verbs` (cancel, hold, ...) and `view` (what people see) are apart.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from cluster import states
from cluster.local import events as ev
from cluster.local import exits, lending, prefill, resources, settling, submission, verbs
from cluster.local.dependencies import element, parse_label
from cluster.local.events import Array, Changes, Job, Known
from cluster.local.orders import Orders
from cluster.local.policy import Entry, Expectations, Running, Waiting
from cluster.spec import JobSpec

__all__ = ["QueueState"]


class QueueState:
    """All jobs that are not final.

    Args:
        names: the resources, in the order of every need (`resources.names`).
        capacity: how much of each there is.
        cpus: ids of the usable cpus, for affinity.
        next_id: the next id to give; ids are never reused.
        paused: start nothing.
        expectations: learned run times.
        overtake: how far short jobs get before long ones, see `policy.place`.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        capacity: resources.Vector,
        *,
        cpus: Sequence[int] = (),
        next_id: int = 1,
        paused: bool = False,
        expectations: Expectations | None = None,
        overtake: float = 0.0,
    ) -> None:
        self.names = names
        self.machine = capacity  # what a request is refused against
        self.pool = resources.Pool(names, capacity, cpus=cpus)
        self.next_id = next_id
        self.paused = paused
        self.attached = False  # is there a node to start jobs on?
        self.jobs: dict[int, Job] = {}
        self.arrays: dict[int, Array] = {}
        self.elements: dict[int, set[int]] = {}  # array -> its elements among the jobs
        self.waiting = Waiting()
        self.running = Running()
        self.expectations = expectations or Expectations()
        self.overtake = overtake
        self.waiters: dict[int, list[int]] = {}  # raw id -> who depends on it
        self.assigned: dict[int, Job] = {}  # the node has them; see `prefill`
        self.outrun = 0.0  # when the node last started a job that was promoted, by itself
        self.shapes: dict[resources.Vector, int] = {}  # how many run with each need
        self.begins: list[tuple[float, int]] = []
        self.will_lend: set[int] = set()
        self.lenders: set[int] = set()  # jobs whose cores are lent
        self.unblocking: dict[int, list[Any]] = {}  # job -> who asked to go on
        self.orders = Orders()
        self.doubtful: list[tuple[Any, dict[str, str], dict[str, set[int]]]] = []  # holds to answer
        self.parked: dict[int, set[int]] = {}  # array -> touched elements its limit keeps out
        self.settled: deque[tuple[int, str, str]] = deque()
        self.fresh: dict[str, Known] = {}  # by label: ended in this turn, not in the store yet
        self.changes = Changes()
        self._effects: list[ev.Effect] = []

    # ------------------------------------------------------------------ turn

    def handle(self, event: ev.Event, now: float) -> None:
        """Let `event` happen at `now` (seconds since the epoch).

        Raises:
            ClusterError: a request that cannot be; nothing was changed then.
        """
        _HANDLERS[type(event)](self, event, now)
        settling.settle(self, now)

    def schedule(self, now: float) -> None:
        """Start what the policy chooses."""
        if self.paused or not self.attached:
            lending.go_on_all(self)  # it runs: neither a pause nor a missing node keeps it waiting
            prefill.recall(self)
            return
        if self.will_lend:
            lending.lend(self)
        if self.assigned:
            prefill.promote(self, now)
        decision = self.waiting.decide(
            now, self.pool.capacity, self.pool.free, self.running.ends(now)
        )
        for id in decision.start:
            if id < 0:
                lending.go_on(self, self.jobs[-id])
            elif id not in self.waiting:
                continue  # its array reached its limit by a start before it
            elif id in self.arrays:
                self._start_element(self.arrays[id], now)
            else:
                self.waiting.remove(id)
                self.start(self.jobs[id], now)
        if not self.will_lend:
            prefill.refill(self, now)
        settling.settle(self, now)

    def take(self) -> tuple[Changes, list[ev.Effect]]:
        """Hand over what must be written, then done, and begin a new turn."""
        if self.doubtful:
            verbs.answer_holds(self)
        changes, effects = self.changes, self._effects
        self.changes, self._effects = Changes(), []
        self.fresh.clear()
        return changes, effects

    def next_time(self) -> float | None:
        """When a `Tick` is due next; None: not by itself."""
        return self.begins[0][0] if self.begins else None

    # ------------------------------------------------------------------ looking up

    def is_live(self, label: str) -> bool:
        """Tell whether the store need not be asked about this label."""
        return label.startswith("@") or self.known_here(label) is not None

    def find(self, label: str) -> Job | Array | tuple[Array, int] | None:
        """Find the live job, array, or untouched element (array, position)."""
        parsed = parse_label(label)
        if parsed is None:
            return None
        id, index = parsed
        if index is None:
            return self.jobs.get(id) or self.arrays.get(id)
        array = self.arrays.get(id)
        position = None
        if array is not None and array.spec.array is not None:
            position = element(array.spec.array, index)
        if array is None or position is None:
            return None
        job = self.jobs.get(id + 1 + position)
        if job is not None:
            return job
        if position >= array.next and position not in array.touched:
            return array, position
        return None

    def known_here(self, label: str) -> Job | Array | tuple[Array, int] | Known | None:
        return self.find(label) or self.fresh.get(label)

    # ------------------------------------------------------------------ becoming eligible

    def admit(self, entry: Job | Array, now: float) -> None:
        """Let it wait for cores if nothing else keeps it; keep it out otherwise."""
        id = entry.id
        if id in self.waiting:
            self.waiting.remove(id)
        if isinstance(entry, Job) and entry.assigned:
            return  # the node has it, or is asked to give it back
        state = entry.rest if isinstance(entry, Array) else entry.state
        if state != states.PENDING or entry.unmet or not (id in self.jobs or id in self.arrays):
            return
        begin = entry.spec.begin
        if begin > now:
            heapq.heappush(self.begins, (begin, id))
            return
        if not entry.eligible:
            entry.eligible = now
            self.write(entry)
        count = self.startable(entry)
        if count > 0:
            place = prefill.place_of(self, entry)
            if prefill.must_yield(self, entry.priority, place, id):
                prefill.recall(self)
            expect, trusted = self.expect(entry.spec)
            self.waiting.add(
                Entry(
                    id=id,
                    need=entry.need,
                    expect=expect,
                    trusted=trusted,
                    priority=entry.priority,
                    seq=id,
                    count=count,
                    limit=entry.spec.walltime_s,
                    place=place,
                )
            )
        elif isinstance(entry, Job):
            self.parked.setdefault(entry.array, set()).add(id)

    def expect(self, spec: JobSpec) -> tuple[float, bool]:
        return self.expectations.of(
            spec.key, spec.cores, expect_s=spec.expect_s, walltime_s=spec.walltime_s
        )

    def untouched(self, array: Array) -> int:
        """Count the elements that share `array.rest`."""
        return array.count - array.next - len(array.touched)

    def startable(self, entry: Job | Array) -> int:
        """Count what of it may start now, as far as its array's limit goes."""
        left = self.untouched(entry) if isinstance(entry, Array) else 1
        array = entry if isinstance(entry, Array) else self.arrays.get(entry.array)
        limit = array.spec.array.max_running if array and array.spec.array else 0
        return min(left, limit - array.running) if array and limit else left

    def _admit_elements(self, array: Array, now: float) -> None:
        """One of its elements made room: others may start, touched ones first."""
        if array.spec.array and array.spec.array.max_running:
            for id in sorted(self.parked.pop(array.id, ())):
                if id in self.jobs:
                    self.admit(self.jobs[id], now)
        self.admit(array, now)

    def live_elements(self, array: Array) -> list[Job]:
        """Give the elements that are jobs of their own, by id."""
        return [self.jobs[id] for id in sorted(self.elements.get(array.id, ()))]

    def touch(self, array: Array, position: int) -> Job:
        """Make a job of its own of an untouched element."""
        assert array.spec.array is not None
        index = array.spec.array.indices()[position]
        job = Job(
            id=array.id + 1 + position, label=f"{array.id}_{index}", spec=array.spec,
            need=array.need, state=array.rest, array=array.id, index=index,
            submitted=array.submitted, eligible=array.eligible, priority=array.priority,
            unmet=set(array.unmet),
        )  # fmt: skip
        for target, _ in job.unmet:
            self.waiters.setdefault(target, []).append(job.id)
        self.jobs[job.id] = job
        self.elements.setdefault(array.id, set()).add(job.id)
        array.touched.add(position)
        while array.next in array.touched:
            array.touched.remove(array.next)
            array.next += 1
        self.write(job)
        self.write(array)
        return job

    # ------------------------------------------------------------------ starting

    def _start_element(self, array: Array, now: float) -> None:
        job = self.touch(array, array.next)
        self.start(job, now)

    def start(self, job: Job, now: float) -> None:
        """Have the node start it."""
        if not job.assigned:
            job.attempt += 1
        self.run(job, self.pool.take(job.need), now)
        self.write(job)
        self._effects.append(ev.StartProcess(job))

    def run(self, job: Job, allocation: resources.Allocation, now: float) -> None:
        """It runs, with this allocation."""
        if not job.ending:
            job.state = states.advance(job.state, "start")
            job.exitcode, job.signal, job.reason = None, 0, ""
        self.assigned.pop(job.id, None)
        job.assigned = job.recalled = job.was_stopped = False
        job.started, job.ended = now, 0.0
        job.allocation = allocation
        self.shapes[job.need] = self.shapes.get(job.need, 0) + 1
        expect, _ = self.expect(job.spec)
        self.running.add(job.id, allocation.held, now, expect)
        array = self.arrays.get(job.array)
        if array is not None:
            array.running += 1
            self.write(array)
            self._trim(array)
            if job.attempt == 1:
                self.count_started(array, 1)
        if job.attempt == 1:
            self.settled.append((job.id, "after", ""))

    def _trim(self, array: Array) -> None:
        """Its limit may now keep out what waits."""
        if array.id in self.waiting:
            self.waiting.set_count(array.id, max(self.startable(array), 0))
        limit = array.spec.array.max_running if array.spec.array else 0
        if limit and array.running >= limit:
            for id in self.elements.get(array.id, ()):
                if id in self.waiting:
                    self.waiting.remove(id)
                    self.parked.setdefault(array.id, set()).add(id)

    def count_started(self, array: Array, elements: int) -> None:
        """So many more elements started, or ended without a start."""
        array.started_count += elements
        self.write(array)
        if array.started_count == array.count:
            self.settled.append((array.id, "after", ""))

    def write(self, entry: Job | Array) -> None:
        """Have it written at the end of the turn."""
        if isinstance(entry, Array):
            self.changes.arrays[entry.id] = entry
        else:
            self.changes.jobs[entry.id] = entry

    def do(self, effect: ev.Effect) -> None:
        """Have it done at the end of the turn, after the writing."""
        self._effects.append(effect)

    def note(self, name: str, value: Any) -> None:
        """Have a setting of the queue written at the end of the turn."""
        self.changes.meta[name] = value

    # ------------------------------------------------------------------ the node's reports

    def release_cores(self, job: Job, now: float) -> None:
        """Give back what a job held."""
        if job.allocation is None:
            return
        self.pool.give_back(job.allocation)
        self.running.remove(job.id)
        self.shapes[job.need] -= 1
        if not self.shapes[job.need]:
            del self.shapes[job.need]
        job.allocation = None
        job.lent = False
        self.lenders.discard(job.id)
        self.orders.forget(job.id)
        job.pid, job.stdout, job.stderr = 0, b"", b""
        if -job.id in self.waiting:
            self.waiting.remove(-job.id)
        for to in self.unblocking.pop(job.id, ()):
            self.do(ev.Reply(to))
        array = self.arrays.get(job.array)
        if array is not None:
            array.running -= 1
            self.write(array)
            self._admit_elements(array, now)

    # ------------------------------------------------------------------ ending

    def finish(self, job: Job, end: str, reason: str, now: float) -> None:
        """Give a job its final state.  Its processes may still have to be ended."""
        if job.id in self.waiting:
            self.waiting.remove(job.id)
        job.state = states.advance(job.state, end)
        job.reason = reason
        job.ended = job.ended if job.ended and not job.allocation else now
        job.unmet.clear()
        if job.allocation is not None or job.assigned:
            job.ending = True
            self.write(job)
            return
        self.write(job)
        self._close(job, now)

    def _close(self, job: Job, now: float) -> None:
        """It is final and nothing of it runs: tell, forget, settle dependents."""
        del self.jobs[job.id]
        self.elements.get(job.array, set()).discard(job.id)
        known = Known(job.state, job.reason, job.exitcode, job.signal)
        self.fresh[job.label] = known
        self.do(ev.Finished(job))
        self.settled.append((job.id, job.state, f"{job.label} {settling.story(known)}"))
        if not job.array:
            return
        array = self.arrays[job.array]
        array.counts[job.state] = array.counts.get(job.state, 0) + 1
        if not job.attempt:
            self.count_started(array, 1)  # never to start: `after` need not wait for it
        if job.state != states.COMPLETED:
            self.settled.append((array.id, "element", f"{job.label} {settling.story(known)}"))
        self.write(array)
        self.close_array(array, now)

    def close_array(self, array: Array, now: float) -> None:
        """Finish an array whose elements are all final."""
        if sum(array.counts.values()) < array.count:
            return
        array.ended = now
        state = array_state(array)
        del self.arrays[array.id]
        self.elements.pop(array.id, None)
        self.parked.pop(array.id, None)
        if array.id in self.waiting:
            self.waiting.remove(array.id)
        self.fresh[str(array.id)] = Known(state, array.reason)
        self.write(array)
        self.do(ev.Finished(array))
        self.settled.append((array.id, state, f"{array.id} {settling.whole_story(array)}"))

    # ------------------------------------------------------------------ steering the queue

    def _resize(self, event: ev.Resize, now: float) -> None:
        capacity = resources.vector(self.names, event.capacity)
        self.pool.resize(capacity, cpus=event.cpus or None)
        prefill.recall(self)
        self.machine = tuple(max(a, b) for a, b in zip(self.machine, capacity, strict=True))
        self.note("capacity", event.capacity)
        for id in self.unblocking:  # what they wait for is at most all there is
            self.waiting.remove(-id)
            lending.want_back(self, self.jobs[id])
        self.do(ev.Reply(event.to, resources.as_dict(self.names, capacity)))

    def _switch(self, event: ev.Switch, now: float) -> None:
        self.paused = event.paused
        self.note("paused", event.paused)
        self.do(ev.Reply(event.to, {"paused": event.paused}))

    def _tick(self, event: ev.Tick, now: float) -> None:
        while self.begins and self.begins[0][0] <= now:
            _, id = heapq.heappop(self.begins)
            entry = self.jobs.get(id) or self.arrays.get(id)
            if entry is not None:
                self.admit(entry, now)

    # ------------------------------------------------------------------ coming back

    def restore(self, jobs: Iterable[Job], arrays: Iterable[Array], now: float) -> None:
        """Take up what the store has, as it was written.

        Jobs that run keep their cores until a node says what became of them.
        """
        self.arrays = {array.id: array for array in arrays}
        self.jobs = {job.id: job for job in jobs}
        for job in self.jobs.values():
            if job.array:
                self.elements.setdefault(job.array, set()).add(job.id)
        entries: list[Job | Array] = [*self.jobs.values(), *self.arrays.values()]
        for entry in entries:
            for target, _ in entry.unmet:
                self.waiters.setdefault(target, []).append(entry.id)
        for job in self.jobs.values():
            if job.allocation is not None:
                old = job.allocation
                job.allocation = self.pool.adopt(job.need, old.cpus, old.gpus, job.lent)
                if job.lent:
                    self.lenders.add(job.id)
                expect, _ = self.expect(job.spec)
                self.running.add(job.id, job.allocation.held, job.started, expect)
                self.shapes[job.need] = self.shapes.get(job.need, 0) + 1
            elif job.assigned:
                self.assigned[job.id] = job
            else:
                self.admit(job, now)
        for array in self.arrays.values():
            self._recount(array)
            self.admit(array, now)

    def _recount(self, array: Array) -> None:
        """Count from the elements: what the node started by itself was not written."""
        elements = self.live_elements(array)
        fresh = sum(job.attempt - job.assigned == 0 for job in elements)
        array.running = sum(job.allocation is not None for job in elements)
        if array.rest != states.CANCELLED:
            array.started_count = array.count - self.untouched(array) - fresh


_HANDLERS: dict[type, Callable[[QueueState, Any, float], None]] = {
    ev.Submit: submission.submit,
    ev.Act: verbs.act,
    ev.Update: verbs.update,
    ev.Block: lending.block,
    ev.Unblock: lending.unblock,
    ev.Attached: exits.attach,
    ev.Started: exits.started,
    ev.Exited: exits.exited,
    ev.Resize: QueueState._resize,
    ev.Switch: QueueState._switch,
    ev.Tick: QueueState._tick,
}


def array_state(array: Array) -> str:
    """Give one state for all elements: the worst of those that are there."""
    left = array.count - sum(array.counts.values())
    if left:
        return states.RUNNING if array.running else array.rest
    for state in (states.FAILED, states.OUT_OF_MEMORY, states.TIMEOUT, states.NODE_FAIL,
                  states.LOST, states.CANCELLED):  # fmt: skip
        if array.counts.get(state):
            return state
    return states.COMPLETED
