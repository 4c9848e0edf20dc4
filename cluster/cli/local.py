"""`cluster local`: the server of this machine's queue.

The server starts by itself with the first client and leaves by itself when it
has been idle; these commands are for looking and for intervening.  `status`
and `stop` never start one.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import click

from cluster.cli.app import FAILED, NOT_THERE, complain
from cluster.cli.common import confirmed, json_option, local_client, print_json, print_lines
from cluster.cli.text import fields, safe, when
from cluster.cli.values import counts as read_counts
from cluster.errors import OptionsError
from cluster.states import ALL, FINAL
from cluster.units import format_memory, format_seconds, parse_memory

Status = dict[str, Any]


@click.group()
def command() -> None:
    """Steer the local queue: its server, and how much of the machine it takes."""


@command.command()
@json_option
def start(as_json: bool) -> None:
    """Start the server, if none runs."""
    client = local_client()
    client.query(ids=())  # any question but `status` starts one
    status = client.control("status")
    if as_json:
        print_json(status)
    else:
        click.echo(f"The server runs: pid {status['pid']}.")


@command.command()
@json_option
def status(as_json: bool) -> int:
    """Tell what the server does; exit with 3 if there is none."""
    answer = _ask_if_running()
    if as_json:
        print_json(answer or {"running": False})
    elif answer is None:
        click.echo("No server is running. The next job starts one, or: cluster local start")
    else:
        print_lines(status_lines(answer, now=time.time()))
    return NOT_THERE if answer is None else 0


@command.command()
@click.option("--drain", is_flag=True, help="Start no more jobs; leave when the running ended.")
@click.option("--now", "at_once", is_flag=True, help="End all running jobs, too.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def stop(drain: bool, at_once: bool, yes: bool) -> int:
    """Stop the server.

    Running jobs go on and are found again by the next server; waiting jobs
    stay in the queue until then.
    """
    if drain and at_once:
        raise click.UsageError("Either --drain or --now: they are opposites.")
    status = _ask_if_running()
    if status is None:
        if at_once:
            _end_everything()
        click.echo("No server is running.")
        return 0
    if not drain and not yes and not _is_meant(status, at_once):
        complain("nothing was stopped")
        return FAILED
    local_client().control("stop", drain=int(drain), now=int(at_once))
    if at_once:
        _end_everything()
    click.echo("The server leaves when the running jobs have ended." if drain else "Stopped.")
    return 0


def _end_everything() -> None:
    """End what the server's end leaves: an emulation, say, which would start another one."""
    from cluster.local import lifecycle

    lifecycle.stop_everything(lifecycle.state_dir())


@command.command()
def pause() -> None:
    """Start no more jobs; those that run go on."""
    local_client().control("pause")
    click.echo("Paused: no job starts until cluster local resume.")


@command.command()
def resume() -> None:
    """Start jobs again."""
    local_client().control("resume")
    click.echo("Jobs start again.")


@command.command("set")
@click.argument("what", nargs=-1, required=True, metavar="NAME=VALUE...")
@json_option
def set_(what: tuple[str, ...], as_json: bool) -> None:
    """Change how much the queue may use: cores=1, memory=4G, gpus=0, license=3.

    Running jobs are left alone; waiting ones that need more than there is keep
    waiting and say so.
    """
    client = local_client()
    client.control("set", **read_capacity(what))
    answer = client.control("status")
    if as_json:
        print_json(answer)
    else:
        click.echo(f"The queue may use {amounts(answer['capacity'])}.")


def read_capacity(texts: tuple[str, ...]) -> dict[str, int]:
    """Read `cores=1 memory=4G license=3` into what the server is told."""
    found: dict[str, int] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if name in ("memory", "mem"):
            found["memory_mib"] = parse_memory(value)
        else:
            found |= read_counts([text], "capacity")
    if found.get("cores") == 0:
        raise OptionsError("cores=0 is not possible. To start no more jobs: cluster local pause")
    return found


def amounts(resources: dict[str, int]) -> str:
    """Write what a machine has: `2 cores, 4G memory, 1 gpu`."""
    parts = []
    for name, number in resources.items():
        if not number and name != "cores":
            continue
        if name in ("memory", "memory_mib"):
            parts.append(f"{format_memory(number)} memory")
        elif name in ("cores", "gpus"):
            parts.append(f"{number} {name.removesuffix('s') if number == 1 else name}")
        else:
            parts.append(f"{number} {safe(name)}")
    return ", ".join(parts)


def status_lines(status: Status, *, now: float) -> list[str]:
    """Write the server's status for people."""
    jobs = [f"{status['counts'][s]} {s.lower()}" for s in ALL if status["counts"].get(s)]
    return fields(
        [
            ("server", f"pid {status['pid']}, version {status.get('version', '?')}"),
            ("node", f"pid {status['node_pid']}" if status.get("node_pid") else "none yet"),
            ("since", f"{when(now - status['uptime_s'], now)} "
                      f"({format_seconds(status['uptime_s'])} ago)"),
            ("state", "paused: no job starts until cluster local resume"
                      if status.get("paused") else "open"),
            ("capacity", amounts(status["capacity"])),
            ("free", amounts(status["free"])),
            ("jobs", ", ".join(jobs) or "none"),
            ("clients", str(status.get("clients", ""))),
            ("store", f"{status.get('store_bytes', 0) / 2**20:.1f} MiB"),
            ("directory", safe(str(status.get("state_dir", "")))),
        ]
    )  # fmt: skip


def _ask_if_running() -> Status | None:
    """Ask the server for its status without starting one."""
    client = local_client()
    return dict(client.control("status")) if client.alive() else None


def _is_meant(status: Status, at_once: bool) -> bool:
    counts: dict[str, int] = status["counts"]
    active = sum(counts.get(s, 0) for s in ("RUNNING", "SUSPENDED"))
    waiting = sum(counts.get(s, 0) for s in ALL if s not in FINAL) - active
    if not active and not (waiting and not at_once):
        return True
    fate = "will be ended" if at_once else "go on"
    story = f"{active} running jobs {fate}, {waiting} wait until a server is started again."
    if not sys.stdin.isatty():
        raise click.UsageError(f"{story} To do it without being asked: --yes")
    return confirmed(f"{story} Stop?")
