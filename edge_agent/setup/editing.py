"""Changes single options of a YAML text; comments, order and all other lines stay as they are.

ruamel.yaml changes the document. What it would merely format in another way is taken from the text as it was.
"""

from __future__ import annotations

import difflib
import io
import itertools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.representer import RoundTripRepresenter
from ruamel.yaml.scalarstring import DoubleQuotedScalarString
from ruamel.yaml.util import load_yaml_guess_indent

_NEVER_FOLD = 1_000_000
#: libyaml's, where PyYAML has it.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
Steps = Sequence[str | int]


class _Representer(RoundTripRepresenter):
    """Writes `null` as a word, as config.yaml does."""


_Representer.add_representer(
    type(None), lambda representer, _: representer.represent_scalar("tag:yaml.org,2002:null", "null")
)


def edited(text: str, steps: Steps, value: Any, *, lists: Mapping[str, Any]) -> str:
    """Return a document with one option changed, and what leads to it added where it is missing.

    Args:
        steps: keys, and numbers of lists, that lead to the option: `mqtt`, `host`.
        value: in plain types.
        lists: name of a top-level list → all of it in plain types, to be written where the text lacks it, because
            lists replace each other as a whole.
    """
    ends = "\r\n" if "\r\n" in text else "\n"
    before = text.replace("\r\n", "\n")
    parser, document = _parsed(before)
    if document is None:  # nothing but comments, which have nothing to belong to
        return text.rstrip() + ends * 2 * bool(text.strip()) + _dumped(_under(steps, value, lists)).replace("\n", ends)
    unchanged = _dumped(document, parser)
    _set(document, steps, value, lists)
    changed = _dumped(document, parser)
    after = _with_lost_comments(before, _only_changed(before, unchanged, changed), steps)
    return after.replace("\n", ends)


def _parsed(text: str) -> tuple[YAML, Any]:
    _, sequence, offset = load_yaml_guess_indent(text)
    indented = re.search(r"^( +)[\w-]+:", text, re.MULTILINE)
    mapping = len(indented[1]) if indented else 2
    if offset is None:  # no list in it
        sequence, offset = mapping + 2, mapping
    parser = YAML()
    parser.Representer = _Representer
    parser.preserve_quotes = True
    parser.width = _NEVER_FOLD
    parser.indent(mapping=mapping, sequence=sequence, offset=offset)
    return parser, parser.load(text)


def _dumped(document: Any, parser: YAML | None = None) -> str:
    stream = io.StringIO()
    (parser or _parsed("{}")[0]).dump(document, stream)
    return stream.getvalue()


def _set(document: Any, steps: Steps, value: Any, lists: Mapping[str, Any]) -> None:
    part = document
    for step, after in itertools.pairwise(steps):
        if isinstance(step, str) and part.get(step) is None:
            whole = lists[str(step)] if isinstance(after, int) else None
            part[step] = CommentedMap() if whole is None else _in_a_block(whole)
        part = part[step]
    part[steps[-1]] = _node(value)


def _under(steps: Steps, value: Any, lists: Mapping[str, Any]) -> CommentedMap:
    document = CommentedMap()
    _set(document, steps, value, lists)
    return document


def _in_a_block(items: Sequence[Any]) -> CommentedSeq:
    return CommentedSeq([CommentedMap({key: _node(value) for key, value in item.items()}) for item in items])


def _node(value: Any) -> Any:
    """Return a value as it is to be written: lists and mappings on one line, words in quotes where YAML asks for it."""
    if isinstance(value, Mapping):
        mapping = CommentedMap({key: _node(one) for key, one in value.items()})
        mapping.fa.set_flow_style()
        return mapping
    if isinstance(value, list | tuple):
        sequence = CommentedSeq([_node(one) for one in value])
        sequence.fa.set_flow_style()
        return sequence
    return DoubleQuotedScalarString(value) if isinstance(value, str) and not _is_plain(value) else value


def _is_plain(text: str) -> bool:
    """Tell whether a word without quotes is read as the same word, by YAML 1.1 as well."""
    try:
        return bool(yaml.safe_load(text) == text)
    except (yaml.YAMLError, ValueError):
        return False


def _only_changed(before: str, unchanged: str, changed: str) -> str:
    """Return the changed text with the lines that ruamel.yaml only formats in another way as they were."""
    old, same, new = (text.splitlines(keepends=True) for text in (before, unchanged, changed))
    if before == unchanged or len(old) != len(same):
        return changed
    lines: list[str] = []
    for tag, begin, end, new_begin, new_end in difflib.SequenceMatcher(None, same, new, autojunk=False).get_opcodes():
        lines += old[begin:end] if tag == "equal" else new[new_begin:new_end]
    mixed = "".join(lines)
    try:
        return mixed if yaml.load(mixed, _LOADER) == yaml.load(changed, _LOADER) else changed
    except yaml.YAMLError:
        return changed


def comments(text: str) -> Counter[str]:
    """Return the comments of a document, without the `#` that are part of a value."""
    left = list(text)
    for token in yaml.scan(text, _LOADER):
        if isinstance(token, yaml.ScalarToken):
            left[token.start_mark.index : token.end_mark.index] = " " * (token.end_mark.index - token.start_mark.index)
    return Counter(one.strip() for one in re.findall(r"(?:^|(?<=\s))#.*$", "".join(left), re.MULTILINE))


def _with_lost_comments(before: str, after: str, steps: Steps) -> str:
    """Put comments that stood within a replaced list, or right behind it, above the option."""
    lost = list((comments(before) - comments(after)).elements())
    if not lost:
        return after
    lines = after.splitlines(keepends=True)
    line = _line_of(after, steps)
    indent = re.match(r" *", lines[line])
    lines[line:line] = [f"{indent[0] if indent else ''}{one}\n" for one in lost]
    return "".join(lines)


def _line_of(text: str, steps: Steps) -> int:
    """Return the line, from 0, on which the key of an option begins."""
    node, line = yaml.compose(text, _LOADER), 0
    for step in steps:
        if isinstance(node, yaml.MappingNode):
            key, node = next((key, value) for key, value in node.value if key.value == step)
            line = key.start_mark.line
        elif isinstance(node, yaml.SequenceNode):
            node = node.value[int(step)]
    return line
