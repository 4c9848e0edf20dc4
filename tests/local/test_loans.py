"""What is done about loans when nobody says what should have been said."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from cluster.local import events as ev
from cluster.local.loans import LOOK_S, PATIENCE_S, Loans


def queue(
    *lenders: int,
    unblocking: tuple[int, ...] = (),
    waiting: bool = True,
    assigned: bool = False,
) -> Any:
    return SimpleNamespace(
        lenders=set(lenders),
        unblocking=dict.fromkeys(unblocking),
        waiting=[1] if waiting else [],
        assigned={2: "job"} if assigned else {},
    )


def peer(job: int, blocked: bool = True) -> Any:
    return SimpleNamespace(job=job, blocked=blocked)


def looked(queue: Any, *peers: Any) -> list[Any]:
    """Look at the same state until patience is at its end."""
    loans, events, now = Loans(), [], 0.0
    while now <= PATIENCE_S + 2 * LOOK_S:
        events += loans.look(queue, peers, now=now)
        now += LOOK_S
    return events


def test_a_loan_that_nobody_needs_any_more_is_ended() -> None:
    assert looked(queue(7)) == [ev.Unblock(None, 7)]


def test_a_job_that_still_waits_lends_again_what_another_thread_took_back() -> None:
    assert looked(queue(), peer(7), peer(7, blocked=False)) == [ev.Block(None, 7)]


def test_it_lends_again_for_jobs_that_the_node_has_in_advance_too() -> None:
    wanted = queue(waiting=False, assigned=True)

    assert looked(wanted, peer(7)) == [ev.Block(None, 7)]


def test_it_keeps_its_cores_while_nobody_else_wants_any() -> None:
    assert looked(queue(waiting=False), peer(7)) == []


def test_who_lends_and_waits_or_is_about_to_go_on_is_left_alone() -> None:
    assert looked(queue(7), peer(7)) == []
    assert looked(queue(7, unblocking=(7,))) == []


def test_a_moment_of_disagreement_is_nothing() -> None:
    loans = Loans()

    assert loans.look(queue(7), [], now=0.0) == []
    assert loans.look(queue(7), [peer(7)], now=PATIENCE_S) == []
    assert loans.look(queue(7), [], now=2 * PATIENCE_S) == []
