"""The battery of Grid Engine: the real one beside the emulation.

    tests/clusters/sge up
    .venv/bin/python tests/clusters/differential_sge.py [--report FILE] [--real FILE]

As root, for the real side runs as the test user.  Ends with 1 if a difference
has no reason.
"""

# ruff: noqa: E501  (command lines are easier to read whole)

from __future__ import annotations

import argparse
import os
import re
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from differential import Line, Rules, Side, compare, keep, kept, run

ROOT = Path(__file__).resolve().parents[2]
USER = os.environ.get("TEST_USER", "sgeuser")

PRELUDE = r"""
export LC_ALL=C PATH="$PATH"
ME=$(id -un)
state() { qstat -u "$ME" | awk -v j="$1" '$1 == j { print $5; exit }'; }
until_state() { for _ in $(seq 100); do [ "$(state "$1")" = "$2" ] && return; sleep 0.1; done; echo "$1 is $(state "$1"), not $2"; }
gone() { until_state "$1" ""; }
booked() { for _ in $(seq 100); do qacct -j "$1" >/dev/null 2>&1 && return; sleep 0.1; done; }
sub() { qsub -terse -cwd "$@" | tee -a ids | cut -d. -f1; tail -n 1 ids >&2; }
facts() { qacct -j "$@" | grep -E '^(qname|owner|jobname|jobnumber|taskid|account|priority|granted_pe|slots|failed|exit_status|category)'; }
latest() { qacct -j "$1" | awk '/^jobnumber/ { n = $2 } END { print n }'; }
head_of() { "$@" 2>&1 | head -n 2; }
printf '#!/bin/bash\necho out $1; echo err >&2; sleep ${2:-0}; exit ${3:-0}\n' >s.sh
printf '#!/bin/sh\n#$ -N named -j y\n#$ -o logs/ -cwd\necho in $JOB_NAME\n#$ -v FOO=bar\necho $FOO\n' >d.sh
printf 'echo no first line $0 $#\n' >plain.sh
printf '#!/bin/bash\nkill -%s $$\n' '${1:-9}' >kill.sh
printf '#!/bin/bash\nexit $SGE_TASK_ID\n' >task.sh
printf '#!/bin/bash\nexit 100\n' >e100.sh
printf '#!/bin/bash\n[ "$RESTARTED" = 1 ] || exit 99\necho again $RESTARTED\n' >e99.sh
printf '#!/bin/bash\ntrap "echo usr1; exit 5" USR1\nsleep 30 & wait\n' >soft.sh
mkdir logs
"""


def quiet(text: str) -> Line:
    return Line(text, quiet=True)


_FAILS = [
    "qsub nosuch.sh", "qsub -l nosuch=1 s.sh", "qsub -l h_rt=abc s.sh", "qsub -l h_rt=1h s.sh",
    "qsub -l h_vmem=1GB s.sh", "qsub -l h_rt= s.sh", "qsub -q nosuch.q s.sh",
    "qsub -pe nosuch 2 s.sh", "qsub -pe smp s.sh", "qsub -pe smp 0 s.sh", "qsub -pe smp",
    "qsub -pe", "qsub -w e -pe smp 99 s.sh", "qsub -w e -l mem_free=999G s.sh", "qsub -zzz s.sh",
    "qsub -N 1abc s.sh", "qsub -N a/b s.sh", "qsub -N 'a b' s.sh", "qsub -N '' s.sh",
    "qsub -N a:b s.sh", "qsub -N a@b s.sh", "qsub -N 'a*b' s.sh", "qsub -N 'a?b' s.sh",
    r"qsub -N 'a\b' s.sh", "qsub -t 0-3 s.sh", "qsub -t abc s.sh", "qsub -t 1-5:0 s.sh",
    "qsub -t 1-200000 s.sh", "qsub -tc -1 s.sh", "qsub -tc x s.sh", "qsub -hold_jid '' s.sh",
    "qsub -p 100 s.sh", "qsub -p 2000 s.sh", "qsub -p abc s.sh", "qsub -P nosuch s.sh",
    "qsub -a abc s.sh", "qsub -j q s.sh", "qsub -b x s.sh", "qsub -r x s.sh", "qsub -m q s.sh",
    "qsub -w x s.sh", "qsub -sync x s.sh", "qsub -now x s.sh", "qsub -ckpt x s.sh",
    "qsub -ar 5 s.sh", "qsub -dl 1 s.sh", "qsub -masterq all.q s.sh", "qsub", "qsub -N", "qsub -l",
    "qsub -q", "qsub -t", "qsub -o", "qsub .", "qsub -b n sleep 5", "qsub -soft -l mem_free=1M s.sh",
    "qsub -hold_jid_ad 1 s.sh", "qsub -h x s.sh", "qsub -cwd -b y ''", "qsub -b y 'exit 9'",
    "qsub -cwd -C '' -N x -l nosuch=1 s.sh",
    "qsub -t 1,2,4 s.sh", "qsub -clear -zz",
]  # fmt: skip

_SUBMITS = [
    "qsub -cwd s.sh", "qsub -cwd -terse s.sh", "qsub -cwd -t 1-4 -tc 2 s.sh",
    "qsub -cwd -terse -t 2-8:3 s.sh", "qsub -cwd -terse -t 3 s.sh", "qsub -cwd -t 5-3 s.sh",
    "qsub -cwd -terse -t 1,3 s.sh", "qsub -cwd -b y echo hi",
    "echo 'echo from stdin' | qsub -cwd", "qsub -cwd -N here <<'Z'\n#$ -j y\necho text\nZ",
    "qsub -cwd -hold_jid 999999 -terse s.sh", "qsub -cwd -hold_jid nosuchname s.sh",
    "qsub -cwd -b y /no/such/binary", "qsub -cwd -pe smp 2-4 s.sh", "qsub d.sh",
    "qsub -N override d.sh", "qsub -cwd -C '#SGE' -terse d.sh", "qsub -cwd -q all.q@vm -terse s.sh",
    "qsub -cwd -q 'all*' -terse s.sh", "qsub -cwd -ac a=b,c=d -notify -R y -terse s.sh",
    "qsub -cwd -m abe -M a@b -A acct -terse s.sh", "qsub -cwd -p -5 -js 5 -terse s.sh",
    "qsub -cwd -binding linear:1 -terse s.sh", "qsub -cwd -l h_rt=0:0:10 -l h_vmem=1G s.sh",
    "qsub -cwd -soft -l h_rt=5 -hard -l s_rt=9 -terse s.sh", "qsub -cwd -w v s.sh",
    "qsub -cwd -w n -S /bin/bash s.sh", "qsub -cwd -S bash plain.sh",
    "echo '-cwd -N fromfile' >opts; qsub -@ opts s.sh", "qsub -clear -cwd -terse s.sh",
    "qsub -cwd -v A=1,B='x y' -terse s.sh", "qsub -cwd -shell n -b y /bin/echo hi",
]  # fmt: skip

_SYNCS = [
    "qsub -cwd -sync y s.sh a 0 3", "qsub -cwd -sync y s.sh", "qsub -cwd -sync y -terse s.sh",
    "qsub -cwd -sync y -t 1-3 task.sh", "qsub -cwd -sync y kill.sh 9", "qsub -cwd -sync y kill.sh 15",
    "qsub -cwd -sync y -N tl -l h_rt=1 -b y sleep 30", "qsub -cwd -sync y -b y -shell n -N nosh "
    "/bin/sh -c 'exit 9'", "qsub -cwd -sync y -b y -N withsh 'exit 9'",
    "qsub -cwd -sync y -b y -N joined bash -c 'exit 3'", "qsub -cwd -sync y -N nobin -b y /no/such",
    "qsub -cwd -sync y -now y s.sh", "qsub -cwd -sync y -N soft -l s_rt=1 soft.sh",
    "qsub -cwd -sync y -N big -l h_vmem=60M -b y python3 -c \"'x=bytearray(200*1024*1024)'\"",
]  # fmt: skip

BATTERY: list[Line] = [
    *(Line(text) for text in _FAILS),
    *(Line(text) for text in _SUBMITS),
    quiet("for _ in $(seq 200); do [ -z \"$(qstat -u $ME)\" ] && break; sleep 0.2; done"),
    Line("ls | sed 's/[oe][0-9][0-9]*/X/' | sort | uniq -c"),
    Line("ls logs | sed 's/[0-9][0-9]*/N/'"),
    Line("cat logs/named*; cat here.o*; cat STDIN.o*; cat plain.sh.o* | sed 's,/.*/,,'"),
    Line("cat binary.e* | sed 's/.*: //'"),
    *(Line(text) for text in _SYNCS),
    Line("facts $(latest tl)"), Line("facts $(latest kill.sh)"), Line("facts $(latest task.sh)"), Line("facts $(latest nosh)"),
    Line("facts $(latest joined)"), Line("facts $(latest soft)"), Line("cat soft.o*"), Line("tail -n 1 big.e*"),
    # ---- where things are written
    quiet("sub -sync y -N dirs -o logs/ -e logs -b y true; sub -sync y -N place -j y -o "
          "'logs/$JOB_NAME.$TASK_ID.$USER.x' s.sh; sub -sync y -N pl -t 2-3 -o "
          "'$HOME/differential.$TASK_ID' -e /dev/null s.sh; sub -sync y -N host -o localhost:logs/h "
          "-e vm:logs/e s.sh; sub -sync y -N wd -wd $WORK/logs s.sh"),
    Line("ls logs | sed 's/[0-9][0-9]*/N/' | sed \"s/$ME/ME/\"; ls ~/differential.*; cat logs/h"),
    quiet("rm -f ~/differential.*"),
    # ---- the environment
    quiet("export GIVEN=given; sub -sync y -N vars -t 2-6:2 -v NEW=x,GIVEN -b y env; "
          "sub -sync y -N plainvars -pe smp 2 -b y 'env; cat $PE_HOSTFILE; ls -d $TMPDIR'; "
          "sub -sync y -V -N allvars -b y env"),
    Line("grep -hE '^(JOB_ID|JOB_NAME|SGE_TASK|REQ|QUEUE|NSLOTS|NHOSTS|NQUEUES|ENVIRONMENT|RESTARTED"
         "|NEW|GIVEN|ARC|SGE_ARCH|SGE_ACCOUNT|SGE_CELL|SGE_STD)' vars.o*.4 | sort"),
    Line("grep -E '^(SGE_TASK|PE=|NSLOTS|GIVEN)' plainvars.o* | sort; grep UNDEFINED plainvars.o*"),
    Line("grep -c ^GIVEN=given allvars.o*"),
    Line("grep -c '^vm 2 all.q@vm UNDEFINED' plainvars.o*"),
    # ---- what waits
    quiet("A=$(sub -N longA -b y sleep 600)"), quiet("B=$(sub -N depB -hold_jid $A -b y sleep 1)"),
    quiet("C=$(sub -N arrC -t 1-9:2 -tc 2 -b y sleep 600)"),
    quiet("H=$(sub -h -N heldH -p -3 -b y sleep 1)"),
    quiet("E=$(sub -o /nonexistent/x -N bad s.sh)"),
    quiet("L=$(sub -a 12312359 -N later -l h_rt=77,mem_free=1G s.sh)"),
    quiet("P=$(sub -pe smp 3 -N para -q all.q -j y -v A=1 -r y -m be -A acct -notify -S /bin/bash "
          "-ac k=v,mark=x s.sh a 600)"),
    quiet("D=$(sub -N depname -hold_jid 'long*',arrC -b y true); W=$(sub -wd /nonexistent -N badwd s.sh)"),
    quiet("until_state $A r; until_state $P r; until_state $E Eqw; until_state $W Eqw; sleep 1"),
    *(Line(text) for text in (
        "qstat -u $ME", "qstat -u $ME -s p", "qstat -u $ME -s r", "qstat -u $ME -s rs",
        "qstat -u $ME -s h", "qstat -u $ME -s hu", "qstat -u $ME -s hj", "qstat -u $ME -s ha",
        "qstat -u $ME -s hd", "qstat -u $ME -s s", "qstat -u $ME -g d", "qstat -u $ME -g t",
        "qstat -u $ME -r", "qstat -u $ME -q all.q", "qstat -q nosuch.q", "qstat -u nosuch",
        "qstat -u $ME -f", "qstat -u $ME -f -ne", "qstat -g c", "qstat -u $ME -xml",
        "qstat -u $ME -xml -r", "qstat -u $ME -f -xml", "qstat -u nosuch -xml", "qstat -u $ME -pri",
        "qstat -j $A", "qstat -j $B", "qstat -j $C", "qstat -j $H", "qstat -j $E", "qstat -j $L",
        "qstat -j $P", "qstat -j $W", "qstat -j longA", "qstat -j 'arr*' | head -n 2",
        "qstat -j $A,$B | grep job_number", "qstat -j 999999", "qstat -j nosuch",
        "qstat -xml -j 999999", "qstat -xml -j $A", "qstat -xml -j $P", "head_of qstat -zzz",
        "head_of qstat -help", "qhost", "qhost -q", "qselect", "qselect -q nosuch", "qquota",
        "qacct -j 999999", "qacct -j nosuch", "qacct -j $A",
    )),
    # ---- what is done to them
    *(Line(text) for text in (
        "qhold $L", "qrls $L", "qhold 999999", "qhold nosuch", "qrls $H", "qhold $C.9",
        "qstat -u $ME -s p | grep arrC", "qrls $C.9", "qhold -h o $L", "qmod -sj $A",
        "qmod -sj $A $B", "qstat -u $ME -s s", "qmod -usj $A", "qmod -usj $A", "qmod -sj 999999",
        "qmod -cj $E", "qmod -cj $A", "qmod -rj $A", "qalter -N new $L", "qalter -l h_rt=5 $L",
        "qalter -zz $L", "qalter -p -7 $L", "qalter -hold_jid $A $L", "qalter -h u $L",
        "qalter -q all.q $L", "qalter -o /tmp/o -e /tmp/e -j y -m n -r n $L", "qalter $L",
        "qalter -ac x=1 -v Q=1 -R y -S /bin/sh -A b $L", "qalter -P x $L", "qalter -N q 999999",
        "qalter -t 1-3 $L", "qalter -l nosuch=1 $L", "qalter -N 1x $L", "qalter -p 5 $L",
        "qstat -j $L | grep -vE '^(submission|sge_o_path)'",
        "qresub 999999", "qsub -cwd -t 1-3 -hold_jid_ad $C task.sh",
        "qsub -cwd -hold_jid_ad $C task.sh", "qdel $C.1-5:2", "qdel $C -t 7", "qdel $B",
        "qdel nosuch", "qdel 999999", "qdel -u nosuchuser", "head_of qdel", "qdel $A $H 'bad*'",
    )),
    quiet("gone $A; gone $E"),
    Line("qdel $A"), Line("qdel longA"), Line("qdel -f 12345"), Line("facts $A"),
    Line("qacct -j $B"), Line("qdel later new $D"), Line("qdel $C"), Line("qdel $P"),
    quiet("qdel -u $ME; for _ in $(seq 300); do [ -z \"$(qstat -u $ME)\" ] && break; sleep 0.2; done"),
    Line("facts $C"), Line("facts $P"), Line("qstat -u $ME"), Line("qdel -u $ME"),
    # ---- one after the other
    quiet("F=$(sub -N fails s.sh x 1 1)"),
    Line("qsub -cwd -sync y -N after -hold_jid $F -b y echo runs"),
    Line("cat after.o*"), Line("facts $F"),
    quiet("X=$(sub e100.sh); until_state $X Eqw; Y=$(sub e99.sh)"),
    Line("qstat -u $ME -s p | grep e100"), Line("qstat -j $X | tail -n 2"), Line("facts $X"),
    quiet("for _ in $(seq 600); do grep -q again e99.sh.o$Y 2>/dev/null && break; sleep 0.5; done; gone $Y"),
    Line("cat e99.sh.o$Y"), Line("facts $Y"), Line("qdel $X"),
    quiet("G=$(sub -N ad1 -t 1-3 -b y sleep 600); until_state $G r"),
    quiet("K=$(sub -N ad2 -t 1-3 -hold_jid_ad $G -b y true); sleep 1"),
    Line("qstat -u $ME -s p -r"), Line("qstat -u $ME -s hd"), Line("qstat -j $K | tail -n 9"),
    Line("qdel $G.2"), quiet("booked $K"), Line("qstat -u $ME -s p"), Line("facts $K"),
    Line("qdel ad1 $K.3"), quiet("gone $K"), Line("facts $K"),
    # ---- the site
    *(Line(text) for text in (
        "qconf -sql", "qconf -sq all.q", "qconf -sq nosuch.q", "qconf -spl", "qconf -sp smp",
        "qconf -sp nosuch", "qconf -sel", "qconf -ss", "qconf -sss", "qconf -sh", "qconf -sc",
        "qconf -ssconf", "qconf -sconf", "qconf -shgrpl", "qconf -shgrp @allhosts", "qconf -sul",
        "qconf -sprjl", "qconf -so", "head_of qconf -help", "qconf -sp", "qconf -aq x",
    )),
    # ---- here and now
    Line("qrsh -cwd echo hi"), Line("sleep 2; qrsh -cwd exit 4"),
    Line("sleep 2; qrsh -cwd -verbose pwd"),
    Line("sleep 2; qrsh -cwd -N q1 -pe smp 2 'echo $NSLOTS $JOB_NAME $QUEUE'"),
    Line("sleep 2; echo text | qrsh -cwd cat"),
]  # fmt: skip

# Why some lines differ, and shall.
_SOON = (
    "a free slot is taken at once here, and after a second or so there: tasks and jobs that "
    "were let go before the deletion run already, or no longer"
)
_NUMBERS = "the numbers behind a priority are those of a share policy, which nobody has here"
WHY = {
    "cat logs/named*; cat here.o*; cat STDIN.o*; cat plain.sh.o* | sed 's,/.*/,,'":
        "the copy of a script is called as the script, not by the number of the job",
    "qstat -u $ME -pri": _NUMBERS,
    "qstat -xml -j $A": _NUMBERS,
    "qstat -xml -j $P": _NUMBERS,
    "qstat -j $L | grep -vE '^(submission|sge_o_path)'": "how often a job was changed is not kept",
    "qdel $C -t 7": _SOON, "qdel $A $H 'bad*'": _SOON, "facts $C": _SOON, "qdel $C": _SOON,
    "qdel later new $D": _SOON,
    "qdel -f 12345": "no row of dots is printed: the answer comes at once",
    "qconf -sconf": "two settings of the real one are there for these tests",
    "qconf -sp": "the list of options is our own, and shorter",
    "sleep 2; qrsh -cwd -verbose pwd":
        "the line is written at once here, and there when the command has ended",
}  # fmt: skip
BATTERY = [replace(line, why=WHY.get(line.text, "")) for line in BATTERY]

_DATE = r"[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}"
RULES = Rules(
    ids=re.compile(r'(?m)^(?:Your (?:job|job-array) |Your immediate job )?(\d{3,})(?:\.[-\d:,]+)?'
                   r'(?: \("[^"]*"\) has been submitted)?$'),
    before=[
        (re.compile(p, re.MULTILINE), r)
        for p, r in (
            (r"\d\d/\d\d/\d{4} \d\d:\d\d:\d\d(?:\.\d+)?", "DATE"),
            (_DATE, "DATE"),
            (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", "DATE"),
            (r"<(JB_submission_time|JAT_start_time)>\d+<", r"<\1>N<"),
            (r'invalid priority "2000"|-1023 to 1024', "PRIORITY"),
        )
    ],
    replace=[
        (re.compile(p, re.MULTILINE), r)
        for p, r in (
            (r"^ *(J\d+) (\d\.\d{5}) ", r"\1 \2 "),
            (r"(?<=^)(J\d+) 0\.(?!00000)\d{5} ", r"\1 PRIOR "),
            (r"<JAT_prio>0\.(?!00000)\d{5}<", "<JAT_prio>PRIOR<"),
            (r"\blocalhost\b", "vm"),
            (r"/home/" + USER + r"|/root", "HOME"),
            (r"/tmp/cluster-\w+/emulation/sge/bin:", ""),
            (r"(?s) *<JAT_scaled_usage_list>.*?</JAT_scaled_usage_list>\n", ""),
            (r"^(vm +lx-amd64 +\d+ +\d+ +\d+ +\d+) .*", r"\1 LOAD"),
            (rf"(?<![\w.])({USER}|root)" + r"(?=[ @:<\x22]|$)", "USER"),
            (r"USER +", "USER "),
            (r'"USER"', "USER"),
            (r"^(sge_o_path|sge_o_log_name|sge_o_mail): .*\n", ""),
            (r"^(uid|gid|group): .*", r"\1: X"),
            (r"^(usage .*:) .*", r"\1 USAGE"),
            (r"\[\d+:\d+\]", "[UID:PID]"),
            (r"^(jobnumber +J\d+) +", r"\1"),
            (r"<(load_avg|JB_uid|JB_gid|JB_group)>[^<]*<", r"<\1>X<"),
            (r"^(all.q@vm +BIP +\d+/\d+/\d+ +)[\d.]+ +", r"\1LOAD "),
            (r"^(all.q +)[\d.]+( +\d+ +\d+ +\d+ +\d+)", r"\1LOAD\2"),
        )
    ],
)  # fmt: skip


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--report", help="write the differences to this file")
    options.add_argument("--real", help="keep what the real one said in this file, or take it")
    options.add_argument("--cores", type=int, default=8)
    asked = options.parse_args()
    root = os.environ.get("SGE_ROOT", "/var/lib/gridengine")
    real = Side("real", ("runuser", "-u", USER, "--"), {"SGE_ROOT": root, "SGE_CELL": "default",
                "HOME": f"/home/{USER}", "LOGNAME": USER, "USER": USER}, USER)  # fmt: skip
    ours = Side(
        "emulated",
        (str(ROOT / ".venv/bin/cluster"), "emulate", "sge", "--private", "--strict",
         "--cores", str(asked.cores), "--memory", "16GB", "--"),
        {"LOGNAME": "root", "USER": "root"},
    )  # fmt: skip
    # Three digits at least, or the ids could not be told from other numbers.
    high = "J=$(qsub -terse -h -t 1-5000 -b y true | cut -d. -f1); qdel $J >/dev/null\n"
    theirs = kept(asked.real, BATTERY) if asked.real else None
    if theirs is None:
        theirs = run(real, BATTERY, PRELUDE, timeout_s=900)
        if asked.real:
            keep(asked.real, theirs)
    mine = run(ours, BATTERY, PRELUDE + high, timeout_s=600)
    verdict = compare(BATTERY, theirs, mine, RULES)
    if asked.report:
        Path(asked.report).write_text(verdict.report, encoding="utf-8")
    else:
        print(verdict.report)
    print(f"same {verdict.same}, explained {verdict.explained}, open {verdict.open}")
    return int(bool(verdict.open))


if __name__ == "__main__":
    sys.exit(main())
