"""Any text in a name, a path, an argument, the environment: byte for byte, or refused by name."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import cluster
from cluster.errors import ClusterError
from cluster.local import lifecycle

pytestmark = [pytest.mark.faults, pytest.mark.slow]

# Writes what it was given, all of it, into the file that its first argument names.
LOOK = """
import os, sys
data = b"\\0".join([os.getcwdb(), *[b"A" + os.fsencode(a) for a in sys.argv[2:]],
                   b"E" + os.environb.get(b"HOSTILE", b"<none>"),
                   b"N" + os.environb.get(b"CLUSTER_JOB_NAME", b"<none>")])
with open(sys.argv[1], "wb") as file: file.write(data)
"""
SPICE = [
    "'", '"', "\n", "\r", "\t", "$(touch pwned)", "`touch pwned`", "; touch pwned;", "&&", "|", ">",
    "-", "--", "-rf /", "#SBATCH --wrap=x", "\\", "\\n", "%", "%s", "{", "}", "*", "?", "~", "!",
    " ", "\x1b[2J", "\u202e", "é", "😀", "\udcff", "\udc80", "\0", "=", ":", ",", "../", "/",
]  # fmt: skip
texts = st.lists(
    st.one_of(st.sampled_from(SPICE), st.text(max_size=8)), min_size=0, max_size=6
).map("".join)
LIMIT = 128 * 1024  # of one argument, in the kernel: a byte less and the NUL fit
many = settings(
    max_examples=60, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A queue for all examples, and a directory for what they do."""
    root = Path(os.path.realpath(tempfile.mkdtemp(prefix="hos-", dir="/tmp")))
    (root / "here").mkdir()
    yield root
    lifecycle.stop_everything(root / "q")
    for folder, folders, files in os.walk(os.fsencode(root), topdown=False):
        for file in files:
            os.unlink(os.path.join(folder, file))
        for each in folders:
            os.rmdir(os.path.join(folder, each))
    root.rmdir()


@pytest.fixture
def here(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("CLUSTER_STATE_DIR", str(place / "q"))
    monkeypatch.chdir(place / "here")
    yield place
    assert not (place / "here" / "pwned").exists()


def seen_by_job(place: Path, *args: str, **options: object) -> list[bytes] | str:
    """Run it; what the job saw, or the error that refused it."""
    file = place / "seen"
    file.unlink(missing_ok=True)
    argv = [sys.executable, "-I", "-c", LOOK, str(file), *args]
    try:
        job = cluster.submit(argv, **options)  # type: ignore[arg-type]
    except (ClusterError, ValueError) as error:
        return str(error)
    code, _, said = job.get(timeout=30)
    assert code == 0, f"{code}: {said[-300:]} {job.reason}"
    return file.read_bytes().split(b"\0")


@many
@given(args=st.lists(texts, max_size=4), value=texts)
@example(args=["x" * (LIMIT - 1)], value="")
@example(args=["x" * LIMIT], value="")
@example(args=[], value="x" * (LIMIT + 1))
@example(args=["\udcff" * 1000, "\n" * 1000], value="$(touch pwned)")
def test_arguments_and_environment(here: Path, args: list[str], value: str) -> None:
    told = seen_by_job(here, *args, env={"HOSTILE": value})

    if isinstance(told, str):
        bad = [
            text for text in (*args, value) if "\0" in text or len(os.fsencode(text)) >= LIMIT - 10
        ]
        assert bad or "surrogates" in told, told
        assert "argument" in told.lower() or "env" in told.lower() or "HOSTILE" in told
    else:
        assert told[1 : 1 + len(args)] == [b"A" + os.fsencode(arg) for arg in args]
        assert told[-2] == b"E" + os.fsencode(value)


@many
@given(name=texts)
@example(name="x" * LIMIT)
@example(name="a\n#SBATCH --wrap=touch pwned")
def test_names(here: Path, name: str) -> None:
    told = seen_by_job(here, name=name)

    if isinstance(told, str):
        assert "name" in told
        assert not name.strip() or len(name) > 1000 or any(not c.isprintable() for c in name), told
    elif name:
        assert told[-1] == b"N" + name.encode("utf-8", "surrogateescape")
        [info] = [info for info in cluster.Queue() if info.name == name][-1:]
        assert info.name == name


@many
@given(name=texts)
@example(name="\n")
@example(name="-rf")
def test_directories_and_files(here: Path, name: str) -> None:
    name = name.replace("/", "").replace("\0", "")
    folder = os.path.join(here, "dir" + name)
    try:
        os.makedirs(folder, exist_ok=True)
    except (OSError, UnicodeError):
        return  # no such directory can be
    out = "out" + name

    told = seen_by_job(here, dir=folder, outfile=out)

    if isinstance(told, str):
        assert any(word in told for word in ("dir", "outfile", "path")), told
        assert any(not char.isprintable() for char in name), told
    else:
        assert told[0] == os.fsencode(folder)
        assert os.path.isfile(os.path.join(folder, out))


@many
@given(key=texts)
def test_names_of_variables(here: Path, key: str) -> None:
    told = seen_by_job(here, env={key: "value"})

    if isinstance(told, str):
        assert not key or any(char in key for char in "=\0") or not key.isidentifier(), told
        assert "env" in told or "variable" in told
