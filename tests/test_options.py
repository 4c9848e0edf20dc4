"""Keywords: names, types, mistakes, and the directives of each scheduler."""

import re
import shlex
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cluster import logme, options
from cluster._option_directives import quote
from cluster._option_table import QTYPES, SYNONYMS, TABLE, Absent
from cluster._option_values import READERS
from cluster.errors import OptionsError
from cluster.options import check_arguments, option_lines, option_to_string, options_to_string
from cluster.spec import ArraySpec, Dependency

NOW = datetime(2026, 3, 1, 12, 0).astimezone()
SCHEDULERS = ("slurm", "torque", "sge", "lsf")


@pytest.fixture(autouse=True)
def _no_configuration(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("CLUSTER_CONFIG", raising=False)
    monkeypatch.delenv("CLUSTER_QTYPE", raising=False)
    monkeypatch.chdir(tmp_path)


# ---------------------------------------------------------------- the table


def test_no_word_means_two_options():
    assert not set(SYNONYMS) & set(TABLE)
    assert len(SYNONYMS) == sum(len(option.synonyms) for option in TABLE.values())


@pytest.mark.parametrize("option", TABLE.values(), ids=TABLE.keys())
def test_every_option_has_a_reader_help_and_a_directive_or_a_reason_everywhere(option):
    assert option.kind in READERS
    assert option.help.endswith(".")
    for qtype in QTYPES:
        directive = option.directive(qtype)
        assert directive.reason if isinstance(directive, Absent) else directive


def test_the_seed_name_of_the_table_cannot_be_changed():
    assert options.all_options["cores"].default == 1
    with pytest.raises(TypeError):
        options.all_options["x"] = TABLE["cores"]


# ---------------------------------------------------------------- checking


def test_nothing_asked_is_nothing_requested():
    assert check_arguments({}) == {}
    assert check_arguments({"cores": None, "mem": None}) == {}


@pytest.mark.parametrize(
    ("given", "checked"),
    [
        ({"threads": "4"}, {"cores": 4}),
        ({"queue": "short"}, {"partition": "short"}),
        ({"memory": "2GB"}, {"mem": 2048}),
        ({"mem": 4000}, {"mem": 4000}),
        ({"walltime": "30:00:00"}, {"time": 108000.0}),
        ({"time": timedelta(hours=1)}, {"time": 3600.0}),
        ({"gpus": "a100:2"}, {"gpus": 2, "gpu_type": "a100"}),
        ({"gpus": 2, "gpu_type": "a100"}, {"gpus": 2, "gpu_type": "a100"}),
        ({"gpus": 0}, {"gpus": 0}),
        ({"exclusive": "yes"}, {"exclusive": True}),
        ({"stdout": Path("/a b/$x")}, {"outfile": "/a b/$x"}),
        ({"cwd": b"/caf\xe9"}, {"dir": "/caf\udce9"}),
        ({"modules": "gcc/12, python"}, {"modules": ["gcc/12", "python"]}),
        ({"resources": "license=2, gpfs=1"}, {"resources": {"license": 2, "gpfs": 1}}),
        ({"env": {"A": 1, "B": Path("/x"), b"C": b"y"}}, {"env": {"A": "1", "B": "/x", "C": "y"}}),
        ({"env": "A='x y' B=2,3"}, {"env": {"A": "x y", "B": "2,3"}}),
        ({"env_prepend": {"PATH": ["/a", "/b"]}}, {"env_prepend": {"PATH": "/a:/b"}}),
        ({"signal": "USR1@90s"}, {"signal": (10, 90.0)}),
        ({"signal": ("SIGTERM", 60)}, {"signal": (15, 60.0)}),
        ({"umask": "027"}, {"umask": 0o027}),
        ({"by_value": [re, "mine"]}, {"by_value": ["re", "mine"]}),
        ({"submit_args": "--reservation='a b'"}, {"submit_args": ["--reservation=a b"]}),
        ({"prologue": "set -e\ncd /x"}, {"prologue": "set -e\ncd /x"}),
        ({"directives_skip": "memory,--time"}, {"directives_skip": ["mem", "--time"]}),
    ],
)
def test_a_keyword_gets_its_one_name_and_its_one_type(given, checked):
    assert check_arguments(given) == checked
    assert check_arguments(checked) == checked


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (17, [("17", "afterok")]),
        ("17_3", [("17_3", "afterok")]),
        ("6[2].vm,5.server", [("6[2].vm", "afterok"), ("5.server", "afterok")]),
        ("afterany:1:2,after:3", [("1", "afterany"), ("2", "afterany"), ("3", "after")]),
        ({"afternotok": [4, "5"]}, [("4", "afternotok"), ("5", "afternotok")]),
        ([SimpleNamespace(id="8"), Dependency("9", "after")], [("8", "afterok"), ("9", "after")]),
        ([17, "17"], [("17", "afterok")]),
    ],
)
def test_dependencies_are_read_from_jobs_ids_and_texts(value, expected):
    checked = check_arguments({"depends": value})

    assert checked["dependencies"] == tuple(Dependency(*one) for one in expected)
    assert check_arguments(checked) == checked


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (NOW + timedelta(days=1), NOW + timedelta(days=1)),
        (timedelta(hours=2), NOW + timedelta(hours=2)),
        ("now+2h", NOW + timedelta(hours=2)),
        ("now", NOW),
        ("13:30", NOW.replace(hour=13, minute=30)),
        ("11:00", NOW.replace(hour=11) + timedelta(days=1)),
        ("2026-03-05T06:07", datetime(2026, 3, 5, 6, 7).astimezone()),
        ("2026-03-05T06:07:00Z", datetime(2026, 3, 5, 6, 7, tzinfo=timezone.utc)),
    ],
)
def test_begin_is_a_moment(value, expected):
    assert check_arguments({"begin": value}, now=NOW) == {"begin": expected}


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("cores", 0, "1 or more"),
        ("cores", -2, "1 or more"),
        ("cores", True, "whole number"),
        ("cores", 2.0, "whole number"),
        ("cores", "four", "whole number"),
        ("mem", "lots", "memory 'lots' cannot be read"),
        ("mem", "4000", "no unit"),
        ("mem", 0, "leave it out"),
        ("walltime", "90", "no unit"),
        ("walltime", "10:30", "two fields"),
        ("time", 0, "leave it out"),
        ("begin", 1700000000, "now\\+2h"),
        ("begin", "noon", "now\\+2h"),
        ("begin", "2026", "now\\+2h"),
        ("hold", 1, "neither true nor false"),
        ("name", "a\nb", "newline"),
        ("name", "a\0b", "NUL"),
        ("name", " ", "empty"),
        ("partition", "a b", "blank"),
        ("comment", "x\n#SBATCH --wrap=evil", "newline"),
        ("outfile", "a\nb", "newline"),
        ("extra_directives", ["--x\n--y"], "newline"),
        ("gpus", "a b:2", "blank"),
        ("gpus", -1, "0 or more"),
        ("resources", {"a b": 1}, "name of a resource"),
        ("resources", {"a": -1}, "0 or more"),
        ("env", {"A": 1.5}, "neither text nor path nor int"),
        ("env", {"A": True}, "neither text nor path nor int"),
        ("env", {"A=B": "1"}, "name of a variable"),
        ("env", {"A": "x\0"}, "NUL"),
        ("env", ["A=1"], "not a mapping"),
        ("export", "A=1", "env="),
        ("signal", "USR1", "how long"),
        ("signal", "USR9@60s", "not a signal"),
        ("signal", "USR1@60", "no unit"),
        ("umask", "999", "octal"),
        ("dependencies", "soon:17", "no kind of dependency"),
        ("dependencies", SimpleNamespace(id=None), "submit it first"),
        ("dependencies", "17\n18;rm", "not the id"),
        ("dependencies", -1, "1 or more"),
        ("on_unsatisfiable", "explode", "cancel, pend, release"),
        ("directives_skip", "memry", "did you mean mem"),
        ("array", "5-1", "backwards"),
    ],
)
def test_a_bad_value_is_refused_with_the_keyword_and_what_is_wrong(key, value, words):
    with pytest.raises(OptionsError, match=words) as caught:
        check_arguments({key: value})

    assert str(caught.value).startswith(options.canonical_name(key))


@pytest.mark.parametrize(
    ("typo", "meant"),
    [("coers", "cores"), ("memroy", "memory (that is, mem)?"), ("Cores", "did you mean cores?")],
)
def test_an_unknown_keyword_names_the_nearest_known_one(typo, meant):
    with pytest.raises(OptionsError) as caught:
        check_arguments({typo: 1})

    assert repr(typo) in str(caught.value)
    assert meant in str(caught.value)


def test_all_mistakes_are_told_at_once():
    with pytest.raises(OptionsError) as caught:
        check_arguments({"cores": 0, "walltime": "90", "zzzz": 1, "mem": 1, "memory": 2})

    text = str(caught.value)
    assert text.startswith("4 mistakes:")
    assert all(word in text for word in ("cores:", "time:", "'zzzz'", "mem and memory mean"))


def test_two_words_for_one_thing_are_refused():
    with pytest.raises(OptionsError, match="threads and cpus mean the same"):
        check_arguments({"threads": 2, "cpus": 2})


def test_a_gpu_type_given_twice_and_differently_is_refused():
    with pytest.raises(OptionsError, match=r"'a100'.*'v100'"):
        check_arguments({"gpus": "a100:2", "gpu_type": "v100"})


# ---------------------------------------------------------------- arrays


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1-100%5", ArraySpec(1, 100, 1, 5)),
        ("1-9:2", ArraySpec(1, 5, 2)),
        ("0-10:3%2", ArraySpec(0, 4, 3, 2)),
        ("7", ArraySpec(7, 1)),
        ("3,1,2", ArraySpec(1, 3)),
        (range(0, 10, 2), ArraySpec(0, 5, 2)),
        ([5, 3], ArraySpec(3, 2, 2)),
    ],
)
def test_a_regular_array_is_start_count_and_step(value, expected):
    assert options.parse_array(value) == expected


def test_an_irregular_array_is_its_indices_and_keeps_its_limit():
    indices = options.parse_array("1,3,7-9%2")

    assert indices == (1, 3, 7, 8, 9)
    assert indices.max_running == 2
    assert options.parse_array(indices).max_running == 2


@pytest.mark.parametrize(
    "value",
    ["", "a", "5-1", "1-5:0", "1,1", "1-3%0", "1-3%", "-1", [True], [], {1: 2}, 7, "0-99999999"],
)
def test_what_is_no_array_is_refused(value):
    with pytest.raises(OptionsError, match="array"):
        options.parse_array(value)


@given(st.integers(0, 50), st.integers(1, 50), st.integers(1, 9), st.integers(0, 9))
def test_an_array_written_for_slurm_reads_back(start, count, step, most):
    spec = ArraySpec(start, count, step if count > 1 else 1, most)

    (line,) = option_lines({"array": spec}, "slurm")

    assert options.parse_array(line.removeprefix("--array=")) == spec


# ---------------------------------------------------------------- directives


@pytest.mark.parametrize(
    ("given", "slurm", "torque", "sge", "lsf"),
    [
        ({"cores": 4}, "--cpus-per-task=4", "-l nodes=1:ppn=4", "-pe smp 4",
         '-n 4 -R "span[hosts=1]"'),
        ({"mem": "2GB"}, "--mem=2048M", "-l mem=2048mb", "-l h_vmem=2048M",
         '-M 2048MB -R "rusage[mem=2048MB]"'),
        ({"time": "30h"}, "--time=1-06:00:00", "-l walltime=30:00:00", "-l h_rt=108000",
         "-W 30:00"),
        ({"time": 61}, "--time=00:01:01", "-l walltime=00:01:01", "-l h_rt=61", "-W 0:02"),
        ({"partition": "long"}, "--partition=long", "-q long", "-q long", "-q long"),
        ({"account": "bio"}, "--account=bio", "-A bio", "-P bio", "-P bio"),
        ({"gpus": 2}, "--gres=gpu:2", "-l nodes=1:ppn=1:gpus=2", "-l gpu=2", "-gpu \"num=2\""),
        ({"hold": True}, "--hold", "-h", "-h", "-H"),
        ({"hold": False}, "", "", "", ""),
        ({"requeue": False}, "--no-requeue", "-r n", "-r n", "-rn"),
        ({"requeue": True}, "--requeue", "-r y", "-r y", "-r"),
        ({"dependencies": "17,afterany:18"}, "--dependency=afterok:17,afterany:18",
         "-W depend=afterok:17,afterany:18", "-hold_jid 17,18", '-w "done(17) && ended(18)"'),
        ({"array": "1-100%5"}, "--array=1-100%5", "-t 1-100%5", "-t 1-100 -tc 5",
         "-J array[1-100]%5"),
        ({"begin": datetime(2026, 11, 22, 10, 0, 30)}, "--begin=2026-11-22T10:00:30",
         "-a 202611221000.30", "-a 202611221000.30", "-b 2026:11:22:10:01"),
        ({"resources": {"lic": 2}}, "--licenses=lic:2", "-l lic=2", "-l lic=2",
         '-R "rusage[lic=2]"'),
        ({"features": ["ib", "big"]}, '--constraint="ib&big"', "-l nodes=1:ppn=1:ib:big",
         "-l ib,big", '-R "select[ib && big]"'),
        ({"exclusive": True}, "--exclusive", "-l naccesspolicy=singlejob", "-l exclusive=true",
         "-x"),
        ({"outfile": "a b.out"}, '--output="a b.out"', '-o "a b.out"', '-o "a b.out"',
         '-oo "a b.out"'),
        ({"dir": "/x"}, "--chdir=/x", "-d /x", "-wd /x", "-cwd /x"),
        ({"priority": 5}, "--priority=5", "-p 5", "-p 5", "-sp 5"),
        ({"inherit_env": True}, "--export=ALL", "-V", "-V", "-env all"),
        ({"inherit_env": False}, "--export=NONE", "", "", "-env none"),
        ({"export": "A,B"}, "--export=A,B", "-v A,B", "-v A,B", '-env "A, B"'),
        ({"notify": "a@b.c"}, "--mail-type=END,FAIL --mail-user=a@b.c", "-m ae -M a@b.c",
         "-m ae -M a@b.c", "-N -u a@b.c"),
        ({"notify": "touch done"}, "", "", "", ""),
        ({"name": "my job"}, '--job-name="my job"', "-N my_job", "-N my_job", '-J "my job"'),
        ({"extra_directives": ["--a", "#SBATCH --b"]}, "--a|--b", "--a|#SBATCH --b",
         "--a|#SBATCH --b", "--a|#SBATCH --b"),
    ],
)  # fmt: skip
def test_an_option_becomes_the_directive_of_each_scheduler(given, slurm, torque, sge, lsf):
    written = {qtype: "|".join(option_lines(given, qtype)) for qtype in SCHEDULERS}

    assert written == {"slurm": slurm, "torque": torque, "sge": sge, "lsf": lsf}


@pytest.mark.parametrize(
    ("qtype", "expected"),
    [
        ("slurm", ["--gres=gpu:a100:2", "--cpus-per-task=4", "--nodes=2", "--mem=1000M"]),
        ("torque", ["-l nodes=2:ppn=4:gpus=2:a100", "-l mem=2000mb"]),
        ("sge", ["-pe smp 4", "-l h_vmem=250M", "-l gpu=2"]),
        ("lsf", ['-n 8 -R "span[ptile=4]"', "-gpu num=2:gmodel=a100",
                 '-M 1000MB -R "rusage[mem=1000MB]"']),
    ],
)  # fmt: skip
def test_options_that_share_a_directive_are_written_as_one(qtype, expected):
    assert option_lines({"nodes": 2, "cores": 4, "gpus": "a100:2", "mem": 1000}, qtype) == expected


def test_grid_engine_memory_is_per_slot_and_rounded_up():
    assert "-l h_vmem=34M" in option_lines({"cores": 3, "mem": 100}, "sge")


def test_lsf_append_changes_the_flags_of_the_files_and_an_array_takes_the_name():
    asked = {"name": "fit", "array": "1-3", "outfile": "o", "errfile": "e", "append": True}

    assert option_lines(asked, "lsf") == ["-J fit[1-3]", "-o o", "-e e"]


@pytest.mark.parametrize(
    ("given", "qtype"),
    [
        ({"dependencies": "after:3"}, "sge"),
        ({"array": "1,2,4"}, "sge"),
        ({"array": "0-3"}, "sge"),
        ({"array": "0-3"}, "lsf"),
        ({"priority": 2000}, "torque"),
        ({"outfile": "a:b"}, "torque"),
        ({"outfile": "a\\b"}, "lsf"),
        ({"comment": 'it\'s "it"'}, "lsf"),
    ],
)
def test_what_a_scheduler_cannot_express_is_refused_not_dropped(given, qtype):
    with pytest.raises(OptionsError):
        option_lines(given, qtype)


@pytest.mark.parametrize("qtype", SCHEDULERS)
def test_a_list_is_never_written_as_a_python_list(qtype):
    asked = {"modules": ["a", "b"], "features": ["x", "y"], "export": ["A"], "imports": ["os"]}

    assert not re.search(r"\['|', '", options_to_string(asked, qtype))


def test_skipped_directives_are_left_out_by_keyword_and_by_flag():
    asked = {"cores": 2, "mem": 10, "time": 60, "directives_skip": ["memory", "--time"]}

    assert option_lines(asked, "slurm") == ["--cpus-per-task=2"]


def test_each_line_carries_the_prefix_of_its_scheduler():
    first = [option_to_string("cores", 2, qtype).split()[0] for qtype in SCHEDULERS]

    assert first == ["#SBATCH", "#PBS", "#$", "#BSUB"]
    assert options_to_string({"cores": 2, "mem": 5}, "slurm") == (
        "#SBATCH --cpus-per-task=2\n#SBATCH --mem=5M"
    )


def test_without_a_value_the_default_is_written():
    assert option_to_string("cores", qtype="slurm") == "#SBATCH --cpus-per-task=1"
    assert option_to_string("mem", qtype="slurm") == ""


def test_an_option_that_a_scheduler_lacks_is_empty_and_the_log_says_why(capsys, monkeypatch):
    monkeypatch.setattr(logme, "MIN_LEVEL", "debug")
    said = []
    monkeypatch.setattr(logme, "log", lambda message, level: said.append((message, level)))

    assert option_to_string("qos", "high", "sge") == ""
    assert option_to_string("modules", "gcc", "sge") == ""

    assert said == [("qos is not available in sge: Grid Engine has no quality of service", "debug")]


@pytest.mark.parametrize("qtype", ["local", "normal"])
def test_the_local_queue_has_no_directives(qtype):
    assert options_to_string({"cores": 2, "name": "x"}, qtype) == ""


def test_the_current_scheduler_comes_from_the_environment_then_the_configuration(monkeypatch):
    monkeypatch.setattr("cluster.queue.MODE", None)  # another test may have detected one
    monkeypatch.delenv("CLUSTER_QTYPE", raising=False)
    monkeypatch.setenv("CLUSTER_CFG_QUEUE_QTYPE", "lsf")
    assert option_to_string("hold", True) == "#BSUB -H"
    monkeypatch.setenv("CLUSTER_QTYPE", "pbs")
    assert option_to_string("hold", True) == "#PBS -h"


def test_an_unknown_scheduler_is_refused():
    with pytest.raises(OptionsError, match="unknown scheduler 'slurn'"):
        option_to_string("cores", 1, "slurn")


def test_site_names_of_grid_engine_come_from_the_configuration(monkeypatch):
    monkeypatch.setenv("CLUSTER_CFG_QUEUE_SGE_PARALLEL_ENVIRONMENT", "threaded")
    monkeypatch.setenv("CLUSTER_CFG_QUEUE_SGE_MEMORY_RESOURCE", "mem_free")

    lines = option_lines({"cores": 2, "mem": 100}, "sge")

    assert lines == ["-pe threaded 2", "-l mem_free=50M"]


LINE = st.text(st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1)


@given(LINE)
def test_any_text_quoted_for_slurm_is_one_word_as_sbatch_reads_it(text):
    assert _as_sbatch_reads(quote(text, "slurm")) == text


@given(LINE)
@example("'$")
def test_any_text_quoted_for_the_others_is_one_word_or_refused(text):
    try:
        quoted = quote(text, "torque")
    except OptionsError:
        assert "\\" in text or ("'" in text and set('"$`') & set(text))
    else:
        assert shlex.split(quoted) == [text]


@given(st.text(), st.sampled_from(SCHEDULERS))
def test_no_text_ever_starts_a_second_line(text, qtype):
    for name in ("name", "comment", "outfile", "partition", "notify", "extra_directives"):
        try:
            written = options_to_string({name: text}, qtype)
        except OptionsError:
            continue
        assert len(written.splitlines()) <= max(1, len(text.splitlines()))
        assert all(line.startswith("#") for line in written.splitlines())


def _as_sbatch_reads(word):
    """The quoting rules of sbatch's #SBATCH lines: a backslash escapes everywhere."""
    out, mark, escaped = [], "", False
    for char in word:
        if escaped:
            out.append(char)
            escaped = False
        elif char == "\\":
            escaped = True
        elif mark and char == mark:
            mark = ""
        elif not mark and char in "\"'":
            mark = char
        elif not mark and (char.isspace() or char == "#"):
            break
        else:
            out.append(char)
    return "".join(out)


# ---------------------------------------------------------------- help


def test_help_is_text_print_or_table(capsys):
    text = options.option_help()
    assert all(f"\n{name} (" in "\n" + text for name in TABLE)

    assert options.option_help(mode="print") is None
    assert capsys.readouterr().out == text

    heads, *rows = options.option_help("slurm", mode="table")
    assert heads == ["option", "synonyms", "type", "default", "help", "slurm"]
    assert ["cores", "--cpus-per-task={text}"] in [[row[0], row[-1]] for row in rows]


def test_help_for_one_scheduler_leaves_out_what_it_does_not_have():
    assert "\nqos (" not in options.option_help("sge")
    assert "\nqos (" in options.option_help("slurm")


def test_an_unknown_mode_of_help_is_refused():
    with pytest.raises(OptionsError, match="no mode 'html'"):
        options.option_help(mode="html")
