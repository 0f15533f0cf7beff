"""What a dataset holds and what was left out of it, counted row by row, for people (`card.md`) and programs (`card.json`)."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from distill.audit import CHECKS

SAMPLES = "samples.json"

_LEAKS_KEPT = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSummary:
    arm: str
    num_episodes: int
    num_taken: int
    """Episodes that became rows."""
    num_rows: int
    num_tokens: int
    num_loss_tokens: int
    left_out: tuple[tuple[str, int], ...]
    """(reason, episodes), most frequent first."""
    rows_sha256: str
    tokens_sha256: str


class CardError(RuntimeError):
    """A dataset is not what its card says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One row for people to look at."""

    task_id: str
    trajectory_id: str
    pieces: tuple[tuple[str, bool], ...]
    """(text of a token, whether it carries loss)."""


@dataclass(slots=True, kw_only=True)
class Tally:
    """Counts a stream of finished rows."""

    arm: str
    num_hints: int
    on_leak: str
    max_length: int | None
    filters: dict[str, Any]
    num_episodes: int = 0
    num_taken: int = 0
    """Episodes that became rows; one each, or one for every reply."""
    num_rows: int = 0
    num_hinted: int = 0
    """Rows whose episode was given hints."""
    num_tokens: int = 0
    num_loss_tokens: int = 0
    num_prompt_tokens: int = 0
    num_leaking: int = 0
    num_rewritten: int = 0
    num_roles_read: int = 0
    """Rows whose tokens under loss were looked up in the decoded row a second time."""
    loss_by_role: Counter[str] = field(default_factory=Counter)
    """Tokens under loss of those rows."""
    rewritten: list[str] = field(default_factory=list)
    """The first messages of leaks that were taken out."""
    max_tokens: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    checks: Counter[str] = field(default_factory=Counter)
    leaks: list[dict[str, str]] = field(default_factory=list)
    """The first ones."""
    broken: list[str] = field(default_factory=list)

    def add(self, row: dict[str, Any]) -> bool:
        """Count a row; whether it goes into the dataset."""
        self.num_episodes += row["part"] == 0
        if row["broken"]:
            self.broken.append(row["broken"])
            return False
        if row["left_out"]:
            self.left_out[row["left_out"]] += 1
            return False
        if row["leaks"]:
            self._count_leaks(row["leaks"])
            return False
        self._count_proofs(row)
        self.num_taken += row["part"] == 0
        self.num_rows += 1
        self.num_hinted += row["num_hints"] > 0
        self.kinds[row["kind"]] += 1
        self.num_tokens += row["num_tokens"]
        self.num_loss_tokens += row["num_loss_tokens"]
        self.num_prompt_tokens += row["num_prompt_tokens"]
        self.max_tokens = max(self.max_tokens, row["num_tokens"])
        return True

    def _count_proofs(self, row: dict[str, Any]) -> None:
        if row.get("rewritten"):
            self.num_rewritten += 1
            self.rewritten += row["rewritten"][: max(0, _LEAKS_KEPT - len(self.rewritten))]
        if row.get("loss_by_role") is None:
            return
        self.num_roles_read += 1
        self.loss_by_role.update({entry["role"]: entry["tokens"] for entry in row["loss_by_role"]})
        wrong = sorted(entry["role"] for entry in row["loss_by_role"] if entry["role"] != "assistant")
        if wrong:
            self.broken.append(f"row {row['trajectory_id']}: loss on words of {', '.join(wrong)}")

    def _count_leaks(self, leaks: Sequence[dict[str, str]]) -> None:
        self.num_leaking += 1
        self.left_out["says what a hint said"] += 1
        self.checks.update({leak["check"] for leak in leaks})
        self.leaks += leaks[: max(0, _LEAKS_KEPT - len(self.leaks))]


def write_card(
    tally: Tally,
    out_dir: Path,
    *,
    rows: Path,
    tokens: Path,
    sources: Sequence[Path],
    agent: str,
    model_path: str,
    samples: Sequence[Sample] = (),
) -> DatasetSummary:
    """Write `card.json`, `card.md` and `samples.json` beside the files that they describe."""
    summary = DatasetSummary(
        arm=tally.arm,
        num_episodes=tally.num_episodes,
        num_taken=tally.num_taken,
        num_rows=tally.num_rows,
        num_tokens=tally.num_tokens,
        num_loss_tokens=tally.num_loss_tokens,
        left_out=tuple(sorted(tally.left_out.items(), key=lambda item: (-item[1], item[0]))),
        rows_sha256=_sha256(rows),
        tokens_sha256=_sha256(tokens),
    )
    (out_dir / SAMPLES).write_text(
        json.dumps([asdict(sample) for sample in samples], ensure_ascii=False) + "\n"
    )
    card = _card(tally, summary, sources, agent, model_path)
    card["sha256"][SAMPLES] = _sha256(out_dir / SAMPLES)
    card["seal"] = seal_of(card)
    (out_dir / "card.json").write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n")
    (out_dir / "card.md").write_text(_markdown(card))
    return summary


def seal_of(card: Mapping[str, Any]) -> str:
    """SHA-256 over everything else that the card says, the hashes of its files included."""
    said = {name: value for name, value in card.items() if name != "seal"}
    return hashlib.sha256(json.dumps(said, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def verify_card(folder: Path) -> dict[str, Any]:
    """The card of a dataset whose files, audit and mask proof are those that it was sealed with; else `CardError`.

    The seal finds what was changed after the build, by accident or by hand. It is no signature: who makes a new card can seal it.
    """
    path = folder / "card.json"
    try:
        card = json.loads(path.read_text())
        seal, files = card["seal"], dict(card["sha256"])
        proven, rows = card["masks"]["proven_rows"], card["rows"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CardError(
            f"{path} cannot be read as a sealed card ({error!r}); build the dataset again"
        ) from None
    if seal_of(card) != seal:
        raise CardError(f"{path} was changed after it was sealed (seal {seal[:12]}); build the dataset again")
    for name, expected in files.items():
        if not (folder / name).is_file() or (found := _sha256(folder / name)) != expected:
            state = f"has sha256 {found[:12]}" if (folder / name).is_file() else "is missing"
            raise CardError(
                f"{folder / name} {state}, the card says {expected[:12]}; build the dataset again"
            )
    counts = [pq.read_metadata(folder / name).num_rows for name in files if name.endswith(".parquet")]
    if any(count != rows for count in (proven, *counts)):
        raise CardError(
            f"{path} speaks of {rows} rows and {proven} proven masks, its files hold {counts}; build it again"
        )
    shares = card["masks"]["loss_by_role"]
    if set(shares) - {"assistant"}:
        raise CardError(f"{path}: loss lies on {shares}, not on the assistant alone; build it again")
    return card


def _shares(counts: Counter[str]) -> dict[str, float]:
    total = sum(counts.values())
    return {role: round(count / total, 6) for role, count in sorted(counts.items())}


def _card(
    tally: Tally, summary: DatasetSummary, sources: Sequence[Path], agent: str, model_path: str
) -> dict[str, Any]:
    return {
        "arm": tally.arm,
        "agent": agent,
        # The folder's name only: where a model lies on one machine means nothing on another.
        "chat_template_of": Path(model_path).name,
        "sources": [{"name": f"{path.parent.name}/{path.name}", "sha256": _sha256(path)} for path in sources],
        "episodes": tally.num_episodes,
        "episodes_taken": tally.num_taken,
        "rows": tally.num_rows,
        "rows_from_hinted_episodes": tally.num_hinted,
        "rows_by_kind": dict(sorted(tally.kinds.items())),
        "left_out": dict(summary.left_out),
        "filters": tally.filters,
        "max_length": tally.max_length,
        "tokens": {
            "all": tally.num_tokens,
            "with_loss": tally.num_loss_tokens,
            "loss_share": round(tally.num_loss_tokens / tally.num_tokens, 4),
            "before_first_reply": tally.num_prompt_tokens,
            "observations": tally.num_tokens - tally.num_loss_tokens - tally.num_prompt_tokens,
            "longest_row": tally.max_tokens,
        },
        "masks": {
            "proven_rows": tally.num_rows,
            "rows_read_again": tally.num_roles_read,
            "loss_by_role": _shares(tally.loss_by_role),
        },
        "leak_audit": {
            "of": "decoded training tokens",
            "hints_looked_for": tally.num_hints,
            "checks": list(CHECKS),
            "policy": tally.on_leak,
            "rows_audited": tally.num_rows + tally.num_leaking,
            "rows_left_out": tally.num_leaking,
            "rows_rewritten": tally.num_rewritten,
            "found_by": dict(sorted(tally.checks.items())),
            "examples": [leak["message"] for leak in tally.leaks],
            "taken_out": tally.rewritten,
        },
        "sha256": {"rows.parquet": summary.rows_sha256, "tokens.parquet": summary.tokens_sha256},
    }


def _markdown(card: dict[str, Any]) -> str:
    tokens, audit = card["tokens"], card["leak_audit"]
    kinds = [f"| {kind} | {count} |" for kind, count in card["rows_by_kind"].items()]
    left_out = [f"| {reason} | {count} |" for reason, count in card["left_out"].items()] or [
        "| nothing | 0 |"
    ]
    sources = [f"- `{source['name']}` sha256 `{source['sha256']}`" for source in card["sources"]]
    lines = [
        f"# Dataset of arm `{card['arm']}`",
        "",
        (
            f"{card['rows']} rows of {card['episodes']} episodes, {'one row an episode' if card['rows'] == card['episodes_taken'] else 'one row for every reply of ' + str(card['episodes_taken'])}, rendered by agent `{card['agent']}` without hints; "
            f"{card['rows_from_hinted_episodes']} of them come from episodes that were played with hints."
        ),
        "",
        "| kind | rows |",
        "|---|---|",
        *kinds,
        "",
        "| left out | episodes |",
        "|---|---|",
        *left_out,
        "",
        "## Tokens",
        "",
        (
            f"{tokens['all']} tokens through the chat template of `{card['chat_template_of']}`, {tokens['with_loss']} of them with loss "
            f"({100 * tokens['loss_share']:.1f} %): the replies and their end-of-turn tokens, proven for each of {card['masks']['proven_rows']} rows; "
            f"{card['masks']['rows_read_again']} rows were read again for who says what is under loss: {_roles_words(card['masks']['loss_by_role'])}. "
            f"Before the first reply {tokens['before_first_reply']}, observations {tokens['observations']}, longest row {tokens['longest_row']}."
        ),
        "",
        "## Leak audit",
        "",
        (
            f"{audit['rows_audited']} rows, as their training tokens decode, were searched for {audit['hints_looked_for']} hints "
            f"({', '.join(audit['checks'])}); {audit['rows_left_out']} rows were left out for a leak and {audit['rows_rewritten']} lost a sentence "
            f"(policy `{audit['policy']}`)."
        ),
        *(f"- {example}" for example in audit["examples"]),
        "",
        "## Made from",
        "",
        *sources,
        "",
        f"Seal `{card['seal']}`, over all of the above as `card.json` says it.",
        "",
        f"`rows.parquet` sha256 `{card['sha256']['rows.parquet']}`, `tokens.parquet` sha256 `{card['sha256']['tokens.parquet']}`.",
        "",
    ]
    return "\n".join(lines)


def _roles_words(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{role} {100 * share:.1f} %" for role, share in shares.items()) or "none"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
