"""What several verbs ask for in the same words."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distill.config import StudyConfig

Verbs = argparse._SubParsersAction
Run = Callable[[argparse.Namespace], int]


def add_verb(
    verbs: Verbs, name: str, run: Run | None, common: argparse.ArgumentParser, *, text: str
) -> argparse.ArgumentParser:
    """A verb whose help is `text`; the sentence serves the list of verbs and its own page."""
    parser = verbs.add_parser(
        name,
        help=text,
        description=text[:1].upper() + text[1:] + ".",
        parents=[common],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if run is not None:
        parser.set_defaults(run=run)
    return parser


def add_subverbs(parser: argparse.ArgumentParser) -> Verbs:
    return parser.add_subparsers(title="commands", metavar="COMMAND", dest="subverb", required=True)


def add_study(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "study", metavar="STUDY", help="a TOML file, or the name of a study that ships with Offbook"
    )
    parser.add_argument(
        "--set",
        dest="overrides",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="change one setting, such as --set train.lr=1e-3; may be repeated",
    )


def add_out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        default=Path("runs"),
        help="folder of all runs (default: %(default)s)",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def load_study(args: argparse.Namespace) -> "StudyConfig":
    """The study that the command line names, with its `--set` overrides."""
    return load_study_at(args.study, args.overrides)


def load_study_at(name: str, overrides: Sequence[str] = ()) -> "StudyConfig":
    from distill.ablation import is_grid
    from distill.config import StudyConfig
    from distill.settings import load_settings

    path = study_path(name)
    if is_grid(path):
        raise ValueError(f"{path} is a grid of studies; run it with `offbook ablate {name}`")
    return load_settings(path, overrides, StudyConfig)


def load_beside(config: "StudyConfig", name: str) -> "list[StudyConfig]":
    """The studies that run with this one, which was loaded from `name`; files are meant as seen from its own.

    Raises:
        ValueError: one of them wants others beside it in turn, or has the same name.
    """
    folder = study_path(name).parent
    others = [
        load_study_at(str(folder / other) if other.endswith(".toml") else other) for other in config.beside
    ]
    for other in others:
        if other.beside:
            raise ValueError(
                f"{other.name} stands beside {config.name} and wants {', '.join(other.beside)} beside it; set its beside = []"
            )
    names = [study.name for study in (config, *others)]
    if len(set(names)) < len(names):
        raise ValueError(f"studies beside one another need different names, got {', '.join(names)}")
    return others


def study_path(name: str) -> Path:
    """A file as it is, else the shipped study of that name."""
    path = Path(name)
    if path.exists() or path.suffix or len(path.parts) > 1:
        return path
    shipped = shipped_studies()
    if name in shipped:
        return shipped[name]
    from difflib import get_close_matches

    near = get_close_matches(name, shipped, n=1)
    raise ValueError(
        f"there is no file {name!r} and no study of that name ships with Offbook; shipped: {', '.join(shipped) or 'none'}"
        + (f"; did you mean {near[0]!r}?" if near else "")
    )


def shipped_studies() -> dict[str, Path]:
    folder = Path(__file__).resolve().parent.parent / "studies"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}
