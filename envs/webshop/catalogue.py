"""A built shop on disk: products, prices, nouns, search index and goals, all mapped, so that the processes of a machine share one copy.

Opening reads the manifest and maps files; nothing is loaded. Knows nothing of how it is built (`build`) or shown (`pages`).
"""

import json
import os
from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from envs.base import EnvError
from envs.webshop.goals import Goal
from envs.webshop.postings import Postings
from envs.webshop.products import Product
from envs.webshop.search import Searcher
from envs.webshop.store import SortedTexts, TextColumn, open_array

MANIFEST = "manifest.json"
FORMAT = 1
SPLITS = ("test", "dev", "train")
"""In the order in which they take the goals of the server's list."""
CARD_SEPARATOR = "\x1f"
_KEPT_PRODUCTS = 512


class Catalogue:
    """Read-only and thread-safe."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = read_manifest(folder)
        _require_whole(folder, self.manifest)
        self.num_products: int = self.manifest["products"]
        self._cards = TextColumn(folder, "cards")
        self._records = TextColumn(folder, "products")
        self._nouns = TextColumn(folder, "nouns")
        self._asins = SortedTexts(folder, "asins")
        self._order = open_array(folder, "asin_order")
        self._prices = open_array(folder, "prices")
        self._categories = open_array(folder, "category_codes")
        self._queries = SortedTexts(folder, "queries")
        self._query_codes = open_array(folder, "query_codes")
        search = self.manifest["search"]
        self.searcher = Searcher(
            Postings(folder),
            open_array(folder, "asin_ranks"),
            num_docs=self.num_products,
            num_docs_with_text=search["documents_with_text"],
            num_tokens=search["tokens"],
        )
        self.product = lru_cache(maxsize=_KEPT_PRODUCTS)(self._product)

    @property
    def sha256(self) -> str:
        """Of everything in it."""
        return self.manifest["sha256"]

    def number(self, asin: str) -> int | None:
        place = self._asins.find(asin)
        return None if place is None else int(self._order[place])

    def card(self, number: int) -> tuple[str, str, str]:
        """Asin, title and price tag."""
        asin, tag, title = self._cards[number].split(CARD_SEPARATOR, 2)
        return asin, title, tag

    def _product(self, number: int) -> Product:
        asin, title, tag = self.card(number)
        return Product.from_json(asin, title, tag, self._records[number])

    def price(self, number: int) -> float:
        """What the product costs, drawn at the build where two prices are shown."""
        return float(self._prices[number])

    def nouns(self, number: int) -> list[str]:
        """Of the title, in order, repeats kept."""
        text = self._nouns[number]
        return text.split("\n") if text else []

    def in_category(self, name: str) -> np.ndarray:
        """Products of a category, in the shop's order."""
        names: list[str] = self.manifest["categories"]
        return (
            np.flatnonzero(self._categories == names.index(name)) if name in names else np.zeros(0, np.int64)
        )

    def with_query(self, query: str) -> np.ndarray:
        """Products listed under a query, in the shop's order."""
        code = self._queries.find(query)
        return np.zeros(0, np.int64) if code is None else np.flatnonzero(self._query_codes == code)

    def goals(self, kind: str) -> "GoalSet":
        """The "human" or "synthetic" goals."""
        if not self.manifest["goals"].get(kind, {}).get("count"):
            held = [name for name, goals in self.manifest["goals"].items() if goals["count"]]
            raise EnvError(f"{self.folder} holds no {kind} goals, only {' and '.join(held) or 'products'}")
        return self._goal_sets[kind]

    @cached_property
    def _goal_sets(self) -> dict[str, "GoalSet"]:
        held = self.manifest["goals"]
        return {
            kind: GoalSet(self.folder, kind, goals["splits"])
            for kind, goals in held.items()
            if goals["count"]
        }


class GoalSet:
    """Goals in the server's order; ids are content hashes."""

    def __init__(self, folder: Path, kind: str, sizes: Sequence[int]) -> None:
        self._texts = TextColumn(folder, f"goals_{kind}")
        self.ids: list[str] = (folder / f"goals_{kind}.ids").read_text(encoding="ascii").split()
        if len(self.ids) != len(self._texts):
            raise EnvError(f"{folder}: goals_{kind}.ids does not fit its goals; build the catalogue again")
        self._places = {task: place for place, task in enumerate(self.ids)}
        self._ends = (sizes[0], sizes[0] + sizes[1])

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, place: int) -> Goal:
        return Goal.from_json(self._texts[place])

    def place(self, task_id: str) -> int | None:
        return self._places.get(task_id)

    def split(self, place: int) -> str:
        return SPLITS[(place >= self._ends[0]) + (place >= self._ends[1])]


def open_catalogue(folder: str | Path) -> Catalogue:
    """The catalogue in `folder`, opened once a process; again where it was rebuilt."""
    path = Path(os.path.expandvars(folder)).expanduser()
    if not str(folder):
        raise EnvError("env.catalogue is empty; name a folder that `offbook data build webshop` made")
    try:
        stamp = (path / MANIFEST).stat().st_mtime_ns
    except OSError:
        stamp = 0
    return _opened(path, stamp)


@lru_cache(maxsize=4)
def _opened(path: Path, _stamp: int) -> Catalogue:
    return Catalogue(path)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Raises `EnvError` where there is none, which is what an interrupted build leaves, or where it is of another format."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        found = manifest["format"]
    except FileNotFoundError:
        raise EnvError(
            f"{folder} is no WebShop catalogue: it holds no {MANIFEST}; make one with `offbook data build webshop SRC --out DIR` "
            "or `offbook data generate webshop`"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EnvError(f"{folder / MANIFEST} is damaged ({error}); build the catalogue again") from None
    if found != FORMAT:
        raise EnvError(f"{folder} has catalogue format {found}, this is format {FORMAT}; build it again")
    return manifest


def _require_whole(folder: Path, manifest: dict[str, Any]) -> None:
    """Every file is there in its full length; `offbook data verify` reads the contents too."""
    for name, facts in manifest["files"].items():
        try:
            size = (folder / name).stat().st_size
        except OSError:
            raise EnvError(f"{folder} lacks {name}; build the catalogue again") from None
        if size != facts["bytes"]:
            raise EnvError(
                f"{folder / name} has {size} bytes instead of {facts['bytes']}; build the catalogue again"
            )
