"""Matching retrievers: all candidates of the right kind are ranked, whatever their number, the same way every time."""

import sys
import time
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from actors.models import ModelError
from distill.hints.bank import BankError, build_bank, ordered_bank
from distill.hints.config import RetrieverConfig
from distill.hints.hint import Hint
from distill.hints.retrievers import make_retriever
from distill.hints.retrievers.embedding import Encoder
from distill.hints.retrievers.likeness import Likeness
from distill.hints.retrievers.lsa import Lsa
from distill.hints.retrievers.tfidf import TfIdf
from envs.task import Task

sys.path.insert(0, str(Path(__file__).parent.parent))  # tests are no package

from tiny_model import tiny_model  # noqa: F401

HEAT, COOL = "pick_heat_then_place_in_recep", "pick_cool_then_place_in_recep"
MATCHING = ("bm25", "tfidf", "lsa")
FROM_THE_KIND = (*MATCHING, "frequent", "random")
PLAIN = {"frequency_weight": 0.0, "diversity": 0.0}


def task(number: int = 0, kind: str = HEAT, goal: str = "put a hot apple in fridge.") -> Task:
    return Task(env="alfworld", split="train", id=f"g{number}", kind=kind, goal=goal)


def hint(text: str, kind: str = HEAT, count: int = 1) -> Hint:
    return Hint(text=text, kind=kind, env="alfworld", sources=(), writer="w", count=count)


def name_of(number: int) -> str:
    """A word of its own for each number, without digits."""
    return "".join(chr(ord("a") + int(digit)) for digit in f"{number:04d}")


LARGE = ordered_bank(
    [hint(f"Search the q{name_of(n)}z first.", count=1 + (n < 3)) for n in range(5000)]
    + [hint(f"Cool the q{name_of(n)}z first.", COOL) for n in range(50)]
)


@pytest.mark.parametrize("name", FROM_THE_KIND)
def test_hints_are_of_the_tasks_kind_k_different_ones_and_the_same_again(name):
    config = RetrieverConfig(name=name, k=4)
    first, second = make_retriever(config, LARGE), make_retriever(config, LARGE)
    known = {h.id: h for h in LARGE.for_kind(COOL)}
    for number in range(10):
        given = first(task(number, COOL, f"put a cool q{name_of(number)}z in fridge."), "a room")
        assert given == second(task(number, COOL, f"put a cool q{name_of(number)}z in fridge."), "a room")
        assert len({h.id for h in given}) == 4
        assert all(known[h.id].text == h.text for h in given)


@pytest.mark.parametrize("name", FROM_THE_KIND)
def test_k_larger_than_the_bank_gives_all_of_the_kind(name):
    given = make_retriever(RetrieverConfig(name=name, k=80), LARGE)(task(kind=COOL), "a room")
    assert sorted(h.id for h in given) == sorted(h.id for h in LARGE.for_kind(COOL))


@pytest.mark.parametrize("name", [*FROM_THE_KIND, "shuffled", "filler", "other_kind"])
def test_an_empty_bank_is_an_error(name):
    with pytest.raises(BankError, match="bank is empty"):
        make_retriever(RetrieverConfig(name=name), build_bank([]))


@pytest.mark.parametrize("name", MATCHING)
def test_paper_6_2_no_candidate_is_cut_off_however_many_there_are(name):
    """The rarest hints stand at the end of the list: each must be found there by its only word."""
    retrieve = make_retriever(RetrieverConfig(name=name, k=1, **PLAIN), LARGE)
    last = LARGE.for_kind(HEAT)[-3:]
    began = time.process_time()
    for number, wanted in enumerate(last):
        word = wanted.text.split()[2]
        assert retrieve(task(number, goal=f"put a hot {word} in fridge."), "a room")[0].id == wanted.id
    assert time.process_time() - began < 60


@pytest.mark.parametrize("name", MATCHING)
def test_paper_6_2_the_texts_are_indexed_and_not_the_kinds(name):
    """Another task of the same kind gets other hints: an index over the kinds' names would give the same ones."""
    bank = build_bank([hint("Look for eggs in the fridge."), hint("A newspaper lies on the sofa.")])
    retrieve = make_retriever(RetrieverConfig(name=name, k=1, **PLAIN), bank)
    assert "eggs" in retrieve(task(goal="put a hot egg in sink."), "a fridge 1")[0].text
    assert "newspaper" in retrieve(task(goal="put a newspaper in bed."), "a sofa 1")[0].text


@pytest.mark.parametrize("name", MATCHING)
def test_without_any_match_frequency_and_then_the_id_decide(name):
    bank = build_bank([hint("Alpha.", count=1), hint("Gamma.", count=5), hint("Epsilon.", count=1)])
    given = make_retriever(RetrieverConfig(name=name, **PLAIN), bank)(task(goal="x"), "y")
    assert [h.id for h in given] == [h.id for h in bank.for_kind(HEAT)]


def test_slots_alone_are_no_words_and_break_nothing():
    bank = build_bank([hint("{object} {place}"), hint("{a} 1")])
    for name in MATCHING:
        assert len(make_retriever(RetrieverConfig(name=name), bank)(task(), "a room")) == 2


def test_tfidf_is_the_cosine_of_weighted_words():
    match = TfIdf(["cook the egg", "cook the bread", "wash the plate"])
    scores = match.scores("cook the egg")
    assert scores[0] == pytest.approx(1.0)
    shared = np.log(4 / 3) + 1
    rare = np.log(4 / 2) + 1
    assert scores[1] == pytest.approx(shared**2 / (shared**2 + rare**2))
    assert scores[2] == 0 and match.scores("nothing of it").tolist() == [0, 0, 0]


def test_lsa_sees_spelling_where_words_do_not_match():
    texts = ["Refrigerating comes before placing.", "Microwaves make it warm.", "Lamps are to be used."]
    assert not TfIdf(texts).scores("the refrigerator").any()
    assert Lsa(texts).scores("the refrigerator").argmax() == 0


def test_likeness_is_of_both_texts_alike():
    rows = [Likeness([{"a", "b"}, {"b", "c", "d"}, set()]).row(n) for n in range(3)]
    matrix = np.array(rows)
    assert (matrix == matrix.T).all()
    assert matrix[0, 0] == pytest.approx(1) and 0 < matrix[0, 1] < 1 and not matrix[2].any()


def test_an_embedding_needs_a_model_and_says_what_else_there_is():
    with pytest.raises(ValidationError, match=r"needs embedding_model.*`lsa` needs no model"):
        RetrieverConfig(name="embedding")


def test_an_encoder_matches_a_text_with_itself(tiny_model):  # noqa: F811
    texts = ["open the fridge", "take a book", "look at the desk and the drawer"]
    bank = build_bank([hint(text) for text in texts])
    config = RetrieverConfig(name="embedding", embedding_model=str(tiny_model), k=1, **PLAIN)
    retrieve = make_retriever(config, bank)
    vectors = Encoder(str(tiny_model))(texts)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1)
    for text in texts:
        assert retrieve(task(goal=text), "")[0].text == text
    # A text's vector must not depend on the longer ones in its batch: padding is no word.
    assert Encoder(str(tiny_model))(texts[:1])[0] == pytest.approx(vectors[0], abs=1e-5)


def test_a_folder_that_is_no_encoder_and_a_missing_extra_are_told(tmp_path, monkeypatch):
    config = RetrieverConfig(name="embedding", embedding_model=str(tmp_path))
    with pytest.raises(ModelError, match="holds no checkpoint"):
        make_retriever(config, build_bank([hint("x y")]))(task(), "")
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(ModelError, match=r"offbook\[train\]"):
        make_retriever(config, build_bank([hint("x y")]))(task(), "")
