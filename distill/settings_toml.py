"""Writes plain values as TOML. Reads nothing: the standard library does that."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any


def to_toml(settings: Mapping[str, Any]) -> str:
    """`settings` (JSON-like values) as TOML; keys whose value is None are left out, for TOML has no null."""
    return "\n".join(_table(settings, ())).strip() + "\n"


def _table(table: Mapping[str, Any], above: tuple[str, ...]) -> Iterator[str]:
    """Plain values first: after a header every line belongs to that header."""
    present = {key: value for key, value in table.items() if value is not None}
    nested = {
        key: value for key, value in present.items() if isinstance(value, Mapping) or _is_table_list(value)
    }
    for key, value in present.items():
        if key not in nested:
            yield f"{_key(key)} = {_value(value)}"
    for key, value in nested.items():
        path = (*above, _key(key))
        for inner in [value] if isinstance(value, Mapping) else value:
            yield ""
            yield f"[{'.'.join(path)}]" if isinstance(value, Mapping) else f"[[{'.'.join(path)}]]"
            yield from _table(inner, path)


def _is_table_list(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) > 0
        and all(isinstance(item, Mapping) for item in value)
    )


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _string(key)


def _string(text: str) -> str:
    # JSON's escapes are TOML's, but for DEL, which TOML wants escaped too.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items() if v is not None) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    raise ValueError(f"TOML cannot hold {value!r} ({type(value).__name__})")
