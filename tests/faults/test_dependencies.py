"""Dependencies on what is unknown, over, failed, lost, or the job itself."""

from __future__ import annotations

import pytest
from fault_driver import Queue, command, until

from cluster.errors import UnknownDependency
from cluster.spec import Dependency

pytestmark = [pytest.mark.faults]

MATRIX = [
    (("true",), {"afterok": True, "afterany": True, "afternotok": False, "after": True}),
    (("false",), {"afterok": False, "afterany": True, "afternotok": True, "after": True}),
]


@pytest.mark.parametrize("place", ["@0", "@1"])
def test_row_60_a_job_that_waits_for_itself_or_a_later_one_is_refused(
    place: str, queue: Queue
) -> None:
    spec, envs = command("true", dependencies=(Dependency(place),))

    with pytest.raises(UnknownDependency, match="cycle"):
        queue.client.submit([spec, spec], envs)

    assert queue.client.query() == []


@pytest.mark.parametrize("id", ["1", "99", "99_0", "nonsense"])
def test_row_61_a_job_that_waits_for_an_unknown_one_is_refused(id: str, queue: Queue) -> None:
    with pytest.raises(UnknownDependency, match=id):
        queue.submit("true", dependencies=(Dependency(id),))

    assert queue.client.query() == []


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before", "after", "restart"])
@pytest.mark.parametrize(("argv", "runs"), MATRIX, ids=["good", "bad"])
def test_rows_62_63_each_kind_holds_or_not_whenever_it_is_submitted(
    argv: tuple[str, ...], runs: dict[str, bool], moment: str, queue: Queue
) -> None:
    first = queue.submit(*argv, hold=moment == "before")
    if moment != "before":
        queue.ended(first)
    if moment == "restart":
        queue.kill_server()
    waits = {
        kind: queue.submit("true", name=kind, dependencies=(Dependency(first, kind),))
        for kind in runs
    }
    second = {
        kind: queue.submit("true", dependencies=(Dependency(id),)) for kind, id in waits.items()
    }
    if moment == "before":
        queue.client.act("release", [first])

    states = queue.ended(*waits.values(), *second.values())

    expected = {kind: "COMPLETED" if go else "CANCELLED" for kind, go in runs.items()}
    assert {kind: states[id] for kind, id in waits.items()} == expected
    assert {kind: states[id] for kind, id in second.items()} == expected
    never = [queue.info(waits[kind]).reason for kind, go in runs.items() if not go]
    assert all(reason.startswith(f"Dependency {first} ") for reason in never)


@pytest.mark.slow
def test_row_62_a_cancelled_job_cancels_all_that_needed_it(queue: Queue) -> None:
    root = queue.submit("true", hold=True)
    chain = [root]
    for _ in range(30):
        chain.append(queue.submit("true", dependencies=(Dependency(chain[-1]),)))
    other = queue.submit("true", dependencies=(Dependency(root, "afternotok"),))

    queue.client.act("cancel", [root])

    states = queue.ended(*chain, other)
    assert {states[id] for id in chain} == {"CANCELLED"}
    assert states[other] == "COMPLETED"


@pytest.mark.slow
def test_row_63_a_job_that_ends_in_the_instant_another_is_made_to_wait_for_it(
    queue: Queue,
) -> None:
    pairs = []
    for _ in range(40):
        first = queue.submit("true")
        pairs.append((first, queue.submit("true", dependencies=(Dependency(first),))))

    states = queue.ended(*[id for pair in pairs for id in pair])

    assert set(states.values()) == {"COMPLETED"}
    assert until(lambda: queue.free_cores() == 2)
