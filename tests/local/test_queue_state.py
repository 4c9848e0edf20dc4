"""The queue's state: events in, changes and effects out."""

import pytest

from cluster import states
from cluster.errors import UnknownDependency, Unsatisfiable
from cluster.local import events as ev
from cluster.local import resources, view
from cluster.local.queue_state import QueueState
from cluster.local.wire import Content, Output
from cluster.spec import ArraySpec, Dependency, JobSpec

NAMES = resources.names(["license"])


class Driver:
    """A queue with a clock in hand, a node that does as told, and what came out of it."""

    def __init__(self, **capacity: int) -> None:
        amounts = {"cores": 2, "memory_mib": 4096, **capacity}
        cpus = tuple(range(amounts["cores"]))
        self.queue = QueueState(NAMES, resources.vector(NAMES, amounts), cpus=cpus)
        self.now = 1000.0
        self.effects: list[ev.Effect] = []
        self.changes = ev.Changes()
        self.ended: dict[str, tuple[str, str]] = {}
        self.in_advance: list[tuple[int, int]] = []  # what the node has, not started
        self.began: list[str] = []
        self.do(ev.Attached((), ()))

    def do(self, event: ev.Event) -> list[ev.Effect]:
        self.began = []
        self.turn(event)
        return self.effects

    def turn(self, event: ev.Event) -> None:
        self.queue.handle(event, self.now)
        self.queue.schedule(self.now)
        self.changes, self.effects = self.queue.take()
        for effect in list(self.effects):
            if isinstance(effect, ev.Finished) and isinstance(effect.job, ev.Job):
                self.ended[effect.job.label] = (effect.job.state, effect.job.reason)
            elif isinstance(effect, ev.StartProcess):
                self.order(effect)
            elif isinstance(effect, ev.EndProcesses):
                key = (effect.job, effect.attempt)
                if key in self.in_advance:
                    self.in_advance.remove(key)
                    before = self.effects
                    self.turn(ev.Exited(*key, 0, effect.why))
                    self.effects = before + self.effects

    def order(self, effect: ev.StartProcess) -> None:
        key = (effect.job.id, effect.job.attempt)
        if effect.queued:
            self.in_advance.append(key)
            return
        if key in self.in_advance:
            self.in_advance.remove(key)
        self.began.append(effect.job.label)

    def exit(self, id: int, code: int = 0, **more: object) -> list[ev.Effect]:
        attempt = self.queue.jobs[id].attempt
        following = (0, 0)
        self.began = []
        if self.in_advance:
            following = self.in_advance.pop(0)
            self.began.append(self.queue.jobs[following[0]].label)
        status = {
            "status": code << 8,
            "next": following,
            "started": self.queue.jobs[id].started,
            **more,
        }
        self.turn(ev.Exited(id, attempt, **status))  # type: ignore[arg-type]
        return self.effects

    def started(self) -> list[str]:
        return self.began

    def submit(self, *specs: JobSpec, known: dict[str, ev.Known] | None = None) -> list[str]:
        replies = self.do(ev.Submit("me", b"key", specs, known or {}))
        return next(e.value for e in replies if isinstance(e, ev.Reply))

    def act(self, verb: str, label: str, number: int = 0) -> str:
        effects = self.do(ev.Act("me", verb, (label,), number))
        return next(e.value for e in effects if isinstance(e, ev.Reply))[label]

    def state(self, id: int) -> str:
        return self.queue.jobs[id].state

    def why(self, id: int) -> str:
        return view.why_pending(self.queue.jobs[id], self.queue, self.now, 0.0)


def job(name: str = "j", **options: object) -> JobSpec:
    return JobSpec(name=name, **options)  # type: ignore[arg-type]


def after(*targets: str, type: str = "afterok") -> tuple[Dependency, ...]:
    return tuple(Dependency(target, type) for target in targets)


# ---------------------------------------------------------------- starting


def test_jobs_start_in_the_turn_they_are_submitted_in_as_far_as_cores_go():
    driver = Driver()

    driver.submit(job("a"), job("b"), job("c"))

    assert driver.started() == ["1", "2"]
    assert driver.why(3) == "Resources: needs 1 core, 0 free"


def test_who_starts_next_is_found_out_once_for_a_whole_list():
    driver = Driver()
    driver.submit(job(cores=2, expect_s=60.0), *[job(cores=1)] * 3)
    head = view.Head(driver.queue, driver.now)
    jobs = [driver.queue.jobs[id] for id in (2, 3, 4)]

    told = [view.job_info(one, driver.queue, driver.now, "h", head) for one in jobs]
    driver.queue.waiting.reservation = None  # a second question would fail
    again = [view.job_info(one, driver.queue, driver.now, "h", head) for one in jobs]

    assert [info.expected_start for info in told] == [driver.now + 60, 0.0, 0.0]
    assert again == told


def test_with_overtaking_a_short_job_starts_before_a_long_one_that_came_shortly_before():
    driver = Driver()
    driver.queue.overtake = 4.0
    driver.submit(job(cores=2), job("long", cores=2, expect_s=600.0))
    driver.now += 60

    driver.submit(job("short", cores=2, expect_s=1.0))
    driver.exit(1)

    assert driver.started() == ["3"]


def test_with_overtaking_a_job_of_unknown_length_keeps_its_place():
    driver = Driver()
    driver.queue.overtake = 4.0
    driver.submit(job(cores=2), job("unknown", key="u", cores=2))
    driver.now += 60

    driver.submit(job("short", cores=2, expect_s=1.0))
    driver.exit(1)

    assert driver.started() == ["2"]


def test_the_answer_holds_one_id_for_each_spec_and_an_array_reserves_a_block():
    driver = Driver()

    ids = driver.submit(job(), job(array=ArraySpec(0, 10)), job())

    assert ids == ["1", "2", "13"]


def test_an_exit_starts_the_next_one_in_the_same_turn():
    driver = Driver()
    driver.submit(job(cores=2), job(cores=2))

    driver.exit(1)

    assert driver.started() == ["2"]


def test_a_job_with_more_cores_than_the_machine_is_refused_and_nothing_is_queued():
    driver = Driver()

    with pytest.raises(Unsatisfiable, match="job 'wide' needs 3 cores; this queue has 2 cores"):
        driver.submit(job("fine"), job("wide", cores=3))

    assert not driver.queue.jobs
    assert driver.submit(job()) == ["1"]


def test_memory_and_named_resources_limit_what_runs_at_once():
    driver = Driver(license=1)
    driver.submit(
        job(resources={"license": 1}), job(resources={"license": 1}), job(memory_mib=5000 - 904)
    )

    assert driver.started() == ["1", "3"]
    assert "needs 1 license, 0 free" in driver.why(2)


def test_priority_comes_before_age():
    driver = Driver(cores=1)
    driver.submit(job("running"))
    driver.submit(job("old"), job("urgent", priority=5))

    driver.exit(1)

    assert driver.started() == ["3"]


def test_a_begin_time_keeps_a_job_back_until_the_clock_reaches_it():
    driver = Driver()
    driver.submit(job(begin=1060.0))

    assert driver.started() == []
    assert driver.why(1).startswith("Begin: not before ")
    assert driver.queue.next_time() == 1060.0

    driver.now = 1060.0
    driver.do(ev.Tick())

    assert driver.started() == ["1"]


def test_nothing_starts_while_there_is_no_node_or_the_queue_is_paused():
    driver = Driver()
    driver.do(ev.Switch("me", True))

    driver.submit(job())
    paused = driver.started()
    driver.do(ev.Switch("me", False))

    assert (paused, driver.started()) == ([], ["1"])


# ---------------------------------------------------------------- ending


def test_a_command_that_exits_with_three_is_failed_with_the_code_in_the_reason():
    driver = Driver()
    driver.submit(job())

    driver.exit(1, 3)

    assert driver.ended["1"] == (states.FAILED, "exit code 3")


def test_a_signal_is_told_by_its_name():
    driver = Driver()
    driver.submit(job())

    driver.exit(1, status=11)

    assert driver.ended["1"] == (states.FAILED, "signal 11 (SIGSEGV)")


@pytest.mark.parametrize(
    ("why", "state"),
    [
        ("walltime", states.TIMEOUT),
        ("memory", states.OUT_OF_MEMORY),
        ("node", states.NODE_FAIL),
        ("start", states.FAILED),
        ("cancel", states.CANCELLED),
    ],
)
def test_what_ended_a_job_decides_its_state(why, state):
    driver = Driver()
    driver.submit(job(walltime_s=5))

    driver.exit(1, 1, why=why, reason="because")

    assert driver.ended["1"][0] == state


def test_a_function_that_leaves_no_result_failed_even_with_code_zero():
    driver = Driver()
    driver.submit(job(kind="function"), job(kind="function"))

    driver.exit(1, 0, result_status=None)
    driver.exit(2, 0, result_status=0)

    assert driver.ended["1"][0] == states.FAILED
    assert driver.ended["2"][0] == states.COMPLETED


def test_an_exit_is_acknowledged_after_it_is_among_the_changes():
    driver = Driver()
    driver.submit(job())

    effects = driver.exit(1, 0, content=Content(stdout=Output(b"hello")))

    assert driver.changes.jobs[1].state == states.COMPLETED
    assert driver.changes.contents[1].stdout.data == b"hello"
    assert ev.Acknowledge(1, 1) in effects


def test_an_exit_of_an_earlier_attempt_or_an_unknown_job_is_only_acknowledged():
    driver = Driver()
    driver.submit(job())

    driver.do(ev.Exited(1, 7, 0))
    driver.do(ev.Exited(99, 1, 0))

    assert driver.state(1) == states.RUNNING
    assert driver.effects == [ev.Acknowledge(99, 1)]


def test_retries_run_a_failed_job_again_and_then_give_up():
    driver = Driver()
    driver.submit(job(retries=1))

    driver.exit(1, 3)
    again = driver.started(), driver.queue.jobs[1].attempt
    driver.exit(1, 3)

    assert again == (["1"], 2)
    assert driver.ended["1"][0] == states.FAILED


def test_a_lost_job_is_queued_again_only_if_it_asked_for_that():
    driver = Driver()
    driver.submit(job(requeue=True), job())

    driver.exit(1, 0, why="node", reason="the node died")
    driver.exit(2, 0, why="node", reason="the node died")

    assert driver.state(1) == states.RUNNING
    assert driver.queue.jobs[1].attempt == 2
    assert driver.ended["2"] == (states.NODE_FAIL, "the node died")


def test_run_times_are_learned_by_key_and_cores():
    driver = Driver()
    driver.submit(job(key="f"))
    driver.now += 7

    driver.exit(1)

    assert driver.changes.run_times == {"1 f": [7.0]}


# ---------------------------------------------------------------- cancel, hold, ...


def test_a_cancelled_running_job_is_final_at_once_but_keeps_its_cores_until_it_is_gone():
    driver = Driver()
    driver.submit(job(cores=2), job("next"))

    said = driver.act("cancel", "1")

    assert (said, driver.state(1), driver.queue.jobs[1].ending) == ("cancelled", "CANCELLED", True)
    assert ev.EndProcesses(1, 1, "cancel") in driver.effects
    assert driver.started() == []

    driver.exit(1, status=15)

    assert driver.ended["1"][0] == states.CANCELLED
    assert driver.started() == ["2"]


def test_a_second_cancel_and_a_cancel_of_a_final_job_change_nothing_and_say_so():
    driver = Driver()
    driver.submit(job())
    driver.act("cancel", "1")

    assert driver.act("cancel", "1") == "already CANCELLED, its processes are being ended"
    assert driver.act("cancel", "77") == "no such job"
    effects = driver.do(ev.Act("me", "cancel", ("5",), 0, {"5": ev.Known("COMPLETED")}))
    assert effects == [ev.Reply("me", {"5": "already COMPLETED"})]


def test_a_job_that_succeeds_while_it_is_being_cancelled_stays_cancelled():
    driver = Driver()
    driver.submit(job())
    driver.act("cancel", "1")

    driver.exit(1, 0)

    assert driver.ended["1"][0] == states.CANCELLED


def test_hold_and_release():
    driver = Driver(cores=1)
    driver.submit(job("running"), job("held"), job("other", hold=True))

    assert driver.act("hold", "2") == "held"
    driver.exit(1)
    assert driver.started() == []
    assert driver.why(2) == "Held: `cluster release 2` lets it go"

    driver.act("release", "3")
    assert driver.started() == ["3"]


def test_requeue_ends_a_running_job_and_starts_it_again_as_the_next_attempt():
    driver = Driver()
    driver.submit(job())

    driver.act("requeue", "1")
    assert ev.EndProcesses(1, 1, "requeue") in driver.effects
    driver.exit(1, status=15, why="requeue")

    assert (driver.state(1), driver.queue.jobs[1].attempt) == (states.RUNNING, 2)


def test_a_signal_goes_to_a_running_job_only():
    driver = Driver(cores=1)
    driver.submit(job(), job())

    driver.act("signal", "1", 10)
    assert ev.SendSignal(1, 1, 10) in driver.effects
    assert driver.act("signal", "2", 10) == "is PENDING: only a running job can be signalled"


def test_suspend_and_resume_keep_the_cores():
    driver = Driver(cores=1)
    driver.submit(job(), job())

    driver.act("suspend", "1")
    assert (driver.state(1), driver.started()) == (states.SUSPENDED, [])
    driver.act("resume", "1")
    driver.exit(1)

    assert driver.ended["1"][0] == states.COMPLETED


# ---------------------------------------------------------------- dependencies


@pytest.mark.parametrize(
    ("type", "code", "outcome"),
    [
        ("afterok", 0, "runs"),
        ("afterok", 3, "cancelled"),
        ("afterany", 0, "runs"),
        ("afterany", 3, "runs"),
        ("afternotok", 0, "cancelled"),
        ("afternotok", 3, "runs"),
    ],
)
def test_what_each_type_of_dependency_does(type, code, outcome):
    driver = Driver()
    driver.submit(job(), job(dependencies=after("@0", type=type)))
    assert driver.started() == ["1"]
    assert driver.why(2) == "Dependency: waits for 1"

    driver.exit(1, code)

    assert ("runs" if driver.started() == ["2"] else "cancelled") == outcome
    assert ("2" in driver.ended) == (outcome == "cancelled")


def test_after_is_met_by_the_start():
    driver = Driver(cores=1)
    driver.submit(job(hold=True), job(dependencies=after("@0", type="after")))

    driver.act("release", "1")
    assert driver.started() == ["1"]
    assert driver.why(2).startswith("Resources")


def test_the_reason_of_a_cancelled_dependent_says_what_failed_transitively():
    driver = Driver()
    driver.submit(job(), job(dependencies=after("@0")), job(dependencies=after("@1")))

    driver.exit(1, 3)

    assert driver.ended["2"] == (states.CANCELLED, "Dependency 1 failed with exit code 3")
    assert driver.ended["3"] == (states.CANCELLED, "Dependency 2 was cancelled")


@pytest.mark.parametrize(("choice", "state"), [("pend", "PENDING"), ("release", "RUNNING")])
def test_an_unsatisfiable_dependency_may_also_leave_the_job_pending_or_release_it(choice, state):
    driver = Driver()
    driver.submit(job(), job(dependencies=after("@0"), on_unsatisfiable=choice))

    driver.exit(1, 3)

    assert driver.state(2) == state


def test_a_dependency_on_a_job_that_only_the_store_knows():
    driver = Driver()
    known = {"5": ev.Known("COMPLETED"), "6": ev.Known("FAILED", "exit code 2", 2)}

    driver.submit(job(dependencies=after("5")), job(dependencies=after("6")), known=known)

    assert driver.started() == ["1"]
    assert driver.ended["2"] == (states.CANCELLED, "Dependency 6 failed with exit code 2")


def test_an_unknown_dependency_is_refused_and_nothing_is_queued():
    driver = Driver()

    with pytest.raises(UnknownDependency, match="job 'b' depends on job 99"):
        driver.submit(job("a"), job("b", dependencies=after("99")))

    assert not driver.queue.jobs


def test_a_cycle_inside_a_submission_is_refused():
    driver = Driver()

    with pytest.raises(UnknownDependency, match="cycle"):
        driver.submit(job("a", dependencies=after("@1")), job("b", dependencies=after("@0")))


def test_a_dependency_on_a_job_that_ended_earlier_in_the_same_turn_is_settled():
    driver = Driver()
    driver.submit(job())
    driver.queue.handle(ev.Exited(1, 1, 0), driver.now)

    driver.submit(job(dependencies=after("1")))

    assert driver.started() == ["2"]


def test_a_chain_of_five_thousand_is_cancelled_without_recursion():
    driver = Driver()
    chain = [job(dependencies=after(f"@{i}")) for i in range(5000)]
    driver.submit(job(), *chain)

    driver.exit(1, 1)

    assert len(driver.ended) == 5001
    assert not driver.queue.jobs


# ---------------------------------------------------------------- arrays


def test_one_of_several_dependencies_may_be_enough():
    driver = Driver(cores=3)
    driver.submit(job(), job(), job(), job(dependencies=after("@0", "@1", "@2"), either=True))

    driver.exit(1, 3)
    assert "4" not in driver.ended  # another one may still hold
    driver.exit(2)
    assert driver.started() == ["4"]


def test_with_one_of_several_a_job_is_given_up_only_when_none_can_hold():
    driver = Driver(cores=1)
    driver.submit(job(), job(), job(dependencies=after("@0", "@1"), either=True))

    driver.exit(1, 3)
    driver.exit(2, 3)

    assert driver.ended["3"][0] == states.CANCELLED


def test_elements_may_each_wait_for_their_like_in_another_array():
    driver = Driver(cores=4)
    driver.submit(job(array=ArraySpec(0, 3), hold=True))
    corresponding = after("1", type="aftercorr")
    driver.submit(job(array=ArraySpec(0, 3), dependencies=corresponding, on_unsatisfiable="pend"))

    driver.act("release", "1")
    driver.exit(2, 0)
    assert driver.started() == ["5_0"]
    driver.exit(3, 1)
    assert driver.started() == []
    assert "waits for ever" in driver.why(7)


def test_an_array_may_have_any_indices():
    driver = Driver(cores=4)

    driver.submit(job(array=ArraySpec(1, 3, listed=(1, 3, 7))))

    assert driver.started() == ["1_1", "1_3", "1_7"]
    assert driver.queue.find("1_3") is driver.queue.jobs[3]
    assert driver.queue.find("1_2") is None


def test_an_array_is_one_record_until_its_elements_start():
    driver = Driver()

    driver.submit(job(array=ArraySpec(5, 1_000_000, 5)))

    assert driver.started() == ["1_5", "1_10"]
    assert len(driver.queue.jobs) == 2 + 16  # running, and assigned to the node
    assert len(driver.changes.jobs) == 2 + 16


def test_a_running_limit_holds_for_all_elements():
    driver = Driver(cores=4)
    driver.submit(job(array=ArraySpec(0, 4, 1, 2)))

    assert driver.started() == ["1_0", "1_1"]
    driver.exit(2)
    assert driver.started() == ["1_2"]


def test_a_running_limit_holds_for_elements_that_were_held_too():
    driver = Driver(cores=4)
    driver.submit(job(array=ArraySpec(0, 4, 1, 1), hold=True))
    driver.act("hold", "1_2")
    driver.act("release", "1_3")
    assert driver.started() == ["1_3"]

    driver.act("release", "1")

    assert driver.started() == []
    driver.exit(5)
    assert len(driver.started()) == 1


def test_elements_wait_for_the_array_dependencies_and_count_for_its_dependents():
    driver = Driver()
    driver.submit(job(), job(array=ArraySpec(0, 2), dependencies=after("@0")),
                  job(dependencies=after("@1")))  # fmt: skip
    driver.exit(1)
    assert driver.started() == ["2_0", "2_1"]

    driver.exit(3)
    assert driver.started() == []
    driver.exit(4)

    assert driver.started() == ["5"]


def test_one_failed_element_cancels_what_depends_on_the_whole_array():
    driver = Driver()
    driver.submit(job(array=ArraySpec(0, 3)), job(dependencies=after("@0")))

    driver.exit(2, 4)

    assert driver.ended["5"] == (states.CANCELLED, "Dependency 1_0 failed with exit code 4")


def test_a_dependency_on_one_element():
    driver = Driver()
    driver.submit(job(array=ArraySpec(0, 3)))
    driver.submit(job(dependencies=after("1_2")))
    driver.exit(2)
    driver.exit(3)

    driver.exit(4)

    assert driver.started() == ["5"]


def test_cancelling_an_array_ends_all_its_elements():
    driver = Driver()
    driver.submit(job(array=ArraySpec(0, 100)))
    driver.act("cancel", "1")
    assert len(driver.queue.jobs) == 2

    driver.exit(2, status=15)
    driver.exit(3, status=15)

    assert not driver.queue.jobs
    assert not driver.queue.arrays
    assert driver.changes.arrays[1].counts == {"CANCELLED": 100}


@pytest.mark.parametrize(("kind", "state"), [("afterany", "RUNNING"), ("afterok", "CANCELLED")])
def test_who_waits_for_an_untouched_element_is_told_when_its_array_is_cancelled(kind, state):
    driver = Driver()
    driver.do(ev.Submit("me", b"a", (JobSpec(name="a", hold=True, array=ArraySpec(4, 3, 2)),)))
    waiter = JobSpec(name="w", dependencies=(Dependency("1_8", kind),))
    driver.do(ev.Submit("me", b"w", (waiter,)))

    driver.do(ev.Act("me", "cancel", ("1",)))

    found = driver.queue.jobs.get(5)
    assert (found.state if found else driver.ended["5"][0]) == state


def test_of_elements_without_a_record_it_is_said_once_that_they_never_start():
    driver = Driver()
    driver.submit(job(array=ArraySpec(0, 100)), job(array=ArraySpec(0, 2)))

    driver.act("cancel", "1")
    array = driver.queue.arrays[1]
    said = [each for each in driver.effects if isinstance(each, ev.NeverToStart)]
    driver.act("cancel", "1")

    assert said == [ev.NeverToStart(array)]
    assert not any(isinstance(each, ev.NeverToStart) for each in driver.effects)


def test_cancelling_one_element_that_never_started():
    driver = Driver()
    driver.submit(job(array=ArraySpec(0, 4)))

    driver.act("cancel", "1_3")
    driver.exit(2)
    driver.exit(3)
    assert driver.started() == []
    driver.exit(4)

    assert driver.ended["1_3"][0] == states.CANCELLED
    assert not driver.queue.arrays


# ---------------------------------------------------------------- lending cores


def test_a_job_that_waits_for_its_own_jobs_lends_its_cores_and_gets_them_back_first():
    driver = Driver()
    driver.submit(job(cores=2))
    driver.submit(job("sub"), job("late", cores=2))
    assert driver.started() == []

    driver.do(ev.Block("p", 1))
    assert driver.started() == ["2"]

    driver.do(ev.Unblock("p", 1))
    assert not any(isinstance(e, ev.Reply) for e in driver.effects)
    driver.exit(2)

    assert ev.Reply("p") in driver.effects
    assert driver.started() == []
    driver.exit(1)
    assert driver.started() == ["3"]


def test_the_process_that_waits_to_go_on_is_answered_when_its_job_is_gone():
    driver = Driver(cores=1)
    driver.submit(job(), job())
    driver.do(ev.Block("p", 1))
    driver.do(ev.Unblock("p", 1))

    driver.exit(1)

    assert ev.Reply("p") in driver.effects


# ---------------------------------------------------------------- the node


def test_a_job_whose_order_to_start_was_lost_is_started_again_as_the_same_attempt():
    driver = Driver()
    driver.submit(job())

    driver.do(ev.Attached((), ()))

    assert driver.started() == ["1"]
    assert driver.queue.jobs[1].attempt == 1


def test_a_job_that_the_node_has_is_not_started_again():
    driver = Driver()
    driver.submit(job(), job())

    driver.do(ev.Attached(((1, 1, 4711),), ((2, 1),)))

    assert driver.started() == []
    assert driver.queue.jobs[1].pid == 4711


def test_after_a_reboot_running_jobs_are_node_fail_and_queued_ones_stay():
    driver = Driver(cores=1)
    driver.submit(job(), job())

    driver.do(ev.Attached((), (), rebooted=True))

    assert driver.ended["1"][0] == states.NODE_FAIL
    assert driver.started() == ["2"]


def test_what_the_node_runs_and_the_queue_does_not_know_is_ended():
    driver = Driver()

    driver.do(ev.Attached(((9, 1, 4711),), ()))

    assert driver.effects == [ev.EndProcesses(9, 1, "unknown")]


# ---------------------------------------------------------------- assigned in advance


def test_the_next_of_the_same_shape_are_given_to_the_node_in_advance_and_stay_pending():
    driver = Driver()

    driver.submit(*[job() for _ in range(30)])

    assert driver.in_advance == [(id, 1) for id in range(3, 19)]
    assert driver.state(3) == states.PENDING
    assert driver.why(3) == "Resources: needs 1 core, 0 free"
    assert driver.changes.jobs[3].assigned


def test_nothing_is_given_in_advance_when_shapes_differ_or_the_first_in_line_has_another():
    driver = Driver(cores=3)
    driver.submit(job(cores=2), job(), job(), job())
    mixed = list(driver.in_advance)
    other = Driver()
    other.submit(job(), job(), job("wide", cores=2), job())

    assert (mixed, other.in_advance) == ([], [])


def test_what_the_node_starts_by_itself_takes_the_place_and_the_cpus_of_what_ended():
    driver = Driver()
    driver.submit(job(), job(), job())
    cpus = driver.queue.jobs[2].allocation.cpus

    driver.exit(2)

    assert driver.started() == ["3"]
    assert driver.state(3) == states.RUNNING
    assert driver.queue.jobs[3].allocation.cpus == cpus


def promoted(driver: Driver) -> list[int]:
    orders = [each for each in driver.effects if isinstance(each, ev.StartProcess)]
    return [each.job.id for each in orders if not each.queued]


def test_room_is_not_lost_to_a_node_that_is_always_one_job_further():
    driver = Driver()
    driver.submit(*[job() for _ in range(30)])

    driver.exit(1, next=(0, 0))  # it had run out of jobs when this one ended
    first = promoted(driver)
    driver.exit(2, next=(3, 1))  # before it heard of that
    second = promoted(driver)

    assert (first, second) == ([3], [18])
    assert driver.state(3) == driver.state(18) == states.RUNNING
    assert driver.queue.pool.free[0] == 0


def test_room_is_for_the_first_in_line_where_the_node_was_not_faster():
    driver = Driver()
    driver.submit(*[job() for _ in range(30)])
    driver.exit(1, next=(0, 0))
    driver.exit(2, next=(3, 1))
    driver.now += 2.0

    driver.exit(18, next=(0, 0))

    assert promoted(driver) == [4]


def test_a_job_of_higher_priority_takes_back_what_was_given_in_advance():
    driver = Driver(cores=1)
    driver.submit(job(), job("assigned"))
    assert driver.in_advance == [(2, 1)]

    driver.submit(job("urgent", priority=1))
    driver.exit(1)

    assert driver.started() == ["3"]


def test_an_assigned_job_can_be_held_and_cancelled():
    driver = Driver(cores=1)
    driver.submit(job(), job(), job(), job())

    driver.act("hold", "2")
    driver.act("cancel", "3")
    driver.exit(1)

    assert driver.state(2) == states.HELD
    assert driver.ended["3"][0] == states.CANCELLED
    assert driver.started() == ["4"]


def test_a_job_that_the_node_started_before_it_heard_of_the_hold_runs():
    driver = Driver(cores=1)
    driver.submit(job(), job())
    driver.in_advance.clear()  # the order to give it back comes too late
    asked = driver.do(ev.Act("me", "hold", ("2",)))

    told = driver.exit(1, next=(2, 1))

    assert driver.state(2) == states.RUNNING
    assert not [each for each in asked if isinstance(each, ev.Reply)]
    assert ev.Reply("me", {"2": "has just started: too late to hold it"}) in told


def test_a_job_given_in_advance_that_was_cancelled_is_not_started_when_there_is_room():
    driver = Driver(cores=1)
    driver.submit(job(), job())
    driver.in_advance.clear()  # the node's answer takes its time
    driver.act("cancel", "2")
    cancelled = driver.queue.jobs[2]

    driver.exit(1)

    assert driver.started() == []
    assert (cancelled.ending, cancelled.allocation) == (True, None)


def test_a_pause_takes_back_what_was_given_in_advance():
    driver = Driver(cores=1)
    driver.submit(job(), job())

    driver.do(ev.Switch("me", True))
    driver.exit(1)

    assert driver.started() == []
    assert driver.queue.jobs[2].attempt == 0


def test_an_assigned_job_that_a_new_node_does_not_know_waits_again():
    driver = Driver(cores=1)
    driver.submit(job(), job())
    driver.in_advance.clear()

    driver.do(ev.Attached(((1, 1, 7),), ()))

    assert driver.in_advance == [(2, 1)]


def test_an_assigned_job_that_a_node_reports_as_running_runs():
    driver = Driver(cores=1)
    driver.submit(job(), job())
    driver.in_advance.clear()

    driver.do(ev.Attached(((2, 1, 7),), ((1, 1),)))

    assert driver.state(2) == states.RUNNING


@pytest.mark.parametrize(("unclean", "state"), [(True, "NODE_FAIL"), (False, "RUNNING")])
def test_after_a_crash_of_the_machine_an_assigned_job_may_have_run_already(unclean, state):
    driver = Driver(cores=1)
    driver.submit(job(), job())
    driver.in_advance.clear()

    driver.do(ev.Attached((), (), rebooted=True, is_unclean=unclean))

    ended = driver.ended.get("2", (None,))[0]
    assert (ended or driver.state(2)) == state


# ---------------------------------------------------------------- capacity


def test_when_the_capacity_shrinks_a_wide_job_waits_and_does_not_block_others():
    driver = Driver()
    driver.submit(job("running", cores=2), job("wide", cores=2), job("small"))
    driver.do(ev.Resize("me", {"cores": 1, "memory_mib": 4096}))

    driver.exit(1)

    assert driver.started() == ["3"]
    assert driver.why(2) == "Resources: needs 2 cores, the queue's capacity is smaller now"
