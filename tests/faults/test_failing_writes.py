"""Each call that writes fails once, or is the last one: nothing promised is lost.

`shim.c` makes the n-th of them fail below one directory.  Its calls are counted,
not listed, so one that is added to the store or the journal is tested as well.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from shim import WHY_NOT, Shim

pytestmark = [
    pytest.mark.faults,
    pytest.mark.slow,
    pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT),
]

COMMON = """
import ctypes, errno, os, shutil, signal, sys
from pathlib import Path
from cluster.local import journal
from cluster.local.events import Changes, Job
from cluster.local.store import Store
from cluster.spec import JobSpec
shim = ctypes.CDLL(None)
shim.fault_arm.argtypes = [ctypes.c_char_p, ctypes.c_int64, ctypes.c_int]
shim.fault_seen.restype = ctypes.c_int64
root = Path(sys.argv[1])
def arm(directory, at, error): shim.fault_arm(os.fsencode(directory), at, error)
def calm(): arm("", 0, 1)
def fresh(name):
    shutil.rmtree(root / name, ignore_errors=True)
    (root / name).mkdir()
    return root / name
"""
CHANGE = """
def change(id):
    spec = JobSpec(name=f"job {id}", comment="x" * 3000)
    job = Job(id=id, label=str(id), spec=spec, need=(1,), state="PENDING")
    return Changes(requests={id: spec}, jobs={id: job}, meta={"next_id": id + 1})
"""
STORE = """
import sqlite3
def life(at, error):
    folder = fresh("store")
    acked = []
    store = Store(folder / "queue.db")
    arm(folder, at, error)
    for id in range(1, 8):
        try: store.commit(change(id), 0.0)
        except sqlite3.Error: continue
        acked.append(id)
    try: store.forget(contents_before=0.0, records_before=0.0, limit=10)
    except sqlite3.Error: pass
    seen = shim.fault_seen()
    calm()
    store.commit(change(8), 0.0)  # there is room again
    store.close()
    again = Store(folder / "queue.db")
    jobs, _ = again.unfinished()
    assert [job.spec.name for job in jobs] == [f"job {job.id}" for job in jobs], jobs
    found = {job.id for job in jobs}
    assert {*acked, 8} <= found, (at, error, acked, found)
    again.close()
    return seen, len(acked)
calls, acked = life(0, errno.EIO)
assert acked == 7
refused = 0
for error in (errno.ENOSPC, errno.EIO):
    for at in range(1, calls + 1):
        refused += life(at, error)[1] < 7
print(calls, refused)
"""
SYNCED = """
def calls(durable):
    store = Store(fresh("store") / "queue.db", durable=durable)
    store.commit(change(1), 0.0)
    arm(root / "store", 0, errno.EIO)
    for id in range(2, 8): store.commit(change(id), 0.0)
    seen = shim.fault_seen()
    calm()
    store.close()
    return seen
print(calls(True), calls(False))
"""
JOURNAL = """
node = journal.Node("boot", 1, 1)
def life(at, error):
    folder = fresh("journal")
    book = journal.Journal(str(folder), node, compact_bytes=600)
    arm(folder, at, error)
    begun, ended, acked = set(), set(), set()
    for id in range(1, 12):
        try:
            book.begin(journal.Begin(id, 1, id, "command", 0.0))
            begun.add(id)
            book.spawned(journal.Spawned(id, 1, 100 + id, 5, 6, 0.0))
            if id % 3:
                book.ended(journal.Ended(id, 1, 0, "", "", 0.0, 0.0, 0.0, 0.0))
                ended.add(id)
            if id % 3 == 1: book.acked((id, 1)); acked.add(id)
        except OSError: pass
    seen = shim.fault_seen()
    calm()
    book.begin(journal.Begin(99, 1, 99, "command", 0.0))
    found = {each.begin.job: each for each in journal.read(str(folder))}
    data = (folder / "journal").read_bytes()
    assert journal._entries_of(data)[1] == len(data), (at, error)
    assert {*(begun - acked), 99} <= found.keys() <= {*begun, 99}, (at, error, begun, found.keys())
    assert all(found[id].ended for id in ended - acked), (at, error)
    book.close()
    return seen
calls = life(0, errno.EIO)
for error in (errno.ENOSPC, errno.EIO):
    for at in range(1, calls + 1):
        life(at, error)
print(calls)
"""
COMPACT = """
def prepare(name):
    folder = fresh(name)
    book = journal.Journal(str(folder), journal.Node("boot", 1, 1))
    for id in range(1, 9):
        book.begin(journal.Begin(id, 1, id, "command", 0.0))
        book.ended(journal.Ended(id, 1, 0, "", "", 0.0, 0.0, 0.0, 0.0))
    book.acked((3, 1)); book.flush()
    return folder, book
def died_at(at):
    folder, book = prepare("compact")
    pid = os.fork()
    if not pid:
        arm(folder, at, 0)
        book.compact()
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert [each.begin.job for each in journal.read(str(folder))] == [1, 2, 4, 5, 6, 7, 8], at
    again = journal.Journal(str(folder), journal.Node("boot", 2, 2))
    assert len(again.foreign) == 7
    assert not [name for name in os.listdir(folder) if name != "journal"], os.listdir(folder)
    return os.WIFSIGNALED(status)
deaths = 0
while died_at(deaths + 1): deaths += 1
print(deaths)
"""


def run(tmp_path: Path, code: str) -> list[int]:
    """Run it with the shim; the numbers it prints."""
    shim = Shim(tmp_path)
    env = {**os.environ, "LD_PRELOAD": str(shim.library)}
    # In memory if possible: hundreds of stores are made, and nothing depends on the disk.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as root:
        argv = [sys.executable, "-c", COMMON + code, root]
        done = subprocess.run(argv, capture_output=True, text=True, env=env, timeout=100)
    assert done.returncode == 0, done.stderr
    return [int(word) for word in done.stdout.split()]


def test_row_18_the_store_keeps_what_it_acknowledged_whichever_write_fails(tmp_path: Path) -> None:
    calls, refused = run(tmp_path, CHANGE + STORE)

    assert calls > 20
    assert refused > calls // 2  # most of these calls are part of a commit, for either error


def test_each_commit_waits_once_for_the_disk_unless_told_not_to(tmp_path: Path) -> None:
    durable, careless = run(tmp_path, CHANGE + SYNCED)

    assert durable - careless == 6


def test_row_18_the_journal_is_whole_and_goes_on_whichever_write_fails(tmp_path: Path) -> None:
    [calls] = run(tmp_path, JOURNAL)

    assert calls > 20


def test_row_68_a_node_that_dies_at_any_step_of_rewriting_its_journal_loses_nothing(
    tmp_path: Path,
) -> None:
    [deaths] = run(tmp_path, COMPACT)

    assert deaths == 3  # write, fsync, rename
