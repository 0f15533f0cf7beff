"""Takes what a finished study made out of its store, in the forms that others read: datasets, adapters, results and metrics.

Everything is checked before anything is written: a dataset's seal and every file against its stage's manifest. The folder appears whole.
"""

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill.config import StudyConfig
from distill.dataset_card import verify_card
from distill.export_cards import AdapterFacts, DatasetFacts, adapter_card, dataset_card, index_card
from distill.run_metrics import METRICS
from distill.stages import MANIFEST, StageError, file_hash

_ADAPTER_FILES = ("adapter_model.safetensors", "adapter_config.json", "adapter.json")
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Dataset:
    arm: str
    folder: Path
    card: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Adapter:
    arm: str
    seed: int
    folder: Path
    key: str
    told: Mapping[str, Any]
    """What `adapter.json` says."""
    weights_sha256: str


def export_run(
    run_dir: Path, to: Path, *, arms: Sequence[str] = (), datasets: bool = True, adapters: bool = True
) -> list[Path]:
    """Write the students' datasets and adapters (of `arms`; () all), results and metrics into the new folder `to`; returns what lies in it.

    Raises `ValueError` where `to` holds something or an arm is no student, `StageError` where a stage is not finished or its files are
    not those that it wrote, `CardError` where a dataset is not what it was sealed as.
    """
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise ValueError(f"{to} is not empty; export into a new folder")
    document = _run_document(run_dir)
    config = StudyConfig.model_validate(document["config"])
    chosen = _students(config, arms)
    store = (run_dir / document["store"]).resolve()
    kept = _Sources(run_dir, config, document, store)
    found_datasets = [kept.dataset(arm) for arm in chosen] if datasets else []
    found_adapters = [kept.adapter(arm, seed) for arm in chosen for seed in config.seeds] if adapters else []
    results = kept.results()
    draft = to.parent / f".{to.name}.{os.getpid()}"
    try:
        draft.mkdir(parents=True)
        for dataset in found_datasets:
            _write_dataset(dataset, config, document, draft / "datasets" / dataset.arm)
        for adapter in found_adapters:
            _write_adapter(
                adapter, config, document, results, draft / "adapters" / f"{adapter.arm}-s{adapter.seed}"
            )
        (draft / "results.json").write_bytes((run_dir / "report" / "results.json").read_bytes())
        if (run_dir / METRICS).is_file():
            shutil.copyfile(run_dir / METRICS, draft / METRICS)
        names = sorted(str(path.relative_to(draft)) for path in draft.rglob("*") if path.is_file())
        (draft / "README.md").write_text(
            index_card(config.name, document["config_sha256"], results, names), encoding="utf-8"
        )
        if to.exists():
            to.rmdir()
        draft.rename(to)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return [to / name for name in ("README.md", *names)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _StageFolder:
    folder: Path
    manifest: Mapping[str, Any]

    def check(self, name: str) -> str:
        """SHA-256 of one of its files, which is the one that the stage wrote."""
        path, wrote = self.folder / name, self.manifest["outputs"].get(name)
        if wrote is None or not path.is_file():
            raise StageError(f"{path} is missing; delete {self.folder} and run the study again")
        if (sha256 := file_hash(path)) != wrote["sha256"]:
            raise StageError(
                f"{path} has sha256 {sha256[:12]}, its stage wrote {wrote['sha256'][:12]}; delete {self.folder} and run the study again"
            )
        return sha256


class _Sources:
    """What there is to export, checked."""

    def __init__(self, run_dir: Path, config: StudyConfig, document: Mapping[str, Any], store: Path):
        self._run_dir, self._config, self._document, self._store = run_dir, config, document, store

    def dataset(self, arm: str) -> _Dataset:
        stage = self._stage(f"rows-{arm}")
        card = verify_card(stage.folder)
        stage.check("rows.parquet")
        return _Dataset(arm=arm, folder=stage.folder, card=card)

    def adapter(self, arm: str, seed: int) -> _Adapter:
        stage = self._stage(f"fit-{arm}-s{seed}")
        hashes = {name: stage.check(f"adapter/{name}") for name in _ADAPTER_FILES}
        return _Adapter(
            arm=arm,
            seed=seed,
            folder=stage.folder / "adapter",
            key=stage.manifest["key"],
            told=json.loads((stage.folder / "adapter" / "adapter.json").read_text(encoding="utf-8")),
            weights_sha256=hashes["adapter_model.safetensors"],
        )

    def results(self) -> dict[str, Any]:
        path = self._run_dir / "report" / "results.json"
        if not path.is_file():
            raise StageError(f"{self._run_dir} is not finished: it has no report yet; run the study again")
        return json.loads(path.read_text(encoding="utf-8"))

    def _stage(self, name: str) -> _StageFolder:
        folder = self._store / self._document["stages"][name]
        path = folder / MANIFEST
        if not path.is_file():
            raise StageError(f"stage {name} of {self._run_dir} is not finished; run the study again")
        return _StageFolder(folder=folder, manifest=json.loads(path.read_text(encoding="utf-8")))


def _run_document(run_dir: Path) -> dict[str, Any]:
    path = run_dir / "run.json"
    if not path.is_file():
        raise ValueError(
            f"{run_dir} is no run: it holds no run.json; name a study's folder such as runs/demo"
        )
    return json.loads(path.read_text(encoding="utf-8"))


def _students(config: StudyConfig, arms: Sequence[str]) -> tuple[str, ...]:
    listed = ", ".join(config.students) or "none"
    if strangers := [arm for arm in arms if arm not in config.students]:
        raise ValueError(f"arm {strangers[0]!r} of {config.name} trains no student; those that do: {listed}")
    return tuple(arm for arm in config.students if not arms or arm in arms)


def _write_dataset(dataset: _Dataset, config: StudyConfig, document: Mapping[str, Any], folder: Path) -> None:
    (folder / "data").mkdir(parents=True)
    # The very bytes that were sealed, so that the card's hash can be checked on the copy.
    shutil.copyfile(dataset.folder / "rows.parquet", folder / "data" / "train.parquet")
    shutil.copyfile(dataset.folder / "card.json", folder / "card.json")
    facts = DatasetFacts(
        study=config.name,
        config_sha256=document["config_sha256"],
        env=config.env.name,
        card=dataset.card,
        text=(dataset.folder / "card.md").read_text(encoding="utf-8"),
    )
    (folder / "README.md").write_text(dataset_card(facts), encoding="utf-8")


def _write_adapter(
    adapter: _Adapter,
    config: StudyConfig,
    document: Mapping[str, Any],
    results: Mapping[str, Any],
    folder: Path,
) -> None:
    folder.mkdir(parents=True)
    shutil.copyfile(adapter.folder / "adapter_model.safetensors", folder / "adapter_model.safetensors")
    base, on_hub = base_name(str(config.model.model), str(adapter.told["base"]))
    # Where the base lay on the machine that trained is nobody's business, and no use to who loads the adapter.
    peft = json.loads((adapter.folder / "adapter_config.json").read_text(encoding="utf-8"))
    _write_json(folder / "adapter_config.json", peft | {"base_model_name_or_path": base})
    _write_json(folder / "adapter.json", {**adapter.told, "base": base})
    facts = AdapterFacts(
        study=config.name,
        config_sha256=document["config_sha256"],
        arm=adapter.arm,
        seed=adapter.seed,
        key=adapter.key,
        base=base,
        on_hub=on_hub,
        told=adapter.told,
        weights_sha256=adapter.weights_sha256,
        panel=results["panel"],
        scores=next((arm for arm in results["arms"] if arm["name"] == adapter.arm), None),
    )
    (folder / "README.md").write_text(adapter_card(facts), encoding="utf-8")


def base_name(setting: str, trained_on: str) -> tuple[str, bool]:
    """What others know the base model by, and whether that is its name on the Hugging Face Hub. `trained_on`: the folder or name as trained."""
    cached = f"models--{setting.replace('/', '--')}"
    if _HUB_NAME.fullmatch(setting) and (trained_on == setting or cached in Path(trained_on).parts):
        return setting, True
    return Path(setting).name, False


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
