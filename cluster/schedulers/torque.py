"""The words of the PBS family: Torque, and PBS Pro (which is OpenPBS too).

Pure.  The two share their commands and differ in what stands behind `-l` and in
their arrays; `recognises` tells them apart.  What they print is read in
`torque_answers.py`.

An id is a number for people, "17" or "17_3".  PBS writes `17.server`,
`17[].server` for an array and `17[3].server` for its element, and knows an
array by no other name.  What a number stands for is learned from every answer,
and by `remember`; a number not known yet is asked for in both forms, of which
PBS does not know one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from cluster._option_directives import Site, flags
from cluster.errors import OptionsError, QueueError, ServerUnavailable
from cluster.schedulers._dependents import softened
from cluster.schedulers.base import Request, Resources
from cluster.schedulers.dialect import Answer, Outputs, Seen
from cluster.schedulers.torque_answers import MARK, native, read_jobs, read_nodes, seen
from cluster.schedulers.torque_requests import pro_range, select, torque_indices, with_mark
from cluster.spec import Dependency

__all__ = ["Torque"]

_ID = re.compile(r"(\d+)(?:_(\d+))?\Z", re.ASCII)
_AT_ONCE = 1000  # ids in one command: an argument list has its limit

# Its programs do not know where the server is.
_NOT_CONFIGURED = re.compile(
    r"no default server|unknown host|pbsconf error|pbs\.conf|server_name", re.IGNORECASE
)
_UNREACHABLE = re.compile(
    rf"{_NOT_CONFIGURED.pattern}"
    r"|cannot connect|could not connect|connection refused|errno=|establish connection"
    r"|no free connections|connection table full|shutting down|too busy|timed? ?out\b"
    r"|end of file|communication failure|trqauthd|pbs_iff|protocol error|temporarily unavailable"
    r"|invalid credential|system error occurred",
    re.IGNORECASE,
)
_GRID_ENGINE = re.compile(r"^\S*[GS]E\S* \d\S*\s*$\s*usage: qstat|\bSGE_ROOT\b|\bqmaster\b", re.M)
_FULL = re.compile(r"maximum number of jobs|would exceed .*limit|exceeds the queue limit", re.I)
_HINTS = (
    ("unknown queue", "See the queues with qstat -Q, and name one with partition=."),
    ("queue", "Name another queue with partition=, or ask for less; qstat -Qf shows its limits."),
    ("limit", "Ask for less; qstat -Qf and qstat -Bf show the limits."),
    ("resource", "Correct that resource: cores=, mem=, time=, resources= or extra_directives=."),
    ("depend", "Check the ids of dependencies=."),
    ("account", "Name another account with account=."),
    ("array", "Correct array=; the site sets the largest one."),
    ("unauthorized", "Ask the administrators for the permission."),
    ("option", "Correct extra_directives= or submit_args=."),
    ("illegal -", "Correct that option, or leave it out with directives_skip=."),
)
_UNKNOWN = re.compile(r"unknown job ?id|nonexistent job|unknown array id|job not found", re.I)
_OVER = re.compile(r"has finished|COMPLETE\b|EXITING|already in exit", re.IGNORECASE)
_NO_HISTORY = "not configured to maintain job history"

# qstat has no long form for one user's jobs, so qselect names them.  Without "set -f"
# the shell would take 17[] for a pattern.
_SELECT = 'set -f; ids=$(qselect -u "$0") || exit; [ -z "$ids" ] || exec qstat -f'
_LIST = f"{_SELECT} -t $ids"
_FIND = f"{_SELECT} $ids"
# Where no history is kept, qselect -x only says so.
_FIND_IN_PRO = (
    'set -f; ids=$(qselect -x -u "$0" 2>/dev/null); '
    f'[ -z "$ids" ] || exec qstat -x -f $ids; {_FIND.removeprefix("set -f; ")}'
)

_OPERATORS = "PBS lets only its operators {} a job; ask the administrators, or {}."
_MISSING = {
    "requeue": _OPERATORS.format("requeue", "cancel it and submit it again with Job.resubmit()"),
    "suspend": _OPERATORS.format("suspend", "stop its processes with signal STOP"),
    "resume": _OPERATORS.format("resume", "let its processes go on with signal CONT"),
}
_MISSING_IN_PRO = {
    "elements": "PBS Pro cannot wait for one element of an array; depend on the whole array.",
}


class Torque:
    """The dialect of Torque and PBS Pro; see `dialect.Dialect`.

    Attributes:
        flavour: "torque" or "pbspro", as `recognises` found.
        redirects: a job's output reaches its files unchanged, at once and under
            their names only if its script opens them itself: PBS copies them
            when the job has ended, and Torque adds the index in its own way.
            `directives` without paths in `outputs` sends PBS's to /dev/null.
    """

    qtype = "torque"
    title = "Torque/PBS"
    prefix = "#PBS"
    job_id = "${PBS_JOBID%%[!0-9]*}"
    array_index = "${PBS_ARRAY_INDEX:-${PBS_ARRAYID:-}}"
    restarts = "0"  # a job of PBS cannot tell
    reserved_codes: tuple[int, ...] = ()
    warns_script_only = False
    # PBS_SERVER, PBS_DEFAULT, PBS_CONF_FILE and PBS_EXEC stay: qsub needs them.
    scrubbed = (
        *("PBS_JOB*", "PBS_ARRAY*", "PBS_O_*", "PBS_NODE*", "PBS_TASKNUM", "PBS_VNODENUM"),
        *("PBS_MOMPORT", "PBS_ENVIRONMENT", "PBS_QUEUE", "PBS_GPUFILE", "PBS_MICFILE", "PBS_NP"),
        *("PBS_NUM_*", "PBS_WALLTIME", "PBS_VERSION", "NCPUS", "ENVIRONMENT", MARK),
    )
    redirects = True

    def __init__(self) -> None:
        self.flavour = "torque"
        self.missing: Mapping[str, str] = _MISSING
        self._arrays: dict[str, bool] = {}
        self._servers: dict[str, str] = {}

    # ------------------------------------------------------------ is it there

    def probe(self) -> tuple[str, ...]:
        """Ask who it is, then the server: `qstat --version` alone asks nobody."""
        return ("sh", "-c", "qstat --version 2>&1; exec qstat -B")

    def recognises(self, answer: Answer) -> str:
        """Give the version, and remember which of the two it is."""
        pro = re.search(r"pbs_version = (\S+)", answer.stdout)
        torque = re.search(r"^Version: (\S+)", answer.stdout, re.MULTILINE)
        if pro or torque:  # also if the server is down: it may be up when a job is submitted
            self.flavour = "pbspro" if pro else "torque"
            self.missing = {**_MISSING, **_MISSING_IN_PRO} if pro else _MISSING
        if answer.code != 0 or "\nServer " not in "\n" + answer.stdout:
            return ""
        if pro:
            return f"PBS Pro {pro[1]}"
        return f"Torque {torque[1]}" if torque else ""

    def owner(self, answer: Answer) -> str:
        """Tell from the same answer that these are Grid Engine's programs, which have our names."""
        return "sge" if _GRID_ENGINE.search(answer.stdout + answer.stderr) else ""

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
        choice = values.get("on_unsatisfiable", "cancel")
        if choice == "release":
            del values["on_unsatisfiable"]  # the dependencies say it
        lines = self._array(values.pop("array", None))
        if self.flavour == "pbspro":
            lines += select(values)
        if "export" not in values and "inherit_env" not in skip:
            values.setdefault("inherit_env", True)
        lines += with_mark(flags(values, "torque", Site()), mark)
        if request.dependencies and "dependencies" not in skip:
            lines.append(self._depend(softened(request.dependencies, choice)))
        lines += self._outputs(outputs)
        unwanted = tuple(flag for flag in skip if flag.startswith("-"))
        lines = [line for line in lines if not unwanted or not line.startswith(unwanted)]
        return lines + flags({"extra_directives": raw}, "torque", Site())

    def _array(self, spec: Any) -> list[str]:
        if spec is None:
            return []
        limit = f"%{spec.max_running}" if spec.max_running else ""
        if self.flavour == "torque":
            return [f"-t {torque_indices(spec)}{limit}"]
        return [f"-J {pro_range(spec)}{limit}"]

    def _depend(self, dependencies: Sequence[Dependency]) -> str:
        by_type: dict[str, list[str]] = {}
        for one in dependencies:
            (*_, name) = self._forms(one.job, whole_first=False)
            kind = one.type
            if self.flavour == "torque" and name.partition(".")[0].endswith("[]"):
                kind = "afterstartarray" if kind == "after" else f"{kind}array"
            by_type.setdefault(kind, []).append(name)
        return "-W depend=" + ",".join(f"{kind}:{':'.join(ids)}" for kind, ids in by_type.items())

    def _outputs(self, outputs: Outputs) -> list[str]:
        out, err = (self._path(path) for path in (outputs.stdout, outputs.stderr))
        if out == err:
            return ["-j oe", *flags({"outfile": out}, "torque", Site())]
        return flags({"outfile": out, "errfile": err}, "torque", Site())

    def _path(self, path: str) -> str:
        if not path:
            return "/dev/null"
        if self.flavour == "pbspro":
            return path.replace("{index}", "^array_index^")
        return path.replace(".{index}", "")  # Torque puts "-3" behind the path of an element

    def guards(self, request: Request) -> list[tuple[str, str]]:
        """None: PBS waits by itself, and deletes what can never run."""
        return []

    def submit(self, script: str, arguments: Sequence[str]) -> tuple[str, ...]:
        """Give the command that submits a script file."""
        return ("qsub", *arguments, script)

    def parse_submit(self, answer: Answer) -> str:
        """Give the id of the job, and remember whether it is an array and whose."""
        words = _words(answer)
        for line in reversed(answer.stdout.splitlines()):
            id = native(line.strip())
            if answer.code == 0 and id and not id.element:
                self._learn(id.number, id.server, array=id.is_array)
                return id.number
        if _UNREACHABLE.search(words):
            raise _unreachable(answer)
        if _FULL.search(words):
            raise QueueError(
                f"PBS takes no more jobs for now: {words}. Wait until some of yours have ended, "
                "or give max_queue_len= so that it is waited for."
            )
        if answer.code == 0 or not answer.stderr.strip():
            raise QueueError(
                f"qsub ended with code {answer.code} and gave no id: {words}. "
                "Look with qstat -u whether the job was taken."
            )
        raise OptionsError(f"qsub refused the job: {words}. {_hint(words)}")

    def find(self, mark: str, user: str) -> tuple[str, ...]:
        """List the user's jobs, ended ones too: a mark is no word to select by."""
        return ("sh", "-c", _FIND_IN_PRO if self.flavour == "pbspro" else _FIND, user)

    # ------------------------------------------------------------ asking

    def poll(self, jobs: Sequence[str], user: str) -> tuple[str, ...]:
        """Give one command that shows these jobs with each element of theirs."""
        if jobs:
            return ("qstat", "-f", "-t", *self._all_forms(jobs))
        return ("sh", "-c", _LIST, user) if user else ("qstat", "-f", "-t")

    def parse_poll(self, answer: Answer) -> list[Seen]:
        """Read the answer to `poll` and `find`; elements stand in for their array."""
        jobs = read_jobs(answer.stdout)
        troubles = [
            line
            for line in answer.stderr.splitlines()
            if line.strip() and not (_UNKNOWN.search(line) or _OVER.search(line))
        ]
        if answer.code != 0 and _NO_HISTORY in answer.stderr:
            troubles = []
        elif answer.code != 0 and (troubles or not (jobs or answer.stderr.strip())):
            raise _unreachable(answer)
        if answer.code == 0 and answer.stdout.strip() and "Job Id:" not in answer.stdout:
            raise QueueError(f"the answer of qstat cannot be read: {_words(answer)}.")
        for id, _ in jobs:
            self._learn(id.number, id.server, array=id.is_array or bool(id.element))
        told_apart = {id.number for id, _ in jobs if id.element}
        kept = [(id, told) for id, told in jobs if id.element or id.number not in told_apart]
        return [one for id, told in kept if (one := seen(id, told))]

    def account(self, jobs: Sequence[str]) -> list[tuple[str, ...]]:
        """Ask the history of PBS Pro.  Torque's is in the queue, for some minutes."""
        words = ("qstat", "-f", "-t") if self.flavour == "torque" else ("qstat", "-x", "-f", "-t")
        return [(*words, *self._all_forms(some)) for some in _chunks(list(jobs))]

    def parse_account(self, answer: Answer) -> list[Seen]:
        """Read an answer to `account`; a site that keeps no history has seen nothing."""
        return self.parse_poll(answer)

    # ------------------------------------------------------------ steering

    def act(self, verb: str, ids: Sequence[str], number: int) -> list[tuple[str, ...]]:
        """Give the commands that do one of `VERBS` to jobs or elements."""
        commands: dict[str, tuple[str, ...]] = {
            "cancel": ("qdel",),
            "hold": ("qhold",),
            "release": ("qrls",),
            "requeue": ("qrerun",),
            "suspend": ("qsig", "-s", "suspend"),
            "resume": ("qsig", "-s", "resume"),
            "signal": ("qsig", "-s", str(number)),
        }
        return [(*commands[verb], *self._all_forms(some)) for some in _chunks(list(ids))]

    def parse_act(self, verb: str, answer: Answer) -> dict[str, str]:
        """Give what went wrong, for each id; an id that only one of its forms names is fine."""
        if _UNREACHABLE.search(answer.stderr):
            raise _unreachable(answer)
        problems: dict[str, str] = {}
        unknown: dict[str, int] = {}
        for line in filter(None, map(str.strip, answer.stderr.splitlines())):
            id = _id_in(line)
            if _OVER.search(line) or (verb == "cancel" and "Request invalid for state" in line):
                continue  # it is over, or about to be
            if _UNKNOWN.search(line) and id:
                unknown[id] = unknown.get(id, 0) + 1
            else:
                problems[id] = line
        asked = [named.id for word in answer.argv if (named := native(word))]
        for id, times in unknown.items():
            if times >= asked.count(id):
                problems.setdefault(id, "PBS does not know this job any more")
        if answer.code != 0 and not answer.stderr.strip():
            problems[""] = f"{answer.argv[0]} ended with code {answer.code} and said nothing"
        return problems

    # ------------------------------------------------------------ the site

    def show_resources(self, partition: str | None) -> tuple[str, ...]:
        """Show all nodes: PBS does not say which of them a queue may use."""
        return ("pbsnodes", "-a")

    def parse_resources(self, answer: Answer, partition: str | None) -> Resources:
        """Read the answer to `show_resources`."""
        if answer.code != 0:
            raise _unreachable(answer)
        return read_nodes(answer.stdout)

    # ------------------------------------------------------------ ids

    def remember(self, id: str, *, array: bool) -> None:
        """Be told what an id is, by someone who knows it from an earlier day."""
        self._arrays.setdefault(id, array)

    def _learn(self, number: str, server: str, *, array: bool) -> None:
        self._arrays[number] = array
        if server:
            self._servers[number] = server

    def _forms(self, id: str, *, whole_first: bool = True) -> list[str]:
        """Names under which PBS may know it; the likelier one last without `whole_first`."""
        match = _ID.match(id)
        if match is None:
            return [id]  # the user wrote it as PBS does
        number, index = match.groups()
        server = self._servers.get(number, "")
        suffix = f".{server}" if server else ""
        if index:
            return [f"{number}[{index}]{suffix}"]
        single, array = f"{number}{suffix}", f"{number}[]{suffix}"
        known = self._arrays.get(number)
        if known is not None:
            return [array if known else single]
        return [single, array] if whole_first else [array, single]

    def _all_forms(self, ids: Sequence[str]) -> list[str]:
        return [form for id in ids for form in self._forms(id)]


# ---------------------------------------------------------------- text


def _chunks(ids: list[str]) -> list[list[str]]:
    return [ids[at : at + _AT_ONCE] for at in range(0, len(ids), _AT_ONCE)]


def _words(answer: Answer) -> str:
    """What the program said, as one line in quotation marks."""
    text = answer.stderr.strip() or answer.stdout.strip()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = " ".join(line for line in lines[:3] if not line.startswith("usage:"))
    return f'"{told[:400]}"' if told else f"code {answer.code}, and no word"


def _program(answer: Answer) -> str:
    programs = re.findall(r"\bq[a-z]+\b", " ".join(answer.argv[:3]))
    return answer.argv[0] if answer.argv[0] != "sh" or not programs else programs[-1]


def _unreachable(answer: Answer) -> QueueError:
    words = _words(answer)
    if _NOT_CONFIGURED.search(words):
        return ServerUnavailable(
            f"{_program(answer)} does not know where the PBS server is: {words}. Load the site's "
            "module, or set PBS_DEFAULT or PBS_SERVER to its name, or PBS_CONF_FILE to its "
            "pbs.conf; qtype='local' needs none."
        )
    if _UNREACHABLE.search(words):
        return QueueError(
            f"{_program(answer)} could not ask the PBS server: {words}. "
            "`qstat -B` tells whether it is up."
        )
    return QueueError(f"{_program(answer)} failed with code {answer.code}: {words}.")


def _hint(words: str) -> str:
    low = words.lower()
    return next(
        (hint for word, hint in _HINTS if word in low), "Correct the request and submit it again."
    )


def _id_in(line: str) -> str:
    """The id that a complaint is about, as people see it; empty if it names none."""
    found = [id for word in line.split() if (id := native(word.strip(":,()'\"")))]
    return found[-1].id if found else ""
