"""Two banks side by side, and what an audit says of one."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.hints.bank import Bank, build_bank, near_duplicate, ordered_bank
from distill.hints.bank_audit import RULES, audit_bank
from distill.hints.comparison import diff_banks
from distill.hints.config import BankConfig
from distill.hints.hint import Hint, written_hint

OPEN = "Open every closed {container} and look inside."
OPEN_TOO = "Open each closed {container} and look inside it."
HEAT = "Heat the {object} in the microwave first."
WORDS = (
    OPEN,
    OPEN_TOO,
    "Open every closed {container} and look inside first.",
    "Do not open every closed {container} and look inside.",
    HEAT,
    "Heat the {object} in a microwave first.",
    "Buy the {item} last.",
)


def hint(text: str, *sources: str, kind: str = "heat", count: int | None = None) -> Hint:
    sources = sources or ("t0",)
    return Hint(
        text=text, kind=kind, env="alfworld", sources=sources, writer="w", count=count or len(sources)
    )


BANKS = st.lists(
    st.builds(hint, st.sampled_from(WORDS), st.sampled_from(("t1", "t2", "t3")), kind=st.sampled_from("abc")),
    max_size=10,
).map(ordered_bank)


def test_a_diff_names_what_is_new_gone_reworded_and_counted_otherwise():
    a = build_bank([hint(OPEN), hint(HEAT, "t1"), hint("Wash the {object} now.")])
    b = build_bank([hint(OPEN_TOO), hint(HEAT, "t1", "t2"), hint("Cool the {object} slowly and leave.")])
    diff = diff_banks(a, b)
    assert [h.text for h in diff.only_a] == ["Wash the {object} now."]
    assert [h.text for h in diff.only_b] == ["Cool the {object} slowly and leave."]
    assert [(x.text, y.text) for x, y in diff.reworded] == [(OPEN, OPEN_TOO)]
    assert [(x.count, y.count) for x, y in diff.recounted] == [(1, 2)]
    assert (diff.num_same, diff.same) == (0, False)


@settings(max_examples=80, deadline=None)
@given(BANKS, BANKS)
def test_a_diff_is_a_mirror_and_places_every_hint_once(a: Bank, b: Bank):
    there, back = diff_banks(a, b), diff_banks(b, a)
    assert (there.only_a, there.only_b, there.num_same) == (back.only_b, back.only_a, back.num_same)
    assert [(x.id, y.id) for x, y in there.reworded] == [(y.id, x.id) for x, y in back.reworded]
    assert {(x.id, y.count) for x, y in there.recounted} == {(x.id, y.count) for y, x in back.recounted}
    in_a = len(there.only_a) + len(there.reworded) + len(there.recounted) + there.num_same
    assert in_a == len(a.hints)
    similarity = BankConfig().similarity
    assert all(x.kind == y.kind and near_duplicate(x.text, y.text, similarity) for x, y in there.reworded)
    assert diff_banks(a, a).same


def test_the_most_alike_wordings_are_matched():
    a = ordered_bank([hint(OPEN)])
    b = ordered_bank([hint(OPEN_TOO), hint("Open every closed {container} and look inside!!! now")])
    [(_, nearest)] = diff_banks(a, b).reworded
    assert nearest.text == "Open every closed {container} and look inside!!! now"


def test_an_empty_bank_differs_from_none_and_holds_nothing_to_audit():
    empty = build_bank([])
    assert diff_banks(empty, empty).same
    assert [h.text for h in diff_banks(empty, build_bank([hint(HEAT)])).only_b] == [HEAT]
    assert audit_bank(empty) == []


def test_an_audit_finds_each_kind_of_flaw(panel_of, trajectory_of):
    panel = panel_of(4)
    lost = trajectory_of(panel.tasks[1], success=False)
    bank = ordered_bank(
        [
            hint("Go to fridge 1 and open it."),
            hint("The agent should open the {container}."),
            hint("Open the \x1b[2J{container} now."),
            hint(OPEN, "t1", "t2"),
            hint(OPEN_TOO),
            hint(OPEN, kind="cool"),
            written_hint(HEAT, lost, "w"),
        ]
    )
    found = {(f.rule, f.hint.text) for f in audit_bank(bank, panel=panel, at_hand={"t1": "alfworld/x"})}
    assert {
        ("one-episode", "Go to fridge 1 and open it."),
        ("meta-talk", "The agent should open the {container}."),
        ("no-instruction", "The agent should open the {container}."),
        ("unprintable", "Open the \x1b[2J{container} now."),
        ("near-duplicate", OPEN_TOO),
        ("several-kinds", OPEN),
        ("evaluation-task", HEAT),
        ("unknown-task", OPEN),
    } <= found
    at_hand = dict.fromkeys(("t0", "t1", "t2"), "alfworld/x")
    assert "unknown-task" not in {f.rule for f in audit_bank(bank, panel=panel, at_hand=at_hand)}
    assert {f.rule for f in audit_bank(bank)} == set(RULES) - {
        "too-short",
        "too-long",
        "one-line",
        "placeholder",
        "evaluation-task",
        "unknown-task",
    }


def test_rules_can_be_ignored_by_name_and_a_misspelt_one_is_named():
    bank = ordered_bank([hint(OPEN), hint(OPEN_TOO)])
    assert audit_bank(bank, ignore=["near-duplicate"]) == []
    assert audit_bank(bank, similarity=100) == []
    with pytest.raises(ValueError, match=r"no audit rule 'near-dup'; the rules are too-short, "):
        audit_bank(bank, ignore=["near-dup"])
