"""Text that a shell would make something of reaches the job byte for byte."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jobs_to_run import surroundings
from scientist import DEADLINE_S, LOOKER, Cli, look

import cluster

pytestmark = pytest.mark.slow

HOSTILE = [
    "two words", " lead", "trail ", "", "'", '"', "it's", "$(touch pwned)", "`touch pwned`",
    "${HOME}", "$HOME", "*", "?", "[a-z]*", "~", "-", "--", "-rf", "--version", "; touch pwned",
    "| touch pwned", "&", "> pwned", "a\nb", "\n", "a\tb", "\\", "\\n", "!!", "#", "%s%n",
    "{0}", "é", "日本", "a=b", "\x01\x1b[31m", "x" * 100_000,
]  # fmt: skip
RAW = [*map(os.fsencode, HOSTILE), b"\xff\xfe", b"caf\xe9", b"\x80 $(touch pwned)"]

byte_texts = st.binary(min_size=0, max_size=40).map(lambda text: text.replace(b"\0", b""))
spiced = st.one_of(byte_texts, st.sampled_from(RAW))
names = st.text(
    st.characters(exclude_characters="\n\r\0\v\f\x85\u2028\u2029", exclude_categories=["Cs"]),
    min_size=1, max_size=30,
).filter(str.strip)  # fmt: skip
few = settings(
    max_examples=12, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip


def test_every_hostile_argument_and_value_at_once(here: Path) -> None:
    env = {f"V{n}": value for n, value in enumerate(RAW)}

    seen = look(*RAW, env={k: os.fsdecode(v) for k, v in env.items()})

    assert seen["argv"] == RAW
    assert {k: seen["env"][k.encode()] for k in env} == env
    assert list(here.iterdir()) == []


def test_a_function_sees_the_same(here: Path) -> None:
    env = {f"V{n}": value for n, value in enumerate(RAW)}

    job = cluster.submit(surroundings, (RAW,), env={k: os.fsdecode(v) for k, v in env.items()})
    seen = job.get(timeout=DEADLINE_S)

    assert seen["args"] == (RAW,)
    assert {k: seen["env"][k.encode()] for k in env} == env


@few
@given(args=st.lists(spiced, max_size=5), name=names, value=spiced)
def test_any_bytes_reach_a_command(here: Path, args: list[bytes], name: str, value: bytes) -> None:
    seen = look(*args, name=name, env={"VALUE": os.fsdecode(value)})

    assert seen["argv"] == args
    assert seen["env"][b"VALUE"] == value
    assert seen["env"][b"CLUSTER_JOB_NAME"] == name.encode()


@few
@given(text=spiced.filter(lambda text: len(text) < 200))
def test_any_bytes_reach_a_command_under_a_memory_limit(here: Path, text: bytes) -> None:
    seen = look(text, env={"VALUE": os.fsdecode(text), "odd.name-1": "kept"}, mem="2G")

    assert seen["argv"] == [text]
    assert (seen["env"][b"VALUE"], seen["env"][b"odd.name-1"]) == (text, b"kept")
    assert seen["env"][b"CLUSTER_MEMORY_MIB"] == b"2048"


PLACES = [
    name for name in RAW if name and len(name) < 200 and b"/" not in name and b"\n" not in name
]


@pytest.mark.parametrize("word", PLACES, ids=repr)
def test_any_name_of_a_directory_and_a_file(here: Path, word: bytes) -> None:
    place = os.path.join(os.fsencode(here), b"d" + word)
    os.mkdir(place)

    job = cluster.submit(
        [*LOOKER, word], dir=os.fsdecode(place), outfile=os.fsdecode(word), errfile="e"
    )
    result = job.get(timeout=DEADLINE_S)

    assert ast.literal_eval(result.stdout)["cwd"] == place
    assert sorted(os.listdir(place)) == sorted([word, b"e"])
    assert not (here / "pwned").exists()


@pytest.mark.parametrize("name", [name for name in HOSTILE if name.strip() and "\n" not in name
                                  and len(name) < 1000], ids=repr)  # fmt: skip
def test_a_name_is_kept_and_never_evaluated(here: Path, name: str) -> None:
    job = cluster.submit(["true"], name=name)

    assert job.wait(timeout=DEADLINE_S)
    assert cluster.Job.load(str(job.id)).name == name
    assert list(here.iterdir()) == []


def test_the_command_line_hands_on_every_byte(here: Path, cli: Cli) -> None:
    words = [word for word in RAW if len(word) < 1000]

    id = cli.id("-n", "$(touch pwned) `x` 'q'", "-e", b"V=\xff $(touch pwned)\n", "--", *LOOKER,
                *words)  # fmt: skip
    seen = ast.literal_eval(cluster.Job.load(id).get(timeout=DEADLINE_S).stdout)

    assert seen["argv"] == words
    assert seen["env"][b"V"] == b"\xff $(touch pwned)\n"
    assert seen["env"][b"CLUSTER_JOB_NAME"] == b"$(touch pwned) `x` 'q'"
    assert list(here.iterdir()) == []


def test_the_command_line_runs_in_odd_places(here: Path, cli: Cli) -> None:
    place = os.path.join(os.fsencode(here), b"-o 'd' $(x)\xff")
    os.mkdir(place)

    id = cli.id("--cwd", place, "--outfile", b"-out \xff", "--", *LOOKER)

    assert cluster.Job.load(id).wait(timeout=DEADLINE_S)
    assert os.listdir(place) == [b"-out \xff"]


def test_a_current_directory_may_have_a_newline_in_its_name(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is asked for may not: a scheduler's directive is one line."""
    (here / "a\nb").mkdir()
    monkeypatch.chdir(here / "a\nb")

    assert look()["cwd"] == os.fsencode(here / "a\nb")
    with pytest.raises(cluster.OptionsError, match="newline"):
        cluster.submit(["true"], dir="a\nb")


def test_list_show_and_logs_survive_odd_names(here: Path, cli: Cli) -> None:
    id = cli.id("-n", "\x1b[31mred\x07 é", "--", "printf", r"\377\033[31m")
    cluster.wait(id, timeout=DEADLINE_S)

    for verb in (("list", "--all"), ("show", id), ("logs", id), ("list", "--all", "--json")):
        done = cli(*verb)
        assert (done.returncode, done.stderr) == (0, "")
        assert "\x07" not in done.stdout


def test_a_text_without_shell_syntax_is_not_evaluated_and_one_with_it_is(here: Path) -> None:
    plain = cluster.submit("printf %s 'a  b'").get(timeout=DEADLINE_S)
    shell = cluster.submit("echo $((1+1)) | tr 2 3").get(timeout=DEADLINE_S)

    assert (plain.stdout, shell.stdout) == ("a  b", "3\n")


def test_arguments_behind_a_shell_s_text_are_not_evaluated(here: Path) -> None:
    job = cluster.submit("printf '%s|' $((1+1)) x", ("$(touch pwned)", "a b", "`x`"))

    assert job.get(timeout=DEADLINE_S).stdout == "2|x|$(touch pwned)|a b|`x`|"
    assert list(here.iterdir()) == []
