"""The queue's memory on disk: one SQLite file, written by the server alone.

    request   what was asked: the spec, and how to launch it       (written once)
    job       the part that changes, one row a job, array, element (rewritten)
    content   what a job wrote                                     (written once)
    env       environments by their hash                           (shared)
    submission, runtime, meta                 retried submits, learned run times, settings

`commit` writes all changes of one turn in one transaction; with
`synchronous=FULL` an acknowledged job survives a power cut.  Nobody else opens
the file (`locking_mode=EXCLUSIVE`): everyone asks the server.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from cluster.errors import QueueError
from cluster.local import crash
from cluster.local.dependencies import element, parse_label
from cluster.local.events import Array, Changes, Job, Known
from cluster.local.queue_state import array_state
from cluster.local.rows import (
    JOB,
    array_values,
    decode_launch,
    deep,
    encode,
    exitcode,
    flat,
    job_values,
    record_of,
    request_values,
    spec_of,
    told_of,
)
from cluster.local.wire import Content, Env
from cluster.spec import JobSpec

__all__ = ["Store"]

FORMAT = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS request (id INTEGER PRIMARY KEY, spec BLOB, launch BLOB);
CREATE TABLE IF NOT EXISTS job (
  id INTEGER PRIMARY KEY, kind INTEGER, array INTEGER, state TEXT, name TEXT, namespace TEXT,
  submitted REAL, ended REAL, open INTEGER, data BLOB);
CREATE INDEX IF NOT EXISTS job_open ON job (id) WHERE open;
CREATE INDEX IF NOT EXISTS job_array ON job (array) WHERE array > 0;
CREATE INDEX IF NOT EXISTS job_ended ON job (ended) WHERE ended > 0;
CREATE TABLE IF NOT EXISTS content (
  id INTEGER PRIMARY KEY, result BLOB, result_file BLOB, stdout BLOB, stdout_file BLOB,
  stderr BLOB, stderr_file BLOB);
CREATE TABLE IF NOT EXISTS env (hash TEXT PRIMARY KEY, data BLOB) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS submission (key BLOB PRIMARY KEY, time REAL, labels BLOB) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS runtime (key TEXT PRIMARY KEY, runs BLOB) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS final (id INTEGER PRIMARY KEY, state TEXT, exitcode INTEGER);
"""
_UPSERT_JOB = """
INSERT INTO job VALUES (?,?,?,?,?,?,?,?,?,?) ON CONFLICT (id) DO UPDATE SET
  state=excluded.state, ended=excluded.ended, open=excluded.open, data=excluded.data
"""


class Store:
    """The file `queue.db`.

    Args:
        path: where it is or shall be.
        durable: survive a power cut (`synchronous=FULL`); False for private
            queues, which do not outlive their process anyway.

    Raises:
        QueueError: it was written by a newer version, is no store of ours, or
            the disk is full or not ours to write.
    """

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        self.path = path
        self._db: sqlite3.Connection
        try:
            self._db = sqlite3.connect(path, isolation_level=None, timeout=5.0)
            self._open(durable)
        except QueueError:
            self._close_quietly()
            raise
        except sqlite3.OperationalError as error:  # the system's fault, not the file's
            self._close_quietly()
            raise QueueError(
                f"the queue's store {path} cannot be opened: {error}. Nothing in it is lost;"
                " make room, or see that the directory can be written to, then try again."
            ) from error
        except sqlite3.DatabaseError as error:
            self._close_quietly()
            raise QueueError(
                f"the queue's store {path} cannot be opened: {error}. It is left as it is;"
                " move it away to begin with an empty queue."
            ) from error

    def _open(self, durable: bool) -> None:
        run = self._db.execute
        run("PRAGMA locking_mode=EXCLUSIVE")
        (found,) = run("PRAGMA user_version").fetchone()  # nothing is written before it is known
        if found > FORMAT:
            raise QueueError(
                f"the queue's store {self.path} has format {found}, this version reads up to"
                f" {FORMAT}. It is left as it is; use the newer version of cluster."
            )
        if found < FORMAT:  # else nothing is written: a full disk does not matter here
            run("PRAGMA auto_vacuum=INCREMENTAL")
        run("PRAGMA journal_mode=WAL")
        run(f"PRAGMA synchronous={'FULL' if durable else 'OFF'}")
        if found < FORMAT:
            self._db.executescript(
                f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version={FORMAT}; COMMIT"
            )

    def _close_quietly(self) -> None:
        with suppress(AttributeError, sqlite3.Error):
            self._db.close()

    def close(self) -> None:
        """Close the file; the WAL is folded in."""
        self._db.close()

    # ------------------------------------------------------------------ writing

    def commit(self, changes: Changes, now: float) -> None:
        """Write one turn, all or nothing.

        Raises:
            sqlite3.Error: nothing of the turn was written (disk full, ...).
        """
        run = self._db.execute
        run("BEGIN IMMEDIATE")
        try:
            self._write(changes, now)
            if crash.armed:
                crash.point("server.in_commit")
            run("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                run("ROLLBACK")
            raise

    def _write(self, changes: Changes, now: float) -> None:
        many = self._db.executemany
        if changes.requests:
            many(
                "INSERT INTO request VALUES (?,?,?)",
                list(request_values(changes.requests)),
            )
        if changes.updates:
            many(
                "UPDATE request SET spec=? WHERE id=?",
                [(told_of(spec), id) for id, spec in changes.updates.items()],
            )
        rows = [job_values(job) for job in changes.jobs.values()]
        rows += [array_values(array) for array in changes.arrays.values()]
        if rows:
            many(_UPSERT_JOB, rows)
        contents = [(id, *flat(c)) for id, c in changes.contents.items() if c != Content()]
        if contents:
            many("INSERT OR REPLACE INTO content VALUES (?,?,?,?,?,?,?)", contents)
        if changes.keys:
            many(
                "INSERT OR REPLACE INTO submission VALUES (?,?,?)",
                [(key, now, encode(labels)) for key, labels in changes.keys.items()],
            )
        if changes.run_times:
            many(
                "INSERT OR REPLACE INTO runtime VALUES (?,?)",
                [(key, encode(runs)) for key, runs in changes.run_times.items()],
            )
        if changes.meta:
            many(
                "INSERT OR REPLACE INTO meta VALUES (?,?)",
                [(name, encode(value)) for name, value in changes.meta.items()],
            )

    def keep_env(self, hash: str, env: Env) -> None:
        """Keep an environment; it is in the same transaction as nothing else."""
        self._db.execute("INSERT OR IGNORE INTO env VALUES (?,?)", (hash, encode(env)))
        if crash.armed:
            crash.point("server.after_env")

    # ------------------------------------------------------------------ reading

    def env(self, hash: str) -> Env | None:
        """Give an environment by its hash."""
        row = self._one("SELECT data FROM env WHERE hash=?", hash)
        return None if row is None else msgspec.msgpack.decode(row[0], type=dict[bytes, bytes])

    def launch(self, request: int) -> bytes | None:
        """Give the encoded `Launch` of a job or array."""
        row = self._one("SELECT launch FROM request WHERE id=?", request)
        return None if row is None else row[0]

    def labels(self, key: bytes) -> list[str] | None:
        """Give what an earlier submit with this key was answered."""
        row = self._one("SELECT labels FROM submission WHERE key=?", key)
        return None if row is None else msgspec.msgpack.decode(row[0], type=list[str])

    def meta(self) -> dict[str, Any]:
        """Give all settings."""
        rows = self._db.execute("SELECT name, value FROM meta")
        return {name: msgspec.msgpack.decode(value) for name, value in rows}

    def run_times(self) -> Iterator[tuple[str, int, tuple[float, ...]]]:
        """Give the learned run times: (key, cores, the last ones)."""
        for text, runs in self._db.execute("SELECT key, runs FROM runtime"):
            cores, _, key = text.partition(" ")
            yield key, int(cores), tuple(msgspec.msgpack.decode(runs, type=list[float]))

    def unfinished(self) -> tuple[list[Job], list[Array]]:
        """Give every record that is not final, as it was written.

        One that cannot be read is LOST from now on; its row is kept as it is.
        """
        rows = self._db.execute(
            "SELECT job.id, kind, data, spec FROM job LEFT JOIN request"
            " ON request.id = CASE WHEN array THEN array ELSE job.id END"
            " WHERE open ORDER BY job.id"
        )
        jobs: list[Job] = []
        arrays: list[Array] = []
        before, spec = b"", JobSpec(name="?")
        for id, kind, data, told in rows:
            if told != before:  # neighbours are often alike, elements always: they share one
                before, spec = told, spec_of(told)
            record = record_of(id, kind, data, spec)
            if isinstance(record, Array):
                arrays.append(record)
            else:
                jobs.append(record)
        return jobs, arrays

    def close_records(self, ids: Sequence[int], state: str, now: float) -> None:
        """Make records final without touching what is in them."""
        self._db.executemany(
            "UPDATE job SET state=?, ended=?, open=0 WHERE id=?",
            [(state, now, id) for id in ids],
        )

    def spec(self, request: int) -> JobSpec:
        """Give the spec of a job or array, without its launch."""
        row = self._one("SELECT spec FROM request WHERE id=?", request)
        return spec_of(None if row is None else row[0])

    def find(self, label: str) -> Job | Array | tuple[Array, int] | None:
        """Find a job, an array, or (array, index) of an element that left no row."""
        parsed = parse_label(label)
        if parsed is None:
            return None
        id, index = parsed
        row = self._one("SELECT kind, array, data FROM job WHERE id=?", id)
        if row is None or (row[1] and index is not None):
            return None
        record = record_of(id, row[0], row[2], self.spec(row[1] or id))
        if index is None:
            return record
        if not isinstance(record, Array) or record.spec.array is None:
            return None
        position = element(record.spec.array, index)
        if position is None:
            return None
        raw = id + 1 + position
        row = self._one("SELECT data FROM job WHERE id=?", raw)
        return (record, index) if row is None else record_of(raw, JOB, row[0], record.spec)

    def known(self, label: str) -> Known | None:
        """Give the final state of a job, for those who depend on it."""
        found = self.find(label)
        if isinstance(found, Job):
            return Known(found.state, found.reason, found.exitcode, found.signal)
        if isinstance(found, Array):
            return Known(array_state(found), found.reason)
        if isinstance(found, tuple):
            return Known(found[0].rest, found[0].reason)
        row = self._one("SELECT state, exitcode FROM final WHERE id=?", _number(label))
        return None if row is None else Known(row[0], "", row[1])

    def select(
        self, *, states: Sequence[str], since: float, limit: int, namespace: str, elements: bool
    ) -> list[Job | Array]:
        """Give closed records, newest last."""
        where, values = ["NOT open", "namespace=?"], [namespace]
        where.append("kind=0" if elements else "array=0")
        if states:
            where.append(f"state IN ({','.join('?' * len(states))})")
            values += states
        if since:
            where.append("(ended>=? OR submitted>=?)")
            values += [str(since), str(since)]
        text = f"SELECT kind, array, data, id FROM job WHERE {' AND '.join(where)} ORDER BY id DESC"
        if limit:
            text += f" LIMIT {int(limit)}"
        rows = self._db.execute(text, values).fetchall()
        return [
            record_of(id, kind, data, self.spec(array or id))
            for kind, array, data, id in rows[::-1]
        ]

    def elements(self, array: int) -> list[Job]:
        """Give all closed elements of an array that left a row."""
        spec = self.spec(array)
        rows = self._db.execute(
            "SELECT id, data FROM job WHERE array=? AND NOT open ORDER BY id", (array,)
        )
        return [j for id, data in rows if isinstance(j := record_of(id, JOB, data, spec), Job)]

    def content(self, id: int) -> Content:
        """Give what a job wrote; empty if it wrote nothing, or it was cleared."""
        row = self._one("SELECT * FROM content WHERE id=?", id)
        return Content() if row is None else deep(row[1:])

    def _one(self, text: str, value: Any) -> Any:
        return self._db.execute(text, (value,)).fetchone()

    # ------------------------------------------------------------------ housekeeping

    def forget(
        self, *, contents_before: float, records_before: float, limit: int
    ) -> tuple[list[bytes], bool]:
        """Drop what is older than its retention, at most `limit` rows a call.

        Final states are kept for ever.

        Returns:
            The queue's own files of dropped contents, for the caller to remove,
            and whether there is more to drop.

        Raises:
            sqlite3.Error: nothing was dropped.
        """
        with self._transaction() as run:
            old = run(
                "SELECT c.id, result_file, stdout_file, stderr_file FROM content c JOIN job j"
                " ON j.id=c.id WHERE j.ended>0 AND j.ended<? AND NOT j.open LIMIT ?",
                (contents_before, limit),
            ).fetchall()
            self._db.executemany("DELETE FROM content WHERE id=?", [(row[0],) for row in old])
            gone = run(
                "SELECT id, kind, state, data FROM job"
                " WHERE ended>0 AND ended<? AND NOT open LIMIT ?",
                (records_before, limit),
            ).fetchall()
            self._db.executemany(
                "INSERT OR REPLACE INTO final VALUES (?,?,?)",
                [(id, state, exitcode(kind, data)) for id, kind, state, data in gone],
            )
            for table in ("job", "request", "content"):
                self._db.executemany(f"DELETE FROM {table} WHERE id=?", [(r[0],) for r in gone])
            run("DELETE FROM submission WHERE time<?", (contents_before,))
        if gone or old:
            run("PRAGMA incremental_vacuum(1000)")
        files = [file for row in old for file in row[1:] if file]
        return files, limit in (len(old), len(gone))

    def forget_unused(self, *, run_times: Container[str]) -> None:
        """Drop environments that no record names, and all run times but these.

        Nobody may be connected: a client believes that what it sent is kept.

        Raises:
            sqlite3.Error: nothing was dropped.
        """
        with self._transaction() as run:
            used = {decode_launch(launch).env for (launch,) in run("SELECT launch FROM request")}
            envs = [row for row in run("SELECT hash FROM env").fetchall() if row[0] not in used]
            self._db.executemany("DELETE FROM env WHERE hash=?", envs)
            keys = run("SELECT key FROM runtime").fetchall()
            keys = [row for row in keys if row[0] not in run_times]
            self._db.executemany("DELETE FROM runtime WHERE key=?", keys)

    @contextmanager
    def _transaction(self) -> Iterator[Callable[..., sqlite3.Cursor]]:
        """All of it or nothing, and none left open: the next one could not begin."""
        run = self._db.execute
        run("BEGIN IMMEDIATE")
        try:
            yield run
            run("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                run("ROLLBACK")
            raise

    def payload_files(self, *, ended_after: float) -> set[bytes]:
        """Give the files of large arguments of jobs that are open or ended since."""
        rows = self._db.execute(
            "SELECT launch FROM request WHERE id IN"
            " (SELECT id FROM job WHERE open OR ended>=? UNION"
            "  SELECT array FROM job WHERE open AND array>0)",
            (ended_after,),
        )
        return {decode_launch(launch).payload_file for (launch,) in rows}

    def needs_output(self, id: int, file: bytes) -> bool:
        """Tell whether a file that a job wrote is its last attempt's, or may become that."""
        if self._one("SELECT open FROM job WHERE id=? AND open", id) is not None:
            return True
        content = self.content(id)
        return file in (content.result.file, content.stdout.file, content.stderr.file)

    def size(self) -> int:
        """Give the size of the store in bytes, its WAL included."""
        wal = self.path.with_name(self.path.name + "-wal")
        return sum(p.stat().st_size for p in (self.path, wal) if p.exists())


def _number(label: str) -> int:
    parsed = parse_label(label)
    return -1 if parsed is None or parsed[1] is not None else parsed[0]
