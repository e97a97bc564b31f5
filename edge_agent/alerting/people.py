"""The people one rule looks at: how high the score of each is, since when, and for whom staff are not to be paged.

A person is a track, short absences included. What is known of them goes with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from edge_agent.alerting.baseline import Baseline, Level
from edge_agent.alerting.thresholds import Thresholds
from edge_agent.alerting.tracker import Track
from edge_agent.config import Rule, Tracking
from edge_agent.vision.faces import Face

#: Scores are float32 and times are sums: what is as near as this is reached.
TOLERANCE = 1e-6
_NEVER = float("-inf")


@dataclass(frozen=True, slots=True)
class Mute:
    """Somebody who is not to be paged for.

    Attributes:
        box: x, y, width and height of their face as last seen, in pixels of the frame.
        until_s: on the alerting clock.
    """

    rule: str
    box: tuple[float, float, float, float]
    until_s: float

    @staticmethod
    def of(rule: Rule, person: Person) -> Mute:
        """Return a person's."""
        face = person.track.face
        return Mute(rule.name, (face.x, face.y, face.width, face.height), person.muted_until_s)

    def overlap(self, face: Face) -> float:
        """Return the intersection over union of the box and a face's, 0..1."""
        return Face(*self.box, 0.0, self.box[:2], self.box[:2]).overlap(face)


@dataclass(slots=True)
class Person:
    """One person under one rule.

    Attributes:
        track: as last seen.
        score: of the rule's emotions, smoothed, less the person's own level, 0..1.
        here: in view, in a zone of the rule.
        over: judged_s and observations of the look since which the score is over `upper`; None if it is not.
        calm_since_s: since when the score is not over `lower`, or the person is not here.
        zone: of the alert they are in; None if in none.
        muted_until_s: when they may be paged for again.
        kept_back: staff were not paged for them when they were due, for it was outside opening hours.
    """

    track: Track
    score: float = 0.0
    level: Level = field(default_factory=Level)
    here: bool = True
    over: tuple[float, int] | None = None
    calm_since_s: float | None = None
    zone: str | None = None
    muted_until_s: float = _NEVER
    kept_back: bool = False

    def leave(self, muted_until_s: float) -> None:
        """Leave the alert."""
        self.zone, self.muted_until_s = None, muted_until_s

    def muted(self, time_s: float) -> bool:
        """Tell whether staff are not to be paged for them now."""
        return time_s < self.muted_until_s - TOLERANCE


class People:
    """Everybody in view of one rule, and who was a moment ago.

    Args:
        columns: of `Track.scores` that the rule adds.
    """

    def __init__(self, rule: Rule, columns: Sequence[int], thresholds: Thresholds, tracking: Tracking) -> None:
        self.rule, self.thresholds = rule, thresholds
        self._columns, self._tracking = columns, tracking
        self._baseline: Baseline | None = None
        if thresholds.population is not None and tracking.baseline_s > 0:
            self._baseline = Baseline(thresholds.population, tracking.baseline_s, tracking.baseline_memory_s)
        self._people: dict[int, Person] = {}
        #: Mutes of people whom nobody has recognised in a track yet, and until when that may happen.
        self._places: list[Mute] = []
        self._places_until_s: float | None = None

    def __iter__(self) -> Iterator[Person]:
        return iter(self._people.values())

    def get(self, track_id: int) -> Person | None:
        """Return who has this track."""
        return self._people.get(track_id)

    def look(self, tracks: Sequence[Track], time_s: float) -> None:
        """Look at the tracks of one moment."""
        if self._places:
            if self._places_until_s is None:
                self._places_until_s = time_s + self._tracking.forgotten_after_s
            if time_s > self._places_until_s:
                self._places.clear()
        for person in self:
            person.here = False
        for track in tracks:
            known = self._people.get(track.id)
            if not self.rule.zones or track.zone in self.rule.zones:
                self._judge(known or self._meet(track), track, time_s)
            elif known is not None:
                known.track = track
        for person in [person for person in self if not person.here]:
            person.over = None
            person.calm_since_s = time_s if person.calm_since_s is None else person.calm_since_s
            if person.zone is None and time_s - person.track.last_s > self._tracking.forgotten_after_s:
                del self._people[person.track.id]

    def _meet(self, track: Track) -> Person:
        person = self._people[track.id] = Person(track)
        nearest = max(self._places, key=lambda place: place.overlap(track.face), default=None)
        if nearest is not None and nearest.overlap(track.face) >= self._tracking.min_iou:
            self._places.remove(nearest)
            person.muted_until_s = nearest.until_s
        return person

    def _judge(self, person: Person, track: Track, time_s: float) -> None:
        elapsed_s, score = track.judged_s - person.track.judged_s, self._raw_score(track)
        person.track, person.here, person.score = track, True, score
        if self._baseline is not None:
            person.score = self._baseline.adjust(score, person.level)
        if person.score < self.thresholds.upper - TOLERANCE:
            person.over = None
            # Whoever is in an alert would be calm by definition after a while, if that were learned.
            if self._baseline is not None and person.zone is None:
                self._baseline.learn(person.level, score, elapsed_s)
        elif person.over is None:
            person.over = (track.judged_s, track.observations)
        if person.over is not None or person.score > self.thresholds.lower + TOLERANCE:
            person.calm_since_s = None
        elif person.calm_since_s is None:
            person.calm_since_s = time_s

    def _raw_score(self, track: Track) -> float:
        score = sum(float(track.scores[column]) for column in self._columns)
        return 1 - score if self.rule.watch == "absence" else score

    def share(self, person: Person) -> float:
        """Return how far a person is on the way from the first look over `upper` to a page, 0..1."""
        if person.over is None:
            return 0.0
        since_s, first = person.over
        dwelt_s = person.track.judged_s - since_s + TOLERANCE
        seen = (person.track.observations - first + 1) / self.rule.min_observations
        return min(1.0, seen, dwelt_s / self.rule.dwell_s if self.rule.dwell_s else 1.0)

    def may_page(self, person: Person, time_s: float) -> bool:
        """Tell whether it would be news to staff that a person is upset."""
        return person.here and person.zone is None and not person.muted(time_s)

    def due(self, zone: str, time_s: float) -> list[Person]:
        """Return the people of a zone for whom staff are to be paged now."""
        return [
            person
            for person in self
            if person.track.zone == zone and self.may_page(person, time_s) and self.share(person) >= 1
        ]

    def release(self) -> None:
        """Mute nobody any more whose page was kept back: staff can be paged now, and know nothing of them."""
        for person in self:
            if person.kept_back and person.zone is None:
                person.kept_back, person.muted_until_s = False, _NEVER

    def claim_kept_back(self, zone: str) -> list[Person]:
        """Return the people in a zone's alert who are to be paged for now: they are upset, their page was kept back."""
        late = [one for one in self.members(zone) if one.kept_back and one.here and one.calm_since_s is None]
        for person in late:
            person.kept_back = False
        return late

    def members(self, zone: str) -> list[Person]:
        """Return the people in a zone's alert, wherever they are by now."""
        return [person for person in self if person.zone == zone]

    def over_lower(self, zone: str, time_s: float) -> bool:
        """Tell whether somebody in a zone whom staff know nothing of keeps an alert open."""
        return any(
            person.track.zone == zone and person.calm_since_s is None and self.may_page(person, time_s)
            for person in self
        )

    def calm(self, person: Person, time_s: float) -> bool:
        """Tell whether a person has been calm, or away, for as long as it takes."""
        return person.calm_since_s is not None and time_s - person.calm_since_s >= self.rule.off_delay_s - TOLERANCE

    def teach(self, person: Person) -> None:
        """Take it from staff that this person is calm, looking as they do."""
        if self._baseline is not None:
            self._baseline.raise_to(person.level, self._raw_score(person.track))

    def lose_sight(self, present: Container[int]) -> Counter[str]:
        """Know only those who are present after a pause; return zone → how many others were in its alert."""
        gone = [person for person in self if person.track.id not in present]
        for person in gone:
            del self._people[person.track.id]
            if person.muted_until_s > person.track.last_s and not person.kept_back:
                self._places.append(Mute.of(self.rule, person))
        self._places_until_s = None
        return Counter(person.zone for person in gone if person.zone is not None)

    def mutes(self) -> list[Mute]:
        """Return whom staff are not to be paged for."""
        known = [person for person in self if person.muted_until_s > person.track.last_s and not person.kept_back]
        return [*self._places, *(Mute.of(self.rule, person) for person in known)]

    def inherit(self, mutes: Iterable[Mute]) -> None:
        """Apply mutes of an earlier run to whoever shows up in those places at once."""
        self._places, self._places_until_s = [mute for mute in mutes if mute.rule == self.rule.name], None
