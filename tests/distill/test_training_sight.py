"""What is told of training while it runs, from the loop's own file."""

import json

from actors.meters import Ledger
from actors.metrics import TRAIN_LOSS, TRAIN_STEP, TRAIN_TOKENS
from distill.sight.training import training_shown


def append(path, *steps, torn=""):
    with path.open("a") as file:
        file.write("".join(json.dumps(step) + "\n" for step in steps) + torn)


def step(number, loss=1.0):
    return {"step": number, "epoch": 0, "loss": loss, "grad_norm": 0.5, "tokens": 100, "tokens_per_s": 50.0}


def test_gauges_are_those_of_the_last_whole_line_and_tokens_add_up(tmp_path):
    ledger, file = Ledger(common={"run": "r"}), tmp_path / "metrics.jsonl"
    with training_shown({"fit-a": tmp_path, "fit-b": tmp_path / "not yet"}, ledger):
        assert not ledger.take().gauges, "of what has not begun nothing is told"
        append(file, step(0), step(1, loss=0.5), torn='{"step": 2, "lo')
        first = ledger.take()
        assert first.gauges[TRAIN_STEP, ("r", "fit-a")] == 1
        assert first.gauges[TRAIN_LOSS, ("r", "fit-a")] == 0.5
        assert first.counts[TRAIN_TOKENS, ("r", "fit-a")] == 200
        append(file, torn='ss": 0.25, "tokens": 100}\n')
        second = ledger.take()
        assert second.gauges[TRAIN_LOSS, ("r", "fit-a")] == 0.25
        assert second.counts[TRAIN_TOKENS, ("r", "fit-a")] == 100
        assert {tags for _, tags in second.gauges} == {("r", "fit-a")}


def test_a_loop_that_goes_back_to_a_checkpoint_is_followed(tmp_path):
    ledger, file = Ledger(common={"run": "r"}), tmp_path / "metrics.jsonl"
    append(file, *(step(n) for n in range(5)))
    with training_shown({"fit-a": tmp_path}, ledger):
        ledger.take()
        file.write_text("")
        append(file, step(0), step(1))
        delivery = ledger.take()
        assert delivery.gauges[TRAIN_STEP, ("r", "fit-a")] == 1
        assert delivery.counts[TRAIN_TOKENS, ("r", "fit-a")] == 0, "a counter never falls"
