"""What programs read below $SGE_ROOT without asking a command."""

from __future__ import annotations

import shlex
import socket
from collections.abc import Mapping

__all__ = ["files"]


def files(home: str) -> Mapping[str, str]:
    """Give the files of the cell `default`, by path below `home`."""
    host = socket.gethostname().partition(".")[0]
    root = shlex.quote(home)
    return {
        "default/common/act_qmaster": f"{host}\n",
        "default/common/settings.sh": f"SGE_ROOT={root}; export SGE_ROOT\n"
        "SGE_CELL=default; export SGE_CELL\n",
        "default/common/settings.csh": f"setenv SGE_ROOT {root}\nsetenv SGE_CELL default\n",
    }
