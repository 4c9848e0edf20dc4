"""bsub: a command or a script on standard input becomes a job of the queue."""

from __future__ import annotations

import grp
import os
import re
import shlex
import stat
import sys
import time
from collections.abc import Mapping
from typing import Any

from cluster.emulation import shims
from cluster.emulation.call import Call, Stop
from cluster.emulation.lsf import conf, depend, environment, jobs, site, values, watcher
from cluster.emulation.lsf.getopt import BadOption, read
from cluster.emulation.lsf.options import BSUB, INERT, USAGE
from cluster.emulation.machine import Extra, Row
from cluster.emulation.settings import Partition
from cluster.errors import ClusterError, Unsatisfiable
from cluster.spec import Launch

__all__ = ["bsub"]

Values = dict[str, str]
_ULIMITS = {"c": "-t", "F": "-f", "D": "-d", "S": "-s", "C": "-c"}
_INTERACTIVE = ("I", "Ip", "Is", "IS", "ISp", "ISs", "IX")
_AFTER_LIMIT_S = 620.0  # the job's own process keeps the limit; this is for when it cannot


def bsub(call: Call) -> int:
    """Submit a job."""
    try:
        options, words = read(BSUB, call.argv)
        given = dict(options)
        if "h" in given or "V" in given:
            call.err(USAGE if "h" in given else site.banner())
            return 0
        script, text = _command(call, words)
        embedded, _ = read(BSUB, values.directives(script))
    except BadOption as bad:
        raise Stop(bad.told("bsub") + ("" if bad.lacks else USAGE), 255) from None
    chosen: Values = {**dict(embedded), **given}
    # Each -R says more; those of the command line stand beside those of the script.
    chosen["R"] = " ".join(value for name, value in [*embedded, *options] if name == "R")
    _warn(call, chosen)
    watcher.resume(call.machine)
    try:
        job = Submission(call, chosen, script, text)
        return job.submit()
    except (values.BadValue, depend.BadCondition) as bad:
        what = "Bad dependency condition" if isinstance(bad, depend.BadCondition) else str(bad)
        raise refused(what) from None


def refused(text: str) -> Stop:
    """Say that the job is not taken."""
    return Stop(f"{text}. Job not submitted.\n", 255)


def _command(call: Call, words: list[str]) -> tuple[bytes, str]:
    """Give the script, empty for a command, and the text of the job."""
    if not words:
        script = call.read_stdin()
        if not script.strip():
            raise refused("No command is specified")
        return script, script.decode("utf-8", "surrogateescape").rstrip("\n")
    text = values.join(words)
    parses = (call.variable("LSB_BSUB_PARSE_SCRIPT") or "").upper().startswith("Y")
    path = call.path(words[0])
    # A file that could not be executed can only be meant as a job script.
    if os.path.isfile(path) and (parses or not os.access(path, os.X_OK)):
        try:
            return call.read_file(path), text
        except OSError:
            return b"", text
    return b"", text


def _warn(call: Call, chosen: Mapping[str, str]) -> None:
    for name in INERT:
        if name in chosen:
            if call.settings.strict:
                raise refused(f"Option -{name} is not emulated")
            call.err(f"bsub: warning: option -{name} is not emulated and has no effect.\n")


class Submission:
    """One job on its way into the queue.

    Args:
        call: of bsub.
        chosen: its options.
        script: empty for a command.
        text: what the job is, for people and, for a command, for the shell.
    """

    def __init__(self, call: Call, chosen: Values, script: bytes, text: str) -> None:
        self.call, self.values, self.script, self.text = call, chosen, script, text
        self.machine, self.now = call.machine, time.time()
        self.home = shims.folder(call.machine.state_dir, "lsf")
        flat = text.replace("\n", ";")
        name, self.array = values.split_name(chosen.get("J", ""))
        self.name = name or (flat if "J" not in chosen or not self.array else "")
        self.flat = flat
        self.is_default_queue = "q" not in chosen and not call.variable("LSB_DEFAULTQUEUE")
        self.queue = site.queue(call, chosen.get("q"))
        self.is_interactive = any(name in chosen for name in _INTERACTIVE)
        self.streams = _streams(call, chosen) if self.is_interactive else {}
        self._read_needs()

    def _read_needs(self) -> None:
        chosen = self.values
        self.slots = values.processors(chosen.get("n", "1"))
        partition = site.partition(self.call, self.queue)
        if self.call.settings.strict:
            self._check_strictly(partition)
        limit = values.minutes_s(chosen["W"], "RUNLIMIT") if "W" in chosen else 0.0
        if partition.walltime_s and limit > partition.walltime_s:
            raise values.BadValue("RUNLIMIT: Cannot exceed queue's hard limit(s)")
        self.runlimit_s = limit or partition.walltime_s
        self.expect_s = values.minutes_s(chosen["We"], "ESTIMATED") if "We" in chosen else 0.0
        if "c" in chosen:
            values.minutes_s(chosen["c"], "CPULIMIT")
        self.memlimit_mib = (
            values.memory_mib(chosen["M"].rstrip("!"), conf.UNIT[0]) if "M" in chosen else 0
        )
        needs = values.requirement(chosen["R"])
        # LSF sets nothing apart for -M alone; on a machine that people work at, we do.
        most = 0 if self.call.settings.strict else self.memlimit_mib
        self.memory_mib = needs.memory_mib or most
        self.gpus = needs.gpus or _gpus(chosen.get("gpu"))
        self.begin = values.moment(chosen["b"], self.now) if "b" in chosen else 0.0
        self.deadline = values.moment(chosen["t"], self.now) if "t" in chosen else 0.0

    def _check_strictly(self, partition: Partition) -> None:
        """Refuse what there is not, which is else taken for what there is."""
        if partition.cores and self.slots > partition.cores:
            raise values.BadValue("Too many processors requested")
        hosts = re.sub(r"[+!]\d*", " ", self.values.get("m", "")).split()
        if any(host not in (self.machine.host, "all") for host in hosts):
            raise values.BadValue("Bad host name, host group name or cluster name")

    # ------------------------------------------------------------ the job

    def submit(self) -> int:
        """Queue it, and stay with it if that was asked for."""
        tree, names = self._condition()
        found = depend.native(tree, lambda job: names[job]) if tree is not None else ((), False)
        is_watched = found is None
        dependencies, either = found or ((), False)
        chosen = self.values
        spec = {
            "name": _clean(self.name.replace("\n", ";")[:4094]) or "bsub",
            "cores": self.slots,
            "memory_mib": self.memory_mib,
            "gpus": self.gpus,
            "priority": int(chosen["sp"]) if chosen.get("sp", "").isdigit() else 0,
            "hold": "H" in chosen or is_watched,
            "begin": self.begin,
            "walltime_s": self.runlimit_s + _AFTER_LIMIT_S if self.runlimit_s else 0.0,
            "expect_s": self.expect_s or self.runlimit_s,
            "dependencies": dependencies,
            "either": either,
            "on_unsatisfiable": "cancel" if "ti" in chosen else "pend",
            "requeue": "r" in chosen,
            "comment": _clean(chosen.get("Jd", "")),
            "codes": _codes(chosen.get("Q", "")),
            "array": self.array,
        }
        kept = self._extra(is_watched)
        strict = self.call.settings.strict
        env = environment.exported(self.call.env, chosen.get("env"))
        try:
            id = self.machine.submit(self._launch(env), spec, kept, env, clamp=not strict)
        except Unsatisfiable:
            raise refused("Too many processors requested") from None
        except ClusterError as error:
            raise refused(str(error).rstrip(".")) from None
        if is_watched:
            watcher.watch(self.machine, id, chosen["w"], orphans="ti" in chosen)
        self._tell(id)
        return self._stay(id)

    def _condition(self) -> tuple[Any, dict[str, list[str]]]:
        text = self.values.get("w", "").strip()
        if not text:
            return None, {}
        tree = depend.parse(text)
        names = {}
        for term in depend.terms(tree):
            names[term.job] = jobs.named(self.machine, term.job)
            if not names[term.job]:
                raise refused(f"{term.job}: No matching job found")
        return tree, names

    def _extra(self, is_watched: bool) -> Extra:
        chosen, call = self.values, self.call
        kept = {name: value or "y" for name, value in chosen.items() if value or not BSUB[name]}
        kept |= {
            "text": self.flat[:4094],
            "runlimit": f"{self.runlimit_s:g}" if self.runlimit_s else "",
            "memlimit": str(self.memlimit_mib or ""),
            "jobname": self.name,
            "watched": "y" if is_watched else "",
            "array": (chosen["J"][len(self.name) :]) if self.array else "",
        }
        return Extra(
            partition=self.queue,
            account=_clean(chosen.get("P", "default")),
            comment=_clean(chosen.get("Jd", "")),
            cores=self.slots,
            memory_mib=self.memory_mib,
            gpus=self.gpus,
            command=_clean(self.flat[:4094]),
            cwd=_clean(os.fsdecode(call.cwd)),
            submit=_clean(shlex.join(["bsub", *call.argv])),
            options={name: _clean(value) for name, value in kept.items() if value},
        )

    # ------------------------------------------------------------ its process

    def _launch(self, env: Mapping[bytes, bytes]) -> Launch:
        threads, untouched = environment.own_threads(env)
        spooled = b""
        if self.script:
            spooled = self.machine.spool(self.script, "job.shell")
        told = environment.of_job(self._facts(spooled), self.array)
        python = [os.fsencode(sys.executable), b"-IS", os.fsencode(f"{self.home}/job.py")]
        facts = [os.fsencode(f"{key}={value}") for key, value in self._orders(spooled).items()]
        return Launch(
            argv=(*python, *facts, b"--", *self._program(spooled)),
            cwd=self.call.cwd or b"/",
            umask=self.call.umask,
            env_set={**threads, **told},
            env_unset=untouched,
            # Where the job's own process cannot measure, the queue does.
            soft_memory=os.path.isdir("/proc/self/task") or not self.memlimit_mib,
            fills=True,
        )

    def _facts(self, spooled: bytes) -> dict[str, Any]:
        try:
            group = grp.getgrgid(os.getgid()).gr_name
        except KeyError:
            group = str(os.getgid())
        hosts = (self.machine.host + "\n") * self.slots
        return {
            "name": self.name or self.flat, "queue": self.queue, "user": self.machine.user,
            "project": self.values.get("P", "default"), "host": self.machine.host,
            "slots": self.slots, "cwd": os.fsdecode(self.call.cwd), "home": self.home,
            "script": os.fsdecode(spooled), "group": group,
            "hostfile": os.fsdecode(self.machine.spool(hosts.encode(), "hostfile")),
            "resreq": self.values["R"], "interactive": self.is_interactive,
        }  # fmt: skip

    def _orders(self, spooled: bytes) -> dict[str, str]:
        """Give what the job's first process shall do; see `_job`."""
        chosen = self.values
        out = chosen.get("oo", chosen.get("o", ""))
        err = chosen.get("eo", chosen.get("e", ""))
        is_direct = (self.call.variable("LSB_STDOUT_DIRECT") or "").upper() == "Y"
        found = {
            "home": self.home, "name": self.name, "user": self.machine.user, "queue": self.queue,
            "host": self.machine.host, "slots": str(self.slots), "out": out, "err": err,
            "over_out": "y" if "oo" in chosen else "", "over_err": "y" if "eo" in chosen else "",
            "in": chosen.get("i", chosen.get("is", "")), "cwd": chosen.get("cwd", ""),
            "runlimit": f"{self.runlimit_s:g}" if self.runlimit_s else "",
            "deadline": f"{self.deadline:.0f}" if self.deadline else "",
            "memory": str(self.memlimit_mib or ""), "script": os.fsdecode(spooled),
            "text": "" if spooled else self.text, "plain": "y" if "N" in chosen and out else "",
            "direct": "y" if is_direct and out else "",
            **self.streams,
        }  # fmt: skip
        return {key: value for key, value in found.items() if value}

    def _program(self, spooled: bytes) -> list[bytes]:
        has_shebang = self.script.startswith(b"#!")
        words = [spooled] if has_shebang else [b"/bin/sh", spooled] if spooled else []
        argv = words or [b"/bin/sh", b"-c", os.fsencode(self.text)]
        before = _limits(self.values)
        if "E" in self.values:
            before.append(f"( {self.values['E']} ) || exit $?")
        if "L" in self.values:
            before += ["[ -r /etc/profile ] && . /etc/profile >/dev/null 2>&1", _KEEP_PATH]
        after = self.values.get("Ep", "")
        if not before and not after:
            return argv
        run = f'"$@"; code=$?; ( {after} ); exit $code' if after else 'exec "$@"'
        return [b"/bin/sh", b"-c", os.fsencode("\n".join([*before, run])), b"sh", *argv]

    # ------------------------------------------------------------ afterwards

    def _tell(self, id: str) -> None:
        if self.call.variable("BSUB_QUIET") is not None:
            return
        kind = "default queue" if self.is_default_queue else "queue"
        text = f"Job <{id}> is submitted to {kind} <{self.queue}>.\n"
        (self.call.err if self.call.variable("BSUB_STDERR") is not None else self.call.out)(text)

    def _stay(self, id: str) -> int:
        """Wait with -K and -I; give the job's exit code then."""
        if "K" not in self.values and not self.is_interactive:
            return 0
        if self.call.variable("BSUB_QUIET2") is None:
            self.call.err("<<Waiting for dispatch ...>>\n")
            if self.is_interactive:
                self.call.err(f"<<Starting on {self.machine.host}>>\n")
        row = watcher.wait_for_end(self.call, id, is_callers=self.is_interactive)
        if row is None:
            return 255
        if self.is_interactive:
            self._relay(row)
        rows = self.machine.rows([id], elements=True) if row.is_array else [row]
        views = [jobs.View(one, self.home) for one in rows if not one.is_array]
        if not any(view.ran for view in views):
            self.call.err("<<Job has been terminated before it was dispatched>>\n")
            return 126
        if not self.is_interactive:
            self.call.err("<<Job is finished>>\n")
        return max(view.exit_code or 0 for view in views)

    def _relay(self, row: Row) -> None:
        """Print what an interactive job wrote and could not write to the caller itself."""
        if "o" in self.values or "oo" in self.values:
            return
        out, err = jobs.output(self.machine, row)
        self.call.out(out)
        self.call.err(err)


def _streams(call: Call, chosen: Mapping[str, str]) -> dict[str, str]:
    """Give the caller's own streams, where an interactive job can use them.

    A regular file is not one of them: it would be opened anew, at its beginning.
    """
    found = {}
    for number in range(3):
        path = f"/proc/{call.pid}/fd/{number}"
        try:
            mode = os.stat(path).st_mode
        except OSError:
            continue
        is_named = number == 1 and ("o" in chosen or "oo" in chosen)
        is_named |= number == 2 and bool({"o", "oo", "e", "eo"} & set(chosen))
        is_usable = stat.S_ISCHR(mode) or stat.S_ISFIFO(mode)
        if not is_named and (is_usable or (number == 0 and stat.S_ISREG(mode))):
            found[f"fd{number}"] = path
    return found


_KEEP_PATH = '[ -z "$BASH_ENV" ] || . "$BASH_ENV"'


def _clean(text: str) -> str:
    """Make text that may hold any bytes fit to be shown."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _limits(chosen: Mapping[str, str]) -> list[str]:
    lines = []
    for name, flag in _ULIMITS.items():
        if name not in chosen:
            continue
        if name == "c":
            number = int(values.minutes_s(chosen["c"], "CPULIMIT"))
        else:
            number = values.memory_mib(chosen[name], conf.UNIT[0], "limit") * 1024
        # A limit that cannot be set is no reason not to run.
        lines.append(f"ulimit -S {flag} {number} 2>/dev/null || :")
    return lines


def _codes(text: str) -> dict[int, str]:
    words = [word for word in text.replace("~", " ~").split() if word.isdigit()]
    return {int(word): "requeue" for word in words if 0 < int(word) < 256}


def _gpus(text: str | None) -> int:
    if text is None:
        return 0
    for part in text.split(":"):
        name, _, value = part.partition("=")
        if name.strip() == "num":
            count = value.partition("/")[0].strip()
            if not count.isdigit():
                raise values.BadValue(f"Bad GPU requirement: {text}")
            return int(count)
    return 1
