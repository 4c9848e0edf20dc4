"""Remembered cluster jobs: whole, private, found again, dropped in time."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from cluster.local.wire import JobInfo
from cluster.registry import DAY_S, Element, Entry, Registry


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry("slurm", str(tmp_path / "jobs"))


def entry(id: str = "17", **fields: object) -> Entry:
    return Entry(info=JobInfo(id=id, name=f"job {id}", state="PENDING"), **fields)  # type: ignore[arg-type]


def ended(id: str, when: float) -> Entry:
    return Entry(info=JobInfo(id=id, name="old", state="COMPLETED", ended=when))


def test_what_is_remembered_comes_back_whole(registry: Registry) -> None:
    wanted = Entry(
        info=JobInfo(
            id="17", name='a "b"\nc', state="FAILED", exitcode=3, stdout=b"/d/\xff.out", ended=5.5
        ),
        mark="cluster-0123456789abcdef",
        submission="/d/\udcff.sbatch",
        words=("echo", "\udcff"),
        indices=(1, 4, 9),
        superseded={"17_4": (1, 2.0, 3.0)},
        cancelled=("17_9",),
        elements=(Element(4, "FAILED", 3, host="n1"),),
    )

    registry.remember(wanted)

    assert registry.recall("17") == wanted
    assert registry.recall("18") is None


def test_only_its_owner_may_read_it(registry: Registry) -> None:
    registry.remember(entry())

    (file,) = Path(registry.directory).iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_an_id_is_no_path(registry: Registry, tmp_path: Path) -> None:
    registry.remember(entry("../../x"))

    assert registry.recall("../../x") == entry("../../x")
    assert [path.name for path in tmp_path.iterdir()] == ["jobs"]


def test_a_file_of_another_version_or_torn_is_no_job(registry: Registry) -> None:
    Path(registry.directory, "17.json").write_text('{"info": {"id"')
    Path(registry.directory, "18.json").write_text('{"other": 1}')
    registry.remember(entry("19"))

    assert (registry.recall("17"), registry.recall("18")) == (None, None)
    assert [each.id for each in registry.entries()] == ["19"]


def test_jobs_are_found_by_name_and_by_age(registry: Registry) -> None:
    registry.remember(entry("17"))
    registry.remember(entry("18"))
    os.utime(Path(registry.directory, "17.json"), (1.0, 1.0))

    assert [each.id for each in registry.entries(name="job 17")] == ["17"]
    assert [each.id for each in registry.entries(since=2.0)] == ["18"]


def test_old_jobs_that_ended_are_dropped_once_a_day(registry: Registry) -> None:
    now = 100 * DAY_S
    for each in (ended("1", now - 31 * DAY_S), ended("2", now - 29 * DAY_S), entry("3")):
        registry.remember(each)

    assert registry.prune(30, now=now) == 1
    assert sorted(each.id for each in registry.entries()) == ["2", "3"]
    assert registry.prune(0, now=now + 3600) == 0
    assert registry.prune(30, now=now + 2 * DAY_S) == 1


def test_it_is_in_the_state_directory_of_the_user(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert Registry("sge").directory == str(state_dir / "clusters" / "sge")

    monkeypatch.delenv("CLUSTER_STATE_DIR")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    # Every login node of a cluster finds it.
    assert Registry("sge").directory == str(tmp_path / "cluster" / "clusters" / "sge")


def test_places_of_an_array() -> None:
    assert entry(array=(1, 3, 2)).places() == (1, 3, 5)
    assert entry(indices=(2, 7)).places() == (2, 7)
    assert entry().places() == ()
