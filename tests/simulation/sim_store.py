"""The real store on a disk in memory, that fills up and forgets what was not synced."""

from __future__ import annotations

import copy
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sim_judge import Judge

from cluster.local import store as store_module
from cluster.local.events import Changes
from cluster.local.wire import Env

MEMORY = Path(":memory:")


class SimStore(store_module.Store):
    """A store whose transactions can be taken back.

    Args:
        is_durable: each commit is synced, so a power cut takes none back.
    """

    def __init__(
        self, rng: random.Random, judge: Judge, *, is_durable: bool, log: list[Any] | None = None
    ) -> None:
        super().__init__(MEMORY, durable=False)
        self._rng, self._judge, self.is_durable = rng, judge, is_durable
        self.is_full = False
        self._log: list[Any] = []
        for entry in log or ():
            self._again(entry)

    def _again(self, entry: Any) -> None:
        if isinstance(entry[0], Changes):
            super().commit(copy.deepcopy(entry[0]), entry[1])
        else:
            super().keep_env(*entry)
        self._log.append(entry)

    def commit(self, changes: Changes, now: float) -> None:
        if self.is_full:
            raise sqlite3.OperationalError("database or disk is full")
        super().commit(changes, now)
        if not self.is_durable:
            self._log.append((copy.deepcopy(changes), now))
        self._judge.committed(changes)

    def keep_env(self, hash: str, env: Env) -> None:
        if self.is_full:
            raise sqlite3.OperationalError("database or disk is full")
        super().keep_env(hash, env)
        if not self.is_durable:
            self._log.append((hash, env))

    def close(self) -> None:
        """The disk outlives who uses it."""

    def after_power_cut(self) -> SimStore:
        """Give what is on the disk afterwards: all, or the first so many turns."""
        if self.is_durable:
            return self
        kept = self._log[: self._rng.randint(max(0, len(self._log) - 6), len(self._log))]
        super().close()
        return SimStore(self._rng, self._judge, is_durable=False, log=kept)

    def really_close(self) -> None:
        super().close()


Opener = Callable[..., SimStore]
