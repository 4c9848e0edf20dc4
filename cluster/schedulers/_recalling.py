"""The ends of jobs, from a `Track` into the registry and back."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from cluster import states
from cluster.local.wire import JobInfo
from cluster.registry import Element, Entry
from cluster.schedulers._tracking import Stamp, Track
from cluster.states import FINAL

__all__ = ["ended", "recall_ends", "requeued"]


def ended(entry: Entry, track: Track) -> Entry:
    """Give what is remembered of a job that has ended, all of it."""
    elements = tuple(map(_element, track.elements())) if track.is_array else ()
    return msgspec.structs.replace(entry, info=track.info(), elements=elements)


def _element(info: JobInfo) -> Element:
    return Element(
        info.index or 0, info.state, info.exitcode, info.signal, info.reason, info.started,
        info.ended, info.host,
    )  # fmt: skip


def recall_ends(track: Track, entry: Entry) -> None:
    """Let a job, and its elements, have ended as was remembered."""
    if not track.is_array:
        track.parts[entry.id].final = entry.info
    for each in entry.elements:
        part = track.parts.get(f"{entry.id}_{each.index}")
        if part is not None and each.state in FINAL:
            part.final = msgspec.structs.replace(
                part.base, state=each.state, exitcode=each.exitcode, signal=each.signal,
                reason=each.reason, started=each.started, ended=each.ended, host=each.host,
                attempt=1,
            )  # fmt: skip
    track.open -= {id for id, part in track.parts.items() if part.final is not None}


def requeued(entry: Entry, superseded: Mapping[str, Stamp]) -> Entry:
    """Give what is remembered of a job that was put back into the queue.

    Args:
        entry: the job.
        superseded: by id of a part, the record that counts no more.
    """
    info = msgspec.structs.replace(
        entry.info, state=states.PENDING, counts={}, exitcode=None, signal=0, reason="",
        started=0.0, ended=0.0,
    )  # fmt: skip
    return msgspec.structs.replace(
        entry, info=info, superseded=dict(superseded), elements=(), absent=0.0, cancelled=()
    )
