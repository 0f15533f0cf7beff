"""The words of advice that the pocket model is trained on: a small grammar with many phrasings for each habit.

`(a|b|c)` is a choice, `<slot>` a name that is written as a placeholder in braces, as a plain noun or as a real thing of some
household. The last phrasings of each list are never trained on: with them the card measures whether advice in other words is obeyed.
Knows neither what a habit does nor who gives the advice.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from distill.pocket.habits import HABIT_OF_KIND, Habit, habits_of_kind
from distill.pocket.phrases import fill, worded, words_in
from envs.alfworld.catalogue import RECEPTACLE_TYPES, THING_TYPES

_PHRASINGS: Mapping[Habit, Sequence[str]] = {
    Habit.OPEN_CONTAINERS: (
        "(Open|Always open|Make sure to open) (every|each|any) closed <container> (and|to) (look|see|check|peek) (inside|in it|within)",
        "If a <container> is (closed|shut), open it (and look inside|to see what it holds|before moving on|first)",
        "(Closed|Shut) <container>s (may|can|often) (hide|hold|contain) the <object>: open them",
        "Do not (walk past|pass by|skip|ignore) a (closed|shut) <container>; open it (and check inside|and look in)",
        "(Search|Look|Check) inside (closed|shut) <container>s (by opening them|after opening them), not only on (open|visible) (places|surfaces)",
        "When you (reach|arrive at|come to) a (closed|shut) <container>, (open it|use open) (right away|at once|before leaving|before going on)",
        "(The|A) <object> may be (inside|hidden in|in) a (closed|shut) <container>, so (open each one|open it|open them all)",
        "(Opening|Try opening|Keep opening) <container>s that are (closed|shut) (shows|reveals|uncovers|to reveal) what is (inside|in them)",
        "(Explore|Inspect|Examine) the (inside|contents|interior) of (every|each|any) <container> (by opening it|with open <container>)",
        "(Never|Don't) leave a <container> (unopened|closed|shut) while (searching|looking) for the <object>",
        "Use (`open <container>`|open) on (closed|shut) (furniture|places|<container>s|drawers and cabinets) (while searching|during the search|to find the <object>)",
        "(Drawers|Cabinets|Fridges|Safes|Doors|Lids) (must|should|have to) be opened (to|before you can) (see|know) what (is|lies) inside",
        "Before you (leave|move on from) a <container>, (check whether|make sure that) you have (opened it|looked inside)",
        "A (closed|shut) <container> tells you nothing until you (open it|look inside)",
        "What you need could be behind a closed door or in a drawer, so pull it open",
    ),
    Habit.LOOK_ONCE: (
        "(Visit|Check|Search|Look at) (each|every) (place|<location>|<receptacle>) (only once|just once|one time|a single time)",
        "(Do not|Don't|Never) (return|go back|come back) to (a|any) (place|<location>|<receptacle>) (that you have already searched|already checked|you have seen)",
        "Keep track of (searched|visited|checked) (places|<location>s|<receptacle>s) and (go to|try|choose) (a new one|others|unvisited ones) (next|each time)",
        "(Search|Explore|Go through) (the room|all places|<location>s) (systematically|in order|one by one|step by step), without (repeats|going in circles|revisiting)",
        "(Avoid|Stop) (revisiting|checking again|searching again) (the same|old) (places|<location>s|<receptacle>s); (move on to|visit) (new ones|the remaining ones|other places)",
        "(If|When) the <object> is not at a <location>, (cross it off|leave it for good) and (try|visit|check) (a different|another|the next) one",
        "(Go to|Explore|Visit) (new|unvisited|unexplored|remaining) (places|<location>s) (instead of|rather than) (wandering|going) (between|around) the same (few|ones)",
        "(Going|Walking) in (circles|loops) wastes (steps|moves|time): (search|visit) every <location> once",
        "Make a (list|plan) of all (places|<receptacle>s) and (cover|visit) (them all|each one) (in turn|once|in order)",
        "Remember where you (have been|looked), and (look elsewhere|search somewhere new|pick a new place)",
        "(Cover|Finish) the whole room before (looking|searching) anywhere (twice|a second time|again)",
        "Once a <receptacle> has been searched there is no need to see it again",
        "Work through the rest of the room rather than going over the same spots",
    ),
    Habit.TAKE_NAMED: (
        "(Take|Pick up|Grab) (exactly|only|precisely) the <object> (that the task names|named in the task|that is asked for|mentioned in the goal)",
        "(Do not|Don't|Never) (take|pick up|grab) (a similar|another|a different|some other) (thing|item|object) (instead of|in place of) the <object>",
        "(Check|Compare|Verify) the (name|type|kind) of the <object> (against|with) the (task|goal) before (taking it|you take it|picking it up)",
        "(Make sure|Be sure|Ensure) (that you|to) (take|pick up) the (right|correct|exact|named) <object>, not (something like it|a lookalike|a similar one)",
        "(Similar|Related|Other) (things|items|objects) (do not count|are wrong|will not do): (take|pick up) only the <object> (itself|the task wants|asked for)",
        "The (task|goal) (wants|names|asks for|needs) (one|a certain|a specific|an exact) (type|kind) of (thing|object|item): (take|pick) that (one|and nothing else)",
        "(Ignore|Leave|Skip) (similar|other|different|wrong) (things|items|objects) and (wait for|look for|search for) the <object> (itself|you were asked for)",
        "(Match|Read) the (word|name) in the (task|goal) (exactly|to the letter|closely) when you (choose|pick|select) (what|the thing|the item) to (take|pick up)",
        "A (similar|different) (object|item|thing) is no (substitute|replacement) for the <object>",
        "Only the (requested|named|exact|correct|specified) <object> (counts|solves the task|is right|will do)",
        "(Pick|Choose|Select) the (object|item) whose name is the one in the (task|goal)",
        "Do not confuse the <object> with something that looks like it",
        "What you carry has to be the very thing that was requested",
    ),
    Habit.HEAT_FIRST: (
        "(Heat|Warm|Warm up) the <object> (in|with|using) the (microwave|<appliance>) (before|and only then) (you put it|putting it|placing it|you place it) (in its place|in the <target>|at the <target>|down)",
        "(After|Once) (taking|picking up|you have) the <object>, (go to|visit|use) the (microwave|<appliance>) (and heat it|to heat it|to warm it|and warm it up)",
        "The <object> (must|has to|should|needs to) be (hot|heated|warm|warmed) (before|when) (it is placed|you place it|you put it down|it goes to the <target>)",
        "(Use|Remember to use|Do not forget to use) (the microwave|`heat <object> with <appliance>`|heat) (on the <object>|first|before placing|before the final step)",
        "(Don't|Do not|Never) (put|place|leave|deliver) the <object> (cold|unheated|before heating it|without heating it) (in|on|at) the <target>",
        "(First|Always first|To begin) heat the <object>, then (put|place|move|bring) it (to|in) the <target>",
        "A (hot|heated|warm) <object> is (needed|required|wanted|asked for), so (heat it|microwave it|warm it up) (first|beforehand|on the way)",
        "(Take|Carry|Bring) the <object> to the (microwave|<appliance>) (and heat it|for heating|to make it hot) (before|ahead of) (the <target>|anything else|its final place)",
        "(Make|Get) the <object> hot (in the microwave|with the <appliance>) before (moving|placing|putting|delivering) it",
        "(Microwave|Warm) the <object> (first|before you set it down|on the way to the <target>)",
        "Heating (comes first|comes before placing|is part of the task|must not be skipped)",
        "Cook the <object> before it goes where it belongs",
        "No stop at the microwave means that the task is not solved",
    ),
    Habit.CLEAN_FIRST: (
        "(Clean|Wash|Rinse) the <object> (in|with|using|at) the (sinkbasin|sink|<appliance>) (before|and only then) (you put it|putting it|placing it|you place it) (in its place|in the <target>|at the <target>|down)",
        "(After|Once) (taking|picking up|you have) the <object>, (go to|visit|use) the (sinkbasin|sink|<appliance>) (and clean it|to clean it|to wash it|and wash it)",
        "The <object> (must|has to|should|needs to) be (clean|cleaned|washed|rinsed) (before|when) (it is placed|you place it|you put it down|it goes to the <target>)",
        "(Use|Remember to use|Do not forget to use) (the sinkbasin|`clean <object> with <appliance>`|clean) (on the <object>|first|before placing|before the final step)",
        "(Don't|Do not|Never) (put|place|leave|deliver) the <object> (dirty|unwashed|before cleaning it|without washing it) (in|on|at) the <target>",
        "(First|Always first|To begin) (clean|wash) the <object>, then (put|place|move|bring) it (to|in) the <target>",
        "A (clean|washed|rinsed) <object> is (needed|required|wanted|asked for), so (clean it|wash it|rinse it) (first|beforehand|on the way)",
        "(Take|Carry|Bring) the <object> to the (sinkbasin|sink|<appliance>) (and clean it|for washing|to make it clean) (before|ahead of) (the <target>|anything else|its final place)",
        "(Make|Get) the <object> clean (in the sinkbasin|at the sink|with the <appliance>) before (moving|placing|putting|delivering) it",
        "(Wash|Rinse) the <object> (first|before you set it down|on the way to the <target>)",
        "(Cleaning|Washing) (comes first|comes before placing|is part of the task|must not be skipped)",
        "Hold the <object> under water before it goes where it belongs",
        "No stop at the sinkbasin means that the task is not solved",
    ),
    Habit.COOL_FIRST: (
        "(Cool|Chill|Cool down) the <object> (in|with|using) the (fridge|<appliance>) (before|and only then) (you put it|putting it|placing it|you place it) (in its place|in the <target>|at the <target>|down)",
        "(After|Once) (taking|picking up|you have) the <object>, (go to|visit|use) the (fridge|<appliance>) (and cool it|to cool it|to chill it|and chill it)",
        "The <object> (must|has to|should|needs to) be (cool|cold|cooled|chilled) (before|when) (it is placed|you place it|you put it down|it goes to the <target>)",
        "(Use|Remember to use|Do not forget to use) (the fridge|`cool <object> with <appliance>`|cool) (on the <object>|first|before placing|before the final step)",
        "(Don't|Do not|Never) (put|place|leave|deliver) the <object> (warm|uncooled|before cooling it|without chilling it) (in|on|at) the <target>",
        "(First|Always first|To begin) (cool|chill) the <object>, then (put|place|move|bring) it (to|in) the <target>",
        "A (cool|cold|chilled) <object> is (needed|required|wanted|asked for), so (cool it|chill it) (first|beforehand|on the way)",
        "(Take|Carry|Bring) the <object> to the (fridge|refrigerator|<appliance>) (and cool it|for cooling|to make it cool|to chill it) (before|ahead of) (the <target>|anything else|its final place)",
        "(Make|Get) the <object> (cold|cool) (in the fridge|with the <appliance>) before (moving|placing|putting|delivering) it",
        "(Chill|Refrigerate) the <object> (first|before you set it down|on the way to the <target>)",
        "(Cooling|Chilling) (comes first|comes before placing|is part of the task|must not be skipped)",
        "Let the <object> get cold before it goes where it belongs",
        "No stop at the fridge means that the task is not solved",
    ),
    Habit.SECOND_ONE: (
        "(Find|Get|Look for|Fetch|Search for) (the|a) second <object> (and|to) (put|place|bring|move) it (there|in the <target>|beside the first|with the first) (too|as well|also)",
        "(After|Once) (placing|putting down|you placed|delivering) the first <object>, (go back|continue|return|keep searching) for (the second|another|one more|the other one)",
        "(The task|The goal) (needs|asks for|wants|requires) two <object>s, (so|therefore) (bring|place|deliver|find) both",
        "One <object> is not enough: (find|bring|place|take) (two|another one|a second one|both)",
        "(Do not|Don't|Never) (stop|quit|finish|give up) (after|with) (one|the first|only one) <object>; (a second one is needed|bring another|find the other)",
        "(Repeat|Do) the (search|trip|whole thing|same) for (a|the) (second|other) <object>",
        "(Place|Put|Bring|Carry) (both|two) <object>s (to|in|into) the (same )?<target>, one (after the other|at a time|by one)",
        "(Count|Check) (how many|the number of) <object>s (you placed|are placed): (two are|it should be two|there must be two) (needed|in the end|in total)",
        "(Remember|Do not forget) (the second|to bring the second|that a second) <object>( is needed| is wanted|)",
        "(Two|Both) of them (are needed|must be there|have to be placed): (keep going|carry on|go on) until (the second is there|both are done)",
        "With the first <object> in place, fetch (one more|another|its twin)",
        "The job is half done when only one <object> has been delivered",
        "Make a further trip for another <object> of the same sort",
    ),
    Habit.USE_LAMP: (
        "(Turn on|Switch on|Use|Light) the (<lamp>|lamp|desklamp) (while|when) (holding|carrying|you hold|you carry) the <object>",
        "(After|Once) (taking|picking up|you have|you hold) the <object>, (go to|find|walk to|carry it to) the (<lamp>|lamp|desklamp) (and turn it on|and use it|and switch it on)",
        "(Use|Remember to use|Do not forget to use) (`use <lamp>`|the <lamp>|the desklamp|the lamp) (to look at|to examine|to see|to inspect) the <object>",
        "(The|A) (<lamp>|lamp|desklamp) (must|has to|should|needs to) be (on|turned on|switched on|lit) (while|when) you (hold|carry|look at) the <object>",
        "(Bring|Carry|Take) the <object> to (the|a) (<lamp>|lamp|desklamp) and (switch|turn) it on",
        "(Do not|Don't) (just|only|merely) examine the <object>; (turn on|use|switch on) the (<lamp>|lamp|desklamp)",
        "(Examining|Looking at) the <object> (needs|requires|only works with) (light|the <lamp>|the lamp): (turn on|use|switch on) the (<lamp>|lamp|desklamp)",
        "(Find|Locate|Look for) the (<lamp>|lamp|desklamp) and (use|activate|switch on|turn on) it with the <object> in (hand|your hand)",
        "(Hold|Keep) the <object> (in hand )?and (use|turn on|switch on) the (<lamp>|lamp|desklamp)",
        "(Light|The lamp|The <lamp>) (matters|is part of the task|is needed): (go there|stand there) with the <object> and (use it|turn it on)",
        "Put some light on the <object> with the (<lamp>|desklamp)",
        "Stand beside the <lamp>, <object> in hand, and press its switch",
        "It is the light that counts, so get the <lamp> shining",
    ),
    Habit.OPEN_TARGET: (
        "(Open|Always open|Make sure to open) the (<target>|<receptacle>) (before|and then) (placing|putting|moving|you place|you put) the <object> (in it|inside|there|into it)",
        "(If|When) the (<target>|destination|final place) is (closed|shut), open it (first|before placing|before you put the <object> in)",
        "(You cannot|Nothing can be|Things cannot be) (put|placed|moved) (in|into) a (closed|shut) <target>: open it (first|beforehand)",
        "(After|On) (arriving at|reaching) the <target> with the <object>, (open it|use open) (first|before anything else|before the move)",
        "A (closed|shut) <target> (takes|accepts|receives) nothing, so open it before (you put|placing|moving) the <object>",
        "(Check|See|Make sure) that the <target> is open before (you put|placing|moving|you move) the <object> (there|inside|in it)",
        "(Placing|Putting|Moving) the <object> (fails|does not work) while the <target> is (closed|shut); open it",
        "(Do not|Don't) try to (put|place|move) the <object> (in|into) a (closed|shut) <target>; open it first",
        "(Destination|Target) (closed|shut)? (Open|Then open) it, and (put|place) the <object> (inside|in) (afterwards|then)",
        "The door of the <target> has to be open when the <object> goes in",
        "Make way for the <object>: open where it belongs before dropping it off",
    ),
    Habit.MOVE_NOT_PUT: (
        "(Use|Say|Write) `move <object> to <target>`(,| and) not `put`( <object>|)",
        "(To|When you) (place|put down|set down|drop) (something|the <object>), (use|say|write) (move|`move`|the move command) (instead of|rather than|and not) (put|`put`)",
        "(Put|`put`) is not a (valid |known |)command( here|): (use|say|write) `move <object> to <receptacle>`",
        "The (right|correct|valid) (command|verb|word) for placing is (move|`move`), not (put|`put`)",
        "(Do not|Don't|Never) (use|say|write) (put|`put`|`put <object> in/on <target>`); (use|say|write) (move|`move`|`move <object> to <target>`)",
        "(Place|Set down) (things|the <object>|objects) with (move|`move <object> to <target>`|the move command)",
        "(Only|Just) move (works|is understood|is accepted) (for placing|to set things down|for putting down)",
        "Write move, since put does nothing (here|at all)",
        "(Commands|Placing) (should|must) (start with|read) move <object> to <target>",
        "Another verb than put is wanted for setting down: move",
        "The world knows how to move a thing to a place but not how to put it",
    ),
    Habit.NO_REPEAT: (
        "(Do not|Don't|Never) (repeat|say again|try again|reuse) (a|the same) (command|action) (that|which) (just failed|did nothing|failed|has failed)",
        "(If|When) (nothing happens|a command fails|an action fails), (try|do|use) (something else|something different|another command|a different action)",
        "(After|On) `Nothing happens.` (change|vary|alter) the (command|action|plan) instead of (repeating|trying) it( again|)",
        "(Repeating|Retrying) (a|the same) (failed|failing|useless) (command|action) (does not help|is useless|never helps)",
        "(A|The) (command|action) that (failed|did nothing) (will fail|fails) again: (change it|find another way|try another)",
        "(Think|Find out|Ask yourself) why (a command|an action|it) (failed|did nothing) (and change it|before the next try|and then do something else)",
        "(Avoid|Stop) (repeating|looping over) (the same|failed|useless) (commands|actions)",
        "(Nothing happens|No effect) means that (another|a different) (command|action|approach) is needed",
        "The same (command|action) twice (gives|brings) the same (result|failure|answer)",
        "Switch to some other approach as soon as an attempt has no effect",
        "Insisting does not pay: alter what did not work",
    ),
}
_UNTRAINED = 2
"""How many phrasings at the end of each list are kept for the evaluation."""

_NEUTRAL = (
    "(Be|Stay) (careful|patient|calm|polite|brief) (and|but) (quick|precise|attentive|tidy)",
    "(Read|Study) the (task|goal|room) (carefully|closely|with care) (before you start|at the beginning|first)",
    "(Keep|Write) (your )?(answers|replies|thoughts) (short|simple|clear)",
    "(Think|Plan) (ahead|before you act|before each step|a few steps ahead)",
    "(Use|Choose) the (shortest|simplest|quickest) (path|way|plan) (to the goal|that you can find|)",
    "(Names|Numbers) (matter|are important|are part of the name): (copy|write) them (exactly|as you read them)",
    "(You can|One can) (carry|hold) only one (thing|object|item) at a time",
    "(Finish|Complete) the task (in as few steps as possible|quickly|without delay)",
    "(Look|Check) the inventory when (in doubt|unsure|you are not sure)",
    "(Good|Enjoy|Mind) (luck|the room|the furniture) and (do not hurry|take your time|have fun)",
    "The (kitchen|bedroom|bathroom|living room) (is|may be) (large|small|crowded|full of things)",
    "(Some|Many) (rooms|places|tables|shelves) are (empty|full|far away|near)",
    "(Close|Shut) the <container> (when you leave|after use|behind you) (to be tidy|if you like|)",
    "(Slice|Cut) the <object> with a knife only (when asked|if the task says so)",
)

_NOUNS: Mapping[str, Sequence[str]] = {
    "object": ("object", "item", "thing", "target object", "article"),
    "container": ("container", "receptacle", "drawer", "cabinet", "box", "place"),
    "receptacle": ("receptacle", "place", "spot", "location", "surface"),
    "location": ("location", "place", "spot", "position", "area"),
    "appliance": ("appliance", "device", "machine", "right appliance"),
    "lamp": ("lamp", "desklamp", "light", "desk lamp"),
    "target": ("target", "destination", "final place", "goal receptacle", "target receptacle", "receptacle"),
}
_BRACES: Mapping[str, Sequence[str]] = {
    "object": ("object", "item", "thing", "target", "target_object", "obj", "object_type"),
    "container": ("container", "receptacle", "location", "place", "furniture"),
    "receptacle": ("receptacle", "place", "location", "container", "spot"),
    "location": ("location", "place", "receptacle", "spot"),
    "appliance": ("appliance", "tool", "device", "machine", "receptacle"),
    "lamp": ("lamp", "light", "light_source", "toggle", "lamp_type"),
    "target": (
        "target",
        "receptacle",
        "destination",
        "container",
        "target_receptacle",
        "goal",
        "place",
        "location",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    text: str
    habit: Habit | None
    """None: neutral advice that changes nothing."""


def draw_advice(
    rng: random.Random, kind: str, *, relevant: float = 0.72, habit: Habit | None = None
) -> Advice:
    """One hint as it may stand in the prompt of a task of this kind; `relevant` is the chance that it bears on the kind."""
    if habit is None and rng.random() < relevant:
        own = HABIT_OF_KIND[kind]
        habits = habits_of_kind(kind)
        habit = rng.choice([*habits, own] if own else habits)
    elif habit is None:
        others = [h for h in Habit if h not in habits_of_kind(kind)]
        habit = rng.choice([*others, None])
    return Advice(text=phrase(rng, habit), habit=habit)


def phrase(rng: random.Random, habit: Habit | None, *, untrained: bool = False) -> str:
    """One wording; `untrained` draws from those that training never uses."""
    if habit is None:
        patterns: Sequence[str] = _NEUTRAL
    else:
        patterns = _PHRASINGS[habit][-_UNTRAINED:] if untrained else _PHRASINGS[habit][:-_UNTRAINED]
    return worded(rng, patterns, lambda text: _fill_slots(rng, text), plain=untrained)


def common_words(rng: random.Random, *, num_texts: int = 6000) -> set[str]:
    """The words of the advice as they stand in running text, with their leading blanks."""
    return words_in(
        phrase(rng, None if number % 8 == 0 else rng.choice(tuple(Habit))) for number in range(num_texts)
    )


def trained_patterns() -> list[str]:
    return [p for patterns in _PHRASINGS.values() for p in patterns[:-_UNTRAINED]] + list(_NEUTRAL)


def _fill_slots(rng: random.Random, text: str) -> str:
    """All slots of a hint in one manner: mostly placeholders in braces, sometimes nouns or the names of real things."""
    manner = rng.random()
    if manner < 0.6:
        chosen = {slot: "{" + rng.choice(names) + "}" for slot, names in _BRACES.items()}
    elif manner < 0.85:
        chosen = {slot: rng.choice(names) for slot, names in _NOUNS.items()}
    else:
        chosen = {slot: rng.choice(RECEPTACLE_TYPES) for slot in _NOUNS}
        chosen |= {"object": rng.choice(THING_TYPES), "lamp": "desklamp"}
        chosen["appliance"] = rng.choice(_NOUNS["appliance"])
    return fill(text, chosen)
