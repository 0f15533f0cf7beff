"""A shop's products as the original normalises them, read from its JSON files in a stream: 5 GB pass through, none of it stays."""

import gzip
import json
import lzma
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import IO, Any

from envs.base import EnvError
from envs.webshop.json_stream import array_entries, object_entries

NO_ATTRIBUTES = ("DUMMY_ATTR",)
"""What the original gives a product that its attribute file does not name."""
_LONGEST_ASIN = 10
_NOT_A_PRICE = re.compile(r"[^\d.]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    asin: str
    title: str
    description: str
    bullets: tuple[str, ...]
    price_tag: str
    """As shown, such as "$9.98" or "$9.98 to $21.5"."""
    prices: tuple[float, ...]
    """One price, or the two ends of a range."""
    options: Mapping[str, tuple[str, ...]]
    """Option name -> values, in the shop's order, all lower case."""
    category: str
    query: str
    product_category: str
    attributes: tuple[str, ...]

    @property
    def contents(self) -> str:
        """The text that is searched."""
        options = ", and ".join(f"{name}: {', '.join(values)}" for name, values in self.options.items())
        first = self.bullets[0] if self.bullets else ""
        return " ".join((self.title, self.description, first, options)).lower()

    def to_json(self) -> str:
        """Everything but what the catalogue keeps in columns of its own: asin, title and price tag."""
        fields = (self.description, self.bullets, self.options, self.category, self.query)
        return json.dumps(
            (*fields, self.product_category, self.attributes, self.prices),
            ensure_ascii=False,
            separators=(",", ":"),
        )

    @classmethod
    def from_json(cls, asin: str, title: str, price_tag: str, text: str) -> "Product":
        description, bullets, options, category, query, product_category, attributes, prices = json.loads(
            text
        )
        return cls(
            asin=asin,
            title=title,
            description=description,
            bullets=tuple(bullets),
            price_tag=price_tag,
            prices=tuple(prices),
            options={name: tuple(values) for name, values in options.items()},
            category=category,
            query=query,
            product_category=product_category,
            attributes=tuple(attributes),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What somebody wants of a product, before a price is put to it."""

    text: str
    attributes: tuple[str, ...]
    options: tuple[str, ...] = ()
    """Wanted option values, where a person wrote the wish."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A product and the wishes that the files hold for it."""

    product: Product
    template: Wish | None
    """Of synthetic goals: to be combined with every choice of options."""
    human: tuple[Wish, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFiles:
    items: Path
    attributes: Path
    human: Path | None


def find_sources(folder: Path) -> SourceFiles:
    """The three files of a copy of the original's data, by their names' beginnings.

    Raises:
        EnvError: one is missing, or there are several.
    """

    def one(beginning: str, *, needed: bool) -> Path | None:
        found = sorted(
            p for p in folder.glob(f"{beginning}*") if p.name.endswith((".json", ".json.gz", ".json.xz"))
        )
        if len(found) > 1:
            raise EnvError(f"{folder} holds {found[0].name} and {found[1].name}; keep the one to build from")
        if needed and not found:
            raise EnvError(f"no {beginning}*.json in {folder}; expected the files of WebShop's data")
        return found[0] if found else None

    items, attributes = one("items_shuffle", needed=True), one("items_ins", needed=True)
    assert items is not None and attributes is not None
    return SourceFiles(items=items, attributes=attributes, human=one("items_human_ins", needed=False))


def read_listings(sources: SourceFiles, limit: int | None = None) -> Iterator[Listing]:
    """Every product once, in the file's order; `limit` counts entries of the file, as the original does."""
    about = _Abouts(sources.attributes)
    human = _load(sources.human) if sources.human else {}
    seen: set[str] = set()
    for number, item in enumerate(_stream_array(sources.items)):
        if limit is not None and number >= limit:
            return
        asin = item.get("asin")
        if (
            not isinstance(asin, str)
            or not asin
            or asin == "nan"
            or len(asin) > _LONGEST_ASIN
            or asin in seen
        ):
            continue
        seen.add(asin)
        yield _listing(item, about.get(asin), human.get(asin, ()), f"{sources.items.name}: product {asin}")


def _listing(item: dict[str, Any], about: dict[str, Any] | None, human: Any, source: str) -> Listing:
    try:
        product = normalise(item, (about or {}).get("attributes"))
    except (KeyError, TypeError, AttributeError, InvalidOperation) as error:
        raise EnvError(f"{source} is not in the shape of WebShop's data: {error!r}") from None
    template = None
    if about and about.get("instruction"):
        template = Wish(text=about["instruction"], attributes=tuple(about["instruction_attributes"]))
    wishes = tuple(
        Wish(
            text=each["instruction"],
            attributes=tuple(each["instruction_attributes"]),
            options=tuple(each["instruction_options"]),
        )
        for each in human
    )
    return Listing(product=product, template=template, human=wishes)


def normalise(item: Mapping[str, Any], attributes: Any) -> Product:
    """One entry of the items' file."""
    bullets = item["small_description"]
    prices, tag = read_price(item.get("pricing"))
    return Product(
        asin=item["asin"],
        title=item["name"],
        description=item["full_description"],
        bullets=tuple(bullets) if isinstance(bullets, list) else (bullets,),
        price_tag=tag,
        prices=prices,
        options=_options(item["customization_options"]),
        category=item["category"],
        query=item["query"].lower().strip(),
        product_category=item["product_category"],
        attributes=NO_ATTRIBUTES if attributes is None else tuple(attributes),
    )


def read_price(text: str | None) -> tuple[tuple[float, ...], str]:
    """Prices and the tag shown; 100 dollars where the shop names none."""
    if not text:
        return (100.0,), "$100.0"
    prices = tuple(float(Decimal(_NOT_A_PRICE.sub("", part))) for part in text.split("$")[1:])
    if len(prices) == 1:
        return prices, f"${prices[0]}"
    if not prices:
        raise InvalidOperation(f"no price in {text!r}")
    return prices[:2], f"${prices[0]} to ${prices[1]}"


def _options(customization: Any) -> dict[str, tuple[str, ...]]:
    options = {}
    for name, contents in (customization or {}).items():
        if contents is not None:
            options[name.lower()] = tuple(
                content["value"].strip().replace("/", " | ").lower() for content in contents
            )
    return options


class _Abouts:
    """The attributes' file by asin, held as compact text: as objects it would take several times the memory."""

    def __init__(self, path: Path) -> None:
        self._texts = {
            asin: json.dumps(about, separators=(",", ":")).encode() for asin, about in _stream_object(path)
        }

    def get(self, asin: str) -> dict[str, Any] | None:
        text = self._texts.get(asin)
        return None if text is None else json.loads(text)


def _open(path: Path) -> IO[bytes]:
    if path.suffix == ".gz":
        return gzip.open(path, "rb")  # type: ignore[return-value]
    if path.suffix == ".xz":
        return lzma.open(path, "rb")
    return path.open("rb")


def _load(path: Path) -> dict[str, Any]:
    with _open(path) as stream:
        return json.load(stream)


def _stream_array(path: Path) -> Iterator[dict[str, Any]]:
    yield from _read_stream(path, array_entries)


def _stream_object(path: Path) -> Iterator[tuple[str, Any]]:
    yield from _read_stream(path, object_entries)


def _read_stream(path: Path, entries: Callable[[IO[bytes]], Iterator[Any]]) -> Iterator[Any]:
    with _open(path) as stream:
        flow = entries(stream)
        while True:
            # Around the reading alone: what goes wrong with an entry is its reader's own business.
            try:
                entry = next(flow)
            except StopIteration:
                return
            except (ValueError, EOFError, lzma.LZMAError, zlib.error) as error:
                raise EnvError(f"{path} is damaged: {error}") from None
            yield entry
