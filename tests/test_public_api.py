"""What `import cluster` gives, and what it does not do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import cluster

HEAVY = {"msgspec", "cloudpickle", "psutil", "click", "rich", "subprocess", "socket", "sqlite3"}


def run_python(code: str, cwd: Path) -> str:
    root = str(Path(cluster.__file__).parents[1])
    # Not by PYTHONPATH: what site-packages import by themselves is left out with -S.
    head = f"import sys; sys.path.insert(0, {root!r})\n"
    argv = [sys.executable, "-I", "-S", "-c", head + code]
    return subprocess.run(argv, cwd=cwd, capture_output=True, text=True, check=True).stdout


def test_the_import_loads_nothing_heavy(tmp_path: Path) -> None:
    loaded = run_python("import cluster; print(*sys.modules)", tmp_path).split()

    assert not HEAVY & set(loaded)
    assert not [name for name in loaded if name.startswith("cluster.")]


def test_the_import_runs_no_program_and_writes_no_file(tmp_path: Path) -> None:
    watch = (
        "seen = []\n"
        "def hook(event, args):\n"
        "    if event in ('subprocess.Popen', 'os.fork', 'os.posix_spawn', 'os.mkdir'):\n"
        "        seen.append(event)\n"
        "    if event == 'open' and args[2] & 3: seen.append(args[0])\n"
        "sys.addaudithook(hook); sys.dont_write_bytecode = True\n"
        "import cluster; print(seen)"
    )

    assert run_python(watch, tmp_path).strip() == "[]"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", cluster.__all__)
def test_every_public_name_can_be_used(name: str) -> None:
    assert getattr(cluster, name) is not None
    assert name in dir(cluster)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("queue", "MODE"),
        ("queue", "check_queue"),
        ("queue", "get_cluster_environment"),
        ("logme", "MIN_LEVEL"),
        ("options", "option_help"),
        ("options", "check_arguments"),
        ("options", "options_to_string"),
        ("config_file", "get_profile"),
        ("jobqueue", "JobQueue"),
        ("jobqueue", "job_runner"),
        ("job", "submit_file"),
        ("job", "clean_dir"),
        ("run", "split_file"),
        ("script", "Function"),
    ],
)
def test_names_stay_in_the_modules_where_users_look_for_them(module: str, name: str) -> None:
    assert hasattr(getattr(cluster, module), name)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="sbumit"):
        cluster.sbumit  # noqa: B018
