"""What padding and waiting cost a run, with its rows packed and without."""

from train.batches import plan_steps
from train.config import TrainConfig
from train.packing import Waste, waste
from train.rows import TokenRows


def waste_of(rows: TokenRows, config: TrainConfig, seed: int, *, num_workers: int) -> Waste:
    lengths = rows.lengths
    steps = plan_steps(rows, config, seed, num_workers=num_workers)
    slots = ([[int(lengths[i]) for i in cell] for cell in slot] for step in steps for slot in step.cells)
    return waste(slots, packed=config.packing)


def describe_waste(rows: TokenRows, config: TrainConfig, seed: int, *, num_workers: int) -> str:
    """One line: how the rows are laid out, and what the other way would waste."""
    packed, padded = (
        waste_of(
            rows,
            config.model_copy(
                update={"packing": packing, "block_tokens": config.block_tokens if packing else None}
            ),
            seed,
            num_workers=num_workers,
        )
        for packing in (True, False)
    )
    used, other = ("packed", "padded") if config.packing else ("padded", "packed")
    shares = {"packed": packed, "padded": padded}
    return f"rows are {used}: {shares[used]} of the positions wasted; {other}: {shares[other]}"
