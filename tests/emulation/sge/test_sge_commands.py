"""The commands themselves, over one pretended Grid Engine for all tests of this module."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

import cluster

DEADLINE_S = 60.0


class Site:
    """A pretended Grid Engine, and a directory to work in."""

    def __init__(self, env: dict[str, str], home: Path) -> None:
        self.home = home
        self.env = {**env, "HOME": str(home), "LC_ALL": "C"}

    def run(self, line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/bash", "--norc", "-c", line],
            cwd=self.home, env=self.env, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip

    def out(self, line: str) -> str:
        done = self.run(line)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def submit(self, words: str) -> str:
        return self.out(f"qsub -terse -cwd {words}").strip().partition(".")[0]

    def state(self, id: str) -> str:
        found = (line.split() for line in self.out("qstat").splitlines()[2:])
        return next((words[4] for words in found if words[0] == id), "")

    def wait_for(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline, self.out("qstat; qstat -j '*'")

    def wait_state(self, id: str, state: str) -> None:
        self.wait_for(lambda: self.state(id) == state)

    def script(self, text: str) -> str:
        name = f"s{len(list(self.home.glob('s*.sh')))}.sh"
        (self.home / name).write_text(text)
        return name


@pytest.fixture(scope="module")
def cluster_env() -> Iterator[dict[str, str]]:
    with cluster.emulate("sge", private=True, cores=4) as env:
        yield env


@pytest.fixture
def site(cluster_env: dict[str, str], tmp_path: Path) -> Iterator[Site]:
    made = Site(cluster_env, tmp_path)
    yield made
    made.run("qdel -u '*'")
    made.wait_for(lambda: not made.out("qstat"))


def test_qsub_tells_the_id_and_the_job_writes_where_it_was_submitted(site: Site) -> None:
    name = site.script("#!/bin/sh\necho out $1\necho err >&2\n")

    said = site.out(f"qsub -cwd -sync y {name} 'a b'")

    match = re.match(rf'Your job (\d+) \("{name}"\) has been submitted\n', said)
    assert match
    assert said.endswith(f"Job {match[1]} exited with exit code 0.\n")
    assert (site.home / f"{name}.o{match[1]}").read_text() == "out a b\n"
    assert (site.home / f"{name}.e{match[1]}").read_text() == "err\n"


def test_directives_count_and_the_command_line_beats_them(site: Site) -> None:
    (site.home / "logs").mkdir()
    name = site.script('#!/bin/sh\n#$ -N named -j y\n#$ -o logs/ -cwd\necho "$JOB_NAME" $A >&2\n')

    id = site.submit(f"-sync y -N other -v A=7 {name}")

    assert (site.home / f"logs/other.o{id}").read_text() == "other 7\n"


def test_an_array_runs_each_task_with_its_number(site: Site) -> None:
    words = "$JOB_ID $SGE_TASK_ID $SGE_TASK_FIRST $SGE_TASK_LAST $SGE_TASK_STEPSIZE"

    id = site.submit(f"-sync y -t 2-6:2 -N arr -o '$JOB_NAME-$TASK_ID' -b y 'echo {words}'"
                     .replace("'echo ", "'echo "))  # fmt: skip

    assert (site.home / "arr-4").read_text() == f"{id} 4 2 6 2\n"
    assert sorted(path.name for path in site.home.glob("arr-*")) == ["arr-2", "arr-4", "arr-6"]


def test_a_single_job_has_no_task_and_a_directory_of_its_own(site: Site) -> None:
    words = "echo $SGE_TASK_ID $NSLOTS $PE $QUEUE; ls -d $TMPDIR; cat $PE_HOSTFILE"

    id = site.submit(f"-sync y -N one -pe smp 2 -b y '{words}'")

    first, scratch, hosts = (site.home / f"one.o{id}").read_text().splitlines()
    assert first == "undefined 2 smp all.q"
    assert scratch.endswith(f".{id}.1.all.q")
    assert not os.path.exists(scratch)
    assert re.fullmatch(r"\S+ 2 all.q@\S+ UNDEFINED", hosts)


def test_sync_gives_the_code_or_the_signal(site: Site) -> None:
    failed = site.run("qsub -cwd -sync y -b y 'exit 9'")
    named = site.run("qsub -cwd -sync y -N nine -b y 'exit 9'")
    killed = site.run(f"qsub -cwd -sync y {site.script('#!/bin/sh' + chr(10) + 'kill -9 $$')}")

    assert failed.returncode == 1
    assert "Error reading answer list" in failed.stderr
    assert (named.returncode, named.stderr[-26:]) == (9, " exited with exit code 9.\n"[-26:])
    assert killed.returncode == 1
    assert killed.stderr.endswith("exited because of signal SIGKILL\n")


def test_a_successor_runs_after_a_failure(site: Site) -> None:
    first = site.submit("-N first -h -b y false")
    second = site.submit(f"-N second -hold_jid {first} -b y 'echo runs'")
    third = site.submit("-N third -hold_jid 'sec*' -b y true")

    assert (site.state(first), site.state(second), site.state(third)) == ("hqw", "hqw", "hqw")
    site.out(f"qrls {first}")
    site.wait_for(lambda: not site.out("qstat"))
    assert (site.home / f"second.o{second}").read_text() == "runs\n"


def test_a_task_follows_the_task_of_its_number(site: Site) -> None:
    before = site.submit("-t 1-2 -N before -b y sleep 60")
    after = site.submit(f"-t 1-2 -N after -hold_jid_ad {before} -b y true")
    site.wait_state(before, "r")

    site.out(f"qdel {before}.1")

    site.wait_for(lambda: site.run(f"qacct -j {after} -t 1").returncode == 0)
    assert [line.split()[-1] for line in site.out("qstat -s hd").splitlines()[2:]] == ["2"]
    assert site.run(f"qacct -j {after} -t 2").returncode == 1


def test_exit_99_runs_a_job_again_and_its_books_have_both(site: Site) -> None:
    name = site.script('#!/bin/sh\n[ "$RESTARTED" = 1 ] || exit 99\necho again\n')

    id = site.submit(f"-sync y {name}")

    assert (site.home / f"{name}.o{id}").read_text() == "again\n"
    assert re.findall(r"^failed +(\d+)", site.out(f"qacct -j {id}"), re.MULTILINE) == ["25", "0"]


def test_exit_100_and_files_that_cannot_be_opened_are_errors_that_wait(site: Site) -> None:
    own = site.submit(site.script("#!/bin/sh\nexit 100\n"))
    output = site.submit("-o /nonexistent/x -N out -b y true")
    place = site.submit("-wd /nonexistent -N place -b y true")

    for id in (own, output, place):
        site.wait_state(id, "Eqw")
    assert 'can\'t open output file "/nonexistent/x"' in site.out(f"qstat -j {output}")
    assert "exit_status of job start = 100" in site.out(f"qstat -j {own}")
    assert "cleared error state" in site.run(f"qmod -cj {output}").stdout
    assert site.out(f"qdel {own}").endswith(f"has deleted job {own}\n")


def test_qdel_tells_what_it_did_to_each(site: Site) -> None:
    running = site.submit("-N run -b y sleep 60")
    array = site.submit("-N arr -t 1-4 -tc 1 -b y sleep 60")
    site.wait_state(running, "r")
    site.wait_state(array, "r")

    done = site.run(f"qdel {running} {array}.2-3 nosuch 999999")

    user = done.stdout.split()[0]
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        f"{user} has registered the job {running} for deletion",
        f"{user} has deleted job-array task {array}.2",
        f"{user} has deleted job-array task {array}.3",
        f"The job nosuch of user(s) {user} does not exist",
        'denied: job "999999" does not exist',
    ]
    site.wait_for(lambda: site.state(running) == "")
    books = site.out(f"qacct -j {running}")
    assert re.search(r"^failed +100 : assumedly after job$", books, re.MULTILINE)
    assert re.search(r"^exit_status +137 +\(Killed\)$", books, re.MULTILINE)


def test_a_job_that_was_deleted_before_it_started_is_in_no_books(site: Site) -> None:
    id = site.submit("-h -N held -b y true")
    site.out(f"qdel {id}")

    done = site.run(f"qacct -j {id}")

    assert (done.returncode, done.stderr) == (1, f"error: job id {id} not found\n")


def test_xml_and_table_tell_the_same(site: Site) -> None:
    id = site.submit("-N a-very-long-name -t 1-3 -h -l h_rt=77 -q all.q -b y true")

    root = ElementTree.fromstring(site.out("qstat -xml -r"))

    (job,) = root.iter("job_list")
    assert job.findtext("JB_job_number") == id
    assert job.findtext("full_job_name") == "a-very-long-name"
    assert job.findtext("tasks") == "1-3:1"
    assert job.findtext("state") == "hqw"
    assert [one.get("name") for one in job.iter("hard_request")] == ["h_rt"]
    assert re.search(r" a-very-lon .* hqw .* 1 1-3:1$", site.out("qstat"), re.MULTILINE)


@pytest.mark.parametrize("command", ["qmake", "qrsub", "qrdel 1", "qrstat", "qmon"])
def test_no_command_falls_through_to_a_real_grid_engine(site: Site, command: str) -> None:
    done = site.run(command)

    assert done.returncode == 1
    assert "of Grid Engine is not emulated. What is: qacct, " in done.stderr


def test_the_numbers_that_tasks_have_in_the_queue_are_nobodys(site: Site) -> None:
    id = int(site.submit("-N numbered -t 1-2 -h -b y true"))

    assert site.run(f"qdel {id + 1}").stdout == f'denied: job "{id + 1}" does not exist\n'
    assert "do not exist" in site.run(f"qstat -j {id + 1}").stderr
    assert site.run(f"qacct -j {id + 1}").stderr == f"error: job id {id + 1} not found\n"
    after = site.submit(f"-N free -hold_jid {id + 1} -b y true")
    site.wait_for(lambda: not site.state(after))
    assert site.state(str(id)) == "hqw"


def test_views_of_a_list_can_be_combined(site: Site) -> None:
    site.submit("-N urgent -pe smp 2 -h -b y true")

    (job,) = ElementTree.fromstring(site.out("qstat -ext -urg -xml")).iter("job_list")
    title, _, line = site.out("qstat -ext -urg").splitlines()

    names = [one.tag for one in job]
    assert names[:8] == [
        "JB_job_number", "JAT_prio", "JAT_ntix", "JB_nurg", "JB_urg", "JB_rrcontr", "JB_wtcontr",
        "JB_dlcontr",
    ]  # fmt: skip
    assert {"JB_department", "JB_submission_time", "tickets"} < set(names)
    assert "JAT_start_time" not in names
    assert job.findtext("JB_urg") == "2000"
    assert line[title.index(" urg ") :].split()[:2] == ["2000", "2000"]
    assert line[title.index("state") :].split()[0] == "hqw"
    assert line[title.index("slots") :].split() == ["2"]


def test_a_limit_of_time_or_memory_ends_a_job(site: Site) -> None:
    late = site.run("qsub -cwd -sync y -N late -l h_rt=1 -b y sleep 30")
    id = site.submit("-N big -l h_vmem=60M -b y 'ulimit -v'")

    assert late.stderr.endswith("exited because of signal SIGKILL\n")
    assert "failed       37  : qmaster enforced h_rt" in site.out("qacct -j late")
    site.wait_for(lambda: site.state(id) == "")
    assert (site.home / f"big.o{id}").read_text() == "61440\n"


def test_what_is_too_large_for_the_machine_runs_and_is_told_what_it_asked_for(site: Site) -> None:
    id = site.submit("-sync y -N wide -pe mpi 64 -q short.q -P lab -l h_vmem=900G,gpu=2 "
                     "-b y 'echo $NSLOTS $QUEUE $PE'")  # fmt: skip

    assert (site.home / f"wide.o{id}").read_text() == "64 short.q mpi\n"


def test_strict_refuses_what_a_real_one_would_and_leaves_the_impossible_waiting(
    cluster_env: dict[str, str], tmp_path: Path
) -> None:
    with cluster.emulate("sge", private=True, cores=2, strict=True) as env:
        site = Site(env, tmp_path)
        said = [site.run(f"qsub {words} -b y true") for words in
                ("-q short.q", "-pe mpi 2", "-P lab", "-l gpu=1", "-w e -pe smp 9")]  # fmt: skip
        wide = site.submit("-pe smp 9 -b y true")
        state = site.state(wide)

    assert [one.returncode for one in said] == [1] * 5
    assert said[3].stderr == 'Unable to run job: unknown resource "gpu"\nExiting.\n'
    assert said[4].stderr == "Unable to run job: error: no suitable queues\nExiting.\n"
    assert state == "qw"


def test_a_job_can_submit_jobs(site: Site) -> None:
    name = site.script("#!/bin/bash -l\nqsub -terse -cwd -sync y -N inner -b y 'echo in'\n")

    outer = site.submit(f"-sync y -N outer {name}")

    inner = (site.home / f"outer.o{outer}").read_text().strip()
    assert (site.home / f"inner.o{inner}").read_text() == "in\n"


def test_qrsh_runs_here_and_ends_when_its_job_is_deleted(site: Site) -> None:
    here = site.run("echo text | qrsh -cwd -N q 'cat; echo $JOB_NAME; pwd; exit 5'")
    assert (here.returncode, here.stdout) == (5, f"text\nq\n{site.home}\n")

    waiting = subprocess.Popen(
        ["qrsh", "sleep", "60"], env=site.env, cwd=site.home, stdin=subprocess.DEVNULL
    )
    site.wait_for(lambda: "sleep" in site.out("qstat"))
    site.out("qdel sleep")
    assert waiting.wait(timeout=DEADLINE_S) != 0


def test_qalter_changes_what_waits(site: Site) -> None:
    other = site.submit("-h -N other -b y true")
    id = site.submit("-h -N old -b y true")

    said = site.out(f"qalter -N new -l h_rt=5 -hold_jid {other} {id}")

    assert said == (
        f"modified hard resource list of job {id}\nmodified job name of job {id}\n"
        f"modified job id hold list of job {id}\n   blocking jobs: {other}\n"
        "   exited jobs:   NONE\n"
    )
    assert "job_name:                   new" in site.out(f"qstat -j {id}")
    site.out(f"qrls {id}")
    assert site.state(id) == "hqw"


def test_the_site_answers_about_itself(site: Site) -> None:
    assert site.out("qconf -sql") == "all.q\n"
    assert site.out("qconf -spl") == "smp\n"
    assert re.search(r"^slots +4$", site.out("qconf -sq all.q"), re.MULTILINE)
    assert re.search(r"^all.q +\d+\.\d\d +0 +0 +4 +4 ", site.out("qstat -g c"), re.MULTILINE)
    assert re.search(r"^   all.q +BIP +0/0/4", site.out("qhost -q"), re.MULTILINE)
    assert site.out("qstat -help").startswith("SGE 8.1.9\nusage: qstat")
    assert site.run("qconf -aq x").returncode == 1
    act = Path(site.env["SGE_ROOT"], site.env["SGE_CELL"], "common/act_qmaster")
    assert act.read_text() == site.out("qconf -sss")


def test_default_options_are_read_from_home(site: Site) -> None:
    (site.home / ".sge_request").write_text("# mine\n-N mine -j y\n-cwd\n")

    said = site.out("qsub -sync y -b y true")

    assert '("mine")' in said
    assert not list(site.home.glob("mine.e*"))
