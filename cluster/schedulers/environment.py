"""What a job's options change in the environment that it inherits.

The inherited environment is an argument; all it looks up is whether a directory
is a conda environment.  Names and values are bytes, as the kernel keeps them.
"""

from __future__ import annotations

import fnmatch
import os.path
from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["Changes", "changes", "reduced"]

Env = Mapping[bytes, bytes]

# What a process can hardly do without; everything else goes with inherit_env=False.
KEPT = (b"PATH", b"HOME", b"USER", b"LOGNAME", b"SHELL", b"LANG", b"LC_ALL", b"TZ", b"TMPDIR")
DEFAULT_PATH = b"/usr/local/bin:/usr/bin:/bin"


class Changes(NamedTuple):
    """What is set and what is removed, in this order of precedence."""

    set: dict[bytes, bytes]
    unset: tuple[bytes, ...]

    def value(self, name: bytes, base: Env) -> bytes | None:
        """Give what the job will find under `name`."""
        if name in self.set:
            return self.set[name]
        return None if name in self.unset else base.get(name)


def reduced(options: Mapping[str, Any], base: Env) -> dict[bytes, bytes] | None:
    """Give the part of the environment that is handed on; None if all of it is."""
    names = [os.fsencode(name) for name in options.get("export") or ()]
    if options.get("inherit_env", True) is not False and (not names or b"ALL" in names):
        return None
    wanted = [*KEPT, *(name for name in names if name != b"NONE")]
    found = {
        key: value
        for key, value in base.items()
        if any(fnmatch.fnmatchcase(key, pattern) for pattern in wanted)
    }
    found.setdefault(b"PATH", DEFAULT_PATH)
    return found


def changes(options: Mapping[str, Any], base: Env) -> Changes:
    """Work out what `env`, `env_prepend`, `env_append`, `env_unset` and `venv` change.

    A virtual environment comes first, then what is removed, then what is set,
    then what is put in front and behind: an explicit word wins over a general one.

    Args:
        options: canonical keywords.
        base: what the job inherits.
    """
    new: dict[bytes, bytes] = {}
    gone = {os.fsencode(name): None for name in options.get("env_unset") or ()}
    if options.get("venv"):
        _activate(os.path.abspath(os.fsencode(options["venv"])), new, gone, base)
    new.update((os.fsencode(k), os.fsencode(v)) for k, v in (options.get("env") or {}).items())
    for keyword in ("env_prepend", "env_append"):
        for name, part in (options.get(keyword) or {}).items():
            key, piece = os.fsencode(name), os.fsencode(part)
            old = new.get(key, b"" if key in gone else base.get(key, b""))
            pieces = (piece, old) if keyword == "env_prepend" else (old, piece)
            new[key] = b":".join(one for one in pieces if one)
    return Changes(new, tuple(name for name in gone if name not in new))


def _activate(venv: bytes, new: dict[bytes, bytes], gone: dict[bytes, None], base: Env) -> None:
    conda = os.path.isdir(os.path.join(venv, b"conda-meta"))
    new[b"CONDA_PREFIX" if conda else b"VIRTUAL_ENV"] = venv
    new[b"PATH"] = os.path.join(venv, b"bin") + b":" + base.get(b"PATH", DEFAULT_PATH)
    gone[b"PYTHONHOME"] = None
