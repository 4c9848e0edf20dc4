"""One verdict from record, queue and books."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from cluster.local.wire import JobInfo
from cluster.schedulers._endings import Part, Policy, current, summary, verdict
from cluster.schedulers.exit_record import ExitRecord

POLICY = Policy(grace_s=60.0, settle_s=5.0)


def info(state: str, **fields: Any) -> JobInfo:
    return JobInfo(id="17", name="", state=state, **fields)


def record(code: int, **fields: Any) -> ExitRecord:
    words: dict[str, Any] = {"job": "17", "index": None, "attempt": 1, "start": 100.0,
                             "end": 105.0, "host": "n1"}  # fmt: skip
    return ExitRecord(code=code, **{**words, **fields})


def part(**fields: Any) -> Part:
    return Part("17", JobInfo(id="17", name="sim", state="PENDING", kind="command"), **fields)


def state_of(part: Part, now: float = 1000.0, *, books: bool = True) -> str | None:
    found = verdict(part, now=now, policy=POLICY, books=books)
    return found.state if found else None


@pytest.mark.parametrize(
    ("heard", "state"),
    [
        ({}, None),
        ({"said": info("RUNNING")}, None),
        ({"record": record(0)}, "COMPLETED"),
        ({"record": record(0), "said": info("RUNNING")}, "COMPLETED"),
        ({"record": record(0), "said": info("FAILED", exitcode=1)}, "COMPLETED"),
        ({"record": record(0), "said": info("CANCELLED")}, "CANCELLED"),
        ({"record": record(137), "said": info("OUT_OF_MEMORY")}, "OUT_OF_MEMORY"),
        ({"record": record(3), "said": info("COMPLETED")}, "FAILED"),
        ({"said": info("COMPLETED", exitcode=0)}, "COMPLETED"),
        ({"said": info("FAILED", exitcode=3)}, "FAILED"),
        ({"said": info("TIMEOUT"), "cancelled": True}, "TIMEOUT"),
        ({"said": info("FAILED", signal=15), "cancelled": True}, "CANCELLED"),
        ({"record": record(0), "cancelled": True}, "COMPLETED"),
        ({"record": record(1, unmet="afterok:16")}, "CANCELLED"),
    ],
)
def test_the_record_decides_unless_the_scheduler_ended_the_job(
    heard: dict[str, Any], state: str | None
) -> None:
    assert state_of(part(**heard)) == state


def test_a_failure_waits_a_little_for_what_the_scheduler_knows_of_it() -> None:
    failed = part(record=record(137), heard=1000.0)

    assert state_of(failed, 1004.9) is None
    assert state_of(failed, 1005.0) == "FAILED"
    assert state_of(failed, 1000.0, books=False) == "FAILED"


@pytest.mark.parametrize(
    ("heard", "state"),
    [
        ({"asked": 1059.9}, None),
        ({"asked": 1060.0}, "LOST"),
        ({"asked": 0.0, "missed": 9000.0}, None),
        ({"asked": 1299.0, "said": info("RUNNING"), "in_books": True}, None),
        ({"asked": 1300.0, "said": info("RUNNING"), "in_books": True}, "LOST"),
        ({"asked": 1060.0, "said": info("PENDING")}, "CANCELLED"),
        ({"asked": 1060.0, "said": info("HELD")}, "CANCELLED"),
        ({"asked": 1060.0, "said": info("RUNNING")}, "LOST"),
        ({"asked": 1000.0, "cancelled": True}, "CANCELLED"),
        ({"asked": 0.0, "cancelled": True}, None),
    ],
)
def test_absence_is_an_end_only_when_nobody_knew_it_for_long(
    heard: dict[str, Any], state: str | None
) -> None:
    assert state_of(part(absent=1000.0, **heard), 9000.0) == state


def test_without_books_it_is_the_queue_that_must_not_have_known_it() -> None:
    assert state_of(part(absent=1000.0, missed=1059.0), 9000.0, books=False) is None
    assert state_of(part(absent=1000.0, missed=1060.0), 9000.0, books=False) == "LOST"


@pytest.mark.parametrize(
    ("code", "exitcode", "signal"),
    [(143, None, 15), (137, None, 9), (192, None, 64), (193, 193, 0), (255, 255, 0), (128, 128, 0)],
)
@pytest.mark.parametrize("kind", ["command", "function"])
def test_a_shell_s_code_of_a_signal_is_the_signal(
    code: int, exitcode: int | None, signal: int, kind: str
) -> None:
    one = part(record=record(code))
    one.base = msgspec.structs.replace(one.base, kind=kind)

    found = verdict(one, now=1e4, policy=POLICY, books=True)

    assert found is not None
    assert (found.exitcode, found.signal, found.started) == (exitcode, signal, 100.0)
    assert found.host == "n1"


def test_what_was_asked_for_stands_where_the_scheduler_says_nothing() -> None:
    said = info("RUNNING", cores=4, started=5.0, stdout=b"/theirs")

    found = current(part(said=said))

    assert (found.name, found.cores, found.attempt, found.stdout) == ("sim", 4, 1, b"/theirs")


@pytest.mark.parametrize(
    ("states", "whole"),
    [
        (["PENDING", "RUNNING", "FAILED"], "RUNNING"),
        (["PENDING", "COMPLETED"], "PENDING"),
        (["HELD", "HELD"], "HELD"),
        (["COMPLETED", "CANCELLED", "TIMEOUT"], "TIMEOUT"),
        (["COMPLETED", "COMPLETED"], "COMPLETED"),
    ],
)
def test_an_array_has_the_state_of_its_liveliest_or_else_of_its_worst(
    states: list[str], whole: str
) -> None:
    assert summary(info("PENDING"), [info(state) for state in states]).state == whole


def test_a_cancellation_of_ours_has_the_same_reason_everywhere() -> None:
    said = info("CANCELLED", reason="deleted, or ended by signal 9")

    ours = verdict(part(said=said, cancelled=True), now=1.0, policy=POLICY, books=True)
    theirs = verdict(part(said=said), now=1.0, policy=POLICY, books=True)

    assert ours is not None
    assert theirs is not None
    assert (ours.reason, theirs.reason) == ("cancelled by its owner", said.reason)
