"""A training row as people look at it: every token a box, those under loss in colour. What models wrote is escaped."""

from collections.abc import Sequence

from markupsafe import Markup

from distill.dataset_card import Sample

_LONGEST = 1_500
"""Tokens shown of a row."""


def token_view(sample: Sample) -> Markup:
    """HTML of one row: `<b>` for a token under loss, `<i>` for one without; line breaks are shown where they are."""
    pieces = sample.pieces[:_LONGEST]
    boxes = Markup("").join(
        (Markup("<b>{}</b>") if has_loss else Markup("<i>{}</i>")).format(_visible(text))
        + Markup("<br>") * text.count("\n")
        for text, has_loss in pieces
    )
    more = len(sample.pieces) - len(pieces)
    rest = Markup("<p class=small>{:,} more tokens</p>").format(more) if more else Markup("")
    return Markup('<div class="tokens">{}</div>{}').format(boxes, rest)


def loss_words(sample: Sample) -> str:
    """How much of the row is under loss."""
    under = sum(has_loss for _, has_loss in sample.pieces)
    return f"{under:,} of {len(sample.pieces):,} tokens"


def samples_of(rows: Sequence[dict]) -> tuple[Sample, ...]:
    """The records that `samples.json` holds."""
    return tuple(
        Sample(
            task_id=row["task_id"],
            trajectory_id=row["trajectory_id"],
            pieces=tuple((str(text), bool(has_loss)) for text, has_loss in row["pieces"]),
        )
        for row in rows
    )


def _visible(text: str) -> str:
    return text.replace("\n", "\u21b5")
