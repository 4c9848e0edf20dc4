"""Pickling many values one by one, fast: plain pickle where it will do, else cloudpickle.

Plain pickle writes a class or function as the name of its module.  A job has
another `__main__`, so what is defined there must travel by value.
"""

from __future__ import annotations

import io
import pickle
import sys
from types import FunctionType
from typing import Any

from cluster.errors import PayloadError

__all__ = ["dumps", "dumps_item", "send_main_by_value"]

_EXACT = frozenset((type(None), bool, int, float, str, bytes))
_SPAWNED = "__mp_main__"  # what a spawned process of multiprocessing calls the script
_MAINS = ("__main__", _SPAWNED)


class _ByValue(Exception):
    """A part of the value must travel by value."""


class _ByName(pickle.Pickler):
    """The plain pickler; it gives up at what a job could not find by its name."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, type | FunctionType) and value.__module__ in _MAINS:
            raise _ByValue
        return NotImplemented


def dumps(value: Any) -> bytes:
    """Pickle a value such that a job can load it.

    Raises:
        Exception: whatever pickling it raises.
    """
    if type(value) in _EXACT:
        return pickle.dumps(value, 5)
    if not _has_registered():
        sink = io.BytesIO()
        try:
            _ByName(sink, 5).dump(value)
            return sink.getvalue()
        except (_ByValue, pickle.PicklingError, AttributeError, TypeError):
            pass  # a lambda, a local class: cloudpickle can, or says what is wrong
    import cloudpickle

    send_main_by_value()
    data: bytes = cloudpickle.dumps(value, 5)
    return data


def send_main_by_value() -> None:
    """Let the script of a spawned process travel by value; cloudpickle knows it as a module."""
    main = sys.modules.get(_SPAWNED)
    if getattr(main, "__name__", "") == _SPAWNED:  # elsewhere it is __main__ itself
        import cloudpickle

        cloudpickle.register_pickle_by_value(main)


def _has_registered() -> bool:
    """Whether somebody wants a module's classes to travel by value."""
    loaded = sys.modules.get("cloudpickle.cloudpickle")
    return bool(getattr(loaded, "_PICKLE_BY_VALUE_MODULES", set()) - {_SPAWNED})


def dumps_item(value: Any, place: int) -> bytes:
    """Pickle an item.

    Raises:
        PayloadError: it cannot be; says which item it is, counted from 0.
    """
    try:
        return dumps(value)
    except PayloadError:  # from something of ours, which says what to do
        raise
    except Exception as error:  # __reduce__ of the user's classes may raise anything
        raise PayloadError(
            f"item {place} ({_shown(value)}) cannot be pickled: {type(error).__name__}: {error}. "
            "Give what it is made from, a path say, and make it in the job."
        ) from error


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:  # a __repr__ of the user's
        text = f"of type {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."
