"""Any history of the queue: nothing oversold, final stays final, the store knows all of it."""

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from cluster import states
from cluster.local import events as ev
from cluster.local import resources
from cluster.local.events import Job
from cluster.local.queue_state import QueueState
from cluster.local.store import Store
from cluster.spec import ArraySpec, Dependency, JobSpec

NAMES = resources.names()
CAPACITY = (4, 100, 1)
TYPES = st.sampled_from(["afterok", "afterany", "afternotok", "after"])


class QueueMachine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="cl-")
        self.store = Store(Path(self.folder.name, "queue.db"), durable=False)
        self.queue = QueueState(NAMES, CAPACITY, cpus=range(4))
        self.now = 100.0
        self.labels: list[str] = []
        self.final: dict[str, str] = {}
        self.begun: set[tuple[int, int]] = set()
        self.processes: dict[tuple[int, int], str] = {}  # what a node would have
        self.in_advance: dict[tuple[int, int], str] = {}  # what it would start by itself
        self.keys = 0
        self.late: list[ev.Exited] = []
        self.turn(ev.Attached((), ()))

    def teardown(self):
        self.store.close()
        self.folder.cleanup()

    def turn(self, event):
        self.now += 1.0
        begin = self.queue.next_time()
        if begin is not None and begin <= self.now:
            self.queue.handle(ev.Tick(), self.now)
        self.queue.handle(event, self.now)
        self.queue.schedule(self.now)
        changes, effects = self.queue.take()
        if changes:
            self.store.commit(changes, self.now)
        for effect in effects:
            if isinstance(effect, ev.StartProcess):
                self.order(effect)
            elif isinstance(effect, ev.EndProcesses):
                key = (effect.job, effect.attempt)
                if self.in_advance.pop(key, None) or (
                    effect.why == "recall" and key not in self.processes
                ):
                    self.late.append(ev.Exited(*key, 0, effect.why))
            elif isinstance(effect, ev.Finished) and isinstance(effect.job, Job):
                assert effect.job.label not in self.final, "ended twice"
                assert states.is_final(effect.job.state)
                self.final[effect.job.label] = effect.job.state
        return effects

    def order(self, effect):
        """A node starts what it is told to, once, and keeps what it may start later."""
        attempt = (effect.job.id, effect.job.attempt)
        if effect.queued:
            self.in_advance[attempt] = effect.job.label
        elif attempt not in self.processes:
            self.in_advance.pop(attempt, None)
            self.begin(attempt, effect.job.label)

    def begin(self, attempt, label):
        assert attempt not in self.begun, "started twice"
        self.begun.add(attempt)
        self.processes[attempt] = label

    @precondition(lambda self: self.late)
    @rule()
    def answer_late(self):
        """The node's answers to a recall take their time."""
        self.turn(self.late.pop(0))

    @rule(
        cores=st.integers(1, 4),
        memory=st.sampled_from([0, 30, 100]),
        gpus=st.integers(0, 1),
        priority=st.integers(-1, 1),
        hold=st.booleans(),
        begin=st.sampled_from([0.0, 5.0]),
        array=st.none()
        | st.builds(
            ArraySpec, st.integers(0, 3), st.integers(1, 5), st.integers(1, 2), st.integers(0, 2)
        ),
        retries=st.integers(0, 1),
        requeue=st.booleans(),
        unsatisfiable=st.sampled_from(["cancel", "pend", "release"]),
        data=st.data(),
    )
    def submit(
        self,
        cores,
        memory,
        gpus,
        priority,
        hold,
        begin,
        array,
        retries,
        requeue,
        unsatisfiable,
        data,
    ):
        targets = (
            data.draw(st.lists(st.sampled_from(self.labels), max_size=2)) if self.labels else []
        )
        dependencies = tuple(Dependency(t, data.draw(TYPES)) for t in targets)
        spec = JobSpec(
            name="j",
            cores=cores,
            memory_mib=memory,
            gpus=gpus,
            priority=priority,
            hold=hold,
            begin=self.now + begin if begin else 0.0,
            array=array,
            retries=retries,
            requeue=requeue,
            on_unsatisfiable=unsatisfiable,
            dependencies=dependencies,
            key="k",
        )
        known = {t: k for t in targets if not self.queue.is_live(t) and (k := self.store.known(t))}
        self.keys += 1
        self.turn(ev.Submit("me", str(self.keys).encode(), (spec,), known))
        (label,) = self.store.labels(str(self.keys).encode())
        self.labels.append(label)
        if array:
            self.labels += [f"{label}_{array.start + i * array.step}" for i in range(array.count)]

    @precondition(lambda self: self.processes)
    @rule(
        data=st.data(),
        status=st.sampled_from([0, 0, 3 << 8, 9]),
        why=st.sampled_from(["", "", "walltime", "memory", "node", "start", "requeue"]),
    )
    def exit(self, data, status, why):
        job, attempt = data.draw(st.sampled_from(sorted(self.processes)))
        del self.processes[job, attempt]
        following = next(iter(self.in_advance), (0, 0))
        if following[0]:
            self.begin(following, self.in_advance.pop(following))
        self.turn(
            ev.Exited(
                job,
                attempt,
                status,
                why=why,
                started=1.0,
                ended=self.now,
                cpu_s=1.0,
                next=following,
            )
        )

    @precondition(lambda self: self.begun - self.processes.keys())
    @rule(data=st.data(), status=st.sampled_from([0, 3 << 8]))
    def exit_is_told_again(self, data, status):
        """A node that has not heard of the acknowledgement says it once more, whatever runs now."""
        job, attempt = data.draw(st.sampled_from(sorted(self.begun - self.processes.keys())))
        self.turn(ev.Exited(job, attempt, status, started=1.0, ended=self.now))

    @precondition(lambda self: self.labels)
    @rule(
        data=st.data(),
        number=st.integers(-2, 2),
        verb=st.sampled_from(
            ["cancel", "hold", "release", "priority", "requeue", "suspend", "resume"]
        ),
    )
    def act(self, data, verb, number):
        label = data.draw(st.sampled_from(self.labels))
        known = self.store.known(label) if not self.queue.is_live(label) else None
        self.turn(ev.Act("me", verb, (label,), number, {label: known} if known else {}))

    @precondition(lambda self: self.processes)
    @rule(data=st.data(), back=st.booleans())
    def block(self, data, back):
        job, _ = data.draw(st.sampled_from(sorted(self.processes)))
        self.turn(ev.Unblock("p", job) if back else ev.Block("p", job))

    @rule()
    def tick(self):
        self.turn(ev.Tick())

    @rule(lost=st.booleans())
    def restart(self, lost):
        """The server is killed; the node has all it was told, or lost the last order."""
        before = self.queue
        known = dict(self.processes)
        if lost and known:
            last = max(known)
            del known[last], self.processes[last]
            self.begun.discard(last)
        self.queue = QueueState(NAMES, CAPACITY, cpus=range(4), next_id=before.next_id)
        jobs, arrays = self.store.unfinished()
        for record in (*jobs, *arrays):
            record.need = resources.need(
                NAMES,
                cores=record.spec.cores,
                memory_mib=record.spec.memory_mib,
                gpus=record.spec.gpus,
            )
        self.queue.restore(jobs, arrays, self.now)
        self.compare(before)
        self.in_advance.clear()  # a node that a new server attaches to forgets them
        self.late.clear()
        running = tuple((job, attempt, 1) for job, attempt in known)
        self.turn(ev.Attached(running, ()))

    def compare(self, before):
        assert set(self.queue.jobs) == set(before.jobs)
        for id, job in self.queue.jobs.items():
            old = before.jobs[id]
            if job.assigned and old.allocation is not None:  # started by the node: not written
                assert job.attempt == old.attempt
            else:
                assert comparable(job) == comparable(old)
        arrays = {id: comparable(array) for id, array in self.queue.arrays.items()}
        assert arrays == {id: comparable(array) for id, array in before.arrays.items()}
        assert set(self.queue.waiting) == {i for i in before.waiting if i > 0}

    @invariant()
    def nothing_is_oversold(self):
        held = [0, 0, 0]
        for job in self.queue.jobs.values():
            if job.allocation is not None and not job.lent:
                held = [a + b for a, b in zip(held, job.allocation.held, strict=True)]
        assert all(a <= b for a, b in zip(held, CAPACITY, strict=True))

    @invariant()
    def what_has_a_process_holds_its_cores(self):
        holders = {(j.id, j.attempt) for j in self.queue.jobs.values() if j.allocation is not None}
        assert holders == set(self.processes)

    @invariant()
    def arrays_keep_their_limit(self):
        for array in self.queue.arrays.values():
            running = sum(j.allocation is not None for j in self.queue.live_elements(array))
            assert running == array.running
            limit = array.spec.array.max_running
            assert not limit or running <= limit

    @invariant()
    def final_jobs_stay_final(self):
        for label, state in self.final.items():
            assert not self.queue.is_live(label) or self.queue.find(label) is None
            assert self.store.known(label).state == state

    @invariant()
    def what_is_waited_for_is_still_to_come(self):
        arrays = self.queue.arrays
        for entry in (*self.queue.jobs.values(), *arrays.values()):
            as_asked = any(target < 0 for target, _ in entry.unmet)
            for target, _ in entry.unmet:
                is_element = any(a.id < target <= a.id + a.count for a in arrays.values())
                is_live = is_element or target in self.queue.jobs or target in arrays
                assert as_asked or is_live

    @invariant()
    def nothing_that_could_wait_for_cores_is_forgotten(self):
        for job in self.queue.jobs.values():
            free_to_go = (
                job.state == states.PENDING and not job.unmet and job.spec.begin <= self.now
            )
            parked = job.id in self.queue.parked.get(job.array, ())
            due = any(id == job.id for _, id in self.queue.begins)
            kept = parked or due or job.assigned
            assert not free_to_go or job.id in self.queue.waiting or kept


def comparable(record):
    """What must survive a restart: all but the views of the moment."""
    fields = {f: getattr(record, f) for f in record.__struct_fields__}
    for transient in (
        "running",
        "started_count",
        "recalled",
        "spec",
        "pid",
        "stdout",
        "stderr",
        "allocation",
    ):
        fields.pop(transient, None)
    return fields | {"holds": getattr(record, "allocation", None) is not None}


def test_no_history_of_the_queue_breaks_an_invariant():
    run_state_machine_as_test(
        QueueMachine,
        settings=settings(
            max_examples=40,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
