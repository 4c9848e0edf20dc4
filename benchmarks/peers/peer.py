"""What every peer offers, in terms of `submit` and `value`; a peer overrides what it has better."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from jobs import Cannot, add_one, noop

TRUE = "/bin/true"
CORES = 2  # S has two in flight


class Peer:
    """A queue or a pool with two workers.  `handle` is whatever `value` understands."""

    def start(self) -> None:
        """Import it, and have it ready for jobs."""

    def stop(self) -> None:
        """End its processes."""

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        """Hand over one call."""
        raise Cannot("no Python calls with values")

    def value(self, handle: Any, timeout_s: float | None = None) -> Any:
        """Wait for its value, or raise."""
        raise NotImplementedError

    def submit_all(self, functions: Sequence[Callable[[], Any]]) -> list[Any]:
        """Hand over several."""
        return [self.submit(function) for function in functions]

    def calls(self, number: int) -> None:
        """W1."""
        handles = [self.submit(noop) for _ in range(number)]
        assert [self.value(handle) for handle in handles] == [7] * number

    def commands(self, number: int) -> None:
        """W2: run `/bin/true` so many times, and see each exit code."""
        raise Cannot("no commands")

    def single(self) -> None:
        """One job, from submission to its value."""
        assert self.value(self.submit(noop)) == 7

    def chain(self, links: int) -> None:
        """Jobs one after the other, each given the value of the one before."""
        number = 0
        for _ in range(links):
            number = self.value(self.submit(add_one, number))
        assert number == links


class CommandPeer(Peer):
    """Runs commands only: a single job and a link of a chain are commands too."""

    def single(self) -> None:
        """One command."""
        self.commands(1)

    def chain(self, links: int) -> None:
        """One after the other."""
        for _ in range(links):
            self.commands(1)
