"""What a device leaves retained at the broker: how it asks for that, and how it is taken back.

A device whose state folder was put back to an earlier moment learns from the broker what it said since. An exercise or
an audit runs as a device of its own; what it left would stand in the fleet's table for ever. So would a device that
was sold: whoever retires it removes what it left, whatever that is.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass

from edge_agent.config import Config
from edge_agent.delivery.bus import Connected, Disconnected, Event, PublishResult, Received, SubscriptionDenied
from edge_agent.delivery.home_assistant import announced
from edge_agent.delivery.messages import Message, MessageError, Topics, parse_object, printable
from edge_agent.delivery.mqtt import MqttBus
from edge_agent.delivery.password import read_password
from edge_agent.errors import BrokerError

#: Topics below a device on which the broker keeps the last message.
RETAINED_TOPICS = ("state", "health", "info", "alert/active")
_FORGET_WITHIN_S = 5.0
#: A device that starts waits so long for a connection, and then so long for what the broker keeps.
_ASK_WITHIN_S, _KEPT_WITHIN_S = 3.0, 1.0
#: Whoever looks for what is left waits so long at most.
_LOOK_WITHIN_S = 10.0


def ask(settings: Config, name: str = "alert/active") -> bytes | None:
    """Return what the broker keeps on one of a device's own topics.

    None where it keeps nothing, cannot be reached within a few seconds, or does not let this device read it; brokers
    need not say which.

    Args:
        settings: the device's: its topic, its user.

    Raises:
        ConfigError: the broker's password or TLS files cannot be used.
    """
    topic = _topics(settings)(name)
    # Under a name of its own: the device's has a session with answers for the device.
    bus = _connection(settings, suffix=f"/asks-{secrets.token_hex(4)}", subscriptions=(topic,))
    found: list[bytes] = []
    up = False

    def is_over(event: Event) -> bool:
        nonlocal up
        up = isinstance(event, Connected)
        if isinstance(event, Received) and event.topic == topic:
            found.append(event.payload)
        return up or bool(found) or isinstance(event, Disconnected | SubscriptionDenied)

    bus.start()
    try:
        if bus.wait_for(is_over, _ASK_WITHIN_S) and up:
            bus.wait_for(is_over, _KEPT_WITHIN_S)
    finally:
        bus.stop(timeout_s=0.5)
    return found[0] if found else None


def forget(settings: Config) -> None:
    """Remove a device's retained messages; if the broker is away, they stay.

    Args:
        settings: the device's: its topic, its user.
    """
    bus, topic = _connection(settings), _topics(settings)
    bus.start()
    _take_back(bus, [topic(name) for name in RETAINED_TOPICS])
    bus.stop()


@dataclass(frozen=True, slots=True)
class Found:
    """What the broker keeps of a device.

    Attributes:
        topics: of its retained messages, sorted.
        state: what it said last of itself, such as `offline`; empty where that is not kept.
        alive: it says that it is there, or was heard to speak.
    """

    topics: tuple[str, ...]
    state: str
    alive: bool


class Leftovers:
    """The retained messages of a device that is not this one, also of versions that left others.

    Args:
        settings: how to reach the broker, as a user who may read and write all of that.
    """

    def __init__(self, settings: Config, *, site: str, device: str) -> None:
        self._settings = settings
        self._own = Topics(settings.mqtt, site=site, device=device)
        self._wanted = (self._own("#"), announced(settings.home_assistant.prefix, site=site, device=device))

    def look(self) -> Found:
        """Return what there is.

        Raises:
            BrokerError: there is no connection within some seconds, or the broker refuses the subscription.
        """
        kept: dict[str, bytes] = {}
        spoke, problem = False, ""

        def brings_news(event: Event) -> bool:
            nonlocal spoke, problem
            if isinstance(event, SubscriptionDenied):
                raise BrokerError(event.problem)
            if isinstance(event, Disconnected):
                problem = event.problem
            elif isinstance(event, Received) and event.retained:
                kept[event.topic] = event.payload
            elif isinstance(event, Received):
                # Staff and others speak to it; all else it says itself.
                below = self._own.below(event.topic)
                spoke |= bool(event.payload) and bool(below) and below[0] not in ("ack", "cmd")
            return isinstance(event, Connected | Received)

        bus = _connection(self._settings, client_id=f"retire-{secrets.token_hex(4)}", subscriptions=self._wanted)
        give_up_s = time.monotonic() + _LOOK_WITHIN_S
        bus.start()
        try:
            heard = bus.wait_for(brings_news, _LOOK_WITHIN_S)
            while heard:
                heard = bus.wait_for(brings_news, min(_KEPT_WITHIN_S, give_up_s - time.monotonic()))
            if not bus.connected:
                raise BrokerError(problem or "the broker does not answer")
        finally:
            bus.stop()
        state = _state(kept.get(self._own("state"), b""))
        return Found(tuple(sorted(kept)), state, spoke or state in ("online", "degraded"))

    def remove(self, topics: Sequence[str]) -> str:
        """Remove what lies on topics; return what is in the way, nothing where the broker took it all.

        What says that the device is there goes last: should this be interrupted, it is still seen.
        """
        bus = _connection(self._settings, client_id=f"retire-{secrets.token_hex(4)}")
        last = self._own("state")
        ordered = sorted(topics, key=lambda topic: (topic == last, topic))
        bus.start()
        try:
            return _take_back(bus, ordered)
        finally:
            bus.stop()


def _state(payload: bytes) -> str:
    try:
        return printable(parse_object(payload, schema="state").get("state", ""))
    except MessageError:
        return ""


def _take_back(bus: MqttBus, topics: Sequence[str]) -> str:
    """Remove retained messages; return the first problem."""
    give_up_s = time.monotonic() + _FORGET_WITHIN_S
    unanswered = set[int | None]()
    problem = ""

    def is_last_answer(event: Event) -> bool:
        nonlocal problem
        if isinstance(event, PublishResult):
            unanswered.discard(event.token)
            problem = problem or event.problem
        return not unanswered

    if not bus.wait_for(lambda event: isinstance(event, Connected), _FORGET_WITHIN_S):
        return "the broker does not answer"
    # MQTT: an empty retained message takes the place of the one before, and is not kept itself.
    unanswered.update(bus.publish(Message(topic, b"", retain=True)) for topic in topics)
    unanswered.discard(None)
    bus.wait_for(is_last_answer, give_up_s - time.monotonic())
    return problem


def _connection(
    settings: Config, *, client_id: str = "", suffix: str = "", subscriptions: Sequence[str] = ()
) -> MqttBus:
    return MqttBus(
        settings.mqtt,
        client_id=client_id or f"{settings.site.name}/{settings.site.device}{suffix}",
        password=read_password(settings.mqtt),
        subscriptions=subscriptions,
        keep_session=False,
    )


def _topics(settings: Config) -> Topics:
    return Topics(settings.mqtt, site=settings.site.name, device=settings.site.device)
