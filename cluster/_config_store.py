"""The configuration files themselves: which there are, reading them, changing one safely.

It knows no setting and no profile; `config_file.py` gives the texts a meaning.
A change holds a lock, rewrites the lines it concerns, and replaces the file in
one step, so that a reader sees the old file or the new one.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.errors import ConfigError

if TYPE_CHECKING:
    from configparser import RawConfigParser

__all__ = ["Edit", "Layer", "editing", "layers", "new_parser", "stamp", "use", "write_path"]

LOCK_TIMEOUT_S = 10.0  # a change takes milliseconds; whoever holds it longer is stuck

Layer = tuple[Path, "RawConfigParser"]
_Stamp = tuple[int, int, int, int]

_explicit: Path | None = None
_read: dict[Path, tuple[_Stamp, RawConfigParser]] = {}
_warned: set[Path] = set()
_user_paths: dict[tuple[str | None, str | None], str] = {}  # a Path costs 10 us to make


def use(path: str | os.PathLike[str] | None) -> None:
    """Read this file before all others, and write to it; None takes that back."""
    global _explicit
    _explicit = None if path is None else Path(path).absolute()


def write_path() -> Path:
    """Give the file that changes go to."""
    if _explicit is not None:
        return _explicit
    named = os.environ.get("CLUSTER_CONFIG")
    return Path(named).absolute() if named else _user_path()


def _user_path() -> Path:
    if sys.platform == "linux":  # what platformdirs answers there; importing it takes 5 ms
        base = os.environ.get("XDG_CONFIG_HOME", "").strip() or "~/.config"
        folder = Path(os.path.expanduser(base)) / "cluster"
    else:
        import platformdirs

        folder = platformdirs.user_config_path("cluster")
    return folder / "cluster.cfg"


# ---------------------------------------------------------------- reading


def stamp() -> tuple[object, ...]:
    """Give something that is another when any of the files became another."""
    try:
        here = f"{os.getcwd()}/cluster.cfg"
    except FileNotFoundError:
        here = ""
    home = (os.environ.get("HOME"), os.environ.get("XDG_CONFIG_HOME"))
    if home not in _user_paths:
        _user_paths[home] = str(_user_path())
    paths = (_explicit, os.environ.get("CLUSTER_CONFIG"), here, _user_paths[home])
    return tuple((path, _signature(path)) for path in paths if path)


def _signature(path: str | Path) -> tuple[int, ...] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size, found.st_mode, found.st_uid


def layers() -> list[Layer]:
    """Give every file that exists, the strongest first.

    Raises:
        ConfigError: a file cannot be read, or is not a configuration file.
    """
    global _last_layers
    now = stamp()
    if _last_layers is None or _last_layers[0] != now:  # opening them again costs 40 us
        _last_layers = now, _read_layers()
    return list(_last_layers[1])


_last_layers: tuple[tuple[object, ...], list[Layer]] | None = None


def _read_layers() -> list[Layer]:
    named = os.environ.get("CLUSTER_CONFIG")
    paths = [(_explicit, False), (Path(named).absolute() if named else None, False)]
    paths += [(_here(), True), (_user_path(), False)]
    found: dict[Path, Layer] = {}
    for path, is_stranger in paths:
        if path is not None and path not in found:
            parser = _load(path, private=is_stranger)
            if parser is not None:
                found[path] = (path, parser)
    return list(found.values())


def _here() -> Path | None:
    try:
        return Path.cwd() / "cluster.cfg"
    except FileNotFoundError:  # the current directory was removed
        return None


def _load(path: Path, *, private: bool) -> RawConfigParser | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if private:
            return None
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    with open(fd, encoding="utf-8", errors="surrogateescape") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            return None
        if private and not _is_trusted(path, status):
            return None
        stamp = (status.st_ino, status.st_mtime_ns, status.st_size, status.st_ctime_ns)
        known = _read.get(path)
        if known is None or known[0] != stamp:
            known = _read[path] = (stamp, _parse(file.read(), path))
    return known[1]


def _is_trusted(path: Path, status: os.stat_result) -> bool:
    """A file in the current directory may be anybody's, and settings run commands."""
    if status.st_uid == os.getuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return True
    if path not in _warned:
        from cluster import logme

        _warned.add(path)
        why = "belongs to somebody else" if status.st_uid != os.getuid() else "others can write it"
        logme.log(
            f"{path} is ignored: it {why}; chmod go-w it, or name it in $CLUSTER_CONFIG", "warn"
        )
    return False


def new_parser() -> RawConfigParser:
    """Make an empty parser: no interpolation, no section that leaks into others."""
    from configparser import RawConfigParser

    return RawConfigParser(
        default_section="\0", delimiters=("=",), comment_prefixes=("#", ";"), strict=True
    )


def _parse(text: str, path: Path) -> RawConfigParser:
    from configparser import Error

    parser = new_parser()
    try:
        parser.read_string(text, str(path))
    except Error as error:
        raise ConfigError(f"{path} is not a configuration file: {error}") from None
    return parser


# ---------------------------------------------------------------- changing


class Edit:
    """The lines of a file, while they are being changed."""

    def __init__(self, text: str) -> None:
        self.lines = text.removesuffix("\n").split("\n") if text else []

    def sections(self) -> list[str]:
        """Give the names of the sections."""
        return [name for line in self.lines if (name := _header(line)) is not None]

    def add_section(self, section: str) -> None:
        """Add an empty section at the end, unless it is there."""
        if "]" in section or "\n" in section or not section.strip():
            raise ConfigError(f"{section!r} cannot name a section")
        if section not in self.sections():
            self.lines += ([""] if self.lines else []) + [f"[{section}]"]

    def set(self, section: str, key: str, text: str) -> None:
        """Set a key, in its place or at the end of its section."""
        if not re.fullmatch(r"[^\s=\[#;][^=\n\r]*", key) or key != key.strip():
            raise ConfigError(f"{key!r} cannot name a key")
        self.add_section(section)
        new = _written(key, text)
        start, end = self._span(section)
        for at in range(start, end):
            if _key(self.lines[at]) == key.lower():
                self.lines[at : self._value_end(at, end)] = new
                return
        while end > start and not self.lines[end - 1].strip():
            end -= 1
        self.lines[end:end] = new

    def remove(self, section: str, key: str | None) -> bool:
        """Remove a key or a whole section; tell whether it was there."""
        if section not in self.sections():
            return False
        start, end = self._span(section)
        if key is None:
            del self.lines[start - 1 : end]
            return True
        for at in range(start, end):
            if _key(self.lines[at]) == key.lower():
                del self.lines[at : self._value_end(at, end)]
                return True
        return False

    def _span(self, section: str) -> tuple[int, int]:
        """The lines of a section, its header left out."""
        headers = [at for at, line in enumerate(self.lines) if _header(line) is not None]
        at = next(at for at in headers if _header(self.lines[at]) == section)
        return at + 1, next((later for later in headers if later > at), len(self.lines))

    def _value_end(self, at: int, end: int) -> int:
        at += 1
        while at < end and self.lines[at][:1].isspace() and self.lines[at].strip():
            at += 1
        return at


def _header(line: str) -> str | None:
    match = re.match(r"\[(.+)\]", line)
    return match[1] if match else None


def _key(line: str) -> str | None:
    match = re.match(r"([^\s=\[#;][^=]*?)\s*=", line)
    return match[1].lower() if match else None


def _written(key: str, text: str) -> list[str]:
    first, *rest = text.split("\n")
    # A parser strips each line, and takes a line that begins with # for a comment.
    exact = all(line == line.strip() for line in (first, *rest)) and "\r" not in text
    if not exact or any(not line or line[0] in "#;" for line in rest):
        raise ConfigError(
            f"{key}: {text!r} cannot be kept in a file: a line of it is empty, a comment, "
            "or begins or ends with blanks"
        )
    return [f"{key} = {first}".rstrip(), *(f"    {line}" for line in rest)]


@contextmanager
def editing(path: Path) -> Iterator[Edit]:
    """Change a file: lock, read, let the caller change it, check, replace.

    Raises:
        ConfigError: it cannot be locked, read or written; it is unchanged then.
    """
    from filelock import FileLock, Timeout

    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with FileLock(f"{path}.lock", timeout=LOCK_TIMEOUT_S, mode=0o600):
            text = path.read_text("utf-8", "surrogateescape") if path.exists() else ""
            _parse(text, path)
            edit = Edit(text)
            yield edit
            new = "".join(f"{line}\n" for line in edit.lines)
            _parse(new, path)
            if new != text:
                _replace(path, new)
    except Timeout:
        raise ConfigError(f"{path} is being changed by another process; try again") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}") from None


def _replace(path: Path, text: str) -> None:
    # A link to a file kept elsewhere (a repository of dotfiles) stays a link.
    path = path.resolve()
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
            file.flush()
            os.fsync(fd)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
