"""Who starts now: examples, one rule each."""

from __future__ import annotations

import math

import pytest

from cluster.local.policy import (
    Decision,
    Entry,
    Expectations,
    Running,
    Waiting,
    believed_end,
    place,
)
from cluster.local.policy import decide as decide_plainly

NOW = 1000.0


def job(
    id, cores=1, expect=10.0, *, memory=0, trusted=False, priority=0, count=1, seq=None, place=0.0
):
    return Entry(
        id,
        (cores, memory),
        expect,
        trusted=trusted,
        priority=priority,
        seq=id if seq is None else seq,
        count=count,
        place=place,
    )


def decide(queue, running=(), *, capacity=(4, 100), depth=1000):
    """Ask the naive rules and the object the server uses; they must agree."""
    queue = sorted(queue, key=lambda entry: (-entry.priority, entry.place, entry.seq))
    plain = decide_plainly(NOW, capacity, running, queue, depth=depth)
    waiting, ends, free = _state(queue, running, capacity, depth)

    fast = waiting.decide(NOW, capacity, free, ends)

    assert fast.start == plain.start
    assert fast.reservation in (plain.reservation, None)
    assert waiting.reservation(NOW, capacity, free, ends) == plain.reservation
    return plain


def _state(queue, running, capacity, depth=1000):
    waiting = Waiting(depth=depth)
    for entry in queue:
        waiting.add(entry)
    used = [sum(held) for held in zip(*(need for _, need, _ in running), strict=True)]
    free = tuple(has - (used[at] if used else 0) for at, has in enumerate(capacity))
    return waiting, sorted((end, need) for _, need, end in running), free


def test_nobody_waits_so_nobody_starts():
    assert decide([]) == Decision()


def test_the_oldest_start_first_while_they_fit():
    assert decide([job(1, 2), job(2, 2), job(3, 2)]) == Decision((1, 2), (3, NOW + 10))


def test_a_higher_priority_starts_before_an_older_job():
    assert decide([job(1, 4), job(2, 4, priority=1)]).start == (2,)


def test_equal_priorities_start_in_the_order_of_submission_not_of_ids():
    assert decide([job(1, 4, seq=9), job(2, 4, seq=3)]).start == (2,)


def test_a_smaller_place_starts_before_an_older_job_but_not_before_a_higher_priority():
    queue = [job(1, 4, place=9.0), job(2, 4, place=8.0), job(3, 4, place=99.0, priority=1)]

    assert decide(queue).start == (3,)
    assert decide(queue[:2]).start == (2,)


def test_a_short_job_is_placed_before_a_long_one_that_came_shortly_before():
    assert place(1100.0, 1.0, 4.0) < place(1000.0, 64.0, 4.0)


def test_a_long_job_is_passed_by_none_that_comes_later_than_its_length_times_the_factor():
    assert place(1000.0 + 4 * 64, 0.0, 4.0) >= place(1000.0, 64.0, 4.0)


def test_run_times_that_waver_within_a_factor_of_two_do_not_change_the_order():
    assert place(1000.0, 127.0, 4.0) == place(1000.0, 64.0, 4.0)
    assert place(1000.0, 128.0, 4.0) > place(1000.0, 127.0, 4.0)


@pytest.mark.parametrize("expect", [0.0, 0.01, 0.99, math.inf])
def test_jobs_of_no_length_and_of_no_known_length_are_placed_when_they_came(expect):
    assert place(1000.0, expect, 4.0) == 1000.0


def test_without_overtaking_all_places_are_the_same():
    assert place(1000.0, 64.0, 0.0) == place(5.0, 1.0, 0.0) == 0.0


def test_every_resource_must_be_free():
    running = [(9, (1, 80), NOW + 50)]

    assert decide([job(1, 1, memory=30)], running) == Decision((), (1, NOW + 50))


def test_a_small_job_passes_a_wide_one_that_does_not_fit():
    running = [(9, (2, 0), NOW + 50)]

    assert decide([job(1, 4), job(2, 2, 50)], running) == Decision((2,), (1, NOW + 50))


def test_a_job_that_would_make_the_head_later_does_not_pass():
    running = [(9, (2, 0), NOW + 50)]

    assert decide([job(1, 4), job(2, 2, 51)], running) == Decision((), (1, NOW + 50))


def test_a_long_job_passes_on_cores_that_the_head_will_not_need():
    running = [(9, (2, 0), NOW + 50)]

    assert decide([job(1, 3), job(2, 1, 999), job(3, 1, 999)], running).start == (2,)


def test_what_ends_together_with_the_reservation_counts_as_spare():
    running = [(8, (1, 0), NOW + 50), (9, (2, 0), NOW + 50)]

    assert decide([job(1, 2), job(2, 1, 999)], running) == Decision((2,), (1, NOW + 50))


def test_spare_memory_is_kept_for_the_head_as_cores_are():
    running = [(9, (2, 50), NOW + 50)]

    decision = decide([job(1, 1, memory=90), job(2, 1, 99, memory=20), job(3, 1, 99)], running)

    assert decision.start == (3,)


def test_infinite_expectations_pass_only_on_what_the_head_will_not_need():
    running = [(9, (3, 0), math.inf)]

    assert decide([job(1, 2), job(2, 1, math.inf)], running) == Decision((2,), (1, math.inf))
    assert decide([job(1, 4), job(2, 1, math.inf)], running) == Decision((), (1, math.inf))


def test_trusted_run_times_pass_first_and_the_shortest_of_them():
    running = [(9, (3, 0), NOW + 50)]
    queue = [job(1, 4), job(2, 1, 5), job(3, 1, 40, trusted=True), job(4, 1, 30, trusted=True)]

    assert decide(queue, running).start == (4,)


def test_learned_run_times_pass_in_the_order_of_the_queue():
    running = [(9, (3, 0), NOW + 50)]

    assert decide([job(1, 4), job(2, 1, 40), job(3, 1, 5)], running).start == (2,)


def test_equally_long_trusted_jobs_pass_in_the_order_of_the_queue():
    running = [(9, (3, 0), NOW + 50)]
    queue = [job(1, 4), job(2, 1, 5, trusted=True), job(3, 1, 5, trusted=True, priority=0)]

    assert decide(queue, running).start == (2,)


def test_those_started_in_the_same_pass_count_for_the_reservation():
    assert decide([job(1, 3, 20), job(2, 4)]) == Decision((1,), (2, NOW + 20))


def test_a_job_larger_than_the_machine_is_skipped_and_blocks_nobody():
    assert decide([job(1, 5), job(2, 4)]) == Decision((2,))


def test_only_jobs_larger_than_the_machine_leave_nobody_to_promise():
    assert decide([job(1, 5)], [(9, (1, 0), NOW + 1)]) == Decision()


def test_after_a_shrink_nothing_starts_until_the_debt_is_paid():
    running = [(8, (2, 0), NOW + 20), (9, (2, 0), NOW + 50)]

    assert decide([job(1, 1)], running, capacity=(2, 100)) == Decision((), (1, NOW + 50))


def test_overdrawn_memory_does_not_stop_a_job_that_asks_for_none():
    running = [(9, (1, 500), NOW + 50)]

    assert decide([job(1, 1)], running).start == (1,)


def test_an_array_starts_as_many_elements_as_fit():
    assert decide([job(1, 1, count=9)]) == Decision((1, 1, 1, 1), (1, NOW + 10))


def test_an_array_yields_to_an_older_job_and_passes_a_wide_one():
    running = [(9, (2, 0), NOW + 50)]

    assert decide([job(1, 4), job(2, 1, count=5)], running).start == (2, 2)


def test_the_rest_of_an_array_may_pass_its_own_head():
    running = [(9, (1, 0), NOW + 50)]
    queue = [job(1, 2, count=2), job(2, 1, 5)]

    assert decide(queue, running, capacity=(4, 100)).start == (1, 2)


def test_depth_bounds_the_candidates_that_are_weighed():
    running = [(9, (2, 0), NOW + 50)]
    queue = [job(1, 4), job(2, 2, 60), job(3, 1, 60), job(4, 1, 50)]

    assert decide(queue, running, depth=2).start == ()
    assert decide(queue, running, depth=3).start == (4,)


def test_jobs_that_do_not_fit_now_are_not_candidates():
    running = [(9, (2, 0), NOW + 50)]
    queue = [job(1, 4), job(2, 3), job(3, 4, 5), job(4, 1)]

    assert decide(queue, running, depth=1).start == (4,)


def test_many_jobs_just_like_a_refused_one_hide_nobody():
    running = [(9, (2, 0), NOW + 50)]
    queue = [job(1, 4), *(job(id, 2, 60) for id in range(2, 50)), job(50, 1)]

    assert decide(queue, running, depth=2).start == (50,)


def test_depth_zero_is_first_come_first_served():
    assert decide([job(1, 4), job(2, 1)], [(9, (1, 0), NOW + 50)], depth=0).start == ()


def test_cores_that_somebody_unknown_holds_promise_nothing():
    waiting, _, _ = _state([job(1, 4), job(2, 1, 10), job(3, 1, math.inf)], (), (4, 100))

    assert waiting.decide(NOW, (4, 100), (2, 100), []) == Decision((2,), (1, math.inf))


def test_nothing_that_fits_ends_the_pass_before_it_looks_at_the_running_jobs():
    waiting, _, _ = _state([job(1, 2), job(2, 3)], (), (4, 100))

    def ends():
        raise AssertionError("not needed")
        yield

    assert waiting.decide(NOW, (4, 100), (1, 100), ends()) == Decision()


def test_a_decision_changes_nothing():
    waiting, ends, free = _state([job(1), job(2, 9), job(3, count=2)], (), (4, 100))

    first = waiting.decide(NOW, (4, 100), free, ends)

    assert waiting.decide(NOW, (4, 100), free, ends) == first
    assert len(waiting) == 3


def test_waiting_knows_who_waits():
    waiting = Waiting()
    waiting.add(job(7, count=3))

    assert 7 in waiting
    assert 8 not in waiting
    assert (len(waiting), list(waiting), waiting[7].count) == (1, [7], 3)


def test_a_removed_job_does_not_start():
    waiting, ends, free = _state([job(1), job(2), job(3)], (), (4, 100))

    waiting.remove(2)

    assert waiting.decide(NOW, (4, 100), free, ends) == Decision((1, 3))


def test_an_array_with_nothing_left_to_start_leaves():
    waiting = Waiting()
    waiting.add(job(7, count=3))

    waiting.set_count(7, 1)
    assert waiting.decide(NOW, (4, 100), (4, 100), []).start == (7,)
    waiting.set_count(7, 0)

    assert len(waiting) == 0
    assert waiting.decide(NOW, (4, 100), (4, 100), []) == Decision()


def test_an_id_waits_once():
    waiting = Waiting()
    waiting.add(job(1))

    with pytest.raises(ValueError, match="waiting already"):
        waiting.add(job(1, 2))


def test_nothing_cannot_wait():
    with pytest.raises(ValueError, match="count below 1"):
        Waiting().add(job(1, count=0))


def test_who_does_not_wait_cannot_be_removed():
    with pytest.raises(KeyError):
        Waiting().remove(1)


def test_a_thousand_started_jobs_leave_nothing_behind():
    waiting = Waiting()
    for id in range(1000):
        waiting.add(job(id))
    for id in range(999):
        waiting.remove(id)

    assert waiting.decide(NOW, (4, 100), (4, 100), []) == Decision((999,))


def test_a_lender_that_goes_on_is_the_head_whatever_waits():
    queue = [job(1, 1, 99, priority=10**9), job(-5, 4, priority=math.inf)]

    assert decide(queue, [(9, (3, 0), NOW + 20)]) == Decision((), (-5, NOW + 20))


def test_a_job_is_believed_to_end_when_it_is_expected_to():
    assert believed_end(100.0, 50.0, now=149.0) == 150.0


@pytest.mark.parametrize(("now", "end"), [(150.0, 200.0), (180.0, 260.0)])
def test_a_job_that_outlived_its_expectation_is_believed_to_run_as_long_again(now, end):
    assert believed_end(100.0, 50.0, now=now) == end


def test_a_clock_that_went_back_does_not_put_an_end_into_the_past():
    assert believed_end(100.0, -60.0, now=50.0) == 50.0


def test_running_jobs_are_given_by_their_believed_ends():
    running = Running()
    running.add(1, (1,), 0.0, 30.0)
    running.add(2, (2,), 0.0, 10.0)
    running.add(3, (3,), 0.0, 90.0)

    assert list(running.ends(40.0)) == [(80.0, (1,)), (80.0, (2,)), (90.0, (3,))]
    assert list(running.ends(20.0)) == [(30.0, (1,)), (40.0, (2,)), (90.0, (3,))]


def test_a_job_due_this_very_moment_is_late_and_put_in_order():
    running = Running()
    running.add(1, (1,), 0.0, 30.0)
    running.add(2, (2,), 20.0, 20.0)

    assert list(running.ends(30.0)) == [(40.0, (2,)), (60.0, (1,))]


def test_a_running_job_that_ended_or_lent_its_cores_counts_no_more():
    running = Running()
    running.add(1, (1,), 0.0, 30.0)
    running.add(2, (2,), 0.0, 30.0)

    running.remove(1)
    running.set_need(2, (0,))

    assert list(running.ends(0.0)) == [(30.0, (0,))]
    assert (len(running), 1 in running, 2 in running) == (1, False, True)


def test_a_job_runs_once():
    running = Running()
    running.add(1, (1,), 0.0, 30.0)

    with pytest.raises(ValueError, match="runs already"):
        running.add(1, (1,), 0.0, 30.0)


def test_what_never_ran_is_expected_to_run_the_default():
    assert Expectations(60.0).expect("train", 2) == 60.0


def test_the_expectation_is_the_median_of_the_last_five_runs():
    memory = Expectations()
    for seconds in (1000.0, 7.0, 5.0, 100.0, 6.0, 8.0):
        memory.learn("train", 2, seconds)

    assert memory.expect("train", 2) == 7.0


def test_two_runs_are_averaged():
    memory = Expectations()
    memory.learn("train", 2, 10.0)
    memory.learn("train", 2, 20.0)

    assert memory.expect("train", 2) == 15.0


def test_runs_with_other_cores_are_learned_apart():
    memory = Expectations(60.0)
    memory.learn("train", 2, 10.0)

    assert memory.expect("train", 4) == 60.0


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"expect_s": 5.0, "walltime_s": 90.0}, (5.0, True)),
        ({"walltime_s": 90.0}, (90.0, True)),
        ({}, (10.0, False)),
    ],
)
def test_what_the_user_said_goes_before_what_was_learned(given, told):
    memory = Expectations()
    memory.learn("train", 2, 10.0)

    assert memory.of("train", 2, **given) == told


def test_what_was_learned_survives_export_and_load():
    memory = Expectations(60.0)
    memory.learn("train", 2, 10.0)
    row = memory.learn("train", 2, 30.0)

    again = Expectations.load(memory.export(), 60.0)

    assert row == ("train", 2, (10.0, 30.0))
    assert again.export() == memory.export() == [row]


def test_the_key_that_ran_least_recently_is_forgotten_first():
    memory = Expectations(60.0, limit=2)
    memory.learn("a", 1, 1.0)
    memory.learn("b", 1, 2.0)
    memory.learn("a", 1, 1.0)
    memory.learn("c", 1, 3.0)

    assert [key for key, _, _ in memory.export()] == ["a", "c"]
