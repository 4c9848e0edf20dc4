"""Every code block of README.md and docs/ is run, in the order of its file.

`python` blocks of one file share a namespace, as if they stood in one script.
In `console` and `bash` blocks the lines that begin with `$ ` are run by bash; a
line that ends with a backslash goes on in the next one.  What stands below a
command is compared with what it prints, `...` standing for anything; where
nothing stands below, only its exit code counts, which must be 0.

A block is left out only by a comment before it that gives the reason:
`<!-- not run: needs Slurm -->`.

This file is also the program that runs the blocks of one file, in a process of
its own: `python tests/test_docs.py FILE`.
"""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
SHELL = ("console", "bash", "sh")
PROSE = ("text", "ini", "toml")  # shown, not run
FILE_LIMIT_S = 100
COMMAND_LIMIT_S = 60
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

_FENCE = re.compile(r"^(`{3,})([^\s`]*)\s*$")
_NOT_RUN = re.compile(r"^<!-- not run: (.+) -->$")


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, its text, the line it begins on."""

    file: Path
    line: int
    language: str
    text: str
    reason: str = ""  # why it is not run

    def __str__(self) -> str:
        return f"{self.file.name}:{self.line}"


@dataclass(frozen=True)
class Command:
    """A command of a console block and what it shall print; None: anything."""

    text: str
    shown: str | None


def blocks_of(file: Path) -> Iterator[Block]:
    """Give the fenced blocks of a file, top to bottom."""
    lines = file.read_text(encoding="utf-8").split("\n")
    at, reason = 0, ""
    while at < len(lines):
        comment, fence = _NOT_RUN.match(lines[at]), _FENCE.match(lines[at])
        if fence is None:
            reason = comment[1] if comment else reason if not lines[at].strip() else ""
            at += 1
            continue
        end = lines.index(fence[1], at + 1)
        yield Block(file, at + 1, fence[2], "\n".join(lines[at + 1 : end]) + "\n", reason)
        at, reason = end + 1, ""


def commands_of(text: str) -> list[Command]:
    """Take a console block apart."""
    commands: list[Command] = []
    for line in text.split("\n")[:-1]:
        if commands and commands[-1].text.endswith("\\"):
            commands[-1] = Command(f"{commands[-1].text}\n{line}", None)
        elif line.startswith("$ "):
            commands.append(Command(line[2:], None))
        elif commands:
            commands[-1] = Command(commands[-1].text, f"{commands[-1].shown or ''}{line}\n")
        else:
            raise ValueError(f"{line!r} stands before the first `$ `")
    return commands


# ------------------------------------------------------------------ the program


def run_file(file: Path) -> None:
    """Run the blocks of a file; raise at the first that does not do what it shows."""
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    for block in blocks_of(file):
        if block.reason:
            continue
        print(f"{block} {block.language}", file=sys.stderr, flush=True)
        if block.language == "python":
            text = "\n" * block.line + block.text  # so that a traceback names the right line
            exec(compile(text, str(file), "exec"), main.__dict__)
        elif block.language in SHELL:
            for command in commands_of(block.text):
                _run(command)


def _run(command: Command) -> None:
    print(f"  $ {command.text}", file=sys.stderr, flush=True)
    done = subprocess.run(
        ["bash", "-c", command.text],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=COMMAND_LIMIT_S,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"exit code {done.returncode}:\n{done.stdout}")
    wanted = command.shown
    if wanted is not None and not doctest.OutputChecker().check_output(wanted, done.stdout, FLAGS):
        raise SystemExit(f"shown:\n{wanted}\nprinted:\n{done.stdout}")


if __name__ == "__main__":
    del sys.path[0]  # tests/; a script of the user has nothing of ours there
    run_file(Path(sys.argv[1]))
    sys.exit()


# ------------------------------------------------------------------ the tests

import pytest  # noqa: E402  (the program above does without)

from cluster import states  # noqa: E402


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_every_block_does_what_it_shows(file: Path, state_dir: Path, tmp_path: Path) -> None:
    environment = dict(os.environ)
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    environment["CLUSTER_CONFIG"] = str(tmp_path / "config" / "cluster.cfg")
    environment["COLUMNS"] = "100"
    environment["NO_COLOR"] = "1"
    cwd = tmp_path / "cwd"
    cwd.mkdir()

    done = subprocess.run(
        [sys.executable, __file__, str(file)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=FILE_LIMIT_S,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_block_is_run_or_says_why_not(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = [block for file in FILES for block in blocks_of(file)]
    known = {"python", *SHELL, *PROSE}

    unknown = [f"{b}: {b.language!r}" for b in blocks if b.language not in known | _directives()]
    left_out = [f"  {block}: {block.reason}" for block in blocks if block.reason]

    with capsys.disabled():
        print("\nblocks of the documentation that are not run:", *left_out or ["  none"], sep="\n")
    assert unknown == []


def test_every_shell_block_has_a_command_to_run() -> None:
    shell = [b for file in FILES for b in blocks_of(file) if b.language in SHELL and not b.reason]

    assert [str(block) for block in shell if not commands_of(block.text)] == []


def test_the_page_on_states_shows_the_table_the_code_uses() -> None:
    page = (ROOT / "docs" / "states.md").read_text(encoding="utf-8")
    shown = page.split("<!-- transitions: begin -->\n")[1].split("<!-- transitions: end -->")[0]

    assert shown.strip() == _transitions().strip()


def _transitions() -> str:
    """Draw `states.TRANSITIONS`: what each state can become, and by which event."""
    rows = ["| state | event | next state |", "|---|---|---|"]
    for (state, event), target in sorted(
        states.TRANSITIONS.items(), key=lambda item: states.ALL.index(item[0][0])
    ):
        rows.append(f"| {state} | {event.replace('_', ' ')} | {target} |")
    final = ", ".join(state for state in states.ALL if state in states.FINAL)
    return "\n".join([*rows, "", f"Final: {final}."])


def _directives() -> set[str]:
    """MyST's own blocks; Sphinx checks those."""
    return {"{toctree}", "{eval-rst}", "{automodule}"}


def test_a_block_is_read_with_its_line_language_and_reason(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text(
        "# x\n\n<!-- not run: because -->\n```python\n1/0\n```\n\n```console\n$ a\n```\n"
    )

    assert list(blocks_of(file)) == [
        Block(file, 4, "python", "1/0\n", "because"),
        Block(file, 8, "console", "$ a\n"),
    ]


def test_a_console_block_is_read_as_commands_and_what_they_print() -> None:
    text = "$ one \\\n  more\nsays\nthis\n$ two\n"

    assert commands_of(text) == [
        Command("one \\\n  more", "says\nthis\n"),
        Command("two", None),
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [
        "```python\nassert 1 == 2\n```\n",
        "```console\n$ false\n```\n",
        "```console\n$ echo yes\nno\n```\n",
    ],
    ids=["a failing assertion", "a failing command", "another output"],
)
def test_a_page_that_shows_something_untrue_is_noticed(page: str, tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text(page)

    done = subprocess.run([sys.executable, __file__, str(file)], capture_output=True, check=False)

    assert done.returncode != 0
