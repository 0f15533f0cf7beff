"""The READMEs of an export: a YAML head as the Hugging Face Hub reads it, then what the files are, in words. Knows no files."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distill.report import words

_SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
)
_LOAD_ADAPTER = """\
```python
from peft import PeftModel
from transformers import AutoModelForCausalLM

base = AutoModelForCausalLM.from_pretrained({base})
model = PeftModel.from_pretrained(base, "path/to/this/folder")
```"""
_LOAD_DATASET = """\
```python
from datasets import load_dataset

rows = load_dataset("path/to/this/folder", split="train")
```"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetFacts:
    study: str
    config_sha256: str
    env: str
    card: Mapping[str, Any]
    """`card.json`, whose seal holds."""
    text: str
    """`card.md`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterFacts:
    study: str
    config_sha256: str
    arm: str
    seed: int
    key: str
    """Of the stage that trained it."""
    base: str
    on_hub: bool
    told: Mapping[str, Any]
    """`adapter.json`."""
    weights_sha256: str
    panel: Mapping[str, Any]
    scores: Mapping[str, Any] | None
    """The arm's row of `results.json`."""


def dataset_card(facts: DatasetFacts) -> str:
    """The dataset's README.md."""
    card = facts.card
    head = {
        "pretty_name": f"{facts.study}, rows of {card['arm']}",
        "language": ["en"],
        "task_categories": ["text-generation"],
        "size_categories": [_size(card["rows"])],
        "tags": ["agent", "conversational", "distillation", "offbook", facts.env],
        "configs": [
            {"config_name": "default", "data_files": [{"split": "train", "path": "data/train.parquet"}]}
        ],
    }
    # The card of the build speaks of the file under the name that it had there.
    title, _, rest = facts.text.partition("\n")
    return "\n".join(
        [
            _front_matter(head),
            title,
            "",
            (
                f"Made by study `{facts.study}` of Offbook (settings sha256 `{facts.config_sha256}`). One conversation a row in the column `messages`; "
                "`task_id`, `trajectory_id`, `arm` and `seed` say where it is from."
            ),
            "",
            _LOAD_DATASET,
            "",
            (
                "`data/train.parquet` is the build's `rows.parquet`, byte for byte; `card.json` holds its hash and the seal below. "
                "The text of the environment belongs to those who wrote it; no licence is given here."
            ),
            rest.rstrip("\n"),
            "",
        ]
    )


def adapter_card(facts: AdapterFacts) -> str:
    """The adapter's README.md."""
    head: dict[str, Any] = {
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "language": ["en"],
        "tags": ["agent", "lora", "offbook", "peft"],
    }
    if facts.on_hub:
        head |= {"base_model": facts.base, "base_model_relation": "adapter"}
    told = facts.told
    hashes = {
        "base model": told.get("base_sha256"),
        "weights (`adapter_model.safetensors`)": facts.weights_sha256,
        "training rows": told.get("rows_sha256"),
        "training settings": told.get("config_sha256"),
        "study's settings": facts.config_sha256,
        "panel": facts.panel["sha256"],
    }
    return "\n".join(
        [
            _front_matter(head),
            f"# Adapter `{facts.arm}`, seed {facts.seed}, of study `{facts.study}`",
            "",
            f"LoRA weights for `{facts.base}`, trained by Offbook: arm `{facts.arm}` ({words.ARM_WORDS.get(facts.arm, 'an arm of the study')}).",
            "",
            _LOAD_ADAPTER.format(base=json.dumps(facts.base if facts.on_hub else f"path/to/{facts.base}")),
            "",
            "## How it played",
            "",
            _played(facts),
            "",
            "## What it is made of",
            "",
            "| what | sha256 |",
            "|---|---|",
            *(f"| {name} | `{value}` |" for name, value in hashes.items() if value),
            "",
            f"Training stage `{facts.key}`, seed {facts.seed}, {_training(told)}",
            "",
            (
                "`base_model_name_or_path` in `adapter_config.json` names the base and no folder of the machine that trained; the base model's licence "
                "holds for what is made with it."
            ),
            "",
        ]
    )


def index_card(study: str, config_sha256: str, results: Mapping[str, Any], files: Sequence[str]) -> str:
    """README.md over all that was exported."""
    word, sentence = words.answer(results)
    return "\n".join(
        [
            f"# Study `{study}`",
            "",
            f"Exported by Offbook; settings sha256 `{config_sha256}`, panel `{results['panel']['name']}` sha256 `{results['panel']['sha256']}`.",
            "",
            f"Did the student learn what the hints said? {word}. {sentence}",
            "",
            *(f"- `{name}`" for name in files),
            "",
        ]
    )


def _front_matter(head: Mapping[str, Any]) -> str:
    # JSON is YAML, and its quoting leaves no name of a study or a model room to be read as anything else.
    return "\n".join(["---", *(f"{key}: {json.dumps(value)}" for key, value in head.items()), "---", ""])


def _size(rows: int) -> str:
    return next((name for limit, name in _SIZES if rows < limit), "10M<n<100M")


def _played(facts: AdapterFacts) -> str:
    scores, panel = facts.scores, facts.panel
    if scores is None or scores["success_rate"] is None:
        return f"The study did not play this arm on its panel `{panel['name']}`."
    return (
        f"Arm `{facts.arm}`, all seeds together: {words.percent(scores['success_rate'])} % success "
        f"(95 % {words.interval(scores['success_ci95'])}) over {scores['n']:,} episodes on {panel['num_tasks']:,} held-out tasks of "
        f"`{panel['name']}`, without hints. `results.json` of the export compares the arms."
    )


def _training(told: Mapping[str, Any]) -> str:
    known = {name: told[name] for name in ("steps", "tokens", "final_loss", "skipped_rows") if name in told}
    listed = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in known.items())
    return f"{listed}." if listed else "no counts recorded."
