"""A pickled call whose data are exchanged without unpickling it.

A function is pickled once, with empty buffers behind it; each job gets the same
pickle with buffers of its own.  Pure: bytes in, bytes out.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import NamedTuple

from cluster import runner

__all__ = ["About", "about", "exchange"]


class About(NamedTuple):
    """What the head of a call says.

    Attributes:
        python: (major, minor) that made it.
        calls: what it calls, for people.
        imports: what is imported before.
        cloudpickle: its version.
    """

    python: tuple[int, int]
    calls: str
    imports: tuple[str, ...]
    cloudpickle: str


def about(call: bytes | memoryview) -> About:
    """Read the head of a call."""
    _, major, minor, *lengths = runner.CALL.unpack_from(call)
    at, texts = runner.CALL.size, []
    for length in lengths[:3]:
        texts.append(bytes(call[at : at + length]).decode("utf-8", "replace"))
        at += length
    imports = tuple(line for line in texts[2].split("\n") if line)
    return About((major, minor), texts[1], imports, texts[0])


def exchange(call: bytes | memoryview, buffers: Sequence[runner.Bytes]) -> list[runner.Bytes]:
    """Put other buffers in the place of a call's last ones.

    Args:
        call: as `payload.dump` made it.
        buffers: the new ones.

    Returns:
        Pieces to be written one after the other.
    """
    view, head = memoryview(call), about(call)
    *lengths, n_buffers, n_pickle = runner.CALL.unpack_from(view)[3:]
    at = runner.CALL.size + sum(lengths)
    sizes = array("Q", bytes(view[at : at + 8 * n_buffers]))
    at += 8 * n_buffers
    pickled, at = view[at : at + n_pickle], at + n_pickle
    kept: list[memoryview] = []
    for size in sizes[: n_buffers - len(buffers)]:
        at += -at % runner.ALIGN
        kept.append(view[at : at + size])
        at += size
    return runner.pack_call(
        bytes(pickled),
        [*kept, *(memoryview(buffer) for buffer in buffers)],
        calls=head.calls,
        imports=head.imports,
        cloudpickle_version=head.cloudpickle,
    )
