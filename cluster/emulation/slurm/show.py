"""`scontrol show`: a job, the configuration, partitions, nodes, steps."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence

from cluster.emulation.call import Call, Stop
from cluster.emulation.machine import Row
from cluster.emulation.settings import Partition
from cluster.emulation.slurm import jobs, patterns, site, steps
from cluster.emulation.slurm.environment import CLUSTER
from cluster.emulation.slurm.indices import MAX_SIZE, BadArray
from cluster.emulation.slurm.jobs import View
from cluster.emulation.slurm.squeue import Conditions
from cluster.emulation.slurm.squeue_fields import Line, dependency
from cluster.emulation.slurm.times import clock, long_duration, size

__all__ = ["config", "job_text", "nodes", "partitions", "show_jobs", "show_steps"]

_UNKNOWN = "Unknown"
_INVALID = "slurm_load_jobs error: Invalid job id specified\n"


def show_jobs(call: Call, words: Sequence[str], *, in_one_line: bool) -> int:
    """Show jobs; all that are remembered without an id."""
    now = time.time()
    rows = _rows(call, words, now)
    conditions = Conditions(call, rows)
    views = jobs.grouped(rows, now)
    views.sort(key=lambda view: (view.row.array, not view.indices, view.row.index or 0))
    if not views and not words:
        call.out("No jobs in the system\n")
    for view in views:
        lines = job_text(call, view, conditions)
        if in_one_line:
            call.out(" ".join(line.strip() for line in lines) + " \n")
        else:
            call.out("\n".join([lines[0], *("   " + line for line in lines[1:])]) + "\n   \n\n")
    return 0


def _rows(call: Call, words: Sequence[str], now: float) -> list[Row]:
    if not words:
        return jobs.recent(call.machine, now, folded=True)
    try:
        found = jobs.find(call.machine, words, folded=True)
    except BadArray:
        raise Stop("scontrol_print_job error: Invalid job id specified\n", 1) from None
    oldest = now - site.MIN_JOB_AGE_S
    kept = [row for row in found if not row.done or row.info.ended >= oldest]
    if not kept:
        raise Stop(_INVALID, 1)
    return kept


def _when(seconds: float, none: str = _UNKNOWN) -> str:
    return clock(seconds) if seconds else none


def job_text(call: Call, view: View, conditions: Conditions) -> list[str]:
    """Give the lines about a job."""
    machine, info, extra, options = call.machine, view.info, view.extra, view.options
    host, user = machine.host, machine.user
    line = Line(view, host, user, status=conditions.status)
    names = f"JobId={view.raw}"
    if view.is_array:
        limit = f" ArrayTaskThrottle={view.throttle}" if view.throttle else ""
        names += f" ArrayJobId={view.row.array} ArrayTaskId={view.index}{limit}"
    limit_text = long_duration(view.walltime_s) if view.walltime_s else "UNLIMITED"
    start = info.started or (info.ended if view.is_over else 0.0)
    memory = f"mem={size(extra.memory_mib)}," if extra.memory_mib else ""
    gpus = f",gres/gpu={extra.gpus}" if extra.gpus else ""
    per_cpu = "mem-per-cpu" in options
    wanted = extra.memory_mib // max(1, extra.cores if per_cpu else extra.nodes)
    code, number = view.exit_code
    eligible = info.eligible if view.is_eligible or view.ran else 0.0
    lines = [
        f"{names} JobName={info.name}",
        f"UserId={user}({os.getuid()}) GroupId={user}({os.getgid()}) MCS_label=N/A",
        f"Priority={view.priority} Nice={options.get('nice', '0')} Account={extra.account} "
        f"QOS={options.get('qos', 'normal')}",
        f"JobState={view.state} Reason={view.reason} Dependency={dependency(line)}",
        f"Requeue={options.get('requeue', '1')} Restarts={max(0, info.attempt - 1)} "
        f"BatchFlag={int(view.is_batch)} Reboot=0 ExitCode={code}:{number}",
        f"RunTime={long_duration(view.elapsed_s)} TimeLimit={limit_text} TimeMin=N/A",
        f"SubmitTime={clock(info.submitted)} EligibleTime={_when(eligible or info.begin)}",
        f"AccrueTime={_when(eligible)}",
        f"StartTime={_when(start or info.begin)} EndTime={_when(view.end)} Deadline=N/A",
        f"SuspendTime=None SecsPreSuspend=0 LastSchedEval={_when(info.started or info.submitted)} "
        "Scheduler=Main",
        f"Partition={extra.partition} AllocNode:Sid={host}:{os.getpid()}",
        f"ReqNodeList={options.get('nodelist', '(null)')} ExcNodeList="
        f"{options.get('exclude', '(null)')}",
        f"NodeList={host if view.ran else ''}",
        *([f"BatchHost={host}"] if view.ran else []),
        f"NumNodes={extra.nodes} NumCPUs={extra.cores} NumTasks={options.get('ntasks', '1')} "
        f"CPUs/Task={options.get('cpus_per_task', '1')} ReqB:S:C:T=0:0:*:*",
        f"TRES=cpu={extra.cores},{memory}node={extra.nodes},billing={extra.cores}{gpus}",
        "Socks/Node=* NtasksPerN:B:S:C=0:0:*:* CoreSpec=*",
        f"MinCPUsNode={options.get('cpus_per_task', '1')} "
        f"MinMemory{'CPU' if per_cpu else 'Node'}={size(wanted) if wanted else '0'} "
        "MinTmpDiskNode=0",
        f"Features={options.get('constraint', '(null)')} DelayBoot=00:00:00",
        f"OverSubscribe={'NO' if 'exclusive' in options else 'OK'} Contiguous=0 "
        f"Licenses={options.get('licenses', '(null)')} Network=(null)",
        f"Command={extra.command or '(null)'}",
        f"WorkDir={options.get('workdir') or extra.cwd}",
    ]
    if extra.comment:
        lines.append(f"Comment={extra.comment} ")
    if view.is_batch:
        lines += [
            f"StdErr={_file(view, 'stderr', user)}",
            f"StdIn={options.get('stdin', '/dev/null')}",
            f"StdOut={_file(view, 'stdout', user)}",
        ]
    lines.append("Power=")
    if "gres" in options:
        lines.append(f"TresPerNode={options['gres']}")
    if "mail-type" in options:
        lines.append(f"MailUser={options.get('mail-user', user)} MailType={options['mail-type']}")
    return lines


def _file(view: View, key: str, user: str) -> str:
    index = "4294967294" if view.row.index is None or view.indices else str(view.row.index)
    values = {
        "j": str(view.raw), "J": str(view.raw), "A": str(view.row.array), "a": index,
        "x": view.info.name, "u": user, "s": "batch", "t": "0", "n": "0",
    }  # fmt: skip
    told = {letter: os.fsencode(value) for letter, value in values.items()}
    name = os.fsdecode(patterns.expand(view.options.get(key, ""), told))
    return os.path.join(view.options.get("workdir", view.extra.cwd), name)


# ---------------------------------------------------------------- steps


def show_steps(call: Call, words: Sequence[str]) -> int:
    """Show the steps that run."""
    now = time.time()
    job, _, only = words[0].partition(".") if words else ("", "", "")
    rows = jobs.find(call.machine, [job]) if job else jobs.recent(call.machine, now, live_only=True)
    if job and not any(row.info.state in jobs.LIVE for row in rows):
        raise Stop("slurm_get_job_steps error: Invalid job id specified\n", 1)
    host = call.machine.host
    for row in rows:
        view = View(row, now=now)
        if view.state != "RUNNING":
            continue
        running = steps.live(call.machine.state_dir, view.raw, row.info.attempt)
        found = [(str(s.number), s.name, s.started, s.cpus, s.tasks) for s in running]
        if view.is_batch:
            found.insert(0, ("batch", "batch", row.info.started, 0, 1))
        for number, name, started, cpus, tasks in found:
            if only and number != only:
                continue
            call.out(
                f"StepId={row.id}.{number} UserId={os.getuid()} StartTime={clock(started)} "
                f"TimeLimit=UNLIMITED\n   State=RUNNING Partition={row.extra.partition} "
                f"NodeList={host}\n   Nodes=1 CPUs={cpus} Tasks={tasks} Name={name} "
                f"Network=(null)\n   TRES={f'cpu={cpus},node=1' if cpus else '(null)'}\n"
                "   ResvPorts=(null)\n   CPUFreqReq=Default\n   SrunHost:Pid=(null):0\n\n"
            )
    return 0


# ---------------------------------------------------------------- the cluster


def partitions(call: Call, words: Sequence[str], *, in_one_line: bool) -> int:
    """Show partitions."""
    known = site.partitions(call, _used(call))
    if words and not any(each.name == words[0] for each in known):
        if call.settings.partitions:
            call.out(f"Partition {words[0]} not found\n")
            raise Stop(code=1)
        known = [Partition(name=words[0])]
    there = call.machine.capacity()
    default = site.default_partition(call)
    for each in known:
        if words and each.name != words[0]:
            continue
        cores = each.cores or there.get("cores", 1)
        memory = each.memory_mib or there.get("memory_mib", 0)
        limit = long_duration(each.walltime_s) if each.walltime_s else "UNLIMITED"
        _block(call, in_one_line, [
            f"PartitionName={each.name}",
            "AllowGroups=ALL AllowAccounts=ALL AllowQos=ALL",
            f"AllocNodes=ALL Default={'YES' if each.name == default else 'NO'} QoS=N/A",
            "DefaultTime=NONE DisableRootJobs=NO ExclusiveUser=NO GraceTime=0 Hidden=NO",
            f"MaxNodes=UNLIMITED MaxTime={limit} MinNodes=0 LLN=NO MaxCPUsPerNode=UNLIMITED",
            f"Nodes={call.machine.host}",
            "PriorityJobFactor=1 PriorityTier=1 RootOnly=NO ReqResv=NO OverSubscribe=NO",
            "OverTimeLimit=NONE PreemptMode=OFF",
            f"State=UP TotalCPUs={cores} TotalNodes={each.nodes} SelectTypeParameters=NONE",
            "JobDefaults=(null)",
            "DefMemPerNode=UNLIMITED MaxMemPerNode=UNLIMITED",
            f"TRES=cpu={cores},mem={size(memory)},node={each.nodes},billing={cores}",
        ])  # fmt: skip
    return 0


def _used(call: Call) -> list[str]:
    return [row.extra.partition for row in call.machine.rows(states=jobs.LIVE)]


def _block(call: Call, in_one_line: bool, lines: Sequence[str]) -> None:
    call.out((" " if in_one_line else "\n   ").join(lines) + ("\n" if in_one_line else "\n\n"))


def nodes(call: Call, words: Sequence[str], *, in_one_line: bool) -> int:
    """Show the node."""
    host = call.machine.host
    if words and words[0] not in (host, "localhost"):
        raise Stop(f"Node {words[0]} not found\n", 1)
    there, free = call.machine.capacity(), call.machine.free()
    cores, memory = there.get("cores", 1), there.get("memory_mib", 0)
    busy, used = cores - free.get("cores", cores), memory - free.get("memory_mib", memory)
    state = "IDLE" if not busy else "ALLOCATED" if busy >= cores else "MIXED"
    gpus = f"gpu:{there['gpus']}" if there.get("gpus") else "(null)"
    names = ",".join(each.name for each in site.partitions(call, _used(call)))
    _block(call, in_one_line, [
        f"NodeName={host} Arch={platform.machine()} CoresPerSocket=1 ",
        f"CPUAlloc={busy} CPUEfctv={cores} CPUTot={cores} CPULoad={os.getloadavg()[0]:.2f}",
        "AvailableFeatures=(null)",
        "ActiveFeatures=(null)",
        f"Gres={gpus}",
        f"NodeAddr=127.0.0.1 NodeHostName={host} Port=6818 Version=22.05.8",
        f"OS={platform.system()} {platform.release()} ",
        f"RealMemory={memory} AllocMem={used} FreeMem={memory - used} Sockets={cores} Boards=1",
        f"State={state} ThreadsPerCore=1 TmpDisk=0 Weight=1 Owner=N/A MCS_label=N/A",
        f"Partitions={names} ",
        f"CfgTRES=cpu={cores},mem={size(memory)},billing={cores}",
        f"AllocTRES={f'cpu={busy},mem={size(used)}' if busy else ''}",
    ])  # fmt: skip
    return 0


_CONFIG: tuple[tuple[str, str | Callable[[Call], str]], ...] = (
    ("AccountingStorageEnforce", "none"),
    ("AccountingStorageTRES", "cpu,mem,energy,node,billing,fs/disk,vmem,pages"),
    ("AccountingStorageType", "accounting_storage/slurmdbd"),
    ("AuthType", "auth/munge"),
    ("ClusterName", CLUSTER),
    ("DefMemPerNode", "UNLIMITED"),
    ("EnforcePartLimits", "NO"),
    ("FirstJobId", "1"),
    ("GresTypes", lambda call: "gpu" if call.machine.capacity().get("gpus") else "(null)"),
    ("JobAcctGatherType", "jobacct_gather/linux"),
    ("JobFileAppend", "0"),
    ("JobRequeue", "1"),
    ("KillOnBadExit", "0"),
    ("KillWait", f"{site.KILL_WAIT_S} sec"),
    ("MaxArraySize", str(MAX_SIZE)),
    ("MaxJobCount", "10000000"),
    ("MaxJobId", "67043328"),
    ("MaxStepCount", "40000"),
    ("MaxTasksPerNode", "512"),
    ("MinJobAge", f"{int(site.MIN_JOB_AGE_S)} sec"),
    ("MpiDefault", "none"),
    ("PreemptMode", "OFF"),
    ("PreemptType", "preempt/none"),
    ("PriorityType", "priority/basic"),
    ("PrivateData", "none"),
    ("ProctrackType", "proctrack/linuxproc"),
    ("PropagateResourceLimits", "ALL"),
    ("SchedulerType", "sched/backfill"),
    ("SelectType", "select/cons_tres"),
    ("SelectTypeParameters", "CR_CPU_MEMORY"),
    ("SlurmUser", lambda call: f"{call.machine.user}({os.getuid()})"),
    ("SlurmctldHost[0]", lambda call: f"{call.machine.host}(127.0.0.1)"),
    ("SlurmctldPort", "6817"),
    ("SlurmdPort", "6818"),
    ("SLURM_CONF", "/etc/slurm/slurm.conf"),
    ("SLURM_VERSION", "22.05.8"),
    ("SwitchType", "switch/none"),
    ("TaskPlugin", "task/none"),
    ("TmpFS", "/tmp"),
    ("TopologyPlugin", "topology/none"),
    ("WaitTime", "0 sec"),
)


def config(call: Call) -> int:
    """Show the configuration."""
    call.out(f"Configuration data as of {clock(time.time())}\n")
    for name, value in _CONFIG:
        call.out(f"{name:<23} = {value if isinstance(value, str) else value(call)}\n")
    call.out(f"\nSlurmctld(primary) at {call.machine.host} is UP\n")
    return 0
