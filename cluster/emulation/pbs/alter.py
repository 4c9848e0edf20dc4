"""`qalter`: change what a job asked for, as long as that can be changed."""

from __future__ import annotations

from datetime import datetime

import msgspec

from cluster.emulation.call import Call
from cluster.emulation.machine import Row
from cluster.emulation.pbs import flavour, wishes
from cluster.emulation.pbs.resources import BadResource, clock, read, seconds
from cluster.emulation.pbs.steering import each
from cluster.emulation.pbs.steering import read as read_options
from cluster.emulation.pbs.wishes import BadValue
from cluster.states import HELD, PENDING

__all__ = ["qalter"]

_KEPT = "jkmMrSP"  # is shown, and changes nothing of a job that is queued
_FIXED = {
    "e": "-e",
    "o": "-o",
    "W": "-W",
    "v": "-v",
    "t": "-t",
    "q": "-q",
    "u": "-u",
    "c": "-c",
    "g": "-g",
}


def qalter(call: Call) -> int:
    """Change jobs that wait; some of it while they run."""
    own = flavour.of(call)
    asked, names = read_options(
        call, "a:A:c:e:h:j:k:l:m:M:N:o:p:P:r:S:t:u:v:W:q:" + "g:" * (not own.is_pro)
    )
    named = _resources(call, asked.get("l", ""))
    fields = _fields(call, asked, named)
    cannot = [_FIXED[letter] for letter in asked if letter in _FIXED]
    cannot += [f"-l {name}" for name in named if name != "walltime"]

    def alter(row: Row, label: str) -> int:
        waits = row.info.state in (PENDING, HELD)
        if not waits and (named or asked.keys() & set("aNp")):
            return flavour.refused(call, "running", label)
        for what in cannot:
            call.err(f"qalter: {what} cannot be changed in this emulation {label}\n")
        if cannot and call.settings.strict:
            return 1
        _apply(call, row, asked, named, fields)
        return 1 if cannot else 0

    return each(call, names, alter)


def _resources(call: Call, text: str) -> dict[str, str]:
    try:
        return read([text] if text else [])
    except BadResource as error:
        raise flavour.refuse(call, error.kind, f"Resource_List.{error.name}") from None


def _fields(call: Call, asked: dict[str, str], named: dict[str, str]) -> dict[str, object]:
    """Give what the queue itself shall change."""
    fields: dict[str, object] = {}
    try:
        if "N" in asked:
            wishes.check_name(asked["N"], is_pro=flavour.of(call).is_pro)
            fields["name"] = asked["N"]
        if "a" in asked:
            fields["begin"] = wishes.begin(asked["a"], datetime.now())
        if "p" in asked and not asked["p"].lstrip("+-").isdigit():
            raise BadValue("p")
        if not set(asked.get("h", "n")) <= set("uosnp"):
            raise BadValue("h")
    except BadValue as error:
        raise flavour.usage(call, f"illegal -{error} value") from None
    if "walltime" in named:
        fields["walltime_s"] = seconds(named["walltime"])
    return fields


def _apply(
    call: Call,
    row: Row,
    asked: dict[str, str],
    named: dict[str, str],
    fields: dict[str, object],
) -> None:
    options = dict(row.extra.options)
    options |= {letter: value for letter, value in asked.items() if letter in _KEPT}
    if "walltime" in named:
        listed = msgspec.json.decode(options.get("l", "{}"), type=dict[str, str])
        listed["walltime"] = clock(seconds(named["walltime"]) or 0)
        options["l"] = msgspec.json.encode(listed).decode()
    if "h" in asked:
        held = asked["h"].replace("n", "")
        options.pop("holds", None)
        options |= {"holds": held} if held else {}
    account = asked.get("A", row.extra.account)
    extra = msgspec.structs.replace(row.extra, options=options, account=account)
    call.machine.keep(row.id, extra, **fields)
    if "h" in asked:
        call.machine.act("hold" if options.get("holds") else "release", [row.id])
    if "p" in asked:
        call.machine.act("priority", [row.id], int(asked["p"]))
