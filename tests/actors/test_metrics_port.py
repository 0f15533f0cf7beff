"""What a Prometheus server reads at a node's port is what the dashboard asks for. A cluster of its own: the port is chosen when Ray starts."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from actors.metrics import METRICS

REPOSITORY = Path(__file__).parents[2]
NOT_HERE = "engine_", "train_", "restarts"
"""A scripted rollout has no engine, trains nothing, and nothing dies in it."""

PROGRAM = '''
import os, sys, time, urllib.request
from pathlib import Path
import ray

port, folder = int(sys.argv[1]), Path(sys.argv[2])
ray.init(address="local", num_cpus=3, include_dashboard=False, log_to_driver=False, _metrics_export_port=port,
         _node_ip_address="127.0.0.1", _temp_dir=f"/tmp/offbook-ray-{os.getpid()}")
sys.path.insert(0, "tests/actors")
from test_rollout import ENV, MODEL, settings, specs_of
from actors import ray_meters
from actors.rollout import rollout
from envs.registry import list_tasks

ray_meters._EVERY_S = 0.5
broken = ENV.model_copy(update={"crash_on": (list_tasks(ENV)[3].id,)})
slow = MODEL.model_copy(update={"latency_s": 0.1})
seen = {}

def read(state=None):
    """What is there now; gauges vanish soon after their process has ended."""
    if state is not None and state.ended % 5:
        return
    page = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30).read().decode()
    for line in page.splitlines():
        if line.startswith("ray_offbook_"):
            seen[line.rpartition(" ")[0]] = line.rpartition(" ")[2]

rollout(specs_of(broken), settings(env=broken, model=slow, max_retries=1, slots_per_host=4), folder, progress=read)
until = time.monotonic() + 60
while sum(float(n) for name, n in seen.items() if "_episodes_total{" in name) < 40 and time.monotonic() < until:
    time.sleep(1)
    read()
print("\\n".join(f"{name} {value}" for name, value in seen.items()))
ray.shutdown()
'''


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_rollout_is_read_at_the_nodes_port_under_the_dashboards_names(tmp_path):
    for _ in range(3):
        ended = rollout_and_scrape(tmp_path)
        # A busy machine may not bring Ray up in the time that Ray gives itself.
        if "timed out during startup" not in ended.stderr:
            break
    assert ended.returncode == 0, ended.stderr[-3000:]
    read = {}
    for line in ended.stdout.splitlines():
        if match := re.fullmatch(r"(ray_offbook_\w+)\{(.*)\} ([^ ]+)", line):
            read.setdefault(match[1], {})[match[2]] = float(match[3])
    for metric in METRICS:
        if metric.name.removeprefix("offbook_").startswith(NOT_HERE):
            continue
        name = f"{metric.exported}_bucket" if metric.kind == "histogram" else metric.exported
        assert name in read, (name, sorted(read))
        labels = next(iter(read[name]))
        assert all(f'{tag}="' in labels for tag in metric.tags), labels
    episodes = read["ray_offbook_episodes_total"]
    assert sum(episodes.values()) == 40
    assert sum(n for labels, n in episodes.items() if 'outcome="error"' in labels) == 1
    # The writer and the hosts were stopped before they could tell the last of it.
    assert 0 < sum(read["ray_offbook_episodes_written_total"].values()) <= 40
    assert sum(read["ray_offbook_retries_total"].values()) == 1
    assert all('host="host 0"' in labels and f'run="{tmp_path.name}"' in labels for labels in episodes)


def rollout_and_scrape(folder):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(port), str(folder)],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "RAY_metrics_report_interval_ms": "1000"},
        capture_output=True,
        text=True,
        timeout=600,
    )
