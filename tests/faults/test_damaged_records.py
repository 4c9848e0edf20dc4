"""P10: a record that cannot be read harms itself, and is kept as it is."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from fault_driver import Queue

from cluster.spec import ArraySpec, Dependency

pytestmark = [pytest.mark.faults, pytest.mark.slow]

GARBAGE = b"\xc1 not a record"


def damage(state_dir: Path, column: str, table: str, *ids: str) -> None:
    with sqlite3.connect(state_dir / "queue.db") as store:
        for id in ids:
            store.execute(f"UPDATE {table} SET {column}=? WHERE id=?", (GARBAGE, int(id)))
    store.close()


@pytest.mark.parametrize(("table", "column"), [("job", "data"), ("request", "spec")])
def test_a_damaged_record_is_lost_and_everything_else_goes_on(
    state_dir: Path, queue: Queue, table: str, column: str
) -> None:
    done = queue.submit("sh", "-c", "exit 3")
    queue.ended(done)
    bad = queue.submit("true", hold=True)
    good = queue.submit("true", hold=True)
    needs = queue.submit("true", dependencies=(Dependency(bad, "afterok"),))
    follows = queue.submit("true", dependencies=(Dependency(bad, "afterany"),))
    array = queue.submit("true", hold=True, array=ArraySpec(1, 3))
    queue.client.control("stop")

    damage(state_dir, column, table, bad, array, done)

    assert queue.ended(needs, follows) == {needs: "CANCELLED", follows: "COMPLETED"}
    assert "damaged" in queue.info(needs).reason
    for id in (bad, array, done):
        info = queue.info(id)
        assert (info.state, "damaged" in info.reason) == ("LOST", True)
    queue.client.act("release", [good])
    assert queue.ended(good) == {good: "COMPLETED"}
    listed = {info.id for info in queue.client.query()}
    assert {done, bad, good, needs, follows, array} <= listed
    assert f"job {bad} is LOST" in (state_dir / "server.log").read_text()
    queue.client.control("stop")
    with sqlite3.connect(state_dir / "queue.db") as store:
        row = store.execute(f"SELECT {column} FROM {table} WHERE id=?", (int(bad),)).fetchone()
    store.close()
    assert row == (GARBAGE,)
