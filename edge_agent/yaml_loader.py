"""Strict YAML: fills nested frozen dataclasses and names the line of everything that does not fit.

A dataclass is a mapping, its fields are the allowed keys, their types and `option(...)` limits the allowed
values. Supported field types: bool, int, float, str, Literal of strings, Path, `X | None`, tuples of any of
these (YAML sequences), `dict[str, X]` and dataclasses. A class variable `REMOVED` maps keys of earlier versions to
what has taken their place, `RENAMED` those that are still read to their new names.

A file may build on another, named by its key `profile`: what it leaves out, the profile says; lists are taken whole.
"""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from edge_agent.errors import ConfigError

T = TypeVar("T")
MAX_BYTES = 256 * 1024
_MAX_DEPTH = 20
_MAX_VALUES = 50_000
#: Of a value, so much stands in an error, which is one line.
_MAX_SHOWN = 100
_IN_QUOTES = "put text that begins with [ in quotes"


def option(
    default: Any = MISSING,
    *,
    low: float | None = None,
    high: float | None = None,
    pattern: str | None = None,
    factory: Callable[[], Any] | None = None,
) -> Any:
    """Declare a configuration field.

    Args:
        default: value when the key is absent; without it (and `factory`) the key is required.
        low: smallest allowed number, inclusive.
        high: largest allowed number, inclusive.
        pattern: regular expression the whole string must match.
        factory: makes the default instead.
    """
    limits = {"low": low, "high": high, "pattern": pattern}
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
    """Where a value stands, for error messages."""

    file: str
    path: str
    #: How many values were read; one item, which all places of a file share.
    read: list[int] = field(default_factory=lambda: [0])

    def below(self, key: str) -> _Place:
        return _Place(self.file, f"{self.path}.{key}" if self.path else key, self.read)

    def count(self, node: yaml.Node) -> None:
        """Take a value down; aliases of aliases make millions of a few lines."""
        self.read[0] += 1
        if self.read[0] > _MAX_VALUES:
            raise self.fail(node, f"there are more than {_MAX_VALUES} values")

    def fail(self, node: yaml.Node, problem: str) -> ConfigError:
        where = f"{_short(self.path)}: " if self.path else ""
        return ConfigError(f"{self.file}:{node.start_mark.line + 1}: {where}{problem}")


def load(path: Path, schema: type[T], *, profiles: Path | None = None) -> T:
    """Read a YAML file into `schema`.

    Args:
        profiles: folder of the files that the key `profile` may name.

    Raises:
        ConfigError: the file is missing, too large, not YAML, or does not fit; the message names the line,
            the key and what is allowed there.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}; name a file with --config") from None
    if len(raw) > MAX_BYTES:
        raise ConfigError(f"{path} is larger than {MAX_BYTES // 1024} KiB; this cannot be a configuration")
    return loads(raw, schema, name=str(path), profiles=profiles)


def loads(text: str | bytes, schema: type[T], *, name: str = "<string>", profiles: Path | None = None) -> T:
    """Read YAML text into `schema`; see `load`."""
    node = _compose(text, name)
    if profiles is not None:
        _build_on_profile(node, profiles, _Place(name, ""))
    result = _convert(node, schema, {}, _Place(name, ""), 0)
    assert isinstance(result, schema)
    return result


def _compose(text: str | bytes, name: str) -> yaml.Node:
    try:
        decoded = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        node = yaml.compose(decoded, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        # As in `host: [::1]`.
        quotes = f"; {_IN_QUOTES}" if "[" in "".join(decoded.splitlines()[line - 1 : line]) else ""
        raise ConfigError(f"{name}:{line}: not valid YAML: {error.problem or error.context}{quotes}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{name}: not valid YAML: {str(error).splitlines()[0]}") from None
    except RecursionError:
        raise ConfigError(f"{name}: nested too deeply") from None
    return yaml.MappingNode("tag:yaml.org,2002:map", [], _START, _START) if node is None else node


def _build_on_profile(node: yaml.Node, profiles: Path, place: _Place) -> None:
    """Add what the named profile says and the file does not."""
    for key, _, value in _items(node, place):
        if key == "profile" and not value.tag.endswith(":null"):
            known = sorted(path.stem for path in profiles.glob("*.yaml"))
            if not isinstance(value, yaml.ScalarNode) or value.value not in known:
                raise place.below(key).fail(value, f"{_shown(value)} is not one of {', '.join(known)}")
            path = profiles / f"{value.value}.yaml"
            _merge(node, _compose(path.read_bytes(), str(path)))


def _merge(node: yaml.Node, base: yaml.Node) -> None:
    """Add to a mapping what its base has and it lacks, and so below."""
    given = {key.value: value for key, value in node.value if isinstance(key, yaml.ScalarNode)}
    for key, value in base.value:
        if key.value not in given:
            node.value.append((key, value))
        elif isinstance(value, yaml.MappingNode) and isinstance(given[key.value], yaml.MappingNode):
            _merge(given[key.value], value)


_START = yaml.Mark("", 0, 0, 0, "", 0)


def _convert(node: yaml.Node, kind: Any, limits: typing.Mapping[str, Any], place: _Place, depth: int) -> Any:
    place.count(node)
    if depth > _MAX_DEPTH:
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
            for key, _, value in _items(node, place)
        }
    return _scalar(node, kind, limits, place)


def _items(node: yaml.Node, place: _Place) -> list[tuple[str, yaml.Node, yaml.Node]]:
    if not isinstance(node, yaml.MappingNode):
        raise place.fail(node, "expected a mapping of key: value")
    items: list[tuple[str, yaml.Node, yaml.Node]] = []
    known: set[str] = set()
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise place.fail(key, "keys must be plain words")
        if key.tag.endswith(":merge"):
            raise place.fail(key, "merge keys are not read; write out what they stand for")
        _check_text(key, place)
        if key.value in known:
            raise place.fail(key, f"{_shown(key)} is given twice")
        known.add(key.value)
        items.append((key.value, key, value))
    return items


def _mapping_to_dataclass(node: yaml.Node, kind: Any, place: _Place, depth: int) -> Any:
    hints = typing.get_type_hints(kind)
    known = {f.name: f for f in fields(kind)}
    values: dict[str, Any] = {}
    for key, key_node, value in _items(node, place):
        if key in getattr(kind, "REMOVED", {}):
            raise place.fail(key_node, f"{key!r} is no longer an option: {kind.REMOVED[key]}")
        key = getattr(kind, "RENAMED", {}).get(key, key)
        if key in values:
            raise place.fail(key_node, f"{key!r} is given twice, by its former name {_shown(key_node)} too")
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
            hint = f"did you mean {close[0]!r}?" if close else f"allowed here: {', '.join(known)}"
            raise place.fail(key_node, f"unknown key {_shown(key_node)}; {hint}")
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
        quotes = f"; {_IN_QUOTES}" if kind is str else ""
        raise place.fail(node, f"expected {wanted}{quotes}")
    wrong = place.fail(node, f"{_shown(node)} is not {wanted}")
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
        if tag not in (("int",) if kind is int else ("int", "float")):
            raise wrong
        try:
            number = kind(node.value.replace("_", ""))
        except ValueError:
            raise wrong from None
        low, high = limits.get("low"), limits.get("high")
        if number != number or (low is not None and number < low) or (high is not None and number > high):
            raise wrong
        return number
    if tag == "null":
        raise wrong
    _check_text(node, place)
    pattern = limits.get("pattern")
    if pattern is not None and re.fullmatch(pattern, node.value) is None:
        raise wrong
    return kind(node.value)


def _check_text(node: yaml.Node, place: _Place) -> None:
    """Refuse what no file may be called and no message may hold: NUL, and half of a surrogate pair."""
    if any(sign == "\0" or "\ud800" <= sign <= "\udfff" for sign in node.value):
        raise place.fail(node, f"{_shown(node)} holds a sign that no text may hold")


def _shown(node: yaml.Node) -> str:
    """Return what stands there, as much of it as an error has room for."""
    if isinstance(node, yaml.ScalarNode):
        return _short(repr(node.value))
    return "a sequence" if isinstance(node, yaml.SequenceNode) else "a mapping"


def _short(text: str) -> str:
    short = text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"
    return "".join(sign if sign.isprintable() else "?" for sign in short)


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
