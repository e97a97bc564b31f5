"""All devices in one table, from what they leave retained at the broker; the troubled ones first."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from edge_agent.delivery.bus import Bus, Connected, Disconnected, Event, Received, SubscriptionDenied
from edge_agent.delivery.messages import MessageError, parse_object, printable
from edge_agent.delivery.retained import RETAINED_TOPICS
from edge_agent.errors import BrokerError

_QUIET_S = 1.0
_OLD_OUTBOX_S = 60.0


@dataclass(slots=True)
class Device:
    """What is known of one device; `parts` has the latest body of each of RETAINED_TOPICS."""

    name: str
    parts: dict[str, dict[str, Any]] = field(default_factory=dict)

    def value(self, topic: str, key: str) -> Any:
        """Return a value, None where it was never said."""
        return self.parts.get(topic, {}).get(key)

    @property
    def state(self) -> str:
        """Return online, degraded, stopped, offline, or `unknown`."""
        return str(self.value("state", "state") or "unknown")

    @property
    def closed(self) -> str:
        """Return `closed`, with until when as far as that is known; empty within its opening hours."""
        if self.state != "online" or self.value("state", "mode") != "closed":
            return ""
        opens_at = self.value("state", "opens_at")
        return f"closed until {_local(opens_at)}" if isinstance(opens_at, str) else "closed"

    @property
    def open_pages(self) -> int:
        """Return how many alerts are open."""
        ids = self.value("alert/active", "ids")
        return len(ids) if isinstance(ids, list) and self.state in ("online", "degraded") else 0

    @property
    def trouble(self) -> str:
        """Return what somebody should look at; empty for nothing."""
        if self.state != "online":
            return str(self.value("state", "problem") or self.state)
        if self.value("state", "mode") == "shadow":
            return "shadow mode: pages nobody"
        if "health" not in self.parts:
            return "no health report"
        snoozed = self.value("state", "snoozed")
        if isinstance(snoozed, list) and snoozed and isinstance(snoozed[0], dict):
            return f"snoozed until {snoozed[0].get('until')} by {snoozed[0].get('by') or 'somebody'}"
        oldest_s = self.value("health", "outbox_oldest_s")
        if isinstance(oldest_s, int | float) and _OLD_OUTBOX_S < oldest_s < 1e12:
            return f"messages wait for {oldest_s:.0f} s"
        return ""


def collect(bus: Bus, *, seconds: float) -> list[Device]:
    """Listen until nothing new came for a second, at most for so long; return devices, the troubled first.

    Raises:
        BrokerError: there is no connection within that time, or the broker does not let us hear devices.
    """
    devices: dict[str, Device] = {}
    problem = ""

    def brings_news(event: Event) -> bool:
        """Take over an event; return whether it is one after which more may come."""
        nonlocal problem
        if isinstance(event, SubscriptionDenied):
            raise BrokerError(event.problem)
        if isinstance(event, Disconnected):
            problem = event.problem
        elif isinstance(event, Received):
            note(devices, event)
        # What devices say meanwhile would never end.
        return isinstance(event, Connected) or (isinstance(event, Received) and event.retained)

    give_up_s = time.monotonic() + seconds
    heard = bus.wait_for(brings_news, seconds)
    while heard:
        heard = bus.wait_for(brings_news, min(_QUIET_S, give_up_s - time.monotonic()))
    if not bus.connected:
        raise BrokerError(problem or "the broker does not answer")
    return in_order(devices.values())


def note(devices: dict[str, Device], event: Received) -> None:
    """Take over one message; what is none is ignored."""
    for topic in RETAINED_TOPICS:
        if event.topic.endswith(f"/{topic}"):
            name = "/".join(event.topic.removesuffix(f"/{topic}").split("/")[-2:])
            try:
                body = parse_object(event.payload, schema=topic.rpartition("/")[2])
            except MessageError:
                return
            devices.setdefault(name, Device(name)).parts[topic] = body


def in_order(devices: Iterable[Device]) -> list[Device]:
    """Return devices with open pages first, then the troubled, then the others, each by name."""
    return sorted(devices, key=lambda device: (not device.open_pages, not device.trouble, device.name))


def as_rows(devices: Sequence[Device], *, unix_s: float) -> list[dict[str, Any]]:
    """Return one mapping a device, for JSON and the table."""
    return [
        {
            "device": device.name,
            "state": device.state,
            "closed": device.closed,
            "open_pages": device.open_pages,
            "trouble": device.trouble,
            "frame_rate_hz": device.value("health", "frame_rate_hz"),
            "latency_p95_ms": device.value("health", "latency_p95_ms"),
            "outbox_depth": device.value("health", "outbox_depth"),
            "temperature_c": device.value("health", "temperature_c"),
            "model": device.value("info", "model"),
            "version": device.value("info", "agent_version"),
            "said_s_ago": _age_s(device.value("health", "time"), unix_s),
        }
        for device in devices
    ]


def as_text(devices: Sequence[Device], *, unix_s: float, limit: int | None) -> str:
    """Return a table of at most `limit` devices under a line that counts all.

    Args:
        limit: None for all of them.
    """
    head = f"{len(devices)} {'device' if len(devices) == 1 else 'devices'}: {_counts(devices)}"
    shown = devices[:limit]
    table: list[tuple[str, ...]] = [
        ("device", "state", "pages", "fps", "p95 ms", "waiting", "°C", "model", "said", "trouble")
    ]
    for row in as_rows(shown, unix_s=unix_s):
        figures = (row["open_pages"] or "", row["frame_rate_hz"], row["latency_p95_ms"], row["outbox_depth"])
        said = "" if row["said_s_ago"] is None else f"{row['said_s_ago']:.0f} s ago"
        state = row["closed"] or row["state"]
        cells = (row["device"], state, *figures, row["temperature_c"], row["model"], said, row["trouble"])
        table.append(tuple("" if cell is None else printable(cell) for cell in cells))
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    more = [f"... and {len(devices) - len(shown)} more; --all shows them"] if len(shown) < len(devices) else []
    return "\n".join([head, "", *lines, *more])


def _counts(devices: Sequence[Device]) -> str:
    states = {state: sum(device.state == state for device in devices) for state in ("online", "degraded")}
    away = len(devices) - sum(states.values())
    closed = sum(bool(device.closed) for device in devices)
    paging = sum(device.open_pages for device in devices)
    shut = f" ({closed} closed)" if closed else ""
    return f"{states['online']} online{shut}, {states['degraded']} degraded, {away} away; {paging} open pages"


def _local(said: str) -> str:
    try:
        return datetime.fromisoformat(said.replace("Z", "+00:00")).astimezone().strftime("%a %d %b %H:%M")
    except (ValueError, OverflowError):
        return "?"


def _age_s(said: Any, unix_s: float) -> float | None:
    try:
        return max(0.0, unix_s - datetime.fromisoformat(str(said).replace("Z", "+00:00")).timestamp())
    except (ValueError, OverflowError):
        return None
