"""A page as staff see it, read from what a kiosk, or whoever writes in its name, has sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edge_agent.delivery.messages import MessageError, is_ulid, printable

_STEPS, _SEVERITIES = ("raised", "escalated", "acked", "cleared"), ("info", "warning", "critical")
_MAX_NUMBER, _MAX_NAMES = 1_000_000, 20


@dataclass(frozen=True, slots=True)
class Page:
    """An alert as staff see it, after its latest step.

    Attributes:
        device_topic: topic of the device; the alert came below it, acknowledgements go there.
        step: raised, escalated, acked or cleared.
        groups: everybody paged so far.
        people: how many the alert is about.
        raised_at: RFC 3339, UTC; empty if the agent does not say.
        stepped_at: of this step, in the same form; `raised_at` where nobody says.
    """

    device_topic: str
    id: str
    revision: int
    step: str
    severity: str
    groups: tuple[str, ...]
    message: str
    place: str
    zone: str
    device: str
    emotions: tuple[str, ...]
    score: float
    by: str
    reason: str
    raised_at: str
    people: int = 1
    stepped_at: str = ""


def parse_page(device_topic: str, alert_id: str, body: Mapping[str, Any]) -> Page:
    """Return the page.

    Raises:
        MessageError: a value is missing, or is none that an alert can have; a pager must outlive strange neighbours.
    """
    if not is_ulid(alert_id) or body.get("id") != alert_id:
        raise MessageError("topic and payload name different alerts")
    score, raised_at = body.get("score"), body.get("raised_at", "")
    stepped_at = body.get("time", raised_at)
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
        raise MessageError("'score' is not a number from 0 to 1")
    return Page(
        device_topic=device_topic,
        id=alert_id,
        revision=_number(body, "revision", 1),
        step=_one_of(body, "step", _STEPS),
        severity=_one_of(body, "severity", _SEVERITIES),
        groups=_names(body, "groups"),
        message=_text(body, "message"),
        place=_text(body, "place"),
        zone=_text(body, "zone"),
        device="/".join(printable(level) for level in device_topic.split("/")[-2:]),
        emotions=_names(body, "emotions"),
        score=float(score),
        by=_text(body, "by"),
        reason=_text(body, "reason"),
        raised_at=printable(raised_at) if isinstance(raised_at, str) else "",
        people=_number(body, "people", 0) if "people" in body else 1,
        stepped_at=printable(stepped_at) if isinstance(stepped_at, str) else "",
    )


def _number(body: Mapping[str, Any], key: str, least: int) -> int:
    value = body.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _MAX_NUMBER:
        raise MessageError(f"{key!r} is not a whole number from {least} to {_MAX_NUMBER}")
    return value


def _text(body: Mapping[str, Any], key: str) -> str:
    value = body.get(key)
    if not isinstance(value, str):
        raise MessageError(f"{key!r} is no text")
    return printable(value)


def _one_of(body: Mapping[str, Any], key: str, known: Sequence[str]) -> str:
    value = body.get(key)
    if value not in known:
        raise MessageError(f"{key!r} is not one of {', '.join(known)}")
    return str(value)


def _names(body: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = body.get(key)
    if not isinstance(value, list) or len(value) > _MAX_NAMES or not all(isinstance(name, str) for name in value):
        raise MessageError(f"{key!r} is no list of at most {_MAX_NAMES} names")
    return tuple(printable(name) for name in value)
