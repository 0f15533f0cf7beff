"""How requests and tokens are spread over minutes; nothing sleeps, the clock is the test's."""

import random

from hypothesis import given
from hypothesis import strategies as st

from actors.pace import Pace


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def starts_of(pace, clock, amounts, gaps):
    """(when it starts, how much) of each amount, asked for one after the other with pauses between the questions."""
    starts = []
    for amount, gap in zip(amounts, gaps, strict=True):
        clock.now += gap
        starts.append((clock.now + pace.take(amount), amount))
    return starts


def test_callers_that_come_at_once_are_spread_evenly():
    clock = Clock()
    pace = Pace(120, clock)
    assert [pace.take() for _ in range(4)] == [0, 0.5, 1.0, 1.5]
    clock.now += 60
    assert pace.take() == 0, "what was not used is no debt"
    assert pace.take() == 0.5, "and no credit"


@given(st.integers(1, 600), st.integers(0, 2**32))
def test_no_minute_starts_more_requests_than_it_may(per_minute, seed):
    rng, clock = random.Random(seed), Clock()
    n = min(3 * per_minute, 200)
    starts = [
        at
        for at, _ in starts_of(
            Pace(per_minute, clock), clock, [1] * n, [rng.choice((0, rng.random())) for _ in range(n)]
        )
    ]
    assert starts == sorted(starts)
    for at in starts:
        assert sum(at <= other < at + 60 - 1e-6 for other in starts) <= per_minute


def test_tokens_of_a_minute_pass_the_limit_by_less_than_one_call():
    rng, clock = random.Random(1), Clock()
    amounts = [rng.randint(1, 900) for _ in range(300)]
    starts = starts_of(Pace(10_000, clock), clock, amounts, [rng.random() for _ in amounts])
    for at, _ in starts:
        assert sum(amount for other, amount in starts if at <= other < at + 60 - 1e-6) <= 10_000 + 900


def test_a_call_larger_than_a_minute_is_not_refused_but_those_behind_it_wait():
    clock = Clock()
    pace = Pace(1000, clock)
    assert pace.take(3000) == 0
    assert pace.take(1) == 180


def test_what_was_really_used_moves_those_that_come_later():
    clock = Clock()
    pace = Pace(60, clock)
    pace.take(10)
    pace.correct(5)
    assert pace.take(1) == 15
    pace.correct(-8)
    assert pace.take(1) == 8
