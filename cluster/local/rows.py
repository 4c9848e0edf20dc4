"""Records of the queue as rows of its store, and back.

The mutable part of a record is an array of its fields, in their order; the spec
stands beside it, once for all elements of an array.  A row that cannot be read
harms itself only: it becomes a job that is LOST and says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from operator import attrgetter
from typing import Any

import msgspec

from cluster import states
from cluster.local.events import Array, Job
from cluster.local.queue_state import array_state
from cluster.local.wire import Content, Output
from cluster.spec import JobSpec

__all__ = [
    "ARRAY", "DAMAGED", "JOB", "array_values", "decode_launch", "deep", "encode", "exitcode",
    "flat", "job_values", "record_of", "request_values", "spec_of", "told_of",
]  # fmt: skip

DAMAGED = "its record in the store is damaged"
JOB, ARRAY = 0, 1
_NO_LAUNCH = msgspec.Raw(b"\x80")

encode = msgspec.msgpack.Encoder().encode


class _Launch(msgspec.Struct):
    """What the store must know of a `Launch`: a file that is the queue's own, an environment."""

    payload_file: bytes = b""
    env: str = ""


def _row_type(kind: type[msgspec.Struct]) -> Any:
    """The mutable part of a record, as an array: all its fields but the spec."""
    fields: list[Any] = []
    for each in msgspec.structs.fields(kind):
        if each.name == "spec":
            continue
        default: Any = msgspec.field(default=each.default)
        if each.default_factory is not msgspec.NODEFAULT:
            default = msgspec.field(default_factory=each.default_factory)
        fields.append(
            (each.name, each.type, default) if not each.required else (each.name, each.type)
        )
    return msgspec.defstruct(f"{kind.__name__}Row", fields, array_like=True)


_JobRow, _ArrayRow = _row_type(Job), _row_type(Array)
_job_names = [f.name for f in msgspec.structs.fields(_JobRow)]
_array_names = [f.name for f in msgspec.structs.fields(_ArrayRow)]
_job_row, _array_row = attrgetter(*_job_names), attrgetter(*_array_names)
_decode_job = msgspec.msgpack.Decoder(_JobRow).decode
_decode_array = msgspec.msgpack.Decoder(_ArrayRow).decode
decode_launch = msgspec.msgpack.Decoder(_Launch).decode
_decode_spec = msgspec.msgpack.Decoder(JobSpec).decode


def spec_of(told: bytes | None) -> JobSpec:
    """Read a spec; one that is damaged says so in its comment."""
    if told is None:
        return JobSpec(name="?")
    try:
        return _decode_spec(told)
    except msgspec.MsgspecError as error:
        return JobSpec(name="?", comment=f"{DAMAGED}: {error}")


def record_of(id: int, kind: int, data: bytes, spec: JobSpec) -> Job | Array:
    """Read a record; one that is damaged is a LOST job with that as its reason."""
    why = spec.comment if spec.comment.startswith(DAMAGED) else ""
    try:
        if kind == ARRAY and not why:
            row = _decode_array(data)
            return Array(spec=spec, **{name: getattr(row, name) for name in _array_names})
        if not why:
            row = _decode_job(data)
            return Job(spec=spec, **{name: getattr(row, name) for name in _job_names})
    except msgspec.MsgspecError as error:
        why = f"{DAMAGED}: {error}"
    return Job(id=id, label=str(id), spec=spec, need=(), state=states.LOST, reason=why)


def exitcode(kind: int, data: bytes) -> int | None:
    """Give the exit code in a record; None where there is none."""
    try:
        return None if kind == ARRAY else _decode_job(data).exitcode
    except msgspec.MsgspecError:
        return None  # a damaged record


def request_values(requests: dict[int, JobSpec]) -> Iterator[tuple[int, bytes, bytes]]:
    """Give the rows of what was asked for."""
    before, told, launch = None, b"", b""
    for id, spec in requests.items():
        if spec is not before:  # many alike are one object
            told = told_of(spec)
            before, launch = spec, bytes(spec.launch)
        yield id, told, launch


def told_of(spec: JobSpec) -> bytes:
    """Write a spec without its launch."""
    return encode(msgspec.structs.replace(spec, launch=_NO_LAUNCH))


def job_values(job: Job) -> tuple[Any, ...]:
    """Give the row of a job."""
    is_open = job.ending or not states.is_final(job.state)
    spec = job.spec
    return (
        job.id, JOB, job.array, job.state, spec.name, spec.namespace, job.submitted, job.ended,
        is_open, encode(_job_row(job)),
    )  # fmt: skip


def array_values(array: Array) -> tuple[Any, ...]:
    """Give the row of an array."""
    spec = array.spec
    return (
        array.id, ARRAY, 0, array_state(array), spec.name, spec.namespace, array.submitted,
        array.ended, not array.ended, encode(_array_row(array)),
    )  # fmt: skip


def flat(content: Content) -> tuple[bytes | None, ...]:
    """Give the columns of what a job wrote."""
    parts = (content.result, content.stdout, content.stderr)
    return tuple(value or None for part in parts for value in (part.data, part.file))


def deep(row: Iterable[bytes | None]) -> Content:
    """Read the columns of what a job wrote."""
    flat = [value or b"" for value in row]
    return Content(*(Output(flat[i], flat[i + 1]) for i in (0, 2, 4)))
