"""Output is printed once, whole, and never another job's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cluster.cli.follow import Tail, has_its_file, is_over, pieces, read_from
from cluster.cli.logs import LastLines
from cluster.local.wire import JobInfo, Output

if TYPE_CHECKING:
    from tests.cli.conftest import Cli


def running(path: Path, **given: object) -> JobInfo:
    facts = {"id": "1", "name": "x", "state": "RUNNING", "attempt": 1, "stdout": bytes(path)}
    return JobInfo(**{**facts, **given})  # type: ignore[arg-type]


@pytest.fixture
def slot(tmp_path: Path) -> Path:
    path = tmp_path / "out"
    path.write_bytes(b"one\n")
    return path


def test_what_a_running_job_adds_is_printed_once(slot: Path) -> None:
    printed: list[bytes] = []
    tail = Tail("stdout", printed.append)

    assert tail.read(running(slot))
    tail.believe(running(slot))
    assert not tail.read(running(slot))
    slot.write_bytes(b"one\ntwo\n")
    assert tail.read(running(slot))
    tail.believe(running(slot))

    assert printed == [b"one\n", b"two\n"]


def test_bytes_that_may_be_another_jobs_are_dropped(slot: Path) -> None:
    printed: list[bytes] = []
    tail = Tail("stdout", printed.append)

    tail.read(running(slot))
    tail.believe(running(slot, state="COMPLETED"))
    tail.finish(running(slot, state="COMPLETED"), Output(b"mine\n"))

    assert printed == [b"mine\n"]


def test_at_the_end_only_what_is_missing_is_printed(slot: Path) -> None:
    printed: list[bytes] = []
    tail = Tail("stdout", printed.append)

    tail.read(running(slot))
    tail.believe(running(slot))
    tail.finish(running(slot, state="COMPLETED"), Output(b"one\ntwo\n"))

    assert printed == [b"one\n", b"two\n"]


def test_a_new_attempt_is_printed_from_its_beginning(slot: Path) -> None:
    printed: list[bytes] = []
    tail = Tail("stdout", printed.append)

    tail.read(running(slot))
    tail.believe(running(slot))
    tail.finish(running(slot, state="COMPLETED", attempt=2), Output(b"two\n"))

    assert printed == [b"one\n", b"two\n"]


def test_what_was_read_of_an_earlier_attempt_is_dropped(slot: Path) -> None:
    printed: list[bytes] = []
    tail = Tail("stdout", printed.append)

    tail.read(running(slot))
    tail.believe(running(slot, attempt=2))

    assert printed == []


def test_a_job_that_is_being_ended_still_has_its_file_and_is_not_over(slot: Path) -> None:
    ending = running(slot, state="CANCELLED", ending=True)

    assert has_its_file(ending)
    assert not is_over(ending)


def test_a_named_pipe_neither_blocks_nor_is_emptied(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    assert read_from(bytes(tmp_path / "pipe"), 0) == b""


def test_a_large_output_comes_in_pieces_from_its_file(tmp_path: Path) -> None:
    data = bytes(range(256)) * 10_000
    (tmp_path / "big").write_bytes(data)

    found = list(pieces(Output(file=bytes(tmp_path / "big")), 5))

    assert len(found) > 1
    assert b"".join(found) == data[5:]


@pytest.mark.parametrize(
    ("lines", "kept"), [(0, b""), (1, b"d"), (2, b"c\nd"), (3, b"b\nc\nd"), (9, b"a\nb\nc\nd")]
)
@pytest.mark.parametrize("step", [1, 3, 7])
def test_the_last_lines_are_the_same_however_they_came(lines: int, kept: bytes, step: int) -> None:
    last, data = LastLines(lines), b"a\nb\nc\nd"

    for at in range(0, len(data), step):
        last.add(data[at : at + step])

    assert last.data == kept


def test_a_last_line_with_its_newline_counts_once() -> None:
    last = LastLines(1)

    last.add(b"a\nb\n")

    assert last.data == b"b\n"


@pytest.mark.slow
def test_run_inside_a_job_of_one_core_lends_it_and_prints_at_once(cli: Cli) -> None:
    cli("local", "set", "cores=1")
    inner = "echo first; until [ -e go ]; do sleep 0.02; done; echo last"
    with cli.start("run", "--", *cli.argv, "run", "--bash", inner) as outer:
        assert outer.stdout is not None
        assert outer.stdout.readline() == "first\n"
        (cli.cwd / "go").touch()
        assert outer.stdout.read() == "last\n"
    assert outer.returncode == 0
