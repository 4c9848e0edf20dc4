"""What is known of the runs of a sweep: files in its directory.

    sweep.json     for people and programs: parameters and result of each run
    sweep.pickle   the sweep itself, exactly: `Sweep.load` reads it
    runs/0001.*    value of a function; what a command wrote to stdout and stderr

A run is known by its parameters: it keeps its number and its result when others
are added to the sweep or taken away.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from cluster import _keeping, queue
from cluster._directory import away, write_json
from cluster._handover import new_mark
from cluster._job_view import JobView
from cluster.errors import ClusterError, JobFailed, OptionsError
from cluster.outcome import CommandResult, Usage
from cluster.outcome import usage as usage_of
from cluster.schedulers.base import JobInfo, Scheduler
from cluster.states import FINAL

__all__ = ["KEPT", "Handover", "Record", "Run"]

VERSION = 1
NAME = "sweep.json"
KEPT = ("value", "out", "err")  # endings of the files of a run


@dataclass(eq=False)
class Run:
    """One combination of parameters, and what became of it.

    Attributes:
        number: its own, from 1; it never changes.
        params: flat: "model.lr".
        key: of the parameters.
        job: id of its last job, empty before it has one.
        qtype: where that is.
        state: of that job when it was last looked at; None before there is one.
        exitcode, error, usage: of its end.
    """

    number: int
    params: dict[str, Any]
    key: str
    job: str = ""
    qtype: str = ""
    state: str | None = None
    exitcode: int | None = None
    error: str = ""
    usage: Usage | None = None

    @property
    def done(self) -> bool:
        """Whether it has ended, however."""
        return self.state in FINAL

    @property
    def active(self) -> bool:
        """Whether it is in the queue."""
        return bool(self.job) and not self.done

    @property
    def view(self) -> JobView:
        """Its job."""
        return JobView(queue.scheduler_for(self.qtype), self.job)

    def submitted(self, job: str, qtype: str) -> None:
        """Note that it has a new job."""
        self.job, self.qtype, self.state = job, qtype, "PENDING"
        self.exitcode, self.error, self.usage = None, "", None


@dataclass
class Handover:
    """What is about to be queued: its submitter may be killed before it knows the jobs.

    Attributes:
        mark: stands in the remark of each of these jobs.
        is_array: they are elements, in the order of `runs`.
        qtype: where they are.
        runs: keys of the runs.
        when: it was begun.
        about: what is written down beside the runs once they are queued.
    """

    mark: str
    is_array: bool
    qtype: str
    runs: list[str]
    when: str
    about: dict[str, Any]


@dataclass
class Record:
    """All runs that a sweep ever had.

    Attributes:
        directory: where it is.
        name: of the sweep.
        about: what is written down beside the runs.
        runs: by the key of their parameters.
        handover: None unless somebody is submitting, or was killed while it did.
    """

    directory: Path
    name: str
    about: dict[str, Any] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    handover: Handover | None = None

    def __post_init__(self) -> None:
        """Read it; a missing file is a sweep that was never submitted.

        Raises:
            ClusterError: the file cannot be read.
            OptionsError: the directory is that of another sweep.
        """
        try:
            told = json.loads((self.directory / NAME).read_bytes())
            version, owner, self.about = told["version"], told["name"], told["about"]
            for key, run in told["runs"].items():
                usage = run.pop("usage")
                self.runs[key] = Run(key=key, usage=Usage(**usage) if usage else None, **run)
            if begun := told.get("handover"):
                self.handover = Handover(**begun)
        except FileNotFoundError:
            return
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ClusterError(
                f"{self.directory / NAME} is no record of a sweep ({type(error).__name__}: "
                f"{error}). Move it away to run everything again, or give another directory=."
            ) from error
        if version != VERSION:
            raise ClusterError(f"{self.directory / NAME} was written by another version.")
        if owner != self.name:
            raise OptionsError(
                f"{self.directory} belongs to sweep {owner!r}, not {self.name!r}. Give another "
                "directory=."
            )

    def write(self) -> None:
        """Write it, whole or not at all."""
        runs = {}
        for key, run in sorted(self.runs.items(), key=lambda item: item[1].number):
            told = asdict(run)
            del told["key"]
            usage = msgspec.structs.asdict(run.usage) if run.usage else None
            runs[key] = told | {"params": _plain(run.params), "usage": usage}
        content = {"version": VERSION, "name": self.name, "about": self.about, "runs": runs}
        if self.handover is not None:
            content["handover"] = asdict(self.handover)
        write_json(self.directory / NAME, content)

    # ------------------------------------------------------------ handing over

    def begin(
        self, wanted: Iterable[Run], qtype: str, about: dict[str, Any], *, is_array: bool
    ) -> str:
        """Write down what is about to be queued; give the mark for its jobs."""
        when = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        keys = [run.key for run in wanted]
        self.handover = Handover(new_mark("sweep"), is_array, qtype, keys, when, about)
        self.write()
        return self.handover.mark

    def give_up(self) -> None:
        """Write it after a refusal; without any job there is no record."""
        if any(run.job for run in self.runs.values()):
            self.write()
        else:
            (self.directory / NAME).unlink(missing_ok=True)

    def queued(self, jobs: Mapping[str, str]) -> None:
        """Take up jobs of the handover, by key of run."""
        assert self.handover is not None
        for key, job in jobs.items():
            if self.runs[key].job != job:
                self.runs[key].submitted(job, self.handover.qtype)

    def end(self, count: int) -> None:
        """Forget the handover, of which so many runs were queued."""
        assert self.handover is not None
        if count:
            done = {"when": self.handover.when, "runs": count}
            self.about["submitted"] = [*self.about.get("submitted", ()), done]
            self.about |= self.handover.about
        self.handover = None

    def learn(self, other: Record) -> None:
        """Take over what another record knows of the same jobs."""
        for key, mine in self.runs.items():
            run = other.runs.get(key)
            if run is not None and run.job == mine.job and not mine.done:
                self.runs[key] = run

    def number(self, wanted: Mapping[str, dict[str, Any]]) -> list[Run]:
        """Give the runs with these parameters, by key; new ones get the next numbers."""
        following = max((run.number for run in self.runs.values()), default=0) + 1
        for key, params in wanted.items():
            if key not in self.runs:
                self.runs[key] = Run(following, params, key)
                following += 1
            self.runs[key].params = params  # exactly: in the file may stand a text for them
        return [self.runs[key] for key in wanted]

    def path(self, run: Run, ending: str) -> str:
        """Give the file of a run."""
        return os.fspath(self.directory / "runs" / f"{run.number:04}.{ending}")

    # ------------------------------------------------------------ learning

    def ask(self, runs: Iterable[Run], *, is_function: bool) -> None:
        """Learn what became of runs that were not known to have ended.

        Raises:
            QueueError: a scheduler cannot be asked.
        """
        by_scheduler: dict[Scheduler, list[Run]] = {}
        for run in runs:
            if run.active:
                by_scheduler.setdefault(queue.scheduler_for(run.qtype), []).append(run)
        for scheduler, mine in by_scheduler.items():
            found = {info.id: info for info in scheduler.query([run.job for run in mine])}
            ended: dict[str, Run] = {}
            for run in mine:
                info = found.get(run.job)
                if info is None:
                    self._judge_lost(run, is_function)
                elif info.state in FINAL and not info.ending:
                    ended[run.job] = run
                else:
                    run.state = info.state
            self._learn_ends(scheduler, ended, is_function)

    def _judge_lost(self, run: Run, is_function: bool) -> None:
        """Decide about a run whose job the scheduler does not know any more."""
        # A value is written whole and last.
        done = is_function and os.path.exists(self.path(run, "value"))
        run.state = "COMPLETED" if done else "LOST"
        run.error = "" if done else "LOST: the scheduler does not know its job any more"

    def _learn_ends(
        self, scheduler: Scheduler, ended: Mapping[str, Run], is_function: bool
    ) -> None:
        views = {id: JobView(scheduler, id) for id in ended}
        if views:
            queue.wait_for_content(list(views.values()), None)
        for id, run in ended.items():
            view = views[id]
            info = view.queue_info
            assert info is not None
            run.exitcode, run.usage = view.get_exitcode(update=False), usage_of(info)
            run.error = self._end_of(run, view, info, is_function)
            run.state = info.state

    def _end_of(self, run: Run, view: JobView, info: JobInfo, is_function: bool) -> str:
        """Keep what a run left; give its error in a line, empty if there is none."""
        if is_function and info.state == "COMPLETED":
            return ""
        try:
            left = view.get()
        except JobFailed as error:
            return f"{error.state}: {error.reason}".rstrip(": ")
        except Exception as error:  # the user's functions raise anything
            first = (str(error).splitlines() or [""])[0]
            return f"{type(error).__name__}: {first}".rstrip(": ")
        if not isinstance(left, CommandResult):
            return f"{info.state}: {info.reason}".rstrip(": ")
        for ending, text in (("out", left.stdout), ("err", left.stderr)):
            Path(self.path(run, ending)).write_bytes(text.encode("utf-8", "surrogateescape"))
        if info.state == "COMPLETED":
            return ""
        last = (left.stderr.strip().splitlines() or [""])[-1]
        return f"exit code {left.exitcode}: {last}".rstrip(": ")

    def value(self, run: Run, *, is_function: bool) -> Any:
        """Give what a run that has ended left: a value, or `(exitcode, stdout, stderr)`."""
        if is_function:
            done = run.state == "COMPLETED"
            return _keeping.load(self._kept(run, "value")) if done else None
        out, err = (Path(self._kept(run, ending)) for ending in ("out", "err"))
        if run.exitcode is None or not out.exists():
            return None
        signal = run.usage.signal if run.usage else None
        return CommandResult(run.exitcode, _text(out), _text(err), signal)

    def _kept(self, run: Run, ending: str) -> str:
        """Give the file of a run, which somebody may have put aside who is submitting."""
        path = self.path(run, ending)
        return away(path) if os.path.exists(away(path)) and not os.path.exists(path) else path

    def is_kept(self, run: Run, *, is_function: bool) -> bool:
        """Whether it is COMPLETED, and its value is there."""
        has_value = not is_function or os.path.exists(self.path(run, "value"))
        return run.state == "COMPLETED" and has_value


def _text(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "surrogateescape")


def _plain(value: Any) -> Any:
    """Make a value fit for JSON; what is not becomes a text that shows it."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return repr(value)
