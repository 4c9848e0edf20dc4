"""Every keyword of a job: which there are, whether a dict of them is right, what they become.

The keywords themselves are data in `_option_table.py`.  Nothing is defaulted
here: what nobody asked for is not requested from any scheduler.

    check_arguments(kwargs)     what the user wrote -> one name, one type each
    options_to_string(checked)  -> the directive lines of one scheduler
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

from cluster import _option_values as values_of
from cluster._option_directives import PREFIX, Site, flags
from cluster._option_table import ALIASES, QTYPES, SYNONYMS, TABLE, Absent, Option
from cluster._option_values import Indices
from cluster.errors import OptionsError
from cluster.spec import ArraySpec

__all__ = [
    "Indices",
    "all_options",
    "canonical_name",
    "check_arguments",
    "option_help",
    "option_lines",
    "option_to_string",
    "options_to_string",
    "parse_array",
]

all_options: Mapping[str, Option] = MappingProxyType(TABLE)


# ---------------------------------------------------------------- checking


def check_arguments(kwargs: Mapping[str, Any], *, now: datetime | None = None) -> dict[str, Any]:
    """Check keywords and give each its one name and its one type.

    Times become seconds (float), memory MiB (int), `begin` an aware datetime,
    dependencies a tuple of `spec.Dependency`, `array` what `parse_array` gives,
    `signal` `(number, seconds before the limit)`, environments dicts of str.
    `gpus="a100:2"` becomes `gpus` and `gpu_type`.  None means not asked for.
    The result can be checked again.

    Args:
        kwargs: keyword (or synonym) to value; text is accepted for every type.
        now: what `begin` counts from; None is the present.

    Returns:
        Only what was asked for; no defaults.

    Raises:
        OptionsError: unknown keywords, one meaning given twice, values that
            cannot be read; all of them in one message.
    """
    if not kwargs:
        return {}
    now = now or datetime.now().astimezone()
    mistakes: list[str] = []
    given: dict[str, str] = {}
    checked: dict[str, Any] = {}
    for key, value in kwargs.items():
        if value is None and canonical_name(key):
            continue
        try:
            name = _only_name(key, given)
            checked[name] = _read(name, value, now)
        except OptionsError as error:
            mistakes.append(str(error))
    mistakes += _settle_gpus(checked)
    if mistakes:
        raise OptionsError(_together(mistakes))
    return checked


def canonical_name(key: str) -> str | None:
    """Give the one name of a keyword or synonym; None when nobody knows it."""
    word = key.replace("-", "_") if isinstance(key, str) else ""
    return word if word in TABLE else SYNONYMS.get(word)


def _only_name(key: str, given: dict[str, str]) -> str:
    name = canonical_name(key)
    if name is None:
        raise OptionsError(f"unknown keyword {key!r}{_nearest(str(key))}")
    if name in given:
        raise OptionsError(f"{given[name]} and {key} mean the same; give one of them")
    given[name] = key
    return name


def _nearest(key: str) -> str:
    from difflib import get_close_matches  # only an error needs it

    close = get_close_matches(key.replace("-", "_").lower(), [*TABLE, *SYNONYMS], n=1)
    if not close:
        return "; cluster.options.option_help() lists all of them"
    meaning = SYNONYMS.get(close[0])
    return f"; did you mean {close[0]}" + (f" (that is, {meaning})?" if meaning else "?")


def _read(name: str, value: Any, now: datetime) -> Any:
    option = TABLE[name]
    try:
        found = values_of.READERS[option.kind](value, now)
    except (ValueError, OverflowError) as error:
        raise OptionsError(f"{name}: {error}") from None
    if option.choices and found not in option.choices:
        raise OptionsError(f"{name}: {found!r} is none of {', '.join(option.choices)}")
    return _skipped(found) if name == "directives_skip" else found


def _skipped(words: list[str]) -> list[str]:
    unknown = [word for word in words if not word.startswith("-") and not canonical_name(word)]
    if unknown:
        raise OptionsError(
            f"directives_skip: {unknown[0]!r} is neither a keyword nor a flag like --mem"
            f"{_nearest(unknown[0])}"
        )
    return [word if word.startswith("-") else canonical_name(word) or word for word in words]


def _settle_gpus(checked: dict[str, Any]) -> list[str]:
    """Take `("a100", 2)` apart; the type may be said in one place only."""
    if not isinstance(checked.get("gpus"), tuple):
        return []
    kind, checked["gpus"] = checked["gpus"]
    if checked.setdefault("gpu_type", kind) != kind:
        return [f"gpus asks for type {kind!r} and gpu_type for {checked['gpu_type']!r}"]
    return []


def _together(mistakes: list[str]) -> str:
    if len(mistakes) == 1:
        return mistakes[0]
    return f"{len(mistakes)} mistakes:\n" + "\n".join(f"  - {mistake}" for mistake in mistakes)


def parse_array(value: Any) -> ArraySpec | Indices:
    """Read the indices of an array: `"1-100%5"` is 1 to 100, at most 5 at once.

    Args:
        value: `"1-100%5"`, `"1-9:2"` (step 2), `"1,3,7-9"`, a range, ints, or
            an `ArraySpec`.

    Returns:
        An `ArraySpec` where a start, a count and a step say it; else `Indices`,
        a sorted tuple of ints that has `max_running` too.

    Raises:
        OptionsError: it is not one of these forms, has an index twice, or none.
    """
    try:
        return values_of.parse_array(value)
    except ValueError as error:
        raise OptionsError(f"array: {error}") from None


# ---------------------------------------------------------------- rendering


def option_to_string(option: str, value: Any = None, qtype: str | None = None) -> str:
    """Write the directive of one option.

    Args:
        option: a keyword or synonym.
        value: its value as the user writes it; None is the option's default.
        qtype: a scheduler; None is the current one.

    Returns:
        A line (or lines) like `#SBATCH --mem=2048M`; empty when the option has
        no directive there, and then the log says why at level debug.

    Raises:
        OptionsError: no such option, or a value that cannot be read or written.
    """
    return options_to_string({option: value}, qtype)


def options_to_string(option_dict: Mapping[str, Any], qtype: str | None = None) -> str:
    """Write the directives of many options, a line each; see `option_to_string`."""
    kind = _current_qtype(qtype)
    lines = option_lines(option_dict, kind)
    return "\n".join(f"{PREFIX[kind]} {line}" for line in lines)


def option_lines(option_dict: Mapping[str, Any], qtype: str | None = None) -> list[str]:
    """Write the flags of many options, one text per directive and without its prefix."""
    kind = _current_qtype(qtype)
    asked = {name: _or_default(name, value) for name, value in option_dict.items()}
    checked = check_arguments(asked)
    for name in checked:
        _say_if_absent(TABLE[name], kind)
    return flags(checked, kind, _site()) if kind in PREFIX else []


def _or_default(name: str, value: Any) -> Any:
    known = canonical_name(name)
    return TABLE[known].default if value is None and known else value


def _say_if_absent(option: Option, qtype: str) -> None:
    directive = option.directive(qtype)
    if isinstance(directive, Absent) and not directive.heeded:
        from cluster import logme

        logme.log(f"{option.name} is not available in {qtype}: {directive.reason}", "debug")


def _current_qtype(qtype: str | None) -> str:
    """Give one of QTYPES; None asks `queue.MODE`, the environment, then the configuration."""
    if qtype is None:
        from cluster import config_file

        # The detection of a scheduler belongs to queue; without it nothing is detected.
        queue = sys.modules.get("cluster.queue")
        qtype = (
            getattr(queue, "MODE", None)
            or os.environ.get("CLUSTER_QTYPE")
            or config_file.get("queue", "qtype")
        )
    word = str(qtype or "local").lower()
    word = ALIASES.get(word, "local" if word == "auto" else word)
    if word not in QTYPES:
        raise OptionsError(f"unknown scheduler {qtype!r}; there are {', '.join(QTYPES)}")
    return word


def _site() -> Site:
    from cluster import config_file

    return Site(
        pe=config_file.get("queue", "sge_parallel_environment"),
        memory_resource=config_file.get("queue", "sge_memory_resource"),
        gpu_resource=config_file.get("queue", "sge_gpu_resource"),
    )


# ---------------------------------------------------------------- help


def option_help(qtype: str | None = None, mode: str = "string") -> str | list[list[str]] | None:
    """Describe every keyword.

    Args:
        qtype: only the keywords that mean something to this scheduler; None is
            all keywords with all directives.
        mode: "string" returns text, "print" prints it, "table" returns rows of
            cells, the first row being the headings.

    Raises:
        OptionsError: no such scheduler or mode.
    """
    if mode not in ("string", "print", "table"):
        raise OptionsError(f"option_help has no mode {mode!r}; there are string, print and table")
    kinds = QTYPES if qtype is None else (_current_qtype(qtype),)
    options = [option for option in TABLE.values() if any(_is_heeded(option, k) for k in kinds)]
    if mode == "table":
        heads = ["option", "synonyms", "type", "default", "help", *kinds]
        return [heads, *([*_cells(option), *_places(option, kinds)] for option in options)]
    text = "\n\n".join(_paragraph(option, kinds) for option in options) + "\n"
    if mode == "string":
        return text
    print(text, end="")
    return None


def _is_heeded(option: Option, qtype: str) -> bool:
    directive = option.directive(qtype)
    return not isinstance(directive, Absent) or directive.heeded


def _cells(option: Option) -> list[str]:
    default = "" if option.default is None else str(option.default)
    return [option.name, ", ".join(option.synonyms), _type_name(option), default, option.help]


def _places(option: Option, kinds: tuple[str, ...]) -> list[str]:
    directives = [option.directive(kind) for kind in kinds]
    return [one.reason if isinstance(one, Absent) else one for one in directives]


def _type_name(option: Option) -> str:
    words = {"count": "int >= 1", "count0": "int >= 0", "limit": "time", "begin": "time of day"}
    return " | ".join(option.choices) or words.get(option.kind, option.kind)


def _paragraph(option: Option, kinds: tuple[str, ...]) -> str:
    name, synonyms, kind, default, text = _cells(option)
    lines = [f"{name} ({kind}{f', default {default}' if default else ''})", f"    {text}"]
    if synonyms:
        lines.append(f"    also: {synonyms}")
    lines += [
        f"    {place + ':':<8}{words}"
        for place, words in zip(kinds, _places(option, kinds), strict=True)
    ]
    return "\n".join(lines)
