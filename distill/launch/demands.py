"""What a study asks of a cluster, as the bundles that Ray is asked for, and whether a cluster can ever give it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from actors.config import EngineConfig, ModelConfig
from distill.config import StudyConfig
from distill.launch.spec import ClusterSpec

Resources = dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """So many equal bundles; each lies in one node."""

    what: str
    setting: str
    """The study's key that says how many."""
    count: int
    each: Resources


def rollout_demands(config: StudyConfig) -> tuple[Demand, ...]:
    """All that runs at once while episodes are played."""
    rollout = config.rollout
    hosts = Demand(
        what="env hosts",
        setting="rollout.num_hosts",
        count=rollout.at_once * rollout.num_hosts,
        each={"CPU": 1},
    )
    return (*_engines(config.model, "model"), hosts)


def training_demands(config: StudyConfig) -> tuple[Demand, ...]:
    """All that runs at once while an adapter is trained; engines on GPUs have ended by then."""
    if not config.students:
        return ()
    train = config.train
    each = {"CPU": train.cpus_per_worker} | ({"GPU": 1} if train.use_gpu else {})
    return (Demand(what="training workers", setting="train.num_workers", count=train.num_workers, each=each),)


def gpus_in_use(config: StudyConfig) -> int:
    """At the same time, in the stage that uses most."""
    return max(
        int(sum(demand.count * demand.each.get("GPU", 0) for demand in demands))
        for demands in (rollout_demands(config), training_demands(config))
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeType:
    name: str
    max: int
    resources: Mapping[str, int]


def node_types(spec: ClusterSpec) -> tuple[NodeType, ...]:
    return tuple(
        NodeType(name=name, max=kind.max, resources=kind.resources) for name, kind in spec.workers.items()
    )


def check_fit(config: StudyConfig, cluster: str, types: Sequence[NodeType]) -> None:
    """Raise `ValueError` where the study would wait for nodes for ever: Ray itself only says that it waits."""
    for demands in (rollout_demands(config), training_demands(config)):
        nodes = [dict[str, float](kind.resources) for kind in types for _ in range(kind.max)]
        # The hardest to place first: what needs a GPU, then what needs many.
        for demand in sorted(demands, key=lambda d: (-d.each.get("GPU", 0), -d.each.get("CPU", 0))):
            placed = sum(_place(demand.each, nodes) for _ in range(demand.count))
            if placed < demand.count:
                each = " and ".join(f"{number:g} {kind}s" for kind, number in sorted(demand.each.items()))
                raise ValueError(
                    f"study {config.name} wants {demand.count} {demand.what} with {each} each, but cluster {cluster} has room for {placed} "
                    f"({_described(types)}); raise max of a type of node, or take a larger machine, or lower {demand.setting} of the study"
                )


def environment_of(config: StudyConfig) -> tuple[str, ...]:
    """Names of the variables that hold the keys of the endpoints it asks."""
    return tuple(sorted(set(_keys(config.model_dump(mode="json")))))


def for_nodes_with_gpus(config: StudyConfig) -> StudyConfig:
    """Engines on GPUs whatever the driver's node has: it runs on a head without one and would choose the CPU."""
    model = config.model
    if not isinstance(model, EngineConfig) or model.device != "auto":
        return config
    return config.model_copy(update={"model": model.model_copy(update={"device": "cuda"})})


def _engines(model: ModelConfig, key: str) -> Iterator[Demand]:
    if isinstance(model, EngineConfig):
        gpus = {} if model.device == "cpu" else {"GPU": model.tensor_parallel_size}
        yield Demand(what="engines", setting=f"{key}.replicas", count=model.replicas, each={"CPU": 1, **gpus})


def _place(bundle: Resources, nodes: list[Resources]) -> bool:
    """Put a bundle on the first node that holds it, nodes without GPUs first for what needs none."""
    order = sorted(nodes, key=lambda node: node.get("GPU", 0)) if "GPU" not in bundle else nodes
    for node in order:
        if all(node.get(kind, 0) >= number for kind, number in bundle.items()):
            for kind, number in bundle.items():
                node[kind] -= number
            return True
    return False


def _described(types: Sequence[NodeType]) -> str:
    return ", ".join(
        f"{kind.max} {kind.name} with "
        + " and ".join(f"{number} {unit}s" for unit, number in kind.resources.items())
        for kind in types
    )


def _keys(settings: Any) -> Iterator[str]:
    """Values of every `api_key_env`, wherever a study may name an endpoint: its model, writer, a ranking model, an arm's own."""
    if isinstance(settings, Mapping):
        for key, value in settings.items():
            if key == "api_key_env":
                yield value
            else:
                yield from _keys(value)
    elif isinstance(settings, list):
        for value in settings:
            yield from _keys(value)
