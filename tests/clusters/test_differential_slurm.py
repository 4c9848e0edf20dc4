"""The battery of slurm.cases, on a real Slurm and on its emulation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import differential_slurm
import pytest
import side_by_side
from side_by_side import Case, Outcome, Result

from cluster import schedulers

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "emulation.md"
BY_NAME = {case.name: case for case in differential_slurm.CASES}


@pytest.fixture(scope="module")
def results() -> Iterator[dict[str, Result]]:
    """Both outcomes of every case; the counts are told at the end."""
    found = schedulers.probe("slurm")
    assert found.version, f"no Slurm answers: {found.problem or 'sbatch is not on PATH'}"
    cases = list(BY_NAME.values())
    with differential_slurm.real_place() as place:
        real = side_by_side.run_all(cases, place)
    with differential_slurm.emulated_place() as place:
        emulated = side_by_side.run_all(cases, place)
    compared = side_by_side.compare(cases, real, emulated)
    yield {result.case.name: result for result in compared}
    print("\nSlurm, real and emulated:", side_by_side.counts(compared))


@pytest.mark.clusters
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", list(BY_NAME))
def test_the_emulation_does_what_slurm_does(name: str, results: dict[str, Result]) -> None:
    result = results[name]

    assert result.verdict in ("same", "explained"), f"{result.case.text}\n{result.diff()}"


def test_the_battery_is_large_and_its_names_differ() -> None:
    assert len(BY_NAME) == len(differential_slurm.CASES) >= 120


@pytest.mark.parametrize("name", [case.name for case in BY_NAME.values() if case.differs])
def test_a_difference_is_in_the_documentation(name: str) -> None:
    page = " ".join(DOCUMENT.read_text(encoding="utf-8").split())

    assert BY_NAME[name].differs in page


# ---------------------------------------------------------------- the comparison itself


def test_cases_are_read_with_all_they_have(tmp_path: Path) -> None:
    path = tmp_path / "some.cases"
    path.write_text(
        "# for people\n\n=== one\n:differs why\n:blur a+ => b\n:file f.sh\n|#!/bin/sh\n|\n|true\n"
        "echo x\n# in bash\n\n# ------ more\n\n=== two\ntrue\n"
    )

    first, second = side_by_side.read(path)

    files = {"f.sh": "#!/bin/sh\n\ntrue\n"}
    assert first == Case("one", "echo x\n# in bash", files, [("a+", "b")], "why")
    assert second == Case("two", "true", {}, [], "")


def outcome(text: str) -> Outcome:
    return Outcome(0, text, "", {})


@pytest.mark.parametrize(
    ("reason", "emulated", "verdict"),
    [("", "a", "same"), ("", "b", "open"), ("why", "b", "explained"), ("why", "a", "stale")],
)
def test_a_reason_must_be_there_when_it_differs_and_only_then(
    reason: str, emulated: str, verdict: str
) -> None:
    case = Case("name", "true", differs=reason)

    assert Result(case, outcome("a"), outcome(emulated)).verdict == verdict


def test_ids_times_and_directories_are_replaced_and_nothing_else(tmp_path: Path) -> None:
    text = (
        "pwd; echo 777 0000777 778 777.batch 7 2026-01-02T03:04:05 out; echo e >&2\n"
        "echo f > f777; exit 4"
    )
    place = side_by_side.Place(
        env={"PATH": "/usr/bin:/bin"}, folder=tmp_path, first_id=700, many=100
    )

    (did,) = side_by_side.run_all([Case("a case", text)], place)

    assert did == Outcome(
        4,
        "<dir>\n<id1> <in 7 digits><id1> <id2> <id1>.batch 7 <time> out\n",
        "e\n",
        {"f<id1>": "f\n"},
    )
