"""What holds for every machine, queue and history, over three resources.

The naive `decide` is held to the rules; `Waiting`, which the server uses, is
held to `decide`.  Times are whole numbers, so that nothing hides in rounding.
"""

from __future__ import annotations

import math
from itertools import accumulate

import msgspec
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cluster.local.policy import Entry, Running, Waiting, decide
from cluster.local.resources import Pool, add, fits, names, subtract

NOW = 1000
CAPACITY = (6, 8, 2)
ZERO = (0, 0, 0)
quick = settings(derandomize=True, deadline=None, max_examples=100, database=None)

# Few values, small ones often: so that many jobs fit, tie, and are just like another.
needs = st.tuples(
    st.sampled_from([1, 1, 1, 2, 2, 3, 4, 6]),
    st.sampled_from([0, 0, 0, 1, 2, 5, 8]),
    st.sampled_from([0, 0, 0, 1, 2]),
)
expects = st.sampled_from([1, 10, 20, 30, 60, math.inf])


wide_heads = st.sampled_from([[], [(6, 0, 0)], [(4, 0, 0)], [(3, 5, 1)], [(1, 8, 0)]])


@st.composite
def queues(draw, sizes=needs, times=expects, max_size=12):
    """Waiting jobs in queue order; ids say nothing about the order."""
    shapes = draw(st.lists(st.tuples(sizes, times, st.booleans()), min_size=3, max_size=6))
    places = st.sampled_from([0, 0, 5, 7])
    row = st.tuples(st.sampled_from(shapes), st.sampled_from([0, 0, 0, 1]), places)
    rows = draw(st.lists(row, min_size=3, max_size=max_size))
    entries = [
        Entry(100 - seq, *shape, priority=priority, seq=seq, place=place)
        for seq, (shape, priority, place) in enumerate(rows, 1)
    ]
    # Often a wide head that has to wait, so that there is something to pass.
    heads = [Entry(0, wide, draw(times), priority=9) for wide in draw(wide_heads)]
    return sorted(heads + entries, key=lambda entry: (-entry.priority, entry.place, entry.seq))


@st.composite
def running_jobs(draw):
    """Jobs that run now; together they hold at most the capacity."""
    ends = st.sampled_from([NOW + after for after in (1, 10, 10, 20, 30, 60)])
    rows = draw(st.lists(st.tuples(needs, ends), min_size=1, max_size=3))
    held = accumulate((need for need, _ in rows), add)
    fitting = [row for row, total in zip(rows, held, strict=True) if fits(total, CAPACITY)]
    return [(-number, need, end) for number, (need, end) in enumerate(fitting, 1)]


def total(vectors):
    result = ZERO
    for vector in vectors:
        result = add(result, vector)
    return result


def by_id(queue):
    return {entry.id: entry for entry in queue}


@quick
@given(running_jobs(), queues())
def test_nothing_is_oversold(running, queue):
    start = decide(NOW, CAPACITY, running, queue).start

    held = total([need for _, need, _ in running] + [by_id(queue)[id].need for id in start])
    assert fits(held, CAPACITY)


@quick
@given(running_jobs(), queues(), st.integers(0, 20))
def test_only_waiting_jobs_start_and_each_once(running, queue, depth):
    start = decide(NOW, CAPACITY, running, queue, depth=depth).start

    assert set(start) <= set(by_id(queue))
    assert len(set(start)) == len(start)


@quick
@given(running_jobs(), queues())
def test_the_front_of_the_queue_starts_while_it_fits(running, queue):
    start = decide(NOW, CAPACITY, running, queue).start

    free = subtract(CAPACITY, total(need for _, need, _ in running))
    used = accumulate((entry.need for entry in queue), add)
    fitting = [fits(held, free) for held in used]
    front = [*fitting, False].index(False)
    assert list(start[:front]) == [entry.id for entry in queue[:front]]


@quick
@given(running_jobs(), queues())
def test_those_who_pass_leave_the_reservation_as_it_was(running, queue):
    decision = decide(NOW, CAPACITY, running, queue)
    assume(decision.reservation is not None)

    id, shadow = decision.reservation
    alone = decide(NOW, CAPACITY, running, queue, depth=0).reservation
    jobs = by_id(queue)
    begun = [(jobs[other].need, NOW + jobs[other].expect) for other in decision.start]
    still = [need for need, end in [row[1:] for row in running] + begun if end > shadow]
    assert alone == decision.reservation
    assert shadow == math.inf or fits(add(total(still), jobs[id].need), CAPACITY)


@quick
@given(st.just([]) | running_jobs(), queues(times=st.just(math.inf)))
def test_without_any_idea_of_run_times_only_what_is_spare_is_given_away(running, queue):
    decision = decide(NOW, CAPACITY, running, queue)
    assume(decision.reservation is not None)

    id, shadow = decision.reservation
    jobs = by_id(queue)
    begun = [(jobs[other].need, math.inf) for other in decision.start]
    ends = [row[1:] for row in running] + begun
    front = decide(NOW, CAPACITY, running, queue, depth=0).start
    passed = [jobs[other].need for other in decision.start if other not in front]
    still = [need for need, end in ends[: len(running)] if end > shadow]
    still += [jobs[other].need for other in front] if shadow < math.inf else []
    assert fits(add(total([*passed, *still]), jobs[id].need), CAPACITY)


@quick
@given(running_jobs(), queues(), st.integers(0, 20))
def test_the_same_question_has_the_same_answer_and_leaves_no_trace(running, queue, depth):
    before = msgspec.msgpack.encode((running, queue))

    first = decide(NOW, CAPACITY, running, queue, depth=depth)

    assert decide(NOW, CAPACITY, running, queue, depth=depth) == first
    assert msgspec.msgpack.encode((running, queue)) == before


@quick
@given(running_jobs(), queues(), queues())
def test_jobs_larger_than_the_machine_change_nothing_for_the_others(running, queue, giants):
    grown = [
        msgspec.structs.replace(entry, id=entry.id + 1000, need=add(entry.need, CAPACITY))
        for entry in giants
    ]
    mixed = sorted(queue + grown, key=lambda entry: (-entry.priority, entry.place, entry.seq))

    assert decide(NOW, CAPACITY, running, mixed) == decide(NOW, CAPACITY, running, queue)


@quick
@given(st.lists(st.tuples(needs, st.integers(1, 20), st.integers(0, 6)), min_size=1, max_size=12))
def test_with_exact_expectations_every_head_keeps_its_promise_and_all_jobs_end(rows):
    """No job depends on another: who may wait at all is the caller's to say."""
    arrivals = list(accumulate(gap for _, _, gap in rows))
    jobs = {id: (need, run) for id, (need, run, _) in enumerate(rows)}
    waiting, running = Waiting(), Running()
    ending, started, promised = {}, {}, {}

    for now in range(sum(run for _, run in jobs.values()) + arrivals[-1] + 1):
        for id in [id for id, end in ending.items() if end == now]:
            running.remove(id)
            del ending[id]
        for id in [id for id, at in enumerate(arrivals) if at == now]:
            waiting.add(Entry(id, *jobs[id], trusted=id % 2 == 0, seq=id))
        free = subtract(CAPACITY, total(jobs[id][0] for id in ending))
        for id in waiting.decide(now, CAPACITY, free, running.ends(now)).start:
            waiting.remove(id)
            running.add(id, jobs[id][0], now, jobs[id][1])
            ending[id], started[id] = now + jobs[id][1], now
        free = subtract(CAPACITY, total(jobs[id][0] for id in ending))
        reservation = waiting.reservation(now, CAPACITY, free, running.ends(now))
        if reservation:
            id, shadow = reservation
            assert shadow <= promised.get(id, math.inf)
            promised[id] = shadow

    assert set(started) == set(jobs)
    assert not ending
    assert all(started[id] <= shadow for id, shadow in promised.items())


@settings(quick, max_examples=150)
@given(running_jobs(), queues(max_size=16), st.sampled_from([0, 1, 2, 3, 1000]), st.integers(1, 3))
def test_the_buckets_answer_as_the_plain_rules_do(running, queue, depth, count):
    waiting = Waiting(depth=depth)
    queue = [msgspec.structs.replace(one, count=1 + one.id % count) for one in queue]
    for entry in queue[::-1]:
        waiting.add(entry)
    free = subtract(CAPACITY, total(need for _, need, _ in running))
    ends = sorted((end, need) for _, need, end in running)

    fast = waiting.decide(NOW, CAPACITY, free, ends)
    reservation = waiting.reservation(NOW, CAPACITY, free, ends)

    plain = decide(NOW, CAPACITY, running, queue, depth=depth)
    assert fast.start == plain.start
    assert fast.reservation in (plain.reservation, None)
    assert reservation == plain.reservation


class ServerLike(RuleBasedStateMachine):
    """Any history of submits, arrays, cancels, starts, ends, loans and changes of the machine."""

    @initialize(depth=st.sampled_from([0, 1, 2, 5, 1000]))
    def begin(self, depth):
        self.depth, self.now, self.seq = depth, 0, 0
        self.waiting, self.running = Waiting(depth=depth), Running()
        self.pool = Pool(names(), CAPACITY, cpus=range(6))
        self.queue, self.live = {}, {}
        self.plan = {}

    @rule(entries=queues(max_size=6), count=st.sampled_from([1, 1, 3]))
    def submit(self, entries, count):
        for entry in entries:
            self.seq += 1
            entry = msgspec.structs.replace(entry, id=self.seq, seq=self.seq, count=count)
            self.queue[entry.id] = entry
            self.waiting.add(entry)
        self._turn()

    @precondition(lambda self: self.queue)
    @rule(data=st.data())
    def cancel(self, data):
        id = data.draw(st.sampled_from(sorted(self.queue)))
        del self.queue[id]
        self.waiting.remove(id)

    @precondition(lambda self: self.queue)
    @rule(data=st.data(), count=st.integers(0, 3))
    def let_more_or_fewer_elements_start(self, data, count):
        self._set_count(data.draw(st.sampled_from(sorted(self.queue))), count)

    def _set_count(self, id, count):
        self.waiting.set_count(id, count)
        entry = self.queue.pop(id)
        if count:
            self.queue[id] = msgspec.structs.replace(entry, count=count)

    @rule(seconds=st.integers(1, 40))
    def let_time_pass(self, seconds):
        self.now += seconds
        self._turn()

    def _turn(self):
        ends = self.running.ends(self.now)
        decision = self.waiting.decide(self.now, self.pool.capacity, self.pool.free, ends)
        assert decision.start == self._naive().start
        for id in decision.start:
            self.seq += 1
            entry = self.queue[id]
            allocation = self.pool.take(entry.need)
            self.live[self.seq] = allocation
            self.plan[self.seq] = (self.now, entry.expect)
            self.running.add(self.seq, allocation.held, self.now, entry.expect)
            self._set_count(id, entry.count - 1)

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def end(self, data):
        id = data.draw(st.sampled_from(sorted(self.live)))
        self.pool.give_back(self.live.pop(id))
        self.running.remove(id)
        self._turn()

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def lend_or_take_back(self, data):
        id = data.draw(st.sampled_from(sorted(self.live)))
        allocation = self.live[id]
        if not allocation.lent:
            self.live[id] = self.pool.lend(allocation)
        elif allocation.need[0] <= self.pool.free[0]:
            self.live[id] = self.pool.reclaim(allocation)
        self.running.set_need(id, self.live[id].held)

    @rule(capacity=st.sampled_from([CAPACITY, CAPACITY, (8, 9, 2), (3, 8, 1), (6, 4, 0), ZERO]))
    def change_the_machine(self, capacity):
        self.pool.resize(capacity, cpus=range(capacity[0]))

    def _naive(self):
        order = sorted(
            self.queue.values(), key=lambda entry: (-entry.priority, entry.place, entry.seq)
        )
        rows = []
        for id, allocation in self.live.items():
            start, expect = self.plan[id]
            end = start + expect
            rows.append((id, allocation.held, end if end > self.now else 2 * self.now - start))
        return decide(self.now, self.pool.capacity, rows, order, depth=self.depth)

    @invariant()
    def the_buckets_answer_as_the_plain_rules_do(self):
        here = (self.now, self.pool.capacity, self.pool.free)
        naive = self._naive()
        fast = self.waiting.decide(*here, self.running.ends(self.now))
        assert fast.start == naive.start
        assert fast.reservation in (naive.reservation, None)
        assert self.waiting.reservation(*here, self.running.ends(self.now)) == naive.reservation

    @invariant()
    def the_account_is_what_the_jobs_hold(self):
        held = total(allocation.held for allocation in self.live.values())
        assert self.pool.free == subtract(self.pool.capacity, held)
        assert len(self.waiting) == len(self.queue)

    @invariant()
    def no_cpu_or_gpu_has_two_holders(self):
        cpus = [cpu for job in self.live.values() if not job.lent for cpu in job.cpus]
        gpus = [gpu for job in self.live.values() for gpu in job.gpus]
        assert len(cpus) == len(set(cpus))
        assert len(gpus) == len(set(gpus))
        assert all(len(job.gpus) == job.need[2] for job in self.live.values())
        assert all(len(job.cpus) == job.need[0] for job in self.live.values() if not job.lent)


TestAnyHistory = ServerLike.TestCase
TestAnyHistory.settings = settings(
    derandomize=True, deadline=None, max_examples=20, stateful_step_count=30, database=None
)
