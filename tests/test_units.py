"""Times and amounts of memory: what is read, and what is refused rather than guessed."""

import contextlib
from datetime import timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import OptionsError, UnitsError
from cluster.units import (
    format_memory,
    format_seconds,
    parse_memory,
    parse_seconds,
    parse_timeout,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("90m", 5400),
        ("2h", 7200),
        ("1h30m", 5400),
        ("1.5 hours", 5400),
        ("1d 2h", 93600),
        ("02:00:00", 7200),
        ("1-02:03:04", 93784),
        (" 30:00:00 ", 108000),
        (12, 12),
        (0.5, 0.5),
        (timedelta(minutes=2), 120),
    ],
)
def test_a_time_is_read_as_seconds(text, seconds):
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize(
    "value", ["90", "1.5", "10:30", "", "  ", "lots", "-5s", "1:99:00", "5 x", "h", "5s junk", "٣"]
)
def test_a_time_without_a_clear_unit_is_refused(value):
    with pytest.raises(UnitsError, match="1h30m"):
        parse_seconds(value)


@pytest.mark.parametrize("value", [True, None, [], b"90s", float("nan"), float("inf"), -1])
def test_what_is_no_time_is_refused(value):
    with pytest.raises(UnitsError, match="not a time"):
        parse_seconds(value)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        (float("inf"), None),
        ("1h30m", 5400),
        (timedelta(minutes=2), 120),
        (0.5, 0.5),
        (-3, -3),  # what is left until a deadline that has gone by
        (Fraction(1, 4), 0.25),
    ],
)
def test_a_timeout_is_a_time_or_no_limit(value, seconds):
    assert parse_timeout(value) == seconds


@pytest.mark.parametrize("value", ["1", "soon", "", True, b"1s", [1], object(), float("nan")])
def test_a_timeout_that_cannot_be_read_is_named(value):
    with pytest.raises(OptionsError, match=r"^timeout: .*'1h30m'.*\.$"):
        parse_timeout(value)


@pytest.mark.parametrize(
    ("text", "mib"),
    [
        ("512M", 512),
        ("2GB", 2048),
        ("2gib", 2048),
        ("1.5T", 1572864),
        ("1K", 1),
        ("1025k", 2),
        (" 4 G ", 4096),
        (4000, 4000),
        (0.5, 1),
    ],
)
def test_memory_is_read_as_mib_rounded_up(text, mib):
    assert parse_memory(text) == mib


@pytest.mark.parametrize(
    "value", ["4000", "lots", "", "2GBMB", "-1G", True, None, float("inf"), -3]
)
def test_memory_without_a_clear_unit_is_refused(value):
    with pytest.raises(OptionsError, match="memory"):
        parse_memory(value)


def test_a_long_time_does_not_wrap_at_a_day():
    assert format_seconds(30 * 3600) == "1-06:00:00"


@given(st.integers(0, 10**9))
def test_a_written_time_reads_back(seconds):
    assert parse_seconds(format_seconds(seconds)) == seconds


@given(st.integers(0, 10**12))
def test_written_memory_reads_back(mib):
    assert parse_memory(format_memory(mib)) == mib


@given(st.text(), st.sampled_from([parse_seconds, parse_memory]))
def test_any_text_is_read_or_refused_as_a_unit(text, parse):
    with contextlib.suppress(UnitsError):
        assert parse(text) >= 0
