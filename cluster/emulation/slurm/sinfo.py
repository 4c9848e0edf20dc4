"""sinfo: the partitions and the one node of the pretended cluster."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from cluster.emulation.call import Call, Stop
from cluster.emulation.settings import Partition
from cluster.emulation.slurm import jobs, site
from cluster.emulation.slurm.environment import CLUSTER
from cluster.emulation.slurm.getopt import Options
from cluster.emulation.slurm.table import Column, Field, long_columns, render, short_columns
from cluster.emulation.slurm.times import duration
from cluster.emulation.slurm.usage import usage

__all__ = ["sinfo"]

_OPTIONS = Options(
    """
all a -
cluster - = clusters
clusters M =
dead d -
exact e -
federation F -
format o =
Format O =
future F -
help - -
hide - -
iterate i =
json - -
list-reasons R -
local - -
long l -
nodes n =
noconvert - -
noheader h -
Node N -
partition p =
reservation T -
responding r -
sort S =
states t =
summarize s -
usage - -
verbose v -
version V -
yaml - -
"""
)
_DEFAULT = "%9P %.5a %.10l %.6D %.6t %N"
_LONG = "%9P %.5a %.10l %.10s %.4r %.8h %.10g %.6D %.11T %N"
_SUMMARY = "%9P %.5a %.10l %.16F %N"
_NODES = "%#N %.6D %#P %6t"
_NODES_LONG = "%#N %.6D %#P %.11T %4c %.8z %.6m %.8d %.6w %.8f %20E"
_REASONS = "%20E %9u %19H %N"
_STATES = {"idle": "idle", "alloc": "allocated", "mix": "mixed"}
_VALID = (
    "unknown,down,idle,allocated,?,mixed,future,drain,drained,draining,no_respond,reserved,"
    "perfctrs,cloud,completing,powering_down,powered_down,power_down,powering_up,fail,maint,"
    "reboot,reboot^,unknown"
)
_KNOWN = {*_VALID.split(","), "alloc", "mix", "comp", "drng", "resp", "powering-down", "all",
          "inval", "planned"}  # fmt: skip


@dataclass(frozen=True)
class _Line:
    """A partition, with its node."""

    partition: Partition
    is_default: bool
    host: str
    cores: int
    busy: int
    memory_mib: int
    free_mib: int
    gpus: int
    is_empty: bool = False

    @property
    def state(self) -> str:
        if self.is_empty:
            return "n/a"
        return "idle" if not self.busy else "alloc" if self.busy >= self.cores else "mix"

    @property
    def nodes(self) -> int:
        return 0 if self.is_empty else self.partition.nodes

    @property
    def name(self) -> str:
        return self.partition.name + "*" * self.is_default


def sinfo(call: Call) -> int:
    """List partitions."""
    typed, words = site.options(call, _OPTIONS)
    given = dict(typed)
    if "version" in given:
        call.out(site.VERSION + "\n")
        return 0
    if "help" in given or "usage" in given:
        call.out(usage("sinfo", "", _OPTIONS))
        return 0
    if words:
        site.fail(call, f"Unrecognized option: {words[0]}")
    site.check_clusters(call, given.get("clusters", ""))
    given = _with_environment(call, given)
    if "reservation" in given:
        call.out("No reservations in the system\n")
        return 0
    lines = _lines(call, given)
    if "json" in given:
        from cluster.emulation.slurm.json_jobs import dump_nodes

        call.out(dump_nodes(call, [line.partition.name for line in lines]))
        return 0
    if "long" in given and "noheader" not in given:
        call.out(time.strftime("%a %b %d %H:%M:%S %Y\n"))
    if "list-reasons" in given:
        lines = []
    columns = _columns(call, given, lines)
    call.out(render(columns, _merged(columns, lines), heading="noheader" not in given))
    return 0


def _merged(columns: list[Column[_Line]], lines: list[_Line]) -> list[_Line]:
    """Put partitions that share the node into one line, unless the partition is shown."""
    if any(column.field and column.field.heading == "PARTITION" for column in columns):
        return lines
    seen = {render(columns, [line], heading=False): line for line in reversed(lines)}
    return [line for line in lines if line in seen.values()]


def _with_environment(call: Call, given: dict[str, str]) -> dict[str, str]:
    variables = {"SINFO_FORMAT": "format", "SINFO_PARTITION": "partition", "SINFO_ALL": "all"}
    for name, key in variables.items():
        value = call.variable(name)
        if value is not None and "Format" not in given:
            given.setdefault(key, value)
    return given


def _columns(call: Call, given: Mapping[str, str], lines: list[_Line]) -> list[Column[_Line]]:
    if "Format" in given:
        columns, unknown = long_columns(given["Format"], _NAMES)
    else:
        columns, unknown = short_columns(_form(given, lines), _LETTERS)
    for name in unknown:
        call.err(f"sinfo: error: Invalid job format specification: {name}\n")
    return columns


def _form(given: Mapping[str, str], lines: list[_Line]) -> str:
    if "format" in given:
        return given["format"]
    if "list-reasons" in given:
        return _REASONS
    if "summarize" in given:
        return _SUMMARY
    if "Node" not in given:
        return _LONG if "long" in given else _DEFAULT
    form = _NODES_LONG if "long" in given else _NODES
    width = max([9, *(len(line.host) for line in lines)])
    names = max([9, *(len(line.name) for line in lines)])
    return form.replace("%#N", f"%{width}N").replace("%#P", f"%.{names}P")


def _lines(call: Call, given: Mapping[str, str]) -> list[_Line]:
    machine = call.machine
    there, free = machine.capacity(), machine.free()
    cores, memory = there.get("cores", 1), there.get("memory_mib", 0)
    busy = cores - free.get("cores", cores)
    wanted = _states(call, given.get("states"))
    names = [name for name in given.get("partition", "").split(",") if name]
    used = [row.extra.partition for row in machine.rows(states=jobs.LIVE)]
    default = site.default_partition(call)
    hosts = [host for host in given.get("nodes", "").split(",") if host]
    elsewhere = hosts and machine.host not in hosts and "localhost" not in hosts
    found = []
    for each in site.partitions(call, [*used, *_asked(call, names)]):
        if names and each.name not in names:
            continue
        line = _Line(
            partition=each, is_default=each.name == default, host=machine.host,
            cores=each.cores or cores, busy=busy, memory_mib=each.memory_mib or memory,
            free_mib=free.get("memory_mib", memory), gpus=there.get("gpus", 0),
        )  # fmt: skip
        if elsewhere or "dead" in given or (wanted and line.state not in wanted):
            line = replace(line, is_empty=True)
        if not (line.is_empty and "Node" in given):
            found.append(line)
    return found


def _asked(call: Call, names: list[str]) -> list[str]:
    """Without a list of partitions, every name is one."""
    return [] if call.settings.partitions else names


def _states(call: Call, text: str | None) -> set[str]:
    if not text or text.lower() == "all":
        return set()
    short = {long: name for name, long in _STATES.items()}
    found = set()
    for word in text.lower().replace("&", ",").split(","):
        if word not in _KNOWN:
            raise Stop(
                f'sinfo: error: Bad state string: "{word}"\nsinfo: error: valid states: {_VALID}\n',
                1,
            )
        found.add(short.get(word, word))
    return found


def _limit(line: _Line) -> str:
    limit = line.partition.walltime_s
    return duration(limit) if limit else "infinite"


def _split(line: _Line) -> str:
    return f"{line.busy}/{line.cores - line.busy}/0/{line.cores}"


def _node_split(line: _Line) -> str:
    busy = min(line.nodes, 1) if line.busy else 0
    return f"{busy}/{line.nodes - busy}/0/{line.nodes}"


def _gres(line: _Line) -> str:
    return f"gpu:{line.gpus}" if line.gpus else "(null)"


def _constant(text: str) -> Callable[[_Line], str]:
    return lambda line: text


def _load(line: _Line) -> str:
    return f"{os.getloadavg()[0]:.2f}"


_ROWS: tuple[tuple[str, Callable[[_Line], str], str, str], ...] = (
    ("AVAIL", _constant("up"), "a", "available"),
    ("ACTIVE_FEATURES", _constant("(null)"), "b", "featuresact"),
    ("NODES(A/I)", lambda n: "/".join(_node_split(n).split("/")[:2]), "A", "nodeai"),
    ("MAX_CPUS_PER_NODE", _constant("UNLIMITED"), "B", "maxcpuspernode"),
    ("CPUS", lambda n: str(n.cores), "c", "cpus"),
    ("CPUS(A/I/O/T)", _split, "C", "cpusstate"),
    ("TMP_DISK", _constant("0"), "d", "disk"),
    ("NODES", lambda n: str(n.nodes), "D", "nodes"),
    ("FREE_MEM", lambda n: str(n.free_mib), "e", "freemem"),
    ("REASON", _constant("none"), "E", "reason"),
    ("AVAIL_FEATURES", _constant("(null)"), "f", "features"),
    ("NODES(A/I/O/T)", _node_split, "F", "nodeaiot"),
    ("GROUPS", _constant("all"), "g", "groups"),
    ("GRES", _gres, "G", "gres"),
    ("OVERSUBSCRIBE", _constant("NO"), "h", "oversubscribe"),
    ("TIMESTAMP", _constant("Unknown"), "H", "timestamp"),
    ("PRIO_JOB_FACTOR", _constant("1"), "I", "priorityjobfactor"),
    ("TIMELIMIT", _limit, "l", "time"),
    ("DEFAULTTIME", _constant("n/a"), "L", "defaulttime"),
    ("MEMORY", lambda n: str(n.memory_mib), "m", "memory"),
    ("PREEMPT_MODE", _constant("OFF"), "M", "preemptmode"),
    ("HOSTNAMES", lambda n: "" if n.is_empty else n.host, "n", "nodehost"),
    ("NODELIST", lambda n: "" if n.is_empty else n.host, "N", "nodelist"),
    ("NODE_ADDR", _constant("127.0.0.1"), "o", "nodeaddr"),
    ("CPU_LOAD", _load, "O", "cpusload"),
    ("PRIO_TIER", _constant("1"), "p", "prioritytier"),
    ("PARTITION", lambda n: n.name, "P", "partition"),
    ("ROOT", _constant("no"), "r", "root"),
    ("PARTITION", lambda n: n.partition.name, "R", "partitionname"),
    ("JOB_SIZE", _constant("1-infinite"), "s", "size"),
    ("ALLOWED_ALLOCATING_NODES", _constant("all"), "S", "allocnodes"),
    ("STATE", lambda n: n.state, "t", "statecompact"),
    ("STATE", lambda n: _STATES.get(n.state, n.state), "T", "statelong"),
    ("USER", _constant("Unknown"), "u", "user"),
    ("USER", _constant("Unknown"), "U", "userlong"),
    ("VERSION", _constant("22.05.8"), "v", "version"),
    ("CLUSTER", _constant(CLUSTER), "V", "cluster"),
    ("WEIGHT", _constant("1"), "w", "weight"),
    ("SOCKETS", lambda n: str(n.cores), "X", "sockets"),
    ("CORES", _constant("1"), "Y", "cores"),
    ("S:C:T", lambda n: f"{n.cores}:1:1", "z", "socketcorethread"),
    ("THREADS", _constant("1"), "Z", "threads"),
    ("GRES_USED", _gres, "", "gresused"),
    ("ALLOCMEM", lambda n: str(n.memory_mib - n.free_mib), "", "allocmem"),
    ("COMMENT", _constant("(null)"), "", "comment"),
    ("PORT", _constant("6818"), "", "port"),
)  # fmt: skip
_LETTERS = {letter: Field(head, value) for head, value, letter, _ in _ROWS if letter}
# `OVERSUBS` where it is narrow, as sinfo cuts it; and STATE by its long name.
_NAMES = {name: Field(head, value) for head, value, _, name in _ROWS}
_NAMES["state"] = _NAMES["statelong"]
