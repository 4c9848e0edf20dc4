"""The functions that run as jobs; a module of its own, so that a job imports nothing else.

Where cloudpickle is used, `by_value` lets them travel as a script's own functions do.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any


class Cannot(Exception):
    """The peer does not offer this."""


def noop() -> int:
    """Do nothing."""
    return 7


def add_one(number: int) -> int:
    """Be a link of a chain."""
    return number + 1


def echo(array: Any) -> Any:
    """Give back what came."""
    return array


def die() -> None:
    """Be killed in the middle."""
    os.kill(os.getpid(), signal.SIGKILL)


def leak() -> int:
    """Leave the working directory, the environment and a module changed."""
    os.chdir("/usr")
    os.environ["LEAKED_BY_A_JOB"] = "1"
    sys.leaked_by_a_job = bytearray(50 << 20)  # type: ignore[attr-defined]
    return 7


def is_polluted() -> bool:
    """Tell whether an earlier job can be seen here."""
    time.sleep(0.02)  # so that not one worker takes them all
    here = os.getcwd() == "/usr" or "LEAKED_BY_A_JOB" in os.environ
    return here or hasattr(sys, "leaked_by_a_job")


def by_value() -> None:
    """Pickle the functions of this module as those of `__main__` are."""
    import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
