"""`cluster show`: all about a job, above all why it waits or why it failed."""

from __future__ import annotations

import os
import shlex
import time

import click

from cluster.cli.common import (
    get_client,
    ids_argument,
    json_option,
    look_up,
    print_json,
    print_lines,
    read_ids,
)
from cluster.cli.text import (
    elapsed_s,
    exit_text,
    fields,
    path_text,
    plain,
    reason_text,
    safe,
    state_text,
    when,
    why_waiting,
)
from cluster.local.wire import JobInfo
from cluster.spec import Launch
from cluster.units import format_memory, format_seconds


@click.command()
@ids_argument
@click.option("--elements", is_flag=True, help="Each element of an array by itself.")
@json_option
def command(ids: tuple[str, ...], elements: bool, as_json: bool) -> int:
    """Show all about jobs: what they run, need and used, and why they wait."""
    client = get_client()
    jobs, code = look_up(client, read_ids(ids))
    if elements and jobs:
        jobs = client.query(ids=tuple(job.id for job in jobs), elements=True)
    shown = [(job, client.describe(job.id)) for job in jobs]
    if as_json:
        print_json([plain(job) | {"launch": launch_facts(launch)} for job, launch in shown])
    else:
        now = time.time()
        print_lines("\n\n".join("\n".join(job_lines(j, x, now=now)) for j, x in shown).split("\n"))
    return code


def launch_facts(launch: Launch) -> dict[str, object]:
    """Choose what may be printed: no payload, and no values of the environment."""
    return {
        "argv": launch.argv,
        "calls": launch.calls,
        "cwd": launch.cwd,
        "python": launch.python,
        "env_set": sorted(launch.env_set),
        "env_unset": launch.env_unset,
        "append": launch.append,
    }


def job_lines(job: JobInfo, launch: Launch, *, now: float) -> list[str]:
    """Write one job for people, what matters most first.

    Args:
        now: seconds since the epoch.
    """
    waiting = why_waiting(job, now)
    return fields(
        [
            ("job", f"{job.id}  {safe(job.name)}"),
            ("state", state_text(job)),
            ("why is it waiting", waiting),
            ("reason", "" if waiting else reason_text(job)),
            ("result", "" if exit_text(job) in job.reason else exit_text(job)),
            ("command", command_text(launch.argv)),
            ("calls", safe(launch.calls)),
            ("directory", path_text(launch.cwd)),
            ("needs", needs_text(job)),
            ("limit", format_seconds(job.walltime_s) if job.walltime_s else ""),
            ("expected to run", format_seconds(job.expect_s) if job.expect_s else ""),
            ("waits for", safe(", ".join(job.dependencies))),
            ("priority", str(job.priority) if job.priority else ""),
            *_times(job, now),
            *_usage(job),
            ("attempt", str(job.attempt) if job.attempt > 1 else ""),
            ("stdout", path_text(launch.stdout) or f"kept: cluster logs {job.id}"),
            ("stderr", path_text(launch.stderr) or f"kept: cluster logs -e {job.id}"),
            ("sets", path_text(b" ".join(sorted(launch.env_set)))),
            ("comment", safe(job.comment)),
        ]
    )


def _times(job: JobInfo, now: float) -> list[tuple[str, str]]:
    moments = [
        ("submitted", job.submitted),
        ("not before", job.begin),
        ("expected start", 0.0 if job.started else job.expected_start),
        ("started", job.started),
        ("ended", job.ended),
    ]
    shown = [(name, when(moment, now)) for name, moment in moments if moment]
    if job.started:
        shown.append(("ran", _length(elapsed_s(job, now))))
    return shown


def _length(seconds: float) -> str:
    return f"{seconds:.2f}s" if seconds < 60 else format_seconds(int(seconds))


def _usage(job: JobInfo) -> list[tuple[str, str]]:
    where = " ".join(filter(None, (safe(job.host), f"pid {job.pid}" if job.pid else "")))
    return [
        ("cpu time", f"{job.cpu_s:.2f}s" if job.cpu_s else ""),
        ("peak memory", f"{job.peak_memory_mib:.0f}M" if job.peak_memory_mib else ""),
        ("gpus given", " ".join(map(str, job.gpu_indices))),
        ("where", where),
    ]


def needs_text(job: JobInfo) -> str:
    """Write what a job takes: `2 cores, 4G memory, 1 license`."""
    parts = [f"{job.cores} core{'s' if job.cores != 1 else ''}"]
    if job.memory_mib:
        parts.append(f"{format_memory(job.memory_mib)} memory")
    if job.gpus:
        parts.append(f"{job.gpus} gpu{'s' if job.gpus != 1 else ''}")
    return safe(", ".join(parts + [f"{n} {name}" for name, n in job.resources.items()]))


def command_text(argv: tuple[bytes, ...]) -> str:
    """Write a command so that a shell would read it back, as far as it is printable."""
    return safe(shlex.join(map(os.fsdecode, argv)))
