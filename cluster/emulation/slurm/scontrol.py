"""scontrol: show what there is, and hold, release, requeue or change jobs."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence

import msgspec

from cluster.emulation.call import Call, Stop
from cluster.emulation.machine import Row
from cluster.emulation.slurm import hostlist, jobs, show, site
from cluster.emulation.slurm.getopt import Options
from cluster.emulation.slurm.indices import BadArray
from cluster.emulation.slurm.jobs import View
from cluster.emulation.slurm.times import minutes, moment
from cluster.emulation.slurm.usage import usage
from cluster.states import FINAL

__all__ = ["scontrol"]

_OPTIONS = Options(
    """
all a -
clusters M =
cluster - = clusters
details d -
federation F -
future - -
help h -
hide - -
local - -
oneliner o -
quiet Q -
sibling - -
uid u =
verbose v -
version V -
"""
)
_INVALID = "Invalid job id specified"


def scontrol(call: Call) -> int:
    """Do one of its commands."""
    typed, words = site.options(call, _OPTIONS)
    given = dict(typed)
    if "version" in given or words[:1] == ["version"]:
        call.out(site.VERSION + "\n")
        return 0
    if "help" in given or words[:1] == ["help"]:
        call.out(usage("scontrol", "COMMAND", _OPTIONS))
        return 0
    site.check_clusters(call, given.get("clusters", ""))
    if not words:
        return _interactive(call, given)
    return _command(call, words, given)


def _interactive(call: Call, given: Mapping[str, str]) -> int:
    code = 0
    for line in call.read_stdin().decode("utf-8", "surrogateescape").splitlines():
        words = line.split()
        if words and words[0] in ("exit", "quit"):
            break
        if words:
            try:
                code = _command(call, words, given)
            except Stop as stop:
                call.err(stop.text)
                code = stop.code
    return code


def _command(call: Call, words: Sequence[str], given: Mapping[str, str]) -> int:
    verb, *rest = words
    if verb in ("show", "write"):
        return (_show if verb == "show" else _write)(call, rest, given)
    if verb in _VERBS:
        if not rest:
            raise Stop(f"too few arguments for keyword:{verb}\n", 1)
        return max(_VERBS[verb](call, verb, word) for word in _ids(rest))
    if verb == "update":
        return _update(call, rest)
    if verb == "ping":
        call.out(f"Slurmctld(primary) at {call.machine.host} is UP\n")
        return 0
    if verb in ("reconfigure", "takeover", "completing", "listpids", "cluster", "token"):
        return 0
    if verb == "notify":
        return _notify(call, rest)
    if verb in _NOT_HERE:
        site.fail(call, f"{verb} is not emulated")
    raise Stop(f"invalid keyword: {verb}\n", 1)


def _ids(words: Sequence[str]) -> list[str]:
    found: list[str] = []
    for word in words:
        text = re.sub(r"(?i)^(jobid|job)=", "", word)
        found += re.findall(r"[^,\[]+(?:\[[^\]]*\])?", text) or [""]
    return found


# ---------------------------------------------------------------- show


def _show(call: Call, words: Sequence[str], given: Mapping[str, str]) -> int:
    if not words:
        raise Stop("too few arguments for keyword:show\n", 1)
    entity, _, value = words[0].partition("=")
    rest = [value] if value else list(words[1:])
    in_one_line = "oneliner" in given
    kind = entity.lower()
    if kind in ("hostnames", "hostname", "hostlist", "hostlistsorted"):
        return _hosts(call, kind, rest)
    if len(kind) > 2 and ("jobs".startswith(kind) or kind == "jobid"):
        return show.show_jobs(call, rest, in_one_line=in_one_line)
    if len(kind) > 2 and "partitions".startswith(kind):
        return show.partitions(call, rest, in_one_line=in_one_line)
    if len(kind) > 2 and "nodes".startswith(kind):
        return show.nodes(call, rest, in_one_line=in_one_line)
    if len(kind) > 2 and "configuration".startswith(kind):
        return show.config(call)
    if len(kind) > 2 and "steps".startswith(kind):
        return show.show_steps(call, rest)
    if kind in _NOTHING:
        call.out(_NOTHING[kind])
        return 0
    raise Stop(f"invalid entity:{entity} for keyword:show \n", 1)


_NOTHING = {
    "daemons": "slurmctld slurmd\n",
    "licenses": "No licenses configured in Slurm.\n",
    "license": "No licenses configured in Slurm.\n",
    "reservations": "No reservations in the system\n",
    "reservation": "No reservations in the system\n",
    "topology": "",
    "federation": "",
    "assoc_mgr": "Current Association Manager state\n",
    "aliases": "",
    "burstbuffer": "",
    "frontend": "",
}


def _hosts(call: Call, kind: str, rest: Sequence[str]) -> int:
    text = ",".join(rest) or call.variable("SLURM_JOB_NODELIST") or call.variable("SLURM_NODELIST")
    if not text:
        call.err("scontrol: error: host list is empty\n")
        return 0
    names = hostlist.expanded(text)
    if kind.startswith("hostname"):
        call.out("".join(name + "\n" for name in names))
    else:
        ordered = sorted(names) if kind.endswith("sorted") else names
        call.out(hostlist.compressed(ordered) + "\n")
    return 0


def _write(call: Call, words: Sequence[str], given: Mapping[str, str]) -> int:
    if len(words) < 2 or not "batch_script".startswith(words[0]):
        raise Stop("too few arguments for keyword:write\n", 1)
    rows = _find(call, words[1])
    script = rows[0].extra.script if rows else ""
    if not script:
        call.err(f"job script retrieval failed: {_INVALID}\n")
        return 0
    with open(script, "rb") as file:
        text = file.read()
    name = words[2] if len(words) > 2 else f"slurm-{words[1]}.sh"
    if name == "-":
        call.out(text)
        return 0
    path = call.path(name)
    with open(path, "wb") as out:
        out.write(text)
    call.out(f'batch script for job {words[1]} written to "{name}"\n')
    return 0


# ---------------------------------------------------------------- verbs


def _find(call: Call, word: str) -> list[Row]:
    try:
        return jobs.find(call.machine, [word])
    except BadArray:
        return []


def _live(call: Call, word: str) -> list[Row]:
    return [row for row in _find(call, word) if row.info.state in jobs.LIVE]


def _targets(rows: Sequence[Row], word: str) -> list[str]:
    return [word] if word.isdigit() and len(rows) > 1 else [row.id for row in rows]


def _turn(call: Call, verb: str, word: str) -> int:
    """Hold, uhold or release."""
    rows = _live(call, word)
    if not rows:
        over = "Job has already finished"
        if any(row.done for row in _find(call, word)):
            raise Stop(f"{over} for job {word}\nslurm_suspend error: {over}\n", 1)
        if verb == "release" and "_" in word:
            raise Stop(f"{word}: {_INVALID}\n", 1)
        raise Stop(f"{_INVALID} for job {word}\nslurm_suspend error: {_INVALID}\n", 1)
    if verb != "release" and all(row.info.state not in ("HELD", "PENDING") for row in rows):
        text = "Job is no longer pending execution"
        raise Stop(f"{text} for job {word}\nslurm_suspend error: {text}\n", 1)
    for row in rows:
        if row.index is None and not row.extra.options.get("blocked"):
            options = {name: v for name, v in row.extra.options.items() if name != "held"}
            if verb == "hold" and os.getuid() == 0:
                options["held"] = "admin"
            call.machine.keep(row.id, msgspec.structs.replace(row.extra, options=options))
    free = [row for row in rows if not row.extra.options.get("blocked")]
    act = "release" if verb == "release" else "hold"
    call.machine.act(act, _targets(free, word))
    return 0


def _requeue(call: Call, verb: str, word: str) -> int:
    rows = _live(call, word)
    if not rows:
        if _find(call, word):
            raise Stop(f"Requested operation is presently disabled for job {word}\n", 1)
        raise Stop(f"{_INVALID} for job {word}\n", 1)
    running = [row for row in rows if row.info.state in ("RUNNING", "SUSPENDED")]
    if not running:
        raise Stop(f"Job is pending execution for job {word}\n", 1)
    if any(row.extra.options.get("requeue") == "0" for row in running):
        raise Stop(f"Requested operation is presently disabled for job {word}\n", 1)
    if not View(running[0]).is_batch:
        raise Stop(f"Only batch jobs are accepted or processed for job {word}\n", 1)
    call.machine.act("requeue", [row.id for row in running])
    return 0


def _suspend(call: Call, verb: str, word: str) -> int:
    rows = _live(call, word)
    if not rows:
        raise Stop(f"Unexpected message received for job {word}\n", 1)
    wanted = "RUNNING" if verb == "suspend" else "SUSPENDED"
    ready = [row.id for row in rows if row.info.state == wanted]
    if not ready:
        pending = rows[0].info.state in ("HELD", "PENDING")
        why = "Job is pending execution" if pending else "Job is already in the requested state"
        raise Stop(f"{why} for job {word}\n", 1)
    call.machine.act(verb, ready)
    return 0


def _top(call: Call, verb: str, word: str) -> int:
    rows = _live(call, word)
    if not rows:
        raise Stop(f"{_INVALID} for job {word}\n", 1)
    call.machine.act("priority", _targets(rows, word), 1)
    return 0


_VERBS: dict[str, Callable[[Call, str, str], int]] = {
    "hold": _turn,
    "uhold": _turn,
    "release": _turn,
    "requeue": _requeue,
    "suspend": _suspend,
    "resume": _suspend,
    "top": _top,
}


_NOT_HERE = {"abort", "cancel_reboot", "create", "delete", "details", "errnumstr", "getaddrs",
             "pidinfo", "power", "reboot", "reboot_nodes", "requeuehold", "schedloglevel",
             "setdebug", "setdebugflags", "shutdown", "wait_job"}  # fmt: skip


def _notify(call: Call, words: Sequence[str]) -> int:
    rows = _live(call, words[0]) if words else []
    if not rows:
        raise Stop(f"job notify failure: {_INVALID}\n", 1)
    return 0


# ---------------------------------------------------------------- update


def _update(call: Call, words: Sequence[str]) -> int:
    pairs = {}
    for word in words:
        name, _, value = word.partition("=")
        pairs[name.lower()] = value.strip("'\"")
    if not pairs:
        raise Stop("too few arguments for update keyword\n", 1)
    id = pairs.pop("jobid", pairs.pop("job", None))
    names = pairs.pop("jobname", None) if id is None else None
    if id is None and names is None:
        raise Stop(
            "No valid entity in update command\nInput line must include "
            '"NodeName", "PartitionName", "Reservation", "JobId", or "SlurmctldDebug"\n',
            1,
        )
    if not pairs:
        raise Stop("No changes specified\n", 1)
    if id is not None:
        chosen = [(word, _live(call, word)) for word in _ids([id])]
    else:
        live = call.machine.rows(states=jobs.LIVE)
        chosen = [(row.id, [row]) for row in live if row.info.name == names]
    for word, rows in chosen:
        if not rows:
            over = any(row.info.state in FINAL for row in _find(call, word))
            text = "Job/step already completing or completed" if over else _INVALID
            raise Stop(f"{text} for job {word}\n", 1)
        _change(call, word, rows, pairs)
    return 0


_KEPT = {"qos": "qos", "nice": "nice", "features": "constraint", "wckey": "wckey",
         "priority": "priority", "mailtype": "mail-type", "mailuser": "mail-user",
         "requeue": "requeue", "gres": "gres", "licenses": "licenses"}  # fmt: skip


def _change(call: Call, word: str, rows: Sequence[Row], pairs: Mapping[str, str]) -> None:
    # An element's fields are its array's.
    heads = {str(row.array): row for row in rows}
    for id, row in heads.items():
        extra = row.extra
        fields: dict[str, str | float] = {}
        options = dict(extra.options)
        for name, value in pairs.items():
            if name in ("jobname", "name"):
                fields["name"] = value
            elif name == "timelimit":
                fields["walltime_s"] = _limit(word, value, row)
            elif name in ("starttime", "eligibletime"):
                fields["begin"] = moment(value, 0.0) or 0.0
            elif name == "comment":
                extra = msgspec.structs.replace(extra, comment=value)
                fields["comment"] = value
            elif name == "partition":
                extra = msgspec.structs.replace(extra, partition=value)
            elif name == "account":
                extra = msgspec.structs.replace(extra, account=value)
            elif name in _KEPT:
                options[_KEPT[name]] = value
            elif name == "arraytaskthrottle":
                options["array"] = re.sub(r"%.*", "", options.get("array", "")) + f"%{value}"
            elif name in _LEFT and not call.settings.strict:
                call.err(f"scontrol: warning: {name} stays as it is: this is an emulation\n")
            else:
                raise Stop(f"Update of this parameter is not supported: {name}={value}\n"
                           "Request aborted\n", 1)  # fmt: skip
        if pairs.get("priority") == "0":
            call.machine.act("hold", [id])
        extra = msgspec.structs.replace(extra, options=options)
        said = call.machine.keep(id, extra, **fields)
        if any("only a job that waits" in text for text in said.values()) and fields:
            raise Stop(f"Job is no longer pending execution for job {word}\n", 1)


_LEFT = {"numcpus", "numtasks", "minmemorynode", "minmemorycpu", "numnodes", "dependency",
            "reqnodelist", "excnodelist", "endtime", "deadline", "admincomment", "stdout",
            "oversubscribe", "contiguous", "extra", "reservationname"}  # fmt: skip


def _limit(word: str, value: str, row: Row) -> float:
    sign = value[:1] if value[:1] in "+-" and value[1:2].isdigit() else ""
    seconds = minutes(value[1:] if sign else value)
    if seconds is None:
        raise Stop("Invalid TimeLimit value\n", 1)
    if sign:
        return max(0.0, row.info.walltime_s + (seconds if sign == "+" else -seconds))
    return seconds
