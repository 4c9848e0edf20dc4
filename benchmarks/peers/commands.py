"""What runs commands: psij, py-cluster-api, HyperQueue, task-spooler, GNU parallel, xargs."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path
from typing import Any

from peer import CORES, TRUE, CommandPeer


class Psij(CommandPeer):
    """psij-python's local executor; it has no limit of running jobs."""

    def start(self) -> None:
        import psij

        self.psij = psij
        self.executor = psij.JobExecutor.get_instance("local")

    def commands(self, number: int) -> None:
        psij, jobs = self.psij, []
        for index in range(number):
            out = Path(f"out-{index}").resolve()
            spec = psij.JobSpec(executable=TRUE, stdout_path=out, launcher="single")
            jobs.append(psij.Job(spec))
            self.executor.submit(jobs[-1])
        assert not any(job.wait().exit_code for job in jobs)


class PyClusterApi(CommandPeer):
    """py-cluster-api's local executor, asked each 20 ms (its default is 10 s), 100 at once."""

    batch = 100

    def start(self) -> None:
        import cluster_api

        self.api = cluster_api

    def commands(self, number: int) -> None:
        asyncio.run(self._all(number))

    async def _all(self, number: int) -> None:
        executor = self.api.create_executor(
            executor="local", job_name_prefix="bench", poll_interval=0.02
        )
        monitor = self.api.JobMonitor(executor, poll_interval=0.02)
        await monitor.start()
        spec = self.api.ResourceSpec(work_dir=os.getcwd())
        left = number
        while left:
            some = min(left, self.batch)
            jobs = [
                await executor.submit(command="true", name="n", resources=spec) for _ in range(some)
            ]
            await monitor.wait_for(*jobs, timeout=60)
            assert not any(job.exit_code for job in jobs)
            left -= some
        await monitor.stop()


class HyperQueue(CommandPeer):
    """HyperQueue's wheel: server and worker in this process; one job of many tasks."""

    def start(self) -> None:
        import hyperqueue
        from hyperqueue.cluster import WorkerConfig

        self.hq: Any = hyperqueue
        self.cluster = hyperqueue.LocalCluster(worker_config=WorkerConfig(cores=CORES))
        self.client = self.cluster.client()

    def commands(self, number: int) -> None:
        job = self.hq.Job(default_workdir=os.getcwd())
        for _ in range(number):
            job.program([TRUE])
        assert self.client.wait_for_jobs([self.client.submit(job)])

    def chain(self, links: int) -> None:
        job, before = self.hq.Job(default_workdir=os.getcwd()), []
        for _ in range(links):
            before = [job.program([TRUE], deps=before)]
        assert self.client.wait_for_jobs([self.client.submit(job)])


class TaskSpooler(CommandPeer):
    """`tsp` with two slots; one client process for each command, as one uses it."""

    def start(self) -> None:
        os.environ["TS_SOCKET"] = str(Path("tsp.socket").resolve())
        os.environ["TS_MAXFINISHED"] = "20000"
        os.environ["TMPDIR"] = os.getcwd()
        subprocess.run(["tsp", "-S", str(CORES)], check=True)

    def stop(self) -> None:
        subprocess.run(["tsp", "-K"], check=False)

    def commands(self, number: int) -> None:
        for _ in range(number):
            subprocess.run(["tsp", TRUE], stdout=subprocess.PIPE, check=True)
        subprocess.run(["tsp", "-w"], check=True)  # the last one
        while b"running" in subprocess.run(["tsp"], stdout=subprocess.PIPE, check=True).stdout:
            pass

    def chain(self, links: int) -> None:
        subprocess.run(["tsp", TRUE], stdout=subprocess.PIPE, check=True)
        for _ in range(links - 1):
            subprocess.run(["tsp", "-d", TRUE], stdout=subprocess.PIPE, check=True)
        subprocess.run(["tsp", "-w"], check=True)


class Parallel(CommandPeer):
    """GNU parallel with a log of exit codes and the outputs as files."""

    argv = ("parallel", "--will-cite", f"-j{CORES}", "--joblog", "log", "--results", "out")

    def commands(self, number: int) -> None:
        lines = b"\n".join(b"%d" % index for index in range(number))
        subprocess.run(
            [*self.argv, TRUE], input=lines, check=True, stdout=subprocess.DEVNULL
        )  # fmt: skip


class Xargs(CommandPeer):
    """`xargs -P2 -n1`: no exit code of each, no output of each."""

    def commands(self, number: int) -> None:
        lines = b"\n".join(b"%d" % index for index in range(number))
        subprocess.run(["xargs", f"-P{CORES}", "-n1", TRUE], input=lines, check=True)
