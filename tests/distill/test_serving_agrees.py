"""What is trained is what is served: log-probabilities of the same tokens by training's model and by vLLM, with the adapter and without."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))  # tests are no package

from tiny_model import build_tiny_adapter, build_tiny_model

from actors.config import EngineConfig
from actors.engine import engine_environment, merge_adapter
from train.adapter import MANIFEST, hash_model
from train.lengths import IGNORED
from train.score import Scorer

ROWS = [[5, 9, 11, 40, 41, 2, 80, 81, 200, 17], [7, 8, 30, 31, 400, 33, 34, 2]]


def served(model: Path, *, cores: int = 1) -> list[list[float]]:
    config = EngineConfig(model=str(model), device="cpu", dtype="float32")
    script = Path(__file__).parent / "prompt_logprobs.py"
    done = subprocess.run(
        [sys.executable, str(script), str(model), json.dumps(ROWS)],
        env=os.environ | engine_environment(config, str(model), cores),
        capture_output=True,
        text=True,
        timeout=600,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("FOUND ")]
    assert lines, done.stderr[-2000:]
    return json.loads(lines[0].removeprefix("FOUND "))


def trained(model: Path, adapter: Path | None) -> list[float]:
    rows = [(ids, [IGNORED, *ids[1:]]) for ids in ROWS]
    return [row.log_prob for row in Scorer(str(model), dtype="float32").score(rows, adapter)]


@pytest.mark.vllm
@pytest.mark.timeout(1300)
def test_vllm_and_training_give_every_row_the_same_probability(tmp_path):
    model = build_tiny_model(tmp_path / "model")
    adapter = build_tiny_adapter(model, tmp_path / "adapter")
    (adapter / MANIFEST).write_text(json.dumps({"base": str(model), "base_sha256": hash_model(str(model))}))
    merge_adapter(str(model), str(adapter), tmp_path / "merged")

    adapted = [sum(row) for row in served(tmp_path / "merged")]

    assert adapted == pytest.approx(trained(model, adapter), abs=1e-3)
    assert adapted != pytest.approx(trained(model, None), abs=0.5)
