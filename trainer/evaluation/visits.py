"""Whom the agent would page if people looked, for a whole visit, as they do on a portrait.

A visit is one portrait, held: the classifier sees it as a detector's boxes, never twice the same, would cut it out, and
its scores go through the agent's own tracker and rules.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.alerting.rules import RuleEngine
from edge_agent.alerting.thresholds import LOWER_SHARE, Thresholds
from edge_agent.alerting.tracker import Observation, Tracker
from edge_agent.config import Rule, Tracking
from edge_agent.vision.faces import Face
from trainer.data.datasets import SIDE_PX
from trainer.data.portraits import CROP_PX, FACE_PX

#: A visit, and how often the face is judged meanwhile.
VISIT_S, RATE_HZ = 15.0, 5.0
#: Different cuts of a portrait; they come again in random order.
CUTS = 8
#: Thresholds that are tried, 0..1.
THRESHOLDS = tuple(round(0.01 * n, 2) for n in range(2, 96))
_FACE = Face(100, 100, 100, 100, 0.9, (130, 140), (170, 140))


@dataclass(frozen=True, slots=True)
class Visit:
    """One portrait's visit.

    Attributes:
        scores: float32 (VISIT_S * RATE_HZ,), what rules see of angry at each look, 0..1.
    """

    person: str
    scores: npt.NDArray[np.float32]


def cuts(crop: npt.NDArray[np.uint8], random: np.random.Generator) -> list[npt.NDArray[np.uint8]]:
    """Return CUTS faces, uint8 (48, 48), as boxes that jitter cut them out of a portrait, uint8 (96, 96).

    Size ±3 %, place ±2 % of the side, roll ±2°, as BlazeFace's boxes of a face that keeps still; a little noise.
    """
    found = []
    middle = (CROP_PX - 1) / 2
    for _ in range(CUTS):
        scale = SIDE_PX / FACE_PX * random.uniform(0.97, 1.03)
        matrix = cv2.getRotationMatrix2D((middle, middle), random.uniform(-2, 2), scale)
        shift = (SIDE_PX - 1) / 2 - middle + random.uniform(-0.02, 0.02, 2) * SIDE_PX
        matrix[:, 2] += shift  # type: ignore[arg-type]
        face = cv2.warpAffine(crop, matrix, (SIDE_PX, SIDE_PX), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
        noisy = np.rint(face + random.normal(0, 2, face.shape))
        found.append(np.clip(noisy, 0, 255).astype(np.uint8))
    return found


def looks(scores: npt.NDArray[np.float32], random: np.random.Generator) -> npt.NDArray[np.float32]:
    """Return the scores of a visit's looks, drawn from those of the cuts, float32 (CUTS,)."""
    return scores[random.integers(0, len(scores), int(VISIT_S * RATE_HZ))]


def paged_up_to(visit: Visit, *, population_logit: float | None, rule: Rule | None = None) -> float:
    """Return the highest of THRESHOLDS at which the agent would page for this visit; 0 if at none.

    Args:
        population_logit: see the operating point; None to leave people's own levels aside.
        rule: its dwell time and observations count; the default rule if None.
    """
    rule, tracking = rule or Rule(name="angry"), Tracking()
    tracker = Tracker(tracking)
    moments = []
    for number, score in enumerate(visit.scores):
        seen = Observation(_FACE, np.array([score], dtype=np.float32))
        time_s = number / RATE_HZ
        moments.append((tracker.update([seen], time_s=time_s, width=640, height=480), time_s))
    highest = max(float(tracks[0].scores[0]) for tracks, _ in moments)
    for threshold in reversed(THRESHOLDS):
        if threshold <= highest:
            limits = {rule.name: Thresholds(threshold, LOWER_SHARE * threshold, population_logit)}
            engine = RuleEngine([rule], ["angry"], thresholds=limits, new_id=lambda: "visit", tracking=tracking)
            if any(engine.update(tracks, time_s) for tracks, time_s in moments):
                return threshold
    return 0.0


def share_by_person(people: npt.NDArray[np.str_], paged: npt.NDArray[np.bool_]) -> tuple[float, int]:
    """Return the share of a person's visits that were paged, averaged over people, and how many people there are."""
    _, person = np.unique(people, return_inverse=True)
    visits = np.bincount(person)
    shares = np.bincount(person, weights=paged) / visits
    return float(shares.mean()), len(visits)
