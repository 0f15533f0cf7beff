"""`offbook hints`: what its verbs print, write and refuse."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.store import TRAJECTORIES
from actors.trajectory import TRAJECTORY_SCHEMA, Trajectory
from actors.trajectory import to_row as episode_row
from distill import cli
from distill.commands import hints_views
from distill.commands.hints import SIMILARITY
from distill.hints.bank import Bank, build_bank, ordered_bank
from distill.hints.config import BankConfig
from distill.hints.hint import Hint, written_hint

OPEN = "Open every closed {container} and look inside."
OPEN_TOO = "Open each closed {container} and look inside it."
EVIL = "Open \x1b]0;owned\x07\x1b[2J\u202ethe {container}\x9b31m 漢字 now."


def hint(text: str, *sources: str, kind: str = "heat", **changes) -> Hint:
    count = max(1, len(sources))
    return Hint(
        text=text, kind=kind, env="alfworld", sources=sources, writer="w", **({"count": count} | changes)
    )


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., str]:
    def saved(name: str, *hints: Hint) -> str:
        path = tmp_path / name
        ordered_bank(hints).save(path)
        return str(path)

    return saved


@pytest.fixture
def failure(panel_of: Callable, trajectory_of: Callable) -> Trajectory:
    return trajectory_of(panel_of(1).tasks[0], success=False)


@pytest.fixture
def runs(tmp_path: Path, failure: Trajectory) -> Path:
    """A folder of runs with one study, `tiny`, as `offbook run` leaves it."""
    store = tmp_path / "runs" / "store"
    (store / "rollout-aa").mkdir(parents=True)
    rows = pa.Table.from_pylist([episode_row(failure)], schema=TRAJECTORY_SCHEMA)
    pq.write_table(rows, store / "rollout-aa" / TRAJECTORIES)
    bank = build_bank([written_hint(OPEN, failure, "gpt", prompt_sha256="f" * 64, prompt_tokens=9, usd=0.5)])
    bank.save(store / "hints-bb" / "bank.parquet")
    (store / "hints-bb" / "manifest.json").write_text(json.dumps({"inputs": {"base": "rollout-aa"}}))
    (tmp_path / "runs" / "tiny").mkdir()
    run = {"store": "../store", "stages": {"train-base": "rollout-aa", "hints": "hints-bb"}}
    (tmp_path / "runs" / "tiny" / "run.json").write_text(json.dumps(run))
    return tmp_path / "runs"


@pytest.fixture
def offbook(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def call(*arguments: str) -> tuple[int, str, str]:
        code = cli.main(["hints", *arguments])
        shown = capsys.readouterr()
        raw = [char for char in shown.out + shown.err if not (char.isprintable() or char == "\n")]
        assert not raw, f"shown raw: {raw}"
        return code, shown.out, shown.err

    return call


def test_similarity_is_the_banks_own():
    assert BankConfig().similarity == SIMILARITY


def test_list_groups_by_kind_and_counts(save, offbook):
    bank = save(
        "a.parquet", hint(OPEN, "t1", "t2"), hint("Heat it now.", "t1"), hint("Cool it now.", kind="cool")
    )
    code, out, _ = offbook("list", bank)
    lines = [line.split() for line in out.splitlines() if line]
    assert code == 0
    assert lines[0] == ["cool", "(alfworld):", "1", "hint"]
    assert [line[1:4] for line in lines if "hint" not in line and "hints" not in line] == [
        ["1", "0", "0"],
        ["2", "2", "?"],
        ["1", "1", "?"],
    ]
    assert out.endswith("3 hints of 2 kinds\n")
    code, out, _ = offbook("list", bank, "--kind", "hea", "--top", "1", "--json")
    assert [(row["text"], row["count"], row["votes"]) for row in json.loads(out)] == [(OPEN, 2, 2)]
    code, _, err = offbook("list", bank, "--kind", "wash")
    assert code == 2 and "fits none of the kinds cool, heat" in err


def test_a_bank_is_found_by_file_folder_or_study(runs, offbook):
    store = runs / "store" / "hints-bb"
    for name in (str(store / "bank.parquet"), str(store), str(runs / "tiny"), "tiny"):
        code, out, _ = offbook("list", name, "--out", str(runs))
        assert code == 0 and OPEN in out
    code, _, err = offbook("list", "tinny", "--out", str(runs))
    assert code == 2 and "no study that was run in" in err and "studies there: tiny" in err
    (runs / "tiny" / "run.json").write_text('{"store": "../store", "stages": {"hints": "hints-cc"}}')
    assert "are not written yet" in offbook("list", "tiny", "--out", str(runs))[2]
    (runs / "tiny" / "run.json").write_text('{"store": "../store", "stages": {}}')
    assert "has no hints" in offbook("list", "tiny", "--out", str(runs))[2]
    (runs / "tiny" / "run.json").write_text("{")
    assert "is damaged" in offbook("list", "tiny", "--out", str(runs))[2]


def test_show_tells_where_a_hint_comes_from(runs, failure, offbook):
    [told] = Bank.load(runs / "store" / "hints-bb" / "bank.parquet").hints
    code, out, _ = offbook("show", "tiny", told.id[:5], "--out", str(runs), "--steps", "1")
    assert code == 0 and out.startswith(OPEN)
    for fact in (
        failure.task.key,
        failure.task.goal,
        "gpt",
        "prompt ffffffffffff",
        "0.500000 USD",
        "9+0 tokens",
    ):
        assert fact in out
    assert "... 4 turns before" in out and out.count("Nothing happens.") == 1
    code, out, _ = offbook("show", "tiny", told.id, "--out", str(runs), "--json")
    document = json.loads(out)
    assert document["lineage"][0]["usd"] == 0.5 and document["failures"][0]["goal"] == failure.task.goal


def test_show_wants_one_hint(save, offbook):
    hints = [hint(f"Open the {{place_{chr(97 + i)}}} now.") for i in range(26)]
    bank = save("a.parquet", *hints)
    first = next(h.id[0] for h in hints if sum(h.id[0] == other.id[0] for other in hints) > 1)
    code, _, err = offbook("show", bank, first)
    assert code == 2 and "give more of the id" in err
    for unknown in ("xyz", ""):
        code, _, err = offbook("show", bank, unknown)
        assert code == 2 and "no hint's id starts with" in err


def test_show_lists_the_wordings_that_were_folded(save, offbook, failure):
    folded = build_bank([written_hint(OPEN, failure, "w"), written_hint(OPEN_TOO, failure, "w")]).hints
    code, out, _ = offbook("show", save("a.parquet", *folded), folded[0].id)
    assert code == 0 and "2 writings after 1 failure of 1 task" in out
    assert f"1  {OPEN}" in out and f"1  {OPEN_TOO}" in out


def test_audit_says_no_when_something_is_found(save, offbook):
    code, out, _ = offbook("audit", save("a.parquet", hint(OPEN, "t1"), hint("Go to fridge 1 now.", "t1")))
    assert code == 1 and "one-episode: 1" in out and out.endswith("1 finding about 1 of 2 hints\n")
    code, out, _ = offbook("audit", str(Path(save("b.parquet", hint(OPEN, "t1")))))
    assert (code, out) == (0, "nothing found in 1 hint\n")
    bank = save("c.parquet", hint(OPEN, "t1"), hint(OPEN_TOO, "t1"))
    code, out, _ = offbook("audit", bank, "--json")
    assert code == 1 and [f["rule"] for f in json.loads(out)["findings"]] == ["near-duplicate"]
    assert offbook("audit", bank, "--ignore", "near-duplicate")[0] == 0
    assert "no audit rule" in offbook("audit", bank, "--ignore", "x")[2]


def test_a_panel_is_asked_about_by_audit_import_and_merge(runs, save, panel_of, offbook, tmp_path):
    panel = tmp_path / "test.json"
    panel_of(1).save(panel)
    code, out, _ = offbook("audit", "tiny", "--out", str(runs), "--panel", str(panel))
    assert code == 1 and "evaluation-task: 1" in out
    assert offbook("audit", "tiny", "--out", str(runs))[0] == 0
    clean, merged = save("clean.parquet", hint("Heat it now.")), tmp_path / "merged.parquet"
    arguments = ("merge", clean, "tiny", "--runs", str(runs), "--out", str(merged), "--panel", str(panel))
    code, _, err = offbook(*arguments)
    assert code == 2 and "a task of the evaluation panel" in err and not merged.exists()
    code, text, _ = offbook("export", "tiny", "--out", str(runs))
    (tmp_path / "x.jsonl").write_text(text)
    imported = ("import", str(tmp_path / "x.jsonl"), "--out", str(merged))
    code, _, err = offbook(*imported, "--panel", str(panel))
    assert code == 2 and "a task of the evaluation panel" in err and not merged.exists()
    assert offbook(*imported)[0] == 0


def test_a_bank_that_names_no_tasks_is_checked_with_its_rollouts(
    runs, failure, panel_of, save, offbook, tmp_path
):
    panel = tmp_path / "test.json"
    panel_of(1).save(panel)
    old = save("old.parquet", hint(OPEN, failure.id), hint("Heat it now."))
    code, out, _ = offbook("audit", old, "--panel", str(panel))
    assert code == 1 and "unknown-task: 1" in out and "1 hints name no failure" in out
    rollouts = ("--rollouts", str(runs / "store" / "rollout-aa"))
    code, out, _ = offbook("audit", old, "--panel", str(panel), *rollouts)
    assert code == 1 and "evaluation-task: 1" in out
    assert "add it" in offbook("audit", old, *rollouts)[2]
    assert "holds no episodes" in offbook("audit", old, "--panel", str(panel), "--rollouts", old)[2]


def test_what_is_exported_is_imported_again(save, offbook, tmp_path):
    bank = save("a.parquet", hint(OPEN, "t1", "t2"), hint(EVIL, "t1"), hint(OPEN_TOO, "t3"))
    text, again = tmp_path / "a.jsonl", tmp_path / "again.parquet"
    assert offbook("export", bank, "--to", str(text)) == (0, f"{text}\n", "")
    code, out, _ = offbook("import", str(text), "--out", str(again))
    assert code == 0 and f"3 hints from 3 entries, sha256 {Bank.load(again).sha256}" in out
    assert Bank.load(again) == Bank.load(Path(bank))
    assert offbook("export", bank)[1] == text.read_text()
    for form in ("csv", "md"):
        assert offbook("export", bank, "--format", form)[0] == 0
    code, _, err = offbook("export", bank, "--to", str(tmp_path / "a.xls"))
    assert code == 2 and "none of jsonl, csv, md" in err


def test_import_can_fold_and_leaves_bad_lines_out_when_asked(offbook, tmp_path):
    file, out = tmp_path / "h.json", tmp_path / "bank.parquet"
    file.write_text(json.dumps({"heat": [OPEN, OPEN_TOO, 3]}))
    arguments = ("import", str(file), "--env", "alfworld", "--out", str(out))
    code, _, err = offbook(*arguments)
    assert code == 2 and "heat[2]" in err and list(tmp_path.iterdir()) == [file]
    code, shown, _ = offbook(*arguments, "--skip-bad", "--similarity", "85")
    assert code == 0 and "1 hints from 2 entries" in shown and "1 bad entry left out" in shown
    code, _, err = offbook(*arguments, "--skip-bad")
    assert code == 2 and "is there already" in err
    assert offbook(*arguments, "--skip-bad", "--force")[0] == 0
    assert len(Bank.load(out).hints) == 2


def test_diff_and_merge(save, offbook, tmp_path):
    a = save("a.parquet", hint(OPEN, "t1"), hint("Heat it now.", "t1"))
    b = save("b.parquet", hint(OPEN_TOO, "t2"), hint("Wash it in the {basin}.", "t2"))
    code, out, _ = offbook("diff", a, b)
    assert code == 1 and all(
        part in out for part in ("only in A: 1", "only in B: 1", "reworded: 1", "the same: 0")
    )
    assert offbook("diff", a, a)[0] == 0
    document = json.loads(offbook("diff", a, b, "--json")[1])
    assert document["reworded"][0]["b"]["text"] == OPEN_TOO
    ab, ba = tmp_path / "ab.parquet", tmp_path / "ba.parquet"
    assert offbook("merge", a, b, "--out", str(ab))[0] == offbook("merge", b, a, "--out", str(ba))[0] == 0
    assert Bank.load(ab) == Bank.load(ba) and len(Bank.load(ab).hints) == 3


def test_an_empty_bank_is_listed_exported_and_imported(save, offbook, tmp_path):
    empty = save("a.parquet")
    assert offbook("list", empty)[:2] == (0, "the bank holds no hints\n")
    assert offbook("list", empty, "--json")[:2] == (0, "[]\n")
    assert offbook("export", empty)[:2] == (0, "")
    (tmp_path / "none.jsonl").write_text("")
    assert offbook("import", str(tmp_path / "none.jsonl"), "--out", str(tmp_path / "b.parquet"))[0] == 0
    assert offbook("merge", empty, str(tmp_path / "b.parquet"), "--out", str(tmp_path / "c.parquet"))[0] == 0


def test_no_verb_shows_a_models_words_raw(save, offbook, failure, tmp_path):
    task = failure.task
    evil = Hint(text=EVIL, kind=EVIL, env=EVIL, sources=(EVIL,), writer=EVIL)
    bank, other = save("a.parquet", evil), save("b.parquet", hint(OPEN, failure.id, kind=task.kind))
    for arguments in (("list", bank), ("show", bank, evil.id), ("audit", bank), ("diff", bank, other)):
        plain, as_json = offbook(*arguments)[1], offbook(*arguments, "--json")[1]
        assert "\\x1b" in plain and "\\u001b" in as_json
    for form in ("jsonl", "csv", "md"):
        assert "漢字" in offbook("export", bank, "--format", form)[1]
    (tmp_path / "x.json").write_text(json.dumps({EVIL: [3]}))
    assert "\\x1b" in offbook("list", EVIL)[2]
    assert "\\x1b" in offbook("import", str(tmp_path / "x.json"), "--out", str(tmp_path / "y.parquet"))[2]


def test_words_fold_beside_their_figures_on_a_terminal(monkeypatch, save, offbook):
    bank = save("a.parquet", hint(OPEN * 4, "t1"), hint("開けて" * 40, "t1"))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    out = offbook("list", bank)[1]
    assert max(hints_views.cell_len(line) for line in out.splitlines()) <= 80
    assert out.count("開けて") >= 30 and len(out.splitlines()) > 8
