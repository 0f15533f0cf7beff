"""What lint refuses and what it lets pass."""

import pytest

from distill.hints.lint import MAX_CHARS, RULES, broken_rules, lint

GOOD = [
    "Open every closed {container} and look inside.",
    "Heat the {object} with the microwave before you put it in the {target}.",
    "Search with at most 3 key words.",
    "Do not buy before every option is chosen.",
    "If the price is above the limit, go back to the results.",
    "Never take a second {object of another type}.",
    "Look at the first 2 pages of results before you choose.",
]
BAD = [
    ("Open " + "x" * MAX_CHARS, "at most 120"),
    ("Open", "too little"),
    ("Go to fridge 1 first.", "'fridge 1'"),
    ("Click on B07XYZ1234 to see the size.", "'B07XYZ1234'"),
    ("Open the {container and look.", "placeholder"),
    ("Open the {} and look.", "placeholder"),
    ("Open the {Container1!} and look.", "placeholder"),
    ("The agent should open the fridge.", "the agent"),
    ("Follow this hint and open the {container}.", "hint"),
    ("It failed because the {object} was cold.", "failed because"),
    ("They never opened the {container}.", "instruction"),
    ("Open the {container}.\nHeat the {object}.", "one line"),
    ("Open the \x1b[31m{container}.", "U+001B"),
    ("Open the {container} \u202eevil.", "U+202E"),
    ("Open the {container} \ud800 now.", "U+D800"),
]


@pytest.mark.parametrize("text", GOOD)
def test_good_hints_pass(text):
    assert lint(text) == []


@pytest.mark.parametrize(("text", "reason"), BAD)
def test_bad_hints_are_refused_with_the_reason(text, reason):
    problems = "; ".join(lint(text)).lower()
    assert reason.lower() in problems


def test_every_rule_is_broken_by_some_bad_hint():
    assert {rule for text, _ in BAD for rule, _ in broken_rules(text)} == set(RULES)
