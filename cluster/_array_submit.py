"""What the elements of an array run, and handing it to the scheduler piece by piece.

`make_work` puts it into plain values, in which all that is the user's stays
pickled: a retry, from another process too, needs nothing else.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from cluster import config_file, options, payload, request
from cluster._array_plan import (
    COMMAND_BYTES,
    ITEM_BYTES,
    Limits,
    Piece,
    has_places,
    plan,
    repack,
    shell_text,
)
from cluster._call_buffers import about
from cluster._element import call_one, traveller
from cluster._item_pickle import dumps_item
from cluster._job_batch import submit_all
from cluster._job_keywords import working_directory
from cluster._prepared import Prepared, name_parts, packed
from cluster.errors import OptionsError
from cluster.job import Job
from cluster.payload import Payload
from cluster.schedulers._array_limits import largest_index, lowest_index
from cluster.schedulers.base import Call, Command, Scheduler
from cluster.script import quote
from cluster.spec import ArraySpec

__all__ = ["make_work", "plan_pieces", "prepare", "read_items", "submit_pieces"]

_WORDS_PER_ELEMENT = 40  # bytes of shell text around an item
_NOT_KEPT = ("dependencies", "begin", "hold", "array")  # of a first submission, for a retry


def prepare(
    command: Any,
    items: Iterable[Any],
    max_running: int | None,
    name: str | None,
    qtype: str | None,
    profile: str | None,
    keywords: dict[str, Any],
) -> tuple[Job, dict[str, Any]]:
    """Check the arguments of `submit_array`; give a job with its keywords, and what elements run.

    Raises:
        OptionsError: everything that cannot work.
        PayloadError: the function or an item cannot be pickled.
    """
    seen, given = read_items(items)
    if max_running is not None:
        options.check_arguments({"array": f"1-2%{max_running}"})
    if taken := [key for key in keywords if options.canonical_name(key) == "array"]:
        raise OptionsError(f"{taken[0]}= is said by the items of submit_array. Give a range.")
    if taken := [key for key in ("args", "kwargs") if key in keywords]:
        raise OptionsError(
            f"{taken[0]}= does not go together with items: each element gets its item. Write what "
            "is the same for all into the command, or take functools.partial of the function."
        )
    model = Job(command, None, name, None, qtype, profile, **keywords)
    work = make_work(model, command, seen, given)
    work["max_running"] = max_running or 0
    return model, work


def read_items(items: Iterable[Any]) -> tuple[Sequence[int], list[Any] | None]:
    if isinstance(items, range):
        seen, given = items, None
    elif isinstance(items, str | bytes) or not isinstance(items, Iterable):
        raise OptionsError(f"items {items!r} are no list. Give a range, or a list of items.")
    else:
        given = list(items)
        seen = range(1, len(given) + 1)
    if not len(seen):
        raise OptionsError("there are no items: an array has at least one.")
    return seen, given


def make_work(
    model: Job, command: Any, seen: Sequence[int], given: list[Any] | None
) -> dict[str, Any]:
    """Put together what a retry needs too, in plain values; the user's stay pickled."""
    program, kept = model._program, dict(model.options)
    for key in _NOT_KEPT:
        kept.pop(key, None)
    kept.setdefault("python", sys.executable)
    places = [path for path in sys.path if isinstance(path, str) and path]
    kept["syspaths"] = tuple(dict.fromkeys([*(kept.get("syspaths") or ()), *places]))
    kept["dir"] = working_directory(model.options).decode("utf-8", "surrogateescape")
    work: dict[str, Any] = {
        "name": model._given_name, "shown": model.name, "seen": seen,
        "key": request.learned_key(program, model._given_name), "options": kept,
    }  # fmt: skip
    if isinstance(program, Call):
        work["call"] = _call(model, program.function)
        work["calls"] = name_parts(program.function)
        with payload._by_value(model.options.get("by_value", ())):
            work["items"] = given and [dumps_item(item, n) for n, item in enumerate(given)]
        return work
    # What is no shell's text stays so, unless it was given as one text with places in it.
    work["command"] = program.text or program.argv
    work["behind"] = program.argv if program.text else ()
    work["items"] = given and [_word(item, n) for n, item in enumerate(given)]
    return work


def _call(model: Job, function: Any) -> bytes:
    nothing = pickle.PickleBuffer(b"\0")
    made = payload.dump(
        traveller(call_one, function, name_parts(function)),
        (function, nothing, pickle.PickleBuffer(b"\0")),
        by_value=model.options.get("by_value", ()),
        imports=model.options.get("imports", ()),
    )
    return made.data


def _word(item: Any, place: int) -> str:
    try:
        return request._word(item).decode("utf-8", "surrogateescape")
    except OptionsError as error:
        raise OptionsError(f"item {place}: {error}") from None


def submit_pieces(
    scheduler: Scheduler,
    work: dict[str, Any],
    chosen: dict[str, Any],
    after: Sequence[tuple[str, Any]],
    positions: Sequence[int],
) -> tuple[list[Job], list[Piece]]:
    pieces = plan_pieces(scheduler, work, positions)
    parts: list[Job] = []
    for piece in pieces:
        spec = ArraySpec(piece.first, len(piece.positions), piece.step, work["max_running"])
        part = _part(scheduler, work, {**chosen, "array": spec}, piece)
        part._after = list(after)
        if parts and work["max_running"]:
            part.after(parts[-1], type="afterany")  # so many at once in all of them
        parts.append(part)
    submit_all(parts, None)
    return parts, pieces


def plan_pieces(
    scheduler: Scheduler, work: dict[str, Any], positions: Sequence[int]
) -> list[Piece]:
    """Say which elements go into which submission: always the same for the same."""
    limits = Limits(
        lowest_index(scheduler),
        config_file.get("queue", "max_array") or largest_index(scheduler),
        ITEM_BYTES if "call" in work else COMMAND_BYTES,
    )
    return plan(positions, work["seen"], _sizes(work, positions), limits)


def _sizes(work: dict[str, Any], positions: Sequence[int]) -> Sequence[int]:
    items, is_whole = work["items"], len(positions) == len(work["seen"])
    if "call" in work:
        return [len(item) for item in items] if items else ()
    if items is None and is_whole:
        return ()
    texts = items or [""] * len(work["seen"])
    return [len(quote(text).encode("utf-8", "replace")) + _WORDS_PER_ELEMENT for text in texts]


def _part(
    scheduler: Scheduler, work: dict[str, Any], chosen: dict[str, Any], piece: Piece
) -> Prepared:
    if "call" in work:
        return Prepared._make(
            scheduler, work["shown"], chosen, calls=work["calls"], payload=_payload(work, piece)
        )
    return Prepared._make(
        scheduler, work["shown"], chosen, program=_program(work, piece), key=work["key"]
    )


def _payload(work: dict[str, Any], piece: Piece) -> Payload:
    call = work["call"]
    made_by = about(call).python
    if made_by != sys.version_info[:2]:
        raise OptionsError(
            f"this array was submitted by Python {made_by[0]}.{made_by[1]}: retry it by that one."
        )
    return packed(repack(call, piece, work["seen"], work["items"]), call)


def _program(work: dict[str, Any], piece: Piece) -> Command:
    command, seen = work["command"], work["seen"]
    same = all(
        seen[position] == piece.index_of(place) for place, position in enumerate(piece.positions)
    )
    if same and not has_places(command):
        behind = work["behind"]
        return Command(behind, command) if isinstance(command, str) else Command(command)
    return Command(work["behind"], shell_text(command, piece, seen, work["items"]))
