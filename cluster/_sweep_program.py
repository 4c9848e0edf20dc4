"""What the runs of a sweep do: a function or a command, with the parameters of each."""

from __future__ import annotations

import inspect
import os
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from cluster import _keeping, payload
from cluster._fingerprint import digest
from cluster._handover import marked
from cluster._job_batch import submit_all
from cluster._sweep_grid import nested, words
from cluster.array import submit_array
from cluster.errors import OptionsError, PayloadError
from cluster.job import Job
from cluster.request import default_name

__all__ = ["MODES", "Lost", "Program", "shell_words"]

MODES = ("array", "individual")


class Lost:
    """In place of a function that cannot be unpickled here: results can still be read.

    Attributes:
        why: what is wrong with it.
    """

    def __init__(self, why: str) -> None:
        self.why = why
        self.__name__ = "function that is not known here"

    def __call__(self, **_: Any) -> Any:
        raise PayloadError(self.why)


class Program:
    """A function or command, and the keywords of its jobs.

    Attributes:
        command: as the user gave it.
        mode: one of `MODES`.
        options: keywords of `submit`, without `max_running`.
        max_running: of an array.
        name: of the jobs.
        model: a job like those of the runs.
    """

    def __init__(
        self,
        command: Any,
        name: str | None,
        mode: str,
        options: Mapping[str, Any],
        first: Mapping[str, Any],
    ) -> None:
        """Check what can be checked with the parameters of the first run.

        Raises:
            OptionsError: whatever is wrong.
        """
        if mode not in MODES:
            raise OptionsError(f"mode {mode!r} is unknown. There are: {', '.join(MODES)}.")
        if mode != "array" and "max_running" in options:
            raise OptionsError("max_running= is for arrays: take mode='array'.")
        if "array" in options:
            raise OptionsError("array= is said by the runs of a sweep. Leave it out.")
        self.command, self.mode, self.options = command, mode, dict(options)
        self.max_running = self.options.pop("max_running", None)
        if "path" in self.options:
            self.options["filedir"] = self.options.pop("path")
        if self.is_function:
            self._check_parameters(nested(first))
        self.model = self._job(name, first, "", self.options)
        place = {name: self.options.get(name) for name in ("qtype", "profile")}
        program = Job(command, () if self.is_function else None, **place)._program
        self.name = name if name is not None else default_name(program)

    def _check_parameters(self, kwargs: Mapping[str, Any]) -> None:
        try:
            signature = inspect.signature(self.command)
        except (TypeError, ValueError):  # some builtins have none
            return
        try:
            signature.bind(**kwargs)
        except TypeError as error:
            raise OptionsError(
                f"{self.what} cannot be called with the parameters "
                f"{', '.join(kwargs) or '(none)'}: {error}."
            ) from error

    @property
    def is_function(self) -> bool:
        """Whether runs have values; else they have what a command wrote."""
        return callable(self.command)

    @property
    def what(self) -> str:
        """What it is, for people."""
        if self.is_function:
            return payload.name_of(self.command)
        if isinstance(self.command, str):
            return self.command
        words = self.command if isinstance(self.command, list | tuple) else [self.command]
        return shlex.join(str(w) if isinstance(w, int | float) else os.fsdecode(w) for w in words)

    @property
    def code(self) -> str:
        """A text that changes with what is run."""
        return digest(self.command)

    def shown(self, params: Mapping[str, Any]) -> str:
        """Write a run for people."""
        if not self.is_function:
            return f"{self.what} {shell_words(params)}".rstrip()
        given = ", ".join(f"{key}={value!r}" for key, value in nested(params).items())
        return f"{self.what}({given})"

    def _job(
        self,
        name: str | None,
        params: Mapping[str, Any],
        target: str,
        options: Mapping[str, Any],
    ) -> Job:
        if not self.is_function:
            return Job(self.command, words(params), name, **options)
        command, first = _keeping.keeping(self.command, target)
        return Job(command, first, name, kwargs=nested(params), **options)

    def submit(
        self, runs: Sequence[tuple[int, Mapping[str, Any], str]], filedir: str | None, mark: str
    ) -> list[str]:
        """Queue runs: all, or none.

        Args:
            runs: number, parameters, and the file for the value of each.
            filedir: where the files of the jobs are, if the keywords do not say.
            mark: stands in the remark of each job.

        Returns:
            Their ids.
        """
        if isinstance(self.command, Lost):
            raise PayloadError(self.command.why)
        options = ({} if filedir is None else {"filedir": filedir}) | self.options
        options = marked(options, self.model, mark)
        if self.mode == "individual":
            jobs = [
                self._job(f"{self.name}.{number}", params, target, options)
                for number, params, target in runs
            ]
            submit_all(jobs, None)
            return [str(job.id) for job in jobs]
        command: Any = f'eval "set --" {{item}}; {self.what} "$@"'
        items: list[Any] = [shell_words(params) for _, params, _ in runs]
        if self.is_function:
            command = _keeping.of_runs(self.command)
            items = [(nested(params), target) for _, params, target in runs]
        array = submit_array(
            command, items, max_running=self.max_running, name=self.name, **options
        )
        return [str(element.id) for element in array]


def shell_words(params: Mapping[str, Any]) -> str:
    """Write parameters as words for a shell."""
    return shlex.join(words(params))
