"""A cluster's description in the words of one of four launchers, with the study that it is to run if there is one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from distill.config import StudyConfig
from distill.launch.demands import check_fit, environment_of, for_nodes_with_gpus
from distill.launch.ray_launcher import render_ray
from distill.launch.spec import ClusterSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterStudy:
    """A study as a cluster runs it, and those beside it, which are read from the same folder."""

    config: StudyConfig
    beside: tuple[StudyConfig, ...] = ()

    @property
    def file_name(self) -> str:
        return f"{self.config.name}.toml"


TARGETS = ("ray", "kuberay", "slurm", "skypilot")


def render(target: str, spec: ClusterSpec, study: ClusterStudy | None = None) -> str:
    """Raises `ValueError` where the launcher misses a setting, or the study asks for more than the cluster has."""
    if study is not None:
        spec = with_environment(spec, study)
        for config in (study.config, *study.beside):
            check_fit(config, spec)
    return _RENDERERS[target](spec, study)


def cluster_study(config: StudyConfig, beside: Sequence[StudyConfig], spec: ClusterSpec) -> ClusterStudy:
    """The studies with what only the cluster knows: that their engines have GPUs, and that files beside lie in one folder."""
    has_gpus = any(kind.gpus for kind in spec.node.values())
    fitted = [for_nodes_with_gpus(one) if has_gpus else one for one in (config, *beside)]
    names = tuple(f"{one.name}.toml" for one in beside)
    return ClusterStudy(config=fitted[0].model_copy(update={"beside": names}), beside=tuple(fitted[1:]))


def with_environment(spec: ClusterSpec, study: ClusterStudy) -> ClusterSpec:
    wanted = [name for config in (study.config, *study.beside) for name in environment_of(config)]
    return spec.model_copy(update={"environment": tuple(dict.fromkeys((*spec.environment, *wanted)))})


def offbook_run(study: ClusterStudy | None, folder: str, out: str) -> str:
    """The command that runs the study from `folder`; without one, the reader is to name it."""
    file = f"{folder}/{study.file_name}" if study else f"{folder}/STUDY.toml"
    return f"offbook run {file} --address auto --out {out}"


def _ray(spec: ClusterSpec, _: ClusterStudy | None) -> str:
    return render_ray(spec)


_RENDERERS: dict[str, Callable[[ClusterSpec, ClusterStudy | None], str]] = {"ray": _ray}


def write_out(text: str, path: Path | None) -> None:
    if path is None:
        print(text, end="")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
