"""The options of sbatch, salloc and srun: one table, and how their values are read.

Pure.  A value may come from a script's directives, from the environment or
from the command line; the later of these wins.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from cluster.emulation.slurm.getopt import Options
from cluster.emulation.slurm.times import memory, minutes, parse_signal

__all__ = ["SALLOC", "SBATCH", "SRUN", "BadValue", "check", "of_environment"]


class BadValue(Exception):
    """The value of an option cannot be read: Slurm's sentence, and its exit code."""

    def __init__(self, text: str, code: int = 255) -> None:
        super().__init__(text)
        self.text, self.code = text, code


# name, letter, argument, key; `b`atch, `a`lloc, `r`un: who has it; variable without its prefix
_TABLE = """
account            A = -                bar ACCOUNT
acctg-freq         - = -                bar ACCTG_FREQ
array              a = -                b   ARRAY_INX
accel-bind         - = -                r   -
batch              - = -                b   -
bb                 - = -                bar -
bbf                - = -                bar -
bcast              - ? -                r   -
begin              b = -                bar -
bell               - - -                a   -
no-bell            - - -                a   -
cluster-constraint - = -                bar -
chdir              D = -                bar -
cluster            - = clusters         bar -
clusters           M = clusters         bar CLUSTERS
comment            - = -                bar -
compress           - ? -                r   -
container          - = -                bar -
context            - = -                bar -
contiguous         - - -                bar -
constraint         C = -                bar CONSTRAINT
core-spec          S = -                bar CORE_SPEC
cores-per-socket   - = -                bar -
cpu-bind           - = -                r   CPU_BIND
cpu_bind           - = cpu-bind         r   -
cpu-freq           - = -                bar -
cpus-per-gpu       - = -                bar CPUS_PER_GPU
cpus-per-task      c = -                bar -
deadline           - = -                bar -
debugger-test      - - -                r   -
delay-boot         - = -                bar -
dependency         d = -                bar -
disable-status     X - -                r   -
distribution       m = -                bar DISTRIBUTION
epilog             - = -                r   -
error              e = -                br  ERROR
exact              - - -                r   EXACT
exclude            x = -                bar EXCLUDE
exclusive          - ? -                bar EXCLUSIVE
export             - = -                br  EXPORT
export-file        - = -                b   -
extra-node-info    B = -                bar -
gid                - = -                bar -
get-user-env       - ? -                ba  GET_USER_ENV
gpu-bind           - = -                bar -
gpu-freq           - = -                bar -
gpus               G = -                bar GPUS
gpus-per-node      - = -                bar GPUS_PER_NODE
gpus-per-socket    - = -                bar -
gpus-per-task      - = -                bar GPUS_PER_TASK
gres               - = -                bar GRES
gres-flags         - = -                bar -
help               h - -                bar -
het-group          - = -                r   -
pack-group         - = het-group        r   -
hint               - = -                bar HINT
hold               H - -                bar -
ignore-pbs         - - -                b   IGNORE_PBS
immediate          I ? -                ar  IMMEDIATE
input              i = -                br  INPUT
interactive        - - -                r   -
job-name           J = -                bar JOB_NAME
jobid              - = -                ar  -
kill-command       K ? -                a   -
kill-on-bad-exit   K ? -                r   KILL_BAD_EXIT
kill-on-invalid-dep - = -               b   -
label              l - -                r   LABELIO
licenses           L = -                bar -
mail-type          - = -                bar -
mail-user          - = -                bar -
max-threads        T = -                r   -
mcs-label          - = -                bar -
mem                - = -                bar MEM_PER_NODE
mem-bind           - = -                bar MEM_BIND
mem-per-cpu        - = -                bar MEM_PER_CPU
mem-per-gpu        - = -                bar MEM_PER_GPU
mincpus            - = -                bar -
mpi                - = -                r   MPI_TYPE
msg-timeout        - = -                r   -
multi-prog         - - -                r   -
network            - = -                bar NETWORK
nice               - ? -                bar -
no-allocate        Z - -                r   -
no-kill            k ? -                bar -
no-requeue         - - -                b   NO_REQUEUE
no-shell           - - -                a   NO_SHELL
nodefile           F = -                bar -
nodelist           w = -                bar -
nodes              N = -                bar -
ntasks             n = -                bar -
ntasks-per-core    - = -                bar -
ntasks-per-gpu     - = -                bar -
ntasks-per-node    - = -                bar -
ntasks-per-socket  - = -                bar -
ntasks-per-tres    - = -                bar -
open-mode          - = -                br  OPEN_MODE
output             o = -                br  OUTPUT
overcommit         O - -                bar OVERCOMMIT
overlap            - - -                r   OVERLAP
oversubscribe      s - -                bar -
parsable           - - -                b   -
partition          p = -                bar PARTITION
power              - = -                bar POWER
prefer             - = -                bar -
preserve-env       E - -                r   -
priority           - = -                bar -
profile            - = -                bar PROFILE
prolog             - = -                r   -
propagate          - ? -                br  -
pty                - - -                r   -
qos                q = -                bar QOS
quiet              Q - -                bar -
quit-on-interrupt  - - -                r   -
reboot             - - -                bar -
relative           r = -                r   -
requeue            - - -                b   REQUEUE
reservation        - = -                bar RESERVATION
send-libs          - ? -                r   -
share              - - oversubscribe    bar -
signal             - = -                bar SIGNAL
slurmd-debug       - = -                r   -
sockets-per-node   - = -                bar -
spread-job         - - -                bar SPREAD_JOB
switches           - = -                bar -
task-epilog        - = -                r   -
task-prolog        - = -                r   -
tasks-per-node     - = ntasks-per-node  bar -
test-only          - - -                br  -
thread-spec        - = -                bar THREAD_SPEC
threads            - = max-threads      r   -
threads-per-core   - = -                bar THREADS_PER_CORE
time               t = -                bar TIMELIMIT
time-min           - = -                bar -
tmp                - = -                bar -
tres-per-task      - = -                bar -
uid                - = -                bar -
unbuffered         u - -                r   UNBUFFEREDIO
usage              - - -                bar -
use-min-nodes      - - -                bar USE_MIN_NODES
verbose            v - -                bar -
version            V - -                bar -
wait               W - -                b   WAIT
wait               W = -                r   WAIT
wckey              - = -                bar WCKEY
wrap               - = -                b   -
x11                - ? -                bar -
"""
_ROWS = [line.split() for line in _TABLE.strip().splitlines()]
# srun and salloc read what a job was told where it is not in the table above.
_OF_A_JOB = {
    "SLURM_NTASKS": "ntasks",
    "SLURM_NPROCS": "ntasks",
    "SLURM_NNODES": "nodes",
    "SLURM_JOB_NUM_NODES": "nodes",
    "SRUN_CPUS_PER_TASK": "cpus-per-task",
    "SRUN_EXPORT_ENV": "export",
    "SLURM_DEPENDENCY": "dependency",
    "SLURM_NTASKS_PER_NODE": "ntasks-per-node",
    "SLURM_STDOUTMODE": "output",
    "SLURM_STDERRMODE": "error",
    "SLURM_STDINMODE": "input",
}
_PREFIX = {"b": "SBATCH_", "a": "SALLOC_", "r": "SLURM_"}
_FLAGS = {"requeue", "no-requeue", "wait", "overcommit", "exact", "overlap", "label", "no-shell"}


def _table(who: str) -> Options:
    rows = [" ".join(row[:4]) for row in _ROWS if who in row[4]]
    return Options("\n".join(row.replace(" - -", "  - -") for row in rows))


def _variables(who: str) -> dict[str, str]:
    found = {
        _PREFIX[who] + row[5]: row[0] if row[3] == "-" else row[3]
        for row in _ROWS
        if who in row[4] and row[5] != "-"
    }
    return {**_OF_A_JOB, **found} if who == "r" else found


SBATCH, SALLOC, SRUN = _table("b"), _table("a"), _table("r")
_ENVIRONMENT = {who: _variables(who) for who in "bar"}


def of_environment(who: str, variable: Callable[[str], str | None]) -> dict[str, str]:
    """Read what the environment says of options; `who` is "b", "a" or "r"."""
    found: dict[str, str] = {}
    for name, key in _ENVIRONMENT[who].items():
        value = variable(name)
        if value is not None and key not in found:
            found[key] = value
    for key in _FLAGS & found.keys():
        if key == "wait" and who == "b":
            found[key] = ""
        elif found[key] == "0":
            del found[key]
    return found


_COUNTS = ("ntasks", "cpus-per-task", "ntasks-per-node", "mincpus", "threads-per-core",
           "ntasks-per-core", "ntasks-per-socket", "cores-per-socket", "sockets-per-node",
           "cpus-per-gpu", "core-spec", "thread-spec")  # fmt: skip
_MEMORY = ("mem", "mem-per-cpu", "mem-per-gpu", "tmp")
_MAIL = {"NONE", "BEGIN", "END", "FAIL", "REQUEUE", "ALL", "STAGE_OUT",
         "INVALID_DEPEND", "TIME_LIMIT", "TIME_LIMIT_90", "TIME_LIMIT_80", "TIME_LIMIT_50",
         "ARRAY_TASKS"}  # fmt: skip
_WORDS = {
    "open-mode": ("append", "a", "truncate", "t"),
    "kill-on-invalid-dep": ("yes", "y", "no", "n"),
    "exclusive": ("", "user", "mcs", "exclusive", "no"),
}
_FORMS = {
    "get-user-env": (r"(\d+[SL]?)?|[SL]", "Invalid --get-user-env specification", 255),
    "switches": (r"\d+(@.*)?", 'Invalid numeric value "{}" for --switches.', 1),
    "profile": (r"(all|none|energy|task|lustre|network|,)*", "invalid --profile={} option", 255),
    "uid": (r"\d+|root", "Invalid --uid specification", 255),
}
_DISTRIBUTION = re.compile(r"(block|cyclic|fcyclic|plane|arbitrary|\*)([:,=].*)?\Z", re.I)


def check(values: Mapping[str, str]) -> None:
    """Look at the values of options as Slurm does before it asks its controller.

    Raises:
        BadValue: what it would say.
    """
    for key, value in values.items():
        if key in _COUNTS:
            if not re.match(r"[1-9]\d*", value) and (key, value) != ("core-spec", "0"):
                raise BadValue(f'Invalid numeric value "{value}" for --{key}.', 1)
        elif (key in _MEMORY and memory(value) is None) or (
            key in ("time", "time-min") and minutes(value) is None
        ):
            raise BadValue(f"Invalid --{key} specification")
        elif key == "signal" and parse_signal(value) is None:
            raise BadValue("Invalid --signal specification")
        elif key in _WORDS and value.lower() not in _WORDS[key]:
            raise BadValue(f"Invalid --{key} specification")
        elif key == "mail-type" and set(value.upper().split(",")) - _MAIL:
            raise BadValue("Invalid --mail-type specification")
        elif key == "distribution" and not _DISTRIBUTION.match(value):
            raise BadValue("Invalid --distribution specification")
        elif key == "nodes":
            _nodes(value)
        elif key in _FORMS and not re.fullmatch(_FORMS[key][0], value, re.IGNORECASE):
            text, code = _FORMS[key][1:]
            raise BadValue(text.format(value), code)
    if len({"mem", "mem-per-cpu", "mem-per-gpu"} & values.keys()) > 1:
        text = "--mem, --mem-per-cpu, and --mem-per-gpu are mutually exclusive."
        raise BadValue(f"fatal: {text}", 1)


def _nodes(value: str) -> None:
    match = re.fullmatch(r"(\d+)([kmKM]?)(?:-(\d+)([kmKM]?))?", value)
    if match is None:
        raise BadValue(f'"{value}" is not a valid node count')
    if match[3] and int(match[3]) < int(match[1]):
        text = f"Maximum node count {match[3]} is less than minimum node count {match[1]}"
        raise BadValue(text)
