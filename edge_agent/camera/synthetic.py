"""A camera without hardware: a moving test picture, for trying an installation."""

from __future__ import annotations

import time
from collections.abc import Callable

import cv2
import numpy as np

from edge_agent import config
from edge_agent.camera.frames import Frame


class SyntheticCamera:
    """A grey room in which a disc moves; nobody is in it, so it must never page."""

    def __init__(
        self,
        settings: config.Camera,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._settings, self._clock, self._sleep = settings, clock, sleep
        self._due_s = 0.0
        self._rate_hz = settings.frame_rate_hz
        self._count = 0

    def open(self) -> None:
        """Begin at the first picture."""
        self._due_s, self._count = self._clock(), 0

    def read(self) -> Frame | None:
        """Return the next picture when it is due."""
        self._sleep(max(0.0, self._due_s - self._clock()))
        self._due_s = max(self._due_s, self._clock() - 1 / self._rate_hz) + 1 / self._rate_hz
        width, height = self._settings.width, self._settings.height
        image = np.full((height, width, 3), 96, dtype=np.uint8)
        cv2.circle(image, (self._count * 7 % width, height // 2), height // 8, (160, 140, 120), -1)
        self._count += 1
        return Frame(image, self._clock())

    def pace(self, rate_hz: float) -> None:
        """Deliver so many frames a second."""
        self._rate_hz = rate_hz

    def close(self) -> None:
        """Nothing to release."""
