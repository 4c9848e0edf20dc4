"""sacct: jobs and their steps, as the books have them."""

from __future__ import annotations

import grp
import os
import pwd
import re
import time
from collections.abc import Iterator, Mapping, Sequence

from cluster.emulation.call import Call, Stop
from cluster.emulation.machine import Row
from cluster.emulation.slurm import jobs, sacct_fields, site, steps
from cluster.emulation.slurm.getopt import Options
from cluster.emulation.slurm.indices import BadArray
from cluster.emulation.slurm.jobs import COMPACT, View
from cluster.emulation.slurm.sacct_fields import Column, Entry
from cluster.emulation.slurm.times import moment
from cluster.emulation.slurm.usage import usage

__all__ = ["sacct"]

_OPTIONS = Options(
    """
accounts A =
account - = accounts
allclusters L -
allocations X -
allusers a -
array - -
associations x =
batch-script B -
brief b -
cluster - = clusters
clusters M =
completion c -
constraints C =
delimiter - =
duplicates D -
endtime E =
env-vars - -
federation - -
file f =
flags F =
format o =
formatted_dump O -
gid g =
group - = gid
helpformat e -
help h -
job - = jobs
jobs j =
json - -
local - -
long l -
name - =
ncpus I =
nnodes i =
nodelist N =
noconvert - -
noheader n -
parsable p -
parsable2 P -
partition r =
qos q =
reason R =
starttime S =
state s =
timelimit-max K =
timelimit-min k =
truncate T -
uid u =
units - =
usage U -
use-local-uid - -
user - = uid
verbose v -
version V -
wckeys W =
whole-hetjob - ?
yaml - -
"""
)


def sacct(call: Call) -> int:
    """List what the books have."""
    typed, words = site.options(call, _OPTIONS, hint=False)
    given: dict[str, str] = {}
    for key, value in typed:
        together = key in ("jobs", "format") and key in given
        given[key] = f"{given[key]},{value}" if together else value
    if "version" in given:
        call.out(site.VERSION + "\n")
        return 0
    if "help" in given or "usage" in given:
        call.out(usage("sacct", "", _OPTIONS))
        return 0
    if "helpformat" in given:
        call.out(_names())
        return 0
    if words:
        lines = ["Unknown arguments:", *(f" {word}" for word in words)]
        call.err("".join(f"sacct: error: {line}\n" for line in lines))
        return 1
    site.check_clusters(call, given.get("clusters", ""))
    columns = _columns(call, given)
    entries = _entries(call, given)
    if "batch-script" in given:
        return _scripts(call, entries)
    if "json" in given or "yaml" in given:
        from cluster.emulation.slurm.json_jobs import dump_books

        call.out(dump_books(call, list(entries)))
        return 0
    call.out(_render(columns, entries, given))
    return 0


def _names() -> str:
    names = [column.name for column in sacct_fields.FIELDS.values() if column.name != "Planned"]
    rows = [names[at : at + 4] for at in range(0, len(names), 4)]
    return "".join(" ".join(f"{name:<19}" for name in row) + "\n" for row in rows)


# ---------------------------------------------------------------- columns


def _columns(call: Call, given: Mapping[str, str]) -> list[tuple[Column, int]]:
    form = given.get("format") or call.variable("SACCT_FORMAT") or sacct_fields.DEFAULT
    if "brief" in given:
        form = sacct_fields.BRIEF
    if "long" in given:
        form = sacct_fields.LONG
    found: list[tuple[Column, int]] = []
    for word in filter(None, form.split(",")):
        name, percent, width = word.strip().partition("%")
        if name.upper() == "ALL":
            found += [(c, c.width) for c in sacct_fields.FIELDS.values() if c.name != "Planned"]
            continue
        column = _column(name)
        if column is None:
            site.fail(call, f'Invalid field requested: "{name}"')
        found.append((column, int(width) if percent and _is_int(width) else column.width))
    return found


def _column(name: str) -> Column | None:
    """Find a field by its name, or by what it begins with."""
    fields, low = sacct_fields.FIELDS, name.lower()
    if low in fields:
        return fields[low]
    return next((c for key, c in sorted(fields.items()) if low and key.startswith(low)), None)


def _is_int(text: str) -> bool:
    return text.lstrip("-").isdigit()


def _render(
    columns: Sequence[tuple[Column, int]], entries: Iterator[Entry], given: Mapping[str, str]
) -> str:
    plain = "parsable2" in given or "parsable" in given
    between = given.get("delimiter", "|") if plain else " "
    last = "" if "parsable2" in given else between
    lines: list[str] = []
    if "noheader" not in given:
        heads = [c.name if plain else _cell(c.name, w, cut=False) for c, w in columns]
        lines.append(between.join(heads) + last)
        if not plain:
            lines.append(" ".join("-" * abs(width) for _, width in columns) + " ")
    for entry in entries:
        values = [c.value(entry) for c, _ in columns]
        if not plain:
            values = [_cell(v, w) for v, (_, w) in zip(values, columns, strict=True)]
        lines.append(between.join(values) + last)
    return "".join(line + "\n" for line in lines)


def _cell(text: str, width: int, *, cut: bool = True) -> str:
    size = abs(width)
    if len(text) > size:
        text = text[: size - 1] + "+" if cut else text[:size]
    return text.ljust(size) if width < 0 else text.rjust(size)


# ---------------------------------------------------------------- choosing


def _entries(call: Call, given: Mapping[str, str]) -> Iterator[Entry]:
    now = time.time()
    wanted = _wanted(call, given)
    rows = _rows(call, given, wanted, now)
    states = _states(call, given.get("state"))
    views = [view for view in jobs.grouped(rows, now, apart="array" in given)]
    views.sort(key=lambda view: (view.row.array, bool(view.indices), view.row.index or 0))
    form = call.variable("SLURM_TIME_FORMAT") or ""
    only = {(id, step) for id, step in wanted or () if step}
    whole = {id for id, step in wanted or () if not step}
    group, unit = _group(), _unit(call, given)
    for view in views:
        if not _is_wanted(call, view, given, states):
            continue
        for entry in _lines(call, view, form, group, unit, is_single="allocations" in given):
            own = {view.info.id, str(view.raw), str(view.row.array)}
            if not only or own & whole or any((id, entry.suffix[1:]) in only for id in own):
                yield entry


def _unit(call: Call, given: Mapping[str, str]) -> str:
    if "noconvert" in given:
        return "B"
    unit = given.get("units", "")[:1].upper()
    if "units" in given and (not unit or unit not in sacct_fields.UNITS):
        site.fail(call, "Invalid unit type", kind="fatal")
    return unit


def _lines(
    call: Call, view: View, form: str, group: str, unit: str, *, is_single: bool
) -> list[Entry]:
    machine = call.machine
    known = steps.read(machine.state_dir, view.raw) if view.ran and not view.indices else []
    mine = [step for step in known if step.attempt == view.info.attempt]

    def entry(*, is_batch: bool = False, step: steps.Step | None = None) -> Entry:
        host, user = machine.host, machine.user
        return Entry(view, user, group, host, form, is_batch, step, mine, unit)

    found = [entry()]
    if view.ran and not is_single and not view.indices:
        found += [entry(is_batch=True)] * view.is_batch + [entry(step=step) for step in mine]
    return found


def _group() -> str:
    try:
        return grp.getgrgid(os.getgid()).gr_name
    except KeyError:
        return str(os.getgid())


def _wanted(call: Call, given: Mapping[str, str]) -> list[tuple[str, str]] | None:
    """Give (id, step) of each job that is named; None without any."""
    if not given.get("jobs"):
        return None
    found = []
    for word in re.findall(r"[^,\[]+(?:\[[^\]]*\])?(?:\.\w+)?", given["jobs"]):
        id, _, step = word.strip().partition(".")
        if not re.fullmatch(r"\d+(_(\d+|\[[\d,:%-]+\]))?(\+\d+)?", id):
            site.fail(call, f"Bad job/step specified: {word}", kind="fatal")
        found.append((id.partition("+")[0], step))
    return found


def _rows(
    call: Call, given: Mapping[str, str], wanted: list[tuple[str, str]] | None, now: float
) -> list[Row]:
    since, until = _moment(call, given, "starttime", now), _moment(call, given, "endtime", now)
    if wanted is not None:
        try:
            found = jobs.find(call.machine, [id for id, _ in wanted], folded="array" not in given)
        except BadArray as error:
            site.fail(call, f"Bad job/step specified: {error}", kind="fatal")
        return found
    if since is None:
        local = time.localtime(now)
        since = time.mktime((*local[:3], 0, 0, 0, 0, 0, -1))
    rows = call.machine.rows(since=since, elements=True, folded="array" not in given)
    return [
        row
        for row in rows
        if (until is None or row.info.submitted <= until)
        and (row.info.ended >= since or not row.info.ended)
    ]


def _moment(call: Call, given: Mapping[str, str], key: str, now: float) -> float | None:
    text = given.get(key)
    if text is None:
        return None
    when = moment(text, now)
    if when is None:
        raise Stop(f"Invalid time specification (pos=0): {text}\n", 1)
    # A time of day that is still to come was yesterday's.
    return when - 86400 if when > now and re.fullmatch(r"[\d:]+", text) else when


def _states(call: Call, text: str | None) -> set[str] | None:
    if not text:
        return None
    short = {letters: name for name, letters in COMPACT.items()}
    found = set()
    for word in text.split(","):
        name = short.get(word.upper(), word.upper())
        if name not in COMPACT:
            site.fail(call, f"unrecognized job state value '{word}'", kind="fatal")
        found.add(name)
    return found


def _is_wanted(call: Call, view: View, given: Mapping[str, str], states: set[str] | None) -> bool:
    if states is not None and view.base_state not in states:
        return False
    if "uid" in given and not any(_is_user(call, name) for name in given["uid"].split(",")):
        return False
    tests = (
        ("name", view.info.name),
        ("partition", view.extra.partition),
        ("accounts", view.extra.account),
        ("qos", view.options.get("qos", "normal")),
        ("nodelist", call.machine.host),
    )
    return all(key not in given or value in given[key].split(",") for key, value in tests)


def _is_user(call: Call, name: str) -> bool:
    if name in (call.machine.user, str(os.getuid())):
        return True
    try:
        if not name.isdigit():
            pwd.getpwnam(name)
    except KeyError:
        site.fail(call, f"Invalid user id: {name}")
    return False


def _scripts(call: Call, entries: Iterator[Entry]) -> int:
    for entry in entries:
        if entry.is_job and entry.view.extra.script:
            with open(entry.view.extra.script, "rb") as file:
                text = file.read()
            call.out(f"Batch Script for {entry.view.id}\n" + "-" * 80 + "\n")
            call.out(text + b"\n")
    return 0
