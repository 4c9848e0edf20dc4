"""Shims, the daemon behind them, and what they say to each other."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from cluster import emulation
from cluster.emulation import daemon, families, settings, shims
from cluster.emulation.call import Call, Stop
from cluster.errors import OptionsError
from cluster.local import lifecycle

Run = "subprocess.CompletedProcess[bytes]"


def say(call: Call) -> int:
    call.out(" ".join(call.argv) + "\n")
    call.err(os.fsdecode(call.cwd) + f" {call.umask:03o} {call.variable('WORD')}\n")
    return 7


def copy(call: Call) -> int:
    data = call.read_file(call.argv[0]) if call.argv else call.read_stdin()
    call.out(data)
    return 0


def stop(call: Call) -> int:
    raise Stop("stop: error: enough\n", 5)


def crash(call: Call) -> int:
    raise ZeroDivisionError("oops")


def become(call: Call) -> int:
    call.execute(b"/bin/sh", [b"sh", b"-c", b"echo $WORD; exit 3"], {**call.env, b"WORD": b"new"})
    return 0


def late(call: Call) -> int:
    """Speak to tasks that have ended: the time limit of a job may come just then."""
    task = {"argv": [b"true"], "env": call.env, "stdin": None, "stdout": None, "stderr": None}
    call.send("tasks", {"tasks": [task], "cwd": call.cwd, "label": False, "append": False,
                        "shares_terminal": False, "cpus": []})  # fmt: skip
    while call.receive()[0] != "done":
        pass
    call.send("end", 5.0)
    call.send("signal", 15)
    return 3


FAMILY = families.Family(
    name="demo",
    title="Demo",
    qtype="local",
    module="demo",
    commands=("say", "copy", "stop", "crash", "become", "late", "missing"),
    files=lambda home: {"etc/demo.conf": f"home={home}\n"},
)
COMMANDS = {
    "say": say, "copy": copy, "stop": stop, "crash": crash, "become": become, "late": late,
}  # fmt: skip


class Site:
    def __init__(self, bin: str) -> None:
        self.bin = bin

    def run(
        self, command: str, *argv: str | bytes, stdin: bytes = b"", **fields: object
    ) -> subprocess.CompletedProcess[bytes]:
        path = os.path.join(self.bin, command)
        return subprocess.run([path, *argv], input=stdin, capture_output=True, timeout=30, **fields)  # type: ignore[call-overload,no-any-return]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    monkeypatch.setitem(families.FAMILIES, "demo", FAMILY)
    monkeypatch.setattr(families, "handlers", lambda family: COMMANDS)
    bin = shims.make(str(state), FAMILY)
    emulation = daemon.Emulation(str(state), idle_s=60)
    thread = threading.Thread(target=emulation.serve)
    thread.start()
    yield Site(bin)
    os.unlink(state / "emulation.sock")  # nobody can find it any more: it goes
    thread.join(20)
    emulation.close()
    assert not thread.is_alive()


@pytest.fixture(autouse=True)
def look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "_LOOK_S", 0.05)


def test_a_call_carries_arguments_place_and_environment_and_brings_its_code_back(
    site: Site, tmp_path: Path
) -> None:
    done = site.run("say", "a b", "$x", b"\xff", cwd=tmp_path, env={"WORD": "hello"}, umask=0o27)

    assert (done.returncode, done.stdout) == (7, b"a b $x \xff\n")
    assert done.stderr == f"{tmp_path} 027 hello\n".encode()


def test_standard_input_and_files_are_the_callers(site: Site, tmp_path: Path) -> None:
    (tmp_path / "here").write_bytes(b"file\0")

    assert site.run("copy", stdin=b"in\xff" * 100_000).stdout == b"in\xff" * 100_000
    assert site.run("copy", "here", cwd=tmp_path).stdout == b"file\0"
    assert site.run("copy", "/dev/stdin", stdin=b"in").stdout == b"in"
    line = f"{site.bin}/copy <(echo from bash)"
    assert subprocess.check_output(["bash", "-c", line]) == b"from bash\n"


def test_a_handler_can_end_the_call_from_anywhere(site: Site) -> None:
    done = site.run("stop")

    assert (done.returncode, done.stderr) == (5, b"stop: error: enough\n")


def test_a_handler_that_fails_says_so_and_harms_nobody(site: Site, capfd: object) -> None:
    done = site.run("crash")

    assert done.returncode == 1
    assert b"ZeroDivisionError: oops" in done.stderr
    assert site.run("say").returncode == 7


def test_a_command_that_is_not_there_does_not_fall_through(site: Site) -> None:
    done = site.run("missing")

    assert done.returncode == 1
    assert b"is not emulated" in done.stderr


def test_the_caller_can_become_another_program(site: Site) -> None:
    done = site.run("become")

    assert (done.returncode, done.stdout) == (3, b"new\n")


def test_a_word_for_tasks_that_have_just_ended_does_no_harm(site: Site, tmp_path: Path) -> None:
    done = site.run("late", cwd=tmp_path)

    assert (done.returncode, done.stderr) == (3, b"")


def test_a_reader_that_left_ends_the_call(site: Site) -> None:
    text = "x" * 1_000_000
    (Path(site.bin).parent / "big").write_text(text)
    line = f"{site.bin}/copy {site.bin}/../big | head -c 3; echo ${{PIPESTATUS[0]}}"

    assert subprocess.check_output(["bash", "-c", line]) == b"xxx141\n"


def test_many_calls_at_once_do_not_wait_for_each_other(site: Site) -> None:
    # Each holds its thread until its input ends.
    held = [
        subprocess.Popen([f"{site.bin}/copy"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(20)
    ]
    assert site.run("say").returncode == 7
    for process in held:
        assert process.communicate(b"x", timeout=30)[0] == b"x"


def test_shims_are_rewritten_only_when_they_change(site: Site, tmp_path: Path) -> None:
    path = Path(site.bin) / "say"
    before = path.stat()
    (Path(site.bin) / "gone").write_text("of an older version")

    shims.make(str(tmp_path / "state"), FAMILY)

    assert path.stat().st_mtime_ns == before.st_mtime_ns
    # Where Python's own path has a blank, each has a second file beside it.
    assert {name.removesuffix(".py") for name in os.listdir(site.bin)} == set(FAMILY.commands)
    assert (Path(site.bin).parent / "etc/demo.conf").read_text().startswith("home=")
    assert before.st_mode & 0o777 == 0o700


def test_a_path_with_a_blank_is_no_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = tmp_path / "a python"
    link.symlink_to(sys.executable)
    monkeypatch.setattr(sys, "executable", str(link))

    bin = shims.make(str(tmp_path), FAMILY)

    try:
        done = subprocess.run([f"{bin}/say"], capture_output=True, timeout=60, check=False)
    finally:
        lifecycle.stop_everything(tmp_path)  # it started a daemon to be answered
    assert done.returncode == 1  # no daemon of the real package knows this family
    assert b"say: error" in done.stderr or b"demo" in done.stderr


def test_a_cluster_within_a_cluster_reads_no_start_file_of_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "start_daemon", lambda *_: None)
    (tmp_path / "mine.bash").write_text("echo mine\n")
    monkeypatch.setenv("BASH_ENV", str(tmp_path / "mine.bash"))
    for name in ("slurm", "sge"):
        found = emulation.prepare(str(tmp_path), families.get(name), settings.Settings(family=name))
        for key, value in found.items():
            monkeypatch.setenv(key, value)

    done = subprocess.run(["bash", "-c", "command -v qsub"], capture_output=True, text=True)

    assert done.stdout == f"mine\n{tmp_path}/emulation/sge/bin/qsub\n"


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("a", {}),
        ("a:cores=4:memory=2GB", {"cores": 4, "memory_mib": 2048}),
        ("a:nodes=2:time=1:30:00", {"nodes": 2, "walltime_s": 5400.0}),
    ],
)
def test_partitions_are_read(text: str, fields: Mapping[str, object]) -> None:
    assert settings.read_partition(text) == settings.Partition(name="a", **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", ":cores=3", "a:cores=x", "a:huh=3", "a:cores"])
def test_a_partition_that_cannot_be_read_is_named(text: str) -> None:
    with pytest.raises(OptionsError, match="--partition"):
        settings.read_partition(text)


def test_settings_travel_in_the_environment() -> None:
    asked = settings.Settings(
        family="demo", strict=True, partitions=(settings.Partition(name="p", cores=3),)
    )
    env = {settings.VARIABLE.encode(): asked.text().encode()}

    assert settings.Settings.of(env, "demo") == asked
    assert settings.Settings.of({}, "demo") == settings.Settings(family="demo")
    assert settings.Settings.of({settings.VARIABLE.encode(): b"{"}, "demo").strict is False
