"""`cluster array`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Cli

pytestmark = pytest.mark.slow


def test_a_command_is_queued_once_for_each_index(cli: Cli) -> None:
    submitted = cli("array", "2", "--", "echo", "number {index}")

    assert (submitted.returncode, submitted.stdout, submitted.stderr) == (0, "1\n", "")
    assert cli("wait", "-q", "1").returncode == 0
    assert [cli("logs", f"1_{n}").stdout for n in (1, 2)] == ["number 1\n", "number 2\n"]


def test_indices_may_begin_anywhere_and_have_steps(cli: Cli) -> None:
    cli("array", "4-9:5", "--bash", "echo $CLUSTER_ARRAY_INDEX")

    cli("wait", "1")
    assert [cli("logs", f"1_{n}").stdout for n in (4, 9)] == ["4\n", "9\n"]


def test_an_item_is_one_word_of_a_text_for_bash_too(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "items").write_text("$(touch evil) x\n")

    cli("array", "--items", "items", "--bash", "printf '%s|' {item}; echo")

    cli("wait", "1")
    assert cli("logs", "1_1").stdout == "$(touch evil) x|\n"


def test_items_are_the_lines_of_a_file_and_reach_the_command_verbatim(
    cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "items").write_text("a b\n\n$HOME 'x'\n")

    told = json.loads(cli("array", "--items", "items", "--json", "--", "echo", "{item}").stdout)

    assert told == {"id": "1", "elements": 2, "jobs": ["1"]}
    cli("wait", "1")
    assert [cli("logs", f"1_{n}").stdout for n in (1, 2)] == ["a b\n", "$HOME 'x'\n"]


def test_what_failed_is_shown_and_submitted_again(cli: Cli, tmp_path: Path) -> None:
    text = "test -e seen{index} || { : > seen{index}; exit {index}; }"
    cli("array", "0-3", "--bash", text)
    assert cli("wait", "-q", "1").returncode == 1

    shown = cli("array", "--show", "1").stdout.splitlines()
    retried = cli("array", "--retry", "1")

    assert "1 COMPLETED" in shown[0]
    assert "3 FAILED" in shown[0]
    assert shown[1:] == [f"  1_{n} FAILED: exit code {n}" for n in (1, 2, 3)]
    assert retried.stdout == "1: 3 elements again\n"
    cli.until(lambda: cli("array", "--show", "1").stdout.endswith(": 4 COMPLETED\n"))
    assert cli("array", "--retry", "1").stdout == "1: none failed\n"
    states = json.loads(cli("array", "--show", "1", "--json").stdout)
    assert states["states"] == {"COMPLETED": 4}
    assert states["failed"] == []


@pytest.mark.parametrize("what", ["--show", "--retry"])
def test_of_a_job_that_another_command_made_the_next_step_is_one_of_the_shell(
    cli: Cli, what: str
) -> None:
    cli("submit", "-a", "3-7:4", "--", "false")
    cli("submit", "--", "true")
    cli("wait", "-q", "1", "2")

    refused, single = cli("array", what, "1"), cli("array", what, "2")

    assert (refused.returncode, single.returncode) == (3, 3)
    assert single.stderr == "cluster: job 2 is no array. What became of it: cluster show 2\n"
    assert refused.stderr.count("\n") == 1
    for advised in ("cluster show 1", "cluster list --elements --state failed"):
        assert advised in refused.stderr
        assert cli(*advised.split()[1:]).returncode == 0
    assert "cluster submit -a 3,7 -- CMD" in refused.stderr


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["5-1", "--", "true"], 2, "backwards"),
        (["x", "--", "true"], 2, "--items FILE"),
        (["--items", "nowhere", "--", "true"], 2, "No such file"),
        (["3"], 2, "No command"),
        (["3", "--max", "2", "--", "true"], 2, "before them"),
        ([], 2, "How many?"),
        (["--show", "7"], 3, "no job 7"),
        (["--show", "seven"], 2, "not the id of a job"),
        (["--show", "1", "--", "true"], 2, "nothing else"),
    ],
    ids=str,
)
def test_a_mistake_is_told_and_nothing_is_queued(
    cli: Cli, args: list[str], code: int, words: str
) -> None:
    done = cli("array", *args)

    assert done.returncode == code
    assert words in done.stderr
    assert cli("list", "--all").stdout.count("\n") <= 1
