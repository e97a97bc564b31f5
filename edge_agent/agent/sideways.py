"""Notices a camera that lies on its side: no upright face for minutes, but upright ones in the turned picture.

Of the clips' faces the detector finds all upright ones; turned by 90, 180 or 270 degrees it finds few, none of them
upright and facing the camera. So a few good faces in the turned picture are proof enough. Nothing is turned by itself.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import cv2
import numpy as np

from edge_agent.camera.frames import Frame, Image
from edge_agent.config import Config
from edge_agent.observer import Observer
from edge_agent.pipeline import Decision
from edge_agent.vision.analysis import Vision
from edge_agent.vision.faces import Face
from edge_agent.vision.upright import TURNS, UPRIGHT_DEG, stands_upright

log = logging.getLogger("edge_agent")

#: How long no upright face must have been seen, and how often the detector then looks once more: one in ten seconds.
_AFTER_S, _EVERY_S = 120.0, 10.0
#: Turned pictures with an upright face that are proof, one after another at the same angle.
_PROOF = 3


def shows_upright(decision: Decision) -> bool:
    """Tell whether one of the faces that were judged stands upright."""
    return any(abs(judged.face.roll_deg) < UPRIGHT_DEG for judged in decision.judged)


class Sideways(Observer):
    """Looks at one turned picture now and then while nobody upright is seen.

    Args:
        tell: called once with what to do, one line.
        after_s: how long no upright face must have been seen.
        every_s: between two looks at turned pictures.
    """

    def __init__(
        self,
        config: Config,
        vision: Vision,
        *,
        tell: Callable[[str], None],
        after_s: float = _AFTER_S,
        every_s: float = _EVERY_S,
    ) -> None:
        self._config, self._vision, self._tell = config, vision, tell
        self._after_s, self._every_s = after_s, every_s
        self._upright_s: float | None = None
        self._next_s = float("-inf")
        self._angles, self._found = list(TURNS), 0
        #: What is wrong and what to do; empty while nothing is known to be.
        self.problem = ""

    def frame_processed(self, frame: Frame, decision: Decision) -> None:
        """Look at the turned picture if it is time to."""
        upright = shows_upright(decision)
        if upright or self._upright_s is None:
            self._upright_s = frame.time_s
        if upright:
            self._found, self.problem = 0, ""
        elif frame.time_s - self._upright_s >= self._after_s and frame.time_s >= self._next_s and not self.problem:
            self._next_s = frame.time_s + self._every_s
            if self.look(frame.image):
                log.error(self.problem)
                self._tell(self.problem)

    def look(self, image: Image) -> bool:
        """Look at a picture turned by one angle; return whether that was the proof, which `problem` then tells.

        Args:
            image: uint8 (height, width, 3), BGR, without an upright face.
        """
        angle = self._angles[0]
        turned = np.asarray(cv2.rotate(image, TURNS[angle]), dtype=np.uint8)
        if not any(self._is_good(face, turned) for face in self._vision.detector.detect(turned)):
            self._found = 0
            self._angles.append(self._angles.pop(0))
            return False
        self._found += 1
        if self._found < _PROOF:
            return False
        rotate = (self._config.camera.rotate + angle) % 360
        lies = "stand on its head" if angle == 180 else "lie on its side"
        self.problem = f"the camera seems to {lies}: set camera.rotate: {rotate}"
        return True

    def _is_good(self, face: Face, image: Image) -> bool:
        return face.width >= self._config.faces.min_face_px and stands_upright(face, image, self._config.gates)
