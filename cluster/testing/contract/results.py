"""Values, exceptions, exit codes and outputs."""

from __future__ import annotations

import functools
import traceback

import pytest

import cluster
from cluster.testing import work
from cluster.testing.contract.site import Site

__all__ = [
    "test_a_command_gives_its_exit_code",
    "test_a_command_that_a_signal_ended_says_which",
    "test_a_function_gives_its_value",
    "test_a_function_is_called_with_its_keyword_arguments",
    "test_a_function_s_exception_comes_back_with_its_traceback_and_its_cause",
    "test_a_function_that_ended_with_the_code_of_a_signal_names_the_signal",
    "test_a_lambda_and_what_it_closes_over_travel",
    "test_a_large_value_comes_back",
    "test_a_text_is_read_by_a_shell",
    "test_arguments_reach_a_command_byte_for_byte",
    "test_both_outputs_may_go_into_one_file",
    "test_both_outputs_of_a_command_come_back_as_they_were_written",
    "test_outputs_go_into_the_files_that_were_named",
    "test_sys_exit_of_a_function_is_its_exit_code",
]


def test_a_function_gives_its_value(site: Site) -> None:
    assert site.submit(work.add, (2, 3)).get(site.patience_s) == 5


def test_a_function_is_called_with_its_keyword_arguments(site: Site) -> None:
    job = site.submit(functools.partial(work.add, 2), kwargs={"b": 5})

    assert job.get(site.patience_s) == 7


def test_a_lambda_and_what_it_closes_over_travel(site: Site) -> None:
    factor = 6

    assert site.submit(lambda: factor * 7).get(site.patience_s) == 42


def test_a_large_value_comes_back(site: Site) -> None:
    data = bytes(range(256)) * 4096

    assert site.submit(lambda: data + data).get(site.patience_s) == data + data


def test_a_function_s_exception_comes_back_with_its_traceback_and_its_cause(site: Site) -> None:
    job = site.submit(work.fail, ("lost",))

    with pytest.raises(KeyError, match="lost") as caught:
        job.get(site.patience_s)

    story = "".join(traceback.format_exception(caught.value))
    assert "the disk is tired" in story
    assert "work.py" in story
    assert (job.state, job.exitcode) == ("FAILED", 1)


def test_sys_exit_of_a_function_is_its_exit_code(site: Site) -> None:
    def leave() -> None:
        raise SystemExit(3)

    job = site.submit(leave)

    with pytest.raises(cluster.JobFailed) as caught:
        job.get(site.patience_s)
    assert (caught.value.exitcode, job.state, job.exitcode) == (3, "FAILED", 3)


@pytest.mark.parametrize(
    ("code", "signal"),
    [(0, None), (3, None), (99, None), (100, None), (137, 9), (255, None)],
)
def test_a_command_gives_its_exit_code(site: Site, code: int, signal: int | None) -> None:
    job = site.submit(["sh", "-c", f"exit {code}"])

    result = job.get(site.patience_s)

    assert (tuple(result), job.exitcode) == ((code, "", ""), code)
    assert (result.signal, job.ended_by) == (signal, signal)
    assert job.state == ("FAILED" if code else "COMPLETED")


def test_a_command_that_a_signal_ended_says_which(site: Site) -> None:
    job = site.submit(["sh", "-c", "kill -USR2 $$"])

    result = job.get(site.patience_s)

    assert (result.exitcode, result.signal, job.state) == (140, 12, "FAILED")


@pytest.mark.parametrize("how", ["exit", "kill"])
def test_a_function_that_ended_with_the_code_of_a_signal_names_the_signal(
    site: Site, how: str
) -> None:
    def leave(how: str) -> None:
        import os

        if how == "exit":
            os._exit(137)
        os.kill(os.getpid(), 9)

    job = site.submit(leave, (how,))

    with pytest.raises(cluster.JobFailed) as caught:
        job.get(site.patience_s)

    assert (caught.value.exitcode, caught.value.signal) == (137, 9)
    assert (job.state, job.exitcode, job.ended_by) == ("FAILED", 137, 9)


def test_both_outputs_of_a_command_come_back_as_they_were_written(site: Site) -> None:
    script = "printf 'out\\n\\377'; printf 'err\\n' >&2; printf 'last'"

    result = site.submit(["sh", "-c", script]).get(site.patience_s)

    assert result.stdout.encode("utf-8", "surrogateescape") == b"out\n\xfflast"
    assert result.stderr == "err\n"


def test_a_text_is_read_by_a_shell(site: Site) -> None:
    job = site.submit("for i in 1 2; do echo $i; done | tac; exit 4")

    assert job.get(site.patience_s) == (4, "2\n1\n", "")


def test_arguments_reach_a_command_byte_for_byte(site: Site) -> None:
    words = [
        b"it's",
        b'"',
        b"$(id)",
        b"`id`",
        b"a b",
        b"-n",
        b"",
        b"\\",
        b"*",
        b"two\nlines",
        b"\xff",
    ]

    result = site.submit(["printf", "<%s>", *words]).get(site.patience_s)

    wanted = b"".join(b"<" + word + b">" for word in words)
    assert result.stdout.encode("utf-8", "surrogateescape") == wanted


def test_outputs_go_into_the_files_that_were_named(site: Site) -> None:
    folder = site.folder / "named"
    folder.mkdir()
    out, err = folder / "the output", folder / "the errors"

    result = site.submit("echo here; echo there >&2", outfile=out, errfile=err).get(site.patience_s)

    assert (out.read_text(), err.read_text()) == ("here\n", "there\n")
    assert result == (0, "here\n", "there\n")


def test_both_outputs_may_go_into_one_file(site: Site) -> None:
    both = site.folder / "both"

    site.submit("echo a; echo b >&2; echo c", outfile=both, errfile=both).get(site.patience_s)

    assert both.read_text() == "a\nb\nc\n"
