"""A job of the queue in LSF's words: its state, its end, its ids; and which jobs are meant."""

from __future__ import annotations

import fnmatch
import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

from cluster.emulation import shims
from cluster.emulation.call import Call, Stop
from cluster.emulation.lsf.conf import CLEAN_PERIOD_S
from cluster.emulation.machine import Machine, Row
from cluster.local import processes
from cluster.states import FINAL

__all__ = [
    "CAUSES",
    "LIVE",
    "View",
    "by_ids",
    "chosen",
    "named",
    "output",
    "read_id",
    "rows_of",
    "sorted_views",
]

LIVE = ("HELD", "PENDING", "RUNNING", "SUSPENDED")
CAUSES = {
    "TERM_OWNER": "job killed by owner",
    "TERM_RUNLIMIT": "job killed after reaching LSF run time limit",
    "TERM_MEMLIMIT": "job killed after reaching LSF memory usage limit",
    "TERM_CPULIMIT": "job killed after reaching LSF CPU usage limit",
    "TERM_DEADLINE": "job killed after deadline expires",
    "TERM_ORPHAN_SYSTEM": "orphan job terminated automatically by LSF",
    "TERM_ZOMBIE": "job exited while LSF is not available",
}
_STATES = {"HELD": "PSUSP", "PENDING": "PEND", "RUNNING": "RUN", "SUSPENDED": "USUSP",
           "COMPLETED": "DONE"}  # fmt: skip
_BY_STATE = {
    "TIMEOUT": "TERM_RUNLIMIT",
    "OUT_OF_MEMORY": "TERM_MEMLIMIT",
    "CANCELLED": "TERM_OWNER",
    "NODE_FAIL": "TERM_ZOMBIE",
    "LOST": "TERM_ZOMBIE",
}
_ID = re.compile(r"(\d{1,18})(?:\[([\d,:\s-]+)\])?\Z", re.ASCII)


class View:
    """A job or an element, as bjobs lists it.

    Args:
        row: the job.
        home: directory of the family, where the causes of ends are kept.
    """

    def __init__(self, row: Row, home: str) -> None:
        self.row, self._home = row, home
        self.info, self.extra, self.options = row.info, row.extra, row.extra.options

    @property
    def id(self) -> str:
        """As people write it: 4, 4[2]."""
        return f"{self.row.array}[{self.row.index}]" if self.row.index is not None else self.number

    @property
    def number(self) -> str:
        """Its id without the index."""
        return str(self.row.array)

    @property
    def index(self) -> int:
        """Its index, 0 outside an array."""
        return self.row.index or 0

    @property
    def name(self) -> str:
        """As LSF shows it, index and all."""
        name = self.options.get("jobname", self.info.name)
        return f"{name}[{self.row.index}]" if self.row.index is not None else name

    @property
    def is_psusp(self) -> bool:
        """Whether it is held by its owner, not by a condition that is watched."""
        waits = "watched" in self.options
        return self.info.state == "HELD" and (not waits or "H" in self.options)

    @cached_property
    def stat(self) -> str:
        """PEND, RUN, ..."""
        state = self.info.state
        if state == "HELD" and not self.is_psusp:
            return "PEND"
        if self.info.ending:
            return "RUN"
        return _STATES.get(state, "EXIT")

    @property
    def is_over(self) -> bool:
        """Whether it is DONE or EXIT."""
        return self.stat in ("DONE", "EXIT")

    @property
    def is_waiting(self) -> bool:
        """Whether it has not started yet."""
        return self.stat in ("PEND", "PSUSP")

    @property
    def ran(self) -> bool:
        """Whether it was ever started."""
        return bool(self.info.started)

    @cached_property
    def exit_code(self) -> int | None:
        """What LSF calls its exit code, 128 + n after signal n; None while it is not known."""
        if self.stat == "DONE":
            return 0
        if self.stat != "EXIT" or not self.ran:
            return None
        if self.info.exitcode is not None:
            return self.info.exitcode
        if self.info.signal:
            return 128 + self.info.signal
        return {"TIMEOUT": 140, "OUT_OF_MEMORY": 137, "CANCELLED": 130}.get(self.info.state, 255)

    @cached_property
    def cause(self) -> str:
        """TERM_... of a job that did not end by itself."""
        if self.stat != "EXIT":
            return ""
        if self.info.state == "CANCELLED" and self.info.reason.startswith("Dependency"):
            return "TERM_ORPHAN_SYSTEM"
        if "cause" in self.options:
            return self.options["cause"]
        try:
            with open(os.path.join(self._home, "ends", f"{self.number}.{self.index}")) as file:
                return file.read().strip()
        except OSError:
            return _BY_STATE.get(self.info.state, "")

    @property
    def exit_reason(self) -> str:
        """The cause with its words."""
        return f"{self.cause}: {CAUSES.get(self.cause, 'job killed')}" if self.cause else ""

    @property
    def runlimit_s(self) -> float:
        """Of -W, 0 for none."""
        return float(self.options.get("runlimit", 0))

    @cached_property
    def memory_mib(self) -> float:
        """What it uses; once it is over, the most that it used."""
        if self.stat == "RUN" and self.info.pid:
            return processes.memory_mib(processes.trees([self.info.pid]))
        return self.info.peak_memory_mib

    def elapsed_s(self, now: float) -> float:
        """How long it has run."""
        if not self.info.started:
            return 0.0
        return max(0.0, (self.info.ended or now) - self.info.started)

    @property
    def pend_reason(self) -> str:
        """Why it waits, as `bjobs -p` says."""
        reason = self.info.reason
        if self.stat == "PSUSP":
            return "The job was suspended by the user while pending"
        if "never" in self.options or "it waits for ever" in reason:
            return "Dependency condition invalid or never satisfied"
        if "watched" in self.options or "Dependency" in reason:
            return "Job dependency condition not satisfied"
        if "Begin" in reason:
            return "The job has a specified start time"
        if "Array limit" in reason:
            return "The job array has reached its running element limit"
        if "Resources" in reason or "Priority" in reason:
            return "Job slot limit reached"
        return "New job is waiting for scheduling"

    def order(self) -> tuple[int, float, int, int]:
        """Sort as LSF lists: what runs, what waits, what is over."""
        place = (self.row.array, self.row.index or 0)
        if self.is_over:
            return (2, self.info.ended, *place)
        if self.is_waiting:
            return (1, 0.0, *place)
        return (0, self.info.started, *place)


# ---------------------------------------------------------------- which jobs


def read_id(word: str) -> list[str]:
    """Give the ids, as the queue has them, that `12`, `12[3]` or `12[1-3,5]` mean.

    Raises:
        Stop: it is no id.
    """
    match = _ID.match(word)
    if match is None:
        raise Stop(f"{word}: Illegal job ID.\n", 255)
    if match[2] is None:
        return [str(int(match[1]))]
    found: list[str] = []
    for part in match[2].split(","):
        one = re.fullmatch(r"\s*(\d{1,9})(?:\s*-\s*(\d{1,9})(?:\s*:\s*(\d{1,9}))?)?\s*", part)
        if one is None:
            raise Stop(f"{word}: Illegal job ID.\n", 255)
        last, step = int(one[2] or one[1]), int(one[3] or 1)
        found += [f"{int(match[1])}_{at}" for at in range(int(one[1]), last + 1, max(1, step))][
            :100_000
        ]
    return found


def rows_of(machine: Machine, id: str) -> list[Row]:
    """Give a job, the elements of an array, or one of them, by the queue's id.

    Elements have numbers of their own in the queue; in LSF those are nobody's.
    """
    array = int(id.partition("_")[0])
    found = machine.rows([id], elements="_" not in id)
    return [row for row in found if row.array == array and not row.is_array]


def by_ids(call: Call, words: Iterable[str], now: float) -> dict[str, list[View]]:
    """Give the jobs that each word means, elements of arrays apart; what is forgotten is not."""
    home = shims.folder(call.machine.state_dir, "lsf")
    found: dict[str, list[View]] = {}
    for word in words:
        rows: dict[str, Row] = {}
        for id in read_id(word):
            rows |= {row.id: row for row in rows_of(call.machine, id) if _is_kept(row, now)}
        found[word] = [View(row, home) for row in rows.values()]
    return found


def _is_kept(row: Row, now: float) -> bool:
    return not row.done or row.info.ended >= now - CLEAN_PERIOD_S


def chosen(call: Call, filters: Mapping[str, str], now: float, *, finished: bool) -> list[View]:
    """Give the jobs that fit the options -u -q -m -J -P -G -app -g -Jd -Lp -sla.

    Args:
        filters: options of a command.
        now: seconds since the epoch.
        finished: those that are over, too.
    """
    home = shims.folder(call.machine.state_dir, "lsf")
    machine = call.machine
    rows = {row.id: row for row in machine.rows(states=LIVE, elements=True)}
    # A job that was ended lately may have processes yet: it is RUN.
    ending = machine.rows(states=("CANCELLED",), since=now - 120, elements=True)
    rows |= {row.id: row for row in ending if not row.done}
    if finished:
        since = now - CLEAN_PERIOD_S
        rows |= {row.id: row for row in machine.rows(since=since, elements=True)}
    views = [View(row, home) for row in rows.values() if not row.is_array and _is_kept(row, now)]
    return [view for view in views if fits(call, view, filters)]


def fits(call: Call, view: View, filters: Mapping[str, str]) -> bool:
    """Tell whether a job is one that the options ask for."""
    user = filters.get("u", "all")
    if user != "all" and call.machine.user not in user.split():
        return False
    host = filters.get("m")
    if host is not None and (not view.ran or call.machine.host not in host.split()):
        return False
    if "q" in filters and view.extra.partition not in filters["q"].split():
        return False
    if "P" in filters and view.extra.account != filters["P"]:
        return False
    for name in ("G", "app", "g", "Jd", "Lp", "sla"):
        if name in filters and not _matches(view.options.get(name, ""), filters[name]):
            return False
    return "J" not in filters or is_named(view, filters["J"])


def is_named(view: View, pattern: str) -> bool:
    """Tell whether a job has a name; `*` stands for anything, `name[3]` is an element."""
    names = {view.name, view.options.get("jobname", view.info.name)}
    return any(_matches(name, pattern) for name in names)


def _matches(text: str, pattern: str) -> bool:
    if "*" not in pattern:
        return text == pattern
    escaped = re.sub(r"([\[?])", r"[\1]", pattern)
    return fnmatch.fnmatchcase(text, escaped)


def named(machine: Machine, word: str) -> list[str]:
    """Give the ids, as the queue has them, of what a dependency condition names."""
    match = re.fullmatch(r"(.*?)\[([^\]]*)\]", word)
    head, index = (match[1], match[2]) if match else (word, "")
    if head.isdigit():
        heads = [row.id for row in machine.rows([str(int(head))]) if row.index is None]
    else:
        rows = [*machine.rows(states=LIVE), *machine.rows(since=_long_ago())]
        same = (row for row in rows if _matches(row.extra.options.get("jobname", ""), head))
        heads = list(dict.fromkeys(row.id for row in same))
    if not index or index == "*":
        return heads
    ids = [id for one in heads for id in read_id(f"{one}[{index}]")]
    return [row.id for row in machine.rows(ids)] if ids else []


def _long_ago() -> float:
    return time.time() - CLEAN_PERIOD_S


# ---------------------------------------------------------------- what they wrote


def output(machine: Machine, row: Row) -> tuple[bytes, bytes]:
    """Give what a job wrote, so far or in all, where no file of the user's has it."""
    home = shims.folder(machine.state_dir, "lsf")
    spool = os.path.join(home, "lsbatch", f"{row.array}.{row.index or 0}")
    if row.info.state not in FINAL:
        return _read(f"{spool}.out"), _read(f"{spool}.err")
    content = machine.client.fetch(row.id)
    both = (content.stdout, content.stderr)
    out, err = (one.data or (_read(os.fsdecode(one.file)) if one.file else b"") for one in both)
    return out, err


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def sorted_views(views: Iterable[View]) -> Sequence[View]:
    """Put jobs into LSF's order."""
    return sorted(views, key=View.order)
