"""Jobs from the command line: queue them, look at them, steer them, read what they wrote."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cluster.local.wire import JobInfo

if TYPE_CHECKING:
    from tests.cli.conftest import Cli

pytestmark = pytest.mark.slow

# ---------------------------------------------------------------- submit, wait


def test_submit_prints_the_id_alone_and_wait_exits_with_0_when_it_completed(cli: Cli) -> None:
    submitted = cli("submit", "--", "true")

    assert (submitted.returncode, submitted.stdout, submitted.stderr) == (0, "1\n", "")
    waited = cli("wait", "1")
    assert (waited.returncode, waited.stdout) == (0, "1 true COMPLETED\n")


def test_wait_exits_with_1_and_says_why_when_a_job_failed(cli: Cli) -> None:
    cli("submit", "-n", "bad", "--bash", "exit 3")

    waited = cli("wait", "1")

    assert (waited.returncode, waited.stdout) == (1, "1 bad FAILED: exit code 3\n")


def test_wait_exits_with_124_after_its_timeout_and_leaves_the_job_alone(cli: Cli) -> None:
    cli("submit", "sleep", "60")

    waited = cli("wait", "1", "--timeout", "0.1s")

    assert waited.returncode == 124
    assert "1" in waited.stderr
    assert cli.state_of("1") in ("RUNNING", "PENDING")


def test_arguments_reach_the_job_verbatim_and_no_shell(cli: Cli, tmp_path: Path) -> None:
    words = ["$(touch evil)", "a b", "-x", "--", "*", "`id`", "'\"", ""]

    ran = cli("run", "--", "printf", "<%s>\n", *words)

    assert ran.stdout == "".join(f"<{word}>\n" for word in words)
    assert not (tmp_path / "evil").exists()


def test_options_after_the_command_belong_to_the_command(cli: Cli) -> None:
    assert cli("run", "echo", "-n", "x", "--json").stdout == "x --json"


def test_every_option_of_submit_reaches_the_queue(cli: Cli, tmp_path: Path) -> None:
    cli("submit", "--hold", "true")
    (tmp_path / "sub").mkdir()

    done = cli(
        "submit", "-n", "full", "-c", "2", "-m", "1G", "-t", "1h", "--expect", "5m", "-d",
        "afterany:1", "--priority", "7", "--retries", "2", "--cwd", "sub", "-e", "A=b=c",
        "-o", "comment=hello there", "--begin", "1h", "--on-unsatisfiable", "pend",
        "--outfile", "o", "--errfile", "e", "--json", "--", "true",
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    (job,) = json.loads(done.stdout)
    wanted = {
        "name": "full", "cores": 2, "memory_mib": 1024, "walltime_s": 3600.0, "expect_s": 300.0,
        "priority": 7, "dependencies": ["afterany:1"], "comment": "hello there",
        "state": "PENDING",
    }  # fmt: skip
    assert {key: job[key] for key in wanted} == wanted
    assert 3500 < job["begin"] - time.time() < 3601
    (shown,) = json.loads(cli("show", job["id"], "--json").stdout)
    assert shown["launch"]["cwd"] == str(tmp_path / "sub")
    assert shown["launch"]["env_set"] == ["A"]


def test_a_dry_run_prints_the_command_and_queues_nothing(cli: Cli) -> None:
    dry = cli("submit", "--dry-run", "echo", "hello")

    assert dry.returncode == 0
    assert "echo hello" in dry.stdout
    assert json.loads(cli("list", "--all", "--json").stdout) == []


def test_an_array_is_one_line_that_counts_its_elements(cli: Cli) -> None:
    cli("submit", "--hold", "-n", "many", "-a", "1-5%2", "true")

    assert "5 held" in cli("list").stdout
    elements = cli("list", "--elements", "--no-header", "--columns", "id,name,state").stdout
    assert elements.splitlines() == [f"1_{i}  many  HELD" for i in range(1, 6)]


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["-t", "90", "true"], 2, "no unit"),
        (["-m", "lots", "true"], 2, "lots"),
        (["-c", "many", "true"], 2, "many"),
        (["-c", "4096", "true"], 1, "4096"),
        (["-o", "memm=1", "true"], 2, "did you mean mem"),
        (["-d", "99", "true"], 3, "99"),
        (["-d", "soon:1", "true"], 2, "soon"),
        (["-n", "a\nb", "true"], 2, "newline"),
        (["--cwd", "/does/not/exist", "true"], 2, "/does/not/exist"),
        (["--profile", "nope", "true"], 3, "nope"),
        ([], 2, "No command"),
    ],
)
def test_bad_input_is_one_sentence_and_queues_nothing(
    cli: Cli, args: list[str], code: int, said: str
) -> None:
    done = cli("submit", *args)

    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert json.loads(cli("list", "--all", "--json").stdout) == []
    assert done.returncode == code


def test_defaults_of_a_command_hold_unless_the_line_or_its_profile_says_otherwise(
    cli: Cli,
) -> None:
    cli("config", "set", "command submit.priority", "3")
    cli("profile", "add", "urgent", "prio=9")

    def priority(*args: str) -> int:
        done = cli("submit", "--hold", "--json", *args, "true")
        return int(json.loads(done.stdout)[0]["priority"])

    assert [priority(), priority("--priority", "5"), priority("--profile", "urgent")] == [3, 5, 9]


# ---------------------------------------------------------------- list, show


def test_list_shows_what_waits_or_runs_and_all_shows_what_ended_too(cli: Cli) -> None:
    cli("run", "-n", "past", "true")
    cli("submit", "--hold", "-n", "future", "true")

    assert "past" not in cli("list").stdout
    assert "future" in cli("list").stdout
    assert [n in cli("list", "--all").stdout for n in ("past", "future")] == [True, True]
    assert "future" not in cli("list", "--state", "completed").stdout
    assert "future" not in cli("list", "--name", "pa*", "--all").stdout


def test_json_has_the_fields_of_a_job_always_all_of_them(cli: Cli) -> None:
    cli("submit", "--hold", "true")

    (job,) = json.loads(cli("list", "--json").stdout)

    assert tuple(job) == JobInfo.__struct_fields__


def test_a_name_with_an_escape_sequence_cannot_reach_the_terminal(cli: Cli) -> None:
    cli("submit", "--hold", "-n", "a\x1b[2Jb", "true")

    texts = [cli("list").stdout, cli("show", "1").stdout, cli("cancel", "1").stdout]

    assert not any("\x1b" in text for text in texts)
    assert "a\\x1b[2Jb" in texts[0]


def test_show_says_why_a_job_waits(cli: Cli) -> None:
    cli("submit", "--hold", "true")
    cli("submit", "-d", "1", "true")

    held, dependent = cli("show", "1").stdout, cli("show", "2").stdout

    assert "cluster release 1" in held
    assert "why is it waiting" in dependent
    assert "waits for" in dependent
    assert "1" in dependent.partition("why is it waiting")[2].splitlines()[0]


def test_an_unknown_id_is_said_and_exits_with_3(cli: Cli) -> None:
    codes = {
        verb: cli(verb, "99") for verb in ("show", "cancel", "hold", "release", "wait", "logs")
    }

    assert {verb: done.returncode for verb, done in codes.items()} == dict.fromkeys(codes, 3)
    assert all("no job 99" in done.stderr for done in codes.values())


# ---------------------------------------------------------------- steering


def test_a_held_job_starts_when_released(cli: Cli) -> None:
    cli("submit", "--hold", "true")

    assert cli("release", "1").stdout == "1: released\n"
    assert cli("wait", "1").returncode == 0


def test_a_waiting_job_can_be_held(cli: Cli) -> None:
    cli("local", "pause")
    cli("submit", "true")

    assert cli("hold", "1").stdout == "1: held\n"
    assert cli.state_of("1") == "HELD"


def test_holding_a_job_that_has_ended_exits_with_1(cli: Cli) -> None:
    cli("run", "true")

    assert cli("hold", "1").returncode == 1


def test_cancel_ends_by_id_by_name_and_all(cli: Cli) -> None:
    for name in ("a1", "a2", "b1", "c1"):
        cli("submit", "-n", name, "sleep", "60")

    assert cli("cancel", "4").stdout == "4: cancelled\n"
    assert cli("cancel", "--name", "a*").stdout == "1: cancelled\n2: cancelled\n"
    assert cli("cancel", "--all").stdout == "3: cancelled\n"
    assert cli("cancel", "--all").stdout == "No such job waits or runs.\n"
    assert cli("cancel", "4").returncode == 0


def test_cancel_without_saying_which_is_refused(cli: Cli) -> None:
    assert cli("cancel").returncode == 2
    assert cli("cancel", "1", "--all").returncode == 2


def test_a_signal_reaches_the_job(cli: Cli, tmp_path: Path) -> None:
    cli("submit", "--bash", "trap 'exit 7' USR1; touch ready; while :; do sleep 0.02; done")
    cli.until((tmp_path / "ready").exists)

    assert cli("signal", "USR1", "1").returncode == 0
    assert cli("wait", "1").stdout.endswith("FAILED: exit code 7\n")


def test_a_requeued_job_runs_again_under_its_id(cli: Cli, tmp_path: Path) -> None:
    cli("submit", "--bash", "echo x >> runs; [ $(wc -l < runs) = 2 ] || sleep 60")
    cli.until((tmp_path / "runs").exists)

    assert cli("requeue", "1").returncode == 0
    assert cli("wait", "1").returncode == 0
    assert (tmp_path / "runs").read_text() == "x\nx\n"


# ---------------------------------------------------------------- logs


def test_logs_prints_what_an_ended_job_wrote(cli: Cli) -> None:
    cli("run", "--bash", "seq 5; echo oops >&2")

    assert cli("logs", "1").stdout == "1\n2\n3\n4\n5\n"
    assert cli("logs", "-n", "2", "1").stdout == "4\n5\n"
    assert cli("logs", "-e", "1").stdout == "oops\n"


def test_logs_of_a_large_output_is_whole(cli: Cli) -> None:
    cli("run", "--bash", "seq 200000 > /dev/stderr")

    assert cli("logs", "-e", "1").stdout == "".join(f"{i}\n" for i in range(1, 200001))


def test_logs_follows_a_running_job_to_its_end(cli: Cli, tmp_path: Path) -> None:
    cli("submit", "--bash", "echo first; until [ -e go ]; do sleep 0.02; done; echo last")

    with cli.start("logs", "-f", "1") as follower:
        assert follower.stdout is not None
        assert follower.stdout.readline() == "first\n"  # while it runs
        assert cli("logs", "1").stdout == "first\n"
        (tmp_path / "go").touch()
        assert follower.stdout.read() == "last\n"
    assert follower.returncode == 0


def test_logs_reads_the_file_that_the_user_named(cli: Cli, tmp_path: Path) -> None:
    cli("submit", "--outfile", "out.txt", "echo", "hi")
    cli("wait", "1")

    assert (tmp_path / "out.txt").read_text() == "hi\n"
    assert cli("logs", "1").stdout == "hi\n"
