"""Which object of a call cannot be pickled, found by trying its parts.

Only asked after pickling failed, so it may be slow; it is bounded all the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

MAX_TRIES = 500  # pickles tried; a container with more parts is named as a whole
MAX_DEPTH = 20


def culprit(function: Any, args: Sequence[Any], kwargs: Mapping[str, Any], error: Exception) -> str:
    """Say which part of a call cannot be pickled, and why."""
    parts = [("the function", function)]
    parts += [(f"argument {place}", arg) for place, arg in enumerate(args, 1)]
    parts += [(f"keyword {key!r}", arg) for key, arg in kwargs.items()]
    for label, part in parts:
        why = _failure(part)
        if why is None:
            continue
        path, found, why = _descend(part, why)
        inside = f": its {path}," if path else ","
        return (
            f"{label}{inside} of type {_type_name(found)}, cannot be pickled "
            f"({_sentence(why)}); pass what it is made from, or make it inside the function"
        )
    return f"the call cannot be pickled ({_sentence(error)})"


def _descend(part: Any, why: Exception) -> tuple[str, Any, Exception]:
    """Go down to the smallest thing that fails alone: path, thing, failure."""
    path, tries, seen = "", MAX_TRIES, {id(part)}
    for _ in range(MAX_DEPTH):
        if _is_depth(why):
            break  # its parts are as deep
        for label, child in _children(part):
            tries -= 1
            if tries < 0:
                return path, part, why
            failure = None if id(child) in seen else _failure(child)
            if failure is not None:
                seen.add(id(child))
                path, part, why = path + label, child, failure
                break
        else:
            break
    return path.strip(), part, why


def _children(thing: Any) -> Iterator[tuple[str, Any]]:
    """What a thing is made of, each with its place in it."""
    if isinstance(thing, Mapping):
        for key, item in list(thing.items()):
            yield f"[{key!r:.50}]", item
            yield f" key {key!r:.50}", key
    elif isinstance(thing, (list, tuple)):
        for place, item in enumerate(thing):
            yield f"[{place}]", item
    elif isinstance(thing, (set, frozenset)):
        for item in thing:
            yield " member", item
    elif hasattr(thing, "__code__"):
        yield from _made_of(thing)
    else:
        if hasattr(thing, "__func__") and hasattr(thing, "__self__"):
            yield " object", thing.__self__
        if hasattr(thing, "func") and hasattr(thing, "args") and hasattr(thing, "keywords"):
            yield " function", thing.func  # functools.partial
            yield " arguments", thing.args
            yield " keywords", thing.keywords
        for name, item in list(getattr(thing, "__dict__", {}).items()):
            yield f".{name}", item


def _made_of(function: Any) -> Iterator[tuple[str, Any]]:
    code = function.__code__
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=False):
        try:
            yield f" closure variable {name!r}", cell.cell_contents
        except ValueError:  # not set yet
            continue
    names = function.__globals__
    for name in code.co_names:
        if name in names:
            yield f" global variable {name!r}", names[name]
    for place, item in enumerate(function.__defaults__ or ()):
        yield f" default {place}", item
    for name, item in (function.__kwdefaults__ or {}).items():
        yield f" default of {name!r}", item


def _failure(thing: Any) -> Exception | None:
    import cloudpickle

    try:
        cloudpickle.dumps(thing, protocol=5)
    except Exception as error:  # __reduce__ of the user's classes may raise anything
        return error
    return None


def _is_depth(error: Exception) -> bool:
    return isinstance(error, RecursionError) or "recursion" in str(error)


def _sentence(error: Exception) -> str:
    if _is_depth(error):
        return "it is nested too deeply"
    return f"{type(error).__name__}: {error}"


def _type_name(thing: Any) -> str:
    kind = type(thing)
    return (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )
