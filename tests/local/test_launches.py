"""How waiting jobs are launched, in memory within a bound."""

from __future__ import annotations

import msgspec
import pytest

from cluster.local import launches, resources
from cluster.local.events import Changes
from cluster.local.launches import Launches
from cluster.local.queue_state import QueueState
from cluster.local.store import Store
from cluster.spec import JobSpec


def spec(text: bytes) -> JobSpec:
    return JobSpec(name="j", launch=msgspec.Raw(msgspec.msgpack.encode(text)))


@pytest.fixture
def queue():
    return QueueState(resources.names(), (2, 0, 0))


@pytest.fixture
def kept(tmp_path):
    store = Store(tmp_path / "queue.db")
    yield Launches(store)
    store.close()


def test_jobs_alike_share_one_launch_until_the_last_is_over(kept, queue):
    alike = spec(b"same")
    kept.keep(Changes(requests={1: alike, 2: alike}), queue)

    kept.drop(1)

    assert kept.of(1) is None
    assert kept.of(2) == alike.launch


def test_a_shared_launch_counts_once_against_the_bound(kept, queue, monkeypatch):
    monkeypatch.setattr(launches, "LIMIT_BYTES", 40)
    alike = spec(b"x" * 20)

    kept.keep(Changes(requests={1: alike, 2: alike, 3: spec(b"y" * 20)}), queue)

    assert [kept.of(id) is not None for id in (1, 2, 3)] == [True, True, False]


def test_what_is_dropped_makes_room(kept, queue, monkeypatch):
    monkeypatch.setattr(launches, "LIMIT_BYTES", 40)
    alike = spec(b"x" * 20)
    kept.keep(Changes(requests={1: alike, 2: alike}), queue)
    kept.drop(1)
    kept.drop(2)

    kept.keep(Changes(requests={3: spec(b"y" * 20)}), queue)

    assert kept.of(3) is not None
