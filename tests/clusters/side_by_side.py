"""Run the same small scripts on a real scheduler and on its emulation, and compare all they did.

A battery is a list of `Case`: a few lines of bash, run in an empty directory of its own, several
side by side.  Standard output, standard error, exit code and the files left there are compared,
once ids, times, hosts and directories were replaced.  A case that may differ says why, and then
it must differ: so the list of reasons stays true.
"""

from __future__ import annotations

import difflib
import os
import re
import signal
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Case", "Outcome", "Place", "Result", "compare", "counts", "read", "run_all"]

_NUMBER = re.compile(r"(?<![0-9.])([0-9]+)(?![0-9])")
_BLURRED = (
    (r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?\b", "<time>"),
    (r"\b(Mon|Tue|Wed|Thu|Fri|Sat|Sun) [A-Z][a-z]{2} +\d+ \d\d:\d\d:\d\d( [A-Z]+)?( \d{4})?\b",
     "<time>"),
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A few lines that both are to answer alike.

    Attributes:
        name: unique in its battery.
        text: bash.
        files: what the directory holds before, by name.
        blur: pairs of pattern and replacement, for what no two runs have alike.
        differs: why it differs; empty: it must not.
    """

    name: str
    text: str
    files: Mapping[str, str] = field(default_factory=dict)
    blur: Sequence[tuple[str, str]] = ()
    differs: str = ""


@dataclass(frozen=True)
class Outcome:
    """All that a case did."""

    code: int
    stdout: str
    stderr: str
    files: Mapping[str, str]

    def text(self) -> str:
        """Give it as lines, for people and for `difflib`."""
        parts = [f"--- exit code {self.code}", "--- stdout", self.stdout, "--- stderr", self.stderr]
        for name in sorted(self.files):
            parts += [f"--- file {name}", self.files[name]]
        return "\n".join(part.rstrip("\n") for part in parts if part) + "\n"


@dataclass(frozen=True)
class Place:
    """A scheduler, real or not.

    Attributes:
        env: in which its commands are found.
        folder: where the cases get their directories.
        first_id, many: job ids of this run are the numbers from the first on.
        blur: what is its own, such as its spool directory.
        prelude: bash functions that every case may use.
        at_once: how many cases run side by side.
    """

    env: Mapping[str, str]
    folder: Path
    first_id: int
    many: int = 100_000
    blur: Sequence[tuple[str, str]] = ()
    prelude: str = ""
    at_once: int = 4
    timeout_s: float = 90.0


@dataclass(frozen=True)
class Result:
    """What came of one case."""

    case: Case
    real: Outcome
    emulated: Outcome

    @property
    def verdict(self) -> str:
        """Say "same", "explained", "stale" (a reason, but no difference) or "open"."""
        alike = self.real.text() == self.emulated.text()
        if self.case.differs:
            return "stale" if alike else "explained"
        return "same" if alike else "open"

    def diff(self) -> str:
        """Show where they part."""
        lines = difflib.unified_diff(
            self.real.text().splitlines(), self.emulated.text().splitlines(),
            "real", "emulated", lineterm="", n=1,
        )  # fmt: skip
        return "\n".join(lines)


def run_all(cases: Sequence[Case], place: Place) -> list[Outcome]:
    """Run cases at one place; give what they did, normalised, in order."""
    assert len({case.name for case in cases}) == len(cases), "two cases have one name"
    with ThreadPoolExecutor(place.at_once) as pool:
        return list(pool.map(lambda case: _normal(_run(case, place), case, place), cases))


def compare(
    cases: Sequence[Case], real: Iterable[Outcome], emulated: Iterable[Outcome]
) -> list[Result]:
    """Put both outcomes of each case side by side."""
    return [Result(*three) for three in zip(cases, real, emulated, strict=True)]


def counts(results: Iterable[Result]) -> dict[str, int]:
    """Count the verdicts."""
    found = dict.fromkeys(("same", "explained", "stale", "open"), 0)
    for result in results:
        found[result.verdict] += 1
    return found


# ---------------------------------------------------------------- reading


def read(path: Path) -> list[Case]:
    """Read a battery.

    A case begins with `=== NAME`.  Then `:differs WHY`, `:blur PATTERN => NEW` and `:file NAME`
    (its lines begin with `|`) may come; all else is bash.  Lines that begin with `#` before the
    first line of a case's bash are for people.
    """
    cases: list[Case] = []
    for part in re.split(r"^=== ", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        name, *lines = part.splitlines()
        cases.append(_case(name, [line for line in lines if not line.startswith("# ---")]))
    return cases


def _case(name: str, lines: Sequence[str]) -> Case:
    files: dict[str, str] = {}
    blur, text, differs, file = [], [], "", ""
    for line in lines:
        word, _, rest = line.partition(" ")
        if word == ":differs":
            differs = rest
        elif word == ":blur":
            pattern, _, new = rest.partition(" =>")
            blur.append((pattern, new.strip()))
        elif word == ":file":
            file = rest
            files[file] = ""
        elif line.startswith("|"):
            files[file] += f"{line[1:]}\n"
        else:
            text.append(line)
    return Case(name, "\n".join(text).strip(), files, blur, differs)


# ---------------------------------------------------------------- running


def _folder(case: Case, place: Place) -> Path:
    return place.folder / re.sub(r"\W+", "_", case.name)


def _run(case: Case, place: Place) -> Outcome:
    folder = _folder(case, place)
    folder.mkdir(parents=True)
    for name, text in case.files.items():
        (folder / name).write_text(text)
    process = subprocess.Popen(
        ["bash", "-c", f"{place.prelude}\n{case.text}"],
        cwd=folder, env=dict(place.env), text=True, errors="surrogateescape",
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    try:
        out, err = process.communicate(timeout=place.timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        err += f"\nended after {place.timeout_s:.0f} s\n"
    files = {
        name: path.read_text(errors="surrogateescape")
        for path in sorted(folder.rglob("*"))
        if (name := str(path.relative_to(folder))) not in case.files and path.is_file()
    }
    return Outcome(process.returncode, out, err, files)


# ---------------------------------------------------------------- normalising


def _normal(outcome: Outcome, case: Case, place: Place) -> Outcome:
    names: dict[int, str] = {}
    folder = str(_folder(case, place))
    host = os.uname().nodename.partition(".")[0]

    def number(match: re.Match[str]) -> str:
        value = int(match[1])
        if not place.first_id <= value < place.first_id + place.many:
            return match[1]
        name = names.setdefault(value, f"<id{len(names) + 1}>")
        return f"<in {len(match[1])} digits>{name}" if match[1].startswith("0") else name

    def blur(text: str) -> str:
        text = text.replace(folder, "<dir>")
        for pattern, new in (*place.blur, *case.blur, *_BLURRED):
            text = re.sub(pattern, new, text)
        return re.sub(rf"\b{re.escape(host)}\b", "<host>", _NUMBER.sub(number, text))

    stdout, stderr = blur(outcome.stdout), blur(outcome.stderr)
    files = {blur(name): blur(text) for name, text in sorted(outcome.files.items())}
    return Outcome(outcome.code, stdout, stderr, files)
