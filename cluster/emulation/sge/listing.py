"""qstat: which jobs, and which of the tables."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from cluster import states
from cluster.emulation.call import Call, Stop
from cluster.emulation.machine import Row
from cluster.emulation.sge import details, jobs, listing_xml, usage, values
from cluster.emulation.sge.jobs import Line
from cluster.emulation.sge.options import pairs
from cluster.emulation.sge.site import ARCH, Site

__all__ = ["Queue", "View", "qstat", "requests"]

_FINISHED = 100  # finished_jobs as installed
_WIDE = 113
_STATES = re.compile(r"(?:h[uosdja]?|[prsza])+\Z")
_WITH_VALUE = ("-u", "-s", "-q", "-pe", "-g", "-l", "-U", "-qs", "-explain")
_FLAGS = ("-f", "-xml", "-r", "-ext", "-pri", "-urg", "-t", "-ne", "-ncb", "-hard", "-soft")


@dataclass
class View:
    """How qstat was asked.

    Attributes:
        on: flags, without the dash.
        values: of options with one.
        attributes: of -F; None without it.
    """

    on: set[str] = field(default_factory=set)
    values: dict[str, str] = field(default_factory=dict)
    attributes: list[str] | None = None
    jobs: str | None = None

    @property
    def by_queue(self) -> bool:
        return "f" in self.on or self.attributes is not None or "explain" in self.values

    @property
    def by_slot(self) -> bool:
        return "t" in self.on or "t" in self.values.get("g", "")


@dataclass
class Queue:
    """A queue on its host, for `-f`."""

    name: str
    host: str
    total: int
    lines: list[Line]
    resources: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def used(self) -> int:
        return sum(line.slots for line in self.lines)


# ---------------------------------------------------------------- asking


def qstat(call: Call) -> int:
    """List jobs and queues."""
    view = _read(call.argv)
    if view is None:
        call.out(usage.text("qstat"))
        return 0
    if view.jobs is not None:
        return details.show(call, view.jobs, xml="xml" in view.on)
    rows = _rows(call, view)
    site = Site(call, used={row.extra.partition for row in rows if row.extra.partition})
    wanted = view.values.get("q", "")
    queues = [q for q in site.queues if not wanted or _named(q, wanted, site.host)]
    if not queues:
        return 1
    if "c" in view.values.get("g", ""):
        call.out(_clusters(site, queues, rows))
        return 0
    listed = [line for line in _lines(rows, view) if _in_queue(line, wanted, site.host)]
    if view.by_queue:
        by_queue = _by_queue(call, site, queues, listed, rows, view)
        waiting = [line for line in listed if not line.is_running]
        if "xml" in view.on:
            call.out(listing_xml.by_queue(by_queue, waiting, "r" in view.on))
        else:
            call.out(_full(by_queue, waiting, view))
        return 0
    call.out(listing_xml.jobs(listed, view.on) if "xml" in view.on else _table(listed, view))
    return 0


def _read(argv: Sequence[str]) -> View | None:
    view, words = View(), list(argv)
    while words:
        word = words.pop(0)
        following = words[0] if words and not words[0].startswith("-") else None
        if word == "-help":
            return None
        if word == "-j":
            view.jobs = words.pop(0) if following is not None else ""
        elif word == "-F":
            view.attributes = (words.pop(0) if following is not None else "").split(",")
        elif word in _FLAGS:
            view.on.add(word[1:])
        elif word in _WITH_VALUE and words:
            value = words.pop(0)
            if word == "-s" and not _STATES.match(value):
                raise _wrong("")
            view.values[word[1:]] = value
        else:
            raise _wrong(f'invalid option argument "{word}"\n')
    return view


def _wrong(text: str) -> Stop:
    return Stop(usage.text("qstat") + text, 1)


def _rows(call: Call, view: View) -> list[Row]:
    user = view.values.get("u")
    if user is not None and not any(fnmatchcase(call.machine.user, u) for u in user.split(",")):
        return []
    wanted = re.sub("(?<!h)a", "prs", view.values.get("s", "prs"))
    rows = jobs.alive(call.machine, each="d" in view.values.get("g", ""))
    if "z" in wanted:
        final = tuple(states.FINAL)
        found = call.machine.rows(states=final, limit=_FINISHED)
        over = [row for row in found if row.info.state in final and not row.info.ending]
        rows = over + ([] if wanted == "z" else rows)
    return [row for row in rows if _is_wanted(row, wanted)]


def _is_wanted(row: Row, wanted: str) -> bool:
    letters = jobs.letters(row)
    if letters == "z":
        return "z" in wanted
    if "h" in wanted:
        if not re.search(r"[prs]", re.sub(r"h[uosdja]", "", wanted)):
            return _is_held(row, wanted)
        if _is_held(row, wanted):
            return True
    plain = re.sub(r"h[uosdja]?", "", wanted)
    if row.info.state == states.SUSPENDED:
        return "s" in plain
    if row.info.state in states.ACTIVE or row.info.ending:
        return "r" in plain
    return "p" in plain


def _is_held(row: Row, wanted: str) -> bool:
    kinds = set(re.findall(r"h([uosdja])", wanted)) or set("uosdja")
    found = set(row.extra.options.get("holds", "")) if row.info.state == states.HELD else set()
    if row.info.state == states.HELD and not found and not jobs.is_error(row):
        found = set() if row.extra.options.get("impossible") else {"u"}
    if jobs.waits(row):
        found.add("d" if row.extra.options.get("elements") else "j")
    if row.info.begin > time.time() and row.info.state in (states.PENDING, states.HELD):
        found.add("a")
    return bool(found & kinds)


def _lines(rows: Iterable[Row], view: View) -> list[Line]:
    return jobs.lines(rows, grouped="d" not in view.values.get("g", ""))


def _named(queue: str, wanted: str, host: str) -> bool:
    for part in wanted.split(","):
        name, _, where = part.partition("@")
        here = not where or where.startswith("@") or fnmatchcase(host, where)
        if here and fnmatchcase(queue, name or "*"):
            return True
    return False


def _in_queue(line: Line, wanted: str, host: str) -> bool:
    if not wanted:
        return True
    if line.is_running:
        return _named(line.row.extra.partition, wanted, host)
    asked = line.row.extra.options.get("q", "")
    return not asked or _named(line.row.extra.partition, wanted, host)


# ---------------------------------------------------------------- tables

_HEAD = {
    "": "job-ID  prior   name       user         state submit/start at     queue"
    "                          slots ja-task-ID ",
    "slot": "job-ID  prior   name       user         state submit/start at     queue"
    "                          master ja-task-ID ",
    "t": "job-ID  prior   name       user         state submit/start at     queue"
    "                          master ja-task-ID task-ID state cpu        mem     io"
    "      stat failed ",
}
_MORE = ("ext", "urg", "pri")
_LONGER = {"ext": 79, "urg": 64, "pri": 35}  # what each adds to the rule


def _kind(view: View) -> str:
    more = " ".join(one for one in _MORE if one in view.on)
    return more or ("t" if "t" in view.on else "slot" if view.by_slot else "")


def _head(kind: str) -> tuple[str, int]:
    """Give the titles of a table, and how long the rule below is."""
    if kind in _HEAD:
        return _HEAD[kind], _WIDE if kind == "" else len(_HEAD[kind]) - 1
    ext, urg, pri = (one in kind for one in _MORE)
    titles = (
        "job-ID  prior   ",
        "nurg    " * (pri or urg),
        "npprior " * pri,
        "ntckts  " * (pri or ext),
        "urg      rrcontr  wtcontr  dlcontr  " * urg,
        " ppri " * pri,
        "name       user         ",
        "project          department " * ext,
        "state ",
        "submit/start at     " * (urg or pri),
        " deadline           " * urg,
        "cpu        mem     io      tckts ovrts otckt ftckt stckt share " * ext,
        "queue                          slots ja-task-ID ",
    )
    return "".join(titles), _WIDE + sum(_LONGER[one] for one in kind.split())


def _table(listed: Sequence[Line], view: View) -> str:
    if not listed:
        return ""
    kind = _kind(view)
    head, wide = _head(kind)
    out = [head, "-" * wide]
    for line in listed:
        out += _printed(line, kind)
        if "r" in view.on:
            out += requests(line)
    return "\n".join(out) + "\n"


def _printed(line: Line, kind: str) -> list[str]:
    text = _begin(line, kind) + f"{line.queue:30.30s} "
    if kind in ("slot", "t"):
        word = "MASTER" if line.is_running else ""
        first = f"{text}{word:6s} {_tasks(line)}"
        more = f"{'':66s}{line.queue:30.30s} SLAVE  {_tasks(line)}"
        return [first, *([more] * (line.slots - 1) if line.is_running and line.slots > 1 else [])]
    return [f"{text}{line.slots:5d} {_tasks(line)}"]


def _tasks(line: Line) -> str:
    return line.tasks or " " * 7


def _begin(line: Line, kind: str = "") -> str:
    info = line.row.info
    tickets, urgency = f"{0.5 if line.prior else 0.0:.5f} ", f"{1000 * line.slots:8d} "
    ext, urg, pri = (one in kind for one in _MORE)
    project = line.row.extra.options.get("P", "") or "NA"
    parts = (
        f"{line.row.array:7d} {line.prior:.5f} ",
        "0.00000 " * (pri or urg),
        tickets * pri,
        tickets * (pri or ext),
        f"{urgency}{urgency}{0:8d} {0:8d} " * urg,
        f"{info.priority:5d} " * pri,
        f"{info.name:10.10s} {line_owner(line):12.12s} ",
        f"{project:16.16s} defaultdep " * ext,
        f"{line.state:5.5s} ",
        f"{values.clock(line.when)} " * (urg or pri or not ext),
        " " * 20 * urg,
        _used(line) * ext,
    )
    return "".join(parts)


def _used(line: Line) -> str:
    text = f"{'':26s}"
    if line.is_running:
        cpu = int(line.row.info.cpu_s)
        spent = f"{cpu // 86400}:{cpu // 3600 % 24:02}:{cpu // 60 % 60:02}:{cpu % 60:02}"
        text = f"{spent:10s} 0.00000 0.00000"
    return f"{text} {0:5d} {0:5d} {0:5d} {0:5d} {0:5d} 0.00  "


def line_owner(line: Line) -> str:
    """Give whose job it is."""
    return line.row.extra.options.get("user", "")


def requests(line: Line) -> list[str]:
    """Give what `-r` puts under a job."""
    options, indent = line.row.extra.options, " " * 7
    out = [f"{indent}Full jobname:     {line.row.info.name}"]
    if line.is_running:
        out.append(f"{indent}Master Queue:     {line.queue}")
    if pe := options.get("pe"):
        out.append(f"{indent}Requested PE:     {pe}")
        if line.is_running:
            name, _, _ = pe.partition(" ")
            out.append(f"{indent}Granted PE:       {name} {line.slots}")
    for title, key in (("Hard", "l"), ("Soft", "soft l")):
        asked = [f"{name}={'TRUE' if value is None else value} (0.000000)"
                 for name, value in pairs(options.get(key, "")).items()]  # fmt: skip
        out.append(f"{indent}{title} Resources:   {asked[0] if asked else ''}")
        out += [f"{'':25s}{one}" for one in asked[1:]]
    for key, title in (("q", "Hard requested queues"), ("soft q", "Soft requested queues")):
        if queues := options.get(key):
            out.append(f"{indent}{title}: {queues.replace(',', ', ')}")
    for key, kept, title in (
        ("hold_jid", "waits", "Jobs"),
        ("hold_jid_ad", "elements", "Array Jobs"),
    ):
        if asked_for := options.get(key):
            out.append(f"{indent}Predecessor {title} (request): {asked_for.replace(',', ', ')}")
        if options.get(kept) and jobs.waits(line.row):
            out.append(f"{indent}Predecessor {title}: {options[kept].replace(',', ', ')}")
    return [*out, f"{indent}Binding:          NONE"]


# ---------------------------------------------------------------- by queue


def _by_queue(
    call: Call, site: Site, queues: Sequence[str], listed: Sequence[Line], rows: Sequence[Row],
    view: View,
) -> list[Queue]:  # fmt: skip
    found = []
    for name in queues:
        running = [line for line in listed
                   if line.is_running and line.row.extra.partition == name]  # fmt: skip
        queue = Queue(name, site.host, site.slots(name), running)
        if view.attributes is not None:
            queue.resources = _resources(call, site, queue, view.attributes)
        if running or "ne" not in view.on:
            found.append(queue)
    return found


def _resources(
    call: Call, site: Site, queue: Queue, wanted: Sequence[str]
) -> list[tuple[str, str, str]]:
    """Give (where it comes from, name, value) of what `-F` shows."""
    from cluster.emulation.sge import places

    known = places.load(call.machine)
    known["slots"] = ("qc", str(max(0, queue.total - queue.used)))
    known["qname"] = ("qf", queue.name)
    known["hostname"] = ("qf", site.host)
    return [
        (kind, name, value)
        for name, (kind, value) in known.items()
        if not any(wanted) or name in wanted
    ]


def _full(queues: Sequence[Queue], waiting: Sequence[Line], view: View) -> str:
    load = os.getloadavg()[0]
    out = ["queuename                      qtype resv/used/tot. load_avg arch          states"]
    for queue in queues:
        name, slots = f"{queue.name}@{queue.host}", f"0/{queue.used}/{queue.total}"
        out += ["-" * 81, f"{name:30.30s} BIP   {slots:14s} {load:<8.2f} {ARCH:13s} "]
        out += [f"\t{kind}:{name}={value}" for kind, name, value in queue.resources]
        for line in queue.lines:
            out.append(f"{_begin(line)}{line.slots:5d} {_tasks(line)}")
            out += requests(line) if "r" in view.on else []
    if waiting:
        rule = "#" * 76
        title = " - ".join(["PENDING JOBS"] * 5)
        out += ["", rule, f" - {title}", rule]
        for line in waiting:
            out.append(f"{_begin(line)}{line.slots:5d} {_tasks(line)}")
            out += requests(line) if "r" in view.on else []
    return "\n".join(out) + "\n"


def _clusters(site: Site, queues: Sequence[str], rows: Sequence[Row]) -> str:
    head = "CLUSTER QUEUE                   CQLOAD   USED    RES  AVAIL  TOTAL aoACDS  cdsuE  "
    out = [head, "-" * 80]
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    for name in queues:
        used = sum(
            row.extra.cores for row in rows
            if row.info.state in states.ACTIVE and row.extra.partition == name
        )  # fmt: skip
        total = site.slots(name)
        free = max(0, total - used)
        out.append(
            f"{name:30.30s} {load:7.2f} {used:6d} {0:6d} {free:6d} {total:6d} {0:6d} {0:6d} "
        )
    return "\n".join(out) + "\n"
