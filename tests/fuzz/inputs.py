"""What strangers send: valid texts with odd parts, valid bytes that were damaged, and noise."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st


class Raw(str):
    """JSON, or what looks like it, as it stands."""


#: Where a parser may stumble: other types, numbers that are none, texts that no line holds, depth, length.
ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 0.5, -0.5, 1e308, 2**31, 2**53 + 1, 2**64, -(2**63), 10**400,
    Raw("NaN"), Raw("Infinity"), Raw("-Infinity"), Raw("1e999"), Raw("-1e999"), Raw("-0"), Raw("1.0"), Raw("01"),
    Raw("9" * 4301), Raw("1e-400"), Raw("nul"), Raw(""), Raw("'x'"), Raw("[" * 3000), Raw("[" * 900 + "]" * 900),
    Raw('{"a":' * 900 + "1" + "}" * 900), Raw('"\\ud83d"'), Raw('"\\u0000"'), Raw('"\x01"'), Raw('"\\x"'),
    "", " ", "0", "1", "NaN", "\ud800", "\udcff", "\x00", "\x1b[2J", "\u202e", "\u2028", "é", "𝔘", "a\nb", "x" * 65,
    "x" * 300, "x" * 20_000, "%s{0}{name}", "=1+1", "../../etc/passwd", "<script>", "' OR 1=1 --",
    "0001-01-01T00:00:00Z", "0001-01-01T00:00:00", "9999-12-31T23:59:59-23:59", "2026-01-31T08:00:00", "2026-W05-6",
    "2026-01-31T08:00:00.000Z", "20260131T080000Z", "1969-12-31T23:59:59+00:00", "01M7Y8H3KR49JEKEK9MMJWTPA7",
    "resolve", "snooze", "raised", "cleared", "online", "closed", "critical", "view",
    [], [[]], {}, {"a": 1}, [None], ["a"], [1, 2], [[0, 0], [1, 0], [1, 1]], ["01M7Y8H3KR49JEKEK9MMJWTPA7"] * 3,
    Raw(f"[{'0,' * 2000}0]"), {"id": "01M7Y8H3KR49JEKEK9MMJWTPA7"},
)  # fmt: skip

_TOKENS = (
    b"{", b"}", b"[", b"]", b":", b",", b'"', b"'", b"\\", b"- ", b"null", b"-1", b"1e999", b"NaN", b"\xff",
    b"\xed\xa0\x80", b"\x00", b"\n", b"\r\n", b"\t", b"&a ", b"*a", b"<<: ", b"!!python/x ", b"|\n", b"? ", b"%",
    b"=", b";",
    b"//",
    b"@",    b"\xef\xbb\xbf", b"0x10", b"1:30", b"9" * 4400, b"[" * 2000, b"a" * 5000,
)  # fmt: skip


def as_json(value: Any) -> bytes:
    """Return JSON; objects may be lists of pairs (`Pairs`), so that a key may come twice."""
    return _text(value).encode("utf-8", "surrogatepass")


class Pairs(list):  # type: ignore[type-arg]
    """An object as (key, value) pairs."""


def _text(value: Any) -> str:
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, Pairs):
        return "{" + ",".join(f"{json.dumps(key)}:{_text(part)}" for key, part in value) + "}"
    if isinstance(value, dict):
        return _text(Pairs(value.items()))
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_text, value)) + "]"
    return json.dumps(value)


def _pairs(value: Any) -> Any:
    if isinstance(value, dict):
        return Pairs((key, _pairs(part)) for key, part in value.items())
    return [_pairs(part) for part in value] if isinstance(value, list | tuple) else value


def _parts(value: Any) -> list[tuple[Any, int]]:
    """Return every part of a value: what holds it, and its number there."""
    found = []
    if isinstance(value, list):
        for number, part in enumerate(value):
            found.append((value, number))
            found += _parts(part[1] if isinstance(value, Pairs) else part)
    return found


def _change(value: Any, changes: Sequence[tuple[int, int, Any]]) -> Any:
    changed = copy.deepcopy(value)
    for kind, place, chosen in changes:
        odd = _pairs(chosen)  # a new one each time: it is changed in its turn
        parts = _parts(changed)
        if not parts or (kind == 0 and place % 50 == 0):
            return odd
        holder, number = parts[place % len(parts)]
        key = holder[number][0] if isinstance(holder, Pairs) else None
        new = (key, odd) if isinstance(holder, Pairs) else odd
        if kind <= 3:
            holder[number] = new
        elif kind == 4:
            del holder[number]
        elif kind == 5:
            holder.insert(place % (len(holder) + 1), new)  # of an object: its key comes twice
        elif isinstance(holder, Pairs):
            holder.append((str(odd)[:100] if isinstance(odd, str) else "more", odd))
        else:
            holder.extend([odd] * (place % 70))
    return changed


def changed(valid: Sequence[Any]) -> st.SearchStrategy[Any]:
    """Return valid values of JSON with odd parts, for `as_json`; one of fifty or so has none."""
    values = [_pairs(one) for one in valid]
    change = st.tuples(st.integers(0, 6), st.integers(0, 10_000), st.sampled_from(ODD))
    return st.builds(_change, st.sampled_from(values), st.lists(change, max_size=4))


def plain_changed(valid: Sequence[Any]) -> st.SearchStrategy[Any]:
    """Return the same as Python has it after `json.loads`; what that refuses is left out."""
    return changed(valid).map(_loaded).filter(lambda value: value is not _REFUSED)


_REFUSED = object()


def _loaded(value: Any) -> Any:
    try:
        return json.loads(as_json(value).decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError):
        return _REFUSED


def _damage(content: bytes, changes: Sequence[tuple[int, int, int]]) -> bytes:
    damaged = bytearray(content)
    for kind, place, number in changes:
        at = place % (len(damaged) + 1)
        if kind == 0:
            damaged[at:at] = _TOKENS[number % len(_TOKENS)]
        elif kind == 1:
            del damaged[at : at + 1 + number % 60]
        elif kind == 2 and at < len(damaged):
            damaged[at] ^= 1 << number % 8
        elif kind == 3:
            damaged[at : at + 1] = number.to_bytes(4, "big")[: 1 + number % 4]
        elif kind == 4:
            damaged[at:at] = damaged[number % (len(damaged) + 1) :][:200]
        elif kind == 5:
            del damaged[at:]
    return bytes(damaged)


def damaged(valid: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Return valid bytes with turned bits, and parts cut out, doubled and put in."""
    change = st.tuples(st.integers(0, 5), st.integers(0, 2**20), st.integers(0, 2**20))
    return st.builds(_damage, st.sampled_from(list(valid)), st.lists(change, max_size=4))


def payloads(valid: Sequence[Any], *, encode: Callable[[Any], bytes] = as_json) -> st.SearchStrategy[bytes]:
    """Return bytes for a parser of JSON: mostly with odd parts, some damaged, some of nothing but noise."""
    odd = changed(valid).map(encode)
    return st.one_of(odd, odd, odd, damaged([encode(_pairs(one)) for one in valid]), st.binary(max_size=200))


def texts(valid: Sequence[str]) -> st.SearchStrategy[str]:
    """Return text for a parser of text, half a surrogate pair and bytes that are no text among it."""
    odd = [one for one in ODD if isinstance(one, str)]
    broken = damaged([one.encode() for one in valid]).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
    return st.one_of(broken, broken, st.sampled_from(odd).map(str), st.text(max_size=60))
