"""scancel: end jobs, or send them or their steps a signal."""

from __future__ import annotations

import os
import pwd
import re
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

import msgspec

from cluster.emulation.call import Call, Stop
from cluster.emulation.machine import Row
from cluster.emulation.slurm import jobs, site, steps
from cluster.emulation.slurm.getopt import Options
from cluster.emulation.slurm.indices import BadArray, ids_of
from cluster.emulation.slurm.jobs import View
from cluster.emulation.slurm.times import clock, signal_number
from cluster.emulation.slurm.usage import usage

__all__ = ["cancel", "scancel"]

_OPTIONS = Options(
    """
account A =
batch b -
cluster - = clusters
clusters M =
ctld - -
cron - -
full f -
help - -
hurry H -
interactive i -
jobname - = name
me - -
name n =
nodelist w =
partition p =
qos q =
quiet Q -
reservation R =
sibling - =
signal s =
state t =
usage - -
user u =
verbose v -
version V -
wckey - =
"""
)
_STATES = {"PENDING": "PENDING", "PD": "PENDING", "RUNNING": "RUNNING", "R": "RUNNING",
           "SUSPENDED": "SUSPENDED", "S": "SUSPENDED"}  # fmt: skip
_FILTERS = ("account", "me", "name", "nodelist", "partition", "qos", "state", "user", "wckey",
            "reservation")  # fmt: skip
_VARIABLES = {"SCANCEL_ACCOUNT": "account", "SCANCEL_BATCH": "batch", "SCANCEL_FULL": "full",
              "SCANCEL_NAME": "name", "SCANCEL_PARTITION": "partition", "SCANCEL_QOS": "qos",
              "SCANCEL_STATE": "state", "SCANCEL_USER": "user",
              "SCANCEL_VERBOSE": "verbose"}  # fmt: skip
_MANY = 50


def scancel(call: Call) -> int:
    """Cancel or signal jobs."""
    typed, words = site.options(call, _OPTIONS)
    given = dict(typed)
    if "version" in given:
        call.out(site.VERSION + "\n")
        return 0
    if "help" in given or "usage" in given:
        call.out(usage("scancel", "[job_id[_array_id][.step_id]...]", _OPTIONS))
        return 0
    for name, key in _VARIABLES.items():
        value = call.variable(name)
        if value is not None and value.lower() not in ("0", "f", "false"):
            given.setdefault(key, value)
    site.check_clusters(call, given.get("clusters", ""))
    number = _signal(given)
    state = _state(given)
    targets = _targets(call, words)
    filtered = any(key in given for key in _FILTERS)
    if not targets and not filtered:
        site.fail(call, "No job identification provided")
    if "user" in given:
        _check_user(call, given["user"])
    if filtered:
        return _filtered(call, given, number, state, targets)
    return max((_one(call, given, number, word, step) for word, step in targets), default=0)


def _signal(given: Mapping[str, str]) -> int:
    """Give the signal to send; 0 is to cancel."""
    if "signal" not in given:
        return 0
    number = signal_number(given["signal"])
    if number is None:
        raise Stop(f"Unknown job signal: {given['signal']}\n", 1)
    return number


def _state(given: Mapping[str, str]) -> str:
    text = given.get("state", "")
    if text and text.upper() not in _STATES:
        raise Stop(
            f"Invalid job state specified: {text}\n"
            "Valid job states are PENDING, RUNNING, and SUSPENDED\n",
            1,
        )
    return _STATES.get(text.upper(), "")


def _targets(call: Call, words: Sequence[str]) -> list[tuple[str, str]]:
    """Give (id, step) of what is named."""
    found = []
    for word in (part for each in words for part in re.findall(r"[^,\[]+(?:\[[^\]]*\])?(?:\.\w+)?",
                                                                 each) or [""]):  # fmt: skip
        id, dot, step = word.partition(".")
        try:
            ids_of(id.partition("+")[0])
            if dot and not step.isdigit():
                raise BadArray(word)
        except BadArray:
            site.fail(call, f"Invalid job id {word}")
        found.append((id.partition("+")[0], step))
    return found


def _check_user(call: Call, name: str) -> None:
    with suppress(KeyError):
        if name.isdigit() or name == call.machine.user or pwd.getpwnam(name):
            return
    site.fail(call, f"Invalid user name: {name}")


# ---------------------------------------------------------------- doing


def _one(call: Call, given: Mapping[str, str], number: int, word: str, step: str) -> int:
    verbose = "verbose" in given
    found = jobs.find(call.machine, [word], folded=True)
    rows = [row for row in found if not row.is_array]
    if step:
        return _one_step(call, rows, word, int(step), number)
    if verbose and "quiet" not in given:
        verb = f"Signal {number} to" if number else "Terminating"
        call.err(f"scancel: {verb} job {word}\n")
    live = [row for row in rows if row.info.state in jobs.LIVE]
    if not live:
        if verbose:
            known = any(not row.done or _is_recent(row) for row in rows)
            why = (
                "Job/step already completing or completed" if known else "Invalid job id specified"
            )
            call.err(f"scancel: error: Kill job error on job id {word}: {why}\n")
        return 0
    _do(call, given, live, number, whole=word)
    return 0


def _is_recent(row: Row) -> bool:
    return row.info.ended >= time.time() - site.MIN_JOB_AGE_S


def _filtered(
    call: Call,
    given: Mapping[str, str],
    number: int,
    state: str,
    targets: Sequence[tuple[str, str]],
) -> int:
    now = time.time()
    if targets:
        rows = jobs.find(call.machine, [id for id, _ in targets])
    else:
        rows = call.machine.rows(states=jobs.LIVE, elements=True)
    chosen = [
        row
        for row in rows
        if not row.is_array and row.info.state in jobs.LIVE and _matches(call, given, row, state)
    ]
    if not chosen and "verbose" in given:
        said = [f"{'job_name' if key == 'name' else key}={given[key]}" for key in _FILTERS
                if key in given]  # fmt: skip
        text = " ".join(said)
        call.err(f"scancel: error: No active jobs match ALL job filters, including: {text} \n")
    _do(call, given, chosen, number)
    return 0 if now else 1


def _matches(call: Call, given: Mapping[str, str], row: Row, state: str) -> bool:
    view = View(row)
    users = (call.machine.user, str(os.getuid()))
    return (
        (not state or view.base_state == state)
        and ("user" not in given or given["user"] in users)
        and ("name" not in given or row.info.name in given["name"].split(","))
        and ("partition" not in given or row.extra.partition in given["partition"].split(","))
        and ("account" not in given or row.extra.account in given["account"].split(","))
        and ("qos" not in given or view.options.get("qos", "normal") in given["qos"].split(","))
        and ("wckey" not in given or view.options.get("wckey") == given["wckey"])
        and ("nodelist" not in given or (view.ran and call.machine.host in given["nodelist"]))
    )


def _do(
    call: Call, given: Mapping[str, str], rows: Sequence[Row], number: int, whole: str = ""
) -> None:
    if not number or (number == signal.SIGKILL and not given.keys() & {"batch", "full"}):
        cancel(call, rows, whole)
        return
    for row in rows:
        _send(call, row, number, batch="batch" in given, full="full" in given)


def cancel(call: Call, rows: Sequence[Row], whole: str = "") -> None:
    """Cancel jobs; `whole` is the array that they are all of, when they are."""
    waiting = [row for row in rows if row.info.state in ("HELD", "PENDING")]
    if len(waiting) <= _MANY:
        _remember_reasons(call, waiting)
    for row in rows:
        for step in _steps(call, row):
            _say_cancelled(call, row, step)
    alone = whole.isdigit() and (len(rows) > 1 or any(row.info.indices for row in rows))
    call.machine.act("cancel", [whole] if alone else [row.id for row in rows])


def _remember_reasons(call: Call, rows: Sequence[Row]) -> None:
    """Keep what jobs waited for: squeue goes on showing it."""
    for row in rows:
        reason = View(row).reason
        if row.index is None and reason not in ("None", "Priority", "Resources"):
            kept = msgspec.structs.replace(row.extra, options=row.extra.options | {"was": reason})
            call.machine.keep(row.id, kept)


def _steps(call: Call, row: Row) -> list[steps.Step]:
    if row.info.state != "RUNNING":
        return []
    return steps.live(call.machine.state_dir, View(row).raw, row.info.attempt)


def _say_cancelled(call: Call, row: Row, step: steps.Step) -> None:
    """Write slurmstepd's line about a step into the job's output."""
    host = call.machine.host
    line = (
        f"slurmstepd-{host}: error: *** STEP {View(row).raw}.{step.number} ON {host} CANCELLED AT "
        f"{clock(time.time())} ***\n"
    )
    if row.info.stderr and View(row).is_batch:
        with suppress(OSError):
            fd = os.open(row.info.stderr, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC)
            os.write(fd, line.encode())
            os.close(fd)


def _send(call: Call, row: Row, number: int, *, batch: bool, full: bool) -> None:
    """Send a signal: to the steps, to the batch shell, or to both."""
    if row.info.state not in ("RUNNING", "SUSPENDED"):
        return
    if not batch:
        for step in _steps(call, row):
            steps.send(step, number)
    if full:
        call.machine.act("signal", [row.id], number)
    elif batch and row.info.pid:
        with suppress(OSError):
            os.kill(row.info.pid, number)


def _one_step(call: Call, rows: Sequence[Row], word: str, number: int, sig: int) -> int:
    for row in rows:
        for step in _steps(call, row):
            if step.number == number:
                raw, attempt = View(row).raw, call.machine.state_dir
                if not sig:
                    steps.note(attempt, raw, number, by=str(os.getuid()))
                    _say_cancelled(call, row, step)
                steps.send(step, sig or signal.SIGKILL)
                return 0
    name = f"{word}.{number}"
    call.err(f"scancel: error: Kill job error on job step id {name}: Invalid job id specified\n")
    return 1
