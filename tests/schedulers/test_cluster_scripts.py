"""The scripts of cluster jobs, run by bash as a scheduler would run them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster import payload
from cluster.errors import OptionsError
from cluster.schedulers import cluster_scripts, exit_record
from cluster.schedulers.base import Call, Command, Request, Scripts
from cluster.schedulers.dialect import Outputs
from cluster.schedulers.exit_record import ExitRecord
from cluster.spec import ArraySpec

END_S = 60.0


class Plain:
    """A scheduler of this test: what the scripts need of a dialect."""

    title, prefix = "Plain", "#T"
    job_id, array_index, restarts = "${T_JOB}", "${T_INDEX:-}", "${T_RESTARTS:-0}"
    redirects = False
    scrubbed: tuple[str, ...] = ()
    missing: Mapping[str, str] = {}

    def __init__(
        self,
        qtype: str = "lsf",
        *,
        reserved: tuple[int, ...] = (),
        warns: bool = False,
        guards: Sequence[tuple[str, str]] = (),
    ) -> None:
        self.qtype, self.reserved_codes, self.warns_script_only = qtype, reserved, warns
        self._guards = list(guards)

    def directives(self, request: Request, outputs: Outputs, *, mark: str) -> list[str]:
        return [f"--mark={mark}", f"-o {outputs.stdout!a}"]

    def guards(self, request: Request) -> list[tuple[str, str]]:
        return self._guards


def command(*words: str | bytes, text: str = "") -> Command:
    return Command(tuple(os.fsencode(word) for word in words), text)


def make(
    program: Command | Call,
    folder: str | bytes | Path,
    dialect: Any = None,
    *,
    stem: str = "job",
    cwd: str | bytes | Path | None = None,
    records: Mapping[str, Sequence[str]] | None = None,
    name: str = "job",
    launcher: Sequence[str] = (),
    **options: Any,
) -> Scripts:
    dumped = None
    if isinstance(program, Call):
        dumped = payload.dump(program.function, program.args, program.kwargs)
    request = Request(
        name=name, program=program, cwd=os.fsencode(cwd or folder), options=options, payload=dumped
    )
    scripts = cluster_scripts.make(
        dialect or Plain(), request, directory=os.fsdecode(folder), stem=stem, suffix="cluster",
        mark="cluster-0123456789abcdef", records=records, launcher=launcher,
    )  # fmt: skip
    for script in scripts.all():
        script.write()
    return scripts


def run(scripts: Scripts, **env: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["/bin/bash", scripts.submission.file_name], env={**os.environ, "T_JOB": "17", **env},
        capture_output=True, timeout=END_S * 2, start_new_session=True, check=False,
    )  # fmt: skip


def record(folder: str | Path, stem: str = "job", *, index: int | None = None) -> ExitRecord | None:
    path = exit_record.path_of(os.path.join(folder, f"{stem}.cluster.exit"), index)
    return exit_record.read(path, job="17", index=index)


def files_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# ---------------------------------------------------------------- how it ended


def test_a_program_that_ends_leaves_a_record_and_nothing_else(tmp_path: Path) -> None:
    before = time.time()

    done = run(make(command("true"), tmp_path))

    left = record(tmp_path)
    assert left is not None
    assert (done.returncode, left.code, left.attempt, left.signal) == (0, 0, 1, 0)
    assert before - 1 <= left.start <= left.end <= time.time() + 1
    assert left.host == os.uname().nodename
    assert files_in(tmp_path) == {"job.cluster.lsf", "job.cluster.exit"}


@pytest.mark.parametrize("code", [0, 3, 137, 255])
def test_the_script_s_exit_code_and_the_record_s_are_the_program_s(
    tmp_path: Path, code: int
) -> None:
    done = run(make(command("sh", "-c", f"exit {code}"), tmp_path))

    left = record(tmp_path)
    assert left is not None
    assert (done.returncode, left.code) == (code, code)


def test_a_program_that_a_signal_ended_has_128_and_the_signal(tmp_path: Path) -> None:
    done = run(make(command("sh", "-c", "kill -9 $$"), tmp_path))

    left = record(tmp_path)
    assert left is not None
    assert (done.returncode, left.code, left.signal) == (137, 137, 9)


def test_a_program_that_does_not_exist_ends_with_127(tmp_path: Path) -> None:
    done = run(make(command("no-such-program"), tmp_path))

    assert done.returncode == 127
    assert b"no-such-program" in done.stderr


def test_a_builtin_of_the_shell_does_not_stand_in_for_a_program(tmp_path: Path) -> None:
    done = run(make(command("ulimit", "-a"), tmp_path))

    assert done.returncode == 127


def test_a_missing_directory_is_told_and_the_program_is_not_run(tmp_path: Path) -> None:
    done = run(make(command("touch", "x"), tmp_path, cwd=tmp_path / "gone"))

    assert done.returncode == 1
    assert b"gone" in done.stderr
    assert "x" not in files_in(tmp_path)


def test_codes_that_a_scheduler_takes_for_orders_are_in_the_record_alone(tmp_path: Path) -> None:
    done = run(make(command("sh", "-c", "exit 99"), tmp_path, Plain(reserved=(99, 100))))

    left = record(tmp_path)
    assert left is not None
    assert (done.returncode, left.code) == (1, 99)


def test_what_an_earlier_attempt_left_is_gone_before_the_program_starts(tmp_path: Path) -> None:
    scripts = make(command(text="test ! -e job.cluster.exit"), tmp_path)

    first = run(scripts)
    second = run(scripts, T_RESTARTS="1")

    left = record(tmp_path)
    assert left is not None
    assert (first.returncode, second.returncode, left.attempt) == (0, 0, 2)


def test_a_record_that_cannot_be_written_changes_no_exit_code(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    scripts = make(command("sh", "-c", "rm -r ../folder; exit 3"), folder)

    done = run(scripts)

    assert done.returncode == 3
    assert b"No such file" in done.stderr


# ---------------------------------------------------------------- signals


@contextmanager
def started(scripts: Scripts, ready: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start a job's script, and go on when its program has made the file `ready`."""
    process = subprocess.Popen(
        ["/bin/bash", scripts.submission.file_name], env={**os.environ, "T_JOB": "17"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    try:
        until(ready.exists)
        yield process
    finally:
        with_group(process.pid, signal.SIGKILL)
        process.communicate()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + END_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def with_group(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, number)


# It goes on until USR1 has come and tells how often; `ready` says that it listens.
LISTENER = """
import signal, sys, time
seen = []
signal.signal(signal.SIGUSR1, lambda *a: seen.append(1))
open("ready", "w").close()
while not seen:
    time.sleep(0.01)
time.sleep(0.2)
print(len(seen), signal.getsignal(signal.SIGINT) is signal.default_int_handler)
sys.exit(5)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_a_job_that_is_ended_from_outside_leaves_no_record(tmp_path: Path, number: int) -> None:
    scripts = make(command(sys.executable, "-c", LISTENER), tmp_path)

    with started(scripts, tmp_path / "ready") as process:
        os.killpg(process.pid, number)
        process.communicate(timeout=END_S)

    assert process.returncode != 0
    assert "job.cluster.exit" not in files_in(tmp_path)


def test_the_script_outlives_a_signal_that_the_program_handles(tmp_path: Path) -> None:
    scripts = make(command(sys.executable, "-c", LISTENER), tmp_path)

    with started(scripts, tmp_path / "ready") as process:
        os.killpg(process.pid, signal.SIGUSR1)
        out, _ = process.communicate(timeout=END_S)

    left = record(tmp_path)
    assert left is not None
    assert (out, process.returncode, left.code) == (b"1 True\n", 5, 5)


def test_a_warning_to_the_script_alone_is_handed_on_to_the_program(tmp_path: Path) -> None:
    dialect = Plain(warns=True)
    scripts = make(
        command(sys.executable, "-c", LISTENER), tmp_path, dialect, signal=(signal.SIGUSR1, 60.0)
    )

    with started(scripts, tmp_path / "ready") as process:
        os.kill(process.pid, signal.SIGUSR1)
        out, _ = process.communicate(timeout=END_S)

    assert (out, process.returncode) == (b"1 True\n", 5)


@pytest.mark.parametrize("qtype", ["lsf", "slurm"])
def test_the_epilogue_runs_after_a_warning_too(tmp_path: Path, qtype: str) -> None:
    scripts = make(
        command(sys.executable, "-c", LISTENER), tmp_path, Plain(qtype, warns=True),
        signal=(signal.SIGUSR1, 60.0), epilogue='echo "after $CLUSTER_EXITCODE"',
    )  # fmt: skip

    with started(scripts, tmp_path / "ready") as process:
        os.kill(process.pid, signal.SIGUSR1)
        out, _ = process.communicate(timeout=END_S)

    assert (out, process.returncode) == (b"1 True\nafter 5\n", 5)


# ---------------------------------------------------------------- nothing is evaluated

NASTY = [
    "$(touch x)",
    "`id`",
    "a b",
    "it's",
    '"',
    "-n",
    "--",
    "two\nlines",
    "\n#T -x\n",
    "\\",
    "$'",
]
words = st.one_of(
    st.sampled_from(NASTY).map(os.fsencode),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])).map(str.encode),
    st.binary().map(lambda data: data.replace(b"\0", b"")),
)
names = words.map(lambda word: word.replace(b"/", b"")[:60]).filter(
    lambda w: w not in (b"", b".", b"..")
)


def own_directives(scripts: Scripts) -> list[str]:
    return [line for line in str(scripts.submission).split("\n") if line.startswith("#T")]


@settings(max_examples=15, deadline=None)
@given(st.lists(words, max_size=5))
def test_arguments_reach_the_program_byte_for_byte(arguments: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        scripts = make(command("/usr/bin/printf", r"<%s>", *arguments), folder)

        done = run(scripts)

    expected = b"".join(b"<" + word + b">" for word in arguments) or b"<>"
    assert (done.stdout, done.stderr, done.returncode) == (expected, b"", 0)
    assert len(own_directives(scripts)) == 2


@settings(max_examples=15, deadline=None)
@given(words, words.filter(bool), words.filter(bool))
def test_variables_reach_the_program_byte_for_byte(
    value: bytes, front: bytes, behind: bytes
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        scripts = make(
            command("/usr/bin/env", "-0"), folder,
            env={"T_SET": os.fsdecode(value)},
            env_prepend={"T_OLD": os.fsdecode(front)}, env_append={"T_NEW": os.fsdecode(behind)},
        )  # fmt: skip

        done = run(scripts, T_OLD="old")

    env = dict(line.split(b"=", 1) for line in done.stdout.split(b"\0") if line)
    assert (env[b"T_SET"], env[b"T_OLD"], env[b"T_NEW"]) == (value, front + b":old", behind)
    assert len(own_directives(scripts)) == 2


@settings(max_examples=15, deadline=None)
@given(names, names, names, st.sampled_from(["lsf", "slurm"]))
def test_paths_may_be_of_any_bytes(cwd: bytes, filedir: bytes, stem: bytes, qtype: str) -> None:
    with tempfile.TemporaryDirectory() as root:
        inside = os.path.join(os.fsencode(root), b"cwd" + cwd)
        folder = os.path.join(os.fsencode(root), b"dir" + filedir)
        os.mkdir(inside)
        os.mkdir(folder)
        scripts = make(
            command("/bin/pwd"), folder, Plain(qtype), stem=os.fsdecode(stem), cwd=inside
        )

        done = run(scripts)
        left = record(os.fsdecode(folder), os.fsdecode(stem))

    assert (done.stdout, done.stderr, done.returncode) == (inside + b"\n", b"", 0)
    assert left is not None


def test_shell_text_is_read_by_the_shell_with_its_arguments_behind_it(tmp_path: Path) -> None:
    done = run(make(command("$x", "a b", text='x=1; echo "$x" '), tmp_path))

    assert done.stdout == b"1 $x a b\n"


def test_a_line_of_the_user_s_text_is_no_directive(tmp_path: Path) -> None:
    text = "cat <<'E'\n#T --mem=1\nit's $HOME\nE"

    scripts = make(command(text=text), tmp_path, prologue="#T -x", epilogue="#T -y\necho end")
    done = run(scripts)

    assert len(own_directives(scripts)) == 2
    assert done.stdout == b"#T --mem=1\nit's $HOME\nend\n"


def test_a_directive_of_two_lines_is_refused(tmp_path: Path) -> None:
    class Careless(Plain):
        def directives(self, request: Request, outputs: Outputs, *, mark: str) -> list[str]:
            return ["-o a\n#T -x"]

    with pytest.raises(OptionsError, match="newline"):
        make(command("true"), tmp_path, Careless())


def test_a_name_cannot_leave_its_comment(tmp_path: Path) -> None:
    scripts = make(command("printenv", "CLUSTER_JOB_NAME"), tmp_path, name="a\n#T -x 'b'")

    assert run(scripts).stdout == b"a\n#T -x 'b'\n"
    assert len(own_directives(scripts)) == 2


# ---------------------------------------------------------------- surroundings


def test_a_job_finds_in_its_environment_what_a_local_one_finds(tmp_path: Path) -> None:
    scripts = make(
        command("/usr/bin/env"),
        tmp_path,
        cores=2,
        tasks=3,
        mem=10,
        env={"OPENBLAS_NUM_THREADS": "9"},
    )

    done = run(scripts, CLUSTER_ARRAY_INDEX="4")

    env = dict(line.split("=", 1) for line in done.stdout.decode().splitlines() if "=" in line)
    found = {name: env[name] for name in env if name.startswith("CLUSTER_")}
    inherited = {name: os.environ[name] for name in os.environ if name.startswith("CLUSTER_")}
    assert found == {
        **inherited, "CLUSTER_JOB_ID": "17", "CLUSTER_JOB_NAME": "job", "CLUSTER_CORES": "6",
        "CLUSTER_MEMORY_MIB": "10",
    }  # fmt: skip
    assert (env["OMP_NUM_THREADS"], env["OPENBLAS_NUM_THREADS"]) == ("2", "9")


def test_an_element_knows_its_index_and_has_its_own_record(tmp_path: Path) -> None:
    scripts = make(
        command("printenv", "CLUSTER_JOB_ID", "CLUSTER_ARRAY_INDEX"), tmp_path,
        array=ArraySpec(3, 2),
    )  # fmt: skip

    done = run(scripts, T_INDEX="4")

    assert done.stdout == b"17_4\n4\n"
    assert record(tmp_path, index=4) is not None
    assert str(scripts.submission).splitlines()[2].endswith("job.cluster.out.{index}'")


def test_variables_are_removed_and_umask_is_the_one_asked_for(tmp_path: Path) -> None:
    scripts = make(
        command(text='echo "${T_GONE-none}"; umask'), tmp_path, env_unset=["T_GONE"], umask=0o027
    )

    assert run(scripts, T_GONE="here").stdout == b"none\n0027\n"


def test_what_stands_in_front_of_a_path_is_decided_on_the_node(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    tool = tmp_path / "bin" / "cluster-test-tool"
    tool.write_text("#!/bin/sh\necho found\n")
    tool.chmod(0o755)
    scripts = make(command("cluster-test-tool"), tmp_path, env_prepend={"PATH": str(tool.parent)})

    assert run(scripts, PATH="/usr/bin:/bin").stdout == b"found\n"


def test_a_virtual_environment_is_activated(tmp_path: Path) -> None:
    scripts = make(
        command(text='echo "$VIRTUAL_ENV $PATH ${PYTHONHOME-none}"'), tmp_path, venv="/my venv"
    )

    done = run(scripts, PATH="/usr/bin:/bin", PYTHONHOME="/x")

    assert done.stdout == b"/my venv /my venv/bin:/usr/bin:/bin none\n"


def test_a_node_without_modules_says_so_and_runs_the_job(tmp_path: Path) -> None:
    done = run(make(command("echo", "ran"), tmp_path, modules=["gcc/12"]))

    assert (done.returncode, done.stdout) == (0, b"ran\n")
    assert b"no command 'module' on this machine; going on without: gcc/12" in done.stderr


def test_modules_are_loaded_and_unloaded_where_there_are_some(tmp_path: Path) -> None:
    scripts = make(command("true"), tmp_path, modules=["purge", "gcc/12; id", "-old"])

    done = run(scripts, **{"BASH_FUNC_module%%": '() { echo module "$@"\n}'})

    assert done.stdout == b"module purge\nmodule load gcc/12; id\nmodule unload old\n"


def test_the_prologue_is_read_by_the_shell_of_the_command(tmp_path: Path) -> None:
    scripts = make(command(text="greet"), tmp_path, prologue="greet() { echo hello; }")

    assert run(scripts).stdout == b"hello\n"


@pytest.mark.parametrize("qtype", ["lsf", "slurm"])
def test_the_epilogue_runs_whatever_happened_and_the_code_is_the_command_s(
    tmp_path: Path, qtype: str
) -> None:
    scripts = make(
        command(text="false; echo never"), tmp_path, Plain(qtype),
        prologue="set -eu", epilogue='echo "after $CLUSTER_EXITCODE"; true',
    )  # fmt: skip

    done = run(scripts)

    left = record(tmp_path)
    assert left is not None
    assert (done.returncode, done.stdout, left.code) == (1, b"after 1\n", 1)


def test_a_prologue_that_leaves_the_shell_leaves_a_record(tmp_path: Path) -> None:
    done = run(make(command("echo", "never"), tmp_path, prologue="exec >/dev/null; exit 4"))

    left = record(tmp_path)
    assert left is not None
    assert (done.returncode, left.code) == (4, 4)


@pytest.mark.parametrize("qtype", ["lsf", "slurm"])
def test_the_shell_is_the_one_asked_for(tmp_path: Path, qtype: str) -> None:
    scripts = make(
        command(text='echo "${BASH_VERSION-none}" it\\\'s'),
        tmp_path,
        Plain(qtype),
        shell="/bin/dash -u",
    )

    done = run(scripts)

    assert (done.stdout, done.returncode) == (b"none it's\n", 0)


def test_slurm_s_submission_runs_a_script_of_its_own(tmp_path: Path) -> None:
    scripts = make(command("echo", "hi"), tmp_path, Plain("slurm"))

    assert scripts.exec_script is not None
    assert scripts.exec_script.file_name == str(tmp_path / "job.cluster.script")
    assert "echo hi" not in str(scripts.submission)
    assert run(scripts).stdout == b"hi\n"


def test_words_of_a_launcher_stand_in_front_of_the_program(tmp_path: Path) -> None:
    plain = make(command("echo", "a b"), tmp_path, launcher=("/usr/bin/env", "X=it's"))
    text = make(command("$HOME", text="echo $X"), tmp_path, stem="b", launcher=("env", "X=1"))

    assert (run(plain).stdout, run(text).stdout) == (b"a b\n", b"1 $HOME\n")


@pytest.mark.parametrize("name", ["a.b", "1x", "", "UID"])
def test_a_variable_that_bash_cannot_set_is_refused_by_name(name: str) -> None:
    request = Request(name="x", program=command("true"), cwd=b"/", options={"env": {name: "1"}})

    (problem,) = cluster_scripts.problems(request)

    assert repr(name) in problem


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed here")
@pytest.mark.parametrize("qtype", ["lsf", "slurm"])
def test_shellcheck_has_nothing_to_say(tmp_path: Path, qtype: str) -> None:
    dialect = Plain(qtype, reserved=(99,), warns=True, guards=[("afterok", "1")])
    scripts = make(
        command("echo", "a b", "\n"), tmp_path, dialect, records={"1": ["/a b/x.exit"]},
        modules=["gcc"], venv="/v", env={"A": "b'"}, env_prepend={"PATH": "/x y"}, mem=5, cores=2,
        array=ArraySpec(1, 2), prologue="set -e", epilogue='echo "$CLUSTER_EXITCODE"',
        signal=(10, 5.0),
    )  # fmt: skip
    shell = [script for script in (scripts.submission, scripts.exec_script) if script]

    done = subprocess.run(
        ["shellcheck", "--shell=bash", *(script.file_name for script in shell)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert (done.stdout, done.returncode) == ("", 0)


# ---------------------------------------------------------------- predecessors

OK = "v=1 job=5 index=- attempt=1 code=0 start=1 end=2 host=n\n"
BAD = OK.replace("code=0", "code=3")


def after(
    tmp_path: Path, kind: str, *lines: str, patience: str = "5"
) -> tuple[int, str, ExitRecord | None]:
    paths = [tmp_path / f"before.cluster.exit.{number}" for number in range(len(lines))]
    for path, line in zip(paths, lines, strict=True):
        if line:
            path.write_text(line)
    scripts = make(
        command("echo", "ran"), tmp_path, Plain(guards=[(kind, "5")]),
        records={"5": [str(path) for path in paths]},
    )  # fmt: skip
    text = str(scripts.submission)
    assert '"$SECONDS" -ge 5 ]' in text
    scripts.submission.script = text.replace('"$SECONDS" -ge 5 ]', f'"$SECONDS" -ge {patience} ]')
    scripts.submission.write()
    done = run(scripts)
    return done.returncode, done.stdout.decode(), record(tmp_path)


@pytest.mark.parametrize(
    ("kind", "lines"),
    [("afterok", [OK]), ("afterok", [OK, OK]), ("afternotok", [BAD]), ("afternotok", [OK, BAD])],
)
def test_a_job_runs_when_its_predecessors_ended_as_it_wants(
    tmp_path: Path, kind: str, lines: list[str]
) -> None:
    code, out, left = after(tmp_path, kind, *lines)

    assert left is not None
    assert (code, out, left.unmet) == (0, "ran\n", "")


@pytest.mark.parametrize(
    ("kind", "lines"),
    [
        ("afterok", [BAD]), ("afterok", [OK, BAD]), ("afternotok", [OK]),
        ("afterok", [OK.replace("job=5", "job=6")]),
    ],
)  # fmt: skip
def test_a_job_does_nothing_when_its_dependency_cannot_hold(
    tmp_path: Path, kind: str, lines: list[str]
) -> None:
    code, out, left = after(tmp_path, kind, *lines)

    assert left is not None
    assert (code, out, left.code, left.unmet) == (1, "", 1, f"{kind}:5")


def test_a_job_may_wait_for_one_element_of_an_array(tmp_path: Path) -> None:
    before = tmp_path / "before.cluster.exit.3"
    before.write_text(OK.replace("index=-", "index=3"))
    dialect = Plain(guards=[("afterok", "5_3")])

    done = run(make(command("echo", "ran"), tmp_path, dialect, records={"5_3": [str(before)]}))

    assert done.stdout == b"ran\n"


@pytest.mark.parametrize(("kind", "unmet"), [("afterok", "afterok:5"), ("afternotok", "")])
def test_a_predecessor_without_a_record_did_not_end_well(
    tmp_path: Path, kind: str, unmet: str
) -> None:
    _, _, left = after(tmp_path, kind, "", patience="0")

    assert left is not None
    assert left.unmet == unmet


# ---------------------------------------------------------------- functions


def _add(a: int, b: int) -> int:
    return a + b


def _where() -> tuple[str, str]:
    import queue

    return os.environ["CLUSTER_JOB_ID"], queue.__file__ or ""


def value(path: str | Path) -> Any:
    return payload.value(payload.load_envelope(path))


@pytest.mark.parametrize("qtype", ["lsf", "slurm"])
def test_a_function_s_value_is_written_beside_its_script(tmp_path: Path, qtype: str) -> None:
    scripts = make(Call(_add, (2, 3)), tmp_path, Plain(qtype))

    done = run(scripts)

    assert scripts.function is not None
    assert (done.returncode, done.stderr, value(scripts.function.outfile)) == (0, b"", 5)


def test_each_element_of_a_function_has_a_result(tmp_path: Path) -> None:
    scripts = make(Call(_where), tmp_path, array=ArraySpec(0, 2))
    assert scripts.function is not None

    run(scripts, T_INDEX="0")
    run(scripts, T_INDEX="1")

    results = [value(f"{scripts.function.outfile}.{index}")[0] for index in (0, 1)]
    assert results == ["17_0", "17_1"]


def test_a_file_beside_the_script_hides_no_standard_module(tmp_path: Path) -> None:
    (tmp_path / "queue.py").write_text("raise SystemError")
    scripts = make(Call(_where), tmp_path)

    run(scripts)

    assert scripts.function is not None
    assert value(scripts.function.outfile)[1] != str(tmp_path / "queue.py")


def test_another_python_is_told_before_anything_is_unpickled(tmp_path: Path) -> None:
    scripts = make(Call(_add, (2, 3)), tmp_path)
    assert scripts.function is not None
    assert scripts.function.pickle is not None
    call = Path(scripts.function.pickle.file_name)
    data = bytearray(call.read_bytes())
    data[5] = 99  # the minor version of Python
    data[-1:] = b"garbage"
    call.write_bytes(data)

    done = run(scripts)

    assert done.returncode == 1
    assert b"Python 3.99 pickled this call" in done.stderr
    assert b"Traceback" not in done.stderr


def test_an_old_result_is_not_taken_for_a_new_one(tmp_path: Path) -> None:
    scripts = make(Call(_add, (2, 3)), tmp_path, prologue="exit 3")
    assert scripts.function is not None
    Path(scripts.function.outfile).write_bytes(b"old")

    run(scripts)

    assert not os.path.exists(scripts.function.outfile)


def test_what_a_function_is_given_can_be_read_by_its_owner_only(tmp_path: Path) -> None:
    scripts = make(Call(_add, (2, 3)), tmp_path)

    assert scripts.function is not None
    assert scripts.function.pickle is not None
    assert os.stat(scripts.function.pickle.file_name).st_mode & 0o777 == 0o600


# ---------------------------------------------------------------- reading records

LINE = "v=1 job=17 index=- attempt=2 code=137 start=1000 end=1005 host=n1\n"


def test_a_record_says_how_where_and_when() -> None:
    assert exit_record.parse(LINE.encode()) == ExitRecord(
        job="17", index=None, attempt=2, code=137, start=1000.0, end=1005.0, host="n1"
    )


@pytest.mark.parametrize(
    "text",
    ["", LINE[:-1], LINE[:30], LINE + LINE, LINE.replace("v=1", "v=2"), "code=0\n",
     LINE.replace("137", "256"), LINE.replace("code=137 ", ""), LINE + "more"],
)  # fmt: skip
def test_what_is_torn_or_foreign_is_no_record(text: str) -> None:
    assert exit_record.parse(text.encode()) is None


@pytest.mark.parametrize(
    "asked",
    [{"job": "18"}, {"index": 3}, {"attempt": 3}, {"not_before": 1000.0 + 200.0}],
)
def test_a_record_of_another_job_or_attempt_does_not_count(
    tmp_path: Path, asked: dict[str, Any]
) -> None:
    path = tmp_path / "exit"
    path.write_text(LINE)

    assert exit_record.read(str(path), **{"job": "17", **asked}) is None
    assert exit_record.read(str(path), job="17", attempt=2, not_before=1000.0) is not None


def test_neither_a_link_nor_a_pipe_is_a_record(tmp_path: Path) -> None:
    (tmp_path / "exit").write_text(LINE)
    (tmp_path / "link").symlink_to("exit")
    os.mkfifo(tmp_path / "pipe")

    found = [exit_record.read(str(tmp_path / name), job="17") for name in ("link", "pipe", "none")]

    assert found == [None, None, None]
