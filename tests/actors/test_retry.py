import pytest

from actors.retry import Again, Breaker, GiveUp, RetryPolicy


def test_retries_are_counted_and_pauses_double():
    policy = RetryPolicy(max_retries=3, max_outages=6, base_delay_s=1.0, max_delay_s=3.0)
    assert [policy.decide(lost=n, retryable=True) for n in (1, 2, 3, 4)] == [
        Again(delay_s=1.0),
        Again(delay_s=2.0),
        Again(delay_s=3.0),
        GiveUp(),
    ]


def test_outages_have_a_limit_of_their_own():
    policy = RetryPolicy(max_retries=1, max_outages=2)
    kept = {
        (lost, outages): isinstance(policy.decide(lost=lost, outages=outages, retryable=True), Again)
        for lost in range(1, 5)
        for outages in range(lost + 1)
    }
    assert {key for key, again in kept.items() if again} == {(1, 0), (1, 1), (2, 1), (2, 2), (3, 2)}


@pytest.mark.parametrize("max_retries", [0, 5])
def test_what_cannot_work_is_not_tried_again(max_retries):
    assert RetryPolicy(max_retries=max_retries, max_outages=6).decide(lost=1, retryable=False) == GiveUp()


def test_the_breaker_opens_on_errors_in_a_row_only():
    breaker = Breaker(3)
    assert [breaker.record(error=e) for e in (True, True, False, True, True)] == [False] * 5
    assert breaker.record(error=True)
