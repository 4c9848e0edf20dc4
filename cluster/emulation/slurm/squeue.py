"""squeue: the jobs that the controller remembers."""

from __future__ import annotations

import os
import pwd
import re
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from cluster.emulation.call import Call, Stop
from cluster.emulation.machine import Row
from cluster.emulation.slurm import jobs, site
from cluster.emulation.slurm.dependency import One
from cluster.emulation.slurm.getopt import Options
from cluster.emulation.slurm.indices import BadArray, ids_of
from cluster.emulation.slurm.jobs import COMPACT, View
from cluster.emulation.slurm.squeue_fields import LETTERS, NAMES, Line, by_letter
from cluster.emulation.slurm.steps import lines_of
from cluster.emulation.slurm.table import Column, long_columns, render, short_columns
from cluster.emulation.slurm.usage import usage
from cluster.states import FINAL

__all__ = ["Conditions", "lines", "squeue"]

_OPTIONS = Options(
    """
account A = accounts
accounts - = accounts
all a -
array r -
array-unique - -
cluster - = clusters
clusters M = clusters
federation - -
format o =
Format O =
help - -
hide - -
iterate i =
job - ? jobs
jobs j ? jobs
json - -
licenses L =
local - -
long l -
me - -
name n =
noconvert - -
node - = nodelist
nodes - = nodelist
nodelist w =
noheader h -
partition p =
priority P -
qos q =
reservation R =
sib - - sibling
sibling - -
sort S =
start - -
states t =
steps s ? steps
usage - -
user u =
users - = user
verbose v -
version V -
yaml - -
"""
)
_DEFAULT = "%.18i %.9P %.8j %.8u %.2t %.10M %.6D %R"
_LONG = "%.18i %.9P %.8j %.8u %.8T %.10M %.9l %.6D %R"
_START = "%.18i %.9P %.8j %.8u %.2t %.19S %.6D %20Y %R"
_STEPS = "%.15i %.8j %.9P %.8u %.9M %N"
_VARIABLES = {
    "SQUEUE_ACCOUNT": "accounts", "SQUEUE_FORMAT": "format", "SQUEUE_FORMAT2": "Format",
    "SQUEUE_NAMES": "name", "SQUEUE_PARTITION": "partition", "SQUEUE_QOS": "qos",
    "SQUEUE_SORT": "sort", "SQUEUE_STATES": "states", "SQUEUE_USERS": "user",
    "SQUEUE_ARRAY": "array", "SQUEUE_ALL": "all", "SLURM_CLUSTERS": "clusters",
}  # fmt: skip
_INVALID_ID = "slurm_load_jobs error: Invalid job id specified\n"


def squeue(call: Call) -> int:
    """List jobs."""
    typed, words = site.options(call, _OPTIONS)
    given: dict[str, str] = {}
    for key, value in typed:  # a later --format takes the place of an earlier --Format
        if key in ("format", "Format"):
            given.pop("Format" if key == "format" else "format", None)
        given[key] = value
    if "version" in given:
        call.out(site.VERSION + "\n")
        return 0
    if words and "jobs" in given and not given["jobs"]:
        given["jobs"] = words.pop(0)  # -j 12: the blank is allowed
    if words or given.keys() & {"usage", "help"}:
        if words:
            call.err(f"squeue: error: Unrecognized option: {words[0]}\n")
        text = usage("squeue", "", _OPTIONS)
        (call.err if words else call.out)(text)
        return 1 if words else 0
    for name, key in _VARIABLES.items():
        said = call.variable(name)
        formats = {"format", "Format"}
        if said is not None and not (given.keys() & (formats if key in formats else {key})):
            given[key] = said
    site.check_clusters(call, given.get("clusters", ""))
    return _list(call, given)


def _list(call: Call, given: Mapping[str, str]) -> int:
    if "iterate" in given:
        return _repeat(call, given)
    if "json" in given or "yaml" in given:
        from cluster.emulation.slurm.json_jobs import dump

        call.out(dump(call, "yaml" if "yaml" in given else "json"))
        return 0
    if "steps" in given:
        return _list_steps(call, given)
    now = time.time()
    chosen = lines(call, given, now)
    if "long" in given and "noheader" not in given:
        call.out(time.strftime("%a %b %d %H:%M:%S %Y\n", time.localtime(now)))
    columns = _columns(call, given)
    call.out(render(columns, chosen, heading="noheader" not in given))
    return 0


def _repeat(call: Call, given: Mapping[str, str]) -> int:
    seconds = given["iterate"]
    if not seconds.isdigit() or seconds == "0":
        site.fail(call, f"--iterate={seconds}\n")
    once = {key: value for key, value in given.items() if key != "iterate"}
    while True:
        call.out(time.strftime("%a %b %d %H:%M:%S %Y\n"))
        _list(call, once)
        if call.is_gone(float(seconds)):
            return 0
        call.out("\n")


def _columns(call: Call, given: Mapping[str, str]) -> list[Column[Line]]:
    if "Format" in given:
        columns, unknown = long_columns(given["Format"], NAMES)
        for name in unknown:
            call.err(f"squeue: error: Invalid job format specification: {name}\n")
        return columns
    default = _START if "start" in given else _LONG if "long" in given else _DEFAULT
    columns, unknown = short_columns(given.get("format", default), LETTERS)
    for name in unknown:
        call.err(f"squeue: error: Invalid job format specification: {name}\n")
    return columns


# ---------------------------------------------------------------- choosing


def lines(call: Call, given: Mapping[str, str], now: float) -> list[Line]:
    """Give the jobs that the options choose, in order."""
    states = _states(call, given.get("states"))
    wanted = _ids(call, given)
    rows = _rows(call, wanted, states, now, folded="array" not in given)
    conditions = Conditions(call, rows)
    views = jobs.grouped(rows, now, apart="array" in given)
    keep = _filter(call, given, states)
    form = call.variable("SLURM_TIME_FORMAT") or ""
    host, user = call.machine.host, call.machine.user
    chosen = [Line(view, host, user, form, conditions.status) for view in views if keep(view)]
    return _sorted(call, chosen, given.get("sort"), start="start" in given)


def _ids(call: Call, given: Mapping[str, str]) -> list[str] | None:
    if not given.get("jobs"):
        return None
    words = re.findall(r"[^,\[]+(?:\[[^\]]*\])?", given["jobs"])
    for word in words:
        try:
            ids_of(word)
        except BadArray:
            site.fail(call, f"Invalid job id: {word}")
    return words


def _states(call: Call, text: str | None) -> set[str] | None:
    """Read `-t`; None is the default."""
    if text is None:
        return None
    if text.lower() == "all":
        return set(COMPACT)
    found = set()
    short = {letters: name for name, letters in COMPACT.items()}
    for word in text.split(","):
        name = short.get(word.upper(), word.upper())
        if name not in COMPACT:
            call.err(f"squeue: error: Invalid job state specified: {word}\n")
            names = ",".join(COMPACT)
            raise Stop(f"squeue: error: Valid job states include: {names}\n\n", 1)
        found.add(name)
    return found


def _rows(
    call: Call, wanted: Sequence[str] | None, states: set[str] | None, now: float, *, folded: bool
) -> list[Row]:
    machine = call.machine
    if wanted is None:
        return jobs.recent(machine, now, live_only=not _shows_ended(states), folded=folded)
    found = jobs.find(machine, wanted, folded=folded)
    kept = [row for row in found if not row.done or row.info.ended >= now - site.MIN_JOB_AGE_S]
    if len(wanted) == 1 and not kept:
        raise Stop(_INVALID_ID, 1)
    return kept


def _shows_ended(states: set[str] | None) -> bool:
    return states is not None and bool(states & FINAL)


def _filter(
    call: Call, given: Mapping[str, str], states: set[str] | None
) -> Callable[[View], bool]:
    user = call.machine.user
    users = _words(given.get("user")) + ([user] if "me" in given else [])
    mine = not users or any([_is_user(call, name) for name in users])
    names, partitions = _words(given.get("name")), _words(given.get("partition"))
    accounts, qos = _words(given.get("accounts")), _words(given.get("qos"))
    nodes = _words(given.get("nodelist"))
    if nodes and call.machine.host not in nodes and "localhost" not in nodes:
        site.fail(call, f"Invalid node name {nodes[0]}")

    def keep(view: View) -> bool:
        if states is None:
            if view.is_over and not view.info.ending:
                return False
        elif view.state not in states and view.base_state not in states:
            return False
        if "start" in given and not view.is_pending:
            return False
        return (
            mine
            and (not names or view.info.name in names)
            and (not partitions or view.extra.partition in partitions)
            and (not accounts or view.extra.account in accounts)
            and (not qos or view.options.get("qos", "normal") in qos)
            and (not nodes or view.ran)
        )

    return keep


def _words(text: str | None) -> list[str]:
    return [word for word in (text or "").split(",") if word]


def _is_user(call: Call, name: str) -> bool:
    if name in (call.machine.user, str(os.getuid())):
        return True
    try:
        if not name.isdigit():
            pwd.getpwnam(name)
    except KeyError:
        call.err(f"squeue: error: Invalid user: {name}\n\n")
    return False


def _sorted(call: Call, chosen: list[Line], text: str | None, *, start: bool) -> list[Line]:
    """Order lines; the default is partition, state, and lower priority last."""
    if text is None:
        order = list(COMPACT)
        if start:
            chosen.sort(key=lambda n: n.view.row.array)
            return chosen
        chosen.sort(key=lambda n: (
            n.view.extra.partition, order.index(n.view.state), -n.view.priority,
            n.view.row.array, n.view.row.index or 0,
        ))  # fmt: skip
        return chosen
    for sign, letter in reversed(re.findall(r"([+-]?)(\w)", text)):
        if letter not in LETTERS:
            call.err(f"squeue: error: Invalid sort specification: {letter}\n")
            continue
        chosen.sort(key=partial(_key, letter), reverse=sign == "-")
    return chosen


def _key(letter: str, line: Line) -> Any:
    if letter in "iA":
        return (line.view.row.array, line.view.row.index or 0)
    if letter in "pQ":
        return line.view.priority
    if letter in "tT":
        return list(COMPACT).index(line.view.state)
    if letter == "M":
        return line.view.elapsed_s
    if letter == "S":
        return line.view.info.started or float("inf")
    return by_letter(line, letter)


class Conditions:
    """What became of the jobs that others wait for; asked for once, when first wanted."""

    def __init__(self, call: Call, rows: Sequence[Row]) -> None:
        self._call, self._rows = call, rows
        self._known: dict[str, Row | None] = {}

    def status(self, view: View, one: One) -> str:
        """Say what `dependency.show` wants to know."""
        if not one.job:
            return "unfulfilled" if view.reason == "Dependency" else ""
        row = self._find(one.job)
        if row is None:
            return ""
        state, kind = row.info.state, one.type
        star = "*" if row.is_array else ""
        if kind == "aftercorr" and row.is_array and view.row.index is not None:
            element = self._find(f"{one.job}_{view.row.index}")
            state = element.info.state if element and not view.indices else state
        is_over = state in FINAL and not (row.is_array and not row.info.ended)
        if kind == "after" and (row.info.started or is_over):
            return ""
        failed = row.is_array and any(row.info.counts.get(each) for each in FINAL - {"COMPLETED"})
        if kind == "afterok" and failed:
            return star + "failed"
        if not is_over:
            return star + "unfulfilled"
        good = state == "COMPLETED" and not failed
        if kind in ("afterany", "after") or good == (kind in ("afterok", "aftercorr")):
            return ""
        return star + "failed"

    def _find(self, id: str) -> Row | None:
        if id not in self._known:
            self._known[id] = self._call.machine.row(id)
        return self._known[id]


def _list_steps(call: Call, given: Mapping[str, str]) -> int:
    wanted = {word.partition(".")[0] for word in _words(given["steps"])} or None
    rows = jobs.recent(call.machine, time.time(), live_only=True)
    columns, _ = short_columns(given.get("format", _STEPS), {
        "i": LETTERS["i"], "j": LETTERS["j"], "P": LETTERS["P"], "u": LETTERS["u"],
        "M": LETTERS["M"], "N": LETTERS["N"],
    })  # fmt: skip
    text = []
    for step in lines_of(call, [row for row in rows if wanted is None or row.id in wanted]):
        values = {"i": step.id, "j": step.name, "P": step.partition, "u": call.machine.user,
                  "M": step.elapsed, "N": call.machine.host}  # fmt: skip
        text.append(_step_line(columns, values))
    if "noheader" not in given:
        heads = {"i": "STEPID", "j": "NAME", "P": "PARTITION", "u": "USER", "M": "TIME",
                 "N": "NODELIST"}  # fmt: skip
        text.insert(0, _step_line(columns, heads))
    call.out("".join(text))
    return 0


def _step_line(columns: Sequence[Column[Line]], values: Mapping[str, str]) -> str:
    letters = {id(field): letter for letter, field in LETTERS.items()}
    cells = []
    for column in columns:
        value = values.get(letters.get(id(column.field), ""), "") if column.field else ""
        if column.width:
            cut = value[: column.width]
            value = cut.rjust(column.width) if column.right else cut.ljust(column.width)
        cells.append(value + column.text)
    return "".join(cells) + "\n"
