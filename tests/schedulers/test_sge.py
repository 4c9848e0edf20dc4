"""Grid Engine: what a recorded 8.1.9 said, read; and what it is asked."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cluster import options
from cluster._option_directives import Site
from cluster.errors import OptionsError, QueueError
from cluster.local.wire import JobInfo
from cluster.options import check_arguments
from cluster.schedulers import cluster_scripts
from cluster.schedulers.base import Command, Request
from cluster.schedulers.dialect import Answer, Outputs, Seen
from cluster.schedulers.sge import Sge
from cluster.schedulers.sge_books import read_books
from cluster.schedulers.sge_queue import limit_s, mib
from cluster.script import Script
from cluster.spec import Dependency

GOLDEN = Path(__file__).parent / "golden" / "sge-8.1.9"
FILES = Outputs("/x/a.out", "/x/a.err")
MARK = "cluster-0123456789abcdef"
SGE = Sge()


def golden(name: str) -> Answer:
    """What was recorded; the ids of its command stand in `argv`."""
    command, *lines, last = (GOLDEN / f"{name}.txt").read_text().rstrip("\n").split("\n")
    said = [line.removeprefix("[stderr] ") for line in lines if line.startswith("[stderr] ")]
    shown = [line for line in lines if not line.startswith("[stderr] ")]
    code = int(last.removeprefix("[rc=").removesuffix("]"))
    return Answer(tuple(command.split()[1:]), code, "\n".join(shown), "\n".join(said))


def answer(stdout: str = "", *, code: int = 0, stderr: str = "", argv: str = "qstat") -> Answer:
    return Answer(tuple(argv.split()), code, stdout, stderr)


def request(*dependencies: Dependency, name: str = "job", **options: object) -> Request:
    return Request(
        name=name,
        program=Command((b"true",)),
        cwd=b"/work dir",
        options=check_arguments(options),
        dependencies=dependencies,
    )


def directives(*dependencies: Dependency, **options: object) -> list[str]:
    return SGE.directives(request(*dependencies, **options), FILES, mark=MARK)  # type: ignore[arg-type]


def named(seen: list[Seen]) -> dict[str, JobInfo]:
    """By name, elements with their index: `array_3`."""
    return {
        one.info.name + (f"_{one.info.index}" if one.info.index is not None else ""): one.info
        for one in seen
    }


def ids(recorded: Answer) -> list[str]:
    return [word for word in recorded.argv if word.isdigit() and word != "999999"]


# ---------------------------------------------------------------- is it there


def test_a_cluster_that_answers_is_recognised_with_its_version():
    assert SGE.recognises(golden("probe")) == "8.1.9"


@pytest.mark.parametrize(
    "said",
    [
        golden("probe-down"),
        golden("probe")._replace(code=1),
        answer("vm\nSGE 8.1.9\n"),
        answer("usage: qstat [-f] [-J] [-p]", stderr="sh: qconf: not found"),
        answer("", code=127),
    ],
)
def test_what_is_down_or_is_no_grid_engine_is_not_recognised(said):
    assert SGE.recognises(said) == ""


# ---------------------------------------------------------------- submitting


@pytest.mark.parametrize("name", ["terse", "terse-array", "words", "words-array"])
def test_the_id_is_read_in_all_forms_of_the_answer(name):
    said = golden(f"qsub-{name}")

    assert SGE.parse_submit(said) == re.findall(r"\d+", said.stdout)[0]


def test_the_id_is_found_below_what_a_site_greets_with():
    assert SGE.parse_submit(answer("Welcome! 3 notes today.\n17.1-4:1\n")) == "17"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("unknown-queue", "`qconf -sql` lists the queues"),
        ("unknown-environment", "`qconf -spl` lists them"),
        ("unknown-resource", "`qconf -sc` lists the resources"),
        ("too-many-elements", "smaller array="),
        ("bad-option", 'invalid option argument "-zzz"'),
        ("no-script", "No such file or directory"),
        ("positive-priority", "only operators may raise a priority"),
    ],
)
def test_a_job_that_would_always_be_refused_says_why_and_what_to_do(name, said):
    with pytest.raises(OptionsError, match=re.escape(said)):
        SGE.parse_submit(golden(f"qsub-{name}"))


@pytest.mark.parametrize(
    ("name", "said"),
    [("down", "could not be asked"), ("bad-name", "could not be asked"), ("full", "no more jobs")],
)
def test_nobody_asked_and_no_room_are_failures_of_the_moment(name, said):
    with pytest.raises(QueueError, match=said):
        SGE.parse_submit(golden(f"qsub-{name}"))


@pytest.mark.parametrize("said", [answer(""), answer("nonsense"), answer("", code=137)])
def test_an_answer_without_an_id_leaves_open_whether_the_job_was_taken(said):
    with pytest.raises(QueueError, match="gave no id"):
        SGE.parse_submit(said)


def test_a_job_is_written_with_its_mark_and_no_path_that_may_be_missing():
    assert directives(cores=2, mem="300M", time="1h", partition="all.q") == [
        "-S /bin/bash",
        "-j y",
        f"-ac mark={MARK}",
        "-pe smp 2",
        "-l h_vmem=150M",
        "-l h_rt=3600",
        "-N job",
        "-q all.q",
        "-r n",
        "-o /dev/null",
        "-wd /",
        "-V",
    ]


def test_the_environment_of_the_submitter_comes_along_unless_told_otherwise():
    assert "-V" in directives()
    assert "-V" not in directives(inherit_env=False)
    assert "-V" not in directives(export="A,B")
    assert "-v A,B" in directives(export="A,B")


def test_the_site_names_its_environment_and_its_resources():
    dialect = Sge(Site(pe="threads", memory_resource="mem_free", gpu_resource="cuda"))

    lines = dialect.directives(request(cores=2, mem=100, gpus=1), FILES, mark=MARK)

    assert {"-pe threads 2", "-l mem_free=50M", "-l cuda=1"} <= set(lines)


def test_an_array_is_written_with_its_limit():
    assert "-t 1-9:2 -tc 3" in directives(array="1-9:2%3")


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("fit 3/4: a@b*?", "fit_3_4__a_b__"),
        ("naïve\t名", "na_ve__"),
        ("1st", "j1st"),
        ("None", "jNone"),
        ("TEMPLATE", "jTEMPLATE"),
        ("nonesuch", "nonesuch"),
        ("it's #1", "it_s__1"),
        ("x" * 600, "x" * 200),
    ],
)
def test_a_name_that_grid_engine_refuses_becomes_a_label_that_it_takes(name, label):
    assert f"-N {label}" in directives(name=name)


@pytest.mark.parametrize("path", ["/x/it's", '/x/"a"', "/x/a#b", "/x/a,b"])
def test_a_path_that_a_directive_would_change_is_refused(path):
    with pytest.raises(OptionsError, match=r"cannot be written|has a comma"):
        options.option_to_string("outfile", path, "sge")


@pytest.mark.parametrize("path", ["/x/a b", "/x/$HOME `x`", "/x/ünï", "/x/a\\b", "/x/*?[a]"])
def test_a_path_that_grid_engine_keeps_is_written_in_quotes(path):
    assert options.option_to_string("outfile", path, "sge").split("-o ")[1] == f'"{path}"'


@pytest.mark.parametrize(
    ("asked", "written"),
    [
        ({}, """exec >'/x/it'"'"'s #1' 2>/x/e || """),
        ({"append": True}, """exec >>'/x/it'"'"'s #1' 2>>/x/e || """),
    ],
)
def test_the_script_opens_the_files_of_output_whatever_their_names(asked, written):
    job = replace(request(**asked), stdout=b"/x/it's #1", stderr=b"/x/e")

    text = str(script_of(job))

    assert written in text
    assert text.index(written) < text.index("job() ")


def test_elements_open_files_of_their_own():
    job = replace(request(array="1-3"), stdout=b"/x/a {index}.out", stderr=b"/x/a {index}.out")

    assert """exec >'/x/a '"$cluster_index".out 2>&1 || """ in str(script_of(job))


def script_of(job: Request) -> Script:
    made = cluster_scripts.make(SGE, job, directory="/x", stem="s", suffix="cluster", mark=MARK)
    return made.submission


def test_a_comment_keeps_what_a_context_can_hold():
    assert '-ac "comment=it_s <b>; _so_ _1 ä"' in directives(comment='it\'s <b>, "so" #1 ä')


def test_dependencies_wait_for_whole_jobs_and_each_once():
    lines = directives(Dependency("17"), Dependency("18_3", "afterany"), Dependency("18_4"))

    assert "-hold_jid 17,18" in lines


def test_a_dependency_on_a_start_is_refused():
    with pytest.raises(OptionsError, match="cannot wait for the start"):
        directives(Dependency("17", "after"))


def test_the_script_guards_what_grid_engine_does_not_look_at():
    asked = request(
        Dependency("17"), Dependency("18", "afterany"), Dependency("19_2", "afternotok")
    )

    assert SGE.guards(asked) == [("afterok", "17"), ("afternotok", "19_2")]


def test_a_dependency_that_may_be_dropped_needs_no_guard():
    assert SGE.guards(request(Dependency("17"), on_unsatisfiable="release")) == []


def test_arguments_of_the_user_stand_before_the_script():
    assert SGE.submit("/x/a.sge", ["-p", "-5"]) == ("qsub", "-terse", "-p", "-5", "/x/a.sge")


# ---------------------------------------------------------------- asking


def test_every_state_of_the_queue_is_read():
    seen = named(SGE.parse_poll(golden("poll")))

    assert {name: info.state for name, info in seen.items() if "_" not in name} == {
        "running": "RUNNING",
        "suspended": "SUSPENDED",
        "held": "HELD",
        "waiting": "PENDING",
        "broken": "HELD",
        "later": "PENDING",
        "too-wide": "PENDING",
        "again": "PENDING",
    }


def test_pending_elements_are_told_one_by_one():
    seen = named(SGE.parse_poll(golden("poll")))

    states = {name: info.state for name, info in seen.items() if name.startswith("array_")}
    assert states == {f"array_{i}": "RUNNING" if i < 4 else "PENDING" for i in range(1, 40, 2)}
    assert {name for name in seen if name.startswith("sparse_")} == {
        f"sparse_{i}" for i in (1, 3, 4, 7, 8, 9)
    }


def test_what_a_running_job_asked_for_and_where_it_runs_is_read():
    (one,) = [one for one in SGE.parse_poll(golden("poll")) if one.info.name == "running"]

    assert (one.info.cores, one.info.memory_mib, one.info.walltime_s) == (2, 300, 90.0)
    assert (one.user, one.partition, one.info.host) == ("root", "all.q", "vm")
    assert one.info.started > 1.7e9
    assert one.requested == {"h_rt": "90", "h_vmem": "150M"}


def test_a_job_in_error_shows_the_reason_that_only_its_details_tell():
    (one,) = [one for one in SGE.parse_poll(golden("poll")) if one.info.name == "broken"]

    assert one.info.reason == (
        "Held: Grid Engine (state Eqw) could not start it: can't open output file "
        '"/nonexistent/x": No such file or directory'
    )
    assert (one.requested["error"], one.info.state, one.stuck) == ("Eqw", "HELD", True)


def test_a_job_that_waits_for_another_names_it():
    seen = named(SGE.parse_poll(golden("poll")))

    assert seen["waiting"].dependencies == (seen["running"].id,)
    assert seen["waiting"].reason == f"Dependency: waits for the end of {seen['running'].id}"


def test_a_name_comes_through_the_faulty_escapes():
    assert "na_ve_<name>_&__more_" in named(SGE.parse_poll(golden("poll")))


def test_an_empty_queue_is_an_answer_and_silence_is_none():
    assert SGE.parse_poll(golden("poll-empty")) == []
    assert SGE.parse_poll(golden("find-none")) == []
    with pytest.raises(QueueError, match="answered nothing"):
        SGE.parse_poll(answer(""))


def test_a_question_that_reached_nobody_is_no_empty_queue():
    with pytest.raises(QueueError, match=r"could not be asked.*`qconf -sss`"):
        SGE.parse_poll(golden("poll-down"))


@pytest.mark.parametrize("part", [0.3, 0.5, 0.9])
def test_half_an_answer_is_no_answer(part):
    whole = golden("poll").stdout

    with pytest.raises(QueueError, match="cannot be read"):
        SGE.parse_poll(answer(whole[: int(len(whole) * part)]))


def test_a_submission_is_found_by_its_mark():
    seen = SGE.parse_poll(golden("find"))

    found = {one.info.name: (one.mark, one.user) for one in seen}
    assert found["running"] == ("cluster-0000000000000000", "root")
    assert found["array"] == ("cluster-0000000000000005", "root")
    assert all(one.info.id.isdigit() and one.info.submitted for one in seen)
    assert [one.info.comment for one in seen if one.info.comment] == ["it_s <b>; _so_"]


def queued(state: str, inside: str = "", kind: str = "pending") -> Answer:
    job = (
        f'<job_list state="{kind}"><JB_job_number>7</JB_job_number><JB_name>x</JB_name>'
        f"<JB_owner>me</JB_owner><state>{state}</state>{inside}<slots>1</slots></job_list>"
    )
    return answer(f"<?xml version='1.0'?>\n<job_info>\n{job}\n</job_info>")


@pytest.mark.parametrize(
    ("letters", "state"),
    [
        ("qw", "PENDING"), ("hqw", "HELD"), ("Rq", "PENDING"), ("hRq", "HELD"), ("Eqw", "HELD"),
        ("Ehqw", "HELD"), ("r", "RUNNING"), ("t", "RUNNING"), ("Rr", "RUNNING"), ("hRt", "RUNNING"),
        ("hr", "RUNNING"), ("dr", "RUNNING"), ("dt", "RUNNING"), ("s", "SUSPENDED"),
        ("S", "SUSPENDED"), ("tS", "SUSPENDED"), ("T", "SUSPENDED"), ("ds", "SUSPENDED"),
    ],
)  # fmt: skip
def test_letters_of_a_state_are_weighed_together(letters, state):
    (one,) = SGE.parse_poll(queued(letters))

    assert one.info.state == state


def test_a_job_that_has_ended_is_left_out_of_the_queue():
    assert SGE.parse_poll(queued("z")) == []


def test_characters_that_xml_forbids_do_not_hide_the_other_jobs():
    (one,) = SGE.parse_poll(queued("r", "<full_job_name>a\x07b\udcff</full_job_name>"))

    assert one.info.name == "a\ufffdb\ufffd"


@pytest.mark.parametrize("tasks", ["abc", "1-99999999", "1,2,x", "5-"])
def test_elements_that_cannot_be_read_fail_the_question(tasks):
    with pytest.raises(QueueError, match="array"):
        SGE.parse_poll(queued("qw", f"<tasks>{tasks}</tasks>"))


@pytest.mark.parametrize(
    ("tasks", "found"),
    [("4", ["4"]), ("3,4", ["3", "4"]), ("1-7:3", ["1", "4", "7"]), ("1-3:1,9", [*"1239"])],
)
def test_ranges_of_elements_are_expanded(tasks, found):
    seen = SGE.parse_poll(queued("qw", f"<tasks>{tasks}</tasks>"))

    assert [one.info.id for one in seen] == [f"7_{index}" for index in found]


def test_all_of_a_user_or_everybody_is_asked_for():
    assert SGE.poll(["1", "2"], "ann")[-1] == "ann"
    assert SGE.poll([], "")[-1] == "*"


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory for programs that stand in for Grid Engine's."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SGE_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("SGE_CELL", "cell")
    return tmp_path


def program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def said_by(argv: tuple[str, ...]) -> list[str]:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    return [
        *done.stdout.split("\n")[:-1],
        *([f"code {done.returncode}"] if done.returncode else []),
    ]


def test_details_are_asked_only_of_jobs_in_error_and_of_each_once(programs):
    rows = [(7, "r"), (8, "Eqw"), (8, "Eqw"), (9, "hqw"), (10, "Ehqw")]
    shown = "".join(
        f"<JB_job_number>{id}</JB_job_number>\n<JB_name>E</JB_name>\n<state>{state}</state>\n"
        for id, state in rows
    )
    program(programs / "qstat", f"case $* in *-j*) echo \"$@\" ;; *) printf '{shown}' ;; esac")

    said = said_by(SGE.poll((), "ann"))

    assert said == [*shown.split("\n")[:-1], "-xml -j 8,10"]


def test_a_queue_that_cannot_be_asked_is_asked_for_no_details(programs):
    program(programs / "qstat", "echo no; exit 3")

    assert said_by(SGE.poll((), "ann")) == ["code 3"]


def test_the_books_are_read_once_where_their_file_can_be_read(programs):
    common = programs / "root" / "cell" / "common"
    common.mkdir(parents=True)
    rows = [f"all.q:vm:g:u:name{id}:{id}:sge:0" for id in (7, 70, 8, 7, 9)]
    (common / "accounting").write_text("\n".join(["# a remark", *rows, ""]))
    program(programs / "qacct", 'echo "$@"; exec cat')

    (command,) = SGE.account(["7", "9"])

    assert said_by(command) == ["-f /dev/stdin -j", rows[0], rows[3], rows[4]]


def test_the_books_are_asked_for_each_job_where_their_file_is_elsewhere(programs):
    program(programs / "qacct", 'echo "$@"')

    (command,) = SGE.account(["7", "9"])

    assert said_by(command) == ["-j 7", "-j 9"]


# ---------------------------------------------------------------- the books


@pytest.mark.parametrize(
    ("name", "state", "exitcode", "signal", "reason"),
    [
        ("success", "COMPLETED", 0, 0, ""),
        ("three", "FAILED", 3, 0, "exit code 3"),
        ("code-137", "FAILED", None, 9, "SIGKILL"),
        ("code-100", "FAILED", 100, 0, "exit code 100"),
        ("segv", "FAILED", None, 11, "SIGSEGV"),
        ("hard-limit", "TIMEOUT", None, 9, "longer than its walltime"),
        ("soft-limit", "TIMEOUT", None, 10, "soft limit"),
        ("cpu-limit", "TIMEOUT", None, 9, "CPU time"),
        ("memory", "FAILED", 1, 0, "exit code 1"),
        ("no-output", "FAILED", None, 0, "opening input/output file"),
        ("no-directory", "FAILED", None, 0, "changing into working directory"),
        ("deleted", "CANCELLED", None, 9, "deleted"),
        ("forced", "CANCELLED", None, 0, "qdel -f"),
        ("shepherd", "NODE_FAIL", None, 0, "before writing exit_status"),
        ("elements_1", "COMPLETED", 0, 0, ""),
        ("elements_3", "FAILED", 2, 0, "exit code 2"),
    ],
)
def test_the_books_tell_how_a_job_ended(name, state, exitcode, signal, reason):
    info = named(SGE.parse_account(golden("account")))[name]

    assert (info.state, info.exitcode, info.signal) == (state, exitcode, signal)
    assert reason in info.reason


def test_the_books_tell_what_a_job_used():
    (one,) = [one for one in SGE.parse_account(golden("account")) if one.info.name == "running"]

    assert (one.info.cores, one.info.walltime_s, one.user) == (2, 90.0, "root")
    assert (one.partition, one.info.host) == ("all.q", "vm")
    assert 1.0 <= one.info.ended - one.info.started < 60.0
    assert 0.0 <= one.info.started - one.info.submitted < 30.0
    assert 1.0 < one.info.peak_memory_mib < 100.0
    assert 0.0 < one.info.cpu_s < 1.0


def test_a_job_that_went_back_into_the_queue_has_not_ended():
    assert not {"again", "restarted"} & set(named(SGE.parse_account(golden("account"))))


def test_of_several_starts_the_last_counts():
    first = block(failed="25  : rescheduling", exit_status="0")
    last = block(failed="0", exit_status="4                    ")

    (one,) = read_books(first + last)

    assert (one.info.exitcode, one.info.attempt) == (4, 2)
    assert read_books(last + first) == []


def block(**fields: str) -> str:
    wanted = {"jobnumber": "7", "taskid": "undefined", "ru_minflt": "5"} | fields
    return "=" * 62 + "\n" + "".join(f"{key:<12} {value}\n" for key, value in wanted.items())


def test_a_memory_limit_is_told_from_a_time_limit_by_what_was_used():
    enforced = {"failed": "37  : qmaster enforced h_rt, h_cpu, or h_vmem limit", "slots": "2"}
    asked = {"exit_status": "137     (Killed)", "category": "-l h_rt=60,h_vmem=100M -pe smp 2"}

    (over,) = read_books(block(**enforced, **asked, maxvmem="201.5MB"))
    (under,) = read_books(block(**enforced, **asked, maxvmem="20.5MB"))

    assert (over.info.state, under.info.state) == ("OUT_OF_MEMORY", "TIMEOUT")


def test_the_books_of_each_job_alone_read_the_same():
    together = named(SGE.parse_account(golden("account")))
    alone = named(SGE.parse_account(golden("account-each")))

    assert alone == {name: info for name, info in together.items() if "elements" in name}


@pytest.mark.parametrize("name", ["account-unknown", "account-unknown-each"])
def test_a_job_that_is_in_no_book_is_left_out(name):
    assert SGE.parse_account(golden(name)) == []


def test_books_that_cannot_be_read_are_a_failure():
    with pytest.raises(QueueError, match="qacct failed with code 1"):
        SGE.parse_account(answer("", code=1, stderr="error: permission denied"))


def test_a_torn_block_is_a_failure():
    whole = golden("account-each").stdout

    with pytest.raises(QueueError, match="stops in the middle"):
        SGE.parse_account(answer(whole[: whole.rindex("failed")]))


def test_thousands_of_jobs_are_looked_up_in_few_commands():
    commands = SGE.account([str(id) for id in range(1, 12_001)])

    assert len(commands) == 3
    assert max(len(" ".join(command)) for command in commands) < 100_000


# ---------------------------------------------------------------- steering


@pytest.mark.parametrize(
    ("verb", "commands"),
    [
        ("cancel", ["qdel 7 8.3"]),
        ("hold", ["qhold 7 8.3"]),
        ("release", ["qrls 7 8.3", "qmod -cj 7 8.3"]),
        ("requeue", ["qalter -r y 7 8", "qmod -rj 7 8.3"]),
        ("suspend", ["qmod -sj 7 8.3"]),
        ("resume", ["qmod -usj 7 8.3"]),
    ],
)
def test_each_verb_has_its_commands(verb, commands):
    assert [" ".join(command) for command in SGE.act(verb, ["7", "8_3"], 0)] == commands


def test_what_grid_engine_cannot_do_is_said_before_anything_is_run():
    with pytest.raises(OptionsError, match="no signals"):
        SGE.act("signal", ["7"], 10)


def test_many_jobs_are_steered_some_hundred_at_a_time():
    assert len(SGE.act("cancel", [str(id) for id in range(1200)], 0)) == 3


@pytest.mark.parametrize(
    "name",
    [
        "cancel", "cancel-again", "cancel-unknown", "hold", "hold-unknown", "release", "release1",
        "release-unknown", "release-unknown1", "requeue", "requeue1", "requeue-unknown",
        "requeue-unknown1", "suspend-unknown", "resume", "resume-unknown",
    ],
)  # fmt: skip
def test_what_is_done_or_has_ended_is_no_error(name):
    assert SGE.parse_act(name.partition("-")[0].rstrip("1"), golden(name)) == {}


@pytest.mark.parametrize("verb", ["cancel", "hold", "release", "requeue", "suspend", "resume"])
def test_the_job_of_another_is_refused_by_its_id(verb):
    said = golden(f"{verb}-of-another")

    (id,) = ids(said)
    (complaint,) = SGE.parse_act(verb, said).items()
    assert complaint[0] == id
    assert re.search("necessary privileges|at least owner|no permission", complaint[1])


def test_of_two_jobs_only_the_one_that_cannot_be_suspended_is_named():
    said = golden("suspend-pending")

    assert list(SGE.parse_act("suspend", said)) == [ids(said)[0]]


def test_a_job_that_may_not_run_twice_is_named():
    said = "The job 115 is running in queue none where jobs are not rerunable.\n"

    assert SGE.parse_act("requeue", answer(said, argv="qmod -rj 115")) == {"115": said.strip()}


def test_an_element_is_named_by_its_own_id():
    said = 'me - you have no permission to modify job-array task "8.3"'

    assert SGE.parse_act("suspend", answer(said, code=1, argv="qmod -sj 8.3")) == {"8_3": said}


def test_steering_that_reached_nobody_is_a_failure():
    with pytest.raises(QueueError, match="could not be asked"):
        SGE.parse_act("cancel", golden("cancel-down"))


def test_a_failure_without_an_id_concerns_all():
    said = answer("", code=1, stderr="error: out of memory", argv="qdel 1 2")

    assert SGE.parse_act("cancel", said) == {"": "out of memory"}


# ---------------------------------------------------------------- the site


def test_slots_and_memory_of_the_site_are_added_up():
    said = golden("resources")

    found = SGE.parse_resources(said, None)

    (used,) = re.findall(r"<slots_used>(\d+)<", said.stdout)
    assert (found.cores, found.free_cores, found.nodes) == (8, 8 - int(used), 1)
    assert found.memory_mib > 0
    assert found.free_memory_mib == 16384


def test_a_queue_on_a_silent_machine_has_no_free_slots():
    said = golden("resources")
    silent = said.stdout.replace("<arch>", "<state>au</state><arch>")

    found = SGE.parse_resources(said._replace(stdout=silent), None)

    assert (found.cores, found.free_cores, found.free_memory_mib) == (8, 0, 0)


def test_a_queue_that_is_not_there_is_named():
    with pytest.raises(QueueError, match=r"no queue 'nosuch.q'; `qconf -sql`"):
        SGE.parse_resources(golden("resources-unknown-queue"), "nosuch.q")


# ---------------------------------------------------------------- any text


@pytest.mark.parametrize(
    ("text", "found"),
    [("250M", 250), ("1.5G", 1536), ("4.5MB", 4.5), ("1048576", 1), ("512K", 0.5), ("", 0),
     ("infinity", 0), ("2T", 2 * 1024**2)],
)  # fmt: skip
def test_memory_is_read_in_mib(text, found):
    assert mib(text) == found


@pytest.mark.parametrize(
    ("text", "found"), [("90", 90), ("1:00:00", 3600), ("2:30", 150), ("infinity", 0), ("", 0)]
)
def test_limits_are_read_in_seconds(text, found):
    assert limit_s(text) == found


PIECES = st.sampled_from(
    re.findall(r"<[^>]+>|\n|[^<>\n]+", golden("poll").stdout)[:400]
    + golden("account-each").stdout.split("\n")
)
TEXTS = st.one_of(st.text(max_size=300), st.lists(PIECES, max_size=60).map("".join))


@given(TEXTS, TEXTS, st.integers(0, 255))
@example("<?xml version='1.0' encoding='utf-99'?><job_info/>", "", 0)
@example("<job_info><job_list><JB_job_number>\u0663</JB_job_number></job_list></job_info>", "", 0)
@example("=" * 62 + "\njobnumber 7\ntaskid 1\nfailed \u0663\nexit_status 0\n", "", 0)
def test_no_text_breaks_a_parser(stdout, stderr, code):
    said = answer(stdout, code=code, stderr=stderr, argv="qdel 7")
    readers = {
        "poll": SGE.parse_poll,
        "account": SGE.parse_account,
        "act": lambda one: SGE.parse_act("cancel", one),
        "resources": lambda one: SGE.parse_resources(one, None),
        "submit": SGE.parse_submit,
        "probe": SGE.recognises,
    }

    outcomes = {name: attempt(read, said) for name, read in readers.items()}

    refused = {name for name, error in outcomes.items() if error is OptionsError}
    assert refused <= {"submit"}
    assert set(outcomes.values()) <= {None, QueueError, OptionsError}


def attempt(read: object, said: Answer) -> type[BaseException] | None:
    try:
        read(said)  # type: ignore[operator]
    except (QueueError, OptionsError) as error:
        return type(error)
    return None


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_name_and_comment_is_written_on_one_line_or_refused(name, comment):
    asked = Request(
        name=name, program=Command((b"x",)), cwd=b"/", options={"comment": comment.strip()}
    )
    try:
        lines = SGE.directives(asked, FILES, mark=MARK)
    except OptionsError:
        assert re.search("[\n\r\0]", comment)
        return

    (label,) = [line.removeprefix("-N ").strip('"') for line in lines if line.startswith("-N ")]
    assert re.fullmatch(r"[!-~]+", label)
    assert not re.search(r"[/:@\\*?#\"']|^\d", label)
    assert not any(line.count('"') % 2 or "#" in line or "\n" in line for line in lines)
