"""Two cores, a queue of its own for each test, and no fault that outlives it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_driver import Queue


@pytest.fixture
def queue(state_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Queue]:
    """A queue with 2 cores, whichever process starts its server."""
    monkeypatch.setenv("CLUSTER_CFG_LOCAL_CORES", "2")
    queue = Queue(state_dir, tmp_path / "notes")
    yield queue
    queue.client.close()
