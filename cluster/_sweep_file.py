"""A sweep described in a file, .ini or .toml: reading it.

    [sweep]      command or function, name, directory, mode, max_runs
    [grid]       keys and their values: all combinations
    [paired]     keys whose values go together; [paired NAME], or [[paired]] in TOML, for more
    [defaults]   the same in all runs
    [options]    keywords of the jobs

In an .ini file a value that is JSON means that; any other text is itself, and
commas separate values.
"""

from __future__ import annotations

import configparser
import csv
import json
import os
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from cluster.errors import ConfigError

__all__ = ["read"]

_SWEEP = ("command", "function", "name", "directory", "mode", "max_runs")
_SECTIONS = ("sweep", "grid", "paired", "defaults", "options")


def read(path: str | os.PathLike[str]) -> tuple[Any, dict[str, Any]]:
    """Read the description of a sweep.

    Args:
        path: its file; a `directory` in it is looked for from where the file is,
            and so is the module of a `function`.

    Returns:
        What `cluster.Sweep` takes: the command or function, and keyword arguments.

    Raises:
        ConfigError: the file cannot be read, or says something that is not known.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"{file} cannot be read: {why}. Check its path.") from error
    if file.suffix not in (".ini", ".toml"):
        raise ConfigError(f"{file} is no description of a sweep: its name ends in .ini or .toml.")
    told = _toml(file, text) if file.suffix == ".toml" else _ini(file, text)
    _check(file, told)
    sweep = dict(told.get("sweep", {}))
    options = dict(told.get("options", {}))
    clash = sorted({*_SWEEP, *_SECTIONS} & options.keys())
    if clash:
        raise ConfigError(f"{file}: {', '.join(clash)} in [options] belong into [sweep].")
    command = _command(file, sweep)
    sweep.setdefault("name", file.stem)
    sweep["directory"] = str(file.parent / sweep.get("directory", f"{sweep['name']}.sweep"))
    kinds = {key: told[key] for key in ("grid", "paired", "defaults") if key in told}
    return command, {**sweep, **kinds, **options}


def _check(file: Path, told: Mapping[str, Any]) -> None:
    wrong = [f"there is no section [{name}]" for name in told if name not in _SECTIONS]
    wrong += [
        f"[{name}] is no table"
        for name in _SECTIONS
        if name != "paired" and not isinstance(told.get(name, {}), Mapping)
    ]
    sweep = told.get("sweep", {})
    if isinstance(sweep, Mapping):
        wrong += [f"[sweep] has no key {key!r}" for key in sweep if key not in _SWEEP]
        if len({"command", "function"} & set(sweep)) != 1:
            wrong.append("[sweep] needs one of command and function")
    if wrong:
        raise ConfigError(
            f"{file}: {'; '.join(wrong)}. Sections: {', '.join(_SECTIONS)}; keys of [sweep]: "
            f"{', '.join(_SWEEP)}."
        )


def _command(file: Path, sweep: dict[str, Any]) -> Any:
    if "command" in sweep:
        command = sweep.pop("command")
        right = isinstance(command, str) or (
            isinstance(command, list) and all(isinstance(word, str) for word in command)
        )
        if not right or not command:
            raise ConfigError(f"{file}: command {command!r} is neither text nor a list of words.")
        return command
    name = sweep.pop("function")
    module, colon, inner = str(name).partition(":")
    if not colon or not module or not inner:
        raise ConfigError(f"{file}: function {name!r} cannot be read. Write 'module:function'.")
    sys.path.insert(0, os.fspath(file.resolve().parent))
    try:
        found: Any = import_module(module)
        for part in inner.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{file}: function {name!r} is not there: {error}.") from error
    if not callable(found):
        raise ConfigError(f"{file}: {name!r} is no function.")
    return found


def _toml(file: Path, text: str) -> dict[str, Any]:
    try:
        toml = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    except ImportError:
        raise ConfigError(
            f"{file}: Python {sys.version_info[0]}.{sys.version_info[1]} reads no TOML by itself. "
            "pip install tomli, or write an .ini file."
        ) from None
    try:
        told: dict[str, Any] = toml.loads(text)
    except ValueError as error:
        raise ConfigError(f"{file} is no TOML: {error}.") from error
    return told


def _ini(file: Path, text: str) -> dict[str, Any]:
    parser = configparser.RawConfigParser(delimiters=("=",), default_section="\0")
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    try:
        parser.read_string(text, os.fspath(file))
    except configparser.Error as error:
        raise ConfigError(f"{file} cannot be read: {error}") from error
    told: dict[str, Any] = {}
    for name in parser.sections():
        items = dict(parser[name])
        word, _, _ = name.partition(" ")
        if word == "paired":
            told.setdefault("paired", []).append({k: _values(v) for k, v in items.items()})
        elif name == "grid":
            told[name] = {key: _values(value) for key, value in items.items()}
        elif name == "sweep":
            told[name] = {k: _value(v) if k == "max_runs" else v for k, v in items.items()}
        elif name == "options":
            # Texts, as on the command line: whoever reads keywords reads them.
            told[name] = {k: _value(v) if k == "max_running" else v for k, v in items.items()}
        else:
            told[name] = {key: _value(value) for key, value in items.items()}
    return told


def _value(text: str) -> Any:
    """Read one value: JSON, else the text itself."""
    try:
        return json.loads(text, parse_constant=lambda word: word)
    except ValueError:
        return text


def _values(text: str) -> list[Any]:
    """Read several values: a JSON list, else what stands between commas."""
    if text.strip().startswith("["):
        value = _value(text)
        if isinstance(value, list):
            return value
    rows = csv.reader(text.splitlines(), skipinitialspace=True)
    return [_value(word.strip()) for row in rows for word in row if word.strip()]
