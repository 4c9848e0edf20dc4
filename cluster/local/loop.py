"""The node's event loop: descriptors, signals, timers, one turn after another.

It knows nothing of jobs.  An error in a callback is logged and the loop goes
on: the process that holds exit statuses must not end because of one of them.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import os
import select
import signal
import time
from collections.abc import Callable

_log = logging.getLogger(__name__)

LONGEST_S = 86400.0  # of one wait; the kernel counts milliseconds in an int: 24 days

Callback = Callable[[], None]


class Timer:
    """Something to do later; `cancel` it when it is not wanted any more."""

    __slots__ = ("callback", "when")

    def __init__(self, when: float, callback: Callback) -> None:
        self.when = when
        self.callback: Callback | None = callback

    def cancel(self) -> None:
        """Do nothing when the time comes."""
        self.callback = None


class Loop:
    """Calls back when descriptors are ready, signals came or timers are due.

    Times are on the monotonic clock, so a change of the wall clock ends no job.
    """

    def __init__(self) -> None:
        self._poll = select.poll()  # quicker than `selectors`, which wraps each event
        self._watched: set[int] = set()
        self._readers: dict[int, Callback] = {}
        self._writers: dict[int, Callback] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._stopped = False
        self._signals: dict[int, Callback] = {}
        self._woken, self._waker = os.pipe()
        for fd in (self._woken, self._waker):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        self.watch(self._woken, self._on_signals)

    def watch(self, fd: int, callback: Callback) -> None:
        """Call back whenever `fd` can be read or has ended."""
        self._readers[fd] = callback
        self._select(fd)

    def unwatch(self, fd: int) -> None:
        """Call back no more; to be called before `fd` is closed."""
        self._readers.pop(fd, None)
        self._writers.pop(fd, None)
        self._select(fd)

    def watch_writable(self, fd: int, callback: Callback | None) -> None:
        """Call back whenever `fd` can be written to; None: no more."""
        if callback is None:
            self._writers.pop(fd, None)
        else:
            self._writers[fd] = callback
        self._select(fd)

    def _select(self, fd: int) -> None:
        events = select.POLLIN if fd in self._readers else 0
        events |= select.POLLOUT if fd in self._writers else 0
        if events:
            self._poll.register(fd, events)
            self._watched.add(fd)
        elif fd in self._watched:
            self._poll.unregister(fd)
            self._watched.remove(fd)

    def on_signal(self, number: int, callback: Callback) -> None:
        """Call back after a signal; several may have become one call."""
        self._signals[number] = callback
        signal.signal(number, _ignored_here)

    def _on_signals(self) -> None:
        try:
            came = os.read(self._woken, 4096)
        except BlockingIOError:
            return
        for number in set(came):
            if number in self._signals:
                self._call(self._signals[number])

    def later(self, delay_s: float, callback: Callback) -> Timer:
        """Call back once, after so many seconds."""
        timer = Timer(time.monotonic() + delay_s, callback)
        heapq.heappush(self._timers, (timer.when, next(self._order), timer))
        return timer

    def run(self, end_of_turn: Callback) -> None:
        """Serve until `stop`; `end_of_turn` is called after each round of callbacks."""
        while not self._stopped:
            for fd, events in self._poll.poll(self._timeout_ms()):
                # an end or an error is for both to see
                if events != select.POLLOUT and (reader := self._readers.get(fd)):
                    self._call(reader)
                if events != select.POLLIN and (writer := self._writers.get(fd)):
                    self._call(writer)
                if events & select.POLLNVAL:
                    _log.error("descriptor %d was closed while it was watched", fd)
                    self.unwatch(fd)
            self._call_due()
            self._call(end_of_turn)

    def _timeout_ms(self) -> float | None:
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        if not self._timers:
            return None
        return min(max(0.0, self._timers[0][0] - time.monotonic()), LONGEST_S) * 1000

    def _call_due(self) -> None:
        if not self._timers:
            return
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            callback = heapq.heappop(self._timers)[2].callback
            if callback is not None:
                self._call(callback)

    def _call(self, callback: Callback) -> None:
        try:
            callback()
        except Exception:
            _log.exception("an error was survived")

    def stop(self) -> None:
        """Let `run` return after this turn."""
        self._stopped = True

    def close(self) -> None:
        """Close what the loop owns; not the descriptors it watched."""
        signal.set_wakeup_fd(-1)
        for number in self._signals:
            signal.signal(number, signal.SIG_DFL)
        os.close(self._woken)
        os.close(self._waker)


def _ignored_here(number: int, frame: object) -> None:
    """Be a handler, so that the signal reaches the wakeup descriptor."""
