"""What every visit would have been worth as an alert: numbers from which a threshold can be chosen later.

For each person in view and each rule, the highest threshold that the score stayed over for the rule's dwell time and
observations. One such number a visit, rounded to LEVELS, is all that is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from edge_agent.alerting.tracker import Track
from edge_agent.config import Rule

#: Thresholds a visit is measured against; a visit that reached none is level 0, one that reached the first is 1, ...
LEVELS = tuple(round(0.02 * n, 2) for n in range(1, 50))


@dataclass(slots=True)
class _Visit:
    """Level index → (time, observations) since which the score is over it."""

    zone: str
    level: int = 0
    over: dict[int, tuple[float, int]] = field(default_factory=dict)


class Visits:
    """Measures visits; `update` once a frame.

    Args:
        groups: names of the columns of `Track.scores`.
    """

    def __init__(self, rules: Sequence[Rule], groups: Sequence[str]) -> None:
        self._rules = [(rule, [groups.index(name) for name in rule.emotions]) for rule in rules]
        self._visits: dict[tuple[str, int], _Visit] = {}

    def update(self, tracks: Iterable[Track]) -> list[tuple[str, int]]:
        """Look at the tracks of one moment; return (rule name, level) of each visit that has ended."""
        here = {track.id: track for track in tracks}
        ended = [
            (name, self._visits.pop((name, number)).level) for name, number in list(self._visits) if number not in here
        ]
        for rule, columns in self._rules:
            for track in here.values():
                if rule.zones and track.zone not in rule.zones:
                    continue
                score = float(track.scores[columns].sum())
                self._measure(rule, track, 1 - score if rule.watch == "absence" else score)
        return ended

    def _measure(self, rule: Rule, track: Track, score: float) -> None:
        visit = self._visits.setdefault((rule.name, track.id), _Visit(track.zone))
        for index, threshold in enumerate(LEVELS, start=1):
            if score < threshold:
                for above in [level for level in visit.over if level >= index]:
                    del visit.over[above]
                return
            since_s, first = visit.over.setdefault(index, (track.judged_s, track.observations))
            seen = track.observations - first + 1
            if index > visit.level and track.judged_s - since_s >= rule.dwell_s and seen >= rule.min_observations:
                visit.level = index
