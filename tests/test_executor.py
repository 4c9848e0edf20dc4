"""`cluster.Executor`, with a job for each call and with warm workers."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path

import pytest

import cluster
from cluster import Executor

WAIT_S = 60.0


class Point:
    def __init__(self, x: int) -> None:
        self.x = x


def square(x: int) -> int:
    return x * x


def kill_at_3(x: int) -> int:
    if x == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(params=[False, True], ids=["a job each", "warm workers"])
def executor(request: pytest.FixtureRequest, state_dir: Path) -> Iterator[Executor]:
    with Executor(reuse=request.param) as made:
        yield made


@pytest.fixture
def warm(state_dir: Path) -> Iterator[Executor]:
    with Executor(reuse=True) as made:
        yield made


# ---------------------------------------------------------------- both kinds


def test_a_future_gives_the_value(executor: Executor) -> None:
    future = executor.submit(square, 7)

    assert isinstance(future, futures.Future)
    assert future.result(WAIT_S) == 49
    assert future.done()


def test_keywords_closures_and_classes_travel(executor: Executor) -> None:
    factor = 3

    assert executor.submit(int, "ff", base=16).result(WAIT_S) == 255
    assert executor.submit(lambda x: x * factor, 4).result(WAIT_S) == 12
    assert executor.submit(Point, 5).result(WAIT_S).x == 5
    assert executor.submit(Point(6).__class__, x=6).result(WAIT_S).x == 6


def test_an_exception_is_the_functions_own(executor: Executor) -> None:
    future = executor.submit(int, "x")

    error = future.exception(WAIT_S)

    assert isinstance(error, ValueError)
    assert "in the job" in str(error.__cause__)


def test_a_crash_breaks_no_other_call(executor: Executor) -> None:
    calls = [executor.submit(kill_at_3, x) for x in range(12)]
    futures.wait(calls, WAIT_S)

    error = calls[3].exception()
    assert isinstance(error, cluster.JobFailed)
    assert error.signal == signal.SIGKILL
    assert [c.result() for n, c in enumerate(calls) if n != 3] == [*range(3), *range(4, 12)]
    assert executor.submit(square, 2).result(WAIT_S) == 4


def test_sys_exit_is_a_failed_call(executor: Executor) -> None:
    assert isinstance(executor.submit(sys.exit, 3).exception(WAIT_S), cluster.JobFailed)
    assert executor.submit(square, 2).result(WAIT_S) == 4


def test_a_result_that_cannot_be_pickled_is_a_failed_call(executor: Executor) -> None:
    error = executor.submit(eval, "(x for x in 'ab')").exception(WAIT_S)

    assert isinstance(error, cluster.JobFailed)
    assert "generator" in str(error)


def test_an_argument_that_cannot_be_pickled_is_an_error_at_once(executor: Executor) -> None:
    with pytest.raises(cluster.PayloadError):
        executor.submit(square, threading.Lock())  # type: ignore[arg-type]

    assert executor.submit(square, 2).result(WAIT_S) == 4


def test_large_arguments_and_values_come_through(executor: Executor) -> None:
    data = os.urandom(3 << 20)

    assert executor.submit(bytes.__add__, data, b"!").result(WAIT_S) == data + b"!"


@pytest.mark.parametrize("chunksize", [1, 4])
def test_map_is_in_order(executor: Executor, chunksize: int) -> None:
    assert list(executor.map(pow, range(10), [2] * 10, chunksize=chunksize)) == [
        x * x for x in range(10)
    ]


def test_wait_and_as_completed_of_the_standard_library_work(executor: Executor) -> None:
    calls = {executor.submit(square, x) for x in range(5)}

    done = list(futures.as_completed(calls, WAIT_S))
    waited = futures.wait(calls, WAIT_S)

    assert set(done) == calls == waited.done


def test_a_callback_is_called(executor: Executor) -> None:
    seen: list[int] = []
    future = executor.submit(square, 3)

    future.add_done_callback(lambda f: seen.append(f.result()))

    until(lambda: seen == [9])


def test_no_call_is_taken_after_shutdown_and_those_there_are_made(executor: Executor) -> None:
    calls = [executor.submit(square, x) for x in range(5)]

    executor.shutdown()

    assert all(call.done() for call in calls)
    assert [call.result() for call in calls] == [0, 1, 4, 9, 16]
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(square, 1)
    executor.shutdown()  # once more does no harm


def test_shutdown_may_cancel_what_has_not_begun(executor: Executor) -> None:
    calls = [executor.submit(time.sleep, 0.2) for _ in range(40)]

    executor.shutdown(cancel_futures=True)

    assert all(call.done() for call in calls)
    assert any(call.cancelled() for call in calls)


# ---------------------------------------------------------------- a job each


def test_each_call_is_a_job_of_the_queue(state_dir: Path) -> None:
    with Executor(cores=2, name="mine") as executor:
        processes = {executor.submit(os.getpid).result(WAIT_S) for _ in range(3)}

    assert len(processes) == 3
    assert [(job.name, job.cores) for job in cluster.Queue()] == [("mine", 2)] * 3


def test_a_call_that_hangs_is_ended_by_cancel(state_dir: Path) -> None:
    with Executor() as executor:
        future = executor.submit(time.sleep, 1000)
        until(future.running)

        assert future.cancel()

        assert future.cancelled()
        assert futures.wait([future], WAIT_S).not_done == set()


def test_a_call_that_has_ended_is_not_cancelled(state_dir: Path) -> None:
    with Executor() as executor:
        future = executor.submit(square, 3)
        assert future.result(WAIT_S) == 9

        assert not future.cancel()


def test_a_time_limit_of_a_call_is_that_of_its_job(state_dir: Path) -> None:
    with Executor(time=0.3) as executor:
        assert isinstance(executor.submit(time.sleep, 1000).exception(WAIT_S), cluster.JobTimeout)


def test_an_executor_may_be_used_in_a_job_that_has_all_cores(state_dir: Path) -> None:
    def inside() -> int:
        with Executor() as executor:
            return executor.submit(square, 5).result(WAIT_S)

    cores = cluster.Queue().resources().cores

    assert cluster.submit(inside, cores=cores).get(WAIT_S) == 25


# ---------------------------------------------------------------- warm workers


def test_workers_stay_and_are_jobs_of_the_queue(warm: Executor) -> None:
    processes = {warm.submit(os.getpid).result(WAIT_S) for _ in range(20)}

    running = [job for job in cluster.Queue() if job.state == "RUNNING"]
    assert len(processes) <= cluster.Queue().resources().cores
    assert {job.name for job in running} == {"worker"}


def test_no_more_workers_than_asked(state_dir: Path) -> None:
    with Executor(reuse=True, max_workers=1) as executor:
        assert len(set(executor.map(lambda _: os.getpid(), range(20)))) == 1


def test_a_call_that_hangs_takes_its_worker_along_and_no_other_call(state_dir: Path) -> None:
    with Executor(reuse=True, timeout=0.5, grace=0.2) as executor:
        calls = [executor.submit(time.sleep, 1000 if n == 1 else 0) for n in range(8)]

        error = calls[1].exception(WAIT_S)

        assert isinstance(error, cluster.JobTimeout)
        assert [call.exception(WAIT_S) for n, call in enumerate(calls) if n != 1] == [None] * 7


def test_what_a_call_leaks_goes_with_its_worker(state_dir: Path) -> None:
    def leak(_: int) -> tuple[int, int]:
        held = sys.__dict__.setdefault("leaked_by_a_test", [])
        held.append(bytearray(1 << 20))
        return os.getpid(), len(held)

    with Executor(reuse=True, max_calls=4) as executor:
        told = list(executor.map(leak, range(20)))

    assert max(count for _, count in told) == 4
    assert len({pid for pid, _ in told}) >= 5  # two work at once: the last may not have had four


def test_a_worker_without_work_leaves_and_another_comes(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster._warm_workers._IDLE_S", 0.1)
    with Executor(reuse=True) as executor:
        first = executor.submit(os.getpid).result(WAIT_S)
        until(lambda: all(job.done for job in cluster.Queue()))

        assert executor.submit(os.getpid).result(WAIT_S) != first


def test_workers_that_cannot_start_are_an_error_of_their_calls(
    state_dir: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\nexit 7\n")
    broken.chmod(0o755)
    with Executor(reuse=True, python=str(broken)) as executor:
        assert isinstance(executor.submit(square, 2).exception(WAIT_S), cluster.JobFailed)


def test_workers_leave_when_the_executor_is_dropped(state_dir: Path) -> None:
    executor = Executor(reuse=True)
    assert executor.submit(square, 2).result(WAIT_S) == 4

    del executor

    until(lambda: all(job.done for job in cluster.Queue()))


def test_what_changes_between_calls_travels_anew(warm: Executor) -> None:
    box = [1]

    def read() -> int:
        return box[0]

    first = warm.submit(read).result(WAIT_S)
    box[0] = 2

    assert (first, warm.submit(read).result(WAIT_S)) == (1, 2)


# ---------------------------------------------------------------- mistakes


def test_warm_workers_are_refused_where_nobody_can_reach_them(
    monkeypatch: pytest.MonkeyPatch, state_dir: Path
) -> None:
    scheduler = cluster.queue.scheduler_for("local")
    monkeypatch.setattr(type(scheduler), "qtype", "slurm")

    with pytest.raises(cluster.OptionsError, match=r"this machine only.*cluster\.map"):
        Executor(qtype="local", reuse=True)


@pytest.mark.parametrize(
    "keywords",
    [
        {"max_workers": 0, "reuse": True},
        {"max_workers": 2},
        {"max_calls": 2},
        {"timeout": 3},
        {"timeout": -1, "reuse": True},
        {"array": "1-3"},
        {"coers": 3},
    ],
    ids=str,
)
def test_a_keyword_that_makes_no_sense_is_refused(
    keywords: dict[str, object], state_dir: Path
) -> None:
    with pytest.raises(cluster.OptionsError):
        Executor(**keywords)  # type: ignore[arg-type]


def test_what_is_no_function_is_refused_at_once_by_workers_too(state_dir: Path) -> None:
    with (
        Executor(reuse=True) as executor,
        pytest.raises(cluster.OptionsError, match="'echo' is no function"),
    ):
        executor.submit("echo")  # type: ignore[arg-type]
