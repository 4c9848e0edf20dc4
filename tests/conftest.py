"""No test reaches the user's own queue, and none leaves a process or a file.

Every test gets a `CLUSTER_STATE_DIR` of its own, made only when something in
the test uses it, and a `CLUSTER_CONFIG` that does not exist.  If the directory
exists after the test, its server and node are stopped, and what is still
running there fails the test.
"""

from __future__ import annotations

import functools
import itertools
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cluster.local import lifecycle

END_S = 60.0  # what was told to go is gone within this time
_numbers = itertools.count(1)


def pytest_configure() -> None:
    """Have signals reach the programs that tests start, also under `nohup make test &`.

    What is ignored stays so in a program; what is handled is back to its default there.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


@pytest.fixture(scope="session")
def _states_root() -> Iterator[Path]:
    # /tmp, not tmp_path: the path of a unix socket has room for about 100 bytes.
    root = Path(os.path.realpath(tempfile.mkdtemp(prefix="cl-", dir="/tmp")))
    yield root
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(autouse=True)
def _own_queue(_states_root: Path) -> Iterator[Path]:
    """Point this test at a queue of its own, and clear that away afterwards."""
    saved = {name: os.environ[name] for name in os.environ if name.startswith("CLUSTER_")}
    for name in saved:
        del os.environ[name]
    path = _states_root / str(next(_numbers))
    os.environ["CLUSTER_STATE_DIR"] = str(path)
    os.environ["CLUSTER_CONFIG"] = f"{path}.cfg"
    os.environ["CLUSTER_QTYPE"] = "local"
    _forget_schedulers()  # what a fixture of a whole module found, while it was cleared away

    yield path

    _forget_schedulers()
    for name in [name for name in os.environ if name.startswith("CLUSTER_")]:
        del os.environ[name]
    os.environ.update(saved)
    left = _close_down(path) if path.exists() else []
    Path(f"{path}.cfg").unlink(missing_ok=True)
    assert not left, "left running by this test:\n" + "\n".join(left)


def _forget_schedulers() -> None:
    """Let no test's detection decide where the jobs of the next one go."""
    from cluster import queue, schedulers

    vars(queue).pop("MODE", None)
    queue._look_for_scheduler.cache_clear()
    schedulers.probe.cache_clear()
    schedulers.words_of.cache_clear()
    if isinstance(schedulers.get, functools._lru_cache_wrapper):  # else a test's own
        schedulers.get.cache_clear()


@pytest.fixture
def state_dir(_own_queue: Path) -> Iterator[Path]:
    """A private, empty state directory, already in `CLUSTER_STATE_DIR`.

    After the test no process of that queue runs, and the current directory
    holds no file that it did not hold before.
    """
    cwd = Path.cwd()
    before = _visible(cwd)
    _own_queue.mkdir(mode=0o700)

    yield _own_queue

    new = _visible(cwd) - before
    assert not new, f"left in {cwd} by this test: {', '.join(sorted(new))}"


def _visible(directory: Path) -> set[str]:
    return {name for name in os.listdir(directory) if not name.startswith(".")}


def _close_down(path: Path) -> list[str]:
    """Stop the queue, end what it left, remove it; name what was left."""
    try:
        lifecycle.stop_everything(path)
    finally:
        left = processes_of(path)
        _, alive = psutil.wait_procs(left, timeout=END_S)
        names = [_describe(process) for process in alive]
        for process in alive:
            process.kill()
        shutil.rmtree(path, ignore_errors=True)
    return names


def processes_of(path: Path) -> list[psutil.Process]:
    """Find the processes that name this state directory in environment or arguments."""
    return [process for process in psutil.process_iter() if _belongs(process, str(path))]


def _belongs(process: psutil.Process, path: str) -> bool:
    try:
        if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
            return False
        return process.environ().get("CLUSTER_STATE_DIR") == path or path in process.cmdline()
    except psutil.Error:
        return False


def _describe(process: psutil.Process) -> str:
    try:
        return f"{process.pid}: {' '.join(process.cmdline()) or process.name()}"
    except psutil.Error:
        return str(process.pid)
