"""What an element of an array and a chunk of a map run, in their jobs.

These functions travel by value (see `traveller`), for a node may have nothing
of this package: they use the standard library alone and import it themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

__all__ = ["call_chunk", "call_items", "call_one", "traveller"]


def traveller(code: Callable[..., Any], function: Any, name: tuple[str, str]) -> FunctionType:
    """Copy one of the functions below such that it is known by the user's function.

    Run times are learned under its name and people are shown it.  `func`, as a
    `functools.partial` has it, tells the runner whose globals to fill.

    Args:
        code: the function to copy.
        function: the user's; None leaves it out.
        name: module and qualified name of the user's.
    """
    assert isinstance(code, FunctionType)
    made = FunctionType(code.__code__, {"__builtins__": __builtins__, "__name__": "cluster_job"})
    made.__module__, made.__qualname__ = name
    made.__name__ = name[1].rpartition(".")[2]
    if function is not None:
        made.func = function  # type: ignore[attr-defined]
    return made


def call_one(function: Any, table: Any, blob: Any) -> Any:
    """Call the function with the item of this element.

    Args:
        function: the user's.
        table: int64: the scheduler's first index, its step, the number of elements,
            whether there are items; the indices that elements see; where items begin.
        blob: the pickled items, one behind the other.
    """
    import os
    import pickle

    numbers = memoryview(table).cast("B").cast("q")
    first, step, count, has_items = numbers[:4]
    place = (int(os.environ["CLUSTER_ARRAY_INDEX"]) - first) // step
    index = numbers[4 + place]
    os.environ["CLUSTER_ARRAY_INDEX"] = str(index)
    if not has_items:
        return function(index)
    at = 4 + count + place
    return function(pickle.loads(memoryview(blob)[numbers[at] : numbers[at + 1]]))


def call_items(function: Any, pickled: Any, spread: bool, limit_s: float) -> Any:
    """Call the function with one item after the other, until time is up.

    Args:
        function: the user's.
        pickled: the list of items.
        spread: each is a tuple of arguments.
        limit_s: seconds after which no other call is begun.

    Returns:
        The values; what one call raised, as the runner describes it, or None; and
        the seconds that the calls took.
    """
    import itertools
    import pickle
    import sys
    import time

    items = pickle.loads(pickled)
    calls = itertools.starmap(function, items) if spread else map(function, items)
    values: list[Any] = []
    began = now = time.perf_counter()
    stride = 1  # looking at the clock costs as much as a small function
    try:
        while len(values) < len(items):
            values.extend(itertools.islice(calls, min(stride, len(items) - len(values))))
            then, now = now, time.perf_counter()
            if now - began >= limit_s:
                break
            if now - then < limit_s / 50:
                stride *= 2
            elif now - then > limit_s / 10:
                stride = max(1, stride // 2)
    except BaseException as error:  # sys.exit too: it shall not look like an end of the chunk
        if error.__traceback__ is not None:
            error.__traceback__ = error.__traceback__.tb_next
        describe = sys._getframe(1).f_globals["describe"]  # the runner, which called us
        return values, describe(error), time.perf_counter() - began
    return values, None, now - began


def call_chunk(function: Any, items: Any) -> list[Any]:
    """Call the function with each tuple of arguments."""
    import itertools

    return list(itertools.starmap(function, items))
