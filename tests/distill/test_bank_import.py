"""Banks as text: what goes out comes back, and bad lines are named."""

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distill.hints.bank import Bank, BankError, build_bank, ordered_bank
from distill.hints.bank_import import Defaults, import_bank
from distill.hints.exchange import to_csv, to_jsonl, to_markdown
from distill.hints.hint import Hint, Writing, hint_of, normalise
from distill.printable import visible, visible_json

DEFAULTS = Defaults(env="alfworld", writer="me")
OPEN = "Open every closed {container} and look inside."
OPEN_TOO = "Open each closed {container} and look inside it."
PLANES = "".join(chr(plane * 0x10000 + low) for plane in range(17) for low in (0x7F, 0x85, 0x202E, 0xFFFE))
EVERYTHING = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=40)


def written(text: str, *sources: str, **changes) -> Hint:
    writings = [Writing(source=s, text=text, writer="w", task=f"alfworld/{s}", **changes) for s in sources]
    return hint_of(writings, text, kind="heat", env="alfworld")


def file_of(folder: Path, *lines: object, name: str = "hints.jsonl") -> Path:
    path = folder / name
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def test_jsonl_comes_back_as_it_went_lineage_and_all(tmp_path):
    bank = build_bank(
        [
            written(OPEN, "t1", "t2", usd=0.125, prompt_sha256="ab"),
            written(OPEN_TOO, "t3"),
            written("Heat it now.", "t1"),
        ]
    )
    assert import_bank(file_of(tmp_path, to_jsonl(bank)), Defaults(env=None, writer="x")).bank == bank


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(EVERYTHING, EVERYTHING.map(lambda text: f"k{text}")), max_size=5))
def test_any_text_survives_jsonl_and_parquet_and_is_never_shown_raw(tmp_path, drawn):
    bank = ordered_bank(
        Hint(text=f"say {text}", kind=kind, env="alfworld", sources=("t",), writer=text)
        for text, kind in drawn
    )
    text = to_jsonl(bank)
    assert all(line.isprintable() for line in text.split("\n"))
    assert import_bank(file_of(tmp_path, text), DEFAULTS).bank.sha256 == bank.sha256
    bank.save(tmp_path / "bank.parquet")
    assert Bank.load(tmp_path / "bank.parquet") == bank
    for other in (to_csv(bank), to_markdown(bank)):
        assert all(line.isprintable() for line in other.split("\n"))


def test_every_unicode_plane_is_shown_by_escapes_and_comes_back():
    shown = visible(PLANES)
    assert shown.isprintable() and "\\x7f\\x85\\u202e" in shown and shown.endswith("\\U0010fffe")
    assert json.loads(visible_json({PLANES: [PLANES]}, indent=1)) == {PLANES: [PLANES]}
    assert visible("\x1b[31m\n\u200f\ud800é漢{x}") == "\\x1b[31m\\n\\u200f\\ud800é漢{x}"
    assert visible("a\nb\r", keep="\n") == "a\nb\\r"


def test_a_plain_json_of_texts_by_kind_counts_what_it_repeats(tmp_path):
    path = file_of(tmp_path, {"heat": [OPEN, "Heat it now.", OPEN.upper()], "cool": []}, name="h.json")
    read = import_bank(path, DEFAULTS)
    assert [(h.kind, h.count, h.votes, h.writer) for h in read.bank.hints] == [
        ("heat", 2, 0, "me"),
        ("heat", 1, 0, "me"),
    ]
    assert read.num_read == 3
    assert [h.count for h in read.bank.merge(read.bank).hints] == [2, 1], "the same file twice says no more"


def test_the_same_failure_on_two_lines_counts_once_and_near_duplicates_stay(tmp_path):
    row = {"text": OPEN, "kind": "heat", "sources": ["t1"]}
    path = file_of(tmp_path, row, row | {"sources": ["t1", "t2"]}, row | {"text": OPEN_TOO}, "", "   ")
    read = import_bank(path, DEFAULTS)
    assert [(h.text, h.count, h.votes) for h in read.bank.hints] == [(OPEN, 2, 2), (OPEN_TOO, 1, 1)]
    assert read.num_read == 3


def test_an_edited_line_keeps_its_lineage_and_its_new_words(tmp_path):
    bank = build_bank([written(OPEN, "t1", "t2"), written(OPEN_TOO, "t3")])
    new = "Look into every closed {container} that you pass."
    read = import_bank(
        file_of(tmp_path, to_jsonl(bank).replace(f'"text": "{OPEN}", "kind"', f'"text": "{new}", "kind"')),
        DEFAULTS,
    )
    assert read.num_edited == 1
    [hint] = build_bank(read.bank.hints).hints
    assert (hint.text, hint.sources, hint.writer) == (new, ("t1", "t2", "t3"), "w (edited)")


BAD = [
    ("{", "is not JSON"),
    ("[" * 100_000, "nested too deep"),
    ("3", "valid dictionary"),
    ({"text": OPEN}, "kind: field required"),
    ({"text": "", "kind": "heat"}, "text: says nothing"),
    ({"text": " ... ", "kind": "heat"}, "text: says nothing"),
    ({"text": 3, "kind": "heat"}, "text: input should be a valid string"),
    ({"text": OPEN, "kind": ""}, "kind: string should have at least 1"),
    ({"text": OPEN, "kind": "heat", "count": 0}, "count: input should be greater"),
    ({"text": OPEN, "kind": "heat", "count": 10**30}, "count: input should be less"),
    ({"text": OPEN, "kind": "heat", "cuont": 2}, "cuont: extra inputs are not permitted"),
    ({"text": OPEN, "kind": "heat", "sources": "t1"}, "sources: input should be a valid list"),
    ('{"text": "Open \\ud800 it.", "kind": "heat"}', "half of a character, \\ud800"),
    ('{"text": "Open it.", "kind": "heat\\udfff"}', "half of a character, \\udfff"),
    ('{"text": "Open it.", "text": "Close it.", "kind": "heat"}', "names 'text' twice"),
    ({"text": OPEN, "kind": "heat", "lineage": [{"text": OPEN, "writer": "w", "usd": -1}]}, "lineage.0.usd"),
    (
        '{"text": "Open it.", "kind": "heat", "lineage": [{"text": "Open it.", "writer": "w", "usd": NaN}]}',
        "usd",
    ),
    ({"text": OPEN, "kind": "heat", "count": 2, "lineage": [{"text": OPEN, "writer": "w"}]}, "adds up to 1"),
    (
        {"text": OPEN, "kind": "heat", "writer": "v", "lineage": [{"text": OPEN, "writer": "w"}]},
        "its lineage says 'w'",
    ),
]


@pytest.mark.parametrize(("line", "problem"), BAD)
def test_a_bad_line_is_named_by_number_and_can_be_left_out(line, problem, tmp_path):
    good = {"text": OPEN, "kind": "heat"}
    path = file_of(tmp_path, good, "", line, good)
    with pytest.raises(BankError, match=r"hints\.jsonl:3: .*--skip-bad") as raised:
        import_bank(path, DEFAULTS)
    assert problem in str(raised.value)
    read = import_bank(path, DEFAULTS, skip_bad=True)
    assert [bad.where for bad in read.bad] == [f"{path}:3"]
    assert [(h.text, h.count) for h in read.bank.hints] == [(OPEN, 2)]


def test_bytes_that_are_no_utf_8_cost_one_line(tmp_path):
    path = tmp_path / "hints.jsonl"
    good = json.dumps({"text": OPEN, "kind": "heat"}).encode()
    path.write_bytes(b"\xef\xbb\xbf" + good + b"\r\n\xff\xfe\n" + good)
    read = import_bank(path, DEFAULTS, skip_bad=True)
    assert [(bad.where, bad.problem) for bad in read.bad] == [(f"{path}:2", "is not UTF-8 (byte 0)")]
    assert read.bank.hints[0].count == 2


def test_many_bad_lines_are_counted(tmp_path):
    with pytest.raises(BankError, match=r":1: .*:3: [^;]*; 4 more bad lines; mend them"):
        import_bank(file_of(tmp_path, *["{"] * 7), DEFAULTS)


def test_lines_without_an_env_need_one(tmp_path):
    with pytest.raises(BankError, match=r"names no env; give it with --env"):
        import_bank(file_of(tmp_path, {"text": OPEN, "kind": "heat"}), Defaults(env=None, writer="me"))


@pytest.mark.parametrize(
    ("text", "name", "problem"),
    [
        ("[]", "h.json", "holds no object of the form"),
        ("{", "h.json", r"h\.json: is not JSON \(.*line 2"),
        ('{"heat": "Open it."}', "h.json", r"h\.json: heat: is no list"),
        ('{"heat": ["Open it.", 7]}', "h.json", r"h\.json: heat\[1\]: text: input should be a valid string"),
        ('{"heat": ["Open it."], "heat": []}', "h.json", "names 'heat' twice"),
        ("", "h.csv", r"ends in \.csv; an import is \.jsonl"),
    ],
)
def test_a_file_of_another_form_is_named(text, name, problem, tmp_path):
    with pytest.raises(BankError, match=problem):
        import_bank(file_of(tmp_path, text, name=name), DEFAULTS)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=60), st.text(max_size=60).map(str.encode)))
def test_no_bytes_make_an_import_fail_in_another_way(tmp_path, raw):
    for name in ("x.jsonl", "x.json"):
        path = tmp_path / name
        path.write_bytes(raw)
        try:
            read = import_bank(path, DEFAULTS, skip_bad=True)
        except BankError:
            continue
        read.bank.save(tmp_path / "bank.parquet")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
ROW_KEYS = ("id", "text", "kind", "env", "sources", "writer", "count", "uses_oracle", "lineage")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(ROW_KEYS), JSON, max_size=4))
def test_no_row_makes_an_import_fail_in_another_way(tmp_path, changes):
    row = {"text": OPEN, "kind": "heat"} | changes
    read = import_bank(file_of(tmp_path, row), DEFAULTS, skip_bad=True)
    read.bank.save(tmp_path / "bank.parquet")
    assert len(read.bank.hints) + len(read.bad) == 1


def test_spreadsheets_and_markdown_take_a_models_words_as_words():
    text = '=HYPERLINK("http://x") | <b>*bold*</b>'
    bank = ordered_bank([written(text, "t1"), written(OPEN, "t1", "t2")])
    rows = list(csv.DictReader(io.StringIO(to_csv(bank))))
    assert [row["text"] for row in rows] == [OPEN, f"'{text}"]
    assert (rows[0]["count"], rows[0]["votes"], rows[0]["tasks"]) == ("2", "2", "2")
    page = to_markdown(bank)
    assert "\\| \\<b\\>\\*bold\\*" in page and page.startswith("## heat (alfworld)\n")
    assert normalise(OPEN) in page.lower()
