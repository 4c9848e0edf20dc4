"""What is called when a job ends: each once, in the right place, and no mistake goes unseen."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import cluster
from cluster.errors import OptionsError
from cluster.job import Job, make_job

LIMIT_S = 60.0  # only waited for when a test fails

pytestmark = pytest.mark.slow


class Calls:
    """Notes who was called, in which thread, and waits for that."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str | None]] = []
        self.threads: list[str] = []
        self._changed = threading.Condition()

    def named(self, name: str) -> Any:
        def called(job: Job) -> None:
            with self._changed:
                self.seen.append((name, job.state))
                self.threads.append(threading.current_thread().name)
                self._changed.notify_all()

        return called

    def until(self, count: int) -> list[tuple[str, str | None]]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.seen) >= count, LIMIT_S), self.seen
        return self.seen


@pytest.fixture
def calls() -> Calls:
    return Calls()


GATED = 'until [ -e "$0" ]; do sleep 0.02; done; exit'


def gated(gate: Path, code: int = 0) -> list[str]:
    return ["/bin/sh", "-c", f'{GATED} "$1"', str(gate), str(code)]


def test_success_and_exit_are_told_of_a_job_that_completed(state_dir: Path, calls: Calls) -> None:
    job = cluster.submit("true")

    chained = (
        job.on_failure(calls.named("failure"))
        .on_success(calls.named("success"))
        .on_exit(calls.named("exit"))
    )

    assert chained is job
    assert calls.until(2) == [("success", "COMPLETED"), ("exit", "COMPLETED")]
    assert calls.threads == ["cluster-callbacks"] * 2


@pytest.mark.parametrize(("command", "state"), [("exit 3", "FAILED"), ("sleep 600", "CANCELLED")])
def test_failure_is_told_of_every_other_end(
    command: str, state: str, state_dir: Path, calls: Calls
) -> None:
    job = cluster.submit(command)
    job.on_success(calls.named("success")).on_failure(calls.named("failure"))
    job.on_exit(calls.named("exit"))

    if state == "CANCELLED":
        job.cancel()

    assert calls.until(2) == [("failure", state), ("exit", state)]


def test_each_is_called_once_whoever_learns_of_the_end_first(
    state_dir: Path, tmp_path: Path, calls: Calls
) -> None:
    job = cluster.submit(gated(tmp_path / "gate")).on_exit(calls.named("exit"))
    (tmp_path / "gate").touch()

    job.wait()
    job.get()
    job.update_queue_info()
    job.on_exit(calls.named("last"))

    assert calls.until(2) == [("exit", "COMPLETED"), ("last", "COMPLETED")]


def test_one_that_comes_after_the_end_is_called_too(state_dir: Path, calls: Calls) -> None:
    done = cluster.submit("true")
    done.wait()

    cluster.Job.load(str(done.id)).on_success(calls.named("late"))

    assert calls.until(1) == [("late", "COMPLETED")]


def test_one_can_be_registered_before_the_job_is_submitted(state_dir: Path, calls: Calls) -> None:
    job = make_job("true").on_exit(calls.named("early"))

    job.submit()

    assert calls.until(1) == [("early", "COMPLETED")]


def test_a_condition_decides_when_the_job_has_ended(state_dir: Path, calls: Calls) -> None:
    job = cluster.submit("exit 7")

    job.on_exit(calls.named("other"), condition=lambda job: job.exitcode == 8)
    job.on_exit(calls.named("seven"), condition=lambda job: job.exitcode == 7)

    assert calls.until(1) == [("seven", "FAILED")]


def test_what_one_raises_is_logged_and_the_others_are_called(
    state_dir: Path, calls: Calls, caplog: pytest.LogCaptureFixture
) -> None:
    def wrong(job: Job) -> None:
        raise ZeroDivisionError("my mistake")

    job = cluster.submit("true")
    job.on_exit(calls.named("never"), condition=wrong).on_exit(wrong).on_exit(calls.named("next"))

    assert calls.until(1) == [("next", "COMPLETED")]
    told = caplog.text
    assert told.count("ZeroDivisionError: my mistake") == 2
    assert 'raise ZeroDivisionError("my mistake")' in told  # the traceback
    assert f"called for job {job.id}" in told


def test_a_coroutine_function_runs_to_its_end_without_a_loop(
    state_dir: Path, calls: Calls, caplog: pytest.LogCaptureFixture
) -> None:
    async def later(job: Job) -> None:
        await asyncio.sleep(0)
        calls.named("later")(job)
        raise LookupError("after it")

    cluster.submit("true").on_success(later).on_success(calls.named("next"))

    assert calls.until(2) == [("later", "COMPLETED"), ("next", "COMPLETED")]
    assert "LookupError: after it" in caplog.text


def test_what_is_registered_in_a_loop_is_called_there(
    state_dir: Path, calls: Calls, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        done = asyncio.Event()

        async def later(job: Job) -> None:
            await asyncio.sleep(0)
            calls.named("later")(job)
            done.set()
            raise LookupError("in the loop")

        cluster.submit("exit 1").on_failure(calls.named("plain")).on_failure(later)
        await asyncio.wait_for(done.wait(), LIMIT_S)
        await asyncio.sleep(0)

    asyncio.run(main())

    assert calls.seen == [("plain", "FAILED"), ("later", "FAILED")]
    assert calls.threads == ["MainThread"] * 2
    assert "LookupError: in the loop" in caplog.text


def test_a_loop_that_is_gone_is_told_and_breaks_nothing(
    state_dir: Path, tmp_path: Path, calls: Calls, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> Job:
        return cluster.submit(gated(tmp_path / "gate")).on_exit(calls.named("gone"))

    job = asyncio.run(main())
    job.on_exit(calls.named("here"))
    (tmp_path / "gate").touch()

    assert calls.until(1) == [("here", "COMPLETED")]
    assert "its event loop is closed" in caplog.text


def test_a_callback_may_submit_and_wait(state_dir: Path, calls: Calls) -> None:
    def again(job: Job) -> None:
        second = cluster.submit("exit 5")
        second.wait()
        calls.named("second")(second)

    cluster.submit("true").on_exit(again)

    assert calls.until(1) == [("second", "FAILED")]


def test_elements_of_arrays_have_callbacks(state_dir: Path, calls: Calls) -> None:
    array = cluster.submit("exit $CLUSTER_ARRAY_INDEX", array="0-1")

    Job.load(f"{array.id}_0").on_success(calls.named("good"))
    calls.until(1)
    Job.load(f"{array.id}_1").on_failure(calls.named("bad"))

    assert calls.until(2) == [("good", "COMPLETED"), ("bad", "FAILED")]


@pytest.mark.parametrize(("last", "told"), [(0, "success"), (3, "failure")])
def test_a_whole_array_has_callbacks_that_are_called_once(
    last: int, told: str, state_dir: Path, tmp_path: Path, calls: Calls
) -> None:
    gate = tmp_path / "gate"
    array = cluster.submit_array(["sh", "-c", f"{GATED} {{item}}", str(gate)], [0, 0, last])
    seen: list[Any] = []

    chained = (
        array.on_success(calls.named("success"))
        .on_failure(calls.named("failure"))
        .on_exit(seen.append, condition=lambda array: array[2].exitcode == last)
        .on_exit(calls.named("never"), condition=lambda array: array[2].exitcode == 7)
        .on_exit(calls.named("exit"))
    )
    assert chained is array
    array[0].on_exit(calls.named("element"))
    gate.touch()

    assert [name for name, _ in calls.until(3)][1:] == [told, "exit"]
    assert seen == [array]
    array.on_exit(calls.named("late"))
    assert [name for name, _ in calls.until(4)][3:] == ["late"]


def test_the_end_of_a_retry_is_another_end(state_dir: Path, tmp_path: Path, calls: Calls) -> None:
    array = cluster.submit_array(f"test {{item}} = 1 || test -e {tmp_path}/go", [1, 2])
    array.on_exit(calls.named("first")).on_success(calls.named("not yet"))
    calls.until(1)
    (tmp_path / "go").touch()

    array.retry_failed().on_success(calls.named("retried")).on_failure(calls.named("no"))

    assert [name for name, _ in calls.until(2)] == ["first", "retried"]


def test_a_coroutine_is_called_with_an_array_in_its_loop(state_dir: Path) -> None:
    async def main() -> Any:
        told = asyncio.get_running_loop().create_future()

        async def tell(array: cluster.JobArray) -> None:
            told.set_result((array, asyncio.get_running_loop()))

        array = cluster.submit_array(abs, [-1, -2])
        array.on_success(tell)
        assert await told == (array, asyncio.get_running_loop())
        return await array

    assert asyncio.run(asyncio.wait_for(main(), LIMIT_S)) == [1, 2]


def test_what_an_array_cannot_be_called_with_is_refused(state_dir: Path) -> None:
    array = cluster.submit_array("true", range(2))

    with pytest.raises(OptionsError, match=r"3 cannot be called with the array"):
        array.on_exit(3)  # type: ignore[arg-type]
    with pytest.raises(OptionsError, match=r"'x' cannot be called with the array"):
        array.on_exit(print, condition="x")  # type: ignore[arg-type]
    array.wait()


def test_what_cannot_be_called_is_refused_at_once(state_dir: Path) -> None:
    job = make_job("true")

    with pytest.raises(OptionsError, match="'mail me' cannot be called"):
        job.on_exit("mail me")  # type: ignore[arg-type]
    with pytest.raises(OptionsError, match="3 cannot be called"):
        job.on_exit(print, condition=3)  # type: ignore[arg-type]


def test_a_program_that_ends_after_its_job_has_called_all(state_dir: Path, tmp_path: Path) -> None:
    program = (
        "import cluster, time\n"
        "job = cluster.submit('true')\n"
        "job.on_exit(lambda job: (time.sleep(0.3), print('called', job.state)))\n"
        "job.wait()\n"
    )

    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True,
        cwd=tmp_path, timeout=LIMIT_S, check=True,
    )  # fmt: skip

    assert (done.stdout, done.stderr) == ("called COMPLETED\n", "")


def test_what_a_thread_has_learned_and_not_yet_called_is_called_at_the_end(
    state_dir: Path, tmp_path: Path
) -> None:
    program = (
        "import cluster, threading, time\n"
        "from cluster import _callbacks\n"
        "fire, main = _callbacks.fire, threading.current_thread()\n"
        "def late(job):\n"
        "    if threading.current_thread() is not main: time.sleep(3)\n"
        "    fire(job)\n"
        "_callbacks.fire = late\n"
        "job = cluster.submit('true')\n"
        "job.on_exit(lambda job: print('called', job.state))\n"
        "while not job._final: time.sleep(0.01)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path,
        timeout=LIMIT_S, check=True,
    )  # fmt: skip

    assert done.stdout == "called COMPLETED\n", done.stderr


def test_a_fork_calls_nothing_that_its_parent_registered(state_dir: Path, tmp_path: Path) -> None:
    program = (
        "import cluster, os, sys\n"
        "gate = sys.argv[1]\n"
        "wait = 'until [ -e \"$0\" ]; do sleep 0.02; done'\n"
        "job = cluster.submit(['/bin/sh', '-c', wait, gate])\n"
        "job.on_exit(lambda job: print('called by', 'parent' if os.getpid() == me else 'child'))\n"
        "me = os.getpid()\n"
        "if not os.fork():\n"
        "    open(gate, 'w').close()\n"
        "    other = cluster.submit('true')\n"
        "    other.on_exit(lambda job: print('its own', flush=True))\n"
        "    other.wait()\n"
        "    sys.exit()\n"
        "os.wait()\n"
        "job.wait()\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "gate")], capture_output=True, text=True,
        cwd=tmp_path, timeout=LIMIT_S, check=True,
    )  # fmt: skip

    assert sorted(done.stdout.splitlines()) == ["called by parent", "its own"], done.stderr


def test_waiting_for_callbacks_costs_no_time(state_dir: Path, tmp_path: Path, calls: Calls) -> None:
    cluster.submit(gated(tmp_path / "gate")).on_exit(calls.named("exit"))
    before = time.process_time()
    time.sleep(0.5)  # what a loop that asks again and again would use up

    used_s = time.process_time() - before

    (tmp_path / "gate").touch()
    calls.until(1)
    assert used_s < 0.05
