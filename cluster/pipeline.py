"""Pipelines: named steps that wait for each other, and that are not run twice.

    add -> steps -> submit: keys -> what is kept, what is run -> jobs -> record

A step is run again unless its key is that of the record and it COMPLETED, and
so did, by the same rule, all that it waits for.  When jobs run is up to the queue.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from cluster import _pipeline_graph as graphs
from cluster import files, logme, queue, request
from cluster._directory import locked
from cluster._pipeline_found import settle
from cluster._pipeline_record import Record
from cluster._pipeline_steps import Output, Step, ask_at_once
from cluster._pipeline_submit import hand_over, sort_out
from cluster.array import JobArray
from cluster.errors import OptionsError
from cluster.job import Job
from cluster.options import canonical_name
from cluster.spec import DEPENDENCY_TYPES
from cluster.units import Timeout, parse_timeout

__all__ = ["Output", "Pipeline", "Step"]

END_S = 60.0  # that long a job may take to end once it is cancelled


class Pipeline:
    """Steps with names, and what each waits for.

    Used with `with`, it is submitted where the block ends without an exception.
    Submitting it again, in this process or another, runs what is missing,
    failed or changed, and nothing else.

    Attributes:
        name: its own.
        directory: where its record and the values of its steps are.
        steps: by name, in the order they were added.
    """

    def __init__(
        self, name: str, *, directory: str | os.PathLike[str] | None = None, **defaults: Any
    ) -> None:
        """Make a pipeline without steps; nothing is written.

        Args:
            name: for people; its jobs are called `<name>.<step>`.
            directory: None is `<name>.pipeline`, here.
            defaults: keywords of all its jobs; those of a step win.

        Raises:
            OptionsError: this is no name, or a keyword is wrong.
        """
        wrong = request.name_problems(name)
        if wrong:
            raise OptionsError(wrong[0])
        Job("true", **defaults)  # says what is wrong with them
        chosen = f"{files.safe_stem(name)}.pipeline" if directory is None else directory
        self.name, self.directory = name, Path(os.path.abspath(chosen))
        self.defaults = defaults
        self.steps: dict[str, Step] = {}
        self._submitted = False
        self._loose: list[Job] = []  # of a submitter that was killed

    def add(
        self,
        command: Any,
        args: Any = (),
        *,
        name: str | None = None,
        depends_on: Any = (),
        type: str = "afterok",
        items: Any = None,
        max_running: int | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Step:
        """Add a step.

        Args:
            command: a function or a command, as for `cluster.submit`.
            args: as for `cluster.submit`; `step.output` may stand among them.
            name: None is made from the command, with a number if it is taken.
            depends_on: a step or its name, or a list of these; steps that are
                added later may be named, too.
            type: afterok, afterany, afternotok or after.
            items: makes an array, as `cluster.submit_array` does.
            max_running: of that array: so many elements at once.
            kwargs: keyword arguments of the function.
            options: keywords of `cluster.submit`.

        Returns:
            The step; its `output` is its value, for later steps.

        Raises:
            OptionsError: the name is taken, steps would wait for each other, or
                anything else is wrong; the pipeline stays as it was.
        """
        step = Step(
            self.name, self._free_name(command, name), command, args, kwargs, items, max_running,
            self._options(options),
        )  # fmt: skip
        step.after = self._waits(step, depends_on, type)
        after = {other.name: other.after for other in self.steps.values()} | {step.name: step.after}
        if any(step.name in other.after for other in self.steps.values()):
            graphs.order(self.name, {one: _known(others, after) for one, others in after.items()})
        self.steps[step.name] = step
        return step

    def _free_name(self, command: Any, name: str | None) -> str:
        if name is not None:
            wrong = request.name_problems(name)
            if wrong:
                raise OptionsError(wrong[0])
            if name in self.steps:
                raise OptionsError(
                    f"pipeline {self.name!r} has a step {name!r} already. Give another name=."
                )
            return name
        plain = request.default_name(request.read_program(command))
        number, free = 1, plain
        while free in self.steps:
            number += 1
            free = f"{plain}_{number}"
        return free

    def _options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        said = {canonical_name(key) or key for key in given}
        kept = {k: v for k, v in self.defaults.items() if (canonical_name(k) or k) not in said}
        chosen = kept | dict(given)
        if "path" in chosen:
            chosen["filedir"] = chosen.pop("path")
        return chosen

    def _waits(self, step: Step, depends_on: Any, type: str) -> dict[str, str]:
        if type not in DEPENDENCY_TYPES:
            raise OptionsError(
                f"step {step.name!r}: {type!r} is no type of dependency. There are: "
                f"{', '.join(DEPENDENCY_TYPES)}."
            )
        waits = {self._name_of(step, other): type for other in _each(depends_on)}
        for other in step.takes:
            name = self._name_of(step, other)
            if waits.setdefault(name, "afterok") != "afterok":
                raise OptionsError(
                    f"step {step.name!r} takes the output of {name!r} and waits for it by "
                    f"{type}. There is an output only when {name!r} completed: take afterok."
                )
        if step.name in waits:
            raise OptionsError(f"step {step.name!r} would wait for itself.")
        return waits

    def _name_of(self, step: Step, other: Any) -> str:
        if isinstance(other, Step | Output):
            meant = other.step if isinstance(other, Output) else other
            if self.steps.get(meant.name) is not meant:
                raise OptionsError(
                    f"step {step.name!r} waits for {meant!r}, which is not in this pipeline. "
                    "Jobs from elsewhere are given with dependencies=."
                )
            return meant.name
        if isinstance(other, str):
            return other
        raise OptionsError(
            f"step {step.name!r} cannot wait for {other!r}. Give a step or its name; jobs from "
            "elsewhere are given with dependencies=."
        )

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Submit, unless the block raised."""
        if kind is None:
            self.submit()

    def __getitem__(self, name: str) -> Step:
        """Give a step by its name."""
        try:
            return self.steps[name]
        except KeyError:
            raise OptionsError(
                f"pipeline {self.name!r} has no step {name!r}. There are: {', '.join(self.steps)}."
            ) from None

    def __repr__(self) -> str:
        return f"<Pipeline {self.name!r}, {len(self.steps)} steps>"

    def graph(self, format: str = "text") -> str:
        """Draw the steps and what they wait for.

        Args:
            format: "text", "mermaid" or "graphviz" (the text of a .dot file).
        """
        after = self._after()
        graphs.check(self.name, after)
        return graphs.draw(self.name, after, format)

    def _after(self) -> dict[str, dict[str, str]]:
        return {step.name: step.after for step in self.steps.values()}

    # ------------------------------------------------------------ submitting

    def submit(self, again: Iterable[str] = ()) -> dict[str, Job | JobArray]:
        """Queue all steps that are not done yet: all, or none.

        A step is done if it completed in an earlier run and neither it nor
        anything it waits for has changed since: function, arguments, options.
        Steps of an earlier run that are still in the queue are left there.

        Args:
            again: names of steps to run in any case, and what waits for them.

        Returns:
            The jobs of what is run now, by name of step; the other steps are `kept`.

        Raises:
            OptionsError: whatever is wrong with any step; nothing was queued.
            QueueError: the queue could not be asked or refused.
        """
        request.check_main_is_there()
        forced = [step.name if isinstance(step, Step) else step for step in _each(again)]
        for name in forced:
            self[name]
        after = self._after()
        graphs.check(self.name, after)
        order = graphs.order(self.name, after)
        if not order:
            raise OptionsError(f"pipeline {self.name!r} has no steps. Add some.")
        with locked(self.directory, f"pipeline {self.name!r}"):
            record = Record(self.directory, self.name)
            keys = self._keys(order)
            _end(self.name, settle(record, self.steps, keys, alone=True))
            record.ask()
            steps = {name: self.steps[name] for name in order}
            wanted = sort_out(self.name, steps, keys, record.entries, set(forced))
            hand_over(steps, wanted, keys, record)
            self._submitted = True
            return {step.name: step.job for step in wanted if step.job is not None}

    def _keys(self, order: list[str]) -> dict[str, str]:
        keys: dict[str, str] = {}
        for name in order:
            step = self.steps[name]
            keys[name] = step.key(keys)
            step.place(self.directory, keys[name])
        return keys

    # ------------------------------------------------------------ afterwards

    def _find_jobs(self) -> Record:
        """Take up the jobs of an earlier run, if this object submitted nothing."""
        record = Record(self.directory, self.name)
        if self._submitted:
            return record
        self._loose = settle(record, self.steps, {}, alone=False)
        for name, step in self.steps.items():
            entry = record.entries.get(name)
            if entry is not None and step.job is None:
                step.job, step.values = entry.open(), entry.values
                step.unneeded = not entry.job
        return record

    def _ended(self, record: Record) -> dict[str, str]:
        """Give the states of steps whose end is written down: the queue may not know them."""
        return {
            name: entry.state
            for name, entry in record.entries.items()
            if entry.state
            and name in self.steps
            and (job := self.steps[name].job) is not None
            and job.id == entry.job
        }

    def wait(self, timeout: Timeout = None, progress: bool | None = None) -> bool:
        """Block until all steps have ended; see `cluster.wait`.

        Returns:
            True if all are COMPLETED, but for those that were there for a
            failure that did not happen.

        Raises:
            WaitTimeout: a `TimeoutError`; the jobs go on.
        """
        limit = parse_timeout(timeout)
        ended = self._ended(self._find_jobs())
        steps = [step for step in self.steps.values() if step.job is not None or step.kept]
        if not steps:
            raise OptionsError(f"pipeline {self.name!r} was not submitted. Call its submit().")
        jobs = [step.job for step in steps if not step.kept and step.name not in ended]
        if jobs:
            queue.wait(jobs, limit, progress)
        with locked(self.directory, f"pipeline {self.name!r}"):
            _note_endings(Record(self.directory, self.name))
        states = self.status()
        unneeded = graphs.idle(self._after(), states)
        return all(state == "COMPLETED" or name in unneeded for name, state in states.items())

    def get(self, timeout: Timeout = None) -> dict[str, Any]:
        """Block until all steps have ended, and give what each left, by name.

        Raises:
            WaitTimeout: a `TimeoutError`; the jobs go on.
            JobFailed: a step was ended by somebody else than itself.
            Exception: what the first of those raised that did.
        """
        self.wait(timeout, progress=False)
        unneeded = graphs.idle(self._after(), self.status())
        return {name: step.get() for name, step in self.steps.items() if name not in unneeded}

    def status(self) -> dict[str, str | None]:
        """Give the state of each step; None for one that was not submitted."""
        ended = self._ended(self._find_jobs())
        ask_at_once(step for step in self.steps.values() if step.name not in ended)
        return {name: ended.get(name) or step.told_state for name, step in self.steps.items()}

    def cancel(self) -> dict[str, str]:
        """End all steps that run or wait, those of an earlier run too.

        Returns:
            For each job, what happened, in a few words.
        """
        record = self._find_jobs()
        record.ask()
        left = [entry for entry in record.entries.values() if entry.job and not entry.state]
        answers = dict(queue.cancel(self._loose))
        for entry in left:
            job = entry.open()
            if job is not None:
                answers |= queue.cancel(job)
        return answers


def _known(others: Mapping[str, str], after: Mapping[str, Any]) -> dict[str, str]:
    return {other: kind for other, kind in others.items() if other in after}


def _each(value: Any) -> list[Any]:
    if isinstance(value, str | Step | Output):
        return [value]
    if not isinstance(value, Iterable):
        return [value]
    return [each for part in value for each in _each(part)]


def _end(name: str, loose: list[Job]) -> None:
    """End parts of arrays of which the rest was never queued: the steps are run anew."""
    if not loose:
        return
    ids = ", ".join(queue.id_of(job) for job in loose)
    logme.log(
        f"pipeline {name!r}: its submitter was killed in the middle of an array; what it had "
        f"queued of that is ended, and the array is run anew: {ids}",
        "warn",
    )
    queue.cancel(loose)
    queue.wait(loose, END_S, progress=False)


def _note_endings(record: Record) -> None:
    """Write down how jobs ended: the queue forgets them one day."""
    before = [entry.state for entry in record.entries.values()]
    record.ask()
    if [entry.state for entry in record.entries.values()] != before:
        record.write()
