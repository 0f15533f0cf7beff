"""`offbook config`: a study's settings, defaults included, and their hash."""

import argparse

from distill.commands import EXIT_OK
from distill.commands.shared import (
    Verbs,
    add_json,
    add_study,
    add_subverbs,
    add_verb,
    load_study,
    study_path,
)


def add_to(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    parser = add_verb(verbs, "config", None, common, text="show or check a study's settings")
    subverbs = add_subverbs(parser)
    show = add_verb(
        subverbs, "show", run_show, common, text="print every setting with defaults and overrides resolved"
    )
    add_study(show)
    add_json(show)
    validate = add_verb(
        subverbs, "validate", run_validate, common, text="check a study's settings and print their hash"
    )
    add_study(validate)


def run_show(args: argparse.Namespace) -> int:
    config = load_study(args)
    from distill.settings import config_hash, to_json, to_toml

    if args.json:
        print(to_json(config), end="")
        return EXIT_OK
    print(f"# hash {config_hash(config)}")
    print(to_toml(config.model_dump(mode="json")), end="")
    return EXIT_OK


def run_validate(args: argparse.Namespace) -> int:
    from distill.ablation import is_grid, load_ablation

    if is_grid(study_path(args.study)):
        grid = load_ablation(study_path(args.study), args.overrides, find_study=study_path)
        print(f"{args.study}: grid {grid.name!r} of {len(grid.cells)} studies is valid")
        return EXIT_OK
    config = load_study(args)
    from distill.settings import config_hash

    print(f"{args.study}: study {config.name!r} is valid, hash {config_hash(config)}")
    return EXIT_OK
