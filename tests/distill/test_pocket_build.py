"""`python -m distill.pocket` as a user calls it: one process that starts the others."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")


def test_the_whole_command_makes_a_model_and_prints_its_table(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "distill.pocket", "--minutes", "0.1", "--games", "2", "--out", str(tmp_path)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    model = tmp_path / "model"
    assert {"model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"} <= {
        file.name for file in model.iterdir()
    }
    # Nothing that it started may fail unseen; how far the shards are after six seconds is the machine's affair.
    assert "Traceback" not in done.stderr
    assert done.stdout.count("base ") == 2  # small rooms and full ones
    assert "the model is in" in done.stderr
