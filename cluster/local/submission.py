"""How a submission becomes jobs: checked whole, then added, all or none.

Pure.  See `queue_state` for the state it changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from cluster import states
from cluster.errors import UnknownDependency, Unsatisfiable
from cluster.local import events as ev
from cluster.local import resources, settling
from cluster.local.dependencies import MET, NEVER, WAIT, check_type, verdict
from cluster.local.events import Array, Changes, Job, Known
from cluster.spec import Dependency, JobSpec

if TYPE_CHECKING:
    from cluster.local.queue_state import QueueState

__all__ = ["submit", "withdraw"]


def submit(queue: QueueState, event: ev.Submit, now: float) -> None:
    needs = _check_all(queue, event.specs)
    ids: list[int] = []
    next_id = queue.next_id
    for spec in event.specs:
        ids.append(next_id)
        next_id += 1 + (spec.array.count if spec.array else 0)
    waits = [_resolve(queue, spec, at, ids, event) for at, spec in enumerate(event.specs)]
    queue.next_id = next_id
    specs = [_named(spec, ids) for spec in event.specs]
    queue.changes.meta["next_id"] = next_id
    for id, spec, need, wait in zip(ids, specs, needs, waits, strict=True):
        queue.changes.requests[id] = spec
        _add(queue, id, spec, need, wait, event, now)
    labels = [str(id) for id in ids]
    queue.changes.keys[event.key] = labels
    queue._effects.append(ev.Reply(event.to, labels))


def withdraw(queue: QueueState, changes: Changes, now: float) -> set[int]:
    """Let the submissions among these changes, which could not be written, never have been.

    They were made in the turn that just ended, so nobody knows of them; their
    ids are not given again.

    Args:
        queue: its current turn must be empty.
        changes: of that turn; the rest of it is kept.

    Returns:
        The raw ids that there are no more.
    """
    gone: set[int] = set()
    for id, spec in changes.requests.items():
        gone.update(range(id, id + 1 + (spec.array.count if spec.array else 0)))
    for id in changes.requests:
        for raw in [*queue.elements.get(id, ()), id]:
            entry = queue.jobs.get(raw) or queue.arrays.get(raw)
            if isinstance(entry, Job):
                queue.release_cores(entry, now)
            if entry is not None:
                for target, _ in entry.unmet:
                    queue.waiters[target].remove(raw)
    for waiting in [id for id in queue.waiting if id in gone]:
        queue.waiting.remove(waiting)
    for table in (queue.jobs, queue.arrays, queue.assigned, queue.elements, queue.parked,
                  queue.waiters,
                  changes.jobs, changes.arrays, changes.contents, changes.requests,
                  queue.changes.jobs, queue.changes.arrays):  # fmt: skip
        for id in gone & table.keys():
            del table[id]
    changes.keys.clear()
    return gone


def _check_all(queue: QueueState, specs: Sequence[JobSpec]) -> list[resources.Vector]:
    needs: list[resources.Vector] = []
    before = None
    for spec in specs:
        needs.append(needs[-1] if spec is before else _check(queue, spec))
        before = spec
    return needs


def _check(queue: QueueState, spec: JobSpec) -> resources.Vector:
    need = resources.need(
        queue.names,
        cores=spec.cores,
        memory_mib=spec.memory_mib,
        gpus=spec.gpus,
        resources=spec.resources,
    )
    short = resources.short(queue.names, need, queue.machine)
    if short:
        has = ", ".join(resources.told(queue.names, queue.machine))
        raise Unsatisfiable(
            f"job {spec.name!r} {short[0].partition(',')[0]}; this queue has {has}."
            " Ask for less, or see `cluster doctor` for what limits the machine."
        )
    for dependency in spec.dependencies:
        check_type(dependency)
    return need


def _resolve(
    queue: QueueState, spec: JobSpec, at: int, ids: list[int], event: ev.Submit
) -> tuple[set[tuple[int, str]], list[tuple[str, str]]]:
    """Give (what to wait for, what can never hold) of one job."""
    unmet: set[tuple[int, str]] = set()
    never: list[tuple[str, str]] = []
    met = False
    for dependency in spec.dependencies:
        if dependency.type == "aftercorr":
            if _corresponds(queue, spec, dependency, event):
                continue
            dependency = Dependency(dependency.job, "afterok")
        if dependency.job.startswith("@"):
            unmet.add((_earlier(queue, dependency, at, ids, spec), dependency.type))
            continue
        here = queue.known_here(dependency.job) or event.known.get(dependency.job)
        if here is None:
            raise UnknownDependency(
                f"job {spec.name!r} depends on job {dependency.job}, which this queue does not"
                " know. `cluster list --all` shows the ids it knows."
            )
        answer, raw, why = _look(queue, here, dependency)
        if answer == WAIT:
            unmet.add((raw, dependency.type))
        elif answer != MET:
            never.append((dependency.job, why))
        met = met or answer == MET
    if spec.either and met:
        return set(), []
    return unmet, [] if spec.either and unmet else never


def _corresponds(
    queue: QueueState, spec: JobSpec, dependency: Dependency, event: ev.Submit
) -> bool:
    """Tell whether each element waits for one element of another array."""
    if spec.array is None:
        return False
    if isinstance(queue.known_here(dependency.job), Array):
        return True
    labels = (f"{dependency.job}_{index}" for index in spec.array.indices())
    return any(queue.known_here(each) or each in event.known for each in labels)


def _add_corresponding(queue: QueueState, array: Array, event: ev.Submit, now: float) -> None:
    """Make jobs of their own of elements that each wait for their like in another array."""
    assert array.spec.array is not None
    for dependency in array.spec.dependencies:
        if dependency.type != "aftercorr" or not _corresponds(queue, array.spec, dependency, event):
            continue
        for position, index in enumerate(array.spec.array.indices()):
            label = f"{dependency.job}_{index}"
            here = queue.known_here(label) or event.known.get(label)
            if here is None:
                continue
            answer, raw, why = _look(queue, here, Dependency(label))
            if answer == MET:
                continue
            job = queue.jobs.get(array.id + 1 + position) or queue.touch(array, position)
            if answer == WAIT:
                job.unmet.add((raw, "afterok"))
                queue.waiters.setdefault(raw, []).append(job.id)
            else:
                settling.cannot(queue, job, why, now)
            queue.write(job)


def _named(spec: JobSpec, ids: list[int]) -> JobSpec:
    """Give the jobs of the same submission that it depends on ("@0") their ids."""
    if not spec.dependencies or not any(each.job[0] == "@" for each in spec.dependencies):
        return spec
    named = tuple(
        Dependency(str(ids[int(each.job[1:])]), each.type) if each.job[0] == "@" else each
        for each in spec.dependencies
    )
    return msgspec.structs.replace(spec, dependencies=named)


def _earlier(
    queue: QueueState, dependency: Dependency, at: int, ids: list[int], spec: JobSpec
) -> int:
    place = dependency.job[1:]
    if not place.isdecimal() or int(place) >= at:
        raise UnknownDependency(
            f"job {spec.name!r} depends on {dependency.job}, which is itself or comes after it:"
            " dependencies form a cycle. List a job after those it depends on."
        )
    return ids[int(place)]


def _look(queue: QueueState, here: Any, dependency: Dependency) -> tuple[str, int, str]:
    """Give (verdict, raw id to wait for, why it can never hold)."""
    if isinstance(here, Known):
        why = f"Dependency {dependency.job} {settling.story(here)}"
        return verdict(dependency.type, here.state), 0, why
    if isinstance(here, tuple):
        array, position = here
        return WAIT, array.id + 1 + position, ""
    if isinstance(here, Array):
        failed = sum(n for s, n in here.counts.items() if s != states.COMPLETED)
        if dependency.type == "afterok" and failed:
            return NEVER, here.id, f"Dependency {dependency.job} has {failed} failed elements"
        begun = here.started_count == here.count
        return (MET if dependency.type == "after" and begun else WAIT), here.id, ""
    begun = here.attempt - here.assigned > 0  # the attempt of an assigned job is still to come
    return (MET if dependency.type == "after" and begun else WAIT), here.id, ""


def _add(
    queue: QueueState,
    id: int,
    spec: JobSpec,
    need: resources.Vector,
    wait: tuple[set[tuple[int, str]], list[tuple[str, str]]],
    event: ev.Submit,
    now: float,
) -> None:
    unmet, never = wait
    state = states.HELD if spec.hold else states.PENDING
    entry: Job | Array
    if spec.array is not None:
        entry = Array(
            id=id, spec=spec, need=need, count=spec.array.count, rest=state, submitted=now,
            priority=spec.priority, unmet=unmet,
        )  # fmt: skip
        queue.arrays[id] = entry
    else:
        entry = Job(
            id=id, label=str(id), spec=spec, need=need, state=state, submitted=now,
            priority=spec.priority, unmet=unmet,
        )  # fmt: skip
        queue.jobs[id] = entry
    queue.write(entry)
    for target, _ in unmet:
        queue.waiters.setdefault(target, []).append(id)
    for _, why in never:
        settling.cannot(queue, entry, why, now)
    if isinstance(entry, Array):
        _add_corresponding(queue, entry, event, now)
    queue.admit(entry, now)
