"""keywords, profile and config: they read and write what submissions use."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest

from cluster import config_file
from cluster.cli import app
from cluster.cli.config import value_text
from cluster.options import all_options

Capture = pytest.CaptureFixture[str]


def output(capsys: Capture, *args: str) -> str:
    assert app.run(list(args)) == 0
    return capsys.readouterr().out


# ---------------------------------------------------------------- keywords


def test_keywords_lists_every_one(capsys: Capture) -> None:
    lines = output(capsys, "keywords").splitlines()

    assert [line.split()[0] for line in lines[1:]] == list(all_options)


def test_a_keyword_by_name_or_synonym_is_told_at_length(capsys: Capture) -> None:
    text = output(capsys, "keywords", "memory")

    assert text.startswith("mem (memory)\n")
    assert "slurm:" in text


def test_keywords_are_data_too(capsys: Capture) -> None:
    rows = json.loads(output(capsys, "keywords", "--json", "--qtype", "slurm", "mem"))

    assert [(row["option"], "slurm" in row) for row in rows] == [("mem", True)]


def test_an_unknown_keyword_names_the_nearest(capsys: Capture) -> None:
    assert app.run(["keywords", "memmory"]) == 2
    assert "did you mean memory" in capsys.readouterr().err


# ---------------------------------------------------------------- profile


def test_a_profile_is_added_shown_changed_and_removed(capsys: Capture) -> None:
    assert app.run(["profile", "add", "big", "mem=16G", "cores=2"]) == 0
    assert output(capsys, "profile", "show", "big") == "mem    16G\ncores  2\n"

    assert app.run(["profile", "edit", "big", "time=2h", "-d", "cores"]) == 0
    assert json.loads(output(capsys, "profile", "list", "--json")) == {
        "profiles": {"big": {"mem": "16G", "time": "2h"}},
        "global": {},
    }

    assert app.run(["profile", "remove", "big"]) == 0
    assert app.run(["profile", "show", "big"]) == 3


def test_editing_a_profile_keeps_it_an_heir(capsys: Capture) -> None:
    app.run(["profile", "add", "base", "mem=1G"])
    app.run(["profile", "add", "heir", "inherits=base", "cores=2"])
    app.run(["profile", "edit", "heir", "cores=3"])
    app.run(["profile", "edit", "base", "mem=2G"])

    assert output(capsys, "profile", "show", "heir") == "mem    2G\ncores  3\n"


def test_editing_a_profile_replaces_a_keyword_under_its_other_name(capsys: Capture) -> None:
    app.run(["profile", "add", "big", "mem=1G", "cpus=2"])
    app.run(["profile", "edit", "big", "memory=2G", "-d", "cores"])

    assert output(capsys, "profile", "show", "big") == "memory  2G\n"


@pytest.mark.parametrize("verb", ["edit", "add"])
def test_a_profile_cannot_become_its_own_heir(verb: str, capsys: Capture) -> None:
    app.run(["profile", "add", "base", "mem=1G"])
    app.run(["profile", "add", "heir", "inherits=base"])

    assert app.run(["profile", verb, "base", "inherits=heir"]) == 2
    assert "base -> heir -> base" in capsys.readouterr().err
    assert output(capsys, "profile", "show", "heir") == "mem  1G\n"


def test_a_profile_with_heirs_is_removed_only_with_them(capsys: Capture) -> None:
    app.run(["profile", "add", "base", "mem=1G"])
    app.run(["profile", "add", "heir", "inherits=base"])

    assert app.run(["profile", "remove", "base"]) == 1
    assert "cluster profile edit heir --delete inherits" in capsys.readouterr().err
    assert app.run(["profile", "remove", "base", "heir"]) == 0


def test_a_profile_whose_parent_is_gone_can_be_repaired(capsys: Capture) -> None:
    app.run(["profile", "add", "base", "mem=1G"])
    app.run(["profile", "add", "heir", "inherits=base", "cores=2"])
    app.run(["config", "delete", "profile base"])

    assert app.run(["profile", "list"]) == 1
    assert "cluster profile edit heir --delete inherits" in capsys.readouterr().err
    assert app.run(["profile", "edit", "heir", "--delete", "inherits"]) == 0
    assert output(capsys, "profile", "list") == "heir  cores=2\n"


@pytest.mark.parametrize(
    "args",
    [
        ["add", "p", "memm=3"],
        ["add", "p", "mem=lots"],
        ["add", "p", "mem"],
        ["add", "p", "inherits=nobody"],
        ["add-global", "tim=3h"],
    ],
)
def test_a_profile_with_a_mistake_is_not_written(args: list[str], capsys: Capture) -> None:
    assert app.run(["profile", *args]) == 2
    assert not Path(os.environ["CLUSTER_CONFIG"]).exists()


@pytest.mark.parametrize(
    "args", [["remove", "x"], ["edit", "x", "cores=1"], ["remove-global", "cores"]]
)
def test_what_is_not_there_cannot_be_changed(args: list[str], capsys: Capture) -> None:
    assert app.run(["profile", *args]) == 3
    assert "cluster profile list" in capsys.readouterr().err


def test_global_keywords_come_and_go(capsys: Capture) -> None:
    app.run(["profile", "add-global", "priority=3", "on-unsatisfiable=pend"])
    assert config_file.global_options() == {"priority": "3", "on_unsatisfiable": "pend"}

    app.run(["profile", "remove-global", "on-unsatisfiable"])
    assert config_file.global_options() == {"priority": "3"}


def test_reset_removes_all_of_it_and_nothing_else() -> None:
    app.run(["profile", "add", "a", "cores=1"])
    app.run(["profile", "add-global", "cores=1"])
    app.run(["config", "set", "local.cores", "1"])

    assert app.run(["profile", "reset", "--yes"]) == 0

    assert (config_file.get_profile(), config_file.global_options()) == ({}, {})
    assert config_file.get("local", "cores") == 1


@pytest.mark.parametrize(
    ("typed", "code", "said"),
    [("", 2, "without being asked: --yes"), ("n\n", 1, "cluster: nothing was removed")],
)
def test_reset_without_a_yes_removes_nothing_and_says_so(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, typed: str, code: int, said: str
) -> None:
    app.run(["profile", "add", "a", "cores=1"])
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))

    assert app.run(["profile", "reset"]) == code

    assert said in capsys.readouterr().err
    assert config_file.profile_names() == ["a"]


def test_ctrl_c_at_a_question_is_no_answer(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.run(["profile", "add", "a", "cores=1"])

    def interrupt(_prompt: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("click.termui.visible_prompt_func", interrupt)

    assert app.run(["profile", "reset"]) == 130
    assert config_file.profile_names() == ["a"]


# ---------------------------------------------------------------- config


@pytest.mark.parametrize("pair", [("local.cores", "abc"), ("local.memory", "12"), ("x.y", "1")])
def test_a_value_that_no_setting_takes_is_a_mistake_in_the_command_line(
    capsys: Capture, pair: tuple[str, str]
) -> None:
    assert app.run(["config", "set", *pair]) == 2
    assert pair[0].partition(".")[2] in capsys.readouterr().err
    assert not Path(config_file.default_path()).exists()


def test_a_setting_is_written_read_and_deleted(capsys: Capture) -> None:
    assert app.run(["config", "set", "local.cores", "3"]) == 0
    assert output(capsys, "config", "get", "local.cores") == "3\n"
    assert app.run(["config", "delete", "local.cores"]) == 0
    assert output(capsys, "config", "get", "local.cores") == "-\n"
    assert app.run(["config", "delete", "local.cores"]) == 3


def test_show_tells_where_each_value_came_from(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLUSTER_CFG_LOCAL_GRACE_S", "9")
    app.run(["config", "set", "local.cores", "3"])

    rows = {
        (row["section"], row["key"]): (row["value"], row["where"])
        for row in json.loads(output(capsys, "config", "show", "--json"))
    }

    assert rows["local", "cores"] == (3, os.environ["CLUSTER_CONFIG"])
    assert rows["local", "grace_s"] == (9.0, "$CLUSTER_CFG_LOCAL_GRACE_S")
    assert rows["queue", "qtype"] == ("auto", "default")


def test_every_setting_has_a_line(capsys: Capture) -> None:
    lines = output(capsys, "config", "show").splitlines()

    assert len(lines) == 1 + len(config_file.sources())


@pytest.mark.parametrize(
    ("setting", "said"),
    [("local.coers", "Did you mean local.cores?"), ("cores", "SECTION.KEY"), ("x.y", "no setting")],
)
def test_a_setting_that_nothing_reads_is_refused(setting: str, said: str, capsys: Capture) -> None:
    assert app.run(["config", "set", setting, "1"]) == 2
    assert said in capsys.readouterr().err


def test_a_value_that_the_setting_does_not_accept_is_refused(capsys: Capture) -> None:
    assert app.run(["config", "set", "local.cores", "many"]) == 2
    assert "cores" in capsys.readouterr().err


def test_path_is_the_file_that_set_writes(capsys: Capture) -> None:
    assert output(capsys, "config", "path") == os.environ["CLUSTER_CONFIG"] + "\n"


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (True, "yes"), (2.0, "2"), ({"a": 1}, "a=1"), ({}, "-")]
)
def test_values_are_written_as_set_would_read_them(value: object, text: str) -> None:
    assert value_text(value) == text
