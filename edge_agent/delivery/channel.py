"""What the agent says over MQTT and what it answers: its state, each step of an alert, acknowledgements, commands."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

from edge_agent.alerting.rules import Alert, RuleEngine
from edge_agent.alerting.tracker import Track
from edge_agent.clock import synchronised
from edge_agent.config import Config
from edge_agent.delivery.bus import Bus, Connected, Disconnected, Event, PublishResult, Received, SubscriptionDenied
from edge_agent.delivery.episodes import Episodes, Now, from_text, to_text
from edge_agent.delivery.home_assistant import discovery
from edge_agent.delivery.messages import (
    Composer,
    MessageError,
    State,
    Summary,
    boot_id,
    parse_ack,
    parse_object,
    parse_snooze,
)
from edge_agent.delivery.relay import OutboxRelay
from edge_agent.logs import fields

log = logging.getLogger("edge_agent")

#: How often the note about open alerts and muted people is renewed: the next run must know how long nobody watched,
#: and where they were.
_NOTE_S = 30.0
#: Name of the note about open alerts.
_EPISODES = "episodes"
_EXERCISE_ONLY = "this is an exercise, not a device"


class Answered(Protocol):
    """Is told what staff said of a rule's page."""

    def __call__(self, rule: str, *, false_alarm: bool, people: tuple[Track, ...]) -> None:
        """Note it.

        Args:
            people: those in the alert, as they were last seen; empty where nobody knows them.
        """


class Upkeep(Protocol):
    """What the agent does when asked; each returns what is in the way, or nothing when all is well."""

    def self_test(self) -> str:
        """Try model, camera and disk."""

    def reload(self) -> str:
        """Begin anew with what the configuration file says now."""


class Channel:
    """One device's side of it.

    Args:
        alert_time_s: now on the alerting clock.
        info: body of the `info` message.
        stepped: told of every step of an alert, in shadow mode too.
        answered: told when staff resolved a page or called it a false alarm.
        upkeep: does what commands ask for; None where there is nothing to keep up.
    """

    def __init__(
        self,
        config: Config,
        *,
        composer: Composer,
        bus: Bus,
        relay: OutboxRelay,
        rules: RuleEngine,
        alert_time_s: Callable[[], float],
        info: dict[str, str],
        stepped: Callable[[Alert], None],
        answered: Answered,
        upkeep: Upkeep | None = None,
    ) -> None:
        self._config, self._composer, self._bus, self._relay = config, composer, bus, relay
        self._rules, self._alert_time_s, self._info, self._answered = rules, alert_time_s, info, answered
        self._stepped, self._upkeep = stepped, upkeep
        self._live = config.privacy.notice_posted
        self._next_note_s = 0.0
        self._active_changed = False
        #: Pages that shadow mode kept back.
        self.shadow_pages = 0
        self.state: State = "online"
        #: Why the state is degraded; empty while it is not.
        self.problem = ""
        #: Why staff's answers cannot arrive; empty while they can.
        self.deaf = ""

    def resume(self) -> None:
        """Go on with the alerts of a run that could not end them."""
        text = self._relay.note(_EPISODES)
        if text is None:
            return
        episodes, over = from_text(text, self._config.rules, now=self._now())
        self._composer.raised_unix_s.update(episodes.raised_unix_s)
        if not self._live:
            return  # what a live run left is over; pagers close what their agent no longer names
        self._rules.restore(episodes.alerts, episodes.quiet, episodes.mutes)
        for alert in episodes.alerts:
            log.warning("alert goes on after a restart", extra=fields(id=alert.id, rule=alert.rule.name))
        self.report([replace(alert, step="cleared", revision=alert.revision + 1, reason="stopped") for alert in over])

    def tell(self, kind: str, detail: str) -> None:
        """Publish an event; it waits for the broker if it must."""
        self._relay.add(self._composer.event(kind, detail))

    def publish_summary(self, summary: Summary, begin_s: float, end_s: float) -> None:
        """Publish how content people were; it waits for the broker if it must."""
        self._relay.add(self._composer.summary(summary, begin_s=begin_s, end_s=end_s))

    def report(self, alerts: list[Alert]) -> None:
        """Publish steps of alerts; in shadow mode they are counted, nobody is paged."""
        for alert in alerts:
            self._stepped(alert)
        if not self._live:
            self.shadow_pages += sum(alert.step == "raised" for alert in alerts)
            return
        self._spool(alerts)
        for alert in alerts:
            log.warning(
                f"alert {alert.step}",
                extra=fields(
                    id=alert.id,
                    rule=alert.rule.name,
                    zone=alert.zone,
                    score=round(alert.score, 3),
                    people=alert.people,
                    groups=",".join(alert.groups),
                    after_s=round(alert.changed_s - alert.raised_s, 1),
                    by=alert.by,
                    reason=alert.reason,
                ),
            )
        self._active_changed |= bool(alerts)

    def _spool(self, alerts: Sequence[Alert]) -> None:
        """Commit steps of alerts together: none is noted as open without its page."""
        messages = [self._composer.alert(alert) for alert in alerts]
        if messages:
            self._relay.add(*messages, note=(_EPISODES, self._episodes_text()))

    def pump(self) -> None:
        """Hand over what waits. A page that came too late is news, and sent anew while its alert is open."""
        expired = self._relay.pump()
        set_aside = self._relay.newly_set_aside()
        if set_aside is not None:
            detail = f"the outbox could not be read and was moved to {set_aside}"
            log.error(detail)
            self.tell("outbox_set_aside", detail)
        for message in expired:
            log.error("message expired", extra=fields(topic=message.topic))
        # Of alerts only: an event for each expired event would lead to events without end.
        late = [message for message in expired if message.alert_id]
        if late:
            self._relay.add(
                *(self._composer.event("expired", f"{page.topic} could not be delivered in time") for page in late)
            )
        late_ids = {message.alert_id for message in late}
        self._spool([alert for alert in self.open_alerts() if alert.id in late_ids])
        if self._active_changed:
            # After the alerts themselves, or pagers would ask for what is on its way.
            self._active_changed = False
            self._publish_active()
        if time.monotonic() >= self._next_note_s and self._live and (self._rules.open_alerts() or self._rules.mutes()):
            self._next_note_s = time.monotonic() + _NOTE_S
            self._relay.write_note(_EPISODES, self._episodes_text())

    def set_problem(self, problem: str) -> None:
        """Publish the state if it changed; empty for none."""
        if problem != self.problem:
            self.state, self.problem = "degraded" if problem else "online", problem
            self._bus.publish(self._composer.state(self.state, problem))

    def publish_health(self, body: dict[str, Any]) -> None:
        """Publish how the device is, and what is open."""
        self._bus.publish(self._composer.health({"state": self.state, "problem": self.problem[:300], **body}))
        self._publish_active()

    def open_alerts(self) -> list[Alert]:
        """Return the alerts that staff were paged for and that are not over."""
        return self._rules.open_alerts() if self._live else []

    def handle(self, event: Event) -> None:
        """Answer what came from the broker; messages that are none are logged and ignored."""
        if isinstance(event, Connected):
            log.info("connected to the broker")
            self.deaf = ""
            self._birth()
        elif isinstance(event, Disconnected):
            self._relay.connection_lost()
            log.warning(f"{event.problem}; trying again")
        elif isinstance(event, SubscriptionDenied):
            self.deaf = f"staff's answers do not arrive: {event.problem}"
            log.error(self.deaf)
        elif isinstance(event, PublishResult):
            unheard = self._relay.note_result(event)
            if unheard is not None:
                self._nobody_listens(unheard.alert_id)
        else:
            try:
                self._received(event)
            except MessageError as error:
                log.warning(f"ignored a message: {error}", extra=fields(topic=event.topic[:200]))

    def end(self, *, goes_on: bool = False) -> None:
        """Close what is open and say goodbye; with `goes_on` leave open alerts to the run that follows at once."""
        # What was handled is acknowledged, or the broker would send it to the next run: a reload would never end.
        self._note_deliveries()
        if goes_on:
            self._relay.write_note(_EPISODES, self._episodes_text())
            self.pump()
            # Should nothing follow, this is what remains: the last will goes with a connection that ends in order.
            self._bus.stop(self._composer.state("degraded", "beginning anew"), timeout_s=0.6)
        else:
            self.report(self._rules.close_all(reason="stopped", time_s=self._alert_time_s()))
            self.pump()
            self._bus.publish(self._composer.active([]))
            self._bus.stop(self._composer.state("stopped"), timeout_s=0.6)
        self._note_deliveries()

    def _note_deliveries(self) -> None:
        for event in self._bus.events():
            if isinstance(event, PublishResult):
                self._relay.note_result(event)

    def _received(self, event: Received) -> None:
        match self._composer.topic.below(event.topic):
            case ["ack", alert_id]:
                ack = parse_ack(event.payload)
                if ack.alert_id != alert_id:
                    raise MessageError("topic and payload name different alerts")
                people = self._rules.people_of(alert_id)
                changed = self._rules.act(
                    alert_id,
                    ack.action,
                    by=ack.by,
                    time_s=self._alert_time_s(),
                    snooze_s=ack.snooze_s,
                    revision=ack.revision,
                )
                if changed is None:
                    log.info("nothing to change", extra=fields(id=alert_id, action=ack.action, by=ack.by))
                else:
                    if ack.action in ("resolve", "false_alarm"):
                        self._answered(changed.rule.name, false_alarm=ack.action == "false_alarm", people=people)
                    self.report([changed])
            case ["cmd", verb] if not event.retained:
                body = parse_object(event.payload, schema="command")
                self._command(verb, str(body.get("request_id", "")), body)

    def _nobody_listens(self, alert_id: str) -> None:
        """Page the next level at once when nobody is subscribed to an open alert."""
        if alert_id not in {alert.id for alert in self._rules.open_alerts()}:
            return
        log.error("nobody is subscribed to this alert; is a pager running?", extra=fields(id=alert_id))
        escalated = self._rules.escalate(alert_id, self._alert_time_s())
        if escalated is not None:
            self.report([escalated])

    def _command(self, verb: str, request_id: str, body: dict[str, Any]) -> None:
        if re.fullmatch("[A-Za-z0-9_-]{1,64}", request_id) is None:
            raise MessageError("request_id must be 1 to 64 letters, digits, - or _")
        if verb == "ping":
            answer = self._composer.response(request_id, ok=True, detail="pong")
        elif verb == "rebirth":
            self._birth()
            for alert in self.open_alerts():
                # For pagers that came late; others know these steps by id and revision.
                self._bus.publish(self._composer.alert(alert, repeated=True))
            answer = self._composer.response(request_id, ok=True, detail="state, info and open alerts published")
        elif verb == "snooze":
            snooze_s = parse_snooze(body)
            self._rules.snooze(self._alert_time_s() + snooze_s)
            self._relay.write_note(_EPISODES, self._episodes_text())
            log.warning("snoozed", extra=fields(snooze_s=snooze_s))
            answer = self._composer.response(request_id, ok=True, detail=f"no new alert for {snooze_s:g} s")
        elif verb == "selftest":
            problem = self._upkeep.self_test() if self._upkeep else _EXERCISE_ONLY
            answer = self._composer.response(
                request_id, ok=not problem, detail=problem or "model, camera and disk work"
            )
        elif verb == "reload":
            problem = self._upkeep.reload() if self._upkeep else _EXERCISE_ONLY
            answer = self._composer.response(request_id, ok=not problem, detail=problem or "begins anew")
        else:
            detail = "unknown command; there are ping, rebirth, snooze, selftest, reload"
            answer = self._composer.response(request_id, ok=False, detail=detail)
        self._bus.publish(answer)

    def _birth(self) -> None:
        self._bus.publish(self._composer.state(self.state, self.problem))
        self._bus.publish(self._composer.info(self._info))
        if self._config.home_assistant.enabled:
            for message in discovery(self._config, self._composer.topic, version=self._info["agent_version"]):
                self._bus.publish(message)
        self._publish_active()

    def _publish_active(self) -> None:
        self._bus.publish(self._composer.active(self.open_alerts()))

    def _episodes_text(self) -> str:
        episodes = Episodes(self.open_alerts(), self._rules.quiet(), self._rules.mutes(), self._composer.raised_unix_s)
        return to_text(episodes, now=self._now())

    def _now(self) -> Now:
        return Now(self._alert_time_s(), time.time(), boot_id(), time.monotonic(), clock_known=synchronised())
