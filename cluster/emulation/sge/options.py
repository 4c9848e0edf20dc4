"""The options of qsub, qalter, qrsh and qlogin: read from words and scripts, and merged.

Pure.  What the command line says beats what the script says, and that the
default files; lists of resources, variables, contexts, jobs to wait for and
mail addresses grow together instead.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from cluster.emulation.call import Stop
from cluster.emulation.sge import values

__all__ = ["Asked", "directives", "pairs", "read", "split"]

# How the value of an option is read: a flag, text, yes or no, or two words.
FLAG, TEXT, BOOL, TWO = "flag", "text", "bool", "two"
OPTIONS: dict[str, str] = {
    **dict.fromkeys(("cwd", "V", "notify", "h", "terse", "verify", "verbose", "nostdin",
                     "noshell", "inherit"), FLAG),
    **dict.fromkeys(("b", "j", "now", "r", "R", "shell", "sync", "he", "pty"), BOOL),
    **dict.fromkeys(("a", "A", "ac", "ar", "c", "C", "ckpt", "dc", "dl", "e", "hold_jid",
                     "hold_jid_ad", "i", "js", "jsv", "l", "m", "M", "masterq", "N", "o", "ot",
                     "p", "P", "q", "S", "sc", "t", "tc", "v", "w", "wd", "cal", "scope"), TEXT),
    "pe": TWO,
}  # fmt: skip
_MISSING = {
    "q": "-q option must have queue list argument",
    "t": "-t option must have a list of task id ranges",
    "pe": "-pe option must have pe_name argument",
}
_MERGED = ("l", "soft l", "v", "ac", "hold_jid", "hold_jid_ad", "M")
# What each command has that qsub has not, and the other way.
_ONLY = {
    "terse": ("qsub",), "verify": ("qsub", "qalter"), "sync": ("qsub",), "C": ("qsub",),
    "verbose": ("qrsh", "qlogin"), "nostdin": ("qrsh",), "noshell": ("qrsh",),
    "inherit": ("qrsh",), "pty": ("qrsh", "qlogin"), "b": ("qsub", "qrsh"),
}  # fmt: skip


@dataclass
class Asked:
    """What somebody asked for, by option; a list keeps its commas.

    Attributes:
        values: `N`, `l`, `soft l`, ...; `y` or `n` for switches.
        rest: the script and its arguments, or the jobs.
        embedded: whether the script's own options count.
    """

    values: dict[str, str] = field(default_factory=dict)
    rest: list[str] = field(default_factory=list)
    cleared: bool = False

    def get(self, name: str, default: str = "") -> str:
        return self.values.get(name, default)

    def on(self, name: str, default: bool = False) -> bool:
        """Whether a switch is on."""
        return self.values.get(name, "y" if default else "n") == "y"

    def over(self, below: Asked) -> Asked:
        """Put these over those of a script, or of a default file."""
        if self.cleared:
            return self
        merged = dict(below.values)
        for name, value in self.values.items():
            if name in ("cwd", "wd"):
                merged.pop("cwd", None)
                merged.pop("wd", None)
            merged[name] = _joined(name, merged.get(name), value)
        return Asked(merged, self.rest)


def _joined(name: str, old: str | None, new: str) -> str:
    return f"{old},{new}" if old and name in _MERGED else new


def read(
    words: Sequence[str],
    program: str,
    *,
    load: Callable[[str], str] | None = None,
    refuse_unknown: Callable[[str], None] | None = None,
) -> Asked:
    """Read options up to the first word that is none.

    Args:
        words: of the command line, or of a script.
        program: who complains.
        load: reads a file of options (`-@`).
        refuse_unknown: is told of an option that Grid Engine has and we ignore.

    Raises:
        Stop: as Grid Engine says it.
    """
    asked = Asked()
    queue = list(words)
    soft = False
    while queue:
        word = queue.pop(0)
        name = word[1:]
        if not word.startswith("-") or (word == "-" and program != "qsub"):
            asked.rest = [word, *queue]
            break
        if name in ("hard", "soft"):
            soft = name == "soft"
        elif name == "clear":
            asked = Asked(cleared=True)
        elif name == "@" and load is not None:
            file = _take(queue, name, program)
            queue = split(load(file)) + queue
        elif name == "binding":
            _take_binding(queue, program)
        elif name == "h" and program == "qalter":
            asked.values["h"] = _take(queue, name, program)
        elif name in ("u", "uall") and program == "qalter":
            asked.values["u"] = _take(queue, name, program) if name == "u" else "*"
        elif name not in OPTIONS or program not in _ONLY.get(name, (program,)):
            raise Stop(f'{program}: invalid option argument "{word}"\n', 2)
        else:
            _set(asked, name, queue, program, soft)
    return asked


def _set(asked: Asked, name: str, queue: list[str], program: str, soft: bool) -> None:
    kind = OPTIONS[name]
    value = "y" if kind == FLAG else _take(queue, name, program)
    if kind == BOOL:
        if value not in ("y", "yes", "n", "no"):
            raise Stop(f'{program}: invalid option argument "-{name} {value}"\n', 7)
        value = value[0]
    if kind == TWO:
        if not queue:
            raise Stop(f"{program}: -{name} option must have range as 2nd argument\n", 2)
        value = f"{value} {queue.pop(0)}"
    check = _CHECKS.get(name)
    if check:
        check(value, program)
    if name in ("cwd", "wd"):
        asked.values.pop("cwd", None)
        asked.values.pop("wd", None)
    key = f"soft {name}" if soft and name in ("l", "q") else name
    asked.values[key] = _joined(key, asked.values.get(key), value)


def _take(queue: list[str], name: str, program: str) -> str:
    if not queue:
        words = _MISSING.get(name, f"-{name} option must have argument")
        raise Stop(f"{program}: {words}\n", 2)
    return queue.pop(0)


def _take_binding(queue: list[str], program: str) -> None:
    if _take(queue, "binding", program) in ("env", "pe", "set") and queue:
        queue.pop(0)


# ---------------------------------------------------------------- what the client checks


def _check_priority(value: str, program: str) -> None:
    if not re.fullmatch(r"[+-]?\d+", value, re.ASCII) or not -1023 <= int(value) <= 1024:
        text = f'invalid priority "{value}".  Must be an integer from -1023 to 1024'
        raise Stop(f"{program}: {text}\n", 7)


def _check_concurrency(value: str, program: str) -> None:
    if not re.fullmatch(r"\d+", value, re.ASCII):
        text = f'invalid task concurrency number "{value}". Must be an integer'
        raise Stop(f"{program}: {text} greater or equal to 0.\n", 7)


def _check_mail(value: str, program: str) -> None:
    if not re.fullmatch(r"[beasn]+", value.replace(",", "")):
        text = f'Wrong mail options list format "{value}" specified to -m option'
        raise Stop(f"{program}: {text}\n", 7)


def _check_verify(value: str, program: str) -> None:
    if value not in ("e", "w", "n", "v", "p"):
        raise Stop(f'{program}: invalid option argument "-w {value}"\n', 7)


def _check_jobs(value: str, program: str) -> None:
    if not value.strip(","):
        text = f'Wrong jid_hold list format "{value}" specified to -hold_jid option'
        raise Stop(f"{program}: {text}\n", 7)


def _check_slots(value: str, program: str) -> None:
    values.slot_range(value.partition(" ")[2], program)


_CHECKS: dict[str, Callable[[str, str], object]] = {
    "p": _check_priority,
    "tc": _check_concurrency,
    "m": _check_mail,
    "w": _check_verify,
    "hold_jid": _check_jobs,
    "hold_jid_ad": _check_jobs,
    "pe": _check_slots,
    "t": values.tasks,
    "a": lambda value, program: values.read_date(value, "-a", program),
    "dl": lambda value, program: values.read_date(value, "-dl", program),
}


# ---------------------------------------------------------------- scripts


def directives(script: str, prefix: str) -> list[str]:
    """Give the words of the lines that begin with the prefix, `#$`."""
    words: list[str] = []
    if not prefix:
        return words
    for line in script.splitlines():
        if line.startswith(prefix):
            text = line[len(prefix) :]
            words += split(text.partition(" #")[0])
    return words


def split(text: str) -> list[str]:
    """Take a line of options apart; quotes hold words together."""
    words: list[str] = []
    for line in text.splitlines():
        if line.lstrip().startswith("#"):
            continue
        try:
            words += shlex.split(line)
        except ValueError:  # a quote that is not closed
            words += line.split()
    return words


def pairs(text: str) -> dict[str, str | None]:
    """Read `a=1,b` into {"a": "1", "b": None}; a later one wins, in the place of the first."""
    found: dict[str, str | None] = {}
    for part in _parts(text):
        name, equal, value = part.partition("=")
        found[name] = value if equal else None
    return found


def _parts(text: str) -> Iterable[str]:
    return (part for part in re.split(r"(?<!\\),", text) if part)
