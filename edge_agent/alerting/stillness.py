"""Finds faces that are no customers by their stillness: a poster, a mannequin, a screen that shows a still.

A place is a rectangle of the frame and what was seen in it when it was first taken note of, as a coarse signature that
says nothing of brightness or contrast. A face is held against the places that its box overlaps and what they looked
like: a print under noise, flicker and changing light stays what it was, whereas even a calm person blinks, breathes and
sways. Pixels are compared at the place's own rectangle, because the detector's box trembles.

Pure: time comes in with each call, pixels as a function. Nothing of them is handed out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

#: Left, top, right, bottom, as shares of the frame's width and height; may reach beyond 0..1.
Box = tuple[float, float, float, float]
Signature = npt.NDArray[np.float32]
#: Returns the signature of a rectangle of this frame: float32 (side, side), of the same side each time.
Look = Callable[[Box], Signature]

#: Root mean square difference of two signatures, each of unit variance, from which on something has moved
#: (docs/tuning.md has what prints and people reach).
MOVED = 0.12
#: So many looks in a row must differ before it counts; one may be a glitch of the picture.
LOOKS = 2
#: So many motions tell somebody from a print whose light was switched.
MOTIONS = 2
#: Cameras tremble: a shift of so many pixels is no motion.
_TREMBLE_PX = 0.75
#: Overlap, intersection over union, of boxes of the same place; detectors tremble as well.
_SAME_PLACE = 0.5
#: Overlap of a place with the rectangle of a false alarm.
_SAME_RECTANGLE = 0.6
#: A second of motion takes away so many seconds of stillness.
_MOTION_COSTS = 10.0
#: How long what is still is remembered while it is not seen, a false alarm likewise; and everything else.
REMEMBER_S, _FORGET_S = 86_400.0, 60.0
#: A look stands for at most so much time before it: nobody knows what was in between.
_GAP_S = 1.5
#: How long a face must have been seen, and without motion, before a false alarm says anything about its place. The
#: answer may come at once: a page takes little longer than this.
_SEEN_S = 1.0
#: A place's signature is the mean of so much time.
_MEAN_S = 2.0
#: What has been without motion for so long is a thing, also when it came by moving or something moves before it.
_PROVEN_S = 15.0
#: Time constant by which a place's signature follows its light.
_FOLLOW_S = 60.0
_MAX_PLACES = 64
_MAX_RECTANGLES = 16
#: A place is proposed as a zone to ignore when it was seen so lately.
_PROPOSE_S = 600.0


@dataclass(frozen=True, slots=True)
class Rectangle:
    """Where staff called the page for a face without motion a false alarm, and until when that is remembered."""

    box: Box
    until_s: float


@dataclass(slots=True)
class _Place:
    """A rectangle and what it looked like.

    Attributes:
        motions: how often what is here has moved since it came, or since it was without motion for _PROVEN_S.
        seen_s: when it was last seen as it was.
        still_s: how long it was seen without motion, less what motion took away.
        looks: how many looks in a row it was not as it was.
    """

    box: Box
    signature: Signature
    motions: int
    seen_s: float
    still_s: float = 0.0
    looks: int = 0


def to_text(rectangles: Iterable[Rectangle], *, now_s: float, unix_s: float) -> str:
    """Return JSON for a later run: rectangles, and until when they hold on the wall clock."""
    return json.dumps([
        {"box": [round(share, 4) for share in one.box], "until_unix_s": round(one.until_s - now_s + unix_s)}
        for one in rectangles
    ])  # fmt: skip


def from_text(text: str, *, now_s: float, unix_s: float) -> list[Rectangle]:
    """Read what `to_text` wrote, on this run's clock; what is over or none is left out."""
    try:
        found = [
            Rectangle(_as_box(one["box"]), now_s + min(float(one["until_unix_s"]) - unix_s, REMEMBER_S))
            for one in json.loads(text)
        ]
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return []
    return [one for one in found if one.until_s > now_s]


def _as_box(body: Sequence[float]) -> Box:
    left, top, right, bottom = map(float, body)
    if not (-1 <= left < right <= 2 and -1 <= top < bottom <= 2):
        raise ValueError("not a rectangle of the frame")
    return left, top, right, bottom


class StillPlaces:
    """Where faces are without motion; `update` once a frame.

    Args:
        still_after_s: a face seen without motion for so long is still; 0 for none ever.
    """

    def __init__(self, still_after_s: float) -> None:
        self._still_after_s = still_after_s
        self._places: list[_Place] = []
        self._rectangles: list[Rectangle] = []
        self._updated_s = float("-inf")

    def update(self, boxes: Sequence[Box], look: Look, time_s: float, *, width: int) -> list[bool]:
        """Take note of one frame's faces; return for each whether it is still.

        So is a face that was without motion for `still_after_s`, and one that was since it came where staff called such
        a one a false alarm.

        Args:
            look: looks at this frame.
            time_s: the frame's time, never going back.
            width: of the frame, in pixels.
        """
        if not self._still_after_s:
            return [False] * len(boxes)
        elapsed_s = min(_GAP_S, max(0.0, time_s - self._updated_s))
        self._updated_s = time_s
        self._rectangles = [one for one in self._rectangles if one.until_s > time_s]
        self._places = [place for place in self._places if time_s - place.seen_s <= self._memory_s(place)]
        return [self._look_at(box, look, elapsed_s, time_s, width) for box in boxes]

    def _look_at(self, box: Box, look: Look, elapsed_s: float, time_s: float, width: int) -> bool:
        here = [place for place in self._places if overlap(place.box, box) >= _SAME_PLACE]
        last = max(here, key=lambda one: one.seen_s, default=None)
        same: list[tuple[_Place, Signature]] = []
        for place in here:
            now = normalise(look(place.box))
            tremble = _TREMBLE_PX / ((place.box[2] - place.box[0]) * width)
            if difference(place.signature, now, tremble=tremble) < MOVED:
                same.append((place, now))
            else:
                self._differs(place, elapsed_s)
        if same:
            place, now = max(same, key=lambda one: one[0].still_s)
            if place is not last and last is not None:
                place.motions = last.motions + 1
            self._is_as_it_was(place, now, elapsed_s, time_s)
            return self._is_still(place)
        doubtful = [place for place in here if place.looks < LOOKS]
        if doubtful:
            return any(self._is_still(place) for place in doubtful)
        place = _Place(box, normalise(look(box)), motions=last.motions + 1 if last else 0, seen_s=time_s)
        # Whoever moves leaves places behind at every step.
        self._places = [
            one
            for one in self._places
            if all(one is not each for each in here) or one.still_s > 0 or self._is_still(one)
        ]
        self._places = [*self._places, place][-_MAX_PLACES:]
        return self._is_still(place)

    def _is_as_it_was(self, place: _Place, now: Signature, elapsed_s: float, time_s: float) -> None:
        if time_s - place.seen_s <= _GAP_S:
            place.still_s = min(place.still_s + elapsed_s, 2 * self._still_after_s)
        if place.still_s >= _PROVEN_S:
            place.motions = 0
        place.looks, place.seen_s = 0, time_s
        # The mean of the first two seconds, as single pictures are noisy; then slowly after the light.
        share = elapsed_s / (elapsed_s + (place.still_s if place.still_s < _MEAN_S else _FOLLOW_S) + 1e-9)
        place.signature = normalise(place.signature + share * (now - place.signature))

    def _differs(self, place: _Place, elapsed_s: float) -> None:
        place.looks += 1
        # What is known to be still may be hidden by somebody, for as long as they like.
        if place.looks >= LOOKS and place.still_s < self._still_after_s:
            place.still_s = max(0.0, place.still_s - _MOTION_COSTS * elapsed_s)

    def _is_still(self, place: _Place) -> bool:
        return place.still_s >= self._still_after_s or self._is_false_alarm(place)

    def _is_false_alarm(self, place: _Place) -> bool:
        return place.motions < MOTIONS and any(
            overlap(one.box, place.box) >= _SAME_RECTANGLE for one in self._rectangles
        )

    def _memory_s(self, place: _Place) -> float:
        return REMEMBER_S if self._is_still(place) else _FORGET_S

    def false_alarm(self, box: Box, time_s: float) -> bool:
        """Remember for REMEMBER_S that the face here is no customer; return whether there is one without motion.

        Somebody who moved since they were first seen is not remembered.
        """
        here = [place for place in self._places if overlap(place.box, box) >= _SAME_PLACE]
        place = max(here, key=lambda one: one.seen_s, default=None)
        if place is None or place.motions or place.still_s < _SEEN_S:
            return False
        kept = [one for one in self._rectangles if overlap(one.box, place.box) < _SAME_RECTANGLE]
        self._rectangles = [*kept, Rectangle(place.box, time_s + REMEMBER_S)][-_MAX_RECTANGLES:]
        return True

    def rectangles(self) -> list[Rectangle]:
        """Return what is remembered of false alarms."""
        return list(self._rectangles)

    def restore(self, rectangles: Iterable[Rectangle]) -> None:
        """Go on with what an earlier run remembered, on this run's clock."""
        self._rectangles = list(rectangles)[-_MAX_RECTANGLES:]

    def proposals(self, time_s: float) -> list[Box]:
        """Return where faces are still and were seen within the last minutes: zones to ignore."""
        return [
            place.box
            for place in self._places
            if self._is_still(place) and place.still_s >= _SEEN_S and time_s - place.seen_s <= _PROPOSE_S
        ]


def overlap(one: Box, other: Box) -> float:
    """Return the intersection over union of two boxes, 0..1."""
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(0.0, wide) * max(0.0, high)
    areas = (one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1])
    return shared / max(areas - shared, 1e-12)


def normalise(look: Signature) -> Signature:
    """Return a signature with a mean of 0 and a deviation of 1, whatever the light's strength; float32 (side, side)."""
    centred = look - look.mean()
    signature: Signature = (centred / max(float(centred.std()), 1e-3)).astype(np.float32)
    return signature


def difference(one: Signature, other: Signature, *, tremble: float) -> float:
    """Return the root mean square difference of two signatures, 0..2, after a small shift is made good.

    The shift is the one of least squares to first order (Lucas and Kanade, "An Iterative Image Registration Technique",
    1981).

    Args:
        tremble: how far the other may be shifted, as a share of the rectangle's side.
    """
    down, right = np.gradient(one)
    slopes = np.stack([right.ravel(), down.ravel()], axis=1)
    change = (other - one).ravel()
    # The normal equations; a flat signature has no slopes, and nothing to shift.
    (xx, xy), (_, yy) = (slopes.T @ slopes).tolist()
    x, y = (slopes.T @ change).tolist()
    determinant = max(xx * yy - xy * xy, 1e-12)
    limit = tremble * len(one)
    shift = np.clip([(yy * x - xy * y) / determinant, (xx * y - xy * x) / determinant], -limit, limit)
    return float(np.sqrt(np.mean((change - slopes @ shift) ** 2)))
