"""What a configuration says in the end, and which file said it: as YAML that can be read again, or by dotted names.

Secrets are left out: of addresses what may be a password, of staff the hashes of PINs. A file with such a hole in the
place of a hash is refused when it is read: without the hash anybody could begin a shift under that name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from edge_agent.camera.address import shown
from edge_agent.config import PROFILES, Config, Loaded

_COMMENT_COLUMN = 44
_NOT_SHOWN = "(not shown)"


@dataclass(frozen=True, slots=True)
class Row:
    """One line: an option, or what options are below.

    Attributes:
        path: dotted, with the numbers of lists.
        key: as YAML has it, indented.
        value: in plain types; None too where others are below.
        leaf: there are none below.
        origin: `default`, `profile NAME`, or file and line.
        hidden: the value is a secret, or what may be one was left out of it.
    """

    path: str
    key: str
    value: Any = None
    leaf: bool = False
    origin: str = ""
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class InForce:
    """A configuration as it is in force.

    Args:
        path: of the file; origins in its folder are named from there.
        changed: leave out what is the default.
    """

    loaded: Loaded[Config]
    path: Path
    changed: bool = False
    #: Dotted path → origin, of what the command line said.
    told: dict[str, str] = field(default_factory=dict)

    def rows(self, name: str = "") -> list[Row]:
        """Return all lines, or those of an option or a section, with those it is below; none where there is none."""
        found = list(self._mapping(self.loaded.config, Config(), "", ""))
        if not name:
            return found
        if not any(f"{row.path}.".startswith(f"{name}.") for row in found):
            return []
        return [row for row in found if f"{row.path}.".startswith(f"{name}.") or f"{name}.".startswith(f"{row.path}.")]

    def _mapping(self, value: Any, default: Any, path: str, indent: str) -> Iterator[Row]:
        for one in fields(value):
            given = getattr(value, one.name)
            usual = getattr(default, one.name) if default is not None else _default(one)
            if not self.changed or given != usual:
                yield from self._value(given, usual, one.metadata, f"{path}{one.name}", f"{indent}{one.name}")

    def _value(self, given: Any, usual: Any, metadata: Any, path: str, key: str) -> Iterator[Row]:
        indent = " " * (len(key) - len(key.lstrip(" -")) + 2)
        if is_dataclass(given):
            yield Row(path, key)
            yield from self._mapping(given, usual, f"{path}.", indent)
        elif isinstance(given, tuple) and given and is_dataclass(given[0]):
            yield Row(path, key, origin=self._origin(path))
            for index, item in enumerate(given):
                first, *others = self._mapping(item, None, f"{path}.{index}.", f"{indent}  ")
                yield replace(first, key=f"{indent}- {first.key.lstrip()}")
                yield from others
        elif isinstance(given, dict) and given:
            yield Row(path, key, origin=self._origin(path))
            for name, part in given.items():
                yield from self._value(part, None, metadata, f"{path}.{name}", f"{indent}{name}")
        else:
            plain = _plain(given)
            safe = _without_secret(plain, metadata.get("secret"))
            yield Row(path, key, safe, leaf=True, origin=self._origin(path), hidden=safe != plain)

    def _origin(self, path: str) -> str:
        if path in self.told:
            return self.told[path]
        if path not in self.loaded.origins:
            return "default"
        file, line = self.loaded.origins[path]
        if Path(file).parent == PROFILES:
            return f"profile {Path(file).stem}"
        name = Path(file)
        return f"{name.relative_to(self.path.parent) if name.is_relative_to(self.path.parent) else name}:{line}"


def as_yaml(rows: list[Row]) -> str:
    """Return YAML in which every value has a comment that says where it is from."""
    lines = []
    for row in rows:
        text = f"{row.key}:" if not row.leaf else f"{row.key}: {scalar(row.value)}"
        hidden = "a secret is not shown; " if row.hidden else ""
        lines.append(f"{text:<{_COMMENT_COLUMN}} # {hidden}from {row.origin}" if row.origin else text)
    return "\n".join(lines) or "# nothing differs from the defaults"


def as_values(rows: list[Row]) -> dict[str, dict[str, Any]]:
    """Return dotted name → its value and where that is from."""
    return {row.path: {"value": row.value, "from": row.origin} for row in rows if row.leaf}


def scalar(value: Any) -> str:
    """Return a value as YAML in one line."""
    text = yaml.safe_dump(value, default_flow_style=True, width=float("inf"), allow_unicode=True, sort_keys=False)
    text = text.removesuffix("...\n").rstrip("\n")
    return json.dumps(value) if "\n" in text else text


def _default(one: Any) -> Any:
    return one.default_factory() if one.default_factory is not MISSING else one.default


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    return str(value) if isinstance(value, Path) else value


def _without_secret(value: Any, secret: str | None) -> Any:
    if value is None or secret is None:
        return value
    return _NOT_SHOWN if secret == "whole" else shown(value)
