"""`ray_cluster.yaml` is what Ray's launcher accepts, and agrees with the rest of the repository."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml


@pytest.fixture
def cluster(repository: Path) -> dict[str, Any]:
    return yaml.safe_load((repository / "ray_cluster.yaml").read_text())


def test_the_launchers_own_schema_accepts_it(cluster: dict[str, Any]) -> None:
    spec = importlib.util.find_spec("ray")
    assert spec is not None
    assert spec.origin is not None
    schema = json.loads((Path(spec.origin).parent / "autoscaler" / "ray-schema.json").read_text())
    jsonschema.validate(cluster, schema)


def test_the_head_is_one_of_the_node_types_and_takes_no_actors(cluster: dict[str, Any]) -> None:
    head = cluster["available_node_types"][cluster["head_node_type"]]
    assert head["resources"]["CPU"] == 0


def test_the_workers_limit_is_the_sum_of_the_types(cluster: dict[str, Any]) -> None:
    limits = [kind.get("max_workers", 0) for kind in cluster["available_node_types"].values()]
    assert cluster["max_workers"] == sum(limits)


def test_images_carry_the_locked_ray(cluster: dict[str, Any], repository: Path) -> None:
    lock = (repository / "requirements" / "cpu.lock").read_text().splitlines()
    locked = next(line.removeprefix("ray==") for line in lock if line.startswith("ray=="))
    worker_images = [
        kind["docker"]["worker_image"]
        for kind in cluster["available_node_types"].values()
        if "docker" in kind
    ]
    for image in [cluster["docker"]["image"], *worker_images]:
        assert image.startswith(f"rayproject/ray:{locked}-py311-")
