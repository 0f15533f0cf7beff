"""A pocket model from nothing in one call: tokenizer, demonstrations beside the training, and its table."""

import logging
import multiprocessing
import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from distill.pocket.corpus import write_shards, write_tokenizer
from distill.pocket.lessons import AgentName, Lessons
from distill.pocket.orphans import end_with_parent
from distill.pocket.tokenizer import PARTS

if TYPE_CHECKING:
    from distill.pocket.evaluate import Course, Exercise

log = logging.getLogger(__name__)

EnvName = Literal["alfworld", "webshop"]
_HERE = Path(__file__).parent
SHIPPED: Mapping[tuple[EnvName, AgentName], Path] = {
    ("alfworld", "react"): _HERE / "model",
    ("alfworld", "stateact"): _HERE / "model_stateact",
    ("webshop", "react"): _HERE / "shop" / "model",
    ("webshop", "stateact"): _HERE / "shop" / "model_stateact",
}
_SHARDS = 130
"""More than ninety minutes of an idle machine use; they are written while the training reads them."""
_EPISODES_PER_SHARD = 2500


def build(env: EnvName, agent: AgentName, out: Path, *, minutes: float, seed: int) -> None:
    """Everything but the table; goes on where an earlier call into the same folder stopped. ReAct is learnt from nothing, StateAct by the
    model that ships for ReAct."""
    from distill.pocket.pretrain import PretrainConfig, train

    lessons = lessons_of(env, agent, out)
    tokenizer, shards = out / "tokenizer", out / "shards"
    if not (tokenizer / PARTS).is_file():
        write_tokenizer(tokenizer, lessons, seed=seed)
    writer = multiprocessing.get_context("spawn").Process(
        target=_write_shards, args=(shards, tokenizer, lessons, seed), daemon=True
    )
    shards.mkdir(parents=True, exist_ok=True)
    (shards / "num_shards").write_text(f"{_SHARDS}\n")
    writer.start()
    try:
        config = PretrainConfig(minutes=minutes, seed=seed)
        if agent != "react":
            start = require_model(SHIPPED[env, "react"])
            config = replace(config, start_from=str(start), drill_steps=0)
        train(config, shards, tokenizer, out / "training")
    finally:
        writer.terminate()
        writer.join()
    assemble(out / "training" / "final", tokenizer, out / "model")
    log.info("the model is in %s", out / "model")


def lessons_of(env: EnvName, agent: AgentName, out: Path) -> Lessons:
    if env == "webshop":
        from distill.pocket.shop.lessons import ShopLessons

        shops = ShopLessons(out / "shops", agent=agent)
        shops.prepare()
        return shops
    from distill.pocket.households import HouseholdLessons

    return HouseholdLessons(agent=agent)


def assemble(weights: Path, tokenizer: Path, folder: Path) -> None:
    """One folder that transformers and vLLM load."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in (*weights.iterdir(), *tokenizer.iterdir()):
        if file.name == PARTS:
            continue
        target = folder / file.name
        shutil.copyfile(file, target)
        target.chmod(0o644)


def require_model(folder: Path) -> Path:
    if not (folder / "model.safetensors").is_file():
        raise SystemExit(
            f"{folder} holds no pocket model; make one with `make pocket`, or `make pocket-shop` for --env webshop"
        )
    return folder


def print_table(env: EnvName, agent: AgentName, model: Path, out: Path, *, games: int, seed: int) -> None:
    """Greedy play of unseen tasks of each size under each way of advising."""
    from distill.pocket.evaluate import evaluate

    require_model(model)
    course, tasks = _course(env, agent, out, games, seed)
    for what, max_steps, exercises in tasks:
        print(f"{len(exercises)} unseen {what}, at most {max_steps} steps, greedy")
        for arm in course.arms:
            result = evaluate(model, course, exercises, arm, max_steps=max_steps, seed=seed)
            print("  " + result.line(), flush=True)


def _course(
    env: EnvName, agent: AgentName, out: Path, games: int, seed: int
) -> tuple["Course", list[tuple[str, int, list["Exercise"]]]]:
    if env == "webshop":
        from distill.pocket.shop import lessons

        return lessons.course(agent), [("purchases", 15, [*lessons.unseen(out / "shops", seed, games)])]
    from distill.pocket import households

    small, full = households.unseen(seed, games), households.unseen(seed, games // 2, "full")
    return households.course(agent), [
        ("households, small rooms", 30, [*small]),
        ("households, full rooms", 50, [*full]),
    ]


def _write_shards(shards: Path, tokenizer: Path, lessons: Lessons, seed: int) -> None:
    os.nice(19)  # The training waits for the first shard only.
    end_with_parent()
    write_shards(
        shards, tokenizer, lessons, seed=seed, num_shards=_SHARDS, episodes_per_shard=_EPISODES_PER_SHARD
    )
