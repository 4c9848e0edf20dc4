"""The table of states: final stays final, and every state can be left or is final."""

import pytest

from cluster import states
from cluster.errors import InvalidTransition

EVENTS = sorted({event for _, event in states.TRANSITIONS})


def test_the_final_states_are_those_nothing_leads_out_of():
    assert (
        frozenset(
            {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL", "LOST"}
        )
        == states.FINAL
    )


@pytest.mark.parametrize("state", sorted(states.FINAL))
@pytest.mark.parametrize("event", EVENTS)
def test_nothing_changes_a_final_state(state, event):
    with pytest.raises(InvalidTransition):
        states.advance(state, event)


def test_every_state_is_reached_from_pending_or_held():
    reached, before = {"PENDING", "HELD"}, set()
    while reached != before:
        before = set(reached)
        reached |= {to for (state, _), to in states.TRANSITIONS.items() if state in before}

    assert reached == set(states.ALL)


def test_every_target_is_a_known_state():
    assert set(states.TRANSITIONS.values()) <= set(states.ALL)


def test_a_running_job_cannot_be_held_and_the_error_says_so():
    with pytest.raises(InvalidTransition, match="a job that is RUNNING cannot hold") as caught:
        states.advance("RUNNING", "hold")

    assert (caught.value.state, caught.value.event) == ("RUNNING", "hold")


def test_only_states_with_a_process_are_active():
    assert frozenset({"RUNNING", "SUSPENDED"}) == states.ACTIVE
    assert not any(states.is_final(state) for state in states.ACTIVE)
