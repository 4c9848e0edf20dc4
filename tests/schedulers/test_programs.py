"""Client programs: real processes that hang, fail and print."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from cluster.errors import QueueError, ServerTimeout, ServerUnavailable
from cluster.schedulers._programs import Programs
from cluster.schedulers.dialect import Answer


def run(script: str, **options: object) -> Answer:
    return Programs(timeout_s=20.0, scrubbed=("FAKE_*",)).run(("sh", "-c", script), **options)  # type: ignore[arg-type]


def test_an_answer_has_code_stdout_and_stderr() -> None:
    assert run("echo out; echo err >&2; exit 3")[1:] == (3, "out\n", "err\n")
    assert run("kill -9 $$").code == 137


def test_a_program_reads_nothing_of_ours_and_speaks_english(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FAKE_PARTITION", "x")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("OTHER", "y")

    answer = run('cat; echo "$LC_ALL,$FAKE_PARTITION,$OTHER,$KEPT"', without=("OTH*",))

    assert answer.stdout == "C,,,\n"


def test_bytes_that_are_no_text_survive() -> None:
    assert os.fsencode(run(r"printf '\377'").stdout) == b"\xff"


def test_a_program_that_hangs_is_ended_with_all_it_started(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    began = time.monotonic()

    with pytest.raises(ServerTimeout, match=r"within 0\.3 s"):
        run(f"sleep 100 & echo $! >{file}; wait", timeout_s=0.3)

    assert time.monotonic() - began < 60
    deadline = time.monotonic() + 60
    while _runs(int(file.read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_last_words_of_a_program_that_hangs_are_told() -> None:
    down = "for i in 1 2 3; do echo 'LSF is down. Please wait ...' >&2; done; sleep 100"

    with pytest.raises(ServerTimeout, match=r'0\.3 s \(it said "LSF is down\. Please wait'):
        run(down, timeout_s=0.3)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_program_that_is_not_there_is_told_and_not_asked_again() -> None:
    programs = Programs(timeout_s=1.0)

    with pytest.raises(ServerUnavailable, match="no-such-program is not on PATH"):
        programs.ask(("no-such-program",), lambda answer: answer)
    assert programs.calls == 1


def test_a_question_is_asked_again_and_its_last_failure_counts() -> None:
    programs = Programs(timeout_s=20.0, tries=2)

    def read(answer: Answer) -> None:
        raise QueueError(f"call {programs.calls}")

    with pytest.raises(QueueError, match="call 2"):
        programs.ask(("true",), read)


def test_a_question_that_succeeds_at_last_is_answered() -> None:
    programs = Programs(timeout_s=20.0, tries=2)

    def read(answer: Answer) -> str:
        if programs.calls == 1:
            raise QueueError("busy")
        return "fine"

    assert programs.ask(("true",), read) == "fine"
