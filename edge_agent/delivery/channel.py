"""One device's session on MQTT: it says who and how it is, and hands each event of the bus to whom it concerns."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from edge_agent.alerting.alert import Alert
from edge_agent.config import Config
from edge_agent.delivery.alerts import AlertPublisher
from edge_agent.delivery.bus import Bus, Connected, Disconnected, Event, PublishResult, Received, SubscriptionDenied
from edge_agent.delivery.commands import Commands, Upkeep
from edge_agent.delivery.home_assistant import discovery
from edge_agent.delivery.limits import Limits
from edge_agent.delivery.messages import Composer, MessageError, State, Summary
from edge_agent.delivery.relay import OutboxRelay
from edge_agent.logs import fields

log = logging.getLogger("edge_agent")

#: How long the broker has to take the last message.
_GOODBYE_S = 0.6
_CONNECTED_ANEW = "connected to the broker, which kept no answers meanwhile; pagers send theirs again"


class Channel:
    """Everything one device says and hears; `open_channel` makes it.

    Args:
        bus, relay: owned from now on, and closed by `close`.
        info: body of the `info` message.
        upkeep: does what commands ask of the agent; None where there is nothing to keep up.
        opens_s: returns when somebody can be paged next, seconds since 1970; None where nobody knows.
    """

    def __init__(
        self,
        config: Config,
        *,
        composer: Composer,
        bus: Bus,
        relay: OutboxRelay,
        alerts: AlertPublisher,
        info: dict[str, str],
        upkeep: Upkeep | None,
        opens_s: Callable[[], float | None],
    ) -> None:
        self._config, self._composer, self._alerts, self._info = config, composer, alerts, info
        self._commands = Commands(
            composer, rebirth=self._rebirth, snooze=alerts.snooze, answer=alerts.answer_all, upkeep=upkeep
        )  # fmt: skip
        self._limits = Limits()
        self._ended, self._opens_s = False, opens_s
        self._connected_before = False
        self.bus, self.relay, self.topic = bus, relay, composer.topic
        self._said: tuple[State, str, dict[tuple[str, str], float], bool] | None = None
        self.state: State = "online"
        #: Why the state is degraded; empty while it is not.
        self.problem = ""
        #: Why staff's answers cannot arrive; empty while they can.
        self.deaf = ""

    @property
    def shadow_pages(self) -> int:
        """Return how many pages shadow mode and opening hours kept back."""
        return self._alerts.shadow_pages

    def resume(self) -> None:
        """Go on with the alerts of a run that could not end them."""
        self._alerts.resume()

    def report(self, alerts: list[Alert]) -> None:
        """Publish steps of alerts; in shadow they are counted, nobody is paged."""
        self._alerts.report(alerts)

    def tell(self, kind: str, detail: str) -> None:
        """Publish an event; it waits for the broker if it must."""
        self.relay.add(self._composer.event(kind, detail))

    def publish_summary(self, summary: Summary, begin_s: float, end_s: float) -> None:
        """Publish how content people were; it waits for the broker if it must."""
        self.relay.add(self._composer.summary(summary, begin_s=begin_s, end_s=end_s))

    def publish_health(self, body: dict[str, Any]) -> None:
        """Publish how the device is, and what is open."""
        self.bus.publish(self._composer.health({"state": self.state, "problem": self.problem[:300], **body}))
        self._alerts.publish_active()

    def set_problem(self, problem: str) -> None:
        """Note what is wrong, empty for nothing; `pump` publishes the state if it changed."""
        self.state, self.problem = "degraded" if problem else "online", problem

    def pump(self) -> None:
        """Hand over what waits, and report what expired; of an alert that is still open it is sent anew."""
        expired = self.relay.pump()
        set_aside = self.relay.newly_set_aside()
        if set_aside is not None:
            detail = f"the outbox could not be read and was moved to {set_aside}"
            log.error(detail)
            self.tell("outbox_set_aside", detail)
        damaged = self.relay.newly_damaged()
        if damaged:
            detail = f"{damaged} records of the outbox were damaged on the disk and set aside; is the SD card worn out?"
            log.error(detail)
            self.tell("message_damaged", detail)
            # Whatever they were: what is open is sent anew.
            self._alerts.spool_open()
        for message in expired:
            log.error("message expired", extra=fields(topic=message.topic))
        self._alerts.note_expired(expired)
        self._alerts.refresh()
        if self._said is not None and self._said != self._to_say():
            self._publish_state()

    def _to_say(self) -> tuple[State, str, dict[tuple[str, str], float], bool]:
        return self.state, self.problem, self._alerts.snoozed(), not self._alerts.pages

    def _publish_state(self) -> None:
        self._said = self._to_say()
        closed = not self._alerts.pages
        opens_unix_s = self._opens_s() if closed else None
        self.bus.publish(
            self._composer.state(
                self.state, self.problem, self._alerts.snoozes(), closed=closed, opens_unix_s=opens_unix_s
            )
        )

    def handle(self, event: Event) -> None:
        """Answer what came from the broker; messages that are none are logged and ignored."""
        match event:
            case Connected():
                kept = event.session_present or not self._connected_before
                self._connected_before = True
                log.info("connected to the broker" if kept else _CONNECTED_ANEW)
                self.deaf = ""
                self._birth()
            case Disconnected():
                self.relay.connection_lost()
                log.warning(f"{event.problem}; trying again")
            case SubscriptionDenied():
                self.deaf = f"staff's answers do not arrive: {event.problem}"
                log.error(self.deaf)
            case PublishResult():
                unheard = self.relay.note_result(event)
                if unheard is not None:
                    self._alerts.note_unheard(unheard)
            case Received():
                try:
                    self._received(event)
                except MessageError as error:
                    self._limits.ignore("a message that is none", event.topic, str(error))

    def _received(self, event: Received) -> None:
        match self.topic.below(event.topic):
            case ["ack", alert_id]:
                if not self._alerts.knows(alert_id):
                    self._limits.ignore("an answer to an alert that is over", event.topic)
                elif not self._limits.allows("ack"):
                    self._limits.ignore("an answer, for there are too many", event.topic)
                else:
                    self._alerts.note_ack(alert_id, event.payload)
            case ["cmd", verb] if not event.retained:
                if self._limits.allows(verb):
                    self.bus.publish(self._commands.obey(verb, event.payload))
                else:
                    self._limits.ignore("a command, for there are too many", event.topic)

    def _birth(self) -> None:
        self._publish_state()
        self.bus.publish(self._composer.info(self._info))
        if self._config.home_assistant.enabled:
            for message in discovery(self._config, self.topic, version=self._info["agent_version"]):
                self.bus.publish(message)
        self._alerts.publish_active()

    def _rebirth(self) -> None:
        self._birth()
        self._alerts.repeat()

    def end(self, *, goes_on: bool = False) -> None:
        """Close what is open and say goodbye; with `goes_on` leave open alerts to the run that follows at once."""
        # What was handled is acknowledged, or the broker would send it to the next run: a reload would never end.
        self._note_results()
        if goes_on:
            self._alerts.write_note()
            self.pump()
            # The state to be read if nothing follows: a connection that ends in order has no last will.
            self.bus.stop(self._composer.state("degraded", "beginning anew"), timeout_s=_GOODBYE_S)
        else:
            self._alerts.close_all()
            self.pump()
            self._alerts.publish_active()
            self.bus.stop(self._composer.state("stopped"), timeout_s=_GOODBYE_S)
        self._ended = True
        self._note_results()

    def _note_results(self) -> None:
        for event in self.bus.events():
            if isinstance(event, PublishResult):
                self.relay.note_result(event)

    def close(self) -> int:
        """Close bus and outbox, without a goodbye where `end` said none; return how many messages wait."""
        if not self._ended:
            self.bus.stop()
        return self.relay.close()
