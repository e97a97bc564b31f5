"""Strict YAML: fills nested frozen dataclasses and names the line of everything that does not fit.

A dataclass is a mapping, its fields are the allowed keys, their types and `option(...)` limits the allowed
values. Supported field types: bool, int, float, str, Literal of strings, Path, `X | None`, tuples of any of
these (YAML sequences), `dict[str, X]` and dataclasses. A class variable `REMOVED` maps keys of earlier versions to
what has taken their place, `RENAMED` those that are still read to their new names.

Every node knows its file: `config.files` merges nodes of several files before they are converted.
"""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import yaml

from edge_agent.errors import ConfigError

T = TypeVar("T")
_MAX_DEPTH = 20
#: Keys and values of all files together: twice what 100 rules, 100 zones of 12 corners and 500 staff have (9,500).
_MAX_VALUES = 20_000
_TOO_MANY = f"there are more than {_MAX_VALUES} keys and values"
#: Advice for a key that is given twice.
KEEP_ONE = "keep one of them"
#: Characters of a value, and of what is wrong with it, that stand in an error, which is one line.
_MAX_SHOWN, _MAX_PROBLEM = 100, 800
_IN_QUOTES = "put text that begins with [ in quotes"


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


class Origin(NamedTuple):
    """Where a value was given; lines count from 1."""

    file: str
    line: int

    @classmethod
    def of(cls, node: yaml.Node) -> Origin:
        """Return where a node begins."""
        return cls(str(node.start_mark.name), node.start_mark.line + 1)


def failure(node: yaml.Node, path: str, problem: str) -> ConfigError:
    """Return the error about a node, with its file and line and the dotted path of the value."""
    file, line = Origin.of(node)
    path, problem = _short(path), _brief(problem)
    return ConfigError(f"{file}:{line}: {path}: {problem}" if path else f"{file}:{line}: {problem}")


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
        if self.read[0] > _MAX_VALUES:
            raise self.fail(node, _TOO_MANY)
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


@dataclass(slots=True)
class Room:
    """How many keys and values may still be read; files that are read together share it."""

    left: int = _MAX_VALUES


class _Loader(yaml.SafeLoader):
    """Stops at what no configuration has; PyYAML's time grows with the number of values, and much with their depth."""

    def __init__(self, text: str, name: str, room: Room) -> None:
        super().__init__(text)
        self.name, self._room, self._depth = name, room, 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        line = self.peek_event().start_mark.line + 1  # type: ignore[no-untyped-call]
        self._count(line)
        if self._depth >= _MAX_DEPTH:
            raise ConfigError(f"{self.name}:{line}: nested too deeply")
        self._depth += 1
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def scan_directive(self) -> yaml.DirectiveToken:
        self._count(self.line + 1)
        return super().scan_directive()

    def _count(self, line: int) -> None:
        self._room.left -= 1
        if self._room.left < 0:
            raise ConfigError(f"{self.name}:{line}: {_TOO_MANY}")


def compose(text: str | bytes, name: str, room: Room | None = None) -> yaml.Node:
    """Return the nodes of a document of YAML, which know that they stand in the file `name`.

    Raises:
        ConfigError: it is not YAML, or larger or deeper than what is read; the message names the line.
    """
    try:
        decoded = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        loader = _Loader(decoded, name, room or Room())
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        problem = error.problem or error.context or ""
        hint = _hint(decoded.splitlines(), line, problem)
        raise ConfigError(f"{name}:{line}: not valid YAML: {problem}{hint}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{name}: not valid YAML: {str(error).splitlines()[0]}") from None
    if node is None:
        start = yaml.Mark(name, 0, 0, 0, "", 0)
        return yaml.MappingNode("tag:yaml.org,2002:map", [], start, start)
    return node


def _hint(lines: list[str], number: int, problem: str) -> str:
    """Return what may be wrong in a line, counted from 1, that is not YAML."""
    line = lines[number - 1] if number <= len(lines) else ""
    if "[" in line:  # as in `host: [::1]`
        return f"; {_IN_QUOTES}"
    if "<block end>" not in problem and "mapping values" not in problem:
        return ""
    before = [text for text in lines[: number - 1] if text.strip() and not text.lstrip().startswith("#")]
    if before and line.startswith(" ") and (section := re.match(r"([a-z_]+): *\{.*\}", before[-1])):
        at = len(lines) - lines[::-1].index(before[-1], len(lines) - number + 1)
        return f"; `{section[1]}: {{…}}` in line {at} is complete: take away the indented lines below it"
    return "; is it, or the line before it, indented as the neighbours are?"


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
            for key, _, value in items(node, place.path)
        }
    return _scalar(node, kind, limits, place)


def items(node: yaml.Node, path: str, *, twice: str = KEEP_ONE) -> list[tuple[str, yaml.Node, yaml.Node]]:
    """Return key, its node and its value's for each item of a mapping.

    Args:
        path: dotted, of the mapping, for the message.
        twice: advice for a key that is given twice.

    Raises:
        ConfigError: it is no mapping, or a key is no word or given twice.
    """
    if not isinstance(node, yaml.MappingNode):
        raise failure(node, path, "expected a mapping of key: value")
    found: list[tuple[str, yaml.Node, yaml.Node]] = []
    known: dict[str, int] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise failure(key, path, "keys must be plain words")
        if key.tag.endswith(":merge"):
            raise failure(key, path, "merge keys are not read; write out what they stand for")
        _check_text(key, path)
        line = Origin.of(key).line
        if key.value in known:
            given = f"{shown(key)} is given in line {known[key.value]} and again in line {line}"
            raise failure(key, path, f"{given}; {twice}")
        known[key.value] = line
        found.append((key.value, key, value))
    return found


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
        quotes = f"; {_IN_QUOTES}" if kind is str else ""
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
    _check_text(node, place.path)
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


def _check_text(node: yaml.ScalarNode, path: str) -> None:
    """Refuse what no file may be called and no message may hold: NUL, and half of a surrogate pair."""
    if any(sign == "\0" or "\ud800" <= sign <= "\udfff" for sign in node.value):
        raise failure(node, path, f"{shown(node)} holds a sign that no text may hold")


def shown(node: yaml.Node) -> str:
    """Return what stands there, as much of it as an error has room for."""
    if isinstance(node, yaml.ScalarNode):
        return _short(repr(node.value))
    return "a sequence" if isinstance(node, yaml.SequenceNode) else "a mapping"


def _short(text: str) -> str:
    short = text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"
    return "".join(sign if sign.isprintable() else "?" for sign in short)


def _brief(problem: str) -> str:
    """Leave out of what is wrong most of values that are quoted in it, so that the advice is not lost behind them."""
    words = re.sub(rf"(\S{{{_MAX_SHOWN}}})\S+", r"\1…", problem)
    half = _MAX_PROBLEM // 2
    return words if len(words) <= _MAX_PROBLEM else f"{words[:half]} … {words[-half:]}"


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
