"""qstat -xml: the lists of jobs and queues."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from cluster.emulation.sge import jobs as jobs_of_sge
from cluster.emulation.sge import values
from cluster.emulation.sge.jobs import Line
from cluster.emulation.sge.options import pairs
from cluster.emulation.sge.site import ARCH

if TYPE_CHECKING:
    from cluster.emulation.sge.listing import Queue

__all__ = ["SCHEMAS", "by_queue", "escaped", "jobs", "tag"]

SCHEMAS = "http://arc.liv.ac.uk/repos/darcs/sge/source/dist/util/resources/schemas"
_HEAD = f"<?xml version='1.0'?>\n<job_info  xmlns:xsd=\"{SCHEMAS}/qstat/qstat.xsd\">\n"


def escaped(text: str) -> str:
    """Write text for XML as qstat does."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text.replace("'", "&apos;").replace('"', "&quot;")


def tag(name: str, value: object) -> str:
    """Write an element with text in it."""
    return f"<{name}>{escaped(str(value))}</{name}>"


def jobs(listed: Sequence[Line], on: Collection[str]) -> str:
    """Write the list of jobs: those that run, then those that wait."""
    running = "".join(_job(line, on, "    ") for line in listed if line.is_running)
    waiting = "".join(_job(line, on, "    ") for line in listed if not line.is_running)
    return (
        f"{_HEAD}  <queue_info>\n{running}  </queue_info>\n"
        f"  <job_info>\n{waiting}  </job_info>\n</job_info>\n"
    )


def by_queue(queues: Sequence[Queue], waiting: Sequence[Line], requests: bool) -> str:
    """Write the queues with their jobs, then the jobs that wait."""
    on = {"r"} if requests else set()
    load = os.getloadavg()[0]
    out = [f"{_HEAD}  <queue_info>\n"]
    for queue in queues:
        facts = {
            "name": f"{queue.name}@{queue.host}",
            "qtype": "BIP",
            "slots_used": queue.used,
            "slots_resv": 0,
            "slots_total": queue.total,
            "load_avg": f"{load:.5f}",
            "arch": ARCH,
        }
        out.append("    <Queue-List>\n")
        out += [f"      {tag(name, value)}\n" for name, value in facts.items()]
        out += [
            f'      <resource name="{name}" type="{kind}">{escaped(value)}</resource>\n'
            for kind, name, value in queue.resources
        ]
        out += [_job(line, on, "      ", queue=False) for line in queue.lines]
        out.append("    </Queue-List>\n")
    out.append("  </queue_info>\n  <job_info>\n")
    out += [_job(line, on, "    ", queue=False) for line in waiting]
    return "".join(out) + "  </job_info>\n</job_info>\n"


def _job(line: Line, on: Collection[str], indent: str, *, queue: bool = True) -> str:
    word = "running" if line.is_running else "zombie" if line.state == "z" else "pending"
    inner = "".join(f"{indent}  {one}\n" for one in _facts(line, on, queue))
    return f'{indent}<job_list state="{word}">\n{inner}{indent}</job_list>\n'


def _facts(line: Line, on: Collection[str], queue: bool) -> Iterable[str]:
    info, options = line.row.info, line.row.extra.options
    tickets = f"{0.5 if line.prior else 0.0:.5f}"
    yield tag("JB_job_number", line.row.array)
    yield tag("JAT_prio", f"{line.prior:.5f}")
    if "ext" in on:
        yield tag("JAT_ntix", tickets)
    if "urg" in on:
        urgency = 1000 * line.slots
        numbers = ("0.00000", urgency, urgency, 0, 0)
        names = ("JB_nurg", "JB_urg", "JB_rrcontr", "JB_wtcontr", "JB_dlcontr")
        yield from map(tag, names, numbers)
    if "pri" in on:
        yield tag("JB_nppri", tickets)
        yield tag("JB_priority", info.priority)
    yield tag("JB_name", info.name)
    yield tag("JB_owner", options.get("user", ""))
    if "ext" in on:
        yield tag("JB_project", options.get("P", ""))
        yield tag("JB_department", "defaultdepartment")
    yield tag("state", line.state)
    if "ext" not in on or "urg" in on or "pri" in on:
        name = "JAT_start_time" if line.is_running else "JB_submission_time"
        yield tag(name, values.iso(line.when))
    if "ext" in on:
        yield from _usage(line)
    if queue:
        yield tag("queue_name", line.queue)
    yield tag("slots", line.slots)
    if line.tasks:
        yield tag("tasks", line.tasks)
    if "r" in on:
        yield from _requests(line)


def _usage(line: Line) -> Iterable[str]:
    if line.is_running:
        yield tag("cpu_usage", f"{line.row.info.cpu_s:.5f}")
        yield tag("mem_usage", "0.00000")
        yield tag("io_usage", "0.00000")
    for name in ("tickets", "JB_override_tickets", "JB_jobshare", "otickets", "ftickets",
                 "stickets"):  # fmt: skip
        yield tag(name, 0)
    yield tag("JAT_share", "0.00000")


def _requests(line: Line) -> Iterable[str]:
    options = line.row.extra.options
    yield tag("full_job_name", line.row.info.name)
    if pe := options.get("pe"):
        name, _, slots = pe.partition(" ")
        yield f'<requested_pe name="{escaped(name)}">{escaped(slots)}</requested_pe>'
        if line.is_running:
            yield f'<granted_pe name="{escaped(name)}">{line.slots}</granted_pe>'
    for word, key in (("hard", "l"), ("soft", "soft l")):
        for name, value in pairs(options.get(key, "")).items():
            text = escaped("TRUE" if value is None else value)
            yield (
                f'<{word}_request name="{escaped(name)}" resource_contribution="0.000000">'
                f"{text}</{word}_request>"
            )
    for part in filter(None, options.get("q", "").split(",")):
        yield tag("hard_req_queue", part)
    kinds = (("hold_jid", "waits", "predecessor_jobs"),
             ("hold_jid_ad", "elements", "ad_predecessor_jobs"))  # fmt: skip
    for asked, kept, name in kinds:
        for part in filter(None, options.get(asked, "").split(",")):
            yield tag(f"{name}_req", part)
        if jobs_of_sge.waits(line.row):
            for part in filter(None, options.get(kept, "").split(",")):
                yield tag(name, part)
    yield tag("binding", "NONE")
