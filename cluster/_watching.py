"""Who is told when a job ends: one thread and one connection for each scheduler.

    aio, callbacks --watch(job, told)--> Watching --one thread--> Source of the scheduler
                   <-----told(ending)---

The thread is started by the first job that is watched and leaves when there
has been none for a while.  It only hands on what it hears: whoever is told
must neither block nor raise.  A fork inherits no watch.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

from cluster import logme
from cluster.errors import ClusterError, QueueError
from cluster.schedulers._watch import Source, source_of
from cluster.schedulers.base import Ending, Scheduler

__all__ = ["Told", "watch"]

IDLE_S = 2.0  # a program that waits for one job after the other keeps its thread

Told = Callable[[Ending | ClusterError], None]


class _Listener(NamedTuple):
    told: Told
    content: bool
    awaited: bool


class _Watching:
    """The watched jobs of one scheduler."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._lock = threading.Lock()
        self._listeners: dict[str, list[_Listener]] = {}
        self._awaited = 0
        self._source: Source | None = None  # while a thread runs

    def add(self, ids: Sequence[str], told: Told, *, content: bool, awaited: bool) -> None:
        with self._lock:
            listener = _Listener(told, content, awaited)
            for id in ids:
                self._listeners.setdefault(id, []).append(listener)
            self._awaited += awaited * len(ids)
            source = self._source
            if source is None:
                source = self._source = source_of(self._scheduler)
                threading.Thread(
                    target=self._run, args=(source,), name="cluster-watch", daemon=True
                ).start()
            source.add(ids, content=content)
            source.lend(self._awaited > 0)

    def remove(self, ids: Sequence[str], told: Told) -> None:
        with self._lock:
            unheard = [id for id in ids if self._remove(id, told)]
            if self._source is not None:
                if unheard:
                    self._source.forget(unheard)
                self._source.lend(self._awaited > 0)

    def _remove(self, id: str, told: Told) -> bool:
        """Take one listener away; tell whether it was the last one."""
        listeners = self._listeners.get(id, [])
        for listener in listeners:
            if listener.told is told:
                listeners.remove(listener)
                self._awaited -= listener.awaited
                break
        else:
            return False
        if listeners:
            return False
        del self._listeners[id]
        return True

    def _run(self, source: Source) -> None:
        while True:
            try:
                ended = source.next(None if self._listeners else IDLE_S)
            except ClusterError as error:
                self._tell_all(error)
                continue
            except Exception as error:  # a plug-in's: nobody may wait for ever because of it
                self._tell_all(QueueError(f"the jobs cannot be watched: {error!r}"))
                continue
            for id, what in ended:
                if isinstance(what, ClusterError):
                    self._tell(id, what)
                else:
                    self._tell(id, Ending(what.info, what.content))
            if not ended and self._leave(source):
                return

    def _leave(self, source: Source) -> bool:
        with self._lock:
            if self._listeners or self._source is not source:
                return False
            self._source = None
        source.close()
        return True

    def _tell_all(self, error: ClusterError) -> None:
        for id in list(self._listeners):
            self._tell(id, error)

    def _tell(self, id: str, what: Ending | ClusterError) -> None:
        with self._lock:
            listeners = self._listeners.pop(id, [])
            if self._source is not None and self._source.brings_content and _is_bare(what):
                # Others watched it too, who did not want what it left: that comes next.
                patient = [listener for listener in listeners if listener.content]
                if patient:
                    self._listeners[id] = patient
                    listeners = [each for each in listeners if not each.content]
            self._awaited -= sum(listener.awaited for listener in listeners)
            if self._source is not None:
                self._source.lend(self._awaited > 0)
        for listener in listeners:
            try:
                listener.told(what)
            except Exception as error:
                logme.log(f"job {id} ended, but somebody could not be told: {error!r}", "error")


def _is_bare(what: Ending | ClusterError) -> bool:
    return isinstance(what, Ending) and what.content is None and not what.info.counts


_all: dict[Scheduler, _Watching] = {}
_all_lock = threading.Lock()


def watch(
    scheduler: Scheduler,
    ids: Sequence[str],
    told: Told,
    *,
    content: bool = False,
    awaited: bool = False,
) -> Callable[[], None]:
    """Have somebody told, once for each job, when it ends or why nobody will know.

    Args:
        scheduler: whose jobs.
        ids: the jobs.
        told: called in the watching thread; it must not block.
        content: bring along what the job left, if the scheduler has it at hand.
        awaited: somebody waits: the cores of the job that we are can be lent.

    Returns:
        What ends it; the jobs go on.
    """
    with _all_lock:
        watching = _all.get(scheduler)
        if watching is None:
            watching = _all[scheduler] = _Watching(scheduler)
    watching.add(ids, told, content=content, awaited=awaited)
    return lambda: watching.remove(ids, told)


def _after_fork() -> None:
    global _all_lock
    _all.clear()
    _all_lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
