"""Warm workers: jobs that serve many calls each, for `Executor(reuse=True)`.

    submit -> one socket -> whichever worker is free      -> answers -> futures
                            (a job of the queue each)

One thread listens to the workers.  A worker that ends takes with it the call it
was making, and nothing else: what nobody has taken is still in the socket.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from types import FunctionType
from typing import Any

from cluster import _worker, logme, payload, queue
from cluster._item_pickle import dumps
from cluster._prepared import Prepared
from cluster._warm_sockets import (
    CALL,
    LEAVING,
    STARTED,
    TOKEN_BYTES,
    Sockets,
    Worker,
    failure_of,
    settle,
)
from cluster._watching import watch
from cluster._worker import INSIDE
from cluster.errors import ClusterError, JobTimeout, PayloadError
from cluster.job import Job
from cluster.schedulers.base import Ending

__all__ = ["WarmWorkers"]

_MOST_FUNCTIONS = 1000  # that workers remember
_UNSURE_S = 1.0  # a worker says what it has begun within microseconds
_INLINE = 64 * 1024  # bytes of a call in one message; more goes through a file
_AHEAD = 8  # calls in the socket beyond one for each worker: these can be cancelled no more
_IDLE_S = 5.0  # a worker without work leaves, for others may want its cores
_BAD_STARTS = 3  # workers in a row that ended before they took a call: it will not get better


def call_of_worker(*args: Any) -> payload.Payload:
    """Make the call of `_worker.serve` that is a worker's job; it needs nothing of this package.

    People are shown it as the executor's, and its run times are learned so.
    """
    serve = FunctionType(_worker.serve.__code__, vars(_worker), "worker")
    serve.__module__, serve.__qualname__ = "cluster.executor", "worker"
    return payload.dump(serve, args, by_value=(_worker,))


class _Call:
    """One call that is not over."""

    def __init__(self, future: Future[Any], data: bytes, file: str) -> None:
        self.future, self.data, self.file = future, data, file


class WarmWorkers:
    """The workers of one executor.

    Args:
        model: gives the keywords of their jobs.
        max_workers: at most so many.
        max_calls: a worker is replaced after so many calls; 0 is never.
        timeout: seconds that a call may take; None is no limit.
    """

    def __init__(
        self, model: Job, *, max_workers: int, max_calls: int, timeout: float | None
    ) -> None:
        self._model, self._most = model, max_workers
        self._max_calls, self._timeout = max_calls, timeout
        self._lock = threading.RLock()
        self._sockets = Sockets(self._greet)
        self._calls: dict[int, _Call] = {}  # given to workers and not over
        self._pending: deque[_Call] = deque()
        self._workers: dict[bytes, Worker] = {}
        self._functions: dict[int, tuple[Any, int, bytes]] = {}  # by id(): keeps it alive
        self._orders: deque[Callable[[], None]] = deque()  # for the one thread
        self._number, self._in_socket, self._leaves, self._bad = 0, 0, 0, 0
        self._unsure: dict[int, tuple[float, Exception]] = {}  # until when, and why
        self._idle_since = time.monotonic()
        self._closing = self._is_closed = False
        self._thread: threading.Thread | None = None

    # ------------------------------------------------------------ any thread

    def submit(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
        """Have a worker make a call.

        Raises:
            PayloadError: it cannot be pickled.
            ClusterError: a worker is needed and cannot be submitted.
        """
        number = self._number_of(function)
        try:
            data = dumps((args, kwargs) if number != INSIDE else (function, args, kwargs))
        except Exception as error:  # __reduce__ of the user's classes may raise anything
            payload.dump(function, args, kwargs)  # it names the argument
            raise PayloadError(f"the arguments cannot be pickled: {error}") from error
        future: Future[Any] = Future()
        with self._lock:
            self._number += 1
            file = self._put_in_file(data) if len(data) > _INLINE else ""
            head = CALL.pack(self._number, number, bool(file))
            call = _Call(future, head + (os.fsencode(file) if file else data), file)
            needed = len(self._calls) + len(self._pending) + 1
            if len(self._workers) < min(needed, self._most):
                self._hire()
            if self._pending or not self._hand_out(call):
                self._pending.append(call)
        return future

    def _number_of(self, function: Any) -> int:
        known = self._functions.get(id(function))
        if known is not None:
            return known[1]
        # What may change between two calls is pickled with each of them.
        is_fixed = isinstance(function, FunctionType) and function.__closure__ is None
        if not is_fixed or len(self._functions) >= _MOST_FUNCTIONS:
            return INSIDE
        options = self._model.options
        with payload._by_value(options.get("by_value", ())):
            try:
                data = dumps(function)
            except Exception as error:
                payload.dump(function)  # it names what is to blame
                raise PayloadError(f"{function!r} cannot be pickled: {error}") from error
        with self._lock:
            number = len(self._functions)
            self._functions[id(function)] = function, number, data
            for worker in self._workers.values():
                worker.tell(number, data)
        return number

    def _put_in_file(self, data: bytes) -> str:
        path = os.path.join(self._sockets.folder, f"{self._number}.call")
        with open(path, "xb") as file:
            file.write(data)
        return path

    def _hand_out(self, call: _Call) -> bool:
        """Put a call where the next free worker takes it; tell whether there is room."""
        if self._in_socket >= len(self._workers) + _AHEAD:
            return False
        number = CALL.unpack_from(call.data)[0]
        try:
            self._sockets.put(call.data)
        except BlockingIOError:
            return False
        # As in the standard library: from here on it counts as running.
        if call.future.set_running_or_notify_cancel():
            self._calls[number] = call
        self._in_socket += 1
        return True

    def _hire(self) -> None:
        """Submit one more worker."""
        token = os.urandom(TOKEN_BYTES)
        options = self._model.options
        made = call_of_worker(
            self._sockets.path, token, self._max_calls, tuple(options.get("imports", ()))
        )
        job = Prepared._make(
            self._model.scheduler, self._model.name, options,
            calls=("cluster.executor", "worker"), payload=made,
        )  # fmt: skip
        job._after = list(self._model._after)
        job.submit()
        worker = self._workers[token] = Worker(job)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="cluster-executor", daemon=True)
            self._thread.start()
        id = queue.id_of(job)
        watch(
            self._model.scheduler, [id], lambda what: self._order(lambda: self._ended(token, what)),
            content=True, awaited=True,
        )  # fmt: skip
        del worker

    def _order(self, order: Callable[[], None]) -> None:
        """Have the one thread do something."""
        with self._lock:
            self._orders.append(order)
            if self._is_closed:
                return
            self._sockets.wake()

    def shutdown(self, *, wait: bool, cancel: bool) -> None:
        """Let the workers leave once all calls are made.

        Args:
            wait: until that is so.
            cancel: those that no worker was given yet.
        """
        with self._lock:
            if self._is_closed:
                return
            self._closing = True
            if cancel:
                for call in self._pending:
                    call.future.cancel()
                    call.future.set_running_or_notify_cancel()
                self._pending.clear()
            thread = self._thread
            if thread is None:
                self._close()
            else:
                self._order(lambda: None)
        if thread is not None and wait and thread is not threading.current_thread():
            thread.join()

    # ------------------------------------------------------------ the one thread

    def _run(self) -> None:
        while True:
            self._sockets.serve(self._patience())
            while self._orders:
                self._orders.popleft()()
            with self._lock:
                self._end_what_hangs()
                self._end_the_unsure()
                self._refill()
                if self._is_over():
                    self._close()
                    return

    def _patience(self) -> float | None:
        """Give the seconds until something is due without anybody saying so."""
        now = time.monotonic()
        due = [until for until, _ in self._unsure.values()]
        if self._timeout is not None:
            due += [
                worker.since + self._timeout
                for worker in list(self._workers.values())
                if worker.call is not None and not worker.is_leaving
            ]
        staying = sum(not worker.is_leaving for worker in self._workers.values())
        if self._leaves < staying and not self._calls:
            due.append(self._idle_since + _IDLE_S)
        return max(0.0, min(due) - now) if due else None

    def _greet(self) -> None:
        """Take in a worker: it says who it is, and gets the socket with the calls."""
        with self._lock:
            greeted = self._sockets.greet(self._workers)
            if greeted is not None:
                for _, number, data in self._functions.values():
                    greeted.tell(number, data)
                self._sockets.listen_to(greeted, lambda: self._listen(greeted))

    def _listen(self, worker: Worker) -> None:
        for kind, number, body in self._sockets.hear(worker):
            self._heard(worker, kind, number, body)

    def _heard(self, worker: Worker, kind: int, number: int, body: bytes) -> None:
        if kind == LEAVING:
            worker.is_leaving = True
            self._leaves -= 1
            return
        if kind == STARTED:
            worker.call, worker.since = number, time.monotonic()
            with self._lock:
                self._in_socket -= 1
            return
        worker.call, self._bad = None, 0
        worker.served += 1
        with self._lock:
            call = self._calls.pop(number, None)
            if not self._calls:
                self._idle_since = time.monotonic()
            self._refill()
        if call is not None:
            settle(call.future, worker, kind, body)

    def _ended(self, token: bytes, what: Ending | ClusterError) -> None:
        """Learn that the job of a worker is over: its call fails, if it was making one."""
        worker = self._workers.get(token)
        if worker is None:
            return
        while worker.socket is not None:  # its last words
            self._listen(worker)
        with self._lock:
            del self._workers[token]
            call = self._calls.pop(worker.call, None) if worker.call is not None else None
            if not worker.served and not worker.is_leaving and worker.call is None:
                self._bad += 1
        error = failure_of(worker.job, what)
        if call is not None:
            call.future.set_exception(error)
        elif not worker.is_leaving:
            self._suspect(error)
        if isinstance(what, ClusterError) or self._bad >= _BAD_STARTS:
            self._give_up(error)

    def _suspect(self, error: Exception) -> None:
        """A worker ended between two calls: it may have taken one and not said so."""
        begun = {worker.call for worker in self._workers.values()}
        until = time.monotonic() + _UNSURE_S
        with self._lock:
            held = self._sockets.take_back()
            for data in held:
                self._sockets.put(data)
            told = {CALL.unpack_from(data)[0] for data in held if len(data) >= CALL.size}
            for number in self._calls.keys() - begun - told:
                self._unsure[number] = until, error

    def _end_the_unsure(self) -> None:
        now = time.monotonic()
        begun = {worker.call for worker in self._workers.values()}
        for number, (until, error) in list(self._unsure.items()):
            if until > now:
                continue
            del self._unsure[number]
            if number not in begun and (call := self._calls.pop(number, None)) is not None:
                self._in_socket -= 1
                call.future.set_exception(error)

    def _give_up(self, error: Exception) -> None:
        """Fail what waits: no worker can be had."""
        with self._lock:
            if self._workers:
                return
            waiting = [*self._calls.values()]
            waiting += [c for c in self._pending if c.future.set_running_or_notify_cancel()]
            self._calls.clear()
            self._pending.clear()
            self._bad = self._in_socket = self._leaves = 0
            self._sockets.take_back()
        for call in waiting:
            call.future.set_exception(error)

    def _end_what_hangs(self) -> None:
        if self._timeout is None:
            return
        now = time.monotonic()
        for worker in self._workers.values():
            if worker.call is None or worker.is_leaving or now < worker.since + self._timeout:
                continue
            worker.is_leaving = True
            call = self._calls.pop(worker.call, None)
            reason = f"the call took longer than {self._timeout:g} s"
            id = str(worker.job.id)
            if call is not None:
                call.future.set_exception(
                    JobTimeout(id, "TIMEOUT", name=worker.job.name, reason=reason)
                )
            try:
                worker.job.cancel()
            except ClusterError as error:
                logme.log(f"worker {id} hangs and could not be ended: {error}", "warn")

    def _refill(self) -> None:
        while self._pending and self._hand_out(self._pending[0]):
            self._pending.popleft()
        waiting = len(self._calls) + len(self._pending)
        staying = sum(not worker.is_leaving for worker in self._workers.values())
        try:
            while staying < min(waiting, self._most):
                self._hire()
                staying += 1
        except ClusterError as error:
            self._give_up(error)
        idle = not waiting and time.monotonic() - self._idle_since >= _IDLE_S
        if (self._closing or idle) and not waiting:
            self._send_off()

    def _send_off(self) -> None:
        """Tell all workers to leave, one message each."""
        staying = sum(not worker.is_leaving for worker in self._workers.values())
        while self._leaves < staying:
            try:
                self._sockets.put(b"bye")
            except BlockingIOError:
                return
            self._leaves += 1

    def _is_over(self) -> bool:
        return self._closing and not (self._workers or self._calls or self._pending)

    def _close(self) -> None:
        self._is_closed = True
        self._sockets.close()
