"""What a job writes, printed while it writes.

A running job writes into a file that the queue uses again for another job once
this one has ended.  So bytes are read first and believed after: only if the
queue then says that this same attempt still runs, they were this job's.  What
is missing at the end comes from the queue's own record.

        read the file  ->  ask the queue  ->  still running?  print : drop
        ended          ->  fetch the record  ->  print what was not yet printed
"""

from __future__ import annotations

import os
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from cluster.cli.common import get_client
from cluster.errors import ClusterError, UnknownJob
from cluster.local.wire import JobInfo, Output
from cluster.states import ACTIVE, is_final

if TYPE_CHECKING:
    from cluster.cli.common import Jobs

Write = Callable[[bytes], None]

CHUNK = 1 << 20
SOONEST_S, LATEST_S = 0.02, 0.5  # between two looks at a file: short while it grows


class Tail:
    """One stream of a job, and how much of it was printed.

    Args:
        stream: "stdout" or "stderr".
        write: takes the bytes.
    """

    def __init__(self, stream: str, write: Write) -> None:
        self.stream, self._write = stream, write
        self._attempt, self._printed = 0, 0
        self._read = b""

    def read(self, job: JobInfo) -> bool:
        """Read what is new in the file of a running job; tell whether there is any."""
        if job.attempt != self._attempt:
            self._attempt, self._printed = job.attempt, 0
        self._read = read_from(getattr(job, self.stream), self._printed)
        return bool(self._read)

    def believe(self, job: JobInfo) -> None:
        """Print what was read, if the attempt it was read from still has its file."""
        if has_its_file(job) and job.attempt == self._attempt:
            self._print(self._read)

    def finish(self, job: JobInfo, output: Output) -> None:
        """Print the rest from the record of the last attempt."""
        if job.attempt != self._attempt:
            self._attempt, self._printed = job.attempt, 0
        for data in pieces(output, self._printed):
            self._print(data)

    def _print(self, data: bytes) -> None:
        if data:
            self._write(data)
            self._printed += len(data)


def has_its_file(job: JobInfo) -> bool:
    """Tell whether the job still writes where `job.stdout` says."""
    return job.state in ACTIVE or job.ending


def is_over(job: JobInfo) -> bool:
    """Tell whether the job has ended and nothing of it is left."""
    return is_final(job.state) and not job.ending


def read_from(path: bytes, offset: int) -> bytes:
    """Read a chunk of a regular file; b"" when there is none, or nothing new."""
    with suppress(OSError):
        # A named pipe must neither block us nor lose its bytes to us.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if stat.S_ISREG(os.fstat(fd).st_mode):
                return os.pread(fd, CHUNK, offset)
        finally:
            os.close(fd)
    return b""


def pieces(output: Output, offset: int = 0) -> Iterator[bytes]:
    """Give what a job wrote, from `offset` on, in chunks that fit into memory."""
    if output.data:
        yield output.data[offset:]
        return
    while output.file and (data := read_from(output.file, offset)):
        yield data
        offset += len(data)


def follow(
    client: Jobs,
    id: str,
    tails: list[Tail],
    connect: Callable[[], Jobs] = get_client,
    *,
    seen: Callable[[JobInfo], object] = lambda job: None,
) -> JobInfo:
    """Print what a job writes until nothing of it is left.

    Args:
        client: the queue.
        id: the job.
        tails: what of it to print.
        connect: gives another thread its own connection to the same queue.
        seen: told how the job is, now and then until it is over.

    Returns:
        The job as it ended.

    Raises:
        UnknownJob: there is none with this id.
    """
    end, pause = End(id, connect), SOONEST_S
    while not is_over(job := look(client, id)):
        seen(job)
        grew = False
        if has_its_file(job):
            grew = any([tail.read(job) for tail in tails])
            if grew:
                now = look(client, id)
                for tail in tails:
                    tail.believe(now)
        pause = SOONEST_S if grew else min(LATEST_S, pause * 1.5)
        end.sleep(pause)
    content = client.fetch(id)
    for tail in tails:
        tail.finish(job, getattr(content, tail.stream))
    return job


def so_far(client: Jobs, job: JobInfo, tail: Tail) -> None:
    """Print what there is of one stream of a job, running or not."""
    while has_its_file(job):
        if not tail.read(job):
            return
        job = look(client, job.id)
        tail.believe(job)
    if is_final(job.state):
        tail.finish(job, getattr(client.fetch(job.id), tail.stream))


def look(client: Jobs, id: str) -> JobInfo:
    """Ask for one job."""
    for job in client.query(ids=(id,)):
        return job
    raise UnknownJob(f"no job {id} in this queue. See which there are: cluster list --all")


class End:
    """Sleeps that are over when a job ends.

    A thread of its own waits for the end: when we are a job of the same queue,
    our cores are lent meanwhile, and not taken back for each look at a file.
    """

    def __init__(self, id: str, connect: Callable[[], Jobs] = get_client) -> None:
        self._came = threading.Event()
        threading.Thread(target=self._wait, args=(id, connect), daemon=True).start()

    def _wait(self, id: str, connect: Callable[[], Jobs]) -> None:
        # Without the queue there is nobody to tell; whoever looks will be told why.
        with suppress(ClusterError):
            for _ in connect().wait((id,)):
                self._came.set()

    def sleep(self, seconds: float) -> None:
        """Sleep so long, or until the end comes; what is left of the job then may take time."""
        if self._came.is_set():
            time.sleep(seconds)
        else:
            self._came.wait(seconds)


def to_stdout(data: bytes) -> None:
    """Print bytes as they are."""
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def to_stderr(data: bytes) -> None:
    """Print bytes as they are, on stderr."""
    sys.stderr.buffer.write(data)
    sys.stderr.buffer.flush()
