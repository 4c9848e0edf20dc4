"""Which jobs a command shows: all, those of a queue, those with these ids."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from cluster.emulation.call import Call
from cluster.emulation.machine import Row
from cluster.emulation.pbs import flavour, ids
from cluster.emulation.pbs.attributes import View
from cluster.states import FINAL

__all__ = ["all_views", "elements", "is_listed", "named", "views"]

ENDING_S = 60.0  # the processes of a job that was deleted may take so long to be gone
_LIVE = ("HELD", "PENDING", "RUNNING", "SUSPENDED")


def views(call: Call, rows: Iterable[Row], *, in_live_array: bool = False) -> list[View]:
    """Wrap rows for showing."""
    own, now = flavour.of(call), time.time()
    host, user = call.machine.host, call.machine.user
    return [View(row, own, host, user, now, in_live_array) for row in rows]


def is_listed(row: Row, own: flavour.Flavour, *, history: bool, now: float) -> bool:
    """Tell whether a job is there for a client that did not ask for history."""
    if not row.done or history:
        return True
    return now - row.info.ended < own.keep_s


def all_views(call: Call, *, history: bool, split: bool = False) -> list[View]:
    """Give all jobs that are listed.

    Args:
        history: those that are over too.
        split: elements behind their array; in Torque in place of it.
    """
    own, now = flavour.of(call), time.time()
    if own.is_pro and history:
        rows = call.machine.rows()
    else:
        # Those that live first: one that ends meanwhile is then among the others.
        since = now - (own.keep_s or ENDING_S)
        known = {row.id: row for row in call.machine.rows(states=_LIVE)}
        known |= {row.id: row for row in call.machine.rows(since=since)}
        rows = sorted(known.values(), key=lambda row: row.array)
    rows = [row for row in rows if is_listed(row, own, history=history, now=now)]
    found = views(call, rows)
    return [one for view in found for one in with_elements(call, view)] if split else found


def with_elements(call: Call, view: View) -> list[View]:
    """Give an array with its elements; in Torque its elements alone."""
    if not view.is_array:
        return [view]
    found = elements(call, view.row)
    return [view, *found] if view.own.is_pro else found


def elements(call: Call, row: Row) -> list[View]:
    """Give the elements of an array."""
    rows = [one for one in call.machine.rows([row.id], elements=True) if one.index is not None]
    return views(call, rows, in_live_array=not row.done)


def named(
    call: Call, texts: Sequence[str], *, history: bool, split: bool = False
) -> tuple[list[View], int]:
    """Give the jobs with these ids, and complain of the others.

    Returns:
        The jobs, and the exit code.
    """
    own, now = flavour.of(call), time.time()
    found: list[View] = []
    code = 0
    queues: list[View] | None = None
    for name, text, rows in ids.lookup(call, texts):
        if name is None:
            queue = text.partition("@")[0]
            if queues is None:
                queues = all_views(call, history=history, split=split)
            mine = [view for view in queues if not queue or view.queue == queue]
            if not mine and not is_queue(call, queue):
                code = flavour.refused(call, "destination", text)
            found += mine
            continue
        kept = [row for row in rows if is_listed(row, own, history=history, now=now)]
        if not kept and rows and own.is_pro:
            number, words = own.errors["finished"]
            call.err(
                f"qstat: {name.shown} {words}, use -x or -H to obtain historical job information\n"
            )
            code = number % 256
        elif not kept:
            code = flavour.refused(call, "unknown job", name.shown)
        for row in kept:
            alive = row.index is not None and not _is_array_over(call, row)
            for view in views(call, [row], in_live_array=alive):
                found += with_elements(call, view) if split else [view]
    return found, code


def _is_array_over(call: Call, row: Row) -> bool:
    whole = call.machine.row(str(row.array))
    return whole is None or whole.done


def is_queue(call: Call, name: str) -> bool:
    """Tell whether there is a queue of this name."""
    shaped = [one.name for one in call.settings.partitions]
    return name in (shaped or [flavour.of(call).queue, ""])


def counted(rows: Iterable[View]) -> dict[str, int]:
    """Count jobs by the letter of their state."""
    counts: dict[str, int] = {}
    for view in rows:
        if view.row.info.state in FINAL and view.row.done:
            continue
        counts[view.letter] = counts.get(view.letter, 0) + 1
    return counts
