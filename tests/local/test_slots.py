"""Slots: files that are used again, and what is taken out of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cluster.local.slots import Slots, collect
from cluster.local.wire import INLINE_LIMIT, Content, Output

UNNAMED = (b"", b"")


@pytest.fixture
def slots(tmp_path: Path) -> Slots:
    return Slots(str(tmp_path))


def fill(slots: Slots, number: int, **texts: bytes) -> None:
    for name, text in texts.items():
        Path(slots.path(number, name)).write_bytes(text)


def test_a_slot_that_was_given_back_is_taken_next(slots: Slots) -> None:
    first, second = slots.take(), slots.take()

    slots.give_back(first)

    assert slots.take() == first != second


def sizes(slots: Slots, number: int) -> list[int]:
    return [os.path.getsize(slots.path(number, name)) for name in ("out", "err", "res")]


def test_a_slot_that_was_given_back_is_empty(slots: Slots) -> None:
    number = slots.take()
    fill(slots, number, out=b"o", res=b"r")
    slots.collect(number, 7, 1, named=UNNAMED, result=True)
    assert sizes(slots, number) == [1, 0, 1]  # until the server has it: it may be asked for again

    slots.give_back(number)

    assert sizes(slots, number) == [0, 0, 0]


def test_a_slot_nobody_looked_into_is_emptied_too(slots: Slots) -> None:
    number = slots.take()
    fill(slots, number, out=b"of a job that failed to start")

    slots.give_back(number)

    assert sizes(slots, number) == [0, 0, 0]


def test_a_slot_that_could_not_be_emptied_is_when_it_is_taken(
    slots: Slots, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = slots.take()
    fill(slots, number, err=b"e")
    slots.collect(number, 7, 1, named=UNNAMED, result=False)

    def no_descriptor(*_: object) -> int:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", no_descriptor)
        slots.give_back(number)
        with pytest.raises(OSError, match="Too many"):
            slots.take()

    assert slots.take() == number
    assert sizes(slots, number) == [0, 0, 0]


def test_the_files_of_a_slot_are_ours_alone(slots: Slots) -> None:
    number = slots.take()

    modes = {os.stat(slots.path(number, name)).st_mode & 0o777 for name in ("out", "err", "res")}

    assert modes == {0o600}


def test_small_outputs_are_bytes(slots: Slots) -> None:
    number = slots.take()
    fill(slots, number, out=b"o", err=b"e" * INLINE_LIMIT, res=b"r")

    content = slots.collect(number, 7, 1, named=UNNAMED, result=True)

    assert content == Content(Output(b"r"), Output(b"o"), Output(b"e" * INLINE_LIMIT))


def test_a_command_has_no_result(slots: Slots) -> None:
    number = slots.take()
    fill(slots, number, res=b"of an earlier job")

    assert slots.collect(number, 7, 1, named=UNNAMED, result=False) == Content()


def test_a_large_output_is_moved_and_its_place_made_anew(slots: Slots, tmp_path: Path) -> None:
    number = slots.take()
    fill(slots, number, out=b"x" * (INLINE_LIMIT + 1))

    content = slots.collect(number, 7, 2, named=UNNAMED, result=False)

    kept = tmp_path / "outputs" / "7.2.out"
    assert content == Content(stdout=Output(file=os.fsencode(kept)))
    assert kept.stat().st_size == INLINE_LIMIT + 1
    assert os.path.getsize(slots.path(number, "out")) == 0


def test_collecting_again_finds_what_was_moved(slots: Slots, tmp_path: Path) -> None:
    number = slots.take()
    fill(slots, number, out=b"x" * (INLINE_LIMIT + 1), err=b"e")

    first = collect(str(tmp_path), number, 7, 1, named=UNNAMED, result=False)

    assert collect(str(tmp_path), number, 7, 1, named=UNNAMED, result=False) == first


def test_named_files_are_never_touched(slots: Slots, tmp_path: Path) -> None:
    named = tmp_path / "mine"
    named.write_bytes(b"x" * (INLINE_LIMIT + 1))

    content = slots.collect(
        slots.take(), 7, 1, named=(os.fsencode(named), b"/dev/null"), result=False
    )

    assert content == Content(
        stdout=Output(file=os.fsencode(named)), stderr=Output(file=b"/dev/null")
    )
    assert named.exists()


def test_a_retired_slot_has_new_files(slots: Slots) -> None:
    number = slots.take()

    with open(slots.path(number, "out"), "ab") as writer:
        slots.retire(number)
        writer.write(b"late")

    assert slots.take() == number
    assert os.path.getsize(slots.path(number, "out")) == 0


def test_slots_of_an_earlier_node_are_used_again_but_for_the_taken(tmp_path: Path) -> None:
    earlier = Slots(str(tmp_path))
    numbers = [earlier.take() for _ in range(3)]
    fill(earlier, 1, out=b"kept")

    later = Slots(str(tmp_path), taken=[1])

    assert numbers == [0, 1, 2]
    assert [later.take() for _ in range(3)] == [0, 2, 3]
    assert Path(later.path(1, "out")).read_bytes() == b"kept"
