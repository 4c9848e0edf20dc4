"""Small tools around programs and files: run one, find one, read and split files.

A shell runs only for a text that needs one; a list of arguments never meets it.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from cluster.errors import OptionsError

__all__ = ["cmd", "open_zipped", "parse_command", "split_file", "which"]

# Any of these means something to a shell outside (or, $ and `, inside) quotes;
# a leading NAME=value is an assignment, a leading ~ or # is not a plain word, nor is
# the ~ of name=~/x:~/y, which bash makes a directory of in arguments too.
_SHELL = re.compile(
    r"[|&;<>()$`*?\[\]{}!\n\r]|(?:^|\s)[~#]|^\s*[A-Za-z_]\w*=|(?:^|\s)[A-Za-z_]\w*\+?=(?:.*:)?~"
)
_QUOTING = re.compile(r"""["'\\]|[^\S \t]""")  # or a blank that is none to a shell
# Words that only a shell knows how to run.
_BUILTIN_WORDS = (
    ". : alias bg break case cd command continue declare do done elif else esac eval exec exit "
    "export fg fi for function getopts hash help history if in jobs let local popd pushd read "
    "readonly return select set shift shopt source then time times trap type typeset ulimit "
    "umask unalias unset until wait while"
)
_BUILTINS = frozenset(_BUILTIN_WORDS.split())
COPY_BYTES = 1 << 20
# A text may well begin with "BZh"; with the magic number of a block behind it, it does not.
_MAGIC = {
    "gz": re.compile(rb"\x1f\x8b\x08"),
    "bz2": re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)"),
    "xz": re.compile(rb"\xfd7zXZ\x00"),
}

Target = str | os.PathLike[str] | IO[Any] | None


# ---------------------------------------------------------------- programs


def parse_command(text: str) -> list[str]:
    """Turn a command line into arguments, with a shell only where one is needed.

    Without any character that a shell acts on, it is split as POSIX shells
    split words (quotes and backslashes) and run directly; else bash gets it.

    Raises:
        OptionsError: it is empty, has a NUL, or a quote is not closed.
    """
    if not text.strip() or "\0" in text:
        raise OptionsError(f"{text!r} is not a command: it is empty or has a NUL in it")
    argv: list[str] = []  # only bash can tell
    if not _SHELL.search(text):
        try:
            # shlex takes a minute for a word of 3 MB, which a plain text may well have.
            argv = shlex.split(text) if _QUOTING.search(text) else text.split()
        except ValueError as error:
            reason = str(error).lower()
            raise OptionsError(f"command {text!r} cannot be read: {reason}.") from None
    if not argv or argv[0] in _BUILTINS:
        return [which("bash") or "/bin/bash", "-c", text]
    return argv


def cmd(
    command: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    args: Any = None,
    stdout: Target = None,
    stderr: Target = None,
    tries: int = 1,
) -> tuple[int, str, str]:
    """Run a command to its end.

    Args:
        command: a list is program and arguments, never a shell's; a text with
            `args` is one program; a text alone is read by `parse_command`.
        args: one argument, or a list or tuple of them.
        stdout: a path or open file that also receives its standard output.
        stderr: the same for its standard error.
        tries: run it again, at most so many times, while its status is not 0.

    Returns:
        `(status, output, errors)` of the last try.  The status is 128 + n when
        signal n ended it, 127 when there is no such program, 126 when it
        cannot be run.  Text is UTF-8 with surrogate escapes.

    Raises:
        OptionsError: `tries` is less than 1, or `command` is empty.
    """
    if isinstance(tries, bool) or not isinstance(tries, int) or tries < 1:
        raise OptionsError(f"tries is {tries!r}; it must be 1 or more")
    argv = _argv(command, args)
    for _ in range(tries):
        status, output, errors = _run(argv)
        if status == 0:
            break
    if stdout is not None and stdout == stderr:
        _deliver(output + errors, stdout)
    else:
        _deliver(output, stdout)
        _deliver(errors, stderr)
    return status, _text(output), _text(errors)


def _argv(command: Any, args: Any) -> list[str]:
    extra = list(args) if isinstance(args, list | tuple) else [args] if args is not None else []
    if isinstance(command, list | tuple):
        words = [*command, *extra]
    elif args is None and isinstance(command, str):
        words = parse_command(command)
    else:
        words = [command, *extra]
    argv = [os.fsdecode(one) if isinstance(one, bytes | os.PathLike) else str(one) for one in words]
    if not argv or not argv[0] or any("\0" in one for one in argv):
        raise OptionsError(f"{command!r} is not a command: it is empty or has a NUL in it")
    return argv


def _run(argv: list[str]) -> tuple[int, bytes, bytes]:
    import subprocess

    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except OSError as error:
        status = 127 if isinstance(error, FileNotFoundError) else 126
        return status, b"", f"{argv[0]}: {error.strerror}\n".encode("utf-8", "surrogateescape")
    status = done.returncode if done.returncode >= 0 else 128 - done.returncode
    return status, done.stdout, done.stderr


def _deliver(output: bytes, target: Target) -> None:
    if target is None:
        return
    if isinstance(target, str | os.PathLike):
        Path(target).write_bytes(output)
    elif "b" in str(getattr(target, "mode", "")) or not hasattr(target, "encoding"):
        target.write(output)
    else:
        target.write(_text(output))


def _text(output: bytes) -> str:
    return output.decode("utf-8", "surrogateescape")


def which(program: str | os.PathLike[str]) -> str | None:
    """Find a program as the shell would; None when there is none."""
    import shutil  # where it is used: every program that submits passes through this module

    return shutil.which(os.fspath(program))


# ---------------------------------------------------------------- files


def open_zipped(infile: Any, mode: str = "r") -> Any:
    """Open a file, compressed or not, for text (or bytes, with a "b" in the mode).

    An open file is returned as it is.  Reading goes by the content, so that a
    wrong suffix does no harm; writing goes by the suffix (.gz, .bz2, .xz).

    Args:
        infile: a path or an open file.
        mode: as for `open`.
    """
    if hasattr(infile, "read") or hasattr(infile, "write"):
        return infile
    if "b" in mode:
        return _opener(infile, mode)(infile, mode)
    mode = mode if "t" in mode else mode + "t"
    return _opener(infile, mode)(infile, mode, encoding="utf-8", errors="surrogateescape")


def _opener(path: Any, mode: str) -> Any:
    import bz2
    import gzip
    import lzma

    openers = {"gz": gzip.open, "bz2": bz2.open, "xz": lzma.open}
    kind = _kind_of_content(path) if "r" in mode else os.path.splitext(os.fsdecode(path))[1][1:]
    return openers.get(kind, open)


def _kind_of_content(path: Any) -> str:
    if not os.path.isfile(path):  # a pipe gives each byte only once
        return os.path.splitext(os.fsdecode(path))[1][1:]
    with open(path, "rb") as file:
        start = file.read(10)
    return next((kind for kind, magic in _MAGIC.items() if magic.match(start)), "")


def split_file(infile: Any, parts: int, outpath: Any = "", keep_header: bool = True) -> list[str]:
    """Split a file by lines into pieces of nearly the same number of lines.

    Together the pieces hold every line once, in order; the header is in each.
    Never more pieces than lines (but one, when there is no line).  Pieces are
    not compressed.  Existing files are kept: a name that is taken is passed
    over for `<name>.1.split_0001` and so on.

    Args:
        infile: path of the file; .gz, .bz2 and .xz are read.
        parts: how many pieces.
        outpath: directory for them, made if missing; "" is that of `infile`.
        keep_header: the first line is a header and begins every piece.

    Returns:
        Paths of the pieces, in order.

    Raises:
        OptionsError: `parts` is not 1 or more.
    """
    if isinstance(parts, bool) or not isinstance(parts, int) or parts < 1:
        raise OptionsError(f"parts is {parts!r}; it must be 1 or more")
    source = Path(os.fsdecode(infile))
    directory = Path(os.fsdecode(outpath)) if outpath else source.parent
    directory.mkdir(parents=True, exist_ok=True)
    with open_zipped(source, "rb") as file:
        lines = sum(1 for _ in file) - (1 if keep_header else 0)
    sizes = _sizes(max(lines, 0), parts)
    paths = _free_names(directory, source.name, len(sizes))
    with open_zipped(source, "rb") as file:
        header = file.readline() if keep_header else b""
        _write_pieces(file, header, zip(paths, sizes, strict=True))
    return [str(path) for path in paths]


def _sizes(lines: int, parts: int) -> list[int]:
    """Share `lines` out: the sizes differ by one at most."""
    parts = max(1, min(parts, lines))
    small, larger = divmod(lines, parts)
    return [small + 1] * larger + [small] * (parts - larger)


def _free_names(directory: Path, name: str, count: int) -> list[Path]:
    tried = 0
    while True:
        stem = f"{name}.{tried}" if tried else name
        paths = [directory / f"{stem}.split_{number:04}" for number in range(1, count + 1)]
        if not any(path.exists() or path.is_symlink() for path in paths):
            return paths
        tried += 1


def _write_pieces(
    lines: Iterator[bytes], header: bytes, pieces: Iterable[tuple[Path, int]]
) -> None:
    """Write all pieces or none: those already made are removed after a failure."""
    with ExitStack() as undo:
        for path, size in pieces:
            # x: two processes that split the same file do not write into one another's.
            with open(path, "xb", buffering=COPY_BYTES) as out:
                undo.callback(path.unlink, missing_ok=True)
                out.write(header)
                for _ in range(size):
                    out.write(next(lines))
        undo.pop_all()
