"""qhost, qselect, qquota: the host and the queues of the pretended site."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache

from cluster.emulation.call import Call, Stop
from cluster.emulation.machine import Machine
from cluster.emulation.sge import jobs, usage, values
from cluster.emulation.sge.jobs import Line
from cluster.emulation.sge.listing_xml import SCHEMAS, escaped
from cluster.emulation.sge.options import pairs
from cluster.emulation.sge.site import ARCH, Site, memory_of_machine

__all__ = ["load", "memory", "qhost", "qping", "qquota", "qselect", "values_of_host"]

_GIB, _MIB = 1 << 30, 1 << 20


# ---------------------------------------------------------------- the host


@cache
def _topology() -> tuple[int, int]:
    """Give (sockets, cores) of this machine."""
    seen: set[tuple[str, str]] = set()
    package = "0"
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                name, _, value = line.partition(":")
                if name.strip() == "physical id":
                    package = value.strip()
                elif name.strip() == "core id":
                    seen.add((package, value.strip()))
    except OSError:
        pass
    cores = len(seen) or os.cpu_count() or 1
    return len({each for each, _ in seen}) or 1, cores


def memory() -> dict[str, float]:
    """Give memory and swap in bytes: MemTotal, MemAvailable, SwapTotal, SwapFree."""
    found = {"MemTotal": memory_of_machine(), "MemAvailable": 0.0, "SwapTotal": 0.0,
             "SwapFree": 0.0}  # fmt: skip
    try:
        with open("/proc/meminfo", encoding="utf-8") as file:
            for line in file:
                name, _, rest = line.partition(":")
                if name in found:
                    found[name] = float(rest.split()[0]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return found


def values_of_host() -> dict[str, str]:
    known = memory()
    sockets, cores = _topology()
    threads = os.cpu_count() or 1
    return {
        "arch_string": ARCH,
        "num_proc": str(threads),
        "m_socket": str(sockets),
        "m_core": str(cores),
        "m_thread": str(threads),
        "load_avg": f"{os.getloadavg()[0]:.2f}",
        "mem_total": _amount(known["MemTotal"]),
        "mem_used": _amount(known["MemTotal"] - known["MemAvailable"]),
        "swap_total": _amount(known["SwapTotal"]),
        "swap_used": _amount(known["SwapTotal"] - known["SwapFree"]),
    }


def _amount(amount: float, digits: int = 1) -> str:
    for unit, size in (("G", _GIB), ("M", _MIB), ("K", 1024)):
        if amount >= size:
            return f"{amount / size:.{digits}f}{unit}"
    return f"{amount:.{digits}f}"


def load(machine: Machine) -> dict[str, tuple[str, str]]:
    """Give what the host reports: name -> (where it comes from, value)."""
    amounts, known = memory(), values_of_host()
    free = machine.free().get("memory_mib", 0) * _MIB
    load1, load5, load15 = os.getloadavg()
    count = os.cpu_count() or 1
    return {
        "arch": ("hl", ARCH),
        "num_proc": ("hl", str(count)),
        "mem_total": ("hl", _amount(amounts["MemTotal"], 3)),
        "swap_total": ("hl", _amount(amounts["SwapTotal"], 3)),
        "virtual_total": ("hl", _amount(amounts["MemTotal"] + amounts["SwapTotal"], 3)),
        "m_socket": ("hl", known["m_socket"]),
        "m_core": ("hl", known["m_core"]),
        "m_thread": ("hl", known["m_thread"]),
        "load_avg": ("hl", f"{load5:f}"),
        "load_short": ("hl", f"{load1:f}"),
        "load_medium": ("hl", f"{load5:f}"),
        "load_long": ("hl", f"{load15:f}"),
        "mem_free": ("hc", _amount(free or amounts["MemAvailable"], 3)),
        "mem_used": ("hl", _amount(amounts["MemTotal"] - amounts["MemAvailable"], 3)),
        "swap_free": ("hl", _amount(amounts["SwapFree"], 3)),
        "swap_used": ("hl", _amount(amounts["SwapTotal"] - amounts["SwapFree"], 3)),
        "virtual_free": ("hl", _amount(amounts["MemAvailable"] + amounts["SwapFree"], 3)),
        "np_load_avg": ("hl", f"{load5 / count:f}"),
    }


# ---------------------------------------------------------------- qhost


_HEAD = ("HOSTNAME                ARCH         NCPU NSOC NCOR NTHR  LOAD  MEMTOT  MEMUSE  SWAPTO"
         "  SWAPUS")  # fmt: skip


def qhost(call: Call) -> int:
    """Show the host, its queues, its jobs."""
    on, wanted = _qhost_options(call)
    if "help" in on:
        call.out(usage.text("qhost"))
        return 0
    rows = jobs.alive(call.machine)
    site = Site(call, used={row.extra.partition for row in rows if row.extra.partition})
    running = [line for line in jobs.lines(rows) if line.is_running]
    facts = values_of_host()
    shown = not wanted.get("h") or any(
        fnmatchcase(site.host, part) for part in wanted["h"].split(",")
    )
    if "xml" in on:
        call.out(_hosts_xml(site, facts, running, on))
        return 0
    out = [_HEAD, "-" * len(_HEAD), _host_line("global", dict.fromkeys(facts, "-"))]
    if shown:
        out.append(_host_line(site.host, facts))
        if "F" in on:
            chosen = [part for part in wanted.get("F", "").split(",") if part]
            found = [f"{kind}:{name}={value}" for name, (kind, value) in load(call.machine).items()
                     if not chosen or name in chosen]  # fmt: skip
            out.append(f"    Host Resource(s):      {' '.join(found)}")
        if "q" in on:
            out += [
                f"   {name:20.20s} BIP   {_slots(site, name, running):14s}" for name in site.queues
            ]
        if "j" in on and running:
            out += _host_jobs(running)
    call.out("\n".join(out) + "\n")
    return 0


def _qhost_options(call: Call) -> tuple[set[str], dict[str, str]]:
    on: set[str] = set()
    wanted: dict[str, str] = {}
    words = list(call.argv)
    while words:
        word = words.pop(0)
        name = word[1:]
        following = words[0] if words and not words[0].startswith("-") else None
        if word in ("-h", "-l", "-u") and following is not None:
            wanted[name] = words.pop(0)
        elif word == "-F":
            wanted["F"] = words.pop(0) if following is not None else ""
            on.add("F")
        elif word in ("-q", "-j", "-xml", "-ncb", "-help", "-cb"):
            on.add(name)
        else:
            text = f'error: invalid option argument "{word}"\n'
            raise Stop(usage.text("qhost") + text, 1)
    return on, wanted


def _host_line(name: str, facts: Mapping[str, str]) -> str:
    f = facts
    return (
        f"{name:<23} {f['arch_string']:<12} {f['num_proc']:>4} {f['m_socket']:>4} "
        f"{f['m_core']:>4} {f['m_thread']:>4} {f['load_avg']:>5} {f['mem_total']:>7} "
        f"{f['mem_used']:>7} {f['swap_total']:>7} {f['swap_used']:>7}"
    )


def _slots(site: Site, queue: str, running: Sequence[Line]) -> str:
    used = sum(line.slots for line in running if line.row.extra.partition == queue)
    return f"0/{used}/{site.slots(queue)}"


def _host_jobs(running: Sequence[Line]) -> list[str]:
    out = [
        "   job-ID  prior   name       user         state submit/start at     queue      "
        "master ja-task-ID ",
        "   " + "-" * 94,
    ]
    for line in running:
        info = line.row.info
        user = line.row.extra.options.get("user", "")
        text = (
            f"   {line.row.array:7d} {line.prior:.5f} {info.name:10.10s} {user:12.12s} "
            f"{line.state:5.5s} {values.clock(line.when)} {line.queue:10.10s} "
        )
        tasks = line.tasks or " " * 7
        out.append(f"{text}MASTER {tasks}")
        out += [f"{'':69s}{line.queue:10.10s} SLAVE  {tasks}"] * (
            line.slots - 1 if line.slots > 1 else 0
        )
    return out


def _hosts_xml(site: Site, facts: Mapping[str, str], running: Sequence[Line], on: set[str]) -> str:
    out = [f"<?xml version='1.0'?>\n<qhost xmlns:xsd=\"{SCHEMAS}/qhost/qhost.xsd\">"]
    for name, known in (("global", dict.fromkeys(facts, "-")), (site.host, facts)):
        out.append(f" <host name='{name}'>")
        out += [f"   <hostvalue name='{key}'>{value}</hostvalue>" for key, value in known.items()]
        if name != "global":
            out += _queues_xml(site, running) if "q" in on else []
            out += _jobs_xml(running) if "j" in on else []
        out.append(" </host>")
    return "\n".join(out) + "\n</qhost>\n"


def _queues_xml(site: Site, running: Sequence[Line]) -> list[str]:
    out = []
    for queue in site.queues:
        used = sum(line.slots for line in running if line.row.extra.partition == queue)
        facts = {"qtype_string": "BIP", "slots_used": used, "slots": site.slots(queue),
                 "slots_resv": 0, "state_string": ""}  # fmt: skip
        out.append(f" <queue name='{queue}'>")
        out += [f"   <queuevalue qname='{queue}' name='{key}'>{value}</queuevalue>"
                for key, value in facts.items()]  # fmt: skip
        out.append(" </queue>")
    return out


def _jobs_xml(running: Sequence[Line]) -> list[str]:
    out = []
    for line in running:
        for number in range(max(1, line.slots)):
            facts: dict[str, object] = {
                "priority": f"'{line.prior:.6f}'",
                "qinstance_name": line.queue,
                "job_name": escaped(line.row.info.name),
                "job_owner": line.row.extra.options.get("user", ""),
                "job_state": line.state,
                "start_time": int(line.when),
                "pe_master": "SLAVE" if number else "MASTER",
            }
            if line.tasks:
                facts["taskid"] = line.tasks
            out.append(f" <job name='{line.row.array}'>")
            out += [f"   <jobvalue jobid='{line.row.array}' name='{key}'>{value}</jobvalue>"
                    for key, value in facts.items()]  # fmt: skip
            out.append(" </job>")
    return out


# ---------------------------------------------------------------- qselect, qquota, qping


def qselect(call: Call) -> int:
    """List the queues on which a job could run."""
    words = list(call.argv)
    wanted, resources = "", ""
    while words:
        word = words.pop(0)
        if word == "-help":
            call.out(usage.text("qselect"))
            return 0
        value = words.pop(0) if words else ""
        if word == "-q":
            wanted = value
        elif word == "-l":
            resources = value
        elif word not in ("-pe", "-s", "-U", "-qs"):
            raise Stop(usage.text("qselect") + f'error: invalid option argument "{word}"\n', 1)
    rows = jobs.alive(call.machine)
    site = Site(call, used={row.extra.partition for row in rows if row.extra.partition})
    site.check_resources(pairs(resources))
    queues = [q for q in site.queues if not wanted or site.queue_for(wanted, True) == q
              or fnmatchcase(q, wanted.partition("@")[0])]  # fmt: skip
    call.out("".join(f"{queue}@{site.host}\n" for queue in queues))
    return 0 if queues else 1


def qquota(call: Call) -> int:
    """Show quotas: there are none."""
    if call.argv[:1] == ["-help"]:
        call.out(usage.text("qquota"))
    return 0


def qping(call: Call) -> int:
    """Say that qmaster is there."""
    call.out(
        f"{values.clock(time.time())} endpoint {call.machine.host}/qmaster/1 at port 6444 "
        "is up since 0 seconds\n"
    )
    return 0
