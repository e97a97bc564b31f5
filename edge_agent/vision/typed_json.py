"""Fills frozen dataclasses from parsed JSON, and turns them back into the same JSON.

Fields are declared as for `yaml_loader`: by their type and the limits of `option(...)`. Types are str, int, float,
Literal, `X | None` for what may be left out, tuples, `Mapping[str, X]`, dataclasses, and `Mapping[str, Any]` for JSON
that is kept as it is. A field `more` takes the keys that are not known, so that a newer file's are not lost.

A number stays what it was, 1 or 1.0, for the text may be signed.
"""

from __future__ import annotations

import functools
import math
import re
import types
import typing
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Literal, TypeVar

from edge_agent.errors import BundleError
from edge_agent.yaml_loader import expected

T = TypeVar("T")
MAX_ITEMS = 64
MAX_CHARACTERS = 500
_MAX_DEPTH = 12
_SHOWN_CHARACTERS = 60
_TEXT = f"text of 1 to {MAX_CHARACTERS} printable characters"


def unknown_keys() -> Any:
    """Declare the field `more`."""
    return field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands, for error messages."""

    file: str
    path: str = ""

    def below(self, key: str | int) -> Place:
        """Return the place of a part."""
        return Place(self.file, f"{self.path}.{key}" if self.path else str(key))

    def wrong(self, value: object, wanted: str) -> BundleError:
        """Return the error that says what stands here and what ought to."""
        shown = repr(value)
        if len(shown) > _SHOWN_CHARACTERS:
            shown = shown[:_SHOWN_CHARACTERS] + "..."
        return BundleError(f"{self.file}: {self.path or 'all of it'} is {shown}, expected {wanted}")


def fill(kind: type[T], value: object, place: Place) -> T:
    """Return a dataclass filled with what an object of JSON states.

    Raises:
        BundleError: a field is missing, or holds what it must not.
    """
    if not isinstance(value, Mapping):
        raise place.wrong(value, "an object")
    known = typed_fields(typing.cast("Hashable", kind))
    values: dict[str, Any] = {"more": {}}
    for key, part in _items(value, place):
        if key in known:
            hint, limits, _ = known[key]
            values[key] = _convert(part, hint, limits, place.below(key))
        else:
            values["more"][key] = _plain(part, place.below(key), 0)
    for name, (_, _, required) in known.items():
        if required and name not in values:
            raise BundleError(f"{place.file} does not state {place.below(name).path!r}")
    return kind(**values)


def plain(value: Any) -> Any:
    """Return dataclasses, tuples and mappings as JSON's objects and lists; what is None is left out of a dataclass."""
    if is_dataclass(value):
        stated = {f.name: getattr(value, f.name) for f in fields(value) if f.name != "more"}
        known = {name: plain(part) for name, part in stated.items() if part is not None}
        return {**known, **plain(getattr(value, "more", {}))}
    if isinstance(value, Mapping):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(part) for part in value]
    return value


@functools.cache
def typed_fields(kind: Any) -> dict[str, tuple[Any, Mapping[str, Any], bool]]:
    """Return field name → its type, its limits and whether it must be stated."""
    hints = typing.get_type_hints(kind)
    found: dict[str, tuple[Any, Mapping[str, Any], bool]] = {}
    for declared in fields(kind):
        if declared.name != "more":
            hint = hints[declared.name]
            parts = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
            [inner] = (part for part in parts if part is not types.NoneType)
            found[declared.name] = inner, declared.metadata, len(parts) == 1
    return found


def _convert(value: object, kind: Any, limits: Mapping[str, Any], place: Place) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if is_dataclass(kind):
        return fill(typing.cast("type[Any]", kind), value, place)
    if origin is tuple:
        return _sequence(value, arguments, limits, place)
    if origin is not Literal and origin is not None:
        return _mapping(value, arguments[1], limits, place)
    if not _fits(value, kind, limits):
        raise place.wrong(value, _TEXT if kind is str and not limits.get("pattern") else expected(kind, limits))
    return value


def _fits(value: object, kind: Any, limits: Mapping[str, Any]) -> bool:
    if isinstance(value, bool):
        return False
    if typing.get_origin(kind) is Literal:
        return isinstance(value, (str, int, float)) and value in typing.get_args(kind)
    if kind is str:
        return isinstance(value, str) and (
            re.fullmatch(limits["pattern"], value) is not None if limits.get("pattern") else _is_text(value)
        )
    if not isinstance(value, int if kind is int else (int, float)) or not _is_finite(value):
        return False
    low, high = limits.get("low"), limits.get("high")
    return (low is None or value >= low) and (high is None or value <= high)


def _is_text(value: str) -> bool:
    """Tell whether it can be shown in a line."""
    return 0 < len(value) <= MAX_CHARACTERS and value.isprintable()


def _is_finite(value: float) -> bool:
    return isinstance(value, int) or math.isfinite(value)


def _sequence(value: object, arguments: tuple[Any, ...], limits: Mapping[str, Any], place: Place) -> tuple[Any, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise place.wrong(value, "a list")
    any_length = arguments[-1] is Ellipsis
    if any_length and not 0 < len(value) <= MAX_ITEMS:
        raise place.wrong(value, f"a list of 1 to {MAX_ITEMS} items, not {len(value)}")
    if not any_length and len(value) != len(arguments):
        raise place.wrong(value, f"a list of {len(arguments)} items, not {len(value)}")
    kinds = [arguments[0]] * len(value) if any_length else arguments
    items = tuple(
        _convert(item, kind, limits, place.below(number))
        for number, (item, kind) in enumerate(zip(value, kinds, strict=True))
    )
    if arguments[0] is str and len(set(items)) < len(items):
        raise place.wrong(value, "each name once")
    return items


def _mapping(value: object, kind: Any, limits: Mapping[str, Any], place: Place) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise place.wrong(value, "an object")
    if kind is Any:
        kept: dict[str, Any] = _plain(value, place, 0)
        return kept
    if len(value) > MAX_ITEMS:
        raise place.wrong(value, f"an object of at most {MAX_ITEMS} keys, not {len(value)}")
    return {key: _convert(part, kind, limits, place.below(key)) for key, part in _items(value, place)}


def _items(value: Mapping[Any, object], place: Place) -> list[tuple[str, object]]:
    for key in value:
        if not isinstance(key, str) or not _is_text(key):
            raise place.below("a key").wrong(key, _TEXT)
    return list(value.items())


def _plain(value: object, place: Place, depth: int) -> Any:
    """Return JSON of any form, checked for what JSON has no word for."""
    if depth > _MAX_DEPTH:
        raise BundleError(f"{place.file}: {place.path} is nested too deeply")
    if isinstance(value, Mapping):
        return {key: _plain(part, place.below(key), depth + 1) for key, part in _items(value, place)}
    if isinstance(value, (list, tuple)):
        return [_plain(part, place.below(number), depth + 1) for number, part in enumerate(value)]
    if isinstance(value, (int, float)) and not _is_finite(value):
        raise place.wrong(value, "a finite number")
    if value is not None and not isinstance(value, (str, int, float)):
        raise place.wrong(value, "a value of JSON")
    return value
