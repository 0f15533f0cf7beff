"""A cluster's description in the words of one of four launchers, with the study that it is to run."""

from collections.abc import Callable
from pathlib import Path

from distill.launch.demands import check_fit, gpus_in_use, node_types
from distill.launch.kuberay import render_kuberay
from distill.launch.ray_launcher import render_ray
from distill.launch.skypilot import render_skypilot, skypilot_nodes
from distill.launch.slurm import render_slurm
from distill.launch.spec import ClusterSpec
from distill.launch.study_on_cluster import ClusterStudy, with_environment

_WITH_STUDY: dict[str, Callable[[ClusterSpec, ClusterStudy], str]] = {
    "kuberay": render_kuberay,
    "slurm": render_slurm,
    "skypilot": render_skypilot,
}
_ALL_AT_ONCE = ("slurm", "skypilot")


def render(launcher: str, spec: ClusterSpec, study: ClusterStudy | None = None) -> str:
    """Raises `ValueError` where the launcher misses a setting, or the study asks for more than the cluster has."""
    if study is not None:
        spec = with_environment(spec, study)
        for config in study.all:
            check_fit(config, spec.name, node_types(_as_given_by(launcher, spec)))
    if launcher == "ray":
        return render_ray(spec)
    if study is None:
        raise ValueError(f"what is rendered for {launcher} runs one study; name it with --study")
    return _WITH_STUDY[launcher](spec, study)


def idle_gpus(launcher: str, spec: ClusterSpec, study: ClusterStudy) -> str | None:
    """A word on GPUs that are paid for and that no stage uses. Ray's launcher and KubeRay start nodes when they are asked for; the others start all."""
    if launcher not in _ALL_AT_ONCE:
        return None
    started = sum(
        int(kind.resources.get("GPU", 0)) * kind.max for kind in node_types(_as_given_by(launcher, spec))
    )
    used = max(gpus_in_use(config) for config in study.all)
    if used >= started:
        return None
    return (
        f"no stage of {study.config.name} uses more than {used} of the {started} GPUs that {launcher} starts; raise model.replicas and train.num_workers "
        "of the study, or lower max of a type of node"
    )


def _as_given_by(launcher: str, spec: ClusterSpec) -> ClusterSpec:
    """The cluster with the nodes that this launcher starts."""
    if launcher == "skypilot":
        names = set(skypilot_nodes(spec))
    elif launcher == "slurm" and spec.slurm is not None:
        names = set(spec.slurm.nodes)
    else:
        return spec
    node = {name: kind for name, kind in spec.node.items() if name in names or kind.is_head}
    return spec.model_copy(update={"node": node})


def write_out(text: str, path: Path | None) -> None:
    if path is None:
        print(text, end="")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
