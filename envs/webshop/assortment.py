"""What a made-up shop sells: kinds of product with their words, attributes, options and prices. Data only."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    category: str
    path: str
    """Ends in the kind's own name, as shops write it."""
    query: str
    nouns: tuple[str, ...]
    attributes: tuple[str, ...]
    options: Mapping[str, tuple[str, ...]]
    prices: tuple[int, int]


_COLORS = (
    "black white navy grey red green blue pink beige brown purple yellow teal ivory burgundy olive".split()
)
_SIZES = "x-small small medium large x-large xx-large 3x-large".split()
_SHOES = "6 6.5 7 7.5 8 8.5 9 9.5 10 11 12 13".split()
_BEDS = "twin full queen king".split()
_INCHES = ('12" x 12"', '16" x 16"', '18" x 18"', '20" x 20"', '24" x 36"', '28" x 28"')
_PACKS = ("pack of 1", "pack of 2", "pack of 3", "pack of 6", "pack of 12")
_FLAVORS = "vanilla chocolate strawberry peach lemon mint hazelnut cinnamon coconut mango".split()
_SCENTS = "lavender rose citrus vanilla eucalyptus sandalwood unscented".split()
_VOLUMES = ("1 fl oz", "2 fl oz", "4 fl oz", "8 fl oz", "16 fl oz")
_WEIGHTS = ("4 ounce", "8 ounce", "12 ounce", "1 pound", "2 pound")
_LENGTHS = ("3 feet", "6 feet", "10 feet", "15 feet", "25 feet")
_STORAGE = ("64gb", "128gb", "256gb", "512gb", "1tb")


def _kind(
    category: str,
    path: str,
    query: str,
    nouns: str,
    attributes: str,
    prices: tuple[int, int],
    **options: object,
) -> Kind:
    return Kind(
        category=category,
        path=path,
        query=query,
        nouns=tuple(nouns.split("/")),
        attributes=tuple(attributes.split("/")),
        options={name: tuple(values) for name, values in options.items()},  # type: ignore[arg-type]
        prices=prices,
    )


_WEAR = "machine wash/hand wash/long lasting/high quality/classic fit/slim fit/cotton spandex/quick drying/daily wear"
_SOUND = "noise cancelling/water resistant/fast charging/long lasting/easy to use/plug and play/hands free"
_FOOD = "gluten free/non gmo/sugar free/plant based/dairy free/low sodium/kosher certified/shelf stable/high protein"
_SKIN = "cruelty free/paraben free/fragrance free/tea tree/hyaluronic acid/sensitive skin/natural ingredients/long lasting"
_HOME = "easy clean/easy assemble/solid wood/space saving/heavy duty/non slip/eco friendly/stainless steel"
_TREE_WEAR, _TREE_HOME = "Clothing, Shoes & Jewelry", "Home & Kitchen"
_TREE_SOUND, _TREE_FOOD, _TREE_SKIN = "Electronics", "Grocery & Gourmet Food", "Beauty & Personal Care"

KINDS: tuple[Kind, ...] = (
    _kind("fashion", f"{_TREE_WEAR} › Men › Shirts › T-Shirts", "men's t-shirts", "T-Shirt/Crew Neck Tee/Graphic Tee", _WEAR, (9, 40), color=_COLORS, size=_SIZES),
    _kind("fashion", f"{_TREE_WEAR} › Men › Shirts › Dress Shirts", "men's dress shirts", "Dress Shirt/Oxford Shirt/Button Down Shirt", _WEAR, (18, 70), color=_COLORS, size=_SIZES),
    _kind("fashion", f"{_TREE_WEAR} › Women › Clothing › Dresses", "women's dresses", "Summer Dress/Wrap Dress/Midi Dress", _WEAR, (19, 90), color=_COLORS, size=_SIZES),
    _kind("fashion", f"{_TREE_WEAR} › Women › Shoes › Sandals", "women's sandals", "Sandals/Platform Sandals/Slide Sandals", "rubber sole/arch support/open toe/ankle strap/memory foam/non slip", (15, 80), color=_COLORS, size=_SHOES),
    _kind("fashion", f"{_TREE_WEAR} › Men › Shoes › Sneakers", "men's fashion sneakers", "Sneakers/Running Shoes/Walking Shoes", "rubber sole/arch support/lace closure/memory foam/non slip/lightweight", (25, 140), color=_COLORS, size=_SHOES),
    _kind("fashion", f"{_TREE_WEAR} › Women › Clothing › Active › Leggings", "women's activewear", "Yoga Leggings/Workout Leggings/Biker Shorts", "high waist/tummy control/moisture wicking/quick drying/stretch fabric", (12, 60), color=_COLORS, size=_SIZES),
    _kind("garden", f"{_TREE_HOME} › Furniture › Living Room Furniture › Tables", "coffee tables", "Coffee Table/Side Table/Console Table", _HOME, (45, 480), color=("oak", "walnut", "black", "white", "espresso")),
    _kind("garden", f"{_TREE_HOME} › Bedding › Decorative Pillows › Throw Pillow Covers", "decorative pillows", "Throw Pillow Cover/Cushion Cover/Pillow Case", "double sided/machine washable/super soft/eco friendly/printing technology", (8, 35), color=_COLORS, size=_INCHES),
    _kind("garden", f"{_TREE_HOME} › Bedding › Duvets › Comforters", "comforters", "Comforter Set/Duvet/Quilted Bedspread", "machine washable/super soft/queen size/easy clean/all season", (30, 190), color=_COLORS, size=_BEDS),
    _kind("garden", f"{_TREE_HOME} › Lighting › Lamps › Table Lamps", "table lamps", "Table Lamp/Desk Lamp/Bedside Lamp", "brushed nickel/energy efficient/glass shade/easy install/dimmable", (18, 150), color=("black", "white", "bronze", "silver")),
    _kind("garden", f"{_TREE_HOME} › Storage › Laundry › Baskets", "storage baskets", "Storage Basket/Laundry Hamper/Storage Bin", _HOME, (12, 70), color=_COLORS, size=("small", "medium", "large")),
    _kind("electronics", f"{_TREE_SOUND} › Headphones › Earbud Headphones", "headphones", "Wireless Earbuds/Bluetooth Headphones/Over Ear Headset", _SOUND, (15, 240), color=_COLORS),
    _kind("electronics", f"{_TREE_SOUND} › Portable Audio › Speakers › Portable Speakers", "portable speakers", "Bluetooth Speaker/Portable Speaker/Shower Speaker", _SOUND, (18, 300), color=_COLORS),
    _kind("electronics", f"{_TREE_SOUND} › Accessories › Cables › USB Cables", "usb cables", "USB C Cable/Charging Cable/Lightning Cable", "fast charging/gold plated/high speed/heavy duty/tangle free", (6, 30), color=_COLORS, size=_LENGTHS),
    _kind("electronics", f"{_TREE_SOUND} › Computers › Tablets", "tablets", "Tablet/Drawing Tablet/Android Tablet", "quad core/dual band/high definition/long lasting/easy to carry", (80, 700), color=("black", "silver", "blue"), capacity=_STORAGE),
    _kind("electronics", f"{_TREE_SOUND} › Camera & Photo › Tripods", "tripods", "Camera Tripod/Phone Tripod/Tripod Stand", "easy to carry/carrying case/heavy duty/aluminum alloy/quick release", (14, 160), color=("black", "silver")),
    _kind("grocery", f"{_TREE_FOOD} › Snacks & Sweets › Bars › Protein Bars", "protein bars", "Protein Bar/Granola Bar/Snack Bar", _FOOD, (8, 45), flavor=_FLAVORS, size=_PACKS),
    _kind("grocery", f"{_TREE_FOOD} › Beverages › Tea › Herbal Tea", "tea", "Herbal Tea/Green Tea/Black Tea", "caffeine free/certified organic/non gmo/sugar free/individually wrapped", (6, 40), flavor=_FLAVORS, size=_PACKS),
    _kind("grocery", f"{_TREE_FOOD} › Snacks & Sweets › Snack Foods › Nuts", "nuts & seeds", "Roasted Almonds/Mixed Nuts/Cashews", _FOOD, (7, 50), flavor=("salted", "unsalted", "honey", "smoked"), size=_WEIGHTS),
    _kind("grocery", f"{_TREE_FOOD} › Pantry Staples › Sauces › Pasta Sauce", "pantry staples", "Pasta Sauce/Tomato Sauce/Pesto", _FOOD, (5, 30), flavor=("basil", "garlic", "arrabbiata", "mushroom"), size=_PACKS),
    _kind("beauty", f"{_TREE_SKIN} › Hair Care › Shampoo & Conditioner", "shampoo & conditioner", "Shampoo/Conditioner/Hair Mask", "sulfate free/paraben free/argan oil/damaged hair/dry hair/tea tree/color safe", (8, 45), scent=_SCENTS, size=_VOLUMES),
    _kind("beauty", f"{_TREE_SKIN} › Skin Care › Face › Creams & Moisturizers", "face moisturizers", "Face Cream/Moisturizer/Night Cream", _SKIN, (10, 90), size=_VOLUMES),
    _kind("beauty", f"{_TREE_SKIN} › Oral Care › Toothbrushes", "toothbrushes", "Toothbrush/Electric Toothbrush/Travel Toothbrush", "oral hygiene/bpa free/soft bristles/easy to use/teeth whitening", (5, 120), color=_COLORS, size=_PACKS),
    _kind("beauty", f"{_TREE_SKIN} › Makeup › Lips › Lipstick", "lipsticks", "Lipstick/Lip Gloss/Lip Tint", "cruelty free/long lasting/highly pigmented/vegan formula/water resistant", (6, 40), color=("ruby red", "coral", "nude", "plum", "rose pink", "berry")),
)  # fmt: skip

BRAND_STARTS = "Alder Bex Cora Dun Elm Fjor Gala Hest Iro Jun Kel Lum Mar Nor Oak Pell Quin Ros Sol Tam Umb Vel Wen Yar Zeph".split()
BRAND_ENDS = "by dale field fox gate haus ia ik lane len line mark mere mont nest on ora side smith stone ton vale well wick wood".split()
PRAISE = "Premium Classic Modern Everyday Essential Lightweight Original Soft Handmade Compact Vintage Deluxe Natural Simple".split()
PURPOSES = "Home/Office/Travel/Outdoor/Gift/School/Kitchen/Living Room/Gym/Beach/Family/Kids/Men and Women/Party".split(
    "/"
)

WISHES: tuple[str, ...] = (
    "i am looking for {noun} that is {attributes}{options}",
    "i need {noun} which is {attributes}{options}.",
    "find me {noun} with {attributes}{options}",
    "show me {noun}{options}, it should be {attributes}.",
    "i would like to buy {noun}{options}, and it has to be {attributes}",
    "my friend wants {noun} that is {attributes}{options}.",
)

REMARKS: tuple[str, ...] = (
    "Made for everyday use and built to stay with you for years.",
    "A thoughtful present for birthdays, holidays and housewarmings.",
    "Tested by our own team before it leaves the workshop.",
    "Please check the measurements in the pictures before you order.",
    "Colours may look a little different on your screen.",
    "Write to us if anything is missing and we will answer within a day.",
    "Goes well with the other pieces of the same series.",
    "Packed without plastic and shipped from the nearest store.",
)
