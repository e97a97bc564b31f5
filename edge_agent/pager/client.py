"""A pager's side of the conversation: alerts in, each step once; acknowledgements out."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from edge_agent.alerting.rules import Action
from edge_agent.delivery.bus import FAILURE, Bus, Connected, Disconnected, PublishResult, Received, SubscriptionDenied
from edge_agent.delivery.messages import Ack, Message, MessageError, is_ulid, parse_object, printable

ACK_EXPIRY_S = 600
#: A page its agent no longer knows is closed after so long.
GIVE_UP_S = 5.0
#: An answer that changed nothing is sent again while its device says that the alert is open: how soon, how often.
ANSWER_AGAIN_S, _ANSWER_TIMES = 5.0, 4
#: How often an agent is asked, at most, to repeat alerts this pager never saw.
ASK_S = 5.0


@dataclass(frozen=True, slots=True)
class Page:
    """An alert as staff see it, after its latest step.

    Attributes:
        device_topic: topic of the device; the alert came below it, acknowledgements go there.
        step: raised, escalated, acked or cleared.
        groups: everybody paged so far.
        people: how many the alert is about.
        raised_at: RFC 3339, UTC; empty if the agent does not say.
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

    @property
    def crowd(self) -> str:
        """How many people, in words; empty for one."""
        return f"{self.people} people" if self.people > 1 else ""


@dataclass(frozen=True, slots=True)
class Link:
    """The connection came up (`problem` empty) or went down."""

    problem: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """The broker does not let this pager answer on a topic."""

    topic: str


@dataclass(slots=True)
class _Answer:
    """What this pager said of an alert, until a step of the alert shows that it arrived."""

    message: Message
    sent_s: float
    times: int = 1


class Pager:
    """Keeps the open pages of one member of staff.

    Args:
        bus: subscribed to the alerts of the devices to watch.
        name: who acknowledges.
        group: show only pages that this group is paged with; None for all.
    """

    def __init__(
        self,
        bus: Bus,
        *,
        name: str,
        group: str | None = None,
        unix: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bus, self._name, self._group, self._unix, self._monotonic = bus, name, group, unix, monotonic
        self._revisions: dict[str, int] = {}
        #: Open pages that their agent no longer counts among its open alerts → since when.
        self._missing_s: dict[str, float] = {}
        self._asked_s: dict[str, float] = {}
        self._acks: list[Message] = []
        #: Alert id → answer; a device that was away when it came, and whose broker keeps no session, never heard it.
        self._unheard: dict[str, _Answer] = {}
        self._in_flight: dict[int, Message] = {}
        self.open: dict[str, Page] = {}

    def poll(self) -> list[Page | Link | Refusal]:
        """Return what is new; a step that arrives twice, or late, is shown once."""
        news: list[Page | Link | Refusal] = []
        for event in self._bus.events():
            if isinstance(event, Connected):
                news.append(Link(""))
                self._flush()
            elif isinstance(event, Disconnected):
                news.append(Link(event.problem))
                self._acks = [*self._in_flight.values(), *self._acks]
                self._in_flight.clear()
            elif isinstance(event, SubscriptionDenied):
                news.append(Link(event.problem))
            elif isinstance(event, PublishResult):
                answered = self._in_flight.pop(event.token, None)
                if answered is not None and event.reason >= FAILURE:
                    news.append(Refusal(answered.topic))
            elif event.topic.endswith("/alert/active"):
                self._compare(event)
            else:
                page = _parse(event.topic, event.payload)
                if page is not None and page.revision > self._revisions.get(page.id, 0):
                    shown = page.id in self.open
                    self._remember(page)
                    if shown or page.id in self.open:
                        news.append(page)
        return [*news, *self._given_up()]

    def _compare(self, event: Received) -> None:
        """Compare the open pages with the alerts their agent says are open.

        Alerts that this pager never saw are asked for. Pages that the agent does not know are given up after
        GIVE_UP_S: their last step may still be on its way.
        """
        try:
            known_ids = parse_object(event.payload, schema="active").get("ids")
        except MessageError:
            return
        if not isinstance(known_ids, list) or not all(isinstance(known, str) for known in known_ids):
            return
        device_topic = event.topic.removesuffix("/alert/active")
        for page in self.open.values():
            if page.device_topic == device_topic:
                if page.id in known_ids:
                    self._missing_s.pop(page.id, None)
                else:
                    self._missing_s.setdefault(page.id, self._monotonic())
        now_s = self._monotonic()
        self._answer_again(known_ids, now_s)
        if all(alert_id in self._revisions for alert_id in known_ids):
            return
        if now_s - self._asked_s.get(device_topic, float("-inf")) >= ASK_S:
            self._asked_s[device_topic] = now_s
            body = {"schema": "command", "version": 1, "request_id": secrets.token_hex(8)}
            self._bus.publish(Message(f"{device_topic}/cmd/rebirth", json.dumps(body).encode(), expiry_s=60))

    def _answer_again(self, known_ids: list[str], now_s: float) -> None:
        for alert_id in known_ids:
            answer = self._unheard.get(alert_id)
            if answer is None or now_s - answer.sent_s < ANSWER_AGAIN_S:
                continue
            answer.sent_s, answer.times = now_s, answer.times + 1
            if answer.times >= _ANSWER_TIMES:
                del self._unheard[alert_id]
            self._acks.append(answer.message)
        self._flush()

    def _given_up(self) -> list[Page]:
        """Close pages that their agent has not known of for a while."""
        now_s = self._monotonic()
        gone = []
        for alert_id, since_s in list(self._missing_s.items()):
            page = self.open.get(alert_id)
            if page is None:
                del self._missing_s[alert_id]
            elif now_s - since_s >= GIVE_UP_S:
                gone.append(replace(page, step="cleared", reason="stopped", revision=page.revision + 1))
                self._remember(gone[-1])
        return gone

    def act(self, page: Page, action: Action, *, by: str | None = None) -> None:
        """Acknowledge, resolve or mark as false alarm; sent as soon as the broker is there.

        Args:
            page: as whoever answers saw it.
            by: who answers; the pager's own name by default.
        """
        payload = Ack(page.id, action, by or self._name, revision=page.revision).payload(unix_s=self._unix())
        message = Message(f"{page.device_topic}/ack/{page.id}", payload, expiry_s=ACK_EXPIRY_S)
        self._unheard[page.id] = _Answer(message, self._monotonic())
        # Of answers that still wait for the broker, the last counts.
        self._acks = [waiting for waiting in self._acks if waiting.topic != message.topic] + [message]
        self._flush()

    def _flush(self) -> None:
        while self._acks and (token := self._bus.publish(self._acks[0])) is not None:
            self._in_flight[token] = self._acks.pop(0)

    def _remember(self, page: Page) -> None:
        self._revisions[page.id] = page.revision
        self._unheard.pop(page.id, None)
        while len(self._revisions) > 10_000:
            del self._revisions[next(iter(self._revisions))]
        if page.step == "cleared":
            self.open.pop(page.id, None)
            self._missing_s.pop(page.id, None)
        elif self._group is None or self._group in page.groups:
            self.open[page.id] = page


def _parse(topic: str, payload: bytes) -> Page | None:
    """Return the page, or None for anything that is not one; a pager must outlive strange neighbours."""
    try:
        body: dict[str, Any] = parse_object(payload, schema="alert")
        device_topic, _, alert_id = topic.rpartition("/alert/")
        if not device_topic or not is_ulid(alert_id) or body["id"] != alert_id:
            return None
        return Page(
            device_topic=device_topic,
            id=alert_id,
            revision=int(body["revision"]),
            step=printable(body["step"]),
            severity=printable(body["severity"]),
            groups=tuple(printable(name) for name in body["groups"]),
            message=printable(body["message"]),
            place=printable(body["place"]),
            zone=printable(body["zone"]),
            device=printable(f"{body['site']}/{body['device']}"),
            emotions=tuple(printable(name) for name in body["emotions"]),
            score=float(body["score"]),
            by=printable(body["by"]),
            reason=printable(body["reason"]),
            raised_at=printable(body.get("raised_at", "")),
            people=int(body.get("people", 1)),
        )
    except (MessageError, KeyError, TypeError, ValueError, OverflowError):
        return None
