"""The words of advice that the pocket shopper is trained on: many phrasings for each habit, in the grammar of `distill.pocket.phrases`.

The last phrasings of each list are never trained on: with them the card measures whether advice in other words is obeyed. Knows neither
what a habit does nor who gives the advice.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from distill.pocket.phrases import fill, worded, words_in
from distill.pocket.shop.habits import ShopHabit
from envs.webshop.assortment import KINDS

_PHRASINGS: Mapping[ShopHabit, Sequence[str]] = {
    ShopHabit.CHOOSE_OPTIONS: (
        "(Select|Pick|Choose|Set) (the|every|each) <option> (asked for|that is asked for|in the request|the buyer wants) before (buying|paying|the purchase)",
        "(Before|Ahead of) (buying|the purchase|paying), (select|pick|set|press) (all|every one of) the <option>s (of|named in) the (request|instruction)",
        "(Do not|Don't|Never) (buy|pay|order) (while|as long as) (an|any|some) <option> (is still open|has not been picked|is unset)",
        "(Options|Sizes and colors|Variants) (must|have to|need to) be (picked|selected|set|clicked) (first|beforehand|before the order)",
        "(Press|Click|Tick) the (button|value) of (each|every) <option> (first|one by one), (then|and only then) (buy|order|pay)",
        "A <product> (without|lacking) its <option> (picked|selected) (counts|scores) (less|little|only half)",
        "(Remember|Take care|Be sure) to (set|select|pick) the (right|wanted|requested) <option> (on|at) the (product's|item's) page",
        "(Buying|Ordering) (at once|right away|too early) (loses|misses|forgets) the <option>: (set|pick) it (first|before)",
        "(Choose|Select) (what was asked|the wanted variant|the requested <option>) (among|from) the (buttons|values) and (buy|order) (afterwards|after that)",
        "(The|Any) <option> (named|given|stated) in the (instruction|request) (has|needs) a (button|click) of its own",
        "(Wait|Hold back) with the (order|purchase) until (every|each) <option> is (set|selected|chosen)",
        "The variant matters: mark it on the page, or the order is wrong",
        "An order goes out only when the boxes for <option> are filled in",
    ),
    ShopHabit.FIND_OPTIONS: (
        "(If|When) (a|the) (page|<product>) (does not offer|has no|comes without) the (wanted|requested|right) <option>, (return|step back) and (try|look at|see) (another|a different|the next) one",
        "(Check|Look|See) (whether|if) the page (offers|has|lists) the <option> (of the request|asked for), (else|otherwise) (leave|return to) (it|the list)",
        "(Leave|Quit|Close) a page (that lacks|without) the (requested|wanted) <option> and (go|move) on to (another|the next) <product>",
        "(Not|Hardly) every <product> (comes|is sold|is offered) in (each|every) <option>: (compare|visit|try) (several|a few|more) (pages|of them)",
        "(Go|Turn|Step) back to the (results|list) (if|when) the <option> (is missing|is not there|cannot be found)",
        "(Visit|Open|Try) (several|more|other) <product>s until (one|some page) (has|offers|lists) the <option>",
        "(Do not|Don't|Never) (settle|make do) with a page where the <option> is (missing|not listed|absent)",
        "(A|The) missing <option> means (that|:) the next <product> (should|must|has to) be (opened|tried|visited)",
        "(Make sure|Be sure|See to it) that the <option> (exists|is listed|is there) (on|at) the page (before|ahead of) (staying|deciding)",
        "(The|A) (first|opened) page may (lack|miss|not have) the <option>; (others|the others|the next ones) may have it",
        "(Use|Press) `< Prev` (to leave|when on) a page (without|lacking) the <option> (and pick another result|)",
        "Some pages do not carry what is wanted, so look further",
        "Walk away from an offer in which the variant cannot be had",
    ),
    ShopHabit.KEEP_TO_PRICE: (
        "(Look at|Read|Compare|Watch) the price (before|when) (opening|choosing|picking) a <product>: it must (not exceed|be under|stay below) the (limit|budget|maximum)",
        "(Stay|Keep|Remain) (within|below|under) the (budget|price limit|maximum price|stated amount)",
        "(Skip|Ignore|Pass over) (every|any|each) <product> (that is|which is) (too dear|too expensive|over the budget|above the limit)",
        "(Do not|Don't|Never) (pay|spend|go for) more than the (request|instruction|buyer) (allows|permits|says)",
        "(The|A) price (above|over|beyond) the (limit|maximum|budget) (spoils|ruins|fails) the purchase",
        "(Choose|Pick|Prefer) a <product> (whose price|that) (fits|is within|is inside) the (budget|limit)",
        "(Mind|Heed|Respect|Obey) the (price|upper limit|maximum) (given|stated|named) (in|by) the (request|instruction)",
        "(Prices|Costs) (count|matter) (too|as well): (take|pick) one (below|under) the (limit|stated price)",
        "(Check|Verify) (that|whether) the price is (lower than|under|below) (the limit|what is allowed|the stated amount)",
        "(Expensive|Costly|Dear) <product>s (beyond|over) the (limit|budget) are (never right|wrong|no option)",
        "(Compare|Hold) the price (with|against) the (limit|budget|amount) (in|of) the (instruction|request)",
        "Money is short: what costs more than allowed stays on the shelf",
        "Whatever is dearer than the buyer said is out of the question",
    ),
}
_UNTRAINED = 2
"""How many phrasings at the end of each list are kept for the evaluation."""

_NEUTRAL = (
    "(Be|Stay) (careful|patient|calm|polite|brief) (and|but) (quick|precise|attentive)",
    "(Read|Study) the (request|instruction) (carefully|closely|with care) (first|at the beginning|)",
    "(Keep|Write) (your )?(answers|replies|thoughts) (short|simple|clear)",
    "(Search|Look) (with|for) (few|the main|plain) words, (no sentences|without filler|and no more)",
    "(Read|Compare) the (titles|names) of the <product>s (closely|well|before opening one)",
    "(Descriptions|Features|Reviews) (may|can) (help|tell more|be read) (if|when) (in doubt|unsure)",
    "(Finish|Complete) the (purchase|order|task) in (few|as few) (clicks|steps)( as possible|)",
    "(Brands|Pictures|Ratings) (do not matter|are not important|mean little)",
    "(Copy|Write) the (code|name) of a (button|<product>) (exactly|as it stands)",
    "(Click|Press) only (what|buttons that) (stand|are) (in brackets|on the page)",
    "(Decide|Buy) (in time|before the steps run out|and do not browse for ever)",
)

_NOUNS: Mapping[str, Sequence[str]] = {
    "option": ("option", "size", "color", "variant", "choice", "flavor"),
    "product": ("product", "item", "article", "offer", "result"),
}
_BRACES: Mapping[str, Sequence[str]] = {
    "option": ("option", "size", "color", "variant", "attribute", "options", "flavor"),
    "product": ("item", "product", "result", "title", "article"),
}
_REAL = tuple(sorted({name for kind in KINDS for name in kind.options}))


@dataclass(frozen=True, slots=True, kw_only=True)
class ShopAdvice:
    text: str
    habit: ShopHabit | None
    """None: neutral advice that changes nothing."""


def draw_advice(rng: random.Random, *, relevant: float = 0.8) -> ShopAdvice:
    """One hint as it may stand in the prompt; `relevant` is the chance that it changes a habit."""
    habit = rng.choice(tuple(ShopHabit)) if rng.random() < relevant else None
    return ShopAdvice(text=phrase(rng, habit), habit=habit)


def phrase(rng: random.Random, habit: ShopHabit | None, *, untrained: bool = False) -> str:
    """One wording; `untrained` draws from those that training never uses."""
    if habit is None:
        patterns: Sequence[str] = _NEUTRAL
    else:
        patterns = _PHRASINGS[habit][-_UNTRAINED:] if untrained else _PHRASINGS[habit][:-_UNTRAINED]
    return worded(rng, patterns, lambda text: _fill_slots(rng, text), plain=untrained)


def common_words(rng: random.Random, *, num_texts: int = 4000) -> set[str]:
    """The words of the advice as they stand in running text, with their leading blanks."""
    return words_in(
        phrase(rng, None if number % 6 == 0 else rng.choice(tuple(ShopHabit))) for number in range(num_texts)
    )


def trained_patterns() -> list[str]:
    return [p for patterns in _PHRASINGS.values() for p in patterns[:-_UNTRAINED]] + list(_NEUTRAL)


def _fill_slots(rng: random.Random, text: str) -> str:
    """All slots of a hint in one manner: mostly placeholders in braces, sometimes nouns or the names of real options."""
    manner = rng.random()
    if manner < 0.6:
        chosen = {slot: "{" + rng.choice(names) + "}" for slot, names in _BRACES.items()}
    elif manner < 0.9:
        chosen = {slot: rng.choice(names) for slot, names in _NOUNS.items()}
    else:
        chosen = {"option": rng.choice(_REAL), "product": rng.choice(_NOUNS["product"])}
    return fill(text, chosen)
