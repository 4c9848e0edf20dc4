"""Sweeps: every combination of parameters, once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from cluster import _sweep_file, logme, queue
from cluster._sweep_grid import Grid, nested, words
from cluster.errors import ClusterError, ConfigError, OptionsError, PayloadError, Unsatisfiable
from cluster.schedulers.local import LocalScheduler
from cluster.sweep import Sweep

WAIT_S = 60
MODES = pytest.mark.parametrize("mode", ["array", "individual"])


@pytest.fixture
def here(state_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory, the current one, and a private queue."""
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


def train(model: dict[str, float], seed: int = 0, gate: str = "") -> dict[str, float]:
    if seed == 2 and not os.path.exists("gate"):
        raise ValueError(f"seed {seed}\nmore about it")
    return {"loss": model["lr"] * seed}


def power(base: int, exponent: int) -> int:
    return base**exponent  # type: ignore[no-any-return]


def params_of(*given: Any) -> list[dict[str, Any]]:
    return list(Grid(*given))


def submitted(sweep: Sweep, **keywords: Any) -> list[int]:
    """Submit, wait, and give the numbers of what was run."""
    runs = sweep.submit(**keywords)
    sweep.wait(WAIT_S, progress=False)
    return [run.number for run in runs]


# ---------------------------------------------------------------- which runs there are


def test_a_grid_is_every_combination_the_last_key_fastest() -> None:
    assert params_of({"a": [1, 2], "b": ["x", "y"]}, None, None, None) == [
        {"a": 1, "b": "x"}, {"a": 1, "b": "y"}, {"a": 2, "b": "x"}, {"a": 2, "b": "y"},
    ]  # fmt: skip


def test_paired_values_go_together_and_are_one_axis() -> None:
    made = params_of({"a": [1, 2]}, [{"b": [3, 4], "c": [5, 6]}], {"d": 0}, None)

    assert made == [
        {"d": 0, "a": 1, "b": 3, "c": 5}, {"d": 0, "a": 1, "b": 4, "c": 6},
        {"d": 0, "a": 2, "b": 3, "c": 5}, {"d": 0, "a": 2, "b": 4, "c": 6},
    ]  # fmt: skip


def test_nested_mappings_are_nested_keys() -> None:
    made = params_of({"model": {"lr": [1]}}, None, {"model": {"opt": {"name": "x"}}}, None)

    assert made == [{"model.opt.name": "x", "model.lr": 1}]
    assert nested(made[0]) == {"model": {"opt": {"name": "x"}, "lr": 1}}


def test_an_axis_wins_over_a_default() -> None:
    assert params_of({"a": [1]}, None, {"a": 2}, None) == [{"a": 1}]


def test_a_huge_grid_is_counted_without_being_made() -> None:
    grid = Grid({f"k{n}": range(1000) for n in range(10)}, None, None, 3)

    assert (grid.total, grid.count, len(list(grid))) == (10**30, 3, 3)


def test_without_parameters_there_is_one_run() -> None:
    assert params_of(None, None, None, None) == [{}]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (({"a": 3}, None, None, None), r"a: 3 is no list of values. Write \[3\]"),
        (({"a": "xyz"}, None, None, None), "'xyz' is no list"),
        (({"a": []}, None, None, None), "a has no values"),
        (({"a b": [1]}, None, None, None), "'a b' is no key"),
        (({"a=": [1]}, None, None, None), "'a=' is no key"),
        (({"a..b": [1]}, None, None, None), "is no key"),
        (({3: [1]}, None, None, None), "3 is no key"),
        ((["a"], None, None, None), "is no mapping"),
        ((None, [{"a": [1, 2], "b": [1]}], None, None), "a has 2, b has 1"),
        (({"a": [1]}, [{"a": [2]}], None, None), "'a' is on two axes"),
        (({"m": [1], "m.lr": [2]}, None, None, None), "'m' is a value and has 'm.lr' below it"),
        (({"m": {"lr": [1]}, "m.lr": [2]}, None, None, None), "'m.lr' is there twice"),
        ((None, 3, None, None), "paired 3 is no mapping"),
        ((None, ["a"], None, None), "paired 'a' is no mapping"),
        ((None, None, None, 0), "max_runs 0 is no number"),
        ((None, None, None, True), "max_runs True is no number"),
    ],
)
def test_what_makes_no_grid_is_refused(given: tuple[Any, ...], message: str) -> None:
    with pytest.raises(OptionsError, match=message):
        Grid(*given)


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(OptionsError, match=r"(?s)a has no values.*b: 3 is no list"):
        Grid({"a": [], "b": 3}, None, None, None)


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (0.001, "k=0.001"),
        (True, "k=true"),
        (None, "k=null"),
        ("a b, c", "k=a b, c"),
        ([1, "a", "x,y", None], "k=[1,a,'x,y',null]"),
        ({"a": [1], "b": "it's"}, "k={a:[1],b:'it\\'s'}"),
        (Path("/a"), "k=/a"),
    ],
)
def test_commands_get_words_as_hydra_reads_them(value: Any, word: str) -> None:
    assert words({"k": value}) == [word]


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"grid": {"model.lr": [1], "other": [1]}}, "unexpected keyword argument 'other'"),
        ({"grid": {"seed": [1]}}, "missing a required argument: 'model'"),
        ({"grid": {"model.lr": [1]}, "mode": "both"}, "mode 'both' is unknown"),
        ({"grid": {"model.lr": [1]}, "coers": 1}, "coers"),
        ({"grid": {"model.lr": [1]}, "array": "1-3"}, "array= is said by the runs"),
        ({"grid": {"model.lr": [1]}, "mode": "individual", "max_running": 2}, "for arrays"),
    ],
)
def test_a_wrong_sweep_is_refused_when_it_is_made(
    keywords: dict[str, Any], message: str, here: Path
) -> None:
    with pytest.raises(OptionsError, match=message):
        Sweep(train, **keywords)

    assert list(here.iterdir()) == []


def test_a_sweep_for_one_queue_asks_nothing_of_another(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(here))
    monkeypatch.setattr(queue, "MODE", "lsf", raising=False)  # was there when last looked for

    sweep = Sweep(train, grid={"model.lr": [1]}, qtype="local", directory=here / "sweep")

    assert sweep.name == "train"


def test_the_same_run_twice_is_refused(here: Path) -> None:
    with pytest.raises(OptionsError, match=r"same run twice: a=1.*'repeat': range\(3\)"):
        Sweep("true", grid={"a": [1, 1]}).submit()


def test_a_directory_that_holds_no_sweep_is_refused(here: Path) -> None:
    with pytest.raises(OptionsError, match="is no directory of a sweep"):
        Sweep.load(here)


def test_a_damaged_record_is_told_and_left_alone(here: Path) -> None:
    sweep = Sweep("true", grid={"a": [1]})
    sweep.directory.mkdir()
    (sweep.directory / "sweep.json").write_text("[]")

    with pytest.raises(ClusterError, match="is no record of a sweep"):
        sweep.submit()

    assert (sweep.directory / "sweep.json").read_text() == "[]"


def test_waiting_for_what_was_not_submitted_is_refused(here: Path) -> None:
    with pytest.raises(OptionsError, match="was not submitted"):
        Sweep("true").wait()


# ---------------------------------------------------------------- before


def test_the_preview_shows_calls_and_what_is_left_out() -> None:
    sweep = Sweep(train, grid={"model.lr": [0.1, 0.2], "seed": [1, 2, 3]}, max_runs=5)

    assert sweep.count() == 5
    assert [line.rpartition("test_sweep.")[2] for line in sweep.preview(2).splitlines()] == [
        "sweep train: 5 of 6 combinations",
        "train(model={'lr': 0.1}, seed=1)",
        "train(model={'lr': 0.1}, seed=2)",
        "  ...",
    ]


def test_the_preview_shows_commands_as_for_a_shell() -> None:
    sweep = Sweep(["python", "my train.py"], grid={"a": ["x y"]}, defaults={"b": 1})

    assert sweep.preview().splitlines() == [
        "sweep python: 1 runs", "  python 'my train.py' b=1 'a=x y'",
    ]  # fmt: skip


# ---------------------------------------------------------------- running


@MODES
@pytest.mark.slow
def test_a_function_is_called_with_every_combination(mode: str, here: Path) -> None:
    sweep = Sweep(power, grid={"base": [2, 3], "exponent": [1, 2]}, mode=mode, cores=1)

    sweep.submit()

    assert sweep.wait(WAIT_S) is True
    rows = sweep.results()
    assert [(row["base"], row["exponent"], row["value"]) for row in rows] == [
        (2, 1, 2), (2, 2, 4), (3, 1, 3), (3, 2, 9),
    ]  # fmt: skip
    first = rows[0]
    assert (first["run"], first["state"], first["exitcode"], first["error"]) == (
        1, "COMPLETED", 0, "",
    )  # fmt: skip
    assert first["usage"].wall_s >= 0


@MODES
@pytest.mark.slow
def test_a_command_gets_the_parameters_as_words_behind_it(mode: str, here: Path) -> None:
    text = "printf '%s|' first | cat; printf '%s|'"
    sweep = Sweep(text, grid={"m.a": ["it's", "$x *"]}, defaults={"b": True}, mode=mode, name="s")

    sweep.submit()
    sweep.wait(WAIT_S)

    assert [row["value"].stdout for row in sweep.results()] == [
        "first|b=true|m.a=it's|", "first|b=true|m.a=$x *|",
    ]  # fmt: skip


@MODES
@pytest.mark.slow
def test_only_what_is_missing_or_failed_is_run_again(mode: str, here: Path) -> None:
    def sweep(*seeds: int) -> Sweep:
        return Sweep(train, grid={"model.lr": [0.5], "seed": seeds}, mode=mode)

    assert submitted(sweep(1, 2)) == [1, 2]
    assert sweep(1, 2).status() == {"COMPLETED": 1, "FAILED": 1}
    (here / "gate").touch()

    assert submitted(sweep(4, 1, 2, 3)) == [3, 2, 4]

    assert [(row["seed"], row["run"], row["value"]) for row in sweep(4, 1, 2, 3).results()] == [
        (4, 3, {"loss": 2.0}), (1, 1, {"loss": 0.5}), (2, 2, {"loss": 1.0}), (3, 4, {"loss": 1.5}),
    ]  # fmt: skip
    assert submitted(sweep(1, 2)) == []
    assert submitted(sweep(1, 2), again=True) == [1, 2]


@pytest.mark.slow
def test_failures_are_grouped_by_their_error(here: Path) -> None:
    sweep = Sweep(train, grid={"model.lr": [1, 2], "seed": [1, 2]})
    submitted(sweep)

    failures = sweep.failures()

    assert {error: [row["run"] for row in rows] for error, rows in failures.items()} == {
        "ValueError: seed 2": [2, 4]
    }
    assert sweep.wait() is False
    assert sweep.results()[1]["value"] is None


@pytest.mark.slow
def test_the_error_of_a_command_is_its_last_word(here: Path) -> None:
    sweep = Sweep("echo out; echo first >&2; echo last >&2; exit 3; true", grid={"a": [1]})
    submitted(sweep)

    assert list(sweep.failures()) == ["exit code 3: last"]
    assert sweep.results()[0]["value"] == (3, "out\n", "first\nlast\n")


@pytest.mark.slow
def test_a_finished_sweep_explains_itself_without_its_queue(here: Path, state_dir: Path) -> None:
    grid = {"base": (number for number in [2])}
    submitted(Sweep(power, grid=grid, paired={"exponent": [3, 4]}, name="s"))
    submitted(Sweep("echo", grid={"a": [1]}, name="c"))
    for sweep in (Sweep.load("s.sweep"), Sweep.load("c.sweep")):
        sweep.results()
    from cluster.local import lifecycle

    lifecycle.stop_everything(state_dir)
    for file in state_dir.iterdir():
        if file.is_file():
            file.unlink()

    functions, commands = Sweep.load("s.sweep"), Sweep.load(here / "c.sweep")

    assert [row["value"] for row in functions.results()] == [8, 16]
    assert [row["value"] for row in commands.results()] == [(0, "a=1\n", "")]
    told = json.loads((here / "s.sweep" / "sweep.json").read_text())
    assert told["about"]["runs"].endswith("test_sweep.power")
    assert [run["params"] for run in told["runs"].values()] == [
        {"base": 2, "exponent": 3}, {"base": 2, "exponent": 4},
    ]  # fmt: skip
    assert functions.submit() == []


@pytest.mark.slow
def test_the_results_can_be_read_where_the_function_cannot(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "mine.py").write_text("def double(x):\n    return 2 * x\n")
    monkeypatch.syspath_prepend(here)
    import mine  # type: ignore[import-not-found]

    submitted(Sweep(mine.double, grid={"x": [1, 2]}))
    monkeypatch.delitem(sys.modules, "mine")
    (here / "mine.py").unlink()
    loaded = Sweep.load("double.sweep")

    assert [row["value"] for row in loaded.results()] == [2, 4]
    with pytest.raises(PayloadError, match="No module named 'mine'"):
        loaded.submit(again=True)
    assert [row["value"] for row in Sweep.load("double.sweep").results()] == [2, 4]


@pytest.mark.slow
def test_results_stay_when_submitting_again_fails(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = Sweep(power, grid={"base": [2], "exponent": [2]})
    submitted(sweep)

    def refuse(*_: Any, **__: Any) -> None:
        raise ClusterError("no")

    monkeypatch.setattr("cluster._sweep_program.submit_array", refuse)

    with pytest.raises(ClusterError, match="no"):
        sweep.submit(again=True)

    assert [row["value"] for row in sweep.results()] == [4]


@pytest.mark.slow
def test_a_run_whose_value_was_deleted_is_missing(here: Path) -> None:
    sweep = Sweep(power, grid={"base": [2, 3], "exponent": [2]})
    submitted(sweep)
    (here / "power.sweep" / "runs" / "0002.value").unlink()

    assert submitted(sweep) == [2]


@pytest.mark.slow
def test_runs_that_are_still_in_the_queue_are_left_there(here: Path) -> None:
    os.mkfifo("fifo")
    sweep = Sweep("cat fifo; true", grid={"a": [1]}, name="s")
    sweep.submit()

    assert Sweep("cat fifo; true", grid={"a": [1]}, name="s").submit() == []
    assert list(sweep.status()) in (["PENDING"], ["RUNNING"])

    sweep.cancel()
    assert sweep.wait(WAIT_S) is False
    (error,) = sweep.failures()
    assert error.startswith("CANCELLED")


@pytest.mark.slow
def test_results_of_other_code_stay_with_a_warning(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(logme, "log", lambda text, *_: said.append(text))
    submitted(Sweep("echo one", grid={"a": [1]}, name="s"))

    assert submitted(Sweep("echo two", grid={"a": [1]}, name="s")) == []

    assert said == [
        "sweep 's': what it runs (echo two) has changed; 1 runs stay as they are. "
        "submit(again=True) runs all of them again"
    ]


@pytest.mark.slow
def test_a_parameter_that_is_called_like_a_result_gets_a_name_of_its_own(here: Path) -> None:
    sweep = Sweep(dict, grid={"state": ["on"]})
    submitted(sweep)

    row = sweep.results()[0]

    assert (row["params.state"], row["state"], row["value"]) == ("on", "COMPLETED", {"state": "on"})


@pytest.mark.slow
def test_the_frame_has_a_column_for_each_parameter_and_result(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = Sweep(power, grid={"base": [2, 3], "exponent": [2]})
    submitted(sweep)
    pandas = types.ModuleType("pandas")
    pandas.DataFrame = list  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pandas", pandas)

    rows = sweep.frame()

    assert [row["value"] for row in rows] == [4, 9]
    assert set(rows[0]) == {
        "base", "exponent", "run", "job", "state", "exitcode", "error", "value",
        "wall_s", "cpu_s", "peak_memory_mib",
    }  # fmt: skip


def test_without_pandas_the_frame_says_how_to_get_it(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)

    with pytest.raises(ImportError, match=r"python-cluster\[data\]"):
        Sweep("true").frame()


# ---------------------------------------------------------------- killed while it submits


# Each job writes down that it ran; an array of five is of three submissions.
RUNS = """
import os, signal, sys
import cluster
from cluster import _array_store as store
from cluster._sweep_program import Program
from cluster._sweep_record import Record, Run
from cluster.schedulers.local import LocalScheduler as Scheduler

os.environ["CLUSTER_CFG_QUEUE_MAX_ARRAY"] = "2"

def noted(n):
    with open("ran", "a") as file:
        file.write(f"{n}\\n")
    if n == 2 and not os.path.exists("repaired"):
        raise ValueError(n)
    return 10 * n

def sweep(mode):
    grid = {"n": [1, 2, 3, 4, 5]}
    return cluster.Sweep(noted, grid=grid, name="it's [x]", mode=mode, comment="a remark of mine")

def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

def dying_at(number, function):
    calls = []
    def counting(*args, **kwargs):
        calls.append(args)
        return die() if len(calls) == number else function(*args, **kwargs)
    return counting

def dying_behind(number, submit):
    def some(self, requests, scripts):
        submit(self, requests[:number], scripts)
        die()
    return some
"""
AFTERWARDS = """
s = sweep(MODE)
print([run.number for run in s.submit()], s.wait(30, progress=False))
print([row["value"] for row in s.results()])
"""
NOTHING, BEHIND = "Program.submit = die", "Run.submitted = die"


def python(text: str, mode: str) -> subprocess.CompletedProcess[str]:
    if not Path("runs.py").exists():  # jobs may be reading it
        Path("runs.py").write_text(RUNS)
    return subprocess.run(
        [sys.executable, "-c", f"from runs import *\nMODE = {mode!r}\n{text}"],
        capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )  # fmt: skip


def killed(text: str, mode: str) -> None:
    done = python(text, mode)
    assert done.returncode == -signal.SIGKILL, done.stderr


def ran() -> list[str]:
    return sorted(Path("ran").read_text().split())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "point", "submitted_anew"),
    [
        ("array", NOTHING, [1, 2, 3, 4, 5]),
        ("array", "Scheduler.submit = dying_behind(2, Scheduler.submit)", [5]),
        ("array", "store.keep = die", []),
        ("array", BEHIND, []),
        ("individual", NOTHING, [1, 2, 3, 4, 5]),
        ("individual", "Scheduler.submit = dying_behind(3, Scheduler.submit)", [4, 5]),
        ("individual", BEHIND, []),
        ("individual", "Record.write = dying_at(2, Record.write)", []),
    ],
)
def test_a_submitter_that_is_killed_leaves_no_run_to_be_made_twice(
    mode: str, point: str, submitted_anew: list[int], here: Path
) -> None:
    (here / "repaired").touch()
    killed(f"{point}\nsweep(MODE).submit()", mode)

    again = python(AFTERWARDS, mode)

    assert again.stdout == f"{submitted_anew} True\n[10, 20, 30, 40, 50]\n", again.stderr
    assert ran() == ["1", "2", "3", "4", "5"]
    jobs = queue.scheduler_for("local").named("*")
    assert all(job.comment.startswith("a remark of mine ") for job in jobs)
    assert python(AFTERWARDS, mode).stdout.startswith("[] True")


@pytest.mark.slow
@MODES
@pytest.mark.parametrize(("point", "submitted_anew"), [(NOTHING, [2]), (BEHIND, [])])
def test_a_failed_run_whose_new_submitter_was_killed_is_not_made_twice(
    mode: str, point: str, submitted_anew: list[int], here: Path
) -> None:
    assert python(AFTERWARDS, mode).returncode == 0
    (here / "repaired").touch()
    killed(f"{point}\nsweep(MODE).submit()", mode)

    again = python(AFTERWARDS, mode)

    assert again.stdout == f"{submitted_anew} True\n[10, 20, 30, 40, 50]\n", again.stderr
    assert ran() == ["1", "2", "2", "3", "4", "5"]


@pytest.mark.slow
@MODES
def test_jobs_of_a_submitter_that_was_killed_can_be_seen_and_ended(mode: str, here: Path) -> None:
    os.mkfifo("fifo")
    text = f"cluster.Sweep('cat fifo; true', grid={{'a': [1, 2]}}, name='s', mode={mode!r})"
    killed(f"{BEHIND}\n{text}.submit()", mode)

    other = Sweep.load("s.sweep")

    assert set(other.status()) <= {"PENDING", "RUNNING"}
    other.cancel()
    assert other.wait(WAIT_S, progress=False) is False
    assert other.status() == {"CANCELLED": 2}
    told = json.loads((here / "s.sweep" / "sweep.json").read_text())
    assert set(told) == {"version", "name", "about", "runs"}  # what every version reads
    assert [done["runs"] for done in told["about"]["submitted"]] == [2]
    assert told["about"]["runs"] == "cat fifo; true"


@pytest.mark.slow
@MODES
def test_results_that_were_put_aside_are_there_if_nothing_was_queued(mode: str, here: Path) -> None:
    (here / "repaired").touch()
    assert python(AFTERWARDS, mode).returncode == 0
    killed(f"{NOTHING}\nsweep(MODE).submit(again=True)", mode)
    results = "print([row['value'] for row in sweep(MODE).results()])"
    assert list(here.glob("*.sweep/runs/*.value")) == []

    assert python(results, mode).stdout == "[10, 20, 30, 40, 50]\n"
    assert python(AFTERWARDS, mode).stdout == "[] True\n[10, 20, 30, 40, 50]\n"

    assert [path.name for path in sorted(here.glob("*.sweep/runs/*"))] == [
        f"000{number}.value" for number in range(1, 6)
    ]
    assert ran() == ["1", "2", "3", "4", "5"]


@pytest.mark.slow
def test_who_looks_at_runs_does_not_forget_what_others_submit_meanwhile(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sweep(*values: int) -> Sweep:
        return Sweep("true", grid={"a": values}, name="s")

    sweep(1).submit()[0].view.wait(WAIT_S)
    ask = Sweep._ask

    def ask_and_submit(*args: Any) -> None:
        monkeypatch.setattr(Sweep, "_ask", ask)
        assert [run.number for run in sweep(1, 2).submit()] == [2]
        ask(*args)

    monkeypatch.setattr(Sweep, "_ask", ask_and_submit)

    assert sweep(1).status() == {"COMPLETED": 1}

    assert sweep(1, 2).submit() == []


@MODES
@pytest.mark.slow
def test_what_was_refused_leaves_no_trace_in_the_record(mode: str, here: Path) -> None:
    def sweep(*values: int, **options: Any) -> Sweep:
        return Sweep("true", grid={"a": values}, name="s", mode=mode, **options)

    with pytest.raises(Unsatisfiable):
        sweep(1, cores=9999).submit()
    assert not (here / "s.sweep" / "sweep.json").exists()
    assert submitted(sweep(1)) == [1]

    with pytest.raises(Unsatisfiable):
        sweep(1, 2, cores=9999).submit()

    told = json.loads((here / "s.sweep" / "sweep.json").read_text())
    assert "handover" not in told
    assert told["about"]["options"] == {}
    assert submitted(sweep(1)) == []


@pytest.mark.slow
def test_what_was_queued_before_a_refusal_is_known(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = LocalScheduler.submit

    def refuse_the_second(self: LocalScheduler, requests: Any, scripts: Any) -> None:
        submit(self, requests[:1], scripts)
        raise OptionsError("no")

    sweep = Sweep("true", grid={"a": [1, 2]}, mode="individual")
    with monkeypatch.context() as patch:
        patch.setattr(LocalScheduler, "submit", refuse_the_second)
        with pytest.raises(OptionsError, match="no"):
            sweep.submit()

    assert submitted(sweep) == [2]
    assert [row["job"] for row in sweep.results()] == ["1", "2"]


# ---------------------------------------------------------------- files

INI = """
[sweep]
command = python train.py
max_runs = 5

[grid]
model.lr = 0.1, 1e-3
Name = a, "b, c", it's
size = [1, "2"]

[paired first]
x = 1, 2
y = null, true

[paired second]
z = 1

[defaults]
flag = true
text = a, b

[options]
cores = 2
max_running = 3
"""

TOML = """
[sweep]
command = ["python", "train.py"]
name = "mine"
directory = "out"
mode = "individual"
[grid]
model = {lr = [0.1, 0.2]}
[[paired]]
x = [1, 2]
y = ["a", "b"]
[options]
mem = "2G"
"""


def test_an_ini_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "s.ini").write_text(INI)

    command, keywords = _sweep_file.read(tmp_path / "s.ini")

    assert command == "python train.py"
    assert keywords == {
        "name": "s",
        "directory": str(tmp_path / "s.sweep"),
        "max_runs": 5,
        "grid": {
            "model.lr": [0.1, 0.001],
            "Name": ["a", "b, c", "it's"],
            "size": [1, "2"],
        },
        "paired": [{"x": [1, 2], "y": [None, True]}, {"z": [1]}],
        "defaults": {"flag": True, "text": "a, b"},
        "cores": "2",
        "max_running": 3,
    }
    assert Sweep(command, **keywords).count() == 5


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python reads TOML from 3.11 on")
def test_a_toml_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(TOML)

    command, keywords = _sweep_file.read(tmp_path / "s.toml")

    assert command == ["python", "train.py"]
    assert keywords == {
        "name": "mine",
        "directory": str(tmp_path / "out"),
        "mode": "individual",
        "grid": {"model": {"lr": [0.1, 0.2]}},
        "paired": [{"x": [1, 2], "y": ["a", "b"]}],
        "mem": "2G",
    }
    assert Sweep(command, **keywords).count() == 4


def test_a_function_is_looked_for_beside_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "beside_it.py").write_text("def f(x):\n    return x\n")
    (tmp_path / "s.ini").write_text("[sweep]\nfunction = beside_it:f\n")

    command, _ = _sweep_file.read(tmp_path / "s.ini")

    assert command(3) == 3


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("s.ini", "command = x", "cannot be read"),
        ("s.ini", "[sweep]\ncommand = x\n[gird]\na = 1", r"no section \[gird\]"),
        ("s.ini", "[sweep]\ncommand = x\nmaxruns = 1", "no key 'maxruns'"),
        ("s.ini", "[grid]\na = 1", "needs one of command and function"),
        ("s.ini", "[sweep]\ncommand = x\nfunction = a:b", "needs one of command and function"),
        ("s.ini", "[sweep]\ncommand =", "neither text nor a list"),
        ("s.ini", "[sweep]\nfunction = json.dumps", "Write 'module:function'"),
        ("s.ini", "[sweep]\nfunction = json:dmups", "is not there"),
        ("s.ini", "[sweep]\nfunction = json:__doc__", "is no function"),
        ("s.ini", "[sweep]\ncommand = x\n[options]\nmode = array", r"belong into \[sweep\]"),
        ("s.yaml", "", r"ends in \.ini or \.toml"),
    ],
)
def test_a_file_that_says_no_sweep_is_refused(
    name: str, text: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text)

    with pytest.raises(ConfigError, match=message):
        _sweep_file.read(tmp_path / name)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        _sweep_file.read(tmp_path / "none.ini")


def test_a_python_without_toml_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tomllib", None)
    monkeypatch.setitem(sys.modules, "tomli", None)
    (tmp_path / "s.toml").write_text(TOML)

    with pytest.raises(ConfigError, match="pip install tomli"):
        _sweep_file.read(tmp_path / "s.toml")
