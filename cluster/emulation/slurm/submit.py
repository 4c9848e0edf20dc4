"""sbatch: a script and its options become a job of the queue."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

from cluster.emulation.call import Call, Stop
from cluster.emulation.slurm import environment, jobs, patterns, site
from cluster.emulation.slurm.getopt import BadOption
from cluster.emulation.slurm.indices import BadArray
from cluster.emulation.slurm.indices import parse as parse_array
from cluster.emulation.slurm.need import (
    Need,
    check_values,
    common,
    extra,
    fields,
    notes,
    refuse,
    submit,
    test_only,
)
from cluster.emulation.slurm.options import SBATCH, of_environment
from cluster.emulation.slurm.script import BadDirective, directives, read_script, wrapped
from cluster.emulation.slurm.times import parse_signal
from cluster.emulation.slurm.usage import usage
from cluster.spec import ArraySpec, Launch

__all__ = ["sbatch"]

# A scheduler starts nothing in the moment of its submission, so clients make `logs/%j` after it.
# The real one was never faster than 0.15 s, and takes 2.5 s unless it is tuned.
_SETTLE_S = 1.0


def sbatch(call: Call) -> int:
    """Submit a batch script."""
    typed, words = site.options(call, SBATCH, stop=True, code=255)
    given = dict(typed)
    if "version" in given:
        call.out(site.VERSION + "\n")
        return 0
    if "help" in given or "usage" in given:
        call.out(usage("sbatch", "script [args...]", SBATCH))
        return 0
    from_env = of_environment("b", call.variable)
    check_values(call, from_env | given)
    command = given.get("wrap")
    if command is not None:
        if words:
            site.fail(call, "Script arguments not permitted with --wrap option")
        script, path = wrapped(command), ""
    else:
        script, path = read_script(call, words)
    values = _directed(call, script, path) | from_env | given
    site.check_clusters(call, values.get("clusters", ""))
    need = common(call, values, _default_name(command, path))
    array = _array(call, values)
    if "test-only" in values:
        return test_only(call, need)
    id = _queue(call, need, script, words[1:], path, array)
    _tell(call, values, id)
    return _wait(call, id) if "wait" in values else 0


def _directed(call: Call, script: bytes, path: str) -> dict[str, str]:
    try:
        return dict(directives(script, SBATCH, path or "stdin"))
    except BadOption as error:
        raise Stop(f'sbatch: {error}\nTry "sbatch --help" for more information\n', 255) from None
    except BadDirective as error:
        raise Stop(f"sbatch: {error.text}\n", error.code) from None


def _default_name(command: str | None, path: str) -> str:
    if command is not None:
        return "wrap"
    return os.path.basename(path) if path else "sbatch"


# ---------------------------------------------------------------- batch jobs


def _array(call: Call, values: Mapping[str, str]) -> ArraySpec | None:
    if not values.get("array"):
        return None
    try:
        return parse_array(values["array"])
    except BadArray:
        raise refuse(call, "Invalid job array specification") from None


def _placed(call: Call, need: Need, text: str, cwd: bytes, *, array: bool) -> bytes:
    """Give the path of an output file, patterns and all."""
    values = patterns.places(
        name=need.name, user=call.machine.user, host=call.machine.host, array=array
    )
    path = patterns.expand(text, values)
    return path if path.startswith(b"/") else os.path.join(cwd, path)


def _queue(
    call: Call, need: Need, script: bytes, words: list[str], path: str, array: ArraySpec | None
) -> str:
    values, machine = need.values, call.machine
    cwd = call.path(values["chdir"]) if values.get("chdir") else call.cwd or b"/"
    default = "slurm-%A_%a.out" if array else "slurm-%j.out"
    out = values.get("output") or default
    err = values.get("error") or out
    kept_env, added = environment.exported(call.env, values.get("export"))
    threads, untouched = environment.own_threads(kept_env)
    facts = {
        "name": need.name, "partition": need.partition, "account": need.account,
        "qos": values.get("qos", "normal"), "submit_dir": os.fsdecode(call.cwd),
    }  # fmt: skip
    host, user = machine.host, machine.user
    told = environment.allocation(need.request, values, host=host, user=user, facts=facts)
    told |= environment.batch(need.request, host=host, user=user)
    if array:
        told |= environment.array_variables(values["array"])
    spooled = machine.spool(script, "slurm_script")
    argv = (spooled, *(os.fsencode(word) for word in words))
    if values.get("input"):
        source = _placed(call, need, values["input"], cwd, array=False)
        argv = (b"/bin/sh", b"-c", b'in=$0; exec "$@" <"$in"', source, *argv)
    warning = parse_signal(values.get("signal", "")) or (0, 0.0, False)
    launch = Launch(
        argv=argv,
        cwd=cwd,
        umask=call.umask,
        env_set={**threads, **added, **{os.fsencode(n): v for n, v in told.items()}},
        env_unset=untouched,
        stdout=_placed(call, need, out, cwd, array=bool(array)),
        stderr=_placed(call, need, err, cwd, array=bool(array)),
        append=values.get("open-mode", "t").lower().startswith("a"),
        # Without `B:` the steps are signalled, which srun does.
        warn_signal=warning[0] if warning[2] else 0,
        warn_before_s=warning[1],
        warn_first=True,
        soft_memory=not call.settings.strict,
        notes=notes(host),
        fills=True,
    )
    kept = extra(call, need, "batch", workdir=os.fsdecode(cwd), stdout=out, stderr=err)
    if values.get("input"):
        kept.options["stdin"] = values["input"]
    kept.command, kept.script = path, os.fsdecode(spooled)
    wanted = fields(call, need, array)
    if not need.begin and not (_has_folder(launch.stdout) and _has_folder(launch.stderr)):
        wanted["begin"] = time.time() + _SETTLE_S
        kept.options["settles"] = "yes"
    return submit(call, launch, wanted, kept, kept_env)


def _has_folder(path: bytes | None) -> bool:
    folder = os.path.dirname(path or b"/")
    return b"\0" not in folder and os.path.isdir(folder)


def _tell(call: Call, values: Mapping[str, str], id: str) -> None:
    if "parsable" in values:
        call.out(f"{id};{environment.CLUSTER}\n" if values.get("clusters") else f"{id}\n")
    elif "quiet" not in values:
        more = f" on cluster {environment.CLUSTER}" if values.get("clusters") else ""
        call.out(f"Submitted batch job {id}{more}\n")


def _wait(call: Call, id: str) -> int:
    call.machine.wait([id])
    codes = [jobs.View(row).exit_code for row in jobs.find(call.machine, [id])]
    return max((1 if number else code for code, number in codes), default=0)
