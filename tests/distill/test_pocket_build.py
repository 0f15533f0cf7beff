"""`python -m distill.pocket` as a user calls it: one process that starts the others."""

import os
import signal
import subprocess
import sys
import time
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


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_training_that_is_killed_leaves_nothing_running(how, tmp_path):
    command = [sys.executable, "-m", "distill.pocket", "--minutes", "5", "--out", str(tmp_path)]
    with (tmp_path / "log").open("w") as log:
        running = subprocess.Popen(
            command, cwd=Path(__file__).parents[2], stdout=log, stderr=log, start_new_session=True
        )
    try:
        _wait(lambda: len(_session(running.pid)) > 1 and (tmp_path / "training").is_dir())
        os.kill(running.pid, how)
        running.wait(30)
        _wait(lambda: not _session(running.pid))
    finally:
        for pid in _session(running.pid):
            os.kill(pid, signal.SIGKILL)


def _wait(condition, seconds=120.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "not within two minutes"
        time.sleep(0.2)


def _session(leader):
    """Processes of the session that `leader` opened, those that are dead but not yet reaped left out."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, session = stat.read_text().rpartition(")")[2].split()[:4]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(session) == leader and state != "Z":
            found.append(int(stat.parent.name))
    return found
