"""What a scheduler says of the largest array it takes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from cluster.errors import QueueError
from cluster.schedulers._array_limits import largest_index, lowest_index
from cluster.schedulers.dialect import Answer

SLURM = """\
Configuration data as of 2026-11-21T13:00:00
MailProg                = /bin/mail
MaxArraySize            = 1001
MaxBatchRequeue         = 5
"""
SGE = """\
max_aj_instances             2000
max_aj_tasks                 75000
max_u_jobs                   0
"""
LSF = " MAX_JOB_ARRAY_SIZE = 5000\n MAX_JOBID = 999999\n"


class Says:
    """Programs that answer all questions alike."""

    def __init__(self, text: str) -> None:
        self.text, self.asked = text, 0

    def run(self, argv: tuple[str, ...]) -> Answer:
        self.asked += 1
        if not self.text:
            raise QueueError("nobody there")
        return Answer(argv, 0, self.text, "")


@pytest.mark.parametrize(
    ("qtype", "text", "largest"),
    [
        ("slurm", SLURM, 1000),
        ("sge", SGE, 75000),
        ("lsf", LSF, 5000),
        ("slurm", "something else", 0),
        ("slurm", "", 0),
        ("torque", SLURM, 0),
    ],
)
def test_the_largest_index_is_read_from_the_sites_configuration(
    qtype: str, text: str, largest: int
) -> None:
    scheduler = SimpleNamespace(qtype=qtype, programs=Says(text))

    assert largest_index(scheduler) == largest


def test_a_scheduler_is_asked_once() -> None:
    programs = Says(SLURM)
    scheduler = SimpleNamespace(qtype="slurm", programs=programs)

    assert [largest_index(scheduler), largest_index(scheduler)] == [1000, 1000]
    assert programs.asked == 1


def test_a_scheduler_of_a_plug_in_may_say_so_itself() -> None:
    assert largest_index(SimpleNamespace(qtype="mine", largest_index=7)) == 7


def test_who_counts_from_one_is_given_no_zero() -> None:
    assert [lowest_index(SimpleNamespace(qtype=q)) for q in ("local", "slurm", "sge", "mine")] == [
        0, 0, 1, 1,
    ]  # fmt: skip
