"""Frames: what goes in comes out, however the bytes are cut."""

import struct
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.errors import ProtocolError
from cluster.local import wire
from cluster.spec import Dependency, JobSpec

MESSAGES = [
    wire.Hello(1, "0.1.0", 4711),
    wire.Submit(
        1, b"key", (JobSpec(name="a", dependencies=(Dependency("3"),)),), {"h": {b"A": b"\xff"}}
    ),
    wire.Watch(2, ("1", "2_3"), True),
]  # fmt: skip


@settings(derandomize=True, deadline=None)
@given(cuts=st.lists(st.integers(0, 600), max_size=8))
def test_messages_survive_any_cut_of_the_stream(cuts):
    stream = wire.frame(MESSAGES[:1]) + wire.frame(MESSAGES[1:])
    reader = wire.Reader(wire.Request)
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]

    got = [m for a, b in pairwise(edges) for m in reader.feed(stream[a:b])]

    assert [type(m) for m in got] == [type(m) for m in MESSAGES]
    assert got[0] == MESSAGES[0]
    assert got[1].envs == {"h": {b"A": b"\xff"}}


def test_a_frame_of_impossible_length_is_refused():
    with pytest.raises(ProtocolError, match="not a message of ours"):
        list(wire.Reader(wire.Request).feed(b"GET / HTTP/1.1\r\n\r\n"))


def test_garbage_inside_a_frame_is_refused():
    with pytest.raises(ProtocolError, match="cannot be read"):
        list(wire.Reader(wire.Request).feed(struct.pack("<I", 3) + b"\xc1\xc1\xc1"))


def test_a_message_of_the_other_direction_is_refused():
    frame = wire.frame([wire.Ack(1, 1)])

    with pytest.raises(ProtocolError):
        list(wire.Reader(wire.Request).feed(frame))


def test_a_field_that_was_added_later_may_be_missing():
    old = ["attached", 1, 4711, "boot"]
    body = wire.encode_value([old])

    (message,) = wire.Reader(wire.Report).feed(struct.pack("<I", len(body)) + body)

    assert message == wire.Attached(1, 4711, "boot", (), ())
