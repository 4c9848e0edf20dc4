"""The server's end of a connection, when the other side is slow or the turn was large."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Iterator

import pytest

from cluster.local import connections, wire
from cluster.local.connections import Connection, answer
from cluster.local.wire import Content, JobInfo, Output

INFO = JobInfo(id="1", name="job", state="COMPLETED")
MIB = 1 << 20


@pytest.fixture
def ends() -> Iterator[tuple[Connection, socket.socket]]:
    ours, theirs = socket.socketpair()
    with selectors.DefaultSelector() as selector, theirs:
        connection = Connection(ours, wire.Request, selector, "client")
        yield connection, theirs
        connection.close()


def read(connection: Connection, theirs: socket.socket) -> list[object]:
    """Read everything that was sent."""
    reader, got = wire.Reader(wire.Reply), list[object]()
    theirs.settimeout(0.05)
    try:
        while True:
            got += reader.feed(theirs.recv(MIB))
            connection.flush()
    except TimeoutError:
        return got


def test_a_turn_larger_than_a_frame_leaves_in_several(
    ends: tuple[Connection, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "SPLIT_BYTES", 1000)
    monkeypatch.setattr(wire, "MAX_FRAME", 2000)
    connection, theirs = ends
    for seq in range(100):
        connection.out.append(answer(seq, "x" * 100))

    connection.flush()

    assert [message.seq for message in read(connection, theirs)] == list(range(100))


def test_an_answer_that_fits_into_no_frame_is_a_failure_with_advice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wire, "MAX_FRAME", 10_000)

    said = answer(3, "x" * 10_000)

    assert isinstance(said, wire.Failure)
    assert (said.seq, "limit=" in said.message) == (3, True)


def test_who_does_not_read_gets_no_outputs_and_is_not_listened_to_until_it_has_read(
    ends: tuple[Connection, socket.socket],
) -> None:
    connection, theirs = ends
    content = Content(stdout=Output(data=bytes(MIB)))
    for _ in range(100):
        connection.tell(INFO, content)
    connection.out.append(answer(1, "x" * 2 * MIB))

    connection.flush()

    assert connection.is_full
    assert connection._events == selectors.EVENT_WRITE
    *got, _ = read(connection, theirs)
    assert [each.content is not None for each in got].count(True) == (connections.FULL_BYTES // MIB)
    assert len(got) == 100
    assert not connection.is_full
    assert connection._events == selectors.EVENT_READ
