"""What a shopper sees: the original's `text` and `text_rich` observations, and a short view for agents. Knows nothing of rewards' making.

A page is a row of text nodes, as the original's parser of its own HTML finds them.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from envs.webshop.session import Outcome, Page, Session

View = Literal["compact", "text", "text_rich"]
SEPARATOR = " [SEP] "
_HTML_SPACES = " \n\t\f\r"


class Node(NamedTuple):
    text: str
    role: Literal["text", "button", "option", "product"] = "text"


def render(session: Session, view: View, *, outcome: Outcome | None = None, results_shown: int = 0) -> str:
    """The open page; `outcome` is what the last action did, None after a reset."""
    if view == "compact":
        return _compact(session, outcome, results_shown)
    nodes = _seen(_nodes(session, outcome))
    if view == "text":
        return SEPARATOR.join(node.text.strip() for node in nodes)
    return _rich(session, nodes)


def _seen(nodes: Iterator[Node]) -> Iterator[Node]:
    """Without what the parser drops: empty text, and blanks that hold a line's end; other blanks become one."""
    for node in nodes:
        text = node.text
        if text and (not text.isspace() or text.strip(_HTML_SPACES)):
            yield node
        elif text and "\n" not in text:
            yield Node(" ", node.role)


def _rich(session: Session, nodes: Iterator[Node]) -> str:
    lines: list[str] = []
    clicked: list[str] = []
    for node in nodes:
        text = node.text
        if node.role == "button":
            text = f"[button] {text} [button_]"
        elif node.role == "option":
            held = f'"{text}"' in session.page.url
            if held:
                clicked.append(f"You have clicked {text}.")
            text = f"  [clicked button] {text} [clicked button_]" if held else f"  [button] {text} [button_]"
        elif node.role == "product":
            mark = "clicked button" if text in session.visited else "button"
            text = f"\n[{mark}] {text} [{mark}_]"
        lines.append(text)
    return "".join(f"{line}\n" for line in [*reversed(clicked), *lines])


def _nodes(session: Session, outcome: Outcome | None) -> Iterator[Node]:
    page = session.page
    if page.kind == "done":
        yield from _done_nodes(session)
        return
    if page.kind == "index":
        yield Node("WebShop")
    yield Node("Instruction: " if page.kind == "index" else "Instruction:")
    yield Node(session.goal.text)
    if page.kind == "index":
        yield Node("Search", "button")
        return
    yield Node("Back to Search", "button")
    if page.kind == "results":
        yield from _result_nodes(session, page)
        return
    yield Node("< Prev", "button")
    yield from _item_nodes(session) if page.kind == "item" else map(Node, _sub_page_texts(session))


def _result_nodes(session: Session, page: Page) -> Iterator[Node]:
    yield Node(f"Page {page.number} (Total results: {page.total})")
    for button in ("< Prev", "Next >"):
        if button.lower() in session.clickables:
            yield Node(button, "button")
    for product in page.products:
        asin, title, tag = session.catalogue.card(product)
        yield Node(asin, "product")
        yield Node(title)
        yield Node(tag)


def _item_nodes(session: Session) -> Iterator[Node]:
    product = session.shown
    for name, values in product.options.items():
        yield Node(name)
        for value in values:
            yield Node(value, "option")
    yield Node(product.title)
    yield Node(f"Price: {product.price_tag}")
    yield Node("Rating: N.A.")
    for button in ("Description", "Features", "Reviews", "Buy Now"):
        yield Node(button, "button")


def _sub_page_texts(session: Session) -> Sequence[str]:
    product, name = session.shown, session.page.sub_page
    if name == "description":
        return (product.description,)
    if name == "features":
        return [f" {bullet}" for bullet in product.bullets]
    if name == "attributes":
        listed = [f" {attribute}" for attribute in product.attributes]
        return [*listed, product.category, product.query, product.product_category]
    return ()


def _done_nodes(session: Session) -> Iterator[Node]:
    """The original prints fields that its template was not given, and the score."""
    chosen = json.dumps(session.options, sort_keys=True)
    for sign in "<>&'":
        chosen = chosen.replace(sign, f"\\u{ord(sign):04x}")
    texts = ["Thank you for shopping with us!", "Your code: ", "None", " (Paste it in your MTurk interface.)"]
    if session.protocol == "original":
        texts += [
            "Purchased",
            "asin",
            session.asin or "",
            "options",
            chosen,
            "attrs",
            "None",
            "category",
            "None",
        ]
        texts += [
            "query",
            "None",
            "product category",
            "None",
            "Target",
            "asin",
            "options",
            "attrs",
            "price upper",
        ]
        texts += ["instuction text", "category", "product category", "query", "Goal ", "None", "Reward"]
        texts += ["Your score (min 0.0, max 1.0)", str(session.worth), "Reward Details ", "None"]
    return map(Node, texts)


def visible(session: Session, view: View, results_shown: int) -> tuple[str, ...]:
    """Names of what can be clicked on what is shown."""
    names = tuple(session.clickables)
    if view != "compact" or session.page.kind != "results" or not results_shown:
        return names
    hidden = len(session.page.products) - results_shown
    return names[:-hidden] if hidden > 0 else names


def _compact(session: Session, outcome: Outcome | None, results_shown: int) -> str:
    """Buttons as `[button]`, few results, the instruction only on the first page, and one line for what changed little."""
    page = session.page
    if outcome is not None and not outcome.valid:
        return "Invalid action!"
    if page.kind == "index":
        return f"WebShop\nInstruction:\n{session.goal.text}\n[Search]"
    if page.kind == "done":
        return f"Thank you for shopping with us!\nYour score (min 0.0, max 1.0): {session.worth:.4g}"
    if outcome is not None and outcome.chosen:
        held = "; ".join(f"{name}: {value}" for name, value in session.options.items())
        return f"You have clicked {outcome.chosen}.\nChosen: {held}"
    lines = ["[Back to Search]"]
    if page.kind == "results":
        lines += _compact_results(session, page, results_shown)
    elif page.kind == "sub":
        lines += ["[< Prev]", *(text.strip() for text in _sub_page_texts(session) if text.strip())]
    else:
        lines += _compact_item(session)
    return "\n".join(lines)


def _compact_results(session: Session, page: Page, results_shown: int) -> Iterator[str]:
    yield f"Page {page.number} (Total results: {page.total})"
    yield from (f"[{button}]" for button in ("< Prev", "Next >") if button.lower() in session.clickables)
    for product in page.products[: results_shown or None]:
        asin, title, tag = session.catalogue.card(product)
        yield from (f"[{asin}]", title.strip(), tag)


def _compact_item(session: Session) -> Iterator[str]:
    product = session.shown
    yield "[< Prev]"
    buttons: dict[str, list[str]] = {}
    for button, option in session.clickables.items():
        if option is not None:
            buttons.setdefault(option, []).append(f"[{button}]")
    for name in product.options:
        yield f"{name} {''.join(buttons.get(name, ()))}"
    yield product.title.strip()
    yield f"Price: {product.price_tag}"
    yield "Rating: N.A."
    yield from ("[Description]", "[Features]", "[Reviews]", "[Buy Now]")
