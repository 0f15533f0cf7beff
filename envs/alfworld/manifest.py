"""SHA-256 of every `game.tw-pddl` of the release: 3,827 facts that tell the real games from any others.

`python -m envs.alfworld.manifest LISTING.json` writes the shipped file anew from a JSON object of path -> SHA-256.
"""

import json
import lzma
import re
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

MANIFEST = Path(__file__).with_name("release.sha256.json.xz")
NUM_GAMES = {"train": 3553, "valid_seen": 140, "valid_unseen": 134}
"""Games of each split of the release."""


@cache
def release_hashes() -> Mapping[str, str]:
    """Game path -> SHA-256 hex of its file, sorted by path."""
    with lzma.open(MANIFEST, "rt", encoding="utf-8") as stream:
        return json.load(stream)


def write_manifest(listing: Path) -> int:
    """Check `listing` and ship it; returns the number of games."""
    hashes = json.loads(listing.read_text())
    for split, number in NUM_GAMES.items():
        found = sum(path.startswith(f"{split}/") for path in hashes)
        if found != number:
            raise ValueError(f"{listing} lists {found} games of {split}, the release has {number}")
    for path, digest in hashes.items():
        if not re.fullmatch(r"[0-9a-f]{64}", digest) or path.count("/") != 2:
            raise ValueError(f"{listing}: {path!r}: {digest!r} is no game path with a SHA-256")
    text = json.dumps(dict(sorted(hashes.items())), separators=(",", ":"))
    MANIFEST.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))
    return len(hashes)


if __name__ == "__main__":
    print(f"{MANIFEST.name}: {write_manifest(Path(sys.argv[1]))} games")
