"""A scheduler of plain dicts: what it is asked is kept, what it answers is set by the test."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from cluster import files
from cluster.errors import QueueError, WaitTimeout
from cluster.schedulers.base import Content, Ending, JobInfo, Request, Resources, Scripts
from cluster.script import Script
from cluster.states import FINAL


@dataclass(eq=False)
class FakeScheduler:
    """Jobs end in the order of `ended`; with `gone`, every question fails."""

    qtype: str = "local"
    needs_files: bool = False
    requests: list[Request] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    infos: dict[str, JobInfo] = field(default_factory=dict)
    contents: dict[str, Content] = field(default_factory=dict)
    acts: list[tuple[str, tuple[str, ...], int]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    gone: bool = False
    queries: int = 0

    def scripts(self, request: Request, *, directory: str, stem: str, suffix: str) -> Scripts:
        path = f"{directory}/{stem}.{suffix}.sbatch"
        return Scripts(Script(f"# {request.name}\n", path, files.Disk()))

    def check(self, request: Request) -> list[str]:
        return list(self.problems)

    def preview(self, request: Request) -> str:
        return f"would run {request.name}"

    def submit(
        self, requests: Sequence[Request], scripts: Sequence[Scripts | None] = ()
    ) -> list[str]:
        self._ask()
        first = len(self.requests) + 1
        self.requests += requests
        self.batches.append(len(requests))
        ids = [str(first + n) for n in range(len(requests))]
        for id, request in zip(ids, requests, strict=True):
            self.infos[id] = JobInfo(id=id, name=request.name, state="PENDING")
        return ids

    def resubmit(self, id: str) -> str:
        self.infos["99"] = replace_info(self.infos[id], id="99", state="PENDING")
        return "99"

    def query(self, ids: Sequence[str], *, elements: bool = False) -> list[JobInfo]:
        self._ask()
        self.queries += 1
        return [self.infos[id] for id in ids if id in self.infos]

    def jobs(self, *, user: str | None, partition: str | None) -> list[JobInfo]:
        self._ask()
        return list(self.infos.values())

    def named(self, pattern: str) -> list[JobInfo]:
        return [info for info in self.infos.values() if fnmatchcase(info.name, pattern)]

    def endings(
        self, ids: Sequence[str], *, timeout: float | None = None, content: bool = False
    ) -> Iterator[Ending]:
        self._ask()
        for id, info in self.infos.items():
            if id in ids and info.state in FINAL:
                yield Ending(info, self.contents.get(id, Content()) if content else None)
        left = [id for id in ids if self.infos[id].state not in FINAL]
        if left:
            raise WaitTimeout(f"{left} go on")

    def content(self, id: str) -> Content:
        self._ask()
        return self.contents.get(id, Content())

    def act(self, verb: str, ids: Sequence[str], number: int = 0) -> dict[str, str]:
        self.acts.append((verb, tuple(ids), number))
        return dict.fromkeys(ids, f"{verb} done")

    def resources(self, partition: str | None = None) -> Resources:
        return Resources(cores=2)

    def _ask(self) -> None:
        if self.gone:
            raise QueueError("the server is gone")

    def end(self, id: str, state: str = "COMPLETED", **fields: Any) -> None:
        """Let a job end, with this state and what else is known of it."""
        fields = {"exitcode": 0, "started": 10.0, "ended": 12.5, **fields}
        self.infos[id] = replace_info(self.infos[id], state=state, **fields)


def replace_info(info: JobInfo, **fields: Any) -> JobInfo:
    """Give an info with other fields."""
    return msgspec.structs.replace(info, **fields)


__all__ = ["FakeScheduler", "replace_info"]
