"""`cluster run`: its output and its exit code are those of the command."""

from __future__ import annotations

import json
import os
import shlex
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cluster.cli.run import Patience, job_code
from cluster.local.wire import JobInfo

if TYPE_CHECKING:
    from tests.cli.conftest import Cli

slow = pytest.mark.slow


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"state": "COMPLETED", "exitcode": 0}, 0),
        ({"state": "FAILED", "exitcode": 3}, 3),
        ({"state": "FAILED", "signal": 11}, 139),
        ({"state": "CANCELLED", "signal": 15}, 143),
        ({"state": "CANCELLED"}, 125),
        ({"state": "TIMEOUT", "signal": 15}, 124),
        ({"state": "OUT_OF_MEMORY", "signal": 9}, 137),
        ({"state": "NODE_FAIL"}, 125),
        ({"state": "LOST"}, 125),
    ],
)
def test_the_exit_code_tells_how_the_job_ended(given: dict[str, object], code: int) -> None:
    assert job_code(JobInfo(**{"id": "1", "name": "x", **given})) == code  # type: ignore[arg-type]


@slow
def test_stdout_and_stderr_and_the_code_are_those_of_the_command(cli: Cli) -> None:
    ran = cli("run", "--bash", "echo out; echo err >&2; exit 3")

    assert (ran.stdout, ran.stderr, ran.returncode) == ("out\n", "err\n", 3)


@slow
def test_a_job_that_waits_is_said_to_and_for_what(cli: Cli, tmp_path: Path) -> None:
    cli("local", "set", "cores=1")
    log = tmp_path / "stderr"
    log.touch()

    with cli.start_program("sh", "-c", f"exec {shlex.join(cli.argv)} run -vc2 true 2>stderr"):
        try:
            cli.until(lambda: "waits" in log.read_text())
        finally:
            cli("local", "set", "cores=2")

    said = log.read_text().splitlines()
    assert said[0] == "cluster: job 1"
    assert said[1].startswith("cluster: job 1 waits: Resources: needs 2 cores")


@pytest.mark.parametrize(
    ("verbose", "is_terminal", "state", "said"),
    [
        (False, True, "PENDING", "cluster: job 1 waits: no room\n"),
        (True, False, "PENDING", "cluster: job 1 waits: no room\n"),
        (False, False, "PENDING", ""),
        (True, True, "RUNNING", ""),
    ],
)
def test_waiting_is_said_once_where_somebody_looks(
    verbose: bool,
    is_terminal: bool,
    state: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("cluster.cli.run.SAID_AFTER_S", 0.0)
    monkeypatch.setattr("sys.stderr.isatty", lambda: is_terminal)
    patience = Patience(verbose=verbose)

    for _ in range(3):
        patience(JobInfo(id="1", name="x", state=state, reason="no room"))

    assert capsys.readouterr().err == said


@slow
def test_a_command_that_a_signal_ended_gives_128_and_its_number(cli: Cli) -> None:
    assert cli("run", "--bash", "kill -KILL $$").returncode == 137


@slow
def test_output_comes_while_the_command_runs(cli: Cli, tmp_path: Path) -> None:
    text = "echo first; until [ -e go ]; do sleep 0.02; done; echo last"
    with cli.start("run", "--bash", text) as runner:
        assert runner.stdout is not None
        assert runner.stdout.readline() == "first\n"
        (tmp_path / "go").touch()
        assert runner.stdout.read() == "last\n"
    assert runner.returncode == 0


@slow
def test_bytes_that_are_no_text_come_through(cli: Cli) -> None:
    ran = cli.program(*cli.argv, "run", "printf", r"\xff\x00\n", text=False)

    assert ran.stdout == b"\xff\x00\n"


@slow
def test_a_time_limit_gives_124_and_says_so(cli: Cli) -> None:
    ran = cli("run", "-t", "0.2s", "sleep", "60")

    assert ran.returncode == 124
    assert "job 1 is TIMEOUT" in ran.stderr


@slow
def test_a_missing_program_is_a_mistake_of_the_command_line(cli: Cli) -> None:
    ran = cli("run", "no-such-program")

    assert ran.returncode == 2
    assert "no-such-program" in ran.stderr
    assert "Traceback" not in ran.stderr


@slow
def test_more_cores_than_the_machine_has_are_refused(cli: Cli) -> None:
    ran = cli("run", "-c", "4096", "true")

    assert ran.returncode == 125
    assert "4096" in ran.stderr


@slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_cancels_the_job_and_waits_until_it_is_gone(
    cli: Cli, tmp_path: Path, number: int, code: int
) -> None:
    text = "echo $$ > pid; trap 'echo bye; exit 1' TERM; while :; do sleep 0.02; done"
    with cli.start("run", "--bash", text) as runner:
        cli.until(lambda: (tmp_path / "pid").exists() and bool((tmp_path / "pid").read_text()))

        os.kill(runner.pid, number)

        assert runner.stdout is not None
        assert runner.stdout.read() == "bye\n"
    assert runner.returncode == code
    assert cli.state_of("1") == "CANCELLED"
    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()


@slow
def test_a_closed_terminal_leaves_the_job_alone(cli: Cli, tmp_path: Path) -> None:
    text = "touch started; until [ -e go ]; do sleep 0.02; done"
    with cli.start("run", "--bash", text) as runner:
        cli.until((tmp_path / "started").exists)
        os.kill(runner.pid, signal.SIGHUP)

    assert runner.returncode == -signal.SIGHUP
    assert cli.state_of("1") == "RUNNING"
    (tmp_path / "go").touch()
    assert cli("wait", "1").returncode == 0


@slow
def test_a_reader_that_left_ends_the_job_quietly(cli: Cli) -> None:
    script = '"$@" | head -1; echo ${PIPESTATUS[0]}'

    done = cli.program("bash", "-c", script, "-", *cli.argv, "run", "yes")

    assert (done.stdout, done.stderr) == ("y\n141\n", "")
    assert cli.state_of("1") == "CANCELLED"


@slow
def test_the_last_attempt_is_the_one_whose_output_counts(cli: Cli) -> None:
    ran = cli("run", "--retries", "1", "--bash", "echo x >> runs; wc -l < runs; exit 4")

    assert ran.stdout.splitlines()[-1] == "2"
    assert ran.returncode == 4
    assert json.loads(cli("show", "1", "--json").stdout)[0]["attempt"] == 2
