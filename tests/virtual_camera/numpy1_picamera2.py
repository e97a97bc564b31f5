"""Stands in for picamera2 in Bookworm, which only Raspberry Pi OS has: built on an extension compiled for apt's numpy.

PyWavelets takes the place of simplejpeg; each picture goes through it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pywt


class Picamera2:
    """A camera of grey noise in YUV420, with the methods that the agent calls."""

    def __init__(self, number: int) -> None:
        self._streams: dict[str, Any] = {}
        self._noise = np.random.default_rng(number)

    def create_video_configuration(self, **streams: Any) -> dict[str, Any]:
        """Return what is to be configured."""
        return streams

    def configure(self, configuration: dict[str, Any]) -> None:
        """Keep the configuration."""
        self._streams = configuration

    def camera_configuration(self) -> dict[str, Any]:
        """Return the configuration."""
        return self._streams

    def start(self) -> None:
        """Begin; nothing is to do."""

    def capture_array(self, name: str, wait: bool) -> str:
        """Return the stream's name as the job."""
        return name

    def wait(self, job: str, timeout: float) -> Any:
        """Return uint8 (height * 3 / 2, width), I420."""
        width, height = self._streams[job]["size"]
        luma = self._noise.uniform(16, 235, (height, width))
        luma = pywt.idwt2(pywt.dwt2(luma, "haar"), "haar")
        return np.vstack([luma, np.full((height // 2, width), 128.0)]).astype(np.uint8)

    def set_controls(self, controls: dict[str, Any]) -> None:
        """Take whatever is asked for."""

    def stop(self) -> None:
        """End; nothing is to do."""

    def close(self) -> None:
        """Release; nothing is to do."""
