"""`python -m distill.pocket` as a user calls it: one process that starts the others."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")


@pytest.mark.parametrize(("env", "tables"), [("alfworld", 2), ("webshop", 1)])
def test_the_whole_command_makes_a_model_and_prints_its_table(env, tables, tmp_path):
    command = [sys.executable, "-m", "distill.pocket", "--env", env, "--minutes", "0.1", "--games", "2"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    model = tmp_path / "model"
    assert {"model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"} <= {
        file.name for file in model.iterdir()
    }
    # Nothing that it started may fail unseen; how far the shards are after six seconds is the machine's affair.
    assert "Traceback" not in done.stderr
    assert done.stdout.count("base ") == tables  # small rooms and full ones, or purchases
    assert "the model is in" in done.stderr
