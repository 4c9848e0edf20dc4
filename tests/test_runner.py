"""The program inside a job: what it refuses, what it writes, how it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cluster import payload, runner
from cluster.errors import JobFailed

HERE = (sys.version_info[0], sys.version_info[1])


def _program(tmp_path: Path, function: Any, *args: Any) -> subprocess.CompletedProcess[str]:
    """Run a call as a script of a cluster would: runner.py as a program, copied elsewhere."""
    call, result = tmp_path / "call", tmp_path / "result"
    payload.dump(function, args).write(str(call))
    program = tmp_path / "runner.py"
    program.write_text(Path(runner.__file__).read_text())
    argv = [sys.executable, str(program), str(call), str(result), "7", "2"]
    env = {**os.environ, "PYTHONUNBUFFERED": ""}
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60, env=env)


def _bomb(python: tuple[int, int] = HERE, cloudpickle: str = "") -> bytes:
    """A call that ends the process when it is unpickled, by other versions."""
    import pickle

    pickled = pickle.dumps(os._exit)[:-1] + b"(K*tR."
    data = bytearray(b"".join(runner.pack_call(pickled, [], cloudpickle_version=cloudpickle)))
    data[4:6] = bytes(python)
    return bytes(data)


# ---------------------------------------------------------------- refusing


def test_another_python_is_refused_before_unpickling() -> None:
    other = (HERE[0], HERE[1] + 1)

    with pytest.raises(runner.Refused, match=f"Python {HERE[0]}.{HERE[1] + 1} pickled this call"):
        runner.load_call(_bomb(python=other))


def test_a_newer_cloudpickle_is_refused_before_unpickling() -> None:
    with pytest.raises(runner.Refused, match=r"cloudpickle 99\.0\.1 pickled this call"):
        runner.load_call(_bomb(cloudpickle="99.0.1"))


def test_an_older_cloudpickle_is_accepted() -> None:
    runner.check_versions(HERE, "1.0.0")


def test_a_newer_patch_of_cloudpickle_is_accepted() -> None:
    import cloudpickle

    major, minor = cloudpickle.__version__.split(".")[:2]
    runner.check_versions(HERE, f"{major}.{minor}.999")


def test_a_refusal_is_an_envelope_with_the_reason(tmp_path: Path) -> None:
    result = str(tmp_path / "res")

    code = runner.run_call(_bomb(python=(2, 7)), result)

    assert code == 1
    with pytest.raises(JobFailed, match=r"Python 2\.7 pickled this call"):
        payload.value(payload.load_envelope(result))


@pytest.mark.parametrize("size", [0, 10, 40, -1])
def test_a_call_that_was_cut_short_is_refused(size: int) -> None:
    data = payload.dump(len, ("abc",)).data

    with pytest.raises(runner.Refused, match="cut short"):
        runner.load_call(data[:size])


def test_a_call_that_others_may_write_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "call"
    file.write_bytes(_bomb())
    file.chmod(0o620)

    with pytest.raises(runner.Refused, match="others can write"):
        runner.load_call(str(file))


def test_a_call_behind_a_symlink_is_refused(tmp_path: Path) -> None:
    (tmp_path / "call").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").write_bytes(_bomb())

    with pytest.raises(runner.Refused, match="cannot be read"):
        runner.load_call(str(tmp_path / "call"))


def test_a_missing_module_is_the_jobs_own_exception(tmp_path: Path) -> None:
    data = b"".join(runner.pack_call(b"cnot_installed_here\nthing\n.", []))
    result = str(tmp_path / "res")

    assert runner.run_call(data, result) == 1
    with pytest.raises(ModuleNotFoundError, match="not_installed_here"):
        payload.value(payload.load_envelope(result))


# ---------------------------------------------------------------- as a program


def test_the_program_leaves_an_envelope_and_nothing_else(tmp_path: Path) -> None:
    done = _program(tmp_path, lambda: print("hello") or {"a": 1})

    envelope = payload.load_envelope(str(tmp_path / "result"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello\n", "")
    assert (envelope.header.job, envelope.header.attempt) == (7, 2)
    assert payload.value(envelope) == {"a": 1}
    assert sorted(os.listdir(tmp_path)) == ["call", "result", "runner.py"]


def test_the_program_prints_a_traceback_without_its_own_lines(tmp_path: Path) -> None:
    def fail() -> None:
        raise ValueError("bad")

    done = _program(tmp_path, fail)

    assert done.returncode == 1
    assert done.stderr.endswith("ValueError: bad\n")
    assert str(tmp_path / "runner.py") not in done.stderr


def test_exit_functions_run_and_threads_are_joined(tmp_path: Path) -> None:
    def work() -> None:
        import atexit
        import threading

        atexit.register(print, "exit function")
        threading.Timer(0.05, print, ["thread"]).start()

    assert _program(tmp_path, work).stdout == "thread\nexit function\n"


def test_a_stdout_that_takes_nothing_is_code_120(tmp_path: Path) -> None:
    def work() -> None:
        os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
        print("lost")

    done = _program(tmp_path, work)

    assert done.returncode == 120
    assert "<stdout> could not be written" in done.stderr


def test_a_result_that_does_not_fit_on_the_disk_says_so(tmp_path: Path) -> None:
    def work() -> bytes:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
        return bytes(100_000)

    done = _program(tmp_path, work)

    assert done.returncode == 1
    assert "could not be written" in done.stderr
    with pytest.raises(JobFailed, match=r"its result \(\d+ bytes\) could not be written"):
        payload.value(payload.load_envelope(str(tmp_path / "result")))


def test_a_slot_that_is_full_says_so_in_place(tmp_path: Path) -> None:
    def work(call: bytes) -> int:
        import __main__ as program

        return program.run_call(call, str(tmp_path / "slot"))  # type: ignore[no-any-return]

    def large() -> bytes:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
        return bytes(100_000)

    _program(tmp_path, work, payload.dump(large).data)

    with pytest.raises(JobFailed, match="could not be written"):
        payload.value(payload.load_envelope(str(tmp_path / "slot")))


def test_a_job_that_leaves_no_descriptor_can_still_leave_its_result(tmp_path: Path) -> None:
    def work(call: bytes) -> None:
        import __main__ as program

        program.run_call(call, str(tmp_path / "slot"))

    def greedy() -> str:
        import resource

        resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
        try:
            while True:
                os.dup(0)
        except OSError:
            return "done"

    _program(tmp_path, work, payload.dump(greedy).data)

    assert payload.value(payload.load_envelope(str(tmp_path / "slot"))) == "done"
