"""What keywords become in the local queue, and what is refused before it is asked."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cluster import options, payload
from cluster.local.client import environment
from cluster.request import read_program
from cluster.schedulers import checks, get
from cluster.schedulers.base import Call, Request
from cluster.schedulers.environment import changes, reduced
from cluster.schedulers.local import LocalScheduler, make_spec
from cluster.spec import ArraySpec, Dependency, JobSpec, Launch


def request(command: Any = ("true",), args: Any = None, **given: Any) -> Request:
    program = read_program(command, args)
    dumped = None
    if isinstance(program, Call):
        dumped = payload.dump(program.function, program.args)
    told = options.check_arguments(given)
    outputs = {
        name: os.fsencode(os.path.abspath(told[keyword])) if keyword in told else b""
        for name, keyword in [("stdout", "outfile"), ("stderr", "errfile")]
    }
    cwd = os.fsencode(told.get("dir", os.getcwd()))
    return Request(name="n", program=program, cwd=cwd, options=told, payload=dumped, **outputs)


def spec_of(*args: Any, **given: Any) -> JobSpec:
    return make_spec(request(*args, **given))[0]


def launch_of(*args: Any, **given: Any) -> Launch:
    return msgspec.msgpack.decode(spec_of(*args, **given).launch, type=Launch)


def check(*args: Any, **given: Any) -> list[str]:
    return LocalScheduler().check(request(*args, **given))


# ---------------------------------------------------------------- the spec


def test_what_nobody_asks_for_is_not_requested() -> None:
    spec = spec_of("true")

    assert (spec.cores, spec.memory_mib, spec.walltime_s, spec.expect_s, spec.gpus) == (
        1,
        0,
        0,
        0,
        0,
    )


def test_keywords_become_the_spec() -> None:
    begin = datetime(2030, 1, 1, tzinfo=timezone.utc)

    spec = spec_of(
        "true", cores=3, mem="2GB", time="1h", expect=60, gpus="a100:2", resources={"license": 1},
        priority=5, nice=7, hold=True, begin=begin, retries=2, requeue=True, comment="c",
        on_unsatisfiable="pend", array="1-9:2%3",
    )  # fmt: skip

    assert msgspec.structs.replace(spec, launch=msgspec.Raw(b"\x80")) == JobSpec(
        name="n", kind="command", cores=3, memory_mib=2048, walltime_s=3600.0, expect_s=60.0,
        gpus=2, resources={"license": 1}, priority=-2, hold=True, begin=begin.timestamp(),
        retries=2, requeue=True, comment="c", on_unsatisfiable="pend",
        array=ArraySpec(1, 5, 2, 3),
    )  # fmt: skip


def test_each_rank_takes_its_cores() -> None:
    assert spec_of("true", cores=3, tasks=4).cores == 12


def test_dependencies_and_key_are_passed_on() -> None:
    made = Request(
        name="n", program=read_program("true"), cwd=b"/", key="k", dependencies=(Dependency("1"),)
    )

    spec, _, _ = make_spec(made)

    assert (spec.key, spec.dependencies) == ("k", (Dependency("1"),))


# ---------------------------------------------------------------- the launch


def test_a_command_is_executed_without_a_shell() -> None:
    assert launch_of(["ls", "$(id)", b"\xff"]).argv == (b"ls", b"$(id)", b"\xff")


def test_shell_text_is_read_by_bash_and_arguments_stay_apart() -> None:
    launch = launch_of("ls | cat", ("$(id)",))

    assert launch.argv[:2] == (b"/bin/bash", b"-c")
    assert subprocess.run([*launch_of("echo a; echo", ("$(id) b",)).argv],
                          capture_output=True, check=True).stdout == b"a\n$(id) b\n"  # fmt: skip


def test_a_prologue_puts_a_shell_around_and_keeps_the_arguments() -> None:
    argv = launch_of(["printf", "%s|", "a b", "$X", "*"], prologue="X=1", epilogue="false").argv

    assert subprocess.run(argv, capture_output=True, check=True).stdout == b"a b|$X|*|"


def test_the_shell_is_the_one_asked_for() -> None:
    assert launch_of("ls | cat", shell="/bin/sh -e").argv[:3] == (b"/bin/sh", b"-e", b"-c")


def test_a_function_carries_versions_and_import_path(tmp_path: Path) -> None:
    launch = launch_of(len, syspaths=[tmp_path])

    assert launch.argv == ()
    assert launch.python_version == sys.version_info[:2]
    assert launch.python == os.fsencode(sys.executable)
    assert launch.sys_path[0] == os.fsencode(tmp_path)
    assert launch.calls == "builtins.len"
    assert launch.payload


def test_limits_files_and_signals_are_passed_on() -> None:
    launch = launch_of("true", grace=3, signal="USR1@60s", umask="027", append=True, outfile="o")

    assert (launch.grace_s, launch.warn_signal, launch.warn_before_s) == (3.0, 10, 60.0)
    assert (launch.umask, launch.append) == (0o027, True)
    assert launch.stdout == os.fsencode(os.path.abspath("o"))


def test_the_umask_is_that_of_the_submitter() -> None:
    before = os.umask(0o037)
    try:
        assert launch_of("true").umask == 0o037
    finally:
        os.umask(before)


def test_the_environment_is_named_by_its_hash() -> None:
    spec, hash, env = make_spec(request("true"))

    assert (hash, env) == environment()
    assert msgspec.msgpack.decode(spec.launch, type=Launch).env == hash


# ---------------------------------------------------------------- environment

BASE = {b"PATH": b"/bin", b"HOME": b"/home/u", b"SECRET": b"s", b"X": b"x"}


def test_variables_are_set_put_in_front_put_behind_and_removed() -> None:
    changed = changes(
        {
            "env": {"A": "1", "PATH": "/own"},
            "env_prepend": {"PATH": "/first", "NEW": "n"},
            "env_append": {"PATH": "/last"},
            "env_unset": ["SECRET", "X", "A"],
        },
        BASE,
    )

    assert changed.set == {b"A": b"1", b"PATH": b"/first:/own:/last", b"NEW": b"n"}
    assert changed.unset == (b"SECRET", b"X")
    assert [changed.value(name, BASE) for name in (b"A", b"X", b"HOME")] == [b"1", None, b"/home/u"]


def test_a_virtual_environment_comes_first_on_the_path(tmp_path: Path) -> None:
    changed = changes({"venv": str(tmp_path), "env_append": {"PATH": "/z"}}, BASE)

    root = os.fsencode(tmp_path)
    assert changed.set == {b"VIRTUAL_ENV": root, b"PATH": root + b"/bin:/bin:/z"}
    assert changed.unset == (b"PYTHONHOME",)


def test_a_conda_environment_is_told_from_a_virtual_one(tmp_path: Path) -> None:
    (tmp_path / "conda-meta").mkdir()

    assert b"CONDA_PREFIX" in changes({"venv": str(tmp_path)}, BASE).set


def test_nothing_is_inherited_but_what_a_process_needs() -> None:
    assert reduced({"inherit_env": False}, BASE) == {b"PATH": b"/bin", b"HOME": b"/home/u"}


def test_variables_to_hand_on_are_named() -> None:
    found = reduced({"export": ["X"]}, BASE)

    assert found == {b"PATH": b"/bin", b"HOME": b"/home/u", b"X": b"x"}
    assert reduced({"export": ["ALL"]}, BASE) is None
    assert reduced({}, BASE) is None


# ---------------------------------------------------------------- refusals


def test_a_good_request_has_no_problems(tmp_path: Path) -> None:
    assert check(["ls", "-l"], outfile=tmp_path / "o", errfile="/dev/null") == []
    assert check("ls | cat") == []
    assert check(len) == []


def test_a_directory_that_does_not_exist_is_named(tmp_path: Path) -> None:
    (told,) = check("true", dir=tmp_path / "no")

    assert f"dir '{tmp_path}/no' does not exist" in told


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    told = check("true", outfile=tmp_path / "no" / "o", errfile=tmp_path)

    assert len(told) == 2
    assert f"outfile '{tmp_path}/no/o' cannot be written: there is no directory" in told[0]
    assert f"errfile '{tmp_path}' is a directory" in told[1]


def test_a_file_without_permission_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Asked of os, not of the disk: root may write everywhere.
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)

    (told,) = check("true", outfile=tmp_path / "o")

    assert f"no permission to write '{tmp_path}'" in told


def test_a_program_that_is_not_on_the_path_of_the_job_is_named(tmp_path: Path) -> None:
    program = tmp_path / "mine"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)

    assert "'mine' is not on the job's PATH" in check("mine")[0]
    assert check("mine", env_prepend={"PATH": tmp_path}) == []
    assert check("./mine", dir=tmp_path) == []
    assert "does not exist" in check("./mine", dir=tmp_path.parent)[0]


def test_a_program_that_may_not_be_executed_is_named(tmp_path: Path) -> None:
    program = tmp_path / "mine"
    program.write_text("#!/bin/sh\n")

    assert "is not executable" in check([program])[0]
    assert "is a directory" in check([tmp_path])[0]


@pytest.mark.parametrize("line", ["#!/no/such/python", "#!/usr/bin/env no-such-python -u"])
def test_a_missing_interpreter_is_named(tmp_path: Path, line: str) -> None:
    program = tmp_path / "mine"
    program.write_text(f"{line}\n")
    program.chmod(0o755)

    (told,) = check([program])

    assert "interpreter" in told
    assert "no" in told


def test_a_program_that_a_prologue_may_bring_is_not_looked_for() -> None:
    assert check("later --x", prologue="later() { true; }") == []


@pytest.mark.parametrize("python", ["/no/python", "/etc/passwd"])
def test_an_interpreter_for_a_function_must_be_one(python: str) -> None:
    assert f"interpreter '{python}'" in check(len, python=python)[0]


def test_a_function_has_no_shell_around_it() -> None:
    assert "prologue needs a command" in check(len, prologue="x")[0]


def test_an_argument_too_long_for_the_kernel_is_refused() -> None:
    assert "argument 1 has 131072 bytes" in check(["ls", "x" * 131072])[0]
    assert check(["ls", "x" * 131071]) == []


def test_arguments_too_long_together_are_refused() -> None:
    assert "together" in checks.oversized([b"x" * 100_000] * 100, {}, 0)[0]


def test_a_variable_too_long_for_the_kernel_is_refused() -> None:
    assert "variable 'A'" in check("true", env={"A": "x" * 131070})[0]


def test_a_virtual_environment_must_be_one(tmp_path: Path) -> None:
    assert any("is no virtual environment" in told for told in check("true", venv=tmp_path))


def test_what_this_version_cannot_do_is_refused_and_not_ignored() -> None:
    assert "needs a mail server here" in check("true", notify="me@example.org")[0]
    assert "array" in check("true", array=[1, 2, 9])[0]


# ---------------------------------------------------------------- shown


def test_a_preview_shows_what_would_run(tmp_path: Path) -> None:
    told = LocalScheduler().preview(request(["ls", "a b"], cores=2, dir=tmp_path))

    assert "# cores: 2" in told
    assert "ls 'a b'" in told
    assert f"cd {tmp_path}" in told


def test_normal_is_another_word_for_local() -> None:
    assert get("normal") is get("local")


# ---------------------------------------------------------------- the real queue


@pytest.mark.slow
def test_a_large_payload_is_a_private_file_of_the_queue(state_dir: Path) -> None:
    scheduler = LocalScheduler()

    (id,) = scheduler.submit([request(len, ("x" * 1_000_000,), hold=True)])

    (file,) = (state_dir / "payloads").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    scheduler.act("release", [id])
    (ending,) = scheduler.endings([id], timeout=60, content=True)
    assert ending.content is not None
    result = payload.value(payload.load_envelope(ending.content.result.data))
    assert (ending.info.state, result) == ("COMPLETED", 1_000_000)


@pytest.mark.slow
def test_a_refused_submission_leaves_no_payload(state_dir: Path) -> None:
    with pytest.raises(ValueError, match="cores"):
        LocalScheduler().submit([request(len, ("x" * 1_000_000,), cores=10_000)])

    assert list((state_dir / "payloads").iterdir()) == []
