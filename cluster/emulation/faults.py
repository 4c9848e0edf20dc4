"""What goes wrong in a pretended cluster, on purpose.

A test writes a `Plan`; the emulation reads it at each call and keeps to it.  It
stands between the queue and the commands of a family, which know nothing of
it: `handle` may answer a call in place of its command, and `FaultyMachine`
shows the jobs as a cluster in trouble would.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from cluster import files
from cluster.emulation.machine import Extra, Machine, Row
from cluster.errors import OptionsError
from cluster.local.wire import JobInfo
from cluster.spec import Launch
from cluster.states import FINAL

if TYPE_CHECKING:
    from cluster.emulation import families
    from cluster.emulation.call import Call

__all__ = ["FILE", "Failure", "FaultyMachine", "Plan", "handle", "read", "show_late", "write"]

FILE = "file"  # of `Settings.faults`: the path of the plan
LATE = "late"  # below the state directory: what is to appear later
_OWN_ID = re.compile(rb"\0(?:job|array|label|member)(\d*)\0")
BOOKS: Mapping[str, tuple[str, ...]] = {
    "slurm": ("sacct", "sreport"),
    "pbs": ("tracejob",),
    "torque": ("tracejob",),
    "sge": ("qacct",),
    "lsf": ("bhist", "bacct"),
}
_AWAY = {  # what a command says whose server does not answer, and its exit code
    "slurm": ("{cause}: Unable to contact slurm controller (connect failure)\n", 1),
    "pbs": ("Connection refused\n{command}: cannot connect to server {host} (errno=111)\n", 111),
    "torque": ("{command}: cannot connect to server {host} (errno=111) Connection refused\n", 111),
    "sge": (
        "error: commlib error: got select error (Connection refused)\nerror: unable to send "
        'message to qmaster using port 6444 on host "{host}": got send error\n',
        1,
    ),
    "lsf": ("Failed in an LSF library call: LIM is down; try later. {command} ended.\n", 255),
}
_CAUSE = {"sbatch": "sbatch: error: Batch job submission failed", "scancel": "scancel: error"}
_NO_BOOKS = (
    "{command}: error: slurm_persist_conn_open_without_init: failed to open persistent connection "
    "to host:{host}:6819: Connection refused\n"
    "{command}: error: Problem talking to the database: Connection refused\n"
)


class Failure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Calls of some commands that are not answered.

    Attributes:
        id: tells it from others, so that its calls can be counted.
        commands: which; "*" is every one of the family.
        times: how many calls; 0 is all.
        text, code: what they say instead; without a text what the family says
            when its server is away.
        hang_s: first they say nothing for so long, unless the caller gives up.
        after: do what was asked all the same, and then fail: the answer is lost.
    """

    id: str = ""
    commands: tuple[str, ...] = ("*",)
    times: int = 1
    text: str | None = None
    code: int | None = None
    hang_s: float = 0.0
    after: bool = False


class Plan(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that goes wrong.

    Attributes:
        failures: see there; the first that fits counts.
        books_lag_s: the books show jobs as they were so long ago.
        queue_lag_s: so do the other commands.
        lost: jobs that neither the queue nor the books know any more.
        became: final states that differ from what the queue says, by id.
        waiting: jobs that were sent back to wait, with the reason shown.
        reuse: ids that the next jobs get, though others had them.
        late: shell patterns of files in a job's directory: what it wrote there, and
            its output, is not there yet when it has ended.
    """

    failures: tuple[Failure, ...] = ()
    books_lag_s: float = 0.0
    queue_lag_s: float = 0.0
    lost: tuple[str, ...] = ()
    became: dict[str, str] = {}
    waiting: dict[str, str] = {}
    reuse: tuple[str, ...] = ()
    late: tuple[str, ...] = ()


def write(path: str, plan: Plan) -> None:
    """Put a plan into force for the next call."""
    files.write_atomic(path, msgspec.json.encode(plan), mode=0o600)


def read(faults: Mapping[str, Any]) -> Plan:
    """Read the plan of `Settings.faults`: its fields themselves, or a `FILE` with them.

    Raises:
        OptionsError: it is no plan.
    """
    try:
        if FILE not in faults:
            return msgspec.convert(dict(faults), Plan)
        with open(faults[FILE], "rb") as file:
            return msgspec.json.decode(file.read(), type=Plan)
    except FileNotFoundError:
        return Plan()
    except (OSError, msgspec.MsgspecError) as error:
        raise OptionsError(f"faults={dict(faults)!r} cannot be used: {error}") from error


# ---------------------------------------------------------------- calls

_lock = threading.Lock()
_met: dict[tuple[str, str], int] = {}  # calls that a failure met, by state directory and its id
_given: dict[str, dict[str, str]] = {}  # jobs behind ids that were given anew, by state directory


def handle(
    call: Call, family: families.Family, answer: Callable[[Call, families.Family], int]
) -> int:
    """Answer a call in a cluster that has faults.

    Args:
        call: its machine is replaced.
        family: of the call.
        answer: what does it where nothing is wrong.
    """
    plan = read(call.settings.faults)
    call.machine = FaultyMachine(call.machine.state_dir, call.family, plan, _asks_books(call))
    failure = _meets(call, plan)
    if failure is None:
        return answer(call, family)
    if failure.after:
        call.silent = True
        try:
            answer(call, family)
        finally:
            call.silent = False
    return _fail(call, failure)


def _asks_books(call: Call) -> bool:
    if call.family == "pbs" and call.command == "qstat":
        return any(word.startswith("-") and "x" in word for word in call.argv)
    return call.command in BOOKS.get(call.family, ())


def _meets(call: Call, plan: Plan) -> Failure | None:
    """Find the failure that this call meets, and count it."""
    for failure in plan.failures:
        if not {"*", call.command} & set(failure.commands):
            continue
        key = call.machine.state_dir, failure.id
        with _lock:
            met = _met.get(key, 0)
            if failure.times and met >= failure.times:
                continue
            _met[key] = met + 1
        return failure
    return None


def _fail(call: Call, failure: Failure) -> int:
    if failure.hang_s and call.is_gone(failure.hang_s):
        raise ConnectionResetError("the caller did not wait")
    text, code = _away(call)
    call.err(text if failure.text is None else failure.text)
    return code if failure.code is None else failure.code


def _away(call: Call) -> tuple[str, int]:
    text, code = _AWAY.get(call.family, ("{command}: no answer\n", 1))
    if call.command in ("sacct", "sacctmgr", "sreport"):
        text = _NO_BOOKS
    cause = _CAUSE.get(call.command, "slurm_load_jobs error")
    return text.format(command=call.command, host=call.machine.host, cause=cause), code


# ---------------------------------------------------------------- jobs


class FaultyMachine(Machine):
    """The queue, as a family's commands see it when the cluster is in trouble.

    Args:
        plan: what goes wrong.
        asks_books: whether the books are asked, rather than the queue.
    """

    def __init__(self, state_dir: str, family: str, plan: Plan, asks_books: bool) -> None:
        super().__init__(state_dir, family)
        self._plan = plan
        self._lag_s = plan.books_lag_s if asks_books else plan.queue_lag_s
        with _lock:
            self._behind = dict(_given.get(state_dir, {}))
        self._shown = {job: id for id, job in self._behind.items()}

    def submit(
        self,
        launch: Launch,
        spec: dict[str, Any],
        extra: Extra,
        env: dict[bytes, bytes],
        *,
        clamp: bool,
    ) -> str:
        """Queue it; perhaps under an id that another job had."""
        fields = dict(spec)
        fields["dependencies"] = tuple(
            msgspec.structs.replace(one, job=self._real(one.job))
            for one in fields.get("dependencies", ())
        )
        if self._plan.late:
            launch = _made_late(launch, os.path.join(self.state_dir, LATE), self._plan.late)
        left = [id for id in self._plan.reuse if id not in self._behind]
        if not left or fields.get("array"):
            return super().submit(launch, fields, extra, env, clamp=clamp)
        id = super().submit(_named(launch, left[0]), fields, extra, env, clamp=clamp)
        with _lock:
            _given.setdefault(self.state_dir, {})[left[0]] = id
        return left[0]

    def rows(
        self,
        ids: Iterable[str] | None = None,
        *,
        states: Sequence[str] = (),
        since: float = 0.0,
        elements: bool = False,
        limit: int = 0,
        folded: bool = False,
    ) -> list[Row]:
        """Give jobs as the cluster in trouble knows them."""
        asked = None if ids is None else [self._real(id) for id in ids]
        now = time.time()
        found = []
        for row in super().rows(asked, since=since, elements=elements, folded=folded):
            info = self._seen(row.info, now)
            if info is not None and (not states or info.state in states):
                found.append(Row(info))
        return found[-limit:] if limit else found

    def act(self, verb: str, ids: Sequence[str], number: int = 0) -> dict[str, str]:
        """Do a verb to the jobs that are behind these ids now."""
        ours = {self._real(row.id): row.id for row in self.rows(ids)}
        said = self.client.act(verb, list(ours), number) if ours else {}
        return {ours[id]: text for id, text in said.items()}

    def keep(self, id: str, extra: Extra, **fields: Any) -> dict[str, str]:
        """Change the job that is behind this id now."""
        return super().keep(self._real(id), extra, **fields)

    def wait(self, ids: Sequence[str], timeout: float | None = None) -> None:
        """Wait for the jobs that are behind these ids now."""
        super().wait([self._real(id) for id in ids], timeout)

    def _real(self, id: str) -> str:
        return self._behind.get(id, id)

    def _seen(self, info: JobInfo, now: float) -> JobInfo | None:
        head = info.id.partition("_")[0]
        if info.id in self._behind or {info.id, head} & set(self._plan.lost):
            return None
        info = msgspec.structs.replace(info, id=self._shown.get(info.id, info.id))
        became = self._plan.became.get(info.id)
        if became and info.state in FINAL:
            info = msgspec.structs.replace(info, state=became, exitcode=None, signal=0, reason="")
        reason = self._plan.waiting.get(info.id)
        if reason and info.state == "HELD":
            info = msgspec.structs.replace(info, state="PENDING", reason=reason)
        return _as_of(info, now - self._lag_s) if self._lag_s else info


def _as_of(info: JobInfo, then: float) -> JobInfo | None:
    """Give what was known of a job at some time; None if nothing was."""
    if info.submitted > then:
        return None
    nothing: dict[str, Any] = {"ended": 0.0, "exitcode": None, "signal": 0, "reason": ""}
    if not info.started or info.started > then:
        if info.state in FINAL and info.ended <= then:
            return info
        state = "HELD" if info.state == "HELD" else "PENDING"
        return msgspec.structs.replace(info, state=state, started=0.0, **nothing)
    if info.ended > then:
        return msgspec.structs.replace(info, state="RUNNING", ending=False, **nothing)
    return info


def _named(launch: Launch, id: str) -> Launch:
    """Have a job believe that this is its id."""

    def put(text: bytes) -> bytes:
        return _OWN_ID.sub(lambda match: id.encode().zfill(int(match[1] or 0)), text)

    return msgspec.structs.replace(
        launch,
        stdout=put(launch.stdout),
        stderr=put(launch.stderr),
        env_set={name: put(value) for name, value in launch.env_set.items()},
        notes={name: put(value) for name, value in launch.notes.items()},
    )


# ---------------------------------------------------------------- files that come late

# Its files go aside when it has ended, as if another machine had them still in its cache.
_LATE_SH = r"""
late=$1 patterns=$2; shift 2
mkdir -p "$late" && began=$(mktemp "$late/began.XXXXXX")
sleep 0.02  # a file has the time of a clock's tick: what the job makes shall be newer
"$@"
code=$?
set -f
for pattern in $patterns; do
  find . -maxdepth 1 -type f -newer "$began" -name "$pattern" | while IFS= read -r name; do
    printf '%s\n' "$PWD/${name#./}"
  done
done >"$began.all"
for name in "$CLUSTER_LATE_OUT" "$CLUSTER_LATE_ERR"; do
  [ -f "$name" ] && printf '%s\n' "$name"
done >>"$began.all"
sort -u "$began.all" | while IFS= read -r name; do
  aside=$(dirname "$name")/.late-$(basename "$began")
  mkdir -p "$aside" && mv "$name" "$aside/" && printf '%s\n' "$name"
done >"$began.files"
rm -f "$began.all" "$began"
exit $code
"""


def _made_late(launch: Launch, folder: str, patterns: Sequence[str]) -> Launch:
    head = (b"/bin/sh", b"-c", _LATE_SH.encode(), b"late", os.fsencode(folder))
    return msgspec.structs.replace(
        launch,
        argv=(*head, " ".join(patterns).encode(), *launch.argv),
        env_set={
            **launch.env_set,
            b"CLUSTER_LATE_OUT": launch.stdout,
            b"CLUSTER_LATE_ERR": launch.stderr,
        },
    )


def show_late(state_dir: str) -> list[str]:
    """Put the files that are late where they belong, and give their paths."""
    folder = os.path.join(state_dir, LATE)
    shown: list[str] = []
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        if not name.endswith(".files"):
            continue
        with open(os.path.join(folder, name), encoding="utf-8", errors="surrogateescape") as file:
            paths = file.read().splitlines()
        for path in paths:
            aside = os.path.join(os.path.dirname(path), f".late-{name.removesuffix('.files')}")
            os.replace(os.path.join(aside, os.path.basename(path)), path)
            with contextlib.suppress(OSError):  # there are more in it
                os.rmdir(aside)
        os.unlink(os.path.join(folder, name))
        shown += paths
    return shown
