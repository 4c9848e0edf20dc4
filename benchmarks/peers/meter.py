"""Measure S whenever a line with a number of spawns comes in; started with `python -S`."""

from __future__ import annotations

import os
import sys
import time

TRUE = "/bin/true" if os.path.exists("/bin/true") else "/usr/bin/true"


def spawns_per_s(number: int) -> float:
    """Start and reap `/bin/true`, two at a time; the same as in `floors`."""
    left, running = number, 0
    begin = time.perf_counter()
    while left or running:
        while left and running < 2:
            os.posix_spawn(TRUE, [TRUE], os.environ)
            left, running = left - 1, running + 1
        os.wait()
        running -= 1
    return number / (time.perf_counter() - begin)


if __name__ == "__main__":
    for line in sys.stdin:
        print(spawns_per_s(int(line)), flush=True)
