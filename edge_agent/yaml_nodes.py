"""Bounded YAML: text becomes nodes that know their file and line, and errors name both.

`config.files` merges nodes of several files; `yaml_loader` turns them into values.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, NamedTuple

import yaml

from edge_agent.errors import ConfigError

MAX_DEPTH = 20
#: Keys and values of all files together: twice what 100 rules, 100 zones of 12 corners and 500 staff have (9,500).
MAX_VALUES = 20_000
TOO_MANY = f"there are more than {MAX_VALUES} keys and values"
#: Advice for a key that is given twice.
KEEP_ONE = "keep one of them"
#: Characters of a value, and of what is wrong with it, that stand in an error, which is one line.
_MAX_SHOWN, _MAX_PROBLEM = 100, 800
IN_QUOTES = "put text that begins with [ in quotes"


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


@dataclass(slots=True)
class Room:
    """How many keys and values may still be read; files that are read together share it."""

    left: int = MAX_VALUES


class _Loader(yaml.SafeLoader):
    """Stops at what no configuration has; PyYAML's time grows with the number of values, and much with their depth."""

    def __init__(self, text: str, name: str, room: Room) -> None:
        super().__init__(text)
        self.name, self._room, self._depth = name, room, 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        line = self.peek_event().start_mark.line + 1  # type: ignore[no-untyped-call]
        self._count(line)
        if self._depth >= MAX_DEPTH:
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
            raise ConfigError(f"{self.name}:{line}: {TOO_MANY}")


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
        return f"; {IN_QUOTES}"
    if "<block end>" not in problem and "mapping values" not in problem:
        return ""
    before = [text for text in lines[: number - 1] if text.strip() and not text.lstrip().startswith("#")]
    if before and line.startswith(" ") and (section := re.match(r"([a-z_]+): *\{.*\}", before[-1])):
        at = len(lines) - lines[::-1].index(before[-1], len(lines) - number + 1)
        return f"; `{section[1]}: {{…}}` in line {at} is complete: take away the indented lines below it"
    return "; is it, or the line before it, indented as the neighbours are?"


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
        check_text(key, path)
        line = Origin.of(key).line
        if key.value in known:
            given = f"{shown(key)} is given in line {known[key.value]} and again in line {line}"
            raise failure(key, path, f"{given}; {twice}")
        known[key.value] = line
        found.append((key.value, key, value))
    return found


def check_text(node: yaml.ScalarNode, path: str) -> None:
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
