"""Credit for hints, on outcomes whose truth is known."""

import itertools

import pytest

from actors.trajectory import EndReason, GivenHint
from distill.attribution import Flip, attribute, find_flips, shapley, subsets
from envs.task import Task

A, B, C = (GivenHint(id=name, text=f"do {name}") for name in "abc")


def flip(number, *hints):
    task = Task(env="scripted", split="test", id=f"t{number}", kind="k", goal="g")
    return Flip(task=task, seed=0, hints=hints)


def outcomes(one, wins):
    """Every subset of a flip's hints, won where `wins` says so of its ids."""
    return {frozenset(h.id for h in part): wins({h.id for h in part}) for part in subsets(one.hints)}


def played(flips, wins):
    return {(one.task.key, one.seed): outcomes(one, wins) for one in flips}


def test_subsets_keep_the_order_in_which_hints_were_given():
    assert subsets((C, A)) == [(), (C,), (A,), (C, A)]
    assert len(subsets((A, B, C))) == 8


@pytest.mark.parametrize(
    ("wins", "expected"),
    [
        (lambda s: "a" in s, {"a": 1, "b": 0, "c": 0}),
        (lambda s: {"a", "b"} <= s, {"a": 1 / 2, "b": 1 / 2, "c": 0}),
        (lambda s: "a" in s or "b" in s, {"a": 1 / 2, "b": 1 / 2, "c": 0}),
        (lambda s: len(s) >= 2, {"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}),
        (lambda s: "a" in s and ("b" in s or "c" in s), {"a": 2 / 3, "b": 1 / 6, "c": 1 / 6}),
    ],
)
def test_shapley_values_of_games_that_are_known(wins, expected):
    own = outcomes(flip(0, A, B, C), wins)
    assert shapley(own, ["a", "b", "c"]) == pytest.approx(expected)


def test_shapley_values_share_out_the_win_whatever_the_outcomes():
    for bits in itertools.product([False, True], repeat=6):
        parts = [part for part in subsets((A, B, C)) if 0 < len(part) < 3]
        own = {frozenset(h.id for h in part): bit for part, bit in zip(parts, bits, strict=True)}
        own |= {frozenset(): False, frozenset("abc"): True}
        assert sum(shapley(own, ["a", "b", "c"]).values()) == pytest.approx(1)


def test_credit_says_who_is_needed_and_who_is_enough():
    flips = [flip(i, A, B, C) for i in range(20)] + [flip(100 + i, B, C) for i in range(10)]
    found = attribute(flips, played(flips, lambda s: "a" in s or {"b", "c"} <= s))
    credit = {c.id: c for c in found.hints}
    assert (found.num_flips, found.num_unstable) == (30, 0)
    # Ten flips need both of their hints; of the others a alone is enough, and nobody is needed.
    assert credit["a"].enough == 1 and credit["a"].needed == 0 and credit["a"].num_flips == 20
    assert credit["b"].needed == pytest.approx(1 / 3) and credit["b"].enough == 0
    assert found.together_only == pytest.approx(1 / 3) and found.any_alone == pytest.approx(2 / 3)
    low, high = credit["b"].shapley_ci95
    assert low < credit["b"].shapley < high
    assert found.hints[0].id == "a"


def test_a_flip_that_does_not_repeat_earns_nobody_credit():
    flips = [flip(0, A), flip(1, A), flip(2, A)]
    own = played(flips, lambda s: "a" in s)
    own[flips[1].task.key, 0][frozenset()] = True
    own[flips[2].task.key, 0][frozenset("a")] = False
    found = attribute(flips, own)
    assert (found.num_flips, found.num_unstable, found.hints[0].num_flips) == (3, 2, 1)


def test_flips_are_what_base_lost_and_hints_won(trajectory_of, panel_of):
    tasks = panel_of().tasks

    def episode(task, arm, success, **more):
        return trajectory_of(task, arm=arm, success=success, **more)

    base = [episode(task, "base", task is tasks[3]) for task in tasks[:6]]
    base[5] = episode(tasks[5], "base", False, error="lost", end=EndReason.ERROR)
    hinted = [episode(task, "teacher", task is not tasks[4], hints=(A, B)) for task in tasks[:6]]
    hinted[2] = episode(tasks[2], "teacher", True, hints=())
    many = tuple(GivenHint(id=str(i), text=str(i)) for i in range(5))
    hinted[1] = episode(tasks[1], "teacher", True, hints=many)
    assert [f.task.key for f in find_flips(base, hinted)] == [tasks[0].key]
    # Another seed of the task is another pair.
    assert find_flips(base, [episode(tasks[0], "teacher", True, seed=1, hints=(A,))]) == []
