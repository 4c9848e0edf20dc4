"""The program inside a job: load a call, make it, leave an envelope.

One self-contained file (standard library and cloudpickle), for warm parents
import it by content and scripts for clusters carry it to nodes where nothing
else of ours is installed.  It never unpickles what a job made, and it compares
versions before it unpickles anything: a pickle of code that another Python
made can end this process without a word.

    call      CLC1, versions, what it calls, imports | pickle | buffers   -> load_call
    envelope  CLR1, status, attempt, job | reason | body                  -> run_call

As a program: `python runner.py CALL RESULT [JOB ATTEMPT]`.
"""

from __future__ import annotations

import _thread
import atexit
import errno
import os
import pickle
import stat
import struct
import sys
from os import _exit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType
    from typing import Any, NoReturn

    Bytes = bytes | bytearray | memoryview
    Keep = Callable[[str | bytes, list[Bytes]], None]

# magic, Python major and minor, sizes: cloudpickle's version, what it calls,
# imports; number of buffers, size of the pickle
CALL = struct.Struct("<4sBBHIIIQ")
CALL_MAGIC = b"CLC1"
# magic, status, attempt, job, sizes: reason, body
ENVELOPE = struct.Struct("<4sBIQIQ")
ENVELOPE_MAGIC = b"CLR1"
VALUE, EXCEPTION, EXIT, REFUSED, UNPICKLABLE = range(5)
NOT_STORED = 74  # exit code where not even a reason could be left, as of sysexits.h: EX_IOERR

ALIGN = 64  # buffers start at multiples of it, as numpy's own allocations do
JOIN_LIMIT = 1 << 20  # an envelope up to this size is written by one call
MAX_ROWS = 200  # of a traceback; a runaway recursion has a thousand alike
MAX_CHAIN = 20  # exceptions that caused one another
_PLAIN = frozenset((type(None), bool, int, float, str, bytes))  # no need of cloudpickle
_HERE = (lambda: None).__code__.co_filename

# A warm parent sets them: ends logging, where that has no exit function of its own;
# writes out what C code left in its buffers (it has ctypes).
end_logging: Callable[[], object] | None = None
flush_c: Callable[[], object] | None = None


class Refused(Exception):
    """The call must not be unpickled here; the text says why."""


# ---------------------------------------------------------------- the call


def pack_call(
    pickled: bytes,
    buffers: Sequence[memoryview],
    *,
    calls: str = "",
    imports: Sequence[str] = (),
    cloudpickle_version: str = "",
) -> list[Bytes]:
    """Lay out a call; the buffers are not copied.

    Returns:
        Pieces to be written one after the other.
    """
    version, name = cloudpickle_version.encode(), calls.encode("utf-8", "replace")
    lines = "\n".join(imports).encode()
    sizes = [buffer.nbytes for buffer in buffers]
    head = CALL.pack(
        CALL_MAGIC,
        sys.version_info[0],
        sys.version_info[1],
        len(version),
        len(name),
        len(lines),
        len(sizes),
        len(pickled),
    )
    head += version + name + lines + struct.pack(f"<{len(sizes)}Q", *sizes)
    pieces: list[Bytes] = [head, pickled]
    at = len(head) + len(pickled)
    for buffer, size in zip(buffers, sizes):  # noqa: B905  strict= is not in Python 3.8
        gap = -at % ALIGN
        pieces += [bytes(gap), buffer]
        at += gap + size
    return pieces


def load_call(source: Bytes | str) -> tuple[Any, Any, Any]:
    """Read a call: `(function, args, kwargs)`.

    Args:
        source: the call itself, or the path of a file that holds it.

    Raises:
        Refused: another Python made it, or it cannot be read or trusted.
        Exception: whatever unpickling raises, such as a missing module.
    """
    data = read_owned(source) if isinstance(source, str) else memoryview(source)
    if len(data) < CALL.size or bytes(data[:4]) != CALL_MAGIC:
        raise Refused("this is not a call of ours; it may have been cut short")
    _, major, minor, n_version, n_name, n_lines, n_buffers, n_pickle = CALL.unpack_from(data)
    at = CALL.size + n_version + n_name + n_lines
    n_table = 8 * n_buffers
    if len(data) < at + n_table + n_pickle:
        raise Refused(f"the call was cut short: {len(data)} bytes are here")
    version = bytes(data[CALL.size : CALL.size + n_version]).decode()
    check_versions((major, minor), version)

    if n_buffers and data.readonly:
        data = memoryview(bytearray(data))  # arrays made from it shall be writable
    names = _do_imports(bytes(data[at - n_lines : at]).decode()) if n_lines else {}
    sizes = struct.unpack_from(f"<{n_buffers}Q", data, at) if n_buffers else ()
    at += n_table
    pickled, at = data[at : at + n_pickle], at + n_pickle
    buffers = []
    for size in sizes:
        at += -at % ALIGN
        buffers.append(data[at : at + size])
        at += size
    if at > len(data):
        raise Refused(f"the call was cut short: {len(data)} of {at} bytes are here")
    function, args, kwargs = pickle.loads(pickled, buffers=buffers)
    for name, value in names.items():
        getattr(_innermost(function), "__globals__", {}).setdefault(name, value)
    return function, args, kwargs


def _innermost(function: Any) -> Any:
    """Find the user's function behind `functools.partial` and what we put around it."""
    for _ in range(8):  # an object of the user's may well be its own `func`
        function = getattr(function, "func", function)
    return function


def check_versions(python: tuple[int, int], cloudpickle_version: str) -> None:
    """Refuse a pickle of code that this interpreter could not read safely.

    Code objects differ between minor versions of Python (3.12 crashes on those
    of 3.11).  A newer cloudpickle reads what an older one made, not the reverse.

    Raises:
        Refused: with both versions and what to do.
    """
    here = (sys.version_info[0], sys.version_info[1])
    if python != here:
        raise Refused(
            f"Python {python[0]}.{python[1]} pickled this call, and {sys.executable} is Python "
            f"{here[0]}.{here[1]}: run it by the version that submitted it"
        )
    if not cloudpickle_version:
        return
    try:
        import cloudpickle
    except ImportError:
        raise Refused(
            f"cloudpickle is missing for {sys.executable}: install it there "
            "(pip install cloudpickle)"
        ) from None
    ours = cloudpickle.__version__
    if ours == cloudpickle_version:
        return
    if _major_minor(ours) < _major_minor(cloudpickle_version):
        raise Refused(
            f"cloudpickle {cloudpickle_version} pickled this call, and {sys.executable} has "
            f"{ours}: update cloudpickle there"
        )


def _major_minor(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


def _do_imports(lines: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    for line in filter(None, lines.split("\n")):
        known = line.startswith(("import ", "from "))
        exec(line if known else "import " + line, names)
    names.pop("__builtins__", None)
    return names


def read_owned(path: str) -> memoryview:
    """Read a file that nobody but us can have written."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        raise Refused(f"the call in {path} cannot be read: {error.strerror}") from None
    with open(fd, "rb", buffering=0) as file:
        about = os.fstat(fd)
        if not stat.S_ISREG(about.st_mode) or about.st_uid != os.geteuid():
            raise Refused(f"{path} is not a file of yours; nothing of it was loaded")
        if about.st_mode & 0o022:
            raise Refused(f"others can write to {path}; nothing of it was loaded (chmod 600)")
        import mmap

        # Anonymous, not of the file: a mapping of the file keeps a descriptor open in the job.
        data = memoryview(mmap.mmap(-1, max(about.st_size, 1)))[: about.st_size]
        at = 0
        while at < len(data):
            count = file.readinto(data[at:])
            if not count:
                break
            at += count
        return data[:at]


# ---------------------------------------------------------------- making the call


def run_call(
    source: Bytes | str,
    result: str | bytes,
    *,
    job: int = 0,
    attempt: int = 0,
    keep: Keep | None = None,
) -> int:
    """Make the call and leave its envelope at `result`.

    Args:
        source: the call, or the path of a file that holds it.
        result: where the envelope goes.
        job, attempt: for the envelope's header.
        keep: writes the pieces of the envelope; default `keep_in_place`.

    Returns:
        The exit code this process should end with.
    """
    pid = os.getpid()
    status, reason, body, code = _outcome(source)
    if os.getpid() != pid:
        return code  # a copy that the function forked and let return: the envelope is not its own
    keep = keep or keep_in_place
    try:
        keep(result, envelope(status, attempt, job, reason, body))
    except OSError as error:
        size = sum(len(piece) for piece in body)
        where = os.fsdecode(result)
        reason = f"its result ({size} bytes) could not be written to {where}: {error.strerror}"
        _say(reason)
        code = 1
        try:
            keep(result, envelope(UNPICKLABLE, attempt, job, reason, []))
        except OSError as again:
            _say(f"nor could the reason: {again.strerror}")
            code = NOT_STORED
    return code


def envelope(status: int, attempt: int, job: int, reason: str, body: list[Bytes]) -> list[Bytes]:
    """Lay out an envelope as pieces to be written one after the other."""
    text = reason.encode("utf-8", "backslashreplace")
    size = sum(len(piece) for piece in body)
    return [ENVELOPE.pack(ENVELOPE_MAGIC, status, attempt, job, len(text), size) + text, *body]


def _outcome(source: Bytes | str) -> tuple[int, str, list[Bytes], int]:
    """Make the call: status, reason, body, exit code."""
    try:
        function, args, kwargs = load_call(source)
        _stand_in_for_main(function)
        value = function(*args, **kwargs)
    except Refused as refusal:
        _say(str(refusal))
        return REFUSED, str(refusal), [], 1
    except SystemExit as leaving:
        code = _exit_code(leaving.code)
        return EXIT, f"sys.exit({_text_of(leaving.code, repr)})", [b"%d" % code], code
    except BaseException as error:
        rows = describe(error)
        _say(rows["formatted"], end="")
        first = (rows["text"].splitlines() or [""])[0][:500]
        reason = f"{rows['type']}: {first}" if first else rows["type"]
        return EXCEPTION, reason, [pickle.dumps(rows, 5)], 1
    try:
        return VALUE, "", _pickled(value), 0
    except BaseException as error:
        kind = type(value)
        reason = (
            f"its result, of type {kind.__module__}.{kind.__qualname__}, cannot be pickled: "
            f"{type(error).__name__}: {_text_of(error, str)[:500]}"
        )
        _say(reason)
        return UNPICKLABLE, reason, [], 1


def _stand_in_for_main(function: Any) -> None:
    """Give this `__main__` what the submitter's script had in its own, as far as it came along.

    A pool of processes sends functions and classes by name, and those of a
    script are looked for there.  `__file__` too: a spawned process reads the script.
    """
    main = vars(sys.modules["__main__"])
    inner = _innermost(function)
    inner = getattr(inner, "__func__", inner)  # a method
    names = getattr(inner, "__globals__", {})
    if names.get("__name__") == "__main__":
        main.update((name, names[name]) for name in names if name[:2] != "__")
        main.update((name, names[name]) for name in ("__file__",) if name in names)
    # cloudpickle keeps the classes it made; if it calls them otherwise one day, we do without
    by_value = sys.modules.get("cloudpickle.cloudpickle")
    classes = getattr(by_value, "_DYNAMIC_CLASS_TRACKER_BY_ID", {})
    for made in (inner, *(classes.values() if len(classes) else ())):
        name = getattr(made, "__qualname__", ".")
        if getattr(made, "__module__", None) == "__main__" and "." not in name:
            main[name] = made


def _pickled(value: Any) -> list[Bytes]:
    if type(value) in _PLAIN:
        return [pickle.dumps(value, 5)]
    import cloudpickle

    sink = _Sink()
    cloudpickle.Pickler(sink, protocol=5).dump(value)
    return sink.pieces


class _Sink:
    """A file for the pickler that keeps large pieces as they are."""

    def __init__(self) -> None:
        self.pieces: list[Bytes] = []

    def write(self, data: Bytes | pickle.PickleBuffer) -> int:
        piece: Bytes = data.raw() if isinstance(data, pickle.PickleBuffer) else bytes(data)
        self.pieces.append(piece)
        return len(piece)


def _exit_code(code: object) -> int:
    """Turn the argument of sys.exit into an exit code, as Python itself does."""
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    _say(_text_of(code, str))
    return 1


def _text_of(value: object, form: Callable[[object], str]) -> str:
    try:
        return form(value)
    except Exception:
        return f"<{type(value).__name__} that has no text>"


def _say(text: str, end: str = "\n") -> None:
    try:
        sys.stderr.write(text + end)
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):  # full disk, closed, None: nobody listens
        return


# ---------------------------------------------------------------- exceptions as rows


def describe(error: BaseException) -> dict[str, Any]:
    """Put an exception and those behind it into plain values.

    Returns:
        type, module, text, rows (file, line, function, source line), notes,
        suppress, cause, context (the same again, or None), exception (its
        pickle, or None) and, for the first, formatted: as Python prints it.
    """
    import traceback

    described = _rows_of(error, MAX_CHAIN)
    trace = _without_ours(error.__traceback__)
    try:
        lines = traceback.format_exception(type(error), error, trace)
    except Exception as failure:  # a __str__ or __repr__ of the user's
        lines = [f"{type(error).__name__} (not printable: {type(failure).__name__})\n"]
    described["formatted"] = "".join(lines)
    return described


def _rows_of(error: BaseException, depth: int) -> dict[str, Any]:
    import traceback

    rows = [
        (row.filename, row.lineno or 0, row.name, row.line or "")
        for row in traceback.extract_tb(_without_ours(error.__traceback__))
    ]
    if len(rows) > MAX_ROWS:
        rows = rows[: MAX_ROWS // 2] + rows[-MAX_ROWS // 2 :]
    notes = getattr(error, "__notes__", None)

    def behind(other: BaseException | None) -> dict[str, Any] | None:
        return _rows_of(other, depth - 1) if other is not None and depth else None

    cause, context = error.__cause__, error.__context__
    return {
        "type": type(error).__qualname__,
        "module": str(type(error).__module__),
        "text": _text_of(error, str),
        "rows": rows,
        "notes": [str(note) for note in notes] if isinstance(notes, (list, tuple)) else [],
        "suppress": error.__suppress_context__,
        "cause": behind(cause),
        "context": behind(context) if context is not cause else None,
        "exception": _pickled_exception(error),
    }


def _pickled_exception(error: BaseException) -> bytes | None:
    try:
        return b"".join(_pickled(error))
    except BaseException:  # its own __reduce__ may raise anything; the text remains
        return None


def _without_ours(trace: TracebackType | None) -> TracebackType | None:
    while trace is not None and trace.tb_frame.f_code.co_filename == _HERE:
        trace = trace.tb_next
    return trace


# ---------------------------------------------------------------- keeping the envelope


def keep_in_place(path: str | bytes, pieces: list[Bytes]) -> None:
    """Write into a file that stays: the slot's, whose reader waits for our end."""
    # It is empty.  To truncate it again (O_TRUNC) would make ext4 write to the disk at close.
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
    try:
        fd = os.open(path, flags, 0o600)
    except OSError as error:
        if error.errno != errno.EMFILE:
            raise
        os.close(0)  # the job left no descriptor; nobody reads from stdin any more
        fd = os.open(path, flags, 0o600)
    try:
        if os.lseek(fd, 0, os.SEEK_END):  # a part of what did not fit
            os.ftruncate(fd, 0)
            os.lseek(fd, 0, os.SEEK_SET)
        _write_all(fd, pieces)
    finally:
        os.close(fd)


def keep_atomically(path: str | bytes, pieces: list[Bytes]) -> None:
    """Write beside the final name, and give the name only to what is on the disk."""
    temporary = os.fsencode(path) + b".%d.tmp" % os.getpid()
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            _write_all(fd, pieces)
            os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(temporary, os.fsencode(path))
    except BaseException:
        os.unlink(temporary)
        raise


def _write_all(fd: int, pieces: Iterable[Bytes]) -> None:
    pieces = list(pieces)
    if sum(len(piece) for piece in pieces) <= JOIN_LIMIT:
        pieces = [b"".join(pieces)]
    for piece in pieces:
        view = memoryview(piece).cast("B")
        while len(view):
            view = view[os.write(fd, view) :]


# ---------------------------------------------------------------- the end


def leave(code: int) -> NoReturn:
    """End this process as Python ends: threads joined, exit functions run, files flushed."""
    _exit(finish(code) & 0xFF)


def finish(code: int) -> int:
    """Do everything before the very end; gives the exit code."""
    threading = sys.modules.get("threading")
    # Asked first: to call them where nothing is to do costs a forked job 50 pages of memory.
    is_busy = _thread._count() or getattr(threading, "_threading_atexits", None)
    if threading is not None and (is_busy or atexit._ncallbacks()):
        _do(threading._shutdown)  # joins threads that are no daemons
    if atexit._ncallbacks():
        _do(atexit._run_exitfuncs)
    if end_logging is not None:
        _do(end_logging)
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None and not stream.closed:
                stream.flush()
        except (OSError, ValueError, AttributeError) as error:  # a stream of the user's making too
            _say(f"{getattr(stream, 'name', 'output')} could not be written: {error}")
            code = code or 120  # Python's own code for this
    if flush_c is not None:
        flush_c()
    return code


def _do(function: Callable[[], object]) -> None:
    try:
        function()
    except BaseException as error:  # whatever an exit function of the user raises
        _say(describe(error)["formatted"], end="")


def a_call() -> bytes:
    """Make a call of a function that travels by value, for rehearsals."""
    import types

    import cloudpickle

    function = types.FunctionType((lambda: None).__code__, {"__name__": "__main__"})
    function.__qualname__ = "rehearsal.call"  # with a dot: nobody's to find in __main__
    pickled = cloudpickle.dumps((function, (), {}), 5)
    return b"".join(pack_call(pickled, [], cloudpickle_version=cloudpickle.__version__))


def main(argv: Sequence[str]) -> NoReturn:
    """Run the call in file `argv[1]`, leave its envelope as file `argv[2]`."""
    if len(argv) not in (3, 5):
        _say("usage: runner.py CALL RESULT [JOB ATTEMPT]")
        os._exit(2)
    job, attempt = (int(argv[3]), int(argv[4])) if len(argv) == 5 else (0, 0)
    sys.argv = [argv[1]]
    leave(run_call(argv[1], argv[2], job=job, attempt=attempt, keep=keep_atomically))


if __name__ == "__main__":
    main(sys.argv)
