"""Slurm's words, both ways; the answers were recorded by tests/clusters/record_slurm.py."""

from __future__ import annotations

import contextlib
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cluster import options, states
from cluster.errors import OptionsError, QueueError
from cluster.local.wire import JobInfo
from cluster.schedulers.base import Command, Request, Resources
from cluster.schedulers.dialect import Answer, Dialect, Outputs, Seen
from cluster.schedulers.slurm import Slurm
from cluster.schedulers.slurm_words import AT_START, STATES
from cluster.spec import Dependency

GOLDEN = Path(__file__).parent / "golden" / "slurm-22.05"
MARK = "cluster-0123456789abcdef"
_FILE = re.compile(r"\$ (.*?)\n--- code (\d+)\n--- stdout\n(.*)--- stderr\n(.*)\Z", re.DOTALL)
US, RS = "\x1f", "\x1e"

slurm: Dialect = Slurm()  # mypy sees that it is one


def golden(name: str) -> Answer:
    text = (GOLDEN / f"{name}.txt").read_bytes().decode("utf-8", "surrogateescape")
    match = _FILE.match(text)
    assert match is not None
    argv = tuple(shlex.split(match[1]))
    return Answer(argv, int(match[2]), match[3], match[4])


def queue(name: str) -> dict[str, Seen]:
    """What squeue said, by name; elements as name_index."""
    return _by_name(slurm.parse_poll(golden(name)))


def books(name: str) -> dict[str, Seen]:
    return _by_name(slurm.parse_account(golden(name)))


def _by_name(seen: list[Seen]) -> dict[str, Seen]:
    return {_name(one.info): one for one in seen}


def _name(info: JobInfo) -> str:
    return info.name if info.index is None else f"{info.name}_{info.index}"


def request(after: tuple[Dependency, ...] = (), name: str = "n", **given: Any) -> Request:
    return Request(
        name=name,
        program=Command((b"true",)),
        cwd=b"/work dir",
        options=options.check_arguments(given),
        dependencies=after,
    )


def directives(
    asked: Request, stdout: str = "/o/out", stderr: str = "/o/err", array: bool = False
) -> list[str]:
    return slurm.directives(asked, Outputs(stdout, stderr, array), mark=MARK)


def answer(stdout: str = "", stderr: str = "", code: int = 0, program: str = "squeue") -> Answer:
    return Answer((program,), code, stdout, stderr)


# ---------------------------------------------------------------- is it there


def test_a_controller_that_is_up_is_recognised_and_one_that_is_down_is_not():
    assert slurm.recognises(golden("ping")).startswith("controller up at ")
    assert slurm.recognises(golden("ping-down")) == ""


# ---------------------------------------------------------------- directives


def test_a_plain_job_says_what_each_site_would_decide_for_itself():
    assert directives(request()) == [
        "--job-name=n",
        "--no-requeue",
        f"--comment={MARK}",
        "--output=/o/out",
        "--error=/o/err",
        "--open-mode=truncate",
        '--chdir="/work dir"',
    ]


def test_ranks_stay_on_one_machine_unless_more_are_asked_for():
    assert {"--ntasks=4", "--nodes=1"} <= set(directives(request(tasks=4)))
    assert {"--ntasks=4", "--nodes=2"} <= set(directives(request(tasks=4, nodes=2)))


def test_the_mark_stands_before_the_comment_of_the_user():
    assert f'--comment="{MARK} of mine, all"' in directives(request(comment="of mine, all"))


def test_stderr_in_the_file_of_stdout_needs_no_directive():
    lines = directives(request(), "/o/both", "/o/both")

    assert [line for line in lines if line.startswith(("--output", "--error"))] == [
        "--output=/o/both"
    ]


def test_a_percent_sign_in_a_path_is_no_pattern_and_an_index_is_one():
    lines = directives(request(array="1-3"), "/100%/o.{index}", "/100%/e.{index}", array=True)

    assert "--output=/100%%/o.%a" in lines


def test_a_backslash_in_a_path_is_written_twice_and_switches_patterns_off():
    assert '--output="/a\\\\\\\\b%j"' in directives(request(), "/a\\b%j", "/e")


def test_an_array_cannot_write_below_a_directory_with_a_backslash():
    with pytest.raises(OptionsError, match="backslash"):
        directives(request(array="1-3"), "/a\\b/{index}", "/e", array=True)


def test_a_job_whose_dependency_can_never_hold_is_cancelled_by_slurm():
    lines = directives(request((Dependency("7", "afterok"), Dependency("8_2", "after"))))

    assert "--dependency=afterok:7,after:8_2" in lines
    assert "--kill-on-invalid-dep=yes" in lines


def test_a_job_that_shall_wait_for_ever_is_left_pending():
    lines = directives(request((Dependency("7", "afterok"),), on_unsatisfiable="pend"))

    assert "--kill-on-invalid-dep=no" in lines


def test_a_dependency_to_be_dropped_when_it_cannot_hold_is_one_on_any_end():
    after = (Dependency("7", "afterok"), Dependency("8", "afternotok"), Dependency("9", "after"))

    lines = directives(request(after, on_unsatisfiable="release"))

    assert "--dependency=afterany:7:8,after:9" in lines


def test_a_long_name_is_cut_at_a_whole_letter():
    (line,) = [d for d in directives(request(name="ü" * 300)) if d.startswith("--job-name")]

    assert line.count("ü") == 100


def test_what_a_job_asks_for_wins_over_what_a_user_set_for_all_jobs():
    lines = directives(request(partition="long", time="1h", notify="a@b.c"))

    names = Slurm().overriding(lines)

    assert {"SBATCH_PARTITION", "SBATCH_TIMELIMIT", "SBATCH_OUTPUT"} <= set(names)
    assert "SBATCH_ACCOUNT" not in names


# ---------------------------------------------------------------- submitting


def test_the_id_is_read_alone_with_a_cluster_and_among_remarks():
    said = ["17\n", "17;far\n", "welcome to site 9\n17\n"]

    assert [slurm.parse_submit(answer(text)) for text in said] == ["17"] * 3
    assert slurm.parse_submit(golden("sbatch")).isdigit()


@pytest.mark.parametrize(
    ("name", "words", "hint"),
    [
        ("partition", "Invalid partition name specified", "partition="),
        ("memory", "Memory specification can not be satisfied", "mem="),
        ("features", "Invalid feature specification", "features="),
        ("gpus", "Invalid generic resource (gres) specification", "gpus="),
        ("array", "Invalid job array specification", "MaxArraySize"),
        ("resources", "Invalid license specification", "resources="),
        ("option", "unrecognized option '--nosuch=1'", "extra_directives="),
        ("dependency", "Job dependency problem", "dependencies="),
    ],
)
def test_a_refusal_has_slurms_own_words_and_what_to_try(name, words, hint):
    with pytest.raises(OptionsError) as caught:
        slurm.parse_submit(golden(f"sbatch-bad-{name}"))

    assert words in str(caught.value)
    assert hint in str(caught.value)


def test_a_submission_that_reached_nobody_is_not_a_refusal():
    with pytest.raises(QueueError, match="Unable to contact slurm controller"):
        slurm.parse_submit(golden("sbatch-down"))


@pytest.mark.parametrize(
    "words",
    [
        "sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: Batch job submission failed: "
        "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
        "sbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: Batch job submission failed",
    ],
)
def test_a_full_queue_is_no_refusal_for_good(words):
    with pytest.raises(QueueError, match="takes no more jobs for now"):
        slurm.parse_submit(answer("", words, 1, "sbatch"))


@pytest.mark.parametrize("code", [0, -9, 137])
def test_a_submission_without_an_answer_is_in_doubt(code):
    with pytest.raises(QueueError, match="gave no id"):
        slurm.parse_submit(answer("", "", code, "sbatch"))


# ---------------------------------------------------------------- the queue


@pytest.mark.parametrize(
    ("name", "state", "reason"),
    [
        ("runs", "RUNNING", ""),
        ("suspended", "SUSPENDED", ""),
        ("held", "HELD", "Held: `cluster release` lets it go"),
        ("array_5", "HELD", "Held by the administrator"),
        ("array_1", "RUNNING", ""),
        ("array_3", "PENDING", "Array limit"),
        ("waits", "PENDING", "Dependency: waits for "),
        ("later", "PENDING", "Begin: "),
        ("too-many-nodes", "PENDING", "Partition: "),
        ("too-long", "PENDING", "Partition: its time limit is shorter"),
    ],
)
def test_what_a_job_waits_for_is_said_in_our_words(name, state, reason):
    info = queue("squeue-waiting")[name].info

    assert (info.state, info.reason[: len(reason)]) == (state, reason)
    assert info.exitcode is None


def test_jobs_that_slurm_could_not_start_are_held_or_say_how_they_may_have_ended():
    seen, booked = queue("squeue-not-started"), books("sacct-not-started")

    assert (seen["held"].info.state, seen["held"].stuck) == ("HELD", True)
    assert seen["held"].info.reason == "Held: Slurm could not start it: the launch failed"
    assert booked["held"].info.state == "PENDING"
    assert seen["ended"].info.state == "CANCELLED"
    assert "a prolog failed" in seen["ended"].info.reason
    assert list(booked) == ["held"]  # the other's row is half made


def test_each_element_of_an_array_is_told_apart():
    seen = queue("squeue-waiting")

    elements = [seen[f"array_{index}"].info for index in (1, 3, 5, 7)]

    assert [one.index for one in elements] == [1, 3, 5, 7]
    assert len({one.id.partition("_")[0] for one in elements}) == 1


@pytest.mark.parametrize("name", ['a "b" | c\td', "first\nsecond"])
def test_any_name_survives(name):
    seen = queue("squeue-waiting")[name]

    assert seen.info.state == "HELD"
    assert re.fullmatch(r"cluster-[0-9a-f]{16}", seen.mark)


def test_mark_and_comment_come_apart():
    seen = queue("squeue-waiting")['a "b" | c\td']

    assert seen.info.comment == "two words | x"


def test_a_running_job_shows_what_it_holds():
    seen = queue("squeue-waiting")["runs"]

    info = seen.info
    assert (info.cores, info.memory_mib, info.walltime_s) == (2, 300, 3600.0)
    assert (seen.user, seen.partition, info.attempt) == ("root", "debug", 1)
    assert info.submitted <= info.started <= info.submitted + 60
    assert info.host
    assert info.ended == 0.0


def test_a_pending_job_has_not_started():
    later = queue("squeue-waiting")["later"].info

    assert (later.started, later.host, later.attempt) == (0.0, "", 0)
    assert later.eligible == later.expected_start
    assert abs(later.eligible - 2_051_319_845) <= 86_400  # 2035-01-02, in some zone


def test_dependencies_are_listed_as_we_write_them():
    seen = queue("squeue-waiting")

    array = seen["array_1"].info.id.partition("_")[0]
    assert seen["waits"].info.dependencies == (
        f"afterok:{seen['runs'].info.id}",
        f"afterany:{array}",
    )


def test_a_job_that_was_queued_again_counts_its_attempts():
    info = queue("squeue-requeued")["again"].info

    assert (info.state, info.attempt, info.started) == ("PENDING", 1, 0.0)


@pytest.mark.parametrize(
    ("name", "state", "exitcode", "signal", "reason"),
    [
        ("good", "COMPLETED", 0, 0, ""),
        ("bad", "FAILED", 3, 0, "exit code 3"),
        ("exit-128", "FAILED", 128, 0, "exit code 128"),
        ("exit-137", "FAILED", None, 9, "signal 9 (SIGKILL)"),
        ("exit-255", "FAILED", 255, 0, "exit code 255"),
        ("killed", "FAILED", None, 9, "signal 9 (SIGKILL)"),
        ("segfault", "FAILED", None, 11, "signal 11 (SIGSEGV)"),
        ("over-memory", "OUT_OF_MEMORY", None, 0, "it used more memory than it asked for"),
        ("over-time", "TIMEOUT", None, 0, "it ran longer than its walltime"),
        ("array_0", "COMPLETED", 0, 0, ""),
        ("array_4", "FAILED", 4, 0, "exit code 4"),
        ("cancelled", "CANCELLED", None, 0, AT_START),  # in the second of its start
        ("cancelled-pending", "CANCELLED", None, 0, "cancelled"),
        ("half-cancelled_3", "CANCELLED", None, 0, "cancelled"),
        ("again", "CANCELLED", None, 0, "cancelled"),
        ("afterok-good", "COMPLETED", 0, 0, ""),
        ("afterany-bad", "COMPLETED", 0, 0, ""),
        ("afternotok-bad", "COMPLETED", 0, 0, ""),
        ("after-bad", "COMPLETED", 0, 0, ""),
    ],
)
def test_the_queue_shows_how_a_job_ended(name, state, exitcode, signal, reason):
    info = queue("squeue-ended")[name].info

    assert (info.state, info.exitcode, info.signal, info.reason) == (
        state, exitcode, signal, reason,
    )  # fmt: skip
    assert info.ended >= info.submitted > 0


def test_the_queue_tells_which_dependency_could_not_hold():
    seen = queue("squeue-ended")

    never = [seen["afterok-bad"].info, seen["afternotok-good"].info]
    assert [one.state for one in never] == ["CANCELLED"] * 2
    assert never[0].reason == f"Dependency {seen['bad'].info.id} did not complete"
    assert never[1].reason == f"Dependency {seen['good'].info.id} completed"


def test_a_job_that_could_not_be_started_says_so():
    info = queue("squeue-ended")["no-output"].info

    assert (info.state, info.exitcode, info.signal) == ("FAILED", None, 0)
    assert "could not start it" in info.reason


def test_a_job_cancelled_before_its_start_never_started():
    info = queue("squeue-ended")["cancelled-pending"].info

    assert (info.started, info.attempt, info.host) == (0.0, 0, "")


def test_a_pending_element_that_was_cancelled_leaves_no_trace():
    assert "half-cancelled_3" in queue("squeue-ended")
    assert "half-cancelled_2" not in queue("squeue-ended")
    assert "half-cancelled_2" not in books("sacct-ended")


def test_jobs_that_slurm_does_not_know_are_left_out():
    assert slurm.parse_poll(golden("squeue-unknown")) == []
    assert slurm.parse_poll(golden("squeue-none-known")) == []


def test_a_question_that_failed_is_an_error_and_no_empty_queue():
    with pytest.raises(QueueError, match="Unable to contact slurm controller"):
        slurm.parse_poll(golden("squeue-down"))


def test_an_answer_that_was_cut_short_is_an_error():
    whole = golden("squeue-waiting")

    with pytest.raises(QueueError, match="stops in the middle"):
        slurm.parse_poll(whole._replace(stdout=whole.stdout[:-3]))


def test_a_list_too_long_for_an_argument_is_asked_for_by_its_user():
    ids = [str(10_000_000 + n) for n in range(20_000)]

    assert slurm.poll(ids, "ada")[-2:] == ("-u", "ada")
    assert slurm.poll(ids[:2], "ada")[-2:] == ("-j", "10000000,10000001")
    assert max(map(len, slurm.poll(ids[:5000], "ada"))) < 2**17


def test_no_variable_of_the_user_hides_a_job():
    argv = slurm.poll(["1"], "")

    assert argv[0] == "env"
    assert "SQUEUE_USERS" in argv
    assert argv.index("SQUEUE_USERS") < argv.index("squeue")


@pytest.mark.parametrize("word", [*STATES, "SOMETHING_NEW"])
def test_every_state_of_slurm_is_one_of_ours(word):
    assert queue_of(state=word).info.state in states.ALL


def test_a_state_of_a_newer_slurm_is_never_taken_for_an_end():
    assert queue_of(state="SOMETHING_NEW").info.state == "RUNNING"
    assert queue_of(state="SOMETHING_NEW", host="n/a").info.state == "PENDING"


def queue_of(*, state: str, host: str = "vm", reason: str = "None") -> Seen:
    fields = ["5", state, reason, "0", "0", "1", "1", "1", "2", "1:00", "1", "1", "cpu=1,mem=5M",
              "0", "u", "p", host, "(null)", "(null)", "n"]  # fmt: skip
    (seen,) = slurm.parse_poll(answer(US.join(fields) + RS + "\n"))
    return seen


# ---------------------------------------------------------------- the books


@pytest.mark.parametrize(
    ("name", "state", "exitcode", "signal"),
    [
        ("good", "COMPLETED", 0, 0),
        ("bad", "FAILED", 3, 0),
        ("killed", "FAILED", None, 9),
        ("segfault", "FAILED", None, 11),
        ("over-memory", "OUT_OF_MEMORY", None, 0),
        ("over-time", "TIMEOUT", None, 0),
        ("no-output", "FAILED", None, 0),
        ("cancelled", "CANCELLED", None, 0),
        ("cancelled-pending", "CANCELLED", None, 0),
        ("half-cancelled_4", "CANCELLED", None, 0),
        ("afterok-bad", "CANCELLED", None, 0),
        ("array_0", "COMPLETED", 0, 0),
        ("array_3", "FAILED", 3, 0),
    ],
)
def test_the_books_show_how_a_job_ended(name, state, exitcode, signal):
    info = books("sacct-ended")[name].info

    assert (info.state, info.exitcode, info.signal) == (state, exitcode, signal)
    assert info.ended >= info.submitted > 0


def test_the_books_drop_the_eighth_bit_of_an_exit_code():
    seen = books("sacct-ended")

    assert [seen[f"exit-{code}"].info.exitcode for code in (128, 137, 255)] == [None, 9, 127]
    assert seen["exit-128"].info.state == "FAILED"


def test_the_books_tell_what_a_job_used():
    seen = books("sacct-ended")["works"]

    info = seen.info
    assert 150 < info.peak_memory_mib < 500
    assert 0.1 < info.cpu_s < 60
    assert (info.cores, info.memory_mib, info.walltime_s) == (2, 500, 3600.0)
    assert info.started <= info.ended
    assert seen.user == "root"


def test_a_row_of_the_books_that_is_half_made_is_left_out():
    text = golden("sacct-fresh").stdout
    assert "allocation" in text

    seen = slurm.parse_account(golden("sacct-fresh"))

    assert all(one.info.name == "fresh" and one.info.index for one in seen)


def test_the_books_list_each_element_that_waits():
    seen = books("sacct-waiting")

    assert [seen[f"array_{index}"].info.state for index in (3, 5, 7)] == ["PENDING"] * 3


def test_a_site_without_books_has_nothing_to_say():
    silent = answer("", "Slurm accounting storage is disabled\n", 1, "sacct")

    assert slurm.parse_account(silent) == []


def test_somebody_else_who_cancelled_is_named():
    fields = ["5", "CANCELLED by 4", "0:0", "1", "1", "1", "2", "9", "1", "1", "cpu=1", "00:00:00",
              "", "None", "u", "p", "vm", "1000", "", "n"]  # fmt: skip

    (seen,) = slurm.parse_account(answer(US.join(fields) + "\n", program="sacct"))

    assert seen.info.reason == "cancelled by user 4"


def test_indices_that_slurm_left_out_are_an_error_and_not_a_guess():
    record = queue_text("4_[1,3,...]")

    with pytest.raises(QueueError, match="cannot be told apart"):
        slurm.parse_poll(answer(record))


def test_a_range_of_indices_is_told_apart():
    seen = slurm.parse_poll(answer(queue_text("4_[1-2,8,10-20:5%3]")))

    assert [one.info.id for one in seen] == ["4_1", "4_2", "4_8", "4_10", "4_15", "4_20"]


def queue_text(id: str) -> str:
    return US.join([id, "PENDING", *["x"] * 17, "name"]) + RS + "\n"


def test_a_name_cannot_pass_for_another_job():
    forged = f"x\n99{US}RUNNING{US}"
    text = queue_text("4").replace("name", forged)

    (seen,) = slurm.parse_poll(answer(text))

    assert (seen.info.id, seen.info.name) == ("4", forged)


def test_the_first_part_of_a_heterogeneous_job_speaks_for_it():
    seen = slurm.parse_poll(answer(queue_text("4+0") + queue_text("4+1")))

    assert [one.info.id for one in seen] == ["4"]


def test_many_jobs_take_few_calls_to_the_books():
    calls = slurm.account([str(n) for n in range(2500)])

    assert [len(call[-1].split(",")) for call in calls] == [1000, 1000, 500]


# ---------------------------------------------------------------- steering


@pytest.mark.parametrize(
    "name",
    ["cancel-ended", "cancel-unknown", "hold-ended", "hold-unknown", "release-ended",
     "release-unknown", "suspend-ended", "signal-ended"],
)  # fmt: skip
def test_to_act_upon_a_job_that_is_over_is_no_error(name):
    assert slurm.parse_act(name.partition("-")[0], golden(name)) == {}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cancel-not-mine", "Access/permission denied: the job is another user's"),
        ("hold-not-mine", "Invalid user id: the job is another user's"),
        ("requeue-not-mine", "Access/permission denied: the job is another user's"),
        ("suspend-not-mine", "Access/permission denied: Slurm lets only its operators suspend"),
        ("suspend-pending", "Job is pending execution"),
    ],
)
def test_a_complaint_is_told_with_its_job(name, words):
    ((id, said),) = slurm.parse_act(name.partition("-")[0], golden(name)).items()

    assert id.isdigit()
    assert said.startswith(words)


def test_a_complaint_about_several_elements_is_told_for_each():
    said = answer("", "33_1: No error\n33_2,4-5: Job is pending execution\n", 1, "scontrol")

    wrong = slurm.parse_act("suspend", said)

    assert wrong == dict.fromkeys(["33_2", "33_4", "33_5"], "Job is pending execution")


@pytest.mark.parametrize("verb", ["cancel", "hold", "signal"])
def test_a_controller_that_is_down_was_not_told(verb):
    with pytest.raises(QueueError, match="could not be asked"):
        slurm.parse_act(verb, golden(f"{verb}-down"))


def test_a_signal_reaches_the_shell_and_its_children():
    (argv,) = slurm.act("signal", ["5", "6_1"], 10)

    assert argv[-4:] == ("--signal=USR1", "--full", "5", "6_1")


def test_a_job_is_allowed_to_be_queued_again_before_it_is():
    allow, again = slurm.act("requeue", ["5"], 0)

    assert allow == ("scontrol", "update", "JobId=5", "Requeue=1")
    assert again == ("scontrol", "requeue", "5")


# ---------------------------------------------------------------- the site


def test_a_machine_in_two_partitions_counts_once():
    found = slurm.parse_resources(golden("sinfo"), None)

    assert found == Resources(
        cores=8, memory_mib=16000, nodes=1, free_cores=8, free_memory_mib=16000
    )


def test_gpus_and_machines_that_are_down_are_counted():
    rows = [
        "a 2/6/0/8 1000 300 gpu:a100:2(S:0-1),gpu:3 mixed",
        "b 0/0/4/4 500 0 (null) down*",
    ]
    text = "".join(US.join(row.split(" ")) + US + "\n" for row in rows)

    found = slurm.parse_resources(answer(text, program="sinfo"), None)

    assert found == Resources(
        cores=12, memory_mib=1500, gpus=5, nodes=2, free_cores=6, free_memory_mib=700
    )


def test_a_partition_that_is_not_there_is_named():
    with pytest.raises(QueueError, match="partition 'nosuch'"):
        slurm.parse_resources(golden("sinfo-no-partition"), "nosuch")


# ---------------------------------------------------------------- whatever it gets

_RECORDED = [file.stem for file in sorted(GOLDEN.glob("*.txt"))]
_NOISE = st.text(alphabet=f"0123456789_[]%-,:.+ \n{US}{RS}aZ(ü\0\udcff", max_size=60)


def parse_all(said: Answer) -> None:
    """Whatever is said, the answer is a value or one of our errors."""
    slurm.recognises(said)
    for parse in (
        slurm.parse_poll,
        slurm.parse_account,
        lambda given: slurm.parse_resources(given, None),
        lambda given: slurm.parse_act("cancel", given),
    ):
        with contextlib.suppress(QueueError):
            parse(said)
    with contextlib.suppress(QueueError, OptionsError):
        assert slurm.parse_submit(said).isdigit()


@given(_NOISE, _NOISE, st.sampled_from([0, 1, -15, 255]))
@example(f"9_[0-4000000]{US}", "", 0)
@settings(deadline=None)
def test_any_answer_is_read_or_refused(stdout, stderr, code):
    parse_all(answer(stdout, stderr, code))


@given(st.sampled_from(_RECORDED), st.data())
@settings(deadline=None, max_examples=60)
def test_a_damaged_answer_is_read_or_refused(name, data):
    said = golden(name)
    at = data.draw(st.integers(0, len(said.stdout)))
    to = data.draw(st.integers(at, min(len(said.stdout), at + 80)))
    noise = data.draw(_NOISE)

    parse_all(said._replace(stdout=said.stdout[:at] + noise + said.stdout[to:]))
