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
    "test_a_command_is_run_when_the_job_has_ended",
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


def test_a_command_is_run_when_the_job_has_ended(site: Site) -> None:
    path = site.folder / "told"
    tell = f"echo $CLUSTER_ENDED_ID $CLUSTER_ENDED_STATE > {path}.new; mv {path}.new {path}"

    job = site.submit(["sh", "-c", "exit 3"], notify=tell)

    site.until(path.exists, "told", site.patience_s * 2)
    assert path.read_text() == f"{job.id} FAILED\n"
    site.end(*cluster.Queue.reconnect("notify ", site.qtype))
