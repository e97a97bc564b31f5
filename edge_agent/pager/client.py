"""A pager's side of the conversation: alerts in, each step once; acknowledgements out."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from edge_agent.alerting.alert import Action
from edge_agent.delivery.bus import (
    FAILURE,
    Bus,
    Connected,
    Disconnected,
    Event,
    PublishResult,
    Received,
    SubscriptionDenied,
)
from edge_agent.delivery.messages import (
    MAX_BODIES,
    Ack,
    Message,
    MessageError,
    is_ulid,
    parse_ack,
    parse_object,
    printable,
)
from edge_agent.pager.duty import Duty, watched
from edge_agent.pager.kiosks import Kiosk, Kiosks
from edge_agent.pager.news import Link, News, Nonsense, Refusal
from edge_agent.pager.page import Page, parse_page
from edge_agent.pager.satisfied import parse_summary

ACK_EXPIRY_S = 600
#: What is said of a page that is over is worth telling a kiosk that is switched off for the weekend.
VERDICT_EXPIRY_S = 7 * 24 * 3600.0
#: A page its agent no longer knows is closed after so long.
GIVE_UP_S = 5.0
#: An answer that changed nothing is sent again while its device says that the alert is open: how soon, how often.
ANSWER_AGAIN_S, _ANSWER_TIMES = 5.0, 4
#: How often an agent is asked, at most, to repeat alerts this pager never saw.
ASK_S = 5.0
#: Below a device's topic, what a pager listens to; what tells a kiosk from a stranger comes first, for a broker keeps
#: only so many messages for each client (mosquitto 1,000), and drops what comes after them.
TOPICS = ("state", "health", "alert/+", "ack/+", "rsp/+", "summary")
#: So many pages of one kiosk, and of all, may be open; whoever sends more is no kiosk, and must not hide the others'.
MAX_OPEN_OF_ONE, MAX_OPEN = 50, 500
#: What keeps coming is taken in for so long before anything is shown of it.
_AT_ONCE_S = 0.1
#: After connecting, what the broker kept comes within so long.
_KEPT_WITHIN_S = 1.0
#: So many ids of one kiosk are looked at, and so many kiosks that send nonsense are named.
_MAX_IDS = 1000
#: More characters has no topic of a kiosk.
_MAX_TOPIC = 400


class _FullError(MessageError):
    """There is no room for one more page."""


_ALL = Duty()


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
        duty: whose pages are shown, and which kiosks must watch.
    """

    def __init__(
        self,
        bus: Bus,
        *,
        name: str,
        duty: Duty = _ALL,
        unix: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bus, self._name, self._duty, self._unix, self._monotonic = bus, name, duty, unix, monotonic
        self._revisions: dict[str, int] = {}
        #: Open pages that their agent no longer counts among its open alerts → since when.
        self._missing_s: dict[str, float] = {}
        self._asked_s: dict[str, float] = {}
        self._acks: list[Message] = []
        #: Alert id → answer; a device that was away when it came, and whose broker keeps no session, never heard it.
        self._unheard: dict[str, _Answer] = {}
        self._in_flight: dict[int, Message] = {}
        self.open: dict[str, Page] = {}
        #: Who watches.
        self.kiosks = Kiosks(unix=unix, monotonic=monotonic)
        #: When what the broker kept has come, and kiosks are asked whether it still holds.
        self._doubt_s: float | None = None
        self._connected_before = False
        self._nonsense: set[str] = set()
        #: Pages of kiosks that are gone, as an answer has left them: given here, or by colleagues.
        self._answered_here: list[Page] = []
        self._answered_there: dict[str, Page] = {}
        #: Told of every step of this pager's pages, also of those that nobody is shown because they are over.
        self.heard: Callable[[Page], None] = lambda _: None

    def poll(self) -> list[News]:
        """Return what is new; a step that arrives twice, or late, is shown once."""
        news: list[News] = [*self._answered_here]
        self._answered_here.clear()
        give_up_s = self._monotonic() + _AT_ONCE_S
        # A broker sends only so many ahead of their acknowledgements, which asking for the next ones gives.
        while events := self._bus.events():
            for event in events:
                news += self._handled(event)
            if self._monotonic() >= give_up_s:
                break
        if self._doubt_s is not None and self._monotonic() >= self._doubt_s:
            self._doubt_s = None
            for topic in self.kiosks.doubt():
                self._command(topic, "ping")
        news += self.kiosks.turn()
        news = [item for item in news if not isinstance(item, Kiosk) or self._duty.includes(item.name)]
        return [*news, *self._answered_elsewhere(), *self._given_up()]

    def _handled(self, event: Event) -> list[News]:
        match event:
            case Connected():
                self._flush()
                self._doubt_s = self._monotonic() + _KEPT_WITHIN_S
                known_before, self._connected_before = self._connected_before, True
                return [Link("", forgotten=known_before and not event.session_present)]
            case Disconnected():
                self._acks = [*self._in_flight.values(), *self._acks]
                self._in_flight.clear()
                return [Link(event.problem)]
            case SubscriptionDenied():
                return [Link(event.problem)]
            case PublishResult():
                answered = self._in_flight.pop(event.token, None)
                refused = answered is not None and event.reason >= FAILURE
                return [Refusal(answered.topic)] if answered is not None and refused else []
        try:
            return self._received(event)
        except MessageError as error:
            # Once a kiosk, and once for all that find no room: a thousand a second would be as bad as none.
            sender = "" if isinstance(error, _FullError) else _sender(event.topic)
            if sender in self._nonsense or len(self._nonsense) >= _MAX_IDS:
                return []
            self._nonsense.add(sender)
            return [Nonsense(printable(event.topic), str(error))]

    def _received(self, event: Received) -> list[News]:
        if not event.topic.isprintable() or len(event.topic) > _MAX_TOPIC:
            raise MessageError("its topic is none of a kiosk")
        device_topic = _sender(event.topic)
        _, _, below = event.topic.partition("/alert/")
        if "/ack/" in event.topic:
            self._note_answer(device_topic, event)
            return []
        if not event.retained:
            self.kiosks.note_alive(device_topic)
        if "/rsp/" in event.topic:
            return []
        if event.topic.endswith("/summary"):
            found = parse_summary(device_topic, event.payload, unix_s=self._unix())
            return [] if found is None else [found]
        if not below:
            changed = self.kiosks.note(event)
            return [] if changed is None else [changed]
        if below == "active":
            return [*self._compare(device_topic, event)]
        return [*self._stepped(parse_page(device_topic, below, parse_object(event.payload, schema="alert")))]

    def _stepped(self, page: Page) -> list[Page]:
        if page.revision <= self._revisions.get(page.id, 0):
            return []
        shown = page.id in self.open
        if not shown and page.step != "cleared":
            self._make_room(page)
        self._remember(page)
        return [page] if shown or page.id in self.open else []

    def _make_room(self, page: Page) -> None:
        """See to it that a page that is new can be opened.

        Where there are too many, one of a kiosk that says how it is goes before those of senders that only page; then
        the oldest has to go, and is opened again when its kiosk names it next.

        Raises:
            MessageError: there is no room.
        """
        if len(self.open) >= MAX_OPEN and self.kiosks.get(page.device_topic) is None:
            raise _FullError(f"{len(self.open)} pages are open; no more of senders that say nothing of themselves")
        of_one = sum(one.device_topic == page.device_topic for one in self.open.values())
        if of_one >= MAX_OPEN_OF_ONE:
            raise MessageError(f"there are {of_one} open pages of this kiosk")
        if len(self.open) >= MAX_OPEN:
            strange = (one for one in self.open.values() if self.kiosks.get(one.device_topic) is None)
            gone = next(strange, next(iter(self.open.values())))
            del self.open[gone.id]
            self._revisions.pop(gone.id, None)

    def _compare(self, device_topic: str, event: Received) -> list[Page]:
        """Compare the open pages with the alerts their agent says are open; return those that are new.

        Alerts that this pager never saw are taken from there, and asked for where they are not. Pages that the agent
        does not know are given up after GIVE_UP_S: their last step may still be on its way.

        Raises:
            MessageError: it is no list of alerts.
        """
        # Taken back: the device is gone for good, and so are its alerts.
        body = parse_object(event.payload, schema="active") if event.payload else {"ids": []}
        known_ids, bodies = body.get("ids"), body.get("alerts", [])
        if not isinstance(known_ids, list) or len(known_ids) > _MAX_IDS:
            raise MessageError(f"'ids' is no list of at most {_MAX_IDS}")
        if not all(isinstance(known, str) and is_ulid(known) for known in known_ids):
            raise MessageError("'ids' is no list of alerts")
        if not isinstance(bodies, list):
            raise MessageError("'alerts' is no list")
        news = []
        for one in bodies[:MAX_BODIES]:
            if not isinstance(one, dict) or one.get("id") not in known_ids:
                raise MessageError("'alerts' holds something else")
            news += self._stepped(parse_page(device_topic, str(one["id"]), {**body, **one, "repeated": True}))
        for page in self.open.values():
            if page.device_topic == device_topic:
                if page.id in known_ids:
                    self._missing_s.pop(page.id, None)
                else:
                    self._missing_s.setdefault(page.id, self._monotonic())
        now_s = self._monotonic()
        self._answer_again(known_ids, now_s)
        if all(alert_id in self._revisions for alert_id in known_ids):
            return news
        if now_s - self._asked_s.get(device_topic, float("-inf")) >= ASK_S:
            self._asked_s[device_topic] = now_s
            self._command(device_topic, "rebirth")
        return news

    def recall(self, page: Page) -> None:
        """Take over a page that was open when an earlier run ended; what its agent says goes before."""
        if page.id not in self._revisions:
            self._remember(page)

    def doubts(self, alert_id: str) -> bool:
        """Tell whether the page's agent does not know of it at the moment."""
        return alert_id in self._missing_s

    def _command(self, device_topic: str, verb: str, **values: Any) -> None:
        body = {"schema": "command", "version": 1, "request_id": secrets.token_hex(8), **values}
        self._bus.publish(Message(f"{device_topic}/cmd/{verb}", json.dumps(body).encode(), expiry_s=60))

    def looked_after(self) -> list[Kiosk]:
        """Return the kiosks to look after, the troubled ones first."""
        return self._duty.of(self.kiosks.all())

    @property
    def watched(self) -> bool:
        """Whether every kiosk watches or is closed, and none is snoozed."""
        return watched(self.looked_after())

    @property
    def calm(self) -> bool:
        """Whether, besides, no page is open."""
        return self.watched and not self.open

    def lift_snoozes(self, kiosk: Kiosk, *, by: str | None = None) -> None:
        """Let a kiosk page again; it obeys now or not at all."""
        self._command(kiosk.topic, "snooze", snooze_s=0, by=by or self._name)

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
                given_up = replace(page, step="cleared", reason="stopped", revision=page.revision + 1)
                gone.append(replace(given_up, stepped_s=self._unix()))
                self._remember(gone[-1])
        return gone

    def act(self, page: Page, action: Action, *, by: str | None = None) -> None:
        """Acknowledge, resolve or mark as false alarm; sent as soon as the broker is there.

        Where the kiosk is gone, nobody will say what became of the answer: it counts here and now.

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
        if self._is_dead(page) and page.id in self.open:
            answered = _answered(self.open[page.id], action, by=by or self._name, unix_s=self._unix())
            self._remember(answered)
            # Nothing shows yet that it heard: should its alert still be open then, it is told again.
            self._unheard[page.id] = _Answer(message, self._monotonic())
            self._answered_here.append(answered)

    def judge(self, device_topic: str, alert_id: str, verdict: Action, *, by: str) -> None:
        """Say of a page that is over what it was; its kiosk counts it, once."""
        payload = Ack(alert_id, verdict, by).payload(unix_s=self._unix())
        message = Message(f"{device_topic}/ack/{alert_id}", payload, expiry_s=VERDICT_EXPIRY_S)
        self._acks = [waiting for waiting in self._acks if waiting.topic != message.topic] + [message]
        self._flush()

    def _is_dead(self, page: Page) -> bool:
        kiosk = self.kiosks.get(page.device_topic)
        return kiosk is not None and kiosk.dead

    def _note_answer(self, device_topic: str, event: Received) -> None:
        """Keep what another pager answers to an open page, for the case that its kiosk cannot say so itself.

        Raises:
            MessageError: it is no answer.
        """
        page = self.open.get(event.topic.rpartition("/")[2])
        if page is None or page.device_topic != device_topic or not event.payload:
            return
        ack = parse_ack(event.payload)
        if ack.alert_id == page.id and ack.revision in (None, page.revision):
            self._answered_there[page.id] = _answered(page, ack.action, by=ack.by, unix_s=self._unix())

    def _answered_elsewhere(self) -> list[Page]:
        """Return the pages of dead kiosks that colleagues have answered."""
        news = []
        for alert_id, answered in list(self._answered_there.items()):
            page = self.open.get(alert_id)
            if page is None or page.revision != answered.revision:
                del self._answered_there[alert_id]
            elif self._is_dead(page):
                del self._answered_there[alert_id]
                if (page.step, page.by, page.reason) != (answered.step, answered.by, answered.reason):
                    self._remember(answered)
                    news.append(answered)
        return news

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
        elif self._duty.covers(page):
            self.open[page.id] = page
        if self._duty.covers(page):
            self.heard(page)


def _sender(topic: str) -> str:
    """Return the topic of the device below which a message came."""
    for kind in ("/alert/", "/ack/", "/rsp/"):
        if kind in topic:
            return topic.partition(kind)[0]
    return topic.rpartition("/")[0]


def _answered(page: Page, action: Action, *, by: str, unix_s: float) -> Page:
    """Return a page as an answer leaves it, by the same revision: should its kiosk come back, what it says counts."""
    step = "acked" if action in ("ack", "on_my_way") else "cleared"
    return replace(page, step=step, by=by, reason="" if action == "ack" else action, stepped_s=unix_s)
