"""Pipelines: steps that wait for each other, and that are not run twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import cluster
from cluster import _pipeline_graph as graphs
from cluster._pipeline_record import Record
from cluster.errors import ClusterError, JobCancelled, OptionsError, PayloadError
from cluster.local import lifecycle
from cluster.pipeline import Pipeline

WAIT_S = 60


@pytest.fixture
def here(state_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory, the current one, and a private queue."""
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


def one() -> int:
    return 1


def add(a: Any, b: Any = 0) -> Any:
    return a + b


def square(x: int) -> int:
    return x * x


def count(things: Any) -> int:
    return sum(map(len, things["lists"])) + things["more"][0]


def fail_unless(path: str) -> str:
    if not os.path.exists(path):
        raise ValueError(f"{path} is missing")
    return "there"


class Thing:
    def __init__(self, size: int) -> None:
        self.size = size


def ran(pipeline: Pipeline, **words: Any) -> list[str]:
    """Submit, wait, and say what was run."""
    made = list(pipeline.submit(**words))
    pipeline.wait(WAIT_S, progress=False)
    return made


# ---------------------------------------------------------------- what is refused


def test_a_name_that_is_taken_is_refused(here: Path) -> None:
    pipeline = Pipeline("p")
    pipeline.add("true", name="a")

    with pytest.raises(OptionsError, match="has a step 'a' already"):
        pipeline.add("false", name="a")

    assert list(pipeline.steps) == ["a"]


def test_steps_without_a_name_are_called_by_what_they_run_and_numbered() -> None:
    pipeline = Pipeline("p")

    names = [pipeline.add(command).name for command in (square, "true", square, ["true"])]

    assert names == ["square", "true", "square_2", "true_2"]


def test_a_cycle_is_refused_with_its_path_and_the_step_is_not_added() -> None:
    pipeline = Pipeline("p")
    pipeline.add("true", name="a", depends_on="c")
    pipeline.add("true", name="b", depends_on="a")

    with pytest.raises(OptionsError, match=r"'\w' -> '\w' -> '\w' -> '\w'") as raised:
        pipeline.add("true", name="c", depends_on=["b"])

    assert "'a' -> 'c'" in str(raised.value) or "'c' -> 'a'" in str(raised.value)
    assert list(pipeline.steps) == ["a", "b"]


def test_a_step_that_waits_for_itself_is_refused() -> None:
    with pytest.raises(OptionsError, match="wait for itself"):
        Pipeline("p").add("true", name="a", depends_on="a")


def test_all_unknown_names_are_told_at_once_and_nothing_is_queued(here: Path) -> None:
    pipeline = Pipeline("p")
    pipeline.add("true", name="a", depends_on=["x", "y"])

    with pytest.raises(OptionsError, match=r"'x'.*'y'.*There are: 'a'"):
        pipeline.submit()

    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"type": "afterwards"}, "no type of dependency"),
        ({"depends_on": 3}, "cannot wait for 3"),
        ({"name": ""}, "is no name"),
        ({"coers": 2}, "coers"),
        ({"items": []}, "has no items"),
        ({"items": "abc"}, "no list of items"),
        ({"items": [1], "array": "1-3"}, "items= and array="),
    ],
)
def test_a_wrong_step_is_refused_where_it_is_added(words: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionsError, match=message):
        Pipeline("p").add(square, **words)


def test_items_and_arguments_do_not_go_together() -> None:
    with pytest.raises(OptionsError, match=r"functools\.partial"):
        Pipeline("p").add(square, (1,), items=[1])


def test_a_keyword_for_all_steps_is_checked_when_the_pipeline_is_made() -> None:
    with pytest.raises(OptionsError, match="coers"):
        Pipeline("p", coers=2)


def test_a_step_of_another_pipeline_is_refused() -> None:
    other = Pipeline("other").add(one)

    with pytest.raises(OptionsError, match="not in this pipeline"):
        Pipeline("p").add("true", depends_on=other)


def test_a_command_has_no_output_to_give() -> None:
    step = Pipeline("p").add("true")

    with pytest.raises(OptionsError, match="is a command, which has no value"):
        assert step.output


def test_a_command_cannot_be_given_an_output() -> None:
    pipeline = Pipeline("p")
    step = pipeline.add(one)

    with pytest.raises(OptionsError, match="Only functions can"):
        pipeline.add(["echo"], [step.output])


def test_the_output_of_a_step_that_may_have_failed_is_refused() -> None:
    pipeline = Pipeline("p")
    step = pipeline.add(one)

    with pytest.raises(OptionsError, match="take afterok"):
        pipeline.add(add, step.output, depends_on=step, type="afterany")


def test_a_step_or_an_output_outside_its_pipeline_is_refused(here: Path) -> None:
    step = Pipeline("p").add(one)

    with pytest.raises(PayloadError, match=r"Give its \.output"):
        cluster.submit(add, (step, 1))
    with pytest.raises(PayloadError, match="known only in jobs of pipeline 'p'"):
        cluster.submit(add, (step.output, 1))


def test_a_pipeline_without_steps_is_refused(here: Path) -> None:
    with pytest.raises(OptionsError, match="has no steps"):
        Pipeline("p").submit()


def test_waiting_for_what_was_not_submitted_is_refused(here: Path) -> None:
    pipeline = Pipeline("p")
    pipeline.add("true")

    with pytest.raises(OptionsError, match="was not submitted"):
        pipeline.wait()


def test_a_damaged_record_is_told_and_left_alone(here: Path) -> None:
    pipeline = Pipeline("p")
    pipeline.add("true")
    (here / "p.pipeline").mkdir()
    (here / "p.pipeline" / "pipeline.json").write_text("{")

    with pytest.raises(ClusterError, match="is no record of a pipeline"):
        pipeline.submit()

    assert (here / "p.pipeline" / "pipeline.json").read_text() == "{"


@pytest.mark.slow
def test_the_directory_of_another_pipeline_is_refused(here: Path) -> None:
    first = Pipeline("first", directory="d")
    first.add("true")
    ran(first)
    second = Pipeline("second", directory="d")
    second.add("true")

    with pytest.raises(OptionsError, match="belongs to pipeline 'first'"):
        second.submit()


# ---------------------------------------------------------------- drawings

AFTER = {
    "load": {},
    "train a": {"load": "afterok"},
    'say "no"': {"train a": "afternotok", "load": "after"},
}


def test_the_steps_are_drawn_as_text() -> None:
    assert graphs.draw("ml", AFTER, "text") == (
        "pipeline ml\n"
        "  load\n"
        "  train a   after load\n"
        '  say "no"  after train a (afternotok), load (after)'
    )


def test_the_steps_are_drawn_for_mermaid() -> None:
    assert graphs.draw("ml", AFTER, "mermaid").splitlines() == [
        "flowchart TD",
        '    s1["load"]',
        '    s2["train a"]',
        '    s3["say #quot;no#quot;"]',
        "    s1 --> s2",
        "    s2 -->|afternotok| s3",
        "    s1 -->|after| s3",
    ]


def test_the_steps_are_drawn_for_graphviz() -> None:
    assert graphs.draw("ml", AFTER, "graphviz").splitlines() == [
        'digraph "ml" {',
        '    "load";',
        '    "train a";',
        '    "say \\"no\\"";',
        '    "load" -> "train a";',
        '    "train a" -> "say \\"no\\"" [label="afternotok"];',
        '    "load" -> "say \\"no\\"" [label="after"];',
        "}",
    ]


def test_an_unknown_drawing_is_refused_with_those_there_are() -> None:
    pipeline = Pipeline("p")
    pipeline.add("true")

    with pytest.raises(OptionsError, match="text, mermaid, graphviz"):
        pipeline.graph("png")


def test_steps_come_after_what_they_wait_for_and_otherwise_as_they_were_added() -> None:
    after = {"d": {"b": "afterok"}, "c": {}, "b": {"a": "after"}, "a": {}}

    assert graphs.order("p", after) == ["c", "a", "b", "d"]


# ---------------------------------------------------------------- running


@pytest.mark.slow
def test_a_with_block_submits_at_its_end(here: Path) -> None:
    with Pipeline("p") as pipeline:
        pipeline.add("echo hello > f", name="write")
        pipeline.add("cat f", name="read", depends_on="write")

    assert pipeline.get(WAIT_S)["read"] == (0, "hello\n", "")


def test_a_with_block_that_raises_submits_nothing(here: Path) -> None:
    with pytest.raises(KeyError), Pipeline("p") as pipeline:  # noqa: PT012
        pipeline.add("true")
        raise KeyError

    assert list(here.iterdir()) == []


@pytest.mark.slow
def test_outputs_reach_later_steps_wherever_they_stand(here: Path) -> None:
    pipeline = Pipeline("p")
    first = pipeline.add(list, ("abc",), name="first")
    second = pipeline.add(one, name="second")
    things = {"lists": [first.output, (1, 2)], "more": (second.output,)}
    pipeline.add(count, (things,), name="args")
    pipeline.add(add, kwargs={"a": second.output, "b": second.output}, name="kwargs")
    held: Any = second.output
    pipeline.add(lambda: held + 1, name="closure")
    pipeline.add(Thing, (second.output,), name="made")
    pipeline.add(lambda thing: thing.size + 5, (pipeline["made"].output,), name="taken")

    assert pipeline["args"].after == {"first": "afterok", "second": "afterok"}
    assert pipeline["closure"].after == {"second": "afterok"}
    pipeline.submit()
    values = pipeline.get(WAIT_S)
    assert [values[key] for key in ("args", "kwargs", "closure", "taken")] == [6, 2, 2, 6]


@pytest.mark.slow
def test_arrays_are_steps_too_and_their_output_is_a_list(here: Path) -> None:
    pipeline = Pipeline("p")
    base = pipeline.add(one)
    items = pipeline.add(square, items=range(2, 5), depends_on=base, max_running=2)
    words = pipeline.add(sum, items=[[base.output, 3], [2]], name="words")
    same = pipeline.add(lambda: int(os.environ["CLUSTER_ARRAY_INDEX"]), array="7-9:2", name="same")
    commands = pipeline.add("echo {item}", items=["a b"], name="commands", depends_on=words)
    pipeline.add(add, (items.output, same.output), name="sum")

    pipeline.submit()

    values = pipeline.get(WAIT_S)
    assert values["square"] == [4, 9, 16]
    assert values["words"] == [4, 2]
    assert values["sum"] == [4, 9, 16, 7, 9]
    assert values["commands"] == [(0, "a b\n", "")]
    assert commands.state == "COMPLETED"


@pytest.mark.slow
def test_keywords_of_a_step_win_over_those_of_the_pipeline(here: Path) -> None:
    pipeline = Pipeline("p", threads=2, env={"A": "1"})
    pipeline.add("echo $CLUSTER_CORES $A", name="a")
    pipeline.add("echo $CLUSTER_CORES $A", name="b", cores=1)

    pipeline.submit()

    values = pipeline.get(WAIT_S)
    assert (values["a"].stdout, values["b"].stdout) == ("2 1\n", "1 1\n")
    assert pipeline["a"].job is not None
    assert pipeline["a"].job.name == "p.a"


@pytest.mark.slow
def test_a_value_that_cannot_be_pickled_fails_its_step_with_the_reason(here: Path) -> None:
    pipeline = Pipeline("p")
    pipeline.add(threading.Lock, name="lock")

    pipeline.submit()

    with pytest.raises(TypeError, match=r"the value, of type _thread\.lock, cannot be pickled"):
        pipeline.get(WAIT_S)


@pytest.mark.slow
def test_what_waits_for_a_step_that_failed_is_cancelled(here: Path) -> None:
    pipeline = Pipeline("p")
    bad = pipeline.add(fail_unless, "gate", name="bad")
    pipeline.add(add, (bad.output, "x"), name="then")
    pipeline.add("true", name="cleanup", depends_on=bad, type="afternotok")
    pipeline.add("true", name="always", depends_on=bad, type="afterany")

    pipeline.submit()

    assert pipeline.wait(WAIT_S) is False
    assert pipeline.status() == {
        "bad": "FAILED", "then": "CANCELLED", "cleanup": "COMPLETED", "always": "COMPLETED",
    }  # fmt: skip
    with pytest.raises(JobCancelled):
        pipeline["then"].get()
    with pytest.raises(ValueError, match="gate is missing"):
        pipeline.get()


@pytest.mark.slow
def test_a_pipeline_completed_if_only_its_steps_for_a_failure_did_not_run(here: Path) -> None:
    pipeline = Pipeline("p")
    pipeline.add(one)
    pipeline.add("true", name="cleanup", depends_on="one", type="afternotok")
    pipeline.add("true", name="report", depends_on="cleanup")

    pipeline.submit()

    assert pipeline.wait(WAIT_S) is True
    assert pipeline.status()["report"] == "CANCELLED"
    assert pipeline.get() == {"one": 1}
    assert ran(pipeline) == []
    assert pipeline.wait() is True
    assert pipeline.status()["cleanup"] == "CANCELLED"


@pytest.mark.slow
def test_mistakes_are_found_before_anything_is_queued(here: Path) -> None:
    pipeline = Pipeline("p")
    pipeline.add("touch began", name="a")
    pipeline.add(square, items=[1], name="array", depends_on="a")
    pipeline.add(add, (threading.Lock(), 1), name="bad", depends_on="array")

    with pytest.raises(PayloadError, match="lock"):
        pipeline.submit()

    assert all(step.job is None for step in pipeline.steps.values())
    assert cluster.Queue().jobs == []
    assert not (here / "p.pipeline" / "pipeline.json").exists()


@pytest.mark.slow
def test_what_is_queued_is_taken_back_when_a_later_array_is_refused(here: Path) -> None:
    os.mkfifo("fifo")
    pipeline = Pipeline("p")
    pipeline.add("cat fifo", name="a")
    pipeline.add(square, items=[1, threading.Lock()], name="array", depends_on="a")

    with pytest.raises(PayloadError, match=r"item 1 .*lock"):
        pipeline.submit()

    assert [job.state for job in cluster.Queue().jobs] == ["CANCELLED"]
    assert pipeline["a"].job is None


# ---------------------------------------------------------------- running again


def chain(gate: str = "gate", scale: int = 2, **words: Any) -> Pipeline:
    """Four steps, of which the third fails while there is no file `gate`."""
    pipeline = Pipeline("chain", **words)
    first = pipeline.add(one, name="first")
    second = pipeline.add(add, (first.output, scale), name="second")
    third = pipeline.add(fail_unless, gate, name="third", depends_on=second)
    pipeline.add(lambda a, b: f"{a}{b}", (third.output, second.output), name="fourth")
    pipeline.add("echo side", name="side", depends_on=first)
    return pipeline


@pytest.mark.slow
def test_only_what_failed_and_what_waits_for_it_is_run_again(here: Path) -> None:
    assert ran(chain()) == ["first", "second", "side", "third", "fourth"]
    (here / "gate").touch()

    again = chain()
    assert ran(again) == ["third", "fourth"]

    assert again.get() == {
        "first": 1, "second": 3, "third": "there", "fourth": "there3", "side": (0, "side\n", ""),
    }  # fmt: skip
    assert [step.name for step in again.steps.values() if step.kept] == ["first", "second", "side"]
    assert ran(chain()) == []


@pytest.mark.slow
def test_what_has_changed_is_run_again_with_what_waits_for_it(here: Path) -> None:
    (here / "gate").touch()
    ran(chain())

    assert ran(chain(scale=3)) == ["second", "third", "fourth"]
    assert ran(chain(scale=3, cores=2)) == ["first", "second", "side", "third", "fourth"]
    assert ran(chain(scale=3, cores=2, priority=5)) == []


@pytest.mark.slow
def test_a_step_is_run_again_if_what_it_takes_was_run_anew_without_it(here: Path) -> None:
    def pipeline(scale: int, *, whole: bool = True) -> Pipeline:
        made = Pipeline("p")
        made.add(add, (1, scale), name="second")
        if whole:
            made.add(add, (made["second"].output, 10), name="third")
        return made

    ran(pipeline(2))
    ran(pipeline(3, whole=False))

    last = pipeline(3)
    assert ran(last) == ["third"]
    assert last.get()["third"] == 14


@pytest.mark.slow
def test_changed_code_is_run_again(here: Path) -> None:
    def with_code(text: str) -> Pipeline:
        space: dict[str, Any] = {"__name__": "__main__"}
        exec(f"def step():\n    return {text}", space)
        pipeline = Pipeline("p")
        pipeline.add(one)
        pipeline.add(space["step"])
        return pipeline

    assert ran(with_code("1")) == ["one", "step"]
    assert ran(with_code("1")) == []
    assert ran(with_code("2")) == ["step"]


@pytest.mark.slow
def test_a_step_can_be_run_again_in_any_case(here: Path) -> None:
    (here / "gate").touch()
    ran(chain())

    assert ran(chain(), again=["third"]) == ["third", "fourth"]
    with pytest.raises(OptionsError, match="no step 'fifth'"):
        chain().submit(again="fifth")


@pytest.mark.slow
def test_a_step_whose_value_was_deleted_is_run_again(here: Path) -> None:
    (here / "gate").touch()
    pipeline = chain()
    ran(pipeline)
    os.unlink(pipeline["second"].values[0])

    assert ran(chain()) == ["second", "third", "fourth"]


@pytest.mark.slow
def test_a_new_attempt_does_not_leave_the_value_of_the_one_before(here: Path) -> None:
    (here / "gate").touch()
    ran(chain())
    (here / "gate").unlink()

    again = chain()
    ran(again, again=["third"])

    assert again.status()["third"] == "FAILED"
    assert not os.path.exists(again["third"].values[0])


@pytest.mark.slow
def test_only_the_elements_that_failed_are_run_again(here: Path) -> None:
    def pipeline() -> Pipeline:
        made = Pipeline("p")
        made.add(fail_unless, items=["/", "gate", "/tmp"], name="array")
        made.add(len, made["array"].output, name="len")
        return made

    first = pipeline()
    ran(first)
    kept = os.stat(first["array"].values[0]).st_mtime_ns
    (here / "gate").touch()

    again = pipeline()
    assert ran(again) == ["array", "len"]

    assert again.get() == {"array": ["there"] * 3, "len": 3}
    assert os.stat(again["array"].values[0]).st_mtime_ns == kept
    assert ran(pipeline()) == []


@pytest.mark.slow
def test_steps_that_are_still_in_the_queue_are_left_there(here: Path) -> None:
    def pipeline(text: str = "cat fifo") -> Pipeline:
        made = Pipeline("p")
        made.add(text, name="slow")
        made.add("echo then", name="then", depends_on="slow")
        return made

    os.mkfifo("fifo")
    first = pipeline()
    first.submit()
    again = pipeline()

    assert again.submit() == {}
    assert [again["slow"].job.id, again["then"].job.id] == [  # type: ignore[union-attr]
        first["slow"].job.id, first["then"].job.id,  # type: ignore[union-attr]
    ]  # fmt: skip
    with pytest.raises(OptionsError, match=r"still in the queue.*slow \(job 1\).*then \(job 2\)"):
        pipeline("cat fifo fifo").submit()
    (here / "fifo").write_text("x")
    assert again.wait(WAIT_S) is True


@pytest.mark.slow
def test_another_process_sees_and_ends_what_this_one_submitted(here: Path) -> None:
    os.mkfifo("fifo")
    first = Pipeline("p")
    first.add("cat fifo", name="slow")
    first.submit()
    other = Pipeline("p")
    other.add("something else", name="slow")

    assert other.status()["slow"] in ("PENDING", "RUNNING")
    assert list(other.cancel()) == ["1"]
    assert first.wait(WAIT_S) is False
    assert other.status() == {"slow": "CANCELLED"}


# ---------------------------------------------------------------- killed while it submits


# Each job writes down that it ran; the array is of two submissions.  None starts before the
# submission afterwards: what has failed by then would be run again, rightly.
STEPS = """
import os, signal, sys, time
import cluster
from cluster import _array_store as store, _pipeline_submit as handing
from cluster._pipeline_record import Record
from cluster._pipeline_steps import Step

os.environ["CLUSTER_CFG_QUEUE_MAX_ARRAY"] = "2"

def noted(name):
    deadline = time.monotonic() + 30
    while not os.path.exists("submitted") and time.monotonic() < deadline:
        time.sleep(0.01)
    with open("ran", "a") as file:
        file.write(f"{name}\\n")
    if name == "item 2" and not os.path.exists("repaired"):
        raise ValueError(name)
    return name

def pipeline():
    p = cluster.Pipeline("it's [x]")
    first = p.add(noted, "first", name="first")
    p.add("echo then >> ran", name="then", depends_on=first, comment="a remark of mine")
    items = p.add(noted, items=["item 1", "item 2", "item 3"], name="items", depends_on="then")
    p.add(noted, "last", name="last", depends_on=items)
    return p

def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

def dying_at(number, function):
    calls = []
    def counting(*args, **kwargs):
        calls.append(args)
        return die() if len(calls) == number else function(*args, **kwargs)
    return counting
"""
AFTERWARDS = """
p = pipeline()
made = list(p.submit())
open("submitted", "w").close()
p.wait(30, progress=False)
print(made)
"""
ONCE = ["first", "item 1", "item 2", "item 3", "then"]


def python(text: str) -> subprocess.CompletedProcess[str]:
    if not Path("steps.py").exists():  # jobs may be reading it
        Path("steps.py").write_text(STEPS)
    code = f"from steps import *\n{text}"
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )  # fmt: skip


def lines_of(path: str) -> list[str]:
    return sorted(Path(path).read_text().splitlines())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("killed", "submitted_anew"),
    [
        ("handing._queue = die", ["first", "then", "items", "last"]),
        ("Step.submit_items = die", ["items", "last"]),
        ("store.keep = die", ["last"]),
        ("store.keep_layout = die", ["last"]),
        ("Step.make = dying_at(6, Step.make)", ["last"]),
        ("Record.write = dying_at(2, Record.write)", []),
    ],
    ids=["before anything", "before the array", "before the array is known",
         "while the array is written down", "before the last step", "before the record is whole"],
)  # fmt: skip
def test_a_submitter_that_is_killed_leaves_no_step_to_be_run_twice(
    killed: str, submitted_anew: list[str], here: Path
) -> None:
    done = python(f"{killed}\npipeline().submit()")
    assert done.returncode == -signal.SIGKILL, done.stderr

    again = python(AFTERWARDS)

    assert again.stdout == f"{submitted_anew}\n", again.stderr
    assert lines_of("ran") == ONCE
    assert {job.name: job.comment for job in infos()}["it's [x].then"].startswith("a remark of")
    (here / "repaired").touch()
    assert python(AFTERWARDS).stdout == "['items', 'last']\n"
    assert lines_of("ran") == sorted([*ONCE, "item 2", "last"])
    assert python(AFTERWARDS).stdout == "[]\n"


def infos() -> list[Any]:
    return cluster.queue.scheduler_for("local").named("*")


@pytest.mark.slow
@pytest.mark.parametrize("killed", ["store.keep_layout = die", "Step.make = die"])
def test_a_retry_of_elements_whose_submitter_was_killed_is_not_made_twice(
    killed: str, here: Path
) -> None:
    assert python(AFTERWARDS).returncode == 0
    (here / "repaired").touch()
    dies = killed.replace("Step.make = die", "Step.make = dying_at(2, Step.make)")
    done = python(f"{dies}\npipeline().submit()")
    assert done.returncode == -signal.SIGKILL, done.stderr

    again = python(AFTERWARDS)

    assert again.stdout == "['last']\n", again.stderr
    assert lines_of("ran") == sorted([*ONCE, "item 2", "last"])
    assert python(AFTERWARDS).stdout == "[]\n"


@pytest.mark.slow
def test_parts_of_an_array_that_was_not_queued_whole_are_ended_and_it_is_run_anew(
    here: Path,
) -> None:
    os.mkfifo("fifo")
    text = """
def waiting():
    p = cluster.Pipeline("p")
    p.add('test "$GO" || cat fifo; echo {item} >> ran', items=[1, 2, 3], name="items")
    return p
"""
    kill = "store.keep = die\nos.environ['CLUSTER_CFG_QUEUE_MAX_ARRAY'] = '1'"
    done = python(f"{text}\n{kill}\nwaiting().submit()")
    assert done.returncode == -signal.SIGKILL, done.stderr

    go = "p = waiting(); print(list(p.submit())); p.wait(30, progress=False)"
    again = python(f"{text}\nos.environ['GO'] = 'on'\n{go}")

    assert again.stdout == "['items']\n", again.stderr
    assert "killed in the middle of an array" in again.stderr
    assert [info.state for info in infos()] == ["CANCELLED"] * 3 + ["COMPLETED"] * 2
    assert lines_of("ran") == ["1", "2", "3"]


@pytest.mark.slow
def test_jobs_of_a_submitter_that_was_killed_can_be_seen_and_ended(here: Path) -> None:
    os.mkfifo("fifo")
    text = "p = cluster.Pipeline('p'); p.add('cat fifo', name='a'); p.add('cat fifo', items=[1])"
    done = python(f"{text}\nstore.keep = die\np.submit()")
    assert done.returncode == -signal.SIGKILL, done.stderr

    other = Pipeline("p")
    other.add("cat fifo", name="a")

    assert other.status()["a"] in ("PENDING", "RUNNING")
    assert sorted(other.cancel()) == ["1", "2"]
    assert other.wait(WAIT_S, progress=False) is False


@pytest.mark.slow
def test_a_value_that_was_put_aside_comes_back_if_nothing_was_queued(here: Path) -> None:
    first = Pipeline("p")
    first.add(one, name="one")
    assert ran(first) == ["one"]
    path = first["one"].values[0]
    record = Record(here / "p.pipeline", "p")
    record.begin({"one": replace(record.entries["one"], state="")})
    os.replace(path, f"{path}.before")  # killed here

    again = Pipeline("p")
    again.add(one, name="one")

    assert again.submit() == {}
    assert again["one"].get() == 1
    assert not os.path.exists(f"{path}.before")


@pytest.mark.slow
def test_a_finished_pipeline_explains_itself(here: Path) -> None:
    (here / "gate").touch()
    ran(chain())

    told = json.loads((here / "chain.pipeline" / "pipeline.json").read_text())

    assert told["name"] == "chain"
    steps = told["steps"]
    assert {step["state"] for step in steps.values()} == {"COMPLETED"}
    assert steps["side"]["runs"] == "echo side"
    assert steps["second"]["runs"].endswith("test_pipeline.add")
    assert all(os.path.exists(path) for step in steps.values() for path in step["values"])


def forget_everything(state_dir: Path) -> None:
    """Take the queue of this test away, with all that it knows."""
    lifecycle.stop_everything(state_dir)
    for file in state_dir.iterdir():
        if file.is_file():
            file.unlink()


@pytest.mark.slow
def test_how_steps_ended_outlives_the_queue(here: Path, state_dir: Path) -> None:
    ran(chain())
    forget_everything(state_dir)

    later = chain()

    assert later.wait() is False
    assert later.status() == {
        "first": "COMPLETED", "second": "COMPLETED", "third": "FAILED", "fourth": "CANCELLED",
        "side": "COMPLETED",
    }  # fmt: skip
    (here / "gate").touch()
    assert list(later.submit()) == ["third", "fourth"]
    assert later.wait(WAIT_S) is True


@pytest.mark.slow
def test_values_outlive_the_queue(here: Path, state_dir: Path) -> None:
    def pipeline() -> Pipeline:
        made = Pipeline("p")
        made.add(one)
        made.add("true", name="command", depends_on="one")
        return made

    first = pipeline()
    first.submit()
    assert first["one"].get(WAIT_S) == 1
    first["command"].get(WAIT_S)  # nobody wrote down how it ended
    forget_everything(state_dir)

    again = pipeline()
    assert list(again.submit()) == ["command"]
    assert again["one"].kept
    assert again.get(WAIT_S)["one"] == 1


SCRIPT = """
import functools, multiprocessing, cluster
def double(x): return 2 * x
def pooled(n, more=0):
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return sum(pool.map(double, range(n))) + more + m.floor(0)
with cluster.Pipeline("p", imports=["math as m"]) as p:
    p.add(pooled, 3, name="one")
    p.add(functools.partial(pooled, more=1), 3, name="part")
    p.add(functools.partial(pooled, more=1), items=[2, 3], name="array")
print(p.get())
s = cluster.Sweep(pooled, grid={"n": [2, 3]}, imports=["math as m"])
s.submit(); s.wait()
print([row["value"] for row in s.results()])
"""


@pytest.mark.slow
def test_functions_of_a_script_find_its_other_functions_in_their_jobs(here: Path) -> None:
    (here / "script.py").write_text(SCRIPT)

    done = subprocess.run(
        [sys.executable, "script.py"], capture_output=True, text=True, timeout=60, check=False
    )

    assert done.stdout == "{'one': 6, 'part': 7, 'array': [3, 7]}\n[2, 6]\n", done.stderr
