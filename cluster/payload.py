"""Pickles, on the side of the one who submits: a call goes out, an envelope comes back.

    dump(function, args)  -> Payload   -> queue or file -> runner.load_call
    runner.run_call       -> envelope  -> load_envelope -> value

What the bytes mean is decided in `runner`, which also runs where nothing else
of ours is; here is only what people see of it: which object cannot be pickled,
and the remote exception with its traceback.  Reading an envelope unpickles
what the job made, so only the one who asked for the value does it.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import pickle
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from cluster import runner
from cluster._culprit import culprit
from cluster._item_pickle import send_main_by_value
from cluster.errors import JobFailed, PayloadError

__all__ = [
    "INLINE_LIMIT",
    "Envelope",
    "Header",
    "Payload",
    "dump",
    "load_envelope",
    "name_of",
    "read_header",
    "value",
]

INLINE_LIMIT = 256 * 1024  # bytes of a call that travel through the queue; more goes to a file


@dataclass(frozen=True)
class Payload:
    """A pickled call.

    Attributes:
        pieces: the call, to be written one piece after the other; large
            arrays among them are the caller's own memory, not copies.
        size: bytes of all pieces.
        calls: what it calls, for people: `module.function`.
        python_version: (major, minor) of this interpreter.
        cloudpickle_version: the cloudpickle that made it.
    """

    pieces: tuple[runner.Bytes, ...]
    size: int
    calls: str
    python_version: tuple[int, int]
    cloudpickle_version: str

    @property
    def is_large(self) -> bool:
        """Tell whether it has to travel as a file."""
        return self.size > INLINE_LIMIT

    @property
    def data(self) -> bytes:
        """The whole call as bytes (a copy)."""
        return b"".join(self.pieces)

    def write(self, path: str | bytes) -> None:
        """Write it as a file that only its owner may read, whole or not at all.

        Raises:
            OSError: the file cannot be written.
        """
        runner.keep_atomically(path, list(self.pieces))


def dump(
    function: Any,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    by_value: Iterable[str | ModuleType] = (),
    imports: Iterable[str] = (),
) -> Payload:
    """Pickle a call.

    Functions of the script, lambdas and closures travel by value, others as
    the name of their module.

    Args:
        function: any callable.
        args, kwargs: what it is called with.
        by_value: modules whose functions and classes travel by value, for
            modules that the job cannot import.
        imports: what the job imports first ("numpy", "numpy as np", "from a
            import b"); the names are there for the function.

    Raises:
        PayloadError: names the argument that cannot be pickled, and the object
            in it that is to blame.
    """
    import cloudpickle

    call = (function, tuple(args), dict(kwargs or {}))
    views: list[memoryview] = []

    def take(buffer: pickle.PickleBuffer) -> bool:
        try:
            views.append(buffer.raw())
        except BufferError:  # not contiguous: into the pickle with it
            return True
        return False

    send_main_by_value()
    with _by_value(by_value):
        sink = io.BytesIO()
        try:
            cloudpickle.Pickler(sink, protocol=5, buffer_callback=take).dump(call)
        except PayloadError:  # from something of ours, which says what to do
            raise
        except Exception as error:  # __reduce__ of the user's classes may raise anything
            raise PayloadError(culprit(*call, error)) from error
    calls = name_of(function)
    pieces = runner.pack_call(
        sink.getvalue(),
        views,
        calls=calls,
        imports=tuple(imports),
        cloudpickle_version=cloudpickle.__version__,
    )
    return Payload(
        pieces=tuple(pieces),
        size=sum(len(piece) for piece in pieces),
        calls=calls,
        python_version=sys.version_info[:2],
        cloudpickle_version=cloudpickle.__version__,
    )


def name_of(function: Any) -> str:
    """Name what is called, for people: `module.qualname`."""
    inner = getattr(function, "func", function)  # functools.partial
    name = getattr(inner, "__qualname__", None) or type(inner).__qualname__
    module = getattr(inner, "__module__", None) or type(inner).__module__
    return f"{module}.{name}"


_travelling: Counter[str] = Counter()  # module to calls that are being pickled with it by value
_travelling_lock = threading.Lock()


@contextlib.contextmanager
def _by_value(modules: Iterable[str | ModuleType]) -> Iterator[None]:
    import cloudpickle

    mine: list[ModuleType] = []
    try:
        for module in modules:
            try:
                found = importlib.import_module(module) if isinstance(module, str) else module
            except ImportError as error:
                raise PayloadError(f"by_value names {module!r}: {error}") from error
            with _travelling_lock:
                known = cloudpickle.list_registry_pickle_by_value()
                # What the user registered stays so; what another thread did, until both are done.
                if found.__name__ not in known or _travelling[found.__name__]:
                    cloudpickle.register_pickle_by_value(found)
                    _travelling[found.__name__] += 1
                    mine.append(found)
        yield
    finally:
        with _travelling_lock:
            for found in mine:
                _travelling[found.__name__] -= 1
                if not _travelling[found.__name__]:
                    cloudpickle.unregister_pickle_by_value(found)


# ---------------------------------------------------------------- envelopes


@dataclass(frozen=True)
class Header:
    """The part of an envelope that anybody may read: plain numbers and a text.

    Attributes:
        status: `runner.VALUE`, `EXCEPTION`, `EXIT`, `REFUSED` or `UNPICKLABLE`.
        attempt, job: whose it is.
        reason: for people; empty for a value.
        code: exit code of a SystemExit, else None.
    """

    status: int
    attempt: int
    job: int
    reason: str
    code: int | None = None


@dataclass(frozen=True)
class Envelope:
    """What a function job left: the header, and the pickle nobody has read yet."""

    header: Header
    body: memoryview


def read_header(data: bytes | memoryview) -> Header | None:
    """Read the header of a whole envelope, without unpickling anything.

    Returns:
        None when it is not an envelope or was cut short.
    """
    envelope = _parse(memoryview(data))
    return envelope.header if envelope else None


def load_envelope(source: bytes | memoryview | str | os.PathLike[str]) -> Envelope:
    """Read an envelope; its value is still pickled.

    Args:
        source: the envelope, or (str or path) the file that holds it.

    Raises:
        PayloadError: it was cut short, or the file is not ours alone to write.
    """
    if isinstance(source, (bytes, memoryview)):
        data, where = memoryview(source), "the result"
    else:
        where = os.fspath(source)
        try:
            data = runner.read_owned(where)
        except runner.Refused as refusal:
            raise PayloadError(str(refusal)) from None
    envelope = _parse(data)
    if envelope is None:
        raise PayloadError(
            f"{where} is not a whole result ({len(data)} bytes): the job was ended while it wrote"
        )
    return envelope


def _parse(data: memoryview) -> Envelope | None:
    head = runner.ENVELOPE
    if len(data) < head.size:
        return None
    magic, status, attempt, job, n_reason, n_body = head.unpack_from(data)
    if magic != runner.ENVELOPE_MAGIC or len(data) != head.size + n_reason + n_body:
        return None
    reason = bytes(data[head.size : head.size + n_reason]).decode("utf-8", "replace")
    body = data[head.size + n_reason :]
    code = int(bytes(body)) if status == runner.EXIT else None
    return Envelope(Header(status, attempt, job, reason, code), body)


def value(envelope: Envelope, *, id: str = "", name: str = "", stderr_tail: str = "") -> Any:
    """Give the job's value, or raise what it raised.

    An exception comes back as itself, with its traceback, its cause and its
    context; the traceback as the job saw it is the last `__cause__` of the
    chain.  What cannot be rebuilt, and what is no `Exception` (a
    KeyboardInterrupt there is none here), becomes `JobFailed` with the text.

    Args:
        id, name, stderr_tail: for the message of `JobFailed`; by default the
            raw id of the envelope.

    Raises:
        JobFailed: sys.exit with a code, refused, or the result could not be pickled.
        PayloadError: the value is there and cannot be unpickled here.
        Exception: the job's own.
    """
    header = envelope.header
    if header.status == runner.VALUE:
        return _load(envelope.body)
    if header.status == runner.EXIT and header.code == 0:
        return None

    def failed(reason: str) -> JobFailed:
        return JobFailed(
            id or str(header.job),
            "FAILED",
            name=name,
            exitcode=1 if header.code is None else header.code,
            reason=reason,
            stderr_tail=stderr_tail,
        )

    if header.status == runner.EXCEPTION:
        from cluster import _remote_error

        rows = pickle.loads(envelope.body)  # plain values only, made by runner
        error = _remote_error.rebuild(rows)
        if error is None:
            raise failed(f"it raised {header.reason}\n{rows['formatted'].rstrip()}")
        raise error
    raise failed(header.reason)


def _load(body: memoryview) -> Any:
    try:
        return pickle.loads(body)
    except ModuleNotFoundError as error:
        raise PayloadError(
            f"the job's value needs the module {error.name!r}, which cannot be imported here: "
            "install it, or return plain values"
        ) from error
    except Exception as error:  # the job's classes may raise anything
        raise PayloadError(
            f"the job's value cannot be unpickled here: {type(error).__name__}: {error}"
        ) from error
