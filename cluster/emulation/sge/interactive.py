"""qrsh and qlogin: a command in the caller's terminal, while a job holds the slots for it.

The job is a process that waits for the end of the caller's; when the job is
deleted, it ends the command first.
"""

from __future__ import annotations

import json
import os
import select
import sys
import tempfile
from collections.abc import Mapping

from cluster.emulation.call import Call, Stop
from cluster.emulation.sge import environment, options, submission, submitting, usage
from cluster.emulation.sge.options import Asked
from cluster.emulation.sge.submission import SHELL, Plan

__all__ = ["qlogin", "qrsh"]

_GRACE_S = 5.0  # for the holder to end the command in

# Says that it started, then waits for the process that was named; its own end ends that one.
_HOLDER = """\
import os, select, signal, sys
pid, fifo = int(sys.argv[1]), sys.argv[2]
def end(*_):
    try: os.kill(pid, signal.SIGTERM)
    except ProcessLookupError: pass
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
try: fd = os.pidfd_open(pid)
except (AttributeError, OSError): fd = -1
with open(fifo, 'wb', 0) as file: file.write(b'started')
if fd >= 0: select.select([fd], [], [])
else:
    while True:
        try: os.kill(pid, 0)
        except OSError: break
        select.select([], [], [], 0.2)
"""


def qrsh(call: Call) -> int:
    """Run a command now, here."""
    if call.argv[:1] == ["-help"]:
        call.out(usage.text("qrsh"))
        return 0
    typed = options.read(call.argv, "qrsh")
    if not typed.rest:
        return _run(call, typed, "QRLOGIN", [SHELL, "-l"], shell=False)
    inside = typed.on("inherit")
    name = os.path.basename(typed.rest[0].split()[0]) if typed.rest[0].split() else "qrsh"
    if inside:  # in a job already: its slots are held
        words = _words(typed.rest[1:], os.fsdecode(call.cwd), shell=not typed.on("noshell"))
        call.execute(b"/bin/sh", words, call.env)
    return _run(call, typed, name, typed.rest, shell=not typed.on("noshell"))


def qlogin(call: Call) -> int:
    """Give a shell that has slots."""
    if call.argv[:1] == ["-help"]:
        call.out(usage.text("qlogin"))
        return 0
    typed = options.read(call.argv, "qlogin")
    typed.values["verbose"] = "y"
    _, _, shell = environment.person(call)
    return _run(call, typed, "QLOGIN", [shell, "-l"], shell=False)


def _run(call: Call, typed: Asked, name: str, words: list[str], *, shell: bool) -> int:
    asked = typed.over(submitting.defaults(call))
    folder = tempfile.mkdtemp(dir=os.path.join(call.machine.state_dir, "emulation"))
    fifo = os.path.join(folder, "started")
    os.mkfifo(fifo, 0o600)
    try:
        holder = [sys.executable, "-IS", "-c", _HOLDER, str(call.pid), fifo]
        argv = tuple(os.fsencode(word) for word in holder)
        made = submission.plan(call, asked, name=asked.get("N") or name, program=words[0],
                               argv=argv)  # fmt: skip
        home = made.cwd
        made.stdout = made.stderr = b"/dev/null"
        made.grace_s = _GRACE_S
        if asked.on("now", default=True) and call.machine.free().get("cores", 0) < made.slots:
            raise Stop('Your "qrsh" request could not be scheduled, try again later.\n', 1)
        about = {"script_file": words[0], "args": json.dumps(words[1:]), "type": "binary",
                 "env_list": environment.described(call, asked)}  # fmt: skip
        id = submission.submit(call, asked, made, about)
        if typed.on("verbose"):
            call.out(submitting.announce(id, made))
            call.err("waiting for interactive job to be scheduled ...\n")
        _await_start(call, id, fifo)
    finally:
        os.unlink(fifo)
        os.rmdir(folder)
    if typed.on("verbose"):
        call.err(f"Your interactive job {id} has been successfully scheduled.\n"
                 f"Establishing builtin session to host {call.machine.host} ...\n")  # fmt: skip
    env = _environment(call, asked, made, id)
    call.execute(b"/bin/sh", _words(words, os.fsdecode(home), shell=shell), env)
    return 0


def _await_start(call: Call, id: str, fifo: str) -> None:
    """Wait until the holder of the slots has started.

    Raises:
        Stop: the caller went away, or the job was deleted.
    """
    fd = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        poll.register(call.fileno(), select.POLLIN | getattr(select, "POLLRDHUP", 0))
        while True:
            ready = [each for each, _ in poll.poll(5000.0)]
            if fd in ready and os.read(fd, 64):
                return
            row = call.machine.row(id)
            if call.fileno() in ready or row is None or row.done:
                call.machine.act("cancel", [id])
                raise Stop(f"Unable to run job {id}.\n", 1)
    finally:
        os.close(fd)


def _environment(call: Call, asked: Asked, made: Plan, id: str) -> Mapping[bytes, bytes]:
    from cluster.spec import fill

    env = dict(environment.base(call, asked, login=True))
    if call.variable("TERM"):
        env[b"TERM"] = call.env[b"TERM"]
    known = {"array": id.encode(), "job": id.encode(), "restarts": b"0", "index": b""}
    own = {name: fill(value, known) for name, value in environment.own(call, asked, made).items()}
    return {**env, **own}


def _words(words: list[str], home: str, *, shell: bool) -> list[bytes]:
    text = [SHELL, "-c", " ".join(words)] if shell else words
    line = ["sh", "-c", 'cd "$1" 2>/dev/null; shift; exec "$@"', "sh", home, *text]
    return [os.fsencode(word) for word in line]
