"""Recorded play and searches of the original WebShop, replayed from a catalogue and compared to the byte.

A trace file is JSON lines, plain or .xz, of one kind: episodes `{goal_idx, goal, steps}`, searches `{query, hits}` or analysed documents
`{id, tokens}`. Prices recorded beside the traces (`product_prices_*.json`) take the place of the catalogue's.
"""

import json
import lzma
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envs.base import EnvError
from envs.trace_files import open_text, read_traces, trace_files
from envs.webshop.analysis import terms
from envs.webshop.catalogue import Catalogue, open_catalogue
from envs.webshop.goals import Goal
from envs.webshop.pages import render
from envs.webshop.session import Outcome, Session

_NUM_HITS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceReport:
    episodes: int
    searches: int
    documents: int
    matched: int
    """Steps, searches and documents that are the same in everything recorded of them."""
    mismatched: int
    first_difference: str | None

    @property
    def ok(self) -> bool:
        return self.matched > 0 and not self.mismatched


def check_traces(traces: Path, catalogue: str | Path) -> TraceReport:
    """Replay every file of `traces`.

    Raises:
        EnvError: a file is damaged or none is there, or the catalogue cannot be opened.
    """
    shop = open_catalogue(catalogue)
    counts = {"steps": 0, "hits": 0, "tokens": 0}
    matched = mismatched = 0
    first: str | None = None
    for file in trace_files(traces):
        prices = _recorded_prices(file)
        for number, record in read_traces(file):
            source = f"{file.name}:{number}"
            kind = next((name for name in counts if name in record), None)
            if kind is None:
                raise EnvError(f"{source} is no trace: it needs `steps`, `hits` or `tokens`")
            counts[kind] += 1
            try:
                differences = list(_replay(shop, record, kind, prices))
            except (KeyError, TypeError, ValueError) as error:
                raise EnvError(f"{source} is damaged: {error!r}") from None
            for difference in differences:
                matched += difference is None
                mismatched += difference is not None
                first = first or (difference and f"{source}: {difference}")
    return TraceReport(
        episodes=counts["steps"],
        searches=counts["hits"],
        documents=counts["tokens"],
        matched=matched,
        mismatched=mismatched,
        first_difference=first,
    )


def _replay(
    shop: Catalogue, record: Mapping[str, Any], kind: str, prices: dict[str, float]
) -> Iterator[str | None]:
    """For every step, search or document None, or what differs."""
    if kind == "steps":
        yield from _replay_episode(shop, record, prices)
    elif kind == "hits":
        ours = [
            [shop.card(number)[0], score]
            for number, score in shop.searcher.search(record["query"], _NUM_HITS)
        ]
        yield _difference(f"search {record['query']!r}", ours, record["hits"])
    else:
        number = shop.number(record["id"])
        found = terms(shop.product(number).contents) if number is not None else ["(no such product)"]
        yield _difference(f"terms of {record['id']}", found, record["tokens"])


def _replay_episode(
    shop: Catalogue, record: Mapping[str, Any], prices: dict[str, float]
) -> Iterator[str | None]:
    goal = Goal.from_original(record["goal"], prices.get(record["goal"]["asin"], 0.0))
    session = Session(
        catalogue=shop,
        goal=goal,
        name=str(record["goal_idx"]),
        protocol="original",
        rng=random.Random(0),
        prices=prices,
    )
    for number, step in enumerate(record["steps"]):
        outcome = None if step["action"] is None else session.act(step["action"])
        where = f"goal {record['goal_idx']} step {number} ({step['action']!r})"
        if "exception" in step:
            yield (
                None
                if outcome and not outcome.valid
                else f"{where}: the original broke down here, we did not"
            )
            continue
        yield _first_of(where, _seen(session, outcome), step)


def _seen(session: Session, outcome: Outcome | None) -> dict[str, object]:
    """Under the record's names."""
    worth = outcome.reward if outcome else None
    return {
        "obs_text": render(session, "text"),
        "obs_text_rich": render(session, "text_rich"),
        "url": session.page.url,
        "available": {
            "has_search_bar": session.page.kind == "index",
            "clickables": list(session.clickables),
        },
        "reward": worth.total if worth else 0.0,
        "done": worth is not None,
        "session": {
            "asin": session.asin,
            "options": session.options,
            "page": None if session.page.kind == "index" else session.results_page,
            "keywords": None if session.page.kind == "index" else session.keywords,
            "asins": sorted(session.visited),
        },
        "reward_info": dict(worth.parts) if worth else None,
    }


def _first_of(where: str, ours: Mapping[str, object], step: Mapping[str, Any]) -> str | None:
    for field, value in ours.items():
        if field in step:
            recorded = step[field]
            if field == "session" and isinstance(recorded, dict):
                recorded = recorded | {"asins": sorted(recorded["asins"])}
            difference = _difference(f"{where}: {field}", value, recorded)
            if difference:
                return difference
    return None


def _difference(where: str, ours: object, recorded: object) -> str | None:
    if ours == recorded:
        return None
    if isinstance(ours, dict) and isinstance(recorded, dict):
        for key in [*recorded, *(key for key in ours if key not in recorded)]:
            found = _difference(f"{where}.{key}", ours.get(key), recorded.get(key))
            if found:
                return found
    if isinstance(ours, list) and isinstance(recorded, list):
        at = next((i for i, (a, b) in enumerate(zip(ours, recorded, strict=False)) if a != b), None)
        if at is not None:
            return f"{where}[{at}] is {ours[at]!r}, recorded {recorded[at]!r}"
        return f"{where} has {len(ours)} entries, recorded {len(recorded)}"
    if isinstance(ours, str) and isinstance(recorded, str):
        at = next(
            (i for i, (a, b) in enumerate(zip(ours, recorded, strict=False)) if a != b),
            min(len(ours), len(recorded)),
        )
        start = max(0, at - 20)
        return (
            f"{where} from place {start} is {ours[start : at + 60]!r}, recorded {recorded[start : at + 60]!r}"
        )
    return f"{where} is {ours!r}, recorded {recorded!r}"


def _recorded_prices(file: Path) -> dict[str, float]:
    """`synth_naive.jsonl.xz` belongs to `product_prices_synth.json` beside it."""
    beside = file.parent / f"product_prices_{file.name.partition('_')[0]}.json"
    for path in (beside, beside.with_name(beside.name + ".xz")):
        if path.is_file():
            try:
                with open_text(path) as stream:
                    return json.load(stream)
            except (ValueError, OSError, lzma.LZMAError) as error:
                raise EnvError(f"{path} is damaged: {error}") from None
    return {}
