"""What measuring costs a host: CPU time of one turn's metrics, and of handing them on.

    python benchmarks/meters.py

A turn is one observation of its model call, one of its step, and three counts of tokens. CPU time, not wall time: other work on the machine
is not counted, though it makes caches colder.
"""

import argparse
import json
import time

from actors.meters import MOST_OBSERVATIONS, Ledger
from actors.metrics import STEP_SECONDS, TOKENS, TURN_SECONDS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--turns", type=int, default=50_000)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    measured = [_measure(args.turns) for _ in range(args.repeats)]
    turn_us, take_us = zip(*measured, strict=True)
    print(
        json.dumps(
            {
                "turn_us": {"min": round(min(turn_us), 2), "max": round(max(turn_us), 2)},
                "take_us": {"min": round(min(take_us), 1), "max": round(max(take_us), 1)},
                "most_observations_a_delivery": MOST_OBSERVATIONS,
            },
            indent=1,
        )
    )


def _measure(turns: int) -> tuple[float, float]:
    """Microseconds of a turn, and of one delivery of all of them."""
    ledger = Ledger(common={"run": "r", "host": "h"})
    began = time.process_time()
    for _ in range(turns):
        ledger.observe(TURN_SECONDS, 0.5, arm="base")
        ledger.observe(STEP_SECONDS, 0.001)
        for kind in ("prompt", "cached", "completion"):
            ledger.count(TOKENS, 100, kind=kind, arm="base", adapter="none")
    turn_us = (time.process_time() - began) / turns * 1e6
    began = time.process_time()
    ledger.take()
    return turn_us, (time.process_time() - began) * 1e6


if __name__ == "__main__":
    main()
