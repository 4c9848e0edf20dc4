"""qsub and qresub: a script, or a command, becomes a job."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Sequence

from cluster import states
from cluster.emulation.call import Call, Stop
from cluster.emulation.machine import Row
from cluster.emulation.sge import details, environment, jobs, options, submission, usage, values
from cluster.emulation.sge.options import Asked
from cluster.emulation.sge.submission import SHELL, Plan

__all__ = ["announce", "defaults", "qresub", "qsub", "source"]

_PREFIX = "#$"
_IDLE = {
    "m": "no mail is sent",
    "ckpt": "jobs are not checkpointed",
    "ar": "there are no advance reservations",
    "dl": "there are no deadlines",
    "jsv": "the script that verifies jobs is not called",
    "ot": "there are no tickets",
}
_warned: set[tuple[str, str]] = set()
_UNREADABLE = "Unable to read script file because of error: "


# ---------------------------------------------------------------- qsub


def qsub(call: Call) -> int:
    """Submit a job."""
    if "-help" in call.argv[:1]:
        call.out(usage.text("qsub"))
        return 0
    typed = options.read(call.argv, "qsub", load=lambda name: _load(call, name))
    name, program, argv, embedded = source(call, typed)
    asked = typed.over(embedded).over(defaults(call))
    _warn(call, asked)
    made = submission.plan(call, asked, name=asked.values.get("N", name), program=program,
                           argv=argv, login=_by_login_shell(asked, argv))  # fmt: skip
    if asked.get("w") in ("v", "p") or made.impossible:
        said = _verify(call, asked, made)
        if said is not None:
            return said
    if asked.on("verify"):
        call.out(details.verified(call, asked, made, typed.rest))
        return 0
    if asked.on("now") and call.machine.free().get("cores", 0) < made.slots:
        call.err("Waiting for immediate job to be scheduled.\n\n")
        raise Stop('Your "qsub" request could not be scheduled, try again later.\n', 1)
    id = submission.submit(call, asked, made, _described(call, asked, program, typed.rest, argv))
    call.out(announce(id, made, terse=asked.on("terse")))
    if asked.on("now"):
        text = f"\nYour immediate job {id} has been successfully scheduled.\n"
        call.err(f"Waiting for immediate job to be scheduled.\n{text}")
    return _await(call, id, made, asked) if asked.on("sync") else 0


def _warn(call: Call, asked: Asked) -> None:
    """Say once of each option that it does nothing here."""
    if asked.get("jsv") and not os.access(call.path(asked.get("jsv")), os.X_OK):
        text = f'JSV "{asked.get("jsv")}" is either not a file or not executable'
        raise Stop(f"qsub: {text}\n", 3)
    if call.settings.strict:
        return
    for name, what in _IDLE.items():
        key = (call.machine.state_dir, name)
        if asked.get(name, "n") != "n" and key not in _warned:
            _warned.add(key)
            call.err(f"qsub: warning: -{name} has no effect in this emulation: {what}\n")


def source(call: Call, typed: Asked) -> tuple[str, str, tuple[bytes, ...], Asked]:
    """Give name, program, argv and the options in the script of what shall run.

    Raises:
        Stop: the script cannot be read.
    """
    words = typed.rest
    if typed.on("b") and words:
        return (*_binary(typed, words), Asked())
    is_stdin = not words or words[0] == "-"
    data = call.read_stdin() if is_stdin else _script(call, words[0])
    if is_stdin and not data:
        raise Stop(f"{_UNREADABLE}no input read from stdin\n", 4)
    if b"\0" in data:
        raise values.refuse("Script length does not match declared length")
    text = os.fsdecode(data)
    prefix = typed.values.get("C", _PREFIX)
    found = options.read(options.directives(text, prefix), "qsub",
                         load=lambda name: _load(call, name))  # fmt: skip
    name = "STDIN" if is_stdin else os.path.basename(words[0])
    kept = call.machine.spool(data, name or "script")
    arguments = tuple(os.fsencode(word) for word in words[1:])
    if data.startswith(b"#!"):
        return name, name, (kept, *arguments), found
    shell = typed.get("S") or found.get("S")
    head = (os.fsencode(shell.rpartition(":")[2]) if shell else SHELL.encode(),)
    return name, name, (*head, kept, *arguments), found


def _binary(typed: Asked, words: Sequence[str]) -> tuple[str, str, tuple[bytes, ...]]:
    name = os.path.basename(words[0])
    if typed.on("shell", default=True):
        line = os.fsencode(" ".join(words))
        return name, words[0], (SHELL.encode(), b"-c", line)
    return name, words[0], tuple(os.fsencode(word) for word in words)


def _by_login_shell(asked: Asked, argv: Sequence[bytes]) -> bool:
    return asked.on("shell", default=True) if asked.on("b") else argv[0] == SHELL.encode()


def _script(call: Call, name: str) -> bytes:
    try:
        return call.read_file(name)
    except IsADirectoryError:
        text = f'error: fread("{name}") failed: Is a directory\n'
        raise Stop(f"{text}{_UNREADABLE}error reading from file {name}\n", 4) from None
    except OSError as error:
        raise Stop(f"{_UNREADABLE}error opening {name}: {error.strerror}\n", 14) from None


def _load(call: Call, name: str) -> str:
    try:
        return os.fsdecode(call.read_file(name))
    except OSError as error:
        raise Stop(f"error: error opening {name}: {error.strerror}\n", 1) from None


def defaults(call: Call) -> Asked:
    """Read the files of default options: the site's, the user's, the directory's."""
    home, _, _ = environment.person(call)
    root, cell = call.variable("SGE_ROOT"), call.variable("SGE_CELL") or "default"
    places = [os.path.join(home, ".sge_request"), ".sge_request"]
    if root:
        places.insert(0, os.path.join(root, cell, "common", "sge_request"))
    found = Asked()
    for place in places:
        path = call.path(place)
        if os.path.isfile(path):
            words = options.split(_load(call, os.fsdecode(path)))
            found = options.read(words, "qsub").over(found)
    return found


def _described(
    call: Call, asked: Asked, program: str, rest: Sequence[str], argv: Sequence[bytes]
) -> dict[str, str]:
    """Give what is kept for qstat -j and qresub, by names no option has."""
    about = {
        "script_file": program if rest else "STDIN",
        "args": json.dumps(list(rest[1:])),
        "argv": json.dumps([os.fsdecode(word) for word in argv]),
        "env_list": environment.described(call, asked),
        "type": "binary" if asked.on("b") else "NONE",
    }
    for name in ("HOME", "LOGNAME", "PATH", "SHELL", "TZ", "MAIL"):
        if (value := call.variable(name)) is not None:
            about[f"O_{name}"] = value
    return about


def announce(id: str, made: Plan, *, terse: bool = False) -> str:
    """Tell the id of a new job."""
    tasks = f".{values.structure(made.tasks)}" if made.tasks else ""
    if terse:
        return f"{id}{tasks}\n"
    kind = "job-array" if made.tasks else "job"
    return f'Your {kind} {id}{tasks} ("{made.name}") has been submitted\n'


def _verify(call: Call, asked: Asked, made: Plan) -> int | None:
    """Answer -w; None: submit it."""
    how = asked.get("w")
    fits = not made.impossible
    if how in ("v", "p"):
        if fits:
            call.out("verification: found suitable queue(s)\n")
            return 0
        raise values.refuse(f"Job 0 {made.impossible}\nverification: no suitable queues")
    if how == "e" and call.settings.strict:
        raise values.refuse("error: no suitable queues")
    return None


# ---------------------------------------------------------------- -sync


def _await(call: Call, id: str, made: Plan, asked: Asked) -> int:
    # Whoever interrupts a qsub that waits means the job.
    threading.Thread(target=_delete_if_gone, args=(call, id), daemon=True).start()
    call.machine.wait([id])
    code = 0
    for row in call.machine.rows([id], elements=True):
        text, one = _ended(row)
        code = code or one
        if one:
            call.err(text)
        elif not asked.on("terse"):
            call.out(text)
    return code


def _delete_if_gone(call: Call, id: str) -> None:
    while not call.is_gone(3600.0):
        pass
    call.machine.act("cancel", [id])


def _ended(row: Row) -> tuple[str, int]:
    info = row.info
    label = info.id.replace("_", ".")
    if not info.started:
        return f"Unable to run job {label}.\n", 1
    number = info.signal
    if info.state in (states.CANCELLED, states.TIMEOUT, states.OUT_OF_MEMORY):
        number = signal.SIGKILL
    if number:
        return f"Job {label} exited because of signal {signal.Signals(number).name}\n", 1
    code = info.exitcode or 0
    return f"Job {label} exited with exit code {code}.\n", code


# ---------------------------------------------------------------- qresub


def qresub(call: Call) -> int:
    """Submit copies of jobs that are not over."""
    words = [word for word in call.argv if not word.startswith("-")]
    if not words or "-help" in call.argv:
        call.err(usage.text("qresub"))
        return 0 if "-help" in call.argv else 1
    code = 0
    for target in jobs.select(call.machine, words, "qresub"):
        if not target.rows:
            call.out(f'job "{target.word}" does not exist\n')
            code = 4
        for row in target.rows:
            call.out(_again(call, row))
    return code


def _again(call: Call, row: Row) -> str:
    kept = row.extra.options
    asked = Asked({name: text for name, text in kept.items() if name not in _STATE})
    argv = tuple(os.fsencode(word) for word in json.loads(kept["argv"]))
    made = submission.plan(call, asked, name=row.info.name, program=row.extra.command, argv=argv)
    kept_too = {name: kept[name] for name in kept if name not in submission.KEPT_BY_SUBMIT}
    return announce(submission.submit(call, asked, made, kept_too), made)


_STATE = ("holds", "h", "host", "waits", "elements", "impossible", "argv", "args", "type",
          "script_file", "env_list", "sync", "now", "terse")  # fmt: skip
