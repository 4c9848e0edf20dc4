"""How LSF reads a command line: words behind one dash, of one letter or more.

Pure.  `-oo f`, `-n4`, `-aJ name` and `-J name` are all taken; reading stops at
the first word that is no option.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["BadOption", "Table", "read", "table"]

Table = Mapping[str, bool]


class BadOption(ValueError):
    """An option is unknown, or lacks its value."""

    def __init__(self, name: str, *, lacks: bool = False) -> None:
        super().__init__(name)
        self.name, self.lacks = name, lacks

    def told(self, command: str) -> str:
        """Say it as the command does."""
        what = "option requires an argument" if self.lacks else "illegal option"
        return f"{command}: {what} -- {self.name}\n"


def table(flags: str, valued: str) -> dict[str, bool]:
    """Write a table: name of an option -> whether it takes a value."""
    return {**dict.fromkeys(flags.split(), False), **dict.fromkeys(valued.split(), True)}


def read(
    options: Table, argv: Sequence[str], *, mixed: bool = False
) -> tuple[list[tuple[str, str]], list[str]]:
    """Split a command line into options and the rest.

    Args:
        options: which there are.
        argv: the words.
        mixed: options may follow other words.

    Raises:
        BadOption: one of them cannot be read.
    """
    found: list[tuple[str, str]] = []
    rest: list[str] = []
    words = list(argv)
    while words:
        word = words.pop(0)
        if word == "--":
            rest += words
            break
        if not word.startswith("-") or word == "-":
            if not mixed:
                return found, [word, *words]
            rest.append(word)
            continue
        _read_word(options, word[1:], words, found)
    return found, rest


def _read_word(options: Table, name: str, words: list[str], found: list[tuple[str, str]]) -> None:
    if name.startswith("-") and name[1:] in options:  # --help, as some write
        name = name[1:]
    if name in options:
        if not options[name]:
            found.append((name, ""))
            return
        if not words:
            raise BadOption(name, lacks=True)
        found.append((name, words.pop(0)))
        return
    head = next((name[:size] for size in (1, 2, 3) if name[:size] in options), "")
    if not head or (not options[head] and name[len(head) :][:1] not in {n[0] for n in options}):
        raise BadOption(name)
    if options[head]:
        found.append((head, name[len(head) :]))
        return
    rest: list[tuple[str, str]] = [(head, "")]
    try:
        _read_word(options, name[len(head) :], words, rest)
    except BadOption as bad:
        raise BadOption(bad.name if bad.lacks else name, lacks=bad.lacks) from None
    found += rest
