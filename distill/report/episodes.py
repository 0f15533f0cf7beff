"""The trajectory browser: every episode of every arm, found by filter and read side by side, from a file that is opened without a server.

`episodes.html` is small; `episodes/index.js` holds what filters look at, and the episodes' texts lie in chunks that the page loads when
one of their tasks is opened. What models and data wrote is packed (gzip, base64) before it becomes part of a script, and shown as text only.
"""

import base64
import gzip
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from distill.atomic import write_atomically
from distill.report.canvas import colour_of

_FOLDER = Path(__file__).parent
PAGE, CHUNKS = "episodes.html", "episodes"
_EPISODES_PER_CHUNK = 64
_ROWS_PER_BATCH = 512

Pair = tuple[str, int]
"""(task key, seed)"""


@dataclass(slots=True)
class _Arm:
    """One arm's outcomes by pair; what was not played stays as it is here."""

    outcomes: list[str]
    steps: list[int]
    scores: list[float]


@dataclass(slots=True)
class _Index:
    pairs: dict[Pair, int] = field(default_factory=dict)
    tasks: dict[str, tuple[str, str]] = field(default_factory=dict)
    """By key: kind and goal."""


def write_browser(arms: Mapping[str, Sequence[Path]], out_dir: Path, *, title: str) -> Path:
    """Write the browser of the arms' trajectory files (Parquet) into `out_dir` and return its page.

    Memory holds the index, not the episodes: 100,000 of them need a few dozen MB. Equal input gives equal bytes.
    """
    index = _read_index(arms)
    folder = out_dir / CHUNKS
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.js*"):
        old.unlink()
    per_chunk = max(1, _EPISODES_PER_CHUNK // max(1, len(arms)))
    outcomes = _write_parts(arms, index, folder, per_chunk)
    num_chunks = -(-len(index.pairs) // per_chunk)
    for number in range(num_chunks):
        _finish_chunk(folder, number)
    document = _index_document(arms, index, outcomes, per_chunk, title)
    write_atomically(folder / "index.js", f'offbookIndex("{_packed(document)}");\n')
    write_atomically(out_dir / PAGE, _page(title))
    return out_dir / PAGE


def _rows(paths: Sequence[Path], columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    for path in paths:
        for batch in pq.ParquetFile(path).iter_batches(batch_size=_ROWS_PER_BATCH, columns=columns):
            yield from batch.to_pylist()


def _read_index(arms: Mapping[str, Sequence[Path]]) -> _Index:
    index = _Index()
    seen: set[Pair] = set()
    for paths in arms.values():
        for row in _rows(paths, ["task", "seed"]):
            key = _task_key(row["task"])
            index.tasks[key] = (row["task"]["kind"], row["task"]["goal"])
            seen.add((key, row["seed"]))
    index.pairs = {pair: place for place, pair in enumerate(sorted(seen))}
    return index


def _write_parts(
    arms: Mapping[str, Sequence[Path]], index: _Index, folder: Path, per_chunk: int
) -> dict[str, _Arm]:
    """Every episode's text as a line of its chunk's part file, and what the index says of it."""
    num_pairs = len(index.pairs)
    found = {name: _Arm(["."] * num_pairs, [0] * num_pairs, [0.0] * num_pairs) for name in arms}
    for position, (name, paths) in enumerate(arms.items()):
        waiting: dict[int, list[str]] = defaultdict(list)
        for number, row in enumerate(_rows(paths), start=1):
            place = index.pairs[_task_key(row["task"]), row["seed"]]
            own = found[name]
            if own.outcomes[place] != ".":
                continue  # Written twice: a file of a run that was cut off and went on.
            own.outcomes[place] = "e" if row["end"] == "error" else "w" if row["success"] else "l"
            own.steps[place] = sum(turn["action"] is not None for turn in row["turns"])
            own.scores[place] = round(row["score"], 4)
            waiting[place // per_chunk].append(_line(place, position, row))
            if number % (8 * _ROWS_PER_BATCH) == 0:
                _append(folder, waiting)
        _append(folder, waiting)
    return found


def _line(place: int, position: int, row: Mapping[str, Any]) -> str:
    body = {
        "id": row["id"],
        "opening": row["opening"],
        "hints": [
            [hint["text"], hint.get("turn", 0)] for hint in row["hints"] if hint.get("turn", 0) is not None
        ],
        "end": row["end"],
        "error": row["error"],
        "parts": [[part["name"], part["value"]] for part in row["parts"]],
        "turns": [
            [
                [[item["name"], item["text"]] for item in turn["fields"] if item["name"] != "action"],
                turn["action"],
                turn["executed"],
                turn["observation"],
                turn["valid"],
                turn["reward"],
                "" if turn["fields"] or turn["action"] is not None else turn["reply"],
            ]
            for turn in row["turns"]
        ],
    }
    return json.dumps([place, position, body], ensure_ascii=False)


def _append(folder: Path, waiting: dict[int, list[str]]) -> None:
    for chunk, lines in waiting.items():
        with (folder / f"{chunk:05d}.jsonl").open("a", encoding="utf-8") as part:
            part.writelines(line + "\n" for line in lines)
    waiting.clear()


def _finish_chunk(folder: Path, number: int) -> None:
    part = folder / f"{number:05d}.jsonl"
    with part.open(encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    bodies: dict[int, dict[int, Any]] = {}
    for place, position, body in lines:
        bodies.setdefault(place, {})[position] = body
    write_atomically(folder / f"{number:05d}.js", f'offbookChunk({number},"{_packed(bodies)}");\n')
    part.unlink()


def _index_document(
    arms: Mapping[str, Sequence[Path]],
    index: _Index,
    outcomes: Mapping[str, _Arm],
    per_chunk: int,
    title: str,
) -> dict[str, Any]:
    places = {key: place for place, key in enumerate(sorted(index.tasks))}
    return {
        "title": title,
        "perChunk": per_chunk,
        "tasks": [[key, *index.tasks[key]] for key in places],
        "pairTask": [places[key] for key, _ in index.pairs],
        "pairSeed": [seed for _, seed in index.pairs],
        "arms": [
            {
                "name": name,
                "colour": colour_of(name),
                "outcomes": "".join(outcomes[name].outcomes),
                "steps": outcomes[name].steps,
                "scores": outcomes[name].scores,
            }
            for name in arms
        ],
    }


def _packed(document: Any) -> str:
    content = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    return base64.b64encode(gzip.compress(content, compresslevel=6, mtime=0)).decode()


def _page(title: str) -> str:
    script = (_FOLDER / "episodes.js").read_text(encoding="utf-8")
    style = (_FOLDER / "page.css").read_text(encoding="utf-8") + (_FOLDER / "episodes.css").read_text(
        encoding="utf-8"
    )
    environment = Environment(
        loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("episodes.html").render(
        title=title,
        style=Markup(style),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        chunks=CHUNKS,
    )


def _task_key(task: Mapping[str, str]) -> str:
    return f"{task['env']}/{task['id']}"
