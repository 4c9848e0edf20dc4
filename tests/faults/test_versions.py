"""State and programs of another version: refused by name or served, never spoiled."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest
from fault_driver import UNTIL_TOLD, Queue, run_twice

from cluster.errors import ClusterError, ProtocolError
from cluster.local import connection, lifecycle, wire

pytestmark = [pytest.mark.faults, pytest.mark.slow]

DATA = Path(__file__).parent / "data"


def test_row_21_the_state_of_a_newer_version_is_refused_and_left_as_it_is(
    queue: Queue, state_dir: Path
) -> None:
    done, held = queue.submit("true"), queue.counted(hold=True)
    queue.ended(done)
    lifecycle.stop_everything(state_dir)
    _set_format(state_dir, 99)
    before = (state_dir / "queue.db").read_bytes()

    with pytest.raises(ClusterError, match=r"has format 99, .*Use the newer|use the newer"):
        queue.client.query()

    assert (state_dir / "queue.db").read_bytes() == before
    _set_format(state_dir, 1)
    assert [info.state for info in queue.client.query()] == ["COMPLETED", "HELD"]
    assert queue.client.act("release", [held]) == {held: "released"}
    assert queue.ended(held) == {held: "COMPLETED"}


def _set_format(state_dir: Path, number: int) -> None:
    with sqlite3.connect(state_dir / "queue.db") as db:
        db.execute(f"PRAGMA user_version={number}")
    db.close()


@pytest.mark.parametrize("format", [1])
def test_row_21_a_queue_that_an_earlier_version_left_goes_on(
    format: int, queue: Queue, state_dir: Path
) -> None:
    """The file holds jobs 1 (done, said "hello"), 2 (failed), 3 (held) and 4 (an array, held)."""
    shutil.copy(DATA / f"queue-format-{format}.db", state_dir / "queue.db")

    found = {info.id: info.state for info in queue.client.query()}

    assert found == {"1": "COMPLETED", "2": "FAILED", "3": "HELD", "4": "HELD"}
    assert queue.stdout("1") == b"hello\n"
    assert queue.info("2").exitcode == 3
    queue.client.act("release", ["3", "4"])
    assert set(queue.ended("3", "4").values()) == {"COMPLETED"}
    assert queue.stdout("3") == b"at last\n"
    new = queue.submit("true")
    assert int(new) > 4
    assert queue.ended(new) == {new: "COMPLETED"}


def test_row_22_an_older_program_is_told_so_and_changes_nothing(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = queue.counted(UNTIL_TOLD)
    queue.wait_begun(running)
    server = queue.server()
    with monkeypatch.context() as patched:
        patched.setattr(wire, "PROTOCOL", wire.PROTOCOL - 1)
        with pytest.raises(ProtocolError, match="is newer than this program"):
            connection.connect(queue.state_dir, start=True)
    queue.tell()

    assert queue.ended(running) == {running: "COMPLETED"}
    assert queue.server() == server
    assert run_twice(queue.notes()) == []
