"""A step of a pipeline: what it runs, what it waits for, where its value is kept."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cluster import _keeping, files, payload
from cluster._array_adopt import adopt
from cluster._fingerprint import digest, module_sources
from cluster._handover import marked
from cluster._job_keywords import working_directory
from cluster._pipeline_record import Entry
from cluster.array import JobArray, submit_array
from cluster.errors import OptionsError, PayloadError, UnknownJob
from cluster.job import Job
from cluster.schedulers.base import Scheduler
from cluster.spec import ArraySpec

__all__ = ["Output", "Step", "ask_at_once", "outputs_in"]

SHARED_PATIENCE_S = 30.0  # NFS may show a new file so late; its caches hold 60 s at the very most
_OF_THE_QUEUE = frozenset(  # options that say nothing about what comes out
    ("dependencies", "filedir", "suffix", "max_queue_len", "priority", "hold", "begin", "comment")
)


class Output:
    """The value that a function step will have, as an argument of a later one.

    In the job of that one it has become the value itself, wherever it stood:
    as an argument, or in a list, a tuple, a dict.
    """

    def __init__(self, step: Step) -> None:
        self.step = step

    def __repr__(self) -> str:
        return f"<output of step {self.step.name!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        step = self.step
        if not step.values:
            raise PayloadError(
                f"{self!r} is known only in jobs of pipeline {step.pipeline!r}. Give it as an "
                "argument of a later step; step.get() gives the value here."
            )
        patience_s = SHARED_PATIENCE_S if step.model.scheduler.needs_files else 0.0
        paths: Any = step.values if step.indices is not None else step.values[0]
        return _keeping.reader(step.name), (paths, step.name, patience_s)


@dataclass(eq=False)
class Step:
    """A named job of a pipeline.

    Attributes:
        pipeline: the name of its pipeline.
        name: its own.
        command: the function, or the command.
        args, kwargs: what that is called with.
        items: of an array, what its elements are called with; None for no array.
        max_running: of an array: so many at once.
        options: keywords of its job, `qtype` and `profile` too.
        after: the names of the steps it waits for, and the type of each dependency.
        job: the Job or JobArray; None before it is submitted, and if it is not needed.
        kept: it is COMPLETED from an earlier run, and was not run again.
    """

    pipeline: str
    name: str
    command: Any
    args: Any
    kwargs: Mapping[str, Any] | None
    items: Any
    max_running: int | None
    options: dict[str, Any]
    after: dict[str, str] = field(default_factory=dict)
    job: Job | JobArray | None = None
    kept: bool = False

    def __post_init__(self) -> None:
        if self.items is not None and not isinstance(self.items, range):
            self.items = _listed(self.name, self.items)
        self.values: list[str] = []  # files; known once it is submitted
        self.unneeded = False  # there for a failure that did not happen
        self.retried: Job | JobArray | None = None  # an array that is run again in part
        self.takes = outputs_in((self.command, self.args, self.kwargs, self.items))
        if self.takes and not self.is_function:
            raise OptionsError(
                f"step {self.name!r} is a command: it cannot be given {Output(self.takes[0])!r}. "
                "Only functions can; let a function write it into a file."
            )
        # Whatever is wrong with it is told where it is added, and queued nowhere.
        first = () if self.items is not None and callable(self.command) else self.args
        self.model = Job(self.command, first, self.job_name, kwargs=self.kwargs, **self.options)
        if self.items is None:
            return
        if self.args not in ((), None) or self.kwargs:
            raise OptionsError(
                f"step {self.name!r} has items= and args. Its elements are called with an item "
                "each: put the rest into the items, or use functools.partial."
            )
        if "array" in self.model.options:
            raise OptionsError(f"step {self.name!r} has items= and array=: give one of them.")
        if not len(self.items):
            raise OptionsError(f"step {self.name!r} has no items. Leave it out, or give some.")

    def __repr__(self) -> str:
        return f"<step {self.name!r} of pipeline {self.pipeline!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        raise PayloadError(
            f"step {self.name!r} itself cannot go into a job. Give its .output, which is the "
            "value there."
        )

    @property
    def job_name(self) -> str:
        """The name of its job."""
        return f"{self.pipeline}.{self.name}"

    @property
    def is_function(self) -> bool:
        """Whether it has a value that later steps can be given."""
        return callable(self.command)

    @property
    def runs(self) -> str:
        """What it runs, for people."""
        if self.is_function:
            return payload.name_of(self.command)
        return self.command if isinstance(self.command, str) else repr(self.command)

    @property
    def output(self) -> Output:
        """Its value, as an argument of a later function; of an array, the list of values.

        Raises:
            OptionsError: it is a command.
        """
        if not self.is_function:
            raise OptionsError(
                f"step {self.name!r} is a command, which has no value to give. Let it write a "
                "file, give its path, and name the step in depends_on=."
            )
        return Output(self)

    @property
    def indices(self) -> list[int] | None:
        """The indices of its elements; None if it is no array."""
        if isinstance(self.items, range):
            return list(self.items)
        if self.items is not None:
            return list(range(1, len(self.items) + 1))
        told = self.model.options.get("array")
        return list(told.indices() if isinstance(told, ArraySpec) else told) if told else None

    @property
    def state(self) -> str | None:
        """Of its job; None before that was submitted."""
        if self.kept:
            return "COMPLETED"
        if self.unneeded:
            return "CANCELLED"
        return self.job.state if self.job is not None else None

    @property
    def told_state(self) -> str | None:
        """Its state as the scheduler told it last: see `ask_at_once`."""
        info = self.job.queue_info if isinstance(self.job, Job) else None
        return self.state if info is None or self.kept else info.state

    def get(self, timeout: float | None = None) -> Any:
        """Block until it has ended, and give what it left; see `Job.get`.

        Raises:
            OptionsError: it was not submitted, or it was not needed.
        """
        if self.kept and self.values:
            read = [_keeping.load(path) for path in self.values]
            return read if self.indices is not None else read[0]
        if self.job is None:
            why = "was not needed" if self.unneeded else "was not submitted"
            raise OptionsError(f"step {self.name!r} {why}: it has no value.")
        return self.job.get(timeout)

    # ------------------------------------------------------------ submitting

    def key(self, keys: Mapping[str, str]) -> str:
        """Give a text that changes with anything that its result may depend on.

        Args:
            keys: those of the steps it waits for.
        """
        options = {k: v for k, v in self.model.options.items() if k not in _OF_THE_QUEUE}
        array = options.get("array")
        if array is not None:
            options["array"] = self.indices
        options["by_value"] = module_sources(options.get("by_value", ()))
        told = (
            self.command, self.args, dict(self.kwargs or {}), self.items, options,
            self.model.scheduler.qtype, working_directory(self.model.options),
            {other: (kind, keys[other]) for other, kind in sorted(self.after.items())},
        )  # fmt: skip
        return digest(told, stand_in=_name_of_output)[:32]

    def place(self, directory: Path, key: str) -> None:
        """Decide in which files its value is kept."""
        if not self.is_function:
            return
        stem = os.fspath(directory / "values" / f"{files.safe_stem(self.name)[:80]}-{key[:12]}")
        indices = self.indices
        self.values = [stem] if indices is None else [f"{stem}.{index}" for index in indices]

    def entry(self, key: str) -> Entry:
        """Give what is written down about it."""
        id = str(self.job.id) if self.job is not None else ""
        return Entry(
            key, id, self.model.qtype, isinstance(self.job, JobArray), runs=self.runs,
            values=self.values, state="" if id else "CANCELLED",
        )  # fmt: skip

    def planned(self, key: str) -> Entry:
        """Give what is written down before it is queued."""
        id = str(self.retried.id) if self.retried is not None else ""
        is_array = self.items is not None
        return replace(self.entry(key), job=id, is_array=is_array, state="")

    def _keeping(self) -> tuple[Callable[..., Any], str, bool]:
        array = self.indices is not None
        base = self.values[0].rpartition(".")[0] if array else self.values[0]
        return self.command, base, array

    def make(self, filedir: str | None, mark: str = "") -> Job:
        """Make its job; an array of items has none and is submitted by `submit_items`."""
        command, args = self.command, self.args
        if self.is_function:
            function, base, of_elements = self._keeping()
            command, first = _keeping.keeping(function, base, of_elements=of_elements)
            own = () if args is None else args if isinstance(args, tuple) else (args,)
            args = (*first, *own)
        words = self._words(filedir, mark)
        return Job(command, args, self.job_name, kwargs=self.kwargs, **words)

    def _words(self, filedir: str | None, mark: str) -> dict[str, Any]:
        """Give the keywords of its jobs."""
        words = dict(self.options)
        if filedir is not None:
            words["filedir"] = filedir
        return marked(words, self.model, mark) if mark else words

    def submit_items(self, dependencies: list[Any], filedir: str | None, mark: str) -> JobArray:
        """Submit its array."""
        words = self._words(filedir, mark)
        outside = words.pop("dependencies", None)
        waits = [*dependencies, *([outside] if outside is not None else [])]
        if waits:
            words["dependencies"] = waits
        return submit_array(
            self._of_items(), self.items, max_running=self.max_running, name=self.job_name, **words
        )

    def retry_items(self, mark: str) -> JobArray | None:
        """Run those elements again that did not complete, if what they ran is known."""
        if not isinstance(self.retried, JobArray):
            return None
        try:
            return self.retried.retry_failed(comment=self._words(None, mark)["comment"])
        except UnknownJob:
            return None

    def adopt_items(self, ids: Sequence[str]) -> JobArray | None:
        """Give its array, of jobs that are queued already; None if these are not all."""
        words = self._words(None, "")
        words.pop("dependencies", None)
        return adopt(
            self._of_items(), self.items, ids, max_running=self.max_running,
            name=self.job_name, **words,
        )  # fmt: skip

    def _of_items(self) -> Any:
        if not self.is_function:
            return self.command
        function, base, of_elements = self._keeping()
        return _keeping.partial(function, base, of_elements=of_elements)


def _listed(name: str, items: Any) -> list[Any]:
    if isinstance(items, str | bytes | Mapping) or not isinstance(items, Iterable):
        raise OptionsError(f"step {name!r}: items {items!r} is no list of items.")
    return list(items)


def _name_of_output(value: Any) -> Any:
    return ("output of step", value.step.name) if isinstance(value, Output) else value


def outputs_in(value: Any) -> list[Step]:
    """Find the steps whose outputs stand somewhere in a value, each once."""
    found: dict[Step, None] = {}

    def note(part: Any) -> Any:
        if isinstance(part, Output):
            found[part.step] = None
        return _name_of_output(part)

    digest(value, stand_in=note)
    return list(found)


def ask_at_once(steps: Iterable[Step]) -> None:
    """Ask for the jobs of steps, in one question where it can be one."""
    asked: dict[Scheduler, dict[str, Job]] = {}
    for step in steps:
        job = step.job
        if isinstance(job, Job) and not step.kept and not job._final:
            asked.setdefault(job.scheduler, {})[str(job.id)] = job
    for scheduler, jobs in asked.items():
        for info in scheduler.query(list(jobs)):
            jobs[info.id]._learn(info)
