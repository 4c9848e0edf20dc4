"""The pretended cluster in LSF's terms: its queues and hosts, and what every command shares."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cluster.emulation.call import Call, Stop
from cluster.emulation.lsf import conf
from cluster.emulation.lsf.getopt import BadOption, Table, read
from cluster.emulation.settings import Partition

__all__ = ["DEFAULT_QUEUE", "banner", "options", "partition", "queue", "queues"]

DEFAULT_QUEUE = "normal"


def banner() -> str:
    """Say which LSF this is, as -V and lsid do."""
    return (
        f"IBM Spectrum LSF Standard {conf.VERSION}, Jun 15 2022\n"
        "Copyright International Business Machines Corp. 1992, 2016.\n"
        "US Government Users Restricted Rights - Use, duplication or disclosure restricted by "
        "GSA ADP Schedule Contract with IBM Corp.\n"
    )


def options(
    call: Call, table: Table, usage: str = "", *, mixed: bool = True
) -> tuple[dict[str, str], list[str]]:
    """Read a command line; what is wrong with it, -h and -V end the call."""
    try:
        found, words = read({"h": False, "V": False, **table}, call.argv, mixed=mixed)
    except BadOption as bad:
        text = bad.told(call.command).replace("illegal option -- ", "invalid option -- ")
        raise Stop(text + usage, 255) from None
    given = dict(found)
    if "V" in given:
        raise Stop(banner(), 0)
    if "h" in given:
        raise Stop(usage or f"Usage: {call.command} [-h] [-V] ...\n", 0)
    return given, words


# ---------------------------------------------------------------- queues


def default_queue(call: Call) -> str:
    """Name the queue of jobs that name none."""
    configured = [one.name for one in call.settings.partitions]
    return configured[0] if configured and DEFAULT_QUEUE not in configured else DEFAULT_QUEUE


def queue(call: Call, asked: str | None) -> str:
    """Choose the queue of a new job; of several, the first that is there.

    Raises:
        Stop: there is none of these.
    """
    text = asked or call.variable("LSB_DEFAULTQUEUE") or default_queue(call)
    for name in text.split():
        if exists(call, name):
            return name
    raise Stop(f"{text}: No such queue. Job not submitted.\n", 255)


def exists(call: Call, name: str) -> bool:
    """Tell whether a queue is there; unless the cluster was shaped, each one is."""
    if call.settings.partitions:
        return name in [one.name for one in call.settings.partitions]
    return not call.settings.strict or name == DEFAULT_QUEUE


def partition(call: Call, name: str) -> Partition:
    """Give what a queue was shaped to."""
    for one in call.settings.partitions:
        if one.name == name:
            return one
    return Partition(name=name)


def queues(call: Call, used: Iterable[str]) -> Sequence[Partition]:
    """Give the queues: those configured, else the default one and those in use."""
    if call.settings.partitions:
        return call.settings.partitions
    names = dict.fromkeys([DEFAULT_QUEUE, *sorted(set(used))])
    return [Partition(name=name) for name in names if name]
