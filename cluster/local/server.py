"""The server of a queue, one per user and host: how it comes to be.

It imports little: whoever wins the election first has a node started, which
takes as long as the rest of the server's own start and so costs no time.
"""

from __future__ import annotations

import gc
import os
import socket
from collections.abc import Callable, Mapping
from typing import Any

from cluster.errors import ServerUnavailable
from cluster.local.election import Election
from cluster.local.lifecycle import Starting, begin_daemon, socket_path

__all__ = ["begin_node", "configured", "main"]


def main(
    state_dir: str,
    *,
    tether_fd: int | None,
    private: bool,
    settings: Mapping[str, Any],
    ready: Callable[[], None],
) -> None:
    """Be the server of `state_dir` until it is idle or told to leave.

    Returns at once if another process is the server.

    Args:
        state_dir: the queue's directory.
        tether_fd: everything ends when this pipe's other end is closed.
        private: the queue ends with its maker: nothing is synced to disk.
        settings: of the queue, over the configuration.
        ready: called when clients can connect.
    """
    election = Election(state_dir)
    if not election.won():
        return
    settings = {**configured(private), **settings}
    starting_node = begin_node(state_dir, settings, private=private, tether_fd=tether_fd)
    from cluster.local.serving import Server

    # With 100,000 jobs each search for cycles walks a million objects, and there are hardly
    # any cycles: 3 us less for each job of a list, and no decision that takes 0.3 ms.
    gc.set_threshold(20_000, 20, 50)
    server = Server(
        state_dir,
        election,
        private=private,
        settings=settings,
        tether_fd=tether_fd,
        starting_node=starting_node,
    )
    try:
        server.open()
        ready()
        server.run()
    finally:
        server.close()
        election.resign()


def begin_node(
    state_dir: str, settings: Mapping[str, Any], *, private: bool, tether_fd: int | None
) -> Starting | None:
    """Begin to start a node, unless one answers or none can be started now."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(os.fsencode(socket_path(state_dir, "node")))
        except OSError:
            pass
        else:
            return None
    try:
        return begin_daemon(
            "node", state_dir, settings={**settings, "private": private}, tether_fd=tether_fd
        )
    except ServerUnavailable:
        return None  # `NodeLink` tries again, and says why


def configured(private: bool) -> dict[str, Any]:
    """Give the configuration of server and node; a private queue has its maker's only.

    Raises:
        ConfigError: a file or a value in it is wrong.
    """
    if private:
        return {}
    from cluster import config_file

    found = {**(config_file.get("local") or {}), **(config_file.get("retention") or {})}
    if (memory := found.pop("memory", None)) is not None:
        found["memory_mib"] = memory
    return found
