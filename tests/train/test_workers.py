"""Groups of workers, spawned without Ray: killed outright, more of them or fewer, under every ZeRO stage."""

from pathlib import Path

import pytest
from fit_runs import assert_alike, curve, make_job, settings_for, workers_seen
from group import kill_past_a_checkpoint, run_group

from train.adapter import WEIGHTS
from train.loop import WorkerSettings


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_workers_and_every_zero_stage_learn_the_same(config, tiny_model, rows, tmp_path):
    alone = settings_for(config, tiny_model, tmp_path / "alone", rows)
    groups = [
        settings_for(config, tiny_model, tmp_path / f"zero{stage}", rows, num_workers=2, zero_stage=stage)
        for stage in (3, 2, 1)  # 3 first: it alone needs the group before it reads the model
    ]
    groups += [
        settings_for(config, tiny_model, tmp_path / f"packed{stage}", rows, zero_stage=stage, packing=True)
        for stage in (1, 2, 3)
    ]
    groups.append(settings_for(config, tiny_model, tmp_path / "micro1", rows, micro_batch_rows=1))

    run_group([alone], num_workers=1)
    run_group(groups, num_workers=2)

    for settings in groups:
        assert_alike(Path(settings.jobs[0].folder), tmp_path / "alone")


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("zero_stage", [1, 2, 3])
def test_two_workers_killed_outright_go_on_as_if_unbroken(config, tiny_model, rows, tmp_path, zero_stage):
    changes = {"num_workers": 2, "zero_stage": zero_stage, "epochs": 12}
    broken = settings_for(config, tiny_model, tmp_path / "broken", rows, **changes)
    whole = settings_for(config, tiny_model, tmp_path / "whole", rows, **changes)

    kill_past_a_checkpoint(broken, num_workers=2)
    run_group([broken, whole], num_workers=2)

    assert curve(tmp_path / "broken") == curve(tmp_path / "whole")
    one, other = (tmp_path / n / "adapter" / WEIGHTS for n in ("broken", "whole"))
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("zero_stage", [1, 2, 3])
@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2), (2, 3)])
def test_another_number_of_workers_goes_on(config, tiny_model, rows, tmp_path, zero_stage, before, after):
    # Rank 1: tensors that three workers cannot share alike.
    changes = {"zero_stage": zero_stage, "epochs": 8, "rank": 1, "micro_batch_rows": 1}
    broken = settings_for(config, tiny_model, tmp_path / "broken", rows, **changes)
    whole = settings_for(config, tiny_model, tmp_path / "whole", rows, **changes)

    kill_past_a_checkpoint(broken, num_workers=before)
    run_group([broken, whole], num_workers=after)

    seen = workers_seen(tmp_path / "broken")
    assert set(seen) == {before, after} and seen[0] == before
    assert_alike(tmp_path / "broken", tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_adapters_of_one_spread_job_are_those_of_separate_jobs(config, tiny_model, rows, tmp_path):
    spread = config.model_copy(update={"zero_stage": 3, "num_workers": 2})
    jobs = (make_job(tmp_path / "first", rows, seed=5), make_job(tmp_path / "second", rows))
    together = WorkerSettings(config=spread, model=str(tiny_model), jobs=jobs)
    apart = settings_for(spread, tiny_model, tmp_path / "apart", rows)

    run_group([together, apart], num_workers=2)

    assert curve(tmp_path / "second") == curve(tmp_path / "apart")
    one, other = (tmp_path / n / "adapter" / WEIGHTS for n in ("second", "apart"))
    assert one.read_bytes() == other.read_bytes()
