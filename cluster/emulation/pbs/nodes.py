"""`pbsnodes`: the one node there is; and `tracejob`: what became of a job."""

from __future__ import annotations

import os
import time

from cluster.emulation.call import Call
from cluster.emulation.machine import Row
from cluster.emulation.pbs import flavour, ids
from cluster.emulation.pbs.attributes import Time, Value, View, attributes, date
from cluster.emulation.pbs.show import document
from cluster.emulation.pbs.steering import read
from cluster.emulation.pbs.views import elements, views
from cluster.states import RUNNING, SUSPENDED

__all__ = ["pbsnodes", "tracejob"]

_TABLE = """\
                                                        mem       ncpus   nmics   ngpus
vnode           state           njobs   run   susp      f/t        f/t     f/t     f/t   jobs
--------------- --------------- ------ ----- ------ ------------ ------- ------- ------- -------
"""


def pbsnodes(call: Call) -> int:
    """Show the node."""
    own = flavour.of(call)
    asked, names = read(call, "aCcD:d:F:H:jJlL:N:oOrRs:Sv" if own.is_pro else "acdlm:n:N:opqrs:x")
    host = call.machine.host
    if "l" in asked:
        return _list(call, names)
    if not asked and not names and own.is_pro:
        raise flavour.usage(call)
    code = 0
    for name in names:
        if name.partition(".")[0] != host:
            words = "Unknown node " if own.is_pro else "cannot locate node "
            call.err(f"pbsnodes: {words}{name}\n" if own.is_pro else f"Node {name}: Unknown node\n")
            code = 15062 % 256
    if code:
        return code
    node = _pro(call) if own.is_pro else _torque(call)
    if asked.get("F") == "json":
        now = time.time()
        call.out(document("nodes", {host: node}, version=own.version, server=host, now=now))
    elif "S" in asked or "j" in asked:
        call.out(_table(call))
    elif "x" in asked:
        call.out(_xml(host, node))
    else:
        call.out(_text(host, node))
    return 0


def _running(call: Call) -> list[View]:
    """Give what runs, elements by themselves."""
    rows = call.machine.rows(states=(RUNNING, SUSPENDED))
    found = [one for view in views(call, rows) for one in _alone(call, view)]
    return [view for view in found if view.row.info.state in (RUNNING, SUSPENDED)]


def _alone(call: Call, view: View) -> list[View]:
    return elements(call, view.row) if view.is_array else [view]


def _pro(call: Call) -> dict[str, Value]:
    there, running, host = call.machine.capacity(), _running(call), call.machine.host
    free = call.machine.free()
    cores = there.get("cores", 1)
    used = cores - free.get("cores", cores)
    slots = [f"{view.id}/{at}" for at, view in enumerate(running)]
    return {
        "Mom": host,
        "Port": 15002,
        "pbs_version": flavour.of(call).version,
        "ntype": "PBS",
        "state": "job-busy" if used >= cores else "free",
        "pcpus": os.cpu_count() or cores,
        **({"jobs": ", ".join(slots)} if slots else {}),
        "resources_available": {
            "arch": "linux",
            "host": host,
            "mem": f"{there.get('memory_mib', 0) * 1024}kb",
            "ncpus": str(cores),
            **({"ngpus": str(there["gpus"])} if there.get("gpus") else {}),
            "vnode": host,
        },
        "resources_assigned": {
            "accelerator_memory": "0kb",
            "hbmem": "0kb",
            "mem": f"{(there.get('memory_mib', 0) - free.get('memory_mib', 0)) * 1024}kb",
            "naccelerators": "0",
            "ncpus": str(used),
            "vmem": "0kb",
        },
        "resv_enable": "True",
        "sharing": "default_shared",
        "license": "l",
        "last_state_change_time": Time(_booted()),
    }


def _torque(call: Call) -> dict[str, Value]:
    there, running = call.machine.capacity(), _running(call)
    free = call.machine.free()
    cores = there.get("cores", 1)
    busy = free.get("cores", cores) <= 0
    memory, now = there.get("memory_mib", 0) * 1024, int(time.time())
    jobs, at = [], 0
    for view in running:
        last = at + view.row.info.cores - 1
        jobs.append(f"{at}-{last}/{view.id}" if last > at else f"{at}/{view.id}")
        at = last + 1
    system = os.uname()
    status = (
        f"opsys=linux,uname={system.sysname} {system.nodename} {system.release},sessions=? 0,"
        f"nsessions={len(running)},nusers=1,idletime=0,totmem={memory}kb,"
        f"availmem={free.get('memory_mib', 0) * 1024}kb,physmem={memory}kb,ncpus={cores},"
        f"loadave={os.getloadavg()[0]:.2f},gres=,netload=0,state=free,varattr=,"
        f"version={flavour.of(call).version},rectime={now},jobs={' '.join(v.id for v in running)}"
    )
    return {
        "state": "job-exclusive" if busy else "free",
        "power_state": "Running",
        "np": cores,
        "ntype": "cluster",
        **({"jobs": ",".join(jobs)} if jobs else {}),
        "status": status,
        "mom_service_port": 15002,
        "mom_manager_port": 15003,
        **({"gpus": there["gpus"]} if there.get("gpus") else {}),
    }


def _booted() -> float:
    try:
        with open("/proc/uptime") as file:
            return time.time() - float(file.read().split()[0])
    except (OSError, ValueError, IndexError):
        return 0.0


def _text(host: str, node: dict[str, Value]) -> str:
    lines = [host]
    for name, value in node.items():
        if isinstance(value, dict):
            lines += [f"     {name}.{key} = {text}" for key, text in value.items()]
        else:
            lines.append(f"     {name} = {date(value) if isinstance(value, Time) else value}")
    return "\n".join(lines) + "\n\n"


def _xml(host: str, node: dict[str, Value]) -> str:
    from xml.sax.saxutils import escape

    inside = "".join(f"<{name}>{escape(str(value))}</{name}>" for name, value in node.items())
    return f"<Data><Node><name>{escape(host)}</name>{inside}</Node></Data>\n"


def _list(call: Call, names: list[str]) -> int:
    """List nodes in a state: without one, those that are down; there is none."""
    own = flavour.of(call)
    if not own.is_pro and names[:1] and names[0] in ("all", "up", "free", "busy", "job-exclusive"):
        state = str(_torque(call)["state"])
        if names[0] in ("all", "up", state):
            call.out(f"{call.machine.host:<20} {state}\n")
    return 0


def _table(call: Call) -> str:
    there, free, running = call.machine.capacity(), call.machine.free(), _running(call)
    cores, gpus = there.get("cores", 1), there.get("gpus", 0)
    state = "free" if free.get("cores", cores) else "job-busy"
    memory = f"{free.get('memory_mib', 0) // 1024}gb/{there.get('memory_mib', 0) // 1024}gb"
    count = sum(view.row.info.state == RUNNING for view in running)
    left = f"{free.get('cores', 0)}/{cores}"
    left_gpus = f"{free.get('gpus', 0)}/{gpus}"
    jobs = ",".join(view.id for view in running) or "--"
    return (
        f"{_TABLE}{call.machine.host:<15.15} {state:<15} {len(running):>6} {count:>5} "
        f"{len(running) - count:>6} {memory:>12} {left:>7} {'0/0':>7} {left_gpus:>7} {jobs}\n"
    )


def tracejob(call: Call) -> int:
    """Tell a job's way from its times; the node's daemon has no log of its own."""
    _, names = read(call, "ac:f:lmn:p:svw:z")
    if not names:
        raise flavour.usage(call)
    code = 0
    for _, text, rows in ids.lookup(call, names):
        if not rows:
            call.err(f"tracejob: Couldn't find Job Id {text}\n")
            code = 1
        for row in rows:
            call.out("".join(_trace(call, row)))
    return code


def _trace(call: Call, row: Row) -> list[str]:
    (view,) = views(call, [row])
    info, host = row.info, call.machine.host
    user = f"{call.machine.user}@{host}"
    queued = f"Job Queued at request of {user}, owner = {user}, job name = {info.name}"
    lines = [f"\nJob: {view.id}\n\n", _logged(info.submitted, f"{queued}, queue = {view.queue}")]
    if view.has_run:
        run = f"Job Run at request of Scheduler@{host} on exec_vnode {view.exec_vnode}"
        lines.append(_logged(info.started, run))
    if row.done:
        lines.append(_logged(info.ended, _ended(view)))
    return lines


def _ended(view: View) -> str:
    shown = attributes(view)
    status = shown.get("Exit_status", shown.get("exit_status"))
    if status is None:
        return "Job deleted"
    used = shown.get("resources_used")
    words = used.items() if isinstance(used, dict) else ()
    return " ".join(
        [f"Exit_status={status}", *(f"resources_used.{key}={value}" for key, value in words)]
    )


def _logged(when: float, text: str) -> str:
    return f"{time.strftime('%m/%d/%Y %H:%M:%S', time.localtime(when))}  S    {text}\n"
