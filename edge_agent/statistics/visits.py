"""What every visit would have been worth as an alert: numbers from which a threshold can be chosen later.

For each person and each rule, the highest threshold that the score stayed over for the rule's dwell time and
observations. One such number a visit, rounded to LEVELS, is all that is kept. Persons and scores are those that decide
about pages, so a visit is over when the rules have forgotten who it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from edge_agent.alerting.people import TOLERANCE
from edge_agent.alerting.rules import RuleEngine
from edge_agent.alerting.tracker import Track
from edge_agent.config import Rule

#: Thresholds a visit is measured against; a visit that reached none is level 0, one that reached the first is 1, ...
LEVELS = tuple(round(0.02 * n, 2) for n in range(1, 50))


@dataclass(slots=True)
class _Visit:
    """Level index → (time, observations) since which the score is over it."""

    level: int = 0
    over: dict[int, tuple[float, int]] = field(default_factory=dict)


class Visits:
    """Measures visits; `update` once a frame, after the engine's."""

    def __init__(self, rules: Sequence[Rule], engine: RuleEngine) -> None:
        self._rules, self._engine = {rule.name: rule for rule in rules}, engine
        self._visits: dict[tuple[str, int], _Visit] = {}

    def update(self, tracks: Iterable[Track]) -> list[tuple[str, int]]:
        """Look at the tracks of one moment; return (rule name, level) of each visit that has ended."""
        here = {track.id: track for track in tracks}
        ended = []
        for (name, number), visit in list(self._visits.items()):
            if number not in here:
                visit.over.clear()
            if self._engine.score(self._rules[name], number) is None:
                ended.append((name, self._visits.pop((name, number)).level))
        for rule in self._rules.values():
            for track in here.values():
                score = self._engine.score(rule, track.id)
                if score is not None and (not rule.zones or track.zone in rule.zones):
                    self._measure(rule, track, score)
        return ended

    def _measure(self, rule: Rule, track: Track, score: float) -> None:
        visit = self._visits.setdefault((rule.name, track.id), _Visit())
        for index, threshold in enumerate(LEVELS, start=1):
            if score < threshold - TOLERANCE:
                for above in [level for level in visit.over if level >= index]:
                    del visit.over[above]
                return
            since_s, first = visit.over.setdefault(index, (track.judged_s, track.observations))
            seen = track.observations - first + 1
            dwelt = track.judged_s - since_s >= rule.dwell_s - TOLERANCE
            if index > visit.level and dwelt and seen >= rule.min_observations:
                visit.level = index
