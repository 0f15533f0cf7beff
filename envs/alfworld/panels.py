"""The panels over the real games that Offbook ships, made by rule from the release's hashes.

`paper/alfworld-test`: all 134 games of valid_unseen, the paper's test set.
`paper/alfworld-train-1200`: 1,200 train games with the paper's numbers of each kind. Which games its authors had is not known
(the first 1,200 in the order of their file system), so the choice is ours: of each kind those whose path hashes lowest.

`python -m envs.alfworld.panels` writes them anew.
"""

import hashlib
import json
import lzma
from collections.abc import Iterable

from envs.alfworld.gamefile import DIALECT, SPLITS
from envs.alfworld.manifest import release_hashes
from envs.panel import Panel
from envs.registry import PANELS
from envs.task import Task

TRAIN_1200 = {
    "pick_clean_then_place_in_recep": 220,
    "pick_cool_then_place_in_recep": 193,
    "look_at_obj_in_light": 105,
    "pick_heat_then_place_in_recep": 163,
    "pick_and_place_simple": 254,
    "pick_two_obj_and_place": 265,
}
_SENTENCES = {
    "pick_and_place_simple": "put some {thing} on {place}.",
    "look_at_obj_in_light": "look at {thing} under the {place}.",
    "pick_clean_then_place_in_recep": "put a clean {thing} in {place}.",
    "pick_heat_then_place_in_recep": "put a hot {thing} in {place}.",
    "pick_cool_then_place_in_recep": "put a cool {thing} in {place}.",
    "pick_two_obj_and_place": "put two {thing} in {place}.",
}


def paper_test() -> Panel:
    return _panel(
        "paper/alfworld-test", (path for path in release_hashes() if path.startswith("valid_unseen/"))
    )


def paper_train_1200() -> Panel:
    chosen: list[str] = []
    for kind, number in TRAIN_1200.items():
        of_kind = [path for path in release_hashes() if path.startswith(f"train/{kind}-")]
        chosen += sorted(of_kind, key=lambda path: hashlib.sha256(path.encode()).hexdigest())[:number]
    return _panel("paper/alfworld-train-1200", chosen)


def task_of_path(path: str) -> Task:
    """What a game's path tells. The goal is the plain sentence; a game's own words may differ ("chill" for "cool")."""
    split, folder, _ = path.split("/")
    kind, thing, _, place, _scene = folder.split("-")
    sentence = _SENTENCES[kind].format(thing=thing.lower(), place=place.lower())
    return Task(env="alfworld", split=SPLITS[split], id=path, kind=kind, goal=sentence)


def _panel(name: str, paths: Iterable[str]) -> Panel:
    ordered = sorted(paths)
    hashes = release_hashes()
    return Panel(
        name=name,
        dialect=DIALECT,
        tasks=tuple(task_of_path(p) for p in ordered),
        hashes=tuple(hashes[p] for p in ordered),
    )


def write_panels() -> None:
    for panel in (paper_test(), paper_train_1200()):
        file = PANELS / f"{panel.name}.json.xz"
        file.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(panel.to_document(), indent=1, ensure_ascii=False)
        file.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))
        print(f"{panel.name}: {len(panel.tasks)} tasks, sha256 {panel.sha256}")


if __name__ == "__main__":
    write_panels()
