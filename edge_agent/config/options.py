"""What is known of an option by its dotted name: type, limits, default and its comment in config.yaml."""

from __future__ import annotations

import difflib
import functools
import re
import types
import typing
from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from edge_agent.config import Config
from edge_agent.errors import ConfigError
from edge_agent.yaml_loader import expected

#: The configuration that ships: every option with its default and a comment.
SHIPPED = Path(__file__).with_name("config.yaml")


@dataclass(frozen=True, slots=True)
class Option:
    """An option.

    Attributes:
        name: dotted, without the numbers of lists: `mqtt.host`, `rules.dwell_s`.
        kind: its type as declared, e.g. `int`, `Path | None`.
        wants: what a value must be, in words.
        default: None, too, where it must be given.
        required: it must be given.
        comment: of config.yaml, in one line; empty where there is none.
    """

    name: str
    kind: Any
    wants: str
    default: Any
    required: bool
    comment: str


def describe(name: str) -> Option:
    """Return what is known of an option; numbers of lists are left out, `rules.0.dwell_s` is `rules.dwell_s`.

    Raises:
        ConfigError: there is no such option.
    """
    plain = ".".join(step for step in name.split(".") if not step.isdecimal())
    known = all_options()
    if plain not in known:
        close = difflib.get_close_matches(plain, known, n=1, cutoff=0.6)
        hint = f"did you mean {close[0]!r}?" if close else "config.yaml has them all"
        raise ConfigError(f"there is no option {name!r}; {hint}")
    return known[plain]


@functools.cache
def all_options() -> dict[str, Option]:
    """Return dotted name → option, in the order of the code."""
    found = comments(SHIPPED)
    return {name: _option(name, hint, one, found.get(name, "")) for name, hint, one in _fields(Config, "")}


def _fields(kind: Any, path: str) -> Iterator[tuple[str, Any, Field[Any]]]:
    hints = typing.get_type_hints(kind)
    for one in fields(kind):
        name, hint = f"{path}{one.name}", hints[one.name]
        inner = plain_type(hint)
        if not is_dataclass(inner) or typing.get_origin(hint) is tuple:
            yield name, hint, one
        if is_dataclass(inner):
            yield from _fields(inner, f"{name}.")


def _option(name: str, hint: Any, one: Field[Any], comment: str) -> Option:
    required = one.default is MISSING and one.default_factory is MISSING
    default = one.default_factory() if one.default_factory is not MISSING else None if required else one.default
    origin = typing.get_origin(hint)
    if origin is tuple:
        wants = "a list"
    elif origin is dict:
        wants = "a mapping"
    else:
        wants = expected(plain_type(hint), one.metadata)
    if origin in (typing.Union, types.UnionType):
        wants += ", or null"
    return Option(name, hint, wants, default, required, comment)


def plain_type(hint: Any) -> Any:
    """Return the type inside `X | None` and `tuple[X, ...]`."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return next(a for a in typing.get_args(hint) if a is not type(None))
    if typing.get_origin(hint) is tuple:
        return typing.get_args(hint)[0]
    return hint


def comments(path: Path) -> dict[str, str]:
    """Return dotted key → its comment in a file, continuation lines joined; of examples, `# - key:`, too."""
    found: dict[str, str] = {}
    stack: list[tuple[int, str]] = []
    last = ""
    for shown in path.read_text(encoding="utf-8").splitlines():
        line = re.sub(r"^#(?= +(?:- )?[a-z_]+: )", " ", shown)
        if match := re.match(r"^( *)(?:- )?([a-z_]+):(.*)$", line):
            depth = len(line) - len(line.lstrip(" -"))
            stack = [entry for entry in stack if entry[0] < depth] + [(depth, match[2])]
            last = ".".join(name for _, name in stack)
            comment = re.search(r"(?:^|\s)# ?(.*)$", match[3])
            found[last] = comment[1].strip() if comment else ""
        elif last and (match := re.match(r"^#?\s+# ?(.*)$", line)):
            found[last] = f"{found[last]} {match[1].strip()}".strip()
        elif not line.strip():
            last = ""
    return found
