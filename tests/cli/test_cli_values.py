"""What the command line reads itself: dependencies, assignments, signals, moments."""

from __future__ import annotations

import time

import pytest

from cluster.cli import values
from cluster.cli.common import read_ids
from cluster.errors import OptionsError
from cluster.spec import Dependency
from cluster.states import FINAL

NOON = time.mktime((2026, 5, 4, 12, 0, 0, 0, 0, -1))


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (["17"], [("17", "afterok")]),
        (["afterany:17,18"], [("17", "afterany"), ("18", "afterany")]),
        (["afternotok:17_3"], [("17_3", "afternotok")]),
        (["afterok:1:2,afterany:3"], [("1", "afterok"), ("2", "afterok"), ("3", "afterany")]),
        (["after:1", "2"], [("1", "after"), ("2", "afterok")]),
    ],
)
def test_a_type_holds_for_all_ids_after_it(texts: list[str], found: list[tuple[str, str]]) -> None:
    assert values.dependencies(texts) == [Dependency(*pair) for pair in found]


@pytest.mark.parametrize("text", ["", "afterok", "afterok:", "afterok:x", "before:3", "-1", "1.5"])
def test_what_is_no_dependency_is_refused_with_the_accepted_forms(text: str) -> None:
    with pytest.raises(OptionsError, match="Write afterok:17"):
        values.dependencies([text])


def test_a_value_is_kept_verbatim_with_its_equals_signs_and_blanks() -> None:
    assert values.assignments(["A=b=c d", "E="], "variable") == {"A": "b=c d", "E": ""}


@pytest.mark.parametrize("text", ["A", "=b", ""])
def test_what_assigns_nothing_is_refused(text: str) -> None:
    with pytest.raises(OptionsError, match="NAME=VALUE"):
        values.assignments([text], "variable")


@pytest.mark.parametrize("text", ["license=-1", "license=x", "license=", "license=1.5"])
def test_a_resource_is_a_whole_number(text: str) -> None:
    with pytest.raises(OptionsError, match="whole number"):
        values.counts([text], "resource")


def test_signals_have_names_and_numbers() -> None:
    assert [values.signal_number(t) for t in ("10", "USR1", "sigusr1")] == [10, 10, 10]


@pytest.mark.parametrize("text", ["0", "99", "FOO", "-9"])
def test_an_unknown_signal_is_refused(text: str) -> None:
    with pytest.raises(OptionsError, match="signal"):
        values.signal_number(text)


def test_states_are_read_in_any_case_and_by_group() -> None:
    assert values.states(["running,Failed", "out-of-memory"]) == (
        "RUNNING", "FAILED", "OUT_OF_MEMORY",
    )  # fmt: skip
    assert set(values.states(["final"])) == FINAL


def test_an_unknown_state_is_refused() -> None:
    with pytest.raises(OptionsError, match="'done' is unknown"):
        values.states(["done"])


def test_a_duration_to_begin_after_counts_from_now() -> None:
    assert [values.begin(t) for t in ("2h", "14:30", "now+1h")] == ["now+2h", "14:30", "now+1h"]


def test_since_looks_back() -> None:
    assert values.since("2h", now=NOON) == NOON - 7200
    assert values.since("11:00", now=NOON) == NOON - 3600
    assert values.since("13:00", now=NOON) == NOON - 23 * 3600
    assert values.since("2026-05-04", now=NOON) == NOON - 12 * 3600


@pytest.mark.parametrize("text", ["90", "25:00", "yesterday", ""])
def test_a_moment_that_cannot_be_read_is_refused_with_the_accepted_forms(text: str) -> None:
    with pytest.raises(OptionsError, match="Write 14:30"):
        values.since(text, now=NOON)


# ---------------------------------------------------------------- ids


def test_ids_are_read_each_once_and_in_order() -> None:
    assert read_ids(["7,3_1", "007"]) == ("7", "3_1")


@pytest.mark.parametrize("text", ["", ",", " ", "x", "1_", "1 2"])
def test_what_is_no_id_is_refused_an_empty_variable_too(text: str) -> None:
    with pytest.raises(OptionsError, match="is not the id of a job"):
        read_ids(["1", text])
