"""`offbook data build webshop`: the original's files become a catalogue, in one stream, written beside its place and moved there whole."""

import hashlib
import itertools
import json
import logging
import os
import random
import shutil
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from envs.base import EnvError
from envs.webshop.analysis import terms
from envs.webshop.catalogue import CARD_SEPARATOR, FORMAT, MANIFEST, read_manifest
from envs.webshop.goals import (
    Goal,
    draw_price,
    human_goals,
    in_server_order,
    synthetic_goals,
    task_ids,
    weigh,
)
from envs.webshop.nouns import NounTagger, open_tagger
from envs.webshop.postings import PostingsWriter
from envs.webshop.products import Listing, Product, Wish, find_sources, read_listings
from envs.webshop.store import TextColumn, TextWriter, save_array

log = logging.getLogger(__name__)

SEED = 42
SPLIT_SIZES = (500, 1000)
"""Goals of the test and the dev split; train takes the rest."""
MOST_SYNTHETIC = 100_000
_BATCH = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    limit: int | None = None
    """So many entries of the items' file; None for all."""
    seed: int = SEED
    """Draws prices and price caps."""
    nouns: str = "auto"
    split_sizes: tuple[int, int] = SPLIT_SIZES
    most_synthetic: int = MOST_SYNTHETIC


def build_from_files(source: Path, out: Path, options: BuildOptions = BuildOptions()) -> dict[str, Any]:
    """Build from a folder with the original's JSON files; returns the manifest."""
    if not source.is_dir():
        raise EnvError(f"{source} is no folder of WebShop's files")
    files = find_sources(source)
    named = [path for path in (files.items, files.attributes, files.human) if path]
    origin = {"files": {path.name: _sha256(path) for path in named}}
    return build(read_listings(files, options.limit), out, options, origin=origin)


def build(
    listings: Iterable[Listing], out: Path, options: BuildOptions = BuildOptions(), *, origin: dict[str, Any]
) -> dict[str, Any]:
    """Write a catalogue at `out`; one that is there already is replaced at the end.

    Raises:
        EnvError: `out` holds something that is no catalogue, or nothing is listed.
    """
    _require_free(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.parent / f".{out.name}.building-{os.getpid()}"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    try:
        manifest = _Builder(draft, options).run(listings, origin)
        _swap(draft, out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    log.info("%s: %d products, sha256 %s", out, manifest["products"], manifest["sha256"][:12])
    return manifest


class _Builder:
    def __init__(self, folder: Path, options: BuildOptions) -> None:
        self._folder = folder
        self._options = options
        self._rng = random.Random(options.seed)
        self._tagger: NounTagger = open_tagger(options.nouns)
        self._prices = array("d")
        self._asins: list[str] = []
        self._categories: dict[str, int] = {}
        self._category_codes = array("H")
        self._queries: dict[str, int] = {}
        self._query_codes = array("I")

    def run(self, listings: Iterable[Listing], origin: dict[str, Any]) -> dict[str, Any]:
        index = PostingsWriter(self._folder)
        wishes = self._folder / "wishes.tmp"
        columns = {name: TextWriter(self._folder, name) for name in ("cards", "products", "nouns")}
        with wishes.open("w", encoding="utf-8", errors="surrogatepass") as kept:
            for batch in _batches(listings):
                tagged = self._tagger.nouns(listing.product.title for listing in batch)
                for listing, nouns in zip(batch, tagged, strict=True):
                    self._add(listing, nouns, columns, index)
                    if listing.template or listing.human:
                        kept.write(_wish_line(len(self._asins) - 1, listing) + "\n")
        for column in columns.values():
            column.close()
        if not self._asins:
            raise EnvError("there is no product to build a catalogue of")
        index.close()
        self._write_columns()
        goals = self._write_goals(wishes)
        wishes.unlink()
        return self._write_manifest(index, goals, origin)

    def _add(
        self, listing: Listing, nouns: list[str], columns: dict[str, TextWriter], index: PostingsWriter
    ) -> None:
        product = listing.product
        columns["cards"].add(CARD_SEPARATOR.join((product.asin, product.price_tag, product.title)))
        columns["products"].add(product.to_json())
        columns["nouns"].add("\n".join(nouns))
        index.add(terms(product.contents))
        self._asins.append(product.asin)
        self._prices.append(draw_price(product.prices, self._rng))
        self._category_codes.append(self._categories.setdefault(product.category, len(self._categories)))
        self._query_codes.append(self._queries.setdefault(product.query, len(self._queries)))
        if len(self._asins) % 50_000 == 0:
            log.info("%d products", len(self._asins))

    def _write_columns(self) -> None:
        encoded = [asin.encode() for asin in self._asins]
        order = np.array(sorted(range(len(encoded)), key=encoded.__getitem__), np.uint32)
        ranks = np.empty(len(order), np.uint32)
        ranks[order] = np.arange(len(order), dtype=np.uint32)
        self._write_texts("asins", (self._asins[number] for number in order.tolist()))
        queries = sorted(self._queries, key=lambda query: query.encode("utf-8", "surrogatepass"))
        self._write_texts("queries", queries)
        recoded = np.empty(len(queries), np.uint32)
        recoded[[self._queries[query] for query in queries]] = np.arange(len(queries), dtype=np.uint32)
        for name, values in (
            ("asin_order", order),
            ("asin_ranks", ranks),
            ("prices", np.frombuffer(self._prices, np.float64)),
            ("category_codes", np.frombuffer(self._category_codes, np.uint16)),
            ("query_codes", recoded[np.frombuffer(self._query_codes, np.uint32)]),
        ):
            save_array(self._folder, name, values)

    def _write_texts(self, name: str, texts: Iterable[str]) -> None:
        writer = TextWriter(self._folder, name)
        for text in texts:
            writer.add(text)
        writer.close()

    def _write_goals(self, wishes: Path) -> dict[str, dict[str, Any]]:
        """Both sets draw on from where the prices ended, as the two servers of the original would."""
        records, cards = TextColumn(self._folder, "products"), TextColumn(self._folder, "cards")
        after_prices = self._rng.getstate()

        def held() -> Iterator[tuple[Product, float, Wish | None, list[Wish]]]:
            self._rng.setstate(after_prices)
            with wishes.open(encoding="utf-8", errors="surrogatepass") as lines:
                for line in lines:
                    number, template, human = json.loads(line)
                    asin, tag, title = cards[number].split(CARD_SEPARATOR, 2)
                    product = Product.from_json(asin, title, tag, records[number])
                    yield product, self._prices[number], _wish(template), [w for w in map(_wish, human) if w]

        human = list(human_goals(((p, price, written) for p, price, _, written in held()), self._rng))
        synthetic = synthetic_goals(
            ((p, price, template) for p, price, template, _ in held() if template),
            self._rng,
            self._options.most_synthetic,
        )
        return {
            "human": self._write_goal_set("human", human),
            "synthetic": self._write_goal_set("synthetic", weigh(list(synthetic))),
        }

    def _write_goal_set(self, kind: str, goals: list[Goal]) -> dict[str, Any]:
        ordered = [goals[at] for at in in_server_order(len(goals))]
        self._write_texts(f"goals_{kind}", (goal.to_json() for goal in ordered))
        ids = task_ids(ordered)
        (self._folder / f"goals_{kind}.ids").write_text(
            "".join(f"{task}\n" for task in ids), encoding="ascii"
        )
        return {"count": len(goals), "splits": list(self._options.split_sizes)}

    def _write_manifest(
        self, index: PostingsWriter, goals: dict[str, Any], origin: dict[str, Any]
    ) -> dict[str, Any]:
        files = {
            path.name: {"bytes": path.stat().st_size, "sha256": _sha256(path)}
            for path in sorted(self._folder.iterdir())
        }
        manifest = {
            "format": FORMAT,
            "products": len(self._asins),
            "seed": self._options.seed,
            "nouns": self._tagger.name,
            "categories": list(self._categories),
            "search": {"documents_with_text": index.num_docs_with_text, "tokens": index.num_tokens},
            "goals": goals,
            "origin": origin,
            "files": files,
        }
        text = json.dumps(
            [manifest[k] for k in ("format", "products", "categories", "search", "goals", "files")]
        )
        manifest["sha256"] = hashlib.sha256(text.encode()).hexdigest()
        (self._folder / MANIFEST).write_text(
            json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", "utf-8"
        )
        return manifest


def verify(folder: Path) -> list[str]:
    """Names of the catalogue's files whose content is not what the manifest says; raises `EnvError` where it is no catalogue."""
    files = read_manifest(folder)["files"]
    return [
        name
        for name, facts in files.items()
        if not (folder / name).is_file() or _sha256(folder / name) != facts["sha256"]
    ]


def _batches(listings: Iterable[Listing]) -> Iterator[list[Listing]]:
    flow = iter(listings)
    while batch := list(itertools.islice(flow, _BATCH)):
        yield batch


def _wish_line(number: int, listing: Listing) -> str:
    def fields(wish: Wish | None) -> list[object] | None:
        return None if wish is None else [wish.text, wish.attributes, wish.options]

    return json.dumps([number, fields(listing.template), [fields(wish) for wish in listing.human]])


def _wish(fields: list[Any] | None) -> Wish | None:
    if fields is None:
        return None
    return Wish(text=fields[0], attributes=tuple(fields[1]), options=tuple(fields[2]))


def _require_free(out: Path) -> None:
    if (
        out.is_dir()
        and any(out.iterdir())
        and not (out / MANIFEST).is_file()
        and not (out / "cards.bin").is_file()
    ):
        raise EnvError(f"{out} already holds something else; name a folder of its own with --out")
    if out.exists() and not out.is_dir():
        raise EnvError(f"{out} is a file; name a folder with --out")


def _swap(draft: Path, out: Path) -> None:
    """Processes that have the old catalogue mapped keep it."""
    old = out.parent / f".{out.name}.old-{os.getpid()}"
    if out.exists():
        out.rename(old)
    draft.rename(out)
    shutil.rmtree(old, ignore_errors=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
