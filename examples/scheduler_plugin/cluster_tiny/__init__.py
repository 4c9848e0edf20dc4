"""The words of the scheduler `tiny`, for the package `cluster`.

This is all that `cluster` needs to know: what the scheduler's programs are
called, and what they print.  When they are called, and what an answer means,
is its own affair.  Nothing here runs a program.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence

from cluster.errors import OptionsError, QueueError
from cluster.schedulers.base import JobInfo, Request, Resources
from cluster.schedulers.dialect import Answer, Outputs, Seen

__all__ = ["Tiny"]

TINY = (sys.executable, "-m", "cluster_tiny.program")  # yours would be a name on PATH


class Tiny:
    """See `cluster.schedulers.dialect.Dialect` for what each name is for."""

    qtype = "tiny"
    title = "Tiny"
    prefix = "#TINY"
    missing: Mapping[str, str] = {
        "array": "Tiny has no arrays; submit several jobs",
        "max_running": "Tiny has no arrays; submit several jobs",
        "elements": "Tiny has no arrays; submit several jobs",
        "begin": "Tiny starts jobs as soon as it can",
        "requeue": "Tiny runs a job once; use resubmit()",
        "requeue_flag": "Tiny runs a job once; use resubmit()",
        "suspend": "Tiny cannot stop a job; signal it",
        "resume": "Tiny cannot stop a job; signal it",
        "memory_limit": "in Tiny a program sees an error of its own when memory is short",
    }
    job_id = "${TINY_ID}"
    array_index = ""
    redirects = True  # the script opens its files; `tiny` leaves that to it
    restarts = "0"
    reserved_codes: tuple[int, ...] = ()
    warns_script_only = False
    scrubbed: tuple[str, ...] = ("TINY_ID",)

    # ------------------------------------------------------------ is it there

    def probe(self) -> tuple[str, ...]:
        return (*TINY, "info")

    def recognises(self, answer: Answer) -> str:
        return str(_read(answer)[0]["version"])

    # ------------------------------------------------------------ submitting

    def directives(self, request: Request, outputs: Outputs, *, mark: str) -> list[str]:
        get = request.options.get
        lines = [
            f"--mark={mark}",
            f"--name={request.name[:40].encode('ascii', 'replace').decode()}",
        ]
        if get("cores", 1) * get("tasks", 1) > 1:
            lines.append(f"--cores={get('cores', 1) * get('tasks', 1)}")
        if get("mem"):
            lines.append(f"--mem={get('mem')}")
        if get("time"):
            lines.append(f"--time={math.ceil(get('time'))}")
        if get("hold"):
            lines.append("--hold")
        if get("partition") or get("account"):
            raise OptionsError("Tiny has neither partitions nor accounts. Leave them out.")
        for each in request.dependencies:
            lines.append(f"--after={'started' if each.type == 'after' else 'ended'}:{each.job}")
        return lines

    def guards(self, request: Request) -> list[tuple[str, str]]:
        # It starts a job however the one before ended: the script itself looks at that.
        if request.options.get("on_unsatisfiable") == "release":
            return []
        unsure = ("afterok", "afternotok")
        return [(each.type, each.job) for each in request.dependencies if each.type in unsure]

    def submit(self, script: str, arguments: Sequence[str]) -> tuple[str, ...]:
        return (*TINY, "submit", script, *arguments)

    def parse_submit(self, answer: Answer) -> str:
        if answer.code:
            raise OptionsError(f"Tiny refused the job: {answer.stderr.strip()}")
        return answer.stdout.strip()

    def find(self, mark: str, user: str) -> tuple[str, ...]:
        return (*TINY, "list")  # each line has its mark

    # ------------------------------------------------------------ asking

    def poll(self, jobs: Sequence[str], user: str) -> tuple[str, ...]:
        return (*TINY, "list")  # what is queued or runs

    def parse_poll(self, answer: Answer) -> list[Seen]:
        return [_seen(row) for row in _read(answer)]

    def account(self, jobs: Sequence[str]) -> list[tuple[str, ...]]:
        return [(*TINY, "list", *jobs)]  # what has ended, too

    def parse_account(self, answer: Answer) -> list[Seen]:
        return self.parse_poll(answer)

    # ------------------------------------------------------------ steering

    def act(self, verb: str, ids: Sequence[str], number: int) -> list[tuple[str, ...]]:
        return [(*TINY, verb, *([str(number)] if verb == "signal" else []), *ids)]

    def parse_act(self, verb: str, answer: Answer) -> dict[str, str]:
        if answer.code:
            raise QueueError(f"tiny {verb} failed: {answer.stderr.strip()}")
        return dict(line.split(" ", 1) for line in answer.stdout.splitlines())

    # ------------------------------------------------------------ the site

    def show_resources(self, partition: str | None) -> tuple[str, ...]:
        return (*TINY, "info")

    def parse_resources(self, answer: Answer, partition: str | None) -> Resources:
        return Resources(cores=_read(answer)[0]["cores"])


def _read(answer: Answer) -> list[dict[str, object]]:
    if answer.code:
        raise QueueError(f"tiny does not answer: {answer.stderr.strip()}")
    return [json.loads(line) for line in answer.stdout.splitlines()]


def _seen(row: dict) -> Seen:
    info = JobInfo(
        id=row["id"],
        name=row["name"],
        state=row["state"],
        cores=row["cores"],
        memory_mib=row["mem"],
        walltime_s=row["time"],
        submitted=row["submitted"],
        started=row["started"],
        ended=row["ended"],
        ending=row["state"] == "CANCELLED" and row["takes"],
        exitcode=row["code"],
    )
    return Seen(info=info, mark=row["mark"])
