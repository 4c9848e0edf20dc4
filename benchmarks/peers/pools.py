"""Process pools: the standard library's, joblib's."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from typing import Any

from jobs import noop
from peer import CORES, TRUE, Peer


def run_true() -> int:
    """What a user of a pool does with a command."""
    return subprocess.run([TRUE], capture_output=True, check=False).returncode


class ProcessPoolExecutor(Peer):
    """`concurrent.futures.ProcessPoolExecutor`."""

    def start(self) -> None:
        from concurrent.futures import ProcessPoolExecutor as Pool

        self.pool = Pool(CORES)

    def stop(self) -> None:
        self.pool.shutdown(wait=False, cancel_futures=True)

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        return self.pool.submit(function, *args)

    def value(self, handle: Any, timeout_s: float | None = None) -> Any:
        return handle.result(timeout_s)

    def commands(self, number: int) -> None:
        handles = [self.submit(run_true) for _ in range(number)]
        assert not any(self.value(handle) for handle in handles)


class FreshPool(Peer):
    """`multiprocessing.Pool(maxtasksperchild=1)`: a process for each call, without files."""

    def start(self) -> None:
        from multiprocessing import Pool

        self.pool = Pool(CORES, maxtasksperchild=1)

    def stop(self) -> None:
        self.pool.terminate()

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        return self.pool.apply_async(function, args)

    def value(self, handle: Any, timeout_s: float | None = None) -> Any:
        return handle.get(timeout_s)

    def commands(self, number: int) -> None:
        handles = [self.submit(run_true) for _ in range(number)]
        assert not any(self.value(handle) for handle in handles)


class Joblib(Peer):
    """`joblib.Parallel`, which takes a whole list and batches it by itself."""

    def start(self) -> None:
        import joblib

        self.delayed, self.parallel = joblib.delayed, joblib.Parallel(n_jobs=CORES)

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        return function, args

    def submit_all(self, functions: Sequence[Callable[[], Any]]) -> list[Any]:
        try:
            return [lambda v=v: v for v in self.parallel(self.delayed(f)() for f in functions)]
        except Exception as error:
            failed = error

            def fail() -> None:
                raise failed

            return [fail] * len(functions)

    def value(self, handle: Any, timeout_s: float | None = None) -> Any:
        if callable(handle):
            return handle()
        function, args = handle
        return self.parallel([self.delayed(function)(*args)])[0]

    def calls(self, number: int) -> None:
        assert self.parallel(self.delayed(noop)() for _ in range(number)) == [7] * number

    def commands(self, number: int) -> None:
        assert not any(self.parallel(self.delayed(run_true)() for _ in range(number)))
