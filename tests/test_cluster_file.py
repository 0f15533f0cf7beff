"""`ray_cluster.yaml` is the rendering of the shipped cluster, and what Ray's launcher accepts."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from distill.launch.ray_launcher import render_ray
from distill.launch.spec import DEFAULT, load_cluster


@pytest.fixture
def cluster(repository: Path) -> dict[str, Any]:
    return yaml.safe_load((repository / "ray_cluster.yaml").read_text())


def test_it_is_what_the_shipped_description_renders_to(repository: Path) -> None:
    # The renderer writes the comments too, so that every rendering says why and no two texts can drift apart.
    assert (repository / "ray_cluster.yaml").read_text() == render_ray(load_cluster(DEFAULT)), (
        "run: offbook cluster render ray --out ray_cluster.yaml"
    )


def test_the_launchers_own_schema_accepts_it(cluster: dict[str, Any], ray_schema: dict[str, Any]) -> None:
    jsonschema.validate(cluster, ray_schema)


def test_the_head_is_one_of_the_node_types_and_takes_no_actors(cluster: dict[str, Any]) -> None:
    head = cluster["available_node_types"][cluster["head_node_type"]]
    assert head["resources"]["CPU"] == 0


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


@pytest.fixture(scope="session")
def ray_schema() -> dict[str, Any]:
    import importlib.util

    spec = importlib.util.find_spec("ray")
    assert spec is not None
    assert spec.origin is not None
    return json.loads((Path(spec.origin).parent / "autoscaler" / "ray-schema.json").read_text())
