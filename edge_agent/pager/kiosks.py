"""Which kiosks watch, as far as this pager can know: from what they leave retained, and from signs of life.

A state that was left retained proves nothing: a broker that was restarted keeps `online` of a device that died
meanwhile. So a kiosk watches only as long as its health reports come.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from edge_agent.delivery.bus import Received
from edge_agent.delivery.messages import MAX_SNOOZES, MessageError, is_name, parse_object, printable
from edge_agent.pager.page import parse_time

#: A kiosk that is late by so many health reports is silent.
_MISSED = 3
_INTERVAL_S = 30.0
#: Seconds that a kiosk has to answer after a time without the broker.
DOUBT_S = 8.0
#: More are no site's own: somebody else writes to the broker.
MAX_KIOSKS = 2000
_DEAD = ("offline", "stopped", "silent")

Condition = Literal["watching", "degraded", "shadow", "closed", "offline", "stopped", "silent"]


@dataclass(frozen=True, slots=True)
class Snoozed:
    """What staff keep from paging; `rule` and `zone` are empty for everything, `until` is RFC 3339, UTC."""

    rule: str
    zone: str
    until: str
    by: str


@dataclass(frozen=True, slots=True)
class Kiosk:
    """One kiosk.

    Attributes:
        topic: its own, `<root>/<site>/<device>`; no payload can say otherwise.
        condition: `watching` only if it pages and lately gave a sign of life; `degraded` says why in `problem`.
        since_unix_s: when the condition began; None where nobody can know.
        opens_unix_s: when one that is closed pages again; None where nobody can know.
    """

    topic: str
    condition: Condition
    problem: str = ""
    since_unix_s: float | None = None
    snoozed: tuple[Snoozed, ...] = ()
    opens_unix_s: float | None = None

    @property
    def as_it_should(self) -> bool:
        """Whether it watches, or is outside its opening hours and need not."""
        return self.condition in ("watching", "closed")

    @property
    def name(self) -> str:
        """Site and device."""
        return "/".join(self.topic.split("/")[-2:])

    @property
    def dead(self) -> bool:
        """Whether nobody is there who could hear an answer or end a page."""
        return self.condition in _DEAD


#: What is kept of a device's reports, for whoever looks after many; of each, whether it is a number.
_FIGURES = {
    "health": {"camera": False, "outbox_depth": True, "temperature_c": True, "frame_rate_hz": True},
    "info": {"model": False, "agent_version": False},
}


@dataclass(slots=True)
class _Seen:
    kiosk: Kiosk
    said: Condition
    alive_s: float | None = None
    interval_s: float = _INTERVAL_S
    alive_unix_s: float | None = None
    figures: dict[str, str | float] = field(default_factory=dict)


class Kiosks:
    """Those of one pager; `note` each message of theirs, `turn` at least once a second.

    Args:
        unix, monotonic: clocks, in seconds.
    """

    def __init__(self, *, unix: Callable[[], float], monotonic: Callable[[], float]) -> None:
        self._unix, self._monotonic = unix, monotonic
        self._seen: dict[str, _Seen] = {}

    def all(self) -> list[Kiosk]:
        """Return them: those that do not watch first, then by name."""
        return sorted((one.kiosk for one in self._seen.values()), key=lambda k: (k.condition == "watching", k.name))

    def get(self, topic: str) -> Kiosk | None:
        """Return the one with this topic, None for one that never said anything."""
        seen = self._seen.get(topic)
        return None if seen is None else seen.kiosk

    def figures(self, topic: str) -> dict[str, str | float]:
        """Return what one reported last of itself: `camera`, `model` and others, as far as it is heard."""
        seen = self._seen.get(topic)
        return {} if seen is None else dict(seen.figures)

    def note_alive(self, topic: str) -> None:
        """Take what one has just sent, whatever it is, as a sign of life."""
        seen = self._seen.get(topic)
        if seen is not None and seen.said not in _DEAD:
            seen.alive_s, seen.alive_unix_s = self._monotonic(), self._unix()

    def doubt(self) -> list[str]:
        """Believe in those that watch for DOUBT_S more, unless a sign of life comes; return their topics.

        After a time without the broker, what it kept may be older than their end.
        """
        doubted = []
        for topic, seen in self._seen.items():
            if seen.kiosk.condition not in _DEAD and seen.alive_s is not None:
                latest_s = self._monotonic() - _MISSED * seen.interval_s + DOUBT_S
                seen.alive_s = min(seen.alive_s, latest_s)
                doubted.append(topic)
        return doubted

    def note(self, event: Received) -> Kiosk | None:
        """Take over a `state`, a `health` or an `info`; return the kiosk if what is known of it changed.

        Raises:
            MessageError: it is none of them.
        """
        topic, _, kind = event.topic.rpartition("/")
        if not event.payload:
            self._seen.pop(topic, None)  # taken back: there is no such kiosk any more
            return None
        body = parse_object(event.payload, schema=kind)
        # All of it is read before anything is believed.
        said, snoozed = (_condition(body), _snoozed(body)) if kind not in _FIGURES else ("silent", ())
        if topic not in self._seen and len(self._seen) >= MAX_KIOSKS:
            raise MessageError(f"there are more than {MAX_KIOSKS} kiosks")
        seen = self._seen.setdefault(topic, _Seen(Kiosk(topic, "silent"), "silent"))
        seen.figures |= _figures(body, kind)
        if kind == "info":
            return None
        if kind == "health":
            interval_s = body.get("interval_s")
            if isinstance(interval_s, int | float) and not isinstance(interval_s, bool) and 1 <= interval_s <= 3600:
                seen.interval_s = float(interval_s)
            said_unix_s = _unix_s(body) if event.retained else None
            # One that was kept counts from when it was written, as far as the two clocks agree.
            age_s = max(0.0, self._unix() - said_unix_s) if said_unix_s is not None else 0.0
            seen.alive_s, seen.alive_unix_s = self._monotonic() - age_s, self._unix() - age_s
            return self._settle(seen, since_unix_s=self._unix())
        before, seen.said = seen.said, said
        if not event.retained and seen.said not in _DEAD:
            seen.alive_s = self._monotonic()
        since_unix_s: float | None = self._unix()
        if event.retained:
            # A last will carries the time at which it was made, not when it was needed.
            since_unix_s = seen.alive_unix_s if seen.said == "offline" else _unix_s(body)
        elif before == seen.said:
            since_unix_s = seen.kiosk.since_unix_s
        return self._settle(
            seen,
            since_unix_s=since_unix_s,
            problem=printable(body.get("problem", "")),
            snoozed=snoozed,
            opens_unix_s=parse_time(body.get("opens_at")),
        )

    def turn(self) -> list[Kiosk]:
        """Return those that fell silent, or whose signs of life came back, since the last call."""
        return [kiosk for seen in self._seen.values() if (kiosk := self._settle(seen, since_unix_s=self._unix()))]

    def _settle(self, seen: _Seen, *, since_unix_s: float | None, **changes: Any) -> Kiosk | None:
        condition = seen.said
        late = seen.alive_s is None or self._monotonic() - seen.alive_s > _MISSED * seen.interval_s
        if late and condition not in _DEAD:
            condition, since_unix_s = "silent", seen.alive_unix_s
        kiosk = replace(seen.kiosk, condition=condition, **changes)
        if condition != seen.kiosk.condition or seen.kiosk.since_unix_s is None:
            kiosk = replace(kiosk, since_unix_s=since_unix_s)
        if kiosk == seen.kiosk:
            return None
        seen.kiosk = kiosk
        return kiosk


def _figures(body: dict[str, Any], kind: str) -> dict[str, str | float]:
    found: dict[str, str | float] = {}
    for key, number in _FIGURES.get(kind, {}).items():
        value = body.get(key)
        if number and isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9:
            found[key] = value
        elif not number and isinstance(value, str):
            found[key] = printable(value)
    return found


def _condition(body: dict[str, Any]) -> Condition:
    state = body.get("state")
    if state == "online":
        mode = body.get("mode")
        return mode if mode in ("shadow", "closed") else "watching"
    if state in ("degraded", "offline", "stopped"):
        found: Condition = state
        return found
    raise MessageError("no state of a kiosk")


def _snoozed(body: dict[str, Any]) -> tuple[Snoozed, ...]:
    listed = body.get("snoozed", [])
    if not isinstance(listed, list):
        raise MessageError("'snoozed' is not a list")
    found = []
    for one in listed[:MAX_SNOOZES]:
        if not isinstance(one, dict) or parse_time(one.get("until")) is None:
            raise MessageError("'snoozed' holds something else")
        rule, zone, by = (one.get(key) if is_name(one.get(key)) else "" for key in ("rule", "zone", "by"))
        found.append(Snoozed(rule or "", zone or "", str(one["until"]), by or ""))
    return tuple(found)


def _unix_s(body: dict[str, Any]) -> float | None:
    return parse_time(body.get("time"))
