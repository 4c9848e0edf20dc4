"""What must hold in any history: it sees each commit and each message, and trusts nobody.

commit ──> what is on disk ─┐
process ─> what really ran ─┼──> is every word that leaves the server true on disk?
message ─> what was told ───┘
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Any

import msgspec
from sim_machine import Machine

from cluster import states
from cluster.local import wire
from cluster.local.events import Array, Changes, Job
from cluster.local.journal import Key
from cluster.local.queue_state import QueueState
from cluster.local.store import Store


class Judge:
    """Collects `faults`.

    Args:
        machine: what really runs.
        store: gives the store as it is now, on disk.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.store: Store | None = None
        self.faults: list[str] = []
        self.keys: dict[bytes, list[str]] = {}  # on disk
        self._acknowledged: dict[bytes, list[str]] = {}
        self.singles: set[str] = set()  # of the acknowledged, what is no array
        self._ids: set[int] = set()
        self._final: dict[str, str] = {}
        self._intended: set[Key] = set()  # attempts that were on disk before their start
        self.told: dict[str, str] = {}
        self.node_trouble = False  # a node was killed, or the power: exits may be lost
        self.disk_trouble = False
        self.commits = 0
        self.starts: list[Key] = []  # orders to start, as they left the server

    def fault(self, text: str) -> None:
        """Note what must not be."""
        if text not in self.faults:
            self.faults.append(text)

    # ------------------------------------------------------------ the disk

    def committed(self, changes: Changes) -> None:
        """A turn is on disk."""
        self.commits += 1
        for job in changes.jobs.values():
            holds = "holds cores" if job.allocation else "assigned" if job.assigned else ""
            self._machine.tell(f"  on disk: {job.label}.{job.attempt} {job.state} {holds}")
        for key, labels in changes.keys.items():
            if key in self.keys:
                self.fault(f"submit {key!r} was queued twice: {self.keys[key]}, {labels}")
            self.keys[key] = list(labels)
        for id in changes.requests:
            if id in self._ids:
                self.fault(f"id {id} was given twice")
            self._ids.add(id)
        for job in changes.jobs.values():
            self._row(job)

    def _row(self, job: Job) -> None:
        before = self._final.get(job.label)
        if before is not None and before != job.state:
            self.fault(f"job {job.label} was {before}, and became {job.state}")
        if states.is_final(job.state):
            self._final[job.label] = job.state
        if job.allocation is not None or job.assigned:
            self._intended.add((job.id, job.attempt))

    def lost_power(self, store: Store) -> None:
        """A store that does not sync lost some of its last turns: what is there counts."""
        self.keys = {key: labels for key in self.keys if (labels := store.labels(key)) is not None}
        self._acknowledged = {k: v for k, v in self._acknowledged.items() if k in self.keys}
        self.singles &= set(chain(*self._acknowledged.values()))
        self._ids = {id for id in self._ids if store.launch(id) is not None}
        self._final = {
            label: state
            for label, state in self._final.items()
            if (known := store.known(label)) is not None and known.state == state
        }
        self.told.clear()
        self._intended.clear()
        self._machine.begun.clear()
        self._machine.ended.clear()

    # ------------------------------------------------------------ what leaves the server

    def leaves(self, message: Any) -> None:
        """A message is on its way: what it says must be on disk."""
        assert self.store is not None
        if isinstance(message, wire.Start):
            self.starts.append((message.job, message.attempt))
            if (message.job, message.attempt) not in self._intended:
                self.fault(f"job {message.job} is started before that is written")
        elif isinstance(message, wire.Ack):
            self._acked((message.job, message.attempt))
        elif isinstance(message, wire.Ended):
            known = self.store.known(message.info.id)
            if known is None or not states.is_final(known.state):
                self.fault(f"job {message.info.id} is told to be over before that is written")
            elif known.state != message.info.state:
                self.fault(f"job {message.info.id} is {known.state}, told {message.info.state}")

    def _acked(self, key: Key) -> None:
        if key not in self._machine.ended:
            return  # given back, or not known to anybody
        assert self.store is not None
        for row in self.store.unfinished()[0]:
            if (row.id, row.attempt) == key and (row.allocation is not None or row.assigned):
                self.fault(f"the end of job {key[0]} is acknowledged before it is written")

    # ------------------------------------------------------------ what clients were told

    def acknowledged(self, key: bytes, labels: list[str]) -> None:
        """A submit was answered."""
        if key not in self.keys:
            self.fault(f"submit {key!r} was acknowledged before it was written")
        before = self._acknowledged.setdefault(key, labels)
        if before != labels:
            self.fault(f"submit {key!r} was answered with {before}, then with {labels}")

    def is_acknowledged(self, key: bytes) -> bool:
        return key in self._acknowledged

    def told_ended(self, message: wire.Ended) -> None:
        """A watched job ended."""
        self._note(message.info.id, message.info.state)

    def told_cancelled(self, said: dict[str, str]) -> None:
        """Cancelled jobs are final at once."""
        assert self.store is not None
        for label, text in said.items():
            found = self.store.find(label)
            is_open = found is None or (isinstance(found, Job) and not states.is_final(found.state))
            if text == "cancelled" and is_open:
                self.fault(f"job {label} was said to be cancelled, and is not")

    def shown(self, info: wire.JobInfo) -> None:
        """A client saw this; it may be older than what others saw."""
        if not states.is_final(info.state) or info.counts:
            return
        assert self.store is not None
        known = self.store.known(info.id)
        if known is not None and known.state == info.state:
            self._note(info.id, info.state)
        elif not self.disk_trouble:  # else a look shows what is not written yet
            self.fault(f"job {info.id} is shown as {info.state} before that is written")

    def listed(self, labels: Iterable[str], shown: list[str]) -> None:
        """A client that knew these jobs asked for all."""
        missing = sorted(self.singles.intersection(labels).difference(shown))
        if missing:
            self.fault(f"jobs {', '.join(missing)} were acknowledged, and are not listed")
        if len(shown) != len(set(shown)):
            self.fault("a job is listed twice")

    def _note(self, label: str, state: str) -> None:
        if label not in self.told:
            self._machine.tell(f"  told: {label} is {state}")
        if self.told.setdefault(label, state) != state:
            self.fault(f"job {label} was told to be {self.told[label]}, then {state}")

    # ------------------------------------------------------------ at rest

    def at_rest(self, queue: QueueState, reasons: dict[str, str]) -> None:
        """Nothing moves any more: is everything where it must be?"""
        assert self.store is not None
        for key, labels in self._acknowledged.items():
            if self.store.labels(key) != labels:
                self.fault(f"submit {key!r} was acknowledged and is gone")
            for label in labels:
                if self.store.find(label) is None:
                    self.fault(f"job {label} was acknowledged and is gone")
        for job in queue.jobs.values():
            self._waits(job, reasons.get(job.label, ""))
        for entry in (*queue.jobs.values(), *queue.arrays.values()):
            self._waits_for(entry, queue)
        for process in self._machine.living():
            self.fault(f"process {process.pid} of job {process.key[0]} is left")
        for label, state in self.told.items():
            known = self.store.known(label)
            if known is None or known.state != state:
                self.fault(f"job {label} was told to be {state}, and is {known}")
        self._outcomes()

    def _waits(self, job: Job, reason: str) -> None:
        if job.allocation is not None or job.assigned or job.ending:
            self.fault(f"job {job.label} is {job.state} for ever, and nothing runs")
        elif job.state == states.PENDING and not job.unmet:
            self.fault(f"job {job.label} waits for ever, for nothing")
        elif job.state == states.PENDING and not reason:
            self.fault(f"job {job.label} waits and nobody is told why")

    def _waits_for(self, entry: Job | Array, queue: QueueState) -> None:
        """What a job waits for must be still to come."""
        for target, kind in entry.unmet:
            is_element = any(a.id < target <= a.id + a.count for a in queue.arrays.values())
            if target > 0 and not (target in queue.jobs or target in queue.arrays or is_element):
                self.fault(f"job {entry.id} waits for ever ({kind}) for {target}, which is over")
        is_idle = isinstance(entry, Array) and entry.rest == states.PENDING and not entry.unmet
        if is_idle and queue.untouched(entry):
            self.fault(f"array {entry.id} waits for ever, for nothing")

    def _outcomes(self) -> None:
        """What the books say is what the processes did."""
        assert self.store is not None
        done: dict[int, list[int]] = {}
        for id, status in self._machine.outcomes:
            done.setdefault(id, []).append(status)
        for row in self.store.select(states=(), since=0.0, limit=0, namespace="", elements=True):
            if not isinstance(row, Job):
                continue
            if row.state == states.COMPLETED and 0 not in done.get(row.id, []):
                self.fault(f"job {row.label} is COMPLETED, and no attempt of it ended well")
            if row.state == states.FAILED and not any(done.get(row.id, [])):
                self.fault(f"job {row.label} is FAILED, and no attempt of it did: {row.reason}")
            if row.state in (states.NODE_FAIL, states.LOST) and not self.node_trouble:
                self.fault(f"job {row.label} is {row.state}, and no node died: {row.reason}")

    def same(self, again: dict[int, str], live: dict[int, str]) -> None:
        """What the store gives back is what the server has in mind."""
        if again != live:
            self.fault(f"the store says {again}, the server {live}")


def decoded(reader: wire.Reader, data: bytes) -> list[Any]:
    """Give the messages that these bytes complete, free of their buffer."""
    return [msgspec.structs.replace(message) for message in reader.feed(data)]
