"""Slurm: what its programs are asked, and what they answer.

Pure.  `slurm_text.py` reads the two long answers.  Facts it relies on, seen
with Slurm 22.05:

- squeue lists a job that has ended for a while more (MinJobAge, often 300 s),
  with its state and its wait status: most ends need no look into the books.
- A pending element of an array that was cancelled leaves no trace, neither in
  the queue nor in the books.
- Variables like SQUEUE_USERS hide jobs from squeue, and SBATCH_PARTITION wins
  over the directive in a script: see `slurm_variables.py`.
- `scontrol ping` says at once that the controller is down; all else tries for
  some seconds.
"""

from __future__ import annotations

import re
import signal as signals
from collections.abc import Mapping, Sequence
from typing import Any

from cluster._option_directives import Site, flags
from cluster.errors import OptionsError, QueueError, ServerUnavailable
from cluster.schedulers._dependents import softened
from cluster.schedulers.base import Request, Resources
from cluster.schedulers.dialect import Answer, Outputs, Seen
from cluster.schedulers.slurm_text import (
    BOOK_FORMAT,
    QUEUE_FORMAT,
    SEPARATOR,
    read_books,
    read_queue,
    tell_apart,
)
from cluster.schedulers.slurm_variables import OVERRIDING, SCRUBBED, quiet

__all__ = ["Slurm"]

_LIST_CHARS = 60_000  # of ids in one argument; the kernel allows twice as many
_BOOK_IDS = 1000  # in one call of sacct
_ACT_IDS = 500  # in one call of scancel, which asks the controller for each
_NAME_BYTES = 200  # a label for people; we keep the whole name ourselves

# In an answer that failed: its program knows no controller that it could ask.
_NOT_CONFIGURED = re.compile(
    r"Could not establish a configuration source|Unable to process configuration file|"
    r"Unable to establish control machine address",
    re.IGNORECASE,
)
# Nobody was asked, or nobody has decided.
_NOT_ASKED = re.compile(
    rf"{_NOT_CONFIGURED.pattern}|"
    r"Unable to contact|Socket timed out|Connection (refused|reset|timed out)|"
    r"Communication connection failure|Unexpected message received|standby mode|"
    r"Zero Bytes were transmitted|authentication|munge|temporarily un|try again|"
    r"No route to host|Unable to resolve|Transport endpoint|Slurm is not running|"
    r"Message receive failure|Insane message length|Header lengths are longer",
    re.IGNORECASE,
)
_FULL = re.compile(
    r"MaxSubmit|SubmitJobs?Limit|job submit limit|too many jobs|MaxJobCount|"
    r"accept any more jobs|job count limit",
    re.IGNORECASE,
)
_REFUSED = re.compile(r"submission failed|Invalid|unrecognized|error:|fatal:", re.IGNORECASE)
_ADVICE = (
    ("Invalid partition", "`sinfo -s` shows the partitions; set partition="),
    ("Invalid account", "`sacctmgr show assoc user=$USER` shows your accounts; set account="),
    ("Invalid qos", "`sacctmgr show qos` shows what there is; set qos="),
    ("feature", "`sinfo -o '%n %f'` shows the features of each machine; set features="),
    ("gres", "`sinfo -o '%n %G'` shows the gpus of each machine; set gpus= and gpu_type="),
    ("Memory specification", "ask for less with mem=; `sinfo -o '%n %c %m'` shows the machines"),
    ("node configuration", "ask for less with cores=, mem=, gpus= or nodes=; "
     "`sinfo -o '%n %c %m %G'` shows the machines"),
    ("time limit", "ask for less with time=, or for another partition; `sinfo -s` shows limits"),
    ("dependency", "a dependency must name a job of this cluster: dependencies='afterok:<id>'"),
    ("array", "`scontrol show config` shows MaxArraySize; use a smaller array="),
    ("license", "`scontrol show lic` shows the licenses; set resources="),
    ("permission", "ask your administrator whether you may use this partition or account"),
    ("priority", "only operators may raise a priority; lower it with nice= instead"),
    ("unrecognized option", "correct extra_directives= or submit_args="),
)  # fmt: skip

# A job that has ended, or is about to, cannot be acted upon: that is no error.
_ENDED = re.compile(
    r"already (completing|finished)|Invalid job id|already been|is finished|\ANo error",
    re.IGNORECASE,
)
_COMPLAINTS = (
    re.compile(r"error on job id (?P<id>[\d_]+): (?P<what>.+)"),
    re.compile(r"^(?P<what>.+) for job (?P<id>[\d_]+(?:_?\[[^\]]*\])?)$"),
    re.compile(r"^(?P<id>\d+_[\d,\-\[\]]+): (?P<what>.+)$"),
)


class Slurm:
    """The words of Slurm; see `dialect.Dialect` for what each method is for."""

    qtype = "slurm"
    title = "Slurm"
    prefix = "#SBATCH"
    missing: Mapping[str, str] = {}
    job_id = "${SLURM_ARRAY_JOB_ID:-${SLURM_JOB_ID:-}}"
    redirects = False
    array_index = "${SLURM_ARRAY_TASK_ID:-}"
    scrubbed = SCRUBBED
    restarts = "${SLURM_RESTART_COUNT:-0}"
    reserved_codes: tuple[int, ...] = ()
    warns_script_only = True

    # ------------------------------------------------------------ is it there

    def probe(self) -> tuple[str, ...]:
        """Ping: the only question whose answer does not take seconds when there is nobody."""
        return ("scontrol", "ping")

    def recognises(self, answer: Answer) -> str:
        """Give where the controller is: the ping does not tell its version."""
        match = re.search(r"Slurmctld\([^)]*\) at (\S+) is UP", answer.stdout)
        return f"controller up at {match[1]}" if match else ""

    # ------------------------------------------------------------ submitting

    def directives(self, request: Request, outputs: Outputs, *, mark: str) -> list[str]:
        """Write the options, and those whose default each site sets for itself."""
        values: dict[str, Any] = {"requeue": False, "append": False, **request.options}
        if "tasks" in values:
            values.setdefault("nodes", 1)  # else Slurm spreads ranks as it likes
        values["name"] = _label(request.name)
        values["dir"] = _text(request.cwd)
        values["comment"] = f"{mark} {values.get('comment', '')}".strip()
        values["outfile"] = _pattern(outputs.stdout, outputs.array)
        values["errfile"] = _pattern(outputs.stderr, outputs.array)
        if values["errfile"] == values["outfile"]:
            del values["errfile"]  # sbatch puts both into the file of --output
        values.pop("dependencies", None)
        choice = values.pop("on_unsatisfiable", "cancel")
        if request.dependencies:
            values["dependencies"] = list(softened(request.dependencies, choice))
            values["on_unsatisfiable"] = choice
        return flags(values, "slurm", Site())

    def guards(self, request: Request) -> list[tuple[str, str]]:
        """None: Slurm knows how the predecessors ended."""
        return []

    def overriding(self, directives: Sequence[str]) -> tuple[str, ...]:
        """Name the variables of the submitter that sbatch would prefer to these directives.

        They must not be in the environment of `submit`: what a job asks for
        wins over what a user set for all jobs.
        """
        names: dict[str, None] = {}
        for line in directives:
            for flag in re.findall(r"(?:\A| )(--[a-z-]+)", line):
                names.update(dict.fromkeys(OVERRIDING.get(flag, ())))
        return tuple(names)

    def submit(self, script: str, arguments: Sequence[str]) -> tuple[str, ...]:
        """Ask for the id alone."""
        return ("sbatch", "--parsable", *arguments, script)

    def parse_submit(self, answer: Answer) -> str:
        """Read `17` or `17;cluster`, whatever a site's plugins print around it."""
        ids = re.findall(r"^(\d+)(?:;\S+)?$", answer.stdout, re.MULTILINE)
        if answer.code == 0 and ids:
            return str(ids[-1])
        said = _words_of(answer)
        if _NOT_ASKED.search(said):
            raise _unreachable(answer)
        if _FULL.search(said):
            raise QueueError(
                f"Slurm takes no more jobs for now: {said}. Submit fewer at once "
                "(max_queue_len=), or again when some have ended."
            )
        if answer.code in (0, *range(-64, 0)) or not _REFUSED.search(said):
            raise QueueError(f"sbatch ended with code {answer.code} and gave no id: {said}")
        raise OptionsError(f"Slurm refused the job: {said}{_advice(said)}")

    def find(self, mark: str, user: str) -> tuple[str, ...]:
        """List the user's jobs; Slurm cannot look for a comment itself."""
        return self.poll((), user)

    # ------------------------------------------------------------ asking

    def poll(self, jobs: Sequence[str], user: str) -> tuple[str, ...]:
        """Ask squeue for all states; so many jobs that no argument holds them by their user.

        One line for each element (-r): squeue would put pending ones together,
        those that are held with those that are not.
        """
        ids = ",".join(jobs)
        which = ["-u", user] if user else []
        if ids and len(ids) <= _LIST_CHARS:
            which = ["-j", ids]
        return quiet(
            "squeue", "-h", "-a", "-r", "-t", "all", "--noconvert", "-O", QUEUE_FORMAT, *which
        )

    def parse_poll(self, answer: Answer) -> list[Seen]:
        """Read squeue; of a single job it does not know it says so with an error."""
        if answer.code and re.search(r"Invalid job id specified", answer.stderr):
            return []
        if answer.code or _NOT_ASKED.search(answer.stderr):
            raise _failed(answer)
        return read_queue(answer.stdout)

    def account(self, jobs: Sequence[str]) -> list[tuple[str, ...]]:
        """Ask sacct by id: without ids it lists a job only seconds after its end."""
        return [
            quiet(
                "sacct", "-n", "-P", "--noconvert", f"--delimiter={SEPARATOR}",
                "-o", BOOK_FORMAT, "-j", ",".join(jobs[at : at + _BOOK_IDS]),
            )
            for at in range(0, len(jobs), _BOOK_IDS)
        ]  # fmt: skip

    def parse_account(self, answer: Answer) -> list[Seen]:
        """Read sacct; a site without books has nothing to say."""
        if re.search(r"accounting storage is disabled", answer.stderr, re.IGNORECASE):
            return []
        if answer.code or _NOT_ASKED.search(answer.stderr):
            raise _failed(answer)
        return read_books(answer.stdout)

    # ------------------------------------------------------------ steering

    def act(self, verb: str, ids: Sequence[str], number: int) -> list[tuple[str, ...]]:
        """Give the commands, each for some hundred jobs."""
        parts = [ids[at : at + _ACT_IDS] for at in range(0, len(ids), _ACT_IDS)]
        return [command for part in parts for command in _act(verb, part, number)]

    def parse_act(self, verb: str, answer: Answer) -> dict[str, str]:
        """Read complaints; silence is success, also about a job that is gone."""
        wrong: dict[str, str] = {}
        for line in answer.stderr.splitlines():
            match = next((m for p in _COMPLAINTS if (m := p.search(line.strip()))), None)
            if match is None:
                continue
            if _NOT_ASKED.search(match["what"]):
                raise _unreachable(answer)
            if not _ENDED.search(match["what"]):
                said = _explained(verb, match["what"])
                wrong.update(dict.fromkeys(tell_apart(match["id"]), said))
        if wrong or not answer.code or _ENDED.search(answer.stderr):
            return wrong
        if _NOT_ASKED.search(answer.stderr):
            raise _unreachable(answer)
        return {"": _explained(verb, _words_of(answer))}

    # ------------------------------------------------------------ the site

    def show_resources(self, partition: str | None) -> tuple[str, ...]:
        """Ask for one line for each machine and partition."""
        fields = ("NodeList", "CPUsState", "Memory", "AllocMem", "Gres", "StateLong")
        wanted = ",".join(f"{field}:{SEPARATOR}" for field in fields)
        which = ["-p", partition] if partition else ["-a"]  # sinfo refuses both together
        return quiet("sinfo", "-h", "-N", "-O", wanted, *which)

    def parse_resources(self, answer: Answer, partition: str | None) -> Resources:
        """Add up the machines, each counted once; what is down is in all, and not free."""
        if answer.code or _NOT_ASKED.search(answer.stderr):
            raise _failed(answer)
        nodes: dict[str, list[str]] = {}
        for line in answer.stdout.splitlines():
            name, *fields = line.split(SEPARATOR)
            if len(fields) < 5:
                raise QueueError(f"sinfo answered something unexpected: {line[:200]!r}")
            nodes[name] = fields
        if not nodes:
            where = f"partition {partition!r}" if partition else "this cluster"
            raise QueueError(f"sinfo shows no machine in {where}. `sinfo -s` lists the partitions.")
        return _sum(list(nodes.values()))


# ---------------------------------------------------------------- submitting


def _text(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")


def _label(name: str) -> str:
    """The name as far as a label needs it."""
    return name.encode("utf-8", "surrogateescape")[:_NAME_BYTES].decode("utf-8", "ignore") or "job"


def _pattern(path: str, array: bool) -> str:
    """Write a path as --output reads it, where % begins a pattern and a backslash ends them all."""
    if "\\" in path:
        if array:
            raise OptionsError(
                f"{path!r} has a backslash in it, and Slurm cannot put the index of an element "
                "into such a path. Name another directory."
            )
        return path.replace("\\", "\\\\")
    text = path.replace("%", "%%")
    return text.replace("{index}", "%a") if array else text


# ---------------------------------------------------------------- steering


def _act(verb: str, ids: Sequence[str], number: int) -> list[tuple[str, ...]]:
    together = ",".join(ids)
    if verb == "cancel":
        return [quiet("scancel", *ids)]
    if verb == "signal":
        # --full reaches the batch shell and all it started; without it, neither.
        return [quiet("scancel", f"--signal={_signal_word(number)}", "--full", *ids)]
    if verb == "requeue":
        # A job is submitted with --no-requeue, or Slurm would repeat it unasked.
        allow = [("scontrol", "update", f"JobId={id}", "Requeue=1") for id in ids]
        return [*allow, ("scontrol", "requeue", together)]
    return [("scontrol", verb, together)]


def _signal_word(number: int) -> str:
    try:
        return signals.Signals(number).name.removeprefix("SIG")
    except ValueError:
        return str(number)


def _explained(verb: str, what: str) -> str:
    if not re.search(r"permission|denied|user id", what, re.IGNORECASE):
        return what
    if verb in ("suspend", "resume"):
        return f"{what}: Slurm lets only its operators {verb} jobs"
    return f"{what}: the job is another user's"


# ---------------------------------------------------------------- answers


def _words_of(answer: Answer) -> str:
    """Give the scheduler's own words, in one line."""
    text = answer.stderr.strip() or answer.stdout.strip()
    lines = [re.sub(r"^\w+: (?:error|fatal): ", "", line.strip()) for line in text.splitlines()]
    return "; ".join(line for line in lines if line)[:1000] or "no message"


def _last_words(answer: Answer) -> str:
    """Leave out that it tried again, and again."""
    return "; ".join(_words_of(answer).split("; ")[-2:])


def _advice(said: str) -> str:
    hints = [hint for word, hint in _ADVICE if word.casefold() in said.casefold()]
    return f". Next: {hints[0]}." if hints else "."


def _program(answer: Answer) -> str:
    words = [word for word in answer.argv if not re.match(r"-|\w+=", word)]
    known = ("sbatch", "squeue", "sacct", "scancel", "scontrol", "sinfo")
    return next((word for word in words if word in known), words[0] if words else "the program")


def _unreachable(answer: Answer) -> QueueError:
    if _NOT_CONFIGURED.search(answer.stderr):
        return ServerUnavailable(
            f"Slurm's programs find no configuration on this machine ({_program(answer)}: "
            f"{_last_words(answer)}). Load the site's module, or set SLURM_CONF to its slurm.conf "
            "or SLURM_CONF_SERVER to its controller; qtype='local' needs none."
        )
    return QueueError(
        f"Slurm could not be asked ({_program(answer)}: {_words_of(answer)}). "
        "`scontrol ping` tells whether its controller is up."
    )


def _failed(answer: Answer) -> QueueError:
    if _NOT_ASKED.search(answer.stderr):
        return _unreachable(answer)
    return QueueError(f"{_program(answer)} failed with code {answer.code}: {_words_of(answer)}.")


# ---------------------------------------------------------------- resources


def _sum(nodes: list[list[str]]) -> Resources:
    cores = free = memory = free_memory = gpus = 0
    for cpus, mib, held, gres, _state in (fields[:5] for fields in nodes):
        match = re.fullmatch(r"(\d{1,9})/(\d{1,9})/(\d{1,9})/(\d{1,9})", cpus, re.ASCII)
        if match is None:
            raise QueueError(f"sinfo shows cores as {cpus!r}, which is not A/I/O/T")
        cores, free = cores + int(match[4]), free + int(match[2])
        memory += _number(mib)
        free_memory += max(0, _number(mib) - _number(held)) if int(match[2]) else 0
        gpus += sum(int(n) for n in re.findall(r"gpu(?::[^:,()]+)*:(\d{1,6})(?![\w.])", gres))
    return Resources(
        cores=cores,
        memory_mib=memory,
        gpus=gpus,
        nodes=len(nodes),
        free_cores=free,
        free_memory_mib=free_memory,
    )


def _number(text: str) -> int:
    return int(text) if re.fullmatch(r"[0-9]{1,15}", text) else 0
