"""Attributions that were made of a study: `offbook attribute` puts them into the store, where the report finds them again."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distill.attribution_run import ATTRIBUTION, attribution_stage
from distill.config import StudyConfig
from distill.stages import MANIFEST, Stage, StageError, StageStore
from distill.study import StudyPlan


def find_attributions(config: StudyConfig, plan: StudyPlan, store: StageStore) -> dict[str, Path]:
    """By hinted arm, the folder of the finished attribution that looked at most flips of these very episodes."""
    found: dict[str, tuple[int, str, Path]] = {}
    wanted = _wanted(config, plan)
    for path in sorted(store.root.glob(f"attribution-*/{MANIFEST}")):
        manifest = json.loads(path.read_text(encoding="utf-8"))
        stage = wanted.get(manifest["config"].get("arm"))
        if stage is None or manifest["version"] != stage.version or manifest["inputs"] != _folders(stage):
            continue
        arm, flips = stage.config["arm"], manifest["counts"]["flips"]
        # Of two that looked at as many, the name decides: the report must not depend on the order of a listing.
        found[arm] = max(
            found.get(arm, (-1, "", path.parent)), (flips, path.parent.name, path.parent), key=lambda f: f[:2]
        )
    return {arm: folder for arm, (_, _, folder) in found.items()}


def read_attributions(folders: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """By arm, what `attribution.json` says."""
    return {
        arm: json.loads((folder / ATTRIBUTION).read_text(encoding="utf-8")) for arm, folder in folders.items()
    }


def _wanted(config: StudyConfig, plan: StudyPlan) -> dict[str, Stage]:
    stages = {}
    for arm in config.arms:
        try:
            stages[arm] = attribution_stage(config, plan, arm, None)
        except StageError:
            continue  # No arm that gives the model hints.
    return stages


def _folders(stage: Stage) -> dict[str, str]:
    return {role: source.folder_name for role, source in stage.inputs.items()}
