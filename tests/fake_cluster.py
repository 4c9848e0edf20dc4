"""A scheduler of plain dicts behind a dialect of plain words, and programs that fail on order.

submit FILE | find MARK | poll ID... | books ID... | act VERB ID... | resources
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from cluster.errors import OptionsError, QueueError, ServerTimeout
from cluster.job import Job
from cluster.local.wire import JobInfo
from cluster.schedulers._programs import Programs
from cluster.schedulers.base import Request, Resources
from cluster.schedulers.dialect import Answer, Outputs, Seen

T = TypeVar("T")


class Words:
    """The dialect."""

    qtype = "slurm"
    title = "Fake"
    prefix = "#FAKE"
    job_id = "${FAKE_ID}"
    redirects = False
    array_index = "${FAKE_INDEX:-}"
    scrubbed = ("FAKE_*",)
    restarts = "0"
    reserved_codes: tuple[int, ...] = ()
    signals_script_only = False

    def __init__(self, *, books: bool = True, missing: Mapping[str, str] | None = None) -> None:
        self.missing = dict(missing or {})
        self.books = books
        self.guarded: list[tuple[str, str]] = []

    def probe(self) -> tuple[str, ...]:
        return ("probe",)

    def recognises(self, answer: Answer) -> str:
        return answer.stdout

    def directives(self, request: Request, outputs: Outputs, *, mark: str) -> list[str]:
        waits = [f"--after {d.type}:{d.job}" for d in request.dependencies]
        hold = ["--hold"] if request.options.get("hold") else []
        return [f"--mark {mark}", *waits, *hold]

    def guards(self, request: Request) -> list[tuple[str, str]]:
        return self.guarded

    def submit(self, script: str, arguments: Sequence[str]) -> tuple[str, ...]:
        return ("submit", *arguments, script)

    def parse_submit(self, answer: Answer) -> str:
        if answer.code == 2:
            raise OptionsError(f"refused: {answer.stderr}")
        return _checked(answer).stdout

    def find(self, mark: str, user: str) -> tuple[str, ...]:
        return ("find", mark)

    def poll(self, jobs: Sequence[str], user: str) -> tuple[str, ...]:
        return ("poll", *jobs)

    def parse_poll(self, answer: Answer) -> list[Seen]:
        rows = msgspec.json.decode(_checked(answer).stdout, type=list[tuple[JobInfo, str, bool]])
        return [Seen(info=info, mark=mark, user="me", stuck=stuck) for info, mark, stuck in rows]

    def account(self, jobs: Sequence[str]) -> list[tuple[str, ...]]:
        return [("books", *jobs)] if self.books else []

    def parse_account(self, answer: Answer) -> list[Seen]:
        return self.parse_poll(answer)

    def act(self, verb: str, ids: Sequence[str], number: int) -> list[tuple[str, ...]]:
        return [("act", verb, *ids)]

    def parse_act(self, verb: str, answer: Answer) -> dict[str, str]:
        _checked(answer)
        return {}

    def show_resources(self, partition: str | None) -> tuple[str, ...]:
        return ("resources",)

    def parse_resources(self, answer: Answer, partition: str | None) -> Resources:
        return Resources(cores=int(_checked(answer).stdout))


def _checked(answer: Answer) -> Answer:
    if answer.code:
        raise QueueError(f"the controller is down: {answer.stderr}")
    return answer


@dataclass(eq=False)
class Site(Programs):
    """The programs, and the scheduler behind them.

    Attributes:
        queue: the jobs that `poll` shows.
        books: those that `books` shows.
        faults: for a program, what the next calls of it do: "down" (an error),
            "hang" (a timeout, nothing done), "lost" (done, the answer lost),
            "late" (a timeout, done when `arrive` is called),
            "refuse", "ctrl-c" (nothing done), "taken, ctrl-c", or "ok".
        stuck: ids of jobs that could not be started, and are held.
        down: every question fails.
        argvs: everything that was run.
        most_at_once: programs that ran at the same time.
    """

    queue: dict[str, JobInfo] = field(default_factory=dict)
    books: dict[str, JobInfo] = field(default_factory=dict)
    marks: dict[str, str] = field(default_factory=dict)
    scripts: dict[str, str] = field(default_factory=dict)
    faults: dict[str, list[str]] = field(default_factory=dict)
    stuck: set[str] = field(default_factory=set)
    late: list[list[str]] = field(default_factory=list)
    down: bool = False
    argvs: list[tuple[str, ...]] = field(default_factory=list)
    on_poll: Callable[[], None] | None = None

    def __post_init__(self) -> None:
        super().__init__(timeout_s=1.0, tries=1)
        self._lock = threading.Lock()
        self.at_once = self.most_at_once = 0

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float | None = None,
        without: Sequence[str] = (),
        plain: bool = True,
    ) -> Answer:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return self._run(argv)
        finally:
            self.at_once -= 1

    def _run(self, argv: Sequence[str]) -> Answer:
        with self._lock:
            self.argvs.append(tuple(argv))
            waiting = self.faults.get(argv[0], [])
            fault = waiting.pop(0) if waiting else "ok"
            if self.down or fault == "down":
                return Answer(tuple(argv), 1, "", "connection refused")
            if fault == "late":
                self.late.append(list(argv))
            if fault in ("hang", "late"):
                raise ServerTimeout(f"{argv[0]} did not answer")
            if fault == "ctrl-c":
                raise KeyboardInterrupt
            if fault == "refuse":
                return Answer(tuple(argv), 2, "", "no such partition")
            said = self._do(argv[0], list(argv[1:]))
            if fault == "taken, ctrl-c":
                raise KeyboardInterrupt
            if fault == "lost":
                raise ServerTimeout(f"{argv[0]} did not answer")
            return Answer(tuple(argv), 0, said, "")

    def _do(self, program: str, words: list[str]) -> str:
        return str(getattr(self, f"_{program}")(words))

    def _submit(self, words: list[str]) -> str:
        id = str(17 + len(self.scripts))
        text = Path(words[-1]).read_text()
        self.scripts[id] = text
        found = re.search(r"cluster-[0-9a-f]{16}", text)
        self.marks[id] = found[0] if found else ""
        self.queue[id] = JobInfo(id=id, name="label", state="PENDING")
        return id

    def _find(self, words: list[str]) -> str:
        return self._show(info for id, info in self.queue.items() if self.marks[id] == words[0])

    def _poll(self, words: list[str]) -> str:
        if self.on_poll is not None:
            self.on_poll()
        wanted = set(words)
        return self._show(
            info for info in self.queue.values() if not words or info.id.split("_")[0] in wanted
        )

    def _books(self, words: list[str]) -> str:
        return self._show(i for i in self.books.values() if i.id.split("_")[0] in words)

    def _act(self, words: list[str]) -> str:
        verb, *ids = words
        for id in ids:
            if verb == "cancel":
                self.queue.pop(id, None)
            if verb == "release":
                self.stuck.discard(id)
        return ""

    def _resources(self, words: list[str]) -> str:
        return "8"

    def _show(self, infos: Any) -> str:
        rows = [(info, self.marks.get(info.id, ""), info.id in self.stuck) for info in infos]
        return msgspec.json.encode(rows).decode()

    # ------------------------------------------------------------ what a test lets happen

    def calls_of(self, program: str) -> int:
        """Count the runs of a program."""
        return sum(argv[0] == program for argv in self.argvs)

    def leave(self, id: str) -> None:
        """Let a job leave the queue."""
        for each in [each for each in self.queue if each.split("_")[0] == id or each == id]:
            del self.queue[each]

    def say(self, id: str, state: str, **fields: Any) -> None:
        """Let the queue show a job in this state."""
        self.queue[id] = JobInfo(id=id, name="label", state=state, **fields)

    def arrive(self) -> list[str]:
        """Let the requests arrive that were late; give what was answered."""
        with self._lock:
            late, self.late = self.late, []
            return [self._do(program, words) for program, *words in late]

    def keep(self, id: str) -> None:
        """Let the start of a job, or of an element, fail: it is held from now on."""
        self.say(id, "HELD", reason="Held: Fake could not start it: no such directory")
        self.stuck.add(id)

    def book(self, id: str, state: str, **fields: Any) -> None:
        """Let the books have a job that ended so."""
        self.books[id] = JobInfo(id=id, name="label", state=state, **fields)


def write_record(path: str, id: str, code: int = 0, **fields: Any) -> None:
    """Leave the exit record of a job."""
    words = {"v": 1, "job": id, "index": "-", "attempt": 1, "code": code, "start": 100, "end": 105,
             "host": "n1"} | fields  # fmt: skip
    Path(path).write_text(" ".join(f"{key}={value}" for key, value in words.items()) + "\n")


def record_of(job: Job) -> str:
    return job.submission.file_name.removesuffix(".sbatch") + ".exit"


def finish(site: Site, job: Job, code: int = 0) -> None:
    """Let a job end by itself, as it does on a node."""
    assert job.id is not None
    write_record(record_of(job), job.id, code)
    for stream in ("out", "err"):
        Path(record_of(job).removesuffix("exit") + stream).write_text(f"{stream} of {job.name}\n")
    site.leave(job.id)
