"""What the server answers to a client's message.

Each handler reads the queue and the store and answers at once, or makes an
event whose answer comes as an effect after the turn's transaction.
"""

from __future__ import annotations

import fnmatch
import heapq
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from cluster import states
from cluster.errors import OptionsError, QueueError, UnknownJob
from cluster.local import events as ev
from cluster.local import view, wire
from cluster.local.connections import Connection
from cluster.local.dependencies import element, parse_label
from cluster.local.events import Array, Job
from cluster.local.verbs import VERBS
from cluster.local.wire import Content, JobInfo, Output
from cluster.spec import Dependency, JobSpec, Launch

if TYPE_CHECKING:
    from cluster.local.serving import Server

__all__ = ["closed_info", "handle", "info_of", "refusal"]

_LATER = object()  # the answer comes as an effect of the turn


class _Env(msgspec.Struct):
    env: str = ""


_decode_env = msgspec.msgpack.Decoder(_Env).decode
_decode_launch = msgspec.msgpack.Decoder(Launch).decode


def handle(server: Server, peer: Connection, message: Any) -> Any:
    """Do what a client asks.

    Returns:
        The answer's value, or `is_later` when the turn's effects answer.

    Raises:
        ClusterError: it cannot be done; nothing changed.
    """
    return _HANDLERS[type(message)](server, peer, message)


def is_later(value: Any) -> bool:
    """Tell whether the answer comes with the effects of the turn."""
    return value is _LATER


def environment_of(launch: bytes | msgspec.Raw) -> str:
    """Give the hash of the environment that a launch names."""
    return _decode_env(launch).env


def _submit(server: Server, peer: Connection, message: wire.Submit) -> Any:
    if (labels := server.queue.changes.keys.get(message.key)) is not None:
        server.queue.do(ev.Reply((peer, message.seq), labels))
        return _LATER
    done = server.state_keys.get(message.key)
    if done is None and not message.fresh:
        done = server.store.labels(message.key)
    if done is not None:
        return done
    if server.is_leaving:
        raise QueueError("the queue's server is leaving. Submit again: a new one starts by itself.")
    if server.trouble:
        raise refusal(server.trouble)
    for hash, env in message.envs.items():
        try:
            server.store.keep_env(hash, env)
        except sqlite3.Error as error:
            raise refusal(error) from error
    known = {
        label: found
        for spec in message.jobs
        for d in spec.dependencies
        for label in _labels(spec, d)
        if not server.queue.is_live(label) and (found := server.store.known(label)) is not None
    }
    specs = tuple(_own_specs(message.jobs))
    server.event(ev.Submit((peer, message.seq), message.key, specs, known))
    return _LATER


def _labels(spec: JobSpec, dependency: Dependency) -> Iterator[str]:
    """Give the jobs that a dependency may be about."""
    yield dependency.job
    if dependency.type == "aftercorr" and spec.array is not None:
        yield from (f"{dependency.job}_{index}" for index in spec.array.indices())


def refusal(why: object) -> QueueError:
    """Make the error for a submission that cannot be kept."""
    return QueueError(
        f"nothing was queued: the queue's store cannot be written ({why})."
        " Make room, then submit again."
    )


def _own_specs(specs: Iterable[JobSpec]) -> Iterator[JobSpec]:
    """Let go of the frame's buffer, of which each launch is a view; equal neighbours share one."""
    before = kept = None
    for spec in specs:
        if kept is None or spec != before:
            before, kept = spec, msgspec.structs.replace(spec, launch=spec.launch.copy())
        yield kept


def _query(server: Server, peer: Connection, message: wire.Query) -> list[JobInfo]:
    if message.ids is not None:
        found = [info for label in message.ids for info in _infos(server, label, message)]
        return list({info.id: info for info in found}.values())
    rows = [info for info in _live(server, message) if _matches(info, message)]
    wanted = message.states
    if not wanted or states.FINAL & set(wanted):
        closed = server.store.select(
            states=[s for s in wanted if s in states.FINAL],
            since=message.since,
            limit=message.limit if not message.name else 0,
            namespace=message.namespace,
            elements=message.elements,
        )
        rows += [i for i in (closed_info(server, r) for r in closed) if _matches(i, message)]
    rows += [info for info in _between(server, message) if _matches(info, message)]
    rows = sorted({info.id: info for info in rows}.values(), key=_order)
    return rows[-message.limit :] if message.limit else rows


def _ended_unwritten(server: Server) -> Iterator[Job | Array]:
    """Give what ended but is not written yet: no longer live, and in the store as it was."""
    queue = server.queue
    for changes in server.unwritten():
        yield from (job for id, job in changes.jobs.items() if id not in queue.jobs)
        yield from (array for id, array in changes.arrays.items() if id not in queue.arrays)


def _between(server: Server, message: wire.Query) -> Iterator[JobInfo]:
    for record in _ended_unwritten(server):
        if isinstance(record, Array):
            label = "" if message.elements else str(record.id)
        else:
            label = record.label if message.elements or not record.array else ""
        info = info_of(server, label) if label else None
        if info is not None:
            yield info


def _order(info: JobInfo) -> tuple[int, int]:
    parsed = parse_label(info.id)
    assert parsed is not None
    return parsed[0], parsed[1] or 0


def _matches(info: JobInfo, message: wire.Query) -> bool:
    return (
        info.namespace == message.namespace
        and (not message.states or info.state in message.states or bool(
            set(message.states) & set(info.counts)))
        and (not message.name or fnmatch.fnmatchcase(info.name, message.name))
        and (not message.since or info.submitted >= message.since or info.ended >= message.since
             or not states.is_final(info.state))
    )  # fmt: skip


def _may_match(job: Job, message: wire.Query) -> bool:
    """As `_matches`, before it is known how the job looks to people."""
    return (
        job.spec.namespace == message.namespace
        and (not message.states or job.state in message.states)
        and (not message.name or fnmatch.fnmatchcase(job.spec.name, message.name))
        and (not message.since or job.submitted >= message.since or job.ended >= message.since
             or not states.is_final(job.state))
    )  # fmt: skip


def _live(server: Server, message: wire.Query) -> list[JobInfo]:
    queue, now, host = server.queue, server.now, server.host
    jobs = [
        job
        for job in queue.jobs.values()
        if (message.elements or not job.array) and _may_match(job, message)
    ]
    if message.limit:  # to show all of 100,000 takes seconds
        jobs = heapq.nlargest(message.limit, jobs, key=lambda job: job.id)
    head = view.Head(queue, now)
    rows = [view.job_info(job, queue, now, host, head) for job in jobs]
    for array in queue.arrays.values():
        if not message.elements:
            rows.append(view.array_info(array, queue, now, host))
            continue
        rows += _untouched(server, array, folded=message.folded)
    return rows


def _untouched(server: Server, array: Array, *, folded: bool) -> list[JobInfo]:
    """Show the elements of a live array that are no jobs of their own yet."""
    if array.spec.array is None:
        return []
    indices = array.spec.array.indices()
    left = [indices[at] for at in range(array.next, array.count) if at not in array.touched]
    shown = left[:1] if folded else left
    infos = [view.element_info(array, index, server.queue, server.now) for index in shown]
    rows = [info for info in infos if info is not None]
    if folded and rows:
        return [msgspec.structs.replace(rows[0], indices=tuple(left))]
    return rows


def closed_info(server: Server, record: Job | Array) -> JobInfo:
    """Show a job or array that is final."""
    if isinstance(record, Array):
        return view.array_info(record, None, server.now, server.host)
    return view.final_info(record, server.host)


def _infos(server: Server, label: str, message: wire.Query) -> list[JobInfo]:
    found = info_of(server, label)
    if found is None:
        return []
    array = server.queue.arrays.get(int(label)) if label.isdecimal() else None
    if not message.elements or (array is None and not found.counts):
        return [found]
    if array is not None and message.folded:
        queue, now, host = server.queue, server.now, server.host
        known = {job.label: closed_info(server, job) for job in server.store.elements(array.id)}
        for job in _ended_unwritten(server):
            if isinstance(job, Job) and job.array == array.id:
                info = info_of(server, job.label)
                known |= {job.label: info} if info is not None else {}
        known |= {j.label: view.job_info(j, queue, now, host) for j in queue.live_elements(array)}
        return [*known.values(), *_untouched(server, array, folded=True)]
    spec = array.spec.array if array else server.store.spec(int(label)).array
    assert spec is not None
    indices = spec.indices()
    done = {job.index: closed_info(server, job) for job in server.store.elements(int(label))}
    rows = [done.get(i) or info_of(server, f"{label}_{i}") for i in indices]
    return [row for row in rows if row is not None]


def info_of(server: Server, label: str) -> JobInfo | None:
    """Show the job, array or element that a label names; None: there is none."""
    queue, now = server.queue, server.now
    found: Any = queue.find(label)
    if isinstance(found, Job):
        return view.job_info(found, queue, now, server.host)
    if isinstance(found, Array):
        return view.array_info(found, queue, now, server.host)
    parsed = parse_label(label)
    if isinstance(found, tuple) and parsed is not None and parsed[1] is not None:
        return view.element_info(found[0], parsed[1], queue, now)
    found = server.store.find(label)
    if isinstance(found, tuple):
        return view.element_info(found[0], found[1], None, now)
    if found is not None:
        return closed_info(server, found)
    known = server.store.known(label)
    if known is None:
        return None
    return JobInfo(id=label, name="", state=known.state, reason="its record was cleared")


def _raw(server: Server, label: str) -> tuple[int, int]:
    """Give (raw id, id of its request).

    Raises:
        UnknownJob: the label names no job.
    """
    parsed = parse_label(label)
    if parsed is not None and parsed[1] is None:
        raw = parsed[0]
        job = server.queue.jobs.get(raw)
        if job is not None:
            return raw, job.array or raw
        if raw in server.queue.arrays or server.store.known(label) is not None:
            return raw, raw
    if parsed is not None and parsed[1] is not None:
        array = server.queue.arrays.get(parsed[0])
        spec = array.spec.array if array else server.store.spec(parsed[0]).array
        position = element(spec, parsed[1]) if spec else None
        if position is not None:
            return parsed[0] + 1 + position, parsed[0]
    raise UnknownJob(
        f"this queue knows no job {label!r}. `cluster list --all` shows the ids it knows."
    )


def _fetch(server: Server, peer: Connection, message: wire.Fetch) -> Content:
    if (ended := server.recent.find(message.id)) is not None:
        return ended[1]
    raw, _ = _raw(server, message.id)
    job = server.queue.jobs.get(raw)
    if job is not None and job.allocation is not None:
        return Content(stdout=Output(file=job.stdout), stderr=Output(file=job.stderr))
    for changes in reversed(server.unwritten()):
        if raw in changes.contents:  # it ended in this turn
            return changes.contents[raw]
    return server.store.content(raw)


def _describe(server: Server, peer: Connection, message: wire.Describe) -> bytes:
    _, request = _raw(server, message.id)
    launch = server.launches.of(request)
    if launch is None:
        raise UnknownJob(f"how job {message.id} was launched is no longer kept")
    return bytes(launch)


def _watch(server: Server, peer: Connection, message: wire.Watch) -> None:
    recent = server.recent.find
    raws = [(label, 0 if recent(label) else _raw(server, label)[0]) for label in message.ids]
    for label, raw in raws:
        if (ended := recent(label)) is not None:
            record, content = ended
            wanted = message.content and not peer.is_full
            peer.tell(closed_info(server, record), content if wanted else None)
            continue
        info = None if server.queue.is_live(label) else info_of(server, label)
        # What ended while the store cannot be written is not final there yet.
        if info is None or not _is_over(info):
            peer.watches[raw] = message.content
            server.watchers.setdefault(raw, set()).add(peer)
            continue
        wanted = message.content and not peer.is_full
        peer.tell(info, server.store.content(raw) if wanted else None)


def _is_over(info: JobInfo) -> bool:
    """Tell whether a job is final, of an array all of it."""
    return info.ended > 0 if info.counts else states.is_final(info.state)


def _unwatch(server: Server, peer: Connection, message: wire.Unwatch) -> None:
    server.forget_watches(peer)


def _block(server: Server, peer: Connection, message: wire.Block) -> Any:
    peer.blocked = True
    server.event(ev.Block((peer, message.seq), peer.job))
    return _LATER


def _unblock(server: Server, peer: Connection, message: wire.Unblock) -> Any:
    peer.blocked = False
    server.event(ev.Unblock((peer, message.seq), peer.job))
    return _LATER


def _act(server: Server, peer: Connection, message: wire.Act) -> Any:
    if message.verb not in VERBS:
        raise OptionsError(f"there is no verb {message.verb!r}; there are {', '.join(VERBS)}")
    known = {
        label: found
        for label in message.ids
        if not server.queue.is_live(label) and (found := server.store.known(label)) is not None
    }
    server.event(ev.Act((peer, message.seq), message.verb, message.ids, message.number, known))
    return _LATER


def _update(server: Server, peer: Connection, message: wire.Update) -> Any:
    names = ("name", "walltime_s", "begin", "comment", "extra")
    fields = {name: value for name in names if (value := getattr(message, name)) is not None}
    known = {
        label: found
        for label in message.ids
        if not server.queue.is_live(label) and (found := server.store.known(label)) is not None
    }
    server.event(ev.Update((peer, message.seq), message.ids, fields, known))
    return _LATER


def _control(server: Server, peer: Connection, message: wire.Control) -> Any:
    to = (peer, message.seq)
    if message.verb == "status":
        return server.status()
    if message.verb in ("pause", "resume"):
        server.event(ev.Switch(to, message.verb == "pause"))
        return _LATER
    if message.verb == "set":
        server.event(_resize(server, to, message.args))
        server.queue.note("machine", server.machine)
        return _LATER
    if message.verb == "stop":
        server.leave(drain=bool(message.args.get("drain")), now=bool(message.args.get("now")))
        return {"pid": server.pid}
    raise OptionsError(f"there is no control {message.verb!r}: status, stop, pause, resume, set")


def _resize(server: Server, to: Any, args: dict[str, Any]) -> ev.Resize:
    queue = server.queue
    capacity = dict(zip(queue.names, queue.pool.capacity, strict=True))
    for name, amount in args.items():
        if name not in capacity:
            raise OptionsError(
                f"this queue has no {name!r}; it has {', '.join(capacity)}. Add it with "
                f"`cluster config set local.resources {name}={amount}`; a new server reads that."
            )
        if not isinstance(amount, int) or amount < 0 or (name == "cores" and amount < 1):
            raise OptionsError(f"{name}={amount!r} is not possible: a whole number is needed")
        capacity[name] = amount
    return ev.Resize(to, capacity)


def _hello(server: Server, peer: Connection, message: wire.Hello) -> None:
    peer.pid = message.pid
    job = server.queue.jobs.get(message.job)
    peer.job = message.job if job is not None and job.allocation is not None else 0
    server.greet(peer)


_HANDLERS: dict[type, Callable[[Server, Connection, Any], Any]] = {
    wire.Hello: _hello,
    wire.Submit: _submit,
    wire.Query: _query,
    wire.Fetch: _fetch,
    wire.Describe: _describe,
    wire.Watch: _watch,
    wire.Unwatch: _unwatch,
    wire.Block: _block,
    wire.Unblock: _unblock,
    wire.Act: _act,
    wire.Update: _update,
    wire.Control: _control,
}
