"""Notices a camera that delivers frames but shows nothing: black, or the same picture for ever."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_agent.camera.frames import Frame

#: How long a picture must stay black or unchanged before it counts.
AFTER_S = 10.0
#: A picture whose brightest sample is below this shows nothing, 0..255.
BLACK = 16
_STEP_PX = 16
FROZEN_PROBLEM = "the camera shows the same picture all the time"
BLACK_PROBLEM = "the picture is black; is the lens covered or the light off?"


class PictureWatch:
    """Looks at every sixteenth pixel of each frame.

    A sensor's noise changes some of them from frame to frame, whatever stands before it.
    """

    def __init__(self) -> None:
        self._last: npt.NDArray[np.uint8] | None = None
        self._changed_s = self._lit_s = 0.0

    def look(self, frame: Frame) -> str:
        """Return what is wrong with the picture, one of the two PROBLEMs, or nothing."""
        samples = frame.image[::_STEP_PX, ::_STEP_PX].copy()
        if self._last is None:
            self._changed_s = self._lit_s = frame.time_s
        if self._last is None or samples.shape != self._last.shape or (samples != self._last).any():
            self._changed_s = frame.time_s
        if samples.max() >= BLACK:
            self._lit_s = frame.time_s
        self._last = samples
        if frame.time_s - self._lit_s >= AFTER_S:
            return BLACK_PROBLEM
        return FROZEN_PROBLEM if frame.time_s - self._changed_s >= AFTER_S else ""
