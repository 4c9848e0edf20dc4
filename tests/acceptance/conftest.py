"""A queue per file, used as its owner uses it: through `import cluster` and the command line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from scientist import ROOT, Cli, until

import cluster
from cluster.local import lifecycle


@pytest.fixture(scope="module")
def queue_of_this_file() -> Iterator[Path]:
    """The state directory of a queue that serves all tests of one file."""
    # /tmp, not tmp_path: the path of a unix socket has room for about 100 bytes.
    path = Path(os.path.realpath(tempfile.mkdtemp(prefix="cl-", dir="/tmp")))
    yield path
    lifecycle.stop_everything(path)
    left = [process for process in psutil.process_iter() if _belongs(process, path)]
    _, alive = psutil.wait_procs(left, timeout=60)
    names = [f"{process.pid}: {process.cmdline()}" for process in alive]
    for process in alive:
        process.kill()
    shutil.rmtree(path, ignore_errors=True)
    assert not names, "left running by this file:\n" + "\n".join(names)


def _belongs(process: psutil.Process, path: Path) -> bool:
    try:
        is_of_it = process.environ().get("CLUSTER_STATE_DIR") == str(path)
        return is_of_it and process.pid != os.getpid()
    except psutil.Error:
        return False


@pytest.fixture
def here(
    queue_of_this_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """An empty current directory, and in the environment the queue of this file.

    What a test leaves in the queue is cancelled, so that the next finds all cores free.
    """
    monkeypatch.setenv("CLUSTER_STATE_DIR", str(queue_of_this_file))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    if (queue_of_this_file / "server.sock").exists():
        left = [job for job in cluster.Queue() if not job.done]
        cluster.cancel([job.id for job in left])
        until(lambda: not any(job.info.ending for job in cluster.Queue()))


@pytest.fixture
def own_queue(state_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Like `here`, with a queue that no other test uses; its state directory."""
    monkeypatch.chdir(tmp_path)
    return state_dir


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cli:
    """Run `cluster` against the queue that is in the environment."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return Cli(tmp_path)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Script:
    """Write a Python script into a directory of its own and run it."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return Script(tmp_path)


class Script:
    """Runs Python text as the file `study.py`, as a user would."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __call__(self, text: str, *args: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        path = self.directory / "study.py"
        path.write_text(text)
        return subprocess.run(
            [sys.executable, path, *args], capture_output=True, text=True, timeout=60,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
