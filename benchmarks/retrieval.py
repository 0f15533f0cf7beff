# ruff: noqa: E402 - the path is set before the project is imported
"""Recall of every retriever and control: how often advice that would have mended a failure is among the first k that it gives.

    python benchmarks/retrieval.py --json

Households and shops of our own are played by a made-up player who lacks habits. Of each failure at a held-out task it is known by playing it
again which habits would have won it (benchmarks/_mended_failures.py); of each hint, for which habit its sentence was made. recall@k: share
of the habits of a mending set about which a hint is among the first k, the best set counting. MRR: one over the place of the first such hint,
0 beyond the ninth. Intervals resample things (what a player lacks depends on the thing): 95 %. `own@3`: for failures of train tasks, how often
a hint that was written from this very task is among the first three.

`no match` is the rest of the matching retrievers without their match: frequency and diversity, whatever the task. Two banks: `general`, whose hints speak in slots, and `named`, whose hints name the failed task's thing and place. `large` is the cost of a kind with 5,000 hints. Seconds are CPU time.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

# In the place of this folder, where a neighbour would hide the package `alfworld`.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np

from actors.config import EndpointConfig
from actors.openai_chat import OpenAIOnce
from actors.trajectory import GivenHint
from benchmarks._mended_failures import WORLDS, Failure, LabelledBank, failures, write_bank
from distill.hints.bank import ordered_bank
from distill.hints.call_cache import CallCache
from distill.hints.config import RetrieverConfig
from distill.hints.hint import Hint
from distill.hints.retrievers import (
    Aids,
    KindRetriever,
    RankingModel,
    Retriever,
    make_retriever,
    retrieve_all,
)
from distill.hints.retrievers.matching import MatchRanker
from distill.pocket.advice import phrase
from distill.pocket.habits import Habit
from distill.pocket.households import task_of
from distill.statistics import bootstrap_intervals, cluster_sums
from envs.alfworld.generate import make_games
from envs.task import Task

KS = (1, 3, 5, 9)
_DEPTH = max(KS)
_MATCH_ALONE = {"frequency_weight": 0.0, "diversity": 0.0}
RETRIEVERS: dict[str, dict[str, Any]] = {
    "bm25": {"name": "bm25"},
    "tfidf": {"name": "tfidf"},
    "lsa": {"name": "lsa"},
    "bm25, match alone": {"name": "bm25", **_MATCH_ALONE},
    "tfidf, match alone": {"name": "tfidf", **_MATCH_ALONE},
    "lsa, match alone": {"name": "lsa", **_MATCH_ALONE},
    "frequent": {"name": "frequent"},
    "random": {"name": "random"},
    "other_kind": {"name": "other_kind"},
    "shuffled": {"name": "shuffled"},
    "filler": {"name": "filler"},
    "guard": {"name": "guard"},
    "none": {"name": "none"},
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--train", type=int, default=480, help="tasks that the bank is written from; default: %(default)s"
    )
    parser.add_argument("--test", type=int, default=480, help="held-out tasks; default: %(default)s")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--embedding", metavar="MODEL", help="also measure this encoder, a folder or an id")
    parser.add_argument(
        "--llm", metavar="MODEL", help="also measure this model behind an OpenAI-compatible endpoint"
    )
    parser.add_argument("--base-url", metavar="URL", help="of that endpoint; its key is in OPENAI_API_KEY")
    parser.add_argument(
        "--calls", type=Path, default=Path("retrieval-benchmark.jsonl"), help="keeps the model's replies"
    )
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    report = measure(args)
    print(json.dumps(report, indent=1) if args.json else _text(report))
    return 0


def measure(args: argparse.Namespace) -> dict[str, Any]:
    report: dict[str, Any] = {"train": args.train, "test": args.test, "seed": args.seed, "worlds": {}}
    for env, make in WORLDS.items():
        with tempfile.TemporaryDirectory() as folder:
            train, test = make(args.train, args.test, args.seed, Path(folder))
            mined, asked = list(failures(train)), list(failures(test))
            for named in (False, True):
                labelled = write_bank(mined, args.seed, named=named)
                found = measure_bank(labelled, mined, asked, args)
                report["worlds"][f"{env}, {'named' if named else 'general'}"] = found
    report["large"] = measure_large()
    return report


def measure_bank(
    labelled: LabelledBank, mined: Sequence[Failure], asked: Sequence[Failure], args: argparse.Namespace
) -> dict[str, Any]:
    settings = {name: RetrieverConfig(k=_DEPTH, **own) for name, own in RETRIEVERS.items()}
    if args.embedding:
        settings["embedding"] = RetrieverConfig(name="embedding", k=_DEPTH, embedding_model=args.embedding)
        settings["embedding, match alone"] = settings["embedding"].model_copy(update=_MATCH_ALONE)
    if args.llm:
        settings["llm"] = RetrieverConfig(name="llm", k=_DEPTH)
    answers = {name: _answers(config, labelled, mined, asked, args) for name, config in settings.items()}
    plain = RetrieverConfig()
    rest = MatchRanker(matcher=NoMatch, frequency_weight=plain.frequency_weight, diversity=plain.diversity)
    answers["no match"] = _asked(KindRetriever(bank=labelled.bank, rank=rest, k=_DEPTH), mined, asked)
    frequent = answers["frequent"]
    known = [failure for failure in asked if labelled.bank.for_kind(failure.task.kind)]
    return {
        "failures_mined": len(mined),
        "failures_asked": len(known),
        "hints": len(labelled.bank.hints),
        "hints_a_kind": [len(labelled.bank.for_kind(kind)) for kind in labelled.bank.kinds],
        "retrievers": {
            name: _figures(answer, frequent, labelled, mined, known) for name, answer in answers.items()
        },
    }


def measure_large(num_hints: int = 5000, num_tasks: int = 20) -> dict[str, Any]:
    """CPU time to index one kind of so many hints, and then of each task."""
    rng = random.Random(0)
    texts = {f"{phrase(rng, rng.choice(list(Habit)))} {number:x}" for number in range(num_hints)}
    hints = (Hint(text=text, kind="k", env="alfworld", sources=(), writer="w") for text in texts)
    bank = ordered_bank(hints)
    made = make_games(0, num_tasks + 1, side="test", rooms="small")
    tasks = [replace(task_of(one.game), kind="k") for one in made]
    found = {}
    for name in ("bm25", "tfidf", "lsa", "frequent"):
        retrieve = make_retriever(RetrieverConfig(name=name), bank)
        start = time.process_time()
        retrieve(tasks[0], "")
        indexed = time.process_time()
        for task in tasks[1:]:
            retrieve(task, "")
        a_task = (time.process_time() - indexed) / num_tasks
        found[name] = {"first_s": round(indexed - start, 2), "cpu_ms_a_task": round(1000 * a_task, 1)}
    return {"hints": len(bank.hints), **found}


class NoMatch:
    """Everything fits alike."""

    def __init__(self, texts: Sequence[str]):
        self._num_texts = len(texts)

    def scores(self, query: str) -> np.ndarray:
        return np.zeros(self._num_texts)


Answers = tuple[Mapping[Task, tuple[GivenHint, ...]], float, dict[str, Any]]
"""What each task is given, CPU seconds of all, and what else is to be told."""


def _answers(
    config: RetrieverConfig,
    labelled: LabelledBank,
    mined: Sequence[Failure],
    asked: Sequence[Failure],
    args: argparse.Namespace,
) -> Answers:
    openings = {failure.task: failure.opening for failure in (*mined, *asked)}
    began = time.process_time()
    if config.name != "llm":
        return _asked(make_retriever(config, labelled.bank), mined, asked)
    endpoint = EndpointConfig(model=args.llm, base_url=args.base_url)
    model = RankingModel(open=lambda: OpenAIOnce(endpoint), name=args.llm, cache=CallCache(args.calls))
    found = retrieve_all(config, labelled.bank, openings, Aids(model=model))
    costs = {
        "prompt_tokens_a_task": round(np.mean([one.prompt_tokens for one in found.values()])),
        "completion_tokens_a_task": round(np.mean([one.completion_tokens for one in found.values()])),
        "tournaments": sum(one.num_rounds > 1 for one in found.values()),
    }
    return {task: one.hints for task, one in found.items()}, time.process_time() - began, costs


def _asked(retrieve: Retriever, mined: Sequence[Failure], asked: Sequence[Failure]) -> Answers:
    began = time.process_time()
    given = {failure.task: retrieve(failure.task, failure.opening) for failure in (*mined, *asked)}
    return given, time.process_time() - began, {}


def _figures(
    answer: Answers,
    frequent: Answers,
    labelled: LabelledBank,
    mined: Sequence[Failure],
    asked: Sequence[Failure],
) -> dict[str, Any]:
    given, seconds, more = answer
    rows = np.array([_scores(given[f.task], f, labelled) for f in asked])
    controls = np.array([_scores(frequent[0][f.task], f, labelled) for f in asked])
    clusters = np.unique([f"{f.task.kind}|{f.attempt.about}" for f in asked], return_inverse=True)[1]
    names = [*(f"recall@{k}" for k in KS), "mrr"]
    intervals, gains = (bootstrap_intervals(cluster_sums(v, clusters)) for v in (rows, rows - controls))
    own = [any(f.task.key in labelled.tasks.get(hint.id, ()) for hint in given[f.task][:3]) for f in mined]
    same = [[h.id for h in given[f.task][:3]] == [h.id for h in frequent[0][f.task][:3]] for f in asked]
    return {
        **{name: _rounded(mean, *ci) for name, mean, ci in zip(names, rows.mean(0), intervals, strict=True)},
        "recall@3_over_frequent": _rounded((rows - controls)[:, 1].mean(), *gains[1]),
        "own@3": round(float(np.mean(own)), 3),
        "same_as_frequent@3": round(float(np.mean(same)), 3),
        "cpu_ms_a_task": round(1000 * seconds / len(given), 3),
        **more,
    }


def _scores(given: Sequence[GivenHint], failure: Failure, labelled: LabelledBank) -> list[float]:
    """recall@k for each k, and the reciprocal rank."""
    said = [labelled.habits.get(hint.id, frozenset()) for hint in given]
    recall = []
    for k in KS:
        heard = frozenset().union(*said[:k])
        recall.append(max(len(mend & heard) / len(mend) for mend in failure.mends))
    wanted = frozenset().union(*failure.mends)
    places = [place for place, habits in enumerate(said[:_DEPTH], start=1) if habits & wanted]
    return [*recall, 1 / places[0] if places else 0.0]


def _rounded(*numbers: float) -> list[float]:
    return [round(float(number), 3) for number in numbers]


def _text(report: Mapping[str, Any]) -> str:
    lines = []
    for world, found in report["worlds"].items():
        sizes = found["hints_a_kind"]
        lines += [
            "",
            (
                f"{world}: {found['failures_asked']} failures of held-out tasks, {found['hints']} hints from {found['failures_mined']} failures, "
                f"{min(sizes)} to {max(sizes)} a kind"
            ),
            "",
            "| retriever | recall@1 | recall@3 | recall@5 | recall@9 | MRR | recall@3 over frequent | own@3 | same as frequent | CPU ms |",
            "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
        ]
        for name, one in found["retrievers"].items():
            cells = [_cell(one[key]) for key in ("recall@1", "recall@3", "recall@5", "recall@9", "mrr")]
            gain = "{:+.2f} ({:+.2f} to {:+.2f})".format(*one["recall@3_over_frequent"])
            rest = [f"{one['own@3']:.2f}", f"{one['same_as_frequent@3']:.2f}", f"{one['cpu_ms_a_task']:.1f}"]
            lines.append(f"| {' | '.join([name, *cells, gain, *rest])} |")
    large = ", ".join(
        f"{name} {one['first_s']:.2f} s for the index and {one['cpu_ms_a_task']:.1f} ms a task"
        for name, one in report["large"].items()
        if name != "hints"
    )
    return "\n".join([*lines, "", f"a kind of {report['large']['hints']} hints: {large}"]).strip()


def _cell(numbers: Sequence[float]) -> str:
    return "{:.2f} ({:.2f} to {:.2f})".format(*numbers)


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    raise SystemExit(main())
