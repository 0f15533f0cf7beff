"""Facts of the households: which furniture a room has, what things there are, and what may stand or lie where.

Types are lower-case as in a `Game`; `WRITTEN` gives the spelling that the release's PDDL uses. Knows nothing of games.
"""

from collections.abc import Mapping

_RECEPTACLES = (
    "ArmChair BathtubBasin Bed Cabinet Cart CoffeeMachine CoffeeTable CounterTop Desk DiningTable Drawer Dresser Fridge"
    " GarbageCan HandTowelHolder LaundryHamper Microwave Ottoman Safe Shelf SideTable SinkBasin Sofa StoveBurner Toaster"
    " Toilet ToiletPaperHanger TowelHolder TVStand"
)
_THINGS = (
    "AlarmClock Apple BaseballBat BasketBall Book Bowl Box Bread ButterKnife CD Candle CellPhone Cloth CreditCard Cup"
    " DeskLamp DishSponge Egg FloorLamp Fork Glassbottle HandTowel HousePlant Kettle KeyChain Knife Ladle Laptop Lettuce"
    " Mug Newspaper Pan PaperTowelRoll Pen Pencil PepperShaker Pillow Plate Plunger Pot Potato RemoteControl SaltShaker"
    " ScrubBrush SoapBar SoapBottle Spatula Spoon SprayBottle Statue TeddyBear Television TennisRacket TissueBox"
    " ToiletPaper Tomato Towel Vase Watch WateringCan WineBottle"
)
# Named by the domain or met only as fixtures; they are declared so that the original's planner finds them.
_DECLARED = "Sink LightSwitch Window Mirror Chair StoveKnob"

WRITTEN: Mapping[str, str] = {name.lower(): name for name in f"{_RECEPTACLES} {_THINGS} {_DECLARED}".split()}
RECEPTACLE_TYPES: tuple[str, ...] = tuple(_RECEPTACLES.lower().split())
THING_TYPES: tuple[str, ...] = tuple(_THINGS.lower().split())
FIXTURE_TYPES: tuple[str, ...] = tuple(
    "sink lightswitch window mirror chair stoveknob blinds curtains painting poster bathtub showerdoor showerglass boots"
    " footstool laundryhamperlid".split()
)
"""Type names that real rooms hold beside `THING_TYPES`; generated rooms do without them."""

ALWAYS_OPENABLE = frozenset({"fridge", "microwave", "safe"})
OFTEN_OPENABLE = frozenset({"cabinet", "drawer"})
"""A few of these are mere fronts that do not open, as in the release."""


def _table(text: str) -> dict[str, frozenset[str]]:
    rows = (line.split(":") for line in text.strip().splitlines())
    return {holder.strip(): frozenset(kinds.split()) for holder, kinds in rows}


CAN_CONTAIN: Mapping[str, frozenset[str]] = _table(
    """
    armchair: book box cellphone cloth creditcard keychain laptop newspaper pillow remotecontrol
    bathtubbasin: cloth dishsponge handtowel soapbar
    bed: baseballbat basketball book cellphone laptop pillow tennisracket
    cabinet: book bowl box cd candle cloth cup dishsponge glassbottle handtowel kettle ladle mug newspaper pan peppershaker plate plunger pot saltshaker soapbar soapbottle spraybottle tissuebox toiletpaper vase wateringcan winebottle
    cart: candle cloth dishsponge handtowel plunger soapbar soapbottle spraybottle tissuebox toiletpaper
    coffeemachine: mug
    coffeetable: book bowl box candle cellphone creditcard keychain laptop newspaper pen pencil plate remotecontrol statue tissuebox vase watch wateringcan
    countertop: alarmclock apple book bowl bread butterknife cd candle cellphone cloth creditcard cup dishsponge egg fork glassbottle handtowel kettle keychain knife ladle laptop lettuce mug pan pen pencil peppershaker plate pot potato remotecontrol saltshaker soapbar soapbottle spatula spoon spraybottle statue tissuebox toiletpaper tomato vase winebottle
    desk: alarmclock basketball book bowl box cd cellphone cloth creditcard keychain laptop mug pen pencil remotecontrol statue tennisracket tissuebox vase watch wateringcan
    diningtable: alarmclock apple baseballbat basketball book bowl box bread butterknife cd candle cellphone cloth creditcard cup dishsponge egg fork glassbottle kettle keychain knife ladle laptop lettuce mug newspaper pan pen pencil peppershaker plate pot potato remotecontrol saltshaker soapbottle spatula spoon spraybottle statue tennisracket tissuebox tomato vase watch wateringcan winebottle
    drawer: book butterknife cd candle cellphone cloth creditcard dishsponge fork handtowel keychain knife ladle newspaper pen pencil peppershaker remotecontrol saltshaker soapbar soapbottle spatula spoon spraybottle tissuebox toiletpaper watch wateringcan
    dresser: alarmclock basketball book bowl box cd candle cellphone cloth creditcard keychain laptop mug newspaper pen pencil plate remotecontrol spraybottle statue tennisracket tissuebox toiletpaper vase watch wateringcan
    fridge: apple bowl bread cup egg glassbottle lettuce mug pan plate pot potato tomato winebottle
    garbagecan: apple bread cd cloth dishsponge egg handtowel lettuce newspaper pen pencil potato soapbar soapbottle spraybottle tissuebox toiletpaper tomato winebottle
    handtowelholder: handtowel
    laundryhamper: cloth
    microwave: apple bowl bread cup egg glassbottle mug plate potato tomato
    ottoman: book box cellphone creditcard keychain laptop newspaper pillow remotecontrol
    safe: cd cellphone creditcard keychain statue vase
    shelf: alarmclock book bowl box cd candle cellphone cloth creditcard cup dishsponge glassbottle handtowel kettle keychain mug newspaper pen pencil peppershaker plate pot remotecontrol saltshaker soapbar soapbottle spraybottle statue tissuebox toiletpaper vase watch wateringcan winebottle
    sidetable: alarmclock apple baseballbat basketball book bowl box bread butterknife cd candle cellphone cloth creditcard cup dishsponge egg fork handtowel kettle keychain knife laptop lettuce mug newspaper pan pen pencil peppershaker plate pot potato remotecontrol saltshaker soapbar soapbottle spatula spoon spraybottle statue tennisracket tissuebox toiletpaper tomato vase watch wateringcan winebottle
    sinkbasin: apple bowl butterknife cloth cup dishsponge egg fork glassbottle handtowel kettle knife ladle lettuce mug pan plate pot potato soapbar spatula spoon tomato
    sofa: book box cellphone creditcard keychain laptop newspaper pillow remotecontrol
    stoveburner: kettle pan pot
    toaster:
    toilet: candle cloth dishsponge handtowel soapbar soapbottle spraybottle tissuebox toiletpaper
    toiletpaperhanger: toiletpaper
    towelholder: towel
    tvstand: tissuebox
    """
)
LAMP_STANDS = ("desk", "sidetable", "dresser", "shelf", "coffeetable")
"""Where a lamp stands; nobody can move it."""

CLEANABLE = frozenset(
    "apple bowl butterknife cloth cup dishsponge egg fork kettle knife ladle lettuce mug pan plate pot potato soapbar spatula spoon tomato".split()
)
HEATABLE = frozenset("apple bread cup egg mug plate potato tomato".split())
COOLABLE = frozenset("apple bowl bread cup egg lettuce mug pan plate pot potato tomato winebottle".split())
SLICEABLE = frozenset("apple bread egg lettuce potato tomato".split())
HOLDERS = frozenset("bowl box cup mug pan plate pot".split())
LAMPS = frozenset({"desklamp", "floorlamp"})
FIXED = LAMPS | {"houseplant", "television"}
"""Things that cannot be taken."""


def traits_of(thing_type: str) -> frozenset[str]:
    """The lasting traits of a thing, in a `Game`'s words."""
    tests = (
        ("pickupable", thing_type not in FIXED),
        ("cleanable", thing_type in CLEANABLE),
        ("heatable", thing_type in HEATABLE),
        ("coolable", thing_type in COOLABLE),
        ("sliceable", thing_type in SLICEABLE),
        ("toggleable", thing_type in LAMPS),
        ("holder", thing_type in HOLDERS),
    )
    return frozenset(trait for trait, holds in tests if holds)


LOOKALIKES: tuple[frozenset[str], ...] = tuple(
    frozenset(group.split())
    for group in (
        "mug cup glassbottle",
        "bowl plate",
        "pot pan kettle",
        "knife butterknife",
        "fork spoon",
        "spatula ladle",
        "apple tomato",
        "potato egg bread lettuce",
        "saltshaker peppershaker",
        "pen pencil",
        "book newspaper",
        "cd creditcard",
        "cellphone remotecontrol keychain",
        "watch alarmclock",
        "vase statue",
        "box tissuebox",
        "laptop pillow",
        "soapbar dishsponge cloth",
        "soapbottle spraybottle winebottle",
        "candle toiletpaper",
        "handtowel towel",
    )
)
"""Things that are taken for one another."""


def lookalikes_of(thing_type: str) -> frozenset[str]:
    for group in LOOKALIKES:
        if thing_type in group:
            return group - {thing_type}
    return frozenset()


def _counts(text: str) -> dict[str, tuple[int, int]]:
    pairs = (entry.split("=") for entry in text.split())
    return {name: (int(low_high.split("-")[0]), int(low_high.split("-")[-1])) for name, low_high in pairs}


ROOMS: Mapping[str, Mapping[str, tuple[int, int]]] = {
    "kitchen": _counts(
        "fridge=1 microwave=1 sinkbasin=1 garbagecan=1 coffeemachine=1 toaster=1 stoveburner=4-6 countertop=1-4 cabinet=5-27"
        " drawer=2-14 diningtable=0-2 shelf=0-3 sidetable=0-1"
    ),
    "living": _counts(
        "sofa=1-2 armchair=0-3 coffeetable=0-2 sidetable=0-3 diningtable=0-2 drawer=0-14 shelf=0-10 dresser=0-1 tvstand=0-2"
        " garbagecan=1 cabinet=0-8 ottoman=0-1 desk=0-1 safe=0-1"
    ),
    "bedroom": _counts(
        "bed=1-2 desk=0-2 drawer=2-14 shelf=0-10 sidetable=0-2 dresser=0-2 garbagecan=1 laundryhamper=0-1 safe=0-1 armchair=0-2"
        " cabinet=0-4 diningtable=0-1"
    ),
    "bathroom": _counts(
        "toilet=1-2 sinkbasin=1-2 countertop=0-2 cabinet=0-9 drawer=0-8 garbagecan=1 toiletpaperhanger=1 handtowelholder=1-2"
        " towelholder=1 bathtubbasin=0-1 shelf=0-4 sidetable=0-1 cart=0-1 dresser=0-1"
    ),
}
"""Room -> receptacle type -> fewest and most in a room of full size."""

FIRST_SCENE: Mapping[str, int] = {"kitchen": 0, "living": 200, "bedroom": 300, "bathroom": 400}
"""The release's numbering of floor plans; generated ones start at 1000 above."""

THINGS_OF_ROOM: Mapping[str, frozenset[str]] = {
    "kitchen": frozenset(
        "apple bowl bread butterknife cup dishsponge egg fork glassbottle kettle knife ladle lettuce mug pan papertowelroll"
        " peppershaker plate pot potato saltshaker soapbottle spatula spoon tomato vase winebottle statue houseplant book creditcard".split()
    ),
    "living": frozenset(
        "book box cellphone creditcard keychain laptop newspaper pillow remotecontrol statue tissuebox vase watch wateringcan candle"
        " bowl plate pen pencil desklamp houseplant television".split()
    ),
    "bedroom": frozenset(
        "alarmclock baseballbat basketball book bowl box cd cellphone cloth creditcard keychain laptop mug pen pencil pillow"
        " teddybear tennisracket tissuebox vase statue watch desklamp".split()
    ),
    "bathroom": frozenset(
        "candle cloth dishsponge handtowel plunger scrubbrush soapbar soapbottle spraybottle tissuebox toiletpaper towel".split()
    ),
}
