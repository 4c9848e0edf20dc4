"""What a step of a pipeline and a run of a sweep do in their jobs: keep the value as a file.

These functions travel by value (see `_element.traveller`), for a node may have
nothing of this package: they use the standard library and cloudpickle alone,
and import it themselves.  `load` is for the one who asks afterwards.
"""

from __future__ import annotations

import functools
import os
import pickle
from collections.abc import Callable
from typing import Any

from cluster import runner
from cluster._element import traveller
from cluster.errors import PayloadError

__all__ = ["keeping", "load", "of_runs", "partial", "reader"]


def keeping(
    function: Callable[..., Any], target: str, *, of_elements: bool = False
) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """Give a function that does what another does and keeps its value.

    Args:
        function: the user's.
        target: the absolute path of the file.
        of_elements: the jobs are elements of an array: their index stands
            behind the path.

    Returns:
        The function, and what it is called with before the arguments of the user's.
    """
    kind = getattr(function, "func", function)  # functools.partial
    kind = kind if hasattr(kind, "__qualname__") else type(kind)
    name = kind.__module__ or "builtins", kind.__qualname__
    return traveller(_call_and_keep, function, name), (function, target, of_elements)


def partial(function: Callable[..., Any], target: str, *, of_elements: bool = False) -> Any:
    """Give the same as one function, for what calls it with one argument."""
    made, first = keeping(function, target, of_elements=of_elements)
    return functools.partial(made, *first)


def of_runs(function: Callable[..., Any]) -> Any:
    """Give a function of one item, (keyword arguments, path of the file for the value)."""
    made, (_, _, _) = keeping(function, "")
    each = traveller(_call_with, function, (made.__module__, made.__qualname__))
    return functools.partial(each, made, function)


def reader(name: str) -> Any:
    """Give the function that gives a kept value in a job.

    Args:
        name: whose value, for the error if it is not there.
    """
    return traveller(_read_kept, None, ("cluster_job", f"value of {name}"))


def load(path: str) -> Any:
    """Give a kept value.

    Raises:
        FileNotFoundError: there is none.
        PayloadError: it is not ours alone, or cannot be unpickled here.
    """
    os.stat(path)
    try:
        data = runner.read_owned(path)
    except runner.Refused as refusal:
        raise PayloadError(str(refusal)) from None
    try:
        return pickle.loads(data)
    except Exception as error:  # classes of the user may raise anything
        raise PayloadError(
            f"the value in {path} cannot be unpickled here: {type(error).__name__}: {error}. "
            "What it is made of must be importable, or values be plain."
        ) from error


def _call_and_keep(
    function: Any, target: str, of_elements: bool, /, *args: Any, **kwargs: Any
) -> Any:
    import contextlib
    import os

    import cloudpickle

    if of_elements:
        target = f"{target}.{os.environ['CLUSTER_ARRAY_INDEX']}"
    value = function(*args, **kwargs)
    try:
        data = cloudpickle.dumps(value, 5)
    except Exception as error:
        kind = type(value)
        raise TypeError(
            f"the value, of type {kind.__module__}.{kind.__qualname__}, cannot be pickled: "
            f"{type(error).__name__}: {error}"
        ) from error
    temporary = f"{target}.{os.urandom(6).hex()}.tmp"
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(handle)
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    return value


def _call_with(keeper: Any, function: Any, item: Any) -> Any:
    kwargs, target = item
    return keeper(function, target, False, **kwargs)


def _read_kept(paths: Any, owner: str, patience_s: float) -> Any:
    """Read what earlier jobs kept.

    Args:
        paths: one path; or a list of them, one for each element of an array.
        owner: the step whose value it is.
        patience_s: a file system that machines share may show a new file late.
    """
    import os
    import pickle
    import time

    def read(path: str) -> Any:
        deadline = time.monotonic() + patience_s
        while not os.path.exists(path) and time.monotonic() < deadline:
            os.listdir(os.path.dirname(path))  # makes NFS look again
            time.sleep(0.2)
        try:
            with open(path, "rb") as file:
                return pickle.load(file)
        except FileNotFoundError:
            raise FileNotFoundError(
                f"the value of step {owner!r} is not there: {path} is missing. Was it deleted, or "
                "is this directory not shared with the machine the step ran on?"
            ) from None

    return read(paths) if isinstance(paths, str) else [read(path) for path in paths]
