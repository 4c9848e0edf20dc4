"""What holds for the project as a whole: the wheel, the import contract, the start."""

from __future__ import annotations

import configparser
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BUILT_FROM = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "cluster", "bin")
LONGER = {"runner.py": 550}  # one file because it is copied into scripts, where nothing else is
ONE_FILE_LIMIT = 500  # lines; the aim is 400, and beyond this a module does more than one thing

# Modules that would make `import cluster` slow or let it do more than define names.
NOT_AT_IMPORT = (
    "asyncio",
    "click",
    "cloudpickle",
    "numpy",
    "pandas",
    "psutil",
    "rich",
    "sqlite3",
    "tblib",
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Built from a copy: a build writes into the tree it builds.
    tree, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("wheel")
    for name in BUILT_FROM:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, tree / name)
    shutil.copytree(ROOT / "tests", tree / "tests")
    argv = [sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "--no-index"]
    built = subprocess.run(
        [*argv, "--wheel-dir", out, tree], capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


@pytest.mark.slow
def test_the_wheel_is_called_python_cluster_and_runs_on_every_platform(wheel: Path) -> None:
    assert wheel.name == "python_cluster-0.1.0-py3-none-any.whl"


@pytest.mark.slow
def test_the_wheel_holds_every_module_and_the_mark_for_type_checkers(names: list[str]) -> None:
    ours = {path.relative_to(ROOT).as_posix() for path in (ROOT / "cluster").rglob("*.py")}

    assert (ours | {"cluster/py.typed"}) - set(names) == set()


@pytest.mark.slow
def test_the_wheel_holds_nothing_but_the_package_and_its_scripts(names: list[str]) -> None:
    tops = {name.split("/")[0] for name in names}

    assert {top for top in tops if not top.startswith("python_cluster-0.1.0.")} == {"cluster"}
    ours = [name for name in names if "testing" not in name and "pytest_plugin" not in name]
    assert not [name for name in ours if "test" in Path(name).name]


@pytest.mark.slow
def test_the_wheel_holds_the_scripts_for_users(names: list[str]) -> None:
    scripts = {Path(name).name for name in names if ".data/scripts/" in name}

    assert scripts == {path.name for path in (ROOT / "bin").iterdir() if path.is_file()}


def test_the_import_contract_is_kept() -> None:
    main = (
        "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))"
    )
    environment = os.environ | {"PYTHONWARNINGS": "ignore"}

    seen = subprocess.run(
        [sys.executable, "-c", main],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert seen.returncode == 0, seen.stdout + seen.stderr


def test_every_dependency_that_is_imported_is_declared() -> None:
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "setup.cfg")
    declared = {
        line.split()[0] for line in config["options"]["install_requires"].split("\n") if line
    }

    import grimp

    graph = grimp.build_graph("cluster", include_external_packages=True, cache_dir=None)
    squashed = {name for name in graph.modules if graph.is_module_squashed(name)}
    foreign = squashed - set(sys.stdlib_module_names) - {"_sha2"}  # a later Python's

    assert foreign - {"pandas", "textual", "pytest"} - declared == set()
    for_tests = graph.find_modules_that_directly_import("pytest")
    users = {name for name in for_tests if not name.startswith("cluster.testing.")}
    assert users == {"cluster.pytest_plugin"}  # which pytest imports, nobody else


def test_importing_the_package_loads_none_of_the_heavy_modules() -> None:
    loaded = _in_a_fresh_python("import cluster, sys, json; print(json.dumps(list(sys.modules)))")

    assert set(loaded) & set(NOT_AT_IMPORT) == set()


def test_importing_the_package_starts_no_process_and_opens_no_file_for_writing() -> None:
    seen = _in_a_fresh_python(
        "import sys, json, os\n"
        "seen = []\n"
        "def hook(event, args):\n"
        "    if event in ('subprocess.Popen', 'os.fork', 'os.posix_spawn', 'socket.connect',\n"
        "                 'os.mkdir', 'os.rename'):\n"
        "        seen.append(event)\n"
        "    if event == 'open' and args[2] & (os.O_WRONLY | os.O_RDWR):\n"
        "        seen.append(str(args[0]))\n"
        "sys.dont_write_bytecode = True\n"
        "sys.addaudithook(hook)\n"
        "import cluster\n"
        "for name in cluster.__all__: getattr(cluster, name)\n"
        "print(json.dumps(seen))"
    )

    assert seen == []


def test_every_public_name_is_there_and_dir_shows_it() -> None:
    missing = _in_a_fresh_python(
        "import cluster, json\n"
        "known = set(dir(cluster))\n"
        "lost = [n for n in cluster.__all__ if n not in known or not hasattr(cluster, n)]\n"
        "print(json.dumps(lost))"
    )

    assert missing == []


def test_the_version_is_the_same_in_the_package_and_its_metadata() -> None:
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "setup.cfg")

    assert (
        _in_a_fresh_python("import cluster, json; print(json.dumps(cluster.__version__))")
        == (config["metadata"]["version"])
    )


def test_no_module_is_longer_than_one_can_read() -> None:
    lengths = {path: path.read_text().count("\n") for path in (ROOT / "cluster").rglob("*.py")}

    assert {
        path.name: n for path, n in lengths.items() if n > LONGER.get(path.name, ONE_FILE_LIMIT)
    } == {}


def _in_a_fresh_python(code: str) -> object:
    seen = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert seen.returncode == 0, seen.stderr
    return json.loads(seen.stdout)
