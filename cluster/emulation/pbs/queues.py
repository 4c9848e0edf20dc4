"""The queues and the server, as `qstat -Q`, `-q`, `-B` and `qmgr` show them."""

from __future__ import annotations

import time
from collections.abc import Sequence

from cluster.emulation.call import Call
from cluster.emulation.pbs import flavour
from cluster.emulation.pbs.attributes import Value
from cluster.emulation.pbs.resources import clock
from cluster.emulation.pbs.show import as_text, document
from cluster.emulation.pbs.views import all_views, counted
from cluster.emulation.settings import Partition

__all__ = ["limits", "qmgr", "queues", "servers"]

_STATES = (
    ("Transit", "T"),
    ("Queued", "Q"),
    ("Held", "H"),
    ("Waiting", "W"),
    ("Running", "R"),
    ("Exiting", "E"),
    ("Begun", "B"),
)


def _all(call: Call) -> dict[str, tuple[Partition, dict[str, int], int]]:
    """Give each queue, how many jobs of each letter it holds, and how many in all."""
    history = flavour.of(call).is_pro  # a job that is over counts in Tot
    jobs = all_views(call, history=history)
    shaped = call.settings.partitions or (Partition(name=flavour.of(call).queue),)
    known = {one.name: one for one in shaped}
    if not call.settings.partitions:
        for view in jobs:
            known.setdefault(view.queue, Partition(name=view.queue))
    return {
        name: (
            queue,
            counted(view for view in jobs if view.queue == name),
            sum(view.queue == name for view in jobs),
        )
        for name, queue in known.items()
    }


def _chosen(call: Call, names: Sequence[str]) -> tuple[list[str], int]:
    there = _all(call)
    if not names:
        return list(there), 0
    code = 0
    found = []
    for name in names:
        if name.partition("@")[0] in there:
            found.append(name.partition("@")[0])
        else:
            code = flavour.refused(call, "destination", name)
    return found, code


def queues(call: Call, names: Sequence[str], *, full: bool, form: str) -> int:
    """Show queues: a table, all attributes, or JSON."""
    own, there = flavour.of(call), _all(call)
    chosen, code = _chosen(call, names)
    if form == "json":
        things = {name: _attributes(call, *there[name]) for name in chosen}
        call.out(_document(call, "Queue", things))
        return code
    if full:
        for name in chosen:
            call.out(as_text(f"Queue: {name}", _attributes(call, *there[name])))
        return code
    if chosen:
        call.out(
            "Queue              Max   Tot Ena Str   Que   Run   Hld   Wat   Trn   Ext Type\n"
            "---------------- ----- ----- --- --- ----- ----- ----- ----- ----- ----- ----\n"
        )
    for name in chosen:
        _, counts, total = there[name]
        get = counts.get
        running = get("R", 0) + get("S", 0) + get("B", 0)
        call.out(
            f"{name:<16.15} {0:>5} {total:>5} yes yes {get('Q', 0):>5} {running:>5} "
            f"{get('H', 0):>5} {get('W', 0):>5} {0:>5} {get('E', 0):>5} "
            f"{'Exe*' if own.is_pro else 'E':<4}\n"
        )
    return code


def _attributes(
    call: Call, queue: Partition, counts: dict[str, int], total: int
) -> dict[str, Value]:
    listed = {"walltime": clock(queue.walltime_s)} if queue.walltime_s else {}
    return {
        "queue_type": "Execution",
        "total_jobs": total,
        "state_count": _count(call, counts),
        **({"resources_max": listed} if listed else {}),
        "enabled": "True",
        "started": "True",
    }


def _count(call: Call, counts: dict[str, int]) -> str:
    known = _STATES if flavour.of(call).is_pro else _STATES[:-1]
    return " ".join(f"{word}:{counts.get(letter, 0)}" for word, letter in known)


def _document(call: Call, kind: str, things: dict[str, dict[str, Value]]) -> str:
    return document(
        kind,
        things,
        version=flavour.of(call).version,
        server=call.machine.host,
        now=time.time(),
    )


def limits(call: Call, names: Sequence[str]) -> int:
    """Show the limits of queues."""
    there = _all(call)
    chosen, code = _chosen(call, names)
    call.out(
        f"\nserver: {call.machine.host}\n\n"
        "Queue            Memory CPU Time Walltime Node   Run   Que   Lm  State\n"
        "---------------- ------ -------- -------- ---- ----- ----- ----  -----\n"
    )
    runs = waits = 0
    for name in chosen:
        queue, counts, _ = there[name]
        running = sum(counts.get(letter, 0) for letter in "RSBE")
        waiting = sum(counts.get(letter, 0) for letter in "QHW")
        runs, waits = runs + running, waits + waiting
        limit = clock(queue.walltime_s) if queue.walltime_s else "   --   "
        call.out(
            f"{name:<16.16}   --      --    {limit:>8}  --  {running:>5} {waiting:>5}  --   E R\n"
        )
    call.out(
        "                                               ----- -----\n"
        f"                                               {runs:>5} {waits:>5}\n"
    )
    return code


def _server(call: Call, counts: dict[str, int], total: int) -> dict[str, Value]:
    own = flavour.of(call)
    shown: dict[str, Value] = {
        "server_state": "Active",
        "server_host": call.machine.host,
        "scheduling": "True",
        "total_jobs": total,
        "state_count": _count(call, counts),
        "default_queue": (call.settings.partitions or (Partition(name=own.queue),))[0].name,
        "log_events": 511,
        "mail_from": "adm",
        "query_other_jobs": "True",
        "scheduler_iteration": 600,
    }
    if not own.is_pro:
        return {**shown, "keep_completed": int(own.keep_s), "pbs_version": own.version}
    return {
        **shown,
        "resources_default": {"ncpus": "1"},
        "default_chunk": {"ncpus": "1"},
        "FLicenses": 20000000,
        "resv_enable": "True",
        "max_array_size": 10000,
        "pbs_version": own.version,
        "job_history_enable": "True",
        "job_history_duration": "336:00:00",
    }


def servers(call: Call, *, full: bool, form: str) -> int:
    """Show the server."""
    host = call.machine.host
    jobs = all_views(call, history=flavour.of(call).is_pro)
    counts = counted(jobs)
    shown = _server(call, counts, len(jobs))
    if form == "json":
        call.out(_document(call, "Server", {host: shown}))
    elif full:
        call.out(as_text(f"Server: {host}", shown))
    else:
        get = counts.get
        running = get("R", 0) + get("S", 0) + get("B", 0)
        call.out(
            "Server             Max   Tot   Que   Run   Hld   Wat   Trn   Ext Status\n"
            "---------------- ----- ----- ----- ----- ----- ----- ----- ----- -----------\n"
            f"{host:<16.16} {0:>5} {len(jobs):>5} {get('Q', 0):>5} {running:>5} {get('H', 0):>5} "
            f"{get('W', 0):>5} {0:>5} {get('E', 0):>5} {'Active':<10}\n"
        )
    return 0


def qmgr(call: Call) -> int:
    """List the server and its queues, as far as anybody may; nothing can be set."""
    words = call.argv
    if words[:1] == ["-c"] and len(words) > 1:
        lines = words[1:2]
    else:
        lines = call.read_stdin().decode("utf-8", "surrogateescape").splitlines()
    code = 0
    for line in filter(None, map(str.strip, lines)):
        code = _manage(call, line.split()) or code
    return code


def _manage(call: Call, words: list[str]) -> int:
    verb, kind = words[0], (words[1:2] or ["server"])[0]
    if not ("list".startswith(verb) or "print".startswith(verb)) or not (
        "server".startswith(kind) or "queue".startswith(kind)
    ):
        call.err("qmgr obj= svr=default: Unauthorized Request  \n")
        return 15007 % 256
    if "server".startswith(kind):
        jobs = all_views(call, history=False)
        things = {"Server": {call.machine.host: _server(call, counted(jobs), len(jobs))}}
    else:
        there = _all(call)
        things = {"Queue": {name: _attributes(call, *told) for name, told in there.items()}}
    for title, named in things.items():
        for name, shown in named.items():
            if "list".startswith(verb):
                call.out(as_text(f"{title} {name}", shown))
            else:
                start = f"set {title.lower()}" + (f" {name}" if title == "Queue" else "")
                call.out("".join(f"{start} {key} = {text}\n" for key, text in _settable(shown)))
    return 0


def _settable(shown: dict[str, Value]) -> list[tuple[str, str]]:
    told = ("total_jobs", "state_count", "server_state", "server_host")
    return [
        (key, str(v)) for key, v in shown.items() if key not in told and not isinstance(v, dict)
    ]
