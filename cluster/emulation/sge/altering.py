"""qalter: change what jobs that wait asked for."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import msgspec

from cluster import states
from cluster.emulation.call import Call, Stop
from cluster.emulation.machine import Machine, Row
from cluster.emulation.sge import jobs, options, steering, submission, usage, values
from cluster.emulation.sge.jobs import Target
from cluster.emulation.sge.options import Asked, pairs
from cluster.emulation.sge.site import Site

__all__ = ["qalter"]

# In the order in which qmaster reports them.
_MODIFIED = (
    ("a", "start time"),
    ("A", "account"),
    ("cwd", "working directory"),
    ("wd", "working directory"),
    ("e", "stderr path list"),
    ("R", "reservation behaviour"),
    ("j", "output merge behaviour"),
    ("l", "hard resource list"),
    ("soft l", "soft resource list"),
    ("m", "mail options"),
    ("M", "mail list"),
    ("N", "job name"),
    ("notify", "notify behaviour"),
    ("o", "stdout path list"),
    ("q", "hard queue list"),
    ("soft q", "soft queue list"),
    ("r", "restart behaviour"),
    ("S", "shell list"),
    ("v", "environment"),
    ("ac", "context"),
    ("tc", "task concurrency"),
    ("P", "project"),
)


# The queue cannot change how a job will be started.
_ONLY_NOTED = ("cwd", "wd", "e", "o", "i", "j", "q", "pe", "r", "S", "v", "tc")


def qalter(call: Call) -> int:
    """Change jobs."""
    words = list(call.argv)
    if words[:1] == ["-help"]:
        call.out(usage.text("qalter"))
        return 0
    if not words:
        call.err(usage.text("qalter") + "ERROR! no option argument\n")
        return 1
    asked = options.read(words, "qalter")
    if "t" in asked.values:
        raise Stop(
            f"found lonely '-t {asked.values['t']}' option "
            "(The -t option needs a leading job name).\n", 2
        )  # fmt: skip
    if asked.values.get("u"):
        targets = [Target("", jobs.alive_jobs(call.machine))]
    else:
        targets = jobs.select(call.machine, asked.rest, "qalter")
    code = 0
    for target in targets:
        if not target.rows:
            call.out(f'denied: job "{target.word}" does not exist\n')
            code = 1
        for row in target.rows:
            said, wrong = _alter(call, row, asked)
            call.out(said)
            code = code or wrong
    return code


def _alter(call: Call, row: Row, asked: Asked) -> tuple[str, int]:
    site = Site(call)
    try:
        _check(call, site, asked)
    except Stop as stop:
        return stop.text.removeprefix("Unable to run job: ").removesuffix("Exiting.\n"), 1
    label = row.id.replace("_", ".")
    said = [f"modified {what} of job {label}\n" for key, what in _MODIFIED if key in asked.values]
    if "p" in asked.values:
        number = int(asked.values["p"])
        call.machine.act("priority", [row.id], number)
        host = f"{call.machine.user}@{call.machine.host}"
        said.append(f"{host} sets scheduling priority of job {label} to {number}\n")
    if "hold_jid" in asked.values:
        said.append(_wait_for(call, row, asked.values["hold_jid"]))
    if "pe" in asked.values:
        said.append(f"modified parallel environment of job {label}\n")
        said.append(f"modified slot range of job {label}\n")
    if "h" in asked.values:
        kinds = asked.values["h"]
        is_release = kinds in ("n", "U")
        text, code = steering.change_hold(call, row, "u" if is_release else kinds,
                                          hold=not is_release)  # fmt: skip
        if code:
            return text, code
        said.append(text)
    _keep(call, row, asked)
    idle = [name for name in _ONLY_NOTED if name in asked.values]
    if idle and not call.settings.strict:
        options = ", ".join(f"-{name}" for name in idle)
        call.err(f"qalter: warning: {options}: shown from now on, but the job starts as before\n")
    return "".join(said), 0


def _check(call: Call, site: Site, asked: Asked) -> None:
    """Refuse what qsub would refuse.

    Raises:
        Stop: as qmaster says it.
    """
    if "N" in asked.values:
        values.check_name(asked.values["N"], "qalter")
    site.check_resources(pairs(asked.get("l")))
    if asked.get("P") and site.strict:
        text = f'job rejected: the requested project "{asked.get("P")}" does not exist'
        raise values.refuse(text)
    if asked.get("q") and site.queue_for(asked.get("q")) is None:
        text = f'Job was rejected because job requests unknown queue "{asked.get("q")}"'
        raise values.refuse(text)
    if int(asked.get("p") or 0) > 0:
        text = f'denied: "{call.machine.user}" must be operator to increase job priority'
        raise values.refuse(text)


def _wait_for(call: Call, row: Row, text: str) -> str:
    found = submission.dependencies(call, text)
    label = row.id.replace("_", ".")
    if row.info.state in (states.PENDING, states.HELD) and found:
        steering.keep(call.machine, row, hold_jid=text, waits=",".join(found),
                      after=",".join(found))  # fmt: skip
        call.machine.act("hold", [row.id])
        _release_after(call.machine, row.id, found)
    blocking = ", ".join(found) or "NONE"
    return (
        f"modified job id hold list of job {label}\n   blocking jobs: {blocking}\n"
        "   exited jobs:   NONE\n"
    )


def _release_after(machine: Machine, id: str, ids: Sequence[str]) -> None:
    """Release a job once others are over, unless somebody holds it then.

    The queue itself cannot change what a job waits for.  Should the emulation
    be killed meanwhile, the job stays held, for everybody to see.
    """
    state_dir, family = machine.state_dir, machine.family

    def wait() -> None:
        mine = Machine(state_dir, family)
        mine.wait(ids)
        row = mine.row(id)
        if row is not None and not row.extra.options.get("holds"):
            mine.act("release", [id])

    threading.Thread(target=wait, daemon=True).start()


def _keep(call: Call, row: Row, asked: Asked) -> None:
    kept: dict[str, str] = {}
    for name, text in asked.values.items():
        if name in ("h", "p", "u", "hold_jid"):
            continue
        old = row.extra.options.get(name, "")
        merges = name == "ac" and old
        kept[name] = f"{old},{text}" if merges else text
    if "v" in kept:
        kept["env_list"] = kept["v"]
    fields: dict[str, object] = {}
    if "N" in kept:
        fields["name"] = kept.pop("N")
    if "l" in kept:
        seconds = values.seconds(pairs(kept["l"]).get("h_rt") or "")
        if seconds:
            fields["walltime_s"] = seconds
    if "a" in kept:
        fields["begin"] = values.read_date(kept["a"], "-a", "qalter")
    merged = {**row.extra.options, **kept}
    row.extra = msgspec.structs.replace(
        row.extra, options={name: text for name, text in merged.items() if text},
        account=kept.get("A", row.extra.account),
    )  # fmt: skip
    call.machine.keep(str(row.array), row.extra)
    if fields:
        call.machine.keep(str(row.array), row.extra, **fields)
