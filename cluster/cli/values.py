"""Values of the command line that have a grammar of their own.

Pure.  Text in, values out; a text that cannot be read raises `OptionsError`
with the accepted forms.  Times and memory are left to `options`, which reads
them for every face alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from signal import Signals

from cluster.errors import OptionsError
from cluster.spec import DEPENDENCY_TYPES, Dependency
from cluster.states import ALL, FINAL
from cluster.units import parse_seconds

_ID = re.compile(r"\d+(_\d+)?\Z")
_CLOCK = re.compile(r"(\d\d?):(\d\d)(?::(\d\d))?\Z")
_DURATION = re.compile(r"(?:\s*\d+(?:\.\d+)?\s*[a-z]+)+\s*\Z", re.IGNORECASE)
_DEPEND_FORMS = (
    f"Write afterok:17, afterany:17,18 or afterok:17_3 (types: {', '.join(DEPENDENCY_TYPES)})."
)


def dependencies(texts: Iterable[str]) -> list[Dependency]:
    """Read `TYPE:ID[,ID...]`; without a type it is afterok.

    Colons between ids, and further `TYPE:` groups after a comma, are read too
    (`afterok:17:18,afterany:19`).

    Raises:
        OptionsError: an unknown type, or something that is no id.
    """
    return [found for text in texts for found in _dependencies(text)]


def _dependencies(text: str) -> Iterator[Dependency]:
    kind, wants_id = "afterok", True
    for word in re.split("[,:]", text.strip()):
        if word in DEPENDENCY_TYPES:
            kind, wants_id = word, True
        elif _ID.match(word):
            yield Dependency(word, kind)
            wants_id = False
        else:
            raise OptionsError(
                f"dependency {text!r} cannot be read: {word!r} is neither a type nor an id. "
                + _DEPEND_FORMS
            )
    if wants_id:
        raise OptionsError(f"dependency {text!r} names no job after {kind}. " + _DEPEND_FORMS)


def assignments(texts: Iterable[str], what: str) -> dict[str, str]:
    """Read `NAME=VALUE` texts; the value is kept verbatim."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise OptionsError(f"{what} {text!r} cannot be read. Write NAME=VALUE.")
        found[name] = value
    return found


def counts(texts: Iterable[str], what: str) -> dict[str, int]:
    """Read `NAME=NUMBER` texts."""
    found = {}
    for name, value in assignments(texts, what).items():
        if not value.isascii() or not value.isdigit():
            raise OptionsError(f"{what} {name}={value!r} is not a whole number of 0 or more.")
        found[name] = int(value)
    return found


def signal_number(text: str) -> int:
    """Read `15`, `TERM` or `SIGTERM`."""
    upper = text.upper()
    for name in (upper, "SIG" + upper):
        if name in Signals.__members__:
            return int(Signals[name])
    if text.isdigit() and 0 < int(text) <= max(Signals):
        return int(text)
    raise OptionsError(f"signal {text!r} is not known here. Write 15, TERM or SIGTERM.")


def states(texts: Iterable[str]) -> tuple[str, ...]:
    """Read names of states, separated by commas, in any case; `active`, `final` are groups."""
    groups = {"ACTIVE": tuple(s for s in ALL if s not in FINAL), "FINAL": tuple(sorted(FINAL))}
    found: list[str] = []
    for word in ",".join(texts).upper().replace("-", "_").split(","):
        named = groups.get(word) or tuple(s for s in ALL if s == word)
        if not named:
            known = ", ".join(ALL).lower()
            raise OptionsError(f"state {word.lower()!r} is unknown. There are: {known}.")
        found.extend(named)
    return tuple(dict.fromkeys(found))


def moment(text: str, *, now: float) -> float:
    """Read a point in time: `14:30`, `2026-05-01`, `2026-05-01T14:30`, `now`.

    A time of the day alone is the next one to come.

    Returns:
        Seconds since the epoch.
    """
    stripped = text.strip()
    if stripped == "now":
        return now
    clock = _CLOCK.match(stripped)
    try:
        if clock:
            hour, minute, second = (int(part or 0) for part in clock.groups())
            then = datetime.fromtimestamp(now).replace(
                hour=hour, minute=minute, second=second, microsecond=0
            )
            return (then if then.timestamp() > now else then + timedelta(days=1)).timestamp()
        return datetime.fromisoformat(stripped).timestamp()
    except ValueError:
        raise OptionsError(
            f"{text!r} is not a time to be read here. "
            "Write 14:30, 2026-05-01, 2026-05-01T14:30, or a duration such as 2h."
        ) from None


def begin(text: str) -> str:
    """Let a duration alone (`2h`) mean from now; leave any other text to `options`."""
    return f"now+{text.strip()}" if _DURATION.match(text) else text


def since(text: str, *, now: float) -> float:
    """Read how far back to look: a duration (`2h`, `3d`) or a `moment`.

    A time of the day alone is the last one that was.
    """
    if _DURATION.match(text):
        return now - parse_seconds(text)
    then = moment(text, now=now)
    return then - 86400 if then > now and _CLOCK.match(text.strip()) else then
