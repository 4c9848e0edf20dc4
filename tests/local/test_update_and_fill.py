"""What whoever plays another scheduler needs of the queue: changes, places, a word of its own."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from cluster.local.client import Client, environment
from cluster.local.private import PrivateQueue
from cluster.spec import ArraySpec, JobSpec, Launch, fill, place


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with PrivateQueue(cores=2, overcommit=True) as queue:
        yield queue.client


def submit(client: Client, *argv: str, launch: Launch | None = None, **fields: object) -> str:
    hash, env = environment()
    made = launch or Launch(argv=tuple(map(os.fsencode, argv)))
    made = msgspec.structs.replace(made, env=hash)
    spec = JobSpec(name="job", launch=msgspec.Raw(msgspec.msgpack.encode(made)), **fields)  # type: ignore[arg-type]
    return client.submit([spec], {hash: env})[0]


def test_places_are_filled_and_texts_without_them_left_alone() -> None:
    values = {"job": b"7", "index": b"", "label": b"7_x"}

    assert fill(b"/a/" + place("job", 4) + b"-" + place("label") + place("index"), values) == (
        b"/a/0007-7_x"
    )
    assert fill(b"{job} %j $job", values) == b"{job} %j $job"


def test_a_job_finds_its_own_numbers_in_its_variables_and_files(
    client: Client, tmp_path: Path
) -> None:
    launch = Launch(
        argv=(b"/bin/sh", b"-c", b"echo $N $A $I $R"),
        env_set={
            b"N": place("job"),
            b"A": b"in " + place("array"),
            b"I": place("index", 3),
            b"R": place("restarts"),
        },
        stdout=os.fsencode(tmp_path) + b"/" + place("array") + b"." + place("index") + b".log",
        fills=True,
    )
    id = submit(client, launch=launch, array=ArraySpec(4, 2))

    (ended,) = client.wait([id], timeout=60)

    assert ended.info.counts == {"COMPLETED": 2}
    raw = int(id)
    assert (tmp_path / f"{id}.4.log").read_text() == f"{raw + 1} in {id} 004 0\n"
    assert (tmp_path / f"{id}.5.log").read_text() == f"{raw + 2} in {id} 005 0\n"


def test_extra_stays_with_the_job(client: Client) -> None:
    id = submit(client, "true", extra=b"\x00mine")
    list(client.wait([id], timeout=60))

    assert client.query([id])[0].extra == b"\x00mine"


def test_a_waiting_job_can_be_changed_and_stays_so(client: Client) -> None:
    id = submit(client, "true", hold=True)

    said = client.update([id], name="renamed", walltime_s=90.0, comment="why", extra=b"new")

    assert said == {id: "changed"}
    info = client.query([id])[0]
    assert (info.name, info.walltime_s, info.comment, info.extra) == (
        "renamed",
        90.0,
        "why",
        b"new",
    )
    client.act("release", [id])
    (ended,) = client.wait([id], timeout=60)
    assert (ended.info.state, ended.info.name) == ("COMPLETED", "renamed")


def test_a_begin_time_can_be_taken_back(client: Client) -> None:
    id = submit(client, "true", begin=4e9)

    client.update([id], begin=0.0)

    (ended,) = client.wait([id], timeout=60)
    assert ended.info.state == "COMPLETED"


def test_an_array_is_changed_as_a_whole(client: Client) -> None:
    id = submit(client, "true", hold=True, array=ArraySpec(1, 3))

    assert client.update([id], name="all")[id] == "changed"
    assert client.update([f"{id}_1"], name="one")[f"{id}_1"].startswith("is an element")
    assert {info.name for info in client.query([id], elements=True)} == {"all"}
    client.act("cancel", [id])


def test_what_runs_can_only_be_remarked_upon(client: Client) -> None:
    first = submit(client, "sleep", "60", cores=2)
    deadline = time.monotonic() + 20
    while client.query([first])[0].state != "RUNNING":
        assert time.monotonic() < deadline
    assert client.update([first], name="late")[first] == (
        "is RUNNING: only a job that waits can be changed"
    )
    assert client.update([first], extra=b"late")[first] == "changed"
    assert client.query([first])[0].extra == b"late"
    client.act("cancel", [first])
    assert client.update(["999"], name="x") == {"999": "no such job"}


def test_elements_that_nobody_touched_may_be_one_row(client: Client) -> None:
    id = submit(client, "true", array=ArraySpec(1, 5, 2), hold=True)
    client.act("cancel", [f"{id}_5"])

    rows = client.query([id], elements=True, folded=True)

    assert {row.id: row.indices for row in rows} == {
        f"{id}_1": (1, 3, 7, 9),
        f"{id}_5": (),
    }
    client.act("cancel", [id])


def test_a_job_that_is_ended_gets_the_note_of_its_submitter(client: Client, tmp_path: Path) -> None:
    log = tmp_path / "log"
    note = b"*** job " + place("member") + b" ended at " + place("time") + b"\n"
    launch = Launch(
        argv=(b"sleep", b"60"), stdout=os.fsencode(log), stderr=os.fsencode(log), fills=True,
        notes={"walltime": note},
    )  # fmt: skip
    id = submit(client, launch=launch, walltime_s=0.2)

    for _ in client.wait([id], timeout=60):
        pass

    assert log.read_text().startswith(f"*** job {id} ended at 20")


def test_a_variable_that_becomes_empty_is_not_set(client: Client, tmp_path: Path) -> None:
    log = tmp_path / "log"
    launch = Launch(
        argv=(b"sh", b"-c", b"echo ${AGAIN-unset}[$EMPTY]${EMPTY-unset}"), stdout=os.fsencode(log),
        env_set={b"AGAIN": place("again"), b"EMPTY": b""}, fills=True,
    )  # fmt: skip
    id = submit(client, launch=launch)

    for _ in client.wait([id], timeout=60):
        pass

    assert log.read_text() == "unset[]\n"
