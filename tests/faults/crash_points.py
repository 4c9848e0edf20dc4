"""The places in the source where a daemon can be made to die: found, not listed."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import cluster

SOURCE = Path(cluster.__file__).parent


def declared() -> list[str]:
    """Give the names of all crash points of the package, sorted.

    Raises:
        ValueError: one is not a plain text, or stands at two places.
    """
    found = [name for path in sorted(SOURCE.rglob("*.py")) for name in _in(path)]
    twice = sorted({name for name in found if found.count(name) > 1})
    if twice:
        raise ValueError(f"these crash points stand at two places: {', '.join(twice)}")
    return sorted(found)


def _in(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_bytes())):
        if not isinstance(node, ast.Call) or ast.unparse(node.func) != "crash.point":
            continue
        if not (node.args and isinstance(node.args[0], ast.Constant)):
            raise ValueError(f"{path}:{node.lineno}: a crash point's name must be written out")
        yield str(node.args[0].value)


def unguarded() -> list[str]:
    """Give the places that cost more than a look at `crash.armed` in daily life."""
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        tree = ast.parse(path.read_bytes())
        guarded = {
            id(call)
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and ast.unparse(node.test).startswith("crash.armed")
            for call in ast.walk(node)
        }
        for node in ast.walk(tree):
            is_point = isinstance(node, ast.Call) and ast.unparse(node.func) == "crash.point"
            if is_point and id(node) not in guarded:
                found.append(f"{path.name}:{node.lineno}")
    return found
