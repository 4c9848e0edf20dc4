"""One seed, one history: the real server among clients, a node, a disk and a clock in memory.

    clients <──pipes──> Server (serving, requests, performing, queue_state, ...) <──pipes──> node
                          │ Store on a disk in memory        recover <── machine ──> processes

Whoever can do something may be next; a seeded choice says who.  The same seed
gives the same history.  Faults come first, then calm: everything must come to rest.
"""

from __future__ import annotations

import contextlib
import random
import sqlite3
from collections import Counter
from collections.abc import Iterator
from itertools import count
from types import SimpleNamespace
from typing import Any

from sim_clients import Plan, SimClient
from sim_judge import Judge, decoded
from sim_machine import MARK, Machine
from sim_node import SimNode
from sim_pipes import Listener, Selector, Socket, connection
from sim_store import SimStore

from cluster.errors import ServerUnavailable
from cluster.local import crash, journal, node_link, recover, serving, view, wire
from cluster.local.capacity import Capacity
from cluster.local.connections import Connection
from cluster.local.events import Job
from cluster.local.queue_state import QueueState
from cluster.local.serving import Server

STATE_DIR = "/sim"
EPOCH = 1_700_000_000.0
MOST_STEPS_TO_REST = 40_000
QUIET_S = 8.0  # longer than any patience of the server
# How often, a step; a seed leaves some out and has others more often.
FAULTS = {
    "server killed": 0.004,
    "server killed at a point": 0.003,
    "server stopped": 0.001,
    "node killed": 0.002,
    "node killed at a point": 0.004,
    "power cut": 0.001,
    "client killed": 0.003,
    "disk full": 0.003,
    "clock jumps": 0.002,
}


class Killed(BaseException):
    """Kill -9, here."""


class _Peer(Connection):
    """A connection with a place of its own in every set, the same in each run."""

    numbers = count(1)

    def __init__(self, *args: Any) -> None:
        self._number = next(_Peer.numbers)
        super().__init__(*args)

    def __hash__(self) -> int:
        return self._number


class _Starting:
    """A node on its way."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._at = world.now() + world.rng.choice((0.0, 0.01, 0.1))
        self.number = next(world.numbers)
        self._fails = world.rng.random() < 0.05 and not world.plan.calm

    def fileno(self) -> int:
        return self.number

    @property
    def is_ready(self) -> bool:
        return self._world.now() >= self._at

    @property
    def at(self) -> float:
        return self._at

    def finish(self, timeout_s: float) -> None:
        self.close()
        if self._fails:
            raise ServerUnavailable("no memory")
        self._world.make_node()

    def close(self) -> None:
        self._world.starting.pop(self.number, None)


class SimServer(Server):
    """The server, without sockets in the file system and without signals."""

    world: World

    def _listen(self) -> None:
        self.listener: Any = Listener()
        self.selector.register(self.listener, 1, None)

    def _catch_signals(self) -> None:
        pass

    def _is_in_place(self) -> bool:
        return True


class World:
    """All of it.

    Args:
        seed: says everything that happens.
        trace: keep a line for each step.
    """

    def __init__(self, seed: int, *, trace: bool = False) -> None:
        self.rng = random.Random(seed)
        self.seed = seed
        self._mono, self.skew = 1000.0, EPOCH
        self._booted = 0.0
        self._latest = EPOCH  # on the wall
        self.counts: Counter[str] = Counter()
        self.trace: list[str] | None = [] if trace else None
        self.numbers = count(5000)
        self.doomed = ""  # a point at which whoever comes by is killed, once
        _Peer.numbers = count(1)
        cores = self.rng.choice((1, 2, 2, 4))
        self.machine = Machine(self.rng, cores, self.now, self.fault, self.tell)
        self.judge = Judge(self.machine)
        self.store = SimStore(self.rng, self.judge, is_durable=self.rng.random() < 0.85)
        self.judge.store = self.store
        self.plan = Plan(self.rng, cores, self.now, self.wall)
        self.server: SimServer | None = None
        self.node: SimNode | None = None
        self.starting: dict[int, _Starting] = {}
        self._server_at: float | None = None
        self._wake_at = 0.0
        self._quiet_since = self._mono
        self.rates = {name: rate * self.rng.choice((0, 1, 1, 4)) for name, rate in FAULTS.items()}
        self.clients = [
            SimClient(f"c{number}", self.plan, self.judge, self.reach_server, self.say)
            for number in range(self.rng.randint(1, 4))
        ]

    # ------------------------------------------------------------ small things

    def now(self) -> float:
        return self._mono

    def wall(self) -> float:
        return self._mono + self.skew

    def fault(self, text: str) -> None:
        self.judge.fault(text)

    def say(self, what: str) -> None:
        self.counts[what] += 1
        self.tell(what)

    def tell(self, text: str) -> None:
        """Keep a line for whoever looks for the reason of a fault."""
        if self.trace is not None:
            self.trace.append(f"{self._mono - 1000:.5f} {text}")

    def _chance(self, name: str) -> bool:
        return not self.plan.calm and self.rng.random() < self.rates[name]

    def point(self, name: str) -> None:
        """A place where a daemon may die."""
        which = name.partition(".")[0]
        self.counts["points"] += 1
        if name == self.doomed or self._chance(f"{which} killed at a point"):
            self.doomed = ""
            self.say(f"killed at {name}")
            raise Killed(name)

    # ------------------------------------------------------------ who talks to whom

    def reach_server(self) -> Socket | None:
        if self.server is None:
            self.want_server()
            return None
        mine, other = connection(self.rng)
        self._listen_in(other, wire.Reply)
        self.server.listener.waiting.append(other)
        return mine

    def _listen_in(self, socket: Socket, kind: Any) -> None:
        reader = wire.Reader(kind)

        def heard(data: bytes) -> None:
            for message in decoded(reader, data):
                self.counts["messages"] += 1
                if self.trace is not None:
                    self.tell(f"  sends {message!s:.250}")
                self.judge.leaves(message)

        socket.on_sent = heard

    def dial_node(self, *_: Any) -> Socket:
        """Stand for `socket.socket`."""
        mine, other = connection(self.rng)

        def connect(path: str) -> None:
            if self.node is None:
                raise ConnectionRefusedError
            self._listen_in(mine, wire.Order)
            assert self.node is not None
            self.node.listener.waiting.append(other)

        mine.connect = connect  # type: ignore[attr-defined]
        return mine

    def want_server(self) -> None:
        if self.server is None and self._server_at is None:
            self._server_at = self._mono + self.rng.choice((0.0, 0.01, 0.2))

    def begin_node(self, *_: Any, **__: Any) -> _Starting:
        if self._chance("node killed"):
            raise ServerUnavailable("no process can be made")
        starting = _Starting(self)
        self.starting[starting.number] = starting
        return starting

    def make_node(self) -> None:
        if self.node is None:
            self.say("nodes")
            try:
                self.node = SimNode(self.rng, self.machine, self.point, self.wall, self.want_server)
            except Killed as killed:
                raise ServerUnavailable("it was killed") from killed

    def _make_server(self) -> None:
        self._server_at = None
        self.say("servers")
        office: Any = SimpleNamespace(still_ours=lambda: False)
        server = SimServer(STATE_DIR, office, private=False, settings={}, tether_fd=None)
        server.selector.close()
        server.selector = Selector(self.rng, self._is_fd_ready)  # type: ignore[assignment]
        try:
            server.open()
        except Killed:
            self._break_off(server)
            return
        except sqlite3.Error as error:
            self.fault(f"the server does not start: {error}")
            return
        self.server = server
        self._wake_at = self._mono + server._timeout()

    def _open_store(self, path: object, *, durable: bool) -> SimStore:
        if not durable:
            self.fault("the store of a queue that is not private is opened without syncing")
        return self.store

    def _is_fd_ready(self, number: int) -> bool:
        starting = self.starting.get(number)
        return starting is not None and starting.is_ready

    # ------------------------------------------------------------ faults

    def kill_server(self) -> None:
        if self.server is not None:
            server, self.server = self.server, None
            self._break_off(server)

    def _break_off(self, server: SimServer) -> None:
        """It is gone; what it had sent may arrive in part."""
        self.starting.clear()
        selector: Any = server.selector
        for file in selector.files():
            if isinstance(file, Socket):
                file.break_off()
            elif isinstance(file, Listener):
                file.close()
        node = getattr(server, "node", None)
        if node is not None and node.connection is not None:
            node.connection.sock.break_off()

    def kill_node(self) -> None:
        if self.node is not None:
            self.judge.node_trouble = True
            node, self.node = self.node, None
            node.break_off()

    def cut_power(self) -> None:
        self.judge.node_trouble = True
        for client in self.clients:
            client.die()
        self.kill_server()
        if self.node is not None:
            self.kill_node()
        self.machine.cut_power()
        self._booted = self._mono - 5.0
        crash.armed = False  # what is written again was written already
        self.store = self.judge.store = self.store.after_power_cut()
        crash.armed = True
        if not self.store.is_durable:
            self.judge.lost_power(self.store)

    def _misfortune(self) -> None:
        if self._chance("server killed"):
            self.say("server killed")
            self.kill_server()
        if self._chance("node killed"):
            self.say("node killed")
            self.kill_node()
        if self._chance("client killed"):
            self.say("client killed")
            self.rng.choice(self.clients).die()
        if self._chance("server stopped") and self.server is not None:
            self.say("server stopped")
            self.server.leave(drain=self.rng.random() < 0.3, now=False)
        if self._chance("power cut"):
            self.say("power cut")
            self.cut_power()
        if self._chance("disk full") or (self.store.is_full and self.rng.random() < 0.02):
            self.say("disk full or not")
            self.store.is_full = not self.store.is_full
            self.judge.disk_trouble = True
        if self._chance("clock jumps"):
            self.say("clock jumps")
            self.skew += self.rng.choice((-86400.0, -1.0, 0.5, 86400.0))

    # ------------------------------------------------------------ one step

    def step(self) -> None:
        """Let somebody do something."""
        self.counts["steps"] += 1
        self._latest = max(self._latest, self.wall())
        self.machine.end_due()
        if not self.plan.calm:
            self._misfortune()
        ready = self._ready()
        if not ready:
            self._mono = max(self._next_time(), self._mono)
            return
        who = self.rng.choice(ready)
        self.tell(who if isinstance(who, str) else who.name)
        if who == "make server":
            self._make_server()
        elif who == "server":
            self.server_turn()
        elif who == "node":
            self._node_turn()
        else:
            who.turn()
        self._mono += self.rng.choice((0.0, 1e-5, 1e-4, 1e-3))

    def _ready(self) -> list[Any]:
        ready: list[Any] = [client for client in self.clients if client.is_ready()]
        if self._server_at is not None and self._server_at <= self._mono:
            ready.append("make server")
        if self.server is not None:
            selector: Any = self.server.selector
            if selector.ready() or self._wake_at <= self._mono:
                ready.append("server")
        if self.node is not None and self.node.is_ready():
            ready.append("node")
        return ready

    def _next_time(self) -> float:
        due = [client.next_time() for client in self.clients]
        due += [self._server_at, self.machine.next_end()]
        due += [starting.at for starting in self.starting.values()]
        if self.server is not None:
            due.append(self._wake_at)
        if self.node is not None:
            due.append(self.node.next_time())
        later = [when for when in due if when is not None]
        return min(later, default=self._mono + 1.0)

    def server_turn(self) -> None:
        server = self.server
        assert server is not None
        commits = self.judge.commits
        try:
            server.step()
            if server.is_gone:
                server._turn()
                server.close()
                self.server = None
        except Killed:
            self.kill_server()
            return
        self._wake_at = self._mono + server._timeout()
        if self.judge.commits != commits:
            self._quiet_since = self._mono

    def _node_turn(self) -> None:
        assert self.node is not None
        try:
            self.node.turn()
            if self.node.may_go:
                self.node.close()
                self.node = None
        except Killed:
            self.kill_node()

    # ------------------------------------------------------------ all of it

    def run(self, steps: int = 600) -> list[str]:
        """Faults for so many steps, then calm until nothing moves; give what must not be."""
        with self.outside():
            try:
                for _ in range(steps):
                    self.step()
                self._rest()
            finally:
                self.store.really_close()
        return self.judge.faults

    def _rest(self) -> None:
        self.plan.calm, self.store.is_full = True, False
        self.skew = self._latest - self._mono + 1.0  # what was to begin later, may
        operator = SimClient("operator", self.plan, self.judge, self.reach_server, self.say)
        self.clients.append(operator)
        calmed = False
        for _ in range(MOST_STEPS_TO_REST):
            self.step()
            if self.server is not None and self.server.queue.attached and not calmed:
                calmed = True
                operator.calm_down([])
            if self.server is not None and calmed and not operator.asked:
                stopped = self._suspended(self.server.queue)
                if stopped or self.server.queue.paused:
                    operator.calm_down(stopped)
            elif self.server is None and not operator.asked:
                operator.calm_down([])  # whoever uses the queue starts it again
            if calmed and self._is_quiet():
                self._judge_rest()
                return
        self.fault(f"it does not come to rest: {self._busy()}")

    def _suspended(self, queue: QueueState) -> list[str]:
        stopped = {each.key for each in self.machine.living() if each.is_stopped}
        return [
            j.label
            for j in queue.jobs.values()
            if (j.id, j.attempt) in stopped or (j.state == "SUSPENDED")
        ]

    def _busy(self) -> list[str]:
        found = [
            f"{client.name} waits for {a.kind}"
            for client in self.clients
            for a in client.asked.values()
        ]
        found += [f"process of {each.key}" for each in self.machine.living()]
        if self.node is None or self.node.jobs or self.node.finished or self.node.queued:
            found.append("the node")
        if self.server is None or self.server._unwritten or self.server.queue.begins:
            found.append("the server")
        if self.server is not None and not self.server.queue.attached:
            found.append("no node is attached")
        if self.server is not None and self.server.queue.paused:
            found.append("it is paused")
        if self.starting:
            found.append("a node is being started")
        return found

    def _is_quiet(self) -> bool:
        if self._busy():
            self._quiet_since = self._mono
        return self._mono - self._quiet_since > QUIET_S

    def _judge_rest(self) -> None:
        assert self.server is not None
        queue = self.server.queue
        reasons = {
            job.label: view.job_info(job, queue, self.wall(), "sim").reason
            for job in queue.jobs.values()
        }
        self.judge.at_rest(queue, reasons)
        for label in sorted({label for client in self.clients for label in client.watched}):
            found = self.store.find(label)  # after a power cut its id may be an element's
            is_other = isinstance(found, Job) and found.label != label
            if not queue.is_live(label) and self.store.known(label) is not None and not is_other:
                self.fault(f"somebody waits for ever for job {label}, which is over")
        jobs, arrays = self.store.unfinished()
        self.judge.same(
            {each.id: each.state for each in jobs} | {each.id: each.rest for each in arrays},
            {each.id: each.state for each in queue.jobs.values()}
            | {each.id: each.rest for each in queue.arrays.values()},
        )
        if queue.pool.free != queue.pool.capacity:
            self.fault(f"{queue.pool.free} of {queue.pool.capacity} is free, and nothing runs")
        if journal._entries_of(self.machine.files.contents(f"{STATE_DIR}/journal"))[0] and (
            self.node is not None and self.node._journal.slots
        ):
            self.fault("the node's journal still has open entries")

    # ------------------------------------------------------------ the world outside

    @contextlib.contextmanager
    def outside(self) -> Iterator[None]:
        """Put all this in the place of clock, files, processes and sockets."""
        clock = SimpleNamespace(
            time=self.wall, monotonic=lambda: self._mono - self._booted, strftime=lambda form: "now"
        )
        host = lambda: SimpleNamespace(name="sim", boot_id=self.machine.boot_id())  # noqa: E731
        cpus = tuple(range(self.plan.cores))
        capacity = Capacity(self.plan.cores, cpus, 0, (), {}, {})
        sockets = SimpleNamespace(socket=self.dial_node, AF_UNIX=0, SOCK_STREAM=0)
        quiet = SimpleNamespace(write=lambda fd, data: len(data))
        files: Any = self.machine.files
        places: list[tuple[Any, str, Any]] = [
            (serving, "time", clock),
            (serving, "host", host),
            (serving, "peer", lambda sock: (1, serving.os.getuid())),
            (serving, "machine", SimpleNamespace(capacity=lambda settings: capacity)),
            (serving, "Store", self._open_store),
            (serving, "Connection", _Peer),
            (serving, "forget_old", lambda *args: None),
            (serving, "_log", self._heard_of_server),
            (node_link, "time", clock),
            (node_link, "socket", sockets),
            (node_link, "socket_path", lambda state_dir, which: "/none"),
            (node_link, "begin_daemon", self.begin_node),
            (node_link, "host", host),
            (node_link, "os", quiet),
            (node_link, "Connection", _Peer),
            (recover, "time", clock),
            (recover, "processes", self.machine),
            (recover, "_open_pidfd", lambda process: -1),
            (recover, "places", SimpleNamespace(token=lambda state_dir: MARK)),
            (recover, "slots", SimpleNamespace(collect=lambda *a, **k: wire.Content())),
            (journal, "os", files),
            (journal, "_contents", files.contents),
            (journal, "_keep_aside", lambda path, data, whole: self.say("torn journal")),
            (journal, "_log", SimpleNamespace(warning=lambda *args: None)),
            (crash, "armed", True),
            (crash, "point", self.point),
        ]
        before = [(module, name, getattr(module, name)) for module, name, _ in places]
        try:
            for module, name, value in places:
                setattr(module, name, value)
            yield
        finally:
            for module, name, value in before:
                setattr(module, name, value)

    def _heard_of_server(self, text: str) -> None:
        self.tell(text)
        if "Traceback" in text or "Error:" in text:
            self.fault(f"the server stumbled: {text}")
