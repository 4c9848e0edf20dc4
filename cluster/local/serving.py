"""The server's loop: clients, decisions, store.

    clients ──requests──> turn: handle events, decide ──> commit ──> effects ──> clients
    node    ──reports───>                                                  └──> node

A turn takes all messages that are there, lets `queue_state` handle them, lets
the policy choose once, commits once, and only then answers and gives orders:
whatever somebody was told is on disk.  It starts no job itself and never reads
anything that a job wrote beyond the fixed header of a result.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import sqlite3
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from cluster.errors import ClusterError, ProtocolError
from cluster.local import capacity as machine
from cluster.local import crash, requests, resources, wire
from cluster.local import events as ev
from cluster.local.beliefs import Expectations
from cluster.local.connections import Connection, answer, failure
from cluster.local.damaged import lose, sort_out
from cluster.local.election import Election
from cluster.local.events import Array, Changes, Job
from cluster.local.housekeeping import forget_old
from cluster.local.launches import Launches
from cluster.local.lifecycle import Starting
from cluster.local.loans import LOOK_S as LOANS_S
from cluster.local.loans import Loans
from cluster.local.node_link import NodeLink
from cluster.local.performing import is_order, joined, perform, without_writing
from cluster.local.places import host, listen, peer
from cluster.local.queue_state import QueueState
from cluster.local.recent import Recent
from cluster.local.store import Store

__all__ = ["Server"]

IDLE_S = 600.0  # without an unfinished job and without a client
RETRY_S = 1.0  # between attempts to write a turn that the disk refused
HOUSEKEEPING_S = 600.0
MORE_S = 0.5  # a queue of 100 jobs a second has more to forget than one round may take
LOOK_S = 2.0  # between looks whether the lock and the socket are still where others look
OFTEN_S = 0.1  # a busy server looks no more often: it costs 20 us, a turn 100
DEAF_S = 0.5  # without descriptors nobody is let in for so long, or the loop would spin
KEYS = 10_000  # of answered submissions, so that a retried one is not looked up on disk


class Server:
    """The loop, and what it owns."""

    def __init__(
        self,
        state_dir: str,
        election: Election,
        *,
        private: bool,
        settings: Mapping[str, Any],
        tether_fd: int | None,
        starting_node: Starting | None = None,
    ) -> None:
        self.state_dir, self.election = state_dir, election
        self.private, self.given, self.tether_fd = private, dict(settings), tether_fd
        self._starting_node = starting_node
        self.pid, self.host = os.getpid(), host().name
        self.now = self.born = time.time()
        self.selector = selectors.DefaultSelector()
        self.peers: set[Connection] = set()
        self.watchers: dict[int, set[Connection]] = {}
        self.state_keys: dict[bytes, list[str]] = {}
        self.trouble = ""  # why the store cannot be written at the moment
        self.is_leaving = self.is_gone = False
        self._unwritten: tuple[Changes, list[ev.Effect]] | None = None
        self._loans = Loans()
        self._deaf_until = self._next_look = 0.0
        self._last_use = time.monotonic()
        self._chores_s = float(self.given.get("housekeeping_s", HOUSEKEEPING_S))
        self._next_chore = self._last_use + self._chores_s

    # ------------------------------------------------------------------ coming and going

    def open(self) -> None:
        """Start the node, read the store, listen."""
        self.node = NodeLink(self, self._starting_node)
        self.node.connect()  # first: it starts while the store is read
        self.store = Store(
            Path(self.state_dir, "queue.db"),
            durable=not self.private and bool(self.given.get("fsync", True)),
        )
        meta = self.store.meta()
        boot_id = host().boot_id
        self.boot_before = str(meta.get("boot_id", boot_id))
        self.rebooted = self.boot_before != boot_id  # noted once it attached
        # By a clock, so that a node obeys us also when the store is new, or was full when
        # the last epoch should have been written; by one that nobody sets back.
        before = 0 if self.rebooted else int(meta.get("epoch", 0))
        self.epoch = max(before + 1, int(time.monotonic() * 1000))
        self.settings = self.given
        self.launches = Launches(self.store)
        self.recent = Recent()
        self.queue = self._load(meta)
        self._commit(Changes(meta={"epoch": self.epoch}))
        if crash.armed:
            crash.point("server.before_listen")
        self.node.greet()
        self._listen()
        if self.tether_fd is not None:
            self.selector.register(self.tether_fd, selectors.EVENT_READ, "tether")
        self._catch_signals()

    def _catch_signals(self) -> None:
        signal.signal(signal.SIGTERM, lambda *_: self.leave(drain=False, now=False))
        read, write = socket.socketpair()
        for end in (read, write):
            end.setblocking(False)
        self._wakeup = (read, write)
        signal.set_wakeup_fd(write.fileno(), warn_on_full_buffer=False)
        self.selector.register(read, selectors.EVENT_READ, "signal")

    def _listen(self) -> None:
        self.listener = listen(self.state_dir, "server")
        self.listener.setblocking(False)
        self._address = self.listener.getsockname()
        self._inode = os.stat(self._address).st_ino
        self.selector.register(self.listener, selectors.EVENT_READ, None)

    def _load(self, meta: Mapping[str, Any]) -> QueueState:
        found = machine.capacity(self.settings)
        names = resources.names(found.resources)
        amounts = {
            "cores": found.cores,
            "memory_mib": found.memory_mib,
            "gpus": len(found.gpus),
            **found.resources,
        }
        self.machine = amounts
        if meta.get("machine") == amounts:  # else it was set for another machine
            amounts = {**amounts, **meta.get("capacity", {})}
        expectations = Expectations.load(
            self.store.run_times(), default=float(self.settings.get("default_expect_s", 3600.0))
        )
        queue = QueueState(
            names,
            resources.vector(names, self.machine),
            cpus=found.cpus,
            next_id=int(meta.get("next_id", 1)),
            paused=bool(meta.get("paused", False)),
            expectations=expectations,
            overtake=float(self.settings.get("overtake", 0.0)),
        )
        jobs, arrays = self.store.unfinished()
        jobs, damaged = sort_out(jobs)
        records: list[Job | Array] = [*jobs, *arrays]
        for record in records:
            record.need = resources.need(
                names,
                cores=record.spec.cores,
                memory_mib=record.spec.memory_mib,
                gpus=record.spec.gpus,
                resources={n: a for n, a in record.spec.resources.items() if n in names},
            )
        if amounts != self.machine:
            queue.handle(ev.Resize(None, amounts), self.now)
        queue.restore(jobs, arrays, self.now)
        lose(queue, self.store, damaged, self.now)
        return queue

    def leave(self, *, drain: bool, now: bool) -> None:
        """Begin to go.

        Args:
            drain: start nothing more, go when the running jobs have ended.
            now: end the running jobs first.
            (neither: go after this turn; the node keeps the running jobs.)
        """
        self.is_leaving = True
        self.queue.paused = True
        if now:
            running = [job.label for job in self.queue.jobs.values() if job.allocation]
            self.event(ev.Act(None, "cancel", tuple(running)))
        elif not drain:
            self.is_gone = True

    def close(self) -> None:
        """Let go of everything; nothing is asked any more."""
        if crash.armed:
            crash.point("server.before_close")
        with suppress(ValueError):
            signal.set_wakeup_fd(-1)
        for each in list(self.peers):
            each.flush()
            each.close()
        node = getattr(self, "node", None)
        if node is not None:
            node.close(leave=self.is_leaving or self.is_gone)
        store = getattr(self, "store", None)
        if store is not None:
            store.close()
        listener = getattr(self, "listener", None)
        if listener is not None:
            if self.election.still_ours():
                with suppress(OSError):
                    os.unlink(listener.getsockname())
            listener.close()
        self.selector.close()

    # ------------------------------------------------------------------ the loop

    def run(self) -> None:
        """Turn until it is time to go."""
        while not self.is_gone:
            if not self.step():
                return
        self._turn()

    def step(self) -> bool:
        """Wait for something, then take one turn; False: the office is lost."""
        ready = self.selector.select(self._timeout())
        self.now = time.time()
        for key, mask in ready:
            self._on_ready(key, mask)
        self.node.look_after_survivors()
        self._turn()
        if not self._is_in_place():
            _log("the lock was removed: leaving, another server may be elected")
            return False
        self._chores()
        return True

    def _is_in_place(self) -> bool:
        """Tell whether we still hold the office; listen again if the socket was removed."""
        now = time.monotonic()
        if now < self._next_look:
            return True
        self._next_look = now + OFTEN_S
        if not self.election.still_ours():
            return False
        with suppress(OSError):
            if os.stat(self._address, follow_symlinks=False).st_ino == self._inode:
                return True
        _log("the socket was removed: listening anew")
        if not self._deaf_until:
            self.selector.unregister(self.listener)
        self.listener.close()
        self._deaf_until = 0.0
        self._listen()
        return True

    def _timeout(self) -> float:
        due = [LOOK_S, self._next_chore - time.monotonic(), self.node.timeout()]
        if self._loans.is_needed:
            due.append(LOANS_S)
        if self._deaf_until:
            due.append(DEAF_S)
        begin = self.queue.next_time()
        if begin is not None:
            due.append(begin - time.time())
        if self._unwritten:
            due.append(RETRY_S)
        if self._is_idle():
            due.append(self._idle_s() - (time.monotonic() - self._last_use))
        if self.is_leaving:
            due.append(0.2)
        return max(min(due), 0.0)

    def _on_ready(self, key: selectors.SelectorKey, mask: int) -> None:
        if key.data is None:
            self._accept()
        elif key.data == "tether":
            self.selector.unregister(key.fd)
            self.leave(drain=False, now=True)
        elif key.data == "signal":
            with suppress(BlockingIOError):
                self._wakeup[0].recv(64)
        elif isinstance(key.data, Connection):
            if mask & selectors.EVENT_WRITE:
                key.data.flush()
            if mask & selectors.EVENT_READ:
                self._receive(key.data)
        else:
            self.node.on_ready()

    def _accept(self) -> None:
        try:
            sock, _ = self.listener.accept()
        except BlockingIOError:
            return
        except OSError as error:  # no descriptors left; they wait meanwhile
            _log(f"a client cannot be let in: {error.strerror}")
            self.selector.unregister(self.listener)
            self._deaf_until = time.monotonic() + DEAF_S
            return
        _, uid = peer(sock)
        if uid != os.getuid():
            sock.close()  # no other user has any business here, root included
            return
        self.peers.add(Connection(sock, wire.Request, self.selector, "client"))

    def _receive(self, connection: Connection) -> None:
        self._last_use = time.monotonic()
        try:
            messages = connection.receive()
        except ProtocolError as error:
            connection.out.append(failure(0, error))
            connection.flush()
            connection.closed, messages = True, []
        if connection is self.node.connection:
            self.node.handle(messages)
            return
        for message in messages:
            self._answer(connection, message)

    def _answer(self, peer: Connection, message: Any) -> None:
        seq = getattr(message, "seq", 0)
        if self.is_gone:
            return  # unanswered: the client asks the next server again
        try:
            value = requests.handle(self, peer, message)
        except ClusterError as error:
            peer.out.append(failure(seq, error))
            return
        except Exception as error:  # a fault of ours must not take the queue down
            _log("".join(traceback.format_exception(error)))
            peer.out.append(failure(seq, error))
            return
        if seq and not requests.is_later(value):
            peer.out.append(answer(seq, value))

    def event(self, event: ev.Event) -> None:
        """Let something happen to the queue in this turn.

        Raises:
            ClusterError: it cannot; nothing changed.
        """
        self.queue.handle(event, self.now)

    def _turn(self) -> None:
        begin = self.queue.next_time()
        if begin is not None and begin <= self.now:
            self.event(ev.Tick())
        for event in self._loans.look(self.queue, self.peers, now=time.monotonic()):
            self.event(event)
        self.queue.schedule(self.now)
        changes, effects = self.queue.take()
        if self._unwritten:
            changes, effects = joined(self._unwritten, changes, effects)
            self._unwritten = None
        if changes and not self._commit(changes):
            self._unwritten = changes, without_writing(self, changes, effects)
        else:
            self._keep(changes)
            for effect in effects:
                perform(self, effect, changes)
        if crash.armed and changes:
            crash.point("server.before_answers")
        for connection in list(self.peers):
            connection.flush()
            if crash.armed and changes:
                crash.point("server.after_an_answer")
            if connection.closed:
                self._bye(connection)
        if crash.armed and changes:
            crash.point("server.before_orders")
        self.node.flush()
        if crash.armed and changes:
            crash.point("server.after_effects")
        if self.is_leaving and not self.queue.running and not self._unwritten:
            self.is_gone = True

    def forget_orders(self) -> None:
        """Let go of orders that wait for the writing: the node they were for is another now."""
        if self._unwritten:
            changes, effects = self._unwritten
            self._unwritten = changes, [each for each in effects if not is_order(each)]

    def _commit(self, changes: Changes) -> bool:
        if crash.armed:
            crash.point("server.before_commit")
        try:
            self.store.commit(changes, self.now)
        except sqlite3.Error as error:
            if not self.trouble:
                _log(f"the store cannot be written: {error}; it is tried again")
            self.trouble = str(error)
            return False
        if crash.armed:
            crash.point("server.after_commit")
        self.trouble = ""
        return True

    def unwritten(self) -> list[Changes]:
        """Give what the store does not have yet: of this turn, and of turns it refused."""
        return [*(before for before, _ in filter(None, [self._unwritten])), self.queue.changes]

    def _bye(self, connection: Connection) -> None:
        self.peers.discard(connection)
        self.forget_watches(connection)
        others = (each.job for each in self.peers if each.blocked)
        if connection.blocked and connection.job not in others:
            self.event(ev.Unblock(None, connection.job))
        connection.close()

    def forget_watches(self, connection: Connection) -> None:
        """It wants to hear of no job any more."""
        for raw in connection.watches:
            watchers = self.watchers.get(raw)
            if watchers is not None:
                watchers.discard(connection)
                if not watchers:
                    del self.watchers[raw]
        connection.watches.clear()

    def _keep(self, changes: Changes) -> None:
        for key, labels in changes.keys.items():
            self.state_keys[key] = labels
        while len(self.state_keys) > KEYS:
            del self.state_keys[next(iter(self.state_keys))]
        self.launches.keep(changes, self.queue)

    # ------------------------------------------------------------------ people

    def greet(self, connection: Connection) -> None:
        """Answer a client's hello."""
        from cluster import __version__

        connection.out.append(
            wire.Welcome(wire.PROTOCOL, __version__, self.pid, self.epoch, self.host)
        )

    def status(self) -> dict[str, Any]:
        """Tell about the server, for `cluster local status`."""
        from cluster import __version__

        queue, counts = self.queue, dict[str, int]()
        for job in queue.jobs.values():
            counts[job.state] = counts.get(job.state, 0) + 1
        for array in queue.arrays.values():
            left = queue.untouched(array)
            if left:
                counts[array.rest] = counts.get(array.rest, 0) + left
        return {
            "pid": self.pid,
            "node_pid": self.node.pid,
            "epoch": self.epoch,
            "version": __version__,
            "protocol": wire.PROTOCOL,
            "host": self.host,
            "state_dir": self.state_dir,
            "uptime_s": self.now - self.born,
            "idle_s": self._idle_s(),
            "capacity": resources.as_dict(queue.names, queue.pool.capacity),
            "free": resources.as_dict(queue.names, queue.pool.free),
            "paused": queue.paused,
            "counts": counts,
            "clients": len(self.peers),
            "store_bytes": self.store.size(),
            "trouble": self.trouble,
        }

    # ------------------------------------------------------------------ chores

    def _idle_s(self) -> float:
        return float(self.settings.get("idle_s", IDLE_S))

    def _is_idle(self) -> bool:
        return not (self.peers or self.queue.jobs or self.queue.arrays or self.tether_fd)

    def _chores(self) -> None:
        now = time.monotonic()
        if not self._is_idle():
            self._last_use = now
        elif now - self._last_use >= self._idle_s():
            self.is_leaving = self.is_gone = True
        if 0 < self._deaf_until <= now:
            self._deaf_until = 0.0
            self.selector.register(self.listener, selectors.EVENT_READ, None)
        if now >= self._next_chore:
            self._next_chore = now + self._chores_s
            try:
                known = None if self.peers else self.queue.expectations.keys()
                if forget_old(self.store, self.state_dir, self.settings, self.now, known):
                    self._next_chore = now + MORE_S
            except sqlite3.Error as error:
                _log(f"old records stay for now: {error}")


def _log(text: str) -> None:
    with suppress(OSError):  # a full disk is told as far as there is room, and ends nobody
        os.write(2, f"{time.strftime('%Y-%m-%d %H:%M:%S')} server: {text}\n".encode())
