"""The truth that recall is measured against: what is said to mend a failure does, and no label comes from a retriever."""

import sys
from pathlib import Path

import pytest

from actors.trajectory import GivenHint

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks._mended_failures import WORLDS, failures, write_bank
from benchmarks.retrieval import _scores


@pytest.fixture(scope="module", params=sorted(WORLDS))
def lost(request, tmp_path_factory):
    train, _ = WORLDS[request.param](40, 4, 3, tmp_path_factory.mktemp("world"))
    return list(failures(train))


def test_what_mends_a_failure_wins_it_and_nothing_smaller_does(lost):
    assert len(lost) >= 10
    for failure in lost:
        attempt = failure.attempt
        assert not attempt.play(attempt.has).success
        sizes = {len(mend) for mend in failure.mends}
        assert len(sizes) == 1
        for mend in failure.mends:
            assert not mend & attempt.has
            assert attempt.play(attempt.has | mend).success
            assert not any(attempt.play(attempt.has | (mend - {habit})).success for habit in mend)


@pytest.mark.parametrize("named", [False, True])
def test_every_failure_left_advice_for_a_whole_mending_set_of_its_own_kind(lost, named):
    labelled = write_bank(lost, 0, named=named)
    for failure in lost:
        own = [hint for hint in labelled.bank.for_kind(failure.task.kind) if failure.task.key in hint.tasks]
        told = frozenset().union(*(labelled.habits[hint.id] for hint in own))
        assert any(mend <= told for mend in failure.mends)
        assert all(failure.task.key in labelled.tasks[hint.id] for hint in own)
        if named:
            assert not any("{" in hint.text for hint in own)


def test_recall_counts_the_best_mending_set_and_the_first_place(lost):
    labelled = write_bank(lost, 0, named=False)
    failure = lost[0]
    wanted = frozenset().union(*failure.mends)
    kind = labelled.bank.for_kind(failure.task.kind)
    right = [h for h in kind if labelled.habits[h.id] & wanted]
    wrong = [h for h in kind if not labelled.habits[h.id] & wanted]
    stranger = GivenHint(id="filler", text="x")

    def scores(*hints):
        return _scores([GivenHint(id=h.id, text=h.text) for h in hints], failure, labelled)

    assert scores() == scores(stranger, stranger) == [0, 0, 0, 0, 0]
    size = len(failure.mends[0])
    assert scores(right[0])[0] == pytest.approx(1 / size) and scores(right[0])[-1] == 1
    if wrong:
        assert scores(wrong[0], right[0]) == [0, *[pytest.approx(1 / size)] * 3, 0.5]
