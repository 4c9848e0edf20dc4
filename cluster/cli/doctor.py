"""`cluster doctor`: what the queue found on this machine, and what is wrong with it.

It looks and changes nothing; it starts no server.  Each question is a function
that gives findings; a finding with a problem makes the exit code 1.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from cluster.cli.app import FAILED
from cluster.cli.common import json_option, local_client, print_json, print_lines, version
from cluster.cli.text import fields, safe
from cluster.errors import ClusterError
from cluster.units import format_memory, format_seconds

if TYPE_CHECKING:
    from cluster.schedulers import Probe

# File systems on which locks, sockets or SQLite's log may not work as on a disk.
_REMOTE = ("nfs", "cifs", "smb", "afs", "lustre", "gpfs", "beegfs", "fuse.sshfs", "9p", "ceph")
_LEAST_FREE_MIB = 200
_LEAST_FILES = 256


class Finding(NamedTuple):
    """One answer: what was asked, what was found, and what is wrong with that ("" nothing)."""

    about: str
    found: str
    problem: str = ""


@click.command()
@json_option
def command(as_json: bool) -> int:
    """Tell what the queue found on this machine, and what is wrong.

    Exits with 1 if something is wrong.
    """
    findings = [finding for question in QUESTIONS for finding in _ask(question)]
    problems = [finding.problem for finding in findings if finding.problem]
    if as_json:
        found = {finding.about: finding.found for finding in findings}
        print_json({"found": found, "problems": problems})
    else:
        print_lines(fields((f.about, safe(f.found)) for f in findings))
        click.echo()
        print_lines([f"wrong: {safe(p)}" for p in problems] or ["Nothing is wrong."])
    return FAILED if problems else 0


def _ask(question: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """Give the findings of one question; a doctor must not fall ill himself."""
    try:
        yield from question()
    except (ClusterError, OSError) as error:
        yield Finding(question.__name__.strip("_").replace("_", " "), "unknown", str(error))


def _python() -> Iterator[Finding]:
    import cluster

    yield Finding("python", f"{platform.python_version()}, {sys.executable}")
    yield Finding("package", f"cluster {version()}, {os.path.dirname(cluster.__file__ or '')}")
    yield Finding("system", f"{platform.system()} {platform.release()}")
    if not hasattr(os, "pidfd_open"):
        yield Finding("pidfd", "not available: ends of jobs are noticed by other means")


def _state_directory() -> Iterator[Finding]:
    from cluster.local import election, places

    path = places.state_dir()
    kind = election.filesystem_of(path)
    remote = kind.startswith(_REMOTE)
    yield Finding(
        "state directory",
        path,
        f"{path} is on a network file system ({kind}), where locks may not hold. "
        "Set CLUSTER_STATE_DIR to a directory on a local disk." if remote else "",
    )  # fmt: skip
    room = os.statvfs(path)
    free = room.f_bavail * room.f_frsize // 2**20
    yield Finding(
        "file system",
        f"{kind}, {free} MiB free",
        f"only {free} MiB are free for the queue in {path}. Make room."
        if free < _LEAST_FREE_MIB else "",
    )  # fmt: skip


def _capacity() -> Iterator[Finding]:
    from cluster import config_file
    from cluster.local.capacity import capacity

    local = config_file.get("local")
    found = capacity(
        {
            "cores": local.get("cores"),
            "memory_mib": local.get("memory"),
            "gpus": local.get("gpus"),
            "resources": local.get("resources"),
        }
    )
    yield Finding("cores", f"{found.cores}: {found.why['cores']}")
    yield Finding("memory", f"{format_memory(found.memory_mib)}: {found.why['memory']}")
    yield Finding("gpus", f"{len(found.gpus)}: {found.why['gpus']}")
    if found.resources:
        named = ", ".join(f"{count} {name}" for name, count in found.resources.items())
        yield Finding("named resources", f"{named}: configured")


def _memory_limits() -> Iterator[Finding]:
    from cluster.local.memory_limit import memory_enforcement

    how, why = memory_enforcement()
    yield Finding("memory limits", f"by {how}: {why}" if how != "watching" else f"{how}: {why}")


def _limits() -> Iterator[Finding]:
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = soft != resource.RLIM_INFINITY and soft < _LEAST_FILES
    yield Finding(
        "open files",
        "no limit" if soft == resource.RLIM_INFINITY else str(soft),
        f"a process may open only {soft} files; the queue needs {_LEAST_FILES}. "
        f"Raise it: ulimit -n {_LEAST_FILES}" if few else "",
    )  # fmt: skip
    if _ends_with_the_login():
        yield Finding(
            "logout",
            "systemd ends all processes of a user",
            "jobs are ended at logout (KillUserProcesses=yes in logind.conf). "
            "Keep them: loginctl enable-linger",
        )


def _ends_with_the_login() -> bool:
    try:
        with open("/etc/systemd/logind.conf", encoding="utf-8", errors="replace") as file:
            lines = [line.replace(" ", "").strip().lower() for line in file]
    except OSError:
        return False
    return "killuserprocesses=yes" in lines


def _server() -> Iterator[Finding]:
    client = local_client()
    if not client.alive():
        yield Finding("server", "none is running; the next job starts one")
        return
    yield from server_findings(client.control("status"), version())


def server_findings(status: dict[str, Any], ours: str) -> Iterator[Finding]:
    """Judge what the server says of itself.

    Args:
        status: its answer to `status`.
        ours: the version of this package.
    """
    theirs = str(status.get("version", "unknown"))
    yield Finding(
        "server",
        f"pid {status['pid']}, version {theirs}, up {format_seconds(status['uptime_s'])}",
        f"the server is version {theirs} and this program is {ours}. "
        "Let a new one start: cluster local stop --drain" if theirs != ours else "",
    )  # fmt: skip
    yield Finding("node", f"pid {status['node_pid']}" if status.get("node_pid") else "none yet")
    yield Finding("store", f"{status.get('store_bytes', 0) / 2**20:.1f} MiB")
    if status.get("paused"):
        yield Finding(
            "queue", "paused", "the queue is paused: no job starts. Go on: cluster local resume"
        )


def _schedulers() -> Iterator[Finding]:
    from cluster import queue, schedulers

    for qtype in schedulers.CLIENTS:
        yield scheduler_finding(schedulers.probe(qtype))
    mode = queue.get_cluster_environment()
    why = " (CLUSTER_QTYPE)" if os.environ.get("CLUSTER_QTYPE") else ""
    yield Finding("jobs go to", f"{'this machine' if mode == 'local' else mode}{why}")


def scheduler_finding(probe: Probe) -> Finding:
    """Tell what was found of one scheduler; one that is silent is no illness of ours."""
    if probe.version:
        return Finding(probe.qtype, f"{probe.version}, {probe.program}")
    if probe.problem:
        return Finding(probe.qtype, f"{probe.program} is there, nobody answers: {probe.problem}")
    return Finding(probe.qtype, "not here")


def _configuration() -> Iterator[Finding]:
    from cluster import config_file

    where = dict.fromkeys(source.where for source in config_file.sources())
    used = [path for path in where if path != "default"]
    yield Finding("configuration", ", ".join(used) or "built-in values only")


QUESTIONS = (
    _python,
    _state_directory,
    _configuration,
    _capacity,
    _memory_limits,
    _limits,
    _server,
    _schedulers,
)
