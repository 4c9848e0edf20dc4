"""Command lines as the C library's `getopt_long` reads them, with its words for what is wrong.

Pure: long options may be shortened, short ones joined, and each program says
what it does with the first word that is no option.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["BadOption", "Option", "Options", "read"]


class BadOption(Exception):
    """A word of the command line is no option, or lacks its argument."""


@dataclass(frozen=True)
class Option:
    """One option.

    Attributes:
        name: the long one, without dashes.
        short: one letter, or empty.
        argument: "" takes none, "=" needs one, "?" may have one.
        alias: the name under which its value is kept; empty is its own.
    """

    name: str
    short: str = ""
    argument: str = "="
    alias: str = ""

    @property
    def key(self) -> str:
        return self.alias or self.name


class Options:
    """A table of options: "name short argument alias" each, `-` for none."""

    def __init__(self, text: str) -> None:
        rows = [line.split() for line in text.strip().splitlines()]
        self.all = [
            Option(name, *("" if word == "-" else word for word in rest)) for name, *rest in rows
        ]
        self._long = {option.name: option for option in self.all}
        self._short: Mapping[str, Option] = {o.short: o for o in self.all if o.short}

    def long(self, word: str, written: str) -> Option:
        """Find an option by its name, or by a part of it that only one begins with.

        Raises:
            BadOption: there is none, or more than one.
        """
        if word in self._long:
            return self._long[word]
        found = [option for option in self.all if option.name.startswith(word)]
        if not found:
            raise BadOption(f"unrecognized option '--{written}'")
        if len({(option.key, option.argument) for option in found}) > 1:
            names = " ".join(f"'--{option.name}'" for option in found)
            raise BadOption(f"option '--{written}' is ambiguous; possibilities: {names}")
        return found[0]

    def short(self, letter: str) -> Option:
        """Find an option by its letter.

        Raises:
            BadOption: there is none.
        """
        if letter not in self._short:
            raise BadOption(f"invalid option -- '{letter}'")
        return self._short[letter]


def read(
    table: Options, words: Sequence[str], *, stop: bool = False
) -> tuple[list[tuple[str, str]], list[str]]:
    """Split a command line into options and the rest.

    Args:
        table: what there is.
        words: without the program's name.
        stop: the first word that is no option ends them.

    Returns:
        (key, value) of each option in order, value "" if it has none; other words.

    Raises:
        BadOption: as the C library would say it.
    """
    found: list[tuple[str, str]] = []
    rest: list[str] = []
    left = iter(words)
    for word in left:
        if word == "--":
            rest += left
        elif word.startswith("--"):
            found.append(_long(table, word[2:], left))
        elif word.startswith("-") and len(word) > 1:
            found += _shorts(table, word[1:], left)
        else:
            rest.append(word)
            if stop:
                rest += left
    return found, rest


def _long(table: Options, word: str, left: Iterator[str]) -> tuple[str, str]:
    name, equal, value = word.partition("=")
    option = table.long(name, word)
    if equal and not option.argument:
        raise BadOption(f"option '--{option.name}' doesn't allow an argument")
    if option.argument == "=" and not equal:
        taken = next(left, None)
        if taken is None:
            raise BadOption(f"option '--{option.name}' requires an argument")
        value = taken
    return option.key, value


def _shorts(table: Options, letters: str, left: Iterator[str]) -> Iterator[tuple[str, str]]:
    for at, letter in enumerate(letters, 1):
        option = table.short(letter)
        if not option.argument:
            yield option.key, ""
            continue
        value = letters[at:]
        if not value and option.argument == "=":
            taken = next(left, None)
            if taken is None:
                raise BadOption(f"option requires an argument -- '{letter}'")
            value = taken
        yield option.key, value
        return
