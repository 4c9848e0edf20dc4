"""Conditions of `bsub -w` that the queue itself has no words for, and calls that wait.

A job with such a condition is held in the queue, and shown as PEND.  A thread
of the emulation judges the condition again whenever a job that it names has
ended, and releases the job.  After a restart of the emulation the first command
of LSF takes that up again (`resume`).
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from typing import Any

import msgspec

from cluster.emulation import shims
from cluster.emulation.call import Call
from cluster.emulation.daemon import KEEPER
from cluster.emulation.lsf import depend, jobs
from cluster.emulation.machine import Machine, Row
from cluster.errors import ClusterError, WaitTimeout

__all__ = ["resume", "wait_for_end", "watch"]

_LOOK_S = 0.5  # the start of a job tells nobody: where one is waited for, it is asked for
_KEEP_S = 30 * 86400.0
_LOCK = threading.Lock()
_RESUMED: set[str] = set()
_WATCHED: set[tuple[str, str]] = set()


def resume(machine: Machine) -> None:
    """Watch the conditions that an earlier emulation watched; once in each process."""
    with _LOCK:
        if machine.state_dir in _RESUMED:
            return
        _RESUMED.add(machine.state_dir)
    _forget_ends(machine)
    for row in machine.rows(states=("HELD",)):
        options = row.extra.options
        if "watched" in options and "w" in options:
            watch(machine, row.id, options["w"], orphans="ti" in options)


def _forget_ends(machine: Machine) -> None:
    """Remove why jobs ended that ended long ago."""
    folder = os.path.join(shims.folder(machine.state_dir, "lsf"), "ends")
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.stat().st_mtime < time.time() - _KEEP_S:
                os.unlink(entry.path)


def watch(machine: Machine, id: str, condition: str, *, orphans: bool) -> None:
    """Release a held job once its condition holds; with `orphans`, end it if it never can."""
    key = (machine.state_dir, id)
    with _LOCK:
        if key in _WATCHED:
            return
        _WATCHED.add(key)
    watched = Machine(machine.state_dir, machine.family)
    arguments = (watched, id, depend.parse(condition), orphans)
    name = f"{KEEPER} lsf {id}"
    threading.Thread(target=_watch, args=arguments, name=name, daemon=True).start()


def _watch(machine: Machine, id: str, tree: Any, orphans: bool) -> None:
    try:
        _until_it_holds(machine, id, tree, orphans)
    except ClusterError:
        with _LOCK:  # the queue is gone; the next command looks again
            _RESUMED.discard(machine.state_dir)
    finally:
        with _LOCK:
            _WATCHED.discard((machine.state_dir, id))


def _until_it_holds(machine: Machine, id: str, tree: Any, orphans: bool) -> None:
    terms = depend.terms(tree)
    names = {term.job: jobs.named(machine, term.job) for term in terms}
    # Endings are told; other changes must be asked for.
    is_told = all(term.kind in ("done", "ended", "exit", "post_done", "post_err") for term in terms)
    ids = list(dict.fromkeys(job for some in names.values() for job in some))
    while True:
        row = machine.row(id)
        if row is None or row.info.state != "HELD":
            return
        rows = machine.rows(ids)
        facts = {name: _facts(machine, some) for name, some in names.items()}
        said = depend.judge(tree, facts.__getitem__)
        if said != depend.FALSE:
            _settle(machine, row, said, orphans)
            return
        living = [one.id for one in rows if not one.done]
        _wait_for_one(machine, [id, *living], None if is_told else _LOOK_S)


def _facts(machine: Machine, ids: list[str]) -> list[depend.Fact]:
    found = []
    for id in ids:
        for row in jobs.rows_of(machine, id):
            # If it is killed, and has processes yet: LSF waits for their end.
            state = "RUNNING" if row.info.ending else row.info.state
            code = jobs.View(row, shims.folder(machine.state_dir, "lsf")).exit_code or 0
            found.append(depend.Fact(state, code, bool(row.info.started)))
    return found


def _wait_for_one(machine: Machine, ids: list[str], timeout: float | None) -> None:
    try:
        for _ in machine.client.wait(ids, timeout=timeout):
            return
    except WaitTimeout:
        pass


def _settle(machine: Machine, row: Row, said: str, orphans: bool) -> None:
    options = {name: value for name, value in row.extra.options.items() if name != "watched"}
    if said == depend.NEVER and orphans:
        options["cause"] = "TERM_ORPHAN_SYSTEM"
    elif said == depend.NEVER:
        options |= {"watched": "y", "never": "y"}
    machine.keep(row.id, msgspec.structs.replace(row.extra, options=options))
    if said == depend.NEVER and orphans:
        machine.act("cancel", [row.id])
    elif said == depend.TRUE and "H" not in options:
        machine.act("release", [row.id])


# ---------------------------------------------------------------- waiting


def wait_for_end(call: Call, id: str, *, is_callers: bool) -> Row | None:
    """Wait until a job is over; None: it is not known any more.

    Args:
        call: of bsub.
        id: the job.
        is_callers: it is interactive, and ends with its caller.
    """
    machine = call.machine
    while True:
        try:
            machine.wait([id], timeout=1.0)
        except WaitTimeout:
            if call.is_gone():
                if is_callers:
                    machine.act("cancel", [id])
                raise ConnectionError("the caller is gone") from None
            continue
        row = machine.row(id)
        if row is None or row.done:
            return row
        call.is_gone(0.05)  # it is being ended
