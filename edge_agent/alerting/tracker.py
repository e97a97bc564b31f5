"""Joins faces of successive frames into tracks and smooths their scores.

A face continues the track whose last box it overlaps most, or else the nearest within reach; every pair is
used once, best first. Smoothing is exponential with a time constant, so it means the same at any frame rate.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
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
        scores: float32 (groups,), probabilities; None for a face that was seen but not judged.
    """

    face: Face
    scores: Scores | None


@dataclass(frozen=True, slots=True)
class Track:
    """One person for as long as the camera keeps sight of them; nothing identifies them beyond that.

    Attributes:
        scores: float32 (groups,), smoothed.
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
        self._tracks: list[Track] = []
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
        free = dict(enumerate(observations))
        tracks = {track.id: track for track in self._tracks}
        pairs = sorted(
            (
                (self._match(track.face, observation.face), track.id, index)
                for track in self._tracks
                for index, observation in free.items()
            ),
            key=lambda pair: pair[0],
            reverse=True,
        )
        updated: dict[int, Track] = {}
        for match, track_id, index in pairs:
            if match > 0 and track_id not in updated and index in free:
                zone = self._held_zone(tracks[track_id], self._zone(free[index].face, width, height), time_s)
                updated[track_id] = self._continue(tracks[track_id], free.pop(index), time_s, zone)
        born = [
            Track(next(self._ids), o.face, o.scores, 1, time_s, time_s, time_s, self._zone(o.face, width, height))
            for o in free.values()
            if o.scores is not None
        ]
        self._tracks = [updated.get(track.id, track) for track in self._tracks] + born
        return self.age(time_s)

    def age(self, time_s: float) -> tuple[Track, ...]:
        """Drop tracks unseen for longer than `lost_after_s`; return the rest."""
        self._tracks = [t for t in self._tracks if time_s - t.last_s <= self._settings.lost_after_s]
        self._moving = {track.id: self._moving[track.id] for track in self._tracks if track.id in self._moving}
        return tuple(self._tracks)

    def _match(self, old: Face, new: Face) -> float:
        """Return 1..2 for overlapping boxes, 0..1 for near ones, 0 for no match."""
        overlap = old.overlap(new)
        if overlap >= self._settings.min_iou:
            return 1 + overlap
        distance = math.hypot(
            old.x + old.width / 2 - new.x - new.width / 2, old.y + old.height / 2 - new.y - new.height / 2
        )
        reach = self._settings.max_distance * max(old.width, new.width)
        similar_size = 0.5 < new.width / max(old.width, 1e-6) < 2
        return 1 - distance / reach if reach > 0 and distance < reach and similar_size else 0.0

    def _continue(self, track: Track, seen: Observation, time_s: float, zone: str) -> Track:
        if seen.scores is None:
            return replace(track, face=seen.face, last_s=time_s, zone=zone)
        elapsed_s, constant_s = max(0.0, time_s - track.judged_s), self._settings.smoothing_s
        weight = 1.0 if constant_s == 0 else 1 - math.exp(-elapsed_s / constant_s)
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


def _inside(polygon: Sequence[tuple[float, float]], x: float, y: float) -> bool:
    """Tell whether a point lies in a polygon (even-odd rule: count edges to the right)."""
    inside = False
    for (x1, y1), (x2, y2) in zip(polygon, (*polygon[1:], polygon[0]), strict=True):
        if (y1 > y) != (y2 > y) and x < x1 + (y - y1) / (y2 - y1) * (x2 - x1):
            inside = not inside
    return inside
