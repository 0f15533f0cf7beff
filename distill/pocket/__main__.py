"""`python -m distill.pocket`: the pocket model from nothing, seeded: tokenizer, demonstrations, training, and its table."""

import argparse
import logging
from pathlib import Path

from distill.pocket.build import SHIPPED, build, print_table

NAMES = {"alfworld": "pocket", "webshop": "pocket-shop"}


def main() -> None:
    args = _parser().parse_args()
    name = NAMES[args.env] + ("" if args.agent == "react" else f"-{args.agent}")
    out = args.out or Path("runs") / name
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    if args.command == "evaluate":
        model = args.model or SHIPPED[args.env, args.agent]
        print_table(args.env, args.agent, model, out, games=args.games, seed=args.seed + 1)
        return
    build(args.env, args.agent, out, minutes=args.minutes, seed=args.seed)
    print_table(args.env, args.agent, out / "model", out, games=args.games, seed=args.seed + 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m distill.pocket", description=__doc__)
    parser.add_argument(
        "command",
        nargs="?",
        choices=("train", "evaluate"),
        default="train",
        help="train (default) or evaluate",
    )
    parser.add_argument("--env", choices=tuple(NAMES), default="alfworld", help="what it plays (alfworld)")
    parser.add_argument(
        "--agent",
        choices=("react", "stateact"),
        default="react",
        help="how it speaks (react, from nothing; stateact starts from the shipped model that speaks react)",
    )
    parser.add_argument("--minutes", type=float, default=60.0, help="wall time of the training (60)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--games", type=int, default=200, help="unseen tasks of the table (200)")
    parser.add_argument(
        "--out",
        type=Path,
        help="where all is written (runs/pocket, runs/pocket-shop, or the same with -stateact)",
    )
    parser.add_argument(
        "--model",
        type=Path,
        help="which model to evaluate (the shipped one)",
    )
    return parser


if __name__ == "__main__":
    main()
