"""Ray's autoscaler brings up the node types of `ray_cluster.yaml` for what a study asks, and takes them down after.

The nodes are processes of this machine with made-up CPUs and GPUs; all else is Ray's own. What is changed of the file: the provider, the idle
timeout, and a small object store.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from distill.commands.shared import load_study_at
from distill.launch.demands import for_nodes_with_gpus, rollout_demands, training_demands
from distill.launch.spot_first import WHERE_REFUSED

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(1800)]

HEAD_ID = "fffffffffffffffffffffffffffffffffffffffffffffffffff00000"
HEAD_TYPE = "ray.head.default"
"""Names that Ray's fake provider gives the head."""
PATIENCE_S = 420
_COMMANDS = (
    "cluster_synced_files",
    "initialization_commands",
    "setup_commands",
    "head_setup_commands",
    "worker_setup_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
)


class Cluster:
    """A head whose autoscaler starts the nodes of `ray_cluster.yaml`."""

    def __init__(self, file: Path, folder: Path):
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self.sold_out, self.launches = folder / "sold_out", folder / "launches"
        self.sold_out.write_text("")
        config = folder / "config.json"
        config.write_text(json.dumps(self._config(yaml.safe_load(file.read_text()))))
        self._process = self._start(config)

    @property
    def is_up(self) -> bool:
        return self._process.poll() is None

    def node_types(self) -> Counter[str]:
        """Nodes that run, but for the head."""
        from ray.autoscaler.v2.sdk import get_cluster_status

        status = get_cluster_status(self.address)
        nodes = (*status.active_nodes, *status.idle_nodes)
        return Counter(node.ray_node_type_name for node in nodes if node.instance_id != HEAD_ID)

    def wait(self, holds: Callable[[Counter[str]], bool], what: str) -> Counter[str]:
        until = time.monotonic() + PATIENCE_S
        seen: Counter[str] = Counter()
        while time.monotonic() < until:
            seen = self.node_types()
            if holds(seen):
                return seen
            assert self.is_up, "Ray's head has ended"
            time.sleep(1)
        raise AssertionError(f"{what}: after {PATIENCE_S} s there are {dict(seen)}; see {self.folder}")

    def log(self) -> str:
        """The autoscaler's."""
        return (self.folder / "ray" / "session_latest" / "logs" / "monitor.log").read_text()

    def end(self) -> None:
        """By their ids the processes that this cluster started, and no others: further clusters may run on this machine."""
        mine = [
            psutil.Process(self._process.pid),
            *psutil.Process(self._process.pid).children(recursive=True),
        ]
        for process in psutil.process_iter(["cmdline"]):
            if any(str(self.folder) in word for word in process.info["cmdline"] or ()):
                mine.append(process)
        for process in mine:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                pass
        self._process.wait()

    def _config(self, cluster: dict[str, Any]) -> dict[str, Any]:
        head = cluster["head_node_type"]
        types = {}
        for name, kind in cluster["available_node_types"].items():
            kept = {key: kind[key] for key in ("min_workers", "max_workers", "node_config") if key in kind}
            resources = kind["resources"] | ({} if name == head else {"object_store_memory": 100 * 2**20})
            types[HEAD_TYPE if name == head else name] = {**kept, "resources": resources}
        types[HEAD_TYPE]["max_workers"] = 0
        return {
            **{key: cluster[key] for key in ("cluster_name", "max_workers", "upscaling_speed")},
            "idle_timeout_minutes": 0.2,
            "provider": {
                "type": "external",
                "module": "scarce_provider.ScarceProvider",
                WHERE_REFUSED: cluster["provider"][WHERE_REFUSED],
                "gcs_address": self.address,
                "head_node_id": HEAD_ID,
                "launch_multiple": True,
                "disable_node_updaters": True,
                "disable_launch_config_check": True,
            },
            "head_node_type": HEAD_TYPE,
            "available_node_types": types,
            # Nobody logs in to a made-up node to set it up, but Ray wants the lists.
            **{key: [] for key in _COMMANDS},
            "file_mounts": {},
            "file_mounts_sync_continuously": False,
            "auth": {},
        }

    def _start(self, config: Path) -> subprocess.Popen[bytes]:
        environment = os.environ | {
            "RAY_FAKE_CLUSTER": "1",
            "RAY_enable_autoscaler_v2": "1",
            "RAY_CLOUD_INSTANCE_ID": HEAD_ID,
            "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_ID,
            "AUTOSCALER_UPDATE_INTERVAL_S": "1",
            # Nodes that join one by one are told no token by Ray; all of these lie on the loopback device.
            "RAY_AUTH_MODE": "disabled",
            # A made-up node of 16 CPUs would start as many processes ahead.
            "RAY_prestart_worker_first_driver": "0",
            "RAY_enable_worker_prestart": "0",
            "SOLD_OUT_FILE": str(self.sold_out),
            "LAUNCHES_FILE": str(self.launches),
            "PYTHONPATH": f"{Path(__file__).parent}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
        }
        host, port = self.address.split(":")
        command = [
            *(
                sys.executable,
                "-m",
                "ray.scripts.scripts",
                "start",
                "--head",
                "--block",
                "--num-cpus=0",
                "--num-gpus=0",
            ),
            *(f"--node-ip-address={host}", f"--port={port}", f"--temp-dir={self.folder / 'ray'}"),
            *("--include-dashboard=false", "--disable-usage-stats", "--object-store-memory=104857600"),
            f"--autoscaling-config={config}",
        ]
        log = (self.folder / "head.log").open("wb")
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)


@pytest.fixture(scope="module")
def cluster(repository: Path) -> Iterator[Cluster]:
    # Short: sockets lie below it, whose paths have a limit. Kept where a test fails, for its logs.
    folder = Path(tempfile.mkdtemp(prefix="offbook-scale-", dir="/tmp"))
    started = Cluster(repository / "ray_cluster.yaml", folder)
    try:
        yield started
    finally:
        started.end()


ASK = """
import json, sys, time
import ray
from ray.util.placement_group import placement_group

address, demands, patience_s = sys.argv[1], json.loads(sys.argv[2]), float(sys.argv[3])
for attempt in range(60):
    try:
        ray.init(address=address, log_to_driver=False)
        break
    except (ConnectionError, RuntimeError):
        if attempt == 59:
            raise
        time.sleep(2)

@ray.remote
class Host:
    def node(self):
        return ray.get_runtime_context().get_node_id()

groups, hosts = [], []
for count, each in demands:
    for _ in range(count):
        if "GPU" in each:
            groups.append(placement_group([each], strategy="STRICT_PACK"))
        else:
            hosts.append(Host.options(num_cpus=each["CPU"]).remote())
ray.get([group.ready() for group in groups] + [host.node.remote() for host in hosts], timeout=patience_s)
print("all there", flush=True)
sys.stdin.read()
"""


def ask(cluster: Cluster, demands: tuple[Any, ...]) -> Callable[[], None]:
    """Ask Ray for what a study asks, engines in placement groups and hosts as actors; returns what gives it all back. A process of its own: this one
    may be at another cluster."""
    wanted = json.dumps([(demand.count, demand.each) for demand in demands])
    command = [sys.executable, "-c", ASK, cluster.address, wanted, str(PATIENCE_S)]
    environment = os.environ | {"RAY_AUTH_MODE": "disabled"}
    asker = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    assert asker.stdin is not None and asker.stdout is not None
    assert asker.stdout.readline() == "all there\n", f"Ray gave not all of {wanted}; see {cluster.folder}"

    def give_back() -> None:
        # What a driver asked for ends with it.
        asker.communicate(timeout=60)

    return give_back


def study(*overrides: str) -> Any:
    return for_nodes_with_gpus(load_study_at("paper-14b", overrides))


def test_a_rollout_gets_nodes_with_gpus_for_engines_and_spot_nodes_for_hosts(cluster: Cluster) -> None:
    assert not cluster.node_types()
    # More hosts than two GPU nodes have CPUs to spare; what Ray hears of first, and so whether it takes a node too many, is not ours to say.
    give_back = ask(cluster, rollout_demands(study("model.replicas=2", "rollout.num_hosts=16")))
    seen = cluster.wait(lambda seen: seen["gpu"] >= 2 and seen["cpu"] >= 1, "scaling up")
    assert set(seen) == {"gpu", "cpu"} and sum(seen.values()) <= 4, seen
    give_back()
    cluster.wait(lambda seen: not seen, "scaling down")


def test_training_gets_a_node_for_every_worker_and_no_other(cluster: Cluster) -> None:
    give_back = ask(cluster, training_demands(study("train.num_workers=2")))
    assert cluster.wait(lambda seen: sum(seen.values()) >= 2, "scaling up") == {"gpu": 2}
    give_back()
    cluster.wait(lambda seen: not seen, "scaling down")


def test_where_spot_is_refused_hosts_get_nodes_on_demand_and_spot_again_when_it_is_back(
    cluster: Cluster,
) -> None:
    _, hosts = rollout_demands(study("rollout.num_hosts=2"))
    for sold_out, market in (("cpu", "on demand"), ("", "spot")):
        cluster.sold_out.write_text(sold_out)
        cluster.launches.write_text("")
        give_back = ask(cluster, (hosts,))
        assert cluster.wait(lambda seen: bool(seen), "scaling up") == {"cpu": 1}
        assert cluster.launches.read_text() == f"1 cpu {market}\n"
        give_back()
        cluster.wait(lambda seen: not seen, "scaling down")
    assert cluster.log().count("no spot node of type cpu, so 1 on demand instead") == 1
