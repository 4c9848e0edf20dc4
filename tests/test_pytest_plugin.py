"""The fixtures for pytest: what they give, and what goes wrong in them on purpose.

Each injection is shown by a small client that does what many real ones do, and comes to grief;
and by `cluster.submit`, which does not.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import cluster
from cluster import errors
from cluster.pytest_plugin import Cluster

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Have our own client look often and give up soon, in a directory of its own."""
    for name, value in {"POLL_S": "0.1", "POLL_LONGEST_S": "0.2", "GRACE_S": "1.5"}.items():
        monkeypatch.setenv(f"CLUSTER_CFG_SCHEDULER_{name}", value)
    monkeypatch.chdir(tmp_path)


def ask(line: str) -> str:
    """What a client's pipe to a command gives it; errors are not looked at."""
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True).stdout.strip()


def add(a: int, b: int) -> int:
    return a + b


def submit(**options: Any) -> cluster.Job:
    return cluster.submit(add, (2, 3), qtype="slurm", **options)


def blocked(file: Path) -> cluster.Job:
    """One of our own jobs that runs until `file` exists."""
    return cluster.submit(
        ["bash", "-c", f"until [ -e {file} ]; do sleep 0.02; done; echo went"], qtype="slurm"
    )


# ---------------------------------------------------------------- the fixtures


def test_commands_are_on_the_path_of_the_test_and_jobs_can_be_looked_at(slurm: Cluster) -> None:
    id = ask("sbatch --parsable -J mine -o out --wrap 'echo $SLURM_JOB_NAME; exit 3'")

    slurm.wait_idle()

    job = slurm.job(id)
    assert (job.name, job.state, job.exitcode, job.is_over) == ("mine", "FAILED", 3, True)
    assert [each.id for each in slurm.jobs()] == [id]
    assert Path("out").read_text() == "mine\n"
    assert "CLUSTER_EMULATION" in os.environ


def test_elements_of_an_array_are_jobs_of_their_own(slurm: Cluster) -> None:
    id = slurm.submit("exit $SLURM_ARRAY_TASK_ID", "--array=0-2", "-o", "/dev/null")

    slurm.wait_idle()

    assert [(job.id, job.exitcode) for job in slurm.jobs()] == [
        (f"{id}_0", 0),
        (f"{id}_1", 1),
        (f"{id}_2", 2),
    ]


def test_a_command_that_fails_raises_unless_it_is_asked_not_to(slurm: Cluster) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        slurm.run(["sbatch", "no-such-file"])

    assert slurm.run(["sbatch", "no-such-file"], check=False).returncode == 1


def test_waiting_for_what_does_not_end_names_it(slurm: Cluster) -> None:
    id = slurm.submit("true", "-H")

    with pytest.raises(TimeoutError, match=f"{id} HELD"):
        slurm.wait_idle(0.1)
    with pytest.raises(KeyError, match="no job 77"):
        slurm.job("77")


@pytest.mark.emulated(cores=3, partitions=["only:cores=2"], strict=True)
def test_the_mark_shapes_the_cluster(slurm: Cluster) -> None:
    assert ask("sinfo -h -o %R") == "only"
    refused = slurm.run("sbatch -p other --wrap true", check=False)

    assert (refused.returncode, "Invalid partition" in refused.stderr) == (1, True)


def test_a_test_begins_with_an_empty_cluster(slurm: Cluster) -> None:
    assert slurm.jobs() == []


@pytest.mark.parametrize("family", ["pbs", "torque", "sge", "lsf"])
def test_every_family_has_a_fixture(
    family: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    site: Cluster = request.getfixturevalue(family)

    id = site.submit("exit 3")
    site.wait_idle()

    assert (site.job(id).state, site.job(id).exitcode) == ("FAILED", 3)


def test_whoever_does_not_use_it_imports_nothing_of_ours() -> None:
    code = (
        "import sys, cluster.pytest_plugin; "
        "print([name for name in sys.modules if name.startswith('cluster')])"
    )

    said = subprocess.check_output([sys.executable, "-c", code], text=True)

    assert said.strip() == "['cluster', 'cluster.pytest_plugin']"


# ---------------------------------------------------------------- the books are late


def naive_state(id: str) -> str:
    """Believe one answer of sacct; what it does not know is lost."""
    return ask(f"sacct -n -X -P -j {id} -o State") or "LOST"


def test_a_client_that_takes_silence_of_the_books_for_the_end_is_wrong(slurm: Cluster) -> None:
    slurm.lag_books(3600)
    id = slurm.submit("true", "-o", "/dev/null")
    slurm.wait_idle()

    assert naive_state(id) == "LOST"  # and it would submit again
    assert slurm.job(id).state == "COMPLETED"
    slurm.lag_books(0)
    assert naive_state(id) == "COMPLETED"


@pytest.mark.parametrize(
    ("family", "books"),
    [("pbs", "qstat -x"), ("torque", "tracejob"), ("sge", "qacct -j"), ("lsf", "bhist")],
)
def test_the_books_of_every_family_can_be_late(
    family: str, books: str, request: pytest.FixtureRequest
) -> None:
    site: Cluster = request.getfixturevalue(family)
    id = site.submit("true", "-N" if family != "lsf" else "-J", "findme")
    site.wait_idle()
    site.lag_books(3600)

    late = site.run(f"{books} {id}", check=False)
    site.lag_books(0)
    then = site.run(f"{books} {id}", check=False)

    assert ("findme" in late.stdout, "findme" in then.stdout) == (False, True)


def test_ours_needs_no_books_for_a_job_that_left_its_record(slurm: Cluster) -> None:
    slurm.lag_books(3600)

    assert submit().get(30) == 5


def test_a_queue_behind_a_cache_shows_what_was(slurm: Cluster) -> None:
    slurm.lag_queue(3600)
    id = slurm.submit("true", "-o", "/dev/null")
    slurm.wait_idle()

    assert ask("squeue -h") == ""
    assert ask(f"sacct -n -X -P -j {id} -o State") == "COMPLETED"
    assert submit().get(30) == 5


# ---------------------------------------------------------------- ids are used again


def test_a_client_that_keeps_ids_for_ever_cancels_a_stranger(slurm: Cluster) -> None:
    mine = slurm.submit("true", "-o", "/dev/null")
    slurm.wait_idle()
    slurm.reuse_id(mine)
    other = slurm.submit("echo $SLURM_JOB_ID > id; sleep 600", "-o", "/dev/null")
    slurm.wait_for(slurm.jobs()[-1].id, "RUNNING")

    slurm.run("until [ -s id ]; do sleep 0.01; done")
    assert (other, Path("id").read_text()) == (mine, f"{mine}\n")
    ask(f"scancel {mine}")  # clearing up after its own job, long since over
    slurm.wait_idle()

    assert [job.state for job in slurm.jobs()] == ["COMPLETED", "CANCELLED"]


def test_ours_leaves_a_stranger_with_its_id_alone(slurm: Cluster) -> None:
    mine = submit()
    assert mine.get(30) == 5
    slurm.reuse_id(mine.id)
    assert slurm.submit("sleep 600", "-o", "/dev/null") == mine.id
    stranger = slurm.jobs()[-1].id
    slurm.wait_for(stranger, "RUNNING")

    again = cluster.Job.load(mine.id)
    again.cancel()

    assert (again.state, again.get(5)) == ("COMPLETED", 5)
    assert slurm.job(stranger).state == "RUNNING"


# ---------------------------------------------------------------- questions without an answer


def naive_wait(id: str) -> str:
    """Poll until the queue does not list the job."""
    while ask(f"squeue -h -j {id} -o %T"):
        pass
    return "over"


def test_a_client_that_takes_an_error_for_an_empty_queue_is_wrong(slurm: Cluster) -> None:
    id = slurm.submit("sleep 600", "-o", "/dev/null")
    slurm.wait_for(id, "RUNNING")
    slurm.fail("squeue")

    assert naive_wait(id) == "over"
    assert slurm.job(id).state == "RUNNING"


def test_ours_asks_again_when_no_answer_came(slurm: Cluster, tmp_path: Path) -> None:
    job = blocked(tmp_path / "go")
    slurm.fail("squeue", "sacct", "scontrol", times=3)

    with pytest.raises(errors.WaitTimeout):
        job.wait(1)
    (tmp_path / "go").touch()

    assert job.get(30)[:2] == (0, "went\n")


def test_a_client_that_waits_for_each_answer_hangs_with_the_scheduler(slurm: Cluster) -> None:
    slurm.hang("squeue")

    with pytest.raises(subprocess.TimeoutExpired):
        slurm.run("squeue -h", timeout=0.5)

    assert slurm.run("squeue -h").stdout == ""


def test_ours_gives_up_a_question_and_asks_again(
    slurm: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLUSTER_CFG_SCHEDULER_TIMEOUT_S", "1")
    job = submit()
    slurm.hang("squeue", times=2)

    assert job.get(30) == 5


def test_a_client_that_submits_again_after_an_error_runs_its_job_twice(slurm: Cluster) -> None:
    slurm.fail("sbatch", after=True)

    for _ in range(2):  # try, and try again
        if ask("sbatch --parsable -o /dev/null --wrap 'echo ran >> counter'"):
            break
    slurm.wait_idle()

    assert Path("counter").read_text() == "ran\n" * 2


def test_ours_finds_the_job_whose_id_it_was_not_told(slurm: Cluster, tmp_path: Path) -> None:
    slurm.fail("sbatch", after=True)

    job = cluster.submit(["bash", "-c", f"echo ran >> {tmp_path}/counter"], qtype="slurm")

    assert job.get(30)[0] == 0
    assert (tmp_path / "counter").read_text() == "ran\n"
    assert len(slurm.jobs()) == 1


# ---------------------------------------------------------------- machines and memory


def naive_success(id: str) -> bool:
    """Take a job that the queue does not list any more, and whose exit code is 0, for done."""
    code = ask(f"sacct -n -X -P -j {id} -o ExitCode").partition(":")[0]
    return not ask(f"squeue -h -j {id}") and code == "0"


@pytest.mark.parametrize(
    ("harm", "error"),
    [("fail_node", errors.JobNodeFail), ("run_out_of_memory", errors.JobOutOfMemory)],
)
def test_a_client_that_looks_at_the_exit_code_only_is_wrong_and_ours_is_not(
    slurm: Cluster, harm: str, error: type[errors.JobFailed], tmp_path: Path
) -> None:
    id = slurm.submit("sleep 600", "-o", "/dev/null")
    slurm.wait_for(id, "RUNNING")
    getattr(slurm, harm)(id)

    assert naive_success(id)

    job = blocked(tmp_path / "never")
    slurm.wait_for(job.id, "RUNNING")
    getattr(slurm, harm)(job.id)

    with pytest.raises(error):
        job.get(30)


def test_a_client_that_waits_for_running_to_pass_takes_a_preempted_job_for_done(
    slurm: Cluster, tmp_path: Path
) -> None:
    id = slurm.submit("sleep 600", "-o", "/dev/null")
    slurm.wait_for(id, "RUNNING")
    slurm.preempt(id)

    assert ask(f"squeue -h -j {id} -t RUNNING") == ""  # "so it must have ended"
    assert ask(f"squeue -h -j {id} -o '%t %r'") == "PD BeginTime"

    slurm.resume(id)
    assert slurm.wait_for(id, "RUNNING").attempt == 2


def test_ours_waits_through_a_preemption(slurm: Cluster, tmp_path: Path) -> None:
    job = blocked(tmp_path / "go")
    slurm.wait_for(job.id, "RUNNING")
    slurm.preempt(job.id)

    with pytest.raises(errors.WaitTimeout):
        job.wait(1)
    (tmp_path / "go").touch()
    slurm.resume(job.id)

    assert job.get(30)[:2] == (0, "went\n")
    assert slurm.job(job.id).attempt == 2


def test_only_a_running_job_can_be_preempted(slurm: Cluster) -> None:
    id = slurm.submit("true", "-o", "/dev/null")
    slurm.wait_idle()

    with pytest.raises(ValueError, match="was not running"):
        slurm.preempt(id)


# ---------------------------------------------------------------- jobs and files that are not there


def test_a_client_that_waits_for_a_final_state_waits_for_ever_for_a_lost_job(
    slurm: Cluster,
) -> None:
    id = slurm.submit("sleep 600", "-o", "/dev/null")
    slurm.wait_for(id, "RUNNING")
    slurm.lose(id)

    answers = [ask(f"sacct -n -X -P -j {id} -o State") for _ in range(5)]

    assert answers == [""] * 5  # "not final yet"
    assert slurm.run(["squeue", "-j", id], check=False).returncode == 1


def test_ours_says_that_a_job_is_lost(slurm: Cluster, tmp_path: Path) -> None:
    job = blocked(tmp_path / "never")
    slurm.wait_for(job.id, "RUNNING")
    slurm.lose(job.id)

    with pytest.raises(errors.JobLost):
        job.get(30)


def test_a_client_that_reads_a_result_as_soon_as_the_job_is_gone_finds_none(slurm: Cluster) -> None:
    slurm.delay_files()
    slurm.submit("echo 5 > result; echo out", "-o", "log")
    slurm.wait_idle()

    with pytest.raises(FileNotFoundError):
        Path("result").read_text()

    assert {os.path.basename(path) for path in slurm.show_files()} == {"result", "log"}
    assert (Path("result").read_text(), Path("log").read_text()) == ("5\n", "out\n")
    assert not [name for name in os.listdir(".") if name.startswith(".late")]


def test_ours_waits_for_a_result_that_is_late(slurm: Cluster, tmp_path: Path) -> None:
    slurm.delay_files()
    job = submit()
    slurm.wait_idle()
    assert not list(tmp_path.glob("*.pickle.out"))
    late = threading.Timer(0.7, slurm.show_files)
    late.start()

    value = job.get(30)

    late.join()
    assert value == 5


def test_only_files_that_are_named_are_late(slurm: Cluster) -> None:
    slurm.delay_files("*.dat")
    slurm.submit("touch a.dat b.txt", "-o", "/dev/null")
    slurm.wait_idle()

    assert (Path("a.dat").exists(), Path("b.txt").exists()) == (False, True)
    slurm.heal()
    assert Path("a.dat").exists()


def test_nothing_goes_wrong_once_healed(slurm: Cluster) -> None:
    slurm.fail(times=0)
    assert slurm.run("squeue", check=False).returncode == 1

    slurm.heal()

    assert slurm.run("squeue -h").stdout == ""


@pytest.mark.parametrize("family", ["pbs", "torque", "sge", "lsf"])
def test_faults_are_the_same_in_every_family(family: str, request: pytest.FixtureRequest) -> None:
    site: Cluster = request.getfixturevalue(family)
    query = "bjobs" if family == "lsf" else "qstat"
    id = site.submit("sleep 600")
    site.wait_for(id, "RUNNING")
    site.fail(query)

    failed, worked = (site.run([query], check=False) for _ in range(2))
    site.lose(id)
    after = site.run([query], check=False)

    number = id.partition(".")[0]
    assert failed.returncode != 0
    assert failed.stderr
    assert number in worked.stdout
    assert number not in after.stdout


# ---------------------------------------------------------------- as others use it

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "pytest.md"


def pytest_in(folder: Path, text: str) -> str:
    """Run pytest on a file, without anything of this project's own tests."""
    (folder / "test_it.py").write_text(text)
    argv = [sys.executable, "-m", "pytest", "-p", "cluster.pytest_plugin", "-q", "--strict-markers"]
    argv += ["-p", "no:cacheprovider", "--rootdir", str(folder), str(folder / "test_it.py")]
    return subprocess.run(argv, capture_output=True, text=True, cwd=folder).stdout


def test_the_documentation_shows_a_test_that_passes_and_one_that_finds_a_bug(
    tmp_path: Path,
) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE)

    said = pytest_in(tmp_path, "\n".join(blocks))

    assert "1 failed, 1 passed" in said, said
    assert "test_an_error_is_not_the_end" in said


def test_a_cluster_ends_with_its_test_and_leaves_the_environment_as_it_was(tmp_path: Path) -> None:
    text = """
import os, shutil
BEFORE = dict(os.environ)
seen = []
def test_one(slurm):
    seen.append(slurm.state_dir)
    slurm.submit("sleep 600", "-o", "/dev/null")
    assert shutil.which("sbatch").startswith(slurm.state_dir)
def test_two():
    names = {"PYTEST_CURRENT_TEST"}
    assert {k: v for k, v in os.environ.items() if k not in names} == {
        k: v for k, v in BEFORE.items() if k not in names}
    assert not os.path.exists(seen[0])
"""
    assert "2 passed" in pytest_in(tmp_path, text)


def test_every_injection_is_in_the_documentation() -> None:
    page = DOCUMENT.read_text()
    words = vars(Cluster)
    public = [name for name in words if not name.startswith("_")]

    assert [name for name in public if f"slurm.{name}" not in page] == []


def test_pytest_finds_the_plug_in_by_itself_and_once() -> None:
    # The name is the module's, so that `-p` and the entry point are one plug-in to pytest.
    text = (DOCUMENT.parent.parent / "setup.cfg").read_text()

    assert "pytest11 =\n    cluster.pytest_plugin = cluster.pytest_plugin\n" in text
