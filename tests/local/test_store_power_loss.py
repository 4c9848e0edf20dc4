"""Power loss and bad disks: of the store's file and its WAL, any end may be missing or wrong.

What SQLite promises is not taken for granted: a log of turns is written through
the real store, its two files are cut or changed at many places as a disk might,
and what is opened again must be the first so many turns, each one whole.
"""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from cluster.errors import QueueError
from cluster.local.events import Changes, Job
from cluster.local.store import Store
from cluster.local.wire import Content, Output
from cluster.spec import JobSpec, Launch

TURNS = 40
JOBS_A_TURN = 3
LAUNCH = msgspec.Raw(msgspec.msgpack.encode(Launch(argv=(b"true",))))
SPEC = JobSpec(name="j", launch=LAUNCH)
SAMPLES = 120


def turn(number: int) -> Changes:
    """One turn: new jobs under a key, and the end of those of the turn before."""
    ids = [number * JOBS_A_TURN + each + 1 for each in range(JOBS_A_TURN)]
    changes = Changes(
        requests={id: SPEC for id in ids},
        keys={b"key %d" % number: [str(id) for id in ids]},
        meta={"next_id": ids[-1] + 1, "turn": number},
    )
    for id in ids:
        changes.jobs[id] = job(id, "PENDING")
        if number:
            before = id - JOBS_A_TURN
            changes.jobs[before] = job(before, "COMPLETED", ended=float(number))
            changes.contents[before] = Content(stdout=Output(b"said by %d" % before * 40))
    return changes


def job(id: int, state: str, **fields: float) -> Job:
    return Job(id=id, label=str(id), spec=SPEC, need=(1, 0, 0), state=state, **fields)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """The files of a store whose server and machine stopped at once: (database, WAL)."""
    path = tmp_path_factory.mktemp("written") / "queue.db"
    store = Store(path)
    for number in range(TURNS):
        store.commit(turn(number), float(number))
        if number == TURNS // 2:
            store._db.execute("PRAGMA wal_checkpoint")
    files = path.read_bytes(), path.with_name("queue.db-wal").read_bytes()
    store.close()
    return files


@pytest.fixture
def folder() -> Iterator[Path]:
    """In memory where that is possible: many small files, and none of them matters."""
    root = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    import tempfile

    path = Path(tempfile.mkdtemp(prefix="cl-", dir=root))
    yield path
    shutil.rmtree(path)


def reopen(folder: Path, database: bytes, wal: bytes) -> Store:
    """Open what a disk gave back."""
    path = folder / "queue.db"
    for each in folder.iterdir():
        each.unlink()
    path.write_bytes(database)
    path.with_name("queue.db-wal").write_bytes(wal)
    return Store(path, durable=False)


def turns_in(store: Store) -> int:
    """Count the turns of a store, and check that it holds these, whole, and no other."""
    last = store.meta().get("turn")
    turns = 0 if last is None else last + 1
    ids = range(1, turns * JOBS_A_TURN + 1)
    open_ids = list(ids)[-JOBS_A_TURN:] if turns else []
    unfinished, arrays = store.unfinished()
    assert [each.id for each in unfinished] == open_ids
    assert arrays == []
    closed = store.select(states=(), since=0.0, limit=0, namespace="", elements=False)
    assert [each.id for each in closed] == [id for id in ids if id not in open_ids]
    for number in range(turns):
        expected = [str(number * JOBS_A_TURN + each + 1) for each in range(JOBS_A_TURN)]
        assert store.labels(b"key %d" % number) == expected
    assert store.labels(b"key %d" % turns) is None
    assert all(store.launch(id) == bytes(LAUNCH) for id in ids)
    assert store.content(1).stdout.data == (b"said by 1" * 40 if turns > 1 else b"")
    return turns


def checkpointed() -> int:
    return TURNS // 2 + 1


def test_row_19_nothing_is_lost_when_the_files_are_as_they_were(
    written: tuple[bytes, bytes], folder: Path
) -> None:
    store = reopen(folder, *written)

    assert turns_in(store) == TURNS
    store.close()


def test_row_19_any_missing_end_of_the_wal_leaves_the_first_turns_whole(
    written: tuple[bytes, bytes], folder: Path
) -> None:
    database, wal = written
    rng = random.Random(19)
    found = []

    for size in sorted(rng.sample(range(len(wal)), SAMPLES)):
        store = reopen(folder, database, wal[:size])
        found.append(turns_in(store))
        store.close()

    assert found == sorted(found)
    assert len(set(found)) > TURNS // 4
    assert max(found) <= TURNS


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_row_20_a_wrong_byte_in_the_wal_cuts_it_there(
    seed: int, written: tuple[bytes, bytes], folder: Path
) -> None:
    database, wal = written
    rng = random.Random(seed)
    found = []

    for at in rng.sample(range(len(wal)), SAMPLES // 3):
        broken = bytearray(wal)
        broken[at] ^= 1 << rng.randrange(8)
        store = reopen(folder, database, bytes(broken))
        found.append(turns_in(store))
        store.close()

    assert len(set(found)) > 3


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_row_19_blocks_of_the_last_commit_in_any_order_are_all_of_it_or_nothing(
    seed: int, written: tuple[bytes, bytes], folder: Path
) -> None:
    database, wal = written
    rng = random.Random(seed)
    found = set()

    for _ in range(SAMPLES // 3):
        tail = rng.randrange(len(wal) // 2, len(wal))
        broken = bytearray(wal)
        for at in range(tail, len(wal), 512):  # a sector that never reached the disk
            if rng.random() < 0.5:
                broken[at : at + 512] = bytes(len(broken[at : at + 512]))
        store = reopen(folder, database, bytes(broken))
        found.add(turns_in(store))
        store.close()

    assert len(found) > 3


def test_row_20_a_wrong_byte_in_the_database_never_gives_another_job_its_state(
    written: tuple[bytes, bytes], folder: Path
) -> None:
    rng = random.Random(20)
    refused = whole = 0

    for at in rng.sample(range(len(written[0])), SAMPLES):
        broken = bytearray(written[0])
        broken[at] ^= 1 << rng.randrange(8)
        try:
            store = reopen(folder, bytes(broken), b"")
        except QueueError:
            refused += 1
            continue
        with suppress(sqlite3.DatabaseError, msgspec.ValidationError, msgspec.DecodeError):
            ids = [each.id for each in store.unfinished()[0]]
            whole += ids == sorted(set(ids))
        store.close()

    assert refused + whole > 0


def test_row_19_a_store_that_does_not_sync_is_whole_after_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    pid = os.fork()
    if not pid:  # dies in the middle of a transaction
        store = Store(path, durable=False)
        for number in range(5):
            store.commit(turn(number), 1.0)
        store._db.execute("BEGIN IMMEDIATE")
        store._write(turn(5), 1.0)
        os._exit(0)

    _, status = os.waitpid(pid, 0)

    assert status == 0
    store = Store(path)
    assert turns_in(store) == 5
    store.close()
