"""What a device leaves retained at the broker: how it asks for that, and how one that was no real one takes it back.

A device whose state folder was put back to an earlier moment learns from the broker what it said since. An exercise or
an audit runs as a device of its own; what it left would stand in the fleet's table for ever.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence

from edge_agent.config import Config
from edge_agent.delivery.bus import Connected, Disconnected, Event, PublishResult, Received, SubscriptionDenied
from edge_agent.delivery.messages import Message, Topics
from edge_agent.delivery.mqtt import MqttBus
from edge_agent.delivery.password import read_password

#: Topics below a device on which the broker keeps the last message.
RETAINED_TOPICS = ("state", "health", "info", "alert/active")
_FORGET_WITHIN_S = 5.0
#: A device that starts waits so long for a connection, and then so long for what the broker keeps.
_ASK_WITHIN_S, _KEPT_WITHIN_S = 3.0, 1.0


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
    give_up_s = time.monotonic() + _FORGET_WITHIN_S
    unanswered = set[int | None]()

    def is_last_answer(event: Event) -> bool:
        if isinstance(event, PublishResult):
            unanswered.discard(event.token)
        return not unanswered

    bus.start()
    if bus.wait_for(lambda event: isinstance(event, Connected), _FORGET_WITHIN_S):
        # MQTT: an empty retained message takes the place of the one before, and is not kept itself.
        unanswered.update(bus.publish(Message(topic(name), b"", retain=True)) for name in RETAINED_TOPICS)
        unanswered.discard(None)
        bus.wait_for(is_last_answer, give_up_s - time.monotonic())
    bus.stop()


def _connection(settings: Config, *, suffix: str = "", subscriptions: Sequence[str] = ()) -> MqttBus:
    return MqttBus(
        settings.mqtt,
        client_id=f"{settings.site.name}/{settings.site.device}{suffix}",
        password=read_password(settings.mqtt),
        subscriptions=subscriptions,
        keep_session=False,
    )


def _topics(settings: Config) -> Topics:
    return Topics(settings.mqtt, site=settings.site.name, device=settings.site.device)
