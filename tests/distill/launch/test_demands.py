"""What a study asks of a cluster, and that a cluster too small is told before anything starts."""

import pytest

from distill.commands.shared import load_study_at
from distill.config import StudyConfig
from distill.launch.demands import (
    check_fit,
    environment_of,
    for_nodes_with_gpus,
    node_types,
    rollout_demands,
    training_demands,
)
from distill.launch.spec import ClusterSpec, load_cluster


def study(*overrides: str) -> StudyConfig:
    return load_study_at("paper-14b", overrides)


def cluster(**node: int) -> ClusterSpec:
    spec = load_cluster("aws")
    limits = {
        name: kind.model_copy(update={"max": node.get(name, kind.max)}) for name, kind in spec.node.items()
    }
    return spec.model_copy(update={"node": limits})


def fits(config: StudyConfig, spec: ClusterSpec) -> None:
    check_fit(config, spec.name, node_types(spec))


def test_engines_want_a_cpu_and_their_gpus_on_one_node_and_hosts_a_cpu() -> None:
    engines, hosts = rollout_demands(
        study("model.tensor_parallel_size=2", "model.replicas=3", "rollout.num_hosts=5", "rollout.at_once=2")
    )
    assert (engines.count, engines.each) == (3, {"CPU": 1, "GPU": 2})
    assert (hosts.count, hosts.each) == (10, {"CPU": 1})


def test_training_wants_a_gpu_a_worker() -> None:
    (workers,) = training_demands(study("train.num_workers=2"))
    assert (workers.count, workers.each) == (2, {"CPU": 1, "GPU": 1})
    assert training_demands(study('arms=["base", "teacher"]')) == ()


def test_the_shipped_cluster_holds_the_papers_study() -> None:
    fits(study(), load_cluster("aws"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "model.replicas=5",
            "wants 5 engines with 1 CPUs and 1 GPUs each, but cluster offbook has room for 4",
        ),
        (
            "model.tensor_parallel_size=2",
            "wants 1 engines with 1 CPUs and 2 GPUs each, but cluster offbook has room for 0",
        ),
        ("train.num_workers=5", "lower train.num_workers of the study"),
        ("rollout.num_hosts=100", "room for 63"),
    ],
)
def test_a_study_that_can_never_be_placed_is_refused(change: str, message: str) -> None:
    with pytest.raises(ValueError) as raised:
        fits(study(change), load_cluster("aws"))
    assert message in str(raised.value)


def test_engines_and_training_follow_one_another_and_need_no_gpus_side_by_side() -> None:
    fits(study("model.replicas=2", "train.num_workers=2"), cluster(gpu=2))


def test_hosts_take_cpu_nodes_first_and_gpu_nodes_when_these_are_full() -> None:
    fits(study("rollout.num_hosts=23"), cluster(cpu=1, gpu=1))
    with pytest.raises(ValueError, match="24 env hosts"):
        fits(study("rollout.num_hosts=24"), cluster(cpu=1, gpu=1))


def test_keys_are_found_wherever_a_study_names_an_endpoint() -> None:
    assert environment_of(study()) == ("OPENAI_API_KEY",)
    ranked = study(
        "writer.kind=diagnostician",
        "retriever.name=llm",
        'retriever.llm.model={kind="openai", model="m", api_key_env="RANKER_KEY"}',  # pragma: allowlist secret
    )
    assert environment_of(ranked) == ("RANKER_KEY",)
    assert environment_of(load_study_at("demo")) == ()


def test_engines_are_told_of_gpus_that_the_head_does_not_have() -> None:
    assert for_nodes_with_gpus(study()).model.device == "cuda"
    assert for_nodes_with_gpus(study("model.device=cpu")).model.device == "cpu"
