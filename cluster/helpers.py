"""Work that is cut into pieces, one job for each, and put together again.

parapply   a function over the rows of a data frame (pandas, extra `data`)
splitrun   a command or a function over the pieces of a text file
"""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, BinaryIO

from cluster import queue
from cluster.errors import JobFailed, OptionsError
from cluster.job import Job, submit_many
from cluster.units import Timeout, parse_timeout

if TYPE_CHECKING:
    import pandas

__all__ = ["parapply", "split_file", "splitrun"]

_COPY = 1 << 20


def parapply(
    data: pandas.DataFrame | pandas.Series,
    function: Callable[..., Any],
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    pieces: int | None = None,
    by: str = "row",
    timeout: Timeout = None,
    **options: Any,
) -> Any:
    """Apply a function to the rows of a data frame, in pieces that are a job each.

    Args:
        data: a data frame, or a series.
        function: called with a row (of a series: a value), and `args`, `kwargs`.
        args, kwargs: what it is called with behind that.
        pieces: how many; None is as many as the queue has cores.
        by: "row"; or "piece", then it is called once with each piece, a data frame.
        timeout: for all of it: seconds, or a text such as "90s"; None is no limit.
        options: keywords of the jobs, see `cluster.submit`.

    Returns:
        What `data.apply(function, axis=1)` gives; by "piece", the results
        concatenated if they are frames or series, else a list of them.

    Raises:
        Exception: what the function raised; the other jobs are cancelled.
        WaitTimeout: a `TimeoutError`; all jobs are cancelled.
    """
    try:
        import pandas
    except ImportError as error:
        raise ImportError(
            "parapply needs pandas: pip install 'python-cluster[data]'. cluster.map does "
            "without, for any iterable."
        ) from error
    if by not in ("row", "piece"):
        raise OptionsError(f"by={by!r} is neither 'row' nor 'piece'.")
    limit = parse_timeout(timeout)
    count = _count(pieces, len(data), options.get("qtype"))
    edges = [len(data) * place // count for place in range(count + 1)]
    shared = (function, args, dict(kwargs or {}), by)
    named = {"name": f"parapply {getattr(function, '__name__', 'function')}", **options}
    jobs = submit_many(
        [
            {"command": _apply, "args": (data.iloc[begin:end], *shared), **named}
            for begin, end in pairwise(edges)
        ]
    )
    found = _values(jobs, limit)
    if all(isinstance(each, pandas.DataFrame | pandas.Series) for each in found):
        return pandas.concat(found)
    return found


def _apply(
    piece: Any, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], by: str
) -> Any:
    if by == "piece":
        return function(piece, *args, **kwargs)
    if piece.ndim == 1:
        return piece.apply(function, args=args, **kwargs)
    return piece.apply(function, axis=1, args=args, **kwargs)


def _count(pieces: int | None, size: int, qtype: str | None) -> int:
    if pieces is None:
        pieces = queue.scheduler_for(qtype).resources().cores
    elif isinstance(pieces, bool) or not isinstance(pieces, int) or pieces < 1:
        raise OptionsError(f"pieces={pieces!r} is no number of pieces. Give 1 or more.")
    return max(1, min(pieces, size))


def _values(jobs: Sequence[Job], timeout: float | None) -> list[Any]:
    """Give all values in order; at the first failure, cancel what is left."""
    try:
        for job in queue.as_completed(jobs, timeout):
            if job.state != "COMPLETED":
                job.get()
        return [job.get() for job in jobs]
    finally:
        queue.cancel([job for job in jobs if not job.done])


# ---------------------------------------------------------------- files


def splitrun(
    infile: str | os.PathLike[str],
    command: Any,
    pieces: int | None = None,
    *,
    header: bool = False,
    outfile: str | os.PathLike[str] | None = None,
    out_header: bool | None = None,
    folder: str | os.PathLike[str] | None = None,
    timeout: Timeout = None,
    **options: Any,
) -> Any:
    """Cut a file at line ends, run a command over each piece as a job, and join the outputs.

    Args:
        infile: lines of text, in any encoding.
        command: a text or an argv with `{file}` in it, which is the piece (quoted
            where a shell reads it), and perhaps `{out}`, the file that it writes;
            else what it prints is its output.  Or a function, called with the path.
        pieces: how many; None is as many as the queue has cores.
        header: the first line stands in front of each piece.
        outfile: where the joined output goes.
        out_header: each output begins with a header, of which one is kept; None
            is like `header`.
        folder: for the pieces while the jobs run; the machines must see it.
            None is a new directory beside `outfile`, or here.
        timeout: for all of it: seconds, or a text such as "90s"; None is no limit.
        options: keywords of the jobs, see `cluster.submit`.

    Returns:
        The path of `outfile`; without one, the output as text.  For a function,
        the list of its values.

    Raises:
        OptionsError: there is no `{file}` in the command.
        JobFailed: a command ended with another code than 0; its piece is kept.
        WaitTimeout: a `TimeoutError`; all jobs are cancelled.
    """
    if not callable(command):
        _check(command)
    elif outfile is not None:
        raise OptionsError("outfile= is for commands; a function's values are given as a list.")
    limit = parse_timeout(timeout)
    source = os.path.abspath(os.fspath(infile))
    beside = os.path.dirname(os.path.abspath(outfile)) if outfile is not None else os.getcwd()
    place = tempfile.mkdtemp(prefix=".splitrun-", dir=folder if folder is not None else beside)
    keep = False
    try:
        count = _count(pieces, os.path.getsize(source), options.get("qtype"))
        files = split_file(source, count, place, header=header)
        found = _run(command, files, place, limit, options)
        if callable(command):
            return found
        with_header = header if out_header is None else out_header
        return _join([f"{file}.out" for file in files], outfile, header=with_header)
    except JobFailed:
        keep = True  # it says where
        raise
    finally:
        if not keep:
            shutil.rmtree(place, ignore_errors=True)


def split_file(
    infile: str | os.PathLike[str],
    pieces: int,
    folder: str | os.PathLike[str],
    *,
    header: bool = False,
) -> list[str]:
    """Cut a file at line ends into pieces of about equal size; give their paths.

    Args:
        infile: the file; no line of it is changed.
        pieces: at most so many; no piece is empty, unless the file is.
        folder: a directory that exists.
        header: the first line stands in front of each piece.
    """
    paths: list[str] = []
    with open(infile, "rb") as source:
        first = source.readline() if header else b""
        begin, size = source.tell(), os.fstat(source.fileno()).st_size
        for place in range(1, pieces + 1):
            end = begin + (size - begin) * place // pieces
            if source.tell() >= end and (paths or place < pieces):
                continue
            paths.append(os.path.join(folder, f"piece-{len(paths) + 1:04}"))
            with open(paths[-1], "wb") as target:
                target.write(first)
                _copy(source, target, end)
    return paths


def _copy(source: BinaryIO, target: BinaryIO, end: int) -> None:
    """Copy up to `end`, and what is left of the line there."""
    while (left := end - source.tell()) > 0:
        data = source.read(min(left, _COPY))
        target.write(data)
        if source.tell() >= end and not data.endswith(b"\n"):
            target.write(source.readline())


def _check(command: Any) -> None:
    words = [command] if isinstance(command, str) else list(command)
    if not any(isinstance(word, str) and "{file}" in word for word in words):
        raise OptionsError(
            f"{command!r} has no {{file}} in it, which stands for the piece. "
            "As in: splitrun('all.txt', 'sort {file}')."
        )


def _run(
    command: Any, files: Sequence[str], place: str, timeout: float | None, options: dict[str, Any]
) -> list[Any]:
    common = {"name": "splitrun", "filedir": place, **options}
    if callable(command):
        made = [{"command": command, "args": (file,), **common} for file in files]
        return _values(submit_many(made), timeout)
    prints = not any("{out}" in str(word) for word in _listed(command))
    made = [
        {
            "command": _filled(command, file),
            **common,
            **({"outfile": f"{file}.out"} if prints else {}),
        }
        for file in files
    ]
    jobs = submit_many(made)
    pieces = dict(zip(jobs, files, strict=True))
    try:
        for job in queue.as_completed(jobs, timeout):
            _check_ended(job, pieces[job])
    finally:
        queue.cancel([job for job in jobs if not job.done])
    return []


def _listed(command: Any) -> list[Any]:
    return [command] if isinstance(command, str) else list(command)


def _filled(command: Any, file: str) -> Any:
    def fill(word: Any, path: Callable[[str], str]) -> Any:
        if not isinstance(word, str):
            return word
        return word.replace("{file}", path(file)).replace("{out}", path(f"{file}.out"))

    if isinstance(command, str):
        return fill(command, shlex.quote)
    return [fill(word, str) for word in command]


def _check_ended(job: Job, piece: str) -> None:
    result = job.get()
    if result.exitcode:
        raise JobFailed(
            queue.id_of(job),
            str(job.state),
            name=job.name,
            exitcode=result.exitcode,
            signal=result.signal,
            reason=f"ended with exit code {result.exitcode}; its piece is kept in {piece}",
            stderr_tail=result.stderr[-2000:],
        )


def _join(files: Sequence[str], outfile: str | os.PathLike[str] | None, *, header: bool) -> str:
    if outfile is None:
        return b"".join(_contents(files, header)).decode("utf-8", "surrogateescape")
    path = os.path.abspath(outfile)
    with tempfile.NamedTemporaryFile(dir=os.path.dirname(path), delete=False) as target:
        for data in _contents(files, header):
            target.write(data)
    mask = os.umask(0)
    os.umask(mask)
    os.chmod(target.name, 0o666 & ~mask)
    os.replace(target.name, path)
    return path


def _contents(files: Sequence[str], header: bool) -> Iterator[bytes]:
    for number, file in enumerate(files):
        with open(file, "rb") as source:
            if header and number:
                source.readline()
            while data := source.read(_COPY):
                yield data
