"""A scheduler in a package of its own: found by its entry point, and held to the contract."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

import cluster
from cluster import config_file, files, queue, schedulers
from cluster.errors import OptionsError, QueueError
from cluster.schedulers.command import CommandScheduler
from cluster.schedulers.local import LocalScheduler
from cluster.schedulers.slurm import Slurm

ROOT = Path(__file__).resolve().parent.parent


class Second(LocalScheduler):
    """A whole scheduler: a second queue of this machine."""

    qtype = "second"

    def __init__(self) -> None:
        super().__init__(os.environ["CLUSTER_STATE_DIR"])


class Words(Slurm):
    qtype = "words"


class Broken:
    def __init__(self) -> None:
        raise ZeroDivisionError("my mistake")


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> None:
    classes = {"second": "Second", "words": "Words", "bad": "Broken", "other": "Words"}
    points = {
        name: EntryPoint(name, f"{__name__}:{value}", schedulers.GROUP)
        for name, value in classes.items()
    }
    monkeypatch.setattr(schedulers, "_plug_ins", lambda: points)
    monkeypatch.setattr(files, "_SUBMISSION", dict(files._SUBMISSION))


@pytest.mark.slow
@pytest.mark.usefixtures("own")
def test_a_whole_scheduler_is_used_by_its_name(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cluster.submit("echo hi", qtype="second").get() == (0, "hi\n", "")

    monkeypatch.setenv("CLUSTER_QTYPE", "second")
    assert cluster.get_cluster_environment() == "second"
    assert queue.scheduler_for() is schedulers.get("second")


@pytest.mark.usefixtures("own")
def test_words_alone_become_a_scheduler_that_is_reached_by_programs() -> None:
    found = schedulers.get("words")

    assert isinstance(found, CommandScheduler)
    assert found.qtype == "words"
    assert files.submission_ending("words") == ".cluster.words"
    assert ".cluster.words" in files.endings()


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bad", r"qtype 'bad' \(test_plugins:Broken\) cannot be loaded: ZeroDivisionError"),
        ("other", "has the qtype 'words' and the entry point 'other'. Give both one name"),
    ],
)
def test_a_plug_in_that_cannot_be_used_is_told(name: str, message: str) -> None:
    with pytest.raises(QueueError, match=message):
        schedulers.get(name)


@pytest.mark.usefixtures("own")
def test_a_name_that_nobody_has_is_told_with_all_there_are() -> None:
    with pytest.raises(OptionsError, match="lsf, bad, other, second, words"):
        schedulers.get("thrid")


def test_the_setting_takes_the_name_of_an_installed_plug_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def entry_points(*, group: str, name: str) -> list[Any]:
        return ["there"] if (group, name) == (schedulers.GROUP, "tiny") else []

    monkeypatch.setattr("importlib.metadata.entry_points", entry_points)
    monkeypatch.setenv("CLUSTER_CFG_QUEUE_QTYPE", "tiny")
    assert config_file.get("queue", "qtype") == "tiny"

    monkeypatch.setenv("CLUSTER_CFG_QUEUE_QTYPE", "tinny")
    with pytest.raises(cluster.ConfigError, match="one of auto, slurm"):
        config_file.get("queue", "qtype")


# Enough to see that it is alive; `make test-clusters` runs the whole suite.
PART = "gives_its_value or exit_code or arguments_reach or held_job or gone or wait_for_the_start"


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [("-k", PART), pytest.param((), marks=pytest.mark.clusters)], ids=["a part", "all"]
)
def test_the_example_is_installed_and_keeps_the_contract(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    source = tmp_path / "source"
    shutil.copytree(ROOT / "examples" / "scheduler_plugin", source)
    python = scratch_python(tmp_path / "venv")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps"]
    subprocess.run([*pip, "--no-build-isolation", "--no-index", str(source)], check=True)
    clean = {key: value for key, value in os.environ.items() if not key.startswith("CLUSTER_")}

    done = subprocess.run(
        [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests", *words],
        cwd=source, env=clean, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout[-5000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


def test_the_part_of_the_contract_names_tests_that_exist() -> None:
    from cluster.testing import contract

    names = [name for name in vars(contract) if name.startswith("test_")]
    assert all(any(word in name for name in names) for word in PART.split(" or "))


def scratch_python(folder: Path) -> str:
    """A virtual environment that sees the packages of this one, and gets others for itself."""
    venv.create(folder, with_pip=False, symlinks=True)
    python = str(folder / "bin" / "python")
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    place = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True)
    ours = sysconfig.get_path("purelib")
    Path(place.stdout.strip(), "ours.pth").write_text(f"import site; site.addsitedir({ours!r})\n")
    return python
