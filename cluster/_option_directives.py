"""Checked values of options, turned into the text of directives.

Pure, and one way only: it never reads a directive.  Values come from
`options.check_arguments`.  Three things make it more than a template: each
scheduler has its own units, its own quoting, and a few directives that several
options share (`-l nodes=2:ppn=4:gpus=1`), which must be written as one.
"""

from __future__ import annotations

import math
import re
import signal as signals
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from cluster._option_table import TABLE, Absent
from cluster.errors import OptionsError
from cluster.spec import ArraySpec, Dependency

__all__ = ["FIELDS", "PREFIX", "Site", "flags", "quote"]

PREFIX = {"slurm": "#SBATCH", "torque": "#PBS", "sge": "#$", "lsf": "#BSUB"}
_SAFE = re.compile(r"[\w@%+=:,./\-\[\]^*]+\Z", re.ASCII)
_SGE_NO_NAME = r"\x00-\x20\x7f-\U0010ffff/:@\\*?,\"'#"  # in a name; ranges of a class
_SGE_FIRST = r"(?!(?i:none|all|template)\Z)\D"


class Site(NamedTuple):
    """The names that each Grid Engine site chooses for itself."""

    pe: str = "smp"
    memory_resource: str = "h_vmem"
    gpu_resource: str = "gpu"


# ---------------------------------------------------------------- text


def quote(text: str, qtype: str) -> str:
    """Write `text` as one word of a directive line.

    Raises:
        OptionsError: this scheduler has no way to write it.
    """
    if any(mark in text for mark in "\n\r\0"):
        raise OptionsError(f"{text!r} has a newline or a NUL in it; a directive cannot hold it")
    if _SAFE.match(text):
        return text
    if qtype == "slurm":
        # sbatch reads a backslash as an escape inside quotes of either kind.
        return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'
    if qtype == "sge":
        return _sge_quote(text)
    # Double quotes would let $ and ` through to whoever expands the line.
    needs_single = re.search(r'["$`]', text) is not None
    if "\\" in text or (needs_single and "'" in text):
        raise OptionsError(
            f"{text!r} cannot be written in a {PREFIX[qtype]} line; use a value without "
            'backslashes, and without a single quote beside any of " $ `'
        )
    return f"'{text}'" if needs_single else f'"{text}"'


def _sge_quote(text: str) -> str:
    # qsub drops quotes of either kind wherever they stand, and a # ends the line even in them.
    if re.search("[\"'#]", text):
        raise OptionsError(
            f"{text!r} cannot be written in a #$ line; use a value without \" ' and #"
        )
    return f'"{text}"'


def _path(text: str, qtype: str) -> str:
    if qtype == "sge" and "," in text:
        raise OptionsError(f"{text!r} has a comma, which qsub reads as a second path; rename it")
    if ":" not in text:
        return quote(text, qtype)
    if qtype == "torque":
        raise OptionsError(f"{text!r} has a colon, which qsub reads as host:path; rename it")
    return quote(":" + text, qtype)  # an empty host, so that the rest is the path


def _job_name(text: str, forbidden: str, first: str) -> str:
    """A label that the scheduler accepts; the job keeps its own name with us."""
    label = re.sub(rf"[{forbidden}]", "_", text)
    return label if re.match(first, label) else f"j{label}"


def _pbs_name(text: str) -> str:
    """PBS Pro takes no other characters, and 230 of them at most."""
    return _job_name(text, r"^A-Za-z0-9_.+\-", r"[A-Za-z]")[:230]


# ---------------------------------------------------------------- units


def _hms(seconds: float) -> str:
    whole = math.ceil(seconds)
    return f"{whole // 3600:02}:{whole % 3600 // 60:02}:{whole % 60:02}"


def _d_hms(seconds: float) -> str:
    days, rest = divmod(math.ceil(seconds), 86400)
    return (f"{days}-" if days else "") + _hms(rest)


def _h_m(seconds: float) -> str:
    minutes = max(1, math.ceil(seconds / 60))
    return f"{minutes // 60}:{minutes % 60:02}"


def _local_minute(value: datetime) -> datetime:
    """Round up: a job must not begin before it was asked to."""
    late = value + timedelta(seconds=59, microseconds=999_999)
    return late.astimezone().replace(second=0, microsecond=0)


def _local_second(value: datetime) -> datetime:
    return (value + timedelta(microseconds=999_999)).astimezone().replace(microsecond=0)


def _between(least: int, most: int) -> Callable[[int, str], str]:
    def check(value: int, qtype: str) -> str:
        if not least <= value <= most:
            raise OptionsError(f"priority {value} is not between {least} and {most} ({qtype})")
        return str(value)

    return check


# ---------------------------------------------------------------- lists


def _deps(kinds: Mapping[str, str], dependencies: Iterable[Dependency]) -> list[tuple[str, str]]:
    return [(kinds[one.type], one.job) for one in dependencies]


def _colon_deps(dependencies: Iterable[Dependency]) -> str:
    by_type: dict[str, list[str]] = {}
    for one in dependencies:
        by_type.setdefault(one.type, []).append(one.job)
    return ",".join(f"{kind}:{':'.join(ids)}" for kind, ids in by_type.items())


def _sge_deps(dependencies: Iterable[Dependency]) -> str:
    wanted = list(dependencies)
    if any(one.type == "after" for one in wanted):
        raise OptionsError(
            "Grid Engine cannot wait for the start of a job; use afterany or afterok"
        )
    # Of an element it would think that this is the name of a job, and wait for nothing.
    return ",".join(dict.fromkeys(one.job.partition("_")[0] for one in wanted))


def _lsf_deps(dependencies: Iterable[Dependency]) -> str:
    words = {"afterok": "done", "afterany": "ended", "afternotok": "exit", "after": "started"}
    return " && ".join(f"{kind}({job})" for kind, job in _deps(words, dependencies))


def _sge_comment(text: str) -> str:
    # A comma begins the next variable; the other three cannot be written.
    return quote("comment=" + re.sub("[\"'#]", "_", text.replace(",", ";")), "sge")


def _array(spec: Any) -> str:
    text = _array_indices(spec)
    return f"{text}%{spec.max_running}" if spec.max_running else text


def _array_indices(spec: Any) -> str:
    if not isinstance(spec, ArraySpec):
        return ",".join(map(str, spec))
    last = spec.start + (spec.count - 1) * spec.step
    return f"{spec.start}-{last}" + (f":{spec.step}" if spec.step != 1 else "")


def _sge_array(spec: Any) -> str:
    if not isinstance(spec, ArraySpec):
        raise OptionsError(f"Grid Engine wants start-end:step, not the indices {tuple(spec)}")
    if spec.start < 1:
        raise OptionsError("Grid Engine counts array indices from 1")
    return _array_indices(spec) + (f" -tc {spec.max_running}" if spec.max_running else "")


def _lsf_array(spec: Any, name: str = "array") -> str:
    if min(spec) < 1 if not isinstance(spec, ArraySpec) else spec.start < 1:
        raise OptionsError("LSF counts array indices from 1")
    limit = f"%{spec.max_running}" if spec.max_running else ""
    return quote(f"{name}[{_array_indices(spec)}]{limit}", "lsf")


def _pairs(resources: Mapping[str, int], between: str, equal: str = "=") -> str:
    return between.join(f"{name}{equal}{amount}" for name, amount in resources.items())


def _variables(names: list[str]) -> str:
    word = ",".join(names)
    return {"ALL": "-V", "NONE": ""}.get(word, f"-v {word}")


def _lsf_env(names: list[str]) -> str:
    word = ",".join(names)
    return {"ALL": "all", "NONE": "none"}.get(word) or quote(", ".join(names), "lsf")


def is_address(wish: str) -> bool:
    """Tell a mail address from a command, for `notify`."""
    return re.fullmatch(r"[^\s@;|&<>$`\"'/]+@[^\s@;|&<>$`\"'/]+", wish) is not None


def _mail(text: str, qtype: str) -> str:
    return quote(text, qtype) if is_address(text) else ""


def _signal(value: tuple[int, float]) -> str:
    return signals.Signals(value[0]).name.removeprefix("SIG")


# (value, qtype) -> text, by the name of the field in a template of the table.
FIELDS: dict[str, Callable[[Any, str], str]] = {
    "text": lambda value, qtype: quote(str(value), qtype),
    "raw": lambda value, qtype: str(value),
    "path": _path,
    "mail": _mail,
    "pbs_name": lambda value, qtype: _pbs_name(value),
    "sge_name": lambda value, qtype: quote(_job_name(value, _SGE_NO_NAME, _SGE_FIRST), qtype),
    "lsf_name": lambda value, qtype: quote(_job_name(value, r"\[\]%\\\"", r"."), qtype),
    "mib": lambda value, qtype: str(value),
    "seconds": lambda value, qtype: str(math.ceil(value)),
    "hms": lambda value, qtype: _hms(value),
    "d_hms": lambda value, qtype: _d_hms(value),
    "h_m": lambda value, qtype: _h_m(value),
    "iso": lambda value, qtype: f"{_local_second(value):%Y-%m-%dT%H:%M:%S}",
    "pbs_date": lambda value, qtype: f"{_local_second(value):%Y%m%d%H%M.%S}",
    "lsf_date": lambda value, qtype: f"{_local_minute(value):%Y:%m:%d:%H:%M}",
    "pbs_priority": _between(-1024, 1023),
    "sge_priority": _between(-1023, 1024),
    "lsf_priority": _between(1, 2**31 - 1),
    "octal": lambda value, qtype: f"{value:04o}",
    "append": lambda value, qtype: "append" if value else "truncate",
    "no": lambda value, qtype: "" if value else "no-",
    "n": lambda value, qtype: "" if value else "n",
    "y_n": lambda value, qtype: "y" if value else "n",
    "all_none": lambda value, qtype: "ALL" if value else "NONE",
    "all_none_lower": lambda value, qtype: "all" if value else "none",
    "v_flag": lambda value, qtype: "-V" if value else "",
    "v_list": lambda value, qtype: _variables(value),
    "lsf_env": lambda value, qtype: _lsf_env(value),
    "kill_on_invalid": lambda value, qtype: "yes" if value == "cancel" else "no",
    "lsf_orphan": lambda value, qtype: "-ti" if value == "cancel" else "",
    "colon_pairs": lambda value, qtype: quote(_pairs(value, ",", ":"), qtype),
    "colon_equal": lambda value, qtype: _pairs(value, ":"),
    "pairs": lambda value, qtype: quote(_pairs(value, ","), qtype),
    "and_list": lambda value, qtype: quote("&".join(value), qtype),
    "lsf_select": lambda value, qtype: quote(f"select[{' && '.join(value)}]", qtype),
    "sge_comment": lambda value, qtype: _sge_comment(value),
    "comma_list": lambda value, qtype: quote(",".join(value), qtype),
    "colon_list": lambda value, qtype: quote(":".join(value), qtype),
    "slurm_deps": lambda value, qtype: quote(_colon_deps(value), qtype),
    "pbs_deps": lambda value, qtype: quote(_colon_deps(value), qtype),
    "sge_deps": lambda value, qtype: quote(_sge_deps(value), qtype),
    "lsf_deps": lambda value, qtype: _lsf_deps(value),
    "array": lambda value, qtype: _array(value),
    "sge_array": lambda value, qtype: _sge_array(value),
    "lsf_array": lambda value, qtype: _lsf_array(value),
    "signal": lambda value, qtype: _signal(value),
    "signal_s": lambda value, qtype: str(math.ceil(value[1])),
    "signal_h_m": lambda value, qtype: _h_m(value[1]),
}


# ---------------------------------------------------------------- one option


def _fill(name: str, value: Any, qtype: str, site: Site) -> list[str]:
    """The flags of one option on its own; empty where it has none."""
    directive = TABLE[name].directive(qtype)
    if isinstance(directive, Absent):
        return []
    if TABLE[name].kind == "bool" and "{" not in directive:
        return [directive] if value else []
    if TABLE[name].kind == "directives":
        return [_own_line(line, qtype) for line in value]
    fields: list[str] = []

    def fill(match: re.Match[str]) -> str:
        fields.append(_field(match[1], value, qtype, site))
        return fields[-1]

    text = re.sub(r"\{(\w+)\}", fill, directive)
    # A field that came out empty (a command in notify=) takes its flag with it.
    is_empty = bool(fields) and not fields[-1] and text.endswith(("=", " "))
    return [] if not text or is_empty or value in ([], (), {}) else [text]


def _field(field: str, value: Any, qtype: str, site: Site) -> str:
    return str(getattr(site, field)) if field in Site._fields else FIELDS[field](value, qtype)


def _own_line(line: str, qtype: str) -> str:
    return line.removeprefix(PREFIX[qtype]).strip()


# ---------------------------------------------------------------- options that share a directive


def _slurm(values: dict[str, Any], site: Site) -> list[str]:
    if "gpus" not in values or "gpu_type" not in values:
        return []
    count, kind = values.pop("gpus"), values.pop("gpu_type")
    return [f"--gres=gpu:{quote(kind, 'slurm')}:{count}"]


def _slots(values: Mapping[str, Any]) -> int:
    # Without a number of ranks each node gets one, as Slurm has it.
    return int(values.get("tasks", values.get("nodes", 1)) * values.get("cores", 1))


def _torque(values: dict[str, Any], site: Site) -> list[str]:
    shared = ("cores", "nodes", "tasks", "gpus", "gpu_type", "features")
    nodes = values.get("nodes", 1)
    if "mem" in values:  # Torque counts the memory of all nodes together
        values["mem"] *= nodes
    asked = {name: values.pop(name) for name in shared if name in values}
    if not asked:
        return []
    words = [f"nodes={nodes}", f"ppn={math.ceil(_slots(asked) / nodes)}"]
    if asked.get("gpus", "gpu_type" in asked):
        words.append(f"gpus={int(asked.get('gpus', 1))}")
    words += [asked["gpu_type"]] if "gpu_type" in asked else []
    return ["-l " + quote(":".join([*words, *asked.get("features", ())]), "torque")]


def _sge(values: dict[str, Any], site: Site) -> list[str]:
    slots = _slots({**values, "nodes": 1})
    lines = [f"-pe {site.pe} {slots}"] if "cores" in values or "tasks" in values else []
    if "mem" in values:  # Grid Engine counts memory per slot
        lines.append(f"-l {site.memory_resource}={math.ceil(values.pop('mem') / slots)}M")
    values.pop("cores", None)
    values.pop("tasks", None)
    return lines


def _lsf(values: dict[str, Any], site: Site) -> list[str]:
    lines = []
    if {"cores", "tasks", "nodes"} & set(values):
        nodes, slots = values.get("nodes", 1), _slots(values)
        span = "hosts=1" if nodes == 1 else f"ptile={math.ceil(slots / nodes)}"
        lines.append(f'-n {slots} -R "span[{span}]"')
    for name in ("cores", "tasks", "nodes"):
        values.pop(name, None)
    if "gpu_type" in values:
        kind = values.pop("gpu_type")
        lines.append("-gpu " + quote(f"num={values.pop('gpus', 1)}:gmodel={kind}", "lsf"))
    if "array" in values:
        name = _job_name(values.pop("name", "array"), r"\[\]%\\\"", r".")
        lines.append("-J " + _lsf_array(values.pop("array"), name))
    if values.get("append"):
        files = {"outfile": "-o", "errfile": "-e"}
        lines += [
            f"{flag} {quote(values.pop(name), 'lsf')}"
            for name, flag in files.items()
            if name in values
        ]
    return lines


_SHARED = {"slurm": _slurm, "torque": _torque, "sge": _sge, "lsf": _lsf}


def flags(values: Mapping[str, Any], qtype: str, site: Site) -> list[str]:
    """Write checked options as the flags of one scheduler.

    Args:
        values: what `options.check_arguments` returned.
        qtype: one of the schedulers in `PREFIX`.
        site: the names this site chose.

    Returns:
        One text per directive, without its prefix, in the table's order.

    Raises:
        OptionsError: a value cannot be written for this scheduler.
    """
    skip = tuple(values.get("directives_skip", ()))
    left = {name: values[name] for name in TABLE if name in values and name not in skip}
    if "export" in left:
        left.pop("inherit_env", None)  # the narrower wish counts
    lines = _SHARED[qtype](left, site)
    for name, value in left.items():
        lines += _fill(name, value, qtype, site)
    unwanted = tuple(flag for flag in skip if flag.startswith("-"))
    return [line for line in lines if not unwanted or not line.startswith(unwanted)]
