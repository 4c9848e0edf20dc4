"""What the user wrote for a keyword, turned into a value of one type.

It reads one value at a time and knows no keyword and no scheduler.  A reader
takes `(value, now)` and returns the value that everybody inside uses; it
raises `ValueError` with a sentence that names the value and what is accepted.
Every reader accepts its own result, so that a checked dict can be checked again.
"""

from __future__ import annotations

import os
import re
import shlex
import signal as signals
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from itertools import pairwise
from operator import index as as_index
from types import ModuleType
from typing import Any

from cluster.spec import DEPENDENCY_TYPES, ArraySpec, Dependency
from cluster.units import parse_memory, parse_seconds

__all__ = ["READERS", "Indices", "parse_array"]

_TRUE, _FALSE = ("yes", "true", "on", "1"), ("no", "false", "off", "0")
_ID = re.compile(r"[A-Za-z0-9][\w.\-]*(?:\[\d*\])?(?:\.[\w.\-]+)?\Z")
_RANGE = re.compile(r"(\d+)(?:-(\d+)(?::(\d+))?)?\Z")
_BEGIN = "a datetime, a timedelta from now, 'HH:MM', ISO text, or 'now+2h'"
_ARRAY = "'1-100', '1-9:2', '1,3,5', each with '%N' for at most N at once, a range, or ints"
MAX_ARRAY = 10_000_000  # more indices than this is a slip of the keyboard
MAX_INT = 2**31 - 1  # of anything counted, MiB too: 2 PiB; schedulers hold no more in an int
_KEYWORDS_OF_THEIR_OWN = ("cores", "memory_mib", "gpus")


class Indices(tuple[int, ...]):
    """Array indices that no start and step describe, and how many may run at once."""

    max_running: int

    def __new__(cls, indices: Iterable[int], max_running: int = 0) -> Indices:
        self = super().__new__(cls, indices)
        self.max_running = max_running
        return self


# ---------------------------------------------------------------- numbers


def _int(value: Any) -> int:
    if isinstance(value, str) and re.fullmatch(r"\s*[+-]?[0-9]{1,99}\s*", value):
        return _bounded(int(value))
    try:
        if isinstance(value, bool):
            raise TypeError
        return _bounded(as_index(value))
    except TypeError:
        raise ValueError(f"{value!r} is not a whole number") from None


def _bounded(number: int) -> int:
    if abs(number) > MAX_INT:
        raise ValueError(f"{number} is too large; {MAX_INT} is the most")
    return number


def _memory(value: Any) -> int:
    mib = parse_memory(value)
    if mib > MAX_INT:
        raise ValueError(f"memory {value!r} is too large; {MAX_INT} MiB is the most")
    return mib


def _count(value: Any, least: int = 1) -> int:
    number = _int(value)
    if number < least:
        raise ValueError(f"{number} is too few; ask for {least} or more")
    return number


def _positive(number: Any) -> Any:
    # To Slurm 0 means all the memory, or no limit at all; here it would mean neither.
    if number == 0:
        raise ValueError("0 asks for nothing; leave it out to have no limit")
    return number


def _bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in _TRUE + _FALSE:
        return value.strip().lower() in _TRUE
    raise ValueError(f"{value!r} is neither true nor false")


def _umask(value: Any) -> int:
    if isinstance(value, str):
        if not re.fullmatch(r"(0o)?[0-7]{1,4}", value.strip()):
            raise ValueError(f"{value!r} is not an octal mask like '022'")
        value = int(value.strip().removeprefix("0o"), 8)
    mask = _int(value)
    if not 0 <= mask <= 0o777:
        raise ValueError(f"{value!r} is not a mask between 0 and 0o777")
    return mask


def _gpus(value: Any) -> Any:
    """Give an int, or `(type, int)` when the text names a type."""
    if not isinstance(value, str) or ":" not in value:
        return _count(value, 0)
    kind, _, count = value.rpartition(":")
    return _word(kind), _count(count, 0)


# ---------------------------------------------------------------- text


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        value = os.fsdecode(value)
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not text")
    if "\0" in value:
        raise ValueError(f"{value!r} has a NUL in it")
    return value


def _line(value: Any) -> str:
    text = _text(value)
    if re.search(r"[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]", text):
        raise ValueError(f"{text!r} has a newline in it")
    return text


def _name(value: Any) -> str:
    text = _line(value)
    if not text.strip():
        raise ValueError("it is empty")
    return text


def _word(value: Any) -> str:
    text = _name(value)
    if re.search(r"\s", text):
        raise ValueError(f"{text!r} has a blank in it")
    return text


def _path(value: Any) -> str:
    try:
        text = os.fsdecode(os.fspath(value))
    except TypeError:
        raise ValueError(f"{value!r} is not a path") from None
    return _name(text)


def _items(value: Any, split: Callable[[str], list[str]]) -> list[Any]:
    if isinstance(value, str | bytes):
        return split(_text(value))
    if isinstance(value, Mapping) or not isinstance(value, Iterable):
        return [value]
    return list(value)


def _names(value: Any) -> list[str]:
    return [_word(item) for item in _items(value, _split_names)]


def _split_names(text: str) -> list[str]:
    return [word for word in re.split(r"[,\s]+", text) if word]


def _lines(value: Any) -> list[str]:
    return [_line(item) for item in _items(value, str.splitlines) if item != ""]


def _paths(value: Any) -> list[str]:
    return [_path(item) for item in _items(value, str.splitlines) if item != ""]


def _argv(value: Any) -> list[str]:
    return [_text(item) for item in _items(value, shlex.split)]


def _modules(value: Any) -> list[str]:
    return [
        item.__name__ if isinstance(item, ModuleType) else _word(item)
        for item in _items(value, _split_names)
    ]


def _export(value: Any) -> list[str]:
    names = _names(value)
    for name in names:
        if not re.fullmatch(r"\w+", name):
            raise ValueError(f"{name!r} is not the name of a variable; set values with env=")
    return names


# ---------------------------------------------------------------- mappings


def _pairs(value: Any, split: Callable[[str], list[str]] = shlex.split) -> dict[Any, Any]:
    """Give a mapping; text is `NAME=VALUE NAME=VALUE`, quoted as in a shell."""
    if isinstance(value, str):
        words = split(value)
        if not all("=" in word for word in words):
            raise ValueError(f"{value!r} is not of the form 'NAME=VALUE NAME=VALUE'")
        return dict(word.split("=", 1) for word in words)
    if not isinstance(value, Mapping):
        raise ValueError(f"{value!r} is not a mapping of names to values")
    return dict(value)


def _variable(name: Any) -> str:
    text = _text(name)
    if not text or "=" in text:
        raise ValueError(f"{text!r} cannot be the name of a variable")
    return text


def _variable_value(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    try:
        return _text(os.fsdecode(os.fspath(value)))
    except TypeError:
        raise ValueError(f"{value!r} is neither text nor path nor int") from None


def _mapping(value: Any) -> dict[str, str]:
    return {_variable(name): _variable_value(item) for name, item in _pairs(value).items()}


def _path_mapping(value: Any) -> dict[str, str]:
    return {
        _variable(name): os.pathsep.join(
            _variable_value(part) for part in _items(item, lambda text: [text])
        )
        for name, item in _pairs(value).items()
    }


def _resources(value: Any) -> dict[str, int]:
    found = {}
    for name, amount in _pairs(value, _split_names).items():
        if not re.fullmatch(r"[A-Za-z_][\w.\-]*", _text(name)):
            raise ValueError(f"{name!r} cannot be the name of a resource")
        if name in _KEYWORDS_OF_THEIR_OWN:
            keyword = "mem" if name == "memory_mib" else name
            raise ValueError(f"{name!r} has a keyword of its own; write {keyword}={amount}")
        found[_text(name)] = _count(amount, 0)
    return found


# ---------------------------------------------------------------- time, signals


def _begin(value: Any, now: datetime) -> datetime:
    if isinstance(value, datetime):
        return value.astimezone()
    if isinstance(value, timedelta):
        return now + value
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a time to begin; write {_BEGIN}")
    text = value.strip()
    if text.startswith("now"):
        rest = text.removeprefix("now").strip().removeprefix("+")
        return now + timedelta(seconds=parse_seconds(rest)) if rest else now
    if clock := re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", text):
        today = now.replace(hour=int(clock[1]), minute=int(clock[2]), second=0, microsecond=0)
        return today if today > now else today + timedelta(days=1)
    try:
        if not re.match(r"\d{4}-\d\d-\d\d", text):
            raise ValueError
        # Python 3.10 does not read the Z of UTC.
        return datetime.fromisoformat(re.sub(r"[zZ]\Z", "+00:00", text)).astimezone()
    except ValueError:
        raise ValueError(f"{value!r} is not a time to begin; write {_BEGIN}") from None


def _signal(value: Any) -> tuple[int, float]:
    """Give `(number, seconds before the limit)`."""
    if isinstance(value, str):
        value = value.strip().partition("@")[::2] if "@" in value else (value, "")
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError(f"{value!r} is not of the form 'USR1@60s'")
    which, before = value
    if before == "":
        raise ValueError(f"{which!r} does not say how long before the limit; write 'USR1@60s'")
    return _signal_number(which), parse_seconds(before)


def _signal_number(which: Any) -> int:
    if isinstance(which, str) and not which.isdigit():
        which = getattr(signals, "SIG" + which.upper().removeprefix("SIG"), None) or which
    try:
        return int(signals.Signals(_int(which)))
    except ValueError:
        raise ValueError(f"{which!r} is not a signal") from None


# ---------------------------------------------------------------- jobs


def _dependencies(value: Any) -> tuple[Dependency, ...]:
    found: list[Dependency] = []
    if isinstance(value, Mapping):
        for kind, jobs in value.items():
            found += [Dependency(one.job, _dependency_type(kind)) for one in _dependencies(jobs)]
    elif isinstance(value, str):
        for piece in _split_names(value):
            kind, _, jobs = piece.partition(":") if ":" in piece else ("afterok", "", piece)
            found += [Dependency(_id(job), _dependency_type(kind)) for job in jobs.split(":")]
    elif isinstance(value, Dependency):
        found.append(Dependency(_id(value.job), _dependency_type(value.type)))
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            found += _dependencies(item)
    elif hasattr(value, "id"):
        if value.id is None or value.id == "":
            raise ValueError(f"{value!r} was not submitted yet; submit it first")
        found.append(Dependency(_id(str(value.id))))
    else:
        found.append(Dependency(_id(str(_count(value)))))
    return tuple(dict.fromkeys(found))


def _dependency_type(kind: Any) -> str:
    if kind not in DEPENDENCY_TYPES:
        raise ValueError(f"{kind!r} is no kind of dependency; there are {_or(DEPENDENCY_TYPES)}")
    return str(kind)


def _id(text: str) -> str:
    if not _ID.match(text):
        raise ValueError(f"{text!r} is not the id of a job")
    return text


def _or(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def parse_array(value: Any) -> ArraySpec | Indices:
    """Read the indices of an array.

    Args:
        value: `"1-100%5"` (1 to 100, at most 5 at once), `"1-9:2"` (step 2),
            `"1,3,7-9"`, a range, ints, or an `ArraySpec`.

    Returns:
        An `ArraySpec` where a start, a count and a step say it; else `Indices`,
        a tuple of ints, sorted, with its own `max_running`.

    Raises:
        ValueError: it is not one of these forms, has an index twice, or none.
    """
    if isinstance(value, ArraySpec):
        return value
    most = value.max_running if isinstance(value, Indices) else 0
    if isinstance(value, str):
        text, percent, limit = value.strip().partition("%")
        most = _count(limit) if percent else 0
        ranges = [_range(piece.strip(), value) for piece in text.split(",")]
        if len(ranges) == 1:
            return _spec(ranges[0], most)
        indices = [index for some in ranges for index in some]
    elif isinstance(value, Iterable) and not isinstance(value, bytes | Mapping):
        indices = [_count(item, 0) for item in value]
    else:
        raise ValueError(f"{value!r} is not an array; write {_ARRAY}")
    if len(set(indices)) != len(indices) or not indices:
        raise ValueError(f"{value!r} names {'an index twice' if indices else 'no index'}")
    return _compact(sorted(indices), most)


def _range(piece: str, whole: str) -> range:
    match = _RANGE.match(piece)
    if match is None:
        raise ValueError(f"{whole!r} is not an array; write {_ARRAY}")
    first, last, step = int(match[1]), int(match[2] or match[1]), int(match[3] or 1)
    if step == 0 or last < first:
        raise ValueError(f"{piece!r} runs backwards or nowhere; write first-last:step")
    if (last - first) // step >= MAX_ARRAY:
        raise ValueError(f"{piece!r} has more than {MAX_ARRAY} indices")
    return range(first, _bounded(last) + 1, step)


def _spec(indices: range, most: int) -> ArraySpec:
    return ArraySpec(indices[0], len(indices), indices.step if len(indices) > 1 else 1, most)


def _compact(indices: list[int], most: int) -> ArraySpec | Indices:
    step = indices[1] - indices[0] if len(indices) > 1 else 1
    if all(b - a == step for a, b in pairwise(indices)):
        return ArraySpec(indices[0], len(indices), step, most)
    return Indices(indices, most)


Reader = Callable[[Any, datetime], Any]


def _plain(read: Callable[[Any], Any]) -> Reader:
    return lambda value, now: read(value)


READERS: dict[str, Reader] = {
    "begin": _begin,
    **{
        kind: _plain(read)
        for kind, read in {
            "int": _int,
            "count": _count,
            "count0": lambda value: _count(value, 0),
            "bool": _bool,
            "umask": _umask,
            "gpus": _gpus,
            "memory": lambda value: _positive(_memory(value)),
            "limit": lambda value: _positive(parse_seconds(value)),
            "time": parse_seconds,
            "signal": _signal,
            "text": _text,
            "line": _line,
            "name": _name,
            "word": _word,
            "choice": _word,
            "path": _path,
            "names": _names,
            "lines": _lines,
            "directives": _lines,
            "paths": _paths,
            "argv": _argv,
            "modules": _modules,
            "export": _export,
            "mapping": _mapping,
            "path_mapping": _path_mapping,
            "resources": _resources,
            "dependencies": _dependencies,
            "array": parse_array,
        }.items()
    },
}
