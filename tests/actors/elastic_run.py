"""A rollout on a cluster whose nodes come and go, in a process of its own: one node joins, is drained, another joins and is killed.

python tests/actors/elastic_run.py OUT     # prints what happened as JSON
"""

import json
import logging
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parent)]

from rollout_kills import played  # noqa: E402

from actors.config import (  # noqa: E402
    AgentConfig,
    BudgetConfig,
    RolloutConfig,
    SamplingConfig,
    ScriptedModelConfig,
)
from actors.episode import EpisodeSpec  # noqa: E402
from actors.job import RolloutSettings  # noqa: E402
from actors.rollout import rollout, rollout_local  # noqa: E402
from envs.config import ScriptedConfig  # noqa: E402
from envs.registry import list_tasks  # noqa: E402

ENV = ScriptedConfig(num_tasks=40)


def settings(latency_s):
    return RolloutSettings(
        env=ENV,
        agent=AgentConfig(prompt="brief"),
        model=ScriptedModelConfig(skill=0.5, latency_s=latency_s),
        budget=BudgetConfig(max_steps=15),
        sampling=SamplingConfig(),
        rollout=RolloutConfig(num_hosts=2, slots_per_host=2, flush_every_s=0.05, max_retries=5),
    )


def specs():
    return [
        EpisodeSpec(task=task, role="base", arm="base", seed=seed)
        for seed in range(4)
        for task in list_tasks(ENV)
    ]


class Heard(logging.Handler):
    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


def until(holds, what, timeout_s=300):
    end = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > end:
            raise AssertionError(f"never: {what}")
        time.sleep(0.2)


def disturb(cluster, heard, state, happened):
    """While the rollout runs."""
    import ray
    from ray._raylet import GcsClient

    def full():
        return ray.available_resources().get("CPU", 0) < 0.5

    until(lambda: state.get("ended", 0) >= 3, "the one host played")
    happened["began_with"] = ray.cluster_resources()["CPU"]
    node = cluster.add_node(num_cpus=1)
    until(full, "a host on the node that joined")
    time.sleep(3)
    happened["drain_accepted"] = GcsClient(address=cluster.address).drain_node(node.node_id, 2, "test", 0)[0]
    until(lambda: any("drains with its node" in line for line in heard.lines), "the host drains")
    other = cluster.add_node(num_cpus=1)
    time.sleep(8)
    cluster.remove_node(node)
    until(full, "a host on the other node")
    time.sleep(3)
    happened["ended_before_the_kill"] = state["ended"]
    cluster.remove_node(other, allow_graceful=False)
    happened["killed"] = True


def main():
    import ray
    from ray.cluster_utils import Cluster

    out, heard, state, happened = Path(sys.argv[1]), Heard(), {}, {}
    logging.getLogger("actors").addHandler(heard)
    logging.getLogger("actors").setLevel(logging.INFO)
    rollout_local(specs(), settings(0.0), out / "unbroken")
    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 1,
            "include_dashboard": False,
            "temp_dir": f"/tmp/offbook-el-{os.getpid()}",
        },
    )
    ray.init(address=cluster.address, log_to_driver=False)
    try:
        with ThreadPoolExecutor(1) as beside:
            playing = beside.submit(
                rollout,
                specs(),
                settings(0.35),
                out / "broken",
                progress=lambda progress: state.update(ended=progress.ended),
            )
            # Here, because Ray starts nodes in a main thread only.
            disturb(cluster, heard, state, happened)
            summary = playing.result()
    finally:
        ray.shutdown()
        cluster.shutdown()
    happened |= {"errors": summary.errors, "retries": summary.retries, "episodes": summary.episodes}
    happened["alike"] = played(out / "broken") == played(out / "unbroken")
    happened["log"] = heard.lines
    print(json.dumps(happened))


if __name__ == "__main__":
    main()
