"""Clients in memory: they submit, steer, wait, hang up, and ask again what was not answered."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
from sim_judge import Judge
from sim_pipes import Socket

from cluster.local import wire
from cluster.spec import ArraySpec, Dependency, JobSpec, Launch

ENV = {b"HOME": b"/root"}
ENV_HASH = "sim-env"
LAUNCH = msgspec.Raw(msgspec.msgpack.encode(Launch(argv=(b"true",), env=ENV_HASH)))
VERBS = ("cancel", "cancel", "hold", "release", "requeue", "suspend", "resume", "priority")


@dataclass
class Asked:
    """A request that is not answered yet."""

    make: Callable[[int], wire.Request]
    kind: str
    key: bytes = b""
    labels: tuple[str, ...] = ()


@dataclass
class Plan:
    """What all clients of one run know.

    Attributes:
        labels: every id that was given, elements too.
        calm: no new work, no faults: only what brings the queue to rest.
    """

    rng: random.Random
    cores: int
    now: Callable[[], float]
    wall: Callable[[], float]
    labels: list[str] = field(default_factory=list)
    keys: int = 0
    calm: bool = False


class SimClient:
    """A program that uses the queue.

    Args:
        connect: gives a connection to the server, or None while there is none.
        say: counts what happened.
    """

    def __init__(
        self,
        name: str,
        plan: Plan,
        judge: Judge,
        connect: Callable[[], Socket | None],
        say: Callable[[str], None],
    ) -> None:
        self.name, self._plan, self._judge, self._connect = name, plan, judge, connect
        self._say, self._rng = say, plan.rng
        self.socket: Socket | None = None
        self._reader = wire.Reader(wire.Reply)
        self._seq = 0
        self.asked: dict[int, Asked] = {}
        self._sent: set[int] = set()
        self.watched: set[str] = set()
        self._out = b""
        self._envs = False
        self._answered: list[tuple[bytes, JobSpec, list[str]]] = []
        self._specs: dict[bytes, JobSpec] = {}
        self._at = 0.0
        self._tried: set[bytes] = set()  # keys that were sent, heard or not

    # ------------------------------------------------------------ the loop

    def is_ready(self) -> bool:
        if self.socket is not None and (
            self.socket.can_read
            or (self._out and self.socket.can_write)
            or (self.asked.keys() - self._sent and not self._out)
        ):
            return True
        due = self.next_time()
        return due is not None and due <= self._plan.now()

    def next_time(self) -> float | None:
        """When it acts by itself, on the monotonic clock."""
        wants = self.socket is None and (self.asked or self.watched)
        return self._at if wants or not self._plan.calm else None

    def turn(self) -> None:
        """Read, connect, ask, or hang up."""
        if self.socket is None:
            self._reach()
        elif self.socket.can_read:
            self._read(self.socket)
        elif not self._plan.calm and self._at <= self._plan.now():
            self._at = self._plan.now() + self._rng.choice((0.0, 0.001, 0.01, 0.1, 0.4))
            self._something()
        self._write()

    def _reach(self) -> None:
        self.socket = self._connect()
        if self.socket is None:
            self._at = self._plan.now() + 0.02
            return
        self._reader, self._sent, self._out, self._envs = wire.Reader(wire.Reply), set(), b"", False
        self._out += wire.frame([wire.Hello(wire.PROTOCOL, "sim", 1)])
        if self.watched:
            self._watch(tuple(sorted(self.watched)))

    def _write(self) -> None:
        if self.socket is None:
            return
        for seq in sorted(self.asked.keys() - self._sent):
            self._out += wire.frame([self.asked[seq].make(seq)])
            self._sent.add(seq)
        if not self._out:
            return
        try:
            self._out = self._out[self.socket.send(self._out) :]
        except BlockingIOError:
            return
        except OSError:
            self.hang_up()

    def hang_up(self) -> None:
        """Lose the connection; what was not answered is asked again."""
        if self.socket is not None:
            self.socket.close()
            self.socket = None
        for seq in [s for s, asked in self.asked.items() if asked.kind in ("once", "watch")]:
            del self.asked[seq]

    def die(self) -> None:
        """Be killed; a new program takes its place and knows nothing."""
        if self.socket is not None:
            self.socket.break_off()
            self.socket = None
        self.asked.clear()
        self.watched.clear()
        self._answered.clear()

    # ------------------------------------------------------------ asking

    def _ask(self, asked: Asked) -> None:
        self._seq += 1
        self.asked[self._seq] = asked

    def _something(self) -> None:
        roll = self._rng.random()
        if len(self.asked) > 3:
            return
        if roll < 0.35:
            self.submit()
        elif roll < 0.42 and self._answered:
            self._submit_again()
        elif roll < 0.62 and self._plan.labels:
            self.act(self._rng.choice(VERBS), self._rng.choice(self._plan.labels))
        elif roll < 0.77 and self._plan.labels:
            self.watch(*self._rng.sample(self._plan.labels, min(len(self._plan.labels), 2)))
        elif roll < 0.85:
            known = tuple(self._judge.singles)
            self._ask(Asked(lambda seq: wire.Query(seq, elements=True), "query", labels=known))
        elif roll < 0.88:
            verb = self._rng.choice(("pause", "resume"))
            self._ask(Asked(lambda seq: wire.Control(seq, verb), "control"))
        elif roll < 0.90:
            self.hang_up()
            self._say("hangups")

    def submit(self) -> None:
        """Queue a job."""
        rng, plan = self._rng, self._plan
        plan.keys += 1
        key = b"%s-%d" % (self.name.encode(), plan.keys)
        targets = rng.sample(plan.labels, min(len(plan.labels), rng.choice((0, 0, 0, 1, 2))))
        types = ("afterok", "afterany", "afternotok", "after")
        is_array = rng.random() < 0.25
        spec = JobSpec(
            name=key.decode(),
            key=rng.choice(("", "k")),
            cores=rng.choice((1, 1, 1, 1, min(2, plan.cores), plan.cores)),
            priority=rng.choice((0, 0, 0, -1, 1)),
            hold=rng.random() < 0.07,
            begin=plan.wall() + 0.5 if rng.random() < 0.1 else 0.0,
            dependencies=tuple(Dependency(each, rng.choice(types)) for each in targets),
            on_unsatisfiable=rng.choice(("cancel", "cancel", "release")),
            retries=rng.choice((0, 0, 1)),
            requeue=rng.random() < 0.3,
            array=ArraySpec(0, rng.randint(1, 6), 1, rng.choice((0, 0, 2))) if is_array else None,
            launch=LAUNCH,
        )
        self.submit_spec(key, spec)

    def watch(self, *labels: str) -> None:
        """Wait for jobs."""
        self.watched.update(labels)
        self._watch(labels)

    def submit_spec(self, key: bytes, spec: JobSpec) -> None:
        """Queue this."""

        def make(seq: int) -> wire.Submit:
            envs = {} if self._envs else {ENV_HASH: ENV}
            self._envs = True
            is_fresh = key not in self._tried
            self._tried.add(key)
            return wire.Submit(seq, key, (spec,), envs, fresh=is_fresh)

        self._specs[key] = spec
        self._ask(Asked(make, "submit", key))

    def _submit_again(self) -> None:
        """Its answer was lost, it thinks; it must get the same one."""
        key, spec, _ = self._rng.choice(self._answered)
        self.submit_spec(key, spec)
        self._say("resends")

    def act(self, verb: str, label: str) -> None:
        number = self._rng.randint(-1, 1)
        kind = "once" if verb == "requeue" else verb
        self._ask(Asked(lambda seq: wire.Act(seq, verb, (label,), number), kind, labels=(label,)))

    def _watch(self, labels: tuple[str, ...]) -> None:
        self._ask(Asked(lambda seq: wire.Watch(seq, labels, True), "watch", labels=labels))

    def calm_down(self, suspended: list[str]) -> None:
        """Bring back to life what would stay for ever, until it is answered."""
        self._ask(Asked(lambda seq: wire.Control(seq, "resume"), "control"))
        for label in suspended:
            self.act("resume", label)

    # ------------------------------------------------------------ hearing

    def _read(self, socket: Socket) -> None:
        try:
            data = socket.recv(1 << 16)
        except BlockingIOError:
            return
        if not data:
            self.hang_up()
            return
        for message in self._reader.feed(data):
            if isinstance(message, wire.Ended):
                self._judge.told_ended(message)
                self.watched.discard(message.info.id)
            elif isinstance(message, wire.Answer | wire.Failure):
                self._hear(message)

    def _hear(self, message: wire.Answer | wire.Failure) -> None:
        asked = self.asked.pop(message.seq, None)
        if asked is None:
            return
        if isinstance(message, wire.Failure):
            self._refused(asked, message)
        elif asked.kind == "submit":
            self._acknowledged(asked.key, msgspec.msgpack.decode(message.value, type=list[str]))
        elif asked.kind == "cancel":
            said = msgspec.msgpack.decode(message.value, type=dict[str, str])
            self._judge.told_cancelled(said)
        elif asked.kind == "query":
            infos = msgspec.msgpack.decode(message.value, type=list[wire.JobInfo])
            for info in infos:
                self._judge.shown(info)
            self._judge.listed(asked.labels, [info.id for info in infos])

    def _refused(self, asked: Asked, message: wire.Failure) -> None:
        self._say("refused")
        if asked.kind == "submit":
            if self._judge.is_acknowledged(asked.key):
                self._judge.fault(f"a submit that was acknowledged is refused: {message.message}")
            self._envs = False
        elif asked.kind == "watch" and message.kind == "UnknownJob":
            self.watched.difference_update(asked.labels)
        expected = ("QueueError", "UnknownDependency", "UnknownJob")
        if message.kind not in expected:
            self._judge.fault(f"a {asked.kind} was refused: {message.kind}: {message.message}")

    def _acknowledged(self, key: bytes, labels: list[str]) -> None:
        spec = self._specs[key]
        self._say("acknowledged")
        self._judge.acknowledged(key, labels)
        if not spec.array:
            self._judge.singles.update(labels)
        self._answered.append((key, spec, labels))
        for label in labels:
            if label not in self._plan.labels:
                self._plan.labels.append(label)
                if spec.array:
                    self._plan.labels += [f"{label}_{i}" for i in range(spec.array.count)]
