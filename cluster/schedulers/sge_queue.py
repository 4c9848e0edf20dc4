"""What Grid Engine's qstat prints as XML, read: the jobs of the queue, and its slots.

Pure.  Facts it relies on, seen with 8.1.9:

- An answer may hold several documents, one behind the other: the list of jobs,
  and the details of those that are in error, whose reason stands only there.
- A held job and one that waits for another are both `hqw`; `-r` tells which
  jobs it still waits for.
- `<` inside details is written `%lt;`, and control characters as they are.
- Times have no zone: they are those of the machine that asks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import NamedTuple
from xml.etree import ElementTree

from cluster.errors import QueueError
from cluster.local.wire import JobInfo
from cluster.schedulers.base import Resources
from cluster.schedulers.dialect import Seen, not_started

__all__ = ["limit_s", "mib", "read_jobs", "read_slots"]

MOST_ELEMENTS = 1_000_000  # max_aj_tasks is 75,000; more is no answer of Grid Engine's
_UNSAFE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_DECLARATION = re.compile(r"<\?xml[^>]*\?>")
_RANGE = re.compile(r"(\d{1,9})(?:-(\d{1,9})(?::(\d{1,9}))?)?\Z", re.ASCII)
_STAMP = re.compile(r"[\d/]+ [\d:]+ \[\d+:\d+\]: (?:error: )?")
_MIB = {"": 1 / 1024**2, "b": 1 / 1024**2, "k": 1 / 1024, "m": 1, "g": 1024, "t": 1024**2}


class _Trouble(NamedTuple):
    """A job in error, from its details."""

    id: str
    element: str
    words: str


# ---------------------------------------------------------------- jobs


def read_jobs(text: str, memory_resource: str) -> list[Seen]:
    """Read the answer to `qstat -xml -r` or `qstat -xml -j`, or both.

    Args:
        text: what qstat printed.
        memory_resource: the name of the resource that limits memory.

    Raises:
        QueueError: it is something else, or its end is missing.
    """
    roots = list(_documents(text))
    if not roots:
        raise QueueError("qstat answered nothing, not even that there are no jobs")
    troubles = [one for root in roots for one in _troubles(root)]
    errors = {(one.id, one.element): one.words for one in troubles}
    listed = [job for root in roots if root.tag == "job_info" for job in root.iter("job_list")]
    if any(root.tag == "job_info" for root in roots):
        return [one for job in listed for one in _listed(job, errors, memory_resource)]
    return [_detailed(job) for root in roots for job in _details(root)]


def _documents(text: str) -> Iterator[ElementTree.Element]:
    for part in _DECLARATION.split(_UNSAFE.sub("\ufffd", text)):
        if part.strip():
            try:
                yield ElementTree.fromstring(part.strip().replace("%lt;", "&lt;"))
            except (ElementTree.ParseError, ValueError, LookupError) as error:
                raise QueueError(
                    f"qstat's answer cannot be read ({error}): {part.strip()[:200]!r}"
                ) from None


def _listed(
    job: ElementTree.Element, errors: Mapping[tuple[str, str], str], memory_resource: str
) -> Iterator[Seen]:
    """Give a job, or each element that one entry of the list stands for."""
    id = _id(job)
    state, letters = _state(job), _text(job, "state")
    if not state:
        return
    queue, _, host = _text(job, "queue_name").partition("@")
    asked = {one.get("name", ""): (one.text or "") for one in job.iter("hard_request")}
    slots = _number(_text(job, "slots")) or 1
    waits = tuple(one.text or "" for one in job.iter("predecessor_jobs"))
    for index in _indices(_text(job, "tasks")):
        reason = _reason(letters, waits, errors.get((id, index or "1"), ""))
        yield Seen(
            info=JobInfo(
                id=f"{id}_{index}" if index else id,
                name=_text(job, "full_job_name") or _text(job, "JB_name"),
                state=state,
                index=int(index) if index else None,
                cores=slots,
                memory_mib=round(mib(asked.get(memory_resource, "")) * slots),
                walltime_s=limit_s(asked.get("h_rt", "")),
                submitted=_time(_text(job, "JB_submission_time")),
                started=_time(_text(job, "JAT_start_time")),
                reason=reason,
                host=host,
                dependencies=waits,
            ),
            user=_text(job, "JB_owner"),
            partition=queue or _text(job, "hard_req_queue"),
            requested=asked | ({"error": letters} if "E" in letters else {}),
            stuck="E" in letters and state == "HELD",
        )


def _state(job: ElementTree.Element) -> str:
    """Translate the letters, of which a job has several; "" for one that has ended."""
    letters = _text(job, "state")
    if "E" in letters:
        return "HELD"
    if set(letters) & set("sSTNP"):
        return "SUSPENDED"
    if set(letters) & set("rt"):
        return "RUNNING"
    if "z" in letters:
        return ""
    # Those that wait for a job have this letter as well.
    return "HELD" if "h" in letters and job.find("predecessor_jobs") is None else "PENDING"


def _reason(letters: str, waits: tuple[str, ...], error: str) -> str:
    if "E" in letters:
        return not_started(f"Grid Engine (state {letters})", error)
    if "d" in letters:
        return "Ending: it was deleted"
    if waits and set(letters) & set("wq"):
        return f"Dependency: waits for the end of {', '.join(waits)}"
    if "R" in letters and not set(letters) & set("rt"):
        return "Requeued: Grid Engine runs it again"
    return ""


def _indices(text: str) -> Iterator[str]:
    """Take `3,4` or `1-9:2` apart; "" alone for a job that is no array.

    Raises:
        QueueError: it is neither.
    """
    if not text:
        yield ""
        return
    left = MOST_ELEMENTS
    for part in text.split(","):
        match = _RANGE.match(part.strip())
        if match is None:
            raise QueueError(f"qstat names the elements of an array as {text[:100]!r}")
        first, last = int(match[1]), int(match[2] or match[1])
        numbers = range(first, last + 1, max(1, int(match[3] or 1)))
        left -= len(numbers)
        if left < 0:
            raise QueueError(f"qstat tells of an array with too many elements: {text[:100]!r}")
        yield from map(str, numbers)


# ---------------------------------------------------------------- details


def _details(root: ElementTree.Element) -> Iterator[ElementTree.Element]:
    # Other lists use the same word for their entries.
    return (one for one in root.iter("element") if one.find("JB_job_number") is not None)


def _detailed(job: ElementTree.Element) -> Seen:
    """Read a job's details: which it is, and the mark it carries."""
    context = {
        _text(one, "VA_variable"): _text(one, "VA_value") for one in job.iter("context_list")
    }
    started = max((_seconds(one.text) for one in job.iter("JAT_start_time")), default=0.0)
    return Seen(
        info=JobInfo(
            id=_id(job),
            name=_text(job, "JB_job_name"),
            state="RUNNING" if started else "PENDING",
            submitted=_seconds(_text(job, "JB_submission_time")),
            started=started,
            comment=context.get("comment", ""),
        ),
        user=_text(job, "JB_owner"),
        mark=context.get("mark", ""),
    )


def _troubles(root: ElementTree.Element) -> Iterator[_Trouble]:
    for job in _details(root):
        for task in job.iterfind("JB_ja_tasks/ulong_sublist"):
            words = [one.text or "" for one in task.iter("QIM_message")]
            if words:
                element = _text(task, "JAT_task_number") or "1"
                yield _Trouble(_id(job), element, _STAMP.sub("", "; ".join(words)).strip())


# ---------------------------------------------------------------- slots


def read_slots(text: str, partition: str | None, gpu_resource: str) -> Resources:
    """Add up what `qstat -f -F` shows: slots of queues, memory of machines.

    A queue with a state (`au`: its machine is silent) has slots, and none free.
    `gpu_resource` is what is left of it, for Grid Engine shows no more.

    Raises:
        QueueError: it is something else, or there is no such queue.
    """
    queues = [one for root in _documents(text) for one in root.iter("Queue-List")]
    if not queues:
        where = f"queue {partition!r}" if partition else "any queue"
        raise QueueError(f"Grid Engine shows no machine in {where}; `qconf -sql` lists the queues")
    cores = free = 0
    hosts: dict[str, tuple[float, float, int]] = {}
    for queue in queues:
        total, used = _number(_text(queue, "slots_total")), _number(_text(queue, "slots_used"))
        is_open = not _text(queue, "state")
        cores += total
        free += max(0, total - used - _number(_text(queue, "slots_resv"))) if is_open else 0
        has = {one.get("name", ""): (one.text or "") for one in queue.iter("resource")}
        host = _text(queue, "name").partition("@")[2]
        gpus = int(_float(has.get(gpu_resource, "")))
        left = mib(has.get("mem_free", "")) if is_open else 0.0
        hosts[host] = (mib(has.get("mem_total", "")), left, gpus)
    return Resources(
        cores=cores,
        memory_mib=int(sum(total for total, _, _ in hosts.values())),
        gpus=sum(gpus for _, _, gpus in hosts.values()),
        nodes=len(hosts),
        free_cores=free,
        free_memory_mib=int(sum(left for _, left, _ in hosts.values())),
    )


# ---------------------------------------------------------------- values


def _text(job: ElementTree.Element, name: str) -> str:
    return (job.findtext(name) or "").strip()


def _id(job: ElementTree.Element) -> str:
    id = _text(job, "JB_job_number")
    if not re.fullmatch(r"\d{1,18}", id, re.ASCII):
        raise QueueError(f"qstat tells of a job whose number is {id[:100]!r}")
    return id


def _number(text: str) -> int:
    return int(text) if re.fullmatch(r"\d{1,12}", text, re.ASCII) else 0


def _float(text: str) -> float:
    return float(text) if re.fullmatch(r"\d{1,15}(\.\d{0,15})?", text, re.ASCII) else 0.0


def _seconds(text: str | None) -> float:
    return _float((text or "").strip())


def _time(text: str) -> float:
    """Read `2026-11-21T07:31:21`, local; 0 for anything else."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        return 0.0


def mib(text: str) -> float:
    """Read an amount of memory as Grid Engine writes it: `250M`, `4.445MB`, `1024`."""
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{0,15})?)([a-zA-Z]?)(?:[bB]?s?)", text.strip(), re.ASCII)
    unit = _MIB.get(match[2].lower()) if match else None
    return float(match[1]) * unit if match and unit else 0.0


def limit_s(text: str) -> float:
    """Read a time limit, `3600` or `1:00:00`; 0 for none."""
    match = re.fullmatch(r"(?:(?:(\d{1,9}):)?(\d{1,9}):)?(\d{1,12})", text.strip(), re.ASCII)
    if match is None:
        return 0.0
    return int(match[1] or 0) * 3600.0 + int(match[2] or 0) * 60 + int(match[3])
