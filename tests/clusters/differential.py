"""Run the same command lines against a real scheduler and against its emulation, and compare.

A battery is a list of `Line`s in one shell, so that a line can use what one
before it set (`A=$(qsub -terse job.sh)`).  What each prints and its exit code
are compared after `Rules` has taken out what must differ: ids, times, hosts.
A line may say why it differs; it is then explained, and a difference without a
reason is open.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

__all__ = ["Line", "Rules", "Side", "compare", "keep", "kept", "run"]


@dataclass(frozen=True)
class Line:
    """One command line, or a few.

    Attributes:
        text: for bash.
        why: why the two differ here, if they do.
        quiet: it only prepares; its output is not compared.
    """

    text: str
    why: str = ""
    quiet: bool = False


@dataclass(frozen=True)
class Side:
    """One of the two.

    Attributes:
        name: for people.
        argv: what bash is run with: `runuser -u x --`, `cluster emulate sge --`.
        env: what is put into the environment.
        owner: whose directory it works in; empty is ours.
    """

    name: str
    argv: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    owner: str = ""


@dataclass
class Rules:
    """What is taken out before the comparison.

    Attributes:
        ids: finds the number of a job just submitted in what a line printed (group 1).
        before: (pattern, text), in this order, before the ids: dates have numbers too.
        replace: the same, after them.
        last: does what patterns cannot.
    """

    ids: re.Pattern[str]
    before: Sequence[tuple[re.Pattern[str], str]] = ()
    replace: Sequence[tuple[re.Pattern[str], str]] = ()
    last: Callable[[str], str] = str


@dataclass
class Said:
    """What one line did on one side."""

    out: str
    err: str
    code: str


def run(side: Side, battery: Sequence[Line], prelude: str, *, timeout_s: float) -> list[Said]:
    """Run a battery in one shell, in a directory of its own, and give what each line said."""
    place = tempfile.mkdtemp(prefix="differential-")
    work, answers = os.path.join(place, "work"), os.path.join(place, "answers")
    for path in (work, answers):
        os.mkdir(path)
    script = os.path.join(place, "battery.sh")
    with open(script, "w", encoding="utf-8") as file:
        file.write(f"cd {work}\n{prelude}\n")
        for number, line in enumerate(battery):
            file.write(
                f"{{\n{line.text}\n}} >{answers}/{number}.out 2>{answers}/{number}.err </dev/null\n"
                f"echo $? >{answers}/{number}.code\n"
            )
    os.chmod(place, 0o755)
    if side.owner:
        for folder in (work, answers):
            shutil.chown(folder, side.owner)
    subprocess.run(
        [*side.argv, "bash", "--norc", script],
        env={**os.environ, **side.env, "WORK": work},
        timeout=timeout_s,
        check=False,
    )
    said = [_answer(answers, number, work) for number in range(len(battery))]
    shutil.rmtree(place, ignore_errors=True)
    return said


def _answer(folder: str, number: int, work: str) -> Said:
    def text(ending: str) -> str:
        try:
            path = os.path.join(folder, f"{number}.{ending}")
            with open(path, encoding="utf-8", errors="replace") as file:
                return file.read().replace(work, "WORK")
        except OSError:
            return "(it did not come so far)"

    return Said(text("out"), text("err"), text("code").strip())


def normal(said: Sequence[Said], rules: Rules) -> list[Said]:
    """Take out what must differ; the jobs become J1, J2, ... in the order of their submission."""
    known: dict[str, str] = {}
    for one in said:
        for match in rules.ids.finditer(f"{one.out}\n{one.err}"):
            known.setdefault(match[1], f"J{len(known) + 1}")
    longest = sorted(known, key=len, reverse=True)
    pattern = re.compile(r"(?<![\w.])(" + "|".join(longest or ["$^"]) + r")(?!\d)")
    inside = re.compile(r"(?<=[oe.-])(" + "|".join(longest or ["$^"]) + r")(?!\d)")

    def clean(text: str) -> str:
        for found, put in rules.before:
            text = found.sub(put, text)
        text = pattern.sub(lambda match: known[match[1]], text)
        text = inside.sub(lambda match: known[match[1]], text)
        for found, put in rules.replace:
            text = found.sub(put, text)
        return rules.last(text)

    return [Said(clean(one.out), clean(one.err), one.code) for one in said]


def keep(path: str, said: Sequence[Said]) -> None:
    """Write what a side said to a file."""
    with open(path, "w", encoding="utf-8") as file:
        json.dump([asdict(one) for one in said], file)


def kept(path: str, battery: Sequence[Line]) -> list[Said] | None:
    """Read it again; None if it is of another battery."""
    try:
        with open(path, encoding="utf-8") as file:
            said = [Said(**one) for one in json.load(file)]
    except OSError:
        return None
    return said if len(said) == len(battery) else None


@dataclass
class Verdict:
    """Of a comparison: how many lines are the same, explained, open; and the report."""

    same: int = 0
    explained: int = 0
    open: int = 0
    report: str = ""


def compare(
    battery: Sequence[Line], real: Sequence[Said], ours: Sequence[Said], rules: Rules
) -> Verdict:
    """Compare what both sides said, line by line."""
    verdict = Verdict()
    parts = []
    for line, a, b in zip(battery, normal(real, rules), normal(ours, rules), strict=True):
        if line.quiet:
            continue
        differences = _differences(a, b)
        if not differences:
            verdict.same += 1
            continue
        if line.why:
            verdict.explained += 1
        else:
            verdict.open += 1
        title = f"explained: {line.why}" if line.why else "OPEN"
        parts.append(f"### {title}\n$ {line.text}\n{differences}\n")
    verdict.report = "\n".join(parts)
    return verdict


def _differences(a: Said, b: Said) -> str:
    out = []
    for name, one, two in (("stdout", a.out, b.out), ("stderr", a.err, b.err),
                           ("exit code", a.code, b.code)):  # fmt: skip
        if one != two:
            lines = difflib.unified_diff(one.splitlines(), two.splitlines(), f"real {name}",
                                         f"emulated {name}", lineterm="", n=0)  # fmt: skip
            out += list(lines)
    return "\n".join(out)
