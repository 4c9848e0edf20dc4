"""Steps and what they wait for: their order, the cycle if there is one, drawings.

Pure.  `After` maps the name of each step to the names it waits for, and these
to the type of the dependency.
"""

from __future__ import annotations

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter

from cluster.errors import OptionsError

__all__ = ["FORMATS", "After", "check", "draw", "idle", "order"]

After = Mapping[str, Mapping[str, str]]

FORMATS = ("text", "mermaid", "graphviz")


def check(name: str, after: After) -> None:
    """Refuse steps that wait for a step that is not there, or for each other.

    Raises:
        OptionsError: all unknown names, else the path of a cycle.
    """
    unknown = [
        f"step {step!r} waits for {other!r}, and there is no such step"
        for step, others in after.items()
        for other in others
        if other not in after
    ]
    if unknown:
        there = ", ".join(map(repr, after))
        raise OptionsError(f"pipeline {name!r}: {'; '.join(unknown)}. There are: {there}.")
    order(name, after)


def order(name: str, after: After) -> list[str]:
    """Put each step behind those it waits for; otherwise as they were added.

    Raises:
        OptionsError: the path of a cycle.
    """
    sorter = TopologicalSorter({step: list(others) for step, others in after.items()})
    try:
        sorter.prepare()
    except CycleError as error:
        path = " -> ".join(repr(step) for step in error.args[1])
        raise OptionsError(
            f"pipeline {name!r}: steps wait for each other: {path}. Take one dependency away."
        ) from None
    place = {step: at for at, step in enumerate(after)}
    found: list[str] = []
    ready = sorted(sorter.get_ready(), key=place.__getitem__)
    while ready:
        found += ready
        sorter.done(*ready)
        ready = sorted(sorter.get_ready(), key=place.__getitem__)
    return found


def idle(after: After, states: Mapping[str, str | None]) -> set[str]:
    """Find the steps that were not needed: for a failure that did not happen.

    Args:
        after: what the steps wait for.
        states: of each step.
    """
    found: set[str] = set()
    for step in order("", after):
        if states.get(step) not in ("CANCELLED", None):
            continue
        for other, kind in after[step].items():
            unneeded = kind == "afternotok" and states.get(other) == "COMPLETED"
            if unneeded or (kind == "afterok" and other in found):
                found.add(step)
    return found


def draw(name: str, after: After, form: str) -> str:
    """Draw the steps.

    Args:
        form: one of `FORMATS`.

    Raises:
        OptionsError: it is none of these.
    """
    if form not in FORMATS:
        raise OptionsError(f"graph format {form!r} is unknown. There are: {', '.join(FORMATS)}.")
    steps = order(name, after)
    if form == "mermaid":
        return _mermaid(steps, after)
    return _graphviz(name, steps, after) if form == "graphviz" else _text(name, steps, after)


def _text(name: str, steps: list[str], after: After) -> str:
    room = max((len(step) for step in steps), default=0)
    lines = [f"pipeline {name}"]
    for step in steps:
        waits = ", ".join(
            other if kind == "afterok" else f"{other} ({kind})"
            for other, kind in after[step].items()
        )
        lines.append(f"  {step:{room}}  after {waits}" if waits else f"  {step}")
    return "\n".join(lines)


def _mermaid(steps: list[str], after: After) -> str:
    # Names are labels, for some words and signs may not be ids there.
    ids = {step: f"s{number}" for number, step in enumerate(steps, 1)}
    lines = ["flowchart TD"]
    for step in steps:
        label = step.replace("&", "#amp;").replace('"', "#quot;").replace("<", "#lt;")
        lines.append(f'    {ids[step]}["{label}"]')
    for step in steps:
        for other, kind in after[step].items():
            arrow = "-->" if kind == "afterok" else f"-->|{kind}|"
            lines.append(f"    {ids[other]} {arrow} {ids[step]}")
    return "\n".join(lines)


def _graphviz(name: str, steps: list[str], after: After) -> str:
    lines = [f"digraph {_quoted(name)} {{"]
    lines += [f"    {_quoted(step)};" for step in steps]
    for step in steps:
        for other, kind in after[step].items():
            label = "" if kind == "afterok" else f" [label={_quoted(kind)}]"
            lines.append(f"    {_quoted(other)} -> {_quoted(step)}{label};")
    return "\n".join([*lines, "}"])


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
