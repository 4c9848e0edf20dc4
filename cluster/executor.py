"""A `concurrent.futures.Executor` whose calls are jobs of the queue.

Each call is a job of its own, or (`reuse=True`) is made by a worker that is one.
Futures learn of the end from `_watching`; they never ask.
"""

from __future__ import annotations

import atexit
import itertools
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from queue import SimpleQueue
from typing import Any

from cluster import queue, request
from cluster._element import call_chunk, traveller
from cluster._job_batch import submit_all
from cluster._prepared import name_parts
from cluster._watching import watch
from cluster.errors import ClusterError, OptionsError
from cluster.job import Job
from cluster.schedulers.base import Ending
from cluster.units import Timeout, parse_timeout

__all__ = ["Executor", "JobFuture"]


class JobFuture(futures.Future[Any]):
    """The future of a call that is a job.

    Unlike others it can be cancelled while it runs: that ends the job.

    Attributes:
        job: the job.
    """

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.job = job
        self._settling = threading.Lock()

    def cancel(self) -> bool:
        """End the job, whether it runs or waits; False if it has ended by itself."""
        with self._settling:
            if self.done():
                return self.cancelled()
            self.job.cancel()
            if self.job.done and self.job.state != "CANCELLED":
                return False  # it ended just now: its value is on the way
            super().cancel()
            return self.set_running_or_notify_cancel() is False

    def running(self) -> bool:
        """Tell whether the job runs."""
        return not self.done() and self.job.state == "RUNNING"

    def _settle(self, what: Ending | ClusterError) -> None:
        with self._settling:
            is_cancelled = self.done() or not self.set_running_or_notify_cancel()
        if is_cancelled:
            if isinstance(what, Ending):  # nobody reads its scripts any more
                self.job.clean()
            return
        try:
            if isinstance(what, ClusterError):
                raise what
            self.job.note(what)
            value = self.job.get()
        except Exception as error:  # whatever the function raised
            self.set_exception(error)
        else:
            self.set_result(value)
        finally:
            self.job.clean()


class Executor(futures.Executor):
    """Runs calls as jobs of the queue; a drop-in for `ProcessPoolExecutor`.

    A call that crashes breaks no other: its future gets `JobFailed`.
    """

    def __init__(
        self,
        cores: int = 1,
        qtype: str | None = None,
        reuse: bool = False,
        max_workers: int | None = None,
        *,
        max_calls: int | None = None,
        timeout: float | None = None,
        profile: str | None = None,
        **options: Any,
    ) -> None:
        """Make an executor; nothing is queued yet.

        Args:
            cores: of each call's job, or of each worker.
            qtype: which scheduler; None is the current one.
            reuse: make calls in workers that stay: for many calls of
                milliseconds.  A worker is a job too; what a call leaks stays in it.
            max_workers: at most so many of them; None fills the machine.
            max_calls: with `reuse`, replace a worker after so many calls.
            timeout: with `reuse`, seconds that one call may take; the worker is
                ended then and the future gets `JobTimeout`.
            profile, options: as for `submit`: `mem="2G"`, `time="1h"`.  With
                `reuse` they hold for the worker.

        Raises:
            OptionsError: everything that cannot work, in one error.
        """
        _check(reuse, max_workers=max_workers, max_calls=max_calls, timeout=timeout)
        options.setdefault("name", "worker" if reuse else None)
        given = {key: value for key, value in options.items() if value is not None}
        self._model = Job(_nothing, qtype=qtype, profile=profile, cores=cores, **given)
        if "array" in self._model.options:
            raise OptionsError("array= has no place in an executor. Use cluster.submit_array.")
        self._named = "name" in given
        self._lock = threading.Lock()
        self._is_shut_down = False
        self._open: set[JobFuture] = set()
        self._mail: SimpleQueue[tuple[JobFuture, Ending | ClusterError] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._workers: Any = None
        if reuse:
            self._workers = self._make_workers(max_workers, max_calls, timeout)
        elif max_workers is not None:
            raise OptionsError(
                "max_workers= is for reuse=True: without it each call is a job, and the queue "
                "runs as many at once as fit."
            )

    def _make_workers(
        self, max_workers: int | None, max_calls: int | None, timeout: float | None
    ) -> Any:
        if self._model.qtype != "local":
            raise OptionsError(
                f"reuse=True works on this machine only: jobs of {self._model.qtype} run elsewhere "
                "and cannot be reached. Leave it out; cluster.map puts many calls in a job."
            )
        from cluster._warm_workers import WarmWorkers

        if max_workers is None:
            cores = int(self._model.options.get("cores", 1))
            max_workers = max(1, self._model.scheduler.resources().cores // cores)
        workers = WarmWorkers(
            self._model, max_workers=max_workers, max_calls=max_calls or 0, timeout=timeout
        )
        # Dropped without shutdown, or at the end of the program: workers leave by themselves.
        weakref.finalize(self, workers.shutdown, wait=False, cancel=False).atexit = False
        _at_exit.add(workers)
        return workers

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> futures.Future[Any]:
        """Queue a call.

        Returns:
            Its future; without `reuse` a `JobFuture`.

        Raises:
            RuntimeError: the executor was shut down.
            PayloadError: the call cannot be pickled.
            ClusterError: the queue refused it, or could not be asked.
        """
        if not callable(fn):
            raise OptionsError(f"{fn!r} is no function. cluster.submit runs commands.")
        with self._lock:
            if self._is_shut_down:
                raise RuntimeError("cannot schedule new futures after shutdown")
            if self._workers is not None:
                made: futures.Future[Any] = self._workers.submit(fn, args, kwargs)
                return made
            return self._submit_job(fn, args, kwargs)

    def _submit_job(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> JobFuture:
        job = self._model._like(function, args, kwargs)
        if not self._named:
            job._name = request.default_name(job._program)
        submit_all([job], None)
        future = JobFuture(job)
        self._open.add(future)
        if self._thread is None:
            self._thread = threading.Thread(
                target=_settle_all,
                args=(self._mail, self._open),
                name="cluster-executor",
                daemon=True,
            )
            self._thread.start()
        mail = self._mail
        watch(
            job.scheduler, [queue.id_of(job)], lambda what: mail.put((future, what)),
            content=True, awaited=True,
        )  # fmt: skip
        return future

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: Timeout = None,
        chunksize: int = 1,
        **_: Any,
    ) -> Iterator[Any]:
        """Call a function with items, and give the values in order; see `cluster.map`.

        Args:
            fn: it gets one item of each iterable.
            iterables: read to the end of the shortest, at once.
            timeout: for all of it: seconds, or a text such as "90s"; None is no limit.
            chunksize: items that go together in one call.
        """
        if chunksize < 1:
            raise ValueError("chunksize must be 1 or more")
        limit = parse_timeout(timeout)
        if chunksize == 1:
            return super().map(fn, *iterables, timeout=limit)
        chunk = traveller(call_chunk, fn, name_parts(fn))
        rows = zip(*iterables, strict=False)
        chunks = iter(lambda: list(itertools.islice(rows, chunksize)), [])
        lists = super().map(chunk, itertools.repeat(fn), chunks, timeout=limit)
        return itertools.chain.from_iterable(lists)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls.

        Args:
            wait: until those there are have ended.
            cancel_futures: cancel those that have not begun.
        """
        with self._lock:
            self._is_shut_down = True
        if self._workers is not None:
            self._workers.shutdown(wait=wait, cancel=cancel_futures)
            return
        waiting = list(self._open)
        if cancel_futures:
            for future in waiting:
                if not future.running():
                    future.cancel()
        if wait:
            futures.wait(waiting)
        self._mail.put(None)


def _settle_all(mail: Any, opened: set[JobFuture]) -> None:
    """Hand endings to their futures; what users do in callbacks holds nobody else up."""
    is_shut_down = False
    while opened or not is_shut_down:
        letter = mail.get()
        if letter is None:
            is_shut_down = True
            continue
        letter[0]._settle(letter[1])
        opened.discard(letter[0])


def _nothing() -> None:
    """Stand where a job wants a function, until there is one."""


def _check(reuse: bool, **given: Any) -> None:
    for key in ("max_workers", "max_calls"):
        value = given[key]
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, int) or value < 1
        ):
            raise OptionsError(f"{key} {value!r} is no number. Give 1 or more.")
    timeout = given["timeout"]
    if timeout is not None and not (isinstance(timeout, int | float) and timeout > 0):
        raise OptionsError(f"timeout {timeout!r} is no number of seconds above 0.")
    if not reuse and (given["max_calls"] or timeout):
        raise OptionsError(
            "max_calls= and timeout= are for reuse=True; a job of its own takes time= as its limit."
        )


_at_exit: weakref.WeakSet[Any] = weakref.WeakSet()


def _finish() -> None:
    for workers in list(_at_exit):
        workers.shutdown(wait=True, cancel=False)


atexit.register(_finish)
