"""Exports: what others load, checked with the libraries that load it, and what is not exported."""

import hashlib
import json
import shutil
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent.parent))  # tests are no package
sys.path.insert(0, str(Path(__file__).parent))

from finished_studies import FinishedRun, small_study
from tiny_model import tiny_adapter, tiny_model  # noqa: F401

from distill import cli
from distill.export import base_name, export_run
from distill.run_metrics import append_metrics

LOCAL = "/home/me"


@pytest.fixture
def run(tmp_path, panel_of, arms_of):
    found = FinishedRun(tmp_path / "runs", small_study(), panel_of(12), arms_of).finish_all()
    append_metrics(found.run_dir, found.plan.stages, found.plan, found.store)
    return found


def head_of(readme):
    """The YAML between the first two rules, which must be all that the Hub needs."""
    start, head, text = readme.read_text().split("---\n", 2)
    assert start == "" and text.strip()
    return yaml.safe_load(head)


def names(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_everything_is_exported_and_names_no_folder_of_this_machine(run, tmp_path, capsys):
    to = tmp_path / "deep" / "out"
    assert cli.main(["export", str(run.run_dir), "--to", str(to)]) == 0
    datasets = {f"datasets/{a}/{n}" for a in ("baseline", "distill") for n in ("README.md", "card.json", "data/train.parquet")}  # fmt: skip
    adapters = {
        f"adapters/{arm}-s{seed}/{name}"
        for arm in ("baseline", "distill")
        for seed in (0, 1)
        for name in ("README.md", "adapter.json", "adapter_config.json", "adapter_model.safetensors")
    }
    assert names(to) == {"README.md", "results.json", "metrics.jsonl"} | datasets | adapters
    assert capsys.readouterr().out.split() == [str(to / "README.md"), *sorted(str(to / n) for n in names(to) if n != "README.md")]  # fmt: skip
    for name in names(to):
        assert LOCAL.encode() not in (to / name).read_bytes(), name
    assert (to / "metrics.jsonl").read_bytes() == (run.run_dir / "metrics.jsonl").read_bytes()
    assert not list(to.parent.glob(".*"))


@pytest.mark.parametrize(
    ("options", "folders"),
    [
        (["--adapters"], {"adapters"}),
        (["--dataset"], {"datasets"}),
        (["--dataset", "--adapters", "--arm", "distill"], {"adapters", "datasets"}),
    ],
)
def test_parts_are_chosen(run, tmp_path, options, folders):
    assert cli.main(["export", str(run.run_dir), "--to", str(tmp_path / "out"), *options]) == 0
    found = {path.name for path in (tmp_path / "out").iterdir() if path.is_dir()}
    assert found == folders
    if "--arm" in options:
        assert {path.parts[-2] for path in (tmp_path / "out").glob("adapters/*/README.md")} == {"distill-s0", "distill-s1"}  # fmt: skip


def test_a_dataset_is_messages_with_a_card_that_the_hub_reads(run, tmp_path):
    export_run(run.run_dir, tmp_path / "out", adapters=False)
    folder = tmp_path / "out" / "datasets" / "distill"
    head = head_of(folder / "README.md")
    assert head["size_categories"] == ["n<1K"] and head["task_categories"] == ["text-generation"]
    (config,) = head["configs"]
    (file,) = config["data_files"]
    rows = pq.read_table(folder / file["path"])
    assert rows["messages"][0].as_py()[1] == {"role": "assistant", "content": "> go to fridge 1"}
    assert rows.num_rows == 3 and file["split"] == "train"
    card = json.loads((folder / "card.json").read_text())
    assert sha256(folder / file["path"]) == card["sha256"]["rows.parquet"]
    assert card["seal"] in (folder / "README.md").read_text()


def test_a_dataset_loads_with_the_hubs_own_library(run, tmp_path):
    from datasets import load_dataset
    from huggingface_hub import DatasetCard, ModelCard

    export_run(run.run_dir, tmp_path / "out")
    folder = tmp_path / "out" / "datasets" / "distill"
    rows = load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(rows) == 3 and rows[0]["messages"][0] == {"role": "user", "content": "Go."}
    assert DatasetCard.load(folder / "README.md").data.pretty_name == "small, rows of distill"
    model = ModelCard.load(tmp_path / "out" / "adapters" / "distill-s0" / "README.md")
    assert model.data.library_name == "peft" and model.data.base_model is None


def test_an_adapter_loads_with_peft_as_it_was_trained(run, tmp_path, tiny_model, tiny_adapter):  # noqa: F811
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    fit = run.plan.fits["distill", 1]
    adapter = run.store.folder(fit) / "adapter"
    for file in ("adapter_model.safetensors", "adapter_config.json"):
        shutil.copyfile(tiny_adapter / file, adapter / file)
    run.store.finish(fit, {}, 1.0)
    export_run(run.run_dir, tmp_path / "out", arms=["distill"], datasets=False)
    exported = tmp_path / "out" / "adapters" / "distill-s1"
    assert str(tiny_model.parent) not in (exported / "adapter_config.json").read_text()

    def logits(folder):
        base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
        with torch.no_grad():
            return PeftModel.from_pretrained(base, str(folder)).eval()(torch.tensor([[5, 6, 7]])).logits

    assert torch.equal(logits(exported), logits(tiny_adapter))


def test_the_model_card_names_base_study_and_hashes(run, tmp_path):
    export_run(run.run_dir, tmp_path / "out", arms=["distill"])
    folder = tmp_path / "out" / "adapters" / "distill-s1"
    text = (folder / "README.md").read_text()
    document = json.loads((run.run_dir / "run.json").read_text())
    weights = sha256(folder / "adapter_model.safetensors")
    for said in (
        "study `small`",
        "seed 1",
        "b" * 64,
        "c" * 64,
        weights,
        document["config_sha256"],
        run.panel.sha256,
    ):
        assert said in text, said
    (scores,) = [
        arm
        for arm in json.loads((tmp_path / "out/results.json").read_text())["arms"]
        if arm["name"] == "distill"
    ]
    assert f"{100 * scores['success_rate']:.1f} % success" in text
    assert json.loads((folder / "adapter_config.json").read_text())["r"] == 2


@pytest.mark.parametrize(
    ("setting", "trained_on", "expected"),
    [
        ("Qwen/Qwen2.5-7B-Instruct", "/c/models--Qwen--Qwen2.5-7B-Instruct/snapshots/a1", ("Qwen/Qwen2.5-7B-Instruct", True)),
        ("Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen2.5-7B-Instruct", ("Qwen/Qwen2.5-7B-Instruct", True)),
        ("models/mine", "/home/me/models/mine", ("mine", False)),
        ("/home/me/models/mine", "/home/me/models/mine", ("mine", False)),
        ("pocket", "/x/distill/pocket/model", ("pocket", False)),
    ],
)  # fmt: skip
def test_only_a_model_that_came_from_the_hub_is_named_as_one(setting, trained_on, expected):
    assert base_name(setting, trained_on) == expected


def test_a_hub_model_stands_in_the_cards_head(run, tmp_path):
    from distill.export_cards import AdapterFacts, adapter_card

    facts = AdapterFacts(
        study="s",
        config_sha256="a" * 64,
        arm="distill",
        seed=0,
        key="k",
        base="Qwen/Qwen2.5-7B-Instruct",
        on_hub=True,
        told={},
        weights_sha256="d" * 64,
        panel={"name": "p", "sha256": "e" * 64, "num_tasks": 3},
        scores=None,
    )
    (tmp_path / "README.md").write_text(adapter_card(facts))
    assert head_of(tmp_path / "README.md")["base_model"] == "Qwen/Qwen2.5-7B-Instruct"
    assert "did not play this arm" in (tmp_path / "README.md").read_text()


def test_a_folder_that_holds_something_is_not_touched(run, tmp_path, capsys):
    to = tmp_path / "out"
    to.mkdir()
    (to / "mine.txt").write_text("mine")
    assert cli.main(["export", str(run.run_dir), "--to", str(to)]) == 2
    assert "is not empty; export into a new folder" in capsys.readouterr().err
    assert names(to) == {"mine.txt"}
    (to / "mine.txt").unlink()
    assert cli.main(["export", str(run.run_dir), "--to", str(to)]) == 0


def spoil_rows(run):
    path = run.store.folder(run.plan.datasets["distill"]) / "rows.parquet"
    pq.write_table(pq.read_table(path).slice(1), path)


def spoil_card(run):
    path = run.store.folder(run.plan.datasets["distill"]) / "card.json"
    path.write_text(path.read_text().replace('"rows_left_out": 0', '"rows_left_out": 7'))


def spoil_weights(run):
    (run.store.folder(run.plan.fits["distill", 0]) / "adapter" / "adapter_model.safetensors").write_bytes(
        b"x"
    )


def lose_weights(run):
    (run.store.folder(run.plan.fits["distill", 0]) / "adapter" / "adapter_model.safetensors").unlink()


def lose_manifest(run):
    (run.store.folder(run.plan.fits["distill", 0]) / "manifest.json").unlink()


def lose_report(run):
    (run.run_dir / "report" / "results.json").unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_rows, "the card says"),
        (spoil_card, "was changed after it was sealed"),
        (spoil_weights, "its stage wrote"),
        (lose_weights, "is missing; delete"),
        (lose_manifest, "stage fit-distill-s0"),
        (lose_report, "has no report yet"),
    ],
)
def test_what_is_not_what_it_says_is_not_exported(run, tmp_path, capsys, spoil, message):
    spoil(run)
    assert cli.main(["export", str(run.run_dir), "--to", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".out*"))


def test_an_arm_that_trains_nothing_and_a_folder_that_is_no_run_are_refused(run, tmp_path, capsys):
    assert cli.main(["export", str(run.run_dir), "--to", str(tmp_path / "out"), "--arm", "teacher"]) == 2
    assert "'teacher' of small trains no student; those that do: baseline, distill" in capsys.readouterr().err
    assert cli.main(["export", str(tmp_path), "--to", str(tmp_path / "out")]) == 2
    assert "is no run" in capsys.readouterr().err
