"""Command lines, values and forms of Slurm, read without any process."""

from __future__ import annotations

import pytest

from cluster.emulation.slurm import hostlist, indices, patterns, request, script, times
from cluster.emulation.slurm.dependency import BadDependency, One, parse, show, translate
from cluster.emulation.slurm.environment import exported
from cluster.emulation.slurm.getopt import BadOption, read
from cluster.emulation.slurm.options import SBATCH, SRUN, BadValue, check, of_environment
from cluster.emulation.slurm.table import Field, long_columns, render, short_columns
from cluster.spec import ArraySpec, Dependency, fill

# ---------------------------------------------------------------- command lines


def test_options_end_where_the_script_begins() -> None:
    found, rest = read(SBATCH, ["-n4", "--mem=3G", "-W", "--wrap", "a b", "s.sh", "-x"], stop=True)

    assert found == [("ntasks", "4"), ("mem", "3G"), ("wait", ""), ("wrap", "a b")]
    assert rest == ["s.sh", "-x"]


def test_options_may_be_shortened_as_long_as_one_is_meant() -> None:
    assert read(SBATCH, ["--part", "x", "--parsa"])[0] == [("partition", "x"), ("parsable", "")]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--bogus=1"], "unrecognized option '--bogus=1'"),
        (["-Z"], "invalid option -- 'Z'"),
        (["-n"], "option requires an argument -- 'n'"),
        (["--mem"], "option '--mem' requires an argument"),
        (["--hold=1"], "option '--hold' doesn't allow an argument"),
        (
            ["--s=1"],
            "option '--s=1' is ambiguous; possibilities: '--share' '--signal' "
            "'--sockets-per-node' '--spread-job' '--switches'",
        ),
    ],
)
def test_a_bad_option_is_told_in_the_words_of_the_c_library(words: list[str], text: str) -> None:
    with pytest.raises(BadOption) as caught:
        read(SBATCH, words)

    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("values", "text", "code"),
    [
        ({"time": "abc"}, "Invalid --time specification", 255),
        ({"mem": "1.5G"}, "Invalid --mem specification", 255),
        ({"ntasks": "0"}, 'Invalid numeric value "0" for --ntasks.', 1),
        ({"nodes": "2-1"}, "Maximum node count 1 is less than minimum node count 2", 255),
        ({"signal": "USR1@70000"}, "Invalid --signal specification", 255),
        ({"mail-type": "FOO"}, "Invalid --mail-type specification", 255),
    ],
)
def test_a_bad_value_is_told_as_slurm_does(values: dict[str, str], text: str, code: int) -> None:
    with pytest.raises(BadValue) as caught:
        check(values)

    assert (caught.value.text, caught.value.code) == (text, code)


def test_no_specialized_core_at_all_may_be_asked_for() -> None:
    check({"core-spec": "0"})
    with pytest.raises(BadValue):
        check({"threads-per-core": "0"})


def test_variables_stand_for_options_of_their_program_only() -> None:
    env = {"SBATCH_PARTITION": "p", "SLURM_NTASKS": "3", "SBATCH_WAIT": "1", "SBATCH_REQUEUE": "0"}

    assert of_environment("b", env.get) == {"partition": "p", "wait": ""}
    assert of_environment("r", env.get) == {"ntasks": "3"}
    assert SRUN.long("ntasks", "ntasks").short == "n"


# ---------------------------------------------------------------- forms


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("1-3", ArraySpec(1, 3)),
        ("0-10:5%2", ArraySpec(0, 3, 5, 2)),
        ("7", ArraySpec(7, 1)),
        ("1,3,7-9%4", ArraySpec(1, 5, 1, 4, (1, 3, 7, 8, 9))),
        ("2,1,2", ArraySpec(1, 2)),
    ],
)
def test_indices_are_read(text: str, spec: ArraySpec) -> None:
    assert indices.parse(text) == spec


@pytest.mark.parametrize("text", ["abc", "5-1", "1-10:0", "0x1", "", "99999999"])
def test_bad_indices_are_refused(text: str) -> None:
    with pytest.raises(indices.BadArray):
        indices.parse(text)


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ([3, 4], "3-4"),
        ([1, 2, 3, 5], "1-3,5"),
        ([3, 5], "3,5"),
        ([9], "9"),
        ([0, 4, 8, 12, 16], "0,4,8,12,16"),
        ([0, 4, 8, 12, 16, 20], "0-20:4"),
        ([0, 2, 4, 6, 8, 10], "0,2,4,6,8,10"),
        ([0, 2, 4, 6, 8, 10, 12], "0-12:2"),
    ],
)
def test_indices_are_written_as_ranges(numbers: list[int], text: str) -> None:
    assert indices.compress(numbers) == text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5", 300), ("5:30", 330), ("1:00:00", 3600), ("1-2", 93600), ("1-2:04", 93840),
     ("INFINITE", 0), ("abc", None), ("1:2:3:4", None)],
)  # fmt: skip
def test_time_limits_are_minutes(text: str, seconds: float | None) -> None:
    assert times.minutes(text) == seconds


def test_durations_have_the_form_of_their_program() -> None:
    assert [times.duration(s) for s in (2, 3600, 93840)] == ["0:02", "1:00:00", "1-02:04:00"]
    assert times.long_duration(2) == "00:00:02"


def test_points_in_time_may_be_relative() -> None:
    now = 1_800_000_000.0

    assert times.moment("now+1hour", now) == now + 3600
    assert times.moment("now-2days", now) == now - 172800
    assert times.clock(times.moment("2026-11-21T10:20", now) or 0) == "2026-11-21T10:20:00"
    assert (times.moment("00:00", now) or 0) > now
    assert [times.moment(text, now) for text in ("foo", "25:00", "now+1eon")] == [None] * 3


def test_signals_have_names_and_numbers() -> None:
    assert times.parse_signal("B:USR1@90") == (10, 90.0, True)
    assert times.parse_signal("SIGTERM") == (15, 60.0, False)
    assert times.parse_signal("FOO") is None


def test_file_names_have_places_for_what_the_start_tells() -> None:
    values = patterns.places(name="n", user="u", host="h", array=True)
    path = patterns.expand("%x_%u_%N_%A_%a_%4j_%%_%s%t%q", values)

    told = {"array": b"5", "index": b"3", "member": b"7"}
    assert fill(path, told) == b"n_u_h_5_3_0007_%_batch0%q"
    assert patterns.expand("a\\%j", values) == b"a%j"


def test_lists_of_hosts_are_taken_apart_and_put_together() -> None:
    assert hostlist.expanded("n[1-3,07],m") == ["n1", "n2", "n3", "n07", "m"]
    assert hostlist.compressed(["a1", "a2", "b", "a3", "a5"]) == "a[1-2],b,a[3,5]"


# ---------------------------------------------------------------- dependencies


def test_dependencies_are_read() -> None:
    assert parse("afterok:1:2_3,after:4+5") == (
        [One("afterok", "1"), One("afterok", "2_3"), One("after", "4")],
        False,
    )
    assert parse("afterok:1?afterany:2")[1] is True
    assert parse("singleton") == ([One("singleton")], False)


@pytest.mark.parametrize("text", ["afterok", "afterok:", "afterok:x", "nosuch:1", "after:1,2?x:1"])
def test_bad_dependencies_are_refused(text: str) -> None:
    with pytest.raises(BadDependency):
        parse(text)


def test_a_singleton_waits_for_all_of_its_name() -> None:
    assert translate([One("singleton"), One("aftercorr", "3")], ["7", "8"]) == (
        Dependency("7", "afterany"),
        Dependency("8", "afterany"),
        Dependency("3", "aftercorr"),
    )


def test_what_holds_is_not_shown_any_more() -> None:
    status = {"1": "unfulfilled", "2": "", "3": "*failed"}

    assert show("afterok:1:2,aftercorr:3", lambda one: status[one.job]) == (
        "afterok:1(unfulfilled),aftercorr:3_*(failed)"
    )


# ---------------------------------------------------------------- requests, scripts, environment


def test_a_need_is_worked_out_from_tasks_nodes_and_cores() -> None:
    values = {"nodes": "2", "ntasks-per-node": "3", "cpus-per-task": "2", "mem": "1G", "gres":
              "gpu:a100:2,fs:1"}  # fmt: skip
    found = request.of_values(values)

    assert (found.ntasks, found.nodes, found.cores, found.memory_mib) == (6, 2, 12, 2048)
    assert (found.gpus, found.other_gres) == (4, ("fs",))
    assert request.tasks_per_node(7, 3) == "3,2(x2)"


def test_directives_end_at_the_first_command() -> None:
    text = b"#!/bin/sh\n\n# x\n#SBATCH -J 'a b' -n 2 # remark\n#SBATCH -t 5\ntrue\n#SBATCH -n 9\n"

    assert script.directives(text, SBATCH, "s") == [
        ("job-name", "a b"),
        ("ntasks", "2"),
        ("time", "5"),
    ]


@pytest.mark.parametrize(
    ("line", "text", "code"),
    [
        (b"foo", "error: Invalid directive found in batch script: foo", 255),
        (b'-J "a b', 'fatal: s: line 2: Unmatched `"` in [ "a b]', 1),
    ],
)
def test_a_bad_directive_is_told_as_slurm_does(line: bytes, text: str, code: int) -> None:
    with pytest.raises(script.BadDirective) as caught:
        script.directives(b"#!/bin/sh\n#SBATCH " + line + b"\n", SBATCH, "s")

    assert (caught.value.text, caught.value.code) == (text, code)


def test_export_keeps_what_jobs_need_to_submit_jobs() -> None:
    env = {b"FOO": b"1", b"BAR": b"2", b"HOME": b"/h", b"CLUSTER_STATE_DIR": b"/s",
           b"PATH": b"/s/emulation/slurm/bin:/x"}  # fmt: skip

    kept, added = exported(env, "NONE")
    assert b"FOO" not in kept
    assert kept[b"CLUSTER_STATE_DIR"] == b"/s"
    assert kept[b"PATH"].startswith(b"/s/emulation/slurm/bin:/usr")
    assert added[b"SLURM_EXPORT_ENV"] == b"NONE"
    kept, added = exported(env, "FOO,X='a,b'")
    assert (added[b"FOO"], added[b"X"], b"BAR" in kept) == (b"1", b"a,b", False)
    assert exported(env, None) == (env, {})


# ---------------------------------------------------------------- tables

_FIELDS = {"i": Field[str]("JOBID", str), "j": Field[str]("NAME", str.upper)}


def test_letters_have_widths_and_text_between_them() -> None:
    columns, unknown = short_columns("%.5i|%3j %Q", _FIELDS)

    assert render(columns, ["abcdef"], heading=True) == "JOBID|NAM \nabcde|ABC \n"
    assert unknown == ["Q"]


def test_all_of_it_has_bars_between_small_letters_and_then_capital_ones() -> None:
    letters = {letter: Field(letter * 2, str.lower) for letter in "Bia"}
    columns, unknown = short_columns("%all", letters)

    assert (render(columns, ["X"], heading=True), unknown) == ("aa|ii|BB\nx|x|x\n", [])


def test_names_have_widths_and_text_behind_them() -> None:
    columns, unknown = long_columns("JobID:.4, job-name:;,nope", {
        "jobid": _FIELDS["i"], "jobname": _FIELDS["j"],
    })  # fmt: skip

    assert render(columns, ["ab"], heading=False) == "  abAB;\n"
    assert unknown == ["nope"]
