"""Folding, lineage and the bank's file."""

import random

import pyarrow.parquet as pq
import pytest

from distill.hints.bank import Bank, BankError, build_bank
from distill.hints.config import BankConfig
from distill.hints.hint import Hint


def hint(text: str, *sources: str, kind: str = "heat", writer: str = "w", **changes) -> Hint:
    return Hint(text=text, kind=kind, env="alfworld", sources=sources or ("t0",), writer=writer, **changes)


OPEN = "Open every closed {container} and look inside."
OPEN_TOO = "Open each closed {container} and look inside it."


def test_near_duplicates_fold_into_the_most_frequent_wording_with_everybodys_lineage():
    bank = build_bank(
        [
            hint(OPEN_TOO, "t1"),
            hint(OPEN, "t2"),
            hint(OPEN, "t3", writer="v"),
            hint("Heat the {object} first.", "t1"),
        ]
    )
    assert [(h.text, h.count, h.sources) for h in bank.hints] == [
        (OPEN, 3, ("t1", "t2", "t3")),
        ("Heat the {object} first.", 1, ("t1",)),
    ]
    assert bank.hints[0].writer == "v+w"


def test_spelling_alone_makes_no_second_hint():
    bank = build_bank(
        [
            hint("- Heat the {object} first"),
            hint("heat the {object}  first.", "t1"),
            hint("HEAT THE {OBJECT} FIRST!", "t2"),
        ]
    )
    assert [(h.count, len(h.sources)) for h in bank.hints] == [(3, 3)]


def test_opposite_advice_is_not_folded():
    bank = build_bank(
        [
            hint("Open the {container} before you leave."),
            hint("Do not open the {container} before you leave."),
        ]
    )
    assert len(bank.hints) == 2


def test_slot_names_neither_hide_nor_feign_likeness():
    alike = build_bank(
        [hint("Take the {object} to the {place}."), hint("Take the {item} to the {receptacle}.")]
    )
    apart = build_bank([hint("Heat {the_object_of_the_task}."), hint("Chill {the_object_of_the_task}.")])
    assert (len(alike.hints), len(apart.hints)) == (1, 2)


def test_kinds_are_kept_apart():
    bank = build_bank([hint(OPEN), hint(OPEN, kind="cool"), hint(OPEN_TOO, kind="cool")])
    assert [len(bank.for_kind(kind)) for kind in ("heat", "cool", "clean")] == [1, 1, 0]
    assert bank.kinds == ("cool", "heat")


def test_the_order_of_arrival_does_not_show():
    hints = [
        hint(text, f"t{i}")
        for i, text in enumerate([OPEN, OPEN_TOO, "Heat it.", "Heat it", "Wash the {object} now.", OPEN_TOO])
    ]
    banks = set()
    for seed in range(5):
        random.Random(seed).shuffle(hints)
        banks.add(build_bank(hints).sha256)
    assert len(banks) == 1


def test_limits_of_the_config_apply_after_folding():
    hints = [
        hint(OPEN, "t1"),
        hint(OPEN_TOO, "t2"),
        hint("Heat the {object} first."),
        hint("Wash your hands now."),
    ]
    assert [h.count for h in build_bank(hints, BankConfig(min_count=2)).hints] == [2]
    assert len(build_bank(hints, BankConfig(max_per_kind=2)).hints) == 2
    assert len(build_bank(hints, BankConfig(similarity=100)).hints) == 4


def test_a_bank_survives_its_file_and_an_edited_file_is_refused(tmp_path):
    bank = build_bank([hint(OPEN, "t1", "t2", count=2), hint("Heat the {object} first.", uses_oracle=True)])
    path = tmp_path / "bank.parquet"
    bank.save(path)
    assert Bank.load(path) == bank
    table = pq.read_table(path)
    pq.write_table(table.slice(0, 1), path)
    with pytest.raises(BankError, match="was edited"):
        Bank.load(path)


def test_what_is_no_bank_is_named(tmp_path):
    with pytest.raises(BankError, match="run the hints stage first"):
        Bank.load(tmp_path / "bank.parquet")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(BankError, match=r"torn\.parquet is not a bank"):
        Bank.load(tmp_path / "torn.parquet")


def test_merging_adds_counts_and_folds_again():
    merged = build_bank([hint(OPEN, "t1")]).merge(
        build_bank([hint(OPEN_TOO, "t2"), hint("Heat the {object} first.")])
    )
    assert sorted(h.count for h in merged.hints) == [1, 2]


def test_an_empty_bank_says_what_to_do():
    with pytest.raises(BankError, match=r"bank is empty.*more tasks"):
        build_bank([]).require_hints()


def test_a_hint_from_an_evaluation_task_is_refused(panel_of, trajectory_of):
    panel = panel_of(4)
    inside = trajectory_of(panel.tasks[0], success=False)
    outside = trajectory_of(panel_of(5).tasks[4], success=False)
    build_bank([hint(OPEN, outside.id)]).check_no_evaluation_task([inside, outside], panel)
    with pytest.raises(BankError, match=f"mined from {panel.tasks[0].key}, a task of the evaluation panel"):
        build_bank([hint(OPEN, outside.id), hint(OPEN, inside.id)]).check_no_evaluation_task(
            [inside, outside], panel
        )
    with pytest.raises(BankError, match="not among the 1 at hand"):
        build_bank([hint(OPEN, inside.id)]).check_no_evaluation_task([outside], panel)
