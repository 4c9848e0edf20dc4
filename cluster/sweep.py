"""Sweeps: one function or command for every combination of parameters.

    grid -> runs -> submit: missing and failed ones -> jobs -> results

A run is known by its parameters, and done when it COMPLETED.  When jobs run is
up to the queue; which runs there are says `_sweep_grid`.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from cluster import config_file, files, logme, queue, request, runner
from cluster._directory import aside, locked
from cluster._fingerprint import digest
from cluster._handover import REFUSED
from cluster._item_pickle import dumps
from cluster._sweep_found import settle
from cluster._sweep_grid import Grid
from cluster._sweep_program import Lost, Program, shell_words
from cluster._sweep_record import KEPT, Record, Run
from cluster.errors import ClusterError, OptionsError, PayloadError

__all__ = ["Run", "Sweep"]

RESULTS = ("run", "job", "state", "exitcode", "error", "usage", "value")
PREVIEWED = 10


class Sweep:
    """One function or command for every combination of parameters.

    Its directory holds the parameters and the result of every run, and enough
    to go on in another process: see `Sweep.load`.

    Attributes:
        name: its own, and that of its jobs.
        directory: where its results are.
        mode: "array" or "individual".
    """

    def __init__(
        self,
        command: Any,
        *,
        grid: Mapping[str, Any] | None = None,
        paired: Iterable[Mapping[str, Any]] | Mapping[str, Any] | None = None,
        defaults: Mapping[str, Any] | None = None,
        name: str | None = None,
        directory: str | os.PathLike[str] | None = None,
        mode: str = "array",
        max_runs: int | None = None,
        **options: Any,
    ) -> None:
        """Make a sweep; nothing is queued or written yet.

        Args:
            command: a function, called with the parameters as keyword arguments,
                "model.lr" in a dict `model`; or a command, which gets them as
                words behind it: `model.lr=0.1`.
            grid: keys and the list of values of each; all combinations are run.
            paired: mappings of keys and lists; the values in one mapping go together.
            defaults: parameters that are the same in all runs, unless `grid` or
                `paired` have them.
            name: None is made from the command.
            directory: None is `<name>.sweep`, here.
            mode: "array" submits one array, "individual" a job for each run.
            max_runs: only the first so many combinations.
            options: keywords of `cluster.submit`; with mode "array" also `max_running`.

        Raises:
            OptionsError: whatever is wrong with any of these.
        """
        self.grid = Grid(grid, paired, defaults, max_runs)
        first = next(iter(self.grid), {})
        self._program = Program(command, name, mode, options, first)
        self.name, self.mode = self._program.name, mode
        chosen = f"{files.safe_stem(self.name)}.sweep" if directory is None else directory
        self.directory = Path(os.path.abspath(chosen))
        self._given = {
            "paired": self.grid.paired, "defaults": self.grid.defaults, "max_runs": max_runs,
            "mode": mode, "name": self.name, "options": options,
        }  # fmt: skip

    @property
    def is_function(self) -> bool:
        """Whether runs have values; else they have what a command wrote."""
        return self._program.is_function

    # ------------------------------------------------------------ before

    def count(self) -> int:
        """Say how many runs there are; `max_runs` counts."""
        return self.grid.count

    def preview(self, n: int = PREVIEWED) -> str:
        """Show the first runs; nothing is queued or written.

        Args:
            n: so many.
        """
        total, count = self.grid.total, self.count()
        some = f"{count} of {total} combinations" if count < total else f"{count} runs"
        lines = [f"sweep {self.name}: {some}"]
        lines += [f"  {self._program.shown(params)}" for params in islice(self.grid, n)]
        return "\n".join([*lines, *(["  ..."] if n < count else [])])

    def __repr__(self) -> str:
        return f"<Sweep {self.name!r}, {self.count()} runs>"

    # ------------------------------------------------------------ submitting

    def submit(self, again: bool = False) -> list[Run]:
        """Queue the runs that are missing or failed, and no others.

        Args:
            again: queue those that completed, too.

        Returns:
            The runs that are queued now.

        Raises:
            OptionsError: whatever cannot work; nothing was queued.
            PayloadError: the function or a parameter cannot be pickled.
            QueueError: the queue could not be asked or refused.
        """
        request.check_main_is_there()
        with locked(self.directory, f"sweep {self.name!r}"):
            record = Record(self.directory, self.name)
            settle(record, alone=True, for_good=True)
            runs = self._runs(record)
            self._ask(record, runs)
            wanted = [run for run in runs if not run.active]
            if not again:
                wanted = [r for r in wanted if not record.is_kept(r, is_function=self.is_function)]
            self._warn_of_changes(record, len(runs) - len(wanted))
            self._keep_itself()
            if wanted:
                self._queue(record, wanted)
            record.about |= self._about()
            record.write()
        return wanted

    def _runs(self, record: Record) -> list[Run]:
        wanted: dict[str, dict[str, Any]] = {}
        for params in self.grid:
            key = digest(dict(sorted(params.items())))[:32]
            if key in wanted:
                raise OptionsError(
                    f"sweep {self.name!r} has the same run twice: {shell_words(params)}. For "
                    "repetitions give each a number of its own: grid={'repeat': range(3)}."
                )
            wanted[key] = params
        return record.number(wanted)

    def _warn_of_changes(self, record: Record, kept: int) -> None:
        """Say that results of other code stay: that is how one run is repaired, or a mistake."""
        if kept and record.about.get("code", self._program.code) != self._program.code:
            logme.log(
                f"sweep {self.name!r}: what it runs ({self._program.what}) has changed; {kept} "
                "runs stay as they are. submit(again=True) runs all of them again",
                "warn",
            )

    def _about(self) -> dict[str, Any]:
        program = self._program
        return {
            "runs": program.what, "is_function": self.is_function, "mode": self.mode,
            "code": program.code,
            "options": {key: repr(value) for key, value in program.options.items()},
        }  # fmt: skip

    def _keep_itself(self) -> None:
        """Write what `load` reads."""
        try:
            command = dumps(self._program.command)
            data = dumps({**self._given, "command": command})
        except Exception as error:  # __reduce__ of the user's classes may raise anything
            raise PayloadError(
                f"sweep {self.name!r} cannot be pickled: {type(error).__name__}: {error}"
            ) from error
        path = os.fspath(self.directory / "sweep.pickle")
        files.write_atomic(path, data, mode=0o600)

    def _queue(self, record: Record, wanted: list[Run]) -> None:
        os.makedirs(self.directory / "runs", mode=0o700, exist_ok=True)
        filedir = None if config_file.get("jobs", "filedir") else os.fspath(self.directory)
        told = [(run.number, run.params, record.path(run, "value")) for run in wanted]
        is_array, qtype = self.mode == "array", self._program.model.qtype
        mark = record.begin(wanted, qtype, self._about(), is_array=is_array)
        try:
            # An attempt that fails shall not leave the result of the one before it.
            with aside(record.path(run, ending) for run in wanted for ending in KEPT):
                jobs = self._program.submit(told, filedir, mark)
        except REFUSED:
            with suppress(ClusterError):  # the next submission will find out
                settle(record, alone=False, for_good=True)
                record.give_up()
            raise
        record.queued({run.key: job for run, job in zip(wanted, jobs, strict=True)})
        record.end(len(wanted))

    # ------------------------------------------------------------ afterwards

    @classmethod
    def load(cls, directory: str | os.PathLike[str]) -> Sweep:
        """Give a sweep that was submitted, whichever process did so.

        Its results can be read even where its function cannot be imported.

        Raises:
            OptionsError: no sweep was submitted from there.
            PayloadError: it cannot be unpickled here.
        """
        path = os.path.join(os.path.abspath(directory), "sweep.pickle")
        if not os.path.exists(path):
            raise OptionsError(
                f"{os.fspath(directory)!r} is no directory of a sweep: it has no sweep.pickle. It "
                "is written when a sweep is submitted."
            )
        try:
            given = pickle.loads(runner.read_owned(path))
        except runner.Refused as refusal:
            raise PayloadError(str(refusal)) from None
        except Exception as error:  # classes of the user may raise anything
            raise PayloadError(
                f"{path} cannot be unpickled here: {type(error).__name__}: {error}"
            ) from error
        options = given.pop("options")
        command = _command_of(given.pop("command"), path)
        return cls(command, directory=directory, **given, **options)

    def runs(self) -> list[Run]:
        """Give all runs, as they are now, in the order of the combinations."""
        record = self._known()
        return self._runs(record)

    def _read(self) -> Record:
        """Read the record; jobs that somebody is submitting, or was, are looked for."""
        record = Record(self.directory, self.name)
        settle(record, alone=False)
        return record

    def _known(self) -> Record:
        """Read the record and learn what has happened since."""
        record = self._read()
        runs = self._runs(record)
        before = [run.state for run in runs]
        self._ask(record, runs)
        if [run.state for run in runs] != before:
            with locked(self.directory, f"sweep {self.name!r}"):
                newest = Record(self.directory, self.name)  # others have submitted meanwhile
                settle(newest, alone=True)
                newest.learn(record)
                newest.write()
        return record

    def _ask(self, record: Record, runs: Iterable[Run]) -> None:
        record.ask(runs, is_function=self.is_function)

    def status(self) -> dict[str, int]:
        """Count the runs by state; those that were never queued are "missing"."""
        states = [run.state or "missing" for run in self.runs()]
        return {state: states.count(state) for state in dict.fromkeys(states)}

    def wait(self, timeout: float | None = None, progress: bool | None = None) -> bool:
        """Block until all runs that are queued have ended; see `cluster.wait`.

        Returns:
            True if all runs of the sweep are COMPLETED.

        Raises:
            OptionsError: it was not submitted.
            WaitTimeout: a `TimeoutError`; the jobs go on.
        """
        runs = self._runs(self._read())
        if not any(run.job for run in runs):
            raise OptionsError(f"sweep {self.name!r} was not submitted. Call its submit().")
        views = [run.view for run in runs if run.active]
        if views:
            queue.wait(views, timeout, progress)
        return set(self.status()) == {"COMPLETED"}

    def cancel(self) -> dict[str, str]:
        """End all runs that wait or run.

        Returns:
            For each job, what happened, in a few words.
        """
        return queue.cancel([run.view for run in self.runs() if run.active])

    def results(self) -> list[dict[str, Any]]:
        """Give parameters and result of each run, in the order of the combinations.

        Beside the parameters (flat; one that is called like a key below is
        "params.<key>") each has `run` (its number), `job`, `state`, `exitcode`,
        `error`, `usage` and `value`: what the function returned, or the
        command's `(exitcode, stdout, stderr)`; None where there is none.
        """
        record = self._known()
        return [self._row(record, run) for run in self._runs(record)]

    def _row(self, record: Record, run: Run) -> dict[str, Any]:
        params = {k if k not in RESULTS else f"params.{k}": v for k, v in run.params.items()}
        value = record.value(run, is_function=self.is_function) if run.done else None
        told = (run.number, run.job, run.state, run.exitcode, run.error, run.usage, value)
        return params | dict(zip(RESULTS, told, strict=True))

    def frame(self) -> Any:
        """Give the results as a `pandas.DataFrame`; of the usage, wall_s, cpu_s and memory.

        Raises:
            ImportError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise ImportError(
                "Sweep.frame needs pandas: pip install 'python-cluster[data]'. results() gives "
                "the same as a list of dicts."
            ) from error
        rows = self.results()
        for row in rows:
            usage = row.pop("usage")
            for key in ("wall_s", "cpu_s", "peak_memory_mib"):
                row.setdefault(key, getattr(usage, key, None))
        return pandas.DataFrame(rows)

    def failures(self) -> dict[str, list[dict[str, Any]]]:
        """Group the runs that have ended without completing by their error, most first.

        Returns:
            The error in a line, and the results of the runs with it.
        """
        groups: dict[str, list[dict[str, Any]]] = {}
        record = self._known()
        for run in self._runs(record):
            if run.done and run.state != "COMPLETED":
                groups.setdefault(run.error, []).append(self._row(record, run))
        return dict(sorted(groups.items(), key=lambda group: -len(group[1])))


def _command_of(data: bytes, path: str) -> Any:
    try:
        return pickle.loads(data)
    except Exception as error:  # classes and modules of the user may raise anything
        return Lost(
            f"the function of {path} cannot be unpickled here: {type(error).__name__}: {error}"
        )
