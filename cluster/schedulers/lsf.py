"""The words of LSF.

Pure.  What it prints is read in `lsf_answers.py`.  A submission goes in by
standard input: bsub reads no directives from a file it is given by name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from cluster._option_directives import Site, flags, quote
from cluster.errors import OptionsError, QueueError, ServerUnavailable
from cluster.schedulers._dependents import softened
from cluster.schedulers.base import Request, Resources
from cluster.schedulers.dialect import Answer, Outputs, Seen
from cluster.schedulers.lsf_answers import (
    FORMAT,
    native,
    people,
    read_bhist,
    read_bhosts,
    read_bjobs,
)
from cluster.spec import Dependency

__all__ = ["Lsf"]

_AT_ONCE = 1000  # ids in one command: an argument list has its limit
_UNITS_WRITTEN_SINCE = (10, 1, 0, 2)  # before, a number is in the unit of the site, always
_KIB = {"KB": 1, "MB": 1024, "GB": 1024**2, "TB": 1024**3, "PB": 1024**4}

# Its programs do not know where LSF is.
_NOT_CONFIGURED = re.compile(
    r"lsf\.conf|LSF_ENVDIR|LSF_CONFDIR|configuration (?:file )?error", re.IGNORECASE
)
_UNREACHABLE = re.compile(
    rf"{_NOT_CONFIGURED.pattern}|LSF is down|please wait|cannot connect|connection refused"
    r"|not responding|time ?out\b|mbatchd|LIM is down|LSF library call|master LIM"
    r"|communication (?:time|fail|error)|batch (?:system )?daemon|non-LSF host",
    re.IGNORECASE,
)
_FULL = re.compile(r"pending job|pend\w* .*limit|job slot limit|submission.* limit", re.IGNORECASE)
_HINTS = (
    ("no such queue", "See the queues with bqueues, and name one with partition=."),
    ("no matching job", "A job of dependencies= is unknown to LSF; check its id."),
    ("too many processors", "Ask for fewer cores= or tasks=; bhosts shows what there is."),
    ("resource requirement", "Correct features=, resources= or extra_directives=."),
    ("runlimit", "Correct time=; bqueues -l shows the limit of each queue."),
    ("mem", "Correct mem=; bqueues -l shows the limit of each queue."),
    ("array", "Correct array=; bparams shows MAX_JOB_ARRAY_SIZE."),
    ("illegal option", "This LSF does not know that option; leave it out with directives_skip=."),
    ("permission", "Ask the administrators for the permission."),
)
_UNKNOWN = re.compile(r"is not found|no (unfinished |matching )?job found", re.IGNORECASE)
_OF_JOB = re.compile(r"Job <([\d\[\]]+)>: (.*)", re.ASCII)
_FINE = re.compile(r"already finished|in progress", re.IGNORECASE)

_DEPENDENCIES = {"afterok": "done", "afterany": "ended", "afternotok": "exit", "after": "started"}
_COMMANDS = {
    "cancel": ("bkill",),
    "hold": ("bstop",),
    "release": ("bresume",),
    "requeue": ("brequeue", "-r", "-d", "-e"),
    "suspend": ("bstop",),
    "resume": ("bresume",),
}


class Lsf:
    """The dialect of LSF 9.1 and later; see `dialect.Dialect`.

    Attributes:
        redirects: LSF writes a report of its own around a job's output, so the
            job's script opens the files itself.  `directives` without paths in
            `outputs` sends LSF's to /dev/null.
        version, unit: as `recognises` found; `unit` is LSF_UNIT_FOR_LIMITS,
            empty where the site has set none.
    """

    qtype = "lsf"
    title = "LSF"
    prefix = "#BSUB"
    job_id = "${LSB_JOBID}"
    array_index = "${LSB_JOBINDEX#0}"  # it is 0 outside an array, and never within one
    # LSB_DEFAULTQUEUE and the LSF_* that say where LSF is stay: bsub needs them.
    scrubbed = (
        *("LSB_JOB*", "LSB_BATCH_JID", "LSB_HOSTS", "LSB_MCPU_HOSTS", "LSB_DJOB_*", "LSB_QUEUE"),
        *("LSB_SUB_*", "LSB_OUTPUTFILE", "LSB_ERRORFILE", "LSB_CHKFILENAME", "LSB_TRAPSIGS"),
        *("LSB_ACCT_FILE", "LSB_EXIT_PRE_ABORT", "LSB_EXEC_*", "LSB_AFFINITY_*", "LSB_BIND_*"),
        *("LSB_INTERACTIVE", "LSB_UNIXGROUP", "LSB_MAX_NUM_PROCESSORS", "LSB_EFFECTIVE_RSRCREQ"),
        *("LS_JOBPID", "LS_SUBCWD", "LS_EXEC_T"),
    )
    restarts = "0"  # a job is not told
    reserved_codes: tuple[int, ...] = ()
    warns_script_only = False
    redirects = True

    def __init__(self) -> None:
        self.version = ""
        self.unit = ""
        self.missing: Mapping[str, str] = {}

    # ------------------------------------------------------------ is it there

    def probe(self) -> tuple[str, ...]:
        """Ask the cluster's master, then its batch system, then for the unit of memory."""
        unit = "LSF_UNIT_FOR_LIMITS"
        return (
            "sh",
            "-c",
            f'lsid && bqueues >/dev/null || exit; grep -hs "^ *{unit}" "${{LSF_ENVDIR:-/etc}}'
            f'/lsf.conf" || badmin showconf mbd 2>/dev/null | grep {unit}; :',
        )

    def recognises(self, answer: Answer) -> str:
        """Give the version, and remember it with the unit."""
        found = re.search(r"^.*\bLSF\b.*?\b(\d{1,4}(?:\.\d{1,4})+)", answer.stdout, re.M | re.A)
        if answer.code != 0 or found is None:
            return ""
        units = re.findall(r"LSF_UNIT_FOR_LIMITS\s*=\s*([A-Za-z]+)", answer.stdout)
        unit = units[-1].upper() if units else ""
        unit = unit if unit.endswith("B") or not unit else f"{unit}B"
        self.version, self.unit = found[1], unit if unit in _KIB else ""
        return f"LSF {self.version}"

    # ------------------------------------------------------------ submitting

    def directives(self, request: Request, outputs: Outputs, *, mark: str) -> list[str]:
        """Write the job's wishes."""
        values = {**request.options, "name": request.name}
        skip = tuple(values.pop("directives_skip", ()))
        for name in skip:
            values.pop(name, None)
        for name in ("dependencies", "outfile", "errfile", "dir"):  # the script enters its cwd
            values.pop(name, None)
        raw = values.pop("extra_directives", [])
        orphans = values.pop("on_unsatisfiable", "cancel")
        comment = values.pop("comment", "")
        memory = self._memory(values)
        lines = flags({**values, **_files(outputs)}, "lsf", Site())
        lines += memory
        if request.dependencies and "dependencies" not in skip:
            lines.append(_depend(softened(request.dependencies, orphans), orphans))
        lines.append("-Jd " + quote(f"{mark} {comment}".rstrip(), "lsf"))
        unwanted = tuple(flag for flag in skip if flag.startswith("-"))
        lines = [line for line in lines if not unwanted or not line.startswith(unwanted)]
        return lines + flags({"extra_directives": raw}, "lsf", Site())

    def _memory(self, values: dict[str, Any]) -> list[str]:
        """Write `mem` as a number of the site's unit where a unit cannot be written."""
        version = tuple(map(int, self.version.split("."))) if self.version else (10, 1, 0, 2)
        if "mem" not in values or version >= _UNITS_WRITTEN_SINCE:
            return []
        kib = values.pop("mem") * 1024
        limit = math.ceil(kib / _KIB[self.unit or "KB"])
        reserved = math.ceil(kib / _KIB[self.unit or "MB"])
        return [f'-M {limit} -R "rusage[mem={reserved}]"']

    def guards(self, request: Request) -> list[tuple[str, str]]:
        """None: LSF waits by itself."""
        return []

    def submit(self, script: str, arguments: Sequence[str]) -> tuple[str, ...]:
        """Give the command that submits a script file."""
        # With BSUB_QUIET it would not say the id.
        text = 'unset BSUB_QUIET BSUB_QUIET2; exec bsub "$@" < "$0"'
        return ("sh", "-c", text, script, *arguments)

    def parse_submit(self, answer: Answer) -> str:
        """Give the id of the job."""
        found = re.search(r"Job <(\d{1,18})> is submitted", answer.stdout, re.ASCII)
        if found:
            return found[1]
        words = _words(answer)
        if _FULL.search(words):
            raise QueueError(
                f"LSF takes no more jobs for now: {words}. Wait until some of yours have ended, "
                "or give max_queue_len= so that it is waited for."
            )
        if _UNREACHABLE.search(words):  # "LIM is down; try later. Job not submitted" is one, too
            raise _unreachable(answer)
        if "not submitted" in words or "sage:" in answer.stderr:
            raise OptionsError(f"bsub refused the job: {words}. {_hint(words)}")
        if answer.code == 0 or not answer.stderr.strip():
            raise QueueError(
                f"bsub ended with code {answer.code} and gave no id: {words}. "
                "Look with bjobs whether the job was taken."
            )
        raise OptionsError(f"bsub refused the job: {words}. {_hint(words)}")

    def find(self, mark: str, user: str) -> tuple[str, ...]:
        """List the user's jobs, lately ended ones too; the description holds the mark."""
        return self.poll((), user)

    # ------------------------------------------------------------ asking

    def poll(self, jobs: Sequence[str], user: str) -> tuple[str, ...]:
        """Give one command that shows these jobs with each element of theirs."""
        shown = ("bjobs", "-a", "-noheader", "-o", FORMAT)
        if jobs:
            return (*shown, "-u", "all", *map(native, jobs))
        return (*shown, "-u", user or "all")

    def parse_poll(self, answer: Answer) -> list[Seen]:
        """Read the answer to `poll` and `find`.  Its exit code says nothing: see below."""
        # LSB_BJOBS_CONSISTENT_EXIT_CODE decides whether "not found" is 0 or 255.
        troubles = _troubles(answer)
        jobs = read_bjobs(answer.stdout)
        if answer.code != 0 and (troubles or not (jobs or answer.stderr.strip())):
            raise _unreachable(answer)
        if answer.stdout.strip() and not jobs and not _UNKNOWN.search(answer.stdout):
            raise QueueError(f"the answer of bjobs cannot be read: {_words(answer)}.")
        return jobs

    def account(self, jobs: Sequence[str]) -> list[tuple[str, ...]]:
        """Ask the event logs, all of them: bjobs forgets a job an hour after its end."""
        return [("bhist", "-l", "-n", "0", *map(native, some)) for some in _chunks(jobs)]

    def parse_account(self, answer: Answer) -> list[Seen]:
        """Read an answer to `account`: the jobs that are over."""
        jobs = read_bhist(answer.stdout)
        silent = not (answer.stdout.strip() or answer.stderr.strip())
        if answer.code != 0 and (_troubles(answer) or silent):
            raise _unreachable(answer)
        return jobs

    # ------------------------------------------------------------ steering

    def act(self, verb: str, ids: Sequence[str], number: int) -> list[tuple[str, ...]]:
        """Give the commands that do one of `VERBS` to jobs or elements."""
        command = ("bkill", "-s", str(number)) if verb == "signal" else _COMMANDS[verb]
        return [(*command, *map(native, some)) for some in _chunks(ids)]

    def parse_act(self, verb: str, answer: Answer) -> dict[str, str]:
        """Give what went wrong, for each id."""
        problems: dict[str, str] = {}
        for line in filter(None, map(str.strip, answer.stderr.splitlines())):
            of_job = _OF_JOB.match(line)
            if of_job and _FINE.search(of_job[2]):
                continue
            if of_job and _UNKNOWN.search(of_job[2]):
                problems[people(of_job[1])] = "LSF does not know this job any more"
            elif of_job:
                problems[people(of_job[1])] = of_job[2]
            elif _UNREACHABLE.search(line):
                raise _unreachable(answer)
            elif answer.code != 0:
                problems[""] = line
        if answer.code != 0 and not (answer.stdout.strip() or answer.stderr.strip()):
            problems[""] = f"{answer.argv[0]} ended with code {answer.code} and said nothing"
        return problems

    # ------------------------------------------------------------ the site

    def show_resources(self, partition: str | None) -> tuple[str, ...]:
        """Show all hosts: which of them a queue may use is told in too many ways."""
        return ("bhosts", "-w")

    def parse_resources(self, answer: Answer, partition: str | None) -> Resources:
        """Read the answer to `show_resources`."""
        if answer.code != 0:
            raise _unreachable(answer)
        return read_bhosts(answer.stdout)


# ---------------------------------------------------------------- text


def _files(outputs: Outputs) -> dict[str, str]:
    if not outputs.stdout:
        return {"outfile": "/dev/null"}  # standard error goes with it; without -o all is mailed
    out, err = (path.replace("{index}", "%I") for path in (outputs.stdout, outputs.stderr))
    return {"outfile": out} if out == err else {"outfile": out, "errfile": err}


def _depend(dependencies: Sequence[Dependency], orphans: str) -> str:
    terms = [f"{_DEPENDENCIES[one.type]}({native(one.job)})" for one in dependencies]
    # Without -ti a job whose dependency can never hold stays in the queue for ever.
    return f'-w "{" && ".join(terms)}"' + (" -ti" if orphans == "cancel" else "")


def _chunks(ids: Sequence[str]) -> list[Sequence[str]]:
    return [ids[at : at + _AT_ONCE] for at in range(0, len(ids), _AT_ONCE)]


def _troubles(answer: Answer) -> list[str]:
    lines = (line.strip() for line in answer.stderr.splitlines())
    return [line for line in lines if line and not _UNKNOWN.search(line)]


def _words(answer: Answer) -> str:
    """What the program said, as one line in quotation marks."""
    text = answer.stderr.strip() or answer.stdout.strip()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = " ".join(line for line in lines[:3] if "sage:" not in line)
    return f'"{told[:400]}"' if told else f"code {answer.code}, and no word"


def _unreachable(answer: Answer) -> QueueError:
    program, words = "bsub" if answer.argv[0] == "sh" else answer.argv[0], _words(answer)
    if _NOT_CONFIGURED.search(words):
        return ServerUnavailable(
            f"{program} finds no configuration of LSF on this machine: {words}. Load the site's "
            "module, or source its conf/profile.lsf, which sets LSF_ENVDIR; qtype='local' needs "
            "none."
        )
    if _UNREACHABLE.search(words):
        return QueueError(
            f"{program} could not ask LSF: {words}. `lsid` and `bqueues` tell whether it is up."
        )
    return QueueError(f"{program} failed with code {answer.code}: {words}.")


def _hint(words: str) -> str:
    low = words.lower()
    return next(
        (hint for word, hint in _HINTS if word in low), "Correct the request and submit it again."
    )
