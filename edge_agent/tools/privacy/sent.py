"""What the agent may publish: on its topics, to the letter of their schemas, and no more than the time explains."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import cache
from typing import Any

from edge_agent.config import Config
from edge_agent.config.watching import WHOLE_VIEW
from edge_agent.delivery.messages import MAX_PAYLOAD_BYTES, SCHEMA_DIR, Topics, boot_id, is_ulid
from edge_agent.tools.doctor import Check
from edge_agent.tools.privacy.encoded import oddity

#: A face of 16x16 grey pixels, hardly recognisable, in base64: no text field is as long.
SMALLEST_PICTURE_BYTES = 344
#: Who the proof is when it answers a page.
PROOF = "privacy"
_MAX_NUMBER_CHARS = 24
#: Fields whose text is the configuration's.
_OF_CONFIGURATION = frozenset({"site", "device", "place", "rule", "zone", "message", "by", "emotions", "groups"})
_HASH = re.compile(r"[0-9a-f]{64}")
_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "boolean": (bool,), "null": (type(None),),
    "integer": (int,), "number": (int, float),
}  # fmt: skip


def schemas() -> Check:
    """Check that no field of any message has room for a picture."""
    too_large = []
    for path in sorted(SCHEMA_DIR.glob("*.json")):
        for place, length in _text_lengths(_schema(path.stem), path.stem):
            if length is None or length >= SMALLEST_PICTURE_BYTES:
                too_large.append(place)
    if too_large:
        return Check("messages", ok=False, detail=f"these fields could hold a picture: {', '.join(too_large)}")
    return Check(
        "messages", ok=True,
        detail=f"no text field of any schema has {SMALLEST_PICTURE_BYTES} characters, which 16x16 pixels would need",
    )  # fmt: skip


def _text_lengths(schema: dict[str, Any], place: str) -> Iterator[tuple[str, int | None]]:
    """Yield each text field and the most characters it can have, None for any number."""
    kinds = schema.get("type")
    if "const" in schema or "enum" in schema:
        return
    if kinds == "object":
        for name, part in schema.get("properties", {}).items():
            yield from _text_lengths(part, f"{place}.{name}")
        if isinstance(schema.get("additionalProperties"), dict):
            yield from _text_lengths(schema["additionalProperties"], f"{place}.*")
    elif kinds == "array":
        yield from _text_lengths(schema["items"], f"{place}[]")
        if "maxItems" not in schema:
            yield f"{place}[]", None
    elif kinds == "string" or (isinstance(kinds, list) and "string" in kinds):
        length = schema.get("maxLength")
        if length is None and "pattern" in schema and not re.search(r"[*+]|,\}", schema["pattern"]):
            length = 64  # a pattern without repetition to any length
        yield place, length


@cache
def _schema(name: str) -> dict[str, Any]:
    body: dict[str, Any] = json.loads((SCHEMA_DIR / f"{name}.json").read_text(encoding="utf-8"))
    return body


class Messages:
    """What a run of the agent publishes, looked at one by one.

    Args:
        config: as the agent has it.
    """

    def __init__(self, config: Config) -> None:
        self.topics = Topics(config.mqtt, site=config.site.name, device=config.site.device)
        self._words = frozenset(_texts(asdict(config))) | {"", WHOLE_VIEW, PROOF}
        self._health_s, self._summary_s = config.logging.health_interval_s, config.summary.interval_s
        self._counts: Counter[str] = Counter()
        self._bytes = 0
        self._sessions: set[str] = set()
        self._infos: set[str] = set()
        #: Hashes it sends of itself, and names of the configuration: longer than other words.
        self.known = {boot_id().encode(), *(word.encode() for word in self._words if len(word) > 30)}
        #: Requests it may answer.
        self.requests: set[str] = set()

    @property
    def count(self) -> int:
        """How many there were."""
        return self._counts.total()

    def problem(self, topic: str, payload: bytes, *, count: bool = True) -> str:
        """Return what is wrong with a message, empty for nothing.

        Args:
            count: it was sent, and is counted.
        """
        self._bytes += len(payload) if count else 0
        if len(payload) > MAX_PAYLOAD_BYTES:
            return f"{len(payload)} bytes on {topic[:80]}"
        name = self._schema_of(topic)
        self._counts[name] += count
        if not name:
            return f"topic {topic[:80]}"
        try:
            real, whole = _number(float), _number(int)
            body = json.loads(payload, parse_float=real, parse_int=whole, parse_constant=real)
        except (ValueError, RecursionError):
            return f"no message on {topic}"
        if json.dumps(body, ensure_ascii=False).encode() != payload:
            return f"JSON with more than its values on {topic}"
        misfit = _misfit(body, _schema(name), name) or self._stranger(body, name)
        if misfit:
            return f"{misfit} on {topic}"
        return ""

    def _schema_of(self, topic: str) -> str:
        match self.topics.below(topic):
            case ["state" | "info" | "health" | "summary" | "event" as name]:
                return name
            case ["alert", "active"]:
                return "active"
            case ["alert", ulid] if is_ulid(ulid):
                return "alert"
            case ["rsp", request] if request in self.requests:
                return "response"
        return ""

    def _stranger(self, body: dict[str, Any], name: str) -> str:
        """Return what fits the schema and is not this agent's."""
        self._sessions.add(body["session"])
        if len(self._sessions) > 1 or body["boot_id"] != boot_id():
            return "another session or boot"
        for key, value in _fields(body):
            if key in _OF_CONFIGURATION and value not in self._words:
                return f"{key} {value[:40]!r}, which the configuration has not,"
        if name == "info":
            facts = {key: value for key, value in body.items() if key not in ("time", "monotonic_s")}
            self._infos.add(json.dumps(facts))
            self.known |= {value.encode() for value in facts.values() if _HASH.fullmatch(str(value))}
        if len(self._infos) > 1:
            return "other versions than before"
        words = json.dumps([value for _, value in _fields(body)], ensure_ascii=False)
        return oddity(words.encode(), known=self.known)

    def too_many(self, *, seconds: float) -> str:
        """Return which messages were more than the time explains; empty for none."""
        at_most = {
            "state": 6 + seconds / 2, "info": 4, "health": 4 + seconds / self._health_s, "alert": 10 + 2 * seconds,
            "active": 12 + seconds / self._health_s + 2 * seconds, "summary": 2 + seconds / self._summary_s,
            "event": 6 + seconds / 5, "response": len(self.requests),
        }  # fmt: skip
        return ", ".join(
            f"{count} messages of {name} in {seconds:.0f} s"
            for name, count in self._counts.items()
            if name and count > at_most[name]
        )

    def summary(self) -> str:
        """Return how many there were, and how large they were together."""
        return f"{self.count} messages, {self._bytes} bytes"


def _number(kind: type) -> Any:
    def read(text: str) -> Any:
        if len(text) > _MAX_NUMBER_CHARS or not re.fullmatch(r"-?\d+(\.\d+)?(e[+-]?\d+)?", text):
            raise ValueError(text)
        return kind(text)

    return read


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, part in value.items():
            yield str(key)
            yield from _texts(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _texts(part)
    elif value is not None:
        yield str(value)


def _fields(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield each text and the name of the field that has it."""
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _fields(part, name)
    elif isinstance(value, list):
        for part in value:
            yield from _fields(part, key)
    elif isinstance(value, str):
        yield key, value


def _misfit(value: Any, schema: Mapping[str, Any], place: str) -> str:
    """Return where a value does not fit a JSON Schema; of its keywords those that ours use, and no unknown fields."""
    if "const" in schema or "enum" in schema:
        return "" if value in schema.get("enum", [schema.get("const")]) else f"{place} {str(value)[:40]!r}"
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if not any(isinstance(value, _TYPES[kind]) and (kind == "boolean") == isinstance(value, bool) for kind in kinds):
        return f"{place}, which is no {' or '.join(kinds)},"
    if isinstance(value, str):
        fits = len(value) <= schema.get("maxLength", 300) and re.search(schema.get("pattern", ""), value)
        return "" if fits else f"{place} {value[:40]!r}"
    if isinstance(value, list):
        if len(value) > schema.get("maxItems", 0):
            return f"{place} of {len(value)}"
        return next(filter(None, (_misfit(part, schema["items"], f"{place}[]") for part in value)), "")
    if isinstance(value, dict):
        return _object_misfit(value, schema, place)
    if isinstance(value, int | float) and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        return f"{place} {value}"
    return ""


def _object_misfit(value: dict[str, Any], schema: Mapping[str, Any], place: str) -> str:
    properties, others = schema.get("properties", {}), schema.get("additionalProperties", False)
    if missing := set(schema.get("required", ())) - set(value):
        return f"{place} without {min(missing)}"
    for name, part in value.items():
        if name not in properties and (not isinstance(others, dict) or len(name) > 64):
            return f"field {place}.{name[:40]}"
        if misfit := _misfit(part, properties.get(name, others), f"{place}.{name[:64]}"):
            return misfit
    return "" if len(value) <= schema.get("maxProperties", len(value)) else f"{place} of {len(value)}"
