"""Jobs whose call was put together beforehand, from one pickled function and many items."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from cluster import payload, queue, runner
from cluster._call_buffers import about
from cluster._element import traveller
from cluster._job_view import JobView
from cluster.job import Job
from cluster.payload import Payload
from cluster.request import Problems
from cluster.schedulers.base import Call, Command, Request, Scheduler

__all__ = ["Prepared", "name_parts", "note", "packed"]


class Prepared(Job):
    """A job that is not made from what a user wrote, but from checked keywords."""

    _payload: Payload | None = None
    _key = ""

    @classmethod
    def _make(
        cls,
        scheduler: Scheduler,
        name: str,
        options: Mapping[str, Any],
        *,
        calls: tuple[str, str] = ("", ""),
        payload: Payload | None = None,
        program: Command | None = None,
        key: str = "",
    ) -> Prepared:
        """Make one.

        Args:
            scheduler, name: its.
            options: canonical keywords; they are not read again.
            calls: module and name of the function, for a call.
            payload: the call.
            program: the command, in its place.
            key: run times are learned under it; of a call it is its name.
        """
        made = cls.__new__(cls)
        JobView.__init__(made, scheduler, None, name)
        made._scripts, made._wrote, made._given_name = None, False, name
        made.options, made._after = dict(options), []
        made._payload, made._key = payload, key
        # Of its own: two jobs with one function would be taken for the same call.
        made._program = program or Call(traveller(_stand_in, None, calls))
        return made

    def _dump(self, call: Call) -> Payload:
        assert self._payload is not None
        return self._payload

    def _request(self, problems: Problems, together: Mapping[Job, int] | None = None) -> Request:
        made = super()._request(problems, together)
        return replace(made, key=self._key) if self._key else made

    def resubmit(self) -> Job:
        """Queue a job like this one, and give it."""
        return Job._of(self.scheduler.resubmit(queue.id_of(self)), self.scheduler)


def _stand_in() -> None:
    """Stand where a request wants a function: what is called is in the payload."""


def packed(pieces: Sequence[runner.Bytes], call: bytes) -> Payload:
    """Make the payload of the pieces that `exchange` gave for a call."""
    head = about(call)
    size = sum(len(piece) for piece in pieces)
    return Payload(tuple(pieces), size, head.calls, sys.version_info[:2], head.cloudpickle)


def name_parts(function: Any) -> tuple[str, str]:
    """Give module and qualified name of a function, for `traveller`."""
    whole = payload.name_of(function)
    inner = getattr(function, "func", function)  # functools.partial
    module = str(getattr(inner, "__module__", None) or type(inner).__module__)
    return module, whole.removeprefix(f"{module}.")


def note(error: BaseException, text: str) -> None:
    """Add a note to an exception; a traceback shows it (from Python 3.11 on)."""
    with suppress(AttributeError, TypeError):  # a class that takes no attributes
        notes = list(getattr(error, "__notes__", ()))
        if text not in notes:
            error.__notes__ = [*notes, text]  # type: ignore[attr-defined]
