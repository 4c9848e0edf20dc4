"""Jobs in event loops: awaited, watched by the thousand, and never ended by who waits."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from fake_cluster import Site, Words, write_record

import cluster
from cluster import schedulers
from cluster.errors import JobFailed, OptionsError, QueueError, UnknownJob, WaitTimeout
from cluster.job import Job, make_job, submit_many
from cluster.local import client, lifecycle
from cluster.registry import Registry
from cluster.schedulers._endings import Policy
from cluster.schedulers.base import Ending
from cluster.schedulers.command import CommandScheduler

LIMIT_S = 60.0  # only waited for when a test fails

pytestmark = pytest.mark.slow


def double(x: int) -> int:
    return 2 * x


def fail(text: str) -> None:
    raise KeyError(text)


def half(x: int) -> int:
    if x % 2:
        raise ValueError(f"{x} is odd")
    return x // 2


def notes(error: BaseException) -> Any:
    return getattr(error, "__notes__", None)


def run(main: Awaitable[Any]) -> Any:
    return asyncio.run(asyncio.wait_for(main, LIMIT_S))


def gated(gate: Path) -> list[str]:
    return ["/bin/sh", "-c", 'until [ -e "$0" ]; do sleep 0.02; done', str(gate)]


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The name of each thread that connected to the queue."""
    made: list[str] = []
    connect = client.connect

    def noting(*args: Any, **kwargs: Any) -> Any:
        made.append(threading.current_thread().name)
        return connect(*args, **kwargs)

    monkeypatch.setattr(client, "connect", noting)
    return made


# ---------------------------------------------------------------- one job


def test_an_awaited_function_gives_its_value(state_dir: Path) -> None:
    async def main() -> Any:
        job = await cluster.aio.submit(double, 21)
        return await job

    assert run(main()) == 42


def test_an_awaited_function_raises_what_it_raised(state_dir: Path) -> None:
    async def main() -> None:
        await (await cluster.aio.submit(fail, "who"))

    with pytest.raises(KeyError, match="who"):
        run(main())


def test_an_awaited_command_gives_code_and_output(state_dir: Path) -> None:
    async def main() -> Any:
        return await cluster.submit("echo out; echo err >&2; exit 3")

    assert run(main()) == (3, "out\n", "err\n")


def test_an_awaited_array_gives_a_list(state_dir: Path) -> None:
    async def main() -> Any:
        return await cluster.submit("echo $CLUSTER_ARRAY_INDEX", array="1-3")

    assert [stdout for _, stdout, _ in run(main())] == ["1\n", "2\n", "3\n"]


def test_a_result_that_is_kept_in_a_file_is_read(state_dir: Path) -> None:
    async def main() -> Any:
        return await cluster.submit(bytes, 3_000_000)

    assert len(run(main())) == 3_000_000


def test_a_job_can_be_awaited_twice_and_after_its_end(state_dir: Path) -> None:
    async def main() -> list[int]:
        job = cluster.submit(double, 4)
        first = await asyncio.gather(value(job), value(job))
        return [*first, await job]

    async def value(job: Job) -> int:
        return int(await job)

    assert run(main()) == [8, 8, 8]


def test_the_event_loop_goes_on_while_a_job_is_awaited(state_dir: Path, tmp_path: Path) -> None:
    async def main() -> str:
        job = cluster.submit(gated(tmp_path / "gate"))
        waits = asyncio.ensure_future(cluster.aio.wait(job))
        await asyncio.sleep(0)
        (tmp_path / "gate").touch()  # only a loop that goes on gets here
        assert await waits
        return str(job.state)

    assert run(main()) == "COMPLETED"


def test_cancelling_who_waits_leaves_the_job_alone(state_dir: Path, tmp_path: Path) -> None:
    async def main() -> Any:
        job = cluster.submit(gated(tmp_path / "gate"))
        waits = asyncio.ensure_future(cluster.aio.get(job))
        while job.state != "RUNNING":
            await asyncio.sleep(0.01)
        waits.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waits
        (tmp_path / "gate").touch()
        return await job

    assert run(main())[0] == 0


def test_a_cancelled_job_raises_to_who_awaits_it(state_dir: Path) -> None:
    async def main() -> None:
        job = await cluster.aio.submit("sleep 600")
        waits = asyncio.ensure_future(cluster.aio.get(job))
        await asyncio.sleep(0)
        await cluster.aio.cancel(job)
        await waits

    with pytest.raises(cluster.JobCancelled):
        run(main())


def test_a_job_that_was_not_submitted_cannot_be_awaited(state_dir: Path) -> None:
    async def main() -> None:
        await make_job("true")

    with pytest.raises(OptionsError, match="was not submitted"):
        run(main())


def test_an_id_that_no_job_has_is_told(state_dir: Path) -> None:
    async def main() -> None:
        good = cluster.submit("true")
        await cluster.aio.wait([good, "999"])

    with pytest.raises(UnknownJob, match="999"):
        run(main())


# ---------------------------------------------------------------- many jobs


def test_jobs_come_back_as_they_were_given_and_as_they_end(state_dir: Path, tmp_path: Path) -> None:
    async def main() -> list[Any]:
        late = cluster.submit(gated(tmp_path / "gate"))
        early = cluster.submit("true")
        seen = []
        async for job in cluster.aio.as_completed([late, str(early.id)]):
            seen.append(job)
            (tmp_path / "gate").touch()
        return [*seen, late, str(early.id)]

    first, second, late, early = run(main())
    assert [first, second] == [early, late]


def test_wait_tells_whether_all_are_completed(state_dir: Path) -> None:
    async def main() -> list[bool]:
        good, bad = cluster.submit("true"), cluster.submit("exit 1")
        return [await cluster.aio.wait([good, bad]), await cluster.aio.wait(good)]

    assert run(main()) == [False, True]


def test_values_are_given_in_the_order_of_the_jobs(state_dir: Path) -> None:
    async def main() -> Any:
        jobs = await cluster.aio.submit_many([{"command": double, "args": n} for n in range(8)])
        return await cluster.aio.get(jobs, timeout=LIMIT_S)

    assert run(main()) == [0, 2, 4, 6, 8, 10, 12, 14]


def test_an_array_is_awaited_whole_and_by_element(state_dir: Path) -> None:
    async def main() -> Any:
        array = cluster.submit_array(double, [1, 2, 3])
        ended = [element async for element in cluster.aio.as_completed(array)]
        assert await cluster.aio.wait(array)
        return await cluster.aio.get(array), sorted([await element for element in ended])

    assert run(main()) == ([2, 4, 6], [2, 4, 6])


def test_an_array_itself_is_awaited_and_gives_its_values_in_order(
    state_dir: Path, tmp_path: Path
) -> None:
    async def main() -> Any:
        text = f"test {{item}} = soon || {shlex.join(gated(tmp_path / 'gate'))}; echo {{item}}"
        array = cluster.submit_array(text, ["late", "soon"])
        waiting = asyncio.ensure_future(anext(awaited(array)))
        first = await anext(cluster.aio.as_completed(array))
        assert (first.index, waiting.done()) == (2, False)
        (tmp_path / "gate").touch()
        return await waiting, await array

    async def awaited(array: Any) -> AsyncIterator[Any]:
        yield [result.stdout for result in await array]

    texts, results = run(main())
    assert texts == [result.stdout for result in results] == ["late\n", "soon\n"]


def test_an_awaited_array_raises_what_get_raises(state_dir: Path) -> None:
    array = cluster.submit_array(half, [4, 3, 2])
    with pytest.raises(ValueError, match="3 is odd") as told:
        array.get()

    async def main() -> None:
        await cluster.JobArray.load(array.id)

    with pytest.raises(ValueError, match="3 is odd") as caught:
        run(main())
    assert notes(caught.value) == notes(told.value)


def test_cancelling_who_awaits_an_array_leaves_it_alone(state_dir: Path, tmp_path: Path) -> None:
    async def main() -> Any:
        array = cluster.submit_array(gated(tmp_path / "gate"), range(2))
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(array, 0.1)
        assert not array.done
        (tmp_path / "gate").touch()
        return [result.exitcode for result in await array]

    assert run(main()) == [0, 0]


def test_an_array_of_several_submissions_that_was_retried_is_awaited(
    state_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLUSTER_CFG_QUEUE_MAX_ARRAY", "2")

    async def main() -> Any:
        array = cluster.submit_array(f"test {{item}} != 2 || test -e {tmp_path}/go", range(5))
        codes = [result.exitcode for result in await array]
        (tmp_path / "go").touch()
        again = array.retry_failed()
        return codes, [result.exitcode for result in await again], len(again.parts)

    assert run(main()) == ([0, 0, 1, 0, 0], [0, 0, 0, 0, 0], 4)


def test_a_timeout_says_how_many_are_left_and_they_go_on(state_dir: Path, tmp_path: Path) -> None:
    async def main() -> Any:
        jobs = [cluster.submit(gated(tmp_path / "gate")) for _ in range(2)]
        with pytest.raises(WaitTimeout, match=r"2 jobs did not end within 0\.05 s; they go on"):
            await cluster.aio.wait(jobs, timeout=0.05)
        (tmp_path / "gate").touch()
        return await cluster.aio.wait(jobs)

    assert run(main()) is True


def test_who_leaves_the_loop_early_gets_no_more(state_dir: Path, tmp_path: Path) -> None:
    async def main() -> int:
        jobs = [cluster.submit("true"), cluster.submit(gated(tmp_path / "gate"))]
        endings: AsyncIterator[Any] = cluster.aio.as_completed(jobs)
        count = 0
        async for _ in endings:
            count += 1
            break
        await endings.aclose()  # type: ignore[attr-defined]
        (tmp_path / "gate").touch()
        await jobs[1]
        return count

    assert run(main()) == 1


def test_5000_jobs_are_watched_over_one_connection(state_dir: Path, connections: list[str]) -> None:
    jobs = submit_many([{"command": abs, "args": -n} for n in range(5000)])
    del connections[:]

    async def main() -> list[int]:
        # All are watched at once, in three ways: by a loop, by a wait, each by itself.
        one_by_one = [asyncio.ensure_future(cluster.aio.get(job)) for job in jobs]
        waits = asyncio.ensure_future(cluster.aio.wait(jobs))
        ended = [job async for job in cluster.aio.as_completed(jobs)]
        assert await waits
        assert {job.id for job in ended} == {job.id for job in jobs}
        return await asyncio.gather(*one_by_one)

    values = asyncio.run(asyncio.wait_for(main(), 60))

    assert values == list(range(5000))
    assert connections == ["cluster-watch"]


def test_many_event_loops_share_the_thread_that_watches(
    state_dir: Path, connections: list[str], tmp_path: Path
) -> None:
    jobs = [cluster.submit(gated(tmp_path / "gate")) for _ in range(3)]
    del connections[:]
    codes: list[int] = []
    ready = threading.Barrier(4)

    async def main(job: Job) -> None:
        waits = asyncio.ensure_future(cluster.aio.get(job))
        await asyncio.sleep(0)
        ready.wait(LIMIT_S)
        codes.append((await waits)[0])

    threads = [threading.Thread(target=run, args=(main(job),)) for job in jobs]
    for thread in threads:
        thread.start()
    ready.wait(LIMIT_S)
    (tmp_path / "gate").touch()
    for thread in threads:
        thread.join(LIMIT_S)

    assert codes == [0, 0, 0]
    assert connections == ["cluster-watch"]


def test_the_thread_leaves_when_nothing_is_watched(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster._watching.IDLE_S", 0.05)

    async def main() -> None:
        await cluster.submit("true")

    run(main())

    deadline = time.monotonic() + LIMIT_S
    while "cluster-watch" in {thread.name for thread in threading.enumerate()}:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    run(main())  # and comes back


def test_who_awaits_does_not_notice_that_the_server_was_killed(
    state_dir: Path, tmp_path: Path
) -> None:
    async def main() -> Any:
        job = cluster.submit(gated(tmp_path / "gate"))
        waits = asyncio.ensure_future(cluster.aio.get(job))
        while job.state != "RUNNING":
            await asyncio.sleep(0.01)
        holder = lifecycle.holder(str(state_dir))
        assert holder is not None
        os.kill(holder.pid, signal.SIGKILL)
        (tmp_path / "gate").touch()
        return await waits

    assert run(main())[0] == 0


def parent() -> int:
    async def main() -> int:
        return int(await cluster.submit(double, 4))

    return asyncio.run(main())


def test_a_job_that_awaits_jobs_of_its_queue_lends_its_core(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLUSTER_CFG_LOCAL_CORES", "1")

    assert cluster.submit(parent).get(LIMIT_S) == 8


# ---------------------------------------------------------------- cluster schedulers


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def command(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CommandScheduler:
    monkeypatch.chdir(tmp_path)
    scheduler = CommandScheduler(
        Words(),
        registry=Registry("slurm", str(tmp_path / "registry")),
        policy=Policy(shortest_s=0.02, longest_s=0.1, grace_s=0.4, settle_s=0.2),
        programs=site,
    )
    monkeypatch.setattr(schedulers, "get", lambda qtype: scheduler)
    return scheduler


def finish(site: Site, job: Job) -> None:
    assert job.id is not None
    stem = job.submission.file_name.removesuffix("sbatch")
    write_record(f"{stem}exit", job.id, 0)
    Path(f"{stem}out").write_text(f"{job.name}\n")
    Path(f"{stem}err").write_text("")
    site.leave(job.id)


def test_jobs_of_a_cluster_are_awaited_also_those_that_come_later(
    site: Site, command: CommandScheduler
) -> None:
    async def main() -> Any:
        first = make_job("ls", name="first").submit()
        waits = asyncio.ensure_future(cluster.aio.get(first))
        await asyncio.sleep(0)
        second = make_job("ls", name="second").submit()
        finish(site, second)
        early = await second  # while the first is watched
        assert not waits.done()
        finish(site, first)
        return early, await waits

    assert run(main()) == ((0, "second\n", ""), (0, "first\n", ""))


def test_an_unknown_job_of_a_cluster_fails_alone(site: Site, command: CommandScheduler) -> None:
    async def main() -> Any:
        good = make_job("ls", name="good").submit()
        waits = [asyncio.ensure_future(cluster.aio.get(job)) for job in (good, "4711")]
        with pytest.raises(UnknownJob, match="4711"):
            await waits[1]
        finish(site, good)
        return await waits[0]

    assert run(main()) == (0, "good\n", "")


class Protocol:
    """A scheduler of somebody else's: it has no `watch`, and may break."""

    qtype, needs_files = "other", False

    def __init__(self, endings: Callable[..., Any]) -> None:
        self.endings = endings

    def query(self, ids: Any, *, elements: bool = False) -> list[Any]:
        return []


def test_a_scheduler_that_breaks_leaves_nobody_waiting(state_dir: Path) -> None:
    def endings(ids: Any, *, timeout: float | None = None, content: bool = False) -> Any:
        raise ZeroDivisionError("a mistake in a plug-in")

    async def main() -> None:
        await Job._of("1", Protocol(endings))  # type: ignore[arg-type]

    with pytest.raises(QueueError, match="a mistake in a plug-in"):
        run(main())


def test_a_scheduler_that_has_only_endings_is_watched_by_them(state_dir: Path) -> None:
    done = cluster.submit("exit 2")
    done.wait()
    rounds: list[list[str]] = []

    def endings(ids: Any, *, timeout: float | None = None, content: bool = False) -> Any:
        rounds.append(list(ids))
        if len(rounds) == 1:
            raise WaitTimeout("not yet")
        yield Ending(done.queue_info)  # type: ignore[arg-type]

    async def main() -> bool:
        return await cluster.aio.wait(Job._of(done.id, Protocol(endings)))  # type: ignore[arg-type]

    assert run(main()) is False
    assert rounds == [[done.id], [done.id]]


def test_what_ended_badly_is_an_error_when_awaited(state_dir: Path) -> None:
    async def main() -> None:
        await cluster.submit(os._exit, 3)

    with pytest.raises(JobFailed, match="exit code 3"):
        run(main())
