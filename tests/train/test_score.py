"""Log-probabilities of what was said, against the definition worked out row by row."""

import json

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from train.adapter import hash_model
from train.errors import AdapterError
from train.score import Scorer, batches_by_length
from train.tokenize import IGNORED

ROWS = [
    ([5, 9, 11, 40, 41, 2], [IGNORED, IGNORED, 11, 40, IGNORED, 2]),
    ([7, 8], [IGNORED, 8]),
    ([5, 9, 30, 31, 32, 33, 34, 35, 36, 2], [IGNORED] * 4 + [32, 33] + [IGNORED] * 3 + [2]),
    ([17, 80, 81], [IGNORED, 80, 81]),
]


def by_definition(model, rows):
    """Sum of log softmax at each label, one row and one position at a time."""
    sums = []
    for ids, labels in rows:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids])).logits[0].double()
        at = [i for i, label in enumerate(labels) if label != IGNORED]
        sums.append(sum(float(logits[i - 1].log_softmax(-1)[labels[i]]) for i in at))
    return sums


@pytest.fixture
def adapter(tiny_model, tiny_adapter):
    (tiny_adapter / "adapter.json").write_text(
        json.dumps({"base": str(tiny_model), "base_sha256": hash_model(str(tiny_model))})
    )
    return tiny_adapter


@pytest.mark.parametrize("tokens_at_once", [1, 12, 8192])
def test_sums_are_the_definitions_however_rows_are_batched(tiny_model, tokens_at_once):
    model = AutoModelForCausalLM.from_pretrained(tiny_model).eval()
    scored = Scorer(str(tiny_model), dtype="float32").score(ROWS, tokens_at_once=tokens_at_once)
    assert [row.log_prob for row in scored] == pytest.approx(by_definition(model, ROWS), rel=1e-5)
    assert [row.num_tokens for row in scored] == [3, 1, 3, 2]


def test_an_adapter_counts_while_it_is_asked_for_and_leaves_no_trace(tiny_model, adapter):
    scorer = Scorer(str(tiny_model), dtype="float32")
    before, adapted, after = scorer.score(ROWS), scorer.score(ROWS, adapter), scorer.score(ROWS)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), str(adapter)).eval()
    assert [row.log_prob for row in adapted] == pytest.approx(by_definition(model, ROWS), rel=1e-5)
    assert before == after and before != adapted


def test_an_adapter_of_another_base_is_refused(tiny_model, adapter, tmp_path):
    other = tmp_path / "adapter"
    other.mkdir()
    (other / "adapter.json").write_text(json.dumps({"base": "another", "base_sha256": "0"}))
    with pytest.raises(AdapterError, match="was trained on 'another'"):
        Scorer(str(tiny_model), dtype="float32").score(ROWS, other)


def test_batches_hold_every_row_once_within_bounds():
    lengths = [3, 50, 7, 7, 200, 1]
    batches = list(batches_by_length(lengths, 100))
    assert sorted(i for batch in batches for i in batch) == list(range(6))
    assert all(len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= 100 for batch in batches)
    assert batches[0] == [4]
