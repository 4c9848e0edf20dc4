"""The directory of one job: made before it starts, gone when nothing of it lives.

A directory that somebody else made at the same place is not used.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import threading

from cluster.local import spawn

__all__ = ["make", "remove"]


def make(path: bytes) -> None:
    """Make the directory; one that a start before this one made is taken as it is.

    Raises:
        StartFailed: it cannot be made, or is another user's.
        TryAgain: later.
    """
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        found = os.lstat(path)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            taken = PermissionError(1, "somebody else's is there")
            raise spawn.not_started(taken, "its temporary directory") from None
    except (OSError, ValueError) as error:
        what = error if isinstance(error, OSError) else OSError(22, str(error))
        raise spawn.not_started(what, "its temporary directory") from error


def remove(path: bytes) -> None:
    """Remove the directory; what is large goes meanwhile, for the node has other things to do."""
    try:
        os.rmdir(path)
    except FileNotFoundError:
        pass
    except OSError:
        with contextlib.suppress(RuntimeError):  # no thread to be had: it stays in /tmp
            threading.Thread(target=shutil.rmtree, args=(path, True), daemon=True).start()
