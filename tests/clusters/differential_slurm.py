"""What sbatch, squeue and the others are asked, on a real Slurm and on its emulation.

    python tests/clusters/differential_slurm.py [WORD...]   the cases whose names have a WORD in them

shows how they differ.  SLURM_CONF names the real one; see `tests/clusters/slurm env`.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import side_by_side
from side_by_side import Case, Place

__all__ = ["CASES", "emulated_place", "real_place"]

PRELUDE = r"""
over='^(COMPLETED|FAILED|CANCELLED.*|TIMEOUT|OUT_OF_MEMORY|NODE_FAIL)$'
final() { # ID: wait until every part of it is in the books as ended
  local states
  for _ in {1..300}; do
    states=$(sacct -nXP -j "$1" -o State 2>/dev/null)
    [ -n "$states" ] && ! grep -qvE "$over" <<<"$states" && gone "$1" && break
    sleep 0.1
  done
  grep -qvE "$over" <<<"${states:-none}" && echo "never ended: $1: $states"
  for _ in {1..80}; do # the books may be behind: a job has its name only later
    sacct -nXP -j "$1" -o JobName | grep -qx allocation || return
    sleep 0.1
  done
}
books() { # ID NUMBER: wait until they have so many lines
  for _ in {1..80}; do
    [ "$(sacct -nXP -j "$1" -o JobID | wc -l)" = "$2" ] && return
    sleep 0.1
  done
}
gone() { # ID: wait until the queue lists it no more
  for _ in {1..200}; do
    [ -z "$(squeue -h -j "$1" 2>/dev/null)" ] && return
    sleep 0.1
  done
}
state() { # ID STATE: wait until squeue shows it so
  for _ in {1..200}; do
    [ "$(squeue -h -j "$1" -o %T 2>/dev/null | sort -u)" = "$2" ] && return
    sleep 0.1
  done
  echo "never $2: $1: $(squeue -h -j "$1" -o %T)"
}
reason() { # ID REASON: wait until squeue gives it so
  for _ in {1..200}; do
    [ "$(squeue -h -j "$1" -o %r 2>/dev/null | sort -u)" = "$2" ] && return
    sleep 0.1
  done
  echo "never $2: $1: $(squeue -h -j "$1" -o %r)"
}
file() { # NAME: wait until it holds something
  for _ in {1..200}; do [ -s "$1" ] && return; sleep 0.1; done
  echo "never there: $1"
}
"""
_SCRIPT = "#!/bin/bash\n"
_SIZES = "the pretended cluster has a name and limits of its own, larger ones"


def _batch(body: str, *directives: str) -> dict[str, str]:
    return {"job.sh": _SCRIPT + "".join(f"#SBATCH {line}\n" for line in directives) + body + "\n"}


def _refused(name: str, words: str, **more: object) -> Case:
    """A submission that is not taken."""
    return Case(f"refused: {name}", f"sbatch {words}; echo rc=$?", files=_batch("true"), **more)  # type: ignore[arg-type]


def _run(name: str, words: str, body: str, *directives: str, then: str = "", **more: object) -> Case:
    """A job that runs to its end; its files tell what it saw."""
    text = f"id=$(sbatch --parsable {words}) || exit; final $id\n{then}"
    return Case(name, text, files=_batch(body, *directives), **more)  # type: ignore[arg-type]


def _held(name: str, words: str, then: str, **more: object) -> Case:
    """A job that waits, looked at, and cancelled."""
    text = f"id=$(sbatch --parsable -H -t 5 --mem=10M {words}) || exit; state $id PENDING\n{then}\nscancel $id"
    return Case(name, text, files=_batch("true"), **more)  # type: ignore[arg-type]


def _pair(name: str, form: str, first: str, then: str, **more: object) -> Case:
    """A job that depends on one that ends as `first` says."""
    text = (
        f"a=$(sbatch --parsable -o /dev/null --wrap '{first}')\n"
        f"b=$(sbatch --parsable -o b.out -d {form} --wrap 'echo ran')\n{then}\nscancel $a $b"
    )
    return Case(f"dependency: {name}", text, **more)  # type: ignore[arg-type]


SACCT = "sacct -n -X -P -j $id -o State,ExitCode"
STEPS = "sacct -n -P -j $id -o JobID,JobName,State,ExitCode"

SUBMITTING = [
    Case("sbatch answers", "sbatch -H job.sh | tee a; scancel $(tr -dc 0-9 <a)", _batch("true")),
    Case("sbatch --parsable", "id=$(sbatch -H --parsable job.sh); echo $id; scancel $id", _batch("true")),
    Case("sbatch --wrap", "id=$(sbatch --parsable --wrap 'echo hello; exit 3'); final $id; " + SACCT),
    Case("sbatch quiet", "sbatch -Q -o /dev/null job.sh; echo rc=$?", _batch("true")),
    Case("sbatch from a pipe", "id=$(printf '#!/bin/sh\\necho $0 | sed s,.*/,,\\n' | sbatch --parsable); final $id; "
         + SACCT),
    Case("sbatch from a here document", "id=$(sbatch --parsable -o out <<'X'\n#!/bin/bash\n#SBATCH -J here\n"
         "echo doc $SLURM_JOB_NAME\nX\n); final $id; " + SACCT),
    Case("sbatch from /dev/stdin", "id=$(sbatch --parsable -o out /dev/stdin < job.sh); final $id; " + SACCT,
         _batch("echo in")),
    _run("arguments of a script", "-o out job.sh a 'b c' --x", 'printf "<%s>" "$@"'),
    _run("directives", "job.sh", "echo $SLURM_JOB_NAME", "-J named", "", "--output=%x-out.txt"),
    _run("the command line goes before directives", "-J typed job.sh", "echo $SLURM_JOB_NAME", "-J directed", "-o out"),
    _run("directives after a command do not count", "-o out job.sh", "true\n#SBATCH -J late\necho $SLURM_JOB_NAME"),
    _run("a directive's comment", "job.sh", "echo $SLURM_JOB_NAME", "-J quoted # and a comment", "-o out"),
    _run("a quoted directive", "job.sh", "echo $SLURM_JOB_NAME", '--job-name="two words"', "-o out"),
    _run("two options in a directive", "job.sh", "echo $SLURM_JOB_NAME", "-J both -o out"),
    Case("a directive that is unknown", "sbatch job.sh; echo rc=$?", _batch("true", "--nonsense")),
    Case("a directive with a bad value", "sbatch job.sh; echo rc=$?", _batch("true", "--mem=lots")),
    _refused("no such file", "nothing.sh"),
    Case("refused: an empty script", "touch e; sbatch e; echo rc=$?"),
    Case("refused: no interpreter line", "echo true > e; sbatch e; echo rc=$?"),
    Case("refused: DOS lines", "printf '#!/bin/bash\\r\\ntrue\\r\\n' > e; sbatch e; echo rc=$?"),
    Case("refused: a directory", "mkdir d; sbatch d; echo rc=$?"),
    Case("refused: empty stdin", "sbatch </dev/null; echo rc=$?"),
    _refused("an unknown option", "--nonsense job.sh"),
    _refused("an ambiguous option", "--no job.sh"),
    _refused("a bad letter", "-Y job.sh"),
    _refused("an option without its value", "--time"),
    _refused("a bad time", "-t soon job.sh"),
    _refused("a bad memory", "--mem=much job.sh"),
    _refused("a bad number of tasks", "-n none job.sh"),
    _refused("no task at all", "-n 0 job.sh"),
    _refused("a bad number of cpus", "-c some job.sh"),
    _refused("an unknown partition", "-p nowhere job.sh"),
    _refused("too much memory", "--mem=999G job.sh"),
    _refused("a bad array", "-a x job.sh"),
    _refused("a backward array", "-a 5-1 job.sh"),
    _refused("an array beyond the limit", "-a 0-99999999 job.sh"),
    _refused("a dependency of no type", "-d 12 job.sh"),
    _refused("a dependency of a bad type", "-d afterwards:1 job.sh"),
    _refused("a dependency on no id", "-d afterok:abc job.sh"),
    _refused("both wrap and a script", "--wrap true job.sh"),
    _refused("a bad begin", "--begin=whenever job.sh"),
    _refused("a bad signal", "--signal=NONE job.sh"),
    _refused("a feature that is not there", "-C fast job.sh"),
    _refused("a gres that is not there", "--gres=gpu:1 job.sh"),
    _refused("a node that is not there", "-w elsewhere job.sh"),
    _refused("a bad mail type", "--mail-type=SOMETIMES job.sh"),
    _refused("a bad open mode", "--open-mode=x job.sh"),
    _refused("a licence that is not there", "-L many job.sh"),
    _refused("a reservation that is not there", "--reservation=mine job.sh"),
    _refused("another cluster", "-M elsewhere job.sh"),
    Case("sbatch --version", "sbatch --version"),
    Case("sbatch --usage", "sbatch --usage >/dev/null; echo rc=$?"),
    Case("sbatch --wait gives the job's code", "sbatch -W -Q -o /dev/null --wrap 'exit 7'; echo rc=$?"),
    Case("sbatch --wait of a good one", "sbatch -W -Q -o /dev/null --wrap true; echo rc=$?"),
    Case("sbatch --test-only", "sbatch --test-only job.sh; echo rc=$?", _batch("true"),
         blur=[(r"\bat \S+ using", "at <time> using")]),
]  # fmt: skip

OUTPUT = [
    _run("the default output", "job.sh", "echo out; echo err >&2"),
    _run("output and error apart", "-o o -e e job.sh", "echo out; echo err >&2"),
    _run("error to the output", "-o both job.sh", "echo out; echo err >&2"),
    _run("patterns of a job", "-J nm -o '%x_%j_%A_%u_%N_%n_%t_%s.txt' job.sh", "echo x"),
    _run("an index outside an array", "-o 'a%a.txt' job.sh", "echo x"),
    _run("padded patterns", "-o 'a%10j.txt' job.sh", "echo x"),
    _run("a percent sign", "-o 'a%%j.txt' job.sh", "echo x"),
    _run("a backslash switches patterns off", r"-o 'a\%j.txt' job.sh", "echo x"),
    _run("an unknown pattern", "-o 'a%qx.txt' job.sh", "echo x"),
    _run("truncated output", "-o keep job.sh", "echo new", then="cat keep"),
    Case("output is truncated by default", "echo old > keep; id=$(sbatch --parsable -o keep --wrap 'echo new'); "
         "final $id; cat keep"),
    Case("output is appended", "echo old > keep; id=$(sbatch --parsable -o keep --open-mode=append --wrap 'echo new'); "
         "final $id; cat keep"),
    Case("output of a missing directory", "id=$(sbatch --parsable -o no/where/out --wrap 'echo new'); final $id; " + SACCT),
    Case("a missing working directory", "id=$(sbatch --parsable -D /no/where --wrap 'echo new'); final $id; " + SACCT),
    Case("output is found from the working directory", "mkdir d; id=$(sbatch --parsable -D d -o out --wrap pwd); final $id; ls d"),
    _run("input from a file", "-i words -o out job.sh", "cat", then="", ),
    Case("input of a file", "echo text > words; id=$(sbatch --parsable -i words -o out --wrap cat); final $id"),
    Case("input is empty by default", "id=$(sbatch --parsable -o out --wrap 'cat; echo end'); final $id"),
    Case("output of an array", "id=$(sbatch --parsable -a 1-2 --wrap 'echo $SLURM_ARRAY_TASK_ID'); final $id; ls | sed s/.*_//"),
    Case("patterns of an array", "id=$(sbatch --parsable -a 3,5 -o '%A_%a-%4a.txt' --wrap 'echo $SLURM_ARRAY_TASK_ID'); final $id"),
    Case("all elements in one file", "id=$(sbatch --parsable -a 1-3%1 -o one --open-mode=append --wrap 'echo $SLURM_ARRAY_TASK_ID'); "
         "final $id; sort -o one one"),
]  # fmt: skip

_VARIABLES = (
    "env | grep -E '^SLURM_(JOB_NAME|JOB_PARTITION|JOB_NUM_NODES|NNODES|NTASKS|NPROCS|CPUS_PER_TASK|CPUS_ON_NODE|"
    "JOB_CPUS_PER_NODE|MEM_PER_NODE|MEM_PER_CPU|SUBMIT_DIR|SUBMIT_HOST|NODELIST|JOB_NODELIST|PROCID|LOCALID|NODEID|"
    "GTIDS|TASKS_PER_NODE|TASK_PID|NTASKS_PER_NODE|CLUSTER_NAME|JOB_UID|JOB_USER|JOB_QOS|JOB_ACCOUNT|ARRAY_.*|RESTART_COUNT|"
    "EXPORT_ENV|GET_USER_ENV|JOB_ID|JOBID|JOB_GID|TOPOLOGY_ADDR|PRIO_PROCESS|WORKING_CLUSTER|DISTRIBUTION|THREADS_PER_CORE)=' "
    "| grep -v -e TASK_PID -e WORKING_CLUSTER -e TOPOLOGY | sort"
)  # fmt: skip

VARIABLES = [
    _run("variables of a plain job", "--mem=50M -o out job.sh", _VARIABLES),
    _run("variables with tasks", "-n 2 --mem=50M -o out job.sh", _VARIABLES),
    _run("variables with cpus", "-c 2 --mem=50M -o out job.sh", _VARIABLES),
    _run("variables with tasks and cpus", "-n 2 -c 2 --mem-per-cpu=20M -o out job.sh", _VARIABLES),
    _run("variables with tasks per node", "--ntasks-per-node=2 -N 1 --mem=50M -o out job.sh", _VARIABLES),
    _run("variables of an array", "-a 2-6:2%2 --mem=50M -o 'out%a' job.sh", _VARIABLES,
         differs="an array reserves a block of ids: each element has a number of its own, and none has the array's; "
         "Slurm gives the last element that one"),
    _run("variables that Slurm does not set", "--mem=50M -o out job.sh", "echo [$SLURM_NTASKS][$SLURM_CPUS_PER_TASK]"
         "[$SLURM_ARRAY_TASK_ID][$SLURM_RESTART_COUNT]"),
    Case("the environment is exported", "export WORD=w; id=$(sbatch --parsable -o out --wrap 'echo [$WORD]'); final $id"),
    Case("exported by name", "export WORD=w OTHER=o; id=$(sbatch --parsable -o out --export=WORD --wrap 'echo [$WORD][$OTHER]'); final $id"),
    Case("exported with a value", "export WORD=w; id=$(sbatch --parsable -o out --export=ALL,NEW=n --wrap 'echo [$WORD][$NEW]'); final $id"),
    Case("nothing exported", "export WORD=w; id=$(sbatch --parsable -o out --export=NONE --wrap 'echo [$WORD][$HOME]'); final $id"),
    Case("NIL exported", "export WORD=w; id=$(sbatch --parsable -o out --export=NIL --wrap 'echo [$WORD]'); final $id"),
    Case("SBATCH variables are options", "export SBATCH_JOB_NAME=env SBATCH_OUTPUT=env.out; id=$(sbatch --parsable --wrap "
         "'echo $SLURM_JOB_NAME'); final $id"),
    Case("the umask is the submitter's", "umask 027; id=$(sbatch --parsable -o out --wrap umask); final $id; stat -c %a out"),
    Case("the working directory is the submitter's", "mkdir d; cd d; id=$(sbatch --parsable -o out --wrap pwd); final $id"),
    Case("the name of the script", "id=$(sbatch --parsable -o out job.sh); final $id", _batch('basename "$0"')),
]  # fmt: skip

ENDINGS = [
    Case("the script is copied", "cp job.sh copy.sh; id=$(sbatch --parsable -o out copy.sh); rm copy.sh; final $id",
         _batch("echo still")),
    _run("ends well", "-o /dev/null job.sh", "true", then=STEPS),
    _run("ends with a code", "-o /dev/null job.sh", "exit 9", then=STEPS),
    _run("ends by a signal", "-o /dev/null job.sh", "kill -SEGV $$", then=STEPS),
    _run("its child ends by a signal", "-o /dev/null job.sh", "sh -c 'kill -KILL $$'", then=STEPS),
    Case("no such interpreter", "printf '#!/no/such\\ntrue\\n' > s; id=$(sbatch --parsable -o /dev/null s); final $id; " + STEPS),
    Case("cancelled while it runs", "id=$(sbatch --parsable -o out --wrap 'sleep 100'); state $id RUNNING; scancel $id; "
         "final $id; " + STEPS + "; cat out"),
    Case("cancelled while it waits", "id=$(sbatch --parsable -H --wrap true); scancel $id; final $id; " + STEPS),
    Case("cancelled with a trap", "id=$(sbatch --parsable -o out job.sh); state $id RUNNING; file out; scancel -b -s TERM $id; final $id; "
         + STEPS, _batch("trap 'echo caught; exit 4' TERM\necho ready\nsleep 100 & wait")),
    Case("out of memory", "id=$(sbatch --parsable --mem=50M -o /dev/null job.sh); final $id; " + STEPS,
         _batch("python3 -c 'x = bytearray(200 << 20); x[::4096] = bytes(len(x[::4096]))'")),
    Case("a signal for the batch shell", "id=$(sbatch --parsable -o out job.sh); state $id RUNNING; file out; scancel -b -s USR1 $id; final $id",
         _batch("trap 'echo usr1; exit 0' USR1\necho ready\nsleep 100 & wait")),
    Case("a signal by number", "id=$(sbatch --parsable -o out job.sh); state $id RUNNING; file out; scancel -b -s 10 $id; final $id",
         _batch("trap 'echo usr1; exit 0' USR1\necho ready\nsleep 100 & wait")),
    Case("a signal without --batch does not reach the shell", "id=$(sbatch --parsable -o out job.sh); state $id RUNNING; file out; "
         "scancel -s USR1 $id; scancel -b -s USR2 $id; final $id; cat out",
         _batch("trap 'echo usr1' USR1; trap 'echo usr2; exit 0' USR2\necho ready\nwhile :; do sleep 0.1; done")),
    Case("sacct -l of one that failed", "id=$(sbatch --parsable -J nm -t 5 --mem=10M -o /dev/null --wrap 'exit 2'); final $id; "
         "sacct -X -P -j $id -o JobID,JobName,Partition,User,AllocCPUS,NNodes,NTasks,ReqMem,Timelimit,State,ExitCode,NodeList,Reason"),
]  # fmt: skip

_QUEUE = "%i|%j|%P|%u|%T|%t|%l|%D|%C|%m|%r|%R|%k|%q|%Q|%p|%c|%d|%f|%h|%n|%o|%s|%v|%w|%x|%y|%z|%B|%E|%F|%K|%N|%X|%Y|%O|%G"

LISTING = [
    _held("squeue, one by one", "-J nm --comment=c job.sh", "for f in i j P u T t l D C m r R k c d f h E F K N v; do "
          'echo "$f $(squeue -h -j $id -o "%$f")"; done'),
    _held("squeue's headings", "job.sh", 'squeue -j $id -o "%i|%j|%P|%u|%T|%t|%l|%D|%C|%m|%r|%R|%k|%c|%E|%A|%F|%K|%N|%M|%L|%S|%e|%V|%Z|%o|%q|%Q|%b|%a" | head -1'),
    _held("squeue by default", "-J abcdefghijkl job.sh", "squeue -j $id", blur=[(r" +", " ")]),
    _held("squeue by default, its widths", "-J abcdefghijkl job.sh", "squeue -j $id | head -1; squeue -h -j $id | cut -c19-"),
    _held("squeue --long", "-J nm job.sh", "squeue -l -j $id | tail -n +2", blur=[(r" +", " ")]),
    _held("squeue --steps", "-J nm job.sh", "squeue -s -j $id", blur=[(r" +", " ")]),
    _held("squeue with widths", "-J abcdefghij job.sh", 'squeue -h -j $id -o "<%.4j><%12j><%.12j><%4j>"'),
    _held("squeue with text", "job.sh", 'squeue -h -j $id -o "state=%t, of %u"'),
    _held("squeue with a strange letter", "job.sh", 'squeue -h -j $id -o "%t %J %t"; echo rc=$?'),
    _held("squeue -O", "-J nm job.sh", "squeue -h -j $id -O Name,State:.12,Partition:5,Reason,NumCPUs,UserName:8"),
    _held("squeue -O's headings", "job.sh", "squeue -j $id -O JobArrayID:14,StateCompact,Reason,TimeLimit,NumNodes,WorkDir:9 | head -1"),
    _held("squeue -O with an unknown name", "job.sh", "squeue -h -j $id -O Nonsense; echo rc=$?"),
    _held("squeue by name", "-J special$$ job.sh", "squeue -h -n special$$ -o %T; squeue -h --name=none$$ -o %T"),
    _held("squeue by state", "job.sh", "squeue -h -j $id -t PD -o %t; squeue -h -j $id -t RUNNING -o %t; squeue -h -j $id -t pending,CG -o %t; "
          "squeue -h -j $id -t all -o %t"),
    _held("squeue by partition", "-p short job.sh", "squeue -h -j $id -p short -o %P; squeue -h -j $id -p debug -o %P; squeue -p none$$; echo rc=$?"),
    _held("squeue by user", "job.sh", "squeue -h -j $id -u $(id -un) -o %u; squeue -h -j $id --me -o %u; squeue -h -j $id -u nobody -o %u"),
    Case("squeue of an unknown user", "squeue -u no-such-one; echo rc=$?"),
    Case("squeue of an unknown state", "squeue -t dreaming; echo rc=$?"),
    Case("squeue of an unknown job", "squeue -j 99999999; echo rc=$?"),
    Case("squeue of no job at all", "squeue -j nothing; echo rc=$?"),
    Case("squeue of an unknown option", "squeue --nonsense; echo rc=$?"),
    Case("squeue of what ended", "id=$(sbatch --parsable -o /dev/null --wrap 'exit 1'); final $id; squeue -j $id -h; echo rc=$?; "
         "squeue -h -j $id -t all -o '%t %T %r %R'; squeue -h -j $id -t F -o %T"),
    Case("squeue of several", "a=$(sbatch --parsable -H --wrap true); b=$(sbatch --parsable -H --wrap true); squeue -h -j $a,$b -o %i -S i; "
         "squeue -h -j $b,99999999 -o %i; echo rc=$?; scancel $a $b"),
    Case("squeue sorted", "a=$(sbatch --parsable -H -J bb --wrap true); b=$(sbatch --parsable -H -J aa --wrap true); "
         "squeue -h -j $a,$b -o %j -S j; squeue -h -j $a,$b -o %j -S -j; scancel $a $b"),
    Case("squeue of a running one", "id=$(sbatch --parsable -t 5 --mem=10M -o /dev/null --wrap 'sleep 100'); state $id RUNNING; "
         "squeue -h -j $id -o '%t %r %R %N %B %D %C %l'; scancel $id"),
    _held("squeue --version", "job.sh", "squeue --version"),
    _held("scontrol show job", "-J nm --comment=c job.sh", "scontrol show job $id | grep -oE '(JobState|Reason|Partition|NumNodes|NumCPUs|NumTasks|"
          "CPUs/Task|TimeLimit|Requeue|Restarts|BatchFlag|ExitCode|JobName|Comment|Command|WorkDir|StdErr|StdIn|StdOut|Dependency|Priority|MinMemoryNode|"
          "Features|Licenses|Network|OverSubscribe|Contiguous|ReqNodeList|ExcNodeList|Nice|UserId|GroupId|QOS|Account|MCS_label|RunTime|TimeMin|Power)=[^ ]*'"),
    _held("scontrol -o show job", "job.sh", "scontrol -o show job $id | wc -l"),
    Case("scontrol show job of an unknown one", "scontrol show job 99999999; echo rc=$?"),
    Case("scontrol of an unknown verb", "scontrol dance; echo rc=$?"),
    Case("scontrol show hostnames", "scontrol show hostnames 'n[1-3,7],m01'; scontrol show hostnames 'n[08-11]'; echo rc=$?"),
    Case("scontrol show hostlist", "scontrol show hostlist n1,n2,n3,n7; scontrol show hostlist n08,n09,m1"),
    Case("scontrol show config", "scontrol show config | grep -E '^(MaxArraySize|MinJobAge|ClusterName|MaxJobCount) '",
         differs=_SIZES),
    Case("scontrol show partition of an unknown one", "scontrol show partition nowhere; echo rc=$?"),
    Case("scontrol ping", "scontrol ping", blur=[(r"\S+ is", "<host> is")]),
    Case("sinfo's partitions", "sinfo -h -o '%P %a %l %D'; sinfo -h -p short -o %R; sinfo -h -p none -o %R; echo rc=$?"),
    Case("sinfo's headings", "sinfo -o '%P %a %l %D %t %N %c %m %G %f %X %Y %Z %C %T %R %g %h %s %z' | head -1"),
    Case("sinfo of an unknown option", "sinfo --nonsense; echo rc=$?"),
    Case("sinfo --version", "sinfo --version"),
    Case("sinfo's sizes", "sinfo -h -p debug -o '%c %m %G %f %X %Y %Z'"),
]  # fmt: skip

BOOKS = [
    Case("sacct by default", "id=$(sbatch --parsable -o /dev/null --wrap 'exit 3'); final $id; sacct -j $id", blur=[(r" +", " "), (r"-{3,}", "---")]),
    Case("sacct -X with widths", "id=$(sbatch --parsable -J abcdefghijklm -o /dev/null --wrap true); final $id; sacct -X -j $id -o JobName%5,State%-12,ExitCode"),
    Case("sacct --parsable", "id=$(sbatch --parsable -J nm -o /dev/null --wrap true); final $id; sacct -p -X -j $id -o JobName,State,ExitCode"),
    Case("sacct --parsable2 with a delimiter", "id=$(sbatch --parsable -J nm -o /dev/null --wrap true); final $id; "
         "sacct -P --delimiter=/ -X -j $id -o JobName,State,ExitCode"),
    Case("sacct of an unknown job", "sacct -n -j 99999999; echo rc=$?"),
    Case("sacct of an unknown field", "sacct -o Nonsense; echo rc=$?"),
    Case("sacct of an unknown option", "sacct --nonsense; echo rc=$?"),
    Case("sacct of a bad state", "sacct -s dreaming; echo rc=$?"),
    Case("sacct of one step", "id=$(sbatch --parsable -o /dev/null --wrap 'exit 3'); final $id; sacct -n -P -j $id.batch -o JobID,State,ExitCode"),
    Case("sacct by name", "id=$(sbatch --parsable -J unique$$ -o /dev/null --wrap true); final $id; "
         "for _ in {1..80}; do sacct -n -X -P --name unique$$ -o State | grep . && break; sleep 0.1; done"),
    Case("sacct by state", "id=$(sbatch --parsable -o /dev/null --wrap false); final $id; sacct -n -X -P -j $id -s F -o State; "
         "sacct -n -X -P -j $id -s CD -o State; echo end"),
    Case("sacct of a waiting one", "id=$(sbatch --parsable -H --wrap true); for _ in {1..50}; do sacct -n -j $id | grep -q . && break; sleep 0.1; done; "
         "sacct -n -P -j $id -o State,ExitCode,NodeList; scancel $id"),
    Case("sacct of an array", "id=$(sbatch --parsable -a 1-3 -o /dev/null --wrap 'exit $SLURM_ARRAY_TASK_ID'); final $id; books $id 3; "
         "sacct -n -X -P -j $id -o State,ExitCode | sort; sacct -n -X -P -j ${id}_2 -o State,ExitCode"),
    Case("sacct of an element's batch step", "id=$(sbatch --parsable -a 1-2 -o /dev/null --wrap true); final $id; books $id 2; sacct -n -P -j ${id}_1 -o JobName,State"),
    Case("sacct of several ids", "a=$(sbatch --parsable -o /dev/null --wrap true); b=$(sbatch --parsable -o /dev/null --wrap false); final $a; final $b; "
         "sacct -n -X -P -j $a,$b -o State; sacct -n -X -P -j $a -j $b -o State"),
    Case("sacct --helpformat", "sacct -e | tr -s ' ' '\\n' | grep -cE '^(JobID|JobIDRaw|State|ExitCode|Elapsed|NodeList|Reason|Account|Partition)$'"),
    Case("sacct --version", "sacct --version"),
]  # fmt: skip

ARRAYS = [
    Case("an array that waits", "id=$(sbatch --parsable -H -a 1-6%2 --wrap true); squeue -h -j $id -o '%i %F %K %t'; scancel $id"),
    Case("an array with a list", "id=$(sbatch --parsable -H -a 1,3,5-7 --wrap true); squeue -h -j $id -o '%i %K'; scancel $id"),
    Case("an array with a step", "id=$(sbatch --parsable -H -a 0-8:4 --wrap true); squeue -h -j $id -o '%i %K'; scancel $id"),
    Case("an array of one", "id=$(sbatch --parsable -H -a 4 --wrap true); squeue -h -j $id -o '%i %K'; scancel $id"),
    Case("squeue -r", "id=$(sbatch --parsable -H -a 1-3 --wrap true); squeue -h -r -j $id -o '%i %K %t'; scancel $id"),
    Case("one element by its id", "id=$(sbatch --parsable -H -a 1-3 --wrap true); squeue -h -j ${id}_2 -o %t; scancel $id"),
    Case("an element is cancelled", "id=$(sbatch --parsable -H -a 1-4 --wrap true); scancel ${id}_2; squeue -h -j $id -o '%K'; scancel $id"),
    Case("some elements are cancelled", "id=$(sbatch --parsable -H -a 1-6 --wrap true); scancel \"${id}_[2-3,5]\"; squeue -h -j $id -o '%K'; scancel $id"),
    Case("one limit holds the rest back", "id=$(sbatch --parsable -a 1-3%1 -o /dev/null --wrap 'sleep 100'); "
         "for _ in {1..200}; do [ \"$(squeue -h -j $id -t R -o %K)\" = 1 ] && break; sleep 0.1; done; squeue -h -j $id -t R -o '%K %t'; "
         "reason_() { squeue -h -j $id -t PD -o '%K %r'; }; for _ in {1..60}; do reason_ | grep -q Limit && break; sleep 0.1; done; reason_; scancel $id"),
    Case("the states of an array", "id=$(sbatch --parsable -a 1-3 -o /dev/null --wrap '[ $SLURM_ARRAY_TASK_ID != 2 ]'); final $id; books $id 3; "
         "sacct -n -X -P -j $id -o JobID,State,ExitCode | sort"),
    Case("a cancelled array in the books", "id=$(sbatch --parsable -H -a 1-3 --wrap true); for _ in {1..80}; do sacct -nXP -j $id -o JobID | grep -q _ && break; sleep 0.1; done; scancel $id; final $id; sacct -n -X -P -j $id -o JobID,State,ExitCode"),
    Case("scontrol show job of an array", "id=$(sbatch --parsable -H -a 1-3 --wrap true); scontrol show job $id | grep -oE 'Array(JobId|TaskId)=[^ ]*'; scancel $id"),
]  # fmt: skip

DEPENDENCIES = [
    _pair("afterok holds", "afterok:$a", "true", "final $a; final $b; cat b.out"),
    _pair("afterok fails", "afterok:$a", "false", "final $a; reason $b DependencyNeverSatisfied; squeue -h -j $b -o '%t %r %E'"),
    _pair("afterok waits", "afterok:$a", "sleep 100", "state $a RUNNING; squeue -h -j $b -o '%t %r %E'"),
    _pair("afternotok holds", "afternotok:$a", "false", "final $a; final $b; cat b.out"),
    _pair("afternotok fails", "afternotok:$a", "true", "final $a; reason $b DependencyNeverSatisfied; squeue -h -j $b -o '%t %r %E'"),
    _pair("afterany", "afterany:$a", "false", "final $a; final $b; cat b.out"),
    _pair("after", "after:$a", "sleep 100", "final $b; cat b.out"),
    _pair("with a plus", "after:$a+1", "sleep 100", "state $a RUNNING; reason $b Dependency; squeue -h -j $b -o '%t %r'"),
    _pair("two, joined", "afterok:$a,afterany:$a", "sleep 100", "state $a RUNNING; squeue -h -j $b -o %E"),
    _pair("either", "'afternotok:$a?afterany:$a'".replace("'", '"'), "true", "final $a; final $b; cat b.out"),
    _pair("an unknown id counts as satisfied", "afterok:99999998", "true", "final $b; cat b.out"),
    _pair("of a cancelled one", "afterok:$a", "sleep 100", "scancel $a; reason $b DependencyNeverSatisfied; squeue -h -j $b -o '%t %r'"),
    _pair("killed when it cannot hold", "afterok:$a --kill-on-invalid-dep=yes", "false",
          "final $b; sacct -n -X -P -j $b -o State,ExitCode"),
    Case("dependency: singleton", "a=$(sbatch --parsable -J one$$ -o /dev/null --wrap 'sleep 100'); state $a RUNNING; b=$(sbatch --parsable -J one$$ -d singleton "
         "-o /dev/null --wrap true); reason $b Dependency; squeue -h -j $b -o '%t %r %E'; scancel $a; final $b; sacct -n -X -P -j $b -o State"),
    Case("dependency: on an array", "a=$(sbatch --parsable -H -a 1-2 --wrap true); b=$(sbatch --parsable -d afterok:$a --wrap true); reason $b Dependency; squeue -h -j $b -o '%r %E'; "
         "scancel $a $b"),
    Case("dependency: on an element", "a=$(sbatch --parsable -a 1-2 -o /dev/null --wrap 'exit $((SLURM_ARRAY_TASK_ID - 1))'); final $a; "
         "b=$(sbatch --parsable -d afterok:${a}_1 -o out --wrap 'echo ran'); final $b"),
    Case("dependency: aftercorr", "a=$(sbatch --parsable -a 1-2 -o /dev/null --wrap 'exit $((SLURM_ARRAY_TASK_ID - 1))'); "
         "b=$(sbatch --parsable -a 1-2 -d aftercorr:$a -o 'out%a' --wrap 'echo ran'); final $a; final ${b}_1; "
         "for _ in {1..80}; do squeue -h -j $b -o %r | grep -q Never && break; sleep 0.1; done; squeue -h -j $b -o '%K %r'; scancel $b"),
    Case("dependency: changed", "a=$(sbatch --parsable -H --wrap true); b=$(sbatch --parsable -d afterok:$a -o out --wrap 'echo ran'); "
         "scontrol update jobid=$b dependency=; echo rc=$?; final $b; scancel $a"),
]  # fmt: skip

STEERING = [
    Case("scancel of nothing", "scancel; echo rc=$?"),
    Case("scancel of an unknown id", "scancel 99999999; echo rc=$?"),
    Case("scancel of an unknown id, aloud", "scancel -v 99999999 2>&1 | grep -v '^scancel: Terminating'; echo rc=$?"),
    Case("scancel of no id", "scancel nothing; echo rc=$?"),
    Case("scancel of a bad signal", "scancel -s NONE 99999999; echo rc=$?"),
    Case("scancel of a bad state", "scancel -t dreaming; echo rc=$?"),
    Case("scancel of an unknown option", "scancel --nonsense; echo rc=$?"),
    Case("scancel of what ended", "id=$(sbatch --parsable -o /dev/null --wrap true); final $id; scancel $id; echo rc=$?; sacct -nXP -j $id -o State"),
    Case("scancel by name", "a=$(sbatch --parsable -H -J kill$$ --wrap true); b=$(sbatch --parsable -H -J keep$$ --wrap true); scancel -n kill$$; "
         "final $a; squeue -h -j $a,$b -o %j | sed 's/[0-9]*$//'; scancel $b"),
    Case("scancel by name and state", "a=$(sbatch --parsable -H -J st$$ --wrap true); scancel -n st$$ -t RUNNING; squeue -h -j $a -o %t; scancel -n st$$ -t PENDING; final $a; "
         "sacct -nXP -j $a -o State"),
    Case("scancel of several", "a=$(sbatch --parsable -H --wrap true); b=$(sbatch --parsable -H --wrap true); scancel $a $b; final $a; final $b; "
         "sacct -nXP -j $a,$b -o State"),
    Case("hold and release", "id=$(sbatch --parsable -d afterok:$(sbatch --parsable -o /dev/null --wrap 'sleep 3') -o out --wrap 'echo ran'); scontrol hold $id; echo rc=$?; "
         "squeue -h -j $id -o '%t %r %Q'; scontrol release $id; echo rc=$?; final $id"),
    Case("a job that starts held", "id=$(sbatch --parsable -H -o out --wrap 'echo ran'); squeue -h -j $id -o '%t %r %Q'; scontrol release $id; final $id"),
    Case("hold of an unknown job", "scontrol hold 99999999; echo rc=$?"),
    Case("release of an unknown job", "scontrol release 99999999; echo rc=$?"),
    Case("requeue of an unknown job", "scontrol requeue 99999999; echo rc=$?"),
    Case("requeue of a waiting job", "id=$(sbatch --parsable -H --wrap true); scontrol requeue $id; echo rc=$?; scancel $id"),
    Case("requeue", "id=$(sbatch --parsable --requeue -o out --wrap 'echo count [$SLURM_RESTART_COUNT]; sleep 100'); state $id RUNNING; file out; "
         "scontrol requeue $id; echo rc=$?; state $id PENDING; squeue -h -j $id -o '%t %r'; scontrol show job $id | grep -oE '(Restarts|Requeue)=[0-9]*'; scancel $id",
         differs="a job that is queued again starts as soon as there is room; Slurm lets it wait for two minutes (BeginTime)"),
    Case("update of a name", "id=$(sbatch --parsable -H -J old --wrap true); scontrol update jobid=$id name=new; echo rc=$?; squeue -h -j $id -o %j; scancel $id"),
    Case("update of a time limit", "id=$(sbatch --parsable -H -t 5 --wrap true); scontrol update job=$id TimeLimit=7; echo rc=$?; squeue -h -j $id -o %l; scancel $id"),
    Case("update of a partition", "id=$(sbatch --parsable -H -t 5 --wrap true); scontrol update jobid=$id partition=short; echo rc=$?; squeue -h -j $id -o %P; scancel $id"),
    Case("update of a comment", "id=$(sbatch --parsable -H --wrap true); scontrol update jobid=$id comment=words; squeue -h -j $id -o %k; scancel $id"),
    Case("update of nonsense", "id=$(sbatch --parsable -H --wrap true); scontrol update jobid=$id nonsense=1; echo rc=$?; scancel $id"),
    Case("update of an unknown job", "scontrol update jobid=99999999 name=x; echo rc=$?"),
    Case("a job that begins later", "id=$(sbatch --parsable --begin=now+1hour --wrap true); reason $id BeginTime; squeue -h -j $id -o '%t %r'; scancel $id"),
    Case("more cores than there are", "id=$(sbatch --parsable -n 9 --wrap true); reason $id PartitionConfig; squeue -h -j $id -o '%t %r'; scancel $id"),
    Case("more nodes than there are", "id=$(sbatch --parsable -N 2 --wrap true); reason $id PartitionNodeLimit; squeue -h -j $id -o '%t %r'; scancel $id"),
    Case("longer than the partition allows", "id=$(sbatch --parsable -p short -t 20 --wrap true); reason $id PartitionTimeLimit; squeue -h -j $id -o '%t %r'; scancel $id"),
]  # fmt: skip

STEPS_OF = [
    _run("srun in a job", "-n 2 --mem=50M -o out job.sh", "srun -l sh -c 'echo $SLURM_PROCID of $SLURM_NTASKS' | sort", then=STEPS),
    _run("srun's exit code in a job", "-o out job.sh", "srun sh -c 'exit 5'; echo rc=$?", then=STEPS),
    _run("two steps", "-o out job.sh", "srun echo one; srun echo two", then=STEPS),
    _run("a named step", "-o out job.sh", "srun -J first true", then=STEPS),
    _run("srun with output", "-n 2 -o out job.sh", "srun -o 's%t' sh -c 'echo $SLURM_PROCID'"),
    _run("srun's input", "-o out job.sh", "echo words | srun cat"),
    _run("srun of a missing program", "-o out job.sh", "srun no-such-program; echo rc=$?", blur=[(r"slurmstepd: .*\n", "")]),
    _run("variables of a step", "-n 2 --mem=50M -o out job.sh", "srun sh -c 'echo $SLURM_PROCID $SLURM_LOCALID $SLURM_NODEID $SLURM_STEP_ID $SLURM_NTASKS "
         "$SLURM_STEP_NUM_TASKS' | sort"),
    Case("srun outside a job", "srun -t 5 --mem=10M echo hello; echo rc=$?"),
    Case("srun's exit code", "srun -t 5 --mem=10M sh -c 'exit 6'; echo rc=$?"),
    Case("srun of several tasks", "srun -n 3 --mem=10M -l echo x | sort; echo rc=${PIPESTATUS[0]}"),
    Case("srun of an unknown partition", "srun -p nowhere true; echo rc=$?"),
    Case("srun of a bad option", "srun --nonsense true; echo rc=$?"),
    Case("srun of nothing", "srun; echo rc=$?"),
    Case("salloc with a command", "salloc -t 5 --mem=10M sh -c 'echo [$SLURM_NTASKS] in job; exit 3'; echo rc=$?", blur=[(r"salloc: (Waiting|Nodes|Pending|job).*\n", "")]),
    Case("salloc of an unknown partition", "salloc -p nowhere true; echo rc=$?"),
]  # fmt: skip

CASES: Sequence[Case] = [
    *SUBMITTING, *OUTPUT, *VARIABLES, *ENDINGS, *LISTING, *BOOKS, *ARRAYS, *DEPENDENCIES, *STEERING, *STEPS_OF,
]  # fmt: skip


# ---------------------------------------------------------------- where they run


@contextlib.contextmanager
def real_place() -> Iterator[Place]:
    """The Slurm that answers here."""
    env = _plain(os.environ)
    with tempfile.TemporaryDirectory(prefix="real-") as folder:
        said = subprocess.check_output(["sbatch", "--parsable", "-H", "--wrap", "true"], env=env, text=True, cwd=folder)
        first = int(said)
        subprocess.run(["scancel", said.strip()], env=env, check=True)
        yield Place(
            env=env, folder=Path(folder), first_id=first, many=1400, prelude=PRELUDE,
            blur=[(r"\S*/job\d+/slurm_script", "<spool>/slurm_script"), (r"(?<=CLUSTER_NAME=)test", "<cluster>")],
        )  # fmt: skip


@contextlib.contextmanager
def emulated_place() -> Iterator[Place]:
    """One that looks like the real one, strictly."""
    from cluster.emulation import emulate
    from cluster.emulation.machine import Extra, Machine
    from cluster.spec import ArraySpec, Launch

    partitions = ("debug:cores=8:memory=16000M", "short:cores=8:memory=16000M:time=10m")
    with (
        tempfile.TemporaryDirectory(prefix="emulated-") as folder,
        emulate("slurm", cores=8, memory="16000M", partitions=partitions, strict=True) as env,
    ):
        # Ids from 60000 on, which are not mistaken for other numbers.
        machine = Machine(env["CLUSTER_STATE_DIR"], "before")
        machine.act("cancel", [machine.submit(
            Launch(argv=(b"true",)), {"name": "ids", "hold": True, "array": ArraySpec(1, 60000)},
            Extra(), {}, clamp=True,
        )])  # fmt: skip
        yield Place(
            env=_plain(env), folder=Path(folder), first_id=60000, prelude=PRELUDE,
            blur=[(r"\S*/slurm_script", "<spool>/slurm_script"), (r"(?<=CLUSTER_NAME=)cluster", "<cluster>")], at_once=3,
        )  # fmt: skip


def _plain(env: Mapping[str, str]) -> dict[str, str]:
    """The environment without what an outer job or a test left in it."""
    return {n: v for n, v in env.items() if not re.match(r"(SLURM_(?!CONF)|SBATCH_|SQUEUE_|SINFO_|SACCT_)", n)}


def main(words: Sequence[str]) -> int:
    """Run the cases that are named, and show how they part."""
    cases = [case for case in CASES if not words or any(word in case.name for word in words)]
    with real_place() as place:
        real = side_by_side.run_all(cases, place)
    with emulated_place() as place:
        emulated = side_by_side.run_all(cases, place)
    results = side_by_side.compare(cases, real, emulated)
    for result in results:
        if result.verdict != "same":
            print(f"==== {result.case.name} [{result.verdict}] {result.case.differs}\n{result.case.text}\n{result.diff()}\n")
    print(side_by_side.counts(results))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
