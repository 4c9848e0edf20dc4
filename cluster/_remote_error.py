"""The exception of a job, rebuilt where somebody asks for its value.

It is given the rows that `runner.describe` made and gives the exception with
its traceback, cause and context, or None when its class cannot be rebuilt.
"""

from __future__ import annotations

import pickle
from types import TracebackType
from typing import Any

import tblib


class RemoteTraceback(Exception):
    """The traceback as the job saw it, as text; it stands at the end of the chain."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"in the job:\n{self.text.rstrip()}"


def rebuild(rows: dict[str, Any]) -> Exception | None:
    """Make the exception that `rows` describes.

    Returns:
        None when it cannot be rebuilt, or is no Exception: then the text has
        to do.
    """
    error = _rebuild_chain(rows)
    if not isinstance(error, Exception):
        return None
    _last_of(error).__cause__ = RemoteTraceback(rows["formatted"])
    return error


def _rebuild_chain(rows: dict[str, Any] | None) -> BaseException | None:
    if rows is None:
        return None
    error = _load(rows["exception"])
    if error is None:
        return None
    error.__traceback__ = _traceback(rows["rows"])
    error.__cause__ = _rebuild_chain(rows["cause"])
    error.__context__ = _rebuild_chain(rows["context"]) or error.__cause__
    error.__suppress_context__ = rows["suppress"]
    return error


def _load(pickled: bytes | None) -> BaseException | None:
    if pickled is None:
        return None
    try:
        error = pickle.loads(pickled)
    except Exception:  # the class is missing, or its __init__ wants other arguments
        return None
    return error if isinstance(error, BaseException) else None


def _traceback(rows: list[tuple[str, int, str, str]]) -> TracebackType | None:
    nested: dict[str, Any] | None = None
    for filename, line, function, _ in reversed(rows):
        nested = {
            "tb_frame": {
                "f_globals": {"__file__": filename, "__name__": "?"},
                "f_locals": {},
                "f_code": {"co_filename": filename, "co_name": function},
                "f_lineno": line,
            },
            "tb_lineno": line,
            "tb_next": nested,
        }
    if nested is None:
        return None
    trace: TracebackType = tblib.Traceback.from_dict(nested).as_traceback()
    return trace


def _last_of(error: BaseException) -> BaseException:
    seen = {id(error)}
    while True:
        behind = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if behind is None or id(behind) in seen:
            return error
        seen.add(id(behind))
        error = behind
