"""The node's journal: what is read is what was written, wherever it was cut."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from cluster.local import journal
from cluster.local.journal import Begin, Ended, Entry, Journal, Node, Spawned

NODE = Node("boot", 10, 20)


def begin(job: int, slot: int = 0) -> Begin:
    return Begin(job, 1, slot, "command", 1.5, b"/named", b"")


def spawned(job: int) -> Spawned:
    return Spawned(job, 1, 100 + job, 7, 8, 2.5)


def ended(job: int) -> Ended:
    return Ended(job, 1, 256, "cancel", "because", 1.0, 2.0, 0.5, 3.0)


def written(tmp_path: Path) -> Journal:
    """Job 1 ended, 2 runs, 3 began, 4 is acknowledged."""
    book = Journal(str(tmp_path), NODE)
    for job in (1, 2, 3, 4):
        book.begin(begin(job, slot=job))
    for job in (1, 2, 4):
        book.spawned(spawned(job))
    book.ended(ended(1))
    book.ended(ended(4))
    book.acked((4, 1))
    book.flush()
    return book


WHOLE = [
    Entry(NODE, begin(1, 1), spawned(1), ended(1)),
    Entry(NODE, begin(2, 2), spawned(2)),
    Entry(NODE, begin(3, 3)),
]


def test_what_is_open_is_read_back(tmp_path: Path) -> None:
    book = written(tmp_path)

    assert journal.read(str(tmp_path)) == WHOLE
    assert book.slots == {1, 2, 3}


def test_no_journal_means_no_entries(tmp_path: Path) -> None:
    assert journal.read(str(tmp_path)) == []


def test_acked_gives_the_slot_once(tmp_path: Path) -> None:
    book = written(tmp_path)

    assert book.acked((1, 1)) == 1
    assert book.acked((1, 1)) is None
    assert book.acked((99, 1)) is None


def test_compaction_keeps_what_is_open(tmp_path: Path) -> None:
    book = written(tmp_path)
    before = os.path.getsize(book.path)

    book.compact()

    assert os.path.getsize(book.path) < before
    assert journal.read(str(tmp_path)) == WHOLE
    book.ended(ended(2))
    assert journal.read(str(tmp_path))[1] == Entry(NODE, begin(2, 2), spawned(2), ended(2))
    assert os.listdir(tmp_path) == ["journal"]


def test_a_pid_and_an_acknowledgement_are_written_with_the_next_record(tmp_path: Path) -> None:
    book = Journal(str(tmp_path), NODE)
    book.begin(begin(1))
    book.begin(begin(2))
    book.spawned(spawned(1))
    book.acked((2, 1))
    behind = book.is_behind, journal.read(str(tmp_path))[0].spawned

    book.begin(begin(3))

    assert behind == (True, None)
    assert journal.read(str(tmp_path)) == [Entry(NODE, begin(1), spawned(1)), Entry(NODE, begin(3))]


def test_a_long_journal_compacts_itself(tmp_path: Path) -> None:
    book = Journal(str(tmp_path), NODE, compact_bytes=2000)
    book.begin(begin(1))

    for job in range(2, 200):
        book.begin(begin(job))
        book.acked((job, 1))
    book.flush()

    assert os.path.getsize(book.path) < 2200
    assert journal.read(str(tmp_path)) == [Entry(NODE, begin(1))]


def test_a_journal_cut_at_any_byte_gives_its_whole_records(tmp_path: Path) -> None:
    data = Path(written(tmp_path).path).read_bytes()
    found = []

    for size in range(len(data) + 1):
        (tmp_path / "journal").write_bytes(data[:size])
        found.append(len(journal.read(str(tmp_path))))

    assert found[-1] == 3
    assert max(found) == 4
    assert sorted(set(found)) == [0, 1, 2, 3, 4]


def test_what_follows_garbage_is_kept_aside(tmp_path: Path) -> None:
    book = written(tmp_path)
    book.close()
    data = Path(book.path).read_bytes()
    Path(book.path).write_bytes(data + b"\0" * 4096)

    again = Journal(str(tmp_path), NODE)

    assert again.foreign == {(1, 1), (2, 1), (3, 1)}
    assert Path(f"{book.path}.broken").read_bytes() == data + b"\0" * 4096
    assert journal.read(str(tmp_path)) == WHOLE


def test_the_beginning_of_a_record_that_a_killed_node_left_is_dropped(tmp_path: Path) -> None:
    book = written(tmp_path)
    whole = Path(book.path).read_bytes()
    book.ended(journal.Ended(1, 1, 0, "", "", 1.0, 2.0, 0.1, 9.0))
    data = Path(book.path).read_bytes()

    for cut in range(len(whole) + 1, len(data)):
        Path(book.path).write_bytes(data[:cut])
        again = Journal(str(tmp_path), NODE)
        again.close()
        assert again.foreign == {(1, 1), (2, 1), (3, 1)}

    assert not Path(f"{book.path}.broken").exists()


def test_records_behind_a_damaged_one_are_kept_aside(tmp_path: Path) -> None:
    book = written(tmp_path)
    data = bytearray(Path(book.path).read_bytes())
    data[3] = 0x7F  # the first record is now longer than the file
    Path(book.path).write_bytes(data)

    Journal(str(tmp_path), NODE).close()

    assert Path(f"{book.path}.broken").read_bytes() == data


@pytest.mark.parametrize("at", [0, 5, 30, 90])
def test_a_flipped_byte_never_raises(tmp_path: Path, at: int) -> None:
    path = Path(written(tmp_path).path)
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.write_bytes(data)

    assert len(journal.read(str(tmp_path))) <= 4


def test_the_next_node_keeps_what_its_predecessor_left_open(tmp_path: Path) -> None:
    written(tmp_path).close()
    successor = Node("boot", 11, 30)

    book = Journal(str(tmp_path), successor)
    book.begin(begin(5, slot=5))

    assert book.slots == {1, 2, 3, 5}
    assert journal.read(str(tmp_path)) == [*WHOLE, Entry(successor, begin(5, slot=5))]
    assert book.acked((2, 1)) == 2


def test_an_empty_journal_is_removed_at_the_end(tmp_path: Path) -> None:
    book = Journal(str(tmp_path), NODE)
    book.begin(begin(1))
    book.acked((1, 1))

    book.close()

    assert os.listdir(tmp_path) == ["journal.closed"]


def test_only_a_node_that_went_by_itself_leaves_word_of_it(tmp_path: Path) -> None:
    book = Journal(str(tmp_path), NODE)
    before = journal.was_closed(str(tmp_path), NODE.boot_id)

    book.close()

    assert not before
    assert journal.was_closed(str(tmp_path), NODE.boot_id)
    assert not journal.was_closed(str(tmp_path), "another boot")


@pytest.mark.parametrize(("boot_id", "stands"), [(NODE.boot_id, False), ("the next boot", True)])
def test_the_word_of_a_node_stands_until_another_one_of_that_boot_comes(
    boot_id: str, stands: bool, tmp_path: Path
) -> None:
    Journal(str(tmp_path), NODE).close()

    Journal(str(tmp_path), Node(boot_id, 11, 30))

    assert journal.was_closed(str(tmp_path), NODE.boot_id) is stands


def test_a_full_disk_leaves_no_half_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book = written(tmp_path)
    write = os.write

    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda fd, data: write(fd, data[:10]))
        with pytest.raises(OSError, match="no space") as caught:
            book.begin(begin(5))

    assert caught.value.errno == errno.ENOSPC
    book.begin(begin(6))
    assert journal.read(str(tmp_path)) == [*WHOLE, Entry(NODE, begin(6))]
