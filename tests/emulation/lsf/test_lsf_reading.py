"""What LSF's commands read: options, directives, limits, names, conditions, formats."""

from __future__ import annotations

import time

import pytest

from cluster.emulation.lsf import depend, environment, fields, values
from cluster.emulation.lsf.depend import FALSE, NEVER, TRUE, Fact, Term
from cluster.emulation.lsf.fields import Column, Format
from cluster.emulation.lsf.getopt import BadOption, read, table
from cluster.emulation.lsf.long import wrapped
from cluster.emulation.lsf.options import BSUB
from cluster.spec import ArraySpec, Dependency

# ---------------------------------------------------------------- command lines


def test_options_of_one_letter_and_of_more_are_told_apart() -> None:
    options, words = read(BSUB, ["-oo", "f", "-n4", "-J", "a", "-Is", "echo", "-n", "x"])

    assert options == [("oo", "f"), ("n", "4"), ("J", "a"), ("Is", "")]
    assert words == ["echo", "-n", "x"]


def test_flags_may_stand_together_before_an_option_with_a_value() -> None:
    options, words = read(table("a w", "J"), ["-aJ", "*x*", "-w", "7"], mixed=True)

    assert (options, words) == ([("a", ""), ("J", "*x*"), ("w", "")], ["7"])


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["-zz", "x"], "bsub: illegal option -- zz\n"),
        (["-q"], "bsub: option requires an argument -- q\n"),
    ],
)
def test_what_is_no_option_is_named(argv: list[str], said: str) -> None:
    with pytest.raises(BadOption) as caught:
        read(BSUB, argv)

    assert caught.value.told("bsub") == said


def test_directives_are_read_up_to_their_comment() -> None:
    script = b"""#!/bin/bash
#BSUB -J "my job" -n 2  # two of them, don't ask
 # BSUB -R "rusage[mem=1] span[hosts=1]"
#BSUBx -q no
echo '#BSUB -q no'
"""

    assert values.directives(script) == [
        *("-J", "my job", "-n", "2"),
        *("-R", "rusage[mem=1] span[hosts=1]"),
    ]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["echo a; sleep 1 | cat"], "echo a; sleep 1 | cat"),
        (["bash", "-c", "echo a; echo b"], 'bash -c "echo a; echo b"'),
        (["echo", '"quoted"', "", "$HOME"], "echo '\"quoted\"' '' $HOME"),
    ],
)
def test_a_command_becomes_one_text_for_the_shell(words: list[str], text: str) -> None:
    assert values.join(words) == text


# ---------------------------------------------------------------- limits and names


@pytest.mark.parametrize(
    ("text", "seconds"), [("10", 600), ("2:30", 9000), ("00:10", 600), ("1:0/hostA", 3600)]
)
def test_limits_of_time_are_minutes_or_hours_and_minutes(text: str, seconds: float) -> None:
    assert values.minutes_s(text, "RUNLIMIT") == seconds


@pytest.mark.parametrize("text", ["abc", "1:2:3", "", "-5", "1.5"])
def test_what_is_no_limit_of_time_is_refused_by_name(text: str) -> None:
    with pytest.raises(values.BadValue, match="Bad RUNLIMIT specification"):
        values.minutes_s(text, "RUNLIMIT")


@pytest.mark.parametrize(
    ("text", "unit", "mib"),
    [("100000", "K", 98), ("500", "M", 500), ("2GB", "K", 2048), ("1.5g", "M", 1536)],
)
def test_sizes_have_the_unit_of_the_site_or_their_own(text: str, unit: str, mib: int) -> None:
    assert values.memory_mib(text, unit) == mib


@pytest.mark.parametrize(
    ("text", "name", "array"),
    [
        ("plain", "plain", None),
        ("a[1-4]%2", "a", ArraySpec(1, 4, 1, 2)),
        ("s[1-9:3]", "s", ArraySpec(1, 3, 3)),
        ("x[7]", "x", ArraySpec(7, 1)),
        ("l[1,5,7-8]", "l", ArraySpec(1, 4, 1, 0, (1, 5, 7, 8))),
    ],
)
def test_names_may_hold_indices(text: str, name: str, array: ArraySpec | None) -> None:
    assert values.split_name(text) == (name, array)


@pytest.mark.parametrize("text", ["a[0-4]", "a[4-1]", "a[x]", "a[1-1001]", "a[]"])
def test_indices_that_lsf_does_not_take_are_refused(text: str) -> None:
    with pytest.raises(values.BadValue):
        values.split_name(text)


def test_a_requirement_sets_apart_what_rusage_says() -> None:
    text = "select[mem>=9 && type==any] rusage[mem=2GB:duration=1h, ngpus_physical=2] span[hosts=1]"

    assert values.requirement(text) == values.Needs(memory_mib=2048, gpus=2)


@pytest.mark.parametrize("text", ["bad[", "bad[x=1]", "rusage[mem=lots]", "select[a)]"])
def test_a_requirement_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(values.BadValue, match="Bad resource requirement syntax"):
        values.requirement(text)


def test_a_time_of_day_is_the_next_one() -> None:
    noon = time.mktime((2026, 11, 21, 12, 0, 0, 0, 0, -1))

    assert values.moment("13:30", noon) == noon + 5400
    assert values.moment("11:00", noon) == noon + 23 * 3600
    assert values.moment("22:11:00", noon) == noon + 23 * 3600
    assert values.moment("2026:12:21:12:00", noon) == noon + 30 * 86400


# ---------------------------------------------------------------- conditions


def ids(word: str) -> list[str]:
    return {"two": ["7", "8"], "arr[*]": ["9"]}.get(word, [word])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("done(1)", ((Dependency("1", "afterok"),), False)),
        ("1", ((Dependency("1", "afterok"),), False)),
        (
            'ended("a b") && exit(2)',
            ((Dependency("a b", "afterany"), Dependency("2", "afternotok")), False),
        ),
        ("started(1) || done(2)", ((Dependency("1", "after"), Dependency("2", "afterok")), True)),
        ("done(two)", ((Dependency("7", "afterok"), Dependency("8", "afterok")), False)),
        ("done(arr[*])", ((Dependency("9", "aftercorr"),), False)),
        ("done(1) && (exit(2) || exit(3))", None),
        ("!done(1)", None),
        ("exit(1, 3)", None),
        ("done(two) || done(1)", None),
    ],
)
def test_plain_conditions_are_the_queues_own(text: str, expected: object) -> None:
    assert depend.native(depend.parse(text), ids) == expected


@pytest.mark.parametrize(
    "text", ["done(", "done()", "&& 1", "(1", "1 2", "numdone(a)", "exit(1,x)"]
)
def test_a_condition_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(depend.BadCondition):
        depend.parse(text)


WORLD = {
    "good": [Fact("COMPLETED", 0, True)],
    "bad": [Fact("FAILED", 3, True)],
    "run": [Fact("RUNNING", 0, True)],
    "wait": [Fact("PENDING")],
    "arr": [Fact("COMPLETED", 0, True), Fact("FAILED", 1, True), Fact("COMPLETED", 0, True)],
}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("done(good)", TRUE),
        ("done(bad)", NEVER),
        ("done(run)", FALSE),
        ("exit(bad)", TRUE),
        ("exit(good)", NEVER),
        ("exit(bad, 3)", TRUE),
        ("exit(bad, > 3)", NEVER),
        ("started(run) && !started(wait)", TRUE),
        ("!done(good)", NEVER),
        ("done(bad) || done(run)", FALSE),
        ("done(good) && (exit(good) || exit(bad))", TRUE),
        ("numdone(arr, 2) && numexit(arr, >= 1)", TRUE),
        ("numended(arr, *)", TRUE),
        ("numdone(arr, > 2)", NEVER),
        ("ended(wait)", FALSE),
    ],
)
def test_conditions_are_judged(text: str, said: str) -> None:
    assert depend.judge(depend.parse(text), WORLD.__getitem__) == said


def test_not_binds_tighter_than_and_which_binds_tighter_than_or() -> None:
    tree = depend.parse("!a && b || c")

    one, two, three = (Term("done", name) for name in "abc")
    assert tree == ("or", ("and", ("not", one), two), three)


# ---------------------------------------------------------------- formats and text


def test_a_format_has_fields_with_widths_and_a_delimiter() -> None:
    form = fields.parse('jobid: stat:- queue:10 name app:-6 delimiter="^"')

    assert form == Format(
        (
            Column("jobid", 7),
            Column("stat", 5, True),
            Column("queue", 10),
            Column("job_name"),
            Column("application", 6, True),
        ),
        "^",
    )
    assert form.header() == "JOBID  ^ STAT^QUEUE     ^JOB_NAME^APPLICATION"


def test_an_unknown_field_is_named() -> None:
    with pytest.raises(fields.BadFormat, match="nonsense"):
        fields.parse("jobid nonsense")


def test_long_lines_go_on_in_column_22_within_a_word() -> None:
    text = wrapped("x" * 79 + " next" + "y" * 60)

    assert text == "x" * 79 + "\n" + " " * 21 + "next" + "y" * 54 + "\n" + " " * 21 + "yyyyyy\n"


def test_env_none_keeps_what_jobs_need_to_submit_jobs() -> None:
    env = {
        b"PATH": b"/s/emulation/lsf/bin:/usr/bin", b"A": b"1", b"HOME": b"/h",
        b"CLUSTER_STATE_DIR": b"/s", b"LSF_ENVDIR": b"/c",
    }  # fmt: skip

    kept = environment.exported(env, "none, B=2")

    assert (kept.get(b"A"), kept[b"B"], kept[b"CLUSTER_STATE_DIR"]) == (None, b"2", b"/s")
    assert kept[b"LSF_ENVDIR"] == b"/c"
    assert kept[b"PATH"].startswith(b"/s/emulation/lsf/bin:")
    assert environment.exported(env, "all, A=5")[b"A"] == b"5"
    assert environment.exported(env, "~A, ~CLUSTER_STATE_DIR").keys() == env.keys() - {b"A"}
