"""PBS: what a recorded OpenPBS said, and what Torque's documents show, read and asked for."""

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
from cluster.schedulers.torque import Torque
from cluster.schedulers.torque_answers import native, read_nodes

GOLDEN = Path(__file__).parent / "golden" / "openpbs-23.06"
FILES = Outputs("/x/a.out", "/x/a.err")
MARK = "cluster-0123456789abcdef"
UP = "Server             Max   Tot\n---------------- ----- -----\nvm    0    57\n"


def golden(file: str, command: str) -> Answer:
    """What was recorded for a command; the text of a filter behind it may be left out."""
    text = (GOLDEN / f"{file}.txt").read_text()
    entries = text.removeprefix("$ ").split("\n\n$ ")
    (entry,) = [one for one in entries if one.split("\n")[0].split(" |")[0] == command]
    _, *lines, last = entry.rstrip("\n").split("\n")
    said = [line.removeprefix("[stderr] ") for line in lines if line.startswith("[stderr] ")]
    shown = [line for line in lines if not line.startswith("[stderr] ")]
    code = int(last.removeprefix("[rc=").removesuffix("]"))
    return Answer((command.split()[0],), code, "\n".join(shown), "\n".join(said))


def filtered(id: str, answer: Answer) -> Answer:
    """What was recorded through grep has lost the line with the id."""
    return answer._replace(stdout=f"Job Id: {id}\n{answer.stdout}")


def answer(stdout: str = "", *, code: int = 0, stderr: str = "", argv: str = "qstat") -> Answer:
    return Answer(tuple(argv.split()), code, stdout, stderr)


def pro() -> Torque:
    dialect = Torque()
    assert dialect.recognises(answer("pbs_version = 23.06.06\n" + UP)) == "PBS Pro 23.06.06"
    return dialect


def torque() -> Torque:
    dialect = Torque()
    assert dialect.recognises(answer("Version: 6.1.2\nCommit: 4ef\n" + UP)) == "Torque 6.1.2"
    return dialect


def request(name: str = "fit", **keywords: object) -> Request:
    checked = check_arguments(keywords)
    return Request(
        name=name,
        program=Command((b"true",)),
        cwd=b"/x",
        options=checked,
        dependencies=checked.get("dependencies", ()),
    )


def lines(dialect: Torque, outputs: Outputs = FILES, **keywords: object) -> list[str]:
    return dialect.directives(request(**keywords), outputs, mark=MARK)


def one(dialect: Torque, said: Answer):
    (seen,) = dialect.parse_poll(said)
    return seen


# ---------------------------------------------------------------- is it there


@pytest.mark.parametrize(
    "said",
    [
        answer("pbs_version = 23.06.06\n", code=111, stderr="qstat: cannot connect to server vm"),
        answer("error: unknown option --version\n", code=1),
        answer("pbs_version = 23.06.06\n"),
        answer(""),
    ],
)
def test_a_client_without_its_server_is_not_recognised(said):
    assert Torque().recognises(said) == ""


def test_the_flavour_is_known_even_while_the_server_is_down():
    dialect = Torque()

    dialect.recognises(answer("pbs_version = 23.06.06\n", code=111))

    assert lines(dialect, array="1-3")[0] == "-J 1-3"


def test_what_ordinary_users_may_not_do_is_said_and_differs_by_flavour():
    assert set(torque().missing) == {"requeue", "suspend", "resume"}
    assert set(pro().missing) == {"requeue", "suspend", "resume", "elements"}


# ---------------------------------------------------------------- submitting


@pytest.mark.parametrize(
    ("command", "id"),
    [
        ("qsub j.sh", "0"),
        ("qsub -J 1-4 -v T=4 -N arr s.sh", "6"),
        ("qsub -W depend=afterok:99999.vm s.sh", "11"),
    ],
)
def test_a_job_that_was_taken_has_the_number_as_its_id(command, id):
    assert pro().parse_submit(golden("qsub", command)) == id


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("qsub -q nosuch s.sh", '"qsub: Unknown queue". See the queues with qstat -Q'),
        ("qsub -l nosuch=1 s.sh", "Unknown resource Resource_List.nosuch"),
        ("qsub -l walltime=abc s.sh", "Illegal attribute or resource value Resource_List.walltime"),
        ("qsub -t 1-3 s.sh", "invalid option -- 't'"),
        ("qsub -J 5-1 s.sh", "illegal -J value"),
        ("qsub -N '1bad name' s.sh", "illegal -N value"),
        ("qsub nosuch.sh", "No such file or directory"),
    ],
)
def test_a_refusal_is_told_in_the_words_of_pbs_with_what_to_try(command, words):
    with pytest.raises(OptionsError) as refused:
        pro().parse_submit(golden("qsub", command))

    assert words in str(refused.value)


@pytest.mark.parametrize(
    "stderr",
    [
        "Connection refused\nqsub: cannot connect to server vm (errno=15010)",
        "qsub: submit error (Pbs Server is currently too busy to service this request.)",
        "qsub: Maximum number of jobs already in queue workq",
        "qsub: would exceed queue workq's per-user limit",
        "qsub: submit error (Maximum number of jobs already in queue for user MSG=total number of "
        "current user's queued jobs exceeds the queue limit: user ann, queue batch)",
        "",
    ],
)
def test_a_submission_that_may_be_tried_again_is_an_error_of_the_queue(stderr):
    with pytest.raises(QueueError):
        torque().parse_submit(answer(code=1, stderr=stderr, argv="qsub s.sh"))


def test_success_without_an_id_leaves_it_open_whether_the_job_was_taken():
    with pytest.raises(QueueError, match="gave no id"):
        pro().parse_submit(golden("qsub", "qsub -zz s.sh"))


def test_an_id_beside_an_error_is_no_job_of_ours():
    with pytest.raises(OptionsError):
        pro().parse_submit(answer("17.vm\n", code=2, stderr="qsub: Invalid Job Dependency"))


def test_torque_and_pbs_pro_ask_for_the_same_job_in_their_own_words():
    asked = {"nodes": 2, "cores": 4, "mem": 1000, "gpus": 1, "time": 61, "features": "ib"}

    assert lines(torque(), **asked) == [
        "-l nodes=2:ppn=4:gpus=1:ib",
        "-l mem=2000mb",
        "-l walltime=00:01:01",
        "-N fit",
        "-V",
        f"-v CLUSTER_MARK={MARK}",
        "-o /x/a.out",
        "-e /x/a.err",
    ]
    assert lines(pro(), **asked) == [
        "-l select=2:ncpus=4:mem=1000mb:ngpus=1:ib=True",
        "-l place=scatter",
        "-l walltime=00:01:01",
        "-N fit",
        "-V",
        f"-v CLUSTER_MARK={MARK}",
        "-o /x/a.out",
        "-e /x/a.err",
    ]


def test_pbs_pro_asks_for_ranks_and_for_nodes_of_its_own():
    asked = lines(pro(), tasks=4, cores=2, exclusive=True)

    assert asked[:2] == ["-l select=1:ncpus=8:mpiprocs=4", "-l place=excl"]


@pytest.mark.parametrize(
    ("array", "of_torque", "of_pro"),
    [
        ("1-100%5", "-t 1-100%5", "-J 1-100%5"),
        ("0-3", "-t 0-3", "-J 0-3"),
        ("1-9:4", "-t 1,5,9", "-J 1-9:4"),
        ("7", "-t 7", "-J 7-8:2"),
    ],
)
def test_an_array_is_written_as_each_of_the_two_reads_it(array, of_torque, of_pro):
    assert lines(torque(), array=array)[0] == of_torque
    assert lines(pro(), array=array)[0] == of_pro


def test_pbs_pro_has_no_words_for_a_list_of_indices():
    assert lines(torque(), array="1,2,5%2")[0] == "-t 1,2,5%2"
    with pytest.raises(OptionsError, match="start-end:step"):
        lines(pro(), array="1,2,5")


def test_a_dependency_names_a_job_as_the_server_does():
    dialect = pro()
    dialect.parse_submit(golden("qsub", "qsub j.sh"))
    dialect.parse_submit(golden("qsub", "qsub -J 1-4 -v T=4 -N arr s.sh"))

    written = lines(dialect, dependencies="afterany:0:6,afterok:17")

    assert "-W depend=afterany:0.vm:6[].vm,afterok:17" in written


def test_torque_has_types_of_their_own_for_whole_arrays():
    dialect = torque()
    dialect.remember("6", array=True)

    assert "-W depend=afterokarray:6[],afterstartarray:6[],afterok:6[2]" in lines(
        dialect, dependencies="afterok:6,after:6,afterok:6_2"
    )


def test_the_environment_is_handed_on_unless_the_user_said_otherwise():
    mark = f"CLUSTER_MARK={MARK}"

    assert [one for one in lines(pro()) if one[:2] in ("-V", "-v")] == ["-V", f"-v {mark}"]
    assert [one for one in lines(pro(), inherit_env=False) if one[:2] in ("-V", "-v")] == [
        f"-v {mark}"
    ]
    assert [one for one in lines(pro(), export="A,B") if one[:2] in ("-V", "-v")] == [
        f"-v A,B,{mark}"
    ]


def test_outputs_go_where_they_should_or_nowhere_if_the_script_sees_to_them():
    array = Outputs("/x/a.out.{index}", "/x/a.err.{index}", array=True)

    assert lines(pro(), array)[-2:] == ["-o /x/a.out.^array_index^", "-e /x/a.err.^array_index^"]
    assert lines(pro(), Outputs("/x/a", "/x/a"))[-2:] == ["-j oe", "-o /x/a"]
    assert lines(pro(), Outputs("", ""))[-2:] == ["-j oe", "-o /dev/null"]


def test_a_colon_in_a_path_is_refused_because_qsub_takes_what_is_before_it_for_a_host():
    with pytest.raises(OptionsError, match="colon"):
        lines(pro(), Outputs("/x/a:b", "/x/c"))


def test_raw_directives_come_last_and_what_shall_be_skipped_is_not_written():
    written = lines(
        pro(), cores=2, time=60, extra_directives=["-l x=1"], directives_skip=["time", "-V", "-o"]
    )

    assert written == [
        "-l select=1:ncpus=2",
        "-N fit",
        f"-v CLUSTER_MARK={MARK}",
        "-e /x/a.err",
        "-l x=1",
    ]


def test_a_name_that_pbs_would_refuse_is_changed():
    written = pro().directives(request("1 bad/näme"), FILES, mark=MARK)

    assert "-N j1_bad_n_me" in written


def test_the_users_arguments_stand_before_the_script():
    assert pro().submit("/x/a.qsub", ["-q", "long"]) == ("qsub", "-q", "long", "/x/a.qsub")


# ---------------------------------------------------------------- asking


def test_a_running_job_is_read_with_all_that_is_known_of_it():
    seen = one(pro(), golden("qstat", "qstat -f 1.vm"))

    assert (seen.info.id, seen.info.name, seen.info.state) == ("1", "one", "RUNNING")
    assert (seen.user, seen.partition, seen.info.host, seen.info.cores) == (
        "sgeuser", "workq", "vm", 1,
    )  # fmt: skip
    assert seen.info.started == datetime(2026, 11, 21, 7, 54, 10).timestamp()
    assert (seen.info.exitcode, seen.info.dependencies) == (None, ())


def test_an_element_has_its_index_and_an_array_is_named_by_its_number():
    dialect = pro()

    element = one(dialect, golden("qstat", "qstat -t -f '6[2].vm'"))
    array = one(dialect, golden("qstat", "qstat -f 6[].vm"))

    assert (element.info.id, element.info.index, element.info.state) == ("6_2", 2, "RUNNING")
    assert (array.info.id, array.info.index, array.info.state) == ("6", None, "RUNNING")


def test_a_value_that_was_wrapped_is_read_whole():
    text = golden("qstat", "qstat -f 1.vm").stdout
    marked = text.replace("T=4,X=1,", f"T=4,X=1,CLUSTER_\n\tMARK={MARK},")

    assert one(pro(), answer(marked)).mark == MARK


def test_a_variable_with_lines_of_its_own_changes_nothing():
    text = golden("qstat", "qstat -f 1.vm").stdout
    function = "BASH_FUNC_m%%=() {\n    job_state = F\n    eval x\n},"

    seen = one(pro(), answer(text.replace("T=4,", function)))

    assert (seen.info.state, seen.info.submitted > 0) == ("RUNNING", True)


def test_elements_stand_in_for_their_array():
    text = golden("history", "qstat -xtf '20[].vm'")

    seen = pro().parse_account(text)

    assert [(one.info.id, one.info.state, one.info.exitcode) for one in seen] == [
        ("20_1", "COMPLETED", 0),
        ("20_2", "CANCELLED", 143),
        ("20_3", "COMPLETED", 0),
    ]


@pytest.mark.parametrize(
    ("id", "file", "command", "state", "exitcode", "signal", "reason"),
    [
        ("1.vm", "history", "qstat -xf 1.vm", "COMPLETED", 0, 0, ""),
        ("2.vm", "history", "qstat -xf 2.vm", "FAILED", 3, 0, ""),
        ("9.vm", "history", "qstat -xf 9.vm", "CANCELLED", None, 0,
         "its dependency can never hold: afternotok:1"),
        ("13.vm", "history", "qstat -xf 13.vm", "CANCELLED", None, 0,
         "it was deleted before it started (Can Never Run: Insufficient amount of resource: "
         "ncpus (R: 99 A: 8)"),
        ("21.vm", "history", "qstat -xf 21.vm", "CANCELLED", 143, 15, "it was deleted with qdel"),
        ("22.vm", "walltime", "qstat -xf 22.vm", "TIMEOUT", None, 0, "it exceeded its walltime"),
        ("23.vm", "history", "qstat -xf 23.vm", "FAILED", 137, 9, ""),
    ],
)  # fmt: skip
def test_how_a_job_of_pbs_pro_ended(id, file, command, state, exitcode, signal, reason):
    seen = one(pro(), filtered(id, golden(file, command)))

    assert (seen.info.state, seen.info.exitcode, seen.info.signal) == (state, exitcode, signal)
    assert seen.info.reason == reason


def test_a_job_whose_files_are_being_copied_back_still_runs_but_is_ending():
    seen = one(pro(), filtered("24.vm", golden("history", "qstat -xf 24.vm")))

    assert (seen.info.state, seen.info.ending) == ("RUNNING", True)


def test_usage_is_told_in_mebibytes_and_seconds():
    seen = one(pro(), golden("history", "qstat -xf 1.vm"))

    assert round(seen.info.peak_memory_mib, 2) == 6.43
    assert seen.info.ended == datetime(2026, 11, 21, 7, 54, 15).timestamp()


def of_torque(**attributes: str) -> Answer:
    told = {"Job_Name": "a", "exec_host": "n1/0+n1/1", "job_state": "C", **attributes}
    text = "".join(f"    {name} = {value}\n" for name, value in told.items() if value)
    return answer(f"Job Id: 17.big.iron\n{text}\n")


@pytest.mark.parametrize(
    ("attributes", "state", "exitcode"),
    [
        ({"exit_status": "0"}, "COMPLETED", 0),
        ({"exit_status": "7"}, "FAILED", 7),
        ({"exit_status": "271"}, "CANCELLED", 143),
        ({"exit_status": "271", "exec_host": ""}, "CANCELLED", None),
        ({"exec_host": ""}, "CANCELLED", None),
        ({"exit_status": "265"}, "FAILED", 137),
        ({"exit_status": "271", "Resource_List.walltime": "00:01:00",
          "resources_used.walltime": "00:01:03"}, "TIMEOUT", 143),
        ({"exit_status": "-1"}, "FAILED", None),
        ({"exit_status": "-10"}, "OUT_OF_MEMORY", None),
        ({"exit_status": "-11"}, "TIMEOUT", None),
        ({"job_state": "H", "Hold_Types": "u"}, "HELD", None),
        ({"job_state": "H", "Hold_Types": "s", "depend": "afterok:3.srv@srv"}, "PENDING", None),
        ({"job_state": "H", "Hold_Types": "us", "depend": "afterok:3.srv@srv"}, "HELD", None),
        ({"job_state": "W"}, "PENDING", None),
        ({"job_state": "S"}, "SUSPENDED", None),
    ],
)  # fmt: skip
def test_what_torque_says_of_a_job(attributes, state, exitcode):
    seen = one(torque(), of_torque(**attributes))

    assert (seen.info.id, seen.info.state, seen.info.exitcode) == ("17", state, exitcode)


def test_a_negative_status_means_what_its_own_flavour_means_by_it():
    torques = one(torque(), of_torque(exit_status="-11"))
    pros = one(pro(), of_torque(job_state="F", Exit_status="-27"))

    assert (torques.info.state, pros.info.state) == ("TIMEOUT", "OUT_OF_MEMORY")


def test_torques_request_is_counted_in_all_its_nodes():
    seen = one(torque(), of_torque(job_state="R", **{"Resource_List.nodes": "2:ppn=4:ib"}))

    assert (seen.info.cores, seen.info.host) == (8, "n1")


def test_dependencies_are_read_without_servers_and_without_those_that_wait_for_this_one():
    depend = "afterok:1.srv@srv:2[].srv@srv,beforeany:9.srv@srv,afteranyarray:3[].srv"

    seen = one(torque(), of_torque(job_state="H", Hold_Types="s", depend=depend))

    assert seen.info.dependencies == ("afterok:1", "afterok:2", "afterany:3")


@pytest.mark.parametrize("command", ["qstat -f 99999.vm", "qstat 1.vm"])
def test_a_job_that_the_server_has_no_more_is_left_out(command):
    assert pro().parse_poll(golden("qstat", command)) == []


def test_a_site_without_history_has_seen_nothing():
    stderr = "qstat: PBS is not configured to maintain job history 1.vm"

    assert pro().parse_account(answer(code=0, stderr=stderr)) == []
    assert pro().parse_account(answer(code=1, stderr=stderr)) == []


@pytest.mark.parametrize(
    "said",
    [
        answer(code=111, stderr="Connection refused\nqstat: cannot connect to server vm (errno=1)"),
        answer(code=1),
        answer("Job Id: 1.vm\n    job_state = R\n", code=1, stderr="qstat: End of File 2.vm"),
        answer("Welcome to the cluster!\n"),
    ],
)
def test_a_question_that_failed_is_never_an_answer(said):
    with pytest.raises(QueueError):
        pro().parse_poll(said)


def test_a_number_not_known_yet_is_asked_for_as_a_job_and_as_an_array():
    dialect = pro()
    dialect.parse_submit(golden("qsub", "qsub -J 1-4 -v T=4 -N arr s.sh"))

    assert dialect.poll(["6", "17"], "ann") == ("qstat", "-f", "-t", "6[].vm", "17", "17[]")


def test_all_jobs_of_a_user_are_named_by_qselect():
    shell, option, text, user = pro().poll([], "ann")

    assert (shell, option, user) == ("sh", "-c", "ann")
    assert "qselect" in text
    assert pro().poll([], "") == ("qstat", "-f", "-t")


def test_the_books_of_pbs_pro_are_its_history_and_those_of_torque_its_queue():
    assert torque().account(["1_2"]) == [("qstat", "-f", "-t", "1[2]")]
    assert pro().account(["1_2"]) == [("qstat", "-x", "-f", "-t", "1[2]")]


# ---------------------------------------------------------------- steering


def test_each_verb_has_its_command():
    dialect = pro()
    dialect.remember("1", array=False)
    dialect.remember("2", array=True)

    assert dialect.act("cancel", ["1", "2", "2_3"], 0) == [("qdel", "1", "2[]", "2[3]")]
    assert dialect.act("hold", ["1"], 0) == [("qhold", "1")]
    assert dialect.act("release", ["1"], 0) == [("qrls", "1")]
    assert dialect.act("requeue", ["1"], 0) == [("qrerun", "1")]
    assert dialect.act("signal", ["1"], 10) == [("qsig", "-s", "10", "1")]


@pytest.mark.parametrize("command", ["qdel '6[4].vm'", "qdel 1.vm", "qdel 16.vm", "qhold 10.vm"])
def test_silence_and_a_job_that_is_over_are_no_errors(command):
    assert pro().parse_act("cancel", golden("qdel", command)) == {}


def test_an_unknown_job_is_named_once_all_its_names_are_unknown():
    said = golden("qdel", "qdel 99999")._replace(argv=("qdel", "99999", "99999[]"))
    both = said._replace(stderr=said.stderr + "\nqdel: Unknown Job Id 99999[].vm")

    assert pro().parse_act("cancel", said) == {}
    assert pro().parse_act("cancel", both) == {"99999": "PBS does not know this job any more"}


def test_a_refusal_is_told_for_its_job_in_the_words_of_pbs():
    said = answer(code=159, stderr="qrerun: Unauthorized Request  5.vm", argv="qrerun 5.vm")

    assert pro().parse_act("requeue", said) == {"5": "qrerun: Unauthorized Request  5.vm"}


def test_a_server_that_does_not_answer_has_done_nothing():
    with pytest.raises(QueueError):
        pro().parse_act("cancel", answer(code=1, stderr="qdel: cannot connect to server vm"))


# ---------------------------------------------------------------- the site


def test_the_nodes_of_both_are_added_up():
    of_pro = """vm
     state = free
     resources_available.mem = 16384000kb
     resources_available.ncpus = 8
     resources_assigned.ncpus = 3

n2
     state = down,offline
     resources_available.ncpus = 64
"""
    of_torque = """n1
     state = free
     np = 8
     jobs = 0-2/17.srv,5/18.srv
     status = opsys=linux,physmem=2097152kb,ncpus=8
     gpus = 2
"""

    pros, torques = read_nodes(of_pro), read_nodes(of_torque)

    assert (pros.cores, pros.free_cores, pros.memory_mib, pros.nodes) == (8, 5, 16000, 1)
    assert (torques.cores, torques.free_cores, torques.memory_mib, torques.gpus) == (8, 4, 2048, 2)


# ---------------------------------------------------------------- anything

LINES = st.lists(
    st.sampled_from(
        [
            *("Job Id: 1.vm", "Job Id: 2[].vm", "Job Id: 2[3].vm", "Job Id: ?", "\tmore", ""),
            *(f"    job_state = {letter}" for letter in "QHREBFCXSZ"),
            *("    Exit_status = -29", "    exit_status = 271", "    Exit_status = 9" + "9" * 5000),
            *("    ctime = Sat Nov 21 07:54:10 99999", "    stime = never", "    depend = afterok"),
            *("    Resource_List.mem = 1zb", "    Resource_List.walltime = 1:2:3:4:5"),
            *("    Resource_List.nodes = ٣:ppn=٤", "qstat: Unknown Job Id 9.vm", "[]", "vm"),
        ]
    )
).map("\n".join)
SAID = st.one_of(st.text(), LINES)


@pytest.mark.slow
@given(SAID, SAID, st.sampled_from([0, 1, 35, 153]), st.booleans())
def test_no_text_makes_a_reader_fail_but_with_an_error_of_the_queue(out, err, code, is_pro):
    dialect = pro() if is_pro else torque()
    said = Answer(("qstat", "1.vm"), code, out, err)
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


@given(st.integers(0, 10**12), st.integers(0, 10**6), st.sampled_from(["", ".vm", ".a-b.c_d"]))
def test_an_id_is_the_same_after_it_went_to_pbs_and_back(number, index, server):
    whole, element = native(f"{number}[]{server}"), native(f"{number}[{index}]{server}")

    assert whole is not None
    assert element is not None
    assert (whole.id, element.id) == (str(number), f"{number}_{index}")


# ---------------------------------------------------------------- as a shell reads it


def shell(*argv: str, path: Path, **variables: str) -> str:
    environment = {"PATH": f"{path}:/usr/bin:/bin", **variables}
    done = subprocess.run(
        argv, env=environment, cwd=path, capture_output=True, text=True, timeout=60
    )
    return done.stdout + f"[{done.returncode}]"


def program(path: Path, name: str, text: str) -> None:
    (path / name).write_text(f"#!/bin/sh\n{text}\n")
    (path / name).chmod(0o755)


@pytest.mark.parametrize(
    ("selected", "asked"), [("1.vm 2[].vm", "-f -t 1.vm 2[].vm[0]"), ("", "[0]")]
)
def test_the_users_jobs_are_asked_for_by_name_and_none_is_no_question(tmp_path, selected, asked):
    program(tmp_path, "qselect", f'[ "$*" = "-u ann" ] && printf "{selected}"')
    program(tmp_path, "qstat", 'printf "%s" "$*"')

    assert shell(*pro().poll([], "ann"), path=tmp_path) == asked


def test_a_file_that_fits_an_id_as_a_pattern_does_not_take_its_place(tmp_path):
    program(tmp_path, "qselect", "echo '17[3].vm'")
    program(tmp_path, "qstat", 'printf "%s" "$*"')
    (tmp_path / "173.vm").touch()

    assert shell(*pro().poll([], "ann"), path=tmp_path) == "-f -t 17[3].vm[0]"


def test_a_list_that_could_not_be_had_is_a_question_that_failed(tmp_path):
    program(tmp_path, "qselect", "exit 111")

    assert shell(*pro().poll([], "ann"), path=tmp_path) == "[111]"


def test_a_lost_submission_is_looked_for_in_the_history_or_without_one_in_the_queue(tmp_path):
    program(tmp_path, "qstat", 'printf "%s" "$*"')
    program(tmp_path, "qselect", 'echo "$*" | grep -q -e -x && echo 1.vm || echo 2.vm')
    assert shell(*pro().find(MARK, "ann"), path=tmp_path) == "-x -f 1.vm[0]"

    program(tmp_path, "qselect", 'echo "$*" | grep -q -e -x || echo 2.vm')
    assert shell(*pro().find(MARK, "ann"), path=tmp_path) == "-f 2.vm[0]"
    assert shell(*torque().find(MARK, "ann"), path=tmp_path) == "-f 2.vm[0]"


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"PBS_JOBID": "17.vm"}, "17/"),
        ({"PBS_JOBID": "17[3].vm", "PBS_ARRAY_INDEX": "3"}, "17/3"),
        ({"PBS_JOBID": "17[3].vm", "PBS_ARRAYID": "3"}, "17/3"),
    ],
)
def test_a_job_knows_its_id_and_index(tmp_path, variables, words):
    text = f'set -u; printf "%s" "{Torque.job_id}/{Torque.array_index}"'

    assert shell("bash", "-c", text, path=tmp_path, **variables) == f"{words}[0]"
