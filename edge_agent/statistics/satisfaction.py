"""How content people were, over an interval: shares and last looks, never a record of anybody.

A visit counts once it is over; whoever was out of view for a moment goes on with theirs. Its shares are how much of it
each look was on top; its last look is what the smoothed scores said when it was last judged. Fewer visits than a
minimum group are withheld, so that nobody can be told apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from edge_agent.alerting.tracker import Track
from edge_agent.delivery.messages import Summary

#: A visit judged less often is somebody who walked past.
MIN_OBSERVATIONS = 5


@dataclass(slots=True)
class _Visit:
    looks: dict[int, int] = field(default_factory=dict)
    observations: int = 0
    last: int = 0


class Satisfaction:
    """Collects visits; `update` once a frame.

    Args:
        emotions: names of the columns of `Track.scores`.
        satisfied: those that count as a satisfied last look.
        min_group: fewest visits that are reported.
    """

    def __init__(self, emotions: Sequence[str], *, satisfied: Sequence[str], min_group: int) -> None:
        self._emotions, self._min_group = emotions, min_group
        self._satisfied = {emotions.index(name) for name in satisfied}
        self._present: dict[int, _Visit] = {}
        self._ended: dict[int, _Visit] = {}

    def update(self, tracks: Iterable[Track]) -> None:
        """Look at the tracks of one moment."""
        here = {track.id: track for track in tracks}
        for number in list(self._present):
            if number not in here:
                self._ended[number] = self._present.pop(number)
        for number, track in here.items():
            if number not in self._present:
                self._present[number] = self._ended.pop(number, _Visit())
            visit = self._present[number]
            if track.observations > visit.observations:
                visit.observations, visit.last = track.observations, int(track.scores.argmax())
                visit.looks[visit.last] = visit.looks.get(visit.last, 0) + 1

    def take(self) -> Summary:
        """Return the interval that ends now, and begin another.

        Visits too few to be told are not carried over: two summaries must not give away what one withheld.
        """
        visits = [visit for visit in self._ended.values() if visit.observations >= MIN_OBSERVATIONS]
        self._ended = {}
        if len(visits) < self._min_group:
            return Summary(None, None, None)
        shares = {
            name: round(sum(v.looks.get(column, 0) / sum(v.looks.values()) for v in visits) / len(visits), 4)
            for column, name in enumerate(self._emotions)
        }
        content = sum(visit.last in self._satisfied for visit in visits)
        return Summary(len(visits), shares, round(content / len(visits), 4))
