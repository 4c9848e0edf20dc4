"""What is known of a submitted job, and what can be done to it.

It asks the job's scheduler and keeps the last answer.  A question that fails
makes the answer stale; it never makes a job finished.
"""

from __future__ import annotations

import signal as signals
from collections.abc import Callable, Generator
from typing import Any, TypeVar

from cluster import _callbacks, outcome, queue
from cluster.errors import OptionsError, QueueError
from cluster.outcome import Usage
from cluster.schedulers.base import Content, Ending, JobInfo, Output, Scheduler
from cluster.states import FINAL
from cluster.units import Timeout, format_seconds, parse_timeout

__all__ = ["JobView"]

View = TypeVar("View", bound="JobView")


class JobView:
    """A job as seen from outside.

    What it says is asked anew until the job has ended; when the question
    fails, `stale` is true and the last answer stands.  It may be used from
    several threads.  Its pickle holds the id alone.

    Attributes:
        id: as people see it; None before it is submitted.
        scheduler: who is asked.
        stale: the last question failed; what is shown is from before.
        queue_info: what the scheduler said last.
    """

    def __init__(self, scheduler: Scheduler, id: str | None = None, name: str = "") -> None:
        self.scheduler = scheduler
        self.id = id
        self.stale = False
        self.queue_info: JobInfo | None = None
        self._name = name
        self._content: Content | None = None
        self._content_is_whole = False
        self._is_awaited = False  # a job that is not submitted yet waits for it
        self._callbacks: list[_callbacks.Callback] = []
        self._is_watched = False  # for the callbacks

    @property
    def name(self) -> str:
        """Its name, for people."""
        if not self._name and self.id is not None:
            self.update()
        return self._name

    @property
    def qtype(self) -> str:
        """Which scheduler it belongs to."""
        return self.scheduler.qtype

    def note(self, ending: Ending) -> None:
        """Learn that the job ended."""
        if ending.content is not None:
            self._content, self._content_is_whole = ending.content, True
        self._learn(ending.info)

    def note_stale(self) -> None:
        """Learn that nobody can be asked: what is known may be old."""
        self.stale = not self._final

    def _learn(self, info: JobInfo) -> None:
        self.queue_info, self.stale = info, False
        self._name = self._name or info.name
        if self._callbacks and self._final:
            _callbacks.fire(self)

    def _submitted(self, id: str) -> None:
        self.id = id
        if self._callbacks:
            _callbacks.start(self)

    @property
    def _info(self) -> JobInfo | None:
        return self.queue_info

    @property
    def _final(self) -> bool:
        return self._info is not None and self._info.state in FINAL and not self._info.ending

    def update(self) -> JobView:
        """Ask the scheduler; if it does not answer, be `stale` and keep the last answer."""
        if self.id is not None and not self._final:
            self.update_queue_info()
        return self

    def update_queue_info(self) -> JobView:
        """Ask the scheduler, even about a job that has ended."""
        try:
            found = self.scheduler.query([queue.id_of(self)])
        except QueueError:
            self.note_stale()
            return self
        if found:
            self._learn(found[0])
        else:
            self.note_stale()
        return self

    def _known(self) -> JobInfo | None:
        return self.update()._info

    @property
    def state(self) -> str | None:
        """One of `states.ALL`; None before it is submitted."""
        info = self._known()
        return info.state if info else None

    @property
    def done(self) -> bool:
        """Whether it has ended, however."""
        return self.state in FINAL

    @property
    def ending(self) -> bool:
        """Whether it is final for you while its processes are still being ended."""
        info = self._known()
        return info is not None and info.ending

    @property
    def reason(self) -> str:
        """Why it waits, or why it ended as it did; empty if there is nothing to say."""
        info = self._known()
        return info.reason if info else ""

    @property
    def exitcode(self) -> int | None:
        """Its exit code, 128 + n after signal n; None while or if it has none."""
        info = self._known()
        return outcome.exitcode(info) if info else None

    @property
    def ended_by(self) -> int | None:
        """The signal that ended it, or None; an exit code of 128 + n is signal n."""
        info = self._known()
        return outcome.signal(info) if info else None

    @property
    def usage(self) -> Usage | None:
        """Times, processor time, memory, host; None before it is submitted."""
        info = self._known()
        return outcome.usage(info) if info else None

    @property
    def stdout(self) -> str:
        """What it wrote to standard output so far."""
        return self.get_stdout()

    @property
    def stderr(self) -> str:
        """What it wrote to standard error so far."""
        return self.get_stderr()

    def get_stdout(self, update: bool = True) -> str:
        """Give what it wrote to standard output.

        Args:
            update: ask again; if false, what was read before.
        """
        return self._written("stdout", update).decode("utf-8", "surrogateescape")

    def get_stderr(self, update: bool = True) -> str:
        """Give what it wrote to standard error; see `get_stdout`."""
        return self._written("stderr", update).decode("utf-8", "surrogateescape")

    def get_exitcode(self, update: bool = True) -> int | None:
        """Give its exit code; None while or if it has none."""
        if update:
            return self.exitcode
        return outcome.exitcode(self._info) if self._info else None

    def _fetch(self, update: bool) -> Content:
        if self.id is None:
            return Content()
        if self._content is None or (update and not self._content_is_whole):
            ended = self.update()._final
            self._content = self.scheduler.content(self.id)
            self._content_is_whole = ended
        return self._content

    def _written(self, name: str, update: bool) -> bytes:
        """Read what it wrote; surely what *it* wrote.

        While a job runs, its output may be in a file that is the next job's
        after it.  So what was read counts only if the file is still its own.
        """
        content = self._fetch(update)
        while True:
            output: Output = getattr(content, name)
            data = outcome.read_bytes(output)
            if self._content_is_whole or not output.file or self.id is None:
                return data
            content = self._fetch(update=True)
            if getattr(content, name) == output:
                return data

    def _keep_outputs(self) -> set[bytes]:
        """Read the output files into memory; give their paths."""
        content = self._fetch(update=True)
        self._content = Content(
            content.result,
            Output(self._written("stdout", update=False)),
            Output(self._written("stderr", update=False)),
        )
        return {content.stdout.file, content.stderr.file} - {b""}

    # ------------------------------------------------------------ waiting

    def wait(self, timeout: Timeout = None, progress: bool | None = None) -> bool:
        """Block until the job has ended; see `cluster.wait`.

        Returns:
            True if it is COMPLETED.

        Raises:
            WaitTimeout: a `TimeoutError`; the job goes on.
        """
        limit = parse_timeout(timeout)  # bad input is told of also when there is nothing to do
        if self._final:
            return self._info is not None and self._info.state == "COMPLETED"
        return queue.wait(self, limit, progress)

    def get(self, timeout: Timeout = None) -> Any:
        """Block until the job has ended, and give what it left.

        Args:
            timeout: seconds, or a text such as "90s"; None is no limit.

        Returns:
            The function's value; for a command `(exitcode, stdout, stderr)`,
            whatever the code; for an array, a list of these.

        Raises:
            WaitTimeout: a `TimeoutError`; the job goes on.
            JobFailed: it was ended by somebody else than itself, or left nothing.
            Exception: what the function raised, with its remote traceback.
        """
        limit = parse_timeout(timeout)
        if not (self._final and self._content_is_whole):
            if not self._final:
                queue.wait_for_content(self, limit)
            self._fetch(update=True)
        assert self._info is not None
        assert self._content is not None
        if self._info.counts:
            return [type(self)._of(id, self.scheduler).get() for id in self._element_ids()]
        return outcome.value(self._info, self._content)

    def result(self, timeout: Timeout = None) -> Any:
        """Do what `get` does, under the name that a Future has for it."""
        return self.get(timeout)

    def __await__(self) -> Generator[Any, None, Any]:
        """Wait for it in an event loop, which goes on meanwhile, and give what `get` gives."""
        from cluster._awaiting import value

        return value(self).__await__()

    def _has_all_at_hand(self) -> bool:
        """Whether `get` would neither ask nor read a file."""
        content, info = self._content, self._info
        if not self._final or not self._content_is_whole or content is None or info is None:
            return False
        files = (content.result.file, content.stdout.file, content.stderr.file)
        return not info.counts and not any(files)

    # ------------------------------------------------------------ being told

    def on_success(
        self: View,
        callback: Callable[[View], Any],
        *,
        condition: Callable[[View], Any] | None = None,
    ) -> View:
        """Have `callback(job)` called once, if the job ends as COMPLETED; see `on_exit`."""
        _callbacks.register(self, "success", callback, condition)
        return self

    def on_failure(
        self: View,
        callback: Callable[[View], Any],
        *,
        condition: Callable[[View], Any] | None = None,
    ) -> View:
        """Have `callback(job)` called once, if the job ends in another way; see `on_exit`."""
        _callbacks.register(self, "failure", callback, condition)
        return self

    def on_exit(
        self: View,
        callback: Callable[[View], Any],
        *,
        condition: Callable[[View], Any] | None = None,
    ) -> View:
        """Have `callback(job)` called once, when the job has ended, at once if it has.

        It is called in the event loop that runs here, else in a thread, while
        this program lives.  What it raises is logged.

        Args:
            callback: a function or coroutine function.
            condition: it is called only if `condition(job)` is true then.

        Returns:
            The job itself.
        """
        _callbacks.register(self, "exit", callback, condition)
        return self

    def _element_ids(self) -> list[str]:
        elements = self.scheduler.query([queue.id_of(self)], elements=True)
        return [info.id for info in elements]

    @classmethod
    def _of(cls, id: str, scheduler: Scheduler) -> JobView:
        return cls(scheduler, id)

    # ------------------------------------------------------------ acting

    def cancel(self) -> str:
        """End the job, whether it runs or waits; a job that has ended stays as it is.

        Returns:
            What happened, in a few words.
        """
        return self._act("cancel")

    def hold(self) -> str:
        """Keep the job from starting until it is released."""
        return self._act("hold")

    def release(self) -> str:
        """Let a held job start."""
        return self._act("release")

    def requeue(self) -> str:
        """End the job and run it again from the start, under the same id."""
        return self._act("requeue")

    def suspend(self) -> str:
        """Stop the job's processes where they are."""
        return self._act("suspend")

    def resume(self) -> str:
        """Let a suspended job go on."""
        return self._act("resume")

    def signal(self, sig: int | str) -> str:
        """Send a signal to all processes of the job.

        Args:
            sig: a number, or a name such as "USR1" or "SIGUSR1".

        Raises:
            OptionsError: there is no such signal.
        """
        return self._act("signal", _signal_number(sig))

    def _act(self, verb: str, number: int = 0) -> str:
        id = queue.id_of(self)
        answer = self.scheduler.act(verb, [id], number).get(id, "")
        if self._final and verb == "requeue":
            self.queue_info = None
        self._content_is_whole = False
        return answer

    # ------------------------------------------------------------ for people

    def __repr__(self) -> str:
        if self.id is None:
            return f"<Job {self._name!r}, not submitted>"
        info = self._info
        state = info.state if info else "state not asked yet"
        return f"<Job {self.id} {self._name!r} {state}{', stale' if self.stale else ''}>"

    def __str__(self) -> str:
        """Give all that is known, a line each."""
        info = self._known()
        if info is None:
            return repr(self)
        lines = [
            f"job {info.id}: {info.name}",
            f"  state     {info.state}{' (ending)' if info.ending else ''}"
            f"{' (stale)' if self.stale else ''}",
            f"  asked for {info.cores} cores"
            + (f", {info.memory_mib} MiB" if info.memory_mib else "")
            + (f", {info.gpus} gpus" if info.gpus else "")
            + (f", at most {format_seconds(info.walltime_s)}" if info.walltime_s else ""),
        ]
        if info.reason:
            lines.append(f"  reason    {info.reason}")
        code = outcome.exitcode(info)
        if code is not None:
            by = outcome.signal(info)
            signal = f" (signal {by})" if by else ""
            lines.append(f"  exit code {code}{signal}")
        if info.started and info.ended:
            lines.append(
                f"  took      {info.ended - info.started:.3f} s on {info.host}, "
                f"cpu {info.cpu_s:.3f} s, peak memory {info.peak_memory_mib:.1f} MiB"
            )
        return "\n".join(lines)


def _signal_number(sig: int | str) -> int:
    name = str(sig).upper()
    found = getattr(signals, name if name.startswith("SIG") else f"SIG{name}", sig)
    try:
        return int(signals.Signals(int(found)))
    except ValueError:
        raise OptionsError(f"{sig!r} is not a signal. Write a number or a name: 'USR1'.") from None
