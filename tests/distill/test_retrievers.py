"""Retrieval: deterministic, within the kind, useful; and controls that control."""

from collections import Counter

import pytest

from distill.hints.bank import BankError, build_bank
from distill.hints.config import RetrieverConfig
from distill.hints.hint import Hint
from distill.hints.retrievers import GUARD_TEXT, make_retriever
from distill.hints.rules.alfworld import PHRASINGS
from envs.task import Task

HEAT, COOL = "pick_heat_then_place_in_recep", "pick_cool_then_place_in_recep"
OPENING = "You are in the middle of a room. Looking quickly around you, you see a cabinet 1, a fridge 1, and a microwave 1."
NAMES = ("bm25", "frequent", "none", "guard", "random", "other_kind", "shuffled")


def task(number: int = 0, kind: str = HEAT, goal: str = "put a hot apple in fridge.") -> Task:
    return Task(env="alfworld", split="train", id=f"g{number}", kind=kind, goal=goal)


def hints_of(kind: str, counts: dict[str, int]) -> list[Hint]:
    """Every phrasing of each habit, its count shared out among them."""
    hints = []
    for habit, count in counts.items():
        for i, text in enumerate(PHRASINGS[habit]):
            share = count // len(PHRASINGS[habit]) + (i < count % len(PHRASINGS[habit]))
            if share:
                sources = tuple(f"{habit}-{i}-{n}" for n in range(share))
                hints.append(
                    Hint(text=text, kind=kind, env="alfworld", sources=sources, writer="w", count=share)
                )
    return hints


BANK = build_bank(
    hints_of(
        HEAT, {"heat_first": 30, "open_containers": 24, "take_named": 16, "look_once": 5, "no_repeat": 2}
    )
    + hints_of(COOL, {"cool_first": 30, "open_containers": 20, "open_target": 6})
)


def habits(given) -> list[str]:
    by_text = {text: habit for habit, texts in PHRASINGS.items() for text in texts}
    return [by_text[hint.text] for hint in given]


@pytest.mark.parametrize("name", NAMES)
def test_the_same_task_and_seed_get_the_same_hints_none_twice(name):
    config = RetrieverConfig(name=name)
    first, second = make_retriever(config, BANK), make_retriever(config, BANK)
    for number in range(20):
        given = first(task(number), OPENING)
        assert given == second(task(number), OPENING)
        assert len({hint.text for hint in given}) == len(given) <= 3


def test_bm25_gives_three_pieces_of_advice_and_not_three_wordings_of_one():
    given = make_retriever(RetrieverConfig(), BANK)(task(), OPENING)
    assert set(habits(given)) == {"heat_first", "open_containers", "take_named"}
    # Without diversity the wordings of the commonest advice crowd the others out: the reason for having it.
    crowded = make_retriever(RetrieverConfig(diversity=0), BANK)(task(), OPENING)
    assert len(set(habits(crowded))) < 3


def test_bm25_prefers_the_hint_that_speaks_of_the_task():
    texts = [
        "Check the fridge for eggs.",
        "Check the garbagecan for bread.",
        "Check the sidetable for a newspaper.",
    ]
    bank = build_bank(
        [Hint(text=text, kind=HEAT, env="alfworld", sources=("t",), writer="w") for text in texts]
    )
    retrieve = make_retriever(RetrieverConfig(k=1), bank)
    assert retrieve(task(goal="put a hot egg in sidetable."), "you see a fridge 1")[0].text == texts[0]
    assert retrieve(task(goal="put a hot bread in garbagecan."), "you see a shelf 1")[0].text == texts[1]


def test_ties_and_no_match_go_by_frequency_then_id():
    counts = {"Alpha {object} beta.": 1, "Gamma {object} delta.": 5, "Epsilon {object} zeta.": 1}
    bank = build_bank(
        [
            Hint(text=t, kind=HEAT, env="alfworld", sources=("t",), writer="w", count=n)
            for t, n in counts.items()
        ]
    )
    given = make_retriever(RetrieverConfig(), bank)(task(goal="x"), "y")
    assert given[0].text.startswith("Gamma")
    assert [h.id for h in given[1:]] == sorted(h.id for h in given[1:])


def test_a_kind_without_hints_gets_none():
    for name in ("bm25", "frequent", "random", "shuffled"):
        assert (
            make_retriever(RetrieverConfig(name=name), BANK)(task(kind="look_at_obj_in_light"), OPENING) == ()
        )


def test_frequent_ignores_the_task_and_random_does_not():
    frequent = make_retriever(RetrieverConfig(name="frequent"), BANK)
    assert len({frequent(task(n), OPENING) for n in range(20)}) == 1
    assert [h.id for h in frequent(task(), "")] == [h.id for h in BANK.for_kind(HEAT)[:3]]
    drawn = make_retriever(RetrieverConfig(name="random"), BANK)
    given = Counter(hint.id for n in range(200) for hint in drawn(task(n), OPENING))
    assert set(given) == {hint.id for hint in BANK.for_kind(HEAT)}
    other_seed = make_retriever(RetrieverConfig(name="random", seed=1), BANK)
    assert [drawn(task(n), "") for n in range(9)] != [other_seed(task(n), "") for n in range(9)]


def test_other_kind_never_says_what_the_own_kind_says():
    retrieve = make_retriever(RetrieverConfig(name="other_kind"), BANK)
    given = {hint.text for n in range(100) for hint in retrieve(task(n), OPENING)}
    assert given
    assert given <= set(PHRASINGS["cool_first"])


def test_other_kind_leaves_out_the_own_advice_in_other_words():
    own, foreign = PHRASINGS["open_containers"][0], PHRASINGS["open_containers"][2]
    hints = [(HEAT, own), (COOL, foreign), (COOL, "Cool the {object} with the fridge.")]
    bank = build_bank(
        [Hint(text=text, kind=kind, env="alfworld", sources=("t",), writer="w") for kind, text in hints]
    )
    given = make_retriever(RetrieverConfig(name="other_kind"), bank)(task(), OPENING)
    assert [hint.text for hint in given] == ["Cool the {object} with the fridge."]


def test_shuffled_has_the_words_of_bm25_in_another_order():
    best = make_retriever(RetrieverConfig(), BANK)(task(), OPENING)
    shuffled = make_retriever(RetrieverConfig(name="shuffled"), BANK)(task(), OPENING)
    assert [sorted(h.text.split()) for h in shuffled] == [sorted(h.text.split()) for h in best]
    assert all(a.text != b.text and a.id != b.id for a, b in zip(best, shuffled, strict=True))


def test_guard_and_none_need_no_bank_and_the_others_say_so():
    empty = build_bank([])
    assert make_retriever(RetrieverConfig(name="none"), empty)(task(), OPENING) == ()
    assert [h.text for h in make_retriever(RetrieverConfig(name="guard"), empty)(task(), OPENING)] == [
        GUARD_TEXT
    ]
    with pytest.raises(BankError, match="bank is empty"):
        make_retriever(RetrieverConfig(), empty)
