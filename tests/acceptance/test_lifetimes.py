"""Who may go while the jobs go on, and what goes with a private queue."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from jobs_to_run import add
from scientist import DEADLINE_S, Cli, number_in, until

import cluster

pytestmark = pytest.mark.slow

SUBMITS = """
import cluster, pathlib, time
def square(n):
    time.sleep(0.5)
    return n * n
jobs = [cluster.submit(square, n) for n in range(3)]
jobs.append(cluster.submit("sleep 0.5; echo command; exit 3"))
jobs.append(cluster.submit(["true"], dependencies=jobs[:3]))
pathlib.Path("ids").write_text(" ".join(job.id for job in jobs) + "\\n")
{then}
"""


@pytest.fixture
def session(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], subprocess.Popen[bytes]]:
    """Run a script that submits, in a session of its own, as in a terminal."""
    monkeypatch.setenv("PYTHONPATH", str(Path(cluster.__file__).parents[1]))

    def start(then: str) -> subprocess.Popen[bytes]:
        (here / "study.py").write_text(SUBMITS.format(then=then))
        return subprocess.Popen(
            [sys.executable, "study.py"], cwd=here, start_new_session=True,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip

    return start


def _all_is_found(here: Path) -> None:
    jobs = [cluster.Job.load(id) for id in (here / "ids").read_text().split()]

    assert not cluster.wait(jobs, timeout=DEADLINE_S)
    assert [job.get() for job in jobs[:3]] == [0, 1, 4]
    assert tuple(jobs[3].get()) == (3, "command\n", "")
    assert [job.state for job in jobs] == ["COMPLETED"] * 3 + ["FAILED", "COMPLETED"]
    assert jobs[0].name == "square"


def test_a_script_that_ends_at_once_leaves_its_jobs_to_the_queue(
    here: Path, session: Callable[[str], subprocess.Popen[bytes]]
) -> None:
    assert session("").wait(timeout=DEADLINE_S) == 0

    _all_is_found(here)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGKILL])
def test_closing_the_terminal_harms_no_job(
    here: Path, session: Callable[[str], subprocess.Popen[bytes]], number: int
) -> None:
    script = session("cluster.wait(jobs)")
    until(lambda: (here / "ids").exists() and (here / "ids").read_text().endswith("\n"))

    os.killpg(script.pid, number)  # as the terminal does it: the whole group
    script.wait(timeout=DEADLINE_S)

    _all_is_found(here)


def test_the_first_submitter_s_session_holds_no_daemon(own_queue: Path, tmp_path: Path) -> None:
    """The one that started server and node is hung up; both stay."""
    program = "import cluster, os; print(cluster.submit(['sleep', '1']).id, os.getsid(0))"
    env = {**os.environ, "PYTHONPATH": str(Path(cluster.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", program], env=env, start_new_session=True, capture_output=True,
        text=True, timeout=30, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    id, session = done.stdout.split()

    assert [p.pid for p in psutil.process_iter() if _session(p.pid) == int(session)] == []
    assert cluster.Job.load(id).wait(timeout=DEADLINE_S)


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return -1


def test_ctrl_c_in_a_wait_ends_the_waiting_alone(
    here: Path, session: Callable[[str], subprocess.Popen[bytes]]
) -> None:
    script = session(
        "try:\n    cluster.wait(jobs)\nexcept KeyboardInterrupt:\n"
        "    pathlib.Path('again').write_text(str(cluster.wait(jobs[:3])))"
    )
    until(lambda: (here / "ids").exists() and (here / "ids").read_text().endswith("\n"))

    script.send_signal(signal.SIGINT)

    assert script.wait(timeout=DEADLINE_S) == 0
    assert (here / "again").read_text() == "True"


# ---------------------------------------------------------------- private queues

PRIVATE = """
import os, pathlib, sys, time
from cluster.jobqueue import JobQueue
from cluster import run
queue = JobQueue(cores=2)
assert queue.get(queue.add(len, 'abc')) == 3
queue.add(run.cmd, ('setsid sleep 300 & echo $$ > pid; echo $! >> pids; sleep 300',))
pathlib.Path('folder').write_text(queue._scheduler.client.state_dir + '\\n')
while not os.path.exists('pid'): time.sleep(0.01)
{then}
"""


@pytest.mark.parametrize(
    "then",
    ["queue.close()", "", "sys.exit(3)", "os._exit(1)", "os.kill(os.getpid(), 9)",
     "del queue", "raise ValueError"],
)  # fmt: skip
def test_a_private_queue_goes_with_its_process(
    here: Path, tmp_path: Path, then: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(cluster.__file__).parents[1]))
    before = {process.pid for process in psutil.process_iter()}
    subprocess.run(
        [sys.executable, "-c", PRIVATE.format(then=then)], timeout=60, capture_output=True,
        cwd=here, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    folder = (here / "folder").read_text().strip()

    until(lambda: not os.path.exists(folder))
    until(lambda: _of(folder, before) == [])
    number_in(here / "pid")


def _of(folder: str, before: set[int]) -> list[str]:
    """The new processes that name this directory, in environment or arguments."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid in before or process.status() == psutil.STATUS_ZOMBIE:
                continue
            if process.environ().get("CLUSTER_STATE_DIR") == folder or folder in process.cmdline():
                found.append(f"{process.pid}: {process.cmdline()}")
        except psutil.Error:
            continue
    return found


def test_a_private_queue_s_jobs_are_not_in_the_shared_one(here: Path, cli: Cli) -> None:
    from cluster.jobqueue import JobQueue

    with JobQueue(cores=1) as queue:
        queue.get(queue.add(add, 1))
        shared = cluster.submit(add, 5, name="shared-one")
        names = cli("list", "--all").stdout

        assert shared.get(timeout=DEADLINE_S) == 6
    assert names.count("add") == 0
    assert "shared-one" in names


def test_a_job_pickled_to_another_process_is_the_same_job(here: Path) -> None:
    import pickle

    job = cluster.submit(["sh", "-c", "exit 3"])

    again = pickle.loads(pickle.dumps(job))

    assert again.get(timeout=DEADLINE_S).exitcode == 3
    assert again.id == job.id
