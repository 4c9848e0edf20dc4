"""What is known of the earlier runs of a pipeline: one JSON file in its directory.

Each step has an entry: the key of what it ran, its job and how that ended.  An
entry is taken for what it says only if the key is that of the step as it is now.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cluster import queue
from cluster._directory import write_json
from cluster._handover import new_mark
from cluster.array import JobArray
from cluster.errors import ClusterError, OptionsError, UnknownJob
from cluster.job import Job
from cluster.states import FINAL

__all__ = ["Entry", "Handover", "Record"]

VERSION = 1
NAME = "pipeline.json"


@dataclass
class Entry:
    """How a step was run last.

    Attributes:
        key: of function or command, arguments, options, and the keys of what it waits for.
        job: its id; empty if it was not needed.
        qtype: where that job is.
        is_array: it is an array of `submit_array`.
        state: final, as far as it is known; empty otherwise.
        runs: what, for people.
        values: the files of its value, one for each element; none for a command.
    """

    key: str
    job: str
    qtype: str
    is_array: bool = False
    state: str = ""
    runs: str = ""
    values: list[str] = field(default_factory=list)

    def open(self) -> Job | JobArray | None:
        """Give its job; None if that is not known any more."""
        if not self.job:
            return None
        if not self.is_array:
            return Job._of(self.job, queue.scheduler_for(self.qtype))
        try:
            return JobArray.load(self.job, self.qtype)
        except UnknownJob:
            return None

    @property
    def is_kept(self) -> bool:
        """Whether it is COMPLETED, and what others may want of it is there."""
        return self.state == "COMPLETED" and all(map(os.path.exists, self.values))


@dataclass
class Handover:
    """What is about to be queued: its submitter may be killed before it knows the jobs.

    Attributes:
        mark: stands in the remark of each of these jobs.
        steps: their entries; `job` is the array that is run again in part, else empty.
    """

    mark: str
    steps: dict[str, Entry]


class Record:
    """The entries of all steps, by name.

    Attributes:
        path: the file.
        entries: what stands in it.
        handover: None unless somebody is submitting, or was killed while it did.
    """

    def __init__(self, directory: Path, name: str) -> None:
        """Read it; a missing file is an empty record.

        Raises:
            ClusterError: it cannot be read, or it is another pipeline's.
        """
        self.path, self.name = directory / NAME, name
        self.entries: dict[str, Entry] = {}
        self.handover: Handover | None = None
        try:
            told = json.loads(self.path.read_bytes())
            version, owner = told["version"], told["name"]
            self.entries = _entries(told["steps"])
            if begun := told.get("handover"):
                self.handover = Handover(begun["mark"], _entries(begun["steps"]))
        except FileNotFoundError:
            return
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ClusterError(
                f"{self.path} is no record of a pipeline ({type(error).__name__}: {error}). Move "
                "it away to run all steps again, or give the pipeline another directory=."
            ) from error
        if version != VERSION:
            raise ClusterError(f"{self.path} was written by another version ({version}).")
        if owner != name:
            raise OptionsError(
                f"{directory} belongs to pipeline {owner!r}, not {name!r}. Give another directory=."
            )

    def write(self) -> None:
        """Write it, whole or not at all."""
        steps = {name: asdict(entry) for name, entry in self.entries.items()}
        told: dict[str, Any] = {"version": VERSION, "name": self.name, "steps": steps}
        if self.handover is not None:
            told["handover"] = asdict(self.handover)
        write_json(self.path, told)

    def begin(self, steps: dict[str, Entry]) -> str:
        """Write down what is about to be queued; give the mark for its jobs."""
        self.handover = Handover(new_mark("pipeline"), steps)
        self.write()
        return self.handover.mark

    def give_up(self) -> None:
        """Write down that nothing was queued after all."""
        self.handover = None
        if self.entries:
            self.write()
        else:
            self.path.unlink(missing_ok=True)

    def ask(self) -> None:
        """Learn how the jobs ended that were not known to have.

        Raises:
            QueueError: a scheduler cannot be asked.
        """
        open_ones = [entry for entry in self.entries.values() if entry.job and not entry.state]
        plain = [entry for entry in open_ones if not entry.is_array]
        for qtype in dict.fromkeys(entry.qtype for entry in plain):
            mine = [entry for entry in plain if entry.qtype == qtype]
            scheduler = queue.scheduler_for(qtype)
            found = {info.id: info for info in scheduler.query([entry.job for entry in mine])}
            for entry in mine:
                info = found.get(entry.job)
                if info is None:
                    _judge_lost(entry)
                elif info.state in FINAL and not info.ending:
                    entry.state = info.state
        for entry in open_ones:
            if entry.is_array:
                array = entry.open()
                if array is None:
                    _judge_lost(entry)
                else:
                    state = array.state
                    entry.state = state if state in FINAL else ""


def _entries(told: dict[str, Any]) -> dict[str, Entry]:
    return {step: Entry(**entry) for step, entry in told.items()}


def _judge_lost(entry: Entry) -> None:
    """Decide about a job that its scheduler does not know any more."""
    # A value is written whole and last.
    done = bool(entry.values) and all(map(os.path.exists, entry.values))
    entry.state = "COMPLETED" if done else "LOST"
