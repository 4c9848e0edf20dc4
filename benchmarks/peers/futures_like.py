"""Libraries that give a future for each call: submitit, parsl, dask, executorlib."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from jobs import add_one, by_value, noop
from peer import CORES, TRUE, Peer


class _Futures(Peer):
    def value(self, handle: Any, timeout_s: float | None = None) -> Any:
        return handle.result(timeout_s)

    def native_chain(self, links: int, submit: Callable[[Any], Any]) -> None:
        """Give each job the future of the one before."""
        number: Any = 0
        for _ in range(links):
            number = submit(number)
        assert self.value(number) == links


class Submitit(Peer):
    """`submitit.AutoExecutor(cluster="local")`; two in flight by hand, for it has no limit."""

    def start(self) -> None:
        import submitit

        by_value()
        self.submitit = submitit
        self.executor = submitit.AutoExecutor(folder="submitit", cluster="local")
        self.executor.update_parameters(timeout_min=5)

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        return self.executor.submit(function, *args)

    def value(self, handle: Any, timeout_s: float | None = None) -> Any:
        if timeout_s is not None:  # its own result() waits for ever
            deadline = time.monotonic() + timeout_s
            while not handle.done():
                if time.monotonic() > deadline:
                    raise TimeoutError("no result")
                time.sleep(0.05)
        return handle.result()

    def _in_pairs(self, number: int, function: Callable[[], Any]) -> None:
        running: list[Any] = []
        left = number
        while left or running:
            while left and len(running) < CORES:
                running.append(self.executor.submit(function))
                left -= 1
            running = [job for job in running if not job.done()]
            time.sleep(0.002)

    def calls(self, number: int) -> None:
        self._in_pairs(number, noop)

    def commands(self, number: int) -> None:
        self._in_pairs(number, self.submitit.helpers.CommandFunction([TRUE], verbose=False))


class Parsl(_Futures):
    """parsl, HighThroughputExecutor with one block of two workers on this machine."""

    def start(self) -> None:
        import parsl
        from parsl.config import Config
        from parsl.executors import HighThroughputExecutor
        from parsl.providers import LocalProvider

        logging.getLogger("parsl").setLevel(logging.CRITICAL)
        block = LocalProvider(init_blocks=1, max_blocks=1)
        executor = HighThroughputExecutor(
            label="here", provider=block, max_workers_per_node=CORES, address="127.0.0.1"
        )
        self.parsl = parsl
        self.kernel = parsl.load(Config(executors=[executor], strategy="none", usage_tracking=0))
        self._apps: dict[Any, Any] = {}

    def stop(self) -> None:
        self.kernel.cleanup()
        self.parsl.clear()

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        app = self._apps.get(function)
        if app is None:
            app = self._apps[function] = self.parsl.python_app(function)
        return app(*args)

    def chain(self, links: int) -> None:
        self.native_chain(links, lambda before: self.submit(add_one, before))

    def commands(self, number: int) -> None:
        app = self.parsl.bash_app(_true_text)
        handles = [app() for _ in range(number)]
        assert not any(handle.result() for handle in handles)


def _true_text() -> str:
    return "true"


class Dask(_Futures):
    """`distributed.LocalCluster` with two worker processes."""

    def start(self) -> None:
        import distributed

        by_value()
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        self.cluster = distributed.LocalCluster(
            n_workers=CORES, threads_per_worker=1, dashboard_address=None, silence_logs=50
        )
        self.client = distributed.Client(self.cluster)

    def stop(self) -> None:
        self.client.close()
        self.cluster.close()

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        return self.client.submit(function, *args, pure=False)

    def chain(self, links: int) -> None:
        self.native_chain(links, lambda before: self.submit(add_one, before))


class Executorlib(_Futures):
    """`executorlib.SingleNodeExecutor`: a process for each call."""

    block = False

    def start(self) -> None:
        import executorlib

        by_value()
        self.executor = executorlib.SingleNodeExecutor(
            max_workers=CORES, block_allocation=self.block
        )

    def stop(self) -> None:
        self.executor.shutdown(wait=False)

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        return self.executor.submit(function, *args)

    def chain(self, links: int) -> None:
        self.native_chain(links, lambda before: self.submit(add_one, before))


class ExecutorlibBlock(Executorlib):
    """The same with two workers that stay."""

    block = True
