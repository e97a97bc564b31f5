"""Strict YAML: fills nested frozen dataclasses and names the line of everything that does not fit.

A dataclass is a mapping, its fields are the allowed keys, their types and `option(...)` limits the allowed
values. Supported field types: bool, int, float, str, Literal of strings, Path, `X | None`, tuples of any of
these (YAML sequences), `dict[str, X]` and dataclasses. A class variable `REMOVED` maps keys of earlier versions to
what has taken their place, `RENAMED` those that are still read to their new names.
"""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from edge_agent.errors import ConfigError
from edge_agent.yaml_nodes import (
    IN_QUOTES,
    MAX_DEPTH,
    MAX_VALUES,
    TOO_MANY,
    Origin,
    check_text,
    compose,
    failure,
    items,
    shown,
)

T = TypeVar("T")


def option(
    default: Any = MISSING,
    *,
    low: float | None = None,
    high: float | None = None,
    pattern: str | None = None,
    factory: Callable[[], Any] | None = None,
    in_working_folder: bool = False,
    secret: Literal["whole", "address"] | None = None,
) -> Any:
    """Declare a configuration field.

    Args:
        default: value when the key is absent; without it (and `factory`) the key is required.
        low: smallest allowed number, inclusive.
        high: largest allowed number, inclusive.
        pattern: regular expression the whole string must match.
        factory: makes the default instead.
        in_working_folder: a relative path is one below the folder where the command runs, in place of the folder of
            the file that names it.
        secret: never shown: the value, or what in an address may be a password.
    """
    limits = {
        "low": low, "high": high, "pattern": pattern, "in_working_folder": in_working_folder, "secret": secret,
    }  # fmt: skip
    if factory is not None:
        return field(default_factory=factory, metadata=limits)
    return field(default=default, metadata=limits)


class InvalidValueError(ConfigError):
    """Raised by a schema's `__post_init__` for values that fit alone but not together.

    Args:
        problem: what is wrong and what is allowed.
        path: keys and indices from the checked dataclass to the value to blame.
    """

    def __init__(self, problem: str, *path: str | int) -> None:
        super().__init__(problem)
        self.path = path


@dataclass(frozen=True, slots=True)
class _Place:
    """What value is read, for error messages."""

    path: str = ""
    #: How many values were read; one item, which all places share.
    read: list[int] = field(default_factory=lambda: [0])
    #: Dotted path → where its value was given; all places share it.
    origins: dict[str, Origin] = field(default_factory=dict)

    def below(self, key: str) -> _Place:
        return _Place(f"{self.path}.{key}" if self.path else key, self.read, self.origins)

    def count(self, node: yaml.Node) -> None:
        """Take a value down; aliases of aliases make millions of a few lines."""
        self.read[0] += 1
        if self.read[0] > MAX_VALUES:
            raise self.fail(node, TOO_MANY)
        self.origins[self.path] = Origin.of(node)

    def fail(self, node: yaml.Node, problem: str) -> ConfigError:
        return failure(node, self.path, problem)


def loads(text: str | bytes, schema: type[T], *, name: str = "<string>") -> T:
    """Read YAML text into `schema`; see `compose` and `convert`."""
    return convert(compose(text, name), schema)[0]


def convert(node: yaml.Node, schema: type[T]) -> tuple[T, dict[str, Origin]]:
    """Return what a document says, and dotted path → where each value was given; those left out are not in it.

    Raises:
        ConfigError: it does not fit; the message names the file, the line, the key and what is allowed there.
    """
    place = _Place()
    result = _convert(node, schema, {}, place, 0)
    assert isinstance(result, schema)
    return result, place.origins


def _convert(node: yaml.Node, kind: Any, limits: typing.Mapping[str, Any], place: _Place, depth: int) -> Any:
    place.count(node)
    if depth > MAX_DEPTH:
        raise place.fail(node, "nested too deeply")
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if isinstance(node, yaml.ScalarNode) and node.tag.endswith(":null"):
            return None
        return _convert(node, next(a for a in arguments if a is not type(None)), limits, place, depth)
    if is_dataclass(kind):
        return _mapping_to_dataclass(node, kind, place, depth)
    if origin is tuple:
        return _sequence(node, arguments, limits, place, depth)
    if origin is dict:
        return {
            key: _convert(value, arguments[1], limits, place.below(key), depth + 1)
            for key, _, value in items(node, place.path)
        }
    return _scalar(node, kind, limits, place)


def _mapping_to_dataclass(node: yaml.Node, kind: Any, place: _Place, depth: int) -> Any:
    hints = typing.get_type_hints(kind)
    known = {f.name: f for f in fields(kind)}
    values: dict[str, Any] = {}
    for key, key_node, value in items(node, place.path):
        if key in getattr(kind, "REMOVED", {}):
            raise place.fail(key_node, f"{key!r} is no longer an option: {kind.REMOVED[key]}")
        key = getattr(kind, "RENAMED", {}).get(key, key)
        if key in values:
            raise place.fail(key_node, f"{key!r} is given twice, by its former name {shown(key_node)} too")
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
            hint = f"did you mean {close[0]!r}?" if close else f"allowed here: {', '.join(known)}"
            raise place.fail(key_node, f"unknown key {shown(key_node)}; {hint}")
        values[key] = _convert(value, hints[key], known[key].metadata, place.below(key), depth + 1)
    for name, declared in known.items():
        if name not in values and declared.default is MISSING and declared.default_factory is MISSING:
            raise place.fail(node, f"{name!r} is missing")
    try:
        return kind(**values)
    except InvalidValueError as error:
        for step in error.path:
            place = place.below(str(step))
            node = _child(node, step)
        raise place.fail(node, str(error)) from None


def _child(node: yaml.Node, step: str | int) -> yaml.Node:
    """Return the node at a key or index, or the parent where the value came from a default."""
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        found: yaml.Node = node.value[step]
        return found
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == step:
                chosen: yaml.Node = value
                return chosen
    return node


def _sequence(
    node: yaml.Node, arguments: tuple[Any, ...], limits: typing.Mapping[str, Any], place: _Place, depth: int
) -> tuple[Any, ...]:
    if not isinstance(node, yaml.SequenceNode):
        raise place.fail(node, "expected a list")
    if arguments[-1] is Ellipsis:
        kinds = [arguments[0]] * len(node.value)
    else:
        kinds = list(arguments)
        if len(node.value) != len(kinds):
            raise place.fail(node, f"expected {len(kinds)} values, got {len(node.value)}")
    return tuple(
        _convert(item, item_kind, limits, place.below(str(index)), depth + 1)
        for index, (item, item_kind) in enumerate(zip(node.value, kinds, strict=True))
    )


def _scalar(node: yaml.Node, kind: Any, limits: typing.Mapping[str, Any], place: _Place) -> Any:
    wanted = expected(kind, limits)
    if not isinstance(node, yaml.ScalarNode):
        quotes = f"; {IN_QUOTES}" if kind is str else ""
        raise place.fail(node, f"expected {wanted}{quotes}")
    given = "what is given" if limits.get("secret") else shown(node)
    wrong = place.fail(node, f"{given} is not {wanted}")
    tag = node.tag.rsplit(":", 1)[-1]
    if typing.get_origin(kind) is typing.Literal:
        if node.value not in typing.get_args(kind):
            raise wrong
        return node.value
    if kind is bool:
        if tag != "bool":
            raise wrong
        return node.value.lower() in ("true", "yes", "on")
    if kind in (int, float):
        number = _number(node.value, kind, limits) if tag in ("int", kind.__name__) else None
        if number is None:
            raise wrong
        return number
    if tag == "null":
        raise wrong
    check_text(node, place.path)
    pattern = limits.get("pattern")
    if pattern is not None and re.fullmatch(pattern, node.value) is None:
        raise wrong
    if kind is Path and not limits.get("in_working_folder"):
        return Path(Origin.of(node).file).absolute().parent / node.value
    return kind(node.value)


def _number(text: str, kind: Any, limits: typing.Mapping[str, Any]) -> Any:
    """Return the number; None where it is none or beyond its limits."""
    try:
        number = kind(text.replace("_", ""))
    except ValueError:
        return None
    low, high = limits.get("low"), limits.get("high")
    if number != number or (low is not None and number < low) or (high is not None and number > high):
        return None
    return number


def expected(kind: Any, limits: typing.Mapping[str, Any]) -> str:
    """Return what a value of this type and with these limits is called in an error."""
    if typing.get_origin(kind) is typing.Literal:
        return "one of " + ", ".join(str(known) for known in typing.get_args(kind))
    if kind is bool:
        return "true or false"
    if kind in (int, float):
        name = "a whole number" if kind is int else "a number"
        low, high = limits.get("low"), limits.get("high")
        if low is not None and high is not None:
            return f"{name} from {low:g} to {high:g}"
        if low is not None:
            return f"{name} of at least {low:g}"
        return name if high is None else f"{name} of at most {high:g}"
    if limits.get("pattern"):
        return f"text that matches {limits['pattern']}"
    return "a path" if kind is Path else "text"
