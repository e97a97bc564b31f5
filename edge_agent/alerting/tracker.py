"""Joins faces of successive frames into tracks and smooths their scores.

A face continues the track whose last box it overlaps most, or else the nearest within reach; every pair is
used once, best first. Smoothing is exponential with a time constant, so it means the same at any frame rate.

A track that is lost stays dormant for a while: a face that shows up where it was takes up its number again.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from edge_agent.config import WHOLE_VIEW, Tracking, Zone
from edge_agent.vision.faces import Face

#: How long somebody must be in another zone to belong to it; faces jitter on borders.
ZONE_HOLD_S = 1.0
Scores = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Observation:
    """One face in one frame.

    Attributes:
        scores: float32 (emotions,), probabilities; None for a face that was seen but not judged.
    """

    face: Face
    scores: Scores | None


@dataclass(frozen=True, slots=True)
class Track:
    """One person for as long as the camera keeps sight of them, short absences included; then they are forgotten.

    Attributes:
        scores: float32 (emotions,), smoothed.
        observations: faces judged so far.
        first_s, last_s: first and latest sighting.
        judged_s: when it was last judged.
    """

    id: int
    face: Face
    scores: Scores
    observations: int
    first_s: float
    last_s: float
    judged_s: float
    zone: str


class Tracker:
    """Keeps the tracks; `update` once a frame."""

    def __init__(self, settings: Tracking, zones: Sequence[Zone] = ()) -> None:
        self._settings, self._zones = settings, zones
        #: Those in view, and by number those lost a short while ago.
        self._tracks: list[Track] = []
        self._dormant: dict[int, Track] = {}
        self._time_s: float | None = None
        self._interval_s = 0.0
        self._size = (0, 0)
        self._ids = itertools.count(1)
        #: Track id → the zone it seems to have moved to, and since when.
        self._moving: dict[int, tuple[str, float]] = {}

    def update(
        self, observations: Sequence[Observation], *, time_s: float, width: int, height: int
    ) -> tuple[Track, ...]:
        """Add one frame's observations; return all tracks not yet lost.

        Args:
            time_s: the frame's time, never going back.
            width, height: of the frame, in pixels.
        """
        self._forget(time_s)
        self._fit(width, height)
        free = dict(enumerate(observations))
        updated = self._assign(self._tracks, free, self._match, time_s, width, height)
        woken = self._assign(list(self._dormant.values()), free, self._place_match, time_s, width, height)
        born = [
            Track(next(self._ids), o.face, o.scores, 1, time_s, time_s, time_s, self._zone(o.face, width, height))
            for o in free.values()
            if o.scores is not None
        ]
        for track_id in woken:
            del self._dormant[track_id]
        self._tracks = [updated.get(track.id, track) for track in self._tracks] + [*woken.values(), *born]
        return self.age(time_s)

    def _fit(self, width: int, height: int) -> None:
        """Carry boxes over to pictures of another size, so that whoever is in view stays the same person."""
        before, self._size = self._size, (width, height)
        if self._size == before or not all(before):
            return
        x, y = width / before[0], height / before[1]
        self._tracks = [replace(track, face=track.face.scaled(x, y)) for track in self._tracks]
        self._dormant = {n: replace(track, face=track.face.scaled(x, y)) for n, track in self._dormant.items()}

    def age(self, time_s: float) -> tuple[Track, ...]:
        """Let tracks unseen for longer than `lost_after_s` go; return the rest."""
        lost_s = self._settings.lost_after_s
        self._dormant.update({track.id: track for track in self._tracks if time_s - track.last_s > lost_s})
        self._tracks = [track for track in self._tracks if time_s - track.last_s <= lost_s]
        self._moving = {track.id: self._moving[track.id] for track in self._tracks if track.id in self._moving}
        self._forget(time_s)
        return tuple(self._tracks)

    def _forget(self, time_s: float) -> None:
        """Forget who was lost for too long, and everybody after a pause of the camera that is longer than usual."""
        forgotten_s = self._settings.forgotten_after_s
        pause_s = 0.0 if self._time_s is None else time_s - self._time_s
        if pause_s > max(forgotten_s, 2 * self._interval_s):
            self._tracks, self._dormant = [], {}
        if self._time_s is None or pause_s > 0:
            self._time_s, self._interval_s = time_s, pause_s
        self._dormant = {n: track for n, track in self._dormant.items() if time_s - track.last_s <= forgotten_s}

    def _assign(
        self, tracks: Sequence[Track], free: dict[int, Observation], match: Callable[[Face, Face], float],
        time_s: float, width: int, height: int,
    ) -> dict[int, Track]:  # fmt: skip
        """Continue tracks by the observations that fit them best, which are taken out of `free`."""
        by_id = {track.id: track for track in tracks}
        pairs = sorted(
            (
                (match(track.face, observation.face), track.id, index)
                for track in tracks
                for index, observation in free.items()
            ),
            key=lambda pair: pair[0],
            reverse=True,
        )
        updated: dict[int, Track] = {}
        for fit, track_id, index in pairs:
            if fit > 0 and track_id not in updated and index in free:
                track = by_id[track_id]
                zone = self._held_zone(track, self._zone(free[index].face, width, height), time_s)
                updated[track_id] = self._continue(track, free.pop(index), time_s, zone)
        return updated

    def _match(self, old: Face, new: Face) -> float:
        """Return 1..2 for overlapping boxes, 0..1 for near ones, 0 for no match."""
        overlap = old.overlap(new)
        if overlap >= self._settings.min_iou:
            return 1 + overlap
        distance = math.hypot(
            old.x + old.width / 2 - new.x - new.width / 2, old.y + old.height / 2 - new.y - new.height / 2
        )
        reach = self._settings.max_distance * max(old.width, new.width)
        return 1 - distance / reach if reach > 0 and distance < reach and _similar_size(old, new) else 0.0

    def _place_match(self, old: Face, new: Face) -> float:
        """Return the overlap of boxes of similar size, 0..1, or 0 where it is too small."""
        overlap = old.overlap(new)
        return overlap if overlap >= self._settings.min_iou and _similar_size(old, new) else 0.0

    def _continue(self, track: Track, seen: Observation, time_s: float, zone: str) -> Track:
        if seen.scores is None:
            return replace(track, face=seen.face, last_s=time_s, zone=zone)
        elapsed_s, constant_s = max(0.0, time_s - track.judged_s), self._settings.smoothing_s
        # Who was out of view comes back with another look: smoothing begins anew.
        begins = constant_s == 0 or track.id in self._dormant
        weight = 1.0 if begins else 1 - math.exp(-elapsed_s / constant_s)
        scores = (track.scores + weight * (seen.scores - track.scores)).astype(np.float32)
        return Track(track.id, seen.face, scores, track.observations + 1, track.first_s, time_s, time_s, zone)

    def _held_zone(self, track: Track, seen: str, time_s: float) -> str:
        """Return the zone a track belongs to: the one it is seen in once it stayed there for ZONE_HOLD_S."""
        if seen == track.zone:
            self._moving.pop(track.id, None)
            return seen
        zone, since_s = self._moving.get(track.id, ("", time_s))
        if zone != seen:
            self._moving[track.id] = (seen, time_s)
            return track.zone
        if time_s - since_s < ZONE_HOLD_S:
            return track.zone
        del self._moving[track.id]
        return seen

    def _zone(self, face: Face, width: int, height: int) -> str:
        x, y = (face.x + face.width / 2) / width, (face.y + face.height / 2) / height
        return next((zone.name for zone in self._zones if _inside(zone.polygon, x, y)), WHOLE_VIEW)


def _similar_size(old: Face, new: Face) -> bool:
    return 0.5 < new.width / max(old.width, 1e-6) < 2


def _inside(polygon: Sequence[tuple[float, float]], x: float, y: float) -> bool:
    """Tell whether a point lies in a polygon (even-odd rule: count edges to the right)."""
    inside = False
    for (x1, y1), (x2, y2) in zip(polygon, (*polygon[1:], polygon[0]), strict=True):
        if (y1 > y) != (y2 > y) and x < x1 + (y - y1) / (y2 - y1) * (x2 - x1):
            inside = not inside
    return inside
