"""Being told when jobs end: in event loops, by callbacks, by a job of its own."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import cluster
from cluster.testing import work
from cluster.testing.contract.site import Gate, Site

__all__ = [
    "test_a_callback_is_called_once_however_the_job_ended",
    "test_a_callback_may_come_late_and_may_be_a_coroutine",
    "test_a_command_is_run_when_the_job_has_ended",
    "test_a_whole_array_is_awaited_and_told_of",
    "test_awaited_jobs_come_back_as_they_end",
    "test_jobs_are_awaited_while_others_run",
]


def test_jobs_are_awaited_while_others_run(site: Site, gate: Gate) -> None:
    last, value, failing = gate.running(), site.job(work.add, (2, 3)), site.job(work.fail, ("me",))

    async def main() -> tuple[Any, ...]:
        waits = asyncio.ensure_future(cluster.aio.wait(last))
        cluster.submit_many([value, failing])  # watched later than the one that runs
        found = (
            await cluster.aio.get(value),
            await asyncio.gather(cluster.aio.get(failing), return_exceptions=True),
        )
        assert not waits.done()
        gate.open()
        return (*found, await waits)

    five, (error,), completed = asyncio.run(asyncio.wait_for(main(), site.patience_s * 2))

    assert (five, type(error), completed) == (5, KeyError, True)


def test_awaited_jobs_come_back_as_they_end(site: Site, gate: Gate) -> None:
    last, first = gate.running(), site.submit(work.add, (2, 3))

    async def main() -> list[Any]:
        found = []
        async for job in cluster.aio.as_completed([last, first], site.patience_s):
            found.append((job.id, await job))
            gate.open()
        return found

    found = asyncio.run(main())

    assert found == [(first.id, 5), (last.id, (0, "", ""))]


def test_a_callback_is_called_once_however_the_job_ended(site: Site) -> None:
    told: list[tuple[str, str | None, int | None]] = []
    ended = threading.Semaphore(0)

    def note(word: str, job: cluster.Job) -> None:
        told.append((word, job.state, job.exitcode))
        ended.release()

    job = site.submit(["sh", "-c", "exit 3"])
    job.on_success(lambda job: note("success", job)).on_failure(lambda job: note("failure", job))
    job.on_exit(lambda job: note("exit", job))
    job.wait(site.patience_s)

    assert ended.acquire(timeout=site.patience_s)
    assert ended.acquire(timeout=site.patience_s)
    assert told == [("failure", "FAILED", 3), ("exit", "FAILED", 3)]


def test_a_callback_may_come_late_and_may_be_a_coroutine(site: Site, gate: Gate) -> None:
    async def main() -> list[str]:
        loop, told, done = asyncio.get_running_loop(), [], asyncio.Event()

        async def note(job: cluster.Job) -> None:
            assert asyncio.get_running_loop() is loop
            told.append(f"running {job.id}")

        running.on_success(note, condition=lambda job: job.exitcode == 0)
        running.on_success(note, condition=lambda job: job.exitcode == 3)
        gate.open()
        assert await cluster.aio.wait(running, site.patience_s)
        ended.on_failure(note).on_success(lambda job: told.append(f"ended {job.id}"))
        ended.on_exit(lambda job: done.set())
        await done.wait()
        return told

    ended = site.submit(["true"])
    site.end(ended)
    running = gate.running()

    told = asyncio.run(asyncio.wait_for(main(), site.patience_s * 2))

    assert told == [f"running {running.id}", f"ended {ended.id}"]


def test_a_whole_array_is_awaited_and_told_of(site: Site) -> None:
    async def main() -> tuple[list[str], str]:
        told = asyncio.get_running_loop().create_future()
        array = cluster.submit_array("echo {item}; exit {item}", [0, 3], **site.words())
        site.jobs += array.parts
        array.on_success(lambda _: told.set_result("success"))
        array.on_failure(lambda array: told.set_result(array.state))
        return [result.stdout for result in await array], await told

    with site.can("array"):
        found = asyncio.run(asyncio.wait_for(main(), site.patience_s))

        assert found == (["0\n", "3\n"], "FAILED")


def test_a_command_is_run_when_the_job_has_ended(site: Site) -> None:
    path = site.folder / "told"
    tell = f"echo $CLUSTER_ENDED_ID $CLUSTER_ENDED_STATE > {path}.new; mv {path}.new {path}"

    job = site.submit(["sh", "-c", "exit 3"], notify=tell)

    site.until(path.exists, "told", site.patience_s * 2)
    assert path.read_text() == f"{job.id} FAILED\n"
    site.end(*cluster.Queue.reconnect("notify ", site.qtype))
