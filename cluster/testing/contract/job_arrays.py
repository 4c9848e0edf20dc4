"""Many jobs from one function or command, seen as one; maps and executors."""

from __future__ import annotations

import subprocess
from concurrent import futures
from typing import Any

import pytest

import cluster
from cluster.errors import OptionsError
from cluster.testing import work
from cluster.testing.contract.site import Gate, Site

__all__ = [
    "test_a_map_ends_at_the_call_that_raises_and_says_which_it_was",
    "test_a_map_gives_values_in_order",
    "test_an_array_gives_an_item_to_each_element",
    "test_an_array_larger_than_the_site_allows_is_seen_as_one",
    "test_an_executor_ends_a_call_that_nobody_wants",
    "test_an_executor_makes_each_call_in_a_job",
    "test_an_executor_with_workers_that_stay_is_for_this_machine",
    "test_failed_elements_run_again_with_their_items_and_indices",
    "test_items_in_commands_are_one_word_each",
]


def _array(site: Site, command: Any, items: Any, **options: Any) -> cluster.JobArray:
    array = cluster.submit_array(command, items, **site.words(**options))
    site.jobs += array.parts
    return array


def test_an_array_gives_an_item_to_each_element(site: Site) -> None:
    with site.can("array"):
        array = _array(site, work.add, [5, 7, 9])

        assert array.get(site.patience_s) == [5, 7, 9]
        assert array.states() == {"COMPLETED": 3}
        assert _array(site, work.add, range(3)).get(site.patience_s) == [0, 1, 2]


def test_items_in_commands_are_one_word_each(site: Site) -> None:
    with site.can("array"):
        array = _array(site, ["printf", "%s|", "{index}", "a{item}b"], ["x y", "$HOME'\""])

        outputs = [result.stdout for result in array.get(site.patience_s)]

        assert outputs == ["1|ax yb|", "2|a$HOME'\"b|"]


def test_failed_elements_run_again_with_their_items_and_indices(site: Site) -> None:
    with site.can("array"):
        seen = site.folder / "seen"
        text = f"test -e {seen}{{index}} || {{ : > {seen}{{index}}; test {{item}} -lt 30; }}"
        array = _array(site, text, [10, 20, 30, 40])
        assert not array.wait(site.patience_s)
        assert [element.index for element in array.failed] == [3, 4]

        array.retry_failed()
        site.jobs += array.parts[1:]

        assert array.wait(site.patience_s)
        assert array.states() == {"COMPLETED": 4}
        assert cluster.JobArray.load(str(array.id), site.qtype).states() == {"COMPLETED": 4}


def test_an_array_larger_than_the_site_allows_is_seen_as_one(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLUSTER_CFG_QUEUE_MAX_ARRAY", "2")
    with site.can("array"):
        array = _array(site, "echo {index} $CLUSTER_ARRAY_INDEX {item}", range(11, 16))

        outputs = [result.stdout for result in array.get(site.patience_s)]

        assert outputs == [f"{n} {n} {n}\n" for n in range(11, 16)]
        assert len(array.parts) == 3


def test_a_map_gives_values_in_order(site: Site) -> None:
    values = cluster.starmap(work.add, [(n, 1) for n in range(20)], chunk=10, **site.words())

    assert list(values) == list(range(1, 21))


def test_a_map_ends_at_the_call_that_raises_and_says_which_it_was(site: Site) -> None:
    values = cluster.map(lambda x: 6 / x, [3, 2, 0, 1], chunk=2, **site.words())

    assert [next(values), next(values)] == [2.0, 3.0]
    with pytest.raises(ZeroDivisionError) as caught:
        next(values)

    assert any("item 2" in note for note in getattr(caught.value, "__notes__", ()))


def test_an_executor_makes_each_call_in_a_job(site: Site) -> None:
    with cluster.Executor(**site.words()) as executor:
        good, bad = executor.submit(work.add, 2, b=3), executor.submit(work.fail, "x")

        ended = futures.wait([good, bad], site.patience_s)

        assert not ended.not_done
        assert good.result() == 5
        assert isinstance(bad.exception(), KeyError)


def test_an_executor_ends_a_call_that_nobody_wants(site: Site, gate: Gate) -> None:
    with cluster.Executor(**site.words()) as executor:
        future: Any = executor.submit(subprocess.run, gate.command(), check=True)
        job = future.job
        site.jobs.append(job)
        site.until_state(job, "RUNNING")

        assert future.cancel()

        assert site.end(job) == ["CANCELLED"]
        with pytest.raises(futures.CancelledError):
            future.result(site.patience_s)


def test_an_executor_with_workers_that_stay_is_for_this_machine(site: Site) -> None:
    words = site.words(reuse=True)
    if site.qtype != "local":
        with pytest.raises(OptionsError, match=rf"this machine only: jobs of {site.qtype} run"):
            cluster.Executor(**words)
        return

    with cluster.Executor(max_workers=1, **words) as executor:
        values = list(executor.map(work.add, range(5), range(5), timeout=site.patience_s))

    assert values == [0, 2, 4, 6, 8]
