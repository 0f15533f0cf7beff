"""Reads pydantic classes: which keys there are, and where a step along a dotted path leads."""

from collections.abc import Iterator, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel


def members(annotation: Any) -> tuple[Any, ...]:
    """The types that an annotation allows, without None and without `Annotated`."""
    if get_origin(annotation) is Annotated:
        return members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return tuple(m for arg in get_args(annotation) if arg is not NoneType for m in members(arg))
    return (annotation,)


def models(annotation: Any) -> tuple[type[BaseModel], ...]:
    return tuple(m for m in members(annotation) if isinstance(m, type) and issubclass(m, BaseModel))


def tags(model: type[BaseModel]) -> dict[str, tuple[Any, ...]]:
    """Its fields that are literals of one or more fixed values, such as `kind: Literal["vllm"]`."""
    return {
        name: get_args(field.annotation)
        for name, field in model.model_fields.items()
        if get_origin(field.annotation) is Literal
    }


def discriminator(annotation: Any) -> str | None:
    """The key whose value says which member of a union of models it is; None where there is no such key."""
    candidates = models(annotation)
    if len(candidates) < 2:
        return None
    shared = [name for name in tags(candidates[0]) if all(name in tags(m) for m in candidates)]
    return shared[0] if shared else None


def member_for(annotation: Any, values: Any) -> type[BaseModel] | None:
    """The model that a table of settings is meant for."""
    candidates = models(annotation)
    key = discriminator(annotation)
    if key is None or not isinstance(values, Mapping):
        return candidates[0] if candidates else None
    return next((m for m in candidates if values.get(key) in tags(m)[key]), None)


def member_named(annotation: Any, name: Any) -> type[BaseModel] | None:
    """The member that pydantic calls `name` in an error's place: a tag's value or the class's name."""
    key = discriminator(annotation)
    for model in models(annotation):
        if name == model.__name__ or (key is not None and name in tags(model)[key]):
            return model
    return None


def switches_member(annotation: Any, old: Any, new: Any) -> bool:
    """Whether `new` turns a table into another member of its union, whose keys the old ones would not fit."""
    key = discriminator(annotation)
    return (
        key is not None
        and isinstance(old, Mapping)
        and isinstance(new, Mapping)
        and key in new
        and old.get(key, new[key]) != new[key]
    )


def step_into(annotation: Any, key: str | int, values: Any) -> Any:
    """The annotation of `values[key]`; `Any` where the schema does not say."""
    model = member_for(annotation, values)
    if model is not None:
        field = model.model_fields.get(str(key))
        return field.annotation if field else Any
    return item_type(annotation)


def item_type(annotation: Any) -> Any:
    """What a list, a tuple or a dictionary holds."""
    for member in members(annotation):
        arguments = [arg for arg in get_args(member) if arg is not ...]
        if get_origin(member) in (list, tuple, set, frozenset, dict) and arguments:
            return arguments[-1]
    return Any


def known_keys(annotation: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every key path of a model, through all members of its unions."""
    for model in models(annotation):
        for name, field in model.model_fields.items():
            path = (*above, name)
            yield path
            # A model that nests itself has no end.
            if len(path) < 8:
                yield from known_keys(field.annotation, path)
