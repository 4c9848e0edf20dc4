"""The node's journal: what was started, as what process, and how it ended.

    Node(boot id, pid)  one per life of a node
    Begin               before the spawn: from here on the job may run
    Spawned             the process exists
    Ended               its leader was reaped
    Acked               the server stored the exit: nothing here matters any more

Append-only, one write per record, so that it survives kill -9 of the node at
any instant; not fsynced, for after a power loss no job runs anyway.  A record
that is not whole is the last one and was never acted upon.  Recovery reads it
with `read`; the node itself reads it only to learn which slots are taken.

A power loss may take all of the journal.  So that it is not taken for a machine
on which nothing happened, a node that goes by itself says so in a file of its
own (`journal.closed`): what is not there cannot have been lost.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from cluster.local import crash

NAME = "journal"
CLOSED = "journal.closed"  # holds the boot id of the node that closed last
LONGEST_WRITE = 64 << 10  # a few records, with two paths each at most
COMPACT_BYTES = 1 << 20  # some 10,000 jobs; reading it takes a few ms
_HEAD = struct.Struct("<II")  # length, crc32
_log = logging.getLogger(__name__)

Key = tuple[int, int]  # raw job id, attempt


class _Record(msgspec.Struct, frozen=True, array_like=True):
    pass


class Node(_Record, frozen=True, tag="n"):
    """A node came to life; what follows is its own."""

    boot_id: str
    pid: int
    ticks: int


class Begin(_Record, frozen=True, tag="b"):
    """The job is about to be spawned.

    `slot` holds what it writes; `stdout`, `stderr` are files the user named.
    """

    job: int
    attempt: int
    slot: int
    kind: str
    time: float
    stdout: bytes = b""
    stderr: bytes = b""
    grace_s: float = 5.0


class Spawned(_Record, frozen=True, tag="s"):
    """The process exists; it started between `ticks` and `until` (both 0: unknown)."""

    job: int
    attempt: int
    pid: int
    ticks: int
    until: int
    time: float

    def is_process(self, pid: int, ticks: int) -> bool:
        """Tell whether a process with this pid and start is the one meant."""
        return pid == self.pid and self.ticks <= ticks <= self.until


class Ended(_Record, frozen=True, tag="e"):
    """The job's first process was reaped; fields as in `wire.Exited`."""

    job: int
    attempt: int
    status: int
    why: str
    reason: str
    started: float
    ended: float
    cpu_s: float
    peak_memory_mib: float


class Acked(_Record, frozen=True, tag="a"):
    """The server has stored the exit."""

    job: int
    attempt: int


@dataclass(slots=True)
class Entry:
    """Everything the journal says about one attempt of one job, not yet acknowledged."""

    node: Node
    begin: Begin
    spawned: Spawned | None = None
    ended: Ended | None = None


_AnyRecord = Node | Begin | Spawned | Ended | Acked
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_AnyRecord).decode


def _pack(record: _Record) -> bytes:
    body = _encode(record)
    return _HEAD.pack(len(body), zlib.crc32(body)) + body


class Journal:
    """The journal as the living node writes it.

    Opening it takes over the open entries of earlier nodes (`foreign`): their
    slots stay taken until the server acknowledges them.

    Raises:
        OSError: a record could not be written; it is then not there at all.
    """

    def __init__(self, state_dir: str, node: Node, *, compact_bytes: int = COMPACT_BYTES) -> None:
        self.path = f"{state_dir}/{NAME}"
        self._state_dir = state_dir
        self._node, self._compact_bytes = node, compact_bytes
        if was_closed(state_dir, node.boot_id):
            os.unlink(f"{state_dir}/{CLOSED}")
            _sync(state_dir)  # else a power loss could bring it back
        data = _contents(self.path)
        entries, whole = _entries_of(data)
        if whole < len(data) and not _is_cut_off(data[whole:]):
            _keep_aside(self.path, data, whole)
        self._open = {key_of(entry.begin): entry for entry in entries}
        self.foreign = frozenset(self._open)
        self._fd, self._size = -1, 0
        self._pending: list[bytes] = []
        self.compact()

    @property
    def slots(self) -> set[int]:
        """Slots of every open entry."""
        return {entry.begin.slot for entry in self._open.values()}

    def begin(self, record: Begin) -> None:
        """Write that a job is about to be spawned."""
        self._append(record)
        self._open[record.job, record.attempt] = Entry(self._node, record)

    def spawned(self, record: Spawned) -> None:
        """Write what process a job is, with the next record or `flush`.

        Were it lost, `recover` would find the process by its token.
        """
        self._open[record.job, record.attempt].spawned = record
        self._pending.append(_pack(record))

    def ended(self, record: Ended) -> None:
        """Write how a job ended."""
        self._open[record.job, record.attempt].ended = record
        self._append(record)

    def acked(self, key: Key) -> int | None:
        """Forget a job.

        Returns:
            Its slot, or None when the journal does not know the job.
        """
        entry = self._open.pop(key, None)
        if entry is None:
            return None
        self._pending.append(_pack(Acked(*key)))
        try:
            if self._size > self._compact_bytes:
                self._compact_bytes = max(self._compact_bytes, 2 * self.compact())
        except OSError:  # harmless: the server knows the job's end and ignores a second
            _log.exception("job %d.%d is acknowledged, the journal could not say so", *key)
        return entry.begin.slot

    @property
    def is_behind(self) -> bool:
        """Whether `flush` has something to write."""
        return bool(self._pending)

    def flush(self) -> None:
        """Write what waits for the next record."""
        if self._pending:
            if crash.armed:
                crash.point("node.before_flush")
            self._write(b"".join(self._pending))
            self._pending.clear()

    def _append(self, record: _Record) -> None:
        self._write(b"".join((*self._pending, _pack(record))))
        self._pending.clear()

    def _write(self, data: bytes) -> None:
        written = os.write(self._fd, data)
        if written != len(data):  # the disk is full: leave no half record behind
            os.ftruncate(self._fd, self._size)
            raise OSError(errno.ENOSPC, "no space left for the journal", self.path)
        self._size += written

    def compact(self) -> int:
        """Rewrite the journal with its open entries alone, all or nothing.

        Returns:
            Its size in bytes.
        """
        data = b"".join(map(_pack, self._records()))
        temporary = f"{self.path}.tmp"
        flags = os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_TRUNC | os.O_CLOEXEC
        fd = os.open(temporary, flags, 0o600)
        try:
            if os.write(fd, data) != len(data):
                raise OSError(errno.ENOSPC, "no space left for the journal", temporary)
            os.fsync(fd)
            if crash.armed:
                crash.point("node.before_compacted")
            os.replace(temporary, self.path)
            if crash.armed:
                crash.point("node.after_compacted")
        except BaseException:
            os.close(fd)
            raise
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._size = fd, len(data)
        self._pending.clear()  # it is among the records, or no longer open
        return len(data)

    def _records(self) -> Iterable[_Record]:
        node = None
        ours_last = sorted(self._open.values(), key=lambda entry: entry.node is self._node)
        for entry in ours_last:
            if entry.node is not node:
                node = entry.node
                yield node
            yield from filter(None, (entry.begin, entry.spawned, entry.ended))
        if node is not self._node:
            yield self._node

    def close(self) -> None:
        """Close the file, remove it if nothing in it is open, and leave word of that."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                self.flush()
                if self._open:
                    os.fsync(self._fd)
                self._leave_word()
            os.close(self._fd)
            self._fd = -1
            if not self._open:
                os.unlink(self.path)

    def _leave_word(self) -> None:
        flags = os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC
        fd = os.open(f"{self._state_dir}/{CLOSED}", flags, 0o600)
        try:
            os.write(fd, self._node.boot_id.encode())  # lost or torn, it says nothing
        finally:
            os.close(fd)


def key_of(record: Begin | Spawned | Ended | Acked) -> Key:
    """Name the job and attempt a record is about."""
    return record.job, record.attempt


def read(state_dir: str) -> list[Entry]:
    """Read the open entries, in the order they began.

    Reads as far as the records are whole; the rest is left out with a warning.
    No file means no entries.
    """
    path = f"{state_dir}/{NAME}"
    data = _contents(path)
    entries, whole = _entries_of(data)
    if whole < len(data):
        _log.warning("%s: what follows byte %d of %d is not whole", path, whole, len(data))
    return entries


def was_closed(state_dir: str, boot_id: str) -> bool:
    """Tell whether the last node of that boot went by itself: its journal is whole then."""
    return _contents(f"{state_dir}/{CLOSED}") == boot_id.encode()


def _sync(directory: str) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _contents(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""


def _keep_aside(path: str, data: bytes, whole: int) -> None:
    _log.warning("%s is not whole after byte %d; kept as %s.broken", path, whole, path)
    with open(f"{path}.broken", "wb") as file:
        file.write(data)


def _is_cut_off(rest: bytes) -> bool:
    """Tell whether this is the beginning of one write, and of nothing else.

    A node that is killed on a full disk leaves such a thing.  Nobody acted upon it.
    """
    if len(rest) > LONGEST_WRITE:
        return False
    if len(rest) >= _HEAD.size and _HEAD.unpack_from(rest)[0] <= len(rest) - _HEAD.size:
        return False  # it is all there, and wrong
    return all(_record_at(rest, at) is None for at in range(1, len(rest)))


def _entries_of(data: bytes) -> tuple[list[Entry], int]:
    """Give the open entries, and how many bytes are whole records."""
    node, at = Node("", 0, 0), 0
    found: dict[Key, Entry] = {}
    while (taken := _record_at(data, at)) is not None:
        record, at = taken
        if isinstance(record, Node):
            node = record
        elif isinstance(record, Begin):
            found[key_of(record)] = Entry(node, record)
        elif isinstance(record, Acked):
            found.pop(key_of(record), None)
        elif entry := found.get(key_of(record)):
            if isinstance(record, Spawned):
                entry.spawned = record
            else:
                entry.ended = record
    return list(found.values()), at


def _record_at(data: bytes, at: int) -> tuple[_AnyRecord, int] | None:
    if len(data) - at < _HEAD.size:
        return None
    length, check = _HEAD.unpack_from(data, at)
    start = at + _HEAD.size
    body = data[start : start + length]
    if len(body) != length or zlib.crc32(body) != check:
        return None
    try:
        return _decode(body), start + length
    except ValueError:  # msgspec's errors are ValueErrors too
        return None
