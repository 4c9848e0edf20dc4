"""Text of job scripts: what a user named is quoted, what they wrote as shell text is not."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from cluster import files
from cluster.script import (
    Function,
    Script,
    ScriptParts,
    compose,
    module_words,
    render,
    render_function,
)


def run(text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["/bin/bash", "-c", text], capture_output=True, text=True, check=False)


class Memory(dict[str, bytes]):
    """A file system of one dict."""

    def exists(self, path: str) -> bool:
        return path in self

    def write(self, path: str, data: bytes, mode: int, replace: bool) -> None:
        self[path] = data

    def remove(self, path: str) -> bool:
        return self.pop(path, None) is not None


def test_a_command_without_surroundings_stays_as_it_is() -> None:
    assert compose("echo hi", ScriptParts()) == "echo hi\n"


def test_the_exit_code_is_the_command_s_whatever_the_epilogue_does() -> None:
    text = compose("exit 3", ScriptParts(epilogue=["echo after $CLUSTER_EXITCODE", "true"]))

    done = run(text)

    assert (done.returncode, done.stdout) == (3, "after 3\n")


def test_the_prologue_runs_in_the_shell_of_the_command() -> None:
    text = compose("greet", ScriptParts(prologue=["greet() { echo hello; }"]))

    assert run(text).stdout == "hello\n"


def test_a_machine_without_modules_runs_a_job_that_asks_for_some() -> None:
    done = run(compose("echo ran", ScriptParts(modules=["gcc/12"])))

    assert (done.returncode, done.stdout, done.stderr) == (0, "ran\n", "")


def test_modules_are_loaded_where_there_are_some() -> None:
    have = ['module() { echo module "$@"; }']
    text = "\n".join(have) + "\n" + compose("true", ScriptParts(modules=["gcc/12; echo no"]))

    assert run(text).stdout == "module load gcc/12; echo no\n"


@pytest.mark.parametrize("value", ["$(touch x)", "a b", "it's", '"', "`id`", "-n", "two\nlines"])
def test_values_of_the_environment_are_kept_verbatim(value: str) -> None:
    text = render('printf %s "$VAR"', ScriptParts(env={"VAR": value}))

    assert run(text).stdout == value


def test_a_working_directory_with_quotes_and_blanks_is_entered(tmp_path: Path) -> None:
    folder = tmp_path / 'it\'s $(a) "dir"'
    folder.mkdir()

    done = run(render("pwd", ScriptParts(cwd=str(folder))))

    assert done.stdout == f"{folder}\n"


def test_a_name_with_a_newline_cannot_leave_its_comment() -> None:
    text = render("true", ScriptParts(), title="a\n#SBATCH --wrap=evil")

    assert not any(line.startswith("#SBATCH") for line in text.splitlines())


def test_directives_stand_right_below_the_first_line() -> None:
    text = render("true", ScriptParts(directives="#SBATCH --mem=10M"))

    assert text.splitlines()[:2] == ["#!/bin/bash", "#SBATCH --mem=10M"]


def test_a_function_s_script_is_the_runner_told_where_its_files_are() -> None:
    runner = 'def main(argv): ...\n\n\nif __name__ == "__main__":\n    main(sys.argv)\n'

    text = render_function(runner, python="/usr/bin/python3", infile="/a 'in'", outfile="/out")

    assert text.splitlines()[0] == "#!/usr/bin/python3"
    assert text.endswith(
        "if __name__ == \"__main__\":\n    main([__file__, \"/a 'in'\", '/out'])\n"
    )
    assert "main(sys.argv)" not in text


def test_an_interpreter_whose_path_fits_no_first_line_gets_none() -> None:
    text = render_function("pass\n", python="/my python/bin/python", infile="i", outfile="o")

    assert text.startswith("pass\n")


def test_a_script_is_written_when_it_says_so_and_not_before() -> None:
    disk = Memory()
    script = Script("text", "/dir/a.cluster", disk)

    before = script.written
    script.write()

    assert (before, script.written, disk) == (False, True, {"/dir/a.cluster": b"text"})


def test_a_script_that_is_there_is_left_alone_without_overwrite() -> None:
    disk = Memory({"/a": b"old"})

    assert Script("new", "/a", disk).write(overwrite=False) is False
    assert disk == {"/a": b"old"}


def test_bytes_that_are_not_utf8_reach_the_file() -> None:
    disk = Memory()

    Script("echo \udcff", "/a", disk).write()

    assert disk["/a"] == b"echo \xff"


def test_a_function_writes_its_input_and_deletes_all_its_files() -> None:
    disk = Memory()
    pickle = Script(b"call", "/f.py.pickle.in", disk)
    function = Function("code", "/f.py", disk, pickle=pickle, outfile="/f.py.pickle.out")

    function.write()
    written = dict(disk)
    disk["/f.py.pickle.out"] = b"result"
    function.remove()

    assert (written, disk) == ({"/f.py": b"code", "/f.py.pickle.in": b"call"}, {})


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()

    with pytest.raises(IsADirectoryError):
        files.write_atomic(str(target), b"data")

    assert list(tmp_path.iterdir()) == [target]


def test_a_file_of_somebody_else_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"theirs")

    with pytest.raises(FileExistsError):
        files.write_atomic(str(path), b"ours", replace=False)

    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"theirs"]


@pytest.mark.parametrize(
    ("name", "stem"),
    [("a b", "a b"), ("a/b", "a_b"), ("..", "_."), ("", "job"), ("é" * 200, "é" * 90)],
)
def test_a_job_s_name_becomes_the_beginning_of_file_names(name: str, stem: str) -> None:
    assert files.safe_stem(name) == stem


def test_a_stem_is_free_when_no_file_of_a_job_has_it(tmp_path: Path) -> None:
    (tmp_path / "a.cluster").touch()
    (tmp_path / "a_2.cluster.out").touch()

    assert files.free_stem(str(tmp_path), "a", files.endings()) == "a_3"


def test_what_elements_of_an_array_wrote_is_found_by_its_name(tmp_path: Path) -> None:
    ours = {
        "a.cluster.out.3",
        "a.cluster.exit",
        "a.cluster.exit.12",
        "a_func.cluster.py.pickle.out.1",
    }
    theirs = {"a.cluster.sbatch.3", "a.out.3", "a.cluster.out.x", ".cluster.out.3"}
    for name in ours | theirs:
        (tmp_path / name).touch()

    assert {path.name for path in files.made_here(str(tmp_path))} == ours


def test_a_name_is_free_again_when_its_files_are_gone(tmp_path: Path) -> None:
    taken = [files.free_stem(str(tmp_path), "job", files.endings())]
    for _ in range(3):
        (tmp_path / f"{taken[-1]}.cluster").touch()
        taken.append(files.free_stem(str(tmp_path), "job", files.endings()))
    for path in tmp_path.iterdir():
        path.unlink()

    assert taken == ["job", "job_2", "job_3", "job_4"]
    assert files.free_stem(str(tmp_path), "job", files.endings()) == "job"


@pytest.mark.parametrize(
    ("module", "words"),
    [("purge", ["purge"]), ("-gcc", ["unload", "gcc"]), ("a b", ["load", "a", "b"])],
)
def test_modules_are_loaded_unloaded_and_purged(module: str, words: list[str]) -> None:
    assert module_words(module) == words
