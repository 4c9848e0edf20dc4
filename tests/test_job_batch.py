"""Jobs that are made and submitted together."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fake_scheduler import FakeScheduler

import cluster
from cluster import job as jobs_module
from cluster import schedulers
from cluster.errors import OptionsError
from cluster.schedulers.base import Call, Command


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeScheduler:
    scheduler = FakeScheduler()
    monkeypatch.setattr(schedulers, "get", lambda qtype: scheduler)
    return scheduler


def double(number: int = 1) -> int:
    return 2 * number


def argv_of(fake: FakeScheduler) -> list[tuple[bytes, ...]]:
    programs = [request.program for request in fake.requests]
    return [program.argv for program in programs if isinstance(program, Command)]


def test_jobs_that_are_alike_are_read_and_pickled_once(fake: FakeScheduler) -> None:
    cluster.submit_many([double] * 3, cores=2)

    first, *others = fake.requests
    assert all(other is first for other in others)
    assert first.options == {"cores": 2}


def test_each_of_them_is_a_job_of_its_own(fake: FakeScheduler) -> None:
    made = cluster.submit_many([double] * 3, cores=2)

    made[0].options["cores"] = 7

    assert [job.id for job in made] == ["1", "2", "3"]
    assert made[1].options == {"cores": 2}


def test_a_list_that_changes_between_two_jobs_gives_two_commands(fake: FakeScheduler) -> None:
    def commands() -> Iterator[list[str]]:
        argv = ["echo", ""]
        for word in ("a", "b"):
            argv[1] = word
            yield argv

    cluster.submit_many(commands())

    assert argv_of(fake) == [(b"echo", b"a"), (b"echo", b"b")]


def test_one_function_with_different_arguments_gives_different_calls(fake: FakeScheduler) -> None:
    cluster.submit_many([{"command": double, "args": (n,)} for n in (1, 2)] + [double])

    programs = [request.program for request in fake.requests]
    assert [program.args for program in programs if isinstance(program, Call)] == [(1,), (2,), ()]
    assert len({request.payload.data for request in fake.requests if request.payload}) == 3


def test_a_job_of_the_list_without_a_command_is_named(fake: FakeScheduler) -> None:
    with pytest.raises(cluster.OptionsError, match=r"job 1 of the list.*it has 'comand', 'cores'"):
        cluster.submit_many(["true", {"comand": "true", "cores": 2}])

    assert not fake.requests


def test_keywords_of_one_job_do_not_become_those_of_the_next(fake: FakeScheduler) -> None:
    cluster.submit_many(["true", {"command": "true", "cores": 4}, "true"], mem=100)

    assert [request.options for request in fake.requests] == [
        {"mem": 100},
        {"mem": 100, "cores": 4},
        {"mem": 100},
    ]


def test_jobs_that_wait_for_different_ones_are_not_taken_for_one(fake: FakeScheduler) -> None:
    first, second = cluster.Job(["true"]), cluster.Job(["true"])
    third, fourth = cluster.Job(["true"]).after(first), cluster.Job(["true"]).after(second)

    cluster.submit_many([first, second, third, fourth])

    told = [[each.job for each in request.dependencies] for request in fake.requests]
    assert told == [[], [], ["@0"], ["@1"]]


def test_a_mistake_in_a_later_command_is_told_and_nothing_is_queued(fake: FakeScheduler) -> None:
    with pytest.raises(OptionsError, match="NUL"):
        cluster.submit_many([["true"], ["true", "a\0b"]])

    assert fake.requests == []


def test_a_long_chain_is_made_without_walking_along_it(
    fake: FakeScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    walks: list[object] = []
    monkeypatch.setattr(jobs_module, "ancestors", lambda job: walks.append(job) or set())
    before, job = cluster.Job(["true"]), cluster.Job(["true"])

    job.after(before)
    cluster.Job(["true"]).after(job)

    assert walks == []


def test_a_cycle_is_refused_wherever_its_last_link_is_made(fake: FakeScheduler) -> None:
    first = cluster.Job(["true"], name="first")
    second = cluster.Job(["true"], dependencies=[first])

    with pytest.raises(OptionsError, match="'first' would wait for itself"):
        first.after(second)
