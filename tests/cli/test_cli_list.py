"""How much `cluster list` shows, and where."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner

from cluster.cli import list as verb
from cluster.local.wire import JobInfo


class Queue:
    def __init__(self) -> None:
        self.limits: list[int] = []

    def query(self, *, limit: int, **_: Any) -> list[JobInfo]:
        self.limits.append(limit)
        rows = [JobInfo(id=str(n), name=f"job{n}", state="PENDING") for n in range(1, 11)]
        return rows[-limit:] if limit else rows


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Queue:
    queue = Queue()
    monkeypatch.setattr(verb, "get_client", lambda: queue)
    monkeypatch.setattr(verb, "ON_SCREEN", 4)
    return queue


def listed(*argv: str) -> tuple[list[str], str]:
    done = CliRunner().invoke(verb.command, list(argv), catch_exceptions=False)
    return [line.split()[0] for line in done.stdout.splitlines()[1:]], done.stderr


def test_a_terminal_is_shown_the_newest_and_told_so(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verb, "columns_here", lambda: 80)

    ids, said = listed()

    assert ids == ["7", "8", "9", "10"]
    assert said == "The newest 4 are shown; --limit 0 lists all.\n"
    assert queue.limits == [5]  # one more, to know whether there is more
    assert listed("--limit", "0")[0] == [str(n) for n in range(1, 11)]
    assert listed("--limit", "2") == (["9", "10"], "")


def test_a_pipe_is_given_everything(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verb, "columns_here", lambda: 0)

    assert listed() == ([str(n) for n in range(1, 11)], "")
    assert queue.limits == [0]
