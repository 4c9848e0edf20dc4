"""`-W depend=`: what a job waits for, and what is told to those it waits for."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import msgspec

from cluster.emulation.call import Call
from cluster.emulation.machine import Row
from cluster.emulation.pbs import flavour, ids
from cluster.spec import Dependency

__all__ = ["Waits", "read", "tell"]

_TYPES = ("afterok", "afternotok", "afterany", "after")
_OF_OTHERS = ("beforeok", "beforenotok", "beforeany", "before", "on", "synccount", "syncwith")


@dataclass
class Waits:
    """What a job waits for.

    Attributes:
        dependencies: for the queue.
        options: for `qstat -f`.
        targets: type and row of each job waited for.
        is_void: something it waits for does not exist, so it can never run.
    """

    dependencies: tuple[Dependency, ...] = ()
    options: dict[str, str] = field(default_factory=dict)
    targets: list[tuple[str, Row]] = field(default_factory=list)
    is_void: bool = False


def read(call: Call, text: str) -> Waits:
    """Read `afterok:1.host:2.host,afterany:3[].host`."""
    waits = Waits()
    if not text:
        return waits
    shown, found = [], []
    for piece in text.split(","):
        word, *names = [part.strip() for part in piece.split(":")]
        kind = word.removesuffix("array").removesuffix("start")  # Torque, of whole arrays
        if kind in _OF_OTHERS:
            _without(call, word)
            continue
        if kind not in _TYPES or not names:
            raise flavour.usage(call, "illegal -W value")
        targets = ids.lookup(call, names)
        if any(name is None for name, _, _ in targets):
            raise flavour.usage(call, "illegal -W value")
        shown.append(
            ":".join([word, *(f"{n.shown}@{call.machine.host}" for n, *_ in targets if n)])
        )
        for _, _, rows in targets:
            waits.is_void = waits.is_void or not rows
            found += [Dependency(row.id, kind) for row in rows]
            waits.targets += [(kind, row) for row in rows]
    waits.dependencies = tuple(dict.fromkeys(found))
    if shown:
        waits.options["depend"] = ",".join(shown)
    return waits


def _without(call: Call, word: str) -> None:
    if call.settings.strict:
        raise flavour.refuse(call, "dependency", word)
    flavour.warn(
        call,
        f"depend={word} is not emulated and has no effect; say it the other way round, "
        "with after...",
    )


def tell(call: Call, waits: Waits, label: str) -> None:
    """List the new job as one that waits, with those it waits for."""
    if waits.is_void:
        return
    for kind, row in waits.targets:
        before = re.sub("^after", "before", kind)
        options = dict(row.extra.options)
        old = [part for part in options.get("before", "").split(",") if part]
        new = f"{label}@{call.machine.host}"
        at = next((n for n, part in enumerate(old) if part.split(":")[0] == before), None)
        if at is None:
            old.append(f"{before}:{new}")
        else:
            old[at] += f":{new}"
        options["before"] = ",".join(old)
        if row.index is None:
            row.extra.options = options
            call.machine.keep(row.id, msgspec.structs.replace(row.extra, options=options))
