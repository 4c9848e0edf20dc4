"""Whether a history is one that a queue may have: promises against what was seen.

history   what programs were told          -> it is recorded, once, and stays
notes     what jobs saw, by their own clock -> each attempt once, never too many cores
infos     what the queue says at the end    -> nothing that did not happen
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fault_driver import Note, read_notes, run_twice
from programs import PARTS

from cluster.local.wire import JobInfo
from cluster.states import FINAL

NO_ROOM = ("space", "no room", "could not be written", "cannot be written")
KEPT = {
    "queue.db", "queue.db-wal", "queue.db-shm", "lock", "server.log", "node.log", "slots",
    "outputs", "payloads", "starting", "journal", "journal.closed", "ballast",
}  # fmt: skip


class Judge:
    """Judges at once; `faults` is empty if all is as promised.

    Args:
        infos: all jobs and elements at the end.
        history, notes: files that programs and jobs wrote.
        final: states that were seen to be final.
        cores: how many there are.
    """

    def __init__(
        self,
        infos: Iterable[JobInfo],
        history: Path,
        notes: Path,
        final: Mapping[str, str],
        *,
        cores: int,
    ) -> None:
        self.faults: list[str] = []
        self._infos = {info.id: info for info in infos}
        self._lines = [json.loads(line) for line in history.read_text().splitlines()]
        self._notes = read_notes(notes)
        self.operations = Counter(line["what"] for line in self._lines)
        self._judge_promises()
        self._judge_states(final)
        self._judge_holds()
        self._judge_runs(cores)

    def _say(self, text: str) -> None:
        self.faults.append(text)

    def _of(self, what: str) -> list[dict[str, Any]]:
        return [line for line in self._lines if line["what"] == what]

    def _rows(self, id: str) -> list[JobInfo]:
        """A job, or all elements of an array."""
        found = self._infos.get(id)
        if found is not None and not found.counts:
            return [found]
        elements = [info for info in self._infos.values() if info.id.startswith(f"{id}_")]
        return elements or ([found] if found else [])  # elements that never began have no row

    def _judge_promises(self) -> None:
        names: dict[str, set[str]] = defaultdict(set)
        for info in self._infos.values():
            names[info.name].add(info.id.partition("_")[0])
        for name, ids in names.items():
            if len(ids) > 1:
                self._say(f"{name} was queued {len(ids)} times: {sorted(ids)}")
        for line in self._of("submitted"):
            rows = self._rows(line["id"])
            if not rows:
                self._say(f"job {line['id']} ({line['name']}) was acknowledged and is gone")
            elif rows[0].name != line["name"]:
                self._say(f"job {line['id']} is {rows[0].name}, acknowledged as {line['name']}")
        for line in self._of("cancelled"):
            states = {info.state for info in self._rows(line["id"])}
            states |= set(self._infos[line["id"]].counts) if line["id"] in self._infos else set()
            if line["said"] == "cancelled" and not states & {"CANCELLED"}:
                self._say(f"job {line['id']} of {line['who']} was cancelled and is {states}")

    def _judge_states(self, final: Mapping[str, str]) -> None:
        seen = [(id, state) for id, state in final.items() if state in FINAL]
        seen += [(line["id"], line["state"]) for line in self._of("ended")]
        for id, state in seen:
            if id in self._infos and self._infos[id].state != state:
                self._say(f"job {id} was {state} and is {self._infos[id].state}")
        done = {note.job for note in self._notes if note.what == "end"}
        begun = {note.job for note in self._notes if note.what == "begin"}
        for info in self._infos.values():
            self._judge_state(info, _raw(info) in begun, _raw(info) in done)

    def _judge_state(self, info: JobInfo, begun: bool, done: bool) -> None:
        if info.counts:
            return  # an array: its elements are judged
        kind, said = info.name.partition("-")[0], f"job {info.id} ({info.name}) is {info.state}"
        allowed = {
            "COMPLETED": done,
            "CANCELLED": True,
            # a job outlives its node, so one that began has come to its end
            "NODE_FAIL": kind != "again" and (done or not begun or kind in ("limited", "parent")),
            "TIMEOUT": kind == "limited",
            # a parent fails when its child does; nothing else may, but for want of room
            "FAILED": kind == "parent" or any(word in info.reason for word in NO_ROOM),
        }
        if not allowed.get(info.state, False):
            self._say(f"{said}, begun {begun}, done {done}: {info.reason}")

    def _judge_holds(self) -> None:
        begins = defaultdict(list)
        for note in self._notes:
            if note.what == "begin":
                begins[note.job].append(note.time)
        open_since: dict[str, float] = {}
        spans: list[tuple[str, float, float]] = []
        for line in self._lines:
            if line["what"] == "held" and line["said"] == "held":
                open_since.setdefault(line["id"], line["t"])
            elif line["what"] == "releasing" and line["id"] in open_since:
                spans.append((line["id"], open_since.pop(line["id"]), line["t"]))
            elif line["what"] == "releasing all":
                spans += [(id, since, line["t"]) for id, since in open_since.items()]
                open_since.clear()
        for id, since, until in spans:
            info = self._infos.get(id)
            # Elements of an array that run already go on; the answer does not say which.
            if info is None or info.counts:
                continue
            if any(since < time < until for time in begins[_raw(info)]):
                self._say(f"job {id} began while it was held")

    def _judge_runs(self, cores: int) -> None:
        for job, attempt in run_twice(self._notes):
            self._say(f"job {job} attempt {attempt} ran twice")
        self.begun = len({note.job for note in self._notes if note.what == "begin"})
        self.most_cores, when, who = most_in_use(self._notes)
        if self.most_cores > cores:
            self._say(f"{self.most_cores} cores were in use at {when:.3f} by {who}")

    def look_at_files(self, state_dir: Path) -> None:
        """Look for what no file of a queue is, once it is stopped."""
        for path in state_dir.iterdir():
            if path.name not in KEPT and not path.name.startswith("queue.db"):
                self._say(f"{path.name} is left")
        for path in state_dir.rglob("*.tmp"):
            self._say(f"{path.relative_to(state_dir)} is left")


def _raw(info: JobInfo) -> int:
    """The number that its processes carry; our arrays begin at 0 and count by one."""
    id, _, index = info.id.partition("_")
    return int(id) + 1 + int(index) if index else int(id)


def most_in_use(notes: Iterable[Note]) -> tuple[int, float, list[str]]:
    """The most cores that were in use at one time, then, and by which jobs.

    A job that was killed counts until its last sign of life.
    """
    spans: dict[tuple[int, int], list[Note]] = defaultdict(list)
    for note in notes:
        spans[note.job, note.attempt].append(note)
    changes = []
    for (job, attempt), group in spans.items():
        first, last = min(n.time for n in group), max(n.time for n in group)
        name = f"{job}.{attempt}" if attempt < PARTS else f"{job}.{attempt // PARTS}"
        if last > first:
            changes += [(first, 1, name, group[0].cores), (last, 0, name, group[0].cores)]
    most, when, who, now = 0, 0.0, list[str](), Counter[str]()
    for time, is_begin, name, cores in sorted(changes):
        now[name] += cores if is_begin else -cores
        total = sum(now.values())
        if total > most:
            most, when, who = total, time, [job for job in now if now[job]]
    return most, when, who
