"""Many jobs from one function or command: submitting them, and seeing them as one.

    submit_array -> work (what elements run) -> plan (pieces) -> a job of the scheduler each

An array is usually one submission.  Where a site limits arrays, or items are
large, it is several, and nobody notices: elements are known by position.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any, overload

from cluster import _array_store, options, queue
from cluster._array_plan import Piece
from cluster._array_submit import prepare, submit_pieces
from cluster._array_told import Whole, values
from cluster._job_view import JobView
from cluster._prepared import note
from cluster._waiting import Waiting, wait_for
from cluster.errors import UnknownJob
from cluster.job import Job
from cluster.schedulers.base import JobInfo, Scheduler
from cluster.states import ALL, FINAL
from cluster.units import Timeout, parse_timeout

__all__ = ["Element", "JobArray", "submit_array"]


class Element(JobView):
    """One element of an array: a job with an id of its own, "17_3".

    Attributes:
        position: its place in the array, from 0.
        index: what it sees as `$CLUSTER_ARRAY_INDEX`.
    """

    _after = ()  # whoever waits for it finds no job behind it

    def __init__(self, scheduler: Scheduler, id: str, position: int, index: int) -> None:
        super().__init__(scheduler, id)
        self.position, self.index = position, index

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled_element, (self.qtype, self.id, self.position, self.index)


def _unpickled_element(qtype: str, id: str, position: int, index: int) -> Element:
    return Element(queue.scheduler_for(qtype), id, position, index)


class JobArray:
    """Jobs that run one function or command, each with an item of its own.

    It is indexed by position, from 0, whatever indices the elements see.

    Attributes:
        id: of its first submission; `JobArray.load` knows it by that.
        name: of all its jobs.
        scheduler: who runs them.
        indices: what each element sees as `$CLUSTER_ARRAY_INDEX`, by position.
        parts: its submissions, a Job each; usually one.
    """

    def __init__(self, scheduler: Scheduler, layout: dict[str, Any], parts: Sequence[Job]) -> None:
        self.scheduler, self.parts = scheduler, list(parts)
        self.id: str = layout["id"]
        self.name: str = layout["name"]
        self.indices: Sequence[int] = layout["seen"]
        self._pieces: list[Piece] = layout["pieces"]  # of the first submission
        self._again: dict[int, str] = layout["again"]  # position -> id of what was retried last
        self._begins = [piece.positions[0] for piece in self._pieces]
        self._views: dict[int, Element] = {}
        self._whole: Whole | None = None  # once somebody wants to be told of its end

    @classmethod
    def load(cls, id: str | int, qtype: str | None = None) -> JobArray:
        """Give the array with this id, whichever process submitted it.

        Raises:
            UnknownJob: there is none, or it was not made by `submit_array`.
        """
        array = cls.find(id, qtype)
        if array is None:
            where = queue.scheduler_for(qtype).qtype
            raise UnknownJob(
                f"there is no array {id} of cluster.submit_array in {where}. "
                "cluster.Job.load gives any other job."
            )
        return array

    @classmethod
    def find(cls, id: str | int, qtype: str | None = None) -> JobArray | None:
        """Give the array with this id; None if there is none, see `load`."""
        scheduler = queue.scheduler_for(qtype)
        found = _array_store.layout(_array_store.folder_of(scheduler), str(id))
        if found is None:
            return None
        return cls(scheduler, found, [Job._of(part, scheduler) for part in found["parts"]])

    def __reduce__(self) -> tuple[Any, ...]:
        return JobArray.load, (self.id, self.qtype)

    @property
    def qtype(self) -> str:
        """Which scheduler it belongs to."""
        return self.scheduler.qtype

    # ------------------------------------------------------------ elements

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[Element]:
        return (self[position] for position in range(len(self)))

    @overload
    def __getitem__(self, position: int) -> Element: ...

    @overload
    def __getitem__(self, position: slice) -> list[Element]: ...

    def __getitem__(self, position: int | slice) -> Element | list[Element]:
        """Give an element by its position, or several."""
        if isinstance(position, slice):
            return [self[each] for each in range(len(self))[position]]
        try:
            at = range(len(self))[position]
        except IndexError:
            raise IndexError(
                f"array {self.id} has {len(self)} elements: there is no position {position}."
            ) from None
        id = self._id_at(at)
        view = self._views.get(at)
        if view is None or view.id != id:
            view = self._views[at] = Element(self.scheduler, id, at, self.indices[at])
        return view

    def _id_at(self, position: int) -> str:
        if position in self._again:
            return self._again[position]
        number = bisect_right(self._begins, position) - 1
        piece = self._pieces[number]
        return f"{self.parts[number].id}_{piece.index_of(position - self._begins[number])}"

    def _infos(self) -> list[JobInfo | None]:
        """Ask for all elements at once; None for one that the scheduler does not tell."""
        ids = [queue.id_of(part) for part in self.parts]
        found = {info.id: info for info in self.scheduler.query(ids, elements=True)}
        infos = [found.get(self._id_at(position)) for position in range(len(self))]
        for position, info in enumerate(infos):
            if info is not None and position in self._views:
                self[position]._learn(info)
        return infos

    def _those(self, wanted: Callable[[JobInfo], bool]) -> list[Element]:
        chosen = []
        for position, info in enumerate(self._infos()):
            if info is not None and wanted(info):
                element = self[position]
                element._learn(info)
                chosen.append(element)
        return chosen

    @property
    def failed(self) -> list[Element]:
        """The elements that have ended and are not COMPLETED, in order."""
        return self._those(lambda info: info.state in FINAL and info.state != "COMPLETED")

    @property
    def completed(self) -> list[Element]:
        """The elements that are COMPLETED, in order."""
        return self._those(lambda info: info.state == "COMPLETED")

    def states(self) -> dict[str, int]:
        """Count the elements by state, those first that go on."""
        if self._again:
            told = [info.state for info in self._infos() if info is not None]
        else:
            told = []
            for info in self.scheduler.query([queue.id_of(part) for part in self.parts]):
                told += [s for s, n in (info.counts or {info.state: 1}).items() for _ in range(n)]
        return {state: told.count(state) for state in sorted(set(told), key=ALL.index)}

    @property
    def state(self) -> str:
        """One state for all: of elements that go on, else COMPLETED, or how they failed.

        FAILED if they ended in several ways.
        """
        states = self.states()
        for state in ("RUNNING", "SUSPENDED", "PENDING", "HELD"):
            if state in states:
                return state
        wrong = [state for state in states if state != "COMPLETED"]
        return "FAILED" if len(wrong) > 1 else wrong[0] if wrong else "COMPLETED"

    @property
    def done(self) -> bool:
        """Whether all elements have ended, however."""
        return set(self.states()) <= FINAL

    # ------------------------------------------------------------ waiting

    def wait(self, timeout: Timeout = None, progress: bool | None = None) -> bool:
        """Block until all elements have ended; see `cluster.wait`.

        Returns:
            True if all are COMPLETED, those that were retried by their last try.

        Raises:
            WaitTimeout: a `TimeoutError`; the jobs go on.
        """
        return queue.wait(self, timeout, progress)

    def get(self, timeout: Timeout = None, return_exceptions: bool = False) -> list[Any]:
        """Block until all elements have ended, and give what each left, in order.

        Args:
            timeout: seconds, or a text such as "90s"; None is no limit.
            return_exceptions: put what an element raised in its place in the list.

        Returns:
            What `Job.get` gives, for each element.

        Raises:
            WaitTimeout: a `TimeoutError`; the jobs go on.
            JobFailed: an element was ended by somebody else than itself.
            Exception: what the first of those raised that did.  Notes at it say
                which element it was.
        """
        limit = parse_timeout(timeout)
        views = list(self)
        left = [view for view in views if not (view._final and view._content_is_whole)]
        if left:
            wait_for(Waiting(left, lambda: self.scheduler), limit, None, content=True)
        values: list[Any] = []
        for view in views:
            try:
                values.append(view.get())
            except Exception as error:  # the user's functions raise anything
                note(error, f"in element {view.position} of array {self.id}, index {view.index}")
                if not return_exceptions:
                    raise
                values.append(error)
        return values

    def result(self, timeout: Timeout = None) -> list[Any]:
        """Do what `get` does, under the name that a Future has for it."""
        return self.get(timeout)

    def __await__(self) -> Generator[Any, None, list[Any]]:
        """Wait for it in an event loop, which goes on meanwhile, and give what `get` gives."""
        return values(self).__await__()

    def members(self, elements: bool = False) -> list[JobView]:
        """List jobs that stand for the whole array: whoever waits for these waits for it.

        Args:
            elements: each element; else whole submissions where that says the same.
        """
        if elements:
            return list(self)
        firsts = len(self._pieces)
        stale = {bisect_right(self._begins, position) - 1 for position in self._again}
        found: list[JobView] = [
            part for n, part in enumerate(self.parts[:firsts]) if n not in stale
        ]
        for number in sorted(stale):
            found += [self[position] for position in self._pieces[number].positions]
        # What was retried and completed, or completed at once, holds for every dependency.
        done = {id for id in self._done_ids()} if stale else set()
        left = [member for member in found if member.id not in done]
        return left or found[:1]

    def _done_ids(self) -> Iterator[str]:
        for position, info in enumerate(self._infos()):
            if info is not None and info.state == "COMPLETED":
                yield self._id_at(position)

    # ------------------------------------------------------------ being told

    def on_success(
        self,
        callback: Callable[[JobArray], Any],
        *,
        condition: Callable[[JobArray], Any] | None = None,
    ) -> JobArray:
        """Have `callback(array)` called once, if all elements end as COMPLETED; see `on_exit`."""
        return self._on("success", callback, condition)

    def on_failure(
        self,
        callback: Callable[[JobArray], Any],
        *,
        condition: Callable[[JobArray], Any] | None = None,
    ) -> JobArray:
        """Have `callback(array)` called once, if any element ends in another way; see `on_exit`."""
        return self._on("failure", callback, condition)

    def on_exit(
        self,
        callback: Callable[[JobArray], Any],
        *,
        condition: Callable[[JobArray], Any] | None = None,
    ) -> JobArray:
        """Have `callback(array)` called once, when all elements have ended; see `Job.on_exit`.

        What is retried afterwards is another end, for callbacks that are
        registered after `retry_failed`.

        Returns:
            The array itself.
        """
        return self._on("exit", callback, condition)

    def _on(self, on: str, callback: Any, condition: Any) -> JobArray:
        if self._whole is None:
            self._whole = Whole(self.scheduler, self.name, self.members())
        self._whole.register(self, on, callback, condition)
        return self

    # ------------------------------------------------------------ acting

    def cancel(self) -> dict[str, str]:
        """End all elements, whether they run or wait; those that have ended stay as they are.

        Returns:
            For each submission, what happened, in a few words.
        """
        return self._act("cancel")

    def hold(self) -> dict[str, str]:
        """Keep the waiting elements from starting until they are released."""
        return self._act("hold")

    def release(self) -> dict[str, str]:
        """Let held elements start."""
        return self._act("release")

    def _act(self, verb: str) -> dict[str, str]:
        return self.scheduler.act(verb, [queue.id_of(part) for part in self.parts])

    def retry_failed(self, **keywords: Any) -> JobArray:
        """Submit the elements that have ended and are not COMPLETED once more.

        They get the same items and see the same indices; afterwards the array
        shows the new elements in their places.

        Args:
            keywords: of `submit`, in place of those they had: `mem="8G"`.

        Returns:
            The array itself.

        Raises:
            UnknownJob: what they ran is not known any more.
        """
        positions = [element.position for element in self.failed]
        if not positions:
            return self
        work = _array_store.work(_array_store.folder_of(self.scheduler), self.id)
        chosen = dict(work["options"]) | options.check_arguments(keywords)
        parts, pieces = submit_pieces(self.scheduler, work, chosen, (), positions)
        self._replace(parts, pieces)
        return self

    def _replace(self, parts: Sequence[Job], pieces: Sequence[Piece]) -> None:
        """Show the elements of new submissions in the places of old ones."""
        self.parts += parts
        for part, piece in zip(parts, pieces, strict=True):
            for place, position in enumerate(piece.positions):
                self._again[position] = f"{part.id}_{piece.index_of(place)}"
        self._whole = None
        _array_store.keep_layout(_array_store.folder_of(self.scheduler), self.id, self._layout())

    def _layout(self) -> dict[str, Any]:
        return {
            "id": self.id, "name": self.name, "seen": self.indices, "pieces": self._pieces,
            "again": self._again, "parts": [queue.id_of(part) for part in self.parts],
        }  # fmt: skip

    # ------------------------------------------------------------ for people

    def __repr__(self) -> str:
        return f"<JobArray {self.id} {self.name!r}, {len(self)} elements>"

    def __str__(self) -> str:
        """Say how many elements are in which state."""
        told = ", ".join(f"{count} {state}" for state, count in self.states().items())
        return f"array {self.id}: {self.name}, {len(self)} elements: {told}"


# ---------------------------------------------------------------- submitting


def submit_array(
    command: Any,
    items: Iterable[Any],
    *,
    max_running: int | None = None,
    name: str | None = None,
    qtype: str | None = None,
    profile: str | None = None,
    **keywords: Any,
) -> JobArray:
    """Queue one function or command for many items: a job each, in one submission.

    Args:
        command: a function, which is called with the item; or a command as
            `submit` takes it, in which `{item}` and `{index}` are filled in; both
            are one word there, whatever stands in them.
        items: a range, whose numbers are the indices and the items; or anything
            else, the indices of which are 1, 2, ...
        max_running: at most so many run at once; None is no limit.
        name, qtype, profile: as for `submit`.
        keywords: as for `submit`.

    Returns:
        The array, queued for good.

    Raises:
        OptionsError: everything that cannot work, in one error; nothing was queued.
        PayloadError: the function or an item cannot be pickled; it says which.
        QueueError: the queue could not be asked or refused.
    """
    model, work = prepare(command, items, max_running, name, qtype, profile, keywords)
    chosen, positions = dict(model.options), range(len(work["seen"]))
    parts, pieces = submit_pieces(model.scheduler, work, chosen, model._after, positions)
    return made_of(model.scheduler, work, parts, pieces)


def made_of(
    scheduler: Scheduler, work: dict[str, Any], parts: Sequence[Job], pieces: Sequence[Piece]
) -> JobArray:
    """Give the array of these submissions, and write it down for other processes."""
    layout: dict[str, Any] = {
        "id": parts[0].id, "name": work["shown"], "seen": work["seen"], "pieces": pieces,
        "again": {}, "parts": [part.id for part in parts],
    }  # fmt: skip
    try:
        folder = _array_store.folder_of(scheduler)
        _array_store.keep(folder, queue.id_of(parts[0]), work, layout)
    except OSError as error:  # the jobs are in the queue: that is no reason to fail
        from cluster import logme

        logme.log(
            f"array {layout['id']} is submitted, but cannot be loaded or retried later: "
            f"{error.strerror or error}",
            "warn",
        )
    return JobArray(scheduler, layout, parts)
