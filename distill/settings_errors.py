"""Turns pydantic's errors into messages that name the dotted key, where it was set, and the nearest known key."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError

from distill.settings_schema import discriminator, item_type, known_keys, member_named, models, tags

Keys = tuple[str | int, ...]


class SettingsError(ValueError):
    """A settings file or an override cannot be used; the message names the key and what to do."""


def describe(
    error: ValidationError,
    model_class: type[BaseModel],
    settings: Any,
    path: str,
    origins: Mapping[Keys, str],
) -> SettingsError:
    """One line for one problem; several problems are listed below each other."""
    lines = [
        _line(problem, model_class, settings, path, origins) for problem in error.errors(include_url=False)
    ]
    lines = list(dict.fromkeys(lines))
    if len(lines) == 1:
        return SettingsError(lines[0])
    return SettingsError(f"{path} has {len(lines)} problems:\n  " + "\n  ".join(lines))


def _line(
    problem: Any, model_class: type[BaseModel], settings: Any, path: str, origins: Mapping[Keys, str]
) -> str:
    keys, owner = _place(problem["loc"], model_class)
    name = ".".join(str(key) for key in keys)
    where = _origin(keys, origins) or path
    value = problem.get("input")
    match problem["type"]:
        case "extra_forbidden":
            return f"{where}: unknown key {name!r}{_nearest_key(keys, owner, model_class)}"
        case "missing":
            return f"{where}: {name!r} is missing; it has no default"
        case "union_tag_not_found":
            key, known = problem["ctx"]["discriminator"].strip("'"), _known_tags(model_class, keys)
            return f"{where}: {name}.{key} is missing; one of {', '.join(known)}"
        case "union_tag_invalid":
            key, tag = problem["ctx"]["discriminator"].strip("'"), problem["ctx"]["tag"]
            known = _known_tags(model_class, keys)
            where = origins.get((*keys, key), where)
            return f"{where}: {name}.{key} = {tag!r} is not known; one of {', '.join(known)}{_did_you_mean(tag, known)}"
        case "literal_error":
            known = [
                part.strip().strip("'")
                for part in problem["ctx"]["expected"].replace(" or ", ", ").split(",")
            ]
            return f"{where}: {name} = {value!r} is not known; one of {', '.join(known)}{_did_you_mean(value, known)}"
        case "value_error":
            place = f"{name}: " if name else ""
            return f"{where}: {place}{problem['msg'].removeprefix('Value error, ')}"
        case _:
            text = problem["msg"][:1].lower() + problem["msg"][1:]
            return f"{where}: {name} = {_short(value)}: {text}"


def _place(loc: Iterable[str | int], model_class: type[BaseModel]) -> tuple[Keys, Any]:
    """The key path of an error, without the union tags that pydantic puts into it, and the model that holds its last key."""
    keys: list[str | int] = []
    annotation: Any = model_class
    owner: Any = model_class
    for part in loc:
        candidates = models(annotation)
        if len(candidates) > 1:
            annotation = member_named(annotation, part) or annotation
        elif candidates and candidates[0].__name__ != part:
            owner = candidates[0]
            keys.append(part)
            field = owner.model_fields.get(part)
            annotation = field.annotation if field else Any
        elif item_type(annotation) is not Any and (isinstance(part, int) or part != "[key]"):
            keys.append(part)
            annotation = item_type(annotation)
        # What is left names a branch of a union of plain types, such as "int": not a key.
    return tuple(keys), owner


def _origin(keys: Keys, origins: Mapping[Keys, str]) -> str | None:
    """Where the key was set: itself, something inside it, or the nearest table around it."""
    # Overrides know a list's items by text, files by number.
    by_text = {tuple(str(part) for part in known): source for known, source in origins.items() if known}
    wanted = tuple(str(part) for part in keys)
    if wanted and wanted not in by_text:
        inside = [source for known, source in by_text.items() if known[: len(wanted)] == wanted]
        if inside:
            return inside[0]
    return next((by_text[wanted[:n]] for n in range(len(wanted), 0, -1) if wanted[:n] in by_text), None)


def _nearest_key(keys: Keys, owner: Any, model_class: type[BaseModel]) -> str:
    """What the writer may have meant: a neighbour, the same key in another kind of table, or a key elsewhere."""
    last = str(keys[-1])
    near = get_close_matches(last, list(owner.model_fields), n=1, cutoff=0.6)
    if near:
        return f"; did you mean {'.'.join([*map(str, keys[:-1]), near[0]])!r}?"
    path = tuple(str(key) for key in keys if not isinstance(key, int))
    everywhere = list(dict.fromkeys(known_keys(model_class)))
    if path in everywhere:
        return f"; {_tag_of(owner)} has no such key, its keys are {', '.join(owner.model_fields)}"
    same = [known for known in everywhere if known[-1] == last]
    if not same:
        close = get_close_matches(last, [known[-1] for known in everywhere], n=1, cutoff=0.75)
        same = [known for known in everywhere if close and known[-1] == close[0]]
    if same:
        return f"; did you mean {'.'.join(same[0])!r}?"
    return f"; the keys here are {', '.join(owner.model_fields)}"


def _tag_of(model: Any) -> str:
    for name, values in tags(model).items():
        if len(values) == 1:
            return f"{name} = {values[0]!r}"
    return model.__name__


def _known_tags(model_class: type[BaseModel], keys: Keys) -> list[str]:
    annotation: Any = model_class
    for key in keys:
        owner = models(annotation)
        annotation = owner[0].model_fields[str(key)].annotation if owner else item_type(annotation)
    tag = discriminator(annotation)
    return [str(value) for model in models(annotation) for value in (tags(model)[tag] if tag else ())]


def _did_you_mean(value: Any, known: Iterable[str]) -> str:
    near = get_close_matches(str(value), list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
