"""What a program asks of the local queue, over one connection per thread and process.

A request is sent again when the server went away meanwhile (another one is
started): a submit carries a key by which the queue knows it again, the others
may be repeated.  Waits outlive the server too.  Nothing here knows a `Job`
class; ids are text, values are the types of `wire`.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from cluster.errors import (
    ClusterError,
    QueueError,
    ServerTimeout,
    ServerUnavailable,
    UnknownJob,
    WaitTimeout,
)
from cluster.local import lifecycle, wire
from cluster.local.ahead import Ahead
from cluster.local.connection import Connection, connect, decode, knock, no_answer, rebuild
from cluster.local.environment import environment, own_job
from cluster.spec import JobSpec, Launch

__all__ = ["Client", "environment", "get_client"]

REQUEST_TIMEOUT_S = 30.0
FAREWELL_S = 0.2  # the most that leaving a wait may cost, also when the server is stopped
# Doing them twice is not the same as once, so a lost answer is an error.
_ONCE = ("signal", "requeue")


class _Watcher:
    """One wait: what it still waits for, and what came."""

    def __init__(self, ids: Iterable[str], content: bool) -> None:
        self.pending = dict.fromkeys(ids)
        self.also: Sequence[str] = ()  # watched with it the first time, for waits to come
        self.content = content
        self.arrived: deque[wire.Ended] = deque()
        self.error: ClusterError | None = None


class Client:
    """The queue in one state directory, as one thread of one process sees it.

    Safe to keep across fork: the child connects anew.  Not to be shared by
    threads; `get_client` gives each its own.

    Args:
        state_dir: the queue's directory; None is the user's own.
        settings: what a server that has to be started gets.
        request_timeout_s: seconds until a request raises `ServerTimeout`.
    """

    def __init__(
        self,
        state_dir: str | os.PathLike[str] | None = None,
        *,
        settings: Mapping[str, Any] | None = None,
        request_timeout_s: float = REQUEST_TIMEOUT_S,
    ) -> None:
        given = os.fspath(state_dir) if state_dir is not None else None
        self.state_dir = os.path.realpath(given) if given else lifecycle.state_dir()
        self.request_timeout_s = request_timeout_s
        self._settings = dict(settings or {})
        self._job = own_job(self.state_dir)
        self._lends = False  # perhaps: the server was told that our job waits
        self._connection: Connection | None = None
        self._watchers: list[_Watcher] = []
        self._watches: dict[int, _Watcher] = {}  # by seq, until the server answered
        self._thread = threading.get_ident()
        self._seq = 0
        self._talks = 0  # requests and waits that are being made, one within the other
        self._spare: Client | None = None
        self._ahead = Ahead()
        _clients.add(self)

    # ------------------------------------------------------------------ requests

    def submit(
        self, specs: Sequence[JobSpec], envs: Mapping[str, wire.Env] | None = None
    ) -> list[str]:
        """Queue jobs, all or none; once, also when the server dies meanwhile.

        Args:
            specs: the jobs.
            envs: the environments that they name, by hash; see `environment`.

        Returns:
            Their ids, in the same order.
        """
        key, jobs, known = os.urandom(16), tuple(specs), dict(envs or {})
        fresh = True

        def build(seq: int, connection: Connection) -> wire.Submit:
            nonlocal fresh
            new = {name: env for name, env in known.items() if name not in connection.envs}
            connection.envs |= new.keys()
            is_first, fresh = fresh, False
            return wire.Submit(seq, key, jobs, new, is_first)

        try:
            ids: list[str] = self._ask(build, list[str])
        except ClusterError:
            if self._connection is not None:
                self._connection.envs -= known.keys()  # refused: they may not have been kept
            raise
        self._ahead.submitted(ids)
        return ids

    def query(
        self,
        ids: Sequence[str] | None = None,
        *,
        states: Sequence[str] = (),
        name: str = "",
        since: float = 0.0,
        limit: int = 0,
        elements: bool = False,
        namespace: str = "",
        folded: bool = False,
    ) -> list[wire.JobInfo]:
        """Give jobs, ordered by id; see `wire.Query` for what the fields select."""
        chosen = None if ids is None else tuple(ids)

        def build(seq: int, _: Connection) -> wire.Query:
            fields = (chosen, tuple(states), name, since, limit, elements, namespace, folded)
            return wire.Query(seq, *fields)

        found: list[wire.JobInfo] = self._ask(build, list[wire.JobInfo])
        return found

    def fetch(self, id: str) -> wire.Content:
        """Give what a job wrote, so far."""
        content: wire.Content = self._ask(lambda seq, _: wire.Fetch(seq, id), wire.Content)
        return content

    def describe(self, id: str) -> Launch:
        """Give how a job is launched."""
        found = self._ask(lambda seq, _: wire.Describe(seq, id), bytes | Launch)
        return decode(found, Launch) if isinstance(found, bytes) else found  # type: ignore[no-any-return]

    def act(self, verb: str, ids: Sequence[str], number: int = 0) -> dict[str, str]:
        """Do `verb` to jobs; see `wire.Act`.

        Returns:
            For each id what happened, a short sentence.
        """
        self._ahead.forget()
        done: dict[str, str] = self._ask(
            lambda seq, _: wire.Act(seq, verb, tuple(ids), number),
            dict[str, str],
            again=verb not in _ONCE,
        )
        return done

    def update(self, ids: Sequence[str], **fields: Any) -> dict[str, str]:
        """Change what jobs asked for; see `wire.Update`.

        Args:
            ids: jobs and arrays.
            fields: name, walltime_s, begin, comment, extra.
        """
        said: dict[str, str] = self._ask(
            lambda seq, _: wire.Update(seq, tuple(ids), **fields), dict[str, str]
        )
        return said

    def control(self, verb: str, **args: int | float | str | None) -> dict[str, Any]:
        """Steer the server: status, stop, pause, resume, set.

        `status` and `stop` start none.

        Raises:
            ServerUnavailable: they found none.
        """
        start = verb not in ("status", "stop")
        try:
            said: dict[str, Any] = self._ask(
                lambda seq, _: wire.Control(seq, verb, args),
                dict[str, Any],
                again=start,
                start=start,
            )
        finally:
            if verb == "stop":
                self._drop()
        return said

    def alive(self) -> bool:
        """Tell whether a server is there (a stopped one is); never starts one."""
        if self._connection is not None:
            return True
        try:
            knock(self.state_dir, start=False, deadline=time.monotonic() + FAREWELL_S).close()
        except ServerUnavailable:
            return False
        except QueueError:
            return True
        return True

    # ---------------------------------------------------------------------- wait

    def wait(
        self, ids: Iterable[str], *, timeout: float | None = None, content: bool = False
    ) -> Iterator[wire.Ended]:
        """Give each job as it ends, those that ended before at once.

        While it blocks inside a job of the same queue, that job's cores are
        lent.  Leaving it early, by Ctrl-C too, harms no job.

        Args:
            ids: jobs, arrays, elements; each is given once.
            timeout: seconds from now for all of them; None waits for ever.
            content: bring what each job wrote along.

        Raises:
            WaitTimeout: some had not ended; they go on.
            UnknownJob: an id names no job.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        return self._wait(_Watcher(ids, content), timeout, deadline)

    def _wait(
        self, watcher: _Watcher, timeout: float | None, deadline: float | None
    ) -> Iterator[wire.Ended]:
        total = len(watcher.pending)
        alone = next(iter(watcher.pending)) if total == 1 and watcher.content else ""
        if alone and (ended := self._ahead.heard(alone)) is not None:
            yield self._complete(ended, watcher)
            return
        if watcher.pending:
            self._connected()  # before: a new connection renews the watches of all waits
        self._watchers.append(watcher)
        try:
            if watcher.pending and not self._ahead.is_watched(alone):
                watcher.also = self._ahead.next_after(alone)
                self._ask_to_watch(watcher)
                watcher.also = ()
            while watcher.pending or watcher.arrived:
                while watcher.arrived:
                    self._take_back()
                    yield self._complete(watcher.arrived.popleft(), watcher)
                if watcher.error is not None:
                    raise watcher.error
                if watcher.pending:
                    self._receive(watcher, deadline)
        except TimeoutError as error:
            if isinstance(error, ClusterError):
                raise
            left = list(watcher.pending)
            raise WaitTimeout(
                f"{len(left)} of {total} jobs did not end within {timeout:g} s "
                f"({', '.join(left[:5])}{', ...' if len(left) > 5 else ''}); they go on"
            ) from None
        except KeyboardInterrupt:
            self._hang_up()
            raise
        finally:
            self._watchers.remove(watcher)
            self._take_back()
            if watcher.pending and threading.get_ident() == self._thread:
                self._unwatch()

    def _ask_to_watch(self, watcher: _Watcher) -> None:
        try:
            self._ask(lambda seq, _: self._watch(seq, watcher), None)
        except UnknownJob:
            if not watcher.also:
                raise
            self._ahead.unwatched()
            watcher.also = ()  # one of these may be the unknown one
            self._ask(lambda seq, _: self._watch(seq, watcher), None)

    def _watch(self, seq: int, watcher: _Watcher) -> wire.Watch:
        self._watches[seq] = watcher
        return wire.Watch(seq, (*watcher.pending, *watcher.also), watcher.content)

    def _complete(self, ended: wire.Ended, watcher: _Watcher) -> wire.Ended:
        # It may have been sent for another wait, which wanted no content.
        # Or there was too much for us to read already.
        if watcher.content and ended.content is None and not ended.info.counts:
            return wire.Ended(ended.info, self.fetch(ended.info.id))
        return ended

    def _receive(self, watcher: _Watcher, deadline: float | None) -> None:
        """Take in one message; lend this job's cores if there is none yet."""
        self._talks += 1
        try:
            connection, message = self._connected(), None
            with suppress(TimeoutError):
                message = connection.next(time.monotonic())
            if message is None and self._job:
                self._receive_lending(watcher, deadline)
            else:
                self._take(message or connection.next(deadline))
        except ConnectionError:
            self._drop()  # the next round connects again and watches what is missing
        finally:
            self._talks -= 1

    def _receive_lending(self, watcher: _Watcher, deadline: float | None) -> None:
        self._lends = True
        self._ask(lambda seq, _: wire.Block(seq), None)
        if self._connection is not None and not watcher.arrived:
            self._take(self._connection.next(deadline))

    def _take_back(self) -> None:
        """Wait until our job's cores are its own again; a server's successor lends them on."""
        if self._lends and threading.get_ident() == self._thread:
            with suppress(ServerUnavailable, ServerTimeout):
                self._ask(lambda seq, _: wire.Unblock(seq), None, patient=True)
            self._lends = False

    def _hang_up(self) -> None:
        """Take leave without waiting for an answer; the next request connects again."""
        with suppress(OSError, ClusterError):
            if self._connection is not None:
                deadline = time.monotonic() + FAREWELL_S
                self._connection.send(wire.Unwatch(self._next_seq()), deadline)
                if self._lends:
                    self._connection.send(wire.Unblock(self._next_seq()), deadline)
        self._lends = False
        self._drop()

    def _unwatch(self) -> None:
        """End all watches, then renew those of the waits that go on."""
        if self._connection is None:
            return
        deadline = time.monotonic() + FAREWELL_S
        self._ahead.unwatched()
        try:
            self._connection.send(wire.Unwatch(self._next_seq()), deadline)
            self._rewatch(self._connection, deadline)
        except OSError:
            self._drop()

    def _rewatch(self, connection: Connection, deadline: float) -> None:
        for watcher in self._watchers:
            if watcher.pending:
                connection.send(self._watch(self._next_seq(), watcher), deadline)

    # ---------------------------------------------------------------- connection

    def _ask(
        self,
        build: Callable[[int, Connection], Any],
        kind: Any,
        *,
        again: bool = True,
        start: bool = True,
        patient: bool = False,
    ) -> Any:
        """Send a request and give its answer; again on a new connection if this one breaks."""
        timeout_s = self.request_timeout_s
        deadline = None if patient else time.monotonic() + timeout_s
        self._talks += 1
        try:
            while True:
                connection = self._connected(start)
                try:
                    seq = self._next_seq()
                    connection.send(build(seq, connection), deadline)
                    return self._answer(connection, seq, kind, deadline)
                except TimeoutError as error:
                    if isinstance(error, ClusterError):
                        raise
                    self._drop()
                    raise no_answer(connection.pid, timeout_s) from None
                except ConnectionError as error:
                    self._drop()
                    if not again:
                        raise ServerUnavailable(
                            "the server went away before it answered; whether it did what was "
                            "asked is not known"
                        ) from error
                    if deadline is not None and time.monotonic() > deadline:
                        raise ServerUnavailable(
                            f"servers of the queue in {self.state_dir} come and go without an "
                            f"answer; see server.log there"
                        ) from error
                except ClusterError:
                    raise
                except BaseException:
                    self._drop()  # in the middle of a message, perhaps
                    raise
        finally:
            self._talks -= 1

    def _answer(self, connection: Connection, seq: int, kind: Any, deadline: float | None) -> Any:
        while True:
            message = connection.next(deadline)
            if isinstance(message, wire.Answer) and message.seq == seq:
                self._watches.pop(seq, None)
                return decode(message.value, kind)
            if isinstance(message, wire.Failure) and message.seq == seq:
                self._watches.pop(seq, None)
                raise rebuild(message)
            self._take(message)

    def _take(self, message: Any) -> None:
        """Take in what answers no request that is being waited for."""
        if isinstance(message, wire.Ended):
            wanted = False
            for watcher in self._watchers:
                if message.info.id in watcher.pending:
                    del watcher.pending[message.info.id]
                    watcher.arrived.append(message)
                    wanted = True
            self._ahead.take(message, wanted=wanted)
        elif isinstance(message, wire.Answer | wire.Failure):
            renewed = self._watches.pop(message.seq, None)
            if renewed is not None and isinstance(message, wire.Failure):
                renewed.error = rebuild(message)

    def _connected(self, start: bool = True) -> Connection:
        if self._connection is None:
            self._watches.clear()
            connection = connect(
                self.state_dir,
                job=self._job,
                settings=self._settings,
                start=start,
                timeout_s=self.request_timeout_s,
            )
            self._connection = connection
            with suppress(OSError):  # broken again: whoever reads will notice
                self._rewatch(connection, time.monotonic() + self.request_timeout_s)
        return self._connection

    def _next_seq(self) -> int:
        self._seq += 1
        return self._seq

    def _drop(self) -> None:
        self._ahead.unwatched()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def free(self) -> Client:
        """Give this client, or another while this one is in the midst of a request.

        A signal's handler or a finalizer runs then, in the same thread.  It would read
        what the interrupted one goes on to wait for.
        """
        if not self._talks:
            return self
        timeout_s = self.request_timeout_s
        self._spare = self._spare or Client(self.state_dir, request_timeout_s=timeout_s)
        return self._spare.free()

    def close(self) -> None:
        """Close the connection; a later request opens another."""
        self._drop()
        if self._spare is not None:
            self._spare.close()


# ------------------------------------------------------- one per thread and process

_clients: weakref.WeakSet[Client] = weakref.WeakSet()
_local = threading.local()


def get_client(state_dir: str | os.PathLike[str] | None = None) -> Client:
    """Give this thread's client of a queue; the same one each time it is free.

    Args:
        state_dir: the queue's directory; None is the user's own.
    """
    key = os.fspath(state_dir) if state_dir is not None else os.environ.get("CLUSTER_STATE_DIR")
    found: dict[str | None, Client] = _local.__dict__.setdefault("clients", {})
    client = found.get(key)
    if client is None:
        from cluster import config_file

        timeout_s = float(config_file.get("local", "request_timeout_s"))
        client = found[key] = Client(state_dir, request_timeout_s=timeout_s)
    return client.free()


def _after_fork() -> None:
    # The child's copies are closed, so that the server sees when the parent leaves.
    for client in list(_clients):
        client._thread, client._lends = threading.get_ident(), False
        client._drop()


os.register_at_fork(after_in_child=_after_fork)
