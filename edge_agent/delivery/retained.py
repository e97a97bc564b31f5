"""What a device leaves retained at the broker, and how a device that was no real one takes it back.

An exercise or an audit runs as a device of its own; what it left would stand in the fleet's table for ever.
"""

from __future__ import annotations

import time

from edge_agent.config import Config
from edge_agent.delivery.bus import Connected, Event, PublishResult
from edge_agent.delivery.messages import Message, Topics
from edge_agent.delivery.mqtt import MqttBus
from edge_agent.delivery.password import read_password

#: Topics below a device on which the broker keeps the last message.
RETAINED_TOPICS = ("state", "health", "info", "alert/active")
_FORGET_WITHIN_S = 5.0


def forget(settings: Config) -> None:
    """Remove a device's retained messages; if the broker is away, they stay.

    Args:
        settings: the device's: its topic, its user.
    """
    bus = MqttBus(
        settings.mqtt,
        client_id=f"{settings.site.name}/{settings.site.device}",
        password=read_password(settings.mqtt),
        subscriptions=(),
        keep_session=False,
    )
    topic = Topics(settings.mqtt, site=settings.site.name, device=settings.site.device)
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
