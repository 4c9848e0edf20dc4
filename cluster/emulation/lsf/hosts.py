"""bqueues, bhosts, lsid, lshosts, lsload, bparams, badmin and others: what the cluster is."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Mapping, Sequence

from cluster.emulation import shims
from cluster.emulation.call import Call, Stop
from cluster.emulation.lsf import conf, jobs, site
from cluster.emulation.lsf.environment import CLUSTER
from cluster.emulation.lsf.getopt import table
from cluster.emulation.lsf.jobs import View

__all__ = ["badmin", "bapp", "bhosts", "bparams", "bqueues", "bugroup", "busers", "lsadmin",
           "lsclusters", "lshosts", "lsid", "lsload"]  # fmt: skip


def lsid(call: Call) -> int:
    """Say which LSF this is."""
    site.options(call, {})
    call.out(
        f"{site.banner()}\nMy cluster name is {CLUSTER}\nMy master name is {call.machine.host}\n"
    )
    return 0


def lsclusters(call: Call) -> int:
    """List the clusters: this one."""
    site.options(call, table("w l a", "o"))
    call.out("CLUSTER_NAME   STATUS   MASTER_HOST               ADMIN    HOSTS  SERVERS\n")
    call.out(
        f"{CLUSTER:<14} ok       {call.machine.host:<25} {call.machine.user:<9} {1:>4}  {1:>7}\n"
    )
    return 0


def _live(call: Call) -> list[View]:
    return jobs.chosen(call, {}, time.time(), finished=False)


def _count(views: Sequence[View], *stats: str) -> int:
    return sum(view.extra.cores for view in views if not stats or view.stat in stats)


# ---------------------------------------------------------------- queues


def bqueues(call: Call) -> int:
    """List the queues."""
    given, words = site.options(call, table("w l r noheader alloc", "m u o"))
    views = _live(call)
    all_queues = site.queues(
        call, [*(view.extra.partition for view in views), *_extra(call, words)]
    )
    chosen = [queue for queue in all_queues if not words or queue.name in words]
    for name in words:
        if name not in [queue.name for queue in chosen]:
            raise Stop(f"{name}: No such queue\n", 255)
    if "l" in given:
        for queue in chosen:
            mine = [view for view in views if view.extra.partition == queue.name]
            call.out(_queue_in_full(call, queue.name, queue.walltime_s, queue.cores, mine))
        return 0
    if "o" in given:
        rows = [
            _queue_fields(
                call, one.name, one.cores, [v for v in views if v.extra.partition == one.name]
            )
            for one in chosen
        ]
        return _as_asked(call, given["o"], rows, header="noheader" not in given)
    if "noheader" not in given:
        call.out(
            "QUEUE_NAME      PRIO STATUS          MAX JL/U JL/P JL/H NJOBS  PEND   RUN  SUSP \n"
        )
    for queue in chosen:
        mine = [view for view in views if view.extra.partition == queue.name]
        limit = str(queue.cores) if queue.cores else "-"
        numbers = _numbers(mine)
        call.out(
            f"{queue.name:<15} {30:>3}   {'Open:Active':<14}{limit:>4}    -    -    - {numbers}\n"
        )
    return 0


def _extra(call: Call, words: Sequence[str]) -> list[str]:
    return [word for word in words if site.exists(call, word)]


def _as_asked(call: Call, text: str, rows: Sequence[Mapping[str, str]], *, header: bool) -> int:
    """Print the fields that -o asks for."""
    delimiter = " "
    if match := re.search(r"""delimiter=(?:'([^']*)'|"([^"]*)"|(\S+))""", text):
        delimiter = next(group for group in match.groups() if group is not None)
        text = text[: match.start()] + " " + text[match.end() :]
    names = [word.partition(":")[0].lower() for word in text.replace(",", " ").split()]
    for name in names:
        if rows and name not in rows[0]:
            raise Stop(f"{call.command}: Unknown field name: {name}.\n", 255)
    lines = [delimiter.join(name.upper() for name in names)] if header else []
    lines += [delimiter.join(row[name] for name in names) for row in rows]
    call.out("".join(f"{line}\n" for line in lines))
    return 0


def _queue_fields(call: Call, name: str, cores: int, views: Sequence[View]) -> dict[str, str]:
    counts = _numbers(views).split()
    return {
        "queue_name": name, "description": "-", "priority": "30", "status": "Open:Active",
        "max": str(cores or "-"), "jl_u": "-", "jl_p": "-", "jl_h": "-", "njobs": counts[0],
        "pend": counts[1], "run": counts[2], "susp": counts[3], "users": "all", "hosts": "all",
        "ssusp": "0", "ususp": counts[3], "rsv": "0", "nice": "0",
    }  # fmt: skip


def _numbers(views: Sequence[View]) -> str:
    suspended = _count(views, "PSUSP", "USUSP", "SSUSP")
    counts = (_count(views), _count(views, "PEND"), _count(views, "RUN"), suspended)
    return " ".join(f"{count:5d}" for count in counts)


def _queue_in_full(
    call: Call, name: str, walltime_s: float, cores: int, views: Sequence[View]
) -> str:
    is_default = "  -- " + ("Default queue of this cluster" if name == site.default_queue(call)
                            else "No description provided.")  # fmt: skip
    limit = f" RUNLIMIT                \n {walltime_s / 60:.1f} min\n\n" if walltime_s else ""
    most = str(cores) if cores else "-"
    return (
        f"\nQUEUE: {name}\n{is_default}\n\n"
        "PARAMETERS/STATISTICS\n"
        "PRIO NICE STATUS          MAX JL/U JL/P JL/H NJOBS  PEND   RUN SSUSP USUSP  RSV \n"
        f" 30    0  Open:Active     {most:>3}    -    -    - {_numbers(views)}     0     0\n"
        "Interval for a host to accept two jobs is 0 seconds\n\n"
        f"{limit}SCHEDULING PARAMETERS\n"
        "           r15s   r1m  r15m   ut      pg    io   ls    it    tmp    swp    mem\n"
        " loadSched   -     -     -     -       -     -    -     -     -      -      -  \n"
        " loadStop    -     -     -     -       -     -    -     -     -      -      -  \n\n"
        "USERS: all  \nHOSTS:  all \n"
    )


# ---------------------------------------------------------------- hosts


def _only_this(
    call: Call, words: Sequence[str], what: str = "Bad host name, host group name or cluster name"
) -> None:
    for word in words:
        if word not in (call.machine.host, "all", "localhost"):
            raise Stop(f"{word}: {what}\n", 255)


def bhosts(call: Call) -> int:
    """List the hosts: this one, with its slots."""
    given, words = site.options(call, table("w l a x s e noheader gpu aff rc rconly", "o R"))
    _only_this(call, words)
    views = _live(call)
    most = call.machine.capacity().get("cores", 1)
    running, ssusp, ususp = (_count(views, stat) for stat in ("RUN", "SSUSP", "USUSP"))
    running = min(running, max(most, 1)) if not call.settings.strict else running
    status = "closed" if running >= most else "ok"
    if "l" in given:
        call.out(
            f"HOST  {call.machine.host}\n"
            "STATUS           CPUF  JL/U    MAX  NJOBS    RUN  SSUSP  USUSP    RSV "
            "DISPATCH_WINDOW\n"
            f"{_status(status, wide=True):<16} 60.00     - {most:>6} {running + ssusp + ususp:>6} "
            f"{running:>6} {ssusp:>6} {ususp:>6}      0      -\n\n"
        )
        return 0
    is_wide = "w" in given
    if "o" in given:
        row = {
            "host_name": call.machine.host, "status": status, "cpuf": "60.0", "jl_u": "-",
            "max": str(most), "njobs": str(running + ssusp + ususp), "run": str(running),
            "ssusp": str(ssusp), "ususp": str(ususp), "rsv": "0", "dispatch_window": "-",
        }  # fmt: skip
        return _as_asked(call, given["o"], [row], header="noheader" not in given)
    if "noheader" not in given:
        call.out(
            "HOST_NAME          STATUS       JL/U    MAX  NJOBS    RUN  SSUSP  USUSP    RSV \n"
        )
    shown = _status(status, wide=is_wide)
    call.out(
        f"{call.machine.host:<18} {shown:<15} - {most:>6} {running + ssusp + ususp:>6} "
        f"{running:>6} {ssusp:>6} {ususp:>6}      0\n"
    )
    return 0


def _status(status: str, *, wide: bool) -> str:
    return "closed_Full" if status == "closed" and wide else status


def _size(mib: float) -> str:
    return f"{mib / 1024:.1f}G" if mib >= 1024 else f"{mib:.0f}M"


def lshosts(call: Call) -> int:
    """Show what the host is."""
    _, words = site.options(call, table("w l a t gpu s cname", "R o T"))
    _only_this(call, words, "unknown host or cluster")
    there = call.machine.capacity()
    memory = _size(there.get("memory_mib", 0))
    call.out("HOST_NAME      type    model  cpuf ncpus maxmem maxswp server RESOURCES\n")
    call.out(
        f"{call.machine.host:<12} {os.uname().machine.upper()[:7]:>6} {'PC':>8} {60.0:5.1f} "
        f"{there.get('cores', 1):>5} {memory:>6} {'-':>6}    Yes (mg)\n"
    )
    return 0


def lsload(call: Call) -> int:
    """Show how busy the host is."""
    _, words = site.options(call, table("w l N E a s gpu cname", "I n R o"))
    _only_this(call, words, "unknown host or cluster")
    free = call.machine.free()
    load = [f"{value:.1f}" for value in os.getloadavg()]
    cores = call.machine.capacity().get("cores", 1)
    busy = min(100, int(100 * os.getloadavg()[0] / max(1, cores)))
    tmp = _size(shutil.disk_usage("/tmp").free >> 20)
    call.out(
        "HOST_NAME       status  r15s   r1m  r15m   ut    pg  ls    it   tmp   swp   mem\n"
        f"{call.machine.host:<15} {'ok':>6} {load[0]:>5} {load[0]:>5} {load[2]:>5} "
        f"{busy:>3}%   0.0   1     0 {tmp:>5} {'-':>5} {_size(free.get('memory_mib', 0)):>5}\n"
    )
    return 0


# ---------------------------------------------------------------- parameters and others


def bparams(call: Call) -> int:
    """Show the parameters of the batch system."""
    given, _ = site.options(call, table("a l", ""))
    if "a" in given or "l" in given:
        texts = [f"    {name} = {value}\n" for name, value in conf.PARAMETERS.items() if value]
        call.out("".join(texts))
        return 0
    call.out(
        f"Default Queues:  {site.default_queue(call)}\n"
        f"Default Project: {conf.PARAMETERS['DEFAULT_PROJECT']}\n"
        f"MBD_SLEEP_TIME used for calculations:  {conf.PARAMETERS['MBD_SLEEP_TIME']} seconds\n"
        f"Job Checking Interval:  {conf.PARAMETERS['SBD_SLEEP_TIME']} seconds\n"
        f"Job Accepting Interval:  {conf.PARAMETERS['JOB_ACCEPT_INTERVAL']} seconds\n"
    )
    return 0


def badmin(call: Call) -> int:
    """Show the configuration; what changes a cluster is refused."""
    words = [word for word in call.argv if not word.startswith("-")]
    if words[:1] == ["showconf"]:
        when = time.strftime("%a %b %e %H:%M:%S %Z %Y")
        call.out(f"MBD configuration at {when}\n")
        home = shims.folder(call.machine.state_dir, "lsf")
        call.out("".join(f"        {k} = {v}\n" for k, v in conf.shown(home).items()))
        return 0
    if words[:1] in (["showstatus"], ["ckconfig"], ["reconfig"], ["mbdrestart"]):
        call.out("There are no fatal errors found.\n" if words != ["showstatus"] else
                 f"LSF runtime mbatchd information\n    Available local hosts (current/peak): 1/1\n"
                 f"    Jobs: {len(_live(call))}\n")  # fmt: skip
        return 0
    raise Stop(f"badmin: {' '.join(words) or 'no subcommand'}: not available on an emulated "
               "cluster; showconf, showstatus and ckconfig are.\n", 255)  # fmt: skip


def lsadmin(call: Call) -> int:
    """Show the configuration; there are no daemons to steer."""
    words = [word for word in call.argv if not word.startswith("-")]
    if words[:1] == ["showconf"]:
        return badmin(call)
    if words[:1] == ["ckconfig"]:
        call.out("No errors found.\n")
        return 0
    raise Stop(f"lsadmin: {' '.join(words) or 'no subcommand'}: not available on an emulated "
               "cluster; showconf and ckconfig are.\n", 255)  # fmt: skip


def bapp(call: Call) -> int:
    """Say that there are no application profiles."""
    site.options(call, table("w l noheader alloc", "o"))
    raise Stop("No application profiles found\n", 255)


def bugroup(call: Call) -> int:
    """List groups of users, or of hosts (bmgroup): there are none."""
    site.options(call, table("w l r cname", ""))
    what = "host" if call.command == "bmgroup" else "user"
    raise Stop(f"No {what} group found\n", 255)


def busers(call: Call) -> int:
    """Show what each user has."""
    _, words = site.options(call, table("w all alloc weight pl l", "o"))
    views = _live(call)
    user = call.machine.user
    for word in words:
        if word not in (user, "all"):
            raise Stop(f"{word}: No such user or user group\n", 255)
    suspended = (_count(views, "SSUSP"), _count(views, "USUSP", "PSUSP"))
    call.out("USER/GROUP          JL/P    MAX  NJOBS   PEND    RUN  SSUSP  USUSP    RSV \n")
    call.out(
        f"{user:<19}    -      - {_count(views):>6} {_count(views, 'PEND'):>6} "
        f"{_count(views, 'RUN'):>6} {suspended[0]:>6} {suspended[1]:>6}      0\n"
    )
    return 0
