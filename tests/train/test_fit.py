import json
import os
import shutil

import pytest
from training_rows import make_row, write_rows

from train.errors import AdapterError, RowTooLongError, TrainError
from train.fit import FitJob, _scaling, fit, fit_many


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    # Ray gives each of its own processes half a minute, which is short on a busy machine.
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "180")
    os.environ.setdefault("RAY_agent_register_timeout_ms", "180000")
    import ray

    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        # Short: the path of a Unix socket has about a hundred characters.
        _temp_dir=str(tmp_path_factory.mktemp("r")),
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def two_workers(config):
    return config.model_copy(update={"num_workers": 2, "micro_batch_rows": 1, "max_restarts": 0})


@pytest.fixture(scope="module")
def trained(cluster, two_workers, tiny_model, rows, tmp_path_factory):
    """Two adapters, made by two workers in one Ray Train job."""
    out_dir = tmp_path_factory.mktemp("fit")
    jobs = [FitJob(name="distill-0", rows=rows, seed=0), FitJob(name="distill-1", rows=rows, seed=1)]
    return out_dir, jobs, fit_many(two_workers, model=str(tiny_model), jobs=jobs, out_dir=out_dir)


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_one_ray_job_makes_several_adapters(trained, tiny_model):
    out_dir, _, results = trained

    assert [r.name for r in results] == ["distill-0", "distill-1"]
    for result in results:
        manifest = json.loads((result.adapter / "adapter.json").read_text())
        assert manifest["base"] == str(tiny_model)
        assert manifest["config"]["zero_stage"] == 2 and manifest["config"]["num_workers"] == 2
        assert len(result.metrics.read_text().splitlines()) == result.steps == 6
        assert 0 < result.final_loss < 20
    weights = [(r.adapter / "adapter_model.safetensors").read_bytes() for r in results]
    assert weights[0] != weights[1]
    assert sorted(p.name for p in (out_dir / "distill-0").iterdir()) == ["adapter", "metrics.jsonl"]


@pytest.mark.ray
def test_finished_adapters_are_kept(trained, two_workers, tiny_model):
    out_dir, jobs, results = trained
    written = [(r.adapter / "adapter.json").stat().st_mtime_ns for r in results]

    again = fit_many(two_workers, model=str(tiny_model), jobs=jobs, out_dir=out_dir)

    assert again == results
    assert [(r.adapter / "adapter.json").stat().st_mtime_ns for r in again] == written


@pytest.mark.ray
def test_an_adapter_of_another_base_or_other_rows_is_not_taken_for_ours(
    trained, two_workers, tiny_model, rows, tmp_path
):
    out_dir, jobs, _ = trained
    other = shutil.copytree(tiny_model, tmp_path / "other")
    (other / "config.json").write_text((other / "config.json").read_text() + " ")
    changed = write_rows(tmp_path / "changed.parquet", [make_row(n, 20) for n in range(4)])

    with pytest.raises(AdapterError, match=f"trained on '{tiny_model}' but the model is '{other}'"):
        fit_many(two_workers, model=str(other), jobs=jobs, out_dir=out_dir)
    with pytest.raises(AdapterError, match=r"adapter of other rows_sha256 than asked for.*resume=False"):
        fit(two_workers, model=str(tiny_model), rows=changed, out_dir=out_dir, name="distill-0")
    with pytest.raises(AdapterError, match="other config_sha256"):
        new = two_workers.model_copy(update={"lr": 1.0})
        fit_many(new, model=str(tiny_model), jobs=jobs, out_dir=out_dir)


@pytest.mark.ray
def test_more_workers_than_the_cluster_has_is_an_error_and_no_wait(
    cluster, config, tiny_model, rows, tmp_path
):
    many = config.model_copy(update={"num_workers": 3})

    with pytest.raises(TrainError, match=r"needs 3 CPUs \(3 workers\) but the cluster has 2"):
        fit(many, model=str(tiny_model), rows=rows, out_dir=tmp_path, name="a")


def test_a_request_that_cannot_be_met_fails_before_any_worker_starts(config, tiny_model, rows, tmp_path):
    empty = write_rows(tmp_path / "empty.parquet", [])
    long = write_rows(tmp_path / "long.parquet", [make_row(0, 65)])

    with pytest.raises(TrainError, match="no successes to train on"):
        fit(config, model=str(tiny_model), rows=empty, out_dir=tmp_path, name="a")
    with pytest.raises(RowTooLongError, match="have more than 64 tokens"):
        fit(config, model=str(tiny_model), rows=long, out_dir=tmp_path, name="a")
    with pytest.raises(TrainError, match="the folder does not exist"):
        fit(config, model=str(tmp_path / "nowhere"), rows=rows, out_dir=tmp_path, name="a")
    with pytest.raises(ValueError, match="cannot share a name: a"):
        fit_many(config, model=str(tiny_model), jobs=[FitJob(name="a", rows=rows)] * 2, out_dir=tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty.parquet", "long.parquet"]


def test_with_a_least_number_of_workers_the_group_is_elastic(config):
    elastic = _scaling(config.model_copy(update={"num_workers": 4, "min_workers": 2}))

    assert elastic.elasticity_enabled and (elastic.min_workers, elastic.max_workers) == (2, 4)
    assert not _scaling(config).elasticity_enabled
