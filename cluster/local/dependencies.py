"""When a dependency holds, when it never can, and which job a label names.

Pure.  A label is what people see: "17" is a job or an array, "17_3" the element
with index 3 of array 17, "@0" the first job of the same submission.  An array
reserves a block of raw ids: A for itself, A+1+p for the element at position p.
"""

from __future__ import annotations

import re
from bisect import bisect_left

from cluster.errors import UnknownDependency
from cluster.spec import DEPENDENCY_TYPES, ArraySpec, Dependency
from cluster.states import COMPLETED

__all__ = ["MET", "NEVER", "WAIT", "check_type", "element", "parse_label", "verdict"]

MET, WAIT, NEVER = "met", "wait", "never"
_LABEL = re.compile(r"(\d{1,18})(?:_(\d{1,18}))?\Z", re.ASCII)


def parse_label(label: str) -> tuple[int, int | None] | None:
    """Split "17_3" into (17, 3) and "17" into (17, None); None if it is no id."""
    match = _LABEL.match(label)
    if match is None:
        return None
    return int(match[1]), None if match[2] is None else int(match[2])


def element(array: ArraySpec, index: int) -> int | None:
    """Give the position of an index in an array, None if it has no such index."""
    if array.listed:
        at = bisect_left(array.listed, index)
        return at if at < array.count and array.listed[at] == index else None
    offset = index - array.start
    if offset < 0 or offset % array.step or offset // array.step >= array.count:
        return None
    return offset // array.step


def check_type(dependency: Dependency) -> None:
    """Refuse a dependency of an unknown type.

    Raises:
        UnknownDependency: the type is not one of `spec.DEPENDENCY_TYPES`.
    """
    if dependency.type not in (*DEPENDENCY_TYPES, "aftercorr"):
        raise UnknownDependency(
            f"dependency type {dependency.type!r} is unknown. Use one of"
            f" {', '.join(DEPENDENCY_TYPES)}."
        )


def verdict(kind: str, final_state: str) -> str:
    """Say what the final state of the job depended on means for a dependency."""
    if kind in ("afterany", "after"):
        return MET
    return MET if (final_state == COMPLETED) == (kind == "afterok") else NEVER
