"""Which arms a study cannot tell apart, as letters: arms that share a letter are tied. Knows p-values only.

Tied means "not told apart by this study", never "equal": a small study ties everything. It is no equivalence either: a may be tied with b, and b
with c, while a and c are told apart, and b then bears two letters.
"""

from collections.abc import Iterator, Mapping, Sequence

Pair = tuple[str, str]


def tied_groups(names: Sequence[str], told_apart: Mapping[Pair, bool]) -> dict[str, tuple[str, ...]]:
    """By letter, the largest sets of arms of which no two are told apart, each in the order of `names`, as are the sets.

    `told_apart` holds every pair once, in either order. Every arm is in at least one set, and two arms share a set if and
    only if they are not told apart; this is what a compact letter display shows (Piepho 2004).
    """
    apart = {frozenset(pair) for pair, is_apart in told_apart.items() if is_apart}
    missing = [
        (a, b)
        for i, a in enumerate(names)
        for b in names[i + 1 :]
        if (a, b) not in told_apart and (b, a) not in told_apart
    ]
    if missing:
        raise ValueError(f"no comparison of {missing[0][0]} and {missing[0][1]}; groups need every pair")
    tied = {a: {b for b in names if a != b and frozenset((a, b)) not in apart} for a in names}
    place = {name: position for position, name in enumerate(names)}
    cliques = [sorted(clique, key=place.__getitem__) for clique in _cliques(set(), set(names), set(), tied)]
    ordered = sorted(cliques, key=lambda clique: [place[name] for name in clique])
    return {letter(position): tuple(clique) for position, clique in enumerate(ordered)}


def letter(position: int) -> str:
    """Names the group at `position`: "a" is the first; after "z" comes "{27}"."""
    return chr(ord("a") + position) if position < 26 else f"{{{position + 1}}}"


def _cliques(
    chosen: set[str], open_: set[str], done: set[str], tied: Mapping[str, set[str]]
) -> Iterator[set[str]]:
    """Maximal cliques after Bron and Kerbosch (1973), with a pivot."""
    if not open_ and not done:
        if chosen:
            yield chosen
        return
    pivot = max(open_ | done, key=lambda name: (len(tied[name] & open_), name))
    for name in sorted(open_ - tied[pivot]):
        yield from _cliques(chosen | {name}, open_ & tied[name], done & tied[name], tied)
        open_ = open_ - {name}
        done = done | {name}
