"""Publishes alerts: each step of each, which are open, and what the next run must know of them.

A step is committed to the outbox together with the note about all that is open, so that no alert is noted as open
without its page. In shadow mode, and outside opening hours, steps are counted and nothing is published.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from edge_agent.alerting.alert import Action, Alert
from edge_agent.alerting.rules import EVERYWHERE, RuleEngine
from edge_agent.alerting.tracker import Track
from edge_agent.clock import synchronised
from edge_agent.config import Config
from edge_agent.delivery.bus import Bus
from edge_agent.delivery.episodes import Episodes, Now, corrected, from_text, to_text
from edge_agent.delivery.messages import Ack, Composer, Message, MessageError, Snooze, boot_id, parse_ack
from edge_agent.delivery.relay import OutboxRelay
from edge_agent.delivery.verdicts import VERDICTS, Verdicts
from edge_agent.logs import fields

log = logging.getLogger("edge_agent")

#: How often the note about open alerts and muted people is renewed: the next run must know how long nobody watched,
#: and where they were.
_NOTE_S = 30.0
#: Name of the note about open alerts.
_EPISODES = "episodes"
#: An answer to all open pages counts for so long, for it names none: one that waited somewhere would answer pages that
#: nobody has seen. The clocks of who answers and of this device may differ by as much.
_ANSWER_FRESH_S = 30.0


class Answered(Protocol):
    """Is told what staff said of a rule's page."""

    def __call__(self, rule: str, *, false_alarm: bool, people: tuple[Track, ...], again: bool) -> None:
        """Note it.

        Args:
            people: those in the alert, as they were last seen; empty where nobody knows them.
            again: the opposite was said of it before, and no longer holds.
        """


class AlertPublisher:
    """The alerts of one device.

    Args:
        alert_time_s: now on the alerting clock.
        stepped: told of every step of an alert, in shadow mode too.
        answered: told when staff resolved a page or called it a false alarm, also after it was over.
        ask: returns the list of open alerts that the broker keeps of this device, None where it says nothing.
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
        stepped: Callable[[Alert], None],
        answered: Answered,
        ask: Callable[[], bytes | None],
        unix: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self._config, self._composer, self._bus, self._relay = config, composer, bus, relay
        self._rules, self._stepped, self._answered, self._ask = rules, stepped, answered, ask
        self._alert_time_s, self._unix, self._monotonic = alert_time_s, unix, monotonic
        self._live = config.privacy.notice_posted
        #: (rule, zone), or EVERYWHERE, → who snoozed it.
        self._snoozed_by: dict[tuple[str, str], str] = {}
        self._verdicts = Verdicts(relay)
        self._next_note_s = 0.0
        self._active_changed = False
        #: Of the latest note; see `episodes`.
        self._sequence = 0
        #: Pages that shadow mode and opening hours kept back.
        self.shadow_pages = 0

    def resume(self) -> None:
        """Go on with the alerts of a run that could not end them."""
        # First, for it may take a moment, which counts as one in which nobody watched.
        kept = self._ask() if self._live else None
        episodes, over = from_text(self._relay.note(_EPISODES) or "", self._config.rules, now=self._now())
        self._sequence = episodes.sequence
        newer = None if kept is None else self._corrected(episodes, over, kept)
        if newer is not None:
            episodes, over = newer
        self._composer.raised_unix_s.update(episodes.raised_unix_s)
        if not self._live:
            return  # what a live run left is over; pagers close what their agent no longer names
        self._rules.restore(episodes.alerts, episodes.quiet, episodes.mutes)
        self._snoozed_by.update(episodes.snoozed_by)
        for alert in episodes.alerts:
            log.warning("alert goes on after a restart", extra=fields(id=alert.id, rule=alert.rule.name))
        self.report([replace(alert, step="cleared", revision=alert.revision + 1, reason="stopped") for alert in over])
        if newer is not None:
            self.write_note()  # should the broker be away at the next start

    def _corrected(self, episodes: Episodes, over: list[Alert], kept: bytes) -> tuple[Episodes, list[Alert]] | None:
        """Return what to go on with and what is over as the broker has it; None where the disk forgot nothing."""
        try:
            found = corrected(episodes, over, kept, self._config.rules, now=self._now())
        except MessageError as error:
            log.warning(f"what the broker keeps on alert/active of this device is ignored: {error}")
            return None
        if found is None:
            return None
        self._sequence = found[0].sequence
        still = {alert.id for alert in (*found[0].alerts, *found[1])}
        gone = [alert for alert in (*episodes.alerts, *over) if alert.id not in still]
        log.warning(
            "the broker knows newer steps of alerts than the state folder; was that put back to an earlier moment?",
            extra=fields(over=",".join(alert.id for alert in gone)),
        )
        self._verdicts.end([replace(alert, step="cleared") for alert in gone])
        return found

    @property
    def pages(self) -> bool:
        """Whether anybody can be paged now, as far as opening hours go."""
        return self._rules.pages()

    def open_alerts(self) -> list[Alert]:
        """Return the alerts that staff were paged for and that are not over."""
        return [alert for alert in self._rules.open_alerts() if not alert.shadow] if self._live else []

    def report(self, alerts: list[Alert]) -> None:
        """Publish steps of alerts; in shadow they are counted, nobody is paged."""
        for alert in alerts:
            self._stepped(alert)
        self.shadow_pages += sum(alert.step == "raised" for alert in alerts if alert.shadow or not self._live)
        alerts = [alert for alert in alerts if self._live and not alert.shadow]
        self._spool(alerts)
        self._verdicts.end(alerts)
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
        messages = [self._composer.alert(alert) for alert in alerts]
        if messages:
            self._relay.add(*messages, note=(_EPISODES, self._note_text()))

    def spool_open(self) -> None:
        """Send what is open once more; receivers know steps that they have by id and revision."""
        self._spool(self.open_alerts())

    def note_expired(self, expired: Sequence[Message]) -> None:
        """Publish an event for each step that could not be delivered in time, and anew what is still open.

        Only for steps of alerts: an event for each expired event would lead to events without end.
        """
        late = [message for message in expired if message.alert_id]
        if late:
            self._relay.add(
                *(self._composer.event("expired", f"{step.topic} could not be delivered in time") for step in late)
            )
        late_ids = {message.alert_id for message in late}
        self._spool([alert for alert in self.open_alerts() if alert.id in late_ids])

    def note_unheard(self, message: Message) -> None:
        """Page the next level at once if this is a step of an open alert, for nobody is subscribed to it."""
        if message.alert_id not in {alert.id for alert in self.open_alerts()}:
            return
        log.error("nobody is subscribed to this alert; is a pager running?", extra=fields(id=message.alert_id))
        escalated = self._rules.escalate(message.alert_id, self._alert_time_s())
        if escalated is not None:
            self.report([escalated])

    def note_ack(self, alert_id: str, payload: bytes) -> None:
        """Do what staff answered.

        Raises:
            MessageError: the payload is no ack of this alert.
        """
        ack = parse_ack(payload)
        if ack.alert_id != alert_id:
            raise MessageError("topic and payload name different alerts")
        self._apply(ack)

    def knows(self, alert_id: str) -> bool:
        """Tell whether an alert is open, or over and remembered."""
        return self._verdicts.knows(alert_id) or any(alert.id == alert_id for alert in self.open_alerts())

    def answer_all(self, action: Action, *, by: str, asked_unix_s: float) -> tuple[bool, str]:
        """Answer every open page; return whether it was done, and what to say of it.

        Args:
            asked_unix_s: when somebody said so.
        """
        age_s = self._unix() - asked_unix_s
        if abs(age_s) > _ANSWER_FRESH_S:
            when = f"{age_s:.0f} s old" if age_s > 0 else f"of {-age_s:.0f} s from now"
            return False, f"an answer {when} counts for nothing; are the clocks set?"
        alerts = self.open_alerts()
        if not alerts:
            return False, "no page is open"
        changed = sum(self._apply(Ack(alert.id, action, by)) for alert in alerts)
        return True, f"{changed} of {len(alerts)} open page{'' if len(alerts) == 1 else 's'} answered: {action}"

    def _apply(self, ack: Ack) -> bool:
        """Return whether the answer changed an alert."""
        people = self._rules.people_of(ack.alert_id)
        changed = self._rules.act(
            ack.alert_id,
            ack.action,
            by=ack.by,
            time_s=self._alert_time_s(),
            snooze_s=ack.snooze_s,
            revision=ack.revision,
        )
        false_alarm = ack.action == "false_alarm"
        if changed is None:
            self._judge(ack)
            return False
        if ack.action in VERDICTS:
            self._answered(changed.rule.name, false_alarm=false_alarm, people=people, again=False)
        if ack.action == "snooze":
            self._snoozed_by[changed.rule.name, changed.zone] = ack.by
        self.report([changed])
        return True

    def _judge(self, ack: Ack) -> None:
        """Count what was said of an alert that is over, where it is one that is remembered."""
        said = self._verdicts.say(ack.alert_id, ack.action)
        words = "nothing to change" if said is None else "said of an alert that is over"
        log.info(words, extra=fields(id=ack.alert_id, action=ack.action, by=ack.by))
        if said is not None:
            rule, again = said
            self._answered(rule, false_alarm=ack.action == "false_alarm", people=(), again=again)

    def snooze(self, seconds: float, by: str) -> None:
        """Raise no new alert for so long, whatever the rule and the zone; 0 lifts this and all other snoozes."""
        if seconds:
            self._rules.snooze(self._alert_time_s() + seconds)
            self._snoozed_by[EVERYWHERE] = by
        else:
            self._rules.lift_snoozes()
        self.write_note()
        log.warning("snoozed" if seconds else "snoozes lifted", extra=fields(snooze_s=seconds, by=by))

    def snoozed(self) -> dict[tuple[str, str], float]:
        """Return what staff keep from paging now: (rule, zone), or EVERYWHERE, → until when on the alerting clock."""
        now_s = self._alert_time_s()
        return {place: until_s for place, until_s in self._rules.quiet().items() if until_s > now_s}

    def snoozes(self) -> list[Snooze]:
        """Return the same for people, with who said so."""
        ahead_s = self._unix() - self._alert_time_s()
        return [
            Snooze(*place, until_s + ahead_s, self._snoozed_by.get(place, ""))
            for place, until_s in self.snoozed().items()
        ]

    def repeat(self) -> None:
        """Publish what is open once more, for pagers that subscribed later; others know it by id and revision."""
        for alert in self.open_alerts():
            self._bus.publish(self._composer.alert(alert, repeated=True))

    def publish_active(self) -> None:
        """Publish which alerts are open."""
        self._bus.publish(self._composer.active(self.open_alerts(), sequence=self._sequence))

    def refresh(self) -> None:
        """Publish which alerts are open if that changed, and renew the note when it is time."""
        if self._active_changed:
            # After the alerts themselves, or pagers would ask for what is on its way.
            self._active_changed = False
            self.publish_active()
        now_s = self._monotonic()
        if now_s >= self._next_note_s and self._live and (self.open_alerts() or self._rules.mutes()):
            self._next_note_s = now_s + _NOTE_S
            self.write_note()

    def close_all(self) -> None:
        """Clear what is open, for nobody watches any more."""
        self.report(self._rules.close_all(reason="stopped", time_s=self._alert_time_s()))

    def write_note(self) -> None:
        """Leave what is open to the next run."""
        self._relay.write_note(_EPISODES, self._note_text())

    def _note_text(self) -> str:
        self._sequence += 1
        episodes = Episodes(
            self.open_alerts(),
            self._rules.quiet(),
            self._rules.mutes(),
            self._composer.raised_unix_s,
            self._snoozed_by,
            self._sequence,
        )
        return to_text(episodes, now=self._now())

    def _now(self) -> Now:
        return Now(self._alert_time_s(), self._unix(), boot_id(), self._monotonic(), clock_known=synchronised())
