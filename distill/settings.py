"""Settings files: TOML (or JSON) with `extends`, `--set a.b=c`, and errors that name the key, its file and the nearest known key.

`extends = "base.toml"` puts a file on top of another, relative to itself or to what ships (`presets/paper-alfworld.toml`): tables merge, everything else is replaced, and `unset = ["a.b"]`
drops inherited keys, for TOML has no null.
Knows no particular model: every function takes the pydantic class that the file is to become.
"""

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from distill.settings_errors import SettingsError, describe
from distill.settings_schema import discriminator, step_into, switches_member
from distill.settings_toml import to_toml
from distill.stages import content_hash

Model = TypeVar("Model", bound=BaseModel)
Keys = tuple[str | int, ...]

SHIPPED = Path(__file__).parent / "studies"

__all__ = [
    "SHIPPED",
    "Override",
    "SettingsError",
    "config_hash",
    "load_settings",
    "parse_override",
    "read_layer",
    "to_json",
    "to_toml",
    "write_settings",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """One `--set`: `value` as TOML reads it, `raw` as it was typed."""

    keys: tuple[str, ...]
    value: Any
    raw: str
    by: str = "--set"
    """Who asks for it, for messages."""

    @property
    def source(self) -> str:
        return f"{self.by} {'.'.join(self.keys)}={self.raw}"


def load_settings(
    path: Path | str,
    overrides: Sequence[str | Override],
    model_class: type[Model],
    *,
    extends: Path | None = None,
) -> Model:
    """The file's settings, on top of those it extends, below `overrides`; raises `SettingsError`.

    `extends` puts the file on top of another than the one it names, if it names any.
    """
    path = Path(path)
    settings: dict[str, Any] = {}
    origins: dict[Keys, str] = {}
    for file, layer in _layers(path, (), extends):
        for name in layer.pop("unset", []):
            _unset(settings, name, file)
        _merge(settings, layer, model_class)
        origins.update({keys: str(file) for keys in _leaves(layer)})
    typed = [parse_override(text) if isinstance(text, str) else text for text in overrides]
    # A choice of union member empties its table, so it comes before what was set inside.
    for override in sorted(typed, key=lambda o: not _chooses_member(o.keys, model_class)):
        _assign(settings, override, override.value, model_class)
        origins.update({(*override.keys, *keys): override.source for keys in _leaves(override.value)})
    return _validated(settings, typed, model_class, str(path), origins)


def parse_override(text: str) -> Override:
    """`a.b=c` with c read as a TOML value; what TOML does not understand is a plain string, and `null` is None."""
    name, equals, raw = text.partition("=")
    keys = tuple(part.strip() for part in name.split("."))
    if not equals or not all(keys):
        raise SettingsError(f"--set wants KEY=VALUE such as --set train.lr=1e-3, not {text!r}")
    raw = raw.strip()
    if raw == "null":
        return Override(keys=keys, value=None, raw=raw)
    try:
        parsed = tomllib.loads(f"value = {raw}")
    except tomllib.TOMLDecodeError:
        return Override(keys=keys, value=raw, raw=raw)
    # A line break in the text may smuggle in a second key.
    return Override(keys=keys, value=parsed["value"] if parsed.keys() == {"value"} else raw, raw=raw)


def config_hash(model: BaseModel) -> str:
    """SHA-256 hex of every setting, defaults included; the order of keys in the file does not count."""
    return content_hash(model.model_dump(mode="json"))


def to_json(model: BaseModel) -> str:
    return json.dumps(model.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n"


def write_settings(model: BaseModel, path: Path) -> str:
    """Write every setting as TOML or JSON (by the suffix) and return their hash.

    TOML has no null, so its None entries are left out; the JSON is exact.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(to_json(model) if path.suffix == ".json" else to_toml(model.model_dump(mode="json")))
    return config_hash(model)


def _layers(
    path: Path, above: tuple[Path, ...], extends: Path | None = None
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The chain of `extends`, the outermost base first; `extends` takes the place of the first base that is no grid."""
    if path.resolve() in [p.resolve() for p in above]:
        chain = " -> ".join(str(p) for p in (*above, path))
        raise SettingsError(f"extends goes round in a circle: {chain}; remove one of them")
    layer = read_layer(path, above[-1] if above else None)
    base = layer.pop("extends", None)
    if base is not None and not isinstance(base, str):
        raise SettingsError(f"{path}: extends wants the path of one file, not {base!r}")
    below = base_of(path, base) if base is not None else None
    if below is not None and (extends is None or "grid" in read_layer(below, path)):
        yield from _layers(below, (*above, path), extends)
    elif extends is not None:
        yield from _layers(extends, (*above, path))
    yield path, layer


def base_of(path: Path, base: str) -> Path:
    """Beside the file that names it, else among the studies and presets that ship with Offbook."""
    beside, shipped = path.parent / base, SHIPPED / base
    return shipped if not beside.exists() and shipped.is_file() else beside


def read_layer(path: Path, named_by: Path | None = None) -> dict[str, Any]:
    """One file as it stands, without what it extends; `named_by`: the file that names it."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SettingsError(
            f"there is no file {path}" + (f", which {named_by} extends" if named_by else "")
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read {path}: {error}") from None
    try:
        settings = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (tomllib.TOMLDecodeError, json.JSONDecodeError) as error:
        raise SettingsError(
            f"{path} is not valid {path.suffix.lstrip('.').upper() or 'TOML'}: {error}"
        ) from None
    if not isinstance(settings, dict):
        raise SettingsError(f"{path} must hold a table of settings, not a {type(settings).__name__}")
    unset = settings.get("unset", [])
    if not isinstance(unset, list) or not all(isinstance(name, str) for name in unset):
        raise SettingsError(f'{path}: unset wants a list of dotted keys such as ["generate"], not {unset!r}')
    return settings


def _unset(settings: dict[str, Any], name: str, file: Path) -> None:
    *tables, last = name.split(".")
    node: Any = settings
    for key in tables:
        node = node.get(key) if isinstance(node, dict) else None
    if not isinstance(node, dict) or last not in node:
        raise SettingsError(f"{file}: unset names {name!r}, which it does not inherit; remove it from unset")
    del node[last]


def _merge(base: dict[str, Any], layer: Mapping[str, Any], annotation: Any) -> None:
    """Tables merge key by key, everything else is replaced; so is a table that becomes another member of a union."""
    for key, value in layer.items():
        inner = step_into(annotation, key, base)
        old = base.get(key)
        if isinstance(old, dict) and isinstance(value, Mapping) and not switches_member(inner, old, value):
            _merge(old, value, inner)
        else:
            base[key] = _copy(value)


def _copy(value: Any) -> Any:
    """A copy whose tables can be changed without touching the layer they came from."""
    if isinstance(value, Mapping):
        return {key: _copy(inner) for key, inner in value.items()}
    return [_copy(inner) for inner in value] if isinstance(value, list | tuple) else value


def _assign(settings: dict[str, Any], override: Override, value: Any, annotation: Any) -> None:
    """Put one override in place; a number in the path counts into a list."""
    node: Any = settings
    *tables, last = override.keys
    for key in tables:
        annotation = step_into(annotation, key, node)
        if isinstance(node, list):
            node = node[_index(override, node, key)]
        else:
            node = node.setdefault(key, {})
        if not isinstance(node, dict | list):
            raise SettingsError(f"{override.source}: {key!r} is {node!r}, not a table")
    if isinstance(node, list):
        node[_index(override, node, last)] = value
        return
    if switches_member(annotation, node, {last: value}):
        node.clear()
    if isinstance(value, dict):
        _merge(node, {last: value}, annotation)
    else:
        node[last] = value


def _chooses_member(keys: Sequence[str], annotation: Any) -> bool:
    for key in keys[:-1]:
        annotation = step_into(annotation, key, {})
    return keys[-1] == discriminator(annotation)


def _index(override: Override, items: list, key: str) -> int:
    if key.isdigit() and int(key) < len(items):
        return int(key)
    raise SettingsError(
        f"{override.source}: {key!r} must be a number below {len(items)}, the length of the list"
    )


def _validated(
    settings: dict[str, Any],
    typed: Sequence[Override],
    model_class: type[Model],
    path: str,
    origins: Mapping[Keys, str],
) -> Model:
    try:
        return model_class.model_validate(settings)
    except ValidationError as error:
        first = error
    # `--set study=2024` is meant as text where the model wants text, though TOML reads a number.
    wanted = {tuple(str(part) for part in e["loc"]) for e in first.errors() if e["type"] == "string_type"}
    as_text = [
        o
        for o in typed
        if not isinstance(o.value, dict | list) and o.value is not None and _fits(o.keys, wanted)
    ]
    if as_text:
        for override in as_text:
            _assign(settings, override, override.raw, model_class)
        return _validated(settings, [], model_class, path, origins)
    raise describe(first, model_class, settings, path, origins) from None


def _fits(keys: Sequence[str], wanted: set[tuple[str, ...]]) -> bool:
    """Whether an error is at `keys`, whatever union tags pydantic put between them."""
    return any(loc[-1] == keys[-1] and set(keys) <= set(loc) for loc in wanted)


def _leaves(node: Any, above: Keys = ()) -> Iterator[Keys]:
    children = (
        node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else ()
    )
    yield above
    for key, value in children:
        yield from _leaves(value, (*above, key))
