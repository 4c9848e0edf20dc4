"""The node's loop: who is called back, and when."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator

import pytest

from cluster.local.loop import Loop

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    yield ours, theirs
    ours.close()
    theirs.close()


def run(loop: Loop, turns: int = 1) -> None:
    """Make so many turns."""
    left = iter(range(turns - 1))
    loop._stopped = False
    loop.run(lambda: None if next(left, None) is not None else loop.stop())


def test_a_reader_is_called_when_something_came(loop: Loop, pair: Pair) -> None:
    ours, theirs = pair
    heard: list[bytes] = []
    loop.watch(ours.fileno(), lambda: heard.append(ours.recv(10)))
    theirs.send(b"hi")

    run(loop)

    assert heard == [b"hi"]


def test_an_end_is_for_reader_and_writer(loop: Loop, pair: Pair) -> None:
    ours, theirs = pair
    called: list[str] = []
    loop.watch(ours.fileno(), lambda: called.append("reader"))
    loop.watch_writable(ours.fileno(), lambda: called.append("writer"))
    theirs.close()

    run(loop)

    assert called == ["reader", "writer"]


def test_who_is_no_longer_interested_is_not_called(loop: Loop, pair: Pair) -> None:
    ours, theirs = pair
    called: list[str] = []
    loop.watch(ours.fileno(), lambda: called.append("reader"))
    loop.watch_writable(ours.fileno(), lambda: called.append("writer"))
    theirs.send(b"hi")

    loop.watch_writable(ours.fileno(), None)
    run(loop)
    loop.unwatch(ours.fileno())
    loop.later(0.0, lambda: called.append("timer"))
    run(loop)

    assert called == ["reader", "timer"]


def test_one_that_was_closed_while_it_was_watched_is_dropped(
    loop: Loop, caplog: pytest.LogCaptureFixture
) -> None:
    fd, other = os.pipe()
    loop.watch(fd, lambda: None)
    os.close(fd)
    os.close(other)

    with caplog.at_level(logging.ERROR):
        run(loop)
    loop.later(0.01, loop.stop)
    turns: list[int] = []
    loop._stopped = False
    loop.run(lambda: turns.append(1))

    assert f"descriptor {fd} was closed" in caplog.text
    assert len(turns) == 1  # it waited for the timer


def test_timers_come_in_order_and_one_that_is_cancelled_never(loop: Loop) -> None:
    called: list[str] = []
    loop.later(0.02, lambda: called.append("second"))
    loop.later(0.01, lambda: called.append("first"))
    loop.later(0.015, lambda: called.append("never")).cancel()
    loop.later(0.03, loop.stop)

    loop.run(lambda: None)

    assert called == ["first", "second"]


def test_an_error_in_a_callback_is_logged_and_survived(
    loop: Loop, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise KeyError("oh")

    loop.later(0.0, fail)
    loop.later(0.01, loop.stop)

    loop.run(lambda: None)

    assert "KeyError" in caplog.text
