"""What a command leaves: codes, output of any size, the files its user named, and no others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from jobs_to_run import print_both
from scientist import DEADLINE_S, Cli

import cluster

pytestmark = pytest.mark.slow

BOTH = "echo out; echo err >&2; exit 3"


@pytest.mark.parametrize(
    ("command", "code", "signal", "state"),
    [
        ("exit 0", 0, None, "COMPLETED"),
        ("exit 3", 3, None, "FAILED"),
        ("exit 255", 255, None, "FAILED"),
        ("kill -9 $$", 137, 9, "FAILED"),
        ("kill -TERM $$", 143, 15, "FAILED"),
        ("exit 137", 137, 9, "FAILED"),  # no cluster could tell this from `kill -9`
        ("exit 192", 192, 64, "FAILED"),
        ("exit 193", 193, None, "FAILED"),
    ],
)
def test_get_gives_code_and_signal(
    here: Path, command: str, code: int, signal: int | None, state: str
) -> None:
    job = cluster.submit(command)

    result = job.get(timeout=DEADLINE_S)

    assert (result.exitcode, result.signal, result.stdout, result.stderr) == (code, signal, "", "")
    assert (job.state, job.exitcode) == (state, code)
    assert tuple(result) == (code, "", "")


def test_both_streams_are_kept_apart(here: Path) -> None:
    assert tuple(cluster.submit(BOTH).get(timeout=DEADLINE_S)) == (3, "out\n", "err\n")


def test_bytes_that_are_no_text_come_back_as_they_were(here: Path) -> None:
    result = cluster.submit(["printf", r"\377\000\200caf\351"]).get(timeout=DEADLINE_S)

    assert os.fsencode(result.stdout) == b"\xff\x00\x80caf\xe9"


@pytest.mark.parametrize("mib", [1, 50])
def test_large_output_comes_back_whole(here: Path, mib: int) -> None:
    size = mib << 20
    result = cluster.submit(f"head -c {size} /dev/zero | tr '\\0' x; echo end >&2").get(
        timeout=DEADLINE_S
    )

    assert (len(result.stdout), set(result.stdout), result.stderr) == (size, {"x"}, "end\n")


def test_output_at_the_edge_of_what_the_store_keeps(here: Path) -> None:
    for size in (256 * 1024 - 1, 256 * 1024, 256 * 1024 + 1):
        result = cluster.submit(f"head -c {size} /dev/zero").get(timeout=DEADLINE_S)
        assert len(result.stdout) == size


def test_a_command_run_many_times_never_shows_another_s_output(here: Path) -> None:
    jobs = [cluster.submit(["printf", "%s", "x" * n]) for n in (3000, 1, 2000, 0, 500, 20, 1000)]

    assert [len(job.get(timeout=DEADLINE_S).stdout) for job in jobs] == [
        3000, 1, 2000, 0, 500, 20, 1000,
    ]  # fmt: skip


# ---------------------------------------------------------------- files that the user named


def test_named_files_are_written_in_place(here: Path) -> None:
    out, err = here / "o", here / "e"
    out.write_text("old and longer than the new\n")
    out.chmod(0o640)
    before = out.stat()

    result = cluster.submit(BOTH, outfile="o", errfile="e").get(timeout=DEADLINE_S)

    assert (out.read_text(), err.read_text()) == ("out\n", "err\n")
    assert (out.stat().st_ino, out.stat().st_mode) == (before.st_ino, before.st_mode)
    assert tuple(result) == (3, "out\n", "err\n")


def test_named_files_are_appended_to_if_so_asked(here: Path) -> None:
    (here / "o").write_text("old\n")

    cluster.submit(BOTH, outfile="o", append=True).wait(timeout=DEADLINE_S)

    assert (here / "o").read_text() == "old\nout\n"


@pytest.mark.parametrize("names", [("both", "both"), ("both", "./both"), ("both", "link")])
def test_one_file_for_both_loses_nothing(here: Path, names: tuple[str, str]) -> None:
    (here / "both").touch()
    (here / "link").symlink_to("both")
    text = "for n in 1 2 3; do echo out $n; echo err $n >&2; done"

    cluster.submit(text, outfile=names[0], errfile=names[1]).wait(timeout=DEADLINE_S)

    lines = (here / "both").read_text().splitlines()
    assert lines == [f"{stream} {n}" for n in (1, 2, 3) for stream in ("out", "err")]


def test_a_function_writes_to_named_files_too(here: Path) -> None:
    assert cluster.submit(print_both, outfile="both", errfile="both").get(
        timeout=DEADLINE_S
    ) == "value"  # fmt: skip
    assert sorted((here / "both").read_text().split("\n")) == ["", "from a child", "to err",
                                                               "to out"]  # fmt: skip


def test_dev_null_stays_what_it_is(here: Path) -> None:
    before = os.stat("/dev/null")

    job = cluster.submit(BOTH, outfile="/dev/null", errfile="/dev/null")
    other = cluster.submit(print_both, outfile="/dev/null")

    assert tuple(job.get(timeout=DEADLINE_S)) == (3, "", "")
    assert other.get(timeout=DEADLINE_S) == "value"
    after = os.stat("/dev/null")
    assert (after.st_ino, after.st_mode, after.st_rdev) == (
        before.st_ino, before.st_mode, before.st_rdev,
    )  # fmt: skip


def test_clean_leaves_files_that_the_user_named(here: Path) -> None:
    job = cluster.submit(BOTH, outfile="o", errfile="e")
    job.wait(timeout=DEADLINE_S)

    cluster.clean([job])

    assert (here / "o").read_text() == "out\n"


def test_an_outfile_in_a_place_that_vanished_fails_the_job_by_name(here: Path) -> None:
    (here / "place").mkdir()
    job = cluster.submit(["true"], outfile="place/o", hold=True)
    (here / "place").rmdir()
    job.release()

    job.wait(timeout=DEADLINE_S)

    assert (job.state, job.exitcode) == ("FAILED", 126)
    assert "place/o" in job.reason


def test_a_full_device_is_the_job_s_own_matter(here: Path) -> None:
    result = cluster.submit("echo x", outfile="/dev/full").get(timeout=DEADLINE_S)

    assert result.exitcode == 1
    assert "No space left" in result.stderr


def test_a_fifo_that_nobody_reads_harms_no_other_job(here: Path) -> None:
    os.mkfifo("fifo")
    job = cluster.submit("echo x", outfile="fifo")

    assert cluster.submit(["true"]).wait(timeout=DEADLINE_S)
    job.wait(timeout=DEADLINE_S)
    assert (job.state, "fifo" in job.reason) == ("FAILED", True)


# ---------------------------------------------------------------- no other files


def _files(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


def test_twelve_jobs_leave_nothing_in_the_current_directory(here: Path) -> None:
    jobs = [cluster.submit("echo $CLUSTER_JOB_ID; exit 1") for _ in range(6)]
    jobs += [cluster.submit(print_both) for _ in range(6)]

    cluster.wait(jobs, timeout=DEADLINE_S)

    assert list(here.iterdir()) == []


def test_no_file_is_made_per_job(here: Path, queue_of_this_file: Path) -> None:
    def work(count: int) -> None:
        jobs = [cluster.submit("echo some output") for _ in range(count)]
        jobs += [cluster.submit(print_both) for _ in range(count)]
        assert cluster.wait(jobs, timeout=DEADLINE_S)

    work(8)
    before = _files(queue_of_this_file)
    work(25)

    after = _files(queue_of_this_file)
    slots = {name for name in after if name.startswith("slots/")}
    assert after - before - slots == set()
    assert len(slots) <= 3 * 16  # what runs at once, and what is held ready; not 66 jobs


def test_large_output_is_one_file_and_cleared_with_its_record(
    here: Path, queue_of_this_file: Path
) -> None:
    job = cluster.submit("head -c 1000000 /dev/zero")
    job.wait(timeout=DEADLINE_S)

    outputs = [name for name in _files(queue_of_this_file) if f"/{job.id}.1." in name]
    assert outputs == [f"outputs/{job.id}.1.out"]


# ---------------------------------------------------------------- the command line


def test_cluster_run_prints_what_it_prints_and_exits_as_it_does(here: Path, cli: Cli) -> None:
    done = cli("run", "--", "sh", "-c", BOTH)

    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")


@pytest.mark.parametrize(
    ("words", "code"),
    [(("--bash", "kill -9 $$"), 137), (("-t", "0.3s", "sleep", "9"), 124), (("true",), 0),
     (("--", "sh", "-c", 'exit "$1"', "x", "7"), 7)],
)  # fmt: skip
def test_cluster_run_s_codes(here: Path, cli: Cli, words: tuple[str, ...], code: int) -> None:
    assert cli("run", *words).returncode == code


def test_submit_wait_logs_show(here: Path, cli: Cli) -> None:
    id = cli.id("-n", "talk", "--bash", BOTH)

    assert cli("wait", id).returncode == 1
    assert cli("logs", id).stdout == "out\n"
    shown = cli("show", id).stdout
    assert [word for word in ("talk", "FAILED", "3") if word not in shown] == []


@pytest.mark.parametrize(
    "words", [("show", "4711"), ("wait", "4711"), ("logs", "4711"), ("cancel", "4711"),
              ("hold", "4711"), ("signal", "TERM", "4711")],
)  # fmt: skip
def test_an_unknown_id_is_told_in_a_sentence(here: Path, cli: Cli, words: tuple[str, ...]) -> None:
    cluster.Queue()
    done = cli(*words)

    assert done.returncode == 3, done
    assert "4711" in done.stderr
    assert "Traceback" not in done.stderr
