"""How arguments, directives, resources and ids of PBS are read, and how lines are wrapped."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from cluster.emulation.pbs import ids, resources, show, wishes, words
from cluster.emulation.pbs.attributes import Time

RECORDED = Path(__file__).with_name("openpbs-23.06.06.txt").read_text()


# ---------------------------------------------------------------- words


def test_options_stand_anywhere_and_a_value_may_touch_its_letter() -> None:
    found = words.options(["-l", "mem=1gb", "job.sh", "-hNx", "-"], "l:hN:")

    assert found == ([("l", "mem=1gb"), ("h", ""), ("N", "x")], ["job.sh", "-"], False)


def test_behind_two_dashes_nothing_is_an_option() -> None:
    found = words.options(["-h", "--", "echo", "-n"], "h", direct=True)

    assert found == ([("h", "")], ["echo", "-n"], True)


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (["-t", "1"], "invalid option -- 't'"),
        (["-N"], "option requires an argument -- 'N'"),
    ],
)
def test_an_option_that_is_wrong_is_named(argv: list[str], complaint: str) -> None:
    with pytest.raises(words.BadOption, match=complaint):
        words.options(argv, "N:h")


def test_directives_end_at_the_first_line_that_does_something() -> None:
    script = """#!/bin/bash
#PBS -N name -l walltime=1:00:00

# words
#PBS -v A="x y",B   # and a comment
#PBSX -h
echo hi
#PBS -h
"""

    found = words.directives(script, "#PBS")

    assert found == ["-N", "name", "-l", "walltime=1:00:00", "-v", "A=x y,B"]


def test_another_prefix_and_none_at_all() -> None:
    assert words.directives("#QSUB -h\n", "#QSUB") == ["-h"]
    assert words.directives("#PBS -h\n", "") == []


def test_lists_of_variables_keep_commas_in_quotes() -> None:
    found = words.pairs(r"""A=1,B,C='x,y',D=a\,b,E="q'",F=""")

    assert found == [
        ("A", "1"), ("B", None), ("C", "x,y"), ("D", "a,b"), ("E", "q'"), ("F", ""),
    ]  # fmt: skip


# ---------------------------------------------------------------- wishes


def test_the_command_line_counts_more_than_directives_each_name_by_itself() -> None:
    asked = wishes.Wishes.of(
        [("N", "a"), ("v", "X=1"), ("l", "mem=1gb"), ("W", "block=true")],
        [("N", "b"), ("q", "q"), ("v", "X=2,Y=3"), ("l", "mem=2gb"), ("W", "block=no,umask=022")],
    )

    assert asked.one == {"N": "a", "q": "q"}
    assert asked.variables == {"X": "1", "Y": "3"}
    assert asked.others == {"block": "true", "umask": "022"}
    assert resources.read(asked.resources) == {"mem": "1gb"}


def test_a_list_of_dependencies_may_hold_commas() -> None:
    asked = wishes.Wishes.of([("W", "depend=afterok:1.h:2.h,afterany:3[].h,umask=027")])

    assert asked.others == {"depend": "afterok:1.h:2.h,afterany:3[].h", "umask": "027"}


@pytest.mark.parametrize(
    ("text", "is_pro", "listed", "step", "limit"),
    [
        ("1-9:4%1", True, (1, 5, 9), 4, 1),
        ("0-2", True, (0, 1, 2), 1, 0),
        ("5", False, (5,), 1, 0),
        ("1,3,7-8%2", False, (1, 3, 7, 8), 0, 2),
        ("2-4", False, (2, 3, 4), 1, 0),
    ],
)
def test_indices_are_read(
    text: str, is_pro: bool, listed: tuple[int, ...], step: int, limit: int
) -> None:
    found = wishes.indices(text, is_pro=is_pro)

    assert (found.listed, found.step, found.limit) == (listed, step, limit)


@pytest.mark.parametrize(
    ("text", "is_pro"),
    [("5-1", True), ("3-3", True), ("3", True), ("1-4%0", True), ("1,2", True), ("x", False),
     ("", False), ("4-2", False)],
)  # fmt: skip
def test_indices_that_are_none_are_refused(text: str, is_pro: bool) -> None:
    with pytest.raises(wishes.BadValue, match="J" if is_pro else "t"):
        wishes.indices(text, is_pro=is_pro)


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("1530", datetime(2026, 11, 21, 15, 30)),
        ("0900", datetime(2026, 11, 22, 9, 0)),
        ("250900", datetime(2026, 11, 25, 9, 0)),
        ("12250900.30", datetime(2026, 12, 25, 9, 0, 30)),
        ("2712250900", datetime(2027, 12, 25, 9, 0)),
        ("202712250900", datetime(2027, 12, 25, 9, 0)),
    ],
)
def test_times_to_begin_are_the_next_ones(text: str, when: datetime) -> None:
    assert wishes.begin(text, datetime(2026, 11, 21, 12, 0)) == when.timestamp()


@pytest.mark.parametrize("text", ["", "99", "2561", "13010900", "noon", "12:00"])
def test_a_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(wishes.BadValue, match="a"):
        wishes.begin(text, datetime(2026, 11, 21, 12, 0))


# ---------------------------------------------------------------- resources


@pytest.mark.parametrize(
    ("texts", "cores", "memory_mib", "gpus", "walltime_s", "slots"),
    [
        ((), 1, 0, 0, 0, 1),
        (("select=2:ncpus=4:mem=1gb", "walltime=90"), 8, 2048, 0, 90, 2),
        (("select=1:ncpus=4:mpiprocs=4:ngpus=1+2:ncpus=1",), 6, 0, 1, 0, 6),
        (("nodes=2:ppn=3:gpus=1:fast,mem=512mb",), 6, 512, 2, 0, 6),
        (("ncpus=3,walltime=1:02:03",), 3, 0, 0, 3723, 1),
        (("nodes=host1+host2:ppn=2",), 3, 0, 0, 0, 3),
        (("procs=4,pmem=100mb",), 4, 400, 0, 0, 4),
        (("mem=1000000",), 1, 1, 0, 0, 1),
    ],
)
def test_requests_are_added_up(
    texts: tuple[str, ...], cores: int, memory_mib: int, gpus: int, walltime_s: float, slots: int
) -> None:
    made = resources.merge(resources.read(texts), is_pro=True)

    assert (made.cores, made.memory_mib, made.gpus) == (cores, memory_mib, gpus)
    assert (made.walltime_s, made.slots) == (walltime_s, slots)


def test_each_flavour_lists_a_request_in_its_own_way() -> None:
    asked = resources.read(["nodes=1:ppn=2,walltime=10"])

    assert resources.merge(asked, is_pro=True).listed == {
        "ncpus": "2", "nodect": "1", "nodes": "1:ppn=2", "place": "pack",
        "select": "1:ncpus=2:mpiprocs=2", "walltime": "00:00:10",
    }  # fmt: skip
    assert resources.merge(asked, is_pro=False).listed == {
        "nodect": "1",
        "nodes": "1:ppn=2",
        "walltime": "00:00:10",
    }


@pytest.mark.parametrize(
    ("text", "kind", "name"),
    [
        ("nosuch=1", "resource", "nosuch"),
        ("walltime=abc", "value", "walltime"),
        ("mem=lots", "value", "mem"),
        ("ncpus=two", "value", "ncpus"),
        ("select=2:ncpus", "value", "select"),
        ("select=0:ncpus=1", "value", "select"),
    ],
)
def test_a_resource_that_is_wrong_is_named(text: str, kind: str, name: str) -> None:
    with pytest.raises(resources.BadResource) as caught:
        resources.read([text])

    assert (caught.value.kind, caught.value.name) == (kind, name)


# ---------------------------------------------------------------- ids


@pytest.mark.parametrize(
    ("text", "number", "is_array", "indices"),
    [
        ("17", "17", False, ()),
        ("17.host", "17", False, ()),
        ("17[].host.domain", "17", True, ()),
        ("17[3]", "17", True, (3,)),
        ("17[1-5:2,9].host@server", "17", True, (1, 3, 5, 9)),
    ],
)
def test_ids_are_taken_apart(
    text: str, number: str, is_array: bool, indices: tuple[int, ...]
) -> None:
    name = ids.parse(text, "host")

    assert name
    assert (name.number, name.is_array, name.indices) == (number, is_array, indices)


@pytest.mark.parametrize("text", ["", "workq", "17[x]", "17[1", "a.17", "17[1-5:0]"])
def test_what_is_no_id_is_none(text: str) -> None:
    assert ids.parse(text, "host") is None


# ---------------------------------------------------------------- showing


def test_long_values_are_wrapped_where_the_real_one_wraps_them() -> None:
    start = RECORDED.index("    Variable_List")
    wrapped = RECORDED[start : RECORDED.index("    comment", start)]
    value = wrapped.replace("\n\t", "").strip().partition(" = ")[2]
    variables = dict(word.partition("=")[::2] for word in value.split(","))

    text = show.as_text("Job Id: 1.vm", {"Variable_List": variables})

    assert text == f"Job Id: 1.vm\n{wrapped}\n"


def test_a_word_that_is_too_long_is_cut_at_the_last_column() -> None:
    text = show.as_text("x", {"comment": "Job run at Sat Nov 21 at 07:55 on (vm:ncpus=1) and "
                                         "exceeded resource walltime"})  # fmt: skip

    assert "and exceeded resou\n\trce walltime\n" in text
    assert "\n\t" not in show.as_text("x", {"comment": "y" * 200}, wrap=False)


def test_json_has_numbers_as_numbers_and_times_as_dates() -> None:
    text = show.document(
        "Jobs",
        {"1.h": {"Priority": 0, "ctime": Time(0), "Variable_List": {"T": "60", "Z": "007"}}},
        version="23.06.06",
        server="h",
        now=1.5,
    )

    assert '"timestamp":\t1,\n' in text
    assert '\t\t\t\t"T":\t60,\n\t\t\t\t"Z":\t"007"\n' in text
    assert '1970"' in text


def test_json_without_jobs_has_no_such_key() -> None:
    text = show.document("Jobs", {}, version="23.06.06", server="vm", now=1795247655)

    assert text in RECORDED


def test_xml_is_one_line_with_times_in_seconds() -> None:
    text = show.as_xml(
        {"1.h": {"Job_Name": "a<b", "ctime": Time(5), "Resource_List": {"nodes": "1"}}}
    )

    assert text == (
        "<Data><Job><Job_Id>1.h</Job_Id><Job_Name>a&lt;b</Job_Name><ctime>5</ctime>"
        "<Resource_List><nodes>1</nodes></Resource_List></Job></Data>\n"
    )
    assert show.as_xml({}) == ""
