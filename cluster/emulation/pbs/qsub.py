"""`qsub`: a script, a command or standard input becomes a job."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress

from cluster.emulation.call import Call, Stop
from cluster.emulation.pbs import flavour, tmpdirs, wishes
from cluster.emulation.pbs.state import exit_status
from cluster.emulation.pbs.submission import submit
from cluster.emulation.pbs.wishes import BadValue, Wishes
from cluster.emulation.pbs.words import BadOption, directives, options
from cluster.errors import WaitTimeout

__all__ = ["qsub"]

_LOOK_S = 5.0  # so often a blocking qsub looks whether its caller is still there
_KNOWN_W = frozenset(
    (
        *("depend", "block", "umask", "stagein", "stageout", "sandbox", "group_list", "run_count"),
        *("cred", "x", "pwd", "release_nodes_on_stageout", "tolerate_node_failures"),
        "max_run_subjobs",
    )
)
_NO_EFFECT = frozenset(("stagein", "stageout", "sandbox"))


def qsub(call: Call) -> int:
    """Queue a job and print its id."""
    own = flavour.of(call)
    given, operands, direct = _options(call, own, call.argv)
    if any(name == "--version" for name, _ in given):
        (call.out if own.is_pro else call.err)(own.banner)
        return 0
    _refuse_unknown(call, own, given)
    _refuse_interactive(dict(given))
    script, name = _script(call, own, operands, direct=direct)
    asked = _wishes(call, own, given, script)
    _refuse_interactive(asked.one)
    id = submit(call, asked, script, operands if direct else [], name)
    if not asked.has("z"):
        call.out(f"{id}\n")
    tmpdirs.sweep(call.machine)
    if asked.others.get("block", "").lower() in ("true", "t", "y", "1"):
        return _wait(call, id)
    return 0


# ---------------------------------------------------------------- what was typed


def _options(
    call: Call, own: flavour.Flavour, argv: list[str]
) -> tuple[list[tuple[str, str]], list[str], bool]:
    """Read options; those of the other flavour are taken with a warning unless strict."""
    known = wishes.PRO if own.is_pro else wishes.TORQUE
    lenient = known if call.settings.strict else known + wishes.OTHERS[own.is_pro]
    try:
        given, operands, direct = options(argv, lenient, direct=True)
    except BadOption as error:
        raise flavour.usage(call, str(error)) from None
    name, other = ("OpenPBS", "Torque") if own.is_pro else ("Torque", "OpenPBS")
    for letter in sorted({letter for letter, _ in given} - set(known)):
        if not letter.startswith("--"):
            flavour.warn(
                call,
                f"{name} has no option -{letter}: done as {other} does; an error with --strict",
            )
    return given, operands, direct and own.is_pro


def _refuse_unknown(call: Call, own: flavour.Flavour, given: list[tuple[str, str]]) -> None:
    for letter, _ in given:
        if letter.startswith("--"):
            raise flavour.usage(call, f"unrecognized option '{letter}'" if own.is_pro else "")


def _refuse_interactive(given: Mapping[str, str]) -> None:
    if "I" in given:
        raise Stop(
            "qsub: interactive jobs (-I) are not emulated. Submit a script, or run the program "
            "itself: it is this machine that would run it.\n"
        )


def _script(
    call: Call, own: flavour.Flavour, operands: list[str], *, direct: bool
) -> tuple[bytes, str]:
    """Give the script's text and the job's name by default."""
    if direct and operands:
        return b"", "STDIN"
    if operands in ([], ["-"]):
        return call.read_stdin(), "STDIN"
    if len(operands) > 1 and own.is_pro:
        raise flavour.usage(call)
    try:
        text = call.read_file(operands[0])
    except OSError as error:
        if own.is_pro:
            reason = error.strerror or "No such file or directory"
            raise Stop(f"qsub: script file:: {reason}\n", 1) from None
        raise Stop(
            f"qsub: script file '{operands[0]}' cannot be loaded - {error.strerror}\n", 1
        ) from None
    if b"\0" in text[:4096]:
        raise Stop("qsub: file must be an ascii script\n", 1)
    name = os.path.basename(operands[0].rstrip("/")) or "STDIN"
    return text, name if own.is_pro else name[:64]


def _wishes(
    call: Call, own: flavour.Flavour, given: list[tuple[str, str]], script: bytes
) -> Wishes:
    """Merge the command line with the script's directives, and check what they say."""
    prefix = dict(given).get("C", call.variable("PBS_DPREFIX"))
    words = directives(
        script.decode("utf-8", "surrogateescape"), "#PBS" if prefix is None else prefix
    )
    inside, _, _ = _options(call, own, words)
    try:
        asked = Wishes.of(given, inside)
        _check(asked, own)
    except BadValue as error:
        raise flavour.usage(call, f"illegal -{error} value") from None
    if asked.others.keys() - _KNOWN_W and call.settings.strict:
        raise flavour.usage(call, "illegal -W value")
    without = sorted(asked.others.keys() - _KNOWN_W | asked.others.keys() & _NO_EFFECT)
    without = [f"-W {name}=" for name in without] + ["-L"] * asked.has("L")
    if without and call.settings.strict:
        raise Stop(f"qsub: {', '.join(without)}: not emulated\n")
    for what in without:
        flavour.warn(call, f"{what} is not emulated and has no effect")
    return asked


def _check(asked: Wishes, own: flavour.Flavour) -> None:
    one = asked.one
    if "N" in one:
        wishes.check_name(one["N"], is_pro=own.is_pro)
    allowed = {"j": ("oe", "eo", "n"), "r": ("y", "n")}
    for letter, values in allowed.items():
        if letter in one and one[letter] not in values:
            raise BadValue(letter)
    priority = one.get("p", "0")
    if not re.fullmatch(r"[+-]?\d{1,4}", priority) or not -1024 <= int(priority) <= 1023:
        raise BadValue("p")
    if not re.fullmatch(r"[oednD]*", one.get("k", "")):
        raise BadValue("k")
    if not re.fullmatch(r"[0-7]{1,4}", asked.others.get("umask", "0")):
        raise BadValue("W")


def _wait(call: Call, id: str) -> int:
    """Block until it is over, and end as it did."""
    number = id.partition(".")[0].removesuffix("[]")
    while True:
        with suppress(WaitTimeout):
            call.machine.wait([number], timeout=_LOOK_S)
            break
        if call.is_gone():
            return 1
    row = call.machine.row(number)
    status = exit_status(row, flavour.of(call)) if row else None
    return 3 if status is None else status % 256
