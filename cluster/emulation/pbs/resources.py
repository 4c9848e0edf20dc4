"""What stands behind `-l`: its names, amounts and times, and what the queue needs of it.

Pure.  A request is kept as it was written, for `qstat -f`, beside what it
comes to in cores, memory and seconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from cluster.emulation.pbs.words import pairs, split_commas

__all__ = ["BadResource", "Request", "clock", "kilobytes", "merge", "read", "seconds"]

_SIZES = ("mem", "vmem", "pmem", "pvmem", "file", "pf", "ppf", "srfs", "swap")
_TIMES = ("walltime", "cput", "pcput", "min_walltime", "max_walltime")
_NUMBERS = tuple(
    "ncpus nodect mpiprocs ngpus procs nice gpus naccelerators ompthreads mics nmics procct".split()  # noqa: SIM905
)
_TEXTS = tuple(
    """select nodes place arch host software vnode other feature neednodes qos partition opsys gres
    naccesspolicy nodeset walltime_max depend advres gattr signal prologue epilogue reqattr image
    jobflags tpn trl template var accelerator accelerator_model aoe eoe hbmem max_run_subjobs
    preempt_targets soft_walltime start_time""".split()  # noqa: SIM905
)
_KNOWN = frozenset((*_SIZES, *_TIMES, *_NUMBERS, *_TEXTS))
_UNITS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}


class BadResource(ValueError):
    """A resource that is not known, or whose value is none.

    Attributes:
        kind: "resource" or "value".
        name: of the resource.
    """

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"{kind}: {name}")
        self.kind, self.name = kind, name


@dataclass
class Request:
    """What a job asks for.

    Attributes:
        listed: as `qstat -f` lists it, in its order.
        cores, memory_mib, gpus, nodes, ranks: in all.
        walltime_s: 0 is no limit.
        slots: how often the node stands in PBS_NODEFILE.
    """

    listed: dict[str, str] = field(default_factory=dict)
    cores: int = 1
    memory_mib: int = 0
    gpus: int = 0
    nodes: int = 1
    walltime_s: float = 0.0
    slots: int = 1


def seconds(text: str) -> float | None:
    """Read `[[HH:]MM:]SS[.ss]`, Torque's `DD:HH:MM:SS` too; None if it is neither."""
    if not re.fullmatch(r"\d{1,9}(:\d{1,9}){0,3}(\.\d*)?", text, re.ASCII):
        return None
    *rest, last = text.split(":")
    days, hours, minutes = (0, 0, 0, *map(int, rest))[-3:]
    return days * 86400 + hours * 3600 + minutes * 60 + float(last)


def clock(seconds: float) -> str:
    """Write seconds as PBS does: HH:MM:SS, hours without end."""
    whole = int(seconds)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def kilobytes(text: str) -> float | None:
    """Read `512mb`, `2gw`; a number alone is bytes.  None if it is no size."""
    match = re.fullmatch(r"(\d{1,18})([kmgtp]?)([bw]?)", text.strip().lower(), re.ASCII)
    if match is None:
        return None
    word = 8 if match[3] == "w" else 1
    return int(match[1]) * word * 1024.0 ** (_UNITS[match[2]] - 1)


def read(texts: Iterable[str], unknown: set[str] | None = None) -> dict[str, str]:
    """Read all `-l` of a job; the first one that names a resource counts.

    Args:
        texts: the values of `-l`.
        unknown: gets the names that are not known; without it, they are refused.

    Raises:
        BadResource: what is wrong.
    """
    found: dict[str, str] = {}
    for text in texts:
        for name, value in _named(text):
            if unknown is not None and not _is_known(name) and re.fullmatch(r"[A-Za-z]\w*", name):
                unknown.add(name)
                found.setdefault(name, value or "True")
                continue
            _check(name, value)
            found.setdefault(name, value)
    return found


def _is_known(name: str) -> bool:
    return name in _KNOWN or name.startswith("x-")


def _named(text: str) -> Iterable[tuple[str, str]]:
    """Split at commas; `nodes=a:ppn=2,walltime=1` are two, what has no `=` is a switch."""
    for piece in split_commas(text):
        name, _, value = piece.strip().partition("=")
        if name in ("select", "nodes", "place") or "=" not in piece:
            yield name, value
        else:
            yield from ((one, known or "") for one, known in pairs(piece))


def _check(name: str, value: str) -> None:
    if not _is_known(name):
        raise BadResource("resource", name)
    if name in _TIMES and seconds(value) is None:
        raise BadResource("value", name)
    if name in _SIZES and kilobytes(value) is None:
        raise BadResource("value", name)
    if name in _NUMBERS and not re.fullmatch(r"-?\d{1,9}", value, re.ASCII):
        raise BadResource("value", name)
    if name == "select":
        _chunks(value)
    if name == "nodes" and not re.fullmatch(r"[\w.\-:+=/#]+", value):
        raise BadResource("value", name)


def _chunks(text: str) -> list[tuple[int, dict[str, str]]]:
    """Read `2:ncpus=4:mem=1gb+1:ncpus=8`."""
    found = []
    for chunk in text.split("+"):
        words = chunk.split(":")
        count = 1
        if words[0].isdigit():
            count = int(words.pop(0))
        fields: dict[str, str] = {}
        for word in words:
            name, equal, value = word.partition("=")
            if not name or not equal or not value:
                raise BadResource("value", "select")
            if name in _SIZES and kilobytes(value) is None:
                raise BadResource("value", "select")
            if name in _NUMBERS and not value.isdigit():
                raise BadResource("value", "select")
            if name not in _KNOWN and not re.fullmatch(r"[A-Za-z]\w*", name):
                raise BadResource("resource", name)
            fields[name] = value
        if count < 1:
            raise BadResource("value", "select")
        found.append((count, fields))
    return found


def _hosts(text: str) -> list[tuple[int, dict[str, str]]]:
    """Read `2:ppn=4:gpus=1:fast+host7:ppn=2`."""
    found = []
    for chunk in text.split("+"):
        words = chunk.split(":")
        count = int(words.pop(0)) if words[0].isdigit() else 1
        fields = dict(word.split("=", 1) for word in words if "=" in word)
        fields = {name: value for name, value in fields.items() if value.isdigit()}
        found.append((max(1, count), fields))
    return found


def merge(asked: Mapping[str, str], *, is_pro: bool) -> Request:
    """Add up what was asked for, and list it as the flavour does."""
    request = Request()
    if "select" in asked:
        chunks = [
            (
                n,
                int(f.get("ncpus", 1)),
                int(f.get("mpiprocs", 1)),
                int(f.get("ngpus", 0)),
                kilobytes(f.get("mem", "0")) or 0.0,
            )
            for n, f in _chunks(asked["select"])
        ]
    elif "nodes" in asked:
        chunks = [
            (
                n,
                int(f.get("ppn", f.get("ncpus", 1))),
                int(f.get("ppn", 1)),
                int(f.get("gpus", 0)),
                0.0,
            )
            for n, f in _hosts(asked["nodes"])
        ]
    else:
        cores = max(1, int(asked.get("ncpus", asked.get("procs", "1"))))
        slots = cores if "procs" in asked else 1
        chunks = [(1, cores, slots, int(asked.get("ngpus", asked.get("gpus", "0"))), 0.0)]
    request.nodes = sum(n for n, *_ in chunks)
    request.cores = max(1, sum(n * cores for n, cores, *_ in chunks))
    request.slots = max(1, sum(n * slots for n, _, slots, *_ in chunks))
    request.gpus = sum(n * gpus for n, _, _, gpus, _ in chunks)
    memory = sum(n * mem for n, *_, mem in chunks) or kilobytes(asked.get("mem", "0")) or 0.0
    memory = memory or (kilobytes(asked.get("pmem", "0")) or 0.0) * request.slots
    request.memory_mib = int(-(-memory // 1024))
    request.walltime_s = seconds(asked.get("walltime", "0")) or 0.0
    request.listed = _listed(asked, request, memory, is_pro=is_pro)
    return request


def _listed(
    asked: Mapping[str, str], request: Request, memory: float, *, is_pro: bool
) -> dict[str, str]:
    shown = {
        name: clock(seconds(value) or 0) if name in _TIMES else value
        for name, value in asked.items()
    }
    if not is_pro:
        shown.setdefault("nodect", str(request.nodes))
        if not {"nodes", "ncpus", "procs"} & shown.keys():
            shown["nodes"] = "1"
        return dict(sorted(shown.items()))
    shown["ncpus"] = str(request.cores)
    shown["nodect"] = str(request.nodes)
    if memory:
        shown.setdefault("mem", _size(memory))
    if request.gpus:
        shown["ngpus"] = str(request.gpus)
    shown.setdefault("place", "scatter" if "nodes" in asked and request.nodes > 1 else "pack")
    if "select" not in shown:
        shown["select"] = _select(asked, request)
    order = ("mem", "mpiprocs", "ncpus", "ngpus", "nodect", "nodes", "place", "select", "walltime")
    return {
        **{name: shown.pop(name) for name in order if name in shown},
        **dict(sorted(shown.items())),
    }


def _select(asked: Mapping[str, str], request: Request) -> str:
    """Say a request of the old form as chunks."""
    if "nodes" in asked:
        chunks = _hosts(asked["nodes"])
        return "+".join(
            f"{n}:ncpus={f.get('ppn', '1')}" + (f":mpiprocs={f['ppn']}" if "ppn" in f else "")
            for n, f in chunks
        )
    parts = [f"1:ncpus={request.cores}"]
    parts += [f"{name}={asked[name]}" for name in ("mem", "ngpus") if name in asked]
    return ":".join(parts)


def _size(kib: float) -> str:
    """Write a size in the largest unit that holds it whole."""
    whole = int(-(-kib // 1))
    for unit in ("kb", "mb", "gb"):
        if whole % 1024 or not whole:
            return f"{whole}{unit}"
        whole //= 1024
    return f"{whole}tb"
