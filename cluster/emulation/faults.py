"""What goes wrong in a pretended cluster, on purpose.

A test writes a `Plan`; the emulation reads it at each call and keeps to it.  It
stands between the queue and the commands of a family, which know nothing of
it: `before` may answer a call in place of its command, and `FaultyMachine`
shows the jobs as a cluster in trouble would.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from cluster import files
from cluster.emulation.machine import Extra, Machine, Row
from cluster.errors import OptionsError
from cluster.local.wire import JobInfo
from cluster.spec import JobSpec, Launch
from cluster.states import FINAL, STATES

if TYPE_CHECKING:
    from cluster.emulation.call import Call
    from cluster.emulation.settings import Settings

__all__ = ["FILE", "Failure", "FaultyMachine", "Plan", "before", "machine_for", "read", "write"]

FILE = "file"  # of `Settings.faults`: the path of the plan
HANG_S = 3600.0
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
        late: what jobs write is not there yet when they have ended.
    """

    failures: tuple[Failure, ...] = ()
    books_lag_s: float = 0.0
    queue_lag_s: float = 0.0
    lost: tuple[str, ...] = ()
    became: dict[str, str] = {}
    waiting: dict[str, str] = {}
    reuse: tuple[str, ...] = ()
    late: bool = False


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


# ---------------------------------------------------------------- calls that fail

_lock = threading.Lock()
_met: dict[tuple[str, str], int] = {}  # calls that a failure met, by state directory and its id
_numbers: dict[tuple[str, str], str] = {}  # the job behind an id that was given anew


def before(call: Call, plan: Plan) -> Failure | None:
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


def met(state_dir: str, id: str) -> int:
    """Tell how many calls a failure met."""
    with _lock:
        return _met.get((state_dir, id), 0)


def fail(call: Call, failure: Failure) -> int:
    """Answer in place of the command."""
    if failure.hang_s:
        call.wait_gone(failure.hang_s)
    text, code = _away(call)
    call.err(text if failure.text is None else failure.text)
    return code if failure.code is None else failure.code


def _away(call: Call) -> tuple[str, int]:
    text, code = _AWAY.get(call.family, ("{command}: no answer\n", 1))
    if call.command in ("sacct", "sacctmgr", "sreport"):
        text = _NO_BOOKS
    cause = _CAUSE.get(call.command, "slurm_load_jobs error")
    return text.format(command=call.command, host=call.machine.host, cause=cause), code
