"""What random histories have found, told as short stories."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from sim_clients import LAUNCH, Plan, SimClient
from sim_machine import Machine
from sim_world import World

from cluster.spec import ArraySpec, JobSpec

CORES = 2
DAY_S = 86400.0


class Story(World):
    """A world in which nothing happens by chance but the order of what is said."""

    def __init__(self) -> None:
        super().__init__(0)
        self.machine = self.judge._machine = Machine(
            self.rng, CORES, self.now, self.fault, self.tell, seconds=(0.05,), statuses=(0,)
        )
        self.plan = Plan(self.rng, CORES, self.now, self.wall, calm=True)
        self.client = SimClient("c", self.plan, self.judge, self.reach_server, self.say)
        self.clients = [self.client]
        self.store.is_durable = True

    def until(self, check: Callable[[], object]) -> None:
        """Let the world go on until something is so."""
        for _ in range(3000):
            if check():
                return
            self.step()
        raise AssertionError("it does not come to pass")

    def submit(self, **fields: object) -> str:
        """Queue something; its id."""
        before = len(self.plan.labels)
        key = b"key %d" % before
        self.client.submit_spec(key, JobSpec(name="j", launch=LAUNCH, **fields))  # type: ignore[arg-type]
        self.until(lambda: len(self.plan.labels) > before)
        return self.plan.labels[before]

    def tick(self) -> None:
        """Let some time pass."""
        self._mono += 0.001

    def attached(self) -> None:
        """Have a server with a node."""
        self.client.watch("1")  # whoever waits wants a server
        self.until(lambda: self.server is not None and self.server.queue.attached)

    def state(self, label: str) -> str:
        known = self.store.known(label)
        return known.state if known else ""

    def runs(self, label: str) -> bool:
        return any(str(each.key[0]) == label for each in self.machine.living())


@pytest.fixture
def story() -> Iterator[Story]:
    world = Story()
    with world.outside():
        yield world
    world.store.really_close()
    assert world.judge.faults == []


def test_an_array_that_ended_on_a_full_disk_is_told_once_that_is_written(story: Story) -> None:
    array = story.submit(array=ArraySpec(0, 3))
    story.until(lambda: story.state(f"{array}_0") == "COMPLETED")
    story.store.is_full = True
    story.until(lambda: not story.server.queue.arrays)

    story.client.watch(array)
    story.until(lambda: not story.client.asked)
    before = array in story.client.watched
    story.store.is_full = False
    story.until(lambda: not story.client.watched)

    assert before
    assert story.state(array) == "COMPLETED"


def test_who_asks_in_the_turn_in_which_a_job_ends_is_told(story: Story) -> None:
    story.attached()
    job = story.submit()
    server, node = story.server, story.node
    assert server is not None
    assert node is not None
    story.until(lambda: node.finished)
    story.client.watch(job)
    told_of = server.selector.ready
    while len(told_of()) < 2:  # the report and the question are there, and nothing was read
        node.turn()
        story.client.turn()
        story.tick()
    server.selector.select = lambda timeout: sorted(
        told_of(), key=lambda ready: ready[0].data is not server.node.connection
    )

    story.server_turn()

    story.until(lambda: not story.client.watched)
    assert story.judge.told[job] == "COMPLETED"


def test_a_wait_for_an_element_ends_when_its_array_is_cancelled_before_it_starts(
    story: Story,
) -> None:
    array = story.submit(array=ArraySpec(0, 3), hold=True)
    story.client.watch(f"{array}_1")
    story.until(lambda: not story.client.asked)

    story.client.act("cancel", array)
    story.until(lambda: not story.client.watched)

    assert story.judge.told[f"{array}_1"] == "CANCELLED"


def test_a_wait_for_an_element_that_runs_ends_once_when_its_array_is_cancelled(
    story: Story,
) -> None:
    story.machine.seconds = (1000.0,)
    story.attached()
    array = story.submit(array=ArraySpec(0, 30))
    story.client.watch(*(f"{array}_{index}" for index in (0, 5, 29)))
    story.until(lambda: story.runs(str(int(array) + 1)) and not story.client.asked)

    story.client.act("cancel", array)
    story.until(lambda: not story.client.watched)

    assert story.judge.told == {f"{array}_{index}": "CANCELLED" for index in (0, 5, 29)}


def test_what_may_have_started_is_lost_when_a_power_cut_takes_all_of_the_journal(
    story: Story,
) -> None:
    jobs = [story.submit() for _ in range(5)]
    story.until(lambda: (3, 1) in story.machine.begun)
    was_written = {job.id: job.assigned for job in story.store.unfinished()[0]}

    story.cut_power()
    story.machine.files.put({})
    story.client.watch(*jobs)
    story.until(lambda: not story.client.watched)

    assert was_written[3]
    assert story.state("3") == "NODE_FAIL"


def test_a_power_cut_does_not_bring_back_the_word_of_an_earlier_node(story: Story) -> None:
    story.attached()
    assert story.node is not None
    story.node.close()  # by itself: it leaves word that its journal is whole
    story.node = None
    story.until(lambda: not story.server.queue.attached)
    jobs = [story.submit() for _ in range(5)]
    story.until(lambda: (3, 1) in story.machine.begun)
    assert {job.id: job.assigned for job in story.store.unfinished()[0]}[3]
    undone = story.machine.files.not_yet_sure()

    story.cut_power()
    story.machine.files.put(undone)
    story.client.watch(*jobs)
    story.until(lambda: not story.client.watched)

    assert story.state("3") == "NODE_FAIL"


def test_a_node_obeys_a_server_after_the_clock_was_set_back(story: Story) -> None:
    story.attached()
    story.kill_server()
    story.store.is_full = True  # the next one's epoch is never written
    story.skew += DAY_S
    story.attached()
    story.kill_server()
    story.store.is_full = False
    story.skew -= DAY_S

    job = story.submit()

    story.until(lambda: story.state(job) == "COMPLETED")


def test_orders_that_waited_for_the_disk_are_not_given_to_another_node(story: Story) -> None:
    story.attached()
    story.kill_node()
    story.until(lambda: not story.server.queue.attached)
    array = story.submit(array=ArraySpec(0, 5))
    story.store.is_full = True
    story.until(lambda: story.server._unwritten and story.server.queue.attached)
    story.kill_node()
    story.until(lambda: not story.server.queue.attached)
    story.until(lambda: story.server.queue.attached)

    story.store.is_full = False
    story.until(lambda: story.state(array) == "COMPLETED")

    starts = Counter(story.judge.starts)
    assert {id for id, _ in starts} == {2, 3, 4, 5, 6}
    assert set(starts.values()) == {1}


def test_a_node_that_has_not_attached_is_sent_the_environment_later(story: Story) -> None:
    story.attached()
    story.kill_node()
    story.until(lambda: not story.server.queue.attached)
    job = story.submit()
    story.store.is_full = True
    story.until(lambda: story.server._unwritten and story.server.queue.attached)
    story.kill_node()
    link = story.server.node
    story.until(lambda: link.connection is not None and not link._has_attached)

    story.store.is_full = False
    story.server_turn()

    story.until(lambda: story.state(job) == "COMPLETED")


def test_a_job_that_was_cancelled_before_its_start_was_written_never_starts(
    story: Story,
) -> None:
    story.machine.seconds = (1000.0,)
    story.attached()
    wide = story.submit(cores=CORES)
    job = story.submit()
    story.until(lambda: story.runs(wide))
    story.store.is_full = True
    story.client.act("cancel", wide)  # what ends makes room for the other, on paper
    story.until(lambda: story.server.queue.jobs[int(job)].allocation)
    story.client.act("cancel", job)
    story.until(lambda: story.server.queue.jobs[int(job)].ending)

    story.store.is_full = False
    story.until(lambda: int(job) not in story.server.queue.jobs)

    assert (int(job), 1) not in story.machine.begun


def test_a_job_that_was_queued_again_before_its_start_was_written_begins_a_second_time(
    story: Story,
) -> None:
    story.machine.seconds = (1000.0,)
    story.attached()
    wide = story.submit(cores=CORES)
    job = story.submit()
    story.until(lambda: story.runs(wide))
    story.store.is_full = True
    story.client.act("cancel", wide)
    story.until(lambda: story.server.queue.jobs[int(job)].allocation)

    story.client.act("requeue", job)
    story.until(lambda: story.server.queue.orders.again(story.server.queue.jobs))
    story.store.is_full = False

    story.until(lambda: (int(job), 2) in story.machine.begun)


def test_a_job_is_not_stopped_before_that_is_written(story: Story) -> None:
    story.machine.seconds = (1000.0,)
    story.attached()
    job = story.submit()
    story.until(lambda: story.runs(job))
    story.store.is_full = True
    story.client.act("suspend", job)
    story.until(lambda: story.server._unwritten)
    for _ in range(100):  # time enough to do what may not be done
        story.step()

    story.kill_server()
    story.store.is_full = False
    story.client.die()
    story.client.watch(job)

    story.until(lambda: story.state(job) == "COMPLETED")


def test_a_job_goes_on_when_the_server_dies_before_it_says_so(story: Story) -> None:
    story.machine.seconds = (1.0,)
    story.attached()
    job = story.submit()
    story.until(lambda: story.runs(job))
    story.client.act("suspend", job)
    story.until(lambda: any(each.is_stopped for each in story.machine.living()))
    story.client.act("resume", job)
    story.doomed = "server.before_orders"
    story.until(lambda: not story.doomed)

    story.client.watch(job)
    story.until(lambda: story.state(job) == "COMPLETED")
