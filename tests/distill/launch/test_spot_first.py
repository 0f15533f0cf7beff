"""Spot where it can be had, on demand where it is refused, and nothing dearer for any other reason."""

import copy
import json
import logging
from pathlib import Path
from typing import Any

import pytest
import yaml

from distill.launch import spot_first
from distill.launch.commented_yaml import plain
from distill.launch.ray_launcher import ray_document
from distill.launch.spec import ClusterSpec, load_cluster
from distill.launch.spot_first import MARKETS, WHERE_REFUSED

REFUSED = {
    "aws": "Node Launch Exception (InsufficientInstanceCapacity): We currently do not have sufficient c7i.4xlarge capacity",
    "gcp": str(
        {
            "errors": [
                {
                    "code": "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS",
                    "message": "The zone does not have enough resources",
                }
            ]
        }
    ),
    "azure": "(InvalidTemplateDeployment) The requested size is currently not available. See https://aka.ms/azureskunotavailable for details.",
}
"""As their clients and Ray's providers word it."""


class Cloud:
    """In the place of Ray's provider: has so many spot nodes, and any number on demand."""

    def __init__(self, cloud: str, spot: int, error: str = "", at_most: int = 99) -> None:
        self.provider_config = {WHERE_REFUSED: ["cpu"]}
        self.cloud, self.spot, self.at_most = cloud, spot, at_most
        self.error = error or REFUSED[cloud]
        self.asked: list[tuple[str, int]] = []
        self.made: list[str] = []

    def create_node_with_resources_and_labels(
        self, config: dict[str, Any], tags: Any, count: int, resources: Any, labels: Any
    ) -> dict[str, str] | None:
        market = "on demand" if config == MARKETS[self.cloud].on_demand(config) else "spot"
        self.asked.append((market, count))
        can = min(count, self.at_most, self.spot if market == "spot" else 99)
        if can == 0 or (can < count and self.cloud != "aws"):
            raise RuntimeError(self.error)
        self.spot -= can if market == "spot" else 0
        new = {f"{market} {len(self.made) + number}": "running" for number in range(can)}
        self.made += [market] * can
        # Azure's provider returns nothing.
        return None if self.cloud == "azure" else new


def launch(cloud: Cloud, count: int, kind: str = "cpu") -> Any:
    made = spot_first.spot_first(Cloud, MARKETS[cloud.cloud])
    provider = made.__new__(made)
    provider.__dict__ = cloud.__dict__
    config = node_config(cloud.cloud, "first")
    kept = copy.deepcopy(config)
    try:
        return provider.create_node_with_resources_and_labels(
            config, {"ray-user-node-type": kind}, count, {}, {}
        )
    finally:
        assert config == kept, "Ray keeps the configuration and asks with it again"


def node_config(cloud: str, spot: str, node: str = "cpu") -> dict[str, Any]:
    settings = load_cluster(cloud).model_dump(mode="json")
    settings["node"][node]["spot"] = spot
    return plain(ray_document(ClusterSpec.model_validate(settings)))["available_node_types"][node][
        "node_config"
    ]


@pytest.mark.parametrize("node", ["cpu", "gpu"])
@pytest.mark.parametrize("cloud", MARKETS)
def test_the_fallback_is_the_same_machine_as_one_that_is_never_spot(cloud: str, node: str) -> None:
    spot, never = node_config(cloud, "first", node), node_config(cloud, "never", node)
    assert spot != never
    assert MARKETS[cloud].on_demand(spot) == never
    assert MARKETS[cloud].on_demand(never) == never


@pytest.mark.parametrize("cloud", MARKETS)
def test_spot_that_can_be_had_is_taken(cloud: str) -> None:
    market = Cloud(cloud, spot=5)
    launch(market, 3)
    assert market.made == ["spot"] * 3


@pytest.mark.parametrize("cloud", MARKETS)
def test_what_spot_lacks_is_on_demand(cloud: str, caplog: pytest.LogCaptureFixture) -> None:
    market = Cloud(cloud, spot=2)
    with caplog.at_level(logging.WARNING, "distill.launch.spot_first"):
        made = launch(market, 5)
    assert market.made == ["spot"] * 2 + ["on demand"] * 3
    assert len(made) == (0 if cloud == "azure" else 5)
    (warning,) = caplog.messages
    assert warning.startswith("no spot node of type cpu, so 3 on demand instead: ")
    assert REFUSED[cloud] in warning
    # The next call begins with spot again.
    market.spot = 1
    launch(market, 1)
    assert market.made[-1] == "spot"


def test_a_provider_that_makes_fewer_than_asked_is_asked_for_the_rest() -> None:
    market = Cloud("aws", spot=99, at_most=2)
    launch(market, 5)
    assert market.asked == [("spot", 5), ("spot", 3), ("spot", 1)]


@pytest.mark.parametrize("error", ["UnauthorizedOperation: not allowed", "RequestLimitExceeded: too fast"])
@pytest.mark.parametrize("cloud", MARKETS)
def test_any_other_error_buys_nothing_dearer(cloud: str, error: str) -> None:
    market = Cloud(cloud, spot=0, error=error)
    with pytest.raises(RuntimeError, match=error):
        launch(market, 2)
    assert not market.made
    assert {which for which, _ in market.asked} == {"spot"}


def test_where_nothing_can_be_had_the_error_is_the_clouds() -> None:
    market = Cloud("aws", spot=0, at_most=0)
    with pytest.raises(RuntimeError, match="InsufficientInstanceCapacity"):
        launch(market, 2)
    assert [which for which, _ in market.asked] == ["spot", "on demand"]


def test_types_that_are_spot_only_stay_so() -> None:
    market = Cloud("aws", spot=0)
    with pytest.raises(RuntimeError, match="InsufficientInstanceCapacity"):
        launch(market, 2, kind="other")
    assert market.asked == [("spot", 2)]


def test_names_are_the_clouds() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Cloudy'"):
        spot_first.Cloudy  # noqa: B018
    for cloud in MARKETS:
        settings = plain(ray_document(load_cluster(cloud)))["provider"]
        module, name = settings["module"].rsplit(".", 1)
        assert (settings["type"], module, name.lower()) == ("external", spot_first.__name__, cloud)
        assert settings[WHERE_REFUSED] == ["cpu"]


class TestRaysProviderForAws:
    """From `ray_cluster.yaml` through Ray's own preparation, provider and boto3 to a cloud that moto plays."""

    @pytest.fixture
    def cluster(self, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
        moto = pytest.importorskip("moto")
        from ray.autoscaler._private.util import prepare_config, validate_config

        for name, value in {
            "HOME": str(tmp_path),  # Ray writes the key pair below it.
            "AWS_ACCESS_KEY_ID": "none",
            "AWS_SECRET_ACCESS_KEY": "none",  # pragma: allowlist secret
            "AWS_DEFAULT_REGION": "us-west-2",
        }.items():
            monkeypatch.setenv(name, value)
        document = yaml.safe_load((repository / "ray_cluster.yaml").read_text())
        # Making a role takes Ray half a minute of waiting for Amazon.
        document["available_node_types"]["head"]["node_config"]["IamInstanceProfile"] = {"Name": "made"}
        prepared = prepare_config(document)
        validate_config(prepared)
        with moto.mock_aws():
            made = spot_first.Aws
            yield made.bootstrap_config(made.fillout_available_node_types_resources(prepared))

    @pytest.mark.parametrize("sold_out", [False, True])
    def test_a_refused_node_is_launched_on_demand(self, cluster: dict[str, Any], sold_out: bool) -> None:
        from botocore.exceptions import ClientError
        from ray.autoscaler._private.providers import _get_node_provider

        def refuse(params: dict[str, Any], **_: Any) -> None:
            if params["body"].get("InstanceMarketOptions.MarketType") == "spot":
                error = {"Code": "InsufficientInstanceCapacity", "Message": "none left"}
                raise ClientError({"Error": error}, "RunInstances")

        provider = _get_node_provider(cluster["provider"], cluster["cluster_name"], use_cache=False)
        if sold_out:
            provider.ec2_fail_fast.meta.client.meta.events.register("before-call.ec2.RunInstances", refuse)
        tags = {
            "ray-user-node-type": "cpu",
            "ray-node-type": "worker",
            "ray-node-name": "ray-offbook-worker",
            "ray-launch-config": "hash",
            "ray-node-status": "uninitialized",
        }
        kind = cluster["available_node_types"]["cpu"]
        made = provider.create_node_with_resources_and_labels(
            kind["node_config"], tags, 2, kind["resources"], {}
        )
        lifecycle = None if sold_out else "spot"
        assert [(node.instance_type, node.instance_lifecycle) for node in made.values()] == [
            ("c7i.4xlarge", lifecycle)
        ] * 2
        assert set(provider.non_terminated_nodes({"ray-user-node-type": "cpu"})) == set(made)
        json.dumps(cluster)  # Ray writes it to the head as it is.
