"""`cluster.map` and its kin."""

from __future__ import annotations

import itertools
import os
import threading
import time
from pathlib import Path

import pytest

import cluster
from cluster._mapping import chunk_size

WAIT_S = 60.0


def square(x: int) -> int:
    return x * x


def process(_: object) -> int:
    return os.getpid()


@pytest.mark.parametrize(
    ("left", "call_s", "size"),
    [
        (1000, 0.0, 500),  # nobody knows: one for each of two cores
        (1000, 1e-6, 250),  # short calls: two for each core
        (1000, 0.01, 30),  # 0.3 s of work
        (20, 0.01, 5),  # few are left: spread them
        (1000, 5.0, 1),
    ],
)
def test_a_chunk_is_so_much_work_as_is_aimed_at(left: int, call_s: float, size: int) -> None:
    assert chunk_size(left, ways=4, call_s=call_s, aim_s=0.3) == size


def test_values_come_in_the_order_of_the_items(state_dir: Path) -> None:
    assert list(cluster.map(square, range(1000))) == [x * x for x in range(1000)]


def test_several_iterables_give_several_arguments(state_dir: Path) -> None:
    assert list(cluster.map(pow, [2, 3, 4], iter([3, 2]))) == [8, 9]


def test_starmap_takes_tuples_of_arguments(state_dir: Path) -> None:
    assert list(cluster.starmap(pow, [(2, 3), [3, 2]])) == [8, 9]


def test_imap_unordered_gives_all_values(state_dir: Path) -> None:
    assert sorted(cluster.imap_unordered(square, range(50), chunk=7)) == [x * x for x in range(50)]


def test_nothing_to_do_gives_nothing(state_dir: Path) -> None:
    assert list(cluster.map(square, [])) == []


def test_each_chunk_is_a_process_of_its_own(state_dir: Path) -> None:
    processes = list(cluster.map(process, range(6), chunk=2))

    assert len(set(processes)) == 3
    assert processes[0] == processes[1]
    assert os.getpid() not in processes


def test_slow_calls_are_spread_over_the_cores(state_dir: Path) -> None:
    def slow(x: int) -> int:
        time.sleep(0.05)
        return os.getpid()

    processes = list(cluster.map(slow, range(40)))

    # 2 s of work: far more than one chunk may take, whatever was guessed at first.
    assert len(set(processes)) >= 4


def test_values_come_before_the_last_call_is_made(state_dir: Path, tmp_path: Path) -> None:
    gate = tmp_path / "gate"

    def wait_for_gate(x: int) -> int:
        deadline = time.monotonic() + WAIT_S
        while x == 1 and not gate.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        return x

    values = cluster.map(wait_for_gate, range(2), chunk=1)

    assert next(values) == 0
    gate.touch()
    assert next(values) == 1


def test_a_failing_item_ends_the_map_after_the_values_before_it(state_dir: Path) -> None:
    def inverse(x: int) -> float:
        return 1 / (x - 77)

    got: list[float] = []
    with pytest.raises(ZeroDivisionError) as caught:
        got.extend(cluster.map(inverse, range(100)))

    assert len(got) == 77
    assert caught.value.__notes__ == ["item 77 of the map: 77"]
    assert "in inverse" in str(caught.value.__cause__)


def test_what_is_behind_a_failing_item_is_cancelled_while_what_is_before_goes_on(
    state_dir: Path, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"

    def work(x: int) -> int:
        if x == 1:
            raise KeyError("second")
        deadline = time.monotonic() + WAIT_S / 2
        while not gate.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        return x

    def open_gate() -> None:
        deadline = time.monotonic() + WAIT_S / 4
        while time.monotonic() < deadline:
            if [job.state for job in cluster.Queue()].count("CANCELLED") == 6:
                gate.touch()
                return
            time.sleep(0.02)

    opener = threading.Thread(target=open_gate)
    opener.start()
    values = cluster.map(work, range(8), chunk=1)

    try:
        assert next(values) == 0
        with pytest.raises(KeyError, match="second"):
            next(values)
    finally:
        opener.join()
    assert gate.exists()  # six were cancelled while the first still ran


def test_a_map_that_is_dropped_is_cancelled(state_dir: Path) -> None:
    values = cluster.map(time.sleep, [WAIT_S] * 4, chunk=1)

    del values

    assert {job.state for job in cluster.Queue()} == {"CANCELLED"}


def test_a_crash_names_the_items_of_its_chunk(state_dir: Path) -> None:
    def crash(x: int) -> int:
        if x == 5:
            os._exit(9)
        return x

    with pytest.raises(cluster.JobFailed) as caught:
        list(cluster.map(crash, range(8), chunk=2))

    assert caught.value.exitcode == 9
    assert "items 4 to 5" in caught.value.__notes__[0]


def test_sys_exit_in_a_call_is_no_end_of_the_map(state_dir: Path) -> None:
    def leave(x: int) -> int:
        raise SystemExit(0)

    with pytest.raises(cluster.JobFailed, match="SystemExit"):
        list(cluster.map(leave, range(2)))


def test_an_item_that_cannot_be_pickled_is_named(state_dir: Path) -> None:
    with pytest.raises(cluster.PayloadError, match="item 3 "):
        cluster.map(square, [1, 2, 3, threading.Lock()])


def test_a_time_limit_cancels_what_is_left(state_dir: Path) -> None:
    with pytest.raises(cluster.WaitTimeout, match="0 of 2 calls"):
        list(cluster.map(time.sleep, [WAIT_S] * 2, timeout=0.3))

    assert {job.state for job in cluster.Queue()} == {"CANCELLED"}


def test_progress_counts_the_calls(state_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    list(cluster.map(square, range(5), chunk=2, progress=True))

    assert "5 of 5 calls done" in capsys.readouterr().err


def test_items_without_an_end_are_refused_before_they_fill_the_memory(state_dir: Path) -> None:
    with pytest.raises(cluster.OptionsError, match=r"count\(0\) has no end.*islice"):
        cluster.map(square, itertools.count())

    assert list(cluster.map(pow, itertools.count(), [2, 2, 2])) == [0, 1, 4]


@pytest.mark.parametrize("chunk", [0, -1, "large", True, 1.5])
def test_a_chunk_that_is_no_number_is_refused(chunk: object, state_dir: Path) -> None:
    with pytest.raises(cluster.OptionsError, match="chunk"):
        cluster.map(square, [1], chunk=chunk)  # type: ignore[arg-type]


def test_a_command_is_no_function(state_dir: Path) -> None:
    with pytest.raises(cluster.OptionsError, match="submit_array"):
        cluster.map("echo", [1])  # type: ignore[arg-type]
