"""The commands of the emulated OpenPBS and Torque, over a queue that runs their jobs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

import cluster
from cluster.emulation.machine import Machine
from cluster.emulation.pbs import tmpdirs

LIMIT_S = 60.0
STRICT = {"CLUSTER_EMULATION": '{"strict": true}'}


class Site:
    """A private cluster of one flavour, with a directory to submit from."""

    def __init__(self, family: str, env: dict[str, str], place: Path) -> None:
        self.family, self.cwd, self.home = family, place / "work", place / "home"
        self.cwd.mkdir()
        self.home.mkdir()
        self.env = {**env, "HOME": str(self.home), "SHELL": "/bin/bash", "SECRET": "submitter's"}
        self.env.pop("PWD", None)

    def run(self, *argv: str, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            argv, input=stdin, cwd=self.cwd, env=self.env | env, capture_output=True, text=True,
            timeout=LIMIT_S, check=False,
        )  # fmt: skip

    def ok(self, *argv: str, stdin: str = "", **env: str) -> str:
        done = self.run(*argv, stdin=stdin, **env)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def qsub(self, *options: str, script: str = "") -> str:
        return self.ok("qsub", *options, stdin=script).strip()

    def attributes(self, id: str, *options: str) -> dict[str, str]:
        """Give what the history says of a job."""
        history = ("-x",) if self.family == "pbs" else ()
        text = self.ok("qstat", *history, *options, "-f", id).replace("\n\t", "")
        return dict(re.findall(r"^    ([\w.]+) = (.*)$", text, re.MULTILINE))

    def until(self, condition: Callable[[], object]) -> None:
        end = time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < end
            time.sleep(0.02)

    def ended(self, id: str) -> dict[str, str]:
        """Wait for a job; give its attributes."""
        self.until(lambda: self.attributes(id)["job_state"] in "FCX")
        return self.attributes(id)

    def running(self, id: str) -> None:
        self.until(lambda: self.attributes(id)["job_state"] == "R")

    def read(self, name: str) -> str:
        return (self.cwd / name).read_text()


@pytest.fixture(scope="module", params=["pbs", "torque"])
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """Each test here is true of both."""
    yield from make(request.param)


@pytest.fixture(scope="module")
def pbs() -> Iterator[Site]:
    yield from make("pbs")


@pytest.fixture(scope="module")
def torque() -> Iterator[Site]:
    yield from make("torque")


def make(family: str) -> Iterator[Site]:
    place = Path(os.path.realpath(tempfile.mkdtemp(prefix="pbs-", dir="/tmp")))
    try:
        with cluster.emulate(family, private=True, cores=4) as env:
            yield Site(family, env, place)
    finally:
        shutil.rmtree(place)


# ---------------------------------------------------------------- what a job sees


def test_a_job_starts_at_home_with_the_variables_of_pbs(site: Site) -> None:
    script = 'pwd; echo "$PBS_JOBID $PBS_JOBNAME $PBS_O_WORKDIR $PBS_ENVIRONMENT $X"\n'

    id = site.qsub("-N", "sees", "-v", "X=a b", script=script)
    site.ended(id)

    number = id.partition(".")[0]
    assert site.read(f"sees.o{number}") == (
        f"{site.home}\n{id} sees {site.cwd} PBS_BATCH a b\n"
    )  # fmt: skip
    assert site.read(f"sees.e{number}") == ""


def test_the_environment_comes_along_only_if_asked(site: Site) -> None:
    plain = site.qsub("-N", "plain", script="echo ${SECRET-none}; qstat > /dev/null && echo asked")
    whole = site.qsub("-N", "whole", "-V", script="echo ${SECRET-none}")
    site.ended(plain)
    site.ended(whole)

    assert site.read(f"plain.o{plain.partition('.')[0]}") == "none\nasked\n"
    assert site.read(f"whole.o{whole.partition('.')[0]}") == "submitter's\n"


def test_nodes_and_a_directory_of_its_own_are_there_for_a_job(site: Site) -> None:
    words = ("-l", "nodes=1:ppn=3", "-N", "has")
    id = site.qsub(*words, script='wc -l < "$PBS_NODEFILE"; echo x > "$TMPDIR/x"; echo $TMPDIR')
    site.ended(id)

    lines, folder = site.read(f"has.o{id.partition('.')[0]}").split()
    assert lines == "3"
    assert folder.endswith(f"/pbs.{id}")


def test_the_temporary_directory_of_a_job_goes_after_it(site: Site) -> None:
    over = site.qsub(script="true")
    runs = site.qsub(script='touch "$TMPDIR/x"; sleep 60')
    site.ended(over)
    machine = Machine(site.env["CLUSTER_STATE_DIR"], site.family)
    folder = Path(tmpdirs.folder(machine))
    site.until((folder / f"pbs.{runs}" / "x").exists)

    tmpdirs.sweep(machine)

    assert [path.name for path in folder.iterdir() if path.name.endswith(runs)] == [f"pbs.{runs}"]
    assert not (folder / f"pbs.{over}").exists()
    site.ok("qdel", runs)


def test_a_script_runs_by_its_own_first_line(site: Site) -> None:
    (site.cwd / "script.py").write_text("#!/usr/bin/env python3\n#PBS -N snake\nprint(6 * 7)\n")

    id = site.qsub("script.py")
    site.ended(id)

    assert site.read(f"snake.o{id.partition('.')[0]}") == "42\n"


def test_the_script_is_taken_as_it_was_at_submission(site: Site) -> None:
    script = site.cwd / "goes.sh"
    script.write_text("echo first\n")
    id = site.qsub("-h", "goes.sh")
    script.unlink()

    site.ok("qrls", id)
    site.ended(id)

    assert site.read(f"goes.sh.o{id.partition('.')[0]}") == "first\n"


# ---------------------------------------------------------------- where it writes


def test_both_outputs_go_to_one_file(site: Site) -> None:
    id = site.qsub("-j", "oe", "-o", "host:both.log", script="echo a; echo b >&2")
    site.ended(id)

    assert site.read("both.log") == "a\nb\n"


def test_a_directory_gets_a_file_with_a_name_of_each_flavour(pbs: Site, torque: Site) -> None:
    for one in (pbs, torque):
        (one.cwd / "logs").mkdir()
    first = pbs.qsub("-o", "logs", "-e", "logs/", "-N", "into", script="echo x")
    second = torque.qsub("-o", "logs", "-e", "logs/", "-N", "into", script="echo x")
    pbs.ended(first)
    torque.ended(second)

    assert sorted(os.listdir(pbs.cwd / "logs")) == [f"{first}.ER", f"{first}.OU"]
    number = second.partition(".")[0]
    assert sorted(os.listdir(torque.cwd / "logs")) == [f"into.e{number}", f"into.o{number}"]


def test_a_directory_that_is_missing_costs_the_output_but_not_the_job(site: Site) -> None:
    id = site.qsub("-o", "absent/x", "-e", "absent/y", script="echo x; exit 4")

    assert site.ended(id).get("Exit_status", site.attributes(id).get("exit_status")) == "4"


def test_a_directory_made_before_the_job_starts_is_in_time(site: Site) -> None:
    id = site.qsub("-h", "-j", "oe", "-o", "late/x", script="echo x; echo y >&2")
    (site.cwd / "late").mkdir()

    site.ok("qrls", id)
    site.ended(id)

    assert site.read("late/x") == "x\ny\n"


def test_the_umask_is_the_one_that_was_asked_for(site: Site) -> None:
    id = site.qsub("-W", "umask=027", "-N", "mask", script="umask")
    site.ended(id)

    assert site.read(f"mask.o{id.partition('.')[0]}") == "0027\n"
    assert (site.cwd / f"mask.o{id.partition('.')[0]}").stat().st_mode & 0o777 == 0o640


# ---------------------------------------------------------------- how it ends


@pytest.mark.parametrize(
    ("script", "pro", "torque"),
    [("exit 3", "3", "3"), ("kill -9 $$", "265", "265"), ("sleep 60", "-29", "-11")],
)
def test_a_job_ends_with_the_status_of_its_flavour(
    site: Site, script: str, pro: str, torque: str
) -> None:
    id = site.qsub("-l", "walltime=1", script=script)
    told = site.ended(id)

    assert told.get("Exit_status", told.get("exit_status")) == (
        pro if site.family == "pbs" else torque
    )


def test_a_deleted_job_has_271(site: Site) -> None:
    id = site.qsub(script="sleep 60")
    site.running(id)

    assert site.ok("qdel", id) == ""

    told = site.ended(id)
    assert told.get("Exit_status", told.get("exit_status")) == "271"


def test_a_blocking_qsub_exits_as_its_job(site: Site) -> None:
    done = site.run("qsub", "-W", "block=true", stdin="exit 5")

    assert done.returncode == 5
    assert re.fullmatch(r"\d+\.\S+\n", done.stdout)


def test_what_is_over_cannot_be_deleted(pbs: Site, torque: Site) -> None:
    first, second = pbs.qsub(script="true"), torque.qsub(script="true")
    pbs.ended(first)
    torque.ended(second)

    done, other = pbs.run("qdel", first), torque.run("qdel", second)

    assert (done.returncode, done.stderr) == (35, f"qdel: Job has finished {first}\n")
    assert other.returncode == 170
    assert "COMPLETE" in other.stderr


# ---------------------------------------------------------------- dependencies


def test_a_successor_waits_and_then_runs(site: Site) -> None:
    first = site.qsub("-h", script="true")
    second = site.qsub("-W", f"depend=afterok:{first}", "-N", "second", script="echo ran")

    assert site.attributes(second)["job_state"] == "H"
    assert site.attributes(first)["depend"].startswith(f"beforeok:{second}@")

    site.ok("qrls", first)
    site.ended(second)
    assert site.read(f"second.o{second.partition('.')[0]}") == "ran\n"


def test_what_can_never_run_is_deleted(site: Site) -> None:
    first = site.qsub("-h", script="exit 1")
    second = site.qsub("-W", f"depend=afterok:{first}", "-N", "never", script="echo ran")
    third = site.qsub("-W", f"depend=afternotok:{first}", "-N", "since", script="echo ran")
    void = site.qsub("-W", "depend=afterok:999999", "-N", "void", script="echo ran")

    site.ok("qrls", first)
    told = site.ended(second)
    site.ended(third)

    assert "Exit_status" not in told
    assert "exec_host" not in told
    assert site.ended(void)["job_state"] in "FC"
    assert not list(site.cwd.glob("never.o*")) + list(site.cwd.glob("void.o*"))
    assert site.read(f"since.o{third.partition('.')[0]}") == "ran\n"


# ---------------------------------------------------------------- arrays


def test_an_array_of_openpbs(pbs: Site) -> None:
    id = pbs.qsub("-J", "1-5:2%1", "-N", "arr", script="echo $PBS_ARRAY_INDEX $PBS_JOBID; exit 2")
    number = id.partition("[")[0]
    told = pbs.ended(id)

    host = id.partition("].")[2]
    assert id == f"{number}[].{host}"
    assert told["array_indices_submitted"] == "1-5:2"
    assert told["max_run_subjobs"] == "1"
    assert told["Exit_status"] == "1"
    assert pbs.read(f"arr.o{number}.3") == f"3 {number}[3].{host}\n"
    assert pbs.attributes(f"{number}[5]")["Exit_status"] == "2"
    shown = pbs.ok("qstat", "-x", "-t", id)
    assert re.findall(r"^(\d+\[\d*\])", shown, re.MULTILINE) == [
        f"{number}[{index}]" for index in ("", 1, 3, 5)
    ]


def test_an_array_of_torque_may_have_any_indices(torque: Site) -> None:
    id = torque.qsub("-t", "1,3,7-8", "-N", "arr", script="echo $PBS_ARRAYID $PBS_JOBID")
    number, host = id.partition("[")[0], id.partition("].")[2]
    torque.ended(id)

    assert torque.read(f"arr.o{number}-7") == f"7 {number}[7].{host}\n"
    assert torque.read(f"arr.e{number}-7") == ""
    assert torque.attributes(f"{number}[8]")["Job_Name"] == "arr-8"
    shown = torque.ok("qstat", "-t", id)
    assert re.findall(r"^\d+\[(\d+)\]", shown, re.MULTILINE) == ["1", "3", "7", "8"]
    assert torque.run("qstat", f"{number}[2]").returncode == 153


def test_one_element_is_deleted_and_the_others_go_on(pbs: Site) -> None:
    id = pbs.qsub("-J", "1-2", script="sleep 60")
    element = id.replace("[]", "[1]")
    pbs.running(element)

    pbs.ok("qdel", element)

    assert pbs.ended(element)["Exit_status"] == "271"
    assert pbs.attributes(id)["job_state"] == "B"
    pbs.ok("qdel", id)
    assert pbs.ended(id)["substate"] == "91"


# ---------------------------------------------------------------- listing


def test_machine_readable_output_of_openpbs(pbs: Site) -> None:
    id = pbs.qsub("-v", "T=60", "-N", "json", script="exit 3")
    pbs.ended(id)

    told = json.loads(pbs.ok("qstat", "-x", "-f", "-F", "json", id))

    job = told["Jobs"][id]
    assert (job["Exit_status"], job["job_state"], job["Variable_List"]["T"]) == (3, "F", 60)
    assert "Jobs" not in json.loads(pbs.run("qstat", "-f", "-F", "json", id).stdout)
    nodes = json.loads(pbs.ok("pbsnodes", "-a", "-F", "json"))["nodes"]
    assert [node["resources_available"]["ncpus"] for node in nodes.values()] == [4]


def test_machine_readable_output_of_torque(torque: Site) -> None:
    id = torque.qsub("-N", "xml", script="exit 3")
    torque.ended(id)

    tree = ElementTree.fromstring(torque.ok("qstat", "-x", id))

    (job,) = tree.findall("Job")
    assert job.findtext("Job_Id") == id
    assert (job.findtext("job_state"), job.findtext("exit_status")) == ("C", "3")
    assert abs(float(job.findtext("comp_time", "0")) - time.time()) < LIMIT_S


def test_qselect_finds_jobs_by_what_they_are(site: Site) -> None:
    held = site.qsub("-h", "-N", "choose", "-l", "walltime=100", "-q", "other", script="true")

    for test in (
        ("-N", "choose"),
        ("-s", "H", "-q", "other"),
        ("-l", "walltime.gt.99", "-l", "walltime.lt.101"),
    ):
        assert held in site.ok("qselect", *test).split()
    assert held not in site.ok("qselect", "-s", "QR").split()
    assert held not in site.ok("qselect", "-u", "nobody-of-here").split()
    site.ok("qdel", held)


def test_queues_and_server_are_shown(site: Site) -> None:
    queue = "workq" if site.family == "pbs" else "batch"

    assert f"\n{queue} " in site.ok("qstat", "-Q")
    assert f"\n{queue} " in site.ok("qstat", "-q")
    assert f"default_queue = {queue}" in site.ok("qstat", "-Bf")
    assert "Active" in site.ok("qstat", "-B")


def test_qmgr_shows_the_server_and_sets_nothing(site: Site) -> None:
    done = site.run("qmgr", "-c", "set server scheduling = False")

    assert "scheduling = True" in site.ok("qmgr", "-c", "print server")
    assert "server_state = Active" in site.ok("qmgr", stdin="list server\n")
    assert done.returncode == 159
    assert "Unauthorized" in done.stderr


def test_the_version_tells_the_flavours_apart(pbs: Site, torque: Site) -> None:
    assert pbs.ok("qstat", "--version") == "pbs_version = 23.06.06\n"
    assert torque.run("qstat", "--version").stderr.startswith("Version: 6.")


# ---------------------------------------------------------------- steering


def test_a_held_job_waits_and_a_released_one_runs(site: Site) -> None:
    id = site.qsub("-h", script="true")
    site.ok("qhold", "-h", "o", id)

    site.ok("qrls", id)
    assert site.attributes(id)["Hold_Types"] == "o"
    assert site.attributes(id)["job_state"] == "H"

    site.ok("qrls", "-h", "o", id)
    site.ended(id)


def test_a_signal_reaches_the_job(site: Site) -> None:
    (site.cwd / "got").unlink(missing_ok=True)
    script = f"trap 'echo got > {site.cwd}/got; exit 0' USR1; touch {site.cwd}/set; sleep 60 & wait"
    (site.cwd / "set").unlink(missing_ok=True)
    id = site.qsub(script=script)
    site.until((site.cwd / "set").exists)

    assert site.run("qsig", "-s", "NOSUCH", id).stderr == (
        f"qsig: Unknown/illegal signal name {id}\n"
    )
    site.ok("qsig", "-s", "USR1", id)

    site.until((site.cwd / "got").exists)


def test_a_job_is_queued_again_and_keeps_its_id(site: Site) -> None:
    flag = site.cwd / "again"
    flag.unlink(missing_ok=True)
    id = site.qsub("-N", "again", script=f"[ -e {flag} ] && exit 0; touch {flag}; sleep 60")
    site.until(flag.exists)

    site.ok("qrerun", id)

    told = site.ended(id)
    assert told.get("Exit_status", told.get("exit_status")) == "0"


def test_a_waiting_job_is_changed_and_a_running_one_refuses(site: Site) -> None:
    waits, runs = site.qsub("-h", script="true"), site.qsub(script="sleep 60")
    site.running(runs)

    site.ok("qalter", "-N", "other", "-l", "walltime=2:00", "-p", "7", waits)
    site.ok("qmove", "elsewhere", waits)
    refused = site.run("qalter", "-l", "walltime=9", runs)

    told = site.attributes(waits)
    assert (told["Job_Name"], told["queue"], told["Priority"]) == ("other", "elsewhere", "7")
    assert told["Resource_List.walltime"] == "00:02:00"
    assert refused.returncode != 0
    assert "Cannot modify attribute while job running" in refused.stderr
    site.ok("qdel", waits, runs)


# ---------------------------------------------------------------- what is not there


def test_unknown_jobs_are_named(pbs: Site, torque: Site) -> None:
    for command in ("qstat", "qdel", "qhold", "qrls", "qsig", "qrerun"):
        done, other = pbs.run(command, "999999"), torque.run(command, "999999")
        assert done.returncode == other.returncode == 153
        assert done.stderr.startswith(f"{command}: Unknown Job Id 999999.")
        assert other.stderr.startswith(f"{command}: Unknown Job Id Error 999999.")


def test_options_of_the_other_flavour_are_done_with_a_warning(pbs: Site, torque: Site) -> None:
    there = pbs.run("qsub", "-d", ".", "-N", "there", stdin="pwd")
    pbs.ended(there.stdout.strip())

    assert "warning: OpenPBS has no option -d" in there.stderr
    assert pbs.read(f"there.o{there.stdout.partition('.')[0]}") == f"{pbs.cwd}\n"
    assert pbs.run("qsub", "-d", ".", "-h", stdin="pwd").stderr == "", "said once"
    told = torque.attributes(torque.qsub("-d", ".", "-h", script="pwd"))
    assert told["init_work_dir"] == str(torque.cwd)


def test_a_strict_cluster_refuses_what_the_real_one_does_not_know(pbs: Site, torque: Site) -> None:
    first = pbs.run("qsub", "-d", ".", **STRICT)
    second = torque.run("qsub", "-J", "1-2", **STRICT)
    third = torque.run("qsub", "-W", "stagein=a@b:c", **STRICT)

    assert (first.returncode, second.returncode, third.returncode) == (2, 2, 1)
    assert "invalid option -- 'd'" in first.stderr
    assert "invalid option -- 'J'" in second.stderr
    assert "stagein" in third.stderr


def test_too_large_a_request_runs_with_what_there_is_unless_strict(site: Site) -> None:
    id = site.qsub("-l", "nodes=2:ppn=50", "-N", "large", script='wc -l < "$PBS_NODEFILE"')
    site.ended(id)

    assert site.read(f"large.o{id.partition('.')[0]}") == "100\n"


def test_too_large_a_request_is_kept_by_openpbs_and_refused_by_torque(
    pbs: Site, torque: Site
) -> None:
    kept = pbs.run("qsub", "-l", "select=1:ncpus=50", stdin="true", **STRICT).stdout.strip()
    refused = torque.run("qsub", "-l", "nodes=1:ppn=50", stdin="true", **STRICT)

    told = pbs.attributes(kept)
    assert told["job_state"] == "Q"
    assert told["comment"].startswith(
        "Can Never Run: Insufficient amount of resource: ncpus (R: 50 "
    )
    assert (refused.stdout, refused.returncode) == ("", 15038 % 256)
    assert "cannot locate feasible nodes" in refused.stderr
    pbs.ok("qdel", kept)


def test_a_program_is_no_script(site: Site) -> None:
    assert "must be an ascii script" in site.run("qsub", "/bin/sh").stderr


def test_interactive_jobs_are_refused_with_the_next_step(site: Site) -> None:
    done = site.run("qsub", "-I")

    assert done.returncode == 1
    assert "Submit a script" in done.stderr
    assert site.run("qsub", "-I", "-l", "nodes=1", "top").stderr == done.stderr


def test_a_resource_of_another_site_is_kept_and_told_once_unless_strict(site: Site) -> None:
    done = site.run("qsub", "-l", "storage=gdata/a+gdata/b,mem=1gb", "-l", "wd", "-h", stdin="true")
    refused = site.run("qsub", "-l", "wd", stdin="true", **STRICT)

    told = site.attributes(done.stdout.strip())
    assert (told["Resource_List.storage"], told["Resource_List.wd"]) == ("gdata/a+gdata/b", "True")
    assert [line.split(":")[2] for line in done.stderr.splitlines()] == [" -l storage", " -l wd"]
    assert site.run("qsub", "-l", "wd", "-h", stdin="true").stderr == ""
    assert "Unknown resource" in refused.stderr


def test_tracejob_tells_a_job_with_the_switches_of_its_clients(site: Site) -> None:
    id = site.qsub(script="true")
    site.ended(id)

    assert f"Job: {id}" in site.ok("tracejob", "-v", "-n", "2", id)


def test_a_file_that_cannot_be_read_is_no_job(site: Site) -> None:
    done = site.run("qsub", "absent.sh")

    assert done.returncode == 1
    assert "No such file or directory" in done.stderr
