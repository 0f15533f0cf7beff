"""A SkyPilot task that runs one study: equal nodes, a Ray cluster of their own on them, the driver on the first.

Never `ray stop` there: SkyPilot's own bookkeeping runs on a Ray of its own, which it would end too.
"""

from typing import Any

from distill.launch.commented_yaml import Why, comment, to_yaml
from distill.launch.ray_launcher import mount_commands
from distill.launch.spec import ClusterSpec, NodeConfig
from distill.launch.study_on_cluster import ClusterStudy, offbook_run, write_study

_RUNS = "$HOME/runs"

_HEADER = """\
A study through SkyPilot. `offbook cluster render skypilot` writes it. Run it from the folder of the repository:

    ray get-auth-token --generate      # once: the secret that every node of the cluster shares
    sky launch -c {name} {secrets}THIS_FILE
    sky logs {name}; sky down {name}
    sky jobs launch {secrets}THIS_FILE     # instead: starts again by itself when spot nodes are taken away"""


def render_skypilot(spec: ClusterSpec, study: ClusterStudy) -> str:
    secrets = "".join(f"--secret {name} " for name in spec.environment)
    header = "\n".join(comment(_HEADER.format(name=spec.name, secrets=secrets)))
    return header + "\n" + to_yaml(skypilot_document(spec, study))


def skypilot_document(spec: ClusterSpec, study: ClusterStudy) -> dict[str, Any]:
    (kind,) = skypilot_nodes(spec).values()
    secrets = {
        "secrets": Why(
            "Names without values: `--secret NAME` takes each from your environment.",
            dict.fromkeys(spec.environment),
        )
    }
    return {
        "name": spec.name,
        "workdir": Why("The code; .gitignore says what stays behind.", "."),
        "num_nodes": kind.max,
        "resources": Why(kind.why, _resources(spec, kind)),
        **(secrets if spec.environment else {}),
        "file_mounts": _file_mounts(spec, kind),
        "setup": _setup(spec),
        "run": _run(study),
    }


def skypilot_nodes(spec: ClusterSpec) -> dict[str, NodeConfig]:
    """The one type of node that the task gets, by name: all nodes of a task are equal, so env hosts live beside the engines."""
    fitting = {name: kind for name, kind in spec.workers.items() if {"engines", "training"} <= {*kind.roles}}
    if len(fitting) != 1:
        raise ValueError(
            "SkyPilot gives a task nodes of one type: one [node.NAME] table must have both 'engines' and 'training' among its roles, "
            f"got {', '.join(fitting) or 'none'}"
        )
    return fitting


def _resources(spec: ClusterSpec, kind: NodeConfig) -> dict[str, Any]:
    place = "/".join(part for part in (spec.cloud, spec.region, spec.zone) if part)
    gpus = {"accelerators": f"{kind.gpu}:{kind.gpus}"} if kind.gpus else {}
    market: dict[str, Any] = {"use_spot": kind.spot == "only"}
    if kind.spot == "first":
        market = {
            "any_of": Why(
                "The cheaper one that can be had: spot, else on demand.",
                [{"use_spot": True}, {"use_spot": False}],
            )
        }
    return {
        "infra": place,
        **gpus,
        "cpus": f"{kind.cpus}+",
        "memory": f"{kind.memory_gb}+",
        "disk_size": kind.disk_gb,
        "autostop": Why(
            "A forgotten cluster ends itself.", {"idle_minutes": round(spec.idle_minutes), "down": True}
        ),
        **{key: Why(kind.why_spot, value) if key == "use_spot" else value for key, value in market.items()},
    }


def _file_mounts(spec: ClusterSpec, kind: NodeConfig) -> dict[str, Any]:
    mounts: dict[str, Any] = {"~/.ray/auth_token": "~/.ray/auth_token"}
    if spec.storage.nfs is None:
        if spec.storage.bucket is None:
            raise ValueError(
                "SkyPilot needs storage.nfs or storage.bucket for the runs, which outlive the nodes there"
            )
        if kind.max > 1:
            raise ValueError(
                f"storage.bucket holds the runs of one node, and num_nodes would be {kind.max}: what one node writes into a mounted bucket the "
                "others see late; set storage.nfs, or max = 1"
            )
        mounts["~/runs"] = Why(
            "Cached: finished episodes are appended to files, which a bucket mounted without a cache refuses.",
            {"source": spec.storage.bucket, "mode": "MOUNT_CACHED"},
        )
    return mounts


def _setup(spec: ClusterSpec) -> str:
    mount = mount_commands(spec.storage.nfs, _RUNS) if spec.storage.nfs else []
    lines = [
        "set -e",
        *mount,
        # SkyPilot's own Python is another one, and Ray wants the same one everywhere.
        "command -v uv >/dev/null || pip install --quiet uv",
        f"[ -d ~/offbook-env ] || uv venv --seed --python {spec.python} ~/offbook-env",
        "source ~/offbook-env/bin/activate",
        f'uv pip install --quiet -e ".[gpu,train,openai]" "ray[default]=={spec.ray_version}"',
    ]
    return "\n".join(lines) + "\n"


def _run(study: ClusterStudy) -> str:
    lines = [
        "set -e",
        "source ~/offbook-env/bin/activate",
        "export RAY_AUTH_MODE=token RAY_worker_niceness=0 RAY_USAGE_STATS_ENABLED=0",
        "~/sky_templates/ray/start_cluster",
        'if [ "$SKYPILOT_NODE_RANK" != 0 ]; then exit 0; fi',
        write_study(study, "$HOME/study"),
        offbook_run(study, '"$HOME"/study', f'"{_RUNS}"'),
    ]
    return "\n".join(lines) + "\n"
