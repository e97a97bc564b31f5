"""When a look becomes a page: one state machine for each rule and zone.

idle → pending (a track over `upper` for `dwell_s` and `min_observations`) → raised → escalated, level by level,
while nobody acknowledges → acked → cleared (nobody over `lower` for `off_delay_s`, or staff resolved it) →
refractory for `cooldown_s`, or for as long as staff snoozed it → idle.

Pure: time comes in with each call, ids from a function passed in, and what happened comes back as a list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from edge_agent.alerting.calibration import Thresholds
from edge_agent.alerting.tracker import Track
from edge_agent.config import Rule

Step = Literal["raised", "escalated", "acked", "cleared"]
Action = Literal["ack", "on_my_way", "resolve", "false_alarm", "snooze"]
#: How long `snooze` keeps a rule quiet unless the pager says otherwise.
SNOOZE_S = 600.0
#: Stands for every rule and zone among pauses.
EVERYWHERE = ("", "")


@dataclass(frozen=True, slots=True)
class Alert:
    """One episode, as it stands after its latest step.

    Attributes:
        id: ULID, the same through all steps of the episode.
        step: what happened last.
        revision: 1 when raised, one more with each step.
        score: highest smoothed score of the rule's emotions so far, 0..1.
        people: tracks in the zone over the rule's upper threshold when it was raised.
        raised_s, changed_s: on the alerting clock.
        by: who acknowledged or closed it; empty while nobody did.
        reason: why it was cleared: `calm`, `out_of_view`, `resolve`, `false_alarm`, `snooze` or `stopped`;
            `on_my_way` while who acknowledged it is coming; else empty.
        level: of the rule's ladder that was reached; 0 for none.
    """

    id: str
    rule: Rule
    zone: str
    step: Step
    revision: int
    score: float
    people: int
    raised_s: float
    changed_s: float
    by: str = ""
    reason: str = ""
    level: int = 0

    @property
    def groups(self) -> tuple[str, ...]:
        """Everybody paged so far, the rule's own group first."""
        return tuple(dict.fromkeys([self.rule.group, *(e.group for e in self.rule.escalation[: self.level])]))

    @property
    def severity(self) -> str:
        """The severity of the level that was reached."""
        return self.rule.escalation[self.level - 1].severity if self.level else self.rule.severity


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a rule is in a zone, for people who watch.

    Attributes:
        state: `idle`, `pending`, `quiet` (in its cooldown, or snoozed), or the last step of its open alert.
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
class _Pending:
    since_s: float
    first_observation: int


@dataclass(slots=True)
class _Episode:
    pending: dict[int, _Pending] = field(default_factory=dict)
    alert: Alert | None = None
    calm_since_s: float | None = None
    refractory_until_s: float = float("-inf")


class RuleEngine:
    """All rules over all zones.

    Args:
        groups: names of the columns of `Track.scores`.
        thresholds: rule name → its thresholds.
        new_id: makes the id of a new alert.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        groups: Sequence[str],
        *,
        thresholds: Mapping[str, Thresholds],
        new_id: Callable[[], str],
    ) -> None:
        self._thresholds = thresholds
        self._rules = rules
        self._columns = {rule.name: [groups.index(name) for name in rule.emotions] for rule in rules}
        self._new_id = new_id
        self._snoozed_until_s = float("-inf")
        self._episodes: dict[tuple[str, str], _Episode] = {}

    def update(self, tracks: Iterable[Track], time_s: float) -> list[Alert]:
        """Look at the tracks of one moment; return the alerts that took a step.

        Args:
            time_s: now, on the same clock as the tracks, never going back.
        """
        zones: dict[str, list[Track]] = {zone: [] for _, zone in self._episodes}
        for track in tracks:
            zones.setdefault(track.zone, []).append(track)
        steps = []
        for rule in self._rules:
            for zone, here in zones.items():
                if rule.zones and zone not in rule.zones:
                    continue
                episode = self._episodes.setdefault((rule.name, zone), _Episode())
                scores = {track.id: self._score(rule, track) for track in here}
                self._update_pending(episode, rule, here, scores)
                step = self._step(episode, rule, zone, here, scores, time_s)
                if step is not None:
                    steps.append(step)
        return steps

    def act(self, alert_id: str, action: Action, *, by: str, time_s: float, snooze_s: float = SNOOZE_S) -> Alert | None:
        """Apply what staff decided; None if it changes nothing (unknown, closed, or done before)."""
        episode = self._episode_of(alert_id)
        if episode is None or episode.alert is None:
            return None
        if action in ("ack", "on_my_way"):
            known = episode.alert.step == "acked"
            if known and (action == "ack" or episode.alert.reason == "on_my_way"):
                return None
            reason = "on_my_way" if action == "on_my_way" else ""
            return self._advance(episode, "acked", time_s, by=by, reason=reason)
        cleared = self._clear(episode, episode.alert, time_s, by=by, reason=action)
        if action == "snooze":
            episode.refractory_until_s = max(episode.refractory_until_s, time_s + snooze_s)
        return cleared

    def escalate_due(self, time_s: float) -> list[Alert]:
        """Take the next level of every alert that nobody acknowledged in time."""
        due = []
        for episode in self._episodes.values():
            alert = episode.alert
            if alert is None or alert.step == "acked" or alert.level >= len(alert.rule.escalation):
                continue
            if time_s - alert.raised_s >= alert.rule.escalation[alert.level].after_s:
                due.append(self._advance(episode, "escalated", time_s, level=alert.level + 1))
        return due

    def escalate(self, alert_id: str, time_s: float) -> Alert | None:
        """Take an alert's next level at once, because its page reached nobody; None if there is none."""
        episode = self._episode_of(alert_id)
        if episode is None or (alert := episode.alert) is None or alert.step == "acked":
            return None
        if alert.level >= len(alert.rule.escalation):
            return None
        return self._advance(episode, "escalated", time_s, level=alert.level + 1)

    def snooze(self, until_s: float) -> None:
        """Raise nothing new until then, whatever the rule and zone."""
        self._snoozed_until_s = until_s

    def quiet(self) -> dict[tuple[str, str], float]:
        """Return (rule, zone), or EVERYWHERE, → the time until which it raises nothing."""
        quiet = {key: episode.refractory_until_s for key, episode in self._episodes.items()}
        return {**quiet, EVERYWHERE: self._snoozed_until_s}

    def restore(self, alerts: Iterable[Alert], quiet: Mapping[tuple[str, str], float]) -> None:
        """Go on with the open alerts and pauses of an earlier run, on this run's clock."""
        pauses = dict(quiet)
        self._snoozed_until_s = pauses.pop(EVERYWHERE, self._snoozed_until_s)
        for key, until_s in pauses.items():
            self._episodes.setdefault(key, _Episode()).refractory_until_s = until_s
        for alert in alerts:
            self._episodes.setdefault((alert.rule.name, alert.zone), _Episode()).alert = alert

    def _episode_of(self, alert_id: str) -> _Episode | None:
        found = (e for e in self._episodes.values() if e.alert is not None and e.alert.id == alert_id)
        return next(found, None)

    @staticmethod
    def _advance(episode: _Episode, step: Step, time_s: float, **changes: Any) -> Alert:
        assert episode.alert is not None
        revision = episode.alert.revision + 1
        episode.alert = replace(episode.alert, step=step, revision=revision, changed_s=time_s, **changes)
        return episode.alert

    def close_all(self, *, reason: str, time_s: float) -> list[Alert]:
        """Clear every open alert, because nobody will watch it any more; no cooldown begins."""
        cleared = []
        for episode in self._episodes.values():
            if episode.alert is not None:
                refractory_until_s = episode.refractory_until_s
                cleared.append(self._clear(episode, episode.alert, time_s, by=episode.alert.by, reason=reason))
                episode.refractory_until_s = refractory_until_s
        return cleared

    def progress(self, tracks: Sequence[Track], time_s: float) -> list[Progress]:
        """Return how far each rule is, in each zone where somebody was or is."""
        found = []
        for rule in self._rules:
            for (name, zone), episode in self._episodes.items():
                if name != rule.name:
                    continue
                here = [track for track in tracks if track.zone == zone]
                score = max((self._score(rule, track) for track in here), default=0.0)
                share = max((self._share(episode, rule, track) for track in here), default=0.0)
                if episode.alert is not None:
                    state, share = str(episode.alert.step), 1.0
                elif time_s < max(episode.refractory_until_s, self._snoozed_until_s):
                    state, share = "quiet", 0.0
                else:
                    state = "pending" if episode.pending else "idle"
                found.append(Progress(rule, zone, state, share, score, self._thresholds[rule.name].upper))
        return found

    def _score(self, rule: Rule, track: Track) -> float:
        score = float(track.scores[self._columns[rule.name]].sum())
        return 1 - score if rule.watch == "absence" else score

    def _share(self, episode: _Episode, rule: Rule, track: Track) -> float:
        pending = episode.pending.get(track.id)
        if pending is None:
            return 0.0
        dwelt = self._dwelt(pending, track) / rule.dwell_s if rule.dwell_s else 1.0
        seen = (track.observations - pending.first_observation + 1) / rule.min_observations
        return min(1.0, dwelt, seen)

    def pending(self) -> bool:
        """Tell whether anybody's score is over a rule's threshold and no page was sent yet."""
        return any(episode.pending and episode.alert is None for episode in self._episodes.values())

    def open_alerts(self) -> list[Alert]:
        """Return alerts that are not cleared."""
        return [episode.alert for episode in self._episodes.values() if episode.alert is not None]

    @staticmethod
    def _dwelt(pending: _Pending, track: Track) -> float:
        return track.judged_s - pending.since_s

    def _update_pending(self, episode: _Episode, rule: Rule, here: list[Track], scores: dict[int, float]) -> None:
        kept = {}
        for track in here:
            if scores[track.id] >= self._thresholds[rule.name].upper:
                started = _Pending(track.judged_s, track.observations)
                kept[track.id] = episode.pending.get(track.id, started)
        episode.pending = kept

    def _step(
        self, episode: _Episode, rule: Rule, zone: str, here: list[Track], scores: dict[int, float], time_s: float
    ) -> Alert | None:
        highest = max(scores.values(), default=0.0)
        alert = episode.alert
        if alert is None:
            quiet_until_s = max(episode.refractory_until_s, self._snoozed_until_s)
            if time_s < quiet_until_s or not any(self._is_due(episode, rule, track) for track in here):
                return None
            people = len(episode.pending)
            episode.alert = Alert(self._new_id(), rule, zone, "raised", 1, highest, people, time_s, time_s)
            episode.calm_since_s = None
            return episode.alert
        if highest > alert.score:
            episode.alert = alert = replace(alert, score=highest)
        if highest > self._thresholds[rule.name].lower:
            episode.calm_since_s = None
            return None
        if episode.calm_since_s is None:
            episode.calm_since_s = time_s
        if time_s - episode.calm_since_s < rule.off_delay_s:
            return None
        return self._clear(episode, alert, time_s, by=alert.by, reason="calm" if here else "out_of_view")

    def _is_due(self, episode: _Episode, rule: Rule, track: Track) -> bool:
        pending = episode.pending.get(track.id)
        if pending is None:
            return False
        seen = track.observations - pending.first_observation + 1
        return self._dwelt(pending, track) >= rule.dwell_s and seen >= rule.min_observations

    @staticmethod
    def _clear(episode: _Episode, alert: Alert, time_s: float, *, by: str, reason: str) -> Alert:
        episode.alert, episode.calm_since_s = None, None
        episode.refractory_until_s = time_s + alert.rule.cooldown_s
        return replace(alert, step="cleared", revision=alert.revision + 1, changed_s=time_s, by=by, reason=reason)
