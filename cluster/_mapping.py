"""`map` over the queue: items go in chunks, each chunk is a job, values come back in order.

How long a call takes nobody knows before.  So a chunk gets many items and little
time: what it did not reach comes back, and is cut by what the calls took.

    items -> chunks -> jobs -> values in order
               ^---- the rest of a chunk whose time was up
"""

from __future__ import annotations

import itertools
import pickle
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from typing import Any

from cluster import _remote_error, payload, queue
from cluster._call_buffers import exchange
from cluster._element import call_items, traveller
from cluster._item_pickle import dumps, dumps_item
from cluster._job_batch import submit_all
from cluster._prepared import Prepared, name_parts, note, packed
from cluster._waiting import Progress
from cluster.errors import ClusterError, JobFailed, OptionsError, QueueError, WaitTimeout
from cluster.job import Job
from cluster.units import Timeout, parse_timeout

__all__ = ["imap_unordered", "map", "starmap"]

AIM_S = 0.3  # of work in a chunk: a hundred times what a job costs on this machine
AIM_ON_CLUSTERS_S = 20.0  # there a job costs a second or more
BATCH_BYTES = 64 * 1024  # of items: the first chunk runs while the others are pickled
CHUNKS_PER_CORE = 2  # so that cores end together, though calls differ
MOST_WAYS = 256  # of the first chunks, which are made before anything is known


@dataclass
class _Chunk:
    """Items that go together.

    Attributes:
        start: the number of the first among all.
        items: what the function is called with, each.
    """

    start: int
    items: Sequence[Any]


class _Mapping:
    """One map that goes on: jobs, and what they left."""

    def __init__(
        self,
        function: Callable[..., Any],
        items: Sequence[Any],
        *,
        spread: bool,
        chunk: int | str,
        timeout: Timeout,
        progress: bool | None,
        model: Job,
    ) -> None:
        self._model, self._scheduler = model, model.scheduler
        limit = parse_timeout(timeout)
        self._deadline = None if limit is None else time.monotonic() + limit
        self._size = _read_chunk(chunk)
        self._aim_s = AIM_S if model.qtype == "local" else AIM_ON_CLUSTERS_S
        self._calls = name_parts(function)
        limit_s = float("inf") if self._size else self._aim_s * 1.5
        self._call = payload.dump(
            traveller(call_items, function, self._calls),
            (function, pickle.PickleBuffer(b"\0"), spread, limit_s),
            by_value=model.options.get("by_value", ()),
            imports=model.options.get("imports", ()),
        ).data
        self.total = len(items)
        self._seconds, self._values = 0.0, 0  # of all calls so far
        self._ways = 0
        self._running: dict[str, tuple[Prepared, _Chunk]] = {}
        self._progress = Progress(len(items), progress, "calls done")
        try:
            self._submit(self._cut(_Chunk(0, items)))
        except BaseException:
            self._cancel()
            raise

    # ------------------------------------------------------------ chunks

    def _cut(self, rest: _Chunk) -> list[_Chunk]:
        count = len(rest.items)
        if not count:
            return []
        size = self._size or self._fitting(count)
        return [_Chunk(rest.start + at, rest.items[at : at + size]) for at in range(0, count, size)]

    def _fitting(self, count: int) -> int:
        """Choose how many items a chunk has; `count` of them are to be cut."""
        if not self._ways:
            self._ways = CHUNKS_PER_CORE * self._cores()
        left = max(count, self.total - self._values)
        took = self._seconds / self._values if self._values else 0.0
        return chunk_size(left, ways=self._ways, call_s=took, aim_s=self._aim_s)

    def _cores(self) -> int:
        try:
            cores = self._scheduler.resources().cores
        except (ClusterError, OSError):
            cores = 1  # it will say why when it is given jobs
        return max(1, min(MOST_WAYS, cores // int(self._model.options.get("cores", 1))))

    def _submit(self, chunks: Sequence[_Chunk]) -> None:
        batch: list[tuple[Prepared, _Chunk]] = []
        size = 0
        for chunk in chunks:
            job = self._job(chunk)
            batch.append((job, chunk))
            size += job._payload.size if job._payload else 0
            if size >= BATCH_BYTES or chunk is chunks[-1]:
                submit_all([job for job, _ in batch], None)
                self._running.update((queue.id_of(job), (job, chunk)) for job, chunk in batch)
                batch, size = [], 0

    def _job(self, chunk: _Chunk) -> Prepared:
        pieces = exchange(self._call, [_pickled(chunk, self._model.options)])
        job = Prepared._make(
            self._scheduler,
            self._model.name,
            self._model.options,
            calls=self._calls,
            payload=packed(pieces, self._call),
        )
        job._after = list(self._model._after)
        return job

    # ------------------------------------------------------------ results

    def ended(self) -> Generator[tuple[int, list[Any], BaseException | None], None, None]:
        """Give (number of the first, values, what the next one raised), as chunks end.

        When it is closed, what still runs is cancelled.
        """
        try:
            yield 0, [], None
            while self._running:
                yield from self._round()
        finally:
            self._progress.close()
            self._cancel()

    def _round(self) -> Iterator[tuple[int, list[Any], BaseException | None]]:
        """Wait for the chunks there are, until the rest of one makes new ones."""
        left = None if self._deadline is None else max(0.0, self._deadline - time.monotonic())
        try:
            for ending in self._scheduler.endings(list(self._running), timeout=left, content=True):
                if ending.info.id not in self._running:
                    continue  # cancelled
                job, chunk = self._running.pop(ending.info.id)
                job.note(ending)
                values, error = self._read(job, chunk)
                rest = _Chunk(chunk.start + len(values), chunk.items[len(values) :])
                if error is not None:
                    self._cancel(behind=chunk.start)
                elif rest.items:
                    self._submit(self._cut(rest))
                yield chunk.start, values, error
                if not self._running or (error is None and rest.items):
                    return
        except WaitTimeout:
            raise WaitTimeout(
                f"{self._values} of {self.total} calls were done in time; the rest is cancelled."
            ) from None

    def _read(self, job: Prepared, chunk: _Chunk) -> tuple[list[Any], BaseException | None]:
        found = None
        try:
            found = job.get()
        except Exception as error:  # it crashed, or a value cannot be unpickled
            last = chunk.start + len(chunk.items) - 1
            which = f"item {last}" if len(chunk.items) == 1 else f"items {chunk.start} to {last}"
            note(error, f"in the job of {which}; chunk=1 gives each item its own")
            return [], error
        finally:
            job.clean()
        values, rows, seconds = found
        self._seconds += seconds
        self._values += len(values)
        self._progress.add(len(values))
        if rows is None:
            return values, None
        raised: BaseException | None = _remote_error.rebuild(rows)
        if raised is None:
            text = f"a call raised {rows['type']}: {rows['text']}\n{rows['formatted'].rstrip()}"
            raised = JobFailed(str(job.id), "FAILED", name=job.name, reason=text)
        place = len(values)
        note(raised, f"item {chunk.start + place} of the map: {_shown(chunk.items[place])}")
        return values, raised

    def _cancel(self, behind: int = -1) -> None:
        """End the chunks that nobody will ask for."""
        ids = [id for id, (_, chunk) in self._running.items() if chunk.start > behind]
        if not ids:
            return
        try:
            self._scheduler.act("cancel", ids)
        except QueueError as error:
            from cluster import logme

            logme.log(f"{len(ids)} jobs of a map could not be cancelled: {error}", "warn")
        for id in ids:
            self._running.pop(id)[0].clean()


def chunk_size(left: int, *, ways: int, call_s: float, aim_s: float) -> int:
    """Choose how many items a chunk has.

    Args:
        left: items that have no value yet.
        ways: chunks that keep all cores busy to the end.
        call_s: seconds that a call takes; 0 nobody knows.
        aim_s: seconds that a chunk shall take.
    """
    if not call_s:
        # One for each core: whoever has more work than the others runs out of time.
        return -(-left // (ways // CHUNKS_PER_CORE))
    return max(1, min(-(-left // ways), int(aim_s / call_s)))


def _read_chunk(chunk: int | str) -> int:
    if chunk == "auto":
        return 0
    if isinstance(chunk, bool) or not isinstance(chunk, int) or chunk < 1:
        raise OptionsError(f"chunk {chunk!r} is no number of items. Give 1 or more, or 'auto'.")
    return chunk


def _pickled(chunk: _Chunk, options: Any) -> bytes:
    with payload._by_value(options.get("by_value", ())):
        try:
            return dumps(chunk.items)
        except Exception:  # the error that names the item is the one to see
            for place, item in enumerate(chunk.items):
                dumps_item(item, chunk.start + place)
            raise


def _shown(item: Any) -> str:
    try:
        text = repr(item)
    except Exception:  # a __repr__ of the user's
        return f"of type {type(item).__name__}"
    return text if len(text) <= 200 else f"{text[:197]}..."


def _in_order(mapping: _Mapping) -> Iterator[list[Any]]:
    """Give the values of chunk after chunk, first an empty list."""
    waiting: dict[int, tuple[list[Any], BaseException | None]] = {}
    at = 0
    with closing(mapping.ended()) as ended:
        next(ended)
        yield []
        while at < mapping.total:
            start, values, error = next(ended)
            waiting[start] = values, error
            while at in waiting:
                values, error = waiting.pop(at)
                yield values
                if error is not None:
                    raise error
                at += len(values)


def _as_they_come(mapping: _Mapping) -> Iterator[list[Any]]:
    with closing(mapping.ended()) as ended:
        next(ended)
        yield []
        for _, values, error in ended:
            yield values
            if error is not None:
                raise error


# ---------------------------------------------------------------- public


def map(
    function: Callable[..., Any],
    *iterables: Iterable[Any],
    chunk: int | str = "auto",
    timeout: Timeout = None,
    progress: bool | None = None,
    **keywords: Any,
) -> Iterator[Any]:
    """Call a function with each item, in jobs of the queue, and give the values in order.

    The jobs are submitted at once; values come as soon as they can in order.  A
    call that raises ends the map with its exception, after the values before it:
    what is behind it is cancelled.  So is what still runs when the iterator is
    dropped.

    Args:
        function: it gets one item of each iterable, until the shortest ends.
        iterables: read to the end of the shortest at once.
        chunk: items in a job; "auto" measures the calls and makes chunks of about
            0.3 s (20 s on clusters).
        timeout: for all of it: seconds, or a text such as "90s"; None is no limit.
        progress: show a line that counts; None shows it on a terminal.
        keywords: as for `submit`, each job's.

    Raises:
        WaitTimeout: a `TimeoutError`; the jobs are cancelled.
        PayloadError: the function or an item cannot be pickled; it says which.
        JobFailed: the job of a chunk was ended from outside, or crashed.
        Exception: what a call raised; its notes say with which item.
    """
    items, spread = _read(iterables)
    return _start(function, items, spread, chunk, timeout, progress, keywords, ordered=True)


def starmap(
    function: Callable[..., Any],
    items: Iterable[Iterable[Any]],
    *,
    chunk: int | str = "auto",
    timeout: Timeout = None,
    progress: bool | None = None,
    **keywords: Any,
) -> Iterator[Any]:
    """Do what `map` does with items that are the arguments of a call each."""
    given = [tuple(item) for item in items]
    return _start(function, given, True, chunk, timeout, progress, keywords, ordered=True)


def imap_unordered(
    function: Callable[..., Any],
    *iterables: Iterable[Any],
    chunk: int | str = "auto",
    timeout: Timeout = None,
    progress: bool | None = None,
    **keywords: Any,
) -> Iterator[Any]:
    """Do what `map` does, and give the values as chunks end, in any order."""
    items, spread = _read(iterables)
    return _start(function, items, spread, chunk, timeout, progress, keywords, ordered=False)


def _read(iterables: Sequence[Iterable[Any]]) -> tuple[Sequence[Any], bool]:
    """Give the items, and whether each is several arguments.

    Raises:
        OptionsError: there are none, or they would fill the memory.
    """
    if not iterables:
        raise OptionsError("there is nothing to map over. Give at least one iterable.")
    if all(isinstance(one, itertools.count | itertools.cycle) for one in iterables):
        raise OptionsError(
            f"{iterables[0]!r} has no end, and a map reads its items first. Cut it with "
            "itertools.islice."
        )
    if len(iterables) > 1:
        return list(zip(*iterables, strict=False)), True
    [items] = iterables
    # A range stays one: its parts are pickled as two numbers.
    return items if isinstance(items, range) else list(items), False


def _start(
    function: Any,
    items: Sequence[Any],
    spread: bool,
    chunk: int | str,
    timeout: Timeout,
    progress: bool | None,
    keywords: dict[str, Any],
    *,
    ordered: bool,
) -> Iterator[Any]:
    if not callable(function):
        raise OptionsError(f"{function!r} is no function. cluster.submit_array runs commands.")
    model = Job(function, **keywords)
    if "array" in model.options:
        raise OptionsError("array= has no place in a map. Use cluster.submit_array.")
    mapping = _Mapping(
        function, items, spread=spread, chunk=chunk, timeout=timeout, progress=progress, model=model
    )
    lists = _in_order(mapping) if ordered else _as_they_come(mapping)
    next(lists)  # begun: what is dropped from now on cancels its jobs
    return chain.from_iterable(lists)  # a step of it costs nothing
