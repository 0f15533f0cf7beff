"""What a pilot says about the study it is a pilot of."""

import json

import pytest

from distill import cli
from distill.config import StudyConfig
from distill.forecast import ForecastError, Pilot, forecast
from distill.stages import StageStore
from distill.study import plan_stages

ROLLOUT = {
    "episodes": 10,
    "successes": 4,
    "errors": 0,
    "prompt_tokens": 1000,
    "cached_tokens": 0,
    "completion_tokens": 50,
}
COUNTS = {
    "tasks": {"train tasks": 10, "test tasks": 10},
    "rollout": ROLLOUT,
    "hints": {"failures": 6, "hints": 9, "distinct hints": 5},
    "dataset": {"rows": 4, "tokens": 400, "loss_tokens": 40},
    "fit": {"steps": 1, "tokens": 800, "loss": 0.1},
}
SECONDS = {"tasks": 1.0, "rollout": 36.0, "hints": 6.0, "dataset": 4.0, "fit": 40.0}


def study(**changes):
    settings = {
        "name": "s",
        "seeds": [0, 1],
        "env": {"name": "scripted", "num_tasks": 1000},
        "tasks": {"train": 10, "test": 10},
        "agent": {"prompt": "brief"},
        "model": {"kind": "scripted"},
        "writer": {"kind": "diagnostician"},
    }
    return StudyConfig.model_validate(settings | changes)


def finish(config, out, stages=None):
    """A finished run, as far as a forecast reads it."""
    store, plan = StageStore(out / "store"), plan_stages(config)
    for stage in stages if stages is not None else plan.stages:
        with store.working(stage):
            store.finish(stage, COUNTS[stage.kind], SECONDS[stage.kind])
    folder = out / config.name
    folder.mkdir(exist_ok=True)
    run = {
        "config": {"name": config.name},
        "store": "../store",
        "stages": {stage.name: stage.folder_name for stage in plan.stages},
    }
    (folder / "run.json").write_text(json.dumps(run))
    return folder


def test_tokens_and_hours_scale_with_episodes_failures_and_rows(tmp_path):
    pilot = Pilot.load(finish(study(), tmp_path))
    wide = study(name="wide", tasks={"train": 100, "test": 20}, seeds=[0, 1, 2])
    found = {f.name: f for f in forecast(wide, plan_stages(wide), StageStore(tmp_path / "store"), pilot)}
    assert found["train-base"].episodes == 100
    assert found["train-base"].prompt_tokens == pytest.approx(10_000)
    assert found["train-base"].hours == pytest.approx(0.1)
    # 60 failures of 100 are played again, and 60 are asked about.
    assert found["train-reroll"].episodes == pytest.approx(60)
    assert found["hints"].hours == pytest.approx(60 / 3600)
    # Rows: 40 of base's hundred; 40 and 24 of the second try's sixty.
    assert found["rows-baseline"].hours == pytest.approx(40 / 3600)
    assert found["rows-best_of_2"].hours == pytest.approx(64 / 3600)
    assert found["fit-baseline-s0"].hours == pytest.approx(400 / 3600)
    # A seed that the pilot had not is judged by another of the same arm.
    assert found["eval-distill-s2"].completion_tokens == pytest.approx(100)


def test_what_is_done_costs_nothing(tmp_path):
    folder = finish(study(), tmp_path)
    more = study(name="more", seeds=[0, 1, 2])
    found = forecast(more, plan_stages(more), StageStore(tmp_path / "store"), Pilot.load(folder))
    assert {f.name for f in found} == {
        f"{what}-{arm}-s2" for what in ("fit",) for arm in ("baseline", "distill", "best_of_2")
    } | {f"eval-{arm}-s2" for arm in more.arms}


def test_gpu_hours_count_the_gpus_that_settings_ask_for(tmp_path):
    pilot = Pilot.load(finish(study(), tmp_path))
    model = {"kind": "vllm", "model": "pocket", "replicas": 3, "tensor_parallel_size": 2}
    config = study(name="gpu", model=model, train={"use_gpu": True, "num_workers": 4})
    found = {f.name: f for f in forecast(config, plan_stages(config), StageStore(tmp_path / "store"), pilot)}
    assert found["train-base"].gpu_hours == pytest.approx(0.01 * 6)
    assert found["fit-distill-s0"].gpus == 4 and found["hints"].gpus == 0
    on_cpu = study(name="cpu", model=model | {"device": "cpu"})
    assert not any(
        f.gpus for f in forecast(on_cpu, plan_stages(on_cpu), StageStore(tmp_path / "store"), pilot)
    )


def test_a_pilot_that_cannot_tell_says_so(tmp_path):
    with pytest.raises(ForecastError, match=r"is no finished run.*run a small pilot first"):
        Pilot.load(tmp_path / "nowhere")
    config = study()
    half = finish(config, tmp_path, plan_stages(config).stages[:2])
    with pytest.raises(ForecastError, match="is no finished run"):
        Pilot.load(half)
    narrow = study(name="narrow", arms=["base"])
    pilot = Pilot.load(finish(narrow, tmp_path))
    with pytest.raises(ForecastError, match="ran no stage like hints"):
        forecast(config, plan_stages(config), StageStore(tmp_path / "elsewhere"), pilot)


def test_the_command_prints_a_sum(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = finish(study(), tmp_path)
    (tmp_path / "wide.json").write_text(
        json.dumps(study(name="wide", tasks={"train": 40, "test": 40}).model_dump(mode="json"))
    )
    command = ["plan", "wide.json", "--out", str(tmp_path), "--pilot", str(folder)]
    assert cli.main([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["total"]["episodes"] == sum(stage["episodes"] for stage in told["stages"]) > 0
    assert "usd" not in told["total"]
    assert cli.main([*command, "--usd-per-gpu-hour", "2"]) == 0
    assert "asks for a GPU" in capsys.readouterr().out
    assert cli.main(["plan", "wide.json", "--usd-per-gpu-hour", "2"]) == 2
