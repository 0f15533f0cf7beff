"""A KubeRay `RayJob` that runs one study on a cluster of its own and takes the cluster down after.

Spot is a matter of Kubernetes here, not of Ray: one worker group that prefers spot nodes and tolerates others, because which node a pod
gets is the scheduler's choice. Needs KubeRay 1.5.1 or newer (`authOptions`).
"""

from typing import Any

from distill.launch.commented_yaml import Why, comment, to_yaml
from distill.launch.ray_launcher import RUNS
from distill.launch.spec import ClusterSpec, NodeConfig
from distill.launch.study_on_cluster import ClusterStudy, offbook_run

STUDY_FOLDER = "/home/ray/study"

# Label of a spot node, which is its taint as well where there is one.
_SPOT = {
    "aws": ("eks.amazonaws.com/capacityType", "SPOT"),
    "gcp": ("cloud.google.com/gke-spot", "true"),
    "azure": ("kubernetes.azure.com/scalesetpriority", "spot"),
}

_HEADER = """\
A study on Kubernetes, in the form of KubeRay's RayJob. `offbook cluster render kuberay` writes it. Values of secrets stay in the cluster's \
secret store:

    kubectl create secret generic {name}-environment --from-env-file=<(env | grep -E '^({names})=')
    kubectl apply -f THIS_FILE
    kubectl get rayjob {name}            # its state; `kubectl delete rayjob {name}` ends it, pods included

The job may be deleted and applied again at any moment: stages that are done lie in the volume."""


def render_kuberay(spec: ClusterSpec, study: ClusterStudy) -> str:
    header = "\n".join(comment(_HEADER.format(name=spec.name, names="|".join(spec.environment) or "NAME")))
    return header + "\n" + "---\n".join(to_yaml(document) for document in kuberay_documents(spec, study))


def kuberay_documents(spec: ClusterSpec, study: ClusterStudy) -> list[dict[str, Any]]:
    """The volume's claim if it is to be made, the study, and the job; with their reasons."""
    if spec.images.kubernetes is None:
        raise ValueError(
            "KubeRay needs images.kubernetes, an image that holds Offbook; docs/cluster.md says how to build one"
        )
    if spec.storage.claim is None:
        raise ValueError("KubeRay needs storage.claim, a PersistentVolumeClaim that all pods may write to")
    claims = [_claim(spec)] if spec.storage.claim_class else []
    return [*claims, _study(spec, study), _job(spec, study)]


def _claim(spec: ClusterSpec) -> dict[str, Any]:
    many = Why(
        "Every pod reads and writes the runs: a disk that one node may mount does not do.", ["ReadWriteMany"]
    )
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": spec.storage.claim},
        "spec": {
            "accessModes": many,
            "storageClassName": spec.storage.claim_class,
            "resources": {"requests": {"storage": f"{spec.storage.claim_gb}Gi"}},
        },
    }


def _study(spec: ClusterSpec, study: ClusterStudy) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": f"{spec.name}-study"},
        "data": study.files,
    }


def _job(spec: ClusterSpec, study: ClusterStudy) -> dict[str, Any]:
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": spec.name},
        "spec": {
            "entrypoint": Why("The driver runs in the head's pod.", offbook_run(study, STUDY_FOLDER, RUNS)),
            "backoffLimit": Why(
                "A head that is lost costs a new cluster, which goes on where the last one stopped.", 3
            ),
            "shutdownAfterJobFinishes": True,
            "ttlSecondsAfterFinished": Why("Time to read the pods' logs.", 600),
            "rayClusterSpec": {
                "rayVersion": spec.ray_version,
                "enableInTreeAutoscaling": True,
                "autoscalerOptions": {
                    "version": "v2",
                    "upscalingMode": "Default",
                    "idleTimeoutSeconds": round(spec.idle_minutes * 60),
                },
                "authOptions": Why(
                    "Whoever reaches an open Ray port can run code; the operator makes the token.",
                    {"mode": "token"},
                ),
                "headGroupSpec": Why(spec.head.why, _group(spec, "head", spec.head)),
                "workerGroupSpecs": [
                    Why(kind.why, _group(spec, name, kind)) for name, kind in spec.workers.items()
                ],
            },
        },
    }


def _group(spec: ClusterSpec, name: str, kind: NodeConfig) -> dict[str, Any]:
    promised = {"num-cpus": str(kind.resources["CPU"])}
    template = {"spec": _pod(spec, kind)}
    if kind.is_head:
        return {"rayStartParams": {**promised, "dashboard-host": "0.0.0.0"}, "template": template}
    if kind.gpus:
        promised["num-gpus"] = str(kind.gpus)
    return {
        "groupName": name,
        "replicas": kind.min,
        "minReplicas": kind.min,
        "maxReplicas": kind.max,
        "rayStartParams": promised,
        "template": template,
    }


_LEAVE = Why(
    "A pod that is evicted, as from a spot node that its cloud wants back, tells Ray first: rollouts send it nothing new, and what ends within Kubernetes' "
    "30 s is kept.",
    {"preStop": {"exec": {"command": ["/bin/sh", "-c", "python -m actors.notices now; sleep 20"]}}},
)


def _pod(spec: ClusterSpec, kind: NodeConfig) -> dict[str, Any]:
    asked: dict[str, Any] = {
        "cpu": str(max(kind.cpus - 1, 1)),
        "memory": f"{max(kind.memory_gb * 85 // 100, 1)}Gi",
    }
    asked |= {"nvidia.com/gpu": str(kind.gpus)} if kind.gpus else {}
    mounts = [
        {"name": "runs", "mountPath": RUNS},
        {"name": "study", "mountPath": STUDY_FOLDER, "readOnly": True},
        {"name": "shared-memory", "mountPath": "/dev/shm"},
    ]
    container = {
        "name": "ray-head" if kind.is_head else "ray-worker",
        "image": spec.images.kubernetes,
        "env": [{"name": "RAY_worker_niceness", "value": "0"}, *_variables(spec)],
        "resources": Why(
            "Less than the machine has: Kubernetes keeps some to itself, and a pod that asks for all is never placed. What Ray promises of the "
            "node (num-cpus) admits actors and binds no cores.",
            {"limits": asked, "requests": dict(asked)},
        ),
        "volumeMounts": mounts,
        **({} if kind.is_head else {"lifecycle": _LEAVE}),
    }
    volumes = [
        {"name": "runs", "persistentVolumeClaim": {"claimName": spec.storage.claim}},
        {"name": "study", "configMap": {"name": f"{spec.name}-study"}},
        Why(
            "Ray's object store and the engines of a tensor-parallel group talk through it; the default of 64 MB stops both.",
            {"name": "shared-memory", "emptyDir": {"medium": "Memory"}},
        ),
    ]
    return {
        "nodeSelector": {"node.kubernetes.io/instance-type": kind.instance},
        "affinity": Why(kind.why_spot, {"nodeAffinity": _affinity(spec, kind)}),
        "tolerations": _tolerations(spec, kind),
        "securityContext": {"fsGroup": 100},
        "containers": [container],
        "volumes": volumes,
    }


def _variables(spec: ClusterSpec) -> list[dict[str, Any]]:
    secret = f"{spec.name}-environment"
    return [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": name, "optional": True}}}
        for name in spec.environment
    ]


def _affinity(spec: ClusterSpec, kind: NodeConfig) -> dict[str, Any]:
    key, value = _SPOT[spec.cloud]
    is_spot = {"key": key, "operator": "In", "values": [value]}
    if kind.spot == "first":
        rule = {"weight": 100, "preference": {"matchExpressions": [is_spot]}}
        return {"preferredDuringSchedulingIgnoredDuringExecution": [rule]}
    wanted = is_spot if kind.spot == "only" else {**is_spot, "operator": "NotIn"}
    terms = [{"matchExpressions": [wanted]}]
    return {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}


def _tolerations(spec: ClusterSpec, kind: NodeConfig) -> list[dict[str, str]]:
    key, value = _SPOT[spec.cloud]
    spot = (
        [{"key": key, "operator": "Equal", "value": value, "effect": "NoSchedule"}]
        if kind.spot != "never"
        else []
    )
    gpu = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}] if kind.gpus else []
    return [*spot, *gpu]
