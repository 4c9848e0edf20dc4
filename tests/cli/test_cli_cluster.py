"""The verbs on the jobs of a cluster: the same as on those of this machine."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from fake_cluster import Site, Words, write_record

from cluster import queue, schedulers
from cluster.cli import cancel, hold, list, logs, release, requeue, show, wait
from cluster.cli.common import get_client
from cluster.cli.doctor import scheduler_finding
from cluster.job import Job, make_job
from cluster.registry import Registry
from cluster.schedulers import Probe
from cluster.schedulers._endings import Policy
from cluster.schedulers.command import CommandScheduler


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    site = Site()
    scheduler = CommandScheduler(
        Words(),
        registry=Registry("slurm", str(tmp_path / "registry")),
        policy=Policy(shortest_s=0.02, longest_s=0.1, grace_s=1000.0),
        programs=site,
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLUSTER_QTYPE", "slurm")
    monkeypatch.setattr(schedulers, "get", lambda qtype: scheduler)
    vars(queue).pop("MODE", None)
    return site


def run(verb: Any, *words: str) -> tuple[int, str]:
    command: click.Command = verb.command
    done = CliRunner().invoke(command, words, standalone_mode=False)
    assert done.exception is None, done.exception
    return int(done.return_value or 0), done.output


def job(name: str = "sim") -> Job:
    return make_job("echo hi", name=name).submit()


def finish(site: Site, job: Job, code: int = 0) -> None:
    assert job.id is not None
    base = job.submission.file_name.removesuffix(".sbatch")
    Path(f"{base}.out").write_text(f"out of {job.name}\n")
    Path(f"{base}.err").write_text("")
    write_record(f"{base}.exit", job.id, code)
    site.leave(job.id)


def test_list_shows_what_waits_and_with_all_what_ended(site: Site) -> None:
    finish(site, job("done"))
    job("waits")

    assert [line.split()[:3] for line in run(list)[1].splitlines()[1:]] == [
        ["18", "waits", "PENDING"]
    ]
    assert "done" in run(list, "--all")[1]
    assert [row["id"] for row in json.loads(run(list, "--name", "wai*", "--json")[1])] == ["18"]


def test_show_tells_what_was_submitted(site: Site, tmp_path: Path) -> None:
    job()

    code, text = run(show, "17")

    assert code == 0
    for part in ("17  sim", "PENDING", "echo hi", str(tmp_path), "sim.cluster.out"):
        assert part in text


def test_wait_tells_how_jobs_ended(site: Site) -> None:
    finish(site, job("good"))
    finish(site, job("bad"), code=3)

    assert run(wait, "17") == (0, "17 good COMPLETED\n")
    assert run(wait, "18") == (1, "18 bad FAILED: exit code 3\n")


def test_logs_prints_what_a_job_wrote(site: Site) -> None:
    finish(site, job())

    assert run(logs, "17") == (0, "out of sim\n")


def test_logs_follows_a_job_and_prints_each_byte_once(site: Site) -> None:
    mine = job()
    out = Path(mine.submission.file_name.removesuffix(".sbatch") + ".out")
    out.write_text("out of ")
    site.say("17", "RUNNING", started=5.0)
    threading.Timer(0.3, finish, (site, mine)).start()

    assert run(logs, "--follow", "17") == (0, "out of sim\n")


def test_verbs_reach_the_scheduler(site: Site) -> None:
    job()

    assert run(hold, "17") == (0, "17: held\n")
    assert run(release, "17") == (0, "17: released\n")
    assert run(requeue, "17") == (0, "17: requeued\n")
    assert run(cancel, "17") == (0, "17: cancelled\n")
    assert [argv[1] for argv in site.argvs if argv[0] == "act"] == [
        "hold", "release", "requeue", "cancel",
    ]  # fmt: skip


def test_all_that_wait_are_cancelled(site: Site) -> None:
    job("a")
    job("b")

    assert run(cancel, "--all")[1] == "17: cancelled\n18: cancelled\n"
    assert site.queue == {}


def test_an_id_that_nobody_knows_is_not_there(site: Site) -> None:
    assert run(show, "99")[0] != 0


def test_a_job_that_was_not_submitted_from_here_is_shown_too(site: Site) -> None:
    site.say("99", "RUNNING")

    assert "label" in run(show, "99")[1]
    assert get_client().describe("99").argv == ()


@pytest.mark.parametrize(
    ("probe", "found"),
    [
        (Probe("slurm", "/bin/sbatch", "22.05", ""), "22.05, /bin/sbatch"),
        (Probe("lsf", "", "", ""), "not here"),
        (Probe("sge", "/bin/qsub", "", "timeout"), "/bin/qsub is there, nobody answers: timeout"),
    ],
)
def test_the_doctor_tells_what_was_found_of_each_scheduler(probe: Probe, found: str) -> None:
    assert scheduler_finding(probe)[:2] == (probe.qtype, found)
