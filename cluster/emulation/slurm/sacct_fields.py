"""What sacct knows of a job and of its steps: names, widths, values."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cluster.emulation.slurm.environment import CLUSTER
from cluster.emulation.slurm.jobs import View
from cluster.emulation.slurm.steps import Step
from cluster.emulation.slurm.times import clock, long_duration, size

__all__ = ["BRIEF", "DEFAULT", "FIELDS", "LONG", "UNITS", "Column", "Entry", "state"]

UNITS = "KMGTP"


@dataclass(frozen=True)
class Entry:
    """A line of sacct: a job, its batch step (`step` None, `is_batch`), or a step of srun.

    Attributes:
        steps: of the job, for its own line and that of its batch script.
        unit: for memory, a letter of `UNITS`; "" is as it comes, "B" in bytes and MiB.
    """

    view: View
    user: str
    group: str
    host: str
    form: str = ""
    is_batch: bool = False
    step: Step | None = None
    steps: Sequence[Step] = ()
    unit: str = ""

    @property
    def is_job(self) -> bool:
        return not self.is_batch and self.step is None

    @property
    def suffix(self) -> str:
        if self.is_batch:
            return ".batch"
        return f".{self.step.number}" if self.step else ""


def _code(entry: Entry) -> tuple[int, int]:
    step, view = entry.step, entry.view
    if step is not None:
        return step.code, step.signal
    code, number = view.exit_code
    if entry.is_batch and view.info.state in ("CANCELLED", "TIMEOUT"):
        return 0, view.info.signal
    if entry.is_job and view.info.state in ("CANCELLED", "TIMEOUT"):
        return 0, 0
    return code & 0x7F, number  # the books keep seven bits


def state(entry: Entry) -> str:
    """Give the state as the books have it, without who cancelled it."""
    step, view = entry.step, entry.view
    if step is not None:
        if not step.ended:
            return "RUNNING" if not view.is_over else "CANCELLED"
        if step.signal:
            return "CANCELLED"
        return "FAILED" if step.code else "COMPLETED"
    if entry.is_batch and view.is_over:
        if view.info.ending:
            return "RUNNING"
        if view.base_state == "TIMEOUT" or view.exit_code[1] not in (0, 125):
            return "CANCELLED"
    return view.base_state


def _state(entry: Entry) -> str:
    word = state(entry)
    if word != "CANCELLED":
        return word
    if entry.step is not None:
        return f"CANCELLED by {entry.step.by}" if entry.step.by else word
    if entry.is_job and entry.view.was_cancelled_by_hand:
        return f"CANCELLED by {os.getuid()}"
    return word


def _exit(entry: Entry) -> str:
    return "{}:{}".format(*_code(entry))


def _start_s(entry: Entry) -> float:
    return entry.step.started if entry.step else entry.view.info.started


def _end_s(entry: Entry) -> float:
    if entry.step is not None:
        return entry.step.ended or entry.view.info.ended
    return entry.view.info.ended if entry.view.is_over else 0.0


def _elapsed_s(entry: Entry) -> float:
    start = _start_s(entry)
    return max(0.0, int(_end_s(entry) or entry.view.now) - int(start)) if start else 0.0


def _time(entry: Entry, seconds: float, none: str = "Unknown") -> str:
    return clock(seconds, entry.form) if seconds else none


def _start(entry: Entry) -> str:
    return _time(entry, _start_s(entry), "None" if entry.view.is_over else "Unknown")


def _submit(entry: Entry) -> str:
    seconds = entry.view.info.submitted if entry.is_job else _start_s(entry)
    return _time(entry, seconds)


def _eligible(entry: Entry) -> str:
    view = entry.view
    if not entry.is_job:
        return _time(entry, _start_s(entry))
    return _time(entry, view.info.eligible if view.ran or view.is_eligible else 0.0)


def _cpus(entry: Entry) -> int:
    return entry.step.cpus if entry.step else entry.view.extra.cores


def _tres(entry: Entry, billing: bool) -> str:
    extra = entry.view.extra
    parts = [f"billing={extra.cores}"] * billing + [f"cpu={_cpus(entry)}"]
    parts += [f"gres/gpu={extra.gpus}"] * bool(extra.gpus)
    parts += [f"mem={size(extra.memory_mib)}"] * bool(extra.memory_mib)
    return ",".join([*parts, f"node={extra.nodes}"])


def _alloc_tres(entry: Entry) -> str:
    return _tres(entry, entry.is_job) if entry.view.ran else ""


def _cpu(entry: Entry) -> tuple[float, float]:
    """Give seconds of the user and of the system; a batch script's are all told as the user's."""
    if entry.step is not None:
        return entry.step.user, entry.step.system
    user, system = sum(s.user for s in entry.steps), sum(s.system for s in entry.steps)
    own = max(0.0, entry.view.info.cpu_s - user - system)
    return (own, 0.0) if entry.is_batch else (user + own, system)


def _cpu_time(seconds: float) -> str:
    if seconds >= 3600 or seconds % 1 < 0.001:
        return long_duration(seconds)
    return f"{int(seconds) // 60:02}:{seconds % 60:06.3f}"


def _cpu_of_task(entry: Entry) -> str:
    if entry.is_job:
        return ""
    return long_duration(int(sum(_cpu(entry)) / (entry.step.tasks if entry.step else 1)))


def _rss(entry: Entry) -> str:
    kib = entry.step.peak_kib if entry.step else int(entry.view.info.peak_memory_mib * 1024)
    if entry.is_job or not kib:
        return ""
    if entry.unit == "B":
        return str(kib * 1024)
    return _in_unit(kib, entry.unit) if entry.unit else f"{kib}K"


def _in_unit(kib: int, unit: str) -> str:
    number = kib / 1024 ** UNITS.index(unit)
    return f"{number:.0f}{unit}" if number.is_integer() else f"{number:.2f}{unit}"


def _limit(entry: Entry) -> str:
    limit = entry.view.walltime_s
    if not entry.is_job:
        return ""
    return long_duration(limit) if limit else "UNLIMITED"


def _limit_raw(entry: Entry) -> str:
    limit = entry.view.walltime_s
    if not entry.is_job:
        return ""
    return str(-int(-limit // 60)) if limit else "UNLIMITED"


def _name(entry: Entry) -> str:
    if entry.step is not None:
        return entry.step.name
    return "batch" if entry.is_batch else entry.view.info.name


def _reason(entry: Entry) -> str:
    view = entry.view
    if view.is_pending or (not view.ran and view.info.state == "CANCELLED"):
        return view.reason.replace("DependencyNeverSatisfied", "Dependency")
    return "None"


def _tasks(entry: Entry) -> str:
    if entry.is_job:
        return ""
    return str(entry.step.tasks) if entry.step else "1"


def _nodes(entry: Entry) -> str:
    return entry.host if entry.view.ran else "None assigned"


def _waited(entry: Entry) -> str:
    view = entry.view
    begin = view.info.eligible
    until = view.info.started or view.info.ended or view.now
    return long_duration(until - begin) if begin else "00:00:00"


def _job(value: Callable[[Entry], str]) -> Callable[[Entry], str]:
    """Give it for the job's line alone."""
    return lambda entry: value(entry) if entry.is_job else ""


def _constant(text: str) -> Callable[[Entry], str]:
    return lambda entry: text


def _memory(entry: Entry) -> str:
    mib = entry.view.extra.memory_mib
    if entry.unit == "B" and mib:
        return f"{mib}M"
    return _in_unit(mib * 1024, entry.unit) if entry.unit and mib else size(mib) if mib else "0"


def _batch(text: str) -> Callable[[Entry], str]:
    return lambda entry: "" if entry.is_job else text


_none = _constant("")
_host_of_step: Callable[[Entry], str] = lambda e: "" if e.is_job else e.host  # noqa: E731

# name, width (negative: left), value
_ROWS: tuple[tuple[str, int, Callable[[Entry], str]], ...] = (
    ("Account", 10, lambda e: e.view.extra.account),
    ("AdminComment", 15, _none),
    ("AllocCPUS", 10, lambda e: str(_cpus(e))),
    ("AllocNodes", 10, lambda e: str(e.view.extra.nodes) if e.view.ran else "0"),
    ("AllocTRES", 10, _alloc_tres),
    ("AssocID", 7, _job(_constant("2"))),
    ("AveCPU", 10, _cpu_of_task), ("AveCPUFreq", 10, _batch("0")),
    ("AveDiskRead", 14, _batch("0")), ("AveDiskWrite", 14, _batch("0")),
    ("AvePages", 10, _batch("0")), ("AveRSS", 10, _rss), ("AveVMSize", 10, _rss),
    ("BlockID", 16, _none),
    ("Cluster", 10, _constant(CLUSTER)),
    ("Comment", 14, _job(lambda e: e.view.extra.comment)),
    ("Constraints", 19, _job(lambda e: e.view.options.get("constraint", ""))),
    ("ConsumedEnergy", 14, _batch("0")), ("ConsumedEnergyRaw", 17, _batch("0")),
    ("Container", 19, _none),
    ("CPUTime", 10, lambda e: long_duration(_elapsed_s(e) * _cpus(e))),
    ("CPUTimeRAW", 10, lambda e: str(int(_elapsed_s(e) * _cpus(e)))),
    ("DBIndex", -10, lambda e: str(e.view.raw)),
    ("DerivedExitCode", 15, _job(lambda e: f"{max((s.code for s in e.steps), default=0)}:0")),
    ("Elapsed", 10, lambda e: long_duration(_elapsed_s(e))),
    ("ElapsedRaw", 10, lambda e: str(int(_elapsed_s(e)))),
    ("Eligible", 19, _eligible),
    ("End", 19, lambda e: _time(e, _end_s(e))),
    ("ExitCode", 8, _exit),
    ("Flags", 19, _job(_constant("SchedMain,StartRecieved"))),
    ("GID", 6, _job(lambda e: str(os.getgid()))),
    ("Group", 9, _job(lambda e: e.group)),
    ("JobID", -12, lambda e: e.view.long_id + e.suffix),
    ("JobIDRaw", -12, lambda e: f"{e.view.raw}{e.suffix}"),
    ("JobName", 10, _name),
    ("Layout", 9, _batch("Unknown")),
    ("MaxDiskRead", 12, _batch("0")), ("MaxDiskReadNode", 15, _host_of_step),
    ("MaxDiskReadTask", 15, _batch("0")), ("MaxDiskWrite", 12, _batch("0")),
    ("MaxDiskWriteNode", 16, _host_of_step), ("MaxDiskWriteTask", 16, _batch("0")),
    ("MaxPages", 8, _batch("0")), ("MaxPagesNode", 12, _host_of_step),
    ("MaxPagesTask", 14, _batch("0")),
    ("MaxRSS", 10, _rss), ("MaxRSSNode", 10, _host_of_step), ("MaxRSSTask", 10, _batch("0")),
    ("MaxVMSize", 10, _rss), ("MaxVMSizeNode", 14, _host_of_step),
    ("MaxVMSizeTask", 14, _batch("0")),
    ("McsLabel", 12, _none),
    ("MinCPU", 10, _cpu_of_task), ("MinCPUNode", 10, _host_of_step),
    ("MinCPUTask", 10, _batch("0")),
    ("NCPUS", 10, lambda e: str(_cpus(e))),
    ("NNodes", 8, lambda e: str(e.view.extra.nodes)),
    ("NodeList", 15, _nodes),
    ("NTasks", 8, _tasks),
    ("Partition", 10, _job(lambda e: e.view.extra.partition)),
    ("Priority", 10, _job(lambda e: str(e.view.priority))),
    ("QOS", 10, _job(lambda e: e.view.options.get("qos", "normal"))),
    ("QOSRAW", 6, _job(_constant("1"))),
    ("Reason", 22, _job(_reason)),
    ("ReqCPUFreq", 10, _job(_constant("Unknown"))),
    ("ReqCPUFreqGov", 13, _job(_constant("Unknown"))),
    ("ReqCPUFreqMax", 13, _job(_constant("Unknown"))),
    ("ReqCPUFreqMin", 13, _job(_constant("Unknown"))),
    ("ReqCPUS", 8, lambda e: str(_cpus(e))),
    ("ReqMem", 10, _job(_memory)),
    ("ReqNodes", 8, lambda e: str(e.view.extra.nodes)),
    ("ReqTRES", 10, _job(lambda e: _tres(e, billing=True))),
    ("Reservation", 20, _none), ("ReservationId", 8, _none),
    ("Reserved", 10, _job(_waited)), ("Planned", 10, _job(_waited)),
    ("ResvCPU", 10, _job(_waited)), ("ResvCPURAW", 10, _job(_constant("0"))),
    ("Start", 19, _start),
    ("State", 10, _state),
    ("Submit", 19, _submit),
    ("SubmitLine", 20, _job(lambda e: e.view.extra.submit)),
    ("Suspended", 10, _constant("00:00:00")),
    ("SystemComment", 15, _none),
    ("SystemCPU", 10, lambda entry: _cpu_time(_cpu(entry)[1])),
    ("Timelimit", 10, _limit), ("TimelimitRaw", 10, _limit_raw),
    ("TotalCPU", 10, lambda entry: _cpu_time(sum(_cpu(entry)))),
    *((name, width, _none) for name, width in (
        ("TRESUsageInAve", 14), ("TRESUsageInMax", 14), ("TRESUsageInMaxNode", 18),
        ("TRESUsageInMaxTask", 18), ("TRESUsageInMin", 14), ("TRESUsageInMinNode", 18),
        ("TRESUsageInMinTask", 18), ("TRESUsageInTot", 14), ("TRESUsageOutAve", 15),
        ("TRESUsageOutMax", 15), ("TRESUsageOutMaxNode", 19), ("TRESUsageOutMaxTask", 19),
        ("TRESUsageOutMin", 15), ("TRESUsageOutMinNode", 19), ("TRESUsageOutMinTask", 19),
        ("TRESUsageOutTot", 15),
    )),
    ("UID", 6, _job(lambda e: str(os.getuid()))),
    ("User", 9, _job(lambda e: e.user)),
    ("UserCPU", 10, lambda entry: _cpu_time(_cpu(entry)[0])),
    ("WCKey", 10, _job(lambda e: e.view.options.get("wckey", ""))),
    ("WCKeyID", 10, _job(_constant("0"))),
    ("WorkDir", 20, _job(lambda e: e.view.options.get("workdir") or e.view.extra.cwd)),
)  # fmt: skip


@dataclass(frozen=True)
class Column:
    """A field; a negative width is justified to the left."""

    name: str
    width: int
    value: Callable[[Entry], str]


FIELDS: dict[str, Column] = {name.lower(): Column(name, w, value) for name, w, value in _ROWS}
DEFAULT = "jobid,jobname,partition,account,alloccpus,state,exitcode"
BRIEF = "jobid,state,exitcode"
LONG = (
    "jobid,jobidraw,jobname,partition,maxvmsize,maxvmsizenode,maxvmsizetask,avevmsize,maxrss,"
    "maxrssnode,maxrsstask,averss,maxpages,maxpagesnode,maxpagestask,avepages,mincpu,mincpunode,"
    "mincputask,avecpu,ntasks,alloccpus,elapsed,state,exitcode,avecpufreq,reqcpufreqmin,"
    "reqcpufreqmax,reqcpufreqgov,reqmem,consumedenergy,maxdiskread,maxdiskreadnode,"
    "maxdiskreadtask,avediskread,maxdiskwrite,maxdiskwritenode,maxdiskwritetask,avediskwrite,"
    "reqtres,alloctres,tresusageinave,tresusageinmax,tresusageinmaxnode,tresusageinmaxtask,"
    "tresusageinmin,tresusageinminnode,tresusageinmintask,tresusageintot,tresusageoutmax,"
    "tresusageoutmaxnode,tresusageoutmaxtask,tresusageoutave,tresusageouttot"
)
