"""Groups of arms that are not told apart, against every definition they must meet."""

from itertools import combinations

import numpy as np
import pytest

from distill.tied_groups import letter, tied_groups


def apart(names, *pairs):
    return {pair: pair in pairs or pair[::-1] in pairs for pair in combinations(names, 2)}


def test_being_tied_is_not_handed_on():
    names = ("best", "middle", "worst")
    assert tied_groups(names, apart(names, ("best", "worst"))) == {
        "a": ("best", "middle"),
        "b": ("middle", "worst"),
    }


def test_all_alike_is_one_group_and_all_different_are_as_many():
    names = ("x", "y", "z")
    assert tied_groups(names, apart(names)) == {"a": names}
    assert tied_groups(names, apart(names, *combinations(names, 2))) == {
        "a": ("x",),
        "b": ("y",),
        "c": ("z",),
    }
    assert tied_groups(["only"], {}) == {"a": ("only",)} and tied_groups([], {}) == {}


@pytest.mark.parametrize("seed", range(30))
def test_two_arms_share_a_group_if_and_only_if_they_are_not_told_apart(seed):
    rng = np.random.default_rng(seed)
    names = [f"arm{i}" for i in range(rng.integers(2, 9))]
    told = {pair: bool(rng.random() < 0.4) for pair in combinations(names, 2)}
    groups = [set(group) for group in tied_groups(names, told).values()]
    for (a, b), is_apart in told.items():
        assert any({a, b} <= group for group in groups) != is_apart
    assert set().union(*groups) == set(names)
    assert not any(one < other for one in groups for other in groups)


def test_a_pair_that_was_never_compared_is_named():
    with pytest.raises(ValueError, match="no comparison of y and z"):
        tied_groups(["x", "y", "z"], {("x", "y"): False, ("z", "x"): True})


def test_letters_go_past_z():
    assert [letter(0), letter(25), letter(26)] == ["a", "z", "{27}"]
