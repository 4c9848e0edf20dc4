"""What a job finds around it: session, descriptors, environment, cores, devices."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jobs_to_run import surroundings
from scientist import DEADLINE_S, look

import cluster

pytestmark = pytest.mark.slow

Look = Callable[..., dict[str, Any]]
THREADS = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "BLIS", "NUMBA")


def _call(*args: Any, **options: Any) -> dict[str, Any]:
    seen = cluster.submit(surroundings, args, **options).get(timeout=DEADLINE_S)
    assert isinstance(seen, dict)
    return seen


@pytest.fixture(params=["command", "function"])
def inside(request: pytest.FixtureRequest) -> Look:
    """Run a job of either kind, and give what it saw."""
    return look if request.param == "command" else _call


def test_it_leads_a_session_and_a_group_of_its_own(here: Path, inside: Look) -> None:
    seen = inside()

    assert seen["pid"] == seen["sid"] == seen["pgid"]
    assert seen["sid"] != os.getsid(0)
    assert seen["ppid"] != os.getpid()


def test_it_has_three_descriptors_and_reads_nothing(here: Path, inside: Look) -> None:
    with open("held", "w") as file:
        os.set_inheritable(file.fileno(), True)
        seen = inside()

    assert seen["fds"] == [0, 1, 2]
    assert seen["stdin"] == "/dev/null"


def test_it_starts_where_and_with_the_umask_it_was_submitted(here: Path, inside: Look) -> None:
    before = os.umask(0o027)
    try:
        seen = inside()
    finally:
        os.umask(before)

    assert (seen["cwd"], seen["umask"]) == (os.fsencode(here), 0o027)


def test_directory_and_umask_can_be_given(here: Path, inside: Look) -> None:
    (here / "other").mkdir()

    seen = inside(dir="other", umask="077")

    assert (seen["cwd"], seen["umask"]) == (os.fsencode(here / "other"), 0o077)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="this machine has one core")
def test_it_is_bound_to_the_cores_it_asked_for(here: Path, inside: Look) -> None:
    one, two = inside(cores=1), inside(cores=2)

    assert (len(one["cpus"]), len(two["cpus"])) == (1, 2)
    assert cluster.submit("nproc", cores=1).get(timeout=DEADLINE_S).stdout == "1\n"


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="this machine has one core")
def test_two_jobs_at_once_have_different_cores(here: Path) -> None:
    look = "touch up.$$; until [ $(ls up.* | wc -l) = 2 ]; do sleep 0.02; done; taskset -cp $$"
    jobs = [cluster.submit(["sh", "-c", look]) for _ in range(2)]

    said = [job.get(timeout=DEADLINE_S).stdout.split()[-1] for job in jobs]

    assert said[0] != said[1]


@pytest.mark.parametrize("cores", [1, 2])
def test_libraries_are_told_how_many_threads(here: Path, inside: Look, cores: int) -> None:
    seen = inside(cores=cores)["env"]

    told = {name: seen[f"{name}_NUM_THREADS".encode()] for name in THREADS}
    assert told == dict.fromkeys(THREADS, str(cores).encode())


def test_it_knows_what_it_is(here: Path, inside: Look) -> None:
    env = inside(name="me and you", cores=2, mem="1G")["env"]

    assert re.fullmatch(rb"\d+", env[b"CLUSTER_JOB_ID"])
    assert env[b"CLUSTER_JOB_NAME"] == b"me and you"
    assert (env[b"CLUSTER_CORES"], env[b"CLUSTER_MEMORY_MIB"]) == (b"2", b"1024")
    assert env[b"CLUSTER_STATE_DIR"] == os.environb[b"CLUSTER_STATE_DIR"]
    assert b"CLUSTER_ARRAY_INDEX" not in env
    assert b"CLUSTER_DAEMON" not in env


def test_without_a_limit_nothing_is_said_of_memory(here: Path, inside: Look) -> None:
    assert b"CLUSTER_MEMORY_MIB" not in inside()["env"]


def test_variables_of_other_schedulers_are_gone(
    here: Path, inside: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SLURM_JOB_ID", "PBS_JOBID", "SGE_TASK_ID", "LSB_JOBID", "PMI_RANK",
                 "CLUSTER_JOB_FOO", "CLUSTER_ARRAY_INDEX", "CLUSTER_DAEMON"):  # fmt: skip
        monkeypatch.setenv(name, "stale")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
    monkeypatch.setenv("MY_OWN", "kept")

    env = inside()["env"]

    assert [name for name, value in env.items() if value == b"stale"] == []
    assert (env[b"SLURM_CONF"], env[b"MY_OWN"]) == (b"/etc/slurm.conf", b"kept")


def test_the_environment_is_that_of_the_submit_and_not_of_the_first_one(
    here: Path, inside: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLOUR", "red")
    first = inside()["env"]
    monkeypatch.setenv("COLOUR", "blue")
    second = inside()["env"]
    monkeypatch.delenv("COLOUR")
    third = inside()["env"]

    assert [env.get(b"COLOUR") for env in (first, second, third)] == [b"red", b"blue", None]


def test_an_explicit_word_wins_over_cores_and_these_over_the_inherited(
    here: Path, inside: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    monkeypatch.setenv("MKL_NUM_THREADS", "64")

    env = inside(cores=2, env={"OMP_NUM_THREADS": "5"})["env"]

    assert (env[b"OMP_NUM_THREADS"], env[b"MKL_NUM_THREADS"]) == (b"5", b"2")


def test_variables_are_removed_prepended_and_appended(
    here: Path, inside: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOES", "away")
    monkeypatch.setenv("LIST", "middle")

    env = inside(
        env_unset=["GOES", "OMP_NUM_THREADS"], env_prepend={"LIST": "first"},
        env_append={"LIST": "last"},
    )["env"]  # fmt: skip

    assert env[b"LIST"] == b"first:middle:last"
    assert b"GOES" not in env
    assert b"OMP_NUM_THREADS" not in env


def test_little_is_inherited_if_so_asked(
    here: Path, inside: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "x")

    env = inside(inherit_env=False, env={"WANTED": "y"})["env"]

    assert b"SECRET" not in env
    assert (env[b"WANTED"], env[b"PATH"]) == (b"y", os.environb[b"PATH"])


def test_elements_of_an_array_know_their_index(here: Path) -> None:
    job = cluster.submit(
        'echo "$CLUSTER_ARRAY_ID $CLUSTER_ARRAY_INDEX $CLUSTER_JOB_ID"', array="3-7:2"
    )

    said = [result.stdout.split() for result in job.get(timeout=DEADLINE_S)]

    assert said == [[job.id, str(n), f"{job.id}_{n}"] for n in (3, 5, 7)]


def test_a_function_s_array_too(here: Path) -> None:
    job = cluster.submit(surroundings, array="0-1")

    said = [seen["env"][b"CLUSTER_ARRAY_INDEX"] for seen in job.get(timeout=DEADLINE_S)]

    assert said == [b"0", b"1"]


def test_gpus_are_handed_out_by_number(
    own_queue: Path, inside: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLUSTER_CFG_LOCAL_GPUS", "2")
    with_none = inside()["env"]

    both = inside(gpus=2)["env"][b"CUDA_VISIBLE_DEVICES"]
    job = cluster.submit("echo $CUDA_VISIBLE_DEVICES; until [ -e go ]; do sleep 0.02; done", gpus=1)
    other = inside(gpus=1)["env"][b"CUDA_VISIBLE_DEVICES"]
    Path("go").touch()

    assert both == b"0,1"
    assert {job.get(timeout=DEADLINE_S).stdout.strip(), other.decode()} == {"0", "1"}
    assert with_none.get(b"CUDA_VISIBLE_DEVICES") == os.environb.get(b"CUDA_VISIBLE_DEVICES")


def test_more_gpus_than_there_are_are_refused(
    own_queue: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLUSTER_CFG_LOCAL_GPUS", "2")

    with pytest.raises(cluster.Unsatisfiable, match="3 gpus"):
        cluster.submit(["true"], gpus=3)


def test_a_named_resource_is_held_by_one_job_at_a_time(
    own_queue: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLUSTER_CFG_LOCAL_RESOURCES", "license=1")
    count = "mkdir busy || echo two at once; sleep 0.1; rmdir busy"

    jobs = [cluster.submit(count, resources={"license": 1}) for _ in range(4)]

    assert [job.get(timeout=DEADLINE_S)[:2] for job in jobs] == [(0, "")] * 4
    with pytest.raises(cluster.Unsatisfiable, match="2 license"):
        cluster.submit(["true"], resources="license=2")


def test_a_job_without_path_or_locale_runs(here: Path, inside: Look) -> None:
    seen = inside(env={"PATH": "", "LANG": "C", "LC_ALL": "C", "TZ": "Asia/Tokyo"})

    assert (seen["env"][b"PATH"], seen["env"][b"LC_ALL"]) == (b"", b"C")


def test_the_terminal_of_the_submitter_is_out_of_reach(here: Path) -> None:
    """A job cannot read from, or be signalled by, the terminal it was typed at."""
    result = cluster.submit("cat; tty; cat < /dev/tty").get(timeout=DEADLINE_S)

    assert result.stdout == "not a tty\n"
    assert result.exitcode != 0


def test_python_s_sigpipe_does_not_leak_into_a_command(here: Path) -> None:
    result = cluster.submit("yes | head -n 1; echo ${PIPESTATUS[0]}").get(timeout=DEADLINE_S)

    assert result.stdout == "y\n141\n"


def test_submitting_from_a_directory_that_is_gone_says_so(here: Path) -> None:
    program = (
        "import os, cluster\n"
        "os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone')\n"
        "cluster.submit(['true'])\n"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(cluster.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=30
    )

    assert "OptionsError" in done.stderr.splitlines()[-1], done.stderr
    assert "directory" in done.stderr.splitlines()[-1]
