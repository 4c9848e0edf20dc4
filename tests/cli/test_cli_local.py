"""`cluster local`, `cluster doctor`, my-queue and monitor-jobs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from cluster.cli import doctor, local
from cluster.errors import OptionsError

if TYPE_CHECKING:
    from tests.cli.conftest import Cli

slow = pytest.mark.slow
ROOT = Path(__file__).parents[2]

STATUS = {
    "pid": 7, "node_pid": 8, "version": "1.0", "uptime_s": 90.0, "paused": True, "clients": 1,
    "capacity": {"cores": 2, "memory_mib": 4096, "gpus": 0, "license": 3},
    "free": {"cores": 1, "memory_mib": 4096, "gpus": 0, "license": 3},
    "counts": {"RUNNING": 1, "PENDING": 2}, "store_bytes": 1 << 20, "state_dir": "/s",
}  # fmt: skip


# ---------------------------------------------------------------- pure


def test_capacity_is_read_with_units_for_memory() -> None:
    assert local.read_capacity(("cores=1", "memory=4G", "license=3")) == {
        "cores": 1, "memory_mib": 4096, "license": 3,
    }  # fmt: skip


@pytest.mark.parametrize("text", ["cores=0", "cores", "cores=x", "memory=4", "cores=-1"])
def test_a_capacity_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(OptionsError):
        local.read_capacity((text,))


def test_amounts_leave_out_what_there_is_none_of() -> None:
    assert local.amounts({"cores": 1, "memory_mib": 2048, "gpus": 0, "license": 3}) == (
        "1 core, 2G memory, 3 license"
    )


def test_the_status_tells_of_a_paused_queue_how_to_go_on() -> None:
    text = "\n".join(local.status_lines(STATUS, now=1e9))

    assert "cluster local resume" in text
    assert "2 pending, 1 running" in text


def test_the_doctor_finds_an_older_server_and_a_paused_queue() -> None:
    problems = [f.problem for f in doctor.server_findings(STATUS, "1.1") if f.problem]

    assert len(problems) == 2
    assert "1.0" in problems[0]
    assert "cluster local resume" in problems[1]


# ---------------------------------------------------------------- processes


@slow
def test_looking_starts_no_server_and_start_does(cli: Cli, state_dir: Path) -> None:
    assert cli("local", "status").returncode == 3
    assert json.loads(cli("local", "status", "--json").stdout) == {"running": False}
    assert cli("local", "stop").returncode == 0
    assert cli("doctor").returncode == 0
    assert not (state_dir / "queue.db").exists()

    pid = json.loads(cli("local", "start", "--json").stdout)["pid"]

    assert psutil.pid_exists(pid)
    assert json.loads(cli("local", "status", "--json").stdout)["pid"] == pid
    assert f"pid {pid}" in cli("local", "status").stdout


@slow
def test_stop_ends_the_server(cli: Cli) -> None:
    server = psutil.Process(json.loads(cli("local", "start", "--json").stdout)["pid"])

    assert cli("local", "stop").stdout == "Stopped.\n"

    server.wait(10)
    assert cli("local", "status").returncode == 3


@slow
def test_stop_asks_while_jobs_run_and_they_go_on(cli: Cli) -> None:
    cli("submit", "--bash", "until [ -e go ]; do sleep 0.02; done")
    cli.until(lambda: cli.state_of("1") == "RUNNING")

    assert cli("local", "stop").returncode == 2
    assert cli.state_of("1") == "RUNNING"
    assert cli("local", "stop", "--yes").returncode == 0
    assert cli.state_of("1") == "RUNNING"  # a new server found it again
    (cli.cwd / "go").touch()
    assert cli("wait", "1").returncode == 0


@slow
def test_stop_now_ends_the_running_jobs_too(cli: Cli) -> None:
    cli("submit", "sleep", "60")
    cli.until(lambda: cli.state_of("1") == "RUNNING")
    (job,) = json.loads(cli("show", "1", "--json").stdout)
    process = psutil.Process(job["pid"])

    assert cli("local", "stop", "--now", "--yes").returncode == 0

    process.wait(10)


@slow
def test_capacity_can_be_changed_and_a_paused_queue_starts_nothing(cli: Cli) -> None:
    assert cli("local", "set", "cores=1", "memory=512M").stdout == (
        "The queue may use 1 core, 512M memory.\n"
    )
    cli("local", "pause")
    cli("submit", "true")
    assert cli.state_of("1") == "PENDING"
    assert "paused" in cli("local", "status").stdout

    cli("local", "resume")

    assert cli("wait", "1").returncode == 0


@slow
def test_an_unknown_resource_is_refused_in_a_sentence(cli: Cli) -> None:
    done = cli("local", "set", "unicorns=1")

    assert done.returncode == 2
    assert "unicorns" in done.stderr


@slow
def test_the_doctor_tells_what_there_is(cli: Cli) -> None:
    cli("local", "start")

    found = json.loads(cli("doctor", "--json").stdout)

    assert found["problems"] == []
    assert {"python", "cores", "memory", "memory limits", "state directory", "server"} <= set(
        found["found"]
    )


# ---------------------------------------------------------------- scripts


def script(cli: Cli, name: str, *args: str) -> tuple[int, str]:
    done = cli.program(sys.executable, str(ROOT / "bin" / name), *args)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout


@slow
def test_my_queue_counts_and_lists_what_runs_and_what_waits(cli: Cli) -> None:
    cli("submit", "sleep", "60")
    cli("submit", "--hold", "-n", "later", "true")
    cli("run", "true")
    cli.until(lambda: cli.state_of("1") == "RUNNING")

    assert script(cli, "my-queue", "-c") == (0, "2\n")
    assert script(cli, "my-queue", "-r", "-l") == (0, "1\n")
    assert script(cli, "my-queue", "-q", "-l") == (0, "2\n")
    assert "later" in script(cli, "my-queue")[1]
    assert script(cli, "my-queue", "-r", "-q")[0] == 2


@slow
def test_monitor_jobs_waits_and_tells_by_its_code_whether_all_completed(cli: Cli) -> None:
    cli("submit", "-n", "good", "--bash", "until [ -e go ]; do sleep 0.02; done")
    with cli.start_program(sys.executable, str(ROOT / "bin" / "monitor-jobs"), "-v") as monitor:
        assert monitor.stdout is not None
        assert monitor.stdout.readline() == "waiting for 1 jobs: 1\n"
        (cli.cwd / "go").touch()
        assert monitor.stdout.read() == "1 good COMPLETED\n"
    assert monitor.returncode == 0

    cli("submit", "-n", "bad", "false")
    cli("wait", "2")

    assert script(cli, "monitor-jobs", "-j", "1,2") == (1, "2 bad FAILED: exit code 1\n")
    assert script(cli, "monitor-jobs", "-j", "2", "-q") == (1, "")
    assert script(cli, "monitor-jobs") == (0, "")
