"""When a look becomes a page. Alerts belong to people; those of one rule and zone share one alert.

Of each person: idle → pending (over `upper` for `dwell_s` and `min_observations`) → in the alert of their zone → muted
for `cooldown_s` once they were not over `lower`, or out of view, for `off_delay_s`, or staff ended it → idle.

Of each alert: raised by the first person, and again by each further one, who must be acknowledged anew → escalated,
level by level, while nobody acknowledges → acked → cleared when nobody is left in it.

Outside opening hours what would be a page is a step in shadow. Whoever is upset still when staff can be paged is paged
for then; an open alert goes on to its end, whatever closes. Each level of a ladder is paged when its time has come and
its group is open; the first page goes to the first level that is open, at once.

After a restart, or a pause of the camera, people are strangers: an alert that goes on has as many unclaimed places as
there were people in it, which the next ones to be paged for take without a page.

Pure: time comes in with each call, ids from a function passed in, and what happened comes back as a list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from edge_agent.alerting.alert import SNOOZE_S, Action, Alert, Step, new_alert
from edge_agent.alerting.hours import can_page, hours_by_group, levels_to_page, open_levels
from edge_agent.alerting.people import TOLERANCE, Mute, People, Person
from edge_agent.alerting.thresholds import Thresholds
from edge_agent.alerting.tracker import Track
from edge_agent.config import Group, Rule, Tracking

#: How long people are muted whose page was a false alarm, if they stay for so long.
FALSE_ALARM_S = 600.0
#: Stands for every rule and zone among pauses.
EVERYWHERE = ("", "")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a rule is in a zone, for people who watch.

    Attributes:
        state: `idle`, `pending`, `quiet` (snoozed, or whoever is upset is muted), or the last step of its open alert.
        share: of the way from the first look over `upper` to a page, 0..1; 1 while an alert is open.
        score: highest smoothed score now, 0..1.
        upper: the rule's threshold.
    """

    rule: Rule
    zone: str
    state: str
    share: float
    score: float
    upper: float


@dataclass(slots=True)
class _Card:
    """One rule in one zone.

    Attributes:
        unclaimed: how many people of the alert are not known by their tracks.
        unclaimed_calm_since_s: since when nobody is over `lower` who could be one of them.
        unclaimed_muted_until_s: for them, once the alert was ended without them.
        snoozed_until_s: nothing is raised before then, whoever comes.
    """

    alert: Alert | None = None
    unclaimed: int = 0
    unclaimed_calm_since_s: float | None = None
    unclaimed_muted_until_s: float = float("-inf")
    snoozed_until_s: float = float("-inf")


@dataclass(slots=True)
class _Watch:
    """One rule, its people, and its card in each zone where somebody was."""

    rule: Rule
    people: People
    cards: dict[str, _Card] = field(default_factory=dict)


class RuleEngine:
    """All rules over all zones.

    Args:
        emotions: names of the columns of `Track.scores`.
        thresholds: rule name → its thresholds.
        new_id: makes the id of a new alert.
        tracking: how long people are remembered, and how their own levels are learned.
        groups: those that keep opening hours.

    Attributes:
        closed: names of the opening hours that are closed now; kept by whoever has a wall clock.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        emotions: Sequence[str],
        *,
        thresholds: Mapping[str, Thresholds],
        new_id: Callable[[], str],
        tracking: Tracking | None = None,
        groups: Sequence[Group] = (),
    ) -> None:
        self._tracking, self._new_id = tracking or Tracking(), new_id
        self._groups = hours_by_group(groups)
        self.closed: frozenset[str] = frozenset()
        self._watches = {
            rule.name: _Watch(
                rule,
                People(rule, [emotions.index(name) for name in rule.emotions], thresholds[rule.name], self._tracking),
            )
            for rule in rules
        }
        self._snoozed_until_s = float("-inf")
        self._time_s = float("-inf")

    def update(self, tracks: Sequence[Track], time_s: float) -> list[Alert]:
        """Look at the tracks of one moment; return the alerts that took a step.

        Args:
            time_s: now, on the same clock as the tracks, never going back.
        """
        if time_s - self._time_s > self._tracking.forgotten_after_s:
            self._lose_sight(tracks)
        self._time_s = time_s
        steps = []
        for watch in self._watches.values():
            watch.people.look(tracks, time_s)
            if levels_to_page(watch.rule, self._groups, self.closed):
                watch.people.release()
            for person in watch.people:
                if person.here:
                    watch.cards.setdefault(person.track.zone, _Card())
            for zone, card in watch.cards.items():
                step = self._step(watch, zone, card, time_s)
                if step is not None:
                    steps.append(step)
        return steps

    def _lose_sight(self, tracks: Sequence[Track]) -> None:
        """After a pause of the camera, take those who are not there any more for people to be met anew."""
        present = {track.id for track in tracks}
        for watch in self._watches.values():
            for zone, count in watch.people.lose_sight(present).items():
                watch.cards[zone].unclaimed += count
                watch.cards[zone].unclaimed_calm_since_s = None

    def _step(self, watch: _Watch, zone: str, card: _Card, time_s: float) -> Alert | None:
        rule, people = watch.rule, watch.people
        snoozed = time_s < max(card.snoozed_until_s, self._snoozed_until_s) - TOLERANCE
        levels = levels_to_page(rule, self._groups, self.closed)
        due = [] if snoozed else people.due(zone, time_s)
        if card.unclaimed:
            self._give_up_unclaimed(card, watch, zone, time_s)
            due = self._claim(card, due)
        for person in due:
            person.zone, person.kept_back = zone, not levels
        for person in people.members(zone):
            if people.calm(person, time_s):
                person.leave(time_s + rule.cooldown_s)
        if levels and not snoozed:
            due = [*due, *people.claim_kept_back(zone)]
        alert, members = card.alert, people.members(zone)
        count, highest = len(members) + card.unclaimed, max((person.score for person in members), default=0.0)
        if alert is None:
            if not due:
                return None
            card.alert = new_alert(self._new_id(), rule, zone, highest, count, time_s, levels)
            return card.alert
        if due:
            return self._page_again(card, replace(alert, score=max(alert.score, highest), people=count), time_s, levels)
        if not count:
            here = any(person.here and person.track.zone == zone for person in people)
            return self._close(watch, zone, time_s, by=alert.by, reason="calm" if here else "out_of_view")
        if highest > alert.score or count != alert.people:
            card.alert = replace(alert, score=max(alert.score, highest), people=count)
        return None

    def _page_again(self, card: _Card, alert: Alert, time_s: float, levels: Sequence[int]) -> Alert:
        """Page for further people in an alert, or at last for those of an alert in shadow."""
        card.alert = alert
        if not levels and not alert.shadow:
            return replace(alert, step="raised", shadow=True)  # what staff know of stays as it was
        if levels and alert.shadow:
            card.alert = new_alert(alert.id, alert.rule, alert.zone, alert.score, alert.people, time_s, levels)
            return card.alert
        if levels and not set(levels) & set(alert.paged_levels):
            card.alert = alert.to_level(levels[0])
        revision = alert.revision + 1
        return self._advance(card, "raised", time_s, paged_s=time_s, paged_revision=revision, by="", reason="")

    @staticmethod
    def _claim(card: _Card, due: list[Person]) -> list[Person]:
        """Give unclaimed places to people who are due; return the others."""
        claiming, others = due[: card.unclaimed], due[card.unclaimed :]
        card.unclaimed -= len(claiming)
        for person in claiming:
            if card.alert is None:
                person.muted_until_s = card.unclaimed_muted_until_s
            else:
                person.zone, person.kept_back = card.alert.zone, card.alert.shadow
        return others

    @staticmethod
    def _give_up_unclaimed(card: _Card, watch: _Watch, zone: str, time_s: float) -> None:
        """Give up unclaimed places when nobody could claim one for a while, or would be muted by it."""
        if watch.people.over_lower(zone, time_s):
            card.unclaimed_calm_since_s = None
        elif card.unclaimed_calm_since_s is None:
            card.unclaimed_calm_since_s = time_s
        since_s = card.unclaimed_calm_since_s
        lapsed = since_s is not None and time_s - since_s >= watch.rule.off_delay_s - TOLERANCE
        if lapsed or (card.alert is None and time_s >= card.unclaimed_muted_until_s - TOLERANCE):
            card.unclaimed = 0

    def act(
        self, alert_id: str, action: Action, *, by: str, time_s: float, snooze_s: float = SNOOZE_S,
        revision: int | None = None,
    ) -> Alert | None:  # fmt: skip
        """Apply what staff decided; None if it changes nothing (unknown, closed, done before, or not about all of it).

        Args:
            revision: of the alert as they saw it: whoever was paged for since is not meant, unless they snooze the
                zone. None for whatever it is now.
        """
        found = self._find(alert_id)
        if found is None:
            return None
        watch, card, alert = found
        if revision is not None and revision < alert.paged_revision and action != "snooze":
            return None
        if action in ("ack", "on_my_way"):
            known = alert.step == "acked"
            if known and (action == "ack" or alert.reason == "on_my_way"):
                return None
            reason = "on_my_way" if action == "on_my_way" else ""
            return self._advance(card, "acked", time_s, by=by, reason=reason)
        mute_s = watch.rule.cooldown_s
        if action == "false_alarm":
            mute_s = max(mute_s, FALSE_ALARM_S)
            for person in watch.people.members(alert.zone):
                watch.people.teach(person)
        if action == "snooze":
            card.snoozed_until_s = max(card.snoozed_until_s, time_s + snooze_s)
        return self._close(watch, alert.zone, time_s, by=by, reason=action, mute_s=mute_s)

    def people_of(self, alert_id: str) -> tuple[Track, ...]:
        """Return the people in an open alert as they were last seen; ask before `act` ends it."""
        found = self._find(alert_id)
        return () if found is None else tuple(person.track for person in found[0].people.members(found[2].zone))

    def escalate_due(self, time_s: float) -> list[Alert]:
        """Take the next level of every alert that nobody acknowledged in time after its latest page."""
        due = []
        for card in self._cards():
            alert = card.alert
            if alert is None:
                continue
            after_s = (0.0, *(level.after_s for level in alert.rule.escalation))
            ready = [level for level in self._unpaged(alert) if time_s - alert.paged_s >= after_s[level]]
            if ready:
                card.alert = alert.to_level(ready[0])
                due.append(self._advance(card, "escalated", time_s))
        return due

    def escalate(self, alert_id: str, time_s: float) -> Alert | None:
        """Take an alert's next level at once, because its page reached nobody; None if there is none."""
        found = self._find(alert_id)
        if found is None or not (levels := self._unpaged(found[2])):
            return None
        found[1].alert = found[2].to_level(levels[0])
        return self._advance(found[1], "escalated", time_s)

    def _unpaged(self, alert: Alert) -> list[int]:
        """Return the levels that may be paged yet; it is none of a rule's hours once its alert is open."""
        if alert.step == "acked" or alert.shadow:
            return []
        paged = alert.paged_levels
        return [level for level in open_levels(alert.rule, self._groups, self.closed) if level not in paged]

    def snooze(self, until_s: float) -> None:
        """Raise nothing new until then, whatever the rule and zone."""
        self._snoozed_until_s = until_s

    def lift_snoozes(self) -> None:
        """Raise again from now on what staff snoozed."""
        self._snoozed_until_s = float("-inf")
        for card in self._cards():
            card.snoozed_until_s = float("-inf")

    def quiet(self) -> dict[tuple[str, str], float]:
        """Return (rule, zone), or EVERYWHERE, → the time until which staff snoozed it."""
        quiet = {
            (watch.rule.name, zone): card.snoozed_until_s
            for watch in self._watches.values()
            for zone, card in watch.cards.items()
        }
        return {**quiet, EVERYWHERE: self._snoozed_until_s}

    def mutes(self) -> list[Mute]:
        """Return the people who are not to be paged for, because their episode is over or was a false alarm."""
        return [mute for watch in self._watches.values() for mute in watch.people.mutes()]

    def restore(
        self, alerts: Iterable[Alert], quiet: Mapping[tuple[str, str], float], mutes: Sequence[Mute] = ()
    ) -> None:
        """Go on with what an earlier run had open, snoozed and muted, on this run's clock."""
        pauses = dict(quiet)
        self._snoozed_until_s = pauses.pop(EVERYWHERE, self._snoozed_until_s)
        for (name, zone), until_s in pauses.items():
            if name in self._watches:
                self._watches[name].cards.setdefault(zone, _Card()).snoozed_until_s = until_s
        for alert in alerts:
            card = self._watches[alert.rule.name].cards.setdefault(alert.zone, _Card())
            card.alert, card.unclaimed = alert, alert.people
        for watch in self._watches.values():
            watch.people.inherit(mutes)

    def _cards(self) -> list[_Card]:
        return [card for watch in self._watches.values() for card in watch.cards.values()]

    def _find(self, alert_id: str) -> tuple[_Watch, _Card, Alert] | None:
        for watch in self._watches.values():
            for card in watch.cards.values():
                if card.alert is not None and card.alert.id == alert_id:
                    return watch, card, card.alert
        return None

    @staticmethod
    def _advance(card: _Card, step: Step, time_s: float, **changes: Any) -> Alert:
        assert card.alert is not None
        revision = card.alert.revision + 1
        card.alert = replace(card.alert, step=step, revision=revision, changed_s=time_s, **changes)
        return card.alert

    def _close(self, watch: _Watch, zone: str, time_s: float, *, by: str, reason: str, mute_s: float = 0.0) -> Alert:
        """Clear an alert and mute who is in it."""
        card = watch.cards[zone]
        for person in watch.people.members(zone):
            person.leave(time_s + mute_s)
        card.unclaimed_muted_until_s = time_s + mute_s
        cleared = self._advance(card, "cleared", time_s, by=by, reason=reason)
        card.alert = None
        return cleared

    def close_all(self, *, reason: str, time_s: float) -> list[Alert]:
        """Clear every open alert, because nobody will watch it any more; no cooldown begins."""
        return [
            self._close(watch, zone, time_s, by=card.alert.by, reason=reason)
            for watch in self._watches.values()
            for zone, card in watch.cards.items()
            if card.alert is not None
        ]

    def score(self, rule: Rule, track_id: int) -> float | None:
        """Return a rule's latest score of a person, 0..1; None for one it does not know, or not any more."""
        person = self._watches[rule.name].people.get(track_id)
        return None if person is None else person.score

    def progress(self, time_s: float) -> list[Progress]:
        """Return how far each rule is, in each zone where somebody was or is, as of the latest update."""
        return [
            self._progress(watch, zone, card, time_s)
            for watch in self._watches.values()
            for zone, card in watch.cards.items()
        ]

    def _progress(self, watch: _Watch, zone: str, card: _Card, time_s: float) -> Progress:
        people = watch.people
        here = [person for person in people if person.here and person.track.zone == zone]
        over = [person for person in here if person.over is not None]
        pending = [person for person in over if people.may_page(person, time_s)]
        share = max((people.share(person) for person in pending), default=0.0)
        state: str = "pending" if pending else "idle"
        if card.alert is not None:
            state, share = card.alert.step, 1.0
        elif time_s < max(card.snoozed_until_s, self._snoozed_until_s) or (over and not pending):
            state, share = "quiet", 0.0
        highest = max((person.score for person in here), default=0.0)
        return Progress(watch.rule, zone, state, share, highest, people.thresholds.upper)

    def pending(self) -> bool:
        """Tell whether anybody's score is over a rule's threshold and no page was sent for them yet."""
        return any(
            person.over is not None and watch.people.may_page(person, self._time_s)
            for watch in self._watches.values()
            for person in watch.people
        )

    def pages(self) -> bool:
        """Tell whether any rule can page anybody now, as far as opening hours go; true without rules."""
        return can_page([watch.rule for watch in self._watches.values()], self._groups, self.closed)

    def open_alerts(self) -> list[Alert]:
        """Return alerts that are not cleared."""
        return [card.alert for card in self._cards() if card.alert is not None]
