"""qhost, qconf's queries, qselect, qquota: what the pretended site has."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache

from cluster.emulation.call import Call, Stop
from cluster.emulation.machine import Machine
from cluster.emulation.sge import jobs, usage, values
from cluster.emulation.sge.jobs import Line
from cluster.emulation.sge.listing_xml import SCHEMAS, escaped
from cluster.emulation.sge.options import pairs
from cluster.emulation.sge.site import ARCH, COMPLEXES, Site, memory_of_machine

__all__ = ["load", "qconf", "qhost", "qping", "qquota", "qselect"]

_GIB, _MIB = 1 << 30, 1 << 20


# ---------------------------------------------------------------- the host


@cache
def _topology() -> tuple[int, int]:
    """Give (sockets, cores) of this machine."""
    seen: set[tuple[str, str]] = set()
    package = core = "0"
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                name, _, value = line.partition(":")
                if name.strip() == "physical id":
                    package = value.strip()
                elif name.strip() == "core id":
                    seen.add((package, core := value.strip()))
    except OSError:
        pass
    cores = len(seen) or os.cpu_count() or 1
    return len({each for each, _ in seen}) or 1, cores


def _memory() -> dict[str, float]:
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


def _host_values() -> dict[str, str]:
    memory = _memory()
    sockets, cores = _topology()
    threads = os.cpu_count() or 1
    return {
        "arch_string": ARCH,
        "num_proc": str(threads),
        "m_socket": str(sockets),
        "m_core": str(cores),
        "m_thread": str(threads),
        "load_avg": f"{os.getloadavg()[0]:.2f}",
        "mem_total": _amount(memory["MemTotal"]),
        "mem_used": _amount(memory["MemTotal"] - memory["MemAvailable"]),
        "swap_total": _amount(memory["SwapTotal"]),
        "swap_used": _amount(memory["SwapTotal"] - memory["SwapFree"]),
    }


def _amount(amount: float, digits: int = 1) -> str:
    for unit, size in (("G", _GIB), ("M", _MIB), ("K", 1024)):
        if amount >= size:
            return f"{amount / size:.{digits}f}{unit}"
    return f"{amount:.{digits}f}"


def load(machine: Machine) -> dict[str, tuple[str, str]]:
    """Give what the host reports: name -> (where it comes from, value)."""
    memory, known = _memory(), _host_values()
    free = machine.free().get("memory_mib", 0) * _MIB
    load1, load5, load15 = os.getloadavg()
    count = os.cpu_count() or 1
    return {
        "arch": ("hl", ARCH),
        "num_proc": ("hl", str(count)),
        "mem_total": ("hl", _amount(memory["MemTotal"], 3)),
        "swap_total": ("hl", _amount(memory["SwapTotal"], 3)),
        "virtual_total": ("hl", _amount(memory["MemTotal"] + memory["SwapTotal"], 3)),
        "m_socket": ("hl", known["m_socket"]),
        "m_core": ("hl", known["m_core"]),
        "m_thread": ("hl", known["m_thread"]),
        "load_avg": ("hl", f"{load5:f}"),
        "load_short": ("hl", f"{load1:f}"),
        "load_medium": ("hl", f"{load5:f}"),
        "load_long": ("hl", f"{load15:f}"),
        "mem_free": ("hc", _amount(free or memory["MemAvailable"], 3)),
        "mem_used": ("hl", _amount(memory["MemTotal"] - memory["MemAvailable"], 3)),
        "swap_free": ("hl", _amount(memory["SwapFree"], 3)),
        "swap_used": ("hl", _amount(memory["SwapTotal"] - memory["SwapFree"], 3)),
        "virtual_free": ("hl", _amount(memory["MemAvailable"] + memory["SwapFree"], 3)),
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
    facts = _host_values()
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
        f"{values.clock(time.time())} endpoint {call.machine.host}/qmaster/1 at port 6444 is up since "
        "0 seconds\n"
    )
    return 0


# ---------------------------------------------------------------- qconf


def qconf(call: Call) -> int:
    """Answer the questions of qconf; what changes a site is refused."""
    words = call.argv or ["-help"]
    name, rest = words[0], words[1:]
    if name == "-help":
        call.out(usage.text("qconf"))
        return 0
    handler = _QUERIES.get(name)
    if handler is None:
        if name[:2] in ("-a", "-A", "-d", "-D", "-m", "-M", "-r", "-R", "-k"):
            user = call.machine.user
            raise Stop(f'denied: "{user}" must be manager for this operation\n', 1)
        raise Stop(usage.text("qconf") + f'error: invalid option argument "{name}"\n', 1)
    rows = jobs.alive_jobs(call.machine)
    site = Site(call, used={row.extra.partition for row in rows if row.extra.partition})
    if name in _NEED and not rest:
        raise Stop(f'error: no option argument provided to "{name}"\n{usage.text("qconf")}', 1)
    call.out(handler(call, site, rest[0] if rest else ""))
    return 0


_NEED = ("-sp", "-se", "-shgrp", "-sprj", "-su", "-suser", "-scal", "-shgrp_resolved")


def _queues(call: Call, site: Site, name: str) -> str:
    return "".join(f"{queue}\n" for queue in site.queues)


def _queue(call: Call, site: Site, name: str) -> str:
    found = [queue for queue in site.queues if fnmatchcase(queue, name or "template")]
    if name and not found:
        raise Stop(f'No cluster queue or queue instance matches the phrase "{name}"\n', 1)
    return "\n".join(_queue_text(site, queue) for queue in found or ["template"])


def _queue_text(site: Site, queue: str) -> str:
    limit = site.walltime_s(queue)
    facts = {
        "qname": queue, "hostlist": "@allhosts", "seq_no": "0", "load_thresholds": "NONE",
        "suspend_thresholds": "NONE", "nsuspend": "1", "suspend_interval": "00:05:00",
        "priority": "0", "min_cpu_interval": "00:05:00", "processors": "UNDEFINED",
        "qtype": "BATCH INTERACTIVE", "ckpt_list": "NONE", "pe_list": " ".join(site.environments),
        "rerun": "FALSE", "slots": str(site.slots(queue)), "tmpdir": "/tmp", "shell": "/bin/bash",
        "prolog": "NONE", "epilog": "NONE", "shell_start_mode": "unix_behavior",
        **dict.fromkeys(("starter_method", "suspend_method", "resume_method", "terminate_method"),
                        "NONE"),
        "notify": "00:00:60",
        **dict.fromkeys(("owner_list", "user_lists", "xuser_lists", "subordinate_list",
                         "complex_values", "projects", "xprojects", "calendar"), "NONE"),
        "initial_state": "default",
        "s_rt": "INFINITY",
        "h_rt": _span(limit) if limit else "INFINITY",
        **{f"{side}_{what}": "INFINITY" for what in ("cpu", "fsize", "data", "stack", "core",
                                                     "rss", "vmem") for side in "sh"},
    }  # fmt: skip
    return "".join(f"{name:<21} {value}\n" for name, value in facts.items())


def _span(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}"


def _environment(call: Call, site: Site, name: str) -> str:
    if site.strict and name not in site.environments:
        raise Stop(f"{name} is not a parallel environment\n", 1)
    facts = {
        "pe_name": name, "slots": "9999", "user_lists": "NONE", "xuser_lists": "NONE",
        "start_proc_args": "NONE", "stop_proc_args": "NONE", "allocation_rule": "$pe_slots",
        "control_slaves": "FALSE", "job_is_first_task": "TRUE", "urgency_slots": "min",
        "accounting_summary": "TRUE", "qsort_args": "NONE",
    }  # fmt: skip
    return "".join(f"{key:<18} {value}\n" for key, value in facts.items())


def _host(call: Call, site: Site, name: str) -> str:
    if name not in (site.host, "global"):
        raise Stop(f'Host "{name}" is not in execution host list.\n', 1)
    memory, facts = _memory(), _host_values()
    slots = call.machine.capacity()
    reported = (
        f"arch={ARCH},num_proc={facts['num_proc']},"
        f"mem_total={memory['MemTotal'] / _MIB:f}M,swap_total={memory['SwapTotal'] / _MIB:f}M"
    )
    shown = {
        "hostname": name, "load_scaling": "NONE",
        "complex_values": f"slots={slots.get('cores', 1)},mem_free={slots.get('memory_mib', 0)}M",
        "load_values": reported, "processors": facts["num_proc"],
        **dict.fromkeys(("user_lists", "xuser_lists", "projects", "xprojects", "usage_scaling",
                         "report_variables"), "NONE"),
    }  # fmt: skip
    return "".join(f"{key:<21} {value}\n" for key, value in shown.items())


def _complexes(call: Call, site: Site, name: str) -> str:
    head = ("#name               shortcut   type      relop requestable consumable default  "
            "urgency ")  # fmt: skip
    lines = [
        f"{c.name:<19} {c.shortcut:<10} {c.type:<9} {c.relation:<5} {c.requestable:<11} "
        f"{c.consumable:<10} {c.default:<8} {c.urgency}"
        for c in COMPLEXES.values()
    ]
    tail = "# >#< starts a comment but comments are not saved across edits --------"
    return "\n".join([head, "#" + "-" * 86, *lines, tail]) + "\n"


_CONF = """\
execd_spool_dir /var/spool/gridengine/execd
mailer /bin/true
xterm /usr/bin/xterm
load_sensor none
prolog none
epilog none
shell_start_mode unix_behavior
login_shells bash,sh,ksh,csh,tcsh
min_uid 0
min_gid 0
user_lists none
xuser_lists none
projects none
xprojects none
enforce_project false
enforce_user auto
load_report_time 00:00:05
max_unheard 00:05:00
reschedule_unknown 00:00:00
loglevel log_warning
administrator_mail root
set_token_cmd none
pag_cmd none
token_extend_time none
shepherd_cmd none
qmaster_params none
execd_params none
reporting_params accounting=true reporting=false \\
 flush_time=00:00:01 \\
 accounting_flush_time=00:00:00 joblog=false \\
 sharelog=00:00:00
finished_jobs 100
gid_range 65400-65500
qlogin_command builtin
qlogin_daemon builtin
rlogin_command builtin
rlogin_daemon builtin
rsh_command builtin
rsh_daemon builtin
max_aj_instances 2000
max_aj_tasks 75000
max_u_jobs 0
max_jobs 0
auto_user_oticket 0
auto_user_fshare 0
auto_user_default_project none
auto_user_delete_time 86400
delegated_file_staging false
reprioritize 0
jsv_url none
jsv_allowed_mod ac,h,i,e,o,j,M,N,p,w
"""
_SCHEDULER = """\
algorithm default
schedule_interval 0:0:1
maxujobs 0
queue_sort_method seqno
job_load_adjustments NONE
load_adjustment_decay_time 0:0:0
load_formula slots
schedd_job_info true
flush_submit_sec 1
flush_finish_sec 1
params none
reprioritize_interval 0:0:0
halftime 168
usage_weight_list cpu=1.000000,mem=0.000000,io=0.000000
compensation_factor 5.000000
weight_user 0.250000
weight_project 0.250000
weight_department 0.250000
weight_job 0.250000
weight_tickets_functional 0
weight_tickets_share 0
share_override_tickets TRUE
share_functional_shares TRUE
max_functional_jobs_to_schedule 200
report_pjob_tickets TRUE
max_pending_tasks_per_job 50
halflife_decay_list none
policy_hierarchy OFS
weight_ticket 0.500000
weight_waiting_time 0.278000
weight_deadline 3600000.000000
weight_urgency 0.500000
weight_priority 0.000000
max_reservation 0
default_duration INFINITY
"""


def _table(text: str, width: int) -> str:
    found = (line.partition(" ") for line in text.splitlines())  # one that begins so goes on
    return "".join(f"{name:<{width}} {value}\n" for name, _, value in found)


def _host_name(call: Call, site: Site, name: str) -> str:
    return f"{site.host}\n"


def _group(call: Call, site: Site, name: str) -> str:
    if name != "@allhosts":
        raise Stop(f'Host group "{name}" does not exist\n', 1)
    return f"group_name @allhosts\nhostlist {site.host}\n"


def _fails(text: str) -> Callable[[Call, Site, str], str]:
    def handler(call: Call, site: Site, name: str) -> str:
        raise Stop(text.format(name) + "\n", 1)

    return handler


_QUERIES: Mapping[str, Callable[[Call, Site, str], str]] = {
    "-sql": _queues,
    "-sq": _queue,
    "-spl": lambda call, site, name: "".join(f"{each}\n" for each in site.environments),
    "-sp": _environment,
    "-sel": _host_name,
    "-se": _host,
    "-sh": _host_name,
    "-ss": _host_name,
    "-sss": _host_name,
    "-sc": _complexes,
    "-sconf": lambda call, site, name: f"#{name or 'global'}:\n{_table(_CONF, 28)}\n",
    "-sconfl": _host_name,
    "-ssconf": lambda call, site, name: _table(_SCHEDULER, 33),
    "-sm": lambda call, site, name: "sgeadmin\n",
    "-so": _fails("no operator defined"),
    "-sul": lambda call, site, name: "arusers\ndeadlineusers\ndefaultdepartment\n",
    "-sprjl": _fails("no project list defined"),
    "-sprj": _fails('Project "{}" does not exist'),
    "-scall": _fails("no calendar defined"),
    "-sckptl": _fails("no ckpt interface definition defined"),
    "-srqsl": _fails("no resource quota set list defined"),
    "-suserl": _fails("no user list defined"),
    "-shgrpl": lambda call, site, name: "@allhosts\n",
    "-shgrp": _group,
    "-shgrp_resolved": lambda call, site, name: f"{site.host}\n",
}
