"""When a look becomes a page: one state machine for each rule and zone.

idle → pending (a track over `upper` for `dwell_s` and `min_observations`) → raised → acked → cleared (nobody
over `lower` for `off_delay_s`, or staff resolved it) → refractory for `cooldown_s` → idle.

Pure: time comes in with each call, ids from a function passed in, and what happened comes back as a list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from edge_agent.alerting.calibration import Thresholds
from edge_agent.alerting.tracker import Track
from edge_agent.config import Rule

Step = Literal["raised", "acked", "cleared"]
Action = Literal["ack", "resolve", "false_alarm"]


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
        reason: why it was cleared: `calm`, `out_of_view`, `resolve`, `false_alarm` or `stopped`; empty before.
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
        self._rules = [(rule, [groups.index(name) for name in rule.emotions]) for rule in rules]
        self._new_id = new_id
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
        for rule, columns in self._rules:
            for zone, here in zones.items():
                episode = self._episodes.setdefault((rule.name, zone), _Episode())
                scores = {track.id: float(track.scores[columns].sum()) for track in here}
                self._update_pending(episode, rule, here, scores)
                step = self._step(episode, rule, zone, here, scores, time_s)
                if step is not None:
                    steps.append(step)
        return steps

    def act(self, alert_id: str, action: Action, *, by: str, time_s: float) -> Alert | None:
        """Apply what staff decided; None if it changes nothing (unknown, closed, or done before)."""
        for episode in self._episodes.values():
            alert = episode.alert
            if alert is not None and alert.id == alert_id:
                if action == "ack":
                    if alert.step == "acked":
                        return None
                    episode.alert = replace(alert, step="acked", revision=alert.revision + 1, changed_s=time_s, by=by)
                    return episode.alert
                return self._clear(episode, alert, time_s, by=by, reason=action)
        return None

    def close_all(self, *, reason: str, time_s: float) -> list[Alert]:
        """Clear every open alert, because nobody will watch it any more."""
        return [
            self._clear(episode, episode.alert, time_s, by=episode.alert.by, reason=reason)
            for episode in self._episodes.values()
            if episode.alert is not None
        ]

    def open_alerts(self) -> list[Alert]:
        """Return alerts that are raised or acked."""
        return [episode.alert for episode in self._episodes.values() if episode.alert is not None]

    @staticmethod
    def _dwelt(pending: _Pending, track: Track) -> float:
        return track.last_s - pending.since_s

    def _update_pending(self, episode: _Episode, rule: Rule, here: list[Track], scores: dict[int, float]) -> None:
        kept = {}
        for track in here:
            if scores[track.id] >= self._thresholds[rule.name].upper:
                started = _Pending(track.last_s, track.observations)
                kept[track.id] = episode.pending.get(track.id, started)
        episode.pending = kept

    def _step(
        self, episode: _Episode, rule: Rule, zone: str, here: list[Track], scores: dict[int, float], time_s: float
    ) -> Alert | None:
        highest = max(scores.values(), default=0.0)
        alert = episode.alert
        if alert is None:
            if time_s < episode.refractory_until_s or not any(self._is_due(episode, rule, track) for track in here):
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
