"""Places where a daemon can be made to die, for the tests of what happens then.

`CLUSTER_CRASH_POINT` in the environment of a daemon names one of them, or its
n-th passing: `server.after_commit@3`.  The first daemon of a queue that comes
by kills itself, as kill -9 would; its successors pass.

    if crash.armed:
        crash.point("server.after_commit")

That is how a place is marked: the name is written out, so that the tests find
all places in the source, and without the variable it costs one look at `armed`.
"""

from __future__ import annotations

import os
import signal
from itertools import count

__all__ = ["VARIABLE", "armed", "point"]

VARIABLE = "CLUSTER_CRASH_POINT"

_name, _, _number = os.environ.get(VARIABLE, "").partition("@")
_passes = count(1)
armed = bool(_name)


def point(name: str) -> None:
    """Die here if the environment says so."""
    if name == _name and next(_passes) == int(_number or 1) and _is_first():
        os.kill(os.getpid(), signal.SIGKILL)


def _is_first() -> bool:
    mark = os.path.join(os.environ["CLUSTER_STATE_DIR"], f"crashed.{_name}")
    try:
        os.close(os.open(mark, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return False
    return True
