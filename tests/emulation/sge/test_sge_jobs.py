"""Letters, order and groups of jobs, from what the queue says of them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from cluster.emulation.machine import Extra, Row
from cluster.emulation.sge import books, jobs
from cluster.local.wire import JobInfo


def row(
    id: str = "7", state: str = "RUNNING", options: dict[str, str] | None = None, **fields: Any
) -> Row:
    extra = Extra(partition="all.q", options=options or {}, cores=fields.get("cores", 1))
    about = {"name": "x", "submitted": 1000.0, **fields}
    if "_" in id:
        about["index"] = int(id.partition("_")[2])
    return Row(JobInfo(id=id, state=state, extra=msgspec.msgpack.encode(extra), **about))


@pytest.mark.parametrize(
    ("found", "letters"),
    [
        (row(attempt=1), "r"),
        (row(attempt=2), "Rr"),
        (row(state="SUSPENDED", attempt=1), "s"),
        (row(state="CANCELLED", ending=True), "dr"),
        (row(state="PENDING"), "qw"),
        (row(state="PENDING", attempt=1), "Rq"),
        (row(state="PENDING", reason="Dependency: waits for 3"), "hqw"),
        (row(state="HELD"), "hqw"),
        (row(state="HELD", attempt=1, reason="Error: exit code 100; Held: `x`"), "Eqw"),
        (row(state="PENDING", attempt=1, reason="Error: exit code 100; Priority: x"), "qw"),
        (row(state="FAILED"), "z"),
        (row(attempt=1, options={"holds": "u"}), "hr"),
    ],
)  # fmt: skip
def test_a_state_is_told_by_letters(found: Row, letters: str) -> None:
    assert jobs.letters(found) == letters


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("output file /x/y: No such file or directory",
         'error: can\'t open output file "/x/y": No such file or directory'),
        ("working directory /x: Permission denied", "error: can't chdir to /x: Permission denied"),
        ("exit code 100", "exit_status of job start = 100"),
    ],
)  # fmt: skip
def test_an_error_is_told_in_the_words_of_grid_engine(reason: str, words: str) -> None:
    found = row(state="HELD", reason=f"Error: {reason}; Held: `cluster release 7` lets it go")

    assert jobs.error(found) == words


def test_those_that_run_come_first_and_tasks_that_wait_are_one_line() -> None:
    found = [
        row("5", "PENDING"),
        row("6", "HELD"),
        row("9_4", "PENDING"),
        row("9_2", "RUNNING", attempt=1),
        row("9_6", "PENDING"),
        row("9_8", "PENDING"),
        row("9_9", "HELD"),
    ]

    listed = [(line.row.array, line.state, line.tasks) for line in jobs.lines(found)]

    assert listed == [
        (9, "r", "2"),
        (5, "qw", ""),
        (9, "qw", "4-8:2"),
        (6, "hqw", ""),
        (9, "hqw", "9"),
    ]


@pytest.mark.parametrize(
    ("found", "records"),
    [
        (row(state="COMPLETED", started=1.0, attempt=1, exitcode=0), [(0, 0)]),
        (row(state="FAILED", started=1.0, attempt=1, exitcode=3), [(0, 3)]),
        (row(state="FAILED", started=1.0, attempt=1, signal=15), [(100, 143)]),
        (row(state="CANCELLED", started=1.0, attempt=1), [(100, 137)]),
        (row(state="TIMEOUT", started=1.0, attempt=1), [(37, 137)]),
        (row(state="CANCELLED"), []),
        (row(state="RUNNING", started=1.0, attempt=1), []),
        (row(state="COMPLETED", started=1.0, attempt=2, exitcode=0), [(25, 99), (0, 0)]),
        (row(state="HELD", attempt=1, reason="Error: exit code 100; Held: x"), [(30, 100)]),
        (row(state="HELD", attempt=1, reason="Error: output file /x: No; Held: x"), [(26, 0)]),
    ],
)  # fmt: skip
def test_the_books_have_a_record_of_each_start_that_is_over(
    found: Row, records: list[tuple[int, int]]
) -> None:
    assert books.records(found) == records
