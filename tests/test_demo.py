"""The demo, as a user runs it: right, loud when wrong, and gone afterwards."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import cluster

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
LIMIT_S = 60.0

pytestmark = pytest.mark.slow


@pytest.fixture
def temporary() -> Iterator[Path]:
    """What the demo takes for the system's temporary directory; short, for sockets."""
    path = Path(tempfile.mkdtemp(prefix="cl-", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    """A copy of the examples, at a path with a blank."""
    return shutil.copytree(EXAMPLES, tmp_path / "a copy" / "examples")


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    """An empty directory to be in, with a blank in its name."""
    path = tmp_path / "any where"
    path.mkdir()
    return path


def run_demo(
    examples: Path, cwd: Path, temporary: Path, *options: str
) -> subprocess.CompletedProcess[str]:
    root = str(Path(cluster.__file__).parents[1])
    return subprocess.run(
        [sys.executable, str(examples / "demo.py"), *options],
        cwd=cwd,
        env=os.environ | {"TMPDIR": str(temporary), "PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def test_the_demo_is_right_anywhere_and_leaves_nothing(
    examples: Path, cwd: Path, temporary: Path
) -> None:
    done = run_demo(examples, cwd, temporary)

    assert (done.returncode, done.stderr) == (0, "")
    assert "all      28,489" in done.stdout
    assert "Dependency 8 failed with exit code 3" in done.stdout
    assert list(cwd.iterdir()) == list(temporary.iterdir()) == []
    assert not Path(os.environ["CLUSTER_STATE_DIR"]).exists()  # the user's own queue


def test_the_demo_runs_in_the_users_queue_when_asked_to(
    cwd: Path, temporary: Path, state_dir: Path
) -> None:
    done = run_demo(EXAMPLES, cwd, temporary, "--shared")

    assert (done.returncode, done.stderr) == (0, "")
    assert [job.name for job in cluster.Queue().completed][-2:] == ["fails", "never"]
    assert list(cwd.iterdir()) == list(temporary.iterdir()) == []


def test_the_demo_fails_and_names_the_lines_that_are_not_right(
    examples: Path, cwd: Path, temporary: Path
) -> None:
    code = (examples / "kth.py").read_text()
    forgetful = code.replace("job.get() for job in pieces)", "job.get() for job in pieces[1:])")
    assert forgetful != code
    (examples / "kth.py").write_text(forgetful)

    done = run_demo(examples, cwd, temporary)

    assert done.returncode == 1
    assert "WRONG: the months or their numbers of jobs" in done.stderr
    assert "All of it is right" not in done.stdout
    assert list(temporary.iterdir()) == []
