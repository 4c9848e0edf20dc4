"""What the commands print: nothing a terminal acts on, tables that fit, clear reasons."""

from __future__ import annotations

import json
import time

import pytest

from cluster.cli import text
from cluster.local.wire import JobInfo

NOON = time.mktime((2026, 5, 4, 12, 0, 0, 0, 0, -1))


def job(**given: object) -> JobInfo:
    return JobInfo(**{"id": "17", "name": "sim", "state": "RUNNING", **given})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("evil", "shown"),
    [
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("bell\x07", "bell\\x07"),
        ("c1 \x9b31m", "c1 \\x9b31m"),
        ("right\u202eleft", "right\\u202eleft"),
        ("bad byte \udcff", "bad byte \\xff"),
    ],
)
def test_nothing_that_a_terminal_acts_on_is_printed(evil: str, shown: str) -> None:
    assert text.safe(evil) == shown


def test_names_in_any_script_are_printed_as_they_are() -> None:
    assert text.safe("Läufe — 模拟 ✓") == "Läufe — 模拟 ✓"


def test_wide_characters_take_two_columns_and_accents_none() -> None:
    assert [text.width(s) for s in ("abc", "模拟", "e\u0301")] == [3, 4, 1]


def test_a_clipped_text_never_takes_more_columns_than_it_may() -> None:
    assert text.clip("abcdef", 4) == "abc…"
    assert text.clip("模拟模拟", 4) == "模…"


def test_a_table_in_a_pipe_keeps_every_cell_whole() -> None:
    lines = text.table(("id", "name", "reason"), [["1", "n" * 100, "r" * 100]])

    assert lines[1] == f"1   {'n' * 100}  {'r' * 100}"


def test_a_table_in_a_terminal_fits_into_it_by_clipping_the_reason_first() -> None:
    rows = [["1", "a name of 20 letters", "r" * 100]]

    lines = text.table(("id", "name", "reason"), rows, 60)

    assert [len(line) for line in lines] == [32, 60]
    assert "a name of 20 letters" in lines[1]


def test_a_narrow_terminal_keeps_ids_and_states_whole() -> None:
    lines = text.job_table([job(name="x" * 50, reason="y" * 50)], None, now=NOON, columns=30)

    assert lines[1].startswith("17  xxxxxxx…  RUNNING")


def test_columns_about_which_no_job_says_anything_are_left_out() -> None:
    plain = text.job_table([job()], None, now=NOON)
    rich = text.job_table([job(memory_mib=2048, gpus=1), job(id="18")], None, now=NOON)

    assert plain[0].split() == ["ID", "NAME", "STATE", "CORES", "TIME", "REASON"]
    assert rich[0].split() == ["ID", "NAME", "STATE", "CORES", "GPUS", "MEMORY", "TIME", "REASON"]
    assert rich[2].split() == ["18", "sim", "RUNNING", "1", "-", "-", "-"]


def test_columns_that_were_asked_for_are_printed_even_if_empty() -> None:
    lines = text.job_table([job()], ("id", "gpus"), now=NOON)

    assert lines == ["ID  GPUS", "17     -"]


def test_a_name_cannot_forge_a_line_of_the_table() -> None:
    lines = text.job_table([job(name="a\n99  root  RUNNING")], None, now=NOON)

    assert len(lines) == 2


@pytest.mark.parametrize("name", [*text.COLUMNS, *text.MORE_COLUMNS])
def test_every_column_can_be_written_for_a_job_that_has_nothing(name: str) -> None:
    assert isinstance(text.cell(job(), name, NOON), str)


def test_the_time_of_a_running_job_goes_on_and_that_of_an_ended_one_stands() -> None:
    running = job(started=NOON - 90)
    ended = job(started=NOON - 90, ended=NOON - 60)

    assert text.cell(running, "time", NOON) == "00:01:30"
    assert text.cell(ended, "time", NOON) == "00:00:30"


def test_a_failed_job_without_a_reason_shows_its_exit_code() -> None:
    assert text.reason_text(job(state="FAILED", exitcode=3)) == "exit code 3"
    assert text.reason_text(job(state="FAILED", signal=11)) == "signal 11 (SIGSEGV)"


def test_the_elements_of_an_array_are_counted_by_state() -> None:
    array = job(counts={"COMPLETED": 2, "PENDING": 95, "RUNNING": 3})

    assert text.reason_text(array) == "95 pending, 3 running, 2 completed"


def test_a_state_is_starred_while_processes_are_being_ended() -> None:
    assert text.state_text(job(state="CANCELLED", ending=True)) == "CANCELLED*"


def test_a_waiting_job_is_explained_with_when_it_may_start() -> None:
    waiting = job(
        state="PENDING", reason="Resources: needs 4 cores, 1 free", expected_start=NOON + 120
    )

    assert text.why_waiting(waiting, NOON) == (
        "Resources: needs 4 cores, 1 free; expected to start about 12:02:00"
    )


def test_an_expected_start_in_the_reason_is_not_said_twice() -> None:
    reason = "Resources: needs 4 cores, 1 free; expected start 12:02"
    waiting = job(state="PENDING", reason=reason, expected_start=NOON + 120)

    assert text.why_waiting(waiting, NOON) == reason


def test_a_held_job_says_how_to_let_it_go() -> None:
    assert text.why_waiting(job(state="HELD"), NOON) == "held; cluster release 17 lets it go"


def test_a_running_job_is_not_waiting() -> None:
    assert text.why_waiting(job(), NOON) == ""


def test_moments_are_as_short_as_they_stay_clear() -> None:
    moments = (0.0, NOON - 60, NOON - 86400, NOON - 400 * 86400)

    assert [text.when(m, NOON) for m in moments] == [
        "-", "11:59:00", "May 03 12:00", "2025-03-30 12:00",
    ]  # fmt: skip


def test_json_has_every_field_of_a_job_even_those_with_their_default() -> None:
    facts = text.plain(job())

    assert tuple(facts) == JobInfo.__struct_fields__


def test_json_keeps_bytes_that_are_not_text() -> None:
    name = json.loads(json.dumps(text.plain(job(stdout=b"/tmp/\xff"))))["stdout"]

    assert name.encode("utf-8", "surrogateescape") == b"/tmp/\xff"


def test_fields_without_a_value_are_left_out() -> None:
    assert text.fields([("a", "1"), ("long name", "2"), ("c", "")]) == [
        "a          1",
        "long name  2",
    ]
