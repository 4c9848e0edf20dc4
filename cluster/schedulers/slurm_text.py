"""What squeue and sacct print, read as jobs.

Pure.  The formats and the readers stand together here, because one is nothing
without the other.  It knows four traps of these programs:

- A name may hold any byte but NUL, newlines as well.  So fields end with a
  control character, and the free text stands last.
- squeue gives the wait status and the books (sacct) give `code:signal`, but
  the books drop the eighth bit of the code: 137 becomes 9, 128 becomes 0.
- A row of the books may be half made: without name, partition and index.
- A signal number above 64 is a remark of Slurm's and no signal.
"""

from __future__ import annotations

import re
import signal as signals
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

import msgspec

from cluster.errors import QueueError, UnitsError
from cluster.local.wire import JobInfo
from cluster.schedulers.dialect import Seen, not_started
from cluster.schedulers.slurm_words import AT_START, ENDED, ENDS, STARTED, STATES, STUCK, WAITS
from cluster.units import parse_memory

__all__ = [
    "BOOK_FORMAT",
    "QUEUE_FORMAT",
    "SEPARATOR",
    "STATES",
    "read_books",
    "read_queue",
    "tell_apart",
]

SEPARATOR = "\x1f"  # the control character that is meant for it
_END = "\x1e"

_QUEUE_FIELDS = (
    "JobArrayID", "State", "Reason", "exit_code", "RestartCnt", "SubmitTime", "EligibleTime",
    "StartTime", "EndTime", "TimeLimit", "NumCPUs", "NumNodes", "tres-alloc", "PriorityLong",
    "UserName", "Partition", "BatchHost", "Dependency", "Comment", "Name",
)  # fmt: skip
QUEUE_FORMAT = ",".join(f"{name}:{SEPARATOR}" for name in _QUEUE_FIELDS[:-1]) + f",Name:{_END}"

_BOOK_FIELDS = (
    "JobID", "State", "ExitCode", "Submit", "Eligible", "Start", "End", "TimelimitRaw", "ReqCPUS",
    "ReqNodes", "ReqTRES", "TotalCPU", "MaxRSS", "Reason", "User", "Partition", "NodeList",
    "UID", "Comment", "JobName",
)  # fmt: skip
BOOK_FORMAT = ",".join(_BOOK_FIELDS)

_LAUNCH = 53  # "signal" of a job whose directory or output file could not be opened
_NOT_STARTED = "Slurm could not start it: its directory or its output file cannot be opened there"

_ID = r"(\d+)(?:_(\d+|\[[^\]\n]*\]))?(?:\+(\d+))?"
_QUEUE_START = re.compile(rf"(?:\A|(?<={_END}\n)){_ID}(?={SEPARATOR})")
_BOOK_START = re.compile(rf"^{_ID}(\.[\w.+-]+)?(?={SEPARATOR})", re.MULTILINE)
_MARK = re.compile(r"(cluster-[0-9a-f]{16})(?: |\Z)")
_DEPENDENCY = re.compile(r"(after\w*):(\d+(?:_\d+)?)(?:_\*)?(?:\+\w+)?(?:\((\w+)\))?")
_LIMIT = re.compile(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)\Z")


# ---------------------------------------------------------------- records


def read_queue(text: str) -> list[Seen]:
    """Read what squeue printed with QUEUE_FORMAT.

    Raises:
        QueueError: it is something else, or its end is missing.
    """
    seen: list[Seen] = []
    alike: dict[str, Seen] = {}  # thousands of waiting elements differ in their index alone
    for start, record in _records(_QUEUE_START, text, "squeue"):
        if not record.endswith(_END + "\n"):
            raise QueueError(f"squeue's answer stops in the middle of job {start[1]}")
        if start[3] not in (None, "0"):
            continue  # the first part of a heterogeneous job speaks for it
        rest = record[start.end() - start.start() :]
        if rest not in alike:
            fields = _fields(_QUEUE_FIELDS, record[: -len(_END + "\n")], "squeue")
            alike[rest] = _queued(fields)
        seen += [_as(alike[rest], id, index) for id, index in _ids(start)]
    return seen


def read_books(text: str) -> list[Seen]:
    """Read what sacct printed with BOOK_FORMAT: each job, with the use of its steps.

    Raises:
        QueueError: it is something else.
    """
    jobs: list[tuple[re.Match[str], dict[str, str]]] = []
    peaks: dict[str, float] = {}
    for start, record in _records(_BOOK_START, text, "sacct"):
        fields = _fields(_BOOK_FIELDS, record.removesuffix("\n"), "sacct")
        if start[4]:
            job = fields["JobID"].removesuffix(start[4])
            peaks[job] = max(peaks.get(job, 0.0), _mib_of_bytes(fields["MaxRSS"]))
        elif start[3] in (None, "0") and fields["Partition"]:
            # Without one the row is being made (for seconds after an end), and "63" may
            # be any element of array 63.
            jobs.append((start, fields))
    return [
        _booked(id, index, fields, peaks.get(fields["JobID"], 0.0))
        for start, fields in jobs
        for id, index in _ids(start)
    ]


def tell_apart(id: str) -> list[str]:
    """Give each element of `33_2,4-6` or `33_[2,4]`; anything else as it stands."""
    start = re.match(rf"{_ID}\Z", re.sub(r"_([\d,-]*[,-][\d,-]*)\Z", r"_[\1]", id))
    try:
        return [each for each, _ in _ids(start)] if start else [id]
    except QueueError:
        return [id]


def _records(
    pattern: re.Pattern[str], text: str, program: str
) -> Iterator[tuple[re.Match[str], str]]:
    """Cut the text where a job begins; a name with a newline stays whole."""
    starts = list(pattern.finditer(text))
    before = text[: starts[0].start()] if starts else text
    if any(line and not line.startswith("CLUSTER:") for line in before.split("\n")):
        raise QueueError(f"{program} answered something unexpected: {before[:200]!r}")
    ends = [start.start() for start in starts[1:]] + [len(text)] * bool(starts)
    for start, end in zip(starts, ends, strict=True):
        yield start, text[start.start() : end]


def _fields(names: tuple[str, ...], record: str, program: str) -> dict[str, str]:
    values = record.split(SEPARATOR, len(names) - 1)
    if len(values) < len(names):
        raise QueueError(f"{program}'s answer has a job with too few fields: {record[:200]!r}")
    return dict(zip(names, values, strict=True))


def _ids(start: re.Match[str]) -> Iterator[tuple[str, int | None]]:
    """Give each job that a record speaks for: `4_[3-5,9%2]` are four."""
    job, places = start[1], start[2]
    if not places:
        yield job, None
        return
    for part in places.strip("[]").partition("%")[0].split(","):
        match = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9})(?::(\d{1,9}))?)?", part)
        if match is None:  # `1,3,...`: Slurm leaves out what is long
            raise QueueError(f"the elements {places} of array {job} cannot be told apart")
        first, last, step = int(match[1]), int(match[2] or match[1]), int(match[3] or 1)
        if not step or last - first > 4_000_000:
            raise QueueError(f"the elements {places} of array {job} make no sense")
        for index in range(first, last + 1, step):
            yield f"{job}_{index}", index


# ---------------------------------------------------------------- one job


def _as(seen: Seen, id: str, index: int | None) -> Seen:
    return replace(seen, info=msgspec.structs.replace(seen.info, id=id, index=index))


def _queued(fields: dict[str, str]) -> Seen:
    word = fields["State"].partition(" ")[0]
    state = _state(word, fields["Reason"], has_start=fields["BatchHost"] not in ("", "n/a"))
    ended = state in ENDED
    ran = state in STARTED and (not ended or fields["BatchHost"] not in ("", "n/a"))
    status = _int(fields["exit_code"])
    exitcode, signal, how = _exit(state, status >> 8, status & 0x7F)
    mark, comment = _split_comment(fields["Comment"])
    start, end = _time(fields["StartTime"]), _time(fields["EndTime"])
    if state == "CANCELLED" and ran and end <= start:
        how = AT_START
    dependencies = list(_DEPENDENCY.finditer(fields["Dependency"]))
    memory_mib, gpus = _memory_and_gpus(fields["tres-alloc"], fields["NumNodes"])
    info = JobInfo(
        id=fields["JobArrayID"],
        name=fields["Name"],
        state=state,
        cores=max(1, _int(fields["NumCPUs"])),
        priority=_int(fields["PriorityLong"]),
        submitted=_time(fields["SubmitTime"]),
        eligible=_time(fields["EligibleTime"]),
        started=start if ran else 0.0,
        expected_start=0.0 if ran or ended else start,
        ended=end if ended else 0.0,
        walltime_s=_seconds(fields["TimeLimit"]),
        attempt=_int(fields["RestartCnt"]) + ran,
        exitcode=exitcode,
        signal=signal,
        reason=how or _reason(word, state, fields["Reason"], dependencies),
        host=fields["BatchHost"] if ran else "",
        dependencies=tuple(f"{one[1]}:{one[2]}" for one in dependencies),
        comment=comment,
        memory_mib=memory_mib,
        gpus=gpus,
    )
    return Seen(
        info=info,
        user=fields["UserName"],
        partition=fields["Partition"],
        mark=mark,
        requested={"state": word, "reason": fields["Reason"], "nodes": fields["NumNodes"]},
        stuck=state == "HELD" and _cause(fields["Reason"]) in STUCK,
    )


def _booked(id: str, index: int | None, fields: dict[str, str], peak: float) -> Seen:
    word, _, rest = fields["State"].partition(" ")
    nodes = fields["NodeList"]
    ran = nodes not in ("", "None assigned")
    state = _state(word, fields["Reason"], has_start=ran)
    code, _, number = fields["ExitCode"].partition(":")
    exitcode, signal, how = _exit(state, _int(code), _int(number))
    mark, comment = _split_comment(fields["Comment"])
    canceller = rest.removeprefix("by ") if rest.startswith("by ") else ""
    if canceller and canceller != fields["UID"]:
        how = f"cancelled by user {canceller}"
    memory_mib, gpus = _memory_and_gpus(fields["ReqTRES"], fields["ReqNodes"])
    info = JobInfo(
        id=id,
        index=index,
        name=fields["JobName"],
        state=state,
        cores=max(1, _int(fields["ReqCPUS"])),
        submitted=_time(fields["Submit"]),
        eligible=_time(fields["Eligible"]),
        started=_time(fields["Start"]) if ran else 0.0,
        ended=_time(fields["End"]) if state in ENDED else 0.0,
        walltime_s=60.0 * _int(fields["TimelimitRaw"]),
        attempt=int(ran),
        exitcode=exitcode,
        signal=signal,
        reason=how or _reason(word, state, fields["Reason"], []),
        host=nodes if ran else "",
        cpu_s=_seconds(fields["TotalCPU"]),
        peak_memory_mib=peak,
        comment=comment,
        memory_mib=memory_mib,
        gpus=gpus,
    )
    return Seen(
        info=info,
        user=fields["User"],
        partition=fields["Partition"],
        mark=mark,
        requested={"state": fields["State"], "reason": fields["Reason"]},
    )


def _state(word: str, reason: str, *, has_start: bool) -> str:
    state = STATES.get(word)
    if state is None:  # a newer Slurm's word: no guess of an end
        state = "RUNNING" if has_start else "PENDING"
    if state == "PENDING" and re.match(r"JobHeld|JobHold|\w*requeued_(in_)?held", _cause(reason)):
        return "HELD"
    return state


def _cause(reason: str) -> str:
    """Give the word for it; a sentence of the controller comes with and without blanks."""
    return reason.partition(",")[0].strip("()").replace(" ", "_")


def _exit(state: str, code: int, number: int) -> tuple[int | None, int, str]:
    """Give exit code, signal and, if they tell, why it ended."""
    if state == "COMPLETED":
        return code, 0, ""
    if state != "FAILED":
        return None, 0, ""
    if number == _LAUNCH:
        return None, 0, _NOT_STARTED
    if not number and 128 < code <= 128 + 64:  # the batch shell tells a signal so
        number = code - 128
    if 0 < number <= 64:
        return None, number, f"signal {number}" + _in_brackets(number)
    if code:
        return code, 0, f"exit code {code}"
    return None, 0, "Slurm says FAILED and no more"


def _in_brackets(number: int) -> str:
    try:
        return f" ({signals.Signals(number).name})"
    except ValueError:
        return ""


def _reason(word: str, state: str, reason: str, dependencies: list[re.Match[str]]) -> str:
    never = next((one for one in dependencies if one[3] == "failed"), None)
    if state == "CANCELLED" and never:
        return _why_never(never)
    if word in ENDS:
        return ENDS[word]
    if state == "CANCELLED":
        return "cancelled"
    if state not in ("PENDING", "HELD"):
        return ""
    if reason == "DependencyNeverSatisfied" and never:
        return f"{_why_never(never)}; it waits for ever, as asked"
    if reason == "Dependency" and dependencies:
        return f"Dependency: waits for {', '.join(one[2] for one in dependencies[:5])}"
    head = reason.partition(",")[0]
    if state == "HELD" and _cause(reason) in STUCK:
        return not_started("Slurm", STUCK[_cause(reason)])
    return WAITS.get(head, "" if head in ("", "None", "(null)") else f"Slurm says {reason}")


def _why_never(dependency: re.Match[str]) -> str:
    what = "completed" if dependency[1] == "afternotok" else "did not complete"
    return f"Dependency {dependency[2]} {what}"


def _split_comment(text: str) -> tuple[str, str]:
    comment = "" if text == "(null)" else text
    match = _MARK.match(comment)
    return (match[1], comment[match.end() :]) if match else ("", comment)


def _memory_and_gpus(tres: str, nodes: str) -> tuple[int, int]:
    """MiB on each node and gpus in all, from `cpu=2,mem=200M,gres/gpu=1`."""
    pairs = dict(part.split("=", 1) for part in tres.split(",") if "=" in part)
    try:
        memory_mib = parse_memory(pairs.get("mem", 0))
    except UnitsError:
        memory_mib = 0
    least = _int(nodes.partition("-")[0])  # `2-4` while it is pending
    return memory_mib // max(1, least), _int(pairs.get("gres/gpu", ""))


# ---------------------------------------------------------------- values


def _int(text: str) -> int:
    return int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else 0


def _time(text: str) -> float:
    """Seconds since the epoch, as SLURM_TIME_FORMAT=%s asks for; or ISO, which is local time."""
    if re.fullmatch(r"[0-9]{1,12}", text):
        return float(text)
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        return 0.0  # N/A, Unknown, None


def _seconds(text: str) -> float:
    """`1-02:04:00`, `10:00` (minutes and seconds), `00:01.117`; 0 for UNLIMITED and the like."""
    match = _LIMIT.match(text)
    if match is None:
        return 0.0
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return days * 86400 + hours * 3600 + minutes * 60 + seconds


def _mib_of_bytes(text: str) -> float:
    match = re.fullmatch(r"(\d{1,18}(?:\.\d{1,9})?)([KMGTP]?)", text, re.ASCII)
    power = " KMGTP".index(match[2] or " ") if match else 0
    return float(match[1]) * 1024**power / 1024**2 if match else 0.0
