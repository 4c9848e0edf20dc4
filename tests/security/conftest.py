"""A queue of root's in a place that other users can walk into, and another user."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "faults"))

from fault_driver import Queue

from cluster.local import lifecycle

OTHER = 65533  # no process and no file of this machine is theirs
PYTHON = "/usr/bin/python3"  # of the system: another user may not be able to reach ours


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory that everybody can enter and list, as a home often is."""
    path = Path(os.path.realpath(tempfile.mkdtemp(prefix="sec-", dir="/tmp")))
    path.chmod(0o755)
    monkeypatch.setenv("CLUSTER_CFG_LOCAL_CORES", "2")
    monkeypatch.setenv("CLUSTER_STATE_DIR", str(path / "q"))
    yield path
    if (path / "q").is_dir() and not (path / "q").is_symlink():
        lifecycle.stop_everything(path / "q")
    shutil.rmtree(path)


@pytest.fixture
def theirs(place: Path) -> Iterator[Queue]:
    """A queue in there, made with a careless umask."""
    before = os.umask(0)
    try:
        queue = Queue(lifecycle.state_dir(), place / "notes")
        queue.ended(queue.submit("true"))
        yield queue
    finally:
        os.umask(before)
        queue.client.close()


@pytest.fixture
def other() -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Run Python code as another user of this machine."""

    def run(code: str, *words: str) -> subprocess.CompletedProcess[str]:
        user = ["setpriv", f"--reuid={OTHER}", f"--regid={OTHER}", "--clear-groups"]
        return subprocess.run(
            [*user, PYTHON, "-I", "-c", code, *words], capture_output=True, text=True, cwd="/"
        )

    return run
