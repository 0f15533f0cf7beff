"""`python -m distill.pocket`: the pocket model from nothing, seeded: tokenizer, demonstrations, training, and its table."""

import argparse
import logging
from pathlib import Path

from distill.pocket.build import build, print_table


def main() -> None:
    args = _parser().parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    if args.command == "evaluate":
        print_table(args.model, games=args.games, seed=args.seed + 1)
        return
    build(args.out, minutes=args.minutes, seed=args.seed)
    print_table(args.out / "model", games=args.games, seed=args.seed + 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m distill.pocket", description=__doc__)
    parser.add_argument(
        "command",
        nargs="?",
        choices=("train", "evaluate"),
        default="train",
        help="train (default) or evaluate",
    )
    parser.add_argument("--minutes", type=float, default=80.0, help="wall time of the training (80)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--games", type=int, default=200, help="unseen households of the table (200)")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/pocket"), help="where all is written (runs/pocket)"
    )
    parser.add_argument(
        "--model",
        type=Path,
        default=Path(__file__).parent / "model",
        help="which model to evaluate (the shipped one)",
    )
    return parser


if __name__ == "__main__":
    main()
