"""What the sweep holds rollouts against: the best that slots can do, and lockstep, at no overhead."""

from benchmarks._concurrency import Latency, ceiling, lockstep


def test_a_slot_takes_the_next_episode_when_it_is_free():
    assert ceiling([[1, 1], [3], [1], [2]], 2) == 5
    assert ceiling([[1, 1], [3], [1], [2]], 1) == 8
    assert ceiling([[4], [1]], 8) == 4


def test_a_turn_of_a_batch_takes_as_long_as_its_slowest():
    assert lockstep([[1, 1], [3], [1], [2, 2]], 2) == (3 + 1) + (2 + 2)
    assert lockstep([[1, 1], [3]], 1) == 5


def test_a_latency_is_the_turns_own_and_long_tailed():
    latency = Latency(median_s=2.0, sigma=1.0)
    drawn = sorted(latency.draw(seed) for seed in range(4001))
    assert drawn == sorted(latency.draw(seed) for seed in range(4001))
    assert 1.8 < drawn[2000] < 2.2
    assert 3.0 < sum(drawn) / len(drawn) < 3.6
