"""All tests of a module share one queue: what they leave there is part of the test."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cluster.local import lifecycle

pytest.register_assert_rewrite("cluster.testing.contract")

END_S = 60.0


@pytest.fixture(scope="module")
def module_state() -> Iterator[Path]:
    """A state directory for the tests of one module; nothing runs there afterwards."""
    # /tmp, not tmp_path: the path of a unix socket has room for about 100 bytes.
    path = Path(os.path.realpath(tempfile.mkdtemp(prefix="cl-", dir="/tmp")))
    saved = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("CLUSTER_")}
    os.environ["CLUSTER_STATE_DIR"] = str(path)
    os.environ["CLUSTER_CONFIG"] = f"{path}/none.cfg"

    yield path

    try:
        lifecycle.stop_everything(path)
        left = [process for process in psutil.process_iter() if _belongs(process, str(path))]
        _, alive = psutil.wait_procs(left, timeout=END_S)
        told = [process.cmdline() for process in alive]
        for process in alive:
            process.kill()
    finally:
        for name in [name for name in os.environ if name.startswith("CLUSTER_")]:
            del os.environ[name]
        os.environ.update(saved)
        shutil.rmtree(path, ignore_errors=True)
    assert not told, f"left running: {told}"


def _belongs(process: psutil.Process, path: str) -> bool:
    try:
        if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
            return False
        return process.environ().get("CLUSTER_STATE_DIR") == path or path in process.cmdline()
    except psutil.Error:
        return False


@pytest.fixture(autouse=True)
def _own_queue(module_state: Path) -> Path:
    """Stand in for the queue that every other test has for itself."""
    return module_state
