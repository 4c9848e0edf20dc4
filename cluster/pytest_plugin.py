"""Fixtures for pytest: a Slurm, PBS, Torque, Grid Engine or LSF of one test's own.

    def test_pipeline(slurm):
        run_my_pipeline()                # its sbatch and squeue are the emulated ones
        slurm.wait_idle()
        assert {job.state for job in slurm.jobs()} == {"COMPLETED"}

and what real clusters do to programs, on purpose: see the methods of `Cluster`.
Whoever does not use a fixture pays for the import of this file only: all else
is imported by the fixtures.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from cluster.emulation.machine import Machine, Row

__all__ = ["Cluster", "Job", "lsf", "pbs", "sge", "slurm", "torque"]

MARK = "emulated"
CORES = 4  # the same on every machine, so that a test sees the same everywhere
_LOOK_S = 0.02
_SUBMIT = {
    "slurm": ("sbatch", "--parsable"),
    "pbs": ("qsub",),
    "torque": ("qsub",),
    "sge": ("qsub", "-terse"),
    "lsf": ("bsub",),
}
_ID = re.compile(r"(\d+)(?:_(\d+)|\[(\d+)\]|\.(\d+)\b)?")
_FINAL = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL", "LOST")


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known."""
    config.addinivalue_line(
        "markers",
        f"{MARK}(cores, memory, gpus, partitions, strict): how the cluster of the fixtures "
        "slurm, pbs, torque, sge and lsf is to be",
    )


@dataclass(frozen=True)
class Job:
    """A job as it really is, whatever the commands say of it.

    Attributes:
        id: "17"; of an array's element "17_3".
        name, state: the state by its long name: PENDING, RUNNING, COMPLETED ...
        exitcode: None if it did not run to an end of its own.
        signal: that ended it; 0 is none.
        reason: why it waits, or how it ended.
        attempt: how often it was started.
        cores, memory_mib: that it holds.
        options: what the family's commands keep with it, by the family's names.
    """

    id: str
    name: str
    state: str
    exitcode: int | None
    signal: int
    reason: str
    attempt: int
    cores: int
    memory_mib: int
    options: dict[str, str]

    @property
    def is_over(self) -> bool:
        """Whether its state is final."""
        return self.state in _FINAL


class Cluster:
    """A pretended cluster of one test, and what can go wrong in it.

    Attributes:
        family: "slurm", "pbs", "torque", "sge" or "lsf".
        env: the environment in which its commands are found; a test's own
            environment is the same.
        state_dir: of its queue.
    """

    def __init__(self, family: str, env: dict[str, str], plan_file: str) -> None:
        from cluster.emulation.faults import Plan

        self.family, self.env = family, env
        self.state_dir = env["CLUSTER_STATE_DIR"]
        self._plan_file, self._plan, self._failures = plan_file, Plan(), 0

    # ------------------------------------------------------------ using it

    def run(
        self, argv: Sequence[str] | str, *, check: bool = True, input: str = "", timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a command; a text is run by bash.

        Args:
            argv: the command.
            check: raise `CalledProcessError` unless its exit code is 0.
            input: its standard input.
            timeout: seconds.
        """
        words = ["bash", "-c", argv] if isinstance(argv, str) else list(argv)
        done = subprocess.run(
            words, env={**os.environ, **self.env}, input=input, text=True, capture_output=True,
            timeout=timeout, check=False,
        )  # fmt: skip
        if check and done.returncode:
            sys.stderr.write(done.stderr)
            done.check_returncode()
        return done

    def submit(self, script: str, *options: str) -> str:
        """Submit the text of a script; give the id that the scheduler told.

        A text without `#!` is bash's.
        """
        text = script if script.startswith("#!") else f"#!/bin/bash\n{script}\n"
        said = self.run([*_SUBMIT[self.family], *options], input=text).stdout
        found = re.search(r"<(\d+)>", said) if self.family == "lsf" else None
        return found[1] if found else said.strip()

    def jobs(self) -> list[Job]:
        """Give every job and every element of an array, by id."""
        return [_job(row) for row in self._machine.rows(elements=True) if not row.is_array]

    def job(self, id: str | int) -> Job:
        """Give one job, by the scheduler's id or by ours.

        Raises:
            KeyError: there is none.
        """
        row = self._machine.row(_own_id(id))
        if row is None:
            raise KeyError(f"no job {id}; there are {', '.join(job.id for job in self.jobs())}")
        return _job(row)

    def wait_idle(self, timeout: float = 30.0) -> None:
        """Wait until every job has ended.

        Raises:
            TimeoutError: some had not; it names them with what they wait for.
        """
        self._until(
            lambda: all(job.is_over for job in self.jobs()),
            timeout,
            lambda: "these have not ended: " + "; ".join(
                f"{job.id} {job.state} ({job.reason})" for job in self.jobs() if not job.is_over
            ),
        )  # fmt: skip

    def wait_for(self, id: str | int, state: str, timeout: float = 30.0) -> Job:
        """Wait until a job has a state, by its long name, and give it.

        Raises:
            TimeoutError: it had it not in time.
        """
        self._until(
            lambda: self.job(id).state == state,
            timeout,
            lambda: f"job {id} is {self.job(id).state}, not {state}",
        )
        return self.job(id)

    @property
    def _machine(self) -> Machine:
        from cluster.emulation.machine import Machine

        return Machine(self.state_dir, self.family)

    def _until(
        self, holds: Callable[[], bool], timeout: float, complaint: Callable[[], str]
    ) -> None:
        end = time.monotonic() + timeout
        while not holds():
            if time.monotonic() > end:
                raise TimeoutError(f"after {timeout:g} s: {complaint()}")
            time.sleep(_LOOK_S)

    # ------------------------------------------------------------ commands that fail

    def fail(
        self,
        *commands: str,
        times: int = 1,
        text: str | None = None,
        code: int | None = None,
        after: bool = False,
    ) -> None:
        """Have commands fail as they do when their server is away.

        Args:
            commands: which; without any, all.
            times: how many calls fail; 0 is all from now on.
            text, code: what they say on standard error, and their exit code.
            after: what they were to do is done before they fail.
        """
        self._add_failure(commands, times=times, text=text, code=code, after=after)

    def hang(
        self, *commands: str, times: int = 1, seconds: float = 3600.0, after: bool = False
    ) -> None:
        """Have commands say nothing for so long, and then fail; see `fail`."""
        self._add_failure(commands, times=times, hang_s=seconds, after=after)

    def _add_failure(self, commands: Sequence[str], **fields: Any) -> None:
        from cluster.emulation.faults import Failure

        self._failures += 1
        one = Failure(id=str(self._failures), commands=tuple(commands) or ("*",), **fields)
        self._change(failures=(*self._plan.failures, one))

    # ------------------------------------------------------------ what is known of jobs

    def lag_books(self, seconds: float) -> None:
        """Have the books (sacct, qacct, bhist ...) show what was so long ago."""
        self._change(books_lag_s=seconds)

    def lag_queue(self, seconds: float) -> None:
        """Have squeue, qstat and bjobs show what was so long ago, as behind a cache."""
        self._change(queue_lag_s=seconds)

    def reuse_id(self, id: str | int) -> None:
        """Give the next job that is submitted this id, which another one had."""
        self._change(reuse=(*self._plan.reuse, _own_id(id)))

    def lose(self, id: str | int) -> None:
        """Have a job vanish: it ends, and neither the queue nor the books ever knew it."""
        self._change(lost=(*self._plan.lost, _own_id(id)))
        self._kill(_own_id(id))

    # ------------------------------------------------------------ what happens to jobs

    def fail_node(self, id: str | int) -> None:
        """Have the machine fail under a running job: its processes are gone, it is NODE_FAIL."""
        self._end(id, "NODE_FAIL")

    def run_out_of_memory(self, id: str | int) -> None:
        """Have a running job killed for its memory: it is OUT_OF_MEMORY."""
        self._end(id, "OUT_OF_MEMORY")

    def preempt(self, id: str | int) -> None:
        """Have a running job ended and queued again, to wait until `resume`."""
        own, client = _own_id(id), self._machine.client
        before = self.job(own).attempt
        self._change(waiting={**self._plan.waiting, own: "Begin: after a preemption"})
        client.control("pause")  # else it would be started again before it is held
        try:
            client.act("requeue", [own])
            self._until(
                lambda: self.job(own).state == "PENDING" or self.job(own).is_over,
                10.0,
                lambda: f"job {id} cannot be preempted: it is {self.job(own).state}",
            )
            client.act("hold", [own])
        finally:
            client.control("resume")
        if self.job(own).state != "HELD":
            raise ValueError(f"job {id} was not running (attempt {before}): nothing to preempt")

    def resume(self, id: str | int) -> None:
        """Let a job that was preempted start again."""
        own = _own_id(id)
        self._change(waiting={k: v for k, v in self._plan.waiting.items() if k != own})
        self._machine.client.act("release", [own])

    def _end(self, id: str | int, state: str) -> None:
        own = _own_id(id)
        self._change(became={**self._plan.became, own: state})
        self._kill(own)

    def _kill(self, id: str) -> None:
        """End a job's processes as a machine that fails would: without a word."""
        client = self._machine.client
        if not self.job(id).is_over:
            client.act("signal" if self.job(id).state == "RUNNING" else "cancel", [id], 9)
            self._until(lambda: self.job(id).is_over, 10.0, lambda: f"job {id} does not end")

    # ------------------------------------------------------------ files

    def delay_files(self, *patterns: str) -> None:
        """Have what jobs write appear only at `show_files`, as on a slow network.

        Args:
            patterns: of the files in a job's directory, besides its output;
                without any, all that are newer than its start.
        """
        self._change(late=tuple(patterns) or ("*",))

    def show_files(self) -> list[str]:
        """Have the files of jobs that have ended appear, and give their paths."""
        from cluster.emulation.faults import show_late

        return show_late(self.state_dir)

    # ------------------------------------------------------------ the plan

    def heal(self) -> None:
        """Have nothing more go wrong; what happened to jobs stays."""
        self._change(failures=(), books_lag_s=0.0, queue_lag_s=0.0, late=())
        self.show_files()

    def _change(self, **fields: Any) -> None:
        import msgspec

        from cluster.emulation.faults import write

        self._plan = msgspec.structs.replace(self._plan, **fields)
        write(self._plan_file, self._plan)


def _job(row: Row) -> Job:
    info = row.info
    return Job(
        id=info.id, name=info.name, state=info.state, exitcode=info.exitcode, signal=info.signal,
        reason=info.reason, attempt=info.attempt, cores=info.cores, memory_mib=info.memory_mib,
        options=dict(row.extra.options),
    )  # fmt: skip


def _own_id(id: str | int) -> str:
    """Read 17, 17_3, 17[3].host, 17.host, 17.1 (Grid Engine) and 17.1-3:1 (its arrays)."""
    found = _ID.match(str(id))
    if found is None:
        raise KeyError(f"{id!r} is no id of a job")
    index = next((group for group in found.groups()[1:] if group), None)
    is_array = re.match(r"\d+\.\d+-", str(id))
    return found[1] if index is None or is_array else f"{found[1]}_{index}"


# ---------------------------------------------------------------- fixtures


def _cluster(family: str, request: pytest.FixtureRequest, folder: str) -> Iterator[Cluster]:
    from cluster.emulation import emulate

    asked: dict[str, Any] = {"cores": CORES}
    for mark in reversed(list(request.node.iter_markers(MARK))):
        asked |= mark.kwargs
    plan_file = os.path.join(folder, "faults.json")
    with (
        emulate(family, private=True, faults={"file": plan_file}, **asked) as env,
        pytest.MonkeyPatch.context() as monkeypatch,
    ):
        for name, value in env.items():
            if os.environ.get(name) != value:
                monkeypatch.setenv(name, value)
        _forget()
        try:
            yield Cluster(family, env, plan_file)
        finally:
            _forget()


def _forget() -> None:
    """Have this process look for a scheduler again, if it ever did."""
    queue, schedulers = (sys.modules.get(f"cluster.{name}") for name in ("queue", "schedulers"))
    if queue is not None:
        vars(queue).pop("MODE", None)
        queue._look_for_scheduler.cache_clear()
    if schedulers is not None:
        for name in ("probe", "words_of", "get"):
            getattr(getattr(schedulers, name), "cache_clear", lambda: None)()


def _fixture(family: str) -> Any:
    @pytest.fixture(name=family)
    def cluster_of(
        request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
    ) -> Iterator[Cluster]:
        yield from _cluster(family, request, str(tmp_path_factory.mktemp(family)))

    cluster_of.__doc__ = f"A private, emulated cluster ({family}); its commands are on PATH."
    return cluster_of


slurm = _fixture("slurm")
pbs = _fixture("pbs")
torque = _fixture("torque")
sge = _fixture("sge")
lsf = _fixture("lsf")
