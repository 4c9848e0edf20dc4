"""Waiting for files that were written on another machine and do not show here yet."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable

from cluster.schedulers._records import refresh

__all__ = ["wait_for"]

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0


def wait_for(paths: Iterable[str], timeout_s: float) -> bool:
    """Wait until all of these files exist; tell whether they do."""
    deadline = time.monotonic() + timeout_s
    pause = _FIRST_PAUSE_S
    left = [path for path in paths if not os.path.exists(path)]
    while left := [path for path in left if not (refresh(path) and os.path.exists(path))]:
        rest = deadline - time.monotonic()
        if rest <= 0 or not all(os.path.isdir(os.path.dirname(path)) for path in left):
            return False
        time.sleep(min(pause, rest))
        pause = min(pause * 2, _LONGEST_PAUSE_S)
    return True
