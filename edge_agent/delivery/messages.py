"""What travels over MQTT: topics, payloads, quality of service, retention, expiry.

Payloads are JSON objects with `schema` and `version`; the JSON Schemas lie in `schemas/`. No schema has room
for a picture. Every message carries wall-clock time and, since a Pi has no clock battery, the boot id with
monotonic seconds beside it. Receivers ignore fields they do not know.
"""

from __future__ import annotations

import json
import math
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from enum import IntEnum
from pathlib import Path
from typing import Any, Literal, TypeGuard, get_args

from edge_agent import config
from edge_agent.alerting.alert import SNOOZE_S, Action, Alert
from edge_agent.alerting.ulid import make_ulid

SCHEMA_DIR = Path(__file__).resolve().parent / "schemas"
MAX_PAYLOAD_BYTES = 16 * 1024
CLOSING_EXPIRY_S = 24 * 3600.0
NEWS_EXPIRY_S = 3600.0
SUMMARY_EXPIRY_S = 7 * 24 * 3600.0
State = Literal["online", "degraded", "stopped", "offline"]
ACTIONS: tuple[Action, ...] = get_args(Action)
MAX_SNOOZE_S = 24 * 3600.0
#: So many are listed in `state`.
MAX_SNOOZES = 20
#: So many open alerts are repeated whole in `alert/active`.
MAX_BODIES = 12


class Priority(IntEnum):
    """Which messages are dropped first where there is no room for all; the numbers are in outbox files."""

    SUMMARY = 0
    NORMAL = 1
    ALERT = 2


@dataclass(frozen=True, slots=True)
class Message:
    """One MQTT publish, always at QoS 1.

    Attributes:
        expiry_s: how long it is worth sending, and its MQTT 5 message expiry; None for always.
        priority: whether it is dropped before or after others where there is no room for all.
        alert_id: of the alert that it is a step of; empty for all other messages.
    """

    topic: str
    payload: bytes
    retain: bool = False
    expiry_s: float | None = None
    priority: Priority = Priority.NORMAL
    alert_id: str = ""


class MessageError(ValueError):
    """A received payload is not what its topic promises."""


def printable(text: Any) -> str:
    """Return printable text of at most 200 characters; control characters could rewrite a terminal."""
    return "".join(c if c.isprintable() else "?" for c in str(text))[:200]


def boot_id() -> str:
    """Return the kernel's id of this boot, or `unknown` where there is none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return "unknown"


def new_ulid() -> str:
    """Return a fresh ULID."""
    return make_ulid(time.time(), secrets.token_bytes(10))


def rfc3339(unix_s: float) -> str:
    """Return UTC with milliseconds, as in 2026-01-31T08:00:00.000Z."""
    return datetime.fromtimestamp(unix_s, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Topics:
    """The topic tree of one device: `<root>/<site>/<device>/…`."""

    def __init__(self, mqtt: config.Mqtt, *, site: str, device: str) -> None:
        self.base = f"{mqtt.topic_root}/{site}/{device}"
        #: Staff's answers, which the broker keeps for a device that is away.
        self.answers = (self("ack", "+"),)
        #: Commands, which the broker does not keep for a device that is away: they are obeyed now or not at all.
        self.commands = (self("cmd", "+"),)

    def __call__(self, *levels: str) -> str:
        """Return a topic below the device."""
        return "/".join([self.base, *levels])

    def below(self, topic: str) -> list[str]:
        """Return the levels after the device, or an empty list for foreign topics."""
        return topic[len(self.base) + 1 :].split("/") if topic.startswith(self.base + "/") else []


@dataclass(frozen=True, slots=True)
class Snooze:
    """What staff keep from paging for a while.

    Attributes:
        rule, zone: empty for all rules in all zones.
        by: who said so; empty where nobody knows.
    """

    rule: str
    zone: str
    until_unix_s: float
    by: str


@dataclass(frozen=True, slots=True)
class Summary:
    """How content people were in one interval.

    Attributes:
        visits: that ended in it; None when they were fewer than the minimum group, and so is all else.
        shares: group → mean share of the visits' time in which it was on top, 0..1.
        satisfied: share of the visits whose last look was a satisfied one, 0..1.
    """

    visits: int | None
    shares: dict[str, float] | None
    satisfied: float | None


class Composer:
    """Makes the messages of one device in one run of the agent.

    Args:
        session: id of this run; the last will carries the same one.
        unix: wall clock, seconds since 1970.
        monotonic: seconds on a clock that is never set.
    """

    def __init__(
        self,
        settings: config.Config,
        *,
        session: str,
        unix: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self._site = settings.site
        self._session, self._unix, self._monotonic = session, unix, monotonic
        self._boot_id = boot_id()
        self._mode = "live" if settings.privacy.notice_posted else "shadow"
        #: Alert id → wall-clock time of its page.
        self.raised_unix_s: dict[str, float] = {}
        self._health_interval_s = settings.logging.health_interval_s
        self.topic = Topics(settings.mqtt, site=settings.site.name, device=settings.site.device)

    def state(
        self, state: State, problem: str = "", snoozes: Sequence[Snooze] = (), *,
        closed: bool = False, opens_unix_s: float | None = None,
    ) -> Message:  # fmt: skip
        """Retained: is the device watching? `problem` says why it is degraded, `snoozes` what is kept from paging.

        `closed` outside the opening hours of all whom it could page, until `opens_unix_s` if that is known.
        """
        mode = "closed" if closed and self._mode == "live" else self._mode
        body = {
            "state": state,
            "mode": mode,
            **({"opens_at": rfc3339(opens_unix_s)} if mode == "closed" and opens_unix_s is not None else {}),
            "problem": problem[:300],
            "snoozed": [
                {"rule": one.rule, "zone": one.zone, "until": rfc3339(one.until_unix_s), "by": one.by}
                for one in snoozes[:MAX_SNOOZES]
            ],
        }
        return self._message("state", self.topic("state"), body, retain=True)

    def info(self, facts: Mapping[str, str]) -> Message:
        """Retained: versions and hashes."""
        return self._message("info", self.topic("info"), facts, retain=True)

    def health(self, figures: Mapping[str, Any]) -> Message:
        """Retained: rates, latencies, depths; the next one comes after `interval_s`."""
        body = {**figures, "interval_s": self._health_interval_s}
        return self._message("health", self.topic("health"), body, retain=True, expiry_s=3 * self._health_interval_s)

    def alert(self, alert: Alert, *, repeated: bool = False) -> Message:
        """One step of an alert, the whole of it each time; when it was raised stays as it was first said.

        Args:
            repeated: it was published before; sent again for pagers that subscribed later.
        """
        self.raised_unix_s.setdefault(alert.id, self._unix() - (alert.changed_s - alert.raised_s))
        body = {**self._alert_body(alert), **({"repeated": True} if repeated else {})}
        if alert.step == "cleared":
            del self.raised_unix_s[alert.id]
        message = self._message("alert", self.topic("alert", alert.id), body, expiry_s=self.alert_expiry_s(alert))
        return replace(message, priority=Priority.ALERT, alert_id=alert.id)

    def _alert_body(self, alert: Alert) -> dict[str, Any]:
        raised_unix_s = self.raised_unix_s.get(alert.id, self._unix() - (alert.changed_s - alert.raised_s))
        return {
            "id": alert.id,
            "revision": alert.revision,
            "step": alert.step,
            "rule": alert.rule.name,
            "emotions": list(alert.rule.emotions),
            "severity": alert.severity,
            "groups": list(alert.groups),
            "level": alert.level,
            "message": alert.rule.message,
            "zone": alert.zone,
            "place": self._site.place,
            "score": round(alert.score, 3),
            "people": alert.people,
            "raised_at": rfc3339(raised_unix_s),
            "expires_at": rfc3339(self._unix() + self.alert_expiry_s(alert)),
            "by": alert.by,
            "reason": alert.reason,
        }

    @staticmethod
    def alert_expiry_s(alert: Alert) -> float:
        """Return how long a step is worth delivering: a page soon, its end for as long as a pager may show it."""
        paging = alert.step in ("raised", "escalated")
        return alert.rule.expiry_s if paging else max(alert.rule.expiry_s, CLOSING_EXPIRY_S)

    def active(self, alerts: Sequence[Alert], *, sequence: int = 0) -> Message:
        """Retained: ids of the alerts now open, and the first MAX_BODIES whole.

        Whoever begins to listen when this device is gone knows its pages from here; so does a device whose disk forgot
        some, by `sequence`, that of its note of them.
        """
        bodies = [self._alert_body(alert) for alert in alerts[:MAX_BODIES]]
        body = {"sequence": sequence, "ids": [alert.id for alert in alerts], "alerts": bodies}
        # It is renewed with every health report.
        expiry_s = max(600.0, 3 * self._health_interval_s)
        return self._message("active", self.topic("alert", "active"), body, retain=True, expiry_s=expiry_s)

    def event(self, kind: str, detail: str) -> Message:
        """Something an operator wants to know: camera lost, page expired."""
        body = {"kind": kind, "detail": detail[:300]}
        return self._message("event", self.topic("event"), body, expiry_s=NEWS_EXPIRY_S)

    def summary(self, summary: Summary, *, begin_s: float, end_s: float) -> Message:
        """How content people were; too few to tell are withheld.

        Args:
            begin_s, end_s: of the interval, seconds since 1970.
        """
        body = {
            "begin": rfc3339(begin_s),
            "end": rfc3339(end_s),
            "withheld": summary.visits is None,
            "visits": summary.visits,
            "shares": summary.shares,
            "satisfied": summary.satisfied,
        }
        message = self._message("summary", self.topic("summary"), body, expiry_s=SUMMARY_EXPIRY_S)
        return replace(message, priority=Priority.SUMMARY)

    def response(self, request_id: str, *, ok: bool, detail: str) -> Message:
        """Answer a command."""
        body = {"request_id": request_id, "ok": ok, "detail": detail[:300]}
        return self._message("response", self.topic("rsp", request_id), body, expiry_s=60)

    def _message(
        self, schema: str, topic: str, body: Mapping[str, Any], *, retain: bool = False, expiry_s: float | None = None
    ) -> Message:
        payload = {
            "schema": schema,
            "version": 1,
            "site": self._site.name,
            "device": self._site.device,
            "session": self._session,
            "time": rfc3339(self._unix()),
            "boot_id": self._boot_id,
            "monotonic_s": round(self._monotonic(), 3),
            **body,
        }
        return Message(topic, _encode(payload), retain, expiry_s)


@dataclass(frozen=True, slots=True)
class Ack:
    """What a pager says of an alert.

    Attributes:
        snooze_s: with the action snooze, how long the rule shall keep quiet in that zone, up to MAX_SNOOZE_S.
        revision: of the alert that is answered; None for whatever it is when the answer arrives.
    """

    alert_id: str
    action: Action
    by: str
    snooze_s: float = SNOOZE_S
    revision: int | None = None

    def payload(self, *, unix_s: float) -> bytes:
        """Return the JSON to publish on `ack/<id>`."""
        body = {
            "schema": "ack",
            "version": 1,
            "id": self.alert_id,
            "action": self.action,
            "by": self.by,
            "time": rfc3339(unix_s),
            **({} if self.revision is None else {"revision": self.revision}),
            **({"snooze_s": self.snooze_s} if self.action == "snooze" else {}),
        }
        return _encode(body)


def _encode(body: Mapping[str, Any]) -> bytes:
    """Return JSON in UTF-8; what no Unicode text can hold (half a surrogate pair in a file name) becomes `?`."""
    return json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")


def is_name(value: Any) -> TypeGuard[str]:
    """Tell whether somebody may call themselves so."""
    return isinstance(value, str) and 0 < len(value) <= 64 and value.isprintable()


def is_ulid(text: str) -> bool:
    """Tell whether text has the form of a ULID."""
    return re.fullmatch("[0-9A-HJKMNP-TV-Z]{26}", text) is not None


def parse_ack(payload: bytes) -> Ack:
    """Read what a pager sent.

    Raises:
        MessageError: not an ack.
    """
    body = parse_object(payload, schema="ack")
    action, by, alert_id = body.get("action"), body.get("by"), body.get("id")
    if action not in ACTIONS:
        raise MessageError(f"action {str(action)[:40]!r} is not one of {', '.join(ACTIONS)}")
    if not is_name(by):
        raise MessageError("'by' must be a name of 1 to 64 printable characters")
    if not isinstance(alert_id, str) or not is_ulid(alert_id):
        raise MessageError("'id' must be a ULID")
    revision = body.get("revision")
    if revision is not None and (isinstance(revision, bool) or not isinstance(revision, int) or revision < 1):
        raise MessageError("'revision' must be a whole number from 1")
    return Ack(alert_id, action, by, parse_snooze(body), revision)


def parse_snooze(body: Mapping[str, Any], *, may_lift: bool = False) -> float:
    """Return `snooze_s` of an ack or a command, seconds.

    Args:
        may_lift: 0 is allowed, and ends a snooze.

    Raises:
        MessageError: it is not a number up to MAX_SNOOZE_S.
    """
    snooze_s = body.get("snooze_s", SNOOZE_S)
    if may_lift and snooze_s == 0 and not isinstance(snooze_s, bool):
        return 0.0
    if isinstance(snooze_s, bool) or not isinstance(snooze_s, int | float) or not 0 < snooze_s <= MAX_SNOOZE_S:
        raise MessageError(f"snooze_s must be a number of seconds from 0 to {MAX_SNOOZE_S:g}")
    return float(snooze_s)


def finite(number: str) -> float:
    """Return a number of a JSON text; Python would take NaN and infinity, which no browser can read.

    Raises:
        ValueError: it is one of those.
    """
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(number)
    return value


def parse_object(payload: bytes, *, schema: str) -> dict[str, Any]:
    """Read a JSON object of the given schema name, major version 1.

    Raises:
        MessageError: too large, not JSON, or another schema.
    """
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise MessageError(f"{len(payload)} bytes are more than {MAX_PAYLOAD_BYTES}")
    try:
        body = json.loads(payload, parse_float=finite, parse_constant=finite)
    except (ValueError, RecursionError):
        raise MessageError("not JSON") from None
    if not isinstance(body, dict) or body.get("schema") != schema or body.get("version") != 1:
        raise MessageError(f"not an object of schema {schema!r}, version 1")
    return body
