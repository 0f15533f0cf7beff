"""`ray_cluster.yaml`: a cluster as Ray's own launcher wants it, for AWS, GCP and Azure."""

from collections.abc import Mapping
from typing import Any

from distill.launch import spot_first
from distill.launch.commented_yaml import Why, comment, to_yaml
from distill.launch.spec import ClusterSpec, NodeConfig

HOME = "/home/ray"
RUNS = f"{HOME}/runs"
CODE = f"{HOME}/offbook"
ENVIRONMENT_FILE = f"{HOME}/.offbook/environment"
_SOURCE = f"if [ -s {ENVIRONMENT_FILE} ]; then set -a; . {ENVIRONMENT_FILE}; set +a; fi"
_SDK = {
    "aws": "boto3>=1.35",
    "gcp": "google-api-python-client>=2.100",
    # Ray 2.60 looks for the clients of deployments where azure-mgmt-resource 25 has them no longer.
    "azure": "azure-common msrestazure azure-identity azure-mgmt-compute azure-mgmt-network azure-mgmt-resource<25",
}

_HEADER = """\
A cluster for studies that outgrow one machine, in the form of Ray's cluster launcher, for {cloud}. `offbook cluster render ray` \
writes it; change the description that it is rendered from, and render it again (docs/cluster.md):

    pip install -e . "ray[default]=={ray}" {sdk}
    ray get-auth-token --generate      # once: the secret that every node and client of the cluster shares
    offbook cluster up                 # starts the head; workers come when a study asks for them
    offbook cluster submit STUDY.toml
    offbook cluster status
    ray rsync-down ray_cluster.yaml /home/ray/runs/ ./runs/
    offbook cluster down               # ends everything, the head included

Another cloud is another description (`--spec gcp`, `--spec azure`), whose few lines docs/cluster.md tells of.

The test suite holds this file against the launcher's own schema. Nothing here has been launched on an account yet: quotas, \
prices and the images that a region offers are yours to check before the first start."""


def render_ray(spec: ClusterSpec) -> str:
    header = _HEADER.format(cloud=_CLOUDS[spec.cloud], ray=spec.ray_version, sdk=_quoted(_SDK[spec.cloud]))
    return "\n".join(comment(header)) + "\n" + to_yaml(ray_document(spec))


def ray_document(spec: ClusterSpec) -> dict[str, Any]:
    """With the reasons for what it says (`commented_yaml.plain` takes them off)."""
    if spec.storage.nfs is None:
        raise ValueError(
            "Ray's launcher needs storage.nfs = 'HOST:/PATH', a file system that every node mounts: stages read each other's folders by path"
        )
    return {
        "cluster_name": spec.name,
        "max_workers": Why(
            "As many as the types' own limits add up to.",
            sum(kind.max for kind in spec.workers.values()),
        ),
        "upscaling_speed": Why(
            "All nodes that a stage asks for at once: stages are short beside the minutes a GPU node takes to boot.",
            100.0,
        ),
        "idle_timeout_minutes": Why(
            "Long enough to bridge the gap between a study's stages (hints and data preparation leave the GPUs idle), short enough that a "
            "forgotten cluster does not pay for GPUs overnight.",
            spec.idle_minutes,
        ),
        "provider": _provider(spec),
        "auth": {"ssh_user": "ubuntu"},
        "docker": Why(
            "Ray versions must agree to the patch between driver and nodes, and Python versions to the minor: the image fixes both.",
            _docker(spec),
        ),
        "metadata": Why(
            "Ray does not read this. `offbook cluster` takes the names of variables from here, and their values from its own environment.",
            {"environment": list(spec.environment)},
        ),
        "head_node_type": next(name for name, kind in spec.node.items() if kind.is_head),
        "available_node_types": {
            name: Why(kind.why, _node_type(spec, kind)) for name, kind in spec.node.items()
        },
        **_code_and_setup(spec),
    }


def _provider(spec: ClusterSpec) -> dict[str, Any]:
    one_zone = "One zone: the traffic between hosts and engines would be billed across zones, and adds latency to each turn."
    zone = {"availability_zone": Why(one_zone, spec.zone)} if spec.zone else {}
    whose = _spot_first(spec) or {"type": spec.cloud}
    match spec.cloud:
        case "aws":
            keep = Why(
                "End nodes instead of stopping them, so that no disk outlives the study unseen.", False
            )
            return {**whose, "region": spec.region, **zone, "cache_stopped_nodes": keep}
        case "gcp":
            return {**whose, "region": spec.region, **zone, "project_id": spec.project}
        case "azure":
            account = {"resource_group": spec.resource_group, "subscription_id": spec.subscription}
            return {**whose, "location": spec.region, **account, **zone}


def _spot_first(spec: ClusterSpec) -> dict[str, Any]:
    """Offbook's provider in the place of Ray's, where a type of node may be on demand instead of spot."""
    kinds = [name for name, kind in spec.node.items() if kind.spot == "first"]
    if not kinds:
        return {}
    why = (
        f"Ray's provider for {_CLOUDS[spec.cloud]}, but that a node of the types below is asked for on demand when spot is refused. Ray by itself would \
ask for spot again and again."
    )
    return {
        "type": Why(why, "external"),
        "module": f"{spot_first.__name__}.{spec.cloud.capitalize()}",
        spot_first.WHERE_REFUSED: kinds,
    }


def _docker(spec: ClusterSpec) -> dict[str, Any]:
    options = [
        "--ulimit nofile=65536:65536",
        Why(
            "Whoever reaches an open Ray port can run code: every connection must show the token that is mounted below.",
            "--env RAY_AUTH_MODE=token",
        ),
        Why(
            "Workers are niced by default; an engine behind a busy neighbour then starves.",
            "--env RAY_worker_niceness=0",
        ),
        Why(
            "A stage reads its inputs by path, so all nodes see one `runs`: initialization_commands mount it.",
            f"--volume /home/ubuntu/runs:{RUNS}",
        ),
    ]
    return {
        "image": spec.image(gpu=False),
        "container_name": "offbook",
        "pull_before_run": True,
        "run_options": options,
    }


def _node_type(spec: ClusterSpec, kind: NodeConfig) -> dict[str, Any]:
    limits = {} if kind.is_head else {"min_workers": kind.min, "max_workers": kind.max}
    config = _MACHINES[spec.cloud](spec, kind, kind.spot != "never")
    image = {"docker": {"worker_image": spec.image(gpu=True)}} if kind.gpus else {}
    return {**limits, "resources": kind.resources, "node_config": Why(kind.why_spot, config), **image}


def _aws(_: ClusterSpec, kind: NodeConfig, spot: bool) -> dict[str, Any]:
    disk = {"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": kind.disk_gb, "VolumeType": "gp3"}}
    market = {"InstanceMarketOptions": {"MarketType": "spot"}} if spot else {}
    return {"InstanceType": kind.instance, "BlockDeviceMappings": [disk], **market}


def _gcp(spec: ClusterSpec, kind: NodeConfig, spot: bool) -> dict[str, Any]:
    disk = {
        "boot": True,
        "autoDelete": True,
        "type": "PERSISTENT",
        "initializeParams": {"diskSizeGb": kind.disk_gb, "sourceImage": _vm(spec, kind)},
    }
    # Machines with GPUs cannot be moved while they run, so Google wants to hear that they may be ended.
    rules = ({"preemptible": True} if spot else {}) | (
        {"onHostMaintenance": "TERMINATE"} if kind.gpus else {}
    )
    return {"machineType": kind.instance, "disks": [disk]} | ({"scheduling": [rules]} if rules else {})


def _azure(spec: ClusterSpec, kind: NodeConfig, spot: bool) -> dict[str, Any]:
    parts = _vm(spec, kind).split(":")
    if len(parts) != 3:
        raise ValueError(f"vm images of Azure are PUBLISHER:OFFER:SKU, not {_vm(spec, kind)!r}")
    publisher, offer, sku = parts
    market = {"priority": "Spot", "billingProfile": {"maxPrice": -1}} if spot else {}
    parameters = {
        "vmSize": kind.instance,
        "osDiskSize": kind.disk_gb,
        "imagePublisher": publisher,
        "imageOffer": offer,
        "imageSku": sku,
        "imageVersion": "latest",
        **market,
    }
    return {"azure_arm_parameters": parameters}


def _vm(spec: ClusterSpec, kind: NodeConfig) -> str:
    image = spec.vm.gpu if kind.gpus else spec.vm.cpu
    if image is None:
        raise ValueError(
            f"cloud = {spec.cloud!r} needs vm.{'gpu' if kind.gpus else 'cpu'}, the machine image under the containers"
        )
    return image


_MACHINES = {"aws": _aws, "gcp": _gcp, "azure": _azure}
_CLOUDS = {"aws": "AWS", "gcp": "Google's cloud", "azure": "Azure"}


_METRICS = "--metrics-export-port=8080"


def _code_and_setup(spec: ClusterSpec) -> dict[str, Any]:
    variables: Mapping[str, Any] = {}
    if spec.environment:
        variables = {
            ENVIRONMENT_FILE: Why(
                "Written by `offbook cluster up` with the variables named above, readable by its owner alone, and removed again when the head has it.",
                environment_source(spec.name),
            )
        }
    source = [_SOURCE] if spec.environment else []
    start = "; ".join([*source, "ray start"])
    gpu_setup = (
        'if nvidia-smi >/dev/null 2>&1; then pip install --quiet -e "/home/ray/offbook[gpu,train]"; fi'
    )
    return {
        "file_mounts": Why(
            "Every node needs the same code, because actors import it; runs/ and environments stay behind.",
            {CODE: ".", f"{HOME}/.ray/auth_token": "~/.ray/auth_token", **variables},
        ),
        "rsync_exclude": ["**/.git", "**/.venv", "**/runs", "**/__pycache__"],
        "rsync_filter": Why(
            "Ray's own defaults, which it wants to be told where the provider is not its own.", []
        ),
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False,
        "initialization_commands": Why(
            "Run on the node itself, outside the container. `hard`: a file server that is away for a while stalls a stage and fails none.",
            mount_commands(str(spec.storage.nfs), "$HOME/runs"),
        ),
        "setup_commands": [f'pip install --quiet -e "{CODE}[openai]"'],
        "head_setup_commands": [
            Why(
                "The autoscaler on the head starts the other nodes.",
                f"pip install --quiet {_quoted(_SDK[spec.cloud])}",
            )
        ],
        "worker_setup_commands": [
            Why(
                "The CUDA builds of torch and vLLM are gigabytes: only nodes that show a GPU take them.",
                gpu_setup,
            )
        ],
        "head_start_ray_commands": [
            "ray stop",
            Why(
                "The dashboard is bound to the head's loopback: reach it with `ray dashboard ray_cluster.yaml`, never openly.",
                f"{start} --head --port=6379 --dashboard-host=127.0.0.1 {_METRICS} --autoscaling-config=~/ray_bootstrap_config.yaml",
            ),
        ],
        "worker_start_ray_commands": [
            "ray stop",
            Why(
                "One known port on every node, for a Prometheus server inside the network (docs/scale.md).",
                f"{start} --address=$RAY_HEAD_IP:6379 {_METRICS}",
            ),
            *([_listen(spec)] if any(kind.spot != "never" for kind in spec.node.values()) else []),
        ],
    }


def _listen(spec: ClusterSpec) -> Why:
    return Why(
        "A spot node hears of its end from its cloud shortly before, and tells Ray: rollouts then send it nothing new. Nodes on demand never hear of one.",
        f"(setsid nohup python -m actors.notices {spec.cloud} >/tmp/offbook-notices.log 2>&1 &)",
    )


def environment_source(cluster: str) -> str:
    """Where the values wait on the caller's machine while nodes are started."""
    return f"~/.offbook/{cluster}.environment"


def mount_commands(nfs: str, folder: str) -> list[str]:
    return [
        f'mkdir -p "{folder}"',
        "command -v mount.nfs4 >/dev/null || { sudo apt-get update -q && sudo apt-get install -q -y nfs-common; }",
        f'mountpoint -q "{folder}" || sudo mount -t nfs4 -o nfsvers=4.1,hard,noresvport "{nfs}" "{folder}"',
    ]


def _quoted(packages: str) -> str:
    return " ".join(f'"{package}"' for package in packages.split())
