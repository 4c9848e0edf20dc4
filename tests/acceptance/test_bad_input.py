"""Bad input: one sentence that names the thing and the next step, and nothing is queued."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from scientist import Cli

import cluster

pytestmark = pytest.mark.slow

TRUE = ["true"]


def numbers() -> Any:
    yield 1


def recursive() -> list[Any]:
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    return deep


def queued() -> list[str]:
    return [job.id for job in cluster.Queue()]


@pytest.fixture
def files(here: Path) -> Path:
    """Programs and places that are wrong in one way each."""
    (here / "no-interpreter").write_text("#!/no/such/python\n")
    (here / "no-env").write_text("#!/usr/bin/env no-such-python\n")
    (here / "not-executable").write_text("#!/bin/sh\n")
    (here / "a-file").write_text("")
    for name in ("no-interpreter", "no-env"):
        (here / name).chmod(0o755)
    return here


REFUSED: dict[str, tuple[list[str], dict[str, Any], list[str]]] = {
    "unknown keyword": (TRUE, {"coers": 2}, ["'coers'", "did you mean cores"]),
    "unknown keyword, nothing near": (TRUE, {"zzzz": 2}, ["'zzzz'", "option_help"]),
    "one meaning twice": (TRUE, {"cores": 1, "cpus": 2}, ["cores", "cpus", "one of them"]),
    "too many cores": (TRUE, {"cores": 9999}, ["9999 cores", "Ask for less", "cluster doctor"]),
    "too much memory": (TRUE, {"mem": "900T"}, ["memory", "Ask for less"]),
    "a resource nobody has": (
        TRUE,
        {"resources": {"licence": 1}},
        ["'licence'", "cluster config set local.resources licence=1"],
    ),
    "gpus nobody has": (TRUE, {"gpus": 99}, ["99 gpus", "Ask for less"]),
    "a resource that is a keyword": (TRUE, {"resources": {"cores": 2}}, ["cores=2"]),
    "cores without end": (TRUE, {"cores": 10**30}, ["cores", "too large"]),
    "memory without end": (TRUE, {"mem": "99999999999999999999T"}, ["memory", "too large"]),
    "priority without end": (TRUE, {"priority": 10**30}, ["priority", "too large"]),
    "index without end": (TRUE, {"array": f"{10**20}-{10**20}"}, ["array", "too large"]),
    "no core": (TRUE, {"cores": 0}, ["cores", "1 or more"]),
    "memory lots": (TRUE, {"mem": "lots"}, ["'lots'", "512M"]),
    "walltime of digits": (TRUE, {"walltime": "90"}, ["'90'", "90s", "90m"]),
    "walltime of two fields": (TRUE, {"time": "01:30"}, ["'01:30'", "90s"]),
    "unknown dependency": (TRUE, {"dependencies": "4711"}, ["4711", "cluster list --all"]),
    "unknown element": (TRUE, {"dependencies": "4711_3"}, ["4711_3", "cluster list --all"]),
    "no dependency": (TRUE, {"dependencies": "yesterday"}, ["yesterday"]),
    "outfile in no directory": (TRUE, {"outfile": "no/dir/out"}, ["out", "Create it first"]),
    "outfile is a directory": (TRUE, {"outfile": "."}, ["outfile", "is a directory"]),
    "outfile below a file": (TRUE, {"outfile": "a-file/x"}, ["outfile", "no directory"]),
    "missing program": (["no-such-program-x"], {}, ["no-such-program-x", "PATH", "Install it"]),
    "missing path": (["./no-such"], {}, ["no-such", "does not exist", "Check its path"]),
    "missing interpreter": (["./no-interpreter"], {}, ["/no/such/python", "first line"]),
    "missing env interpreter": (["./no-env"], {}, ["no-such-python", "PATH"]),
    "not executable": (["./not-executable"], {}, ["not-executable", "chmod +x"]),
    "a directory": (["./."], {}, ["is a directory"]),
    "no cwd": (TRUE, {"dir": "no-such-dir"}, ["no-such-dir", "does not exist", "Create it"]),
    "cwd is a file": (TRUE, {"dir": "a-file"}, ["a-file", "is not a directory"]),
    "newline in the name": (TRUE, {"name": "a\n#SBATCH --wrap=x"}, ["newline", "one line"]),
    "huge argument": (["echo", "x" * 200_000], {}, ["argument 1", "200000 bytes", "file"]),
    "huge variable": (TRUE, {"env": {"BIG": "x" * 200_000}}, ["BIG", "200000 bytes", "file"]),
    "no venv": (TRUE, {"venv": "no-venv"}, ["no-venv", "Check its path"]),
    "array without end": (TRUE, {"array": "1-"}, ["array", "'1-'"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_python_refuses_and_queues_nothing(files: Path, case: str) -> None:
    argv, options, words = REFUSED[case]
    before = queued()

    with pytest.raises(cluster.ClusterError) as caught:
        cluster.submit(argv, **options)

    assert [word for word in words if word not in str(caught.value)] == [], str(caught.value)
    assert "\n" not in str(caught.value)
    assert queued() == before


_HUGE = {"huge variable", "huge argument"}  # the kernel refuses them before we are started


@pytest.mark.parametrize("case", [case for case in REFUSED if case not in _HUGE])
def test_the_command_line_refuses_without_a_traceback(files: Path, cli: Cli, case: str) -> None:
    argv, options, words = REFUSED[case]
    given = []
    for key, value in options.items():
        text = ",".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else value
        given += ["-o", f"{key}={text}"]
    before = queued()

    done = cli("submit", *given, "--", *argv)

    assert done.returncode in (1, 2, 3)
    assert done.stdout == ""
    assert done.stderr.startswith("cluster: ")
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1
    assert [word for word in words if word not in done.stderr] == [], done.stderr
    assert queued() == before


@pytest.mark.parametrize(
    ("argument", "words"),
    [(threading.Lock(), "lock"), (numbers(), "generator"), (recursive(), "deep")],
    ids=["lock", "generator", "5000-deep list"],
)
def test_an_argument_that_cannot_be_pickled_is_named(
    here: Path, argument: object, words: str
) -> None:
    before = queued()

    with pytest.raises(cluster.PayloadError, match=words) as caught:
        cluster.submit(print, ("fine", argument))

    assert "\n" not in str(caught.value)
    assert queued() == before


def test_a_function_that_holds_a_lock_is_named(here: Path) -> None:
    lock = threading.Lock()
    before = queued()

    with pytest.raises(cluster.PayloadError, match=r"closure variable .lock."):
        cluster.submit(lambda: lock.locked())
    assert queued() == before


def test_a_function_s_interpreter_must_be_there(here: Path) -> None:
    with pytest.raises(cluster.OptionsError, match=r"/no/such/python.*python="):
        cluster.submit(print, python="/no/such/python")


@pytest.mark.parametrize("name", ["a\0b", "\n", "", "tab\x0bbed"])
def test_a_name_that_is_no_line_of_text_is_refused(here: Path, name: str) -> None:
    before = queued()

    with pytest.raises(cluster.OptionsError, match=r"name .*(one line|Give a text)"):
        cluster.submit(TRUE, name=name)
    assert queued() == before


@pytest.mark.parametrize(
    "options", [{"env": {"A": "x\0y"}}, {"env": {"A=B": "x"}}, {"env": {"": "x"}},
                {"outfile": "a\0b"}, {"dir": "a\0b"}, {"comment": "a\0b\n"}],
    ids=str,
)  # fmt: skip
def test_a_nul_anywhere_is_refused(here: Path, options: dict[str, Any]) -> None:
    before = queued()

    with pytest.raises(cluster.OptionsError) as caught:
        cluster.submit(TRUE, **options)

    assert "\n" not in str(caught.value)
    assert queued() == before


@pytest.mark.parametrize("dependencies", [[None], {"afterok": [None]}, (None, "1"), [[None]]])
def test_none_among_dependencies_is_not_overlooked(here: Path, dependencies: object) -> None:
    """A function that forgot to return its job: the next must not start without it."""
    with pytest.raises(cluster.OptionsError, match="None stands among the dependencies"):
        cluster.submit(TRUE, dependencies=dependencies)


@pytest.mark.parametrize("kwargs", [5, ["a"], "ab"])
def test_keywords_of_a_function_are_a_mapping(here: Path, kwargs: Any) -> None:
    with pytest.raises(cluster.OptionsError, match="kwargs"):
        cluster.submit(print, kwargs=kwargs)


def test_many_variables_together_are_too_much(here: Path) -> None:
    with pytest.raises(cluster.OptionsError, match=r"bytes together.*file"):
        cluster.submit(TRUE, env={f"V{n}": "x" * 100_000 for n in range(40)})


def test_a_client_without_descriptors_says_so_and_queues_nothing(here: Path, cli: Cli) -> None:
    before = queued()
    program = (
        "import resource, cluster\n"
        "job = cluster.Job(['true'])\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))\n"
        "job.submit()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=here
    )

    assert done.returncode == 1
    assert "too many open files" in done.stderr.splitlines()[-1].lower()
    assert queued() == before


def test_a_nul_in_an_argument_is_refused(here: Path) -> None:
    with pytest.raises(cluster.OptionsError, match="NUL"):
        cluster.submit(["echo", "a\0b"])


def test_jobs_that_wait_for_each_other_are_refused(here: Path) -> None:
    a, b = cluster.Job(TRUE, name="a"), cluster.Job(TRUE, name="b")
    c = cluster.Job(TRUE, name="c")
    before = queued()
    a.after(b)
    b.after(c)

    with pytest.raises(cluster.OptionsError, match=r"'c' would wait for itself.*cycle"):
        c.after(a)
    assert queued() == before


def test_one_bad_job_of_many_keeps_all_from_being_queued(here: Path) -> None:
    before = queued()

    with pytest.raises(cluster.ClusterError, match="9999"):
        cluster.submit_many([TRUE, {"command": TRUE, "cores": 9999}, TRUE])
    assert queued() == before


def test_an_unknown_verb_and_an_unknown_option_are_told_in_a_sentence(here: Path, cli: Cli) -> None:
    verb, option = cli("sumbit", "true"), cli("submit", "--coers", "2", "true")

    assert (verb.returncode, option.returncode) == (2, 2)
    assert "Did you mean submit?" in verb.stderr
    assert "--cores" in option.stderr
    assert "Traceback" not in verb.stderr + option.stderr


def test_run_says_the_same_and_has_a_code_of_its_own(here: Path, cli: Cli) -> None:
    done = cli("run", "-t", "90", "true")

    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "'90'" in done.stderr


@pytest.mark.parametrize("words", [("list", "-n"), ("cancel", "-n"), ("submit", "-o")])
def test_text_that_is_no_text_is_told_in_a_sentence(
    here: Path, cli: Cli, words: tuple[str, str]
) -> None:
    done = cli(*words, b"comment=\xff", *(["true"] if words[0] == "submit" else []))

    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "is not UTF-8" in done.stderr
