"""Jobs of the emulated LSF, from bsub to their report, over a queue of their own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import cluster
from cluster.local import lifecycle

pytestmark = pytest.mark.slow
LIMIT_S = 60.0
EMBEDDED = """\
#BSUB -J parsed
#BSUB -o job.out
echo "$LSB_JOBNAME $LSB_JOBINDEX $LSB_QUEUE"
"""
OWN = """\
import cluster
assert cluster.submit("echo $LSB_JOBNAME", name="own").get().stdout == "own\\n"
assert cluster.submit(abs, -49).get() == 49
array = cluster.submit("exit $((CLUSTER_ARRAY_INDEX == 2))", array="1-3")
array.wait(timeout=30)
assert array.state == "FAILED", array.state
long = cluster.submit("sleep 100")
after = cluster.submit("echo no", dependencies=long)
long.cancel()
after.wait(timeout=30)
assert (long.state, after.state) == ("CANCELLED", "CANCELLED"), (long.state, after.state)
late = cluster.submit("sleep 100", partition="short")
late.wait(timeout=30)
assert late.state == "TIMEOUT", late.state
print(long.qtype)
"""


class Site:
    def __init__(self, env: dict[str, str]) -> None:
        self.env, self.cwd = env, Path("/")

    def __call__(self, line: str, code: int = 0) -> str:
        done = self.run(line)
        assert done.returncode == code, (line, done)
        return done.stdout

    def run(self, line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/bash", "-c", line], env=self.env, cwd=self.cwd, capture_output=True, text=True,
            timeout=LIMIT_S,
        )  # fmt: skip

    def submit(self, line: str) -> str:
        found = re.search(r"Job <(\d+)> is submitted", self(line))
        assert found
        return found[1]

    def until(self, id: str, *states: str) -> str:
        """Wait until a job has one of these states; give it."""
        deadline = time.monotonic() + LIMIT_S
        while True:
            state = self(f"bjobs -a -noheader -o stat '{id}'").strip()
            if state in states:
                return state
            assert time.monotonic() < deadline, state
            time.sleep(0.02)

    def end(self, id: str) -> str:
        self.until(id, "DONE", "EXIT")
        form = "stat exit_code exit_reason delimiter='|'"
        return self(f'bjobs -a -noheader -o "{form}" {id}').strip()


@pytest.fixture(scope="module")
def cluster_of_four() -> Iterator[Site]:
    shape = ["normal", "short:time=1s"]
    with cluster.emulate("lsf", private=True, cores=4, partitions=shape) as env:
        yield Site(env)


@pytest.fixture
def site(cluster_of_four: Site, tmp_path: Path) -> Site:
    cluster_of_four.cwd = tmp_path
    return cluster_of_four


def test_output_stands_below_a_report_in_the_file_that_was_named(site: Site) -> None:
    site("bsub -K -J n -o %J.txt -e err.txt 'echo out; echo err >&2; exit 3'", 3)

    (report,) = (path.read_text() for path in site.cwd.glob("[0-9]*.txt"))
    assert report.startswith("Sender: LSF System <")
    assert re.search(r"^Subject: Job \d+: <n> Exited$", report, re.MULTILINE)
    assert "\n\nExited with exit code 3.\n\nResource usage summary:\n" in report
    assert report.endswith(
        "The output (if any) follows:\n\nout\n\n\nPS:\n\n"
        "Read file <err.txt> for stderr output of this job.\n\n"
    )
    assert (site.cwd / "err.txt").read_text() == "err\n"


def test_oo_overwrites_o_appends_and_n_leaves_the_report_out(site: Site) -> None:
    for option in ("-oo over", "-o add", "-N -oo plain"):
        site(f"bsub -K {option} echo a; bsub -K {option} echo a")

    counts = {name: (site.cwd / name).read_text().count("Sender") for name in ("over", "add")}
    assert counts == {"over": 1, "add": 2}
    assert (site.cwd / "plain").read_text() == "a\n"


def test_output_without_a_file_or_with_one_that_cannot_be_is_kept_for_bpeek(site: Site) -> None:
    one = site.submit("bsub 'echo out; echo err >&2'")
    two = site.submit("bsub -o missing/x echo lost")
    site.end(one)
    site.end(two)

    assert site(f"bpeek {one}") == "<< output from stdout >>\nout\n<< output from stderr >>\nerr\n"
    assert site(f"bpeek {two}") == "<< output from stdout >>\nlost\n"


def test_bpeek_shows_what_a_running_job_has_written(site: Site) -> None:
    id = site.submit("bsub -o later.txt 'echo early; until [ -e go ]; do sleep 0.02; done'")
    site.until(id, "RUN")
    deadline = time.monotonic() + LIMIT_S
    while "early" not in site.run(f"bpeek {id}").stdout:
        assert time.monotonic() < deadline

    assert not (site.cwd / "later.txt").exists()
    (site.cwd / "go").touch()
    assert site.end(id) == "DONE|-|-"
    assert (site.cwd / "later.txt").read_text().endswith("\n\nearly\n")


def report(path: Path) -> str:
    """Wait for the report of a job: it is written after the job has ended, by who ended it."""
    deadline = time.monotonic() + 20
    while not path.exists() or "Exited with exit code" not in path.read_text():
        assert time.monotonic() < deadline, "there is no report"
        time.sleep(0.01)
    return path.read_text()


def test_a_job_that_is_killed_says_who_did_it(site: Site) -> None:
    id = site.submit("bsub -o k.txt sleep 100")
    site.until(id, "RUN")

    assert site(f"bkill {id}") == f"Job <{id}> is being terminated\n"

    assert site.end(id) == "EXIT|130|TERM_OWNER: job killed by owner"
    text = report(site.cwd / "k.txt")
    assert "\nTERM_OWNER: job killed by owner.\nExited with exit code 130.\n" in text
    again = site.run(f"bkill {id}")
    assert (again.returncode, again.stderr) == (255, f"Job <{id}>: Job has already finished\n")


def test_even_sigkill_leaves_a_report(site: Site) -> None:
    id = site.submit("""bsub -o k.txt 'trap "" INT TERM; touch up; sleep 100; sleep 100'""")
    while not (site.cwd / "up").exists():
        site.until(id, "PEND", "RUN")

    assert site(f"bkill -s KILL {id}") == f"Job <{id}> is being signaled\n"

    assert site.end(id) == "EXIT|137|TERM_OWNER: job killed by owner"
    text = report(site.cwd / "k.txt")
    assert "\nTERM_OWNER: job killed by owner.\nExited with exit code 137.\n" in text


def test_other_signals_reach_the_job_and_not_its_report(site: Site) -> None:
    line = 'trap "echo got; exit 9" USR1; touch up; while :; do sleep 0.02; done'
    id = site.submit(f"bsub -o s.txt '{line}'")
    while not (site.cwd / "up").exists():
        site.until(id, "PEND", "RUN")

    site(f"bkill -s USR1 {id}")

    assert site.end(id) == "EXIT|9|-"
    assert (site.cwd / "s.txt").read_text().endswith("got\n")


def test_the_run_limit_of_a_queue_ends_a_job(site: Site) -> None:
    id = site.submit("bsub -q short -o r.txt sleep 50")

    assert site.end(id) == "EXIT|140|TERM_RUNLIMIT: job killed after reaching LSF run time limit"
    assert "TERM_RUNLIMIT" in (site.cwd / "r.txt").read_text()
    refused = site.run("bsub -q short -W 1 true")
    assert refused.stderr.endswith("Job not submitted.\n")


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured in /proc")
def test_the_memory_limit_ends_a_job_and_a_reservation_does_not(site: Site) -> None:
    python = shlex.quote(sys.executable)
    program = f"{python} -c 'import time; x = bytearray(90 << 20); time.sleep(TIME)'"
    many = site.submit(f'bsub -M 40 "{program.replace("TIME", "50")}"')
    reserved = site.submit(f'bsub -R "rusage[mem=40]" "{program.replace("TIME", "1.2")}"')

    words = "TERM_MEMLIMIT: job killed after reaching LSF memory usage limit"
    assert site.end(many) == f"EXIT|130|{words}"
    assert site.end(reserved) == "DONE|-|-"


def test_elements_have_indices_and_files_of_their_own(site: Site) -> None:
    line = "echo $LSB_JOBID/$LSB_JOBINDEX/$LSB_JOBINDEX_END; exit $((LSB_JOBINDEX == 3))"
    id = site.submit(f"bsub -N -J 'a[1-5:2]' -o %J.%I '{line}'")
    for index in (1, 3, 5):
        site.until(f"{id}[{index}]", "DONE", "EXIT")

    shown = site(f"bjobs -a -noheader -o 'jobid jobindex stat job_name' {id}")
    assert sorted(shown.splitlines()) == [
        f"{id} 1 DONE a[1]",
        f"{id} 3 EXIT a[3]",
        f"{id} 5 DONE a[5]",
    ]
    assert (site.cwd / f"{id}.5").read_text() == f"{id}/5/5\n"
    summary = site(f"bjobs -A {id}").splitlines()[1].split()
    assert summary[:8] == [id, "a[1-5:2]", summary[2], "3", "0", "2", "0", "1"]


def test_conditions_beyond_the_queues_own_are_kept_too(site: Site) -> None:
    bad, good = site.submit("bsub -J bad exit 3"), site.submit("bsub -J good true")
    held = site.submit("bsub -H -J held true")
    line = f"(done({bad}) || exit(bad, 3)) && done(good) && !started({held})"

    assert site.end(site.submit(f"bsub -w '{line}' true")) == "DONE|-|-"
    waits = site.submit(f"bsub -w '{line} && (done({held}) || exit({held}))' true")
    assert site(f"bjobs -noheader -o stat {waits}") == "PEND\n"
    site(f"bresume {held}")
    # !started(held) does not hold any more, and never will.
    deadline = time.monotonic() + LIMIT_S
    while "never satisfied" not in site(f"bjobs -p {waits}"):
        assert time.monotonic() < deadline
    site(f"bkill {waits} {good}", 255)


def test_conditions_are_watched_again_after_the_emulation_was_killed(site: Site) -> None:
    first = site.submit("bsub 'until [ -e go ]; do sleep 0.02; done'")
    second = site.submit(f"bsub -w 'done({first}) && !exit({first})' true")
    with socket.socket(socket.AF_UNIX) as connection:
        path = lifecycle.socket_path(site.env["CLUSTER_STATE_DIR"], "emulation")
        connection.connect(path)
        pid, _ = lifecycle.peer(connection)
        os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ConnectionResetError):
            connection.recv(1)  # it is gone

    (site.cwd / "go").touch()

    assert site.end(second) == "DONE|-|-"


def test_what_can_never_start_stays_and_with_ti_goes(site: Site) -> None:
    bad = site.submit("bsub false")
    site.end(bad)
    stays = site.submit(f"bsub -w 'done({bad})' true")
    goes = site.submit(f"bsub -ti -w 'done({bad})' true")

    assert site.end(goes) == "EXIT|-|TERM_ORPHAN_SYSTEM: orphan job terminated automatically by LSF"
    assert site(f"bjobs -noheader -o stat {stays}") == "PEND\n"
    killed = site.run(f"bsub -K -ti -w 'done({bad})' true")
    assert killed.returncode == 126
    site(f"bkill {stays}")


def test_jobs_are_suspended_and_resumed_running_or_not(site: Site) -> None:
    runs = site.submit("bsub 'until [ -e go ]; do sleep 0.02; done'")
    waits = site.submit(f"bsub -w 'done({runs})' true")
    site.until(runs, "RUN")

    site(f"bstop {runs} {waits}")
    assert site.until(runs, "USUSP") + site.until(waits, "PSUSP") == "USUSPPSUSP"
    (site.cwd / "go").touch()
    site(f"bresume {waits} {runs}")

    assert (site.end(runs), site.end(waits)) == ("DONE|-|-", "DONE|-|-")


def test_a_killed_job_runs_until_its_processes_are_gone(site: Site) -> None:
    wait = "trap '' INT TERM; touch on; until [ -e go ]; do sleep 0.02; done; exit 7"
    id = site.submit(f'bsub -J stubborn "{wait}"')
    while not (site.cwd / "on").exists():
        site.until(id, "PEND", "RUN")

    site(f"bstop {id}; bkill {id}")
    after = site.submit(f"bsub -w 'exit({id}, > 5)' true")
    assert site("bjobs -noheader -o 'jobid stat' -J stubborn") == f"{id} RUN\n"
    assert site(f"bjobs -noheader -o stat {after}") == "PEND\n"
    (site.cwd / "go").touch()

    assert site.end(id).startswith("EXIT|")
    assert site.end(after) == "DONE|-|-"


def test_the_numbers_that_elements_have_in_the_queue_are_nobodys(site: Site) -> None:
    id = int(site.submit("bsub -H -J 'n[1-2]' true"))

    assert site.run(f"bkill {id + 1}").stderr == f"Job <{id + 1}>: No matching job found\n"
    assert site.run(f"bjobs {id + 2}").stderr == f"Job <{id + 2}> is not found\n"
    assert site.run(f"bhist {id + 2}").stderr == "No matching job found\n"
    refused = site.run(f"bsub -w 'done({id + 1})' true")
    assert "No matching job found. Job not submitted." in refused.stderr
    assert site(f"bjobs -noheader -o stat {id}") == "PSUSP\nPSUSP\n"
    site(f"bkill {id}")


def test_waiting_for_an_array_gives_its_worst_exit_code(site: Site) -> None:
    site("bsub -K -J 'w[1-3]' 'exit $((LSB_JOBINDEX % 3))'", 2)


def test_a_job_is_queued_again_by_hand_and_by_its_exit_code(site: Site) -> None:
    site("bsub -K -Q 5 'echo x >> runs; [ $(wc -l < runs) = 2 ] || exit 5'")
    assert (site.cwd / "runs").read_text() == "x\nx\n"

    id = site.submit("bsub -r -o o.txt 'echo x >> runs; until [ -e go ]; do sleep 0.02; done'")
    while (site.cwd / "runs").read_text().count("x") < 3:
        site.until(id, "PEND", "RUN")
    assert site(f"brequeue {id}") == f"Job <{id}> is being requeued\n"
    while (site.cwd / "runs").read_text().count("x") < 4:
        site.until(id, "PEND", "RUN")
    (site.cwd / "go").touch()

    assert site.end(id) == "DONE|-|-"
    assert (site.cwd / "o.txt").read_text().count("Sender") == 1


def test_a_script_comes_by_standard_input_or_as_a_file(site: Site) -> None:
    script = site.cwd / "job.sh"
    script.write_text(EMBEDDED)

    site("bsub -K -N -oo one < job.sh")
    site("bsub -K -N -oo two job.sh")
    script.chmod(0o755)
    site("bsub -K -N -oo three ./job.sh")

    said = [(site.cwd / name).read_text() for name in ("one", "two", "three")]
    assert said == ["parsed 0 normal\n", "parsed 0 normal\n", "./job.sh 0 normal\n"]


def test_an_interactive_job_has_the_callers_streams(site: Site) -> None:
    said = site.run("echo typed | bsub -I 'cat; echo err >&2; exit 4' 2>&1 | cat; echo $PIPESTATUS")
    to_file = site.run("bsub -I 'echo filed; exit 2' > f; echo $?; tail -1 f")

    assert "<<Starting on" in said.stdout
    assert said.stdout.endswith("typed\nerr\n0\n")
    assert to_file.stdout == "2\nfiled\n"


def test_an_interactive_job_ends_with_its_caller_and_a_waited_for_one_does_not(site: Site) -> None:
    site("timeout 0.5 bsub -I -J mine sleep 100", 124)
    site("timeout 0.5 bsub -K -J its 'until [ -e go ]; do sleep 0.02; done'", 124)
    (site.cwd / "go").touch()

    mine, its = (site(f"bjobs -a -noheader -o jobid -J {name}").strip() for name in ("mine", "its"))
    assert site.end(mine).startswith("EXIT|")
    assert site.end(its) == "DONE|-|-"


def test_a_job_can_be_given_input_a_directory_and_commands_around_it(site: Site) -> None:
    (site.cwd / "in").write_text("input\n")

    site(f"bsub -K -N -i {site.cwd}/in -cwd new/dir -E 'echo pre' -Ep 'echo post' -o o 'pwd; cat'")

    said = (site.cwd / "new/dir/o").read_text()
    assert said == f"pre\n{site.cwd}/new/dir\ninput\npost\n"


def test_jobs_submit_jobs_whatever_their_environment_is(site: Site) -> None:
    site("A=1 bsub -K -N -env none -o o 'echo A=$A; bsub -K -N -oo inner echo inside'")

    assert (site.cwd / "o").read_text().startswith("A=\nJob <")
    assert (site.cwd / "inner").read_text() == "inside\n"


def test_json_has_texts_only_and_names_what_is_not_there(site: Site) -> None:
    id = site.submit("bsub -J j -Jd 'some text' exit 2")
    site.end(id)

    found = json.loads(site(f"bjobs -a -o 'jobid stat exit_code desc' -json {id} 99999", 255))

    assert found == {
        "COMMAND": "bjobs",
        "JOBS": 2,
        "RECORDS": [
            {"JOBID": id, "STAT": "EXIT", "EXIT_CODE": "2", "JOB_DESCRIPTION": "some text"},
            {"JOBID": "99999", "ERROR": "Job <99999> is not found"},
        ],
    }


def test_json_takes_the_format_of_the_environment(site: Site) -> None:
    id = site.submit("bsub -H -J shape true")

    found = json.loads(site("LSB_BJOBS_FORMAT='jobid job_name' bjobs -json -J shape"))
    none = json.loads(site("LSB_BJOBS_FORMAT='jobid job_name' bjobs -json -q none"))

    assert found["RECORDS"] == [{"JOBID": id, "JOB_NAME": "shape"}]
    assert none == {"COMMAND": "bjobs", "JOBS": 0, "RECORDS": []}
    site(f"bkill {id}")


def test_an_unknown_field_is_refused_whether_there_are_jobs_or_not(site: Site) -> None:
    done = site.run("bjobs -o 'jobid nonsense' -q short")

    assert (done.returncode, done.stderr) == (255, "bjobs: Unknown field name: nonsense.\n")


def test_jobs_are_chosen_by_name_queue_and_state(site: Site) -> None:
    held = site.submit("bsub -H -P proj -J 'sel-abc' true")

    assert site("bjobs -noheader -o jobid -J 'sel*' -q normal -u all -P proj -s") == f"{held}\n"
    assert site("bjobs -noheader -o 'jobid stat' -aJ '*-abc*'") == f"{held} PSUSP\n"
    none = site.run("bjobs -J 'sel*' -q short")
    assert (none.returncode, none.stderr) == (0, "Job <sel*> is not found\n")
    assert site("bkill -J sel-abc") == f"Job <{held}> is being terminated\n"


def test_history_outlives_what_bjobs_shows(site: Site) -> None:
    id = site.submit("bsub -J past exit 2")
    site.end(id)

    full = site(f"bhist -l -n 0 {id}").replace("\n" + " " * 21, "")
    assert f"Job <{id}>, Job Name <past>, User <" in full
    assert "Exited with exit code 2." in full
    assert "Completed <exit>." in full
    assert "Total number of exited jobs:     1" in site(f"bacct {id}")


def test_the_configuration_is_where_clients_look(site: Site) -> None:
    shown = dict(line.strip().split(" = ") for line in site("badmin showconf mbd").splitlines()[1:])
    name = site("lsclusters").splitlines()[1].split()[0]

    params = Path(shown["LSF_CONFDIR"], "lsbatch", name, "configdir", "lsb.params").read_text()
    assert "DEFAULT_PROJECT = default\n" in params
    conf = Path(site("printf %s $LSF_ENVDIR"), "lsf.conf").read_text()
    assert "LSF_UNIT_FOR_LIMITS=MB\n" in conf
    assert re.search(r"^IBM Spectrum LSF Standard 10\.1", site("lsid"))
    assert "DEFAULT_QUEUE = normal" in site("bparams -a")


def test_what_is_asked_of_one_queue_or_host_only_is_answered_so(site: Site) -> None:
    assert [line.split()[0] for line in site("bqueues -w").splitlines()] == [
        *("QUEUE_NAME", "normal", "short"),
    ]
    assert "RUNLIMIT" in site("bqueues -l short")
    assert site("bqueues -noheader -o 'queue_name status' short") == "short Open:Active\n"
    assert site("bhosts -o 'max rsv delimiter=\",\"'") == "MAX,RSV\n4,0\n"
    assert site.run("bhosts -o nonsense").stderr == "bhosts: Unknown field name: nonsense.\n"
    assert site.run("bqueues none").stderr == "none: No such queue\n"
    assert site.run("bsub -q none true").stderr == "none: No such queue. Job not submitted.\n"
    assert site("bhosts -w").splitlines()[1].split()[1:4] == ["ok", "-", "4"]
    assert site.run("bhosts elsewhere").returncode == 255


def test_a_job_that_waits_can_be_modified(site: Site) -> None:
    id = site.submit("bsub -H -J before true")

    assert site(f"bmod -J after -W 5 {id}") == f"Job <{id}> is being modified\n"

    assert site(f"bjobs -noheader -o 'job_name runtimelimit' {id}") == "after 5.0\n"
    assert "cannot be changed" in site.run(f"bmod -n 2 {id}").stderr
    site(f"bkill {id}")


def test_our_own_dialect_works_against_it(site: Site) -> None:
    (site.cwd / "own.py").write_text(OWN)

    assert site(f"{shlex.quote(sys.executable)} own.py") == "lsf\n"
