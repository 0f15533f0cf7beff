"""As many sessions as the KV caches hold: what is let in, what waits, and what is learnt from episodes that ended."""

import random

import pytest

from actors.admission import Admission, Growth
from actors.routing import Router


def admission(*capacities, cap=4):
    router = Router()
    gate = Admission(router, cap=cap)
    for number, capacity in enumerate(capacities):
        gate.add(f"e{number}", capacity)
    return gate, router


def admitted(gate, tokens, most=100):
    engines = []
    while len(engines) < most and (engine := gate.admit(f"s{len(engines)}", tokens)) is not None:
        engines.append(engine)
    return engines


def test_sessions_come_in_while_their_tokens_fit():
    gate, _ = admission(1000, 500)
    engines = admitted(gate, 100)
    assert (engines.count("e0"), engines.count("e1")) == (10, 5)
    gate.end("s0")
    assert gate.admit("next", 100) == engines[0]
    assert gate.admit("one more", 100) is None


def test_sessions_that_outgrew_what_was_expected_leave_no_room():
    gate, _ = admission(1000)
    assert gate.admit("a", 100) == "e0"
    gate.note_held("e0", 950)
    assert gate.admit("b", 100) is None
    gate.note_held("e0", 900)
    assert gate.admit("b", 100) == "e0"


def test_an_episode_larger_than_the_cache_plays_alone():
    gate, _ = admission(1000)
    assert gate.admit("large", 5000) == "e0"
    assert gate.admit("small", 1) is None
    gate.end("large")
    assert gate.admit("small", 1) == "e0"


@pytest.mark.parametrize("capacity, tokens", [(None, 100), (None, None), (1000, None)])
def test_what_is_unknown_is_capped_by_number(capacity, tokens):
    gate, _ = admission(capacity, capacity, cap=4)
    engines = admitted(gate, tokens)
    assert sorted(engines) == ["e0"] * 4 + ["e1"] * 4


def test_the_number_in_flight_follows_the_engines():
    gate, router = admission(1000)
    assert len(admitted(gate, 250)) == 4
    gate.add("late", 2000)
    assert gate.admit("more", 250) == "late"
    router.drain("late")
    assert gate.admit("no more", 250) is None
    gate.remove("e0")
    assert gate.admit("no engine", 250) is None


def test_too_few_ended_episodes_say_nothing():
    growth, guessing = Growth(), Growth(first_guess=500)
    for _ in range(7):
        growth.note_ended(100)
        guessing.note_ended(100)
    assert (growth.tokens, growth.room, guessing.room) == (None, None, 500)
    guessing.note_ended(100)
    assert (guessing.tokens, guessing.room) == (100, 70)
    growth.note_ended(100)
    assert growth.tokens == 100


def test_the_short_ones_that_end_first_do_not_decide():
    """Episodes of a long-tailed size, all begun at once and growing alike: those that ended by the tenth part are the shortest."""
    rng, growth = random.Random(0), Growth()
    sizes = sorted(rng.expovariate(1 / 1000) for _ in range(2000))
    ended, running = sizes[:200], sizes[200:]
    for size in ended:
        growth.note_ended(round(size))
    growth.running_tokens = round(len(running) * ended[-1])
    of_the_ended = sum(ended) / len(ended)
    assert of_the_ended < 100
    assert 800 < growth.tokens < 1200
