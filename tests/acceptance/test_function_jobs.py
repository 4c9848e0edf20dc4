"""Functions: every kind of callable, every way to end, everything they may do inside."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import threading
import traceback
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jobs_to_run as jobs
import numpy as np
import pytest
from scientist import DEADLINE_S, ROOT

import cluster
from cluster import runner

pytestmark = pytest.mark.slow

Script = Callable[..., subprocess.CompletedProcess[str]]


def run(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    return cluster.submit(function, args, **options).get(timeout=DEADLINE_S)


# ---------------------------------------------------------------- what can be called

FACTOR = 3


@pytest.mark.parametrize(
    ("function", "args", "value"),
    [
        (jobs.add, (1, 2), 3),
        (lambda n: n * FACTOR, (2,), 6),
        (functools.partial(jobs.add, b=10), (1,), 11),
        (jobs.Tally(5).plus, (1,), 6),
        (jobs.Tally(5), (2,), 10),
        (jobs.Tally.of, (4,), jobs.Tally(4)),
        (jobs.Tally.twice, (4,), 8),
        (jobs.Tally, (4,), jobs.Tally(4)),
        (len, ("abc",), 3),
        (str.upper, ("abc",), "ABC"),
        ("-".join, (["a", "b"],), "a-b"),
        (np.add, (1, 2), 3),
    ],
    ids=["function", "lambda", "partial", "method", "instance", "class method", "static method",
         "class", "builtin", "descriptor", "bound builtin", "ufunc"],
)  # fmt: skip
def test_it_can_be_called(
    here: Path, function: Callable[..., Any], args: tuple[Any, ...], value: object
) -> None:
    assert run(function, *args) == value


def test_a_closure_travels_with_what_it_holds(here: Path) -> None:
    offset = {"by": 40}

    def shifted(n: int) -> int:
        def inner() -> int:
            return n + offset["by"]

        return inner()

    assert run(shifted, 2) == 42


def test_a_class_made_in_a_function_comes_back(here: Path) -> None:
    class Point:
        def __init__(self, x: int) -> None:
            self.x = x

    assert run(lambda: Point(3)).x == 3


def test_the_decorator_submits(here: Path) -> None:
    decorated = cluster.function(cores=1)(jobs.add)

    assert decorated(2, b=5).get(timeout=DEADLINE_S) == 7


MAIN = """
import cluster, helper_module
from dataclasses import dataclass

@dataclass
class Point:
    x: int

OFFSET = 100

def moved(point, by=1):
    return Point(point.x + by + OFFSET + helper_module.MORE)

class Model:
    def fit(self, n):
        return [n, OFFSET]

if __name__ == "__main__":
    jobs = [cluster.submit(moved, Point(1)), cluster.submit(Model().fit, 5),
            cluster.submit(lambda: moved(Point(0), by=0)),
            cluster.submit(helper_module.square, 7)]
    print(cluster.wait(jobs, timeout=60), [job.get() for job in jobs])
"""


def test_functions_and_classes_of_a_script_and_the_module_beside_it(
    here: Path, script: Script
) -> None:
    (here / "helper_module.py").write_text("MORE = 1000\ndef square(n): return n * n\n")

    done = script(MAIN)

    assert (done.stderr, done.returncode) == ("", 0)
    assert done.stdout == "True [Point(x=1102), [5, 100], Point(x=1100), 49]\n"
    assert sorted(p.name for p in here.iterdir() if p.name != "__pycache__") == [
        "helper_module.py", "study.py",
    ]  # fmt: skip


def test_a_script_without_a_guard_is_not_run_again_by_its_jobs(here: Path, script: Script) -> None:
    done = script(
        "import cluster\nopen('runs', 'a').write('x')\ndef f(): return 5\n"
        "print(cluster.submit(f).get(timeout=60))\n"
    )

    assert (done.stdout, done.stderr) == ("5\n", "")


def test_text_typed_at_the_prompt_works(here: Path) -> None:
    text = "import cluster\ndef f(n): return n + 1\n\nprint(cluster.submit(f, 1).get(timeout=60))\n"
    done = subprocess.run(
        [sys.executable, "-"], input=text, capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip

    assert (done.stdout, done.stderr) == ("2\n", "")


def test_a_module_that_changed_since_the_last_job_is_seen_as_it_is_now(
    here: Path, script: Script
) -> None:
    text = "import cluster, changing\nprint(cluster.submit(changing.answer).get(timeout=60))\n"
    said = []
    for n in (1, 2):
        (here / "changing.py").write_text(f"def answer():\n    return {n} * {'1' * n}\n")
        said.append(script(text).stdout)

    assert said == ["1\n", "22\n"]


# ---------------------------------------------------------------- how it ends


def test_an_exception_comes_back_with_its_remote_traceback(here: Path) -> None:
    with pytest.raises(KeyError, match="gone") as caught:
        run(jobs.fail, "gone")

    text = "".join(traceback.format_exception(caught.value))
    assert "jobs_to_run.py" in text
    assert "in deeper" in text
    assert "raise KeyError(text)" in text


def test_its_cause_comes_with_it(here: Path) -> None:
    with pytest.raises(RuntimeError, match="second") as caught:
        run(jobs.fail_with_cause)

    assert isinstance(caught.value.__cause__, KeyError)


def test_an_exception_that_cannot_be_rebuilt_comes_as_text(here: Path) -> None:
    with pytest.raises(cluster.JobFailed, match=r"Awkward: 1 and 2") as caught:
        run(jobs.fail_awkwardly)

    assert "fail_awkwardly" in str(caught.value)


def test_one_that_cannot_even_be_pickled_too(here: Path) -> None:
    with pytest.raises(cluster.JobFailed, match="Hidden: behind"):
        run(jobs.fail_locally)


def test_a_result_that_cannot_be_pickled_fails_and_keeps_what_was_printed(here: Path) -> None:
    job = cluster.submit(jobs.return_lock)

    with pytest.raises(cluster.JobFailed, match="lock"):
        job.get(timeout=DEADLINE_S)
    assert (job.state, job.stdout) == ("FAILED", "printed before\n")


def test_a_result_that_explodes_hits_only_the_one_who_reads_it(here: Path) -> None:
    job = cluster.submit(jobs.Explosive)

    assert job.wait(timeout=DEADLINE_S)
    with pytest.raises(cluster.PayloadError, match="boom at unpickling"):
        job.get()
    assert run(jobs.add, 1) == 2


@pytest.mark.parametrize(
    ("code", "state", "exitcode"),
    [(0, "COMPLETED", 0), (None, "COMPLETED", 0), (4, "FAILED", 4), ("text", "FAILED", 1)],
)
def test_sys_exit(here: Path, code: object, state: str, exitcode: int) -> None:
    job = cluster.submit(jobs.exit_with, (code,))

    job.wait(timeout=DEADLINE_S)

    assert (job.state, job.exitcode) == (state, exitcode)
    if state == "COMPLETED":
        assert job.get() is None
    else:
        with pytest.raises(cluster.JobFailed, match="text" if code == "text" else "4"):
            job.get()


@pytest.mark.parametrize("code", [0, 3, 255])
def test_os_exit_leaves_no_value(here: Path, code: int) -> None:
    job = cluster.submit(jobs.exit_hard, code)

    with pytest.raises(cluster.JobFailed, match=rf"code {code}\b"):
        job.get(timeout=DEADLINE_S)
    assert job.exitcode == code
    assert job.state == "FAILED"


def test_a_segfault_is_a_signal_and_breaks_nothing_else(here: Path) -> None:
    beside = cluster.submit("until [ -e go ]; do sleep 0.02; done")
    job = cluster.submit(jobs.segfault)

    with pytest.raises(cluster.JobFailed, match="signal 11"):
        job.get(timeout=DEADLINE_S)
    assert (job.state, job.exitcode) == ("FAILED", 139)
    (here / "go").touch()
    assert beside.wait(timeout=DEADLINE_S)


def test_endless_recursion_is_an_exception(here: Path) -> None:
    with pytest.raises(RecursionError):
        run(jobs.exhaust_recursion)


def test_a_function_that_closes_all_its_descriptors_has_a_value(here: Path) -> None:
    assert run(jobs.close_everything) == 7


def test_a_module_that_is_not_there_any_more_is_an_exception(here: Path, script: Script) -> None:
    (here / "vanishing.py").write_text("def f(): return 1\n")
    done = script(
        "import cluster, os, vanishing\n"
        "job = cluster.submit(vanishing.f, hold=True)\nos.remove('vanishing.py')\n"
        "import shutil; shutil.rmtree('__pycache__', ignore_errors=True)\n"
        "job.release()\n"
        "try: job.get(timeout=60)\n"
        "except ModuleNotFoundError as error: print(error, job.state)\n"
    )

    assert (done.stdout, done.stderr) == ("No module named 'vanishing' FAILED\n", "")


def test_an_interpreter_that_is_gone_at_the_start_fails_the_job(here: Path) -> None:
    python = here / "python"
    python.symlink_to(sys.executable)
    job = cluster.submit(jobs.add, 1, python=str(python), hold=True)
    python.unlink()

    job.release()

    with pytest.raises(cluster.JobFailed, match=str(python)):
        job.get(timeout=DEADLINE_S)
    assert job.state == "FAILED"


@pytest.mark.parametrize(
    ("python", "cloudpickle", "words"),
    [((3, 99), "", r"Python 3\.99 pickled this call"), (None, "99.0", r"cloudpickle 99\.0")],
)
def test_what_another_version_pickled_is_refused_before_it_is_unpickled(
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    python: tuple[int, int] | None,
    cloudpickle: str,
    words: str,
) -> None:
    pack = runner.pack_call

    def pack_otherwise(_: bytes, *args: Any, **kwargs: Any) -> Any:
        kwargs["cloudpickle_version"] = cloudpickle or kwargs["cloudpickle_version"]
        bomb = b"cos\n_exit\n(I42\ntR."  # os._exit(42), should anybody unpickle it
        head, *rest = pack(bomb, *args, **kwargs)
        fields = list(runner.CALL.unpack_from(head))
        fields[1:3] = python or fields[1:3]
        return [runner.CALL.pack(*fields) + bytes(head[runner.CALL.size :]), *rest]

    monkeypatch.setattr(runner, "pack_call", pack_otherwise)
    job = cluster.submit(jobs.add, 1)

    with pytest.raises(cluster.JobFailed, match=words):
        job.get(timeout=DEADLINE_S)
    assert (job.state, job.exitcode) == ("FAILED", 1)


# ---------------------------------------------------------------- what it may do


def test_a_virtual_environment_runs_it_when_named(here: Path) -> None:
    venv.create(here / "env", with_pip=False)

    prefix, path = run(lambda: (sys.prefix, os.environ["PATH"]), venv="env")

    assert prefix == str(here / "env")
    assert path.startswith(f"{here}/env/bin:")
    assert cluster.submit("python -c 'import sys; print(sys.prefix)'", venv="env").get(
        timeout=DEADLINE_S
    ).stdout.strip() == str(here / "env")


def test_what_it_prints_is_kept_apart(here: Path) -> None:
    job = cluster.submit(jobs.print_both)

    assert job.get(timeout=DEADLINE_S) == "value"
    assert (sorted(job.stdout.splitlines()), job.stderr) == (
        ["from a child", "to out"], "to err\n",
    )  # fmt: skip


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_pool_of_processes(here: Path, method: str) -> None:
    assert run(jobs.with_pool, method) == [0, 1, 4, 9, 16]


POOL = """
import cluster, multiprocessing
from concurrent.futures import ProcessPoolExecutor

def more(n): return n + 1
def x_of(point): return point.x

class Point:
    def __init__(self, x): self.x = x

class Model:
    def one(self, n): return 2 * n
    def fit(self):
        with multiprocessing.get_context("fork").Pool(2) as pool:
            return pool.map(self.one, range(3))

def work(method):
    with ProcessPoolExecutor(2, multiprocessing.get_context(method)) as pool:
        return list(pool.map(more, range(3)))

def work_on(points):
    with multiprocessing.get_context("fork").Pool(2) as pool:
        return pool.map(x_of, points)

if __name__ == "__main__":
    jobs = [cluster.submit(work, method) for method in ("fork", "spawn", "forkserver")]
    jobs += [cluster.submit(Model().fit), cluster.submit(work_on, [Point(5), Point(6)])]
    for job in jobs:
        print(job.get(timeout=60))
"""


def test_a_pool_of_processes_over_functions_and_classes_of_the_script(
    here: Path, script: Script
) -> None:
    done = script(POOL)

    assert done.stderr == ""
    assert done.stdout.split("\n") == ["[1, 2, 3]"] * 3 + ["[0, 2, 4]", "[5, 6]", ""]


def test_a_script_that_a_spawned_process_reads_does_not_submit_again(
    here: Path, script: Script
) -> None:
    before = len(cluster.Queue())
    done = script(
        "import cluster, multiprocessing\n"
        "def more(n): return n + 1\n"
        "def work():\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "        return pool.map_async(more, [1]).get(1)\n"
        "job = cluster.submit(work)\n"
        "try: job.get(timeout=60)\n"
        "except Exception as error: print(type(error).__name__)\n"
        "print(job.stderr)\n"
    )

    assert "if __name__ == '__main__'" in done.stdout, done
    assert len(cluster.Queue()) == before + 1


def test_threads_subprocesses_and_asyncio(here: Path) -> None:
    assert run(jobs.with_threads) == [0, 1, 4, 9, 16]
    assert run(jobs.with_subprocess) == (3, "out\n")
    assert run(jobs.with_asyncio) == [1, 2]


def test_linear_algebra_takes_as_many_threads_as_cores(here: Path) -> None:
    def solve() -> tuple[float, int, str]:
        import os

        import numpy as np

        a = np.random.default_rng(1).random((300, 300))
        norm = float(np.linalg.norm(a @ np.linalg.inv(a) - np.eye(300)))
        return norm, len(os.listdir("/proc/self/task")), os.environ["OPENBLAS_NUM_THREADS"]

    norm, threads, told = run(solve, cores=1)

    assert norm < 1e-6
    assert (threads, told) == (1, "1")


def test_a_large_array_goes_there_and_back(here: Path) -> None:
    array = np.arange(100 * 2**20 // 8, dtype=np.float64)

    back = run(lambda a: a + 1, array)

    assert back.nbytes == array.nbytes
    assert np.array_equal(back, array + 1)


def test_a_job_that_submits_and_waits_for_more_jobs_than_there_are_cores(here: Path) -> None:
    outer = [cluster.submit(jobs.submit_others, 4) for _ in range(2)]

    assert [job.get(timeout=60) for job in outer] == [[1, 2, 3, 4]] * 2


def test_a_job_s_job_has_an_id_of_its_own(here: Path) -> None:
    job = cluster.submit(jobs.submit_a_command)

    inner = job.get(timeout=60)

    assert inner != job.id
    assert cluster.Job.load(inner).state == "COMPLETED"


def test_threads_of_the_submitter_may_all_submit_and_wait(here: Path) -> None:
    values: list[int] = []

    def work(n: int) -> None:
        values.append(run(jobs.add, n))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(values) == list(range(1, 21))


def test_a_function_takes_keywords_a_list_and_nothing(here: Path) -> None:
    assert cluster.submit(jobs.add, 1, kwargs={"b": 5}).get(timeout=DEADLINE_S) == 6
    assert cluster.submit(sum, [1, 2, 3]).get(timeout=DEADLINE_S) == 6
    assert cluster.submit(dict).get(timeout=DEADLINE_S) == {}
