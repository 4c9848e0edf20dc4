"""Arrays: many jobs from one function or command, seen as one."""

from __future__ import annotations

import os
import pickle
import threading
from pathlib import Path
from typing import Any

import pytest

import cluster
from cluster._array_plan import Limits, Piece, has_places, plan, shell_text
from cluster.array import JobArray

NO_LIMITS = Limits(lowest=0, largest=0, size=1 << 20)
WAIT_S = 60.0


def square(x: int) -> int:
    return x * x


def index_of(item: object) -> tuple[object, str, str]:
    return item, os.environ["CLUSTER_ARRAY_INDEX"], os.environ["CLUSTER_JOB_ID"]


def fail_once(path: str) -> str:
    """Fail where nobody has been before."""
    if "bad" in path and not os.path.exists(path):
        Path(path).touch()
        raise ValueError(path)
    return f"{os.environ['CLUSTER_ARRAY_INDEX']} {os.path.basename(path)}"


# ---------------------------------------------------------------- the plan


def test_indices_that_the_scheduler_takes_are_left_as_they_are() -> None:
    assert plan(range(3), range(10, 16, 2), (), NO_LIMITS) == [Piece(range(3), 10, 2)]


@pytest.mark.parametrize("seen", [range(-1, 2), range(3, 0, -1), [5, 9, 11]])
def test_other_indices_are_counted_from_one_for_the_scheduler(seen: list[int]) -> None:
    assert plan(range(3), seen, (), NO_LIMITS) == [Piece(range(3), 1)]


def test_a_scheduler_that_counts_from_one_is_given_no_index_zero() -> None:
    limits = NO_LIMITS._replace(lowest=1)

    assert plan(range(3), range(3), (), limits) == [Piece(range(3), 1)]


def test_too_many_elements_become_several_submissions() -> None:
    limits = NO_LIMITS._replace(largest=2)

    pieces = plan(range(5), range(1, 6), (), limits)

    assert pieces == [Piece(range(2), 1), Piece(range(2, 4), 1), Piece(range(4, 5), 1)]


def test_an_index_that_is_too_large_alone_is_counted_anew() -> None:
    limits = NO_LIMITS._replace(largest=100)

    assert plan(range(2), range(500, 502), (), limits) == [Piece(range(2), 1)]


def test_large_items_become_several_submissions() -> None:
    limits = NO_LIMITS._replace(size=10)

    pieces = plan(range(4), range(1, 5), [6, 4, 1, 20], limits)

    assert [list(piece.positions) for piece in pieces] == [[0, 1], [2], [3]]


def test_a_place_is_told_from_a_variable_of_the_shell() -> None:
    assert has_places("a {item}")
    assert has_places([b"a", b"x{index}"])
    assert not has_places("echo ${item} ${index} {other}")


def test_text_for_indices_that_are_the_schedulers_sets_none() -> None:
    assert "export" not in shell_text("true", Piece(range(2), 1), range(1, 3), None)


# ---------------------------------------------------------------- functions


def test_a_function_is_called_with_each_item_and_values_are_in_order(state_dir: Path) -> None:
    array = cluster.submit_array(square, [3, 1, 2])

    assert array.get(WAIT_S) == [9, 1, 4]
    assert array.states() == {"COMPLETED": 3}
    assert array.done


def test_the_numbers_of_a_range_are_items_and_indices(state_dir: Path) -> None:
    array = cluster.submit_array(index_of, range(10, 16, 3))

    id = array.id
    assert array.get(WAIT_S) == [(10, "10", f"{id}_10"), (13, "13", f"{id}_13")]
    assert [element.index for element in array] == [10, 13]


@pytest.mark.parametrize("indices", [range(-2, 1), range(3, 0, -1)])
def test_a_range_may_run_as_it_likes(indices: range, state_dir: Path) -> None:
    array = cluster.submit_array(index_of, indices)

    assert [seen for _, seen, _ in array.get(WAIT_S)] == [str(index) for index in indices]


def test_items_may_be_anything_that_can_be_pickled(state_dir: Path) -> None:
    class Local:
        value = 4

    items = [None, {"a": [1]}, "x" * 100_000, Local(), lambda: 5]

    kinds = cluster.submit_array(lambda item: type(item).__name__, items).get(WAIT_S)

    assert kinds == ["NoneType", "dict", "str", "Local", "function"]


def test_an_item_that_cannot_be_pickled_is_named_and_nothing_is_queued(state_dir: Path) -> None:
    with pytest.raises(cluster.PayloadError, match="item 2 "):
        cluster.submit_array(square, [1, 2, threading.Lock()])

    assert list(cluster.Queue()) == []


def test_names_that_are_imported_for_the_function_are_there(state_dir: Path) -> None:
    array = cluster.submit_array(eval("lambda x: math.sqrt(x)", {}), [4.0], imports=["math"])

    assert array.get(WAIT_S) == [2.0]


def test_an_exception_says_which_element_raised_it(state_dir: Path) -> None:
    array = cluster.submit_array(lambda x: 1 / x, [1, 0, 2])

    with pytest.raises(ZeroDivisionError) as caught:
        array.get(WAIT_S)

    assert caught.value.__notes__ == [f"in element 1 of array {array.id}, index 2"]


def test_exceptions_may_stand_among_the_values(state_dir: Path) -> None:
    values = cluster.submit_array(lambda x: 1 / x, [1, 0]).get(WAIT_S, return_exceptions=True)

    assert values[0] == 1.0
    assert isinstance(values[1], ZeroDivisionError)


# ---------------------------------------------------------------- commands

NASTY = ["a b", "$HOME", "q\"'`\\", "*", "-n", "tab\tline\nend"]


def test_an_item_is_one_word_of_an_argv_whatever_stands_in_it(state_dir: Path) -> None:
    array = cluster.submit_array(["printf", "%s|", "{item}", "<{index}{item}>", "$HOME"], NASTY)

    outputs = [result.stdout for result in array.get(WAIT_S)]

    assert outputs == [f"{item}|<{n}{item}>|$HOME|" for n, item in enumerate(NASTY, 1)]


def test_an_item_is_one_word_of_a_text_however_it_is_quoted_there(state_dir: Path) -> None:
    array = cluster.submit_array("printf '%s|' {item} \"a {item}\" 'b {item}'; echo", NASTY)

    outputs = [result.stdout for result in array.get(WAIT_S)]

    assert outputs == [f"{item}|a {item}|b {item}|\n" for item in NASTY]


def test_another_shell_than_bash_may_read_the_text(state_dir: Path) -> None:
    array = cluster.submit_array("echo {index} {item}; true", ["x", "y z"], shell="/bin/sh")

    assert [result.stdout for result in array.get(WAIT_S)] == ["1 x\n", "2 y z\n"]


def test_a_command_without_places_is_run_as_it_is(state_dir: Path) -> None:
    array = cluster.submit_array("echo $CLUSTER_ARRAY_INDEX", range(2))

    assert [result.stdout for result in array.get(WAIT_S)] == ["0\n", "1\n"]


def test_an_element_has_state_output_and_usage_of_its_own(state_dir: Path) -> None:
    array = cluster.submit_array("echo {item} >&2; exit {item}", [0, 3])

    assert not array.wait(WAIT_S)

    assert [element.state for element in array] == ["COMPLETED", "FAILED"]
    assert array[-1].exitcode == 3
    assert array[1].stderr == "3\n"
    assert array[0].usage is not None
    assert [element.position for element in array.failed] == [1]
    assert [element.position for element in array.completed] == [0]


# ---------------------------------------------------------------- as one


def test_an_array_is_indexed_by_position(state_dir: Path) -> None:
    array = cluster.submit_array(square, range(5, 9))

    assert len(array) == 4
    assert array[0].id == f"{array.id}_5"
    assert array[-1].index == 8
    assert [element.index for element in array[1:3]] == [6, 7]
    with pytest.raises(IndexError, match="no position 4"):
        array[4]
    assert array.wait(WAIT_S)


def test_a_limit_of_indices_is_not_noticed(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLUSTER_CFG_QUEUE_MAX_ARRAY", "3")

    functions = cluster.submit_array(index_of, ["a", "b", "c", "d", "e", "f", "g"])
    commands = cluster.submit_array("echo {item} {index} $CLUSTER_ARRAY_INDEX", range(20, 28))

    assert [value[:2] for value in functions.get(WAIT_S)] == [
        (item, str(n)) for n, item in enumerate("abcdefg", 1)
    ]
    assert [r.stdout for r in commands.get(WAIT_S)] == [f"{n} {n} {n}\n" for n in range(20, 28)]
    assert len(functions.parts) == len(commands.parts) == 3
    assert functions.states() == {"COMPLETED": 7}


def test_no_more_run_at_once_than_asked_in_all_submissions(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CLUSTER_CFG_QUEUE_MAX_ARRAY", "2")
    text = f"mkdir {tmp_path}/one && sleep 0.05 && rmdir {tmp_path}/one"

    array = cluster.submit_array(text, range(5), max_running=1)

    assert array.wait(WAIT_S)  # the directory was there for one only


def test_waiting_for_an_array_is_waiting_for_all_elements(state_dir: Path) -> None:
    array = cluster.submit_array(square, range(3))

    assert cluster.wait([array], WAIT_S)
    ended = list(cluster.as_completed(array, WAIT_S))

    assert sorted(element.index for element in ended) == [0, 1, 2]


def test_one_state_stands_for_all_elements(state_dir: Path, tmp_path: Path) -> None:
    gate = f"until [ -e {tmp_path}/gate ]; do sleep 0.02; done"
    array = cluster.submit_array(f"test {{item}} = 1 || {gate}", [1, 2])
    for _ in cluster.as_completed(array[0], WAIT_S):
        assert array.state in ("RUNNING", "PENDING")

    (tmp_path / "gate").touch()

    assert array.wait(WAIT_S)
    assert array.state == "COMPLETED"
    ended = cluster.submit_array("exit {item}", [3, 0], max_running=1)
    ended.wait(WAIT_S)
    assert (ended.state, list(ended.states())) == ("FAILED", ["COMPLETED", "FAILED"])


def test_a_job_may_depend_on_an_array_and_on_an_element(state_dir: Path) -> None:
    array = cluster.submit_array("exit {item}", [0, 1])

    never = cluster.submit("true", dependencies=array)
    anyhow = cluster.submit("true", dependencies={"afterany": array})
    one = cluster.submit("true", dependencies=array[0])

    cluster.wait([never, anyhow, one], WAIT_S)
    assert [never.state, anyhow.state, one.state] == ["CANCELLED", "COMPLETED", "COMPLETED"]


def test_an_array_may_be_held_released_and_cancelled(state_dir: Path) -> None:
    array = cluster.submit_array("sleep 100", range(2), hold=True)

    assert array.states() == {"HELD": 2}
    array.release()
    array.hold()
    array.cancel()

    array.wait(WAIT_S)
    assert array.states() == {"CANCELLED": 2}


def test_another_process_finds_the_array_by_its_id(state_dir: Path) -> None:
    array = cluster.submit_array(square, [2, 3])

    loaded = JobArray.load(array.id)
    unpickled = pickle.loads(pickle.dumps(array))

    assert loaded.get(WAIT_S) == unpickled.get(WAIT_S) == [4, 9]
    assert pickle.loads(pickle.dumps(array[1])).get(WAIT_S) == 9


def test_an_unknown_array_is_an_error_that_says_what_to_do(state_dir: Path) -> None:
    with pytest.raises(cluster.UnknownJob, match=r"cluster\.Job\.load"):
        JobArray.load(17)


# ---------------------------------------------------------------- retries


def test_what_failed_is_retried_with_its_items_and_indices(state_dir: Path, tmp_path: Path) -> None:
    items = [str(tmp_path / name) for name in ("ok1", "bad2", "ok3", "bad4", "bad5")]
    array = cluster.submit_array(fail_once, items)
    assert not array.wait(WAIT_S)
    assert [element.index for element in array.failed] == [2, 4, 5]

    array.retry_failed()

    assert array.wait(WAIT_S)
    assert array.get() == ["1 ok1", "2 bad2", "3 ok3", "4 bad4", "5 bad5"]
    assert array.states() == {"COMPLETED": 5}
    assert len(array.parts) == 2
    assert array.retry_failed() is array
    assert len(array.parts) == 2  # nothing was left to retry


def test_another_process_may_retry_and_all_see_it(state_dir: Path, tmp_path: Path) -> None:
    array = cluster.submit_array(fail_once, [str(tmp_path / "bad"), str(tmp_path / "ok")])
    array.wait(WAIT_S)

    JobArray.load(array.id).retry_failed().wait(WAIT_S)

    assert JobArray.load(array.id).get() == ["1 bad", "2 ok"]


def test_a_retry_of_commands_sees_the_same_indices(state_dir: Path, tmp_path: Path) -> None:
    text = f"test -e {tmp_path}/{{index}} || {{ touch {tmp_path}/{{index}}; exit {{index}}; }}"
    array = cluster.submit_array(text, range(0, 9, 2))
    array.wait(WAIT_S)
    assert [element.index for element in array.failed] == [2, 4, 6, 8]

    array.retry_failed()

    assert array.wait(WAIT_S)
    assert sorted(os.listdir(tmp_path)) == ["0", "2", "4", "6", "8"]


def test_a_retry_may_ask_for_more(state_dir: Path) -> None:
    text = 'test "$CLUSTER_MEMORY_MIB" = 200'
    array = cluster.submit_array(text, range(2), mem=100)
    array.wait(WAIT_S)

    array.retry_failed(mem=200)

    assert array.wait(WAIT_S)


def test_who_waits_for_a_retried_array_waits_for_the_retry(state_dir: Path, tmp_path: Path) -> None:
    array = cluster.submit_array(fail_once, [str(tmp_path / name) for name in ("bad", "ok")])
    array.wait(WAIT_S)
    array.retry_failed()

    after = cluster.submit("true", dependencies=array)

    assert after.wait(WAIT_S)
    assert cluster.wait(array)


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize("items", ["abc", 5, None])
def test_items_that_are_no_list_are_refused(items: object, state_dir: Path) -> None:
    with pytest.raises(cluster.OptionsError, match="are no list"):
        cluster.submit_array(square, items)  # type: ignore[arg-type]


def test_no_items_are_refused(state_dir: Path) -> None:
    with pytest.raises(cluster.OptionsError, match="no items"):
        cluster.submit_array(square, [])


def test_the_indices_are_said_by_the_items_alone(state_dir: Path) -> None:
    with pytest.raises(cluster.OptionsError, match="indices="):
        cluster.submit_array(square, [1], indices="1-3")


@pytest.mark.parametrize("words", [{"args": (1,)}, {"kwargs": {"base": 2}}])
def test_items_and_arguments_do_not_go_together(words: dict[str, Any], state_dir: Path) -> None:
    with pytest.raises(cluster.OptionsError, match=rf"{next(iter(words))}=.*functools\.partial"):
        cluster.submit_array(int, ["1"], **words)


def test_an_item_that_no_command_can_be_given_is_named(state_dir: Path) -> None:
    with pytest.raises(cluster.OptionsError, match="item 1"):
        cluster.submit_array("echo {item}", ["a", object()])
