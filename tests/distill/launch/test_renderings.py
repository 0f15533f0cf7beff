"""What is rendered is what each launcher accepts, agrees with the others on what nodes there are, and holds no secret."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from distill.commands.shared import load_beside, load_study_at
from distill.config import StudyConfig
from distill.launch.commented_yaml import plain
from distill.launch.kuberay import kuberay_documents
from distill.launch.ray_launcher import ray_document
from distill.launch.render import idle_gpus, render
from distill.launch.spec import ClusterSpec, load_cluster
from distill.launch.study_on_cluster import ClusterStudy, cluster_study
from distill.settings import load_settings

LAUNCHERS = ("ray", "kuberay", "slurm", "skypilot")
CLOUDS = ("aws", "gcp", "azure")
SCHEMAS = Path(__file__).parent / "schemas"


def study(name: str = "paper-14b", *overrides: str) -> ClusterStudy:
    config = load_study_at(name, overrides)
    return cluster_study(config, load_beside(config, name), has_gpus=True)


def changed(spec: ClusterSpec, **settings: Any) -> ClusterSpec:
    """The description with `a__b=c` for a.b = c."""
    document = spec.model_dump(mode="json")
    for path, value in settings.items():
        *tables, last = path.split("__")
        node = document
        for key in tables:
            node = node[key]
        node[last] = value
    return ClusterSpec.model_validate(document)


def schema(name: str) -> dict[str, Any]:
    return json.loads((SCHEMAS / name).read_text())


@pytest.mark.parametrize("cloud", CLOUDS)
@pytest.mark.parametrize("spot", ["never", "first", "only"])
def test_rays_own_schema_accepts_the_launchers_file(cloud: str, spot: str) -> None:
    import ray

    own = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    spec = changed(load_cluster(cloud), node__cpu__spot=spot, node__gpu__spot=spot)
    document = yaml.safe_load(render("ray", spec, study()))
    jsonschema.validate(document, own)
    assert document == plain(ray_document(spec))
    assert set(document["available_node_types"]) == {"head", "cpu", "gpu"}


@pytest.mark.parametrize("cloud", CLOUDS)
@pytest.mark.parametrize("spot", ["never", "first", "only"])
def test_rays_launcher_misses_no_setting(cloud: str, spot: str) -> None:
    # It fills in what is left out for its own providers only.
    from ray.autoscaler._private.util import prepare_config, validate_config

    spec = changed(load_cluster(cloud), node__cpu__spot=spot)
    validate_config(prepare_config(yaml.safe_load(render("ray", spec, study()))))


@pytest.mark.parametrize(
    ("cloud", "mark"),
    [
        ("aws", ("InstanceMarketOptions", {"MarketType": "spot"})),
        ("gcp", ("scheduling", [{"preemptible": True}])),
        ("azure", ("priority", "Spot")),
    ],
)
def test_spot_nodes_are_asked_for_as_the_cloud_calls_them(cloud: str, mark: tuple[str, Any]) -> None:
    types = yaml.safe_load(render("ray", load_cluster(cloud)))["available_node_types"]
    configs = {
        name: kind["node_config"].get("azure_arm_parameters", kind["node_config"])
        for name, kind in types.items()
    }
    key, value = mark
    assert configs["cpu"][key] == value
    assert all(configs[name].get(key) != value for name in ("head", "gpu"))


@pytest.mark.parametrize("cloud", CLOUDS)
@pytest.mark.parametrize(
    ("spot", "own", "listed"),
    [("never", False, None), ("only", False, None), ("first", True, ["cpu", "gpu"])],
)
def test_offbooks_provider_stands_before_rays_where_spot_may_be_refused(
    cloud: str, spot: str, own: bool, listed: list[str] | None
) -> None:
    spec = changed(load_cluster(cloud), node__cpu__spot=spot, node__gpu__spot=spot)
    provider = yaml.safe_load(render("ray", spec))["provider"]
    assert provider["type"] == ("external" if own else cloud)
    assert ("module" in provider) == own
    assert provider.get("on_demand_where_refused") == listed


@pytest.mark.parametrize("cloud", CLOUDS)
@pytest.mark.parametrize("spot", ["never", "only", "first"])
def test_nodes_that_may_be_spot_listen_for_their_clouds_notice(cloud: str, spot: str) -> None:
    from actors.notices import SOURCES

    commands = yaml.safe_load(render("ray", changed(load_cluster(cloud), node__cpu__spot=spot)))
    listening = [line for line in commands["worker_start_ray_commands"] if "actors.notices" in line]
    assert len(listening) == (spot != "never")
    assert cloud in SOURCES and all(f"actors.notices {cloud} " in line for line in listening)
    assert "actors.notices" not in str(commands["head_start_ray_commands"])


def test_pods_that_are_evicted_tell_ray_first() -> None:
    *_, job = yaml.safe_load_all(render("kuberay", load_cluster("aws"), study()))
    cluster = job["spec"]["rayClusterSpec"]
    groups = (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])
    hooks = [group["template"]["spec"]["containers"][0].get("lifecycle") for group in groups]
    assert hooks[0] is None
    for hook in hooks[1:]:
        assert "python -m actors.notices now" in hook["preStop"]["exec"]["command"][-1]


@pytest.mark.parametrize("cloud", CLOUDS)
def test_the_rayjob_has_the_fields_that_its_reference_names(cloud: str) -> None:
    claim, config, job = yaml.safe_load_all(render("kuberay", load_cluster(cloud), study()))
    jsonschema.Draft202012Validator(schema("rayjob.json")).validate(job)
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    cluster = job["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert {mount["name"] for mount in pod["containers"][0]["volumeMounts"]} == set(volumes)
        assert volumes["runs"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        assert volumes["study"]["configMap"]["name"] == config["metadata"]["name"]


@pytest.mark.parametrize("cloud", CLOUDS)
def test_kubernetes_own_schemas_accept_what_is_no_rayjob_and_its_pods(cloud: str) -> None:
    kubernetes = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    claim, config, job = yaml.safe_load_all(render("kuberay", load_cluster(cloud), study()))
    cluster = job["spec"]["rayClusterSpec"]
    groups = (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])
    pods = [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": group["template"]["spec"]}
        for group in groups
    ]
    for document in (claim, config, *pods):
        kubernetes.validate(document, "1.31", strict=True)


def test_the_validator_of_rayjobs_can_refuse() -> None:
    *_, job = yaml.safe_load_all(render("kuberay", load_cluster("aws"), study()))
    job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["priority"] = 1
    with pytest.raises(jsonschema.ValidationError, match="priority"):
        jsonschema.validate(job, schema("rayjob.json"))


def test_rays_own_reader_of_kuberay_sees_the_node_types_of_the_launchers_file() -> None:
    # The code that the autoscaler in the head's pod runs on the custom resource.
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

    spec = load_cluster("aws")
    *_, job = plain(kuberay_documents(spec, study()))
    seen = _derive_autoscaling_config_from_ray_cr(
        {"metadata": {"name": "offbook", "namespace": "default"}, "spec": job["spec"]["rayClusterSpec"]}
    )
    by_ray = plain(ray_document(spec))
    assert seen["idle_timeout_minutes"] == by_ray["idle_timeout_minutes"]
    for name, kind in spec.workers.items():
        kubernetes, launcher = seen["available_node_types"][name], by_ray["available_node_types"][name]
        assert (kubernetes["min_workers"], kubernetes["max_workers"]) == (kind.min, kind.max)
        assert {key: kubernetes["resources"].get(key, 0) for key in ("CPU", "GPU")} == {
            "GPU": 0,
            **launcher["resources"],
        }
    assert seen["available_node_types"][seen["head_node_type"]]["resources"]["CPU"] == 0


@pytest.mark.parametrize(
    ("spot", "rule", "operator"),
    [
        ("never", "requiredDuringSchedulingIgnoredDuringExecution", "NotIn"),
        ("first", "preferredDuringSchedulingIgnoredDuringExecution", "In"),
        ("only", "requiredDuringSchedulingIgnoredDuringExecution", "In"),
    ],
)
def test_pods_prefer_want_or_avoid_spot_nodes(spot: str, rule: str, operator: str) -> None:
    spec = changed(load_cluster("aws"), node__gpu__spot=spot)
    *_, job = yaml.safe_load_all(render("kuberay", spec, study()))
    jsonschema.validate(job, schema("rayjob.json"))
    pod = job["spec"]["rayClusterSpec"]["workerGroupSpecs"][1]["template"]["spec"]
    (name,) = pod["affinity"]["nodeAffinity"]
    assert name == rule
    assert f"'operator': '{operator}'" in str(pod["affinity"])
    assert any(toleration["key"] != "nvidia.com/gpu" for toleration in pod["tolerations"]) == (
        spot != "never"
    )


@pytest.mark.parametrize("cloud", CLOUDS)
@pytest.mark.parametrize("spot", ["never", "first", "only"])
def test_the_documented_format_of_skypilot_is_kept(cloud: str, spot: str) -> None:
    task = yaml.safe_load(render("skypilot", changed(load_cluster(cloud), node__gpu__spot=spot), study()))
    jsonschema.Draft202012Validator(schema("skypilot.json")).validate(task)
    if spot == "first":
        assert task["resources"]["any_of"] == [{"use_spot": True}, {"use_spot": False}]
    else:
        assert task["resources"]["use_spot"] == (spot == "only")


def test_skypilots_own_schemas_accept_the_task() -> None:
    schemas = pytest.importorskip("sky.utils.schemas", reason="SkyPilot is not installed")
    task = yaml.safe_load(render("skypilot", load_cluster("aws"), study()))
    jsonschema.validate(task, schemas.get_task_schema())
    jsonschema.validate(task["resources"], schemas.get_resources_schema())


def test_a_bucket_holds_the_runs_of_one_node_only() -> None:
    spec = changed(load_cluster("aws"), storage__nfs=None, storage__bucket="s3://offbook-runs")
    with pytest.raises(ValueError, match=r"set storage\.nfs, or max = 1"):
        render("skypilot", spec, study())
    task = yaml.safe_load(render("skypilot", changed(spec, node__gpu__max=1), study()))
    jsonschema.validate(task, schema("skypilot.json"))
    assert task["file_mounts"]["~/runs"] == {"source": "s3://offbook-runs", "mode": "MOUNT_CACHED"}


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_values_of_secrets_are_in_no_rendering(launcher: str, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "OPENAI_API_KEY": "sk-made-up-0123456789",  # pragma: allowlist secret
        "HF_TOKEN": "hf_made_up_9876543210",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    text = render(launcher, load_cluster("aws"), study())
    for name, value in values.items():
        assert name in text
        assert value not in text


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_variables_that_the_study_asks_with_are_named_too(launcher: str) -> None:
    asked = study("paper-14b", "writer.api_key_env=LAB_KEY")
    assert "LAB_KEY" in render(launcher, load_cluster("aws"), asked)


@pytest.mark.parametrize(
    ("launcher", "change", "message"),
    [
        ("ray", {"storage__nfs": None}, "needs storage.nfs"),
        ("kuberay", {"storage__claim": None}, "needs storage.claim"),
        ("kuberay", {"images__kubernetes": None}, "needs images.kubernetes"),
        ("slurm", {"storage__path": None}, "needs storage.path"),
        ("slurm", {"slurm": None}, "needs a [slurm] table"),
        ("skypilot", {"storage__nfs": None}, "needs storage.nfs or storage.bucket"),
        ("skypilot", {"node__gpu__roles": ["engines"]}, "nodes of one type"),
        ("ray", {"node__gpu__max": 0}, "room for 0"),
        ("slurm", {"slurm__nodes": ["cpu"]}, "room for 0"),
    ],
)
def test_what_a_launcher_misses_is_named(launcher: str, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as raised:
        render(launcher, changed(load_cluster("aws"), **change), study())
    assert message in str(raised.value)


@pytest.mark.parametrize("launcher", LAUNCHERS[1:])
def test_only_rays_launcher_does_without_a_study(launcher: str) -> None:
    with pytest.raises(ValueError, match="name it with --study"):
        render(launcher, load_cluster("aws"))


@pytest.mark.parametrize(
    ("launcher", "replicas", "word"),
    [
        (
            "slurm",
            1,
            "no stage of paper-14b uses more than 2 of the 4 GPUs that slurm starts; raise model.replicas",
        ),
        ("skypilot", 3, "no stage of paper-14b uses more than 3 of the 4 GPUs that skypilot starts"),
        ("slurm", 4, None),
        ("kuberay", 1, None),
        ("ray", 1, None),
    ],
)
def test_gpus_that_are_started_and_never_used_are_told_of(
    launcher: str, replicas: int, word: str | None
) -> None:
    asked = study("paper-14b", f"model.replicas={replicas}", "train.num_workers=2")
    told = idle_gpus(launcher, load_cluster("aws"), asked)
    assert told is None if word is None else told is not None and told.startswith(word)


def test_the_study_arrives_as_it_was_but_for_the_gpus_of_its_engines(tmp_path: Path) -> None:
    _, config, _ = yaml.safe_load_all(render("kuberay", load_cluster("aws"), study("demo")))
    for name, text in config["data"].items():
        (tmp_path / name).write_text(text)
    arrived = load_settings(tmp_path / "demo.toml", [], StudyConfig)
    meant = load_study_at("demo")
    assert arrived.model_copy(update={"model": meant.model, "beside": meant.beside}) == meant
    assert arrived.model.device == "cuda"
    assert arrived.beside == ("demo-shop.toml",)
    assert load_settings(tmp_path / "demo-shop.toml", [], StudyConfig).model.device == "cuda"
