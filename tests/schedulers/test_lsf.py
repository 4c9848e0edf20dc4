"""LSF: what its family's own code said when recorded, and what IBM's documents show."""

from __future__ import annotations

import subprocess
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import OptionsError, QueueError
from cluster.options import check_arguments
from cluster.schedulers.base import Command, Request
from cluster.schedulers.dialect import Answer, Outputs
from cluster.schedulers.lsf import Lsf
from cluster.schedulers.lsf_answers import FORMAT, native, people, read_bhosts

GOLDEN = Path(__file__).parent / "golden" / "lsf-openlava-2.2"
FILES = Outputs("/x/a.out", "/x/a.err")
MARK = "cluster-0123456789abcdef"
MASTER = "IBM Spectrum LSF Standard {}, Apr 15 2022\nMy cluster name is c1\nMy master name is m1\n"


def golden(file: str, command: str) -> Answer:
    """What was recorded for a command."""
    entries = (GOLDEN / f"{file}.txt").read_text().removeprefix("$ ").split("\n\n$ ")
    (entry,) = [one for one in entries if one.split("\n")[0] == command]
    _, *lines, last = entry.rstrip("\n").split("\n")
    said = [line.removeprefix("[stderr] ") for line in lines if line.startswith("[stderr] ")]
    shown = [line for line in lines if not line.startswith("[stderr] ")]
    code = int(last.removeprefix("[rc=").removesuffix("]"))
    return Answer(tuple(command.split()), code, "\n".join(shown), "\n".join(said))


def answer(stdout: str = "", *, code: int = 0, stderr: str = "", argv: str = "bjobs") -> Answer:
    return Answer(tuple(argv.split()), code, stdout, stderr)


def lsf(version: str = "10.1.0.13", conf: str = "") -> Lsf:
    dialect = Lsf()
    assert dialect.recognises(answer(MASTER.format(version) + conf)) == f"LSF {version}"
    return dialect


def lines(dialect: Lsf, outputs: Outputs = FILES, **keywords: object) -> list[str]:
    checked = check_arguments(keywords)
    request = Request(
        name="fit",
        program=Command((b"true",)),
        cwd=b"/x",
        options=checked,
        dependencies=checked.get("dependencies", ()),
    )
    return dialect.directives(request, outputs, mark=MARK)


ROW = {
    "jobid": "17", "stat": "RUN", "user": "ann", "queue": "normal", "exit_code": "-",
    "slots": "2", "run_time": "12 second(s)", "cpu_used": "1.5 second(s)", "max_mem": "4 Mbytes",
    "first_host": "n1", "exit_reason": "-", "job_description": f"{MARK} a remark",
    "job_name": "fit",
}  # fmt: skip


def row(**told: str) -> str:
    return "^".join({**ROW, **told}.values())


def one(said: Answer):
    (seen,) = Lsf().parse_poll(said)
    return seen


# ---------------------------------------------------------------- is it there


@pytest.mark.parametrize(
    "said",
    [
        answer(code=255, stderr="lsid: ls_getentitlementinfo() failed: LIM is down; try later"),
        answer(MASTER.format("10.1.0.0"), code=1),
        answer("OpenLava 2.2, May 12 2014\nMy cluster name is openlava\n"),
        answer(""),
    ],
)
def test_a_client_without_its_master_is_not_recognised(said):
    assert Lsf().recognises(said) == ""


def test_older_names_of_lsf_are_recognised():
    said = answer("Platform LSF 9.1.3.0, Jul 04 2014\nMy cluster name is c1\n")

    assert Lsf().recognises(said) == "LSF 9.1.3.0"


# ---------------------------------------------------------------- memory


@pytest.mark.parametrize(
    ("version", "conf", "written"),
    [
        ("10.1.0.13", "", '-M 3000MB -R "rusage[mem=3000MB]"'),
        ("10.1.0.13", "LSF_UNIT_FOR_LIMITS=GB\n", '-M 3000MB -R "rusage[mem=3000MB]"'),
        ("10.1.0.0", "", '-M 3072000 -R "rusage[mem=3000]"'),
        ("9.1.3.0", "LSF_UNIT_FOR_LIMITS=MB\n", '-M 3000 -R "rusage[mem=3000]"'),
        ("9.1.3.0", "LSF_UNIT_FOR_LIMITS = G\n", '-M 3 -R "rusage[mem=3]"'),
        ("9.1.3.0", "LSF_UNIT_FOR_LIMITS=furlongs\n", '-M 3072000 -R "rusage[mem=3000]"'),
    ],
)
def test_memory_is_written_in_a_unit_that_the_site_cannot_take_for_another(version, conf, written):
    assert written in lines(lsf(version, conf), mem=3000)


# ---------------------------------------------------------------- submitting


@pytest.mark.parametrize(
    ("command", "id"),
    [
        ("bsub < j.sh", "1"),
        ("bsub -q normal echo hi", "3"),
        ("bsub -J 'arr[1-4]%2' -o 'out/%J.%I.out' 'echo idx $LSB_JOBINDEX; sleep 4; "
         "env | grep ^LSB_ | sort'", "4"),
    ],
)  # fmt: skip
def test_a_job_that_was_taken_has_the_number_as_its_id(command, id):
    assert Lsf().parse_submit(golden("bsub", command)) == id


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("bsub -w 'done(99999)' echo x", '"99999: No matching job found. Job not submitted."'),
        ("bsub -q nosuch echo x", "See the queues with bqueues, and name one with partition=."),
        ("bsub -zz echo x", "illegal option -- zz"),
        ("bsub -n 99 echo x", "Ask for fewer cores= or tasks="),
        ("bsub -R 'bad[' echo x", "Bad resource requirement syntax"),
        ("bsub -W abc echo x", "Correct time="),
    ],
)
def test_a_refusal_is_told_in_the_words_of_lsf_with_what_to_try(command, words):
    with pytest.raises(OptionsError) as refused:
        Lsf().parse_submit(golden("bsub", command))

    assert words in str(refused.value)


@pytest.mark.parametrize(
    "said",
    [
        answer(code=255, stderr="LSF is down. Please wait ..."),
        answer(code=255, stderr="Failed in an LSF library call: Communication time out."),
        answer(code=255, stderr="Pending job threshold reached. Job not submitted."),
        answer(code=255, stderr="User's pending job slot limit reached. Job not submitted."),
        answer(code=0),
        answer(code=137),
    ],
)
def test_a_submission_that_may_be_tried_again_is_an_error_of_the_queue(said):
    with pytest.raises(QueueError):
        Lsf().parse_submit(said)


def test_a_job_is_asked_for_in_the_words_of_lsf():
    written = lines(
        lsf(), nodes=2, cores=4, time=61, partition="long", gpus="a100:1", comment="a remark"
    )

    assert written == [
        '-n 8 -R "span[ptile=4]"',
        "-gpu num=1:gmodel=a100",
        "-W 0:02",
        "-J fit",
        "-q long",
        "-oo /x/a.out",
        "-eo /x/a.err",
        f'-Jd "{MARK} a remark"',
    ]


def test_dependencies_are_one_condition_and_an_orphan_is_ended():
    asked = "afterok:1,afterany:2,afternotok:3_4,after:5"
    condition = '-w "done(1) && ended(2) && exit(3[4]) && started(5)"'

    assert condition + " -ti" in lines(lsf(), dependencies=asked)
    assert condition in lines(lsf(), dependencies=asked, on_unsatisfiable="pend")
    assert not [one for one in lines(lsf(), on_unsatisfiable="cancel") if "-ti" in one]


def test_an_array_has_its_indices_behind_its_name_and_in_its_files():
    array = Outputs("/x/a.out.{index}", "/x/a.err.{index}", array=True)

    written = lines(lsf(), array, array="1-9:4%2")

    assert written[:3] == ["-J fit[1-9:4]%2", "-oo /x/a.out.%I", "-eo /x/a.err.%I"]


def test_outputs_go_nowhere_if_the_script_sees_to_them_and_into_one_file_if_asked():
    assert [one for one in lines(lsf(), Outputs("", "")) if one[1] in "oe"] == ["-oo /dev/null"]
    assert [one for one in lines(lsf(), Outputs("/x/a", "/x/a")) if one[1] in "oe"] == ["-oo /x/a"]


def test_an_index_of_zero_is_refused_because_it_means_no_array():
    with pytest.raises(OptionsError, match="from 1"):
        lines(lsf(), array="0-3")


def test_raw_directives_come_last_and_what_shall_be_skipped_is_not_written():
    written = lines(
        lsf(), cores=2, time=60, extra_directives=["-app x"], directives_skip=["time", "-Jd", "-eo"]
    )

    assert written == ['-n 2 -R "span[hosts=1]"', "-J fit", "-oo /x/a.out", "-app x"]


def test_the_script_goes_in_by_standard_input():
    shell, option, text, *rest = Lsf().submit("/x/a b.lsf", ["-q", "long"])

    assert (shell, option, rest) == ("sh", "-c", ["/x/a b.lsf", "-q", "long"])
    assert text.endswith('exec bsub "$@" < "$0"')


# ---------------------------------------------------------------- asking


def test_a_running_job_is_read_with_all_that_is_known_of_it():
    seen = one(answer(row()))

    assert (seen.info.id, seen.info.name, seen.info.state) == ("17", "fit", "RUNNING")
    assert (seen.user, seen.partition, seen.mark) == ("ann", "normal", MARK)
    assert (seen.info.host, seen.info.cores, seen.info.comment) == ("n1", 2, "a remark")
    assert (seen.info.cpu_s, seen.info.peak_memory_mib) == (1.5, 4.0)
    assert seen.requested == {"run_time_s": "12"}


@pytest.mark.parametrize(
    ("jobid", "name"), [("17[3]", "fit[3]"), ("17", "fit[3]"), ("17[3]", "fit")]
)
def test_an_element_is_known_by_its_id_or_by_its_name(jobid, name):
    seen = one(answer(row(jobid=jobid, job_name=name)))

    assert (seen.info.id, seen.info.index, seen.info.name) == ("17_3", 3, "fit")


def test_a_name_may_hold_what_stands_between_the_values():
    assert one(answer(row(job_name="a^b^c"))).info.name == "a^b^c"


@pytest.mark.parametrize(
    ("stat", "state"),
    [
        ("PEND", "PENDING"), ("PSUSP", "HELD"), ("RUN", "RUNNING"), ("USUSP", "SUSPENDED"),
        ("SSUSP", "SUSPENDED"), ("UNKWN", "RUNNING"), ("DONE", "COMPLETED"), ("WAIT", "PENDING"),
        ("PROV", "PENDING"), ("PDONE", "COMPLETED"), ("ZOMBI", "NODE_FAIL"),
    ],
)  # fmt: skip
def test_each_state_of_lsf_is_one_of_ours(stat, state):
    assert one(answer(row(stat=stat))).info.state == state


@pytest.mark.parametrize(
    ("exit_code", "exit_reason", "first_host", "state", "exitcode", "signal"),
    [
        ("3", "-", "n1", "FAILED", 3, 0),
        ("137", "-", "n1", "FAILED", 137, 9),
        ("130", "TERM_OWNER: job killed by owner", "n1", "CANCELLED", 130, 2),
        ("143", "TERM_ADMIN: job killed by root or LSF administrator", "n1", "CANCELLED", 143, 15),
        ("140", "TERM_RUNLIMIT: job killed after reaching LSF run time limit", "n1",
         "TIMEOUT", 140, 12),
        ("137", "TERM_MEMLIMIT: job killed after reaching LSF memory usage limit", "n1",
         "OUT_OF_MEMORY", 137, 9),
        ("137", "TERM_EXTERNAL_SIGNAL: job killed by a signal external to LSF", "n1",
         "FAILED", 137, 9),
        ("-", "-", "-", "CANCELLED", None, 0),
        ("-", "TERM_ORPHAN_SYSTEM: The orphan job was automatically terminated by LSF", "-",
         "CANCELLED", None, 0),
    ],
)  # fmt: skip
def test_how_a_job_ended(exit_code, exit_reason, first_host, state, exitcode, signal):
    said = row(stat="EXIT", exit_code=exit_code, exit_reason=exit_reason, first_host=first_host)

    info = one(answer(said)).info

    assert (info.state, info.exitcode, info.signal) == (state, exitcode, signal)


def test_a_job_that_nobody_waits_for_any_more_tells_that_it_was_its_dependency():
    said = row(stat="EXIT", first_host="-", exit_reason="TERM_ORPHAN_SYSTEM: terminated by LSF")

    assert one(answer(said)).info.reason == (
        "its dependency can never hold (TERM_ORPHAN_SYSTEM: terminated by LSF)"
    )


@pytest.mark.parametrize("command", ["bjobs 99999", "bjobs -J nosuch"])
def test_a_job_that_lsf_does_not_find_is_left_out_whatever_the_code(command):
    said = golden("bjobs", command)

    assert Lsf().parse_poll(said) == []
    assert Lsf().parse_poll(said._replace(code=0)) == []


def test_what_was_found_counts_beside_what_was_not():
    said = answer(row(), code=255, stderr="Job <99999> is not found")

    assert one(said).info.id == "17"


@pytest.mark.parametrize(
    "said",
    [
        golden("bjobs", "bjobs abc"),
        golden("bjobs", "bjobs -o 'jobid stat' -noheader"),
        golden("bjobs", "bjobs -a -w"),
        answer(code=255, stderr="LSF is down. Please wait ..."),
        answer(row(), code=255, stderr="Failed in an LSF library call: Communication time out."),
        answer(code=137),
        answer("Welcome to the cluster!"),
    ],
)
def test_a_question_that_failed_is_never_an_answer(said):
    with pytest.raises(QueueError):
        Lsf().parse_poll(said)


def test_jobs_are_asked_for_by_id_and_else_by_user():
    shown = ("bjobs", "-a", "-noheader", "-o", FORMAT)

    assert Lsf().poll(["17", "18"], "ann") == (*shown, "-u", "all", "17", "18")
    assert Lsf().poll([], "ann") == (*shown, "-u", "ann")
    assert Lsf().poll([], "") == (*shown, "-u", "all")
    assert Lsf().find(MARK, "ann") == (*shown, "-u", "ann")


# ---------------------------------------------------------------- books

HISTORY = f"""
Job <7[2]>, Job Name <fit[2]>, User <ann>, Project <default>, Command <sleep 8>, Job De
                     scription <{MARK}>
Fri Nov 20 07:46:51 2026: Submitted from host <n1>, to Queue <normal>, CWD <$HOME>;
Fri Nov 20 07:46:52 2026: Starting (Pid 25191);
Fri Nov 20 07:47:52 2026: Exited by signal 9. The CPU time used is 2.5 seconds;
Fri Nov 20 07:47:52 2026: Completed <exit>; TERM_RUNLIMIT: job killed after reaching LSF
                      run time limit;

MEMORY USAGE:
MAX MEM: 1.5 Gbytes;  AVG MEM: 1 Gbytes

------------------------------------------------------------------------------

Job <8>, Job Name <ok>, User <ann>, Project <default>, Command <true>
Fri Nov 20 07:46:51: Submitted from host <n1>, to Queue <normal>, CWD <$HOME>;
Fri Nov 20 07:46:52: Starting (Pid 25192);
Fri Nov 20 07:46:53: Done successfully. The CPU time used is 0.1 seconds;

------------------------------------------------------------------------------

Job <9>, Job Name <bad>, User <ann>, Project <default>, Command <exit 3>
Fri Nov 20 07:46:52: Starting (Pid 25193);
Fri Nov 20 07:46:53: Exited with exit code 3. The CPU time used is 0.1 seconds;

------------------------------------------------------------------------------

Job <10>, Job Name <killed>, User <ann>, Project <default>, Command <true>
Fri Nov 20 07:46:51: Submitted from host <n1>, to Queue <normal>, CWD <$HOME>;
Fri Nov 20 07:46:53: Exited; job has been killed before dispatch;

------------------------------------------------------------------------------

Job <11>, Job Name <runs>, User <ann>, Project <default>, Command <true>
Fri Nov 20 07:46:52: Starting (Pid 25194);
"""


def test_the_event_logs_tell_how_jobs_ended_and_leave_the_others_to_the_queue():
    seen = Lsf().parse_account(answer(HISTORY))

    assert [(one.info.id, one.info.state, one.info.exitcode, one.info.signal) for one in seen] == [
        ("7_2", "TIMEOUT", 137, 9),
        ("8", "COMPLETED", 0, 0),
        ("9", "FAILED", 3, 0),
        ("10", "CANCELLED", None, 0),
    ]


def test_the_event_logs_tell_names_usage_and_times_if_they_have_the_year():
    first, second, *_ = Lsf().parse_account(answer(HISTORY))

    assert (first.info.name, first.user, first.mark) == ("fit", "ann", MARK)
    assert (first.info.cpu_s, first.info.peak_memory_mib) == (2.5, 1536.0)
    assert first.info.ended == datetime(2026, 11, 20, 7, 47, 52).timestamp()
    assert second.info.ended == 0.0


def test_books_that_do_not_know_a_job_are_no_error_and_books_that_fail_are():
    nothing = answer(code=255, stderr="No matching job found", argv="bhist")

    assert Lsf().parse_account(nothing) == []
    with pytest.raises(QueueError):
        Lsf().parse_account(answer(code=255, stderr="lsb.events: No such file", argv="bhist"))


def test_the_books_are_asked_in_few_commands():
    commands = Lsf().account([str(number) for number in range(2500)])

    assert [len(command) for command in commands] == [1004, 1004, 504]
    assert Lsf().account(["7_2"]) == [("bhist", "-l", "-n", "0", "7[2]")]


# ---------------------------------------------------------------- steering


def test_each_verb_has_its_command():
    assert Lsf().act("cancel", ["1", "2_3"], 0) == [("bkill", "1", "2[3]")]
    assert Lsf().act("signal", ["1"], 10) == [("bkill", "-s", "10", "1")]
    assert Lsf().act("hold", ["1"], 0) == [("bstop", "1")]
    assert Lsf().act("release", ["1"], 0) == [("bresume", "1")]
    assert Lsf().act("requeue", ["1"], 0) == [("brequeue", "-r", "-d", "-e", "1")]


@pytest.mark.parametrize(
    "said",
    [
        golden("bkill", "bkill -J dep2"),
        golden("bkill", "bstop -J slow"),
        golden("bkill", "bresume -J slow"),
        answer(code=255, stderr="Job <8056>: Job has already finished", argv="bkill 8056"),
        answer(code=0, stderr="Job <4>: Operation is in progress", argv="bkill 4"),
    ],
)
def test_what_was_done_and_a_job_that_is_over_are_no_errors(said):
    assert Lsf().parse_act("cancel", said) == {}


def test_a_refusal_is_told_for_its_job():
    unknown = Lsf().parse_act("cancel", golden("bkill", "bkill 104[3]"))
    denied = answer(code=255, stderr="Job <5>: User permission denied", argv="bkill 5")

    assert unknown == {"104_3": "LSF does not know this job any more"}
    assert Lsf().parse_act("cancel", denied) == {"5": "User permission denied"}
    assert Lsf().parse_act("cancel", golden("bkill", "bkill abc")) == {"": "abc: Illegal job ID."}


def test_a_system_that_does_not_answer_has_done_nothing():
    with pytest.raises(QueueError):
        Lsf().parse_act("cancel", answer(code=255, stderr="LSF is down. Please wait ..."))


# ---------------------------------------------------------------- the site


def test_the_slots_of_the_hosts_that_are_there_are_added_up():
    recorded = golden("hosts", "bhosts").stdout
    gone = "n2                 unavail         -     16      0      0      0      0      0"
    busy = "n3                 closed_Full     -      4      3      3      0      0      0"

    found = read_bhosts(f"{recorded}\n{gone}\n{busy}")

    assert (found.cores, found.free_cores, found.nodes) == (12, 9, 2)


# ---------------------------------------------------------------- anything

VALUES = st.sampled_from(
    ["-", "", "17", "17[3]", "17[", "9" * 5000, "٣", "EXIT", "DONE", "RUN", "x", "TERM_OWNER: a",
     "1e999 Mbytes", "[4]", "2*n1"]
)  # fmt: skip
ROWS = st.lists(st.lists(VALUES, min_size=12, max_size=14).map("^".join)).map("\n".join)
TOLD = st.lists(st.sampled_from(HISTORY.split("\n"))).map("\n".join)
SAID = st.one_of(st.text(), ROWS, TOLD)


@pytest.mark.slow
@given(SAID, SAID, st.sampled_from([0, 1, 254, 255]))
def test_no_text_makes_a_reader_fail_but_with_an_error_of_the_queue(out, err, code):
    dialect = Lsf()
    said = Answer(("bjobs", "1"), code, out, err)
    readers = [
        dialect.recognises,
        dialect.parse_submit,
        dialect.parse_poll,
        dialect.parse_account,
        lambda text: dialect.parse_act("cancel", text),
        lambda text: dialect.parse_resources(text, None),
    ]

    for read in readers:
        try:
            read(said)
        except (QueueError, OptionsError):
            continue


@given(st.integers(0, 10**12), st.integers(1, 10**6))
def test_an_id_is_the_same_after_it_went_to_lsf_and_back(number, index):
    assert people(native(f"{number}_{index}")) == f"{number}_{index}"
    assert people(native(str(number))) == str(number)


# ---------------------------------------------------------------- as a shell reads it


def shell(*argv: str, path: Path, **variables: str) -> str:
    environment = {"PATH": f"{path}:/usr/bin:/bin", **variables}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60)
    return done.stdout + f"[{done.returncode}]"


def program(path: Path, name: str, text: str) -> None:
    (path / name).write_text(f"#!/bin/sh\n{text}\n")
    (path / name).chmod(0o755)


def test_bsub_gets_the_script_and_the_arguments_and_is_not_told_to_be_quiet(tmp_path):
    program(tmp_path, "bsub", 'echo "$#:$*:${BSUB_QUIET-loud}"; cat; exit 3')
    (tmp_path / "a b.lsf").write_text("#BSUB -J x\n")
    argv = Lsf().submit(str(tmp_path / "a b.lsf"), ["-q", "my queue"])

    assert shell(*argv, path=tmp_path, BSUB_QUIET="y") == ("2:-q my queue:loud\n#BSUB -J x\n[3]")


def test_the_probe_asks_master_and_batch_system_and_reads_the_unit(tmp_path):
    program(tmp_path, "lsid", f"printf '%s' '{MASTER.format('9.1.3.0')}'")
    program(tmp_path, "bqueues", "exit 0")
    (tmp_path / "lsf.conf").write_text("LSF_UNIT_FOR_LIMITS=GB\n")
    dialect = Lsf()

    said = shell(*dialect.probe(), path=tmp_path, LSF_ENVDIR=str(tmp_path))

    assert said.endswith("[0]")
    assert dialect.recognises(answer(said)) == "LSF 9.1.3.0"
    assert dialect.unit == "GB"


@pytest.mark.parametrize("silent", ["lsid", "bqueues"])
def test_the_probe_fails_where_one_of_the_two_does_not_answer(tmp_path, silent):
    program(tmp_path, "lsid", "exit 0")
    program(tmp_path, "bqueues", "exit 0")
    program(tmp_path, silent, "exit 255")

    assert shell(*Lsf().probe(), path=tmp_path) == "[255]"


@pytest.mark.parametrize(("index", "words"), [("0", "17/"), ("3", "17/3"), ("10", "17/10")])
def test_a_job_knows_its_id_and_index(tmp_path, index, words):
    text = f'set -u; printf "%s" "{Lsf.job_id}/{Lsf.array_index}"'

    assert shell("bash", "-c", text, path=tmp_path, LSB_JOBID="17", LSB_JOBINDEX=index) == (
        f"{words}[0]"
    )
