"""What a real scheduler said, run again: commands, their answers, and what makes them alike."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Block", "Normal", "difference", "read"]


@dataclass(frozen=True)
class Block:
    """A command line with all it said.

    Attributes:
        command: as typed.
        out: its standard output; err: its standard error.
        code: its exit code.
    """

    command: str
    out: str
    err: str
    code: int


def read(path: Path) -> list[Block]:
    """Read a file of `$ command`, output, `[stderr] ...` and `[rc=N]` lines."""
    blocks = []
    for text in ("\n" + path.read_text()).split("\n$ ")[1:]:
        command, *lines = text.rstrip("\n").split("\n")
        out = [line for line in lines if not line.startswith(("[rc=", "[stderr] "))]
        err = [line.removeprefix("[stderr] ") for line in lines if line.startswith("[stderr] ")]
        (code,) = [int(line[4:-1]) for line in lines if line.startswith("[rc=")]
        blocks.append(Block(command, _joined(out), _joined(err), code))
    return blocks


def _joined(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


class Normal:
    """Makes two clusters' texts alike: names, places, ids, times and amounts.

    Args:
        host, user, home, cwd: of the cluster that said the text.
        number: gives the common number of a job for its own.
    """

    def __init__(
        self, *, host: str, user: str, home: str, cwd: str, number: Callable[[str], str]
    ) -> None:
        self._host, self._user, self._number = re.escape(host), re.escape(user), number
        self._places = ((cwd, "/CWD"), (home, "/HOME"))

    def text(self, text: str) -> str:
        """Give the common form of a text."""
        text = text.replace("\n\t", "") if "{\n" not in text else text
        for place, name in self._places:
            text = text.replace(place, name)
        text = re.sub(rf"\b(\d+)(\[[\d]*\])?\.{self._host}\b( *)", self._id, text)
        text = re.sub(r"(\.[oe])(\d+)\b", lambda m: m[1] + self._number(m[2]), text)
        text = re.sub(rf"\b{self._user}\b( *)", _padded(self._user, "USER"), text)
        text = re.sub(rf"\b{self._host}\b", "HOST", text)
        for pattern, common in _COMMON:
            text = re.sub(pattern, common, text, flags=re.MULTILINE)
        return text

    def _id(self, match: re.Match[str]) -> str:
        whole = f"{self._number(match[1])}{match[2] or ''}.HOST"
        return whole + ("  " if len(match[3]) > 1 else match[3])


def _padded(_: str, name: str) -> Callable[[re.Match[str]], str]:
    return lambda match: name + ("  " if len(match[1]) > 1 else match[1])


_COMMON = (
    (r"\b[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}\b", "DATE"),
    (r"\b[A-Z][a-z]{2} [A-Z][a-z]{2} \d\d at \d\d:\d\d\b", "DATE"),
    (r"^\d\d/\d\d/\d{4} \d\d:\d\d:\d\d", "DATE"),
    (r'("timestamp":\t|"history_timestamp":\t|history_timestamp = )\d+', r"\1N"),
    (r"(resources_used\.\w+(?: =|=)) ?(?!1\b)[\w:]+", r"\1 X"),
    (r'("(?:cput|mem|vmem|walltime)":\t)"[\w:]+"', r"\1X"),
    (r"(session_id = |\"session_id\":\t)\d+", r"\1N"),
    (r"^(\S+ +USER +\S+ +\S+ +)\d+( +\d+ +\d+ )", r"\1N\2"),
    (r"(HOST)/\d+", r"\1/N"),
    (r" \d\d:\d\d:\d\d ([A-Z] )", r" TIME \1"),
    (r"(PBS_O_(?:PATH|MAIL)=)[^,\n]*", r"\1X"),
    (r'("PBS_O_(?:PATH|MAIL)":\t)"[^"]*"', r"\1X"),
    (r"(PBS_JOBCOOKIE=)\w{32}", r"\1X"),
    (r"(PBS_NODEFILE=|TMPDIR=|^arg0 )\S+", r"\1X"),
    (r" A: \d+.*", " A: N"),
    (r"-{6,}", "------"),
    (r"(?<=\S) {3,}(?=\S)", "   "),
)


def difference(theirs: str, ours: str) -> tuple[str, ...]:
    """Give the lines that only one of two texts has: `- ` theirs, `+ ` ours."""
    compared = difflib.ndiff(theirs.splitlines(), ours.splitlines())
    return tuple(line for line in compared if line[:2] in ("- ", "+ "))
