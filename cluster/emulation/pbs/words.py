"""Arguments as PBS's commands read them: getopt, directives, lists.

Pure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["BadOption", "directives", "options", "pairs", "split_commas", "unquoted"]


class BadOption(ValueError):
    """An option that a command does not have, or that lacks its value."""


def options(
    argv: Sequence[str], known: str, *, direct: bool = False
) -> tuple[list[tuple[str, str]], list[str], bool]:
    """Read options anywhere among the operands, as getopt of GNU does.

    Args:
        argv: the arguments.
        known: letters; a colon behind one says that it takes a value.
        direct: what is behind `--` is a command of its own.

    Returns:
        Options with their values ("" without one; "--name" for long ones), the
        operands, and whether they stood behind `--`.

    Raises:
        BadOption: its text is what getopt says.
    """
    found: list[tuple[str, str]] = []
    operands: list[str] = []
    words = list(argv)
    while words:
        word = words.pop(0)
        if word == "--":
            return found, operands + words, direct
        if word.startswith("--"):
            found.append((word, ""))
            continue
        if not word.startswith("-") or word == "-":
            operands.append(word)
            continue
        letters = word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            at = known.find(letter)
            if at < 0 or letter == ":":
                raise BadOption(f"invalid option -- '{letter}'")
            if known[at + 1 : at + 2] != ":":
                found.append((letter, ""))
                continue
            if not letters and not words:
                raise BadOption(f"option requires an argument -- '{letter}'")
            found.append((letter, letters or words.pop(0)))
            letters = ""
    return found, operands, False


def directives(script: str, prefix: str) -> list[str]:
    """Give the words of all directives, which end at the first line that does something.

    Args:
        script: its text.
        prefix: `#PBS`; empty turns directives off.
    """
    words: list[str] = []
    if not prefix:
        return words
    for line in script.splitlines():
        text = line.strip()
        if line.startswith(prefix) and line[len(prefix) : len(prefix) + 1] in ("", " ", "\t"):
            words += split_words(line[len(prefix) :])
        elif text and not text.startswith(("#", ":")):
            break
    return words


_WORD = re.compile(r"""(?:[^\s"'\\]|\\.|"(?:[^"\\]|\\.)*"|'[^']*')+""")


def split_words(text: str) -> list[str]:
    """Split a directive at blanks; quotes and backslashes hold, a word `#...` ends it."""
    found: list[str] = []
    for match in _WORD.finditer(text):
        if match[0].startswith("#"):
            break
        found.append(unquoted(match[0]))
    return found


def unquoted(text: str) -> str:
    """Take quotes and backslashes away, as a shell would."""
    piece = r"""\\(.)|"((?:[^"\\]|\\.)*)"|'([^']*)'"""

    def plain(match: re.Match[str]) -> str:
        if match[1] is not None:
            return match[1]
        if match[2] is not None:
            return re.sub(r'\\(["\\$`,])', r"\1", match[2])
        return match[3]

    return re.sub(piece, plain, text, flags=re.DOTALL)


def split_commas(text: str) -> list[str]:
    """Split a list at its commas, but not at those in quotes or behind a backslash."""
    pieces = re.findall(r"""(?:[^,"'\\]|\\.|"(?:[^"\\]|\\.)*"|'[^']*'|["'\\])+""", text, re.DOTALL)
    return [piece for piece in pieces if piece.strip()]


def pairs(text: str) -> list[tuple[str, str | None]]:
    """Read `A=1,B,C='x,y'`: None is a name without a value."""
    found: list[tuple[str, str | None]] = []
    for piece in split_commas(text):
        name, equal, value = piece.strip().partition("=")
        found.append((name.strip(), unquoted(value) if equal else None))
    return found
