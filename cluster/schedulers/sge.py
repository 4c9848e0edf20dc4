"""Grid Engine: what its programs are asked, and what they answer.

Pure.  `sge_queue.py` reads qstat's XML, `sge_books.py` what qacct says.  Facts
it relies on, seen with 8.1.9 (Son of Grid Engine):

- A successor is released however its predecessor ended (-hold_jid), so the
  job's script looks at the records of its predecessors: see `guards`.
- In a directive every quote is dropped and a # ends the line, also inside
  quotes: what holds one of them cannot be written.  The script opens the files
  of output itself.
- A name with a blank, a control character or a letter beyond ASCII is answered
  with "Error reading answer list from qmaster".
- 99 as exit code runs a job again, 100 puts it into error: `reserved_codes`.
- qacct reads all of its file for each job it is asked for: see `_BOOKS`.
- `qstat -help` answers when no qmaster does; `qconf -sss` does not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from cluster._option_directives import Site, flags
from cluster.errors import OptionsError, QueueError, ServerUnavailable
from cluster.schedulers.base import Request, Resources
from cluster.schedulers.dialect import Answer, Outputs, Seen
from cluster.schedulers.sge_books import read_books
from cluster.schedulers.sge_queue import read_jobs, read_slots
from cluster.spec import Dependency

__all__ = ["Sge"]

_ACT_IDS = 500  # in one call
_BOOK_IDS = 5000  # in one call; the kernel allows an argument of 128 KiB
_NAME_CHARS = 200  # qmaster allows 512; a label is for people

# The jobs; and behind them the details of those in error, for nothing else tells the reason.
_POLL = """\
queued=$(qstat -xml -r -u "$1") || exit
printf '%s\\n' "$queued"
broken=$(printf '%s\\n' "$queued" | awk '
    /<JB_job_number>/ { gsub(/[^0-9]/, ""); id = $0 }
    /<state>[a-zA-Z]*E/ && !(id in seen) { seen[id]; ids = ids sep id; sep = "," }
    END { print ids }')
if [ -n "$broken" ]; then qstat -xml -j "$broken"; fi
"""

# One pass over the books for all jobs, where their file can be read; else a pass for each.
_BOOKS = """\
books=${SGE_ROOT:-/var/lib/gridengine}/${SGE_CELL:-default}/common/accounting
if [ -r "$books" ]; then
    awk -F: -v wanted="$*" '
        BEGIN { n = split(wanted, ids, " "); for (i = 1; i <= n; i++) want[ids[i]] }
        $6 in want' "$books" | qacct -f /dev/stdin -j
else
    for id; do qacct -j "$id"; done
fi
"""

# Its programs do not know where qmaster is.
_NOT_CONFIGURED = re.compile(
    r"SGE_ROOT|cell directory|SGE_CELL|can't (?:read|open) .*act_qmaster", re.IGNORECASE
)
_NOT_ASKED = re.compile(
    rf"{_NOT_CONFIGURED.pattern}|commlib error|got (send|select|read) error|"
    r"unable to (send message to|contact) qmaster|"
    r"Connection (refused|reset|timed out)|Error reading answer list|can't resolve|"
    r"getting configuration|timeout|not registered|"
    r"Resource temporarily|denied: host",
    re.IGNORECASE,
)
_FULL = re.compile(r"only \d+ jobs are allowed", re.IGNORECASE)
_FULL_CODE = 25  # "try again": so much for one user, or the cluster, and no more
_REFUSED = re.compile(r"Unable to (run job|read script)|^qsub:", re.IGNORECASE | re.MULTILINE)
_SUBMITTED = re.compile(
    r"^(?:Your job(?:-array)? )?(\d{1,18})(?:\.[\d:-]+)?(?: \(|\s*$)", re.ASCII | re.MULTILINE
)
_ADVICE = (
    ("unknown queue", "`qconf -sql` lists the queues; set partition="),
    ("parallel environment", "`qconf -spl` lists them; set sge_parallel_environment in [queue] of "
     "the configuration"),
    ("unknown resource", "`qconf -sc` lists the resources; sge_memory_resource and "
     "sge_gpu_resource in [queue] of the configuration name those for mem= and gpus="),
    ("project", "`qconf -sprjl` lists the projects; set account="),
    ("positive submission priority", "only operators may raise a priority; use priority=0 or less"),
    ("more than", "`qconf -sconf` shows max_aj_tasks; use a smaller array="),
    ("no suitable queues", "`qhost` and `qstat -g c` show what there is; ask for less"),
    ("invalid option", "correct extra_directives= or submit_args="),
    ("has no permission", "ask your administrator whether you may use this queue"),
    ("administrative or submit host", "submit from another machine, or ask your administrator"),
)  # fmt: skip

# What `act` may be told: all is well, or there is nothing left to do.
_DONE = re.compile(
    r"has deleted|has registered|already in deletion|forced the deletion|modified \w+|"
    r"suspended job|already (un)?suspended|Pushed rescheduling|cleared error|"
    r"is not in error state|does not exist|^invalid queue or job",
    re.IGNORECASE,
)
_ABOUT = re.compile(r"\bjob(?:-array)?(?: task)? \"?(\d{1,18}(?:\.\d{1,9})?)\b", re.ASCII)
_PENDING = re.compile(r"can not be applied .* in pending")
_VERBS = {
    "cancel": (("qdel",),),
    "hold": (("qhold",),),
    "release": (("qrls",), ("qmod", "-cj")),  # -cj: from the state of error
    "requeue": (("qalter", "-r", "y"), ("qmod", "-rj")),  # else only of jobs with requeue=True
    "suspend": (("qmod", "-sj"),),
    "resume": (("qmod", "-usj"),),
}


class Sge:
    """The words of Grid Engine; see `dialect.Dialect` for what each method is for.

    Attributes:
        site: the names that this site chose for cores, memory and gpus.
    """

    qtype = "sge"
    title = "Grid Engine"
    prefix = "#$"
    missing: Mapping[str, str] = {
        "signal": "Grid Engine sends no signals for users; it can suspend, resume and cancel",
        "after": "Grid Engine cannot wait for the start of a job; use afterany or afterok",
        "memory_limit": "Grid Engine refuses a job more memory than its limit and does not say "
        "so: the program sees an error of its own",
    }
    job_id = "${JOB_ID}"
    array_index = "${SGE_TASK_ID#undefined}"  # the word that it has outside an array
    redirects = True
    restarts = "${RESTARTED:-0}"
    reserved_codes: tuple[int, ...] = (99, 100)
    warns_script_only = False
    # Grid Engine sets all other variables of a job anew; these only where they apply.
    scrubbed: tuple[str, ...] = ("PE", "PE_HOSTFILE", "SGE_BINDING")

    def __init__(self, site: Site | None = None) -> None:
        self.site = site or Site()

    # ------------------------------------------------------------ is it there

    def probe(self) -> tuple[str, ...]:
        """Ask qmaster for its scheduler, with a program that PBS has not; then the version."""
        return ("sh", "-c", "qconf -sss && qstat -help")

    def recognises(self, answer: Answer) -> str:
        """Give the version, as "8.1.9"; PBS has no qconf, and its qstat no such help."""
        match = re.search(
            r"^(?:\S*[GS]E|AGE)\S* (\d\S*)\s*$\s*usage: qstat", answer.stdout, re.MULTILINE
        )
        return match[1] if match and not answer.code else ""

    # ------------------------------------------------------------ submitting

    def directives(self, request: Request, outputs: Outputs, *, mark: str) -> list[str]:
        """Write the options, and those whose default each site sets for itself.

        Directory and files of output are the script's matter: those that cannot
        be opened put a job into the state of error, where it would wait for ever.
        """
        values: dict[str, Any] = {"requeue": False, "inherit_env": True, **request.options}
        values["name"] = request.name[:_NAME_CHARS] or "job"
        values["dir"] = "/"
        values["outfile"] = "/dev/null"
        values.pop("errfile", None)
        values["dependencies"] = list(request.dependencies)
        lines = flags(values, "sge", self.site)
        return ["-S /bin/bash", "-j y", f"-ac mark={mark}", *lines]

    def guards(self, request: Request) -> list[tuple[str, str]]:
        """List those that ask how a job ended, which Grid Engine does not look at."""
        if request.options.get("on_unsatisfiable") == "release":
            return []
        return [(one.type, one.job) for one in request.dependencies if _is_conditional(one)]

    def submit(self, script: str, arguments: Sequence[str]) -> tuple[str, ...]:
        """Run qsub; -terse, for a site may change the sentence it answers with."""
        return ("qsub", "-terse", *arguments, script)

    def parse_submit(self, answer: Answer) -> str:
        """Give the id: "3" of `3`, of `3.1-10:2` and of `Your job 3 ("x") ...`."""
        match = _SUBMITTED.search(answer.stdout)
        if match and not answer.code:
            return match[1]
        said = _words_of(answer)
        if answer.code == _FULL_CODE or _FULL.search(said):
            raise QueueError(
                f"Grid Engine takes no more jobs for now: {said}. Submit fewer at once "
                "(max_queue_len=), or again when some have ended."
            )
        if _NOT_ASKED.search(said):
            raise _unreachable(answer)
        if answer.code and answer.code < 128 and _REFUSED.search(answer.stderr + answer.stdout):
            raise OptionsError(f"Grid Engine refused the job: {said}{_advice(said)}")
        raise QueueError(f"qsub ended with code {answer.code} and gave no id: {said}")

    def find(self, mark: str, user: str) -> tuple[str, ...]:
        """Ask for the details of all jobs: a mark is in no list, and none can be filtered."""
        return ("qstat", "-xml", "-j", "*")

    # ------------------------------------------------------------ asking

    def poll(self, jobs: Sequence[str], user: str) -> tuple[str, ...]:
        """Ask for all of the user's jobs: qstat cannot list some by id."""
        return ("sh", "-c", _POLL, "sh", user or "*")

    def parse_poll(self, answer: Answer) -> list[Seen]:
        """Read qstat's XML, which tells of no jobs as well."""
        if answer.code:
            raise _failed(answer, "qstat")
        return read_jobs(answer.stdout, self.site.memory_resource)

    def account(self, jobs: Sequence[str]) -> list[tuple[str, ...]]:
        """Look through the books once for some thousand jobs."""
        return [
            ("sh", "-c", _BOOKS, "sh", *jobs[at : at + _BOOK_IDS])
            for at in range(0, len(jobs), _BOOK_IDS)
        ]

    def parse_account(self, answer: Answer) -> list[Seen]:
        """Read qacct; that it finds a job not, or that there are no books, is no failure."""
        complaints = [
            line
            for line in answer.stderr.splitlines()
            if line.strip() and not re.search(r"not found|No such file", line)
        ]
        if complaints and answer.code:
            raise _failed(answer, "qacct")
        return read_books(answer.stdout)

    # ------------------------------------------------------------ steering

    def act(self, verb: str, ids: Sequence[str], number: int) -> list[tuple[str, ...]]:
        """Give the commands, each for some hundred jobs.

        Raises:
            OptionsError: Grid Engine cannot do this.
        """
        if verb not in _VERBS:
            raise OptionsError(self.missing.get(verb, f"Grid Engine cannot {verb} a job"))
        native = [id.replace("_", ".") for id in ids]
        parts = [native[at : at + _ACT_IDS] for at in range(0, len(native), _ACT_IDS)]
        return [
            (*words, *(_whole(part) if words[0] == "qalter" else part))
            for part in parts
            for words in _VERBS[verb]
        ]

    def parse_act(self, verb: str, answer: Answer) -> dict[str, str]:
        """Read the line that there is for each job, on stdout most of them."""
        wrong: dict[str, str] = {}
        if _NOT_ASKED.search(_words_of(answer)):
            raise _unreachable(answer)
        for line in (answer.stdout + "\n" + answer.stderr).splitlines():
            about = _ABOUT.search(line)
            # What releases a job from its error also meets those that have none.
            harmless = verb == "release" and _PENDING.search(line)
            if about and not harmless and not _DONE.search(line):
                wrong[_asked_for(about[1], answer.argv)] = line.strip()
        known = wrong or _DONE.search(answer.stdout) or _DONE.search(answer.stderr)
        return wrong if known or not answer.code else {"": _words_of(answer)}

    # ------------------------------------------------------------ the site

    def show_resources(self, partition: str | None) -> tuple[str, ...]:
        """Ask for the queues without jobs: no job has a hold that `hd` names, but few."""
        wanted = f"mem_total,mem_free,{self.site.gpu_resource}"
        which = ["-q", partition] if partition else []
        return ("qstat", "-f", "-s", "hd", "-F", wanted, "-xml", *which)

    def parse_resources(self, answer: Answer, partition: str | None) -> Resources:
        """Add up the slots of the queues and the memory of the machines."""
        # For a queue it has not, qstat prints its help and fails.
        if answer.code and partition and not _NOT_ASKED.search(answer.stderr):
            raise QueueError(f"there is no queue {partition!r}; `qconf -sql` lists the queues")
        if answer.code:
            raise _failed(answer, "qstat")
        return read_slots(answer.stdout, partition, self.site.gpu_resource)


# ---------------------------------------------------------------- submitting


def _is_conditional(dependency: Dependency) -> bool:
    return dependency.type in ("afterok", "afternotok")


def _whole(ids: Sequence[str]) -> list[str]:
    """The jobs of these elements: -r is of a whole job."""
    return list(dict.fromkeys(id.partition(".")[0] for id in ids))


# ---------------------------------------------------------------- answers


def _asked_for(native: str, argv: Sequence[str]) -> str:
    """Give the id that was asked for: of a job that is no array qmod tells as of 200.1."""
    job = native.partition(".")[0]
    return job if native not in argv and job in argv else native.replace(".", "_")


def _words_of(answer: Answer) -> str:
    """Give Grid Engine's own words, in one line."""
    text = answer.stderr.strip() or answer.stdout.strip()
    lines = [re.sub(r"^(?:error|qsub): ", "", line.strip()) for line in text.splitlines()]
    lines = [line.removeprefix("Unable to run job: ") for line in lines]
    return "; ".join(line for line in lines if line and line != "Exiting.")[:1000] or "no message"


def _advice(said: str) -> str:
    hints = [hint for word, hint in _ADVICE if word.casefold() in said.casefold()]
    return f". Next: {hints[0]}." if hints else "."


def _unreachable(answer: Answer) -> QueueError:
    if _NOT_CONFIGURED.search(_words_of(answer)):
        return ServerUnavailable(
            f"Grid Engine's programs find no configuration on this machine: {_words_of(answer)}. "
            "Load the site's module, or source its default/common/settings.sh, which sets "
            "SGE_ROOT and SGE_CELL; qtype='local' needs neither."
        )
    return QueueError(
        f"Grid Engine could not be asked: {_words_of(answer)}. "
        "`qconf -sss` tells whether its qmaster is up."
    )


def _failed(answer: Answer, program: str) -> QueueError:
    if _NOT_ASKED.search(answer.stderr):
        return _unreachable(answer)
    return QueueError(f"{program} failed with code {answer.code}: {_words_of(answer)}.")
