"""Running programs without a shell, reading compressed files, splitting files without loss."""

import bz2
import gzip
import io
import lzma
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cluster import run
from cluster.errors import OptionsError

BASH = shutil.which("bash")


# ---------------------------------------------------------------- parse_command


@pytest.mark.parametrize(
    ("text", "argv"),
    [
        ("echo hi", ["echo", "hi"]),
        ("  ls   -l  ", ["ls", "-l"]),
        ("cat 'a b' c\\ d \"e f\"", ["cat", "a b", "c d", "e f"]),
        ("echo a#b x=1 --y=~", ["echo", "a#b", "x=1", "--y=~"]),
        ("echo ''", ["echo", ""]),
    ],
)
def test_a_plain_command_is_split_and_meets_no_shell(text, argv):
    assert run.parse_command(text) == argv


@pytest.mark.parametrize(
    "text",
    [
        "a | b", "a && b", "a; b",
        "a > f", "echo $HOME", "echo `x`", "ls *.txt", "ls a?", "ls [ab]",
        "echo {a,b}", "(x)", "X=1 env", "ls ~", "a # b", "a\nb", "a\rb", "! x", "cd /x", "exit 3",
        "echo '$x'", "cat <<E\nit's\nE",
    ],
)  # fmt: skip
def test_what_a_shell_would_act_on_goes_to_bash_as_it_is(text):
    assert run.parse_command(text) == [BASH, "-c", text]


@pytest.mark.parametrize("text", ["", "  ", "echo 'a", "x\0y", "echo a\\"])
def test_what_is_no_command_is_refused(text):
    with pytest.raises(OptionsError):
        run.parse_command(text)


def test_a_quote_that_is_not_closed_is_told_with_the_text_as_it_was():
    with pytest.raises(OptionsError, match='"echo \'Not Closed" cannot be read: no closing'):
        run.parse_command("echo 'Not Closed")


@pytest.mark.timeout(10)
def test_a_long_word_is_split_in_no_time():
    assert run.parse_command("echo " + "x" * 3_000_000) == ["echo", "x" * 3_000_000]


def test_a_blank_that_is_none_to_a_shell_splits_nothing():
    assert run.parse_command("echo a\u00a0b\x0bc") == ["echo", "a\u00a0b\x0bc"]


@settings(max_examples=60)
@given(st.text("ab 'c\"\\\t=~#%^,.:-é", max_size=12))
@example("a\\\\b 'c'\\''d'")
@example("a=~")
@example("a=b:~")
def test_a_split_command_is_what_bash_would_split(text):
    try:
        argv = run.parse_command(f"printf %s: {text}")
    except OptionsError:
        return
    if argv[0] == BASH:
        return
    by_bash = subprocess.run(
        [BASH, "-c", f"printf '%s\\0' {text}"], capture_output=True, check=True
    ).stdout.decode()

    assert [*argv[2:], ""] == by_bash.split("\0") or (len(argv) == 2 and by_bash == "\0")


# ---------------------------------------------------------------- cmd


def test_a_command_gives_status_output_and_errors():
    assert run.cmd("echo hi; echo no >&2; exit 3") == (3, "hi\n", "no\n")


def test_a_list_never_meets_a_shell():
    assert run.cmd(["printf", "%s|", "$HOME", "a b", "*"]) == (0, "$HOME|a b|*|", "")


def test_arguments_are_kept_apart_from_the_program_and_each_other():
    assert run.cmd("printf", ("%s|", "hi", "there; x")) == (0, "hi|there; x|", "")
    assert run.cmd("echo", "hi") == (0, "hi\n", "")


def test_a_signal_a_missing_program_and_a_file_that_is_no_program_have_codes(tmp_path):
    (tmp_path / "data").write_text("x")

    assert run.cmd("kill -9 $$")[0] == 137
    assert run.cmd(["/nonexistent/x"]) == (127, "", "/nonexistent/x: No such file or directory\n")
    assert run.cmd([str(tmp_path / "data")])[0] == 126


def test_output_that_is_not_utf8_survives():
    _, out, _ = run.cmd(["printf", "\\377"])

    assert out.encode("utf-8", "surrogateescape") == b"\xff"


def test_output_goes_to_paths_and_open_files_too(tmp_path):
    errors = io.StringIO()

    run.cmd("echo a; echo b >&2", stdout=tmp_path / "out", stderr=errors)
    both = tmp_path / "both"
    run.cmd("echo a; echo b >&2", stdout=both, stderr=both)

    assert (tmp_path / "out").read_text() == "a\n"
    assert errors.getvalue() == "b\n"
    assert both.read_text() == "a\nb\n"


def test_it_is_tried_again_until_it_works_and_no_longer(tmp_path):
    count = tmp_path / "count"
    script = f"echo x >> {count}; test $(wc -l < {count}) -ge 2"

    assert run.cmd(script, tries=5)[0] == 0
    assert count.read_text() == "x\nx\n"
    assert run.cmd("false", tries=2)[0] == 1
    with pytest.raises(OptionsError):
        run.cmd("true", tries=0)


def test_standard_input_is_empty():
    assert run.cmd("cat") == (0, "", "")


def test_which_finds_programs_and_only_programs(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "data").write_text("")
    (tmp_path / "tool").write_text("")
    (tmp_path / "tool").chmod(0o755)

    assert run.which("tool") == str(tmp_path / "tool")
    assert run.which("data") is None


# ---------------------------------------------------------------- open_zipped


@pytest.mark.parametrize("opener", [open, gzip.open, bz2.open, lzma.open])
@pytest.mark.parametrize("name", ["f", "f.gz"])
def test_a_file_is_read_by_its_content_whatever_its_name(tmp_path, opener, name):
    with opener(tmp_path / name, "wt", encoding="utf-8") as file:
        file.write("é\nb\n")

    with run.open_zipped(tmp_path / name) as file:
        assert file.read() == "é\nb\n"


@pytest.mark.parametrize(
    ("name", "opener"), [("f.gz", gzip.open), ("f.xz", lzma.open), ("f", open)]
)
def test_a_file_is_written_by_its_suffix(tmp_path, name, opener):
    with run.open_zipped(tmp_path / name, "w") as file:
        file.write("x")

    with opener(tmp_path / name, "rt") as file:
        assert file.read() == "x"


def test_an_open_file_passes_through():
    handle = io.StringIO("x")

    assert run.open_zipped(handle) is handle


# ---------------------------------------------------------------- split_file


def test_a_file_is_split_with_its_header_in_every_piece(tmp_path):
    (tmp_path / "d.txt").write_text("h\n1\n2\n3\n")

    paths = run.split_file(tmp_path / "d.txt", 2)

    assert paths == [str(tmp_path / "d.txt.split_0001"), str(tmp_path / "d.txt.split_0002")]
    assert [Path(path).read_text() for path in paths] == ["h\n1\n2\n", "h\n3\n"]


def test_never_more_pieces_than_lines(tmp_path):
    (tmp_path / "d").write_text("h\n1\n2\n")
    (tmp_path / "empty").write_text("")

    assert len(run.split_file(tmp_path / "d", 9)) == 2
    assert len(run.split_file(tmp_path / "empty", 9)) == 1


def test_existing_pieces_are_kept(tmp_path):
    (tmp_path / "d").write_text("h\n1\n")

    first, second = run.split_file(tmp_path / "d", 1), run.split_file(tmp_path / "d", 1)

    assert [os.path.basename(path) for path in first + second] == [
        "d.split_0001", "d.1.split_0001",
    ]  # fmt: skip


def test_a_failure_leaves_no_piece_behind(tmp_path, monkeypatch):
    (tmp_path / "d").write_text("1\n2\n")
    monkeypatch.setattr(run, "_sizes", lambda lines, parts: [1, 5])

    with pytest.raises(StopIteration):
        run.split_file(tmp_path / "d", 2, keep_header=False)

    assert os.listdir(tmp_path) == ["d"]


@pytest.mark.parametrize("parts", [0, -1, True, "2"])
def test_a_bad_number_of_parts_is_refused(tmp_path, parts):
    with pytest.raises(OptionsError):
        run.split_file(tmp_path / "d", parts)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(st.binary(max_size=200), st.integers(1, 12), st.booleans(), st.booleans())
@example(b"h", 3, True, False)
@example(b"BZh", 1, False, False)
@example(b"h\na\nb", 2, True, True)
def test_the_pieces_hold_every_byte_once_and_in_order(tmp_path, data, parts, header, zipped):
    directory = tmp_path / os.urandom(8).hex()
    directory.mkdir()
    source = directory / ("d.gz" if zipped else "d")
    source.write_bytes(gzip.compress(data) if zipped else b"" + data)
    top = data[: data.find(b"\n") + 1] or data if header else b""

    pieces = [
        Path(path).read_bytes()
        for path in run.split_file(source, parts, directory / "out", keep_header=header)
    ]

    assert all(piece.startswith(top) for piece in pieces)
    assert top + b"".join(piece[len(top) :] for piece in pieces) == data
    assert len({piece.count(b"\n") for piece in pieces[:-1]}) <= 2
