"""Folding, lineage and the bank's file."""

import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.hints.bank import Bank, BankError, build_bank, ordered_bank
from distill.hints.config import BankConfig
from distill.hints.hint import HINT_SCHEMA, Hint, Writing, from_row, hint_of, to_row, written_hint


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


def written(text: str, source: str, *, kind: str = "heat", writer: str = "w", **changes) -> Hint:
    task = f"alfworld/task-of-{source}"
    writing = Writing(source=source, text=text, writer=writer, task=task, **changes)
    return hint_of([writing], text, kind=kind, env="alfworld")


# Several of them are near-duplicates, so that what leads a group depends on how often each was written.
WORDS = (
    OPEN,
    OPEN_TOO,
    "Open every closed {box} and look inside",
    "Open each closed {container} and then look inside it.",
    "Do not open every closed {container} and look inside.",
    "Heat the {object} first.",
    "Heat the {object} at first.",
)
BANKS = st.lists(
    st.builds(
        written,
        st.sampled_from(WORDS),
        st.sampled_from(("t1", "t2", "t3", "t4", "t5")),
        kind=st.sampled_from(("heat", "cool")),
        writer=st.sampled_from(("w", "v")),
        usd=st.sampled_from((0.0, 0.25)),
    ),
    max_size=12,
).map(build_bank)


@settings(max_examples=80, deadline=None)
@given(BANKS, BANKS, BANKS)
def test_merging_does_not_mind_the_order_and_counts_nothing_twice(a: Bank, b: Bank, c: Bank):
    assert a.merge(b) == b.merge(a)
    assert a.merge(a) == a
    assert a.merge(b).merge(c) == a.merge(b.merge(c))
    assert a.merge(b).merge(b) == a.merge(b)
    writings = {
        (h.kind, w.source, w.writer, w.text) for bank in (a, b) for h in bank.hints for w in h.lineage
    }
    assert sum(hint.count for hint in a.merge(b).hints) <= len(writings)
    sources = {source for bank in (a, b) for hint in bank.hints for source in hint.sources}
    assert sources == {source for hint in a.merge(b).hints for source in hint.sources}


@settings(max_examples=40, deadline=None)
@given(BANKS, BANKS, st.integers(1, 3))
def test_limits_leave_merging_commutative(a: Bank, b: Bank, limit: int):
    config = BankConfig(min_count=limit, max_per_kind=limit)
    assert a.merge(b, config) == b.merge(a, config)


def test_votes_are_failures_and_tasks_not_wordings():
    [told] = build_bank([written(OPEN, "t1"), written(OPEN_TOO, "t1"), written(OPEN, "t2")]).hints
    assert (told.count, told.votes) == (3, 2)
    assert told.tasks == ("alfworld/task-of-t1", "alfworld/task-of-t2")
    same_task = [Writing(source=s, text=OPEN, writer="w", task="alfworld/x") for s in ("t1", "t2")]
    again = hint_of(same_task, OPEN, kind="heat", env="alfworld")
    assert (again.votes, again.tasks) == (2, ("alfworld/x",))


def test_the_same_failure_in_two_banks_counts_once_and_a_third_failure_adds_up():
    one, two = build_bank([written(OPEN, "t1"), written(OPEN, "t2")]), build_bank([written(OPEN, "t2")])
    assert [(h.count, h.votes) for h in one.merge(two).hints] == [(2, 2)]
    assert [(h.count, h.votes) for h in one.merge(build_bank([written(OPEN, "t3")])).hints] == [(3, 3)]


def test_merging_can_change_which_wording_leads():
    mostly_open = build_bank([written(OPEN, "t1"), written(OPEN, "t2"), written(OPEN_TOO, "t3")])
    more_of_the_other = build_bank([written(OPEN_TOO, "t4"), written(OPEN_TOO, "t5")])
    assert [h.text for h in mostly_open.hints] == [OPEN]
    assert [(h.text, h.count) for h in mostly_open.merge(more_of_the_other).hints] == [(OPEN_TOO, 5)]


def test_where_a_hint_comes_from_is_recorded_and_survives_the_file(trajectory_of, panel_of, tmp_path):
    failure = trajectory_of(panel_of(1).tasks[0], success=False)
    cost = {"prompt_tokens": 900, "completion_tokens": 40, "usd": 0.0125}
    told = written_hint(OPEN, failure, "gpt", prompt_sha256="ab" * 32, uses_oracle=True, **cost)
    build_bank([told, written(OPEN_TOO, "t1", kind=failure.task.kind)]).save(tmp_path / "bank.parquet")
    [loaded] = Bank.load(tmp_path / "bank.parquet").hints
    assert loaded.uses_oracle
    writing = next(w for w in loaded.lineage if w.source == failure.id)
    assert (writing.task, writing.writer, writing.prompt_sha256) == (failure.task.key, "gpt", "ab" * 32)
    assert (writing.prompt_tokens, writing.completion_tokens, writing.usd) == (900, 40, 0.0125)
    assert {w.text for w in loaded.lineage} == {OPEN, OPEN_TOO}


def test_a_file_of_schema_version_1_loads_and_merges(tmp_path):
    fields = [field for field in HINT_SCHEMA if field.name != "lineage"]
    bank = build_bank([hint(OPEN, "t1", "t2", count=5)])
    rows = [{k: v for k, v in to_row(h).items() if k != "lineage"} for h in bank.hints]
    metadata = {
        "offbook_record": "hint",
        "offbook_schema_version": "1",
        "offbook_bank_sha256": bank.sha256,
    }
    path = tmp_path / "bank.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(fields, metadata=metadata)), path)
    old = Bank.load(path)
    assert old.sha256 == bank.sha256
    assert (old.hints[0].lineage, old.hints[0].votes, old.hints[0].tasks) == ((), 2, ())
    assert [(h.count, h.votes) for h in old.merge(old).hints] == [(5, 2)]
    assert [(h.count, h.votes) for h in old.merge(build_bank([hint(OPEN, "t3")])).hints] == [(6, 3)]


def test_a_file_of_a_later_schema_is_refused(tmp_path):
    path = tmp_path / "bank.parquet"
    build_bank([hint(OPEN)]).save(path)
    table = pq.read_table(path)
    later = {**table.schema.metadata, b"offbook_schema_version": b"3"}
    pq.write_table(table.replace_schema_metadata(later), path)
    with pytest.raises(BankError, match=r"schema version '3', this Offbook reads 1 and 2"):
        Bank.load(path)


def test_a_hint_that_contradicts_its_lineage_is_refused():
    row = to_row(written(OPEN, "t1"))
    assert from_row(row) == written(OPEN, "t1")
    with pytest.raises(ValueError, match="says count 2 but its lineage adds up to 1"):
        from_row(row | {"count": 2})
    with pytest.raises(ValueError, match="names other sources"):
        from_row(row | {"sources": ["t9"]})


def test_a_failed_write_leaves_the_old_bank_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "bank.parquet"
    build_bank([hint(OPEN)]).save(path)
    with pytest.raises(UnicodeEncodeError):
        ordered_bank([hint("Open the {container} \ud800 now.")]).save(path)

    def full(table: object, file: Path) -> None:
        file.write_bytes(b"PAR1 half of it")
        raise OSError("the disk is full")

    with monkeypatch.context() as broken, pytest.raises(OSError, match="disk is full"):
        broken.setattr("distill.hints.bank.pq.write_table", full)
        build_bank([hint(OPEN_TOO)]).save(path)
    assert [h.text for h in Bank.load(path).hints] == [OPEN]
    assert [file.name for file in tmp_path.iterdir()] == ["bank.parquet"]


def test_a_bank_can_be_limited_without_being_folded():
    bank = ordered_bank([hint(OPEN, "t1", "t2", count=2), hint(OPEN_TOO), hint(OPEN_TOO, kind="cool")])
    assert [h.kind for h in bank.limited(BankConfig(min_count=2)).hints] == ["heat"]
    assert [h.text for h in bank.limited(BankConfig(max_per_kind=1)).hints] == [OPEN_TOO, OPEN]


def test_merging_refuses_a_hint_from_an_evaluation_task(panel_of, trajectory_of):
    panel = panel_of(4)
    train = trajectory_of(panel_of(5).tasks[4], success=False)
    clean = build_bank([written_hint(OPEN, train, "w")])
    stained = build_bank([written_hint(OPEN, trajectory_of(panel.tasks[0], success=False), "w")])
    unknown = build_bank([hint(OPEN, "t-old", kind=train.task.kind)])
    assert clean.merge(clean, panel=panel) == clean
    assert len(clean.merge(stained).hints) == 2
    with pytest.raises(BankError, match=f"mined from {panel.tasks[0].key}"):
        clean.merge(stained, panel=panel)
    with pytest.raises(BankError, match="the bank does not name its task"):
        clean.merge(unknown, panel=panel)
    assert clean.merge(unknown, panel=panel, at_hand={"t-old": train.task.key}).hints[0].votes == 2


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
