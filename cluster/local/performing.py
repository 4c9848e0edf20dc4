"""What a turn of the server does after its changes are written: answers and orders.

Changes ──commit──> on disk ──> perform(each effect) ──> clients, node
            └─ refused by the disk ──> without_writing
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from cluster.local import events as ev
from cluster.local import requests, submission, wire
from cluster.local.connections import answer, failure
from cluster.local.events import Array, Changes
from cluster.local.wire import Content

if TYPE_CHECKING:
    from cluster.local.serving import Server

__all__ = ["is_order", "joined", "perform", "without_writing"]


def perform(server: Server, effect: ev.Effect, changes: Changes) -> None:
    """Do what one effect says; `changes` is what was written before."""
    _PERFORM[type(effect)](server, effect, changes)


def without_writing(server: Server, changes: Changes, effects: list[ev.Effect]) -> list[ev.Effect]:
    """Refuse this turn's submissions, end what shall end; give the effects that must wait.

    Nobody was told of those submissions and nothing of them is on disk.  To
    end a job promises nothing, and may be what makes room.
    """
    answers = list(changes.keys.values())
    gone = submission.withdraw(server.queue, changes, server.now)
    waiting: list[ev.Effect] = []
    again: list[ev.Effect] = []  # once more, behind the start
    unheard = {(e.job.id, e.job.attempt) for e in effects if isinstance(e, ev.StartProcess)}
    for effect in effects:
        if isinstance(effect, ev.Reply) and any(effect.value is each for each in answers):
            peer, seq = effect.to
            peer.out.append(failure(seq, requests.refusal(server.trouble)))
        elif _job_of(effect) in gone:
            continue
        elif isinstance(effect, ev.EndProcesses) and effect.why != wire.RECALL:
            perform(server, effect, changes)
            if (effect.job, effect.attempt) in unheard:
                again.append(effect)
        else:
            waiting.append(effect)
    return waiting + again


def _job_of(effect: ev.Effect) -> int:
    if isinstance(effect, ev.StartProcess | ev.Finished | ev.NeverToStart):
        return effect.job.id
    return 0 if isinstance(effect, ev.Reply) else effect.job


def joined(
    before: tuple[Changes, list[ev.Effect]], changes: Changes, effects: list[ev.Effect]
) -> tuple[Changes, list[ev.Effect]]:
    old, waiting = before
    for field in msgspec.structs.fields(Changes):
        getattr(old, field.name).update(getattr(changes, field.name))
    return old, waiting + effects


def is_order(effect: ev.Effect) -> bool:
    """Tell whether an effect that waits is about what a node has.

    What a new node must do follows from the jobs' states when it attaches.
    """
    return isinstance(effect, ev.StartProcess | ev.EndProcesses)


def _reply(server: Server, effect: ev.Reply, changes: Changes) -> None:
    if effect.to is None:
        return
    connection, seq = effect.to
    connection.out.append(answer(seq, effect.value))


def _start(server: Server, effect: ev.StartProcess, changes: Changes) -> None:
    job = effect.job
    request = job.array or job.id
    launch = server.launches.of(request)
    if launch is None or not (job.allocation or (effect.queued and job.assigned)):
        return  # it had to wait for the writing, and things have changed
    grace_s = _grace_s(server)
    # One that was cancelled meanwhile is only handed over to be given back: this is
    # how the node says of a job it may never have heard of that nothing of it runs.
    server.node.start(job, launch, grace_s, queued=effect.queued or job.ending)
    if job.ending:
        server.node.send(wire.End(job.id, job.attempt, "cancel", grace_s))


def _end(server: Server, effect: ev.EndProcesses, changes: Changes) -> None:
    grace_s = _grace_s(server)
    server.node.send(wire.End(effect.job, effect.attempt, effect.why, grace_s))


def _signal(server: Server, effect: ev.SendSignal, changes: Changes) -> None:
    server.node.send(wire.Signal(effect.job, effect.attempt, effect.number))


def _acknowledge(server: Server, effect: ev.Acknowledge, changes: Changes) -> None:
    server.node.send(wire.Ack(effect.job, effect.attempt))


def _finished(server: Server, effect: ev.Finished, changes: Changes) -> None:
    record = effect.job
    server.launches.drop(record.id)
    content = changes.contents.get(record.id) or Content()
    label = str(record.id) if isinstance(record, Array) else record.label
    server.recent.keep(label, record, content)
    watchers = server.watchers.pop(record.id, None)
    if not watchers:
        return
    info = requests.closed_info(server, record)
    for connection in watchers:
        wants = connection.watches.pop(record.id, False)
        connection.tell(info, content if wants else None)


def _never_to_start(server: Server, effect: ev.NeverToStart, changes: Changes) -> None:
    """Tell of elements that were no jobs of their own; of the others `_finished` tells."""
    array = effect.job
    assert array.spec.array is not None
    indices = array.spec.array.indices()
    first = array.id + 1
    for raw in [each for each in server.watchers if first <= each < first + array.count]:
        info = requests.info_of(server, f"{array.id}_{indices[raw - first]}")
        if raw in server.queue.jobs or info is None:
            continue  # it runs, and is being ended
        for connection in server.watchers.pop(raw):
            wants = connection.watches.pop(raw, False)
            connection.tell(info, Content() if wants else None)


def _grace_s(server: Server) -> float:
    return float(server.settings.get("grace_s", 5.0))


_PERFORM: dict[type, Callable[[Server, Any, Changes], None]] = {
    ev.Reply: _reply,
    ev.StartProcess: _start,
    ev.EndProcesses: _end,
    ev.SendSignal: _signal,
    ev.Acknowledge: _acknowledge,
    ev.Finished: _finished,
    ev.NeverToStart: _never_to_start,
}
