"""How Grid Engine writes ranges, times, memory and names."""

from __future__ import annotations

import pytest

from cluster.emulation.call import Stop
from cluster.emulation.sge import values


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("3", (3,)),
        ("2-4", (2, 3, 4)),
        ("5-3", (3, 4, 5)),
        ("1-9:2", (1, 3, 5, 7, 9)),
        ("1,3", (1, 3)),
    ],
)
def test_a_range_of_tasks_is_read(text: str, numbers: tuple[int, ...]) -> None:
    assert values.tasks(text, "qsub") == numbers


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("abc", 'of string "abc" contains no decimal number'),
        ("1-5:0", "Negative or zero step"),
        ("1,2,4", "only allows one range"),
    ],
)
def test_a_range_that_is_none_is_refused_by_the_client(text: str, said: str) -> None:
    with pytest.raises(Stop, match=said) as stop:
        values.tasks(text, "qsub")

    assert stop.value.code == 7


@pytest.mark.parametrize(
    ("numbers", "structure", "short"),
    [
        ((3,), "3-3:1", "3"),
        ((3, 4), "3-4:1", "3,4"),
        ((1, 2, 3, 4), "1-4:1", "1-4:1"),
        ((5, 7, 9), "5-9:2", "5-9:2"),
        ((4, 5, 6, 8, 10, 11, 12), "4-6:1,8-8:1,10-12:1", "4-6:1,8,10-12:1"),
    ],
)
def test_tasks_are_written_as_structure_and_as_qstat_lists_them(
    numbers: tuple[int, ...], structure: str, short: str
) -> None:
    assert (values.structure(numbers), values.short(numbers)) == (structure, short)


@pytest.mark.parametrize(
    ("text", "amount"),
    [("1G", 2**30), ("1g", 10**9), ("1.5M", 1.5 * 2**20), ("7", 7), ("1GB", None), ("x", None)],
)
def test_memory_has_binary_capitals(text: str, amount: float | None) -> None:
    assert values.memory_bytes(text) == amount


@pytest.mark.parametrize(
    ("text", "amount"),
    [("90", 90), ("1:00:01", 3601), ("::5", 5), ("INFINITY", 0), ("1h", None), ("", None)],
)
def test_times_are_seconds_or_three_fields(text: str, amount: float | None) -> None:
    assert values.seconds(text) == amount


@pytest.mark.parametrize(
    ("text", "slots"), [("4", (4, 4)), ("2-8", (2, 8)), ("2-", (2, 0)), ("-8", (1, 8))]
)
def test_slots_are_a_number_or_a_range(text: str, slots: tuple[int, int]) -> None:
    assert values.slot_range(text, "qsub") == slots


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("1abc", "cannot start with a digit"),
        ("a:b", r"Colon \(':'\) not allowed"),
        ("a*b", r"Asterisk \('\*'\) not allowed"),
        ("a b", "Error reading answer list"),
        ("", "no job_name"),
        ("a/b", "must not contain /"),
    ],
)
def test_names_that_grid_engine_does_not_take_are_refused(name: str, said: str) -> None:
    with pytest.raises(Stop, match=said):
        values.check_name(name)


def test_a_date_has_month_day_hour_and_minute_and_may_have_more() -> None:
    long = values.read_date("203012312359.30", "-a", "qsub")

    assert values.clock(long) == "12/31/2030 23:59:30"
    assert values.read_date("3012312359.30", "-a", "qsub") == long
    with pytest.raises(Stop, match=r"Wrong date/time format .12. specified to -a option"):
        values.read_date("12", "-a", "qsub")
