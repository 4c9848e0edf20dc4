"""Values of settings and profiles as text, both ways.

It opens no file.  Settings have types of their own (`KINDS`); the keywords of
a profile stay text until `options.check_arguments` reads them, so `to_text`
only has to write what that will read as the same value.
"""

from __future__ import annotations

import math
import os
import re
import shlex
from collections.abc import Callable, Mapping
from typing import Any

from cluster._option_table import SYNONYMS, TABLE
from cluster._settings_table import Setting
from cluster.errors import ConfigError
from cluster.units import parse_memory

__all__ = ["KINDS", "to_text"]

# ---------------------------------------------------------------- text -> setting


def _count(least: int) -> Callable[[str, Setting], int]:
    def read(text: str, setting: Setting) -> int:
        if not re.fullmatch(r"[0-9]{1,12}", text) or int(text) < least:
            raise ValueError(f"write a whole number, {least} or more")
        return int(text)

    return read


def _seconds(text: str, setting: Setting) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not math.isfinite(number) or number < 0:
        raise ValueError("write a number, 0 or more; the key names its unit")
    return number


def _bool(text: str, setting: Setting) -> bool:
    if text.lower() not in ("yes", "true", "on", "1", "no", "false", "off", "0"):
        raise ValueError("write yes or no")
    return text.lower() in ("yes", "true", "on", "1")


def _choice(text: str, setting: Setting) -> str:
    if text.lower() not in setting.choices:
        raise ValueError(f"write one of {', '.join(setting.choices)}")
    return text.lower()


def _qtype(text: str, setting: Setting) -> str:
    if re.fullmatch(r"[\w.+-]+", text) and text not in setting.choices:
        from importlib.metadata import entry_points

        if entry_points(group="cluster.schedulers", name=text):
            return text
    return _choice(text, setting)


def _word(text: str, setting: Setting) -> str:
    if not re.fullmatch(r"[\w.+-]+", text):
        raise ValueError("write one word of letters, digits, and . _ + -")
    return text


def _line(text: str, setting: Setting) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError("write one line of text")
    return text.strip()


def _path(text: str, setting: Setting) -> str:
    if not text or "\0" in text or "\n" in text:
        raise ValueError("write a path")
    return os.path.expanduser(text)


def _resources(text: str, setting: Setting) -> dict[str, int]:
    found = {}
    for word in re.split(r"[,\s]+", text) if text else ():
        match = re.fullmatch(r"([A-Za-z_][\w.-]*)=([0-9]{1,12})", word)
        if match is None:
            raise ValueError("write name=count, separated by commas: license=2, scratch=10")
        found[match[1]] = int(match[2])
    return found


KINDS: dict[str, Callable[[str, Setting], Any]] = {
    "count": _count(1),
    "count0": _count(0),
    "seconds": _seconds,
    "bool": _bool,
    "choice": _choice,
    "qtype": _qtype,
    "word": _word,
    "line": _line,
    "path": _path,
    "memory": lambda text, setting: parse_memory(text),
    "resources": _resources,
}


# ---------------------------------------------------------------- values as text


def to_text(key: str, value: Any) -> str:
    """Write a value so that reading it as a keyword gives the same value."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float) and (unit := _unit(key)):
        return _number(value) + unit
    if hasattr(value, "total_seconds"):
        seconds = _number(value.total_seconds()) + "s"
        return f"now+{seconds}" if _kind(key) == "begin" else seconds
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    if isinstance(value, Mapping):
        return " ".join(shlex.quote(f"{name}={_plain(one)}") for name, one in value.items())
    if isinstance(value, list | tuple):
        return _list_text(key, [_plain(one) for one in value])
    return _plain(value)


def _list_text(key: str, items: list[str]) -> str:
    if _kind(key) == "argv":
        return shlex.join(items)
    by_line = _kind(key) in ("lines", "paths", "directives")
    by_line = by_line or any(re.search(r"[,\s]", item) for item in items)
    return "\n".join(items) if by_line else ", ".join(items)


def _number(value: float) -> str:
    text = f"{value:f}"  # never an exponent, which units does not read
    return text.rstrip("0").rstrip(".") if "." in text else text


def _plain(value: Any) -> str:
    text = os.fsdecode(value) if isinstance(value, bytes | os.PathLike) else str(value)
    if "\0" in text:
        raise ConfigError(f"{text!r} has a NUL in it")
    return text


def _kind(key: str) -> str:
    name = SYNONYMS.get(key, key)
    return TABLE[name].kind if name in TABLE else ""


def _unit(key: str) -> str:
    return {"memory": "M", "time": "s", "limit": "s"}.get(_kind(key), "")
