"""Endings that come before anybody waits for them."""

from __future__ import annotations

from cluster.local import ahead
from cluster.local.ahead import Ahead
from cluster.local.wire import Content, Ended, JobInfo, Output


def ended(id: str, stdout: bytes = b"") -> Ended:
    info = JobInfo(id=id, name="job", state="COMPLETED")
    return Ended(info, Content(stdout=Output(data=stdout)))


def test_the_first_question_watches_what_was_submitted_with_it() -> None:
    known = Ahead()
    known.submitted(["1", "2", "3"])

    assert known.next_after("1") == ["2", "3"]
    assert known.is_watched("2")
    assert not known.is_watched("1")  # the question itself is for it
    assert known.next_after("2") == []


def test_an_ending_is_given_once() -> None:
    known = Ahead()
    known.submitted(["1", "2"])
    known.next_after("1")

    known.take(ended("2", b"text"), wanted=False)

    assert not known.is_watched("2")
    assert known.heard("2") == ended("2", b"text")
    assert known.heard("2") is None


def test_an_ending_that_somebody_has_is_not_kept() -> None:
    known = Ahead()
    known.submitted(["1", "2"])
    known.next_after("1")

    known.take(ended("2"), wanted=True)

    assert known.heard("2") is None


def test_what_was_not_submitted_here_watches_nothing_else() -> None:
    known = Ahead()
    known.submitted(["1", "2"])

    assert known.next_after("77") == []


def test_only_some_are_watched_at_once() -> None:
    known = Ahead()
    known.submitted(map(str, range(1000)))

    assert len(known.next_after("0")) == ahead.AT_ONCE - 1
    assert known.next_after("500")[0] == str(ahead.AT_ONCE)


def test_large_outputs_are_not_piled_up() -> None:
    known = Ahead()
    known.submitted(["1", "2", "3"])
    known.next_after("1")

    known.take(ended("2", bytes(ahead.KEPT_BYTES)), wanted=False)
    known.take(ended("3", b"more"), wanted=False)

    assert known.heard("2") == ended("2", bytes(ahead.KEPT_BYTES))
    without = known.heard("3")
    assert without is not None
    assert without.content is None  # it is asked for when somebody wants it


def test_a_lost_connection_watches_nothing() -> None:
    known = Ahead()
    known.submitted(["1", "2"])
    known.next_after("1")

    known.unwatched()

    assert not known.is_watched("2")


def test_a_job_that_may_run_again_has_not_ended() -> None:
    known = Ahead()
    known.submitted(["1", "2"])
    known.next_after("1")
    known.take(ended("2"), wanted=False)

    known.forget()

    assert known.heard("2") is None


def test_millions_of_jobs_are_not_remembered(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(ahead, "REMEMBERED", 3)
    known = Ahead()
    known.submitted(["1", "2"])
    known.submitted(["3", "4"])

    assert known.next_after("1") == []
    assert known.next_after("2") == ["3", "4"]
