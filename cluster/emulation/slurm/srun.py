"""srun and salloc: tasks that run as children of the command, with the job's cores."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from cluster.emulation.call import Call, Stop
from cluster.emulation.machine import Row
from cluster.emulation.slurm import environment, jobs, site
from cluster.emulation.slurm.allocation import Allocation, allocate
from cluster.emulation.slurm.jobs import View
from cluster.emulation.slurm.need import Need, common, test_only
from cluster.emulation.slurm.options import SALLOC, SRUN, BadValue, check, of_environment
from cluster.emulation.slurm.request import Request, of_values, tasks_per_node
from cluster.emulation.slurm.running import Room, run_command, run_step
from cluster.emulation.slurm.step_tasks import Step
from cluster.emulation.slurm.usage import usage

__all__ = ["salloc", "srun"]


def srun(call: Call) -> int:
    """Run tasks: a step of the job that we are in, or a job of its own."""
    typed, words = site.options(call, SRUN, stop=True, code=255)
    given = dict(typed)
    if "version" in given:
        call.out(site.VERSION + "\n")
        return 0
    if "help" in given or "usage" in given:
        call.out(usage("srun", "executable [args...]", SRUN))
        return 0
    if "het-group" in given:
        site.fail(call, site.NO_HET)
    if not words:
        site.fail(call, "No command given to execute.", kind="fatal")
    values = of_environment("r", call.variable) | given
    values["job-name"] = given.get("job-name", "")  # a job's own name is not its steps'
    job = given.get("jobid") or call.variable("SLURM_JOB_ID") or call.variable("SLURM_JOBID")
    if job and "test-only" not in given:
        return _inside(call, values, given, words, job)
    need = common(call, given, os.path.basename(words[0]))
    if "test-only" in given:
        return test_only(call, need)
    with allocate(call, need, "srun") as allocation:
        allocation.wait()
        row = _started(call, allocation)
        told = _variables(call, need, allocation.id, row)
        step = Step(
            row=row,
            values=values,
            words=words,
            request=need.request,
            variables=told,
            over=allocation.over,
        )
        code, signal = run_step(call, step)
        allocation.give_back(code, signal)
        return 128 + signal if signal else code


def _inside(
    call: Call,
    values: Mapping[str, str],
    given: Mapping[str, str],
    words: list[str],
    job: str,
) -> int:
    try:
        check(values)
    except BadValue as bad:
        site.fail(call, bad.text, bad.code)
    rows = jobs.find(call.machine, [job]) if "jobid" in given else jobs.of_environment(call, job)
    row = next((row for row in rows if not row.is_array), None)
    if row is None or row.info.state not in jobs.LIVE:
        call.err(
            f"srun: error: Unable to confirm allocation for job {job}: Invalid job id specified\n"
        )
        text = f"srun: Check SLURM_JOB_ID environment variable. Expired or invalid job {job}\n"
        raise Stop(text, 1)
    request = _within(values, given, row)
    raw = View(row).raw
    cores = request.ntasks * request.cpus_per_task
    if cores > row.extra.cores and "overcommit" not in values:
        site.fail(
            call,
            f"Unable to create step for job {raw}: More processors requested than permitted",
        )
    shares = "overlap" in values or "interactive" in values
    is_exact = values.keys() & {"exact", "exclusive"} or "cpus-per-task" in given
    wanted = 0 if shares else cores if is_exact else row.extra.cores
    is_ours = call.variable("SLURM_JOB_ID") == str(raw)
    told = {} if is_ours else _of_job(call, row)
    step = Step(row=row, values=values, words=words, request=request, variables=told)
    with Room(call, raw, row.info.attempt, wanted, row.extra.cores):
        code, signal = run_step(call, step)
    return 128 + signal if signal else code


def _of_job(call: Call, row: Row) -> dict[bytes, bytes]:
    """Give the variables of a job for a step that is started from outside of it."""
    extra, host, id = row.extra, call.machine.host, View(row).raw
    cpus = tasks_per_node(extra.cores, extra.nodes)
    found = {
        "SLURM_CLUSTER_NAME": environment.CLUSTER, "SLURM_JOB_ACCOUNT": extra.account,
        "SLURM_JOB_CPUS_PER_NODE": cpus, "SLURM_JOB_ID": id, "SLURM_JOBID": id,
        "SLURM_JOB_NAME": row.info.name, "SLURM_JOB_NODELIST": host,
        "SLURM_JOB_NUM_NODES": extra.nodes, "SLURM_JOB_PARTITION": extra.partition,
        "SLURM_JOB_QOS": extra.options.get("qos", "normal"), "SLURM_NODELIST": host,
        "SLURM_SUBMIT_DIR": os.fsdecode(call.cwd), "SLURM_SUBMIT_HOST": host,
    }  # fmt: skip
    return {name.encode(): os.fsencode(str(value)) for name, value in found.items()}


def _within(values: Mapping[str, str], given: Mapping[str, str], row: Row) -> Request:
    """Work out how many tasks a step has; a count that was typed wins over the job's."""
    chosen = dict(values)
    if "ntasks" not in given and given.keys() & {"ntasks-per-node", "nodes"}:
        chosen.pop("ntasks", None)
        if "nodes" in given and "ntasks-per-node" not in given and "ntasks" in values:
            chosen["ntasks"] = values["ntasks"]
    if "nodes" not in chosen:
        chosen["nodes"] = "1"
    if "nodes" not in given and "ntasks" in chosen:
        chosen["nodes"] = str(min(int(_digits(chosen["nodes"])), int(_digits(chosen["ntasks"]))))
    return of_values(chosen)


def _digits(text: str) -> str:
    match = re.match(r"\d+", text)
    return match[0] if match else "1"


def _started(call: Call, allocation: Allocation) -> Row:
    row = call.machine.row(allocation.id)
    if row is None:
        raise Stop(f"{call.command}: Job allocation {allocation.id} has been revoked\n", 1)
    return row


def _variables(call: Call, need: Need, id: str, row: Row) -> dict[bytes, bytes]:
    facts: dict[str, Any] = {
        "name": need.name, "partition": need.partition, "account": need.account,
        "qos": need.values.get("qos", "normal"), "submit_dir": os.fsdecode(call.cwd),
    }  # fmt: skip
    host, user = call.machine.host, call.machine.user
    found = environment.allocation(need.request, need.values, host=host, user=user, facts=facts)
    found |= {"SLURM_JOB_ID": id.encode(), "SLURM_JOBID": id.encode()}
    return {os.fsencode(name): value for name, value in found.items()}


# ---------------------------------------------------------------- salloc


def salloc(call: Call) -> int:
    """Hold cores while a command runs, a shell by default."""
    typed, words = site.options(call, SALLOC, stop=True, code=255)
    given = dict(typed)
    if "version" in given:
        call.out(site.VERSION + "\n")
        return 0
    if "help" in given or "usage" in given:
        call.out(usage("salloc", "[command [args...]]", SALLOC))
        return 0
    values = of_environment("a", call.variable) | given
    need = common(call, values, "interactive")
    is_quiet = "quiet" in values
    with allocate(call, need, "salloc") as allocation:
        allocation.wait()
        if not is_quiet:
            call.err(f"salloc: Granted job allocation {allocation.id}\n")
        row = _started(call, allocation)
        code = _command(call, need, words, row, allocation)
        if not is_quiet:
            call.err(f"salloc: Relinquishing job allocation {allocation.id}\n")
        with suppress(OSError):
            allocation.give_back(0)
        return code


def _command(call: Call, need: Need, words: list[str], row: Row, allocation: Allocation) -> int:
    argv = words or [call.variable("SHELL") or "/bin/sh"]
    env = dict(call.env) | _variables(call, need, allocation.id, row)
    if not words:
        env[b"SLURM_JOB_NAME"] = b"interactive"
    return run_command(call, [os.fsencode(word) for word in argv], env, allocation.over)
