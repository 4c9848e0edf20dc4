"""Where the queue lives is not as one would wish: no locks, two machines, no right to write."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fault_driver import IS_ROOT, NEEDS_ROOT, Queue, inside, lifecycle, until
from shim import WHY_NOT, Shim

from cluster.errors import ServerUnavailable

pytestmark = [pytest.mark.faults, pytest.mark.slow]

CLI = (sys.executable, "-m", "cluster")
WHERE = """
os.environ.pop("CLUSTER_STATE_DIR")
print(lifecycle.state_dir())
"""
# Not root, but able to read the interpreter wherever it is.
AS_OTHER = ("--reuid", "54321", "--regid", "54321", "--clear-groups", "--inh-caps",
            "+dac_read_search", "--ambient-caps", "+dac_read_search")  # fmt: skip


@pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)
def test_row_48_where_locks_do_not_work_no_server_starts_and_the_way_out_is_named(
    queue: Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shim = Shim(tmp_path)
    shim.break_locks(errno.ENOLCK)
    monkeypatch.setenv("LD_PRELOAD", str(shim.library))

    with pytest.raises(ServerUnavailable, match=r"cannot be locked.*Set CLUSTER_STATE_DIR"):
        queue.submit("true")

    until(lambda: not queue.daemons(), what="the end of the one that tried")
    shim.break_locks(0)
    job = queue.counted()
    assert queue.ended(job) == {job: "COMPLETED"}


@pytest.mark.root
@pytest.mark.skipif(not IS_ROOT, reason=NEEDS_ROOT)
def test_row_49_two_machines_that_share_a_home_have_a_queue_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    [here] = inside("--uts", code=WHERE)
    [there] = inside("--uts", code=WHERE, before="hostname other-machine")

    assert here != there
    assert there == f"{tmp_path}/cluster/other-machine"


def cli(*words: str, env: dict[str, str] | None = None, before: tuple[str, ...] = ()) -> tuple:
    argv = [*before, *CLI, *words]
    # Under a limit of file size Python would leave byte code behind that is cut short.
    kept = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **(env or {})}
    # From "/": another user may not be able to enter where this tree is.
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, env=kept, cwd="/")
    return done.returncode, done.stdout, done.stderr


@pytest.mark.root
@pytest.mark.skipif(not IS_ROOT, reason=NEEDS_ROOT)
def test_row_50_a_home_that_cannot_be_written_is_one_clear_sentence(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    script = 'mount -t tmpfs none "$0" && mount -o remount,ro "$0" && exec "$@"'
    before = ("unshare", "--mount", "sh", "-c", script, str(home))

    code, _, said = cli("submit", "true", env={"CLUSTER_STATE_DIR": f"{home}/q"}, before=before)

    assert code != 0
    assert "Traceback" not in said
    assert f"{home}/q" in said
    assert "Read-only file system" in said
    assert "CLUSTER_STATE_DIR" in said


@pytest.mark.root
@pytest.mark.skipif(not IS_ROOT, reason=NEEDS_ROOT)
def test_row_50_a_home_of_somebody_else_is_one_clear_sentence(tmp_path: Path) -> None:
    env = {"HOME": "/root", "XDG_STATE_HOME": ""}
    env["CLUSTER_STATE_DIR"] = ""

    code, _, said = cli("submit", "true", env=env, before=("setpriv", *AS_OTHER))

    assert code != 0
    assert "Traceback" not in said
    assert "Permission denied" in said or "belongs to user 0" in said


def test_row_50_a_quota_is_told_as_one_and_nothing_is_queued(state_dir: Path) -> None:
    code, _, said = cli("submit", "true", before=("prlimit", "--fsize=8192"))

    assert code != 0
    assert "Traceback" not in said
    assert str(state_dir) in said
    lifecycle.stop_everything(state_dir)
    assert cli("list", "--all", "--json")[1].strip() == "[]"


def test_a_limit_of_file_size_that_a_server_cannot_pass_by_is_named_at_once(
    state_dir: Path,
) -> None:
    began = time.monotonic()

    code, _, said = cli("run", "true", before=("prlimit", "--fsize=102400"))

    assert code == 125
    assert "beyond 100 KiB here (ulimit -f)" in said
    assert str(state_dir) in said
    assert time.monotonic() - began < 25  # not after the 30 s that a slow start may take
    assert cli("run", "true")[0] == 0  # nothing stays behind that would keep others away


def test_limits_that_a_shell_set_itself_stay_behind_when_it_starts_the_queue(
    state_dir: Path,
) -> None:
    limits = ("prlimit", "--fsize=8192:", "--cpu=20:", "--as=4000000000:")

    code, told, said = cli(
        "run", "--", "bash", "-c", "for l in f t v; do ulimit -S$l; ulimit -H$l; done",
        before=limits,
    )  # fmt: skip

    words = told.split()
    assert code == 0, said
    assert words[::2] == words[1::2]


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_row_69_whatever_the_umask_nobody_else_can_read_what_the_queue_keeps(
    umask: int, queue: Queue, state_dir: Path
) -> None:
    before = os.umask(umask)
    try:
        small = queue.counted_call()
        large = queue.submit("head", "-c", "400000", "/dev/zero")
        queue.ended(small, large)
    finally:
        os.umask(before)

    modes = {path: stat.S_IMODE(path.lstat().st_mode) for path in state_dir.rglob("*")}
    assert len(modes) > 8
    assert [path for path, mode in modes.items() if mode & 0o077] == []


@pytest.mark.parametrize(
    "env",
    [
        {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0"},
        {"TZ": "Pacific/Kiritimati"},
        {"TZ": "nonsense"},
        {"PATH": ""},
        {"HOME": "/nonexistent"},
    ],
    ids=str,
)
def test_row_69_it_works_in_a_poor_environment(env: dict[str, str], state_dir: Path) -> None:
    code, out, said = cli("run", "--", "/bin/echo", "süß", env=env)

    assert (code, out) == (0, "süß\n"), said
