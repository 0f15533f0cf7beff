"""`offbook plan` says what training needs: from written rows, else from what it says that it assumes."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distill import cli
from distill.config import StudyConfig
from distill.stages import StageStore
from distill.study import plan_stages
from distill.training_forecast import forecast_students


def study(**changes) -> StudyConfig:
    told = {
        "name": "foretold",
        "arms": ["base", "baseline", "distill"],
        "env": {"name": "scripted", "num_tasks": 1000},
        "tasks": {"train": 12, "test": 8},
        "agent": {"prompt": "brief"},
        "writer": {"kind": "diagnostician"},
        "model": {"kind": "vllm", "model": "pocket", "device": "cpu"},
        "train": {"use_gpu": True},
    }
    return StudyConfig.model_validate(told | changes)


def write_rows(config: StudyConfig, store: StageStore, lengths: list[int]) -> None:
    for stage in plan_stages(config).datasets.values():
        with store.working(stage) as folder:
            table = pa.table({"num_tokens": lengths, "num_loss_tokens": [n // 5 for n in lengths]})
            pq.write_table(table, folder / "tokens.parquet")
        store.finish(stage, {"rows": len(lengths)}, 1.0)


def test_rows_that_are_written_are_measured_and_others_assumed(tmp_path):
    config, store = study(), StageStore(tmp_path)
    assumed = forecast_students(config, plan_stages(config), store, None)
    write_rows(config, store, [200, 300, 400])
    measured = forecast_students(config, plan_stages(config), store, "H100")

    assert assumed.gpu.name == "A100-80GB" and measured.gpu.name == "H100"
    assert "rows: 12, longest 2048 tokens, mean 1024" in assumed.assumptions[0]
    assert "one row a train task" in assumed.assumptions[0]
    assert "rows: 3, longest 400 tokens, mean 300, 20% under loss (measured: rows-" in measured.assumptions[0]
    assert measured.memory.total < assumed.memory.total and measured.hours < assumed.hours


def test_without_students_or_gpus_nothing_is_foretold(tmp_path):
    store = StageStore(tmp_path)
    untrained, on_cpu = study(arms=["base"]), study(train={"use_gpu": False})

    assert forecast_students(untrained, plan_stages(untrained), store, "H100") is None
    assert forecast_students(on_cpu, plan_stages(on_cpu), store, None) is None
    assert forecast_students(on_cpu, plan_stages(on_cpu), store, "H100").fits


def test_the_command_prints_it_with_its_assumptions(tmp_path, capsys):
    command = ["plan", "demo", "--out", str(tmp_path), "--gpu", "L4", "--set", "train.dtype=bfloat16"]

    assert cli.main(command) == 0
    shown = capsys.readouterr().out
    assert "GB a GPU at the peak, fits in 24 GB of a L4" in shown and "assumes L4: 24 GB" in shown
    assert cli.main([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["training"]
    assert told["parameters"] == 2_152_704 and told["adapters"] == 9 and told["hours_per_adapter"] > 0
    assert told["bytes_per_gpu"]["base"] == 2 * 2_152_704
    assert cli.main(["plan", "demo", "--out", str(tmp_path), "--gpu", "B9"]) == 2
    assert "unknown GPU 'B9'" in capsys.readouterr().err
    assert cli.main(["plan", "demo", "--out", str(tmp_path)]) == 0
    assert "at the peak" not in capsys.readouterr().out


def test_float32_has_no_hours(tmp_path):
    config = study(train={"use_gpu": True, "dtype": "float32"})

    assert forecast_students(config, plan_stages(config), StageStore(tmp_path), None).hours is None


@pytest.mark.parametrize("gpu", ["h100", "H100"])
def test_a_gpu_is_known_in_any_case(tmp_path, gpu):
    config = study()

    assert forecast_students(config, plan_stages(config), StageStore(tmp_path), gpu).gpu.name == "H100"
