"""The text of the scripts that a job may have.

Pure: values in, text out.  A `Script` writes itself only through the `Disk` it
was given.  Whatever a user named (paths, arguments, values) is quoted, so that
no shell evaluates it; only what the user wrote *as* shell text is left as it is.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

__all__ = [
    "Function",
    "Script",
    "ScriptParts",
    "compose",
    "is_name",
    "module_words",
    "quote",
    "quote_path",
    "render",
    "render_function",
    "with_epilogue",
]

_MAIN = 'if __name__ == "__main__":\n'
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def quote(text: str) -> str:
    """Write a text as one word of bash, on one line.

    A line of its own could be read by a scheduler as one of its directives.
    """
    if not _CONTROL.search(text):
        return shlex.quote(text)
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return "$'" + _CONTROL.sub(lambda match: f"\\{ord(match[0]):03o}", escaped) + "'"


def quote_path(path: str) -> str:
    """Write a path as one word of bash that no program takes for a flag."""
    return quote(f"./{path}" if path.startswith("-") else path)


def is_name(text: str) -> bool:
    """Tell whether a shell can have a variable of this name."""
    return _NAME.match(text) is not None


class Disk(Protocol):
    """What a script needs of a file system."""

    def exists(self, path: str, /) -> bool:
        """Tell whether something has this name."""
        ...

    def write(self, path: str, data: bytes, mode: int, replace: bool, /) -> None:
        """Write a whole file or nothing."""
        ...

    def remove(self, path: str, /) -> bool:
        """Delete a file; tell whether there was one."""
        ...


@dataclass
class Script:
    """One file of a job: its text, and where it stands once written.

    Attributes:
        script: the text (or, for a payload, the bytes).
        file_name: its absolute path.
    """

    script: str | bytes
    file_name: str
    disk: Disk = field(repr=False, compare=False)
    mode: int = 0o777

    @property
    def written(self) -> bool:
        """Whether the file exists."""
        return self.disk.exists(self.file_name)

    def write(self, overwrite: bool = True) -> bool:
        """Write the file; return False if it was there and `overwrite` is false."""
        if not overwrite and self.written:
            return False
        text = self.script
        data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
        self.disk.write(self.file_name, data, self.mode, overwrite)
        return True

    def remove(self) -> bool:
        """Delete the file; tell whether there was one."""
        return self.disk.remove(self.file_name)

    def __str__(self) -> str:
        """Give the text."""
        return self.script if isinstance(self.script, str) else f"<{len(self.script)} bytes>"


@dataclass
class Function(Script):
    """The Python script of a function job.

    Attributes:
        pickle: the script's input, what it calls and with what.
        outfile: path of the result that it writes.
    """

    pickle: Script | None = None
    outfile: str = ""

    def write(self, overwrite: bool = True) -> bool:
        """Write the input, then the script: a script without its input has no use."""
        if self.pickle is not None:
            self.pickle.write(overwrite)
        return super().write(overwrite)

    def remove(self) -> bool:
        """Delete script, input and result."""
        gone = [super().remove(), self.disk.remove(self.outfile)]
        if self.pickle is not None:
            gone.append(self.pickle.remove())
        return any(gone)


@dataclass(frozen=True, kw_only=True)
class ScriptParts:
    """What stands around a command in a shell script.

    Attributes:
        shell: the program that reads the script, with its flags.
        directives: the scheduler's lines, `#SBATCH --mem=10` and the like.
        cwd: working directory; empty leaves it to the scheduler.
        env, unset: what changes in the environment.
        modules: environment modules to load, when the machine has `module`.
        prologue, epilogue: shell text before and after the command.
    """

    shell: str = "/bin/bash"
    directives: str = ""
    cwd: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    unset: Sequence[str] = ()
    modules: Sequence[str] = ()
    prologue: Sequence[str] = ()
    epilogue: Sequence[str] = ()


def compose(command: str, parts: ScriptParts) -> str:
    """Put prologue and epilogue around shell text.

    The exit code is the command's, whatever the epilogue does; the epilogue
    finds it in `$CLUSTER_EXITCODE`.  The command runs in a subshell, so that
    an `exit` in it does not skip the epilogue.

    Args:
        command: shell text; `"$@"` stands for a command given apart.
    """
    lines = [_load(name) for name in parts.modules]
    lines.extend(parts.prologue)
    lines += with_epilogue(command, parts.epilogue, guarded=bool(parts.prologue))
    return "\n".join(lines) + "\n"


def with_epilogue(command: str, epilogue: Sequence[str], *, guarded: bool) -> list[str]:
    """Put an epilogue behind shell text, if there is one.

    Args:
        command, epilogue: shell text.
        guarded: what stands before may say `set -e`, which then holds in the
            command and ends neither this shell nor the epilogue.
    """
    if not epilogue:
        return [command]
    before = ["case $- in *e*) cluster_e=-e ;; *) cluster_e=+e ;; esac", "set +e"]
    inside = ['set "$cluster_e"']
    lines = [*before, "(", *inside, command, ")"] if guarded else ["(", command, ")"]
    # A warning reaches this shell too; the command gets it, for a subshell has no traps.
    lines.insert(0, "trap : USR1 USR2")
    return [*lines, "CLUSTER_EXITCODE=$?", *epilogue, 'exit "$CLUSTER_EXITCODE"']


def _load(module: str) -> str:
    # A machine without environment modules is not an error: a profile made for a
    # cluster is used on a laptop too.
    words = " ".join(module_words(module))
    return f"if command -v module >/dev/null 2>&1; then module {words}; fi"


def module_words(module: str) -> list[str]:
    """Write what `module` is told, quoted: `-name` unloads, "purge" clears, the rest is loaded."""
    if module.strip() == "purge":
        return ["purge"]
    verb, names = ("unload", module[1:]) if module.startswith("-") else ("load", module)
    return [verb, *(quote(word) for word in names.split())]


def render(command: str, parts: ScriptParts, *, title: str = "") -> str:
    """Write a whole job script.

    Args:
        command: shell text of the command itself.
        parts: what stands around it.
        title: for people, in a comment; line breaks in it are shown as such.
    """
    head = [f"#!{parts.shell}"]
    if parts.directives:
        head.append(parts.directives.rstrip("\n"))
    if title:
        head.append(f"# {title!r}"[:200] if _breaks(title) else f"# {title}")
    if parts.cwd:
        head.append(f"cd {quote_path(parts.cwd)} || exit 1")
    head += [f"unset {name}" for name in parts.unset if is_name(name)]
    head += [f"export {key}={quote(value)}" for key, value in parts.env.items() if is_name(key)]
    return "\n".join(head) + "\n" + compose(command, parts)


def _breaks(text: str) -> bool:
    return any(not char.isprintable() for char in text)


def render_function(
    runner: str,
    *,
    python: str,
    infile: str,
    outfile: str,
    sys_path: Sequence[str] = (),
    per_index: bool = False,
) -> str:
    """Write the script that makes a call: the runner itself, told where its files are.

    Args:
        runner: source of `runner.py`, which stands alone.
        python: the interpreter that made the call.
        infile, outfile: where the call is read from and the result written to.
        sys_path: where the job looks for modules before its own places.
        per_index: an array's: each element adds its index to `outfile`.
    """
    # A `#!` line ends at a blank and at 127 characters: such a path goes without.
    usable = len(python) < 120 and not any(char.isspace() for char in python)
    shebang = f"#!{python}\n" if usable else ""
    body = runner.partition(_MAIN)[0].rstrip()
    lines, result = [], repr(outfile)
    if sys_path:
        # Without the folder of this script: a file of the user's might have the
        # name of a standard module there.
        lines = [
            "here = os.path.dirname(os.path.realpath(__file__))",
            f"places = {list(sys_path)!r}",
            "sys.path[:] = places + [p for p in sys.path if p not in (here, *places)]",
        ]
    if per_index:
        lines += ['index = os.environ.get("CLUSTER_ARRAY_INDEX", "")']
        result = f'{outfile!r} + ("." + index if index else "")'
    lines += [f"main([__file__, {infile!r}, {result}])"]
    return f"{shebang}{body}\n\n\n{_MAIN}" + "".join(f"    {line}\n" for line in lines)
