"""Slurm's commands on a private emulated cluster, end to end."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import cluster

DEADLINE_S = 60.0


class Site:
    """Runs shell lines where Slurm's commands are found."""

    def __init__(self, env: dict[str, str], folder: Path) -> None:
        self.env, self.folder = env, folder

    def run(self, line: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", line], env={**self.env, **env}, cwd=self.folder, text=True,
            capture_output=True, timeout=60, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def __call__(self, line: str, **env: str) -> str:
        done = self.run(line, **env)
        assert done.returncode == 0, done
        return done.stdout.strip()

    def until(self, line: str, wanted: Callable[[str], bool]) -> str:
        """Repeat a line until its output is as wanted."""
        end = time.monotonic() + DEADLINE_S
        while True:
            text = self.run(line).stdout.strip()
            if wanted(text):
                return text
            assert time.monotonic() < end, text
            time.sleep(0.02)

    def has_written(self, name: str, text: str) -> None:
        self.until(f"cat {name} 2>/dev/null", lambda found: text in found)

    def is_over(self, id: str) -> None:
        self.until(f"squeue -h -j {id}", lambda text: not text)


@pytest.fixture(scope="module")
def env() -> Iterator[dict[str, str]]:
    with cluster.emulate("slurm", private=True, cores=2) as env:
        yield {**env, "LC_ALL": "C"}


@pytest.fixture
def slurm(env: dict[str, str], tmp_path: Path) -> Site:
    return Site(env, tmp_path)


@pytest.fixture(scope="module")
def strict_env() -> Iterator[dict[str, str]]:
    with cluster.emulate("slurm", private=True, cores=2, strict=True, partitions=["p"]) as env:
        yield {**env, "LC_ALL": "C"}


# ---------------------------------------------------------------- batch jobs


def test_a_job_is_in_the_queue_before_sbatch_returns(slurm: Site) -> None:
    shown = slurm(
        "sbatch -H -J seen --wrap true; squeue -h -n seen -o '%j|%t|%r|%P'; scancel -n seen"
    )

    assert shown.splitlines()[0].startswith("Submitted batch job ")
    assert shown.splitlines()[1] == "seen|PD|JobHeldUser|local"


def test_the_exit_code_of_a_job_is_known_to_wait_to_squeue_and_to_sacct(slurm: Site) -> None:
    done = slurm.run("sbatch --parsable --wait --wrap 'exit 3'")
    id = done.stdout.strip()

    assert done.returncode == 3
    assert slurm(f"sacct -j {id} -P -n -o jobname,state,exitcode").splitlines() == [
        "wrap|FAILED|3:0",
        "batch|FAILED|3:0",
    ]
    assert slurm(f"squeue -t all -h -j {id} -o '%T %r'") == "FAILED NonZeroExitCode"
    assert slurm(f"squeue -h -j {id}") == ""


def test_a_script_from_standard_input_has_its_directives_and_its_variables(slurm: Site) -> None:
    slurm(
        "sbatch --wait -n 2 <<'EOF'\n#!/bin/sh\n#SBATCH -J named\n#SBATCH -o %x-%A.txt\n"
        "echo $SLURM_JOB_NAME $SLURM_NTASKS $SLURM_JOB_ID ${SLURM_RESTART_COUNT-none}\nEOF"
    )

    (path,) = slurm.folder.glob("named-*.txt")
    assert path.read_text().split() == ["named", "2", path.stem.removeprefix("named-"), "none"]


def test_a_script_is_kept_as_it_was_submitted(slurm: Site) -> None:
    slurm(
        "printf '#!/bin/sh\\necho first $1\\n' > s.sh; J=$(sbatch --parsable -H -o out s.sh word);"
        "printf '#!/bin/sh\\necho second\\n' > s.sh; scontrol release $J; echo $J > id"
    )
    slurm.is_over((slurm.folder / "id").read_text().strip())

    assert (slurm.folder / "out").read_text() == "first word\n"
    text = slurm("scontrol write batch_script $(cat id) -")
    assert text == "#!/bin/sh\necho first $1"


def test_jobs_can_submit_jobs_even_without_the_environment(slurm: Site) -> None:
    line = 'sbatch --wait -o inner.txt --wrap "echo inner"'
    slurm(f"sbatch --wait --export=NONE --wrap '{line}'")

    assert (slurm.folder / "inner.txt").read_text() == "inner\n"


def test_threads_are_as_the_user_left_them(slurm: Site) -> None:
    slurm("sbatch --wait -o o --wrap 'echo ${OMP_NUM_THREADS-unset}'")
    slurm("sbatch --wait -o p --wrap 'echo $OMP_NUM_THREADS'", OMP_NUM_THREADS="7")

    assert (slurm.folder / "o").read_text() == "unset\n"
    assert (slurm.folder / "p").read_text() == "7\n"


def test_names_that_are_no_text_reach_the_job_byte_for_byte(slurm: Site) -> None:
    slurm(
        "mkdir $'d\\xff'; cd $'d\\xff'; "
        "sbatch --wait -J $'n\\xff' -o ../o --wrap $'pwd; echo \\xff'"
    )

    written = (slurm.folder / "o").read_bytes()
    assert written == os.fsencode(slurm.folder) + b"/d\xff\n\xff\n"


@pytest.mark.parametrize(
    ("line", "text", "code"),
    [
        ("sbatch nosuch.sh", "sbatch: error: Unable to open file nosuch.sh\n", 1),
        ("sbatch < /dev/null", "sbatch: error: Batch script is empty!\n", 1),
        ("sbatch --wrap true x",
         "sbatch: error: Script arguments not permitted with --wrap option\n", 1),
        ("sbatch --array=5-1 --wrap true",
         "sbatch: error: Batch job submission failed: Invalid job array specification\n", 1),
        ("sbatch -d afterok:x --wrap true",
         "sbatch: error: Batch job submission failed: Job dependency problem\n", 1),
        ("squeue -j 9999999", "slurm_load_jobs error: Invalid job id specified\n", 1),
        ("scancel", "scancel: error: No job identification provided\n", 1),
        ("scancel 9999999", "", 0),
        ("sacct -o foo", 'sacct: error: Invalid field requested: "foo"\n', 1),
        ("scontrol show job 9999999", "slurm_load_jobs error: Invalid job id specified\n", 1),
        ("srun", "srun: fatal: No command given to execute.\n", 1),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_as_slurm_does(slurm: Site, line: str, text: str, code: int) -> None:
    done = slurm.run(line)

    assert (done.stderr, done.returncode, done.stdout) == (text, code, "")


def test_what_the_machine_lacks_is_clamped_and_the_job_is_told_what_it_asked_for(
    slurm: Site,
) -> None:
    slurm(
        "sbatch --wait -n 64 --mem=9T --gres=gpu:8 -o o --wrap "
        "'echo $SLURM_NTASKS $SLURM_GPUS_ON_NODE'"
    )

    assert (slurm.folder / "o").read_text() == "64 8\n"


def test_a_strict_cluster_lets_what_does_not_fit_wait(
    strict_env: dict[str, str], tmp_path: Path
) -> None:
    strict = Site(strict_env, tmp_path)

    assert strict(
        "sbatch --parsable -n 9 -J big --wrap true; squeue -h -n big -o '%T %r'"
    ).endswith("PENDING PartitionConfig")
    assert "Invalid partition name" in strict.run("sbatch -p other --wrap true").stderr
    assert strict("sinfo -h -o %P") == "p*"
    strict("scancel -n big")


# ---------------------------------------------------------------- arrays


def test_an_array_waits_in_one_line_and_ends_in_one_for_each_element(slurm: Site) -> None:
    id = slurm("sbatch --parsable -H -a 1,3,7-9%2 --wrap 'exit $((SLURM_ARRAY_TASK_ID==7))'")

    assert slurm(f"squeue -h -j {id} -o '%i %K %F'") == f"{id}_[1,3,7-9%2] 1,3,7-9%2 {id}"
    assert len(slurm(f"squeue -h -r -j {id} -o %i").split()) == 5
    slurm(f"scontrol release {id}")
    slurm.is_over(id)
    assert slurm(f"sacct -X -P -n -j {id} -o jobid,state").splitlines() == [
        f"{id}_1|COMPLETED", f"{id}_3|COMPLETED", f"{id}_7|FAILED",
        f"{id}_8|COMPLETED", f"{id}_9|COMPLETED",
    ]  # fmt: skip


def test_each_element_has_a_number_of_its_own_and_one_has_the_arrays(slurm: Site) -> None:
    id = slurm("sbatch --parsable --wait -a 4,5 -o %A_%a-%j --wrap 'echo $SLURM_JOB_ID'")
    raw = slurm(f"sacct -X -P -n -j {id} -o jobidraw").split()

    assert raw == [id, str(int(id) + 1)]
    assert slurm(f"cat {id}_4-{raw[0]} {id}_5-{raw[1]}").split() == raw
    assert slurm(f"squeue -t all -h -j {raw[1]} -o %i") == f"{id}_5"


def test_an_element_is_cancelled_alone(slurm: Site) -> None:
    id = slurm("sbatch --parsable -H -a 1-3 --wrap true")

    slurm(f"scancel {id}_2")
    assert slurm(f"squeue -h -j {id} -o %K") == "1,3"
    slurm(f"scancel {id}")
    assert slurm(f"squeue -h -j {id} -o %K") == ""


# ---------------------------------------------------------------- dependencies


def test_what_can_never_hold_leaves_a_job_pending_unless_told_otherwise(slurm: Site) -> None:
    bad = slurm("sbatch --parsable -H -o /dev/null --wrap 'exit 1'")
    stays = slurm(f"sbatch --parsable -d afterok:{bad} --wrap true")
    goes = slurm(f"sbatch --parsable --kill-on-invalid-dep=yes -d afterok:{bad} --wrap true")
    either = slurm(f"sbatch --parsable -o /dev/null -d 'afterok:{bad}?afterany:{bad}' --wrap true")

    assert slurm(f"squeue -h -j {stays} -o '%r %E'") == f"Dependency afterok:{bad}(unfulfilled)"
    slurm(f"scontrol release {bad}")
    slurm.is_over(either)
    assert slurm(f"squeue -h -j {stays} -o '%T %r %E'") == (
        f"PENDING DependencyNeverSatisfied afterok:{bad}(failed)"
    )
    assert slurm(f"sacct -X -n -P -j {goes} -o state") == "CANCELLED"
    assert slurm(f"sacct -X -n -P -j {either} -o state") == "COMPLETED"
    slurm(f"scancel {stays}")


@pytest.mark.parametrize("hold", ["-H", ""])
def test_elements_wait_for_their_like(slurm: Site, hold: str) -> None:
    first = slurm(
        f"sbatch --parsable {hold} -o /dev/null -a 0-2 --wrap 'exit $((SLURM_ARRAY_TASK_ID==1))'"
    )
    if not hold:  # its elements are closed already
        slurm.is_over(first)
    second = slurm(f"sbatch --parsable -o /dev/null -a 0-2 -d aftercorr:{first} --wrap true")
    if hold:
        slurm(f"scontrol release {first}")

    states = "squeue -h -t all -r -j {} -o '%K %T %r' | sort"
    slurm.until(states.format(second), lambda text: text.splitlines() == [
        "0 COMPLETED None", "1 PENDING DependencyNeverSatisfied", "2 COMPLETED None",
    ])  # fmt: skip
    slurm(f"scancel {second}")


def test_a_singleton_waits_for_the_jobs_of_its_name(slurm: Site) -> None:
    first = slurm("sbatch --parsable -H -J only -d singleton -o /dev/null --wrap true")
    second = slurm("sbatch --parsable -J only -d singleton -o /dev/null --wrap true")

    assert slurm(f"squeue -h -j {second} -o '%r %E'") == "Dependency singleton(unfulfilled)"
    slurm(f"scancel {first}")
    slurm.is_over(second)


def test_an_unknown_job_counts_as_satisfied(slurm: Site) -> None:
    slurm("sbatch --wait -d afterok:999999 -o /dev/null --wrap true")


# ---------------------------------------------------------------- ends and signals


def test_a_cancelled_job_has_slurmstepds_line_in_its_log(slurm: Site) -> None:
    id = slurm("sbatch --parsable -o log --wrap 'echo began; sleep 60'")
    slurm.has_written("log", "began")

    slurm(f"scancel {id}")
    slurm.is_over(id)
    text = (slurm.folder / "log").read_text()
    assert f"error: *** JOB {id} ON " in text
    assert " CANCELLED AT " in text
    assert slurm(f"sacct -P -n -j {id} -o state,exitcode").splitlines() == [
        f"CANCELLED by {os.getuid()}|0:0",
        "CANCELLED|0:15",
    ]


def test_a_signal_reaches_the_steps_and_not_the_batch_shell(slurm: Site) -> None:
    id = slurm(
        "sbatch --parsable -o log --wrap 'srun sh -c \"echo up; exec sleep 60\"; echo code=$?'"
    )
    slurm.has_written("log", "up")

    slurm(f"scancel --signal USR1 {id}")
    slurm.is_over(id)
    text = (slurm.folder / "log").read_text()
    assert "task 0: User defined signal 1" in text
    assert text.endswith("code=138\n")


WITH_A_CHILD = """#!/bin/sh
#SBATCH -o log
trap 'echo caught; exit 4' USR1
sh -c 'trap "echo child" USR1; echo up; sleep 60 & wait' &
wait
"""


def test_a_signal_for_the_batch_shell_does_not_reach_its_children(slurm: Site) -> None:
    (slurm.folder / "s.sh").write_text(WITH_A_CHILD)
    id = slurm("sbatch --parsable s.sh")
    slurm.has_written("log", "up")

    slurm(f"scancel --batch -s USR1 {id}")
    slurm.is_over(id)
    assert slurm(f"cat log; sacct -X -P -n -j {id} -o exitcode") == "up\ncaught\n4:0"


def test_a_warning_before_the_time_limit_reaches_the_batch_shell_alone(slurm: Site) -> None:
    (slurm.folder / "s.sh").write_text(WITH_A_CHILD)
    id = slurm("sbatch --parsable -t 1 --signal=B:USR1@59 s.sh")

    slurm.is_over(id)
    assert (slurm.folder / "log").read_text() == "up\ncaught\n"


def test_a_job_over_its_time_is_a_timeout(slurm: Site) -> None:
    id = slurm("sbatch --parsable -t 0:01 -o log --wrap 'sleep 60'")

    slurm.is_over(id)
    assert "DUE TO TIME LIMIT ***" in (slurm.folder / "log").read_text()
    assert slurm(f"sacct -X -P -n -j {id} -o state,exitcode") == "TIMEOUT|0:0"
    assert slurm(f"squeue -t all -h -j {id} -o '%t %r'") == "TO TimeLimit"


def test_a_requeued_job_keeps_its_id_and_knows_how_often(slurm: Site) -> None:
    id = slurm(
        "sbatch --parsable --open-mode=append -o log --wrap "
        "'echo count=$SLURM_RESTART_COUNT; [ -n \"$SLURM_RESTART_COUNT\" ] || sleep 60'"
    )
    slurm.has_written("log", "count=")

    slurm(f"scontrol requeue {id}")
    slurm.is_over(id)
    text = (slurm.folder / "log").read_text()
    assert "count=\n" in text
    assert text.endswith("count=1\n")
    assert "DUE TO JOB REQUEUE" in text


@pytest.mark.parametrize(
    ("option", "code"), [("-D /nonexistent", "0:53"), ("-o /nonexistent/x", "0:53")]
)
def test_a_job_that_cannot_begin_is_a_launch_failure(slurm: Site, option: str, code: str) -> None:
    id = slurm(f"sbatch --parsable {option} --wrap true")

    slurm.is_over(id)
    assert slurm(f"sacct -X -P -n -j {id} -o state,exitcode") == f"FAILED|{code}"
    assert slurm(f"squeue -t all -h -j {id} -o %r") == "JobLaunchFailure"


def test_a_directory_for_the_output_may_be_made_right_after_the_submission(slurm: Site) -> None:
    id, said = slurm(
        "id=$(sbatch --parsable -o logs/%j/out --wrap 'echo late'); "
        "echo $id $(squeue -h -j $id -o %T,%r); mkdir -p logs/$id"
    ).split()

    assert said == "PENDING,None"
    slurm.is_over(id)
    assert (slurm.folder / "logs" / id / "out").read_text() == "late\n"


# ---------------------------------------------------------------- steps


def test_srun_runs_tasks_and_gives_their_worst_code(slurm: Site) -> None:
    done = slurm.run("srun -n 2 -l sh -c 'echo $SLURM_PROCID of $SLURM_NTASKS; exit $SLURM_PROCID'")

    assert sorted(done.stdout.splitlines()) == ["0: 0 of 2", "1: 1 of 2"]
    assert done.returncode == 1
    assert "task 1: Exited with exit code 1" in done.stderr


def test_srun_passes_standard_input_on(slurm: Site) -> None:
    assert slurm("echo word | srun cat") == "word"
    assert slurm("echo word | srun -n 2 cat") == "word\nword"


def test_a_step_from_outside_has_the_variables_of_its_job(slurm: Site) -> None:
    id = slurm("sbatch --parsable -n 2 -J other -p there -o /dev/null --wrap 'sleep 60'")
    slurm.until(f"squeue -h -j {id} -o %t", lambda text: text == "R")

    names = "$SLURM_JOB_ID $SLURM_JOB_NAME $SLURM_JOB_PARTITION $SLURM_JOB_CPUS_PER_NODE"
    assert slurm(f"srun --jobid={id} --overlap -n 1 sh -c 'echo {names}'") == f"{id} other there 2"
    slurm(f"scancel {id}")


def test_steps_are_in_the_books(slurm: Site) -> None:
    id = slurm(
        "sbatch --parsable --wait -n 2 -o log --wrap "
        "'srun -n 2 true; srun -o s%s-%t -n 2 echo x; srun -n 3 true; srun false; exit 0'"
    )

    assert slurm(f"sacct -P -n -j {id} -o jobname,state,exitcode,ntasks").splitlines() == [
        "wrap|COMPLETED|0:0|", "batch|COMPLETED|0:0|1", "true|COMPLETED|0:0|2",
        "echo|COMPLETED|0:0|2", "false|FAILED|1:0|2",
    ]  # fmt: skip
    assert (slurm.folder / "s1-0").read_text() == (slurm.folder / "s1-1").read_text() == "x\n"
    assert "More processors requested than permitted" in (slurm.folder / "log").read_text()


def test_a_missing_program_is_code_two(slurm: Site) -> None:
    done = slurm.run("srun nosuchcmd")

    assert done.returncode == 2
    assert "error: execve(): nosuchcmd: No such file or directory\n" in done.stderr


def test_an_allocation_ends_with_its_command(slurm: Site) -> None:
    done = slurm.run("salloc -n 2 sh -c 'echo $SLURM_JOB_ID; srun -n 2 echo x; exit 4'")
    id, *rest = done.stdout.split()

    assert (rest, done.returncode) == (["x", "x"], 4)
    assert done.stderr.splitlines() == [
        f"salloc: Granted job allocation {id}",
        f"salloc: Relinquishing job allocation {id}",
    ]
    assert slurm(f"squeue -h -j {id}") == ""


def test_a_cancelled_srun_ends(slurm: Site) -> None:
    process = subprocess.Popen(
        ["srun", "-J", "long", "sleep", "60"], env=slurm.env, cwd=slurm.folder,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    slurm.until("squeue -h -n long -t R -s", lambda text: ".0 " in text)

    slurm("scancel -n long")
    _, said = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 143
    assert "CANCELLED AT" in said


def test_the_books_tell_memory_in_the_unit_that_was_asked_for(slurm: Site) -> None:
    id = slurm("sbatch --parsable --wait --mem=1536M -o /dev/null --wrap true")
    line = f"sacct -P -n -j {id} -o reqmem,maxrss"

    job, batch = slurm(line).splitlines()
    assert (job, batch[-1]) == ("1536M|", "K")
    assert slurm(f"{line} --units=G").splitlines()[0] == "1.50G|"
    assert slurm(f"{line} --units=K").splitlines() == ["1572864K|", batch]
    assert slurm(f"{line} --units=P").splitlines() == ["0.00P|", "|0.00P"]
    assert slurm(f"{line} --noconvert").splitlines()[1] == f"|{int(batch[1:-1]) * 1024}"
    assert slurm.run(f"{line} --units=x").returncode == 1


def test_the_time_of_user_and_of_system_add_up_to_all_of_it(slurm: Site) -> None:
    count = "i=0; while [ $i -lt 9999 ]; do i=$((i+1)); done"
    id = slurm(f"sbatch --parsable --wait -o /dev/null --wrap '{count}'")

    user, system, both = slurm(f"sacct -X -P -n -j {id} -o usercpu,systemcpu,totalcpu").split("|")
    assert (user, system) == (both, "00:00:00")
    assert both != "00:00:00"


def test_a_step_has_what_its_tasks_used_and_the_job_has_it_too(slurm: Site) -> None:
    work = "x = bytearray(b'1' * 60_000_000); sum(range(3_000_000))"
    (slurm.folder / "work.py").write_text(work)
    id = slurm("sbatch --parsable --wait -o /dev/null --wrap 'srun python3 -IS work.py'")

    line = f"sacct -P -n -j {id} -o user,usercpu,totalcpu,maxrss"
    job, batch, step = (row.split("|")[1:] for row in slurm(line).splitlines())
    (_, of_job), (of_batch, _), (user, of_step) = (
        [float(text.rpartition(":")[2]) for text in row[:2]] for row in (job, batch, step)
    )
    assert 0 < user <= of_step <= of_job
    assert of_batch < of_step
    assert 60_000 < int(step[2].removesuffix("K")) < 200_000


def test_a_word_too_many_is_told_as_sacct_does(slurm: Site) -> None:
    done = slurm.run("sacct -j 1 2 3")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == ("sacct: error: Unknown arguments:\nsacct: error:  2\nsacct: error:  3\n")


# ---------------------------------------------------------------- other commands


def test_scontrol_holds_changes_and_releases(slurm: Site) -> None:
    id = slurm("sbatch --parsable -H -o /dev/null --wrap true")

    slurm(f"scontrol update JobId={id} JobName=other TimeLimit=5 Comment=c")
    assert slurm(f"squeue -h -j {id} -o '%j %l %k'") == "other 5:00 c"
    shown = slurm(f"scontrol -o show job {id}")
    assert f"JobId={id} JobName=other " in shown
    assert " TimeLimit=00:05:00 " in shown
    slurm(f"scontrol release {id}")
    slurm.is_over(id)
    assert slurm.run(f"scontrol hold {id}").returncode == 1


def test_the_cluster_is_described(slurm: Site) -> None:
    assert slurm("sinfo -h -o '%P %c %D %t'").startswith("local* 2 1 ")
    assert "MaxArraySize" in slurm("scontrol show config")
    assert "MinJobAge               = 300 sec" in slurm("scontrol show config")
    assert slurm("scontrol show hostnames 'n[1-2]'") == "n1\nn2"
    assert "CPUTot=2 " in slurm("scontrol show node")
    assert slurm("sacctmgr -nP show qos format=name") == "normal"
    assert slurm("sacctmgr -n list tr | wc -l") == "8"
    assert "SLURM_VERSION" in slurm("sacctmgr show config")
    user = slurm("id -un")
    assert user in slurm(f"sacctmgr -n -P show user {user} withassoc format=account").split()
    assert user in slurm(f"sshare -U -u {user} --format=account -P -n").split()


@pytest.mark.parametrize(
    "line",
    [
        "sreport cluster utilization",
        "scontrol requeuehold 1",
        "sbatch -n1 : -n1 --wrap true",
        "salloc -n1 : -n1 true",
        "srun -n1 true : -n1 true",
        "srun --het-group=0 true",
        "sbatch <<<$'#!/bin/sh\\n#SBATCH -n1\\n#SBATCH hetjob\\n#SBATCH -n2\\ntrue'",
    ],
)
def test_what_is_not_emulated_says_so(slurm: Site, line: str) -> None:
    done = slurm.run(line)

    assert done.returncode == 1
    assert f"{line.split()[0]}: error: " in done.stderr
    assert "not emulated" in done.stderr


def test_json_is_json(slurm: Site) -> None:
    done = slurm.run("sbatch --parsable --wait --wrap 'exit 2'")
    id = int(done.stdout)

    jobs = {job["job_id"]: job for job in json.loads(slurm("squeue --json"))["jobs"]}
    assert (jobs[id]["job_state"], jobs[id]["exit_code"]) == ("FAILED", 512)
    (booked,) = json.loads(slurm(f"sacct --json -j {id}"))["jobs"]
    assert booked["exit_code"]["return_code"] == 2
    assert json.loads(slurm("sinfo --json"))["nodes"][0]["cpus"] == 2
