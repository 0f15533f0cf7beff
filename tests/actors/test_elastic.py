"""Nodes that join, drain and die under a rollout, each a Ray node of its own on this machine."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(900)
def test_a_rollout_outlives_the_nodes_it_began_and_went_on_with(tmp_path):
    run = subprocess.run(
        [sys.executable, str(Path(__file__).parent / "elastic_run.py"), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=880,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-4000:]
    happened = json.loads(run.stdout.splitlines()[-1])
    log = "\n".join(happened["log"])
    assert happened["began_with"] == 1, "it begins with the one host that found room"
    assert happened["drain_accepted"] and "drains with its node" in log
    assert happened["killed"] and happened["ended_before_the_kill"] < happened["episodes"] == 160
    assert happened["errors"] == 0
    assert happened["alike"], (
        "zero lost, zero doubled, and what was played is what is played without any of it"
    )
