"""Batch scripts: where they come from, what makes them acceptable, and their directives."""

from __future__ import annotations

import os
from collections.abc import Sequence

from cluster.emulation.call import Call, Stop
from cluster.emulation.slurm import site
from cluster.emulation.slurm.getopt import Options, read

__all__ = ["BadDirective", "directives", "read_script", "wrapped"]

_NOT_A_SCRIPT = (
    "This does not look like a batch script.  The first",
    "line must start with #! followed by the path to an interpreter.",
    "For instance: #!/bin/sh",
)
_DOS = (
    "Batch script contains DOS line breaks (\\r\\n)",
    "instead of expected UNIX line breaks (\\n).",
)


class BadDirective(Exception):
    """A line of a script cannot be read as options."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.text, self.code = text, code


def _refuse(*lines: str) -> Stop:
    return Stop("".join(f"sbatch: error: {line}\n" for line in lines), 1)


def wrapped(command: str) -> bytes:
    """Make the script of `--wrap`."""
    text = f"#!/bin/sh\n\n# This script was created by sbatch --wrap.\n\n{command}\n"
    return text.encode("utf-8", "surrogateescape")


def read_script(call: Call, words: Sequence[str]) -> tuple[bytes, str]:
    """Read the script that a call names, or its standard input.

    Returns:
        The text, and the absolute path that was named; empty for standard input.

    Raises:
        Stop: it cannot be read, or is no batch script.
    """
    path = ""
    try:
        if words:
            path = _find(call, words[0])
            text = call.read_file(path)
        else:
            text = call.read_stdin()
    except IsADirectoryError:
        text = b""
    except OSError:
        raise _refuse(f"Unable to open file {words[0] if words else '(stdin)'}") from None
    if not text:
        raise _refuse("Batch script is empty!")
    if not text.strip():
        raise _refuse("Batch script contains only whitespace!")
    if not text.startswith(b"#!"):
        raise _refuse(*_NOT_A_SCRIPT)
    if b"\0" in text:
        raise _refuse(
            "The Slurm controller does not allow scripts that",
            "contain a NULL character '\\0'.",
        )
    if b"\r\n" in text:
        raise _refuse(*_DOS)
    return text, os.path.normpath(path) if path else ""


def _find(call: Call, word: str) -> str:
    here = os.fsdecode(call.path(word))
    if "/" in word or os.path.exists(here):
        return here
    for folder in (call.variable("PATH") or "").split(":"):
        path = os.path.join(folder or ".", word)
        if os.path.isfile(path) and os.access(path, os.R_OK):
            return path
    return here


def directives(text: bytes, table: Options, name: str) -> list[tuple[str, str]]:
    """Read the `#SBATCH` lines of a script, up to its first command.

    Raises:
        BadDirective: one of them cannot be read.
        BadOption: it is no option.
    """
    found: list[tuple[str, str]] = []
    for number, line in enumerate(text.decode("utf-8", "surrogateescape").split("\n"), 1):
        stripped = line.strip()
        if stripped and not stripped.startswith("#"):
            break
        if not line.startswith("#SBATCH"):
            continue
        words = _words(line[len("#SBATCH") :], f"{name}: line {number}")
        options, rest = read(table, words)
        if rest in (["hetjob"], ["packjob"]):
            raise BadDirective(f"error: {site.NO_HET}", 1)
        if rest:
            raise BadDirective(f"error: Invalid directive found in batch script: {rest[0]}", 255)
        found += options
    return found


def _words(text: str, where: str) -> list[str]:
    """Split a directive as a shell would split its blanks and quotes; `#` begins a remark."""
    words: list[str] = []
    word: list[str] | None = None
    quote, at, since = "", 0, 0
    while at < len(text):
        char = text[at]
        at += 1
        if quote:
            if char == quote:
                quote = ""
            elif char == "\\" and quote == '"' and text[at : at + 1] in ('"', "\\"):
                word = [*(word or []), text[at]]
                at += 1
            else:
                word = [*(word or []), char]
        elif char in "\"'":
            since = at - 2 if word is None else since
            quote, word = char, word or []
        elif char == "\\" and at < len(text):
            word = [*(word or []), text[at]]
            at += 1
        elif char.isspace():
            if word is not None:
                words.append("".join(word))
            word = None
        elif char == "#" and word is None:
            break
        else:
            word = [*(word or []), char]
    if quote:
        raise BadDirective(f"fatal: {where}: Unmatched `{quote}` in [{text[max(0, since) :]}]", 1)
    return [*words, *([] if word is None else ["".join(word)])]
