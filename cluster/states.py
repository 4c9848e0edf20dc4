"""The states of a job, and the only events that change them.

Pure.  `TRANSITIONS` is the whole truth: what is legal, final or active is
computed from it, and `advance` is the only function that gives a job its next
state.  The names are Slurm's long ones; LOST is ours (the scheduler no longer
knows the job and it left no record).
"""

from __future__ import annotations

from cluster.errors import InvalidTransition

__all__ = ["ACTIVE", "ALL", "FINAL", "TRANSITIONS", "advance", "is_final"]

HELD = "HELD"
PENDING = "PENDING"
RUNNING = "RUNNING"
SUSPENDED = "SUSPENDED"
COMPLETED = "COMPLETED"
FAILED = "FAILED"
CANCELLED = "CANCELLED"
TIMEOUT = "TIMEOUT"
OUT_OF_MEMORY = "OUT_OF_MEMORY"
NODE_FAIL = "NODE_FAIL"
LOST = "LOST"

# How a process that was started can end.
_ENDS = {
    "complete": COMPLETED,
    "fail": FAILED,
    "cancel": CANCELLED,
    "time_out": TIMEOUT,
    "run_out_of_memory": OUT_OF_MEMORY,
    "lose_node": NODE_FAIL,
    "get_lost": LOST,
    "requeue": PENDING,
}

TRANSITIONS: dict[tuple[str, str], str] = {
    (HELD, "release"): PENDING,
    (HELD, "cancel"): CANCELLED,
    (PENDING, "hold"): HELD,
    (PENDING, "cancel"): CANCELLED,
    (PENDING, "start"): RUNNING,
    (RUNNING, "suspend"): SUSPENDED,
    (SUSPENDED, "resume"): RUNNING,
    (RUNNING, "recall"): PENDING,  # the order to start never reached the node
    (SUSPENDED, "recall"): PENDING,
    **{(RUNNING, event): state for event, state in _ENDS.items()},
    **{(SUSPENDED, event): state for event, state in _ENDS.items()},
}

ALL: tuple[str, ...] = (
    HELD,
    PENDING,
    RUNNING,
    SUSPENDED,
    COMPLETED,
    FAILED,
    CANCELLED,
    TIMEOUT,
    OUT_OF_MEMORY,
    NODE_FAIL,
    LOST,
)
FINAL: frozenset[str] = frozenset(ALL) - {state for state, _ in TRANSITIONS}
ACTIVE: frozenset[str] = frozenset({RUNNING, SUSPENDED})


def advance(state: str, event: str) -> str:
    """Give the state that `event` leads to.

    Raises:
        InvalidTransition: the state has no entry for this event.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise InvalidTransition(state, event) from None


def is_final(state: str) -> bool:
    """Tell whether no event can change this state any more."""
    return state in FINAL
