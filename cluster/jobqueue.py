"""The local queue for functions alone: add, wait, get.

`JobQueue()` is the queue that all programs of the user share; `JobQueue(cores=N)`
is a private one that goes with this process, and whose cores are counted apart
from everybody else's.  `job_runner` serves programs that hand over `Job` objects
through a `multiprocessing` queue.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from cluster import outcome, payload, queue, request
from cluster.errors import OptionsError, QueueError, UnknownDependency
from cluster.schedulers.base import Call, JobInfo, Request
from cluster.schedulers.local import LocalScheduler
from cluster.spec import Dependency
from cluster.states import FINAL
from cluster.units import Timeout, parse_timeout

if TYPE_CHECKING:
    from multiprocessing.queues import Queue as ProcessQueue

__all__ = ["Job", "JobQueue", "job_runner"]

JQUEUE: JobQueue


def __getattr__(name: str) -> Any:
    # The shared queue is opened when somebody first uses it, not by the import.
    if name == "JQUEUE":
        globals()[name] = JobQueue()
        return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class JobQueue:
    """A queue of functions on this machine.

    Attributes:
        cores: how many a private queue shares out; None for the shared one.
        jobs: what is known of the jobs added here, by id; `update` renews it.
    """

    def __init__(self, cores: int | None = None) -> None:
        """Open the shared queue, or make a private one.

        Args:
            cores: None is the shared queue.  A number makes a private queue
                with so many, be they there or not: it takes no notice of what
                else runs on this machine.
        """
        if cores is not None and (mistakes := request.count_problems("cores", cores)):
            raise OptionsError(mistakes[0])
        self.cores = cores
        self.jobs: dict[str, JobInfo | None] = {}
        self._open()

    def _open(self) -> None:
        self._private = None
        if self.cores is not None:
            from cluster.local.private import PrivateQueue

            self._private = PrivateQueue(cores=self.cores, overcommit=True)
        self._scheduler = LocalScheduler(self._private.state_dir if self._private else None)

    def add(
        self,
        function: Callable[..., Any],
        args: Any = None,
        kwargs: Mapping[str, Any] | None = None,
        dependencies: Any = None,
        cores: int = 1,
    ) -> str:
        """Queue a function.

        Args:
            function: any callable; for a command, `cluster.run.cmd`.
            args: a tuple; anything else is the one argument.
            kwargs: keyword arguments.
            dependencies: ids of jobs that must be COMPLETED before.
            cores: how many it takes.

        Returns:
            The id of the job.

        Raises:
            OptionsError: something of it cannot work; nothing was queued.
            PayloadError: the function or an argument cannot be pickled.
            Unsatisfiable: more cores than the queue has.
        """
        request.check_main_is_there()
        program = request.read_program(function, args, kwargs)
        if not isinstance(program, Call):
            raise OptionsError(f"{function!r} is no function. For a command, add cluster.run.cmd.")
        problems = request.Problems()
        problems.add(*request.count_problems("cores", cores))
        made = Request(
            name=request.default_name(program),
            program=program,
            cwd=os.getcwdb(),
            options={"cores": cores},
            dependencies=tuple(Dependency(id) for id in _ids(dependencies)),
            key=request.learned_key(program, None),
            payload=payload.dump(program.function, program.args, program.kwargs),
        )
        problems.add(*self._scheduler.check(made))
        problems.raise_all(f"job {made.name!r}")
        (id,) = self._scheduler.submit([made])
        self.jobs[id] = None
        return id

    def get(self, job: Any, timeout: Timeout = None) -> Any:
        """Block until a job has ended, and give its value, or raise its exception.

        Args:
            job: its id.
            timeout: seconds, or a text such as "90s"; None is no limit.
        """
        id = queue.id_of(job)
        limit = parse_timeout(timeout)
        (ending,) = self._scheduler.endings([id], timeout=limit, content=True)
        self.jobs[id] = ending.info
        return outcome.value(ending.info, ending.content or self._scheduler.content(id))

    def wait(self, jobs: Any = None, timeout: Timeout = None) -> bool:
        """Block until jobs have ended.

        Args:
            jobs: ids; None is every job added here.
            timeout: seconds, or a text such as "90s"; None is no limit.

        Returns:
            True if all of them are COMPLETED.
        """
        ids = list(self.jobs) if jobs is None else _ids(jobs)
        completed = True
        for ending in self._scheduler.endings(ids, timeout=parse_timeout(timeout)):
            self.jobs[ending.info.id] = ending.info
            completed &= ending.info.state == "COMPLETED"
        return completed

    def update(self) -> dict[str, JobInfo | None]:
        """Ask anew about the jobs that were added here."""
        for info in self._scheduler.query(list(self.jobs)):
            self.jobs[info.id] = info
        return self.jobs

    def restart(self, force: bool = False) -> None:
        """Forget the jobs added here, and begin anew.

        A private queue is ended and made again.  Of the shared one only the
        jobs that were added here are cancelled; it belongs to others too.

        Args:
            force: even if some have not ended.

        Raises:
            QueueError: some have not ended, and `force` is false.
        """
        left = [id for id, info in self.update().items() if not info or info.state not in FINAL]
        if left and not force:
            raise QueueError(
                f"{len(left)} jobs have not ended: {', '.join(left[:5])}. "
                "Wait for them, or restart(force=True) ends them."
            )
        if self._private is not None:
            self.close()
            self._open()
        elif left:
            self._scheduler.act("cancel", left)
        self.jobs = {}

    def close(self) -> None:
        """End a private queue with all its jobs; the shared one stays as it is."""
        if self._private is not None:
            self._private.close()

    def __enter__(self) -> JobQueue:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _ids(jobs: Any) -> list[str]:
    return [] if jobs is None else [queue.id_of(job) for job in queue.flatten(jobs)]


class Job:
    """A function to hand to `job_runner`, and what became of it.

    Attributes:
        function, args, kwargs, cores: what to call, and how much it takes.
        depends: numbers of jobs that must be COMPLETED before.
        state: None until the runner has it; then one of `states.ALL`.
        out: the value, once COMPLETED.
        error: the exception, when it failed.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        args: Any = None,
        kwargs: Mapping[str, Any] | None = None,
        depends: Any = None,
        cores: int = 1,
    ) -> None:
        """Note what to call; `args` that are no tuple are the one argument."""
        self.function, self.args = function, args
        self.kwargs = dict(kwargs or {})
        self.depends, self.cores = depends, cores
        self.state: str | None = None
        self.out: Any = None
        self.error: BaseException | None = None

    def __repr__(self) -> str:
        name = getattr(self.function, "__name__", repr(self.function))
        return f"<jobqueue.Job {name} {self.state or 'not started'}>"


def job_runner(
    jobqueue: ProcessQueue[Any],
    outputs: ProcessQueue[Any],
    cores: int | None = None,
    jobno: int | None = None,
) -> None:
    """Run the jobs that come through a queue, and put each into another as it ends.

    Made to be the target of a `multiprocessing.Process`.  The jobs run in a
    private queue that ends with it.  None in `jobqueue` means that no more
    come: it returns when all have ended.

    Args:
        jobqueue: `Job` objects come from here, in the order of their numbers.
        outputs: gets `{number: Job}` for each job that has ended.
        cores: how many are shared out; None is all of this machine.
        jobno: number of the first job; None is 1.
    """
    cores = cores or LocalScheduler().resources().cores
    with JobQueue(cores=cores) as mine:
        runner = _Runner(mine, outputs, 1 if jobno is None else jobno)
        while (job := jobqueue.get()) is not None:
            runner.take(job)
        runner.finish()


class _Runner:
    """Numbers on one side, ids of the private queue on the other."""

    def __init__(self, mine: JobQueue, outputs: ProcessQueue[Any], number: int) -> None:
        self._queue, self._outputs, self._next = mine, outputs, number
        self._ids: dict[int, str] = {}
        self._watching: list[threading.Thread] = []

    def take(self, job: Job) -> None:
        number, self._next = self._next, self._next + 1
        try:
            needed = [self._id_of(n) for n in _numbers(job.depends)]
            id = self._queue.add(job.function, job.args, job.kwargs, needed, job.cores)
        except Exception as error:  # of this job alone; the others go on
            job.state, job.error = "FAILED", error
            self._outputs.put({number: job})
            return
        self._ids[number] = id
        thread = threading.Thread(target=self._watch, args=(number, id, job), daemon=True)
        thread.start()
        self._watching = [each for each in self._watching if each.is_alive()] + [thread]

    def _id_of(self, number: int) -> str:
        if number not in self._ids:
            raise UnknownDependency(f"no job {number} came before this one, or it was refused.")
        return self._ids[number]

    def _watch(self, number: int, id: str, job: Job) -> None:
        try:
            job.out = self._queue.get(id)
        except Exception as error:  # whatever the function raised
            job.error = error
        info = self._queue.jobs[id]
        job.state = info.state if info else "LOST"
        self._outputs.put({number: job})

    def finish(self) -> None:
        for thread in self._watching:
            thread.join()


def _numbers(depends: Any) -> list[int]:
    if depends is None:
        return []
    several = isinstance(depends, Iterable) and not isinstance(depends, str)
    return [int(number) for number in (depends if several else [depends])]
