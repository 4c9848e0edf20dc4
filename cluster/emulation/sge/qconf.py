"""qconf's queries: how the pretended site is configured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase

from cluster.emulation.call import Call, Stop
from cluster.emulation.sge import jobs, places, usage
from cluster.emulation.sge.site import ARCH, COMPLEXES, Site

__all__ = ["qconf"]

_MIB = 1 << 20


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
    memory, facts = places.memory(), places.values_of_host()
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
