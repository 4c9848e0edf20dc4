"""The command itself: its verbs, its help, its exit codes, and how little it imports."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

import click
import pytest

from cluster import __version__
from cluster.cli import app
from cluster.errors import (
    OptionsError,
    ServerUnavailable,
    UnitsError,
    UnknownDependency,
    UnknownJob,
    WaitTimeout,
)

if TYPE_CHECKING:
    from tests.cli.conftest import Cli

# What one look at the queue must not pay for.
HEAVY = ("cloudpickle", "cluster.job", "cluster.options", "rich", "psutil", "subprocess", "asyncio")


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["--version"]) == 0
    assert capsys.readouterr().out == f"cluster {__version__}\n"


def test_help_lists_every_verb_and_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["--help"]) == 0

    text = capsys.readouterr().out
    assert all(f"  {verb} " in text for verb in app.VERBS)
    assert all(f"  {code} " in text for code in (0, 1, 2, 3, 124, 130))


@pytest.mark.parametrize("verb", app.VERBS)
def test_every_verb_in_the_table_is_a_command_with_help(verb: str) -> None:
    command = import_module(f"cluster.cli.{verb}").command

    assert isinstance(command, click.Command)
    assert command.help
    assert all(p.help for p in command.params if isinstance(p, click.Option))


def test_every_option_name_means_one_thing_in_each_verb() -> None:
    for verb in app.VERBS:
        command = import_module(f"cluster.cli.{verb}").command
        names = [name for param in command.params for name in param.opts]
        assert len(names) == len(set(names)), verb


def test_an_unknown_verb_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["lst"]) == 2
    assert "Did you mean list?" in capsys.readouterr().err


def test_completion_knows_verbs_and_options(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_CLUSTER_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "cluster ca")
    monkeypatch.setenv("COMP_CWORD", "1")

    assert cli().stdout == "plain,cancel\n"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OptionsError("x"), 2),
        (UnitsError("x"), 2),
        (UnknownJob("x"), 3),
        (UnknownDependency("x"), 3),
        (WaitTimeout("x"), 124),
        (ServerUnavailable("x"), 1),
        (click.Abort(), 130),
        (KeyboardInterrupt(), 130),
        (click.UsageError("x"), 2),
    ],
)
def test_every_error_has_its_exit_code(error: BaseException, code: int) -> None:
    def fail() -> None:
        raise error

    assert app.guard(fail) == code


def test_an_error_is_a_sentence_that_cannot_move_the_cursor(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail() -> None:
        raise OptionsError("no \x1b[2J here")

    app.guard(fail)

    assert capsys.readouterr().err == "cluster: no \\x1b[2J here\n"


def test_a_mistake_of_ours_is_not_hidden() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        app.guard(fail)


def modules_after(cli: Cli, args: Sequence[str]) -> set[str]:
    code = (
        "import sys; from cluster.cli.app import run; run(sys.argv[1:]); "
        "print('modules', *sys.modules)"
    )
    done = cli.program(sys.executable, "-c", code, *args)
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.slow
@pytest.mark.parametrize("args", [["list"], ["cancel", "1"], ["hold", "1"], ["wait", "1"]])
def test_looking_and_steering_import_nothing_heavy(cli: Cli, args: list[str]) -> None:
    cli("submit", "--hold", "-n", "x", "true")
    cli("cancel", "1")

    assert modules_after(cli, args).isdisjoint(HEAVY)


@pytest.mark.slow
def test_an_unusable_state_directory_is_one_sentence(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLUSTER_STATE_DIR", os.devnull)

    done = cli("list")

    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "CLUSTER_STATE_DIR" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "code", "advice"),
    [("list", 1, "write elsewhere"), ("run -- echo x", 125, "cluster logs 2")],
)
def test_a_full_disk_behind_stdout_is_one_sentence(
    cli: Cli, words: str, code: int, advice: str
) -> None:
    cli("submit", "--hold", "true")

    done = cli.program("bash", "-c", f'"$@" {words} > /dev/full', "-", *cli.argv)

    assert done.returncode == code
    assert len(done.stderr.splitlines()) == 1
    assert "No space left on device" in done.stderr
    assert advice in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("words", ["list", "run -- sh -c 'echo x; echo y >&2'", "submit true"])
def test_streams_that_are_closed_are_nobody_s_trouble(cli: Cli, words: str) -> None:
    done = cli.program("bash", "-c", f'"$@" {words} <&- >&-', "-", *cli.argv)

    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert cli.program("bash", "-c", f'"$@" {words} 2>&-', "-", *cli.argv).returncode == 0


@pytest.mark.slow
def test_a_reader_that_left_early_is_no_error_to_talk_about(cli: Cli) -> None:
    cli("submit", "--hold", "-a", "1-3000", "true")

    done = cli.program(
        "bash", "-c", '"$@" list --elements --json | head -c 1', "-", *cli.argv
    )  # fmt: skip

    assert (done.stdout, done.stderr) == ("[", "")
