"""What the queue forgets, and what it keeps."""

import os
import sqlite3

import msgspec
import pytest

from cluster.local.events import Changes, Job
from cluster.local.housekeeping import DAY_S, forget_old
from cluster.local.store import Store
from cluster.local.wire import Content, Output
from cluster.spec import JobSpec, Launch

NOW = 1000 * DAY_S


@pytest.fixture
def store(tmp_path):
    for folder in ("outputs", "payloads"):
        (tmp_path / folder).mkdir()
    found = Store(tmp_path / "queue.db")
    yield found
    found.close()


def add(store: Store, id: int, state: str, *, ended_days_ago: float, payload=b"", output=b""):
    launch = msgspec.Raw(msgspec.msgpack.encode(Launch(payload_file=os.fsencode(payload))))
    spec = JobSpec(name="j", launch=launch)
    ended = NOW - ended_days_ago * DAY_S if ended_days_ago else 0.0
    job = Job(id=id, label=str(id), spec=spec, need=(1, 0, 0), state=state, ended=ended)
    content = Content(stdout=Output(file=os.fsencode(output)))
    store.commit(Changes(requests={id: spec}, jobs={id: job}, contents={id: content}), NOW)


def old_file(path):
    path.write_text("x")
    os.utime(path, (0, 0))
    return path


def test_outputs_go_after_their_time_and_files_of_the_user_never(store, tmp_path):
    own, named = old_file(tmp_path / "outputs" / "1.1.out"), old_file(tmp_path / "mine.txt")
    add(store, 1, "COMPLETED", ended_days_ago=31, output=own)
    add(store, 2, "COMPLETED", ended_days_ago=31, output=named)

    forget_old(store, str(tmp_path), {}, NOW)

    assert not own.exists()
    assert named.exists()
    assert store.content(1) == Content()
    assert store.known("1").state == "COMPLETED"


def test_large_arguments_stay_while_a_job_may_need_them(store, tmp_path):
    paths = {name: old_file(tmp_path / "payloads" / name) for name in ("held", "recent", "ended")}
    add(store, 1, "HELD", ended_days_ago=0, payload=paths["held"])
    add(store, 2, "COMPLETED", ended_days_ago=2, payload=paths["recent"])
    add(store, 3, "COMPLETED", ended_days_ago=31, payload=paths["ended"])
    fresh = tmp_path / "payloads" / "being-submitted"
    fresh.write_text("x")
    os.utime(fresh, (NOW, NOW))

    forget_old(store, str(tmp_path), {}, NOW)

    left = sorted(os.listdir(tmp_path / "payloads"))
    assert left == ["being-submitted", "held", "recent"]


def test_large_outputs_of_earlier_attempts_go_too(store, tmp_path):
    last, first, lost, open_ = (
        old_file(tmp_path / "outputs" / name)
        for name in ("1.2.out", "1.1.out", "7.1.res", "2.1.out")
    )
    add(store, 1, "COMPLETED", ended_days_ago=1, output=last)
    add(store, 2, "RUNNING", ended_days_ago=0)

    forget_old(store, str(tmp_path), {}, NOW)

    assert (last.exists(), open_.exists()) == (True, True)
    assert (first.exists(), lost.exists()) == (False, False)


def test_the_retention_can_be_set(store, tmp_path):
    add(store, 1, "COMPLETED", ended_days_ago=2)

    forget_old(store, str(tmp_path), {"records_days": 1.0}, NOW)

    assert store.find("1") is None
    assert store.known("1").state == "COMPLETED"


def test_more_than_one_round_can_take_is_said_and_all_of_it_goes_in_the_end(store, tmp_path):
    for id in range(1, 1502):
        add(store, id, "COMPLETED", ended_days_ago=91)

    again = [forget_old(store, str(tmp_path), {}, NOW) for _ in range(2)]

    assert again == [True, False]
    assert store.select(states=(), since=0.0, limit=0, namespace="", elements=True) == []
    assert store.known("1").state == "COMPLETED"


def test_environments_and_run_times_go_with_the_last_that_needs_them(store, tmp_path):
    for id, (hash, days) in enumerate((("old", 91), ("new", 1)), start=1):
        store.keep_env(hash, {b"A": b"1"})
        launch = msgspec.Raw(msgspec.msgpack.encode(Launch(env=hash)))
        spec = JobSpec(name="j", launch=launch)
        ended = NOW - days * DAY_S
        job = Job(id=id, label=str(id), spec=spec, need=(1,), state="COMPLETED", ended=ended)
        store.commit(Changes(requests={id: spec}, jobs={id: job}), NOW)
    store.commit(Changes(run_times={"1 seldom": [1.0], "1 often": [1.0]}), NOW)
    connected = forget_old(store, str(tmp_path), {}, NOW, None), store.env("old")

    forget_old(store, str(tmp_path), {}, NOW, {"1 often"})

    assert connected == (False, {b"A": b"1"})
    assert (store.env("old"), store.env("new")) == (None, {b"A": b"1"})
    assert [key for key, _, _ in store.run_times()] == ["often"]


def test_what_could_not_be_forgotten_keeps_nothing_from_being_written(store, tmp_path):
    add(store, 1, "COMPLETED", ended_days_ago=91)
    store._db.set_authorizer(
        lambda action, table, *_: (action == sqlite3.SQLITE_DELETE and table == "request") * 1
    )
    with pytest.raises(sqlite3.Error):
        forget_old(store, str(tmp_path), {}, NOW)
    store._db.set_authorizer(None)

    add(store, 2, "COMPLETED", ended_days_ago=1)

    assert store.known("1").state == store.known("2").state == "COMPLETED"
    assert store.find("1") is not None
