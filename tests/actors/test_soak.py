"""The soak: its plan of faults here, a small one on several Ray nodes in the slow set."""

import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.soak import SHARES, plan

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "soak.py"


def test_every_kind_of_fault_has_its_share():
    assert Counter(plan(100, random.Random(0), cuts=True)) == SHARES
    assert set(plan(6, random.Random(0), cuts=True)) == set(SHARES)
    few = Counter(plan(10, random.Random(1), cuts=False))
    assert few.total() == 10 and set(few) == set(SHARES) - {"cut"}


def test_the_order_is_the_seeds():
    assert plan(50, random.Random(3), cuts=True) == plan(50, random.Random(3), cuts=True)
    assert plan(50, random.Random(3), cuts=True) != plan(50, random.Random(4), cuts=True)


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("network", ["loopback", "namespaces"])
def test_no_episode_is_lost_or_doubled_whatever_dies(network, tmp_path):
    tools = all(shutil.which(tool) for tool in ("ip", "unshare", "nsenter"))
    if network == "namespaces" and (os.geteuid() != 0 or not tools):
        pytest.skip("network namespaces need root, iproute2 and util-linux")
    asked = ["--network", network, "--faults", "6", "--episodes", "300", "--cut-s", "30", "--json"]
    run = subprocess.run([sys.executable, str(SCRIPT), *asked], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-4000:]
    result = json.loads(run.stdout)
    assert sum(result["faults"].values()) == 6 and not result["skipped"]
    assert (result["lost"], result["doubled"], result["different"], result["errors"]) == (0, 0, 0, 0)
    assert result["episodes"] == 300
