"""WebShop's words, stems and ranking, by themselves and against what Lucene made of the real products."""

import json
import lzma
import random

import numpy as np
import pytest

from envs.webshop.analysis import terms
from envs.webshop.postings import Postings, PostingsWriter, code_length, length_code
from envs.webshop.search import Searcher
from envs.webshop.stemmer import stem
from envs.webshop.words import LONGEST_WORD, words


@pytest.mark.parametrize(
    "text, expected",
    [
        (
            "don't o'clock 3.5mm 1,000.50 a_b finish:solid",
            ["don't", "o'clock", "3.5mm", "1,000.50", "a_b", "finish:solid"],
        ),
        ("x-large t-shirt a.b. 5'11\"", ["x", "large", "t", "shirt", "a.b", "5'11"]),
        ("★5 stars™ ☆ café Straße", ["★", "5", "stars", "™", "café", "Straße"]),
        ("中文字 ひら カタカナ 한국어", ["中", "文", "字", "ひ", "ら", "カタカナ", "한국어"]),
        ("👍🏽 👩‍👧 🇩🇪🇫🇷 1️⃣", ["👍🏽", "👩‍👧", "🇩🇪", "🇫🇷", "1️⃣"]),
        ("สวัสดี abc", ["สวัสดี", "abc"]),
        ("e\u0301a _ __a .. '", ["e\u0301a", "__a"]),
        ("אב' אב\"ג א'ב a'א' 1", ["אב'", 'אב"ג', "א'ב", "a'א", "1"]),
        ("", []),
    ],
)
def test_words_break_as_lucenes(text, expected):
    assert words(text) == expected


def test_words_that_are_too_long_are_cut_and_go_on():
    assert [len(w) for w in words("a" * 600)] == [LONGEST_WORD, LONGEST_WORD, 90]
    assert [len(w) for w in words("é" * 300)] == [LONGEST_WORD, 45]
    assert [len(w) for w in words("\U0001d41a" * 200)] == [127, 73]


def test_the_quick_way_for_ascii_is_the_same_as_the_rules():
    from envs.webshop.words import _rules

    rules, rng = _rules(), random.Random(0)
    for _ in range(3000):
        text = "".join(rng.choice("aB1_.,':;\"- \n#*") for _ in range(rng.randint(0, 30)))
        classes = text.translate(rules.letters)
        assert words(text) == [text[start:end] for start, end in rules.spans(text, classes)], text


@pytest.mark.parametrize(
    "word, expected",
    [
        ("caresses", "caress"), ("ponies", "poni"), ("agreed", "agre"), ("hopping", "hop"), ("filing", "file"),
        ("happy", "happi"), ("relational", "relat"), ("technology", "technolog"), ("possibly", "possibl"),
        ("adjustable", "adjust"), ("is", "is"), ("skies", "ski"), ("rolling", "roll"), ("controlling", "control"),
        ("yellow", "yellow"), ("sky", "sky"), ("formaliti", "formal"), ("effective", "effect"), ("bowl", "bowl"),
    ],
)  # fmt: skip
def test_stems_are_porters(word, expected):
    assert stem(word) == expected


def test_terms_drop_stop_words_and_possessives_and_lower_every_script():
    assert terms("The WOMEN'S Shoes’s are for İstanbul ÉCLAIR") == ["women", "shoe", "istanbul", "éclair"]


def test_lengths_are_kept_in_a_byte_as_lucene_keeps_them():
    # The steps of Lucene's SmallFloat.intToByte4, as its documentation gives them.
    assert [code_length(length_code(n)) for n in (0, 23, 24, 39, 40, 41, 42, 57, 100, 1000)] == [
        0, 23, 24, 39, 40, 40, 42, 56, 96, 984,
    ]  # fmt: skip
    assert all(
        code_length(length_code(n)) <= n < 2 * code_length(length_code(n)) + 24 for n in range(1, 5000)
    )


def _searcher(folder, documents):
    writer = PostingsWriter(folder)
    for document in documents:
        writer.add(document)
    writer.close()
    return Searcher(
        Postings(folder),
        np.arange(len(documents), dtype=np.uint32),
        num_docs=writer.num_docs,
        num_docs_with_text=writer.num_docs_with_text,
        num_tokens=writer.num_tokens,
    )


def test_skipping_what_cannot_reach_the_best_changes_nothing(tmp_path, monkeypatch):
    """Frequent terms are looked up for the near documents only; runs are merged as if there were one."""
    rng = random.Random(1)
    weights = [1 / (n + 1) for n in range(60)]
    made = [rng.choices([f"t{n:02}" for n in range(60)], weights, k=rng.randint(0, 40)) for _ in range(900)]
    (tmp_path / "one").mkdir()
    (tmp_path / "many").mkdir()
    whole = _searcher(tmp_path / "one", made)
    monkeypatch.setattr("envs.webshop.postings.RUN_POSTINGS", 500)
    runs = _searcher(tmp_path / "many", made)
    assert sorted(p.name for p in (tmp_path / "one").iterdir()) == sorted(
        p.name for p in (tmp_path / "many").iterdir()
    )
    pruned = 0
    for _ in range(60):
        query = " ".join(rng.sample([f"t{n:02}" for n in range(60)], rng.randint(1, 6)))
        found = whole.search(query, 5)
        assert found == runs.search(query, 5) == whole.search(query, 900)[:5]
        pruned += (
            len(whole._scored(whole._terms(__import__("collections").Counter(query.split())), 5)[0]) < 100
        )
    assert pruned


def test_ties_go_to_the_lesser_id_and_are_shown_a_millionth_lower(tmp_path):
    searcher = _searcher(tmp_path, [["q", "b"], ["q", "c"], ["q", "d"], ["e"]])
    found = searcher.search("q", 2)
    assert [doc for doc, _ in found] == [0, 1]
    assert found[0][1] - found[1][1] == pytest.approx(1e-6, rel=0.1)
    assert searcher.search("nowhere", 5) == searcher.search("", 5) == []


def test_every_real_document_has_lucenes_terms(test_data):
    from envs.webshop.products import find_sources, read_listings

    products = {
        each.product.asin: each.product for each in read_listings(find_sources(test_data / "webshop"))
    }
    with lzma.open(test_data / "webshop/traces/lucene_doc_tokens.jsonl.xz", "rt") as lines:
        recorded = [json.loads(line) for line in lines]
    assert len(recorded) == len(products) == 1000
    different = [row["id"] for row in recorded if terms(products[row["id"]].contents) != row["tokens"]]
    assert different == []
