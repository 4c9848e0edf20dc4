"""Orders that a node may not have heard."""

from __future__ import annotations

from cluster.local import events as ev
from cluster.local.orders import Orders
from cluster.local.resources import Allocation
from cluster.spec import JobSpec


def running(id: int, attempt: int = 1) -> dict[int, ev.Job]:
    need = (1, 0, 0)
    return {
        id: ev.Job(
            id=id, label=str(id), spec=JobSpec(name="j"), need=need, state="RUNNING",
            attempt=attempt, allocation=Allocation(need),
        )
    }  # fmt: skip


def test_to_queue_again_is_said_to_each_node_until_the_process_is_gone():
    orders, order = Orders(), ev.EndProcesses(1, 1, "requeue")
    orders.keep(order)

    said = [orders.again(running(1)) for _ in range(2)]
    orders.forget(1)

    assert said == [[order], [order]]
    assert orders.again(running(1)) == []


def test_a_signal_is_said_once_and_only_to_the_attempt_that_was_meant():
    orders, first, second = Orders(), ev.SendSignal(1, 1, 10), ev.SendSignal(2, 1, 10)
    orders.keep_signal(first)
    orders.keep_signal(second)

    said = orders.again(running(1) | running(2, attempt=2))

    assert said == [first]
    assert orders.again(running(1)) == []
