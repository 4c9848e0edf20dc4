"""Every keyword of a job, and the directive it becomes in each scheduler.

Data only: it reads and prints nothing.  `_option_values.py` turns what the
user wrote into values, `_option_directives.py` turns values into text.

A directive is a template.  `{text}` is the value, quoted where the scheduler
needs it; the other fields (`{mib}`, `{minutes}`, ...) are the value in the
unit that this scheduler reads, see `_option_directives.FIELDS`.  An option
without a directive carries an `Absent`: who else heeds it, or why nobody does.
"""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["ALIASES", "QTYPES", "SYNONYMS", "TABLE", "Absent", "Option"]

QTYPES = ("slurm", "torque", "sge", "lsf", "local")
ALIASES = {"normal": "local", "pbs": "torque", "pbspro": "torque", "gridengine": "sge"}


class Absent(NamedTuple):
    """No directive here.

    Attributes:
        reason: where the option goes instead, or why it cannot be had.
        heeded: whether the job gets what it asked for all the same.
    """

    reason: str
    heeded: bool = False


Directive = str | Absent


class Option(NamedTuple):
    """One keyword.

    Attributes:
        name: the one word for it.
        kind: how its value is read, a key of `_option_values.READERS`.
        help: one sentence for people.
        slurm, torque, sge, lsf: its directive there.
        local: what the local queue does with it.
        synonyms: other names that users bring along.
        default: what holds when nobody asks; it is never requested.
        choices: the only values, where there are few.
    """

    name: str
    kind: str
    help: str
    slurm: Directive
    torque: Directive
    sge: Directive
    lsf: Directive
    local: Absent
    synonyms: tuple[str, ...] = ()
    default: Any = None
    choices: tuple[str, ...] = ()

    def directive(self, qtype: str) -> Directive:
        """Give the directive for one of `QTYPES`."""
        directive: Directive = getattr(self, qtype)
        return directive


HEEDED = Absent("the local queue does this", True)
SCRIPT = Absent("written into the job's script", True)
OURS = Absent("done by this package, not by the scheduler", True)
ONE_NODE = Absent("this machine is the only node")
ONE_QUEUE = Absent("there is one queue, shared by all jobs of the user")
NO_RETRY = Absent("the scheduler repeats no job that failed; use Job.resubmit()")
NO_ACCOUNTS = Absent("nobody is charged on this machine")


def _no(reason: str) -> Absent:
    return Absent(reason)


def _everywhere(
    name: str,
    kind: str,
    help: str,
    where: Absent,
    *,
    local: Absent | None = None,
    synonyms: tuple[str, ...] = (),
    default: Any = None,
    choices: tuple[str, ...] = (),
) -> Option:
    here = local or where
    return Option(name, kind, help, where, where, where, where, here, synonyms, default, choices)


_RESOURCES = (
    Option(
        "cores", "count", "Cores of one machine that the job (or each of its ranks) takes.",
        "--cpus-per-task={text}", "-l nodes=1:ppn={text}", "-pe {pe} {text}",
        '-n {text} -R "span[hosts=1]"', HEEDED,
        ("core", "cpus", "cpu", "threads", "procs", "ncpus", "cpus_per_task", "slots", "ppn"), 1,
    ),
    Option(
        "nodes", "count", "Machines that the job spreads over.",
        "--nodes={text}", "-l nodes={text}:ppn=1",
        _no("the parallel environment decides over hosts; name one with "
            "queue.sge_parallel_environment in the configuration"),
        '-n {text} -R "span[ptile=1]"', ONE_NODE, ("node", "hosts"), 1,
    ),
    Option(
        "tasks", "count", "MPI ranks; each takes `cores`.",
        "--ntasks={text}", "-l nodes=1:ppn={text}", "-pe {pe} {text}", "-n {text}",
        Absent("takes tasks x cores; launcher= or the command starts the ranks", True),
        ("ntasks", "ranks"), 1,
    ),
    Option(
        "mem", "memory", "Memory of the whole job on a node: 2GB, 512M, or an int of MiB.",
        "--mem={mib}M", "-l mem={mib}mb", "-l {memory_resource}={mib}M",
        '-M {mib}MB -R "rusage[mem={mib}MB]"', HEEDED, ("memory", "ram", "memory_mib"),
    ),
    Option(
        "time", "limit", "Limit of the run time: 2h, 90m, 1-02:03:04, or a number of seconds.",
        "--time={d_hms}", "-l walltime={hms}", "-l h_rt={seconds}", "-W {h_m}", HEEDED,
        ("walltime", "wall_time", "timelimit", "time_limit", "walltime_s"),
    ),
    Option(
        "expect", "time", "Believed run time, used to plan and never enforced.",
        _no("Slurm plans with the limit; give time="), _no("Torque plans with the limit"),
        _no("Grid Engine plans with the limit"), "-We {h_m}", HEEDED,
        ("expected", "expected_time", "expect_s"),
    ),
    Option(
        "gpus", "gpus", 'How many gpus, per node: 2, or "a100:2" with their type.',
        "--gres=gpu:{text}", "-l nodes=1:ppn=1:gpus={text}", "-l {gpu_resource}={text}",
        '-gpu "num={text}"', HEEDED, ("gpu", "ngpus", "num_gpus"),
    ),
    Option(
        "gpu_type", "word", "Which gpus; also written gpus='a100:2'.",
        "--gres=gpu:{text}:1", "-l nodes=1:ppn=1:gpus=1:{text}",
        _no("gpu types are named by each site; use extra_directives"),
        '-gpu "num=1:gmodel={text}"', _no("this machine's gpus are taken as equal"),
        ("gputype", "gpu_model"),
    ),
    Option(
        "resources", "resources", "Named consumables: {'license': 1}.",
        "--licenses={colon_pairs}", "-l {pairs}", "-l {pairs}", '-R "rusage[{colon_equal}]"',
        HEEDED, ("resource", "licenses", "consumables"),
    ),
    Option(
        "features", "names", "Properties that the machine must have.",
        "--constraint={and_list}", "-l nodes=1:ppn=1:{colon_list}", "-l {comma_list}",
        "-R {lsf_select}", ONE_NODE, ("constraint", "constraints", "feature", "properties"),
    ),
    Option(
        "exclusive", "bool", "Share the machine with no other job.",
        "--exclusive", "-l naccesspolicy=singlejob", "-l exclusive=true", "-x",
        _no("ask for all cores with cores="), (), False,
    ),
)  # fmt: skip

_QUEUEING = (
    Option(
        "name", "name", "Name of the job, for people.",
        "--job-name={text}", "-N {pbs_name}", "-N {sge_name}", "-J {lsf_name}", HEEDED,
        ("job_name", "jobname"),
    ),
    Option(
        "partition", "word", "The named destination (Slurm partition, queue elsewhere).",
        "--partition={text}", "-q {text}", "-q {text}", "-q {text}", ONE_QUEUE,
        ("queue", "queue_name", "destination"),
    ),
    Option(
        "account", "word", "Who is charged (account, project).",
        "--account={text}", "-A {text}", "-P {text}", "-P {text}", NO_ACCOUNTS,
        ("project", "charge_account"),
    ),
    Option(
        "qos", "word", "Quality of service.",
        "--qos={text}", "-l qos={text}", _no("Grid Engine has no quality of service"),
        _no("LSF has service classes instead; use submit_args=['-sla', ...]"), ONE_QUEUE,
        ("quality_of_service",),
    ),
    Option(
        "priority", "int", "Larger starts earlier.",
        "--priority={text}", "-p {pbs_priority}", "-p {sge_priority}", "-sp {lsf_priority}",
        HEEDED, ("prio",),
    ),
    Option(
        "nice", "int", "Lowers the job's place in the queue by this much.",
        "--nice={text}", _no("lower priority= instead"), _no("lower priority= instead"),
        _no("lower priority= instead"), Absent("taken off the priority", True),
    ),
    Option(
        "begin", "begin", "Not before: datetime, timedelta from now, HH:MM, ISO text, now+2h.",
        "--begin={iso}", "-a {pbs_date}", "-a {pbs_date}", "-b {lsf_date}", HEEDED,
        ("start", "start_time", "begin_time", "not_before"),
    ),
    Option(
        "hold", "bool", "Queue it held; it waits until it is released.",
        "--hold", "-h", "-h", "-H", HEEDED, ("held",), False,
    ),
    Option(
        "dependencies", "dependencies", "Jobs to wait for: a job, an id, 'afterok:17', or a list.",
        "--dependency={slurm_deps}", "-W depend={pbs_deps}", "-hold_jid {sge_deps}",
        '-w "{lsf_deps}"', HEEDED,
        ("depend", "depends", "dependency", "depends_on"),
    ),
    Option(
        "on_unsatisfiable", "choice", "What becomes of a job whose dependency can never hold.",
        "--kill-on-invalid-dep={kill_on_invalid}",
        _no("PBS deletes such a job, unless it is released: then it waits for any end"),
        Absent("the job's script looks how the others ended; pend is taken as cancel", True),
        "{lsf_orphan}", HEEDED, (), "cancel", ("cancel", "pend", "release"),
    ),
    Option(
        "array", "array", "Many jobs from one: '1-100%5', a range, or a list of indices.",
        "--array={array}", "-t {array}", "-t {sge_array}", "-J {lsf_array}", HEEDED,
        ("indices",),
    ),
    Option(
        "requeue", "bool", "Run again when the machine failed under it.",
        "--{no}requeue", "-r {y_n}", "-r {y_n}", "-r{n}", HEEDED, ("rerunnable",), False,
    ),
    Option(
        "retries", "count0", "Run again so many times after a failure.",
        NO_RETRY, NO_RETRY, NO_RETRY, NO_RETRY, HEEDED, ("retry", "max_retries"), 0,
    ),
    Option(
        "signal", "signal", "Warn the job before its time limit: 'USR1@60s'.",
        "--signal=B:{signal}@{signal_s}", _no("Torque sends no signal before the limit"),
        _no("Grid Engine sends USR2 at a time its queue sets; use submit_args=['-notify']"),
        "-wa {signal} -wt {signal_h_m}", HEEDED, ("warn_signal",),
    ),
    Option(
        "comment", "line", "A remark kept with the job.",
        "--comment={text}", _no("Torque keeps no remarks"), "-ac {sge_comment}", "-Jd {text}",
        HEEDED, ("remark", "description"),
    ),
    Option(
        "notify", "line", "A mail address, or a command, told when the job ended.",
        "--mail-type=END,FAIL --mail-user={mail}", "-m ae -M {mail}", "-m ae -M {mail}",
        "-N -u {mail}", Absent("a job of its own tells, by command or by notify.smtp_host", True),
        ("mail", "email", "mail_user"),
    ),
    _everywhere(
        "grace", "time", "Time between the polite signal and the final one.",
        _no("the scheduler's administrator sets it"), local=HEEDED,
        synonyms=("grace_s", "kill_wait"),
    ),
    _everywhere(
        "max_queue_len", "count0", "Submit only while fewer jobs are queued; 0 is no limit.", OURS,
        synonyms=("max_jobs",),
    ),
)  # fmt: skip

_FILES = (
    Option(
        "outfile", "path", "File for standard output.",
        "--output={text}", "-o {path}", "-o {path}", "-oo {text}", HEEDED,
        ("stdout", "output", "out", "outpath"),
    ),
    Option(
        "errfile", "path", "File for standard error; the same as outfile puts both into one.",
        "--error={text}", "-e {path}", "-e {path}", "-eo {text}", HEEDED,
        ("stderr", "error", "err"),
    ),
    Option(
        "append", "bool", "Append to outfile and errfile instead of emptying them.",
        "--open-mode={append}", _no("Torque replaces the file when the job ends"),
        Absent("Grid Engine always appends", True), Absent("said with -o and -e", True), HEEDED,
        (), False,
    ),
    Option(
        "dir", "path", "Working directory of the job; that of submit when not given.",
        "--chdir={text}", "-d {text}", "-wd {text}", "-cwd {text}", HEEDED,
        ("workdir", "cwd", "chdir", "working_directory", "directory"),
    ),
    Option(
        "umask", "umask", "File mode mask, octal: '022'.",
        SCRIPT, "-W umask={octal}", SCRIPT, SCRIPT, HEEDED,
    ),
    _everywhere(
        "filedir", "path", "Where scripts are written for a scheduler.", OURS,
        synonyms=("script_dir", "scriptpath"),
    ),
    _everywhere("suffix", "word", "Part of the names of written scripts.", OURS, default="cluster"),
)  # fmt: skip

_ENVIRONMENT = (
    Option(
        "export", "export", "Variables of the submitter to hand on: names, ALL or NONE.",
        "--export={comma_list}", "{v_list}", "{v_list}", "-env {lsf_env}", HEEDED,
        ("export_env",),
    ),
    Option(
        "inherit_env", "bool", "Hand on the whole environment of the submitter, or nothing of it.",
        "--export={all_none}", "{v_flag}", "{v_flag}", "-env {all_none_lower}", HEEDED, (), True,
    ),
    _everywhere("env", "mapping", "Variables to set in the job.", SCRIPT, local=HEEDED,
                synonyms=("environment", "env_set", "environ")),
    _everywhere("env_prepend", "path_mapping", "Put in front: {'PATH': '/opt/bin'}.", SCRIPT),
    _everywhere("env_append", "path_mapping", "Put behind: {'PATH': '/opt/bin'}.", SCRIPT),
    _everywhere("env_unset", "names", "Variables to remove.", SCRIPT, local=HEEDED,
                synonyms=("unset_env",)),
    _everywhere("modules", "names", "Environment modules to load; -name unloads, 'purge' clears.",
                SCRIPT, synonyms=("module",)),
    _everywhere("venv", "path", "Virtual or conda environment to activate.", SCRIPT,
                synonyms=("virtualenv", "conda", "conda_env")),
    _everywhere("prologue", "text", "Shell lines that run before the command.", SCRIPT,
                synonyms=("pre", "pre_commands", "setup")),
    _everywhere("epilogue", "text", "Shell lines that run after the command.", SCRIPT,
                synonyms=("post", "post_commands")),
    _everywhere("shell", "path", "The shell that runs the script.", SCRIPT, default="/bin/bash"),
    _everywhere("launcher", "line", "How ranks are started: mpi, srun, or one of your own.",
                SCRIPT, local=HEEDED),
)  # fmt: skip

_FUNCTIONS = (
    _everywhere("imports", "lines", "Imports that the function needs, as lines of Python.", OURS,
                synonyms=("import_lines",)),
    _everywhere("syspaths", "paths", "Directories to put in front of sys.path.", OURS,
                synonyms=("syspath", "sys_path", "pythonpath")),
    _everywhere("by_value", "modules", "Modules that travel with the function.", OURS),
    _everywhere("python", "path", "Interpreter for a function; the submitter's if not given.",
                OURS, synonyms=("interpreter", "python_path")),
)  # fmt: skip

_RAW = (
    Option("extra_directives", "directives", "Directives, added as they stand.",
           "{raw}", "{raw}", "{raw}", "{raw}", _no("there are no directives"),
           ("directives", "extra_directive")),
    _everywhere("directives_skip", "names", "Options, or flags, to leave out of the script.", OURS,
                local=_no("there are no directives"), synonyms=("skip_directives",)),
    _everywhere("submit_args", "argv", "Arguments added to the scheduler's submit command.", OURS,
                local=_no("no submit command is run"),
                synonyms=("submit_flags", "extra_args")),
)  # fmt: skip

TABLE: dict[str, Option] = {
    option.name: option
    for group in (_RESOURCES, _QUEUEING, _FILES, _ENVIRONMENT, _FUNCTIONS, _RAW)
    for option in group
}
SYNONYMS: dict[str, str] = {
    synonym: option.name for option in TABLE.values() for synonym in option.synonyms
}
