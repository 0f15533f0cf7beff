"""A study as a cluster runs it: files that lie in one folder there, engines on GPUs, the variables it needs."""

from collections.abc import Sequence
from dataclasses import dataclass

from distill.config import StudyConfig
from distill.launch.demands import environment_of, for_nodes_with_gpus
from distill.launch.spec import ClusterSpec
from distill.settings import to_toml

_END = "END_OF_STUDY"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterStudy:
    config: StudyConfig
    beside: tuple[StudyConfig, ...] = ()

    @property
    def all(self) -> tuple[StudyConfig, ...]:
        return (self.config, *self.beside)

    @property
    def files(self) -> dict[str, str]:
        """By name; every setting, defaults included, so that a later default on the cluster changes nothing."""
        return {f"{one.name}.toml": to_toml(one.model_dump(mode="json")) for one in self.all}

    @property
    def environment(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for one in self.all for name in environment_of(one)))


def cluster_study(config: StudyConfig, beside: Sequence[StudyConfig], *, has_gpus: bool) -> ClusterStudy:
    fitted = [for_nodes_with_gpus(one) if has_gpus else one for one in (config, *beside)]
    names = tuple(f"{one.name}.toml" for one in beside)
    return ClusterStudy(config=fitted[0].model_copy(update={"beside": names}), beside=tuple(fitted[1:]))


def with_environment(spec: ClusterSpec, study: ClusterStudy) -> ClusterSpec:
    names = dict.fromkeys((*spec.environment, *study.environment))
    return spec.model_copy(update={"environment": tuple(names)})


def offbook_run(study: ClusterStudy, folder: str, out: str, address: str = "auto") -> str:
    return f"offbook run {folder}/{study.config.name}.toml --address {address} --out {out}"


def write_study(study: ClusterStudy, folder: str) -> str:
    """Shell lines that write the study's files into `folder`."""
    lines = [f'mkdir -p "{folder}"']
    for name, text in study.files.items():
        assert _END not in text
        lines.append(f"cat > \"{folder}/{name}\" <<'{_END}'\n{text.rstrip()}\n{_END}")
    return "\n".join(lines)
