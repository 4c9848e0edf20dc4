"""The pretended cluster behind a family's commands: its jobs, and what it has.

It speaks to the queue as any client does, in the family's namespace: it sees
and touches no job that was not submitted through that family.
"""

from __future__ import annotations

import os
import pwd
import socket
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cached_property
from hashlib import sha256
from typing import Any

import msgspec

from cluster.errors import ClusterError, QueueError
from cluster.local import environment as environments
from cluster.local.client import Client, get_client
from cluster.local.wire import JobInfo
from cluster.spec import JobSpec, Launch
from cluster.states import FINAL

__all__ = ["Extra", "Machine", "Row"]

_encode = msgspec.msgpack.Encoder().encode
_LATELY_S = 1.0
_capacities: dict[str, tuple[float, dict[str, int]]] = {}
_NAMES = ("cores", "memory_mib", "gpus")


class Extra(msgspec.Struct, omit_defaults=True):
    """What a family keeps with a job, beside what the queue keeps.

    Attributes:
        partition, account, comment: as they were given, or by default.
        cores, memory_mib, gpus, nodes, tasks: as they were asked for; what the
            queue was asked for may be less, see `Machine.submit`.
        command: what was submitted, for people.
        cwd: where it was submitted from.
        script: path of the copy of the script; empty if there is none.
        submit: the command line that submitted it.
        options: the family's own, by its own names.
    """

    partition: str = ""
    account: str = ""
    comment: str = ""
    cores: int = 1
    memory_mib: int = 0
    gpus: int = 0
    nodes: int = 1
    tasks: int = 1
    command: str = ""
    cwd: str = ""
    script: str = ""
    submit: str = ""
    options: dict[str, str] = {}


_decode = msgspec.msgpack.Decoder(Extra).decode


def _text(value: Any) -> Any:
    """Show bytes that are no UTF-8 as such: what is kept is for people."""
    if not isinstance(value, str) or value.isascii():
        return value
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _plain(extra: Extra) -> Extra:
    fields = {name: _text(value) for name, value in msgspec.structs.asdict(extra).items()}
    fields["options"] = {name: _text(value) for name, value in extra.options.items()}
    return Extra(**fields)


class Row:
    """A job, or an element of an array, as a family's commands list it.

    Attributes:
        info: what the queue knows.
        extra: what the family keeps.
        array: id of its array, or its own; `index` None outside an array.
        raw: the number that is its alone, for elements too.
    """

    def __init__(self, info: JobInfo) -> None:
        self.info = info
        self.extra = _decode(info.extra) if info.extra else Extra()
        head, _, tail = info.id.partition("_")
        self.array = int(head)
        self.index: int | None = int(tail) if tail else None
        self.is_array = bool(info.counts)

    @property
    def id(self) -> str:
        """As the queue has it: "17", "17_3"."""
        return self.info.id

    @property
    def done(self) -> bool:
        """Whether it is final, and nothing of it lives any more."""
        return self.info.state in FINAL and not self.info.ending


class Machine:
    """The queue, as one family sees it.  One per call.

    Args:
        state_dir: of the queue.
        family: whose namespace.
    """

    def __init__(self, state_dir: str, family: str) -> None:
        self.state_dir, self.family = state_dir, family

    @property
    def client(self) -> Client:
        """This thread's connection to the queue."""
        return get_client(self.state_dir)

    # ------------------------------------------------------------ what there is

    @cached_property
    def host(self) -> str:
        """Name of the only node, without its domain."""
        return socket.gethostname().partition(".")[0]

    @cached_property
    def user(self) -> str:
        """Who owns everything here."""
        with suppress(KeyError):
            return pwd.getpwuid(os.getuid()).pw_name
        return str(os.getuid())

    def capacity(self) -> dict[str, int]:
        """Give what the queue shares out: cores, memory_mib, gpus, named consumables."""
        return self._status("capacity")

    def free(self) -> dict[str, int]:
        """Give what of it no job holds at the moment."""
        return self._status("free")

    def _status(self, key: str) -> dict[str, int]:
        try:
            status = self.client.control("status")
        except ClusterError:
            self.client.query([])  # a question for the status starts no server, this does
            status = self.client.control("status")
        return dict(status[key])

    def _lately(self) -> dict[str, int]:
        """Give the capacity as it was a moment ago: a pipeline submits hundreds of jobs."""
        known = _capacities.get(self.state_dir)
        if known is None or time.monotonic() - known[0] > _LATELY_S:
            known = _capacities[self.state_dir] = time.monotonic(), self.capacity()
        return known[1]

    # ------------------------------------------------------------ jobs

    def submit(
        self,
        launch: Launch,
        spec: dict[str, Any],
        extra: Extra,
        env: dict[bytes, bytes],
        *,
        clamp: bool,
    ) -> str:
        """Queue one job, or one array.

        Args:
            launch: how it is started; its `env` is set here.
            spec: fields of `JobSpec`, but for `launch`, `namespace` and `extra`.
            extra: is kept with it.
            env: its environment.
            clamp: cores, memory and gpus beyond the machine become what the
                machine has; else that is an error.

        Returns:
            Its id.

        Raises:
            Unsatisfiable: the machine is too small.
            UnknownDependency: a job it waits for does not exist.
            QueueError: the queue could not take it.
        """
        fields = {name: _text(value) for name, value in spec.items()}
        if clamp and any(fields.get(name, 0) > (name == "cores") for name in _NAMES):
            there = self._lately()
            for name in _NAMES:
                if fields.get(name):
                    fields[name] = min(fields[name], there.get(name, 0))
        hash, known = environments.environment(env)
        made = msgspec.structs.replace(launch, env=hash)
        job = JobSpec(
            namespace=self.family,
            extra=_encode(_plain(extra)),
            launch=msgspec.Raw(_encode(made)),
            **fields,
        )
        (id,) = self.client.submit([job], {hash: known})
        return id

    def rows(
        self,
        ids: Iterable[str] | None = None,
        *,
        states: Sequence[str] = (),
        since: float = 0.0,
        elements: bool = False,
        limit: int = 0,
        folded: bool = False,
    ) -> list[Row]:
        """Give jobs by id, or by the other fields (see `wire.Query`), ordered by id.

        Ids that the family does not have are left out.
        """
        found = self.client.query(
            None if ids is None else list(ids),
            states=states,
            since=since,
            elements=elements,
            limit=limit,
            namespace=self.family,
            folded=folded,
        )
        return [Row(info) for info in found if info.namespace == self.family]

    def row(self, id: str) -> Row | None:
        """Give one job, array or element; None if the family has none of this id."""
        return next(iter(self.rows([id])), None)

    def act(self, verb: str, ids: Sequence[str], number: int = 0) -> dict[str, str]:
        """Do a verb of the queue to jobs of this family; others are left alone."""
        ours = [row.id for row in self.rows(ids)]
        return self.client.act(verb, ours, number) if ours else {}

    def keep(self, id: str, extra: Extra, **fields: Any) -> dict[str, str]:
        """Change what is kept with a job, and what it asked for (see `wire.Update`)."""
        told = {name: _text(value) for name, value in fields.items()}
        return self.client.update([id], extra=_encode(_plain(extra)), **told)

    def wait(self, ids: Sequence[str], timeout: float | None = None) -> None:
        """Block until jobs are final.

        Raises:
            WaitTimeout: they were not in time.
        """
        for _ in self.client.wait(ids, timeout=timeout):
            pass

    # ------------------------------------------------------------ scripts

    def spool(self, script: bytes, name: str) -> bytes:
        """Keep a copy of a script as it is now; the same text is kept once.

        Args:
            script: its text.
            name: what `$0` shall end with.

        Returns:
            The path of the copy, executable.

        Raises:
            QueueError: it cannot be written.
        """
        key = sha256(script).hexdigest()[:20]
        folder = os.path.join(self.state_dir, "emulation", "spool", key)
        path = os.path.join(folder, name)
        try:
            os.makedirs(folder, mode=0o700, exist_ok=True)
            if not os.path.exists(path):
                from cluster.files import write_atomic

                write_atomic(path, script, mode=0o700)
            os.utime(folder)
        except OSError as error:
            raise QueueError(f"the script cannot be kept: {error.strerror} ({path})") from error
        return os.fsencode(path)
