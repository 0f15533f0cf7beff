"""The release's `game.tw-pddl` file: read it, and write it again byte for byte from the few parts that differ between games.

All games of the release share one domain and one grammar; only the task sentence, the problem and the walkthrough are a
game's own. Playing needs neither domain nor grammar; a file for TextWorld, or its SHA-256, does.
"""

import hashlib
import importlib.util
import json
import re
from dataclasses import dataclass
from pathlib import Path

from envs.alfworld.world import HELP
from envs.base import EnvError

SPLITS = {"train": "train", "valid_seen": "dev", "valid_unseen": "test", "dev": "dev", "test": "test"}
"""First part of a game's path -> our split. A folder of another name, such as the leftover `valid_train`, is not read."""
GAME_FILE = "game.tw-pddl"
DIALECT = "move"
"""How games are spoken: `move X to Y`, as in the release since 0.4. Older files say `put X in/on Y`."""

_UNKNOWN_GOAL = "UNKNOWN GOAL"
_SENTENCE = re.compile(r"Your task is to: ([^\"\n]+)\"")
_DOMAIN_SHA256 = "0af55e7f92d12b09d28515aa730e4d03fddd17228ef1fd7b18a3ee8ba49b27b9"
_GRAMMAR_SHA256 = "cee144b0ebf9c0a2c1fad64f91e2837e954f0b118e410f9156616ac0bf21ef2c"


@dataclass(frozen=True, slots=True, kw_only=True)
class GameRow:
    """What is a game's own."""

    path: str
    task: str
    problem: str
    """PDDL text."""
    walkthrough: tuple[str, ...]
    solvable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Logic:
    """What all games of the release share."""

    domain: str
    grammar: str
    """With "UNKNOWN GOAL" where the task sentence goes."""


def parse_game_file(content: bytes, path: str, source: str) -> GameRow:
    """Raises `EnvError` naming `source` where this is no complete game file."""
    try:
        document = json.loads(content)
        grammar, problem = document["grammar"], document["pddl_problem"]
        found = _SENTENCE.search(grammar)
        walkthrough = tuple(document.get("walkthrough") or ())
    except (ValueError, KeyError, TypeError) as error:
        raise EnvError(
            f"{source} is truncated or no game of the release ({error!r}); fetch it again or pass skip_bad=true"
        ) from None
    if found is None or not isinstance(problem, str):
        raise EnvError(
            f"{source} holds no task sentence; is it a game of the release? fetch it again or pass skip_bad=true"
        )
    return GameRow(
        path=path,
        task=found[1],
        problem=problem,
        walkthrough=walkthrough,
        solvable=bool(document.get("solvable", True)),
    )


def compose_game_file(row: GameRow, logic: Logic) -> bytes:
    """The bytes of the game's `game.tw-pddl`, equal to the release's for a game of the release."""
    document = {
        "pddl_domain": logic.domain,
        "grammar": logic.grammar.replace(_UNKNOWN_GOAL, row.task),
        "pddl_problem": row.problem,
        "solvable": row.solvable,
        "walkthrough": list(row.walkthrough),
    }
    return json.dumps(document).encode()


def find_logic(games: Path) -> Logic:
    """Domain and grammar of the release: `alfred.pddl` and `alfred.twl2` beside the games, else from the installed `alfworld` package.

    Raises:
        EnvError: neither is there, or the package holds another version of them.
    """
    folder = games if games.is_dir() else games.parent
    domain, grammar = folder / "alfred.pddl", folder / "alfred.twl2"
    if domain.is_file() and grammar.is_file():
        return Logic(domain=domain.read_text(), grammar=grammar.read_text())
    spec = importlib.util.find_spec("alfworld")
    if spec is None or spec.origin is None:
        raise EnvError(
            f"the domain and the grammar of the release are needed for {games}, which holds neither: "
            "install the extra `alfworld`, or put alfred.pddl and alfred.twl2 beside the games"
        )
    shipped = Path(spec.origin).parent / "data"
    return _as_released((shipped / "alfred.pddl").read_text(), (shipped / "alfred.twl2").read_text())


def _as_released(domain: str, grammar: str) -> Logic:
    """The package's files differ from those inside the games in three places."""
    domain = re.sub(
        r"\)\n+\)\n*$",
        ")\n)\n",
        domain.replace(";(receptacleType ?r SinkType)", "(receptacleType ?r SinkType)"),
    )
    grammar = grammar.replace(f"{_UNKNOWN_GOAL}.", _UNKNOWN_GOAL)
    begin = grammar.find('    feedback :: "#help.feedback#";')
    if begin >= 0:
        end = grammar.index('""";', begin) + len('""";')
        grammar = f'{grammar[:begin]}    feedback :: "\n{HELP}";{grammar[end:]}'
    logic = Logic(domain=domain, grammar=grammar)
    found = tuple(hashlib.sha256(text.encode()).hexdigest() for text in (logic.domain, logic.grammar))
    if found != (_DOMAIN_SHA256, _GRAMMAR_SHA256):
        raise EnvError(
            "the installed alfworld package holds another domain or grammar than the release; install alfworld==0.4.2"
        )
    return logic
