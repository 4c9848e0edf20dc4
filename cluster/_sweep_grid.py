"""Which runs a sweep has: every combination of a grid, with paired values and defaults.

Pure.  Parameters are flat here, "model.lr"; a function is given nested dicts, a
command the words `model.lr=0.1`.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from cluster.errors import OptionsError

__all__ = ["Grid", "nested", "words"]

Params = dict[str, Any]

_PLAIN_WORD = re.compile(r"[\w./+-]+\Z")


class Grid:
    """All combinations, the last axis fastest.

    Args:
        grid: key to values; each key is an axis.  Nested mappings mean nested keys.
        paired: mappings of keys to values that go together; each is one axis.
        defaults: what is the same in all runs, unless an axis says otherwise.
        max_runs: take only so many, the first; None takes all.

    Attributes:
        total: how many combinations there are, without regard to `max_runs`.

    Raises:
        OptionsError: every mistake.
    """

    def __init__(
        self,
        grid: Mapping[str, Any] | None,
        paired: Iterable[Mapping[str, Any]] | Mapping[str, Any] | None,
        defaults: Mapping[str, Any] | None,
        max_runs: int | None,
    ) -> None:
        wrong: list[str] = []
        self.defaults = _flat("defaults", defaults, wrong)
        axes = [{key: values} for key, values in _flat("grid", grid, wrong).items()]
        axes += [_flat("paired", group, wrong) for group in _groups(paired, wrong)]
        self._axes = [_axis(axis, wrong) for axis in axes if axis]
        _check_keys(self._axes, self.defaults, wrong)
        if max_runs is not None and (
            isinstance(max_runs, bool) or not isinstance(max_runs, int) or max_runs < 1
        ):
            wrong.append(f"max_runs {max_runs!r} is no number of runs. Give 1 or more, or None.")
        if wrong:
            raise OptionsError("\n".join(wrong))
        self.total = math.prod(len(axis) for axis in self._axes)
        self._most = max_runs

    @property
    def paired(self) -> list[dict[str, list[Any]]]:
        """All axes, in the form of `paired`."""
        return [{key: [row[key] for row in axis] for key in axis[0]} for axis in self._axes]

    @property
    def count(self) -> int:
        """How many runs there are."""
        return self.total if self._most is None else min(self.total, self._most)

    def __iter__(self) -> Iterator[Params]:
        for chosen in itertools.islice(itertools.product(*self._axes), self._most):
            params = dict(self.defaults)
            for some in chosen:
                params |= some
            yield params


def _groups(paired: Any, wrong: list[str]) -> list[Any]:
    if isinstance(paired, Mapping):
        return [paired]
    if paired is None or (isinstance(paired, Iterable) and not isinstance(paired, str | bytes)):
        return list(paired or ())
    wrong.append(f"paired {paired!r} is no mapping of keys to values, nor a list of these.")
    return []


def _flat(where: str, given: Any, wrong: list[str], before: str = "") -> Params:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        wrong.append(f"{where} {given!r} is no mapping of keys to values.")
        return {}
    found: Params = {}
    for key, value in given.items():
        if not isinstance(key, str) or not all(key.split(".")) or re.search(r"[\s=]", key):
            wrong.append(
                f"{where}: {key!r} is no key. Keys are words, with dots between those of "
                "nested ones: 'model.lr'."
            )
            continue
        inner = (
            _flat(where, value, wrong, f"{before}{key}.")
            if isinstance(value, Mapping) and value
            else {f"{before}{key}": value}
        )
        wrong += [f"{where}: {name!r} is there twice." for name in inner.keys() & found.keys()]
        found |= inner
    return found


def _axis(axis: Mapping[str, Any], wrong: list[str]) -> list[Params]:
    """Make the values of one axis: of the keys in it, each with its value."""
    lists: dict[str, list[Any]] = {}
    for key, values in axis.items():
        if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
            wrong.append(f"{key}: {values!r} is no list of values. Write [{values!r}].")
            continue
        lists[key] = list(values)
        if not lists[key]:
            wrong.append(f"{key} has no values. Give some, or leave it out.")
    lengths = {key: len(values) for key, values in lists.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{key} has {length}" for key, length in lengths.items())
        wrong.append(f"paired keys need equally many values: {told}.")
        return []
    return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]


def _check_keys(axes: list[list[Params]], defaults: Params, wrong: list[str]) -> None:
    on_axes = [key for axis in axes if axis for key in axis[0]]
    twice = {key for key in on_axes if on_axes.count(key) > 1}
    wrong += [f"{key!r} is on two axes. Leave it on one." for key in sorted(twice)]
    everything = set(on_axes) | set(defaults)
    for key in sorted(everything):
        parts = key.split(".")
        above = {".".join(parts[:n]) for n in range(1, len(parts))} & everything
        wrong += [f"{other!r} is a value and has {key!r} below it." for other in sorted(above)]


def nested(params: Mapping[str, Any]) -> dict[str, Any]:
    """Make nested dicts of flat keys: {"model.lr": 1} is {"model": {"lr": 1}}."""
    found: dict[str, Any] = {}
    for key, value in params.items():
        *above, last = key.split(".")
        place = found
        for part in above:
            place = place.setdefault(part, {})
        place[last] = value
    return found


def words(params: Mapping[str, Any]) -> list[str]:
    """Write parameters as arguments of a command: `model.lr=0.1`."""
    return [f"{key}={_text(value, inside=False)}" for key, value in params.items()]


def _text(value: Any, *, inside: bool) -> str:
    """Write a value as Hydra reads it; text alone is verbatim."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return f"[{','.join(_text(item, inside=True) for item in value)}]"
    if isinstance(value, Mapping):
        pairs = (f"{key}:{_text(item, inside=True)}" for key, item in value.items())
        return f"{{{','.join(pairs)}}}"
    text = str(value)
    if "\0" in text:
        raise OptionsError(f"value {text!r} has a NUL in it, which no program can be given.")
    if not inside or not isinstance(value, str) or _PLAIN_WORD.match(text):
        return text
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
