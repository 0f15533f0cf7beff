"""An ALFWorld episode as the agent saw it: which places it searched, what it held, what it tried. Judges nothing."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from actors.trajectory import Turn

NOTHING = "Nothing happens"

_THING = r"[a-z]+ \d+"
_ITEM = re.compile(rf"\ba ({_THING})")
_SEEN = re.compile(rf"(?:On the ({_THING}), you see|In it, you see) ([^.]*)\.")
_CLOSED = re.compile(rf"The ({_THING}) is closed\.")
_ARRIVED = re.compile(rf"You arrive at ({_THING})\.")
_COMMAND = re.compile(
    rf"(?P<go>go to) (?P<go_place>{_THING})$"
    rf"|(?P<open>open) (?P<open_place>{_THING})$"
    rf"|(?P<take>take) (?P<take_object>{_THING}) from (?P<take_place>{_THING})$"
    rf"|(?P<place>move|put) (?P<place_object>{_THING}) (?:to|in/on|in|on) (?P<place_place>{_THING})$"
    rf"|(?P<treat>clean|heat|cool) (?P<treat_object>{_THING}) with (?P<treat_place>{_THING})$"
    rf"|(?P<use>use) (?P<use_object>{_THING})$"
)
_GOALS = (
    re.compile(
        r"(?:find two|put two) (?P<two>[a-z]+) (?:and put them )?(?:in|on)(?:/on)? (?P<target>[a-z]+)"
    ),
    re.compile(r"(?:look at|examine)(?: the)? (?P<lit>[a-z]+) (?:under|with) the (?P<lamp>[a-z]+)"),
    re.compile(
        r"(?P<treat>clean|heat|cool) (?:some|a) (?P<treated>[a-z]+) and put (?:it|them) (?:in|on)(?:/on)? (?P<target>[a-z]+)"
    ),
    re.compile(
        r"put (?:a|some) (?:(?P<state>clean|hot|cool) )?(?P<object>[a-z]+) (?:in|on)(?:/on)? (?P<target>[a-z]+)"
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    object: str
    """A type, such as `apple`; so are `target` and `lamp`."""
    target: str | None = None
    lamp: str | None = None
    treatment: str | None = None
    """`heat`, `cool` or `clean`."""
    two: bool = False


def parse_goal(sentence: str) -> Goal | None:
    """The goal of one of ALFWorld's own sentences; None for another wording."""
    for pattern in _GOALS:
        if match := pattern.search(sentence.lower()):
            found = match.groupdict()
            treatment = found.get("treat") or found.get("state")
            return Goal(
                object=found.get("two") or found.get("lit") or found.get("treated") or found["object"],
                target=found.get("target"),
                lamp=found.get("lamp"),
                treatment="heat" if treatment == "hot" else treatment,
                two=bool(found.get("two")),
            )
    return None


def type_of(thing: str) -> str:
    """`apple` of `apple 2`."""
    return thing.rsplit(" ", 1)[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One command with what the agent could know when it gave it."""

    command: str
    verb: str
    """`go`, `open`, `take`, `place`, `treat`, `use`, or "" for any other."""
    object: str | None
    place: str | None
    worked: bool
    at: str | None
    """Where the agent stood before."""
    held: str | None
    """What it held before."""
    treatments: frozenset[str]
    """Of `heat`, `cool` and `clean`, what had been done to the thing in hand."""
    known_closed: bool
    """`place` was closed as far as the agent had seen."""
    known: tuple[str, ...] | None
    """What the agent had seen in `place` before; None if it had never seen inside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    steps: tuple[Step, ...]
    places: frozenset[str]
    """Named in the opening."""
    contents: Mapping[str, tuple[str, ...]]
    """What each place held when it was last seen."""
    never_opened: frozenset[str]
    """Seen closed, and left so."""
    at: str | None
    """At the end; so is `held`."""
    held: str | None


@dataclass(slots=True)
class _Reader:
    at: str | None = None
    held: str | None = None
    treatments: dict[str, frozenset[str]] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)
    contents: dict[str, tuple[str, ...]] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)

    def read(self, command: str, observation: str) -> None:
        match = _COMMAND.match(command.strip())
        found = match.groupdict() if match else {}
        verb = next((v for v in ("go", "open", "take", "place", "treat", "use") if found.get(v)), "")
        thing, place = found.get(f"{verb}_object"), found.get(f"{verb}_place")
        worked = not observation.startswith(NOTHING)
        self.steps.append(
            Step(
                command=command.strip(),
                verb=verb,
                object=thing,
                place=place,
                worked=worked,
                at=self.at,
                held=self.held,
                treatments=self.treatments.get(self.held or "", frozenset()),
                known_closed=place in self.closed,
                known=self.contents.get(place) if place else None,
            )
        )
        if worked:
            self._change(verb, thing, place, command.strip())
        self._look(observation)

    def _change(self, verb: str, thing: str | None, place: str | None, command: str) -> None:
        if verb == "take" and thing and place:
            self.held = thing
            self.contents[place] = tuple(t for t in self.contents.get(place, ()) if t != thing)
        elif verb == "place" and thing and place:
            self.held = None
            self.contents[place] = (*self.contents.get(place, ()), thing)
        elif command.startswith("close "):
            self.closed.add(command.removeprefix("close "))
        elif verb == "treat" and thing:
            # The world lets a heated thing be cool no longer, and the reverse.
            word = command.split()[0]
            undone = {"heat": "cool", "cool": "heat"}.get(word, "")
            self.treatments[thing] = (self.treatments.get(thing, frozenset()) - {undone}) | {word}

    def _look(self, observation: str) -> None:
        if arrived := _ARRIVED.search(observation):
            self.at = arrived[1]
        self.closed.update(_CLOSED.findall(observation))
        for name, listing in _SEEN.findall(observation):
            place = name or self.at
            if place:
                self.closed.discard(place)
                self.contents[place] = tuple(_ITEM.findall(listing))


def read_trace(opening: str, turns: Iterable[Turn]) -> Trace:
    """What the actions and observations of an episode tell; thoughts are left out."""
    reader = _Reader()
    for turn in turns:
        if turn.action is not None:
            reader.read(turn.executed or turn.action, turn.observation)
    room = opening.split("Your task is to")[0]
    return Trace(
        steps=tuple(reader.steps),
        places=frozenset(_ITEM.findall(room)),
        contents=dict(reader.contents),
        never_opened=frozenset(reader.closed - reader.contents.keys()),
        at=reader.at,
        held=reader.held,
    )
