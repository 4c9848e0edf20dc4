"""A job as bjobs shows it, column by column: lines of a real OpenLava."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pytest

from cluster.emulation.lsf import jobs
from cluster.emulation.lsf.bjobs import narrow, wide
from cluster.emulation.lsf.fields import Shown, parse
from cluster.emulation.lsf.jobs import View
from cluster.emulation.machine import Extra, Row
from cluster.local.wire import JobInfo

WHEN = time.mktime((2026, 11, 21, 7, 46, 51, 0, 0, -1))
SHOWN = Shown(now=WHEN + 90, host="vm", user="sgeuser", home="/home/sgeuser")
HEADER, *LINES = (
    line
    for line in Path(__file__).with_name("openlava-2.2.txt").read_text().splitlines()
    if line.startswith("JOBID   USER    STAT  QUEUE      FROM_HOST") or " sgeuser " in line
)


def view(id: str, name: str, state: str, *, cores: int = 1, **fields: object) -> View:
    kept = Extra(partition="normal", cores=cores, options={"jobname": name})
    ran = state not in ("PENDING", "HELD")
    known = {"submitted": WHEN, "started": WHEN if ran else 0.0, **fields}
    info = JobInfo(id=id, name=name, state=state, extra=msgspec.msgpack.encode(kept), **known)  # type: ignore[arg-type]
    return View(Row(info), "/nowhere")


@pytest.mark.parametrize(
    ("job", "line"),
    [
        (view("4_2", "arr", "RUNNING"), narrow),
        (view("4_4", "arr", "PENDING"), narrow),
        (view("17", "held", "HELD"), narrow),
        (view("6", "echo stdin job", "COMPLETED", ended=WHEN), narrow),
        (view("8", "exit 3", "FAILED", exitcode=3, ended=WHEN), narrow),
        (view("9", "slow", "SUSPENDED"), narrow),
        (view("4_4", "arr", "PENDING"), wide),
        (view("1", "myjob", "COMPLETED", cores=2, ended=WHEN), wide),
        (view("6", "echo stdin job", "COMPLETED", ended=WHEN), wide),
        (view("11", "dep2", "CANCELLED", started=0.0, ended=WHEN), wide),
    ],
)
def test_a_line_has_the_columns_of_the_real_one(job: View, line: object) -> None:
    assert line(job, SHOWN).rstrip("\n") in LINES  # type: ignore[operator]


def test_a_job_on_two_slots_goes_on_in_a_second_line() -> None:
    text = narrow(view("1", "myjob", "COMPLETED", cores=2, ended=WHEN), SHOWN)

    assert text.splitlines()[1] == " " * 45 + "vm"


@pytest.mark.parametrize(
    ("fields", "code", "cause"),
    [
        ({"state": "FAILED", "exitcode": 7}, 7, ""),
        ({"state": "FAILED", "signal": 9}, 137, ""),
        ({"state": "CANCELLED", "signal": 15}, 143, "TERM_OWNER"),
        ({"state": "CANCELLED", "started": 0.0}, None, "TERM_OWNER"),
        (
            {"state": "CANCELLED", "started": 0.0, "reason": "Dependency 1 failed"},
            None,
            "TERM_ORPHAN_SYSTEM",
        ),
        ({"state": "TIMEOUT", "signal": 9}, 137, "TERM_RUNLIMIT"),
        ({"state": "NODE_FAIL"}, 255, "TERM_ZOMBIE"),
    ],
)
def test_an_end_has_a_code_and_a_cause(
    fields: dict[str, object], code: int | None, cause: str
) -> None:
    job = view("1", "x", ended=WHEN, **fields)  # type: ignore[arg-type]

    assert (job.stat, job.exit_code, job.cause) == ("EXIT", code, cause)


def test_a_job_that_is_being_ended_still_runs() -> None:
    assert view("1", "x", "CANCELLED", ending=True, ended=WHEN).stat == "RUN"


def test_fields_of_a_running_job() -> None:
    job = view("4_2", "a long name indeed", "RUNNING", cores=2, cpu_s=1.25)
    form = parse("jobid jobindex stat exec_host slots run_time cpu_used exit_code job_name:8")

    assert form.line(job, SHOWN) == "4 2 RUN vm:vm 2 90 second(s) 1.2 second(s) - *deed[2]"
    assert form.record(job, SHOWN)["EXIT_CODE"] == ""


def test_a_job_is_forgotten_an_hour_after_its_end() -> None:
    early, late = (view("1", "x", "COMPLETED", ended=WHEN - age).row for age in (3601, 3599))

    assert (jobs._is_kept(early, WHEN), jobs._is_kept(late, WHEN)) == (False, True)


def test_a_star_in_a_name_stands_for_anything_and_brackets_for_themselves() -> None:
    job = view("4_2", "arr", "RUNNING")

    names = ("arr", "arr[2]", "a*", "*[2]", "arr[3]", "ar", "a?r")
    assert [jobs.is_named(job, name) for name in names] == [True] * 4 + [False] * 3


@pytest.mark.parametrize(
    ("word", "ids"),
    [("12", ["12"]), ("12[3]", ["12_3"]), ("12[1-3,7]", ["12_1", "12_2", "12_3", "12_7"])],
)
def test_ids_name_jobs_and_elements(word: str, ids: list[str]) -> None:
    assert jobs.read_id(word) == ids
