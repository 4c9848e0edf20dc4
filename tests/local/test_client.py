"""How a program asks the queue, and what it sees when the queue misbehaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import msgspec
import psutil
import pytest
from fake_server import FakeServer, answer, ended

from cluster import errors
from cluster.local import connection as connections
from cluster.local import lifecycle, wire
from cluster.local.client import Client, environment, get_client
from cluster.local.environment import scrub
from cluster.local.private import PrivateQueue
from cluster.spec import JobSpec, Launch

PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def until(check, timeout_s=60.0):
    """Wait for a condition; its value."""
    deadline = time.monotonic() + timeout_s
    while not (found := check()):
        assert time.monotonic() < deadline, "it did not become true"
        time.sleep(0.005)
    return found


def command(*argv, **fields):
    hash, env = environment()
    launch = Launch(argv=tuple(os.fsencode(each) for each in argv), env=hash)
    fields.setdefault("name", "job")
    return [JobSpec(launch=msgspec.Raw(msgspec.msgpack.encode(launch)), **fields)], {hash: env}


def is_gone(pid):
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.fixture
def fake(state_dir):
    server = FakeServer(str(state_dir))
    yield server
    server.close()


@pytest.fixture
def client(fake):
    client = Client(fake.state_dir, request_timeout_s=5.0)
    yield client
    client.close()


# ---------------------------------------------------------------------- requests


def test_a_limit_gives_the_newest_of_those_that_match(state_dir):
    client = Client(state_dir)
    client.control("pause")
    for name in ("a1", "b1", "a2", "a3", "b2"):
        client.submit(*command("true", name=name))

    assert [info.id for info in client.query(limit=2)] == ["4", "5"]
    assert [info.name for info in client.query(name="a*", limit=2)] == ["a2", "a3"]
    assert client.query(states=["RUNNING"], limit=2) == []
    client.close()


def test_only_the_first_sending_of_a_submit_says_that_it_is_fresh(fake, client):
    asked = []

    def refuse_once(request):
        asked.append((request.key, request.fresh))
        if len(asked) == 1:
            raise ConnectionError
        return [answer(request, ["7"])]

    fake.replies[wire.Submit] = refuse_once

    assert client.submit(*command("true")) == ["7"]
    (first, second) = asked
    assert first[0] == second[0]
    assert (first[1], second[1]) == (True, False)


def test_a_submit_gives_the_ids_and_sends_each_environment_once(fake, client):
    fake.replies[wire.Submit] = lambda request: [answer(request, ["7"])]

    given = [client.submit(*command("true")), client.submit(*command("true"))]

    assert given == [["7"], ["7"]]
    assert [len(request.envs) for request in fake.of(wire.Submit)] == [1, 0]


def test_a_submit_that_is_cut_off_is_sent_again_with_the_same_key(fake, client):
    def cut_off_once(request):
        if len(fake.of(wire.Submit)) == 1:
            raise ConnectionError
        return [answer(request, ["7"])]

    fake.replies[wire.Submit] = cut_off_once

    assert client.submit(*command("true")) == ["7"]

    first, second = fake.of(wire.Submit)
    assert first.key == second.key
    assert second.envs == first.envs != {}


def test_two_submits_have_different_keys(fake, client):
    fake.replies[wire.Submit] = lambda request: [answer(request, ["7"])]

    client.submit(*command("true"))
    client.submit(*command("true"))

    assert len({request.key for request in fake.of(wire.Submit)}) == 2


def test_an_environment_is_sent_again_after_its_submit_was_refused(fake, client):
    fake.replies[wire.Submit] = lambda request: [wire.Failure(request.seq, "Unsatisfiable", "no")]

    for _ in range(2):
        with pytest.raises(errors.Unsatisfiable):
            client.submit(*command("true"))

    assert [len(request.envs) for request in fake.of(wire.Submit)] == [1, 1]


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("UnknownJob", errors.UnknownJob),
        ("InvalidTransition", errors.InvalidTransition),
        ("NoSuchError", errors.QueueError),
        ("annotations", errors.QueueError),
    ],
)
def test_a_failure_is_the_error_it_names_with_its_message(kind, error, fake, client):
    fake.replies[wire.Fetch] = lambda request: [wire.Failure(request.seq, kind, "no job 9")]

    with pytest.raises(error, match=r"^no job 9$"):
        client.fetch("9")


@pytest.mark.slow
def test_a_hundred_thousand_jobs_fit_into_an_answer(fake, client):
    jobs = [
        wire.JobInfo(id=str(n), name=f"job number {n}", state="PENDING") for n in range(100_000)
    ]
    fake.replies[wire.Query] = lambda request: [answer(request, jobs)]

    assert client.query() == jobs


def test_a_large_frame_in_small_pieces_is_read_in_linear_time():
    reader = wire.Reader(wire.Reply)
    data = wire.frame([ended(str(n)) for n in range(20_000)])
    pieces = [data[at : at + 100] for at in range(0, len(data), 100)]

    began = time.process_time()
    messages = [message for piece in pieces for message in reader.feed(piece)]

    assert len(messages) == 20_000
    assert time.process_time() - began < 0.5  # 5 s and more when each piece copies all before


def test_messages_come_out_whole_however_the_bytes_are_cut():
    data = wire.frame([ended("1"), ended("2")]) + wire.frame([ended("3")]) + wire.frame([])

    for size in range(1, len(data) + 1):
        reader = wire.Reader(wire.Reply)
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        ids = [message.info.id for piece in pieces for message in reader.feed(piece)]
        assert ids == ["1", "2", "3"]


def test_a_silent_server_is_named_by_its_process(fake):
    fake.replies[wire.Query] = lambda request: []
    client = Client(fake.state_dir, request_timeout_s=0.1)

    with pytest.raises(errors.ServerTimeout, match=f"process {os.getpid()}.*kill -CONT"):
        client.query()

    del fake.replies[wire.Query]
    fake.replies[wire.Query] = lambda request: [answer(request, [])]
    assert client.query() == []
    client.close()


def test_a_server_that_does_not_even_greet_is_a_timeout(fake):
    fake.replies[wire.Hello] = lambda request: []

    with pytest.raises(errors.ServerTimeout, match="did not answer"):
        Client(fake.state_dir, request_timeout_s=0.1).query()


def test_a_newer_server_is_left_alone_with_advice(state_dir):
    fake = FakeServer(str(state_dir), protocol=wire.PROTOCOL + 1)

    try:
        with pytest.raises(errors.ProtocolError, match="Upgrade"):
            Client(state_dir).query()
    finally:
        fake.close()
    assert fake.of(wire.Control) == []


@pytest.mark.slow
def test_an_older_server_is_asked_to_leave_and_replaced(state_dir):
    fake = FakeServer(str(state_dir), protocol=wire.PROTOCOL - 1)
    fake.replies[wire.Control] = lambda request: leave()

    def leave():
        threading.Thread(target=fake.close).start()
        raise ConnectionError

    assert Client(state_dir).query() == []
    # once more if it still listened when it was looked for again
    assert {request.verb for request in fake.of(wire.Control)} == {"stop"}


def test_a_signal_is_not_sent_twice(fake, client):
    def cut_off(request):
        raise ConnectionError

    fake.replies[wire.Act] = cut_off

    with pytest.raises(errors.ServerUnavailable, match="not known"):
        client.act("signal", ["1"], 10)

    assert len(fake.of(wire.Act)) == 1


def test_asking_whether_a_server_is_there_starts_none(state_dir):
    client = Client(state_dir)

    assert not client.alive()
    with pytest.raises(errors.ServerUnavailable, match="no server runs"):
        client.control("status")
    assert list(state_dir.iterdir()) == []


# -------------------------------------------------------------------------- wait


def test_each_job_is_given_when_it_ends(fake, client):
    waiting = client.wait(["1", "2"])
    fake.replies[wire.Watch] = lambda request: [ended("2"), answer(request)]

    assert next(waiting).info.id == "2"
    fake.send(ended("1"))
    assert [each.info.id for each in waiting] == ["1"]
    assert fake.of(wire.Unwatch) == []


def test_a_wait_that_runs_out_says_what_is_missing_and_stops_watching(fake, client):
    with pytest.raises(errors.WaitTimeout, match=r"2 of 2 jobs .* \(1, 2\); they go on"):
        list(client.wait(["1", "2"], timeout=0.05))

    fake.wait_for(wire.Unwatch)


def ended_with(id):
    return wire.Ended(ended(id).info, wire.Content(stdout=wire.Output(data=b"text")))


def test_the_next_jobs_of_a_batch_are_asked_for_with_the_first(fake, client):
    fake.replies[wire.Submit] = lambda request: [answer(request, ["1", "2", "3"])]
    client.submit(command("true")[0] * 3)
    fake.replies[wire.Watch] = lambda request: [ended_with("1"), ended_with("2"), answer(request)]

    values = [next(client.wait([id], content=True, timeout=60)).info.id for id in ("1", "2")]
    third = client.wait(["3"], content=True, timeout=60)
    fake.send(ended_with("3"))

    assert [*values, next(third).info.id] == ["1", "2", "3"]
    assert [request.ids for request in fake.of(wire.Watch)] == [("1", "2", "3")]


def test_a_job_that_was_asked_for_ahead_is_asked_for_again_when_the_server_went(fake, client):
    fake.replies[wire.Submit] = lambda request: [answer(request, ["1", "2"])]
    client.submit(command("true")[0] * 2)
    fake.replies[wire.Watch] = lambda request: [ended_with(request.ids[0]), answer(request)]
    next(client.wait(["1"], content=True, timeout=60))

    fake.hang_up()

    assert next(client.wait(["2"], content=True, timeout=60)).info.id == "2"
    assert [request.ids for request in fake.of(wire.Watch)] == [("1", "2"), ("2",)]


def test_an_unknown_job_beside_it_spoils_no_wait(fake, client):
    fake.replies[wire.Submit] = lambda request: [answer(request, ["1", "2"])]
    client.submit(command("true")[0] * 2)

    def watch(request):
        if "2" in request.ids:
            return [wire.Failure(request.seq, "UnknownJob", "no 2")]
        return [ended_with("1"), answer(request)]

    fake.replies[wire.Watch] = watch

    assert next(client.wait(["1"], content=True, timeout=60)).info.id == "1"
    with pytest.raises(errors.UnknownJob, match="no 2"):
        next(client.wait(["2"], content=True, timeout=60))


def test_a_wait_for_an_unknown_job_is_an_error(fake, client):
    fake.replies[wire.Watch] = lambda request: [wire.Failure(request.seq, "UnknownJob", "no 9")]

    with pytest.raises(errors.UnknownJob, match="no 9"):
        list(client.wait(["9"]))


def test_a_wait_outlives_the_server_and_watches_what_is_missing(fake, client):
    fake.replies[wire.Watch] = lambda request: [answer(request)]
    waiting = client.wait(["1", "2"], timeout=60)
    fake.replies[wire.Watch] = lambda request: [ended("1"), answer(request)]
    next(waiting)

    fake.hang_up()
    fake.replies[wire.Watch] = lambda request: [ended("2"), answer(request)]

    assert next(waiting).info.id == "2"
    assert [request.ids for request in fake.of(wire.Watch)] == [("1", "2"), ("2",)]


def test_a_job_that_the_new_server_does_not_know_ends_the_wait(fake, client):
    waiting = client.wait(["1", "2"], timeout=60)
    fake.replies[wire.Watch] = lambda request: [ended("1"), answer(request)]
    next(waiting)

    fake.hang_up()
    fake.replies[wire.Watch] = lambda request: [wire.Failure(request.seq, "UnknownJob", "lost")]

    with pytest.raises(errors.UnknownJob, match="lost"):
        next(waiting)


def test_two_waits_in_one_thread_do_not_take_each_others_jobs(fake, client):
    fake.replies[wire.Watch] = lambda request: [answer(request)]
    first, second = client.wait(["1", "2"], timeout=60), client.wait(["2", "3"], timeout=60)
    fake.replies[wire.Watch] = lambda request: [ended(request.ids[0]), answer(request)]
    assert [next(first).info.id, next(second).info.id] == ["1", "2"]

    second.close()

    fake.wait_for(wire.Unwatch)
    assert [each.info.id for each in first] == ["2"]


def test_a_wait_left_early_renews_the_watches_of_the_others(fake, client):
    fake.replies[wire.Watch] = lambda request: [ended(request.ids[0]), answer(request)]
    first, second = client.wait(["1", "2"], timeout=60), client.wait(["3", "4"], timeout=60)
    next(first), next(second)

    second.close()

    fake.wait_for(wire.Watch, 3)
    assert fake.of(wire.Watch)[-1].ids == ("2",)


def test_requests_between_the_jobs_of_a_wait_lose_none(fake, client):
    fake.replies[wire.Watch] = lambda request: [ended("1"), answer(request)]
    fake.replies[wire.Query] = lambda request: [ended("2"), answer(request, [])]

    seen = [(each.info.id, client.query()) for each in client.wait(["1", "2"], timeout=60)]

    assert seen == [("1", []), ("2", [])]


INTERRUPTED = """
import os, sys, time
from cluster.local.client import Client
client = Client(sys.argv[1])
try:
    list(client.wait(["1"]))
except KeyboardInterrupt:
    print("interrupted", client.query(), flush=True)
"""


@pytest.mark.slow
def test_ctrl_c_leaves_a_wait_at_once_and_the_client_goes_on(fake):
    fake.replies[wire.Query] = lambda request: [answer(request, [])]
    waiter = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, fake.state_dir], stdout=subprocess.PIPE, text=True
    )
    fake.wait_for(wire.Watch)
    began = time.monotonic()

    waiter.send_signal(signal.SIGINT)
    said = waiter.communicate(timeout=60)[0]

    assert said == "interrupted []\n"
    assert time.monotonic() - began < 3  # it does not wait for an answer, which none would give
    assert len(fake.of(wire.Hello)) == 2  # it hung up, which ends its watches, and came again


# ----------------------------------------------------------------------- lending


@pytest.fixture
def job_client(fake, monkeypatch):
    monkeypatch.setenv("CLUSTER_RAW_ID", "5")
    client = Client(fake.state_dir, request_timeout_s=5.0)
    yield client
    client.close()


def kinds(fake):
    return [type(request).__name__ for request in fake.got]


def test_a_job_that_waits_lends_its_cores_and_takes_them_back(fake, job_client):
    fake.replies[wire.Block] = lambda request: [answer(request), ended("1")]

    list(job_client.wait(["1"], timeout=60))

    assert fake.got[0].job == 5
    assert kinds(fake) == ["Hello", "Watch", "Block", "Unblock"]


def test_a_job_does_not_lend_its_cores_for_what_ended_before(fake, job_client):
    fake.replies[wire.Watch] = lambda request: [ended("1"), answer(request)]

    list(job_client.wait(["1"], timeout=60))

    assert kinds(fake) == ["Hello", "Watch"]


def test_a_job_has_its_cores_back_while_it_handles_what_ended(fake, job_client):
    fake.replies[wire.Block] = lambda request: [answer(request), ended("1")]

    next(job_client.wait(["1", "2"], timeout=60))

    assert kinds(fake)[:4] == ["Hello", "Watch", "Block", "Unblock"]


def test_a_job_whose_wait_ran_out_has_its_cores_back(fake, job_client):
    with pytest.raises(errors.WaitTimeout):
        list(job_client.wait(["1"], timeout=0.05))

    fake.wait_for(wire.Unwatch)
    assert kinds(fake) == ["Hello", "Watch", "Block", "Unblock", "Unwatch"]


def test_a_job_of_another_queue_lends_nothing_here(fake, monkeypatch):
    monkeypatch.setenv("CLUSTER_RAW_ID", "5")
    monkeypatch.setenv("CLUSTER_STATE_DIR", "/elsewhere")
    client = Client(fake.state_dir)
    fake.replies[wire.Watch] = lambda request: [answer(request), ended("1")]

    list(client.wait(["1"], timeout=60))

    assert fake.got[0].job == 0
    client.close()


# ------------------------------------------------------------ threads and processes


def test_each_thread_has_its_own_client_and_always_the_same(fake):
    mine, theirs = get_client(fake.state_dir), []
    thread = threading.Thread(target=lambda: theirs.append(get_client(fake.state_dir)))
    thread.start()
    thread.join()

    assert get_client(fake.state_dir) is mine
    assert theirs[0] is not mine


def test_fifty_threads_that_wait_for_one_job_are_all_woken(fake):
    fake.replies[wire.Watch] = lambda request: [answer(request), ended("1")]
    woken = []

    def wait():
        woken.extend(each.info.id for each in get_client(fake.state_dir).wait(["1"], timeout=60))

    threads = [threading.Thread(target=wait) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert woken == ["1"] * 50


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_uses_a_connection_of_its_own(fake, client):
    fake.replies[wire.Query] = lambda request: [answer(request, [])]
    client.query()

    child = os.fork()
    if child == 0:
        os._exit(0 if client.query() == [] else 1)
    status = os.waitpid(child, 0)[1]

    assert (status, client.query()) == (0, [])
    assert [request.pid for request in fake.of(wire.Hello)] == [os.getpid(), child]


# -------------------------------------------------------------------- environment


def test_what_describes_the_submitters_own_job_is_left_out():
    env = dict.fromkeys(
        b"SLURM_JOB_ID PBS_JOBID SGE_TASK_ID LSB_JOBID LS_JOBPID PMI_RANK CLUSTER_JOB_TOKEN "
        b"CLUSTER_ARRAY_INDEX CLUSTER_CORES CLUSTER_MEMORY_MIB CLUSTER_RAW_ID CLUSTER_DAEMON "
        b"PATH CUDA_VISIBLE_DEVICES CLUSTER_STATE_DIR LS_COLORS SGE_ROOT".split(),
        b"1",
    )

    assert set(scrub(env)) == {
        b"PATH",
        b"CUDA_VISIBLE_DEVICES",
        b"CLUSTER_STATE_DIR",
        b"LS_COLORS",
        b"SGE_ROOT",
    }


def test_the_hash_depends_on_the_content_only():
    one, _ = environment({b"A": b"1", b"B": b"\xff"})
    same, _ = environment({b"B": b"\xff", b"A": b"1"})
    other, _ = environment({b"A": b"1", b"B": b"2"})

    assert one == same != other
    assert len(one) == 32


def test_a_changed_environment_is_noticed(monkeypatch):
    before, _ = environment()
    monkeypatch.setenv("NEW", "1")
    after, env = environment()

    assert before != after
    assert env[b"NEW"] == b"1"


# ----------------------------------------------------------------- the real server


@pytest.mark.slow
def test_the_first_submit_starts_the_queue_and_the_value_comes_back(state_dir):
    client = Client(state_dir)

    (id,) = client.submit(*command("echo", "hello"))
    (done,) = client.wait([id], timeout=60, content=True)

    assert (done.info.state, done.content.stdout.data) == ("COMPLETED", b"hello\n")
    assert client.describe(id).argv == (b"echo", b"hello")
    assert client.fetch(id) == done.content
    assert [each.id for each in client.query([id])] == [id]
    client.close()


SUBMIT = """
import sys
sys.path.insert(0, sys.argv[2])
from cluster.local.client import Client
print(Client(sys.argv[1]).control("pause") is not None, flush=True)
"""


@pytest.mark.slow
def test_clients_that_race_end_up_on_one_server(state_dir):
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", SUBMIT, str(state_dir), PROJECT],
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(8)
    ]

    said = [racer.communicate(timeout=30)[0].strip() for racer in racers]

    assert said == ["True"] * 8
    assert len([p for p in psutil.process_iter() if is_server_of(p, state_dir)]) == 1


def is_server_of(process, state_dir):
    try:
        env = process.environ()
    except psutil.Error:
        return False
    return (env.get("CLUSTER_DAEMON"), env.get("CLUSTER_STATE_DIR")) == ("server", str(state_dir))


@pytest.mark.slow
@pytest.mark.faults
def test_a_killed_server_is_replaced_and_the_wait_goes_on(state_dir):
    client = Client(state_dir)
    (id,) = client.submit(*command("sh", "-c", f"until [ -e {state_dir}/go ]; do sleep 0.02; done"))
    until(lambda: client.query([id])[0].state == "RUNNING")
    first = lifecycle.holder(str(state_dir)).pid

    os.kill(first, signal.SIGKILL)
    (state_dir / "go").touch()
    (done,) = client.wait([id], timeout=60)

    assert done.info.state == "COMPLETED"
    assert lifecycle.holder(str(state_dir)).pid != first
    client.close()


@pytest.mark.slow
@pytest.mark.faults
def test_a_stopped_server_is_waited_for_named_and_never_replaced(state_dir):
    client = Client(state_dir)
    pid = client.control("pause") and lifecycle.holder(str(state_dir)).pid
    client.request_timeout_s = 0.3  # not before: a start may take longer on a busy machine
    os.kill(pid, signal.SIGSTOP)

    try:
        with pytest.raises(errors.ServerTimeout, match=f"process {pid}"):
            Client(state_dir, request_timeout_s=0.3).query()
        with pytest.raises(errors.ServerTimeout, match=f"process {pid}"):
            client.query()
    finally:
        os.kill(pid, signal.SIGCONT)

    client.request_timeout_s = 30.0
    assert client.query() == []
    assert lifecycle.holder(str(state_dir)).pid == pid
    client.close()


@pytest.mark.slow
@pytest.mark.faults
def test_a_stopped_server_whose_socket_is_gone_is_named_and_never_replaced(state_dir):
    client = Client(state_dir)
    client.control("pause")
    pid = lifecycle.holder(str(state_dir)).pid
    client.close()
    client.request_timeout_s = 0.5
    os.kill(pid, signal.SIGSTOP)
    (state_dir / "server.sock").unlink()

    try:
        with pytest.raises(errors.ServerTimeout, match=f"process {pid} is the server"):
            client.query()
    finally:
        os.kill(pid, signal.SIGCONT)
    assert lifecycle.holder(str(state_dir)).pid == pid


@pytest.mark.slow
def test_a_starter_that_is_stuck_does_not_hold_up_the_others(state_dir, monkeypatch):
    monkeypatch.setattr(connections, "STARTER_S", 0.05)
    client = Client(state_dir)

    with connections._sole_starter(str(state_dir)) as ours:
        assert ours
        assert client.query() == []
    client.close()


@pytest.mark.slow
def test_a_private_queue_runs_jobs_and_leaves_nothing():
    with PrivateQueue(cores=1) as queue:
        (id,) = queue.client.submit(*command("true"))
        (done,) = queue.client.wait([id], timeout=60)
        server, state_dir = lifecycle.holder(queue.state_dir).pid, queue.state_dir
        assert queue.client.control("status")["capacity"]["cores"] == 1

    assert done.info.state == "COMPLETED"
    assert is_gone(server)
    assert not os.path.exists(state_dir)


@pytest.mark.slow
@pytest.mark.faults
def test_a_private_queue_outlives_its_server_but_not_its_owner():
    with PrivateQueue(cores=1) as queue:
        first = lifecycle.holder(queue.state_dir).pid
        queue.client.control("stop")
        until(lambda: is_gone(first))

        (id,) = queue.client.submit(*command("true"))
        (done,) = queue.client.wait([id], timeout=60)

        assert done.info.state == "COMPLETED"
        assert queue.client.control("status")["capacity"]["cores"] == 1
    assert not os.path.exists(queue.state_dir)


OWNER = """
import os, sys, time
sys.path[:0] = sys.argv[1:]
from cluster.local.private import PrivateQueue
from test_client import command
queue = PrivateQueue(cores=1)
queue.client.submit(*command("sleep", "1000"))
if os.fork() == 0:
    time.sleep(1000)
print(queue.state_dir, flush=True)
sys.stdin.read()
"""


@pytest.mark.slow
@pytest.mark.faults
def test_a_private_queue_is_gone_after_kill_9_of_its_owner():
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, PROJECT, os.path.dirname(__file__)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    state_dir = owner.stdout.readline().strip()
    (child,) = psutil.Process(owner.pid).children()
    job = until(lambda: jobs_of(state_dir))[0]

    try:
        owner.kill()
        owner.wait()
        until(lambda: not os.path.exists(state_dir))
        assert is_gone(job)
    finally:
        child.kill()
        owner.stdin.close()
        owner.stdout.close()


def jobs_of(state_dir):
    mark = lifecycle.token(state_dir)
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("CLUSTER_JOB_TOKEN", "").startswith(mark):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


@pytest.mark.parametrize("verb", ["query", "wait"])
def test_what_runs_in_the_midst_of_a_request_takes_no_answer_of_it(state_dir, monkeypatch, verb):
    client = get_client(state_dir)
    client.request_timeout_s = 5.0
    submitted = client.submit(*command("true"))
    real, meanwhile = connections.Connection.next, []

    def interrupted(self, deadline):
        if not meanwhile:
            meanwhile.append(get_client(state_dir))  # as the handler of a signal does
            until(lambda: meanwhile[0].query(states=["COMPLETED"]))
        return real(self, deadline)

    monkeypatch.setattr(connections.Connection, "next", interrupted)
    if verb == "query":
        found = [info.id for info in client.query()]
    else:
        found = [end.info.id for end in client.wait(submitted, timeout=60)]

    assert found == submitted
    assert meanwhile[0] is not client
    assert get_client(state_dir) is client
    client.close()
