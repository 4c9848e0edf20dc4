"""`qstat`: jobs, queues and the server; and `qselect`, which finds jobs by what they are."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import datetime
from fnmatch import fnmatchcase

from cluster.emulation.call import Call, Stop
from cluster.emulation.pbs import flavour, tables
from cluster.emulation.pbs.attributes import View, attributes
from cluster.emulation.pbs.queues import limits, queues, servers
from cluster.emulation.pbs.resources import kilobytes, seconds
from cluster.emulation.pbs.show import as_text, as_xml, document
from cluster.emulation.pbs.state import holds
from cluster.emulation.pbs.views import all_views, named
from cluster.emulation.pbs.wishes import BadValue, begin
from cluster.emulation.pbs.words import BadOption, options

__all__ = ["qselect", "qstat"]

_PRO = "aBfF:D:EGHiJMnpqQrstTu:wWx1"
_TORQUE = "aBcCeE:fGilMn1qQrRstu:W:x"
_PRO_SELECT = "a:A:c:h:HJl:N:p:P:q:r:s:t:Tu:x"
_TORQUE_SELECT = "a:A:c:eh:l:N:p:q:r:s:u:"


def _read(call: Call, pro: str, torque: str) -> tuple[dict[str, str], list[str]]:
    own = flavour.of(call)
    try:
        given, operands, _ = options(call.argv, pro if own.is_pro else torque)
    except BadOption as error:
        raise flavour.usage(call, str(error)) from None
    asked = dict(given)
    if "--version" in asked:
        (call.out if own.is_pro else call.err)(own.banner)
        raise Stop("", 0)
    if any(letter.startswith("--") for letter in asked):
        raise flavour.usage(call)
    return asked, operands


def qstat(call: Call) -> int:
    """Show jobs, queues or the server."""
    own = flavour.of(call)
    asked, operands = _read(call, _PRO, _TORQUE)
    form = asked.get("F", "")
    if form and form not in ("json", "dsv"):
        raise flavour.usage(call)
    if "B" in asked:
        return servers(call, full="f" in asked, form=form)
    if "Q" in asked:
        return queues(call, operands, full="f" in asked, form=form)
    if "q" in asked:
        return limits(call, operands)
    history = own.is_pro and bool({"x", "H"} & asked.keys())
    split = "t" in asked
    if operands:
        found, code = named(call, operands, history=history, split=split)
    else:
        found, code = all_views(call, history=history, split=split), 0
    found = [view for view in found if _is_wanted(view, asked, bare=not operands)]
    _show(call, own, asked, found, form)
    return code


def _is_wanted(view: View, asked: dict[str, str], *, bare: bool) -> bool:
    if "J" in asked and not (view.is_array or ("t" in asked and view.row.index is not None)):
        return False
    if "u" in asked and not _is_user(view, asked["u"]):
        return False
    letter = view.letter
    if not bare:
        return True
    if "H" in asked and letter not in "FX":
        return False
    if "c" in asked and letter == "C":
        return False
    if "r" in asked and letter not in "RSBE":
        return False
    return not ("i" in asked and letter in "RSBEFX")


def _is_user(view: View, text: str) -> bool:
    return view.user in [word.partition("@")[0] for word in text.split(",")]


def _show(
    call: Call, own: flavour.Flavour, asked: dict[str, str], found: list[View], form: str
) -> None:
    if "f" in asked and form == "json":
        things = {view.id: attributes(view) for view in found}
        host = call.machine.host
        text = document("Jobs", things, version=own.version, server=host, now=time.time())
        call.out(text)
    elif "x" in asked and not own.is_pro:
        call.out(as_xml({view.id: attributes(view) for view in found}))
    elif "f" in asked:
        wrap = "1" not in asked and "w" not in asked
        call.out("".join(_full(view, wrap=wrap) for view in found))
    elif asked.keys() & set("aHinrsTuGM" if own.is_pro else "ainreRsuGM"):
        call.out(
            tables.alternate(
                found,
                nodes="n" in asked,
                one_line="1" in asked,
                comments="s" in asked,
                wide="w" in asked,
            )
        )
    else:
        call.out(tables.plain(found, wide="w" in asked))


def _full(view: View, *, wrap: bool) -> str:
    return as_text(f"Job Id: {view.id}", attributes(view), wrap=wrap)


# ---------------------------------------------------------------- qselect


def qselect(call: Call) -> int:
    """Print the ids of jobs that are as asked."""
    own = flavour.of(call)
    asked, operands = _read(call, _PRO_SELECT, _TORQUE_SELECT)
    if operands:
        raise flavour.usage(call)
    history = bool({"x", "H"} & asked.keys()) or not own.is_pro
    found = all_views(call, history=history, split="T" in asked)
    tests = [_test(call, letter, value) for letter, value in asked.items()]
    call.out("".join(f"{view.id}\n" for view in found if all(test(view) for test in tests)))
    return 0


def _test(call: Call, letter: str, value: str) -> Callable[[View], bool]:
    """Make the test that one option stands for."""
    simple: dict[str, Callable[[View], bool]] = {
        "A": lambda view: view.row.extra.account == value,
        "H": lambda view: view.letter in "FX",
        "J": lambda view: view.is_array,
        "N": lambda view: fnmatchcase(view.row.info.name, value),
        "P": lambda view: view.row.extra.options.get("P", "_pbs_project_default") == value,
        "h": lambda view: set(value) & set("nuos") <= set(holds(view.row)),
        "q": lambda view: value.partition("@")[0] in ("", view.queue),
        "r": lambda view: view.row.extra.options.get("r", "y") == value,
        "s": lambda view: view.letter in value,
        "u": lambda view: _is_user(view, value),
    }
    if letter in simple:
        return simple[letter]
    if letter in "al" or letter == "p":
        return _compared(call, letter, value)
    return lambda view: True


def _compared(call: Call, letter: str, value: str) -> Callable[[View], bool]:
    if letter == "l":
        tests = [_resource(call, word) for word in value.split(",")]
        return lambda view: all(test(view) for test in tests)
    op, text = _operator(value)
    try:
        limit = float(text) if letter == "p" else begin(text, datetime.now())
    except (ValueError, BadValue):
        raise flavour.usage(call, f"illegal -{letter} value") from None
    if letter == "p":
        return lambda view: _holds(view.row.info.priority, op, limit)
    return lambda view: _holds(view.row.info.begin or view.row.info.submitted, op, limit)


def _operator(text: str) -> tuple[str, str]:
    match = re.fullmatch(r"\.(eq|ne|ge|gt|le|lt)\.(.*)", text)
    return (match[1], match[2]) if match else ("eq", text)


def _resource(call: Call, word: str) -> Callable[[View], bool]:
    match = re.fullmatch(r"([\w\-]+)(?:\.(eq|ne|ge|gt|le|lt)\.|=)(.+)", word)
    if match is None:
        raise flavour.usage(call, "illegal -l value")
    name, op, text = match[1], match[2] or "eq", match[3]

    def test(view: View) -> bool:
        there = view.listed.get(name)
        if there is None:
            return False
        for read in (_number, seconds, kilobytes):
            left, right = read(there), read(text)
            if left is not None and right is not None:
                return _holds(left, op, right)
        return (there == text) == (op != "ne")

    return test


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"-?\d{1,15}", text, re.ASCII) else None


def _holds(left: float, op: str, right: float) -> bool:
    return {
        "eq": left == right,
        "ne": left != right,
        "ge": left >= right,
        "gt": left > right,
        "le": left <= right,
        "lt": left < right,
    }[op]
