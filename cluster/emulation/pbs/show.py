"""Attributes of jobs, queues, servers and nodes, as text, JSON or XML.

Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from xml.sax.saxutils import escape

from cluster.emulation.pbs.attributes import Time, Value, date

__all__ = ["as_json", "as_text", "as_xml", "document"]

_WIDTH = 79
_AFTER_COMMA = 11  # where a line begins, as the real one counts, when a whole item moves to it
_AFTER_CUT = 8
_NUMBER = re.compile(r"-?(0|[1-9]\d{0,17})(\.\d{1,15})?\Z", re.ASCII)


def as_text(title: str, attributes: Mapping[str, Value], *, wrap: bool = True) -> str:
    """Write one thing as `qstat -f` does, with an empty line behind it."""
    lines = [f"{title}\n"]
    for name, value in attributes.items():
        if isinstance(value, Mapping) and name == "Variable_List":
            lines.append(_line(name, _list(value), wrap=wrap))
        elif isinstance(value, Mapping):
            lines += [_line(f"{name}.{key}", text, wrap=wrap) for key, text in value.items()]
        else:
            lines.append(_line(name, _plain(value), wrap=wrap))
    return "".join(lines) + "\n"


def _plain(value: object) -> str:
    return date(value) if isinstance(value, Time) else str(value)


def _list(variables: Mapping[str, str]) -> str:
    quoted = {name: re.sub(r"([,\\])", r"\\\1", value) for name, value in variables.items()}
    return ",".join(f"{name}={value}" for name, value in quoted.items())


def _line(name: str, value: str, *, wrap: bool) -> str:
    head = f"    {name} = "
    if not wrap:
        return f"{head}{value}\n"
    pieces, column = [head], len(head)
    items = value.split(",")
    for number, item in enumerate(items):
        comma = "," if number < len(items) - 1 else ""
        if number and column + len(item) >= _WIDTH:
            pieces.append("\n\t")
            column = _AFTER_COMMA if len(item) + _AFTER_CUT >= _WIDTH else _AFTER_CUT
        text = item + comma
        while column + len(text.rstrip(",")) > _WIDTH:
            room = _WIDTH - column
            pieces += [text[:room], "\n\t"]
            text, column = text[room:], _AFTER_CUT
        pieces.append(text)
        column += len(text)
    return "".join(pieces) + "\n"


def document(
    kind: str, things: Mapping[str, Mapping[str, Value]], *, version: str, server: str, now: float
) -> str:
    """Write a JSON document: without things, their key is missing."""
    whole: dict[str, object] = {"timestamp": int(now), "pbs_version": version, "pbs_server": server}
    if things:
        whole[kind] = {id: _typed(attributes) for id, attributes in things.items()}
    return as_json(whole) + "\n"


def _typed(attributes: Mapping[str, object]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in attributes.items():
        if isinstance(value, Mapping):
            found[name] = _typed(value)
        elif isinstance(value, Time):
            found[name] = date(value)
        elif isinstance(value, str) and _NUMBER.match(value):
            found[name] = float(value) if "." in value else int(value)
        else:
            found[name] = value
    return found


def as_json(value: object, depth: int = 0) -> str:
    """Write JSON as the real one lays it out, with tabs."""
    if not isinstance(value, Mapping):
        return json.dumps(value, ensure_ascii=False)
    inside = "\t" * (depth + 1)
    rows = [
        f"{inside}{json.dumps(str(key), ensure_ascii=False)}:\t{as_json(one, depth + 1)}"
        for key, one in value.items()
    ]
    return (
        "{\n" + ",\n".join(rows) + "\n" + "\t" * depth + "}" if rows else "{\n" + "\t" * depth + "}"
    )


def as_xml(jobs: Mapping[str, Mapping[str, Value]]) -> str:
    """Write jobs as Torque does: one line, times in seconds."""
    if not jobs:
        return ""
    parts = [
        f"<Job><Job_Id>{escape(id)}</Job_Id>{_elements(attributes)}</Job>"
        for id, attributes in jobs.items()
    ]
    return f"<Data>{''.join(parts)}</Data>\n"


def _elements(attributes: Mapping[str, Value]) -> str:
    return "".join(
        f"<{name}>{_content(name, value)}</{name}>" for name, value in attributes.items()
    )


def _content(name: str, value: Value) -> str:
    if isinstance(value, Mapping):
        return escape(_list(value)) if name == "Variable_List" else _elements(value)
    text = str(int(value)) if isinstance(value, Time) else str(value)
    # XML 1.0 has no way to write control characters.
    return escape(re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]", "?", text))
