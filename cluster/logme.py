"""Messages for people, with a level, a time stamp, and colour on a terminal.

Thin over the standard `logging`: messages go through the logger "cluster", so
that a program which configures logging gets them where it wants them.  Without
such configuration they are written to standard error.

`MIN_LEVEL` can be changed at any time; it is read at each call.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from typing import IO

from cluster.errors import OptionsError

__all__ = ["LEVELS", "MIN_LEVEL", "log"]

MIN_LEVEL = "info"
LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "normal": logging.INFO,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}
_COLOURS = {"DEBUG": "36", "INFO": "32", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}

Target = IO[str] | logging.Logger | str | os.PathLike[str]


def log(
    message: str,
    level: str = "info",
    logfile: Target | None = None,
    also_write: str | None = None,
    min_level: str | None = None,
    kind: str | None = None,
) -> None:
    """Write one message, if its level is at least `MIN_LEVEL`.

    Args:
        message: what to say.
        level: debug, info, normal (info without a prefix), warn, error, critical.
        logfile: a path (appended to), an open text file, or a logger; None is
            standard error.
        also_write: "stdout" or "stderr", unless the message goes there already.
        min_level: for this call instead of `MIN_LEVEL`.
        kind: another name for `level`.

    Raises:
        OptionsError: no such level, or no such place in `also_write`.
    """
    word = kind or level
    if _number(word) < _number(min_level or MIN_LEVEL):
        return
    target = _target(logfile)
    _write(target, message, word)
    if also_write is not None:
        other = _stream(also_write)
        if other is not target:
            _write(other, message, word)


def _number(level: str) -> int:
    try:
        return LEVELS[level.lower()]
    except (KeyError, AttributeError):
        raise OptionsError(f"unknown level {level!r}; there are {', '.join(LEVELS)}") from None


def _stream(name: str) -> IO[str]:
    if name not in ("stdout", "stderr"):
        raise OptionsError(f"also_write is {name!r}; it can be 'stdout' or 'stderr'")
    return sys.stdout if name == "stdout" else sys.stderr


def _target(logfile: Target | None) -> Target:
    if logfile is not None:
        return logfile
    logger = logging.getLogger("cluster")
    return logger if logger.hasHandlers() else sys.stderr


def _write(target: Target, message: str, level: str) -> None:
    if isinstance(target, logging.Logger):
        target.log(_number(level), "%s", message)
    elif isinstance(target, str | os.PathLike):
        with open(target, "a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(_line(message, level, colour=False))
    else:
        text = _line(message, level, colour=_is_terminal(target))
        try:
            target.write(text)
        except UnicodeEncodeError:  # a terminal that is not UTF-8
            target.write(text.encode("ascii", "backslashreplace").decode())
        target.flush()


def _line(message: str, level: str, *, colour: bool) -> str:
    if level.lower() == "normal":
        return f"{message}\n"
    name = logging.getLevelName(_number(level))
    label = f"\x1b[{_COLOURS[name]}m{name}\x1b[0m" if colour else name
    return f"{time.strftime('%Y-%m-%d %H:%M:%S')} {label} --> {message}\n"


def _is_terminal(stream: IO[str]) -> bool:
    return "NO_COLOR" not in os.environ and bool(getattr(stream, "isatty", bool)())
