"""Whom to ask next, and what answers change."""

from __future__ import annotations

import msgspec

from cluster.local.wire import JobInfo
from cluster.schedulers._endings import Policy
from cluster.schedulers._tracking import Rhythm, Tracker
from cluster.schedulers.dialect import Seen


def base(id: str = "17") -> JobInfo:
    return JobInfo(id=id, name="sim", state="PENDING", stdout=b"/d/out.{index}")


def seen(id: str, state: str) -> Seen:
    index = int(id.split("_")[1]) if "_" in id else None
    return Seen(info=JobInfo(id=id, name="", state=state, index=index))


def tracker() -> Tracker:
    return Tracker(Policy(grace_s=60.0), books=True)


def test_a_question_is_repeated_later_and_later_until_something_changes() -> None:
    rhythm = Rhythm(1.0, 3.0)
    waits = []
    for fruitful in (False, False, False, False, True):
        rhythm.done(100.0, fruitful=fruitful, chance=0.5)
        waits.append(rhythm.next - 100.0)

    assert waits == [1.0, 1.5, 2.25, 3.0, 1.0]


def test_processes_that_began_together_do_not_stay_together() -> None:
    early, late = Rhythm(1.0, 3.0), Rhythm(1.0, 3.0)
    early.done(0.0, fruitful=False, chance=0.0)
    late.done(0.0, fruitful=False, chance=1.0)

    assert (early.next, late.next) == (0.8, 1.2)


def test_a_long_chain_behind_a_job_that_could_not_be_started_is_in_vain() -> None:
    mine = tracker()
    ids = [str(id) for id in range(1, 5001)]
    for id, before in zip(ids, [None, *ids], strict=False):
        waits = (f"afterok:{before}",) if before else ()
        mine.follow(msgspec.structs.replace(base(id), dependencies=waits))
    held = Seen(info=JobInfo(id="1", name="", state="HELD", reason="no disk"), stuck=True)

    mine.hear_queue(ids, [held, *(seen(id, "PENDING") for id in ids[1:])], 1000.0)

    assert mine.in_vain(["5000", "1"]) == {"5000": ("1", "no disk"), "1": ("1", "no disk")}
    mine.released("1")
    assert mine.in_vain(["5000"]) == {}


def test_jobs_that_wait_for_each_other_or_for_others_too_are_no_riddle() -> None:
    mine = tracker()
    waits = {"1": (), "2": ("afterok:3",), "3": ("afterok:2",), "4": ("afterany:3", "after:1")}
    for id, texts in waits.items():
        mine.follow(msgspec.structs.replace(base(id), dependencies=texts))
    held = Seen(info=JobInfo(id="1", name="", state="HELD", reason="no disk"), stuck=True)

    mine.hear_queue(list(waits), [held, *(seen(id, "PENDING") for id in "234")], 1000.0)

    assert list(mine.in_vain(["2", "3", "4"])) == ["4"]


def test_the_books_are_asked_only_about_jobs_that_the_queue_has_not() -> None:
    mine = tracker()
    mine.follow(base("17"))
    mine.follow(base("18"))
    mine.hear_queue(["17", "18"], [seen("17", "RUNNING")], 1000.0)

    assert mine.missing(["17", "18"]) == ["18"]


def test_a_failed_question_begins_the_grace_anew() -> None:
    mine = tracker()
    mine.follow(base())
    mine.hear_queue(["17"], [], 1000.0)
    mine.hear_nothing(["17"])
    mine.hear_queue(["17"], [], 1050.0)
    mine.hear_books(["17"], [], 1109.0)

    assert mine.settle(9000.0) == []
    mine.hear_books(["17"], [], 1110.0)
    assert mine.settle(9000.0) == ["17"]


def test_a_job_that_comes_back_was_never_away() -> None:
    mine = tracker()
    mine.follow(base())
    mine.hear_queue(["17"], [], 1000.0)
    mine.hear_books(["17"], [], 1059.0)
    mine.hear_queue(["17"], [seen("17", "RUNNING")], 1059.0)

    assert mine.settle(2000.0) == []
    assert mine.tracks["17"].info().state == "RUNNING"


def test_the_queue_s_word_counts_more_than_the_books_while_it_has_the_job() -> None:
    mine = tracker()
    mine.follow(base())
    mine.hear_queue(["17"], [seen("17", "RUNNING")], 1000.0)
    mine.hear_books(["17"], [seen("17", "PENDING")], 1000.0)

    assert mine.tracks["17"].info().state == "RUNNING"


def test_elements_end_one_by_one_and_the_array_with_the_last() -> None:
    mine = tracker()
    track = mine.follow(base(), (1, 2))
    mine.hear_queue(["17"], [seen("17_1", "COMPLETED"), seen("17_2", "RUNNING")], 1000.0)

    assert (mine.settle(1000.0), track.is_final) == (["17_1"], False)
    assert track.elements()[1].stdout == b"/d/out.2"

    mine.hear_queue(["17"], [seen("17_2", "FAILED")], 1001.0)
    assert (mine.settle(1001.0), track.is_final) == (["17_2"], True)
    assert track.info().counts == {"COMPLETED": 1, "FAILED": 1}


def test_what_is_said_of_an_array_is_said_of_its_elements() -> None:
    mine = tracker()
    track = mine.follow(base(), (1, 2))
    mine.hear_queue(["17"], [seen("17", "HELD"), seen("17_2", "RUNNING")], 1000.0)

    assert [info.state for info in track.elements()] == ["HELD", "RUNNING"]


def test_a_stranger_s_array_gets_the_elements_that_are_shown() -> None:
    mine = tracker()
    track = mine.follow(JobInfo(id="99", name="", state="PENDING"), known=False)

    mine.hear_queue(["99"], [seen("99_4", "RUNNING")], 1000.0)

    assert (track.known, [info.id for info in track.elements()]) == (True, ["99_4"])


def test_the_books_are_asked_about_a_job_that_nobody_here_knows() -> None:
    mine = tracker()
    mine.follow(JobInfo(id="99", name="", state="PENDING"), known=False)
    mine.hear_queue(["99"], [], 1000.0)

    assert mine.missing(["99"]) == ["99"]
