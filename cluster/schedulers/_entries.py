"""A job as it is submitted to a cluster, and as it is remembered.

It reads a `Request`, and decides nothing about the job.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from typing import TypedDict

from cluster import config_file, states
from cluster.errors import OptionsError
from cluster.registry import Entry, Registry
from cluster.schedulers import cluster_scripts
from cluster.schedulers.base import Command, JobInfo, Request
from cluster.schedulers.dialect import Dialect, split_id
from cluster.schedulers.exit_record import path_of
from cluster.spec import ArraySpec, Dependency

__all__ = [
    "Place",
    "arguments_of",
    "entry_of",
    "missing",
    "records_of",
    "resolved",
    "suffix_of",
    "told",
]


class Place(TypedDict):
    """Where the files of a job are: `directory/stem.suffix...`."""

    directory: str
    stem: str
    suffix: str


def missing(request: Request, dialect: Dialect) -> list[str]:
    """List what the request wants and this scheduler has not, as keys of `Dialect.missing`."""
    options, array = request.options, request.options.get("array")
    wanted = ["array"] if array else []
    wanted += ["max_running"] if getattr(array, "max_running", 0) else []
    wanted += [key for key in ("begin", "hold") if options.get(key)]
    wanted += ["requeue_flag"] if options.get("requeue") else []
    for dependency in request.dependencies:
        wanted += [dependency.type, *(["elements"] if "_" in dependency.job else [])]
    return [key for key in dict.fromkeys(wanted) if key in dialect.missing]


def records_of(request: Request, dialect: Dialect, registry: Registry) -> dict[str, list[str]]:
    """List the exit records that the job's script must look at before it begins.

    Raises:
        OptionsError: nobody knows where one of them is.
    """
    found: dict[str, list[str]] = {}
    for kind, id in dialect.guards(request):
        whole, index = split_id(id)
        entry = registry.recall(whole)
        if entry is None or not entry.record:
            raise OptionsError(
                f"dependency {kind}:{id} was not submitted from here, and {dialect.title} "
                "does not tell how a job ended. Use afterany, or submit both from here."
            )
        indices: Iterable[object] = [index] if index else entry.places() or [""]
        found[id] = [path_of(entry.record, str(each)) for each in indices]
    return found


def told(dependencies: Sequence[Dependency]) -> tuple[Dependency, ...]:
    """Leave out those whose id is not known before they are submitted."""
    return tuple(each for each in dependencies if not each.job.startswith("@"))


def resolved(dependency: Dependency, ids: Sequence[str]) -> Dependency:
    """Put the id of a job of the same batch in the place of its number."""
    if not dependency.job.startswith("@"):
        return dependency
    return Dependency(ids[int(dependency.job[1:])], dependency.type)


def arguments_of(request: Request) -> tuple[str, ...]:
    """Give the user's own arguments for the program that submits."""
    return tuple(request.options.get("submit_args") or ())


def suffix_of(request: Request) -> str:
    """Give the part of the files' names that marks them as ours."""
    return str(request.options.get("suffix") or config_file.get("jobs", "suffix"))


def entry_of(
    id: str, request: Request, place: Place, *, mark: str, submission: str, repeated: float = 0.0
) -> Entry:
    """Make what is remembered of a job that has just got its id."""
    where = cluster_scripts.paths(request, **place)
    get = request.options.get
    array, begin = get("array"), get("begin")
    is_function = not isinstance(request.program, Command)
    info = JobInfo(
        id=id,
        name=request.name,
        state=states.HELD if get("hold") else states.PENDING,
        kind="function" if is_function else "command",
        cores=get("cores", 1) * get("tasks", 1),
        memory_mib=get("mem", 0),
        gpus=get("gpus", 0),
        resources=get("resources", {}),
        priority=get("priority", 0),
        submitted=time.time(),
        begin=begin.timestamp() if begin else 0.0,
        walltime_s=get("time", 0.0),
        expect_s=get("expect", 0.0),
        dependencies=tuple(f"{each.type}:{each.job}" for each in request.dependencies),
        comment=get("comment", ""),
        stdout=os.fsencode(where.stdout),
        stderr=os.fsencode(where.stderr),
    )
    even = isinstance(array, ArraySpec)
    return Entry(
        info=info,
        mark=mark,
        repeated=repeated,
        submission=submission,
        record=where.record,
        result=where.result if is_function else "",
        cwd=os.fsdecode(request.cwd),
        words=_words(request),
        arguments=arguments_of(request),
        array=(array.start, array.count, array.step) if isinstance(array, ArraySpec) else (),
        indices=() if even or not array else tuple(array),
        on_unsatisfiable=get("on_unsatisfiable", "cancel"),
    )


def _words(request: Request) -> tuple[str, ...]:
    program = request.program
    if not isinstance(program, Command):
        return (request.key,)
    text = (program.text,) if program.text else ()
    return (*text, *map(os.fsdecode, program.argv))
