import pytest

from actors.hint_timing import HintSchedule, HintTiming
from actors.trajectory import GivenHint, Turn

HINTS = tuple(GivenHint(id=str(n), text=f"Hint {n}.") for n in range(7))


def step(observation, *, valid=True):
    return Turn(reply="a", action="a", observation=observation, valid=valid)


THOUGHT = Turn(reply="think: x", fields=(("thought", "x"),), action=None, observation="OK.")
UNREADABLE = Turn(reply="", action=None, observation="Your reply was empty.", valid=False)


def play(timing, turns, hints=HINTS):
    """Ids in the prompt of every reply, and the record after the last."""
    schedule = HintSchedule(hints, timing, opening="A room.")
    shown = [[hint.id for hint in schedule.before_reply(turns[:n])] for n in range(len(turns) + 1)]
    return shown, {hint.id: hint.turn for hint in schedule.record}


def test_without_a_timing_all_hints_stand_at_the_start():
    shown, record = play(None, [step("x")] * 3)
    assert shown == [list("0123456")] * 4
    assert set(record.values()) == {0}


def test_every_few_turns_shows_the_next_of_the_ranking_until_it_runs_out():
    timing = HintTiming(when="every", turns=2, k=3)
    shown, record = play(timing, [step(str(n)) for n in range(6)])
    assert [len(ids) for ids in shown] == [3, 3, 6, 6, 7, 7, 7]
    assert record == {"0": 0, "1": 0, "2": 0, "3": 2, "4": 2, "5": 2, "6": 4}


def test_at_a_turn_is_once_before_that_reply():
    shown, record = play(HintTiming(when="at", turns=2, k=2), [step(str(n)) for n in range(4)])
    assert shown == [[], [], ["0", "1"], ["0", "1"], ["0", "1"]]
    assert [turn for turn in record.values() if turn is not None] == [2, 2]


@pytest.mark.parametrize(
    ("turns", "due"),
    [
        ([step("a"), step("b"), step("c")], None),
        ([step("a"), step("a"), step("a"), step("a")], 3),
        ([step("A room."), step("A room.")], 2),
        ([step("no", valid=False), step("never", valid=False)], 2),
        ([UNREADABLE, UNREADABLE], 2),
        ([step("a"), step("a"), THOUGHT, THOUGHT, THOUGHT], None),
        ([step("a"), step("a"), THOUGHT, step("a")], 4),
        ([step("a"), step("a"), step("b"), step("a")], None),
    ],
    ids=[
        "news",
        "same_page",
        "the_opening",
        "refused",
        "unreadable",
        "thoughts",
        "a_thought_between",
        "news_between",
    ],
)
def test_stuck_is_two_steps_in_a_row_without_news(turns, due):
    _, record = play(HintTiming(when="stuck", turns=2, k=1), turns)
    assert record["0"] == due


def test_after_advice_an_agent_is_given_time_before_it_counts_as_stuck_again():
    _, record = play(HintTiming(when="stuck", turns=2, k=1), [step("A room.")] * 6)
    assert [record[str(n)] for n in range(4)] == [2, 4, 6, None]


def test_an_episode_without_hints_is_shown_none():
    assert play(HintTiming(when="every", turns=1, k=3), [step("x")], hints=()) == ([[], []], {})
