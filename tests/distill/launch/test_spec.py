"""Descriptions of clusters: the shipped ones are whole, and a wrong one says what to do."""

from pathlib import Path

import pytest

from distill.launch.spec import CLUSTERS, load_cluster

SHIPPED = sorted(path.stem for path in CLUSTERS.glob("*.toml"))


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_clusters_have_a_head_that_is_never_taken_away_and_places_for_every_role(name: str) -> None:
    spec = load_cluster(name)
    assert spec.cloud == name
    assert spec.head.resources == {"CPU": 0}
    roles = {role for kind in spec.workers.values() for role in kind.roles}
    assert roles == {"hosts", "engines", "training"}


def test_the_example_values_of_a_shipped_cluster_are_known_as_such() -> None:
    assert load_cluster("gcp").placeholders == ["project", "images.kubernetes", "storage.nfs"]


def test_ray_is_the_installed_one_unless_named() -> None:
    import ray

    spec = load_cluster("aws")
    assert spec.image(gpu=True) == f"rayproject/ray:{ray.__version__}-py311-gpu"
    assert "2.54.0-py312" in spec.model_copy(update={"ray": "2.54.0", "python": "3.12"}).image(gpu=False)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("idle_minute = 3", "unknown key 'idle_minute'; did you mean 'idle_minutes'?"),
        ('[node.gpu]\nspott = "only"', "unknown key 'node.gpu.spott'; did you mean 'node.gpu.spot'?"),
        ('[node.gpu]\nspot = "always"', "node.gpu.spot = 'always' is not known; one of never, first, only"),
        ("[node.gpu]\nmin = 9", "min = 9 is more than max = 4; lower it or raise max"),
        ("[node.gpu]\ngpus = 0", "gpu = 'L40S' and gpus = 0 do not agree"),
        ('[node.head]\nspot = "first"', "with it goes the whole run"),
        (
            '[node.gpu]\nroles = ["head"]\nmax = 1',
            "one [node.NAME] table must have roles = ['head'], got head, gpu",
        ),
        ('cloud = "gcp"', "cloud = 'gcp' needs project"),
        ('cloud = "azure"\nresource_group = "mine"', "cloud = 'azure' needs subscription,"),
        ('environment = ["sk-0123"]', "this is no name of an environment variable"),
        ('[slurm]\nnodes = ["gpus"]', "slurm.nodes names 'gpus'"),
        ('[storage]\nbucket = "s3://key:secret@bucket"', "storage.bucket"),  # pragma: allowlist secret
        ('name = "Offbook!"', "name = 'Offbook!'"),
    ],
)
def test_a_wrong_description_names_the_key_and_the_way_out(tmp_path: Path, lines: str, message: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(f'extends = "clusters/aws.toml"\n{lines}\n')
    with pytest.raises(ValueError) as raised:
        load_cluster(str(file))
    assert message in str(raised.value)


def test_an_unknown_name_lists_what_ships() -> None:
    with pytest.raises(ValueError, match="shipped: aws, azure, gcp"):
        load_cluster("amazon")
