"""Counts what happened and how long it took, for the `health` message and the demo's summary."""

from __future__ import annotations

from collections import deque
from pathlib import Path

import numpy as np

_TEMPERATURE = Path("/sys/class/thermal/thermal_zone0/temp")
_WINDOW = 600


class Health:
    """Figures since the start, and latencies of the latest frames."""

    def __init__(self, *, start_s: float) -> None:
        self._start_s = self._interval_start_s = start_s
        self._latencies_s: deque[float] = deque(maxlen=_WINDOW)
        self._interval_frames = 0
        self.frames = 0
        self.faces = 0
        #: Frames not looked at: nothing moved, or there was no processor time left.
        self.skipped = 0
        self._last_frame_s: float | None = None

    def frame(self, *, faces: int, latency_s: float, now_s: float) -> None:
        """Count one processed frame, `latency_s` after it was captured."""
        self._last_frame_s = now_s
        self.frames += 1
        self.faces += faces
        self._interval_frames += 1
        self._latencies_s.append(latency_s)

    def skip(self, *, now_s: float) -> None:
        """Count a frame that was not looked at."""
        self._last_frame_s = now_s
        self.skipped += 1

    def frame_age_s(self, now_s: float) -> float | None:
        """Return seconds since a frame was processed; None before the first."""
        return None if self._last_frame_s is None else now_s - self._last_frame_s

    def uptime_s(self, now_s: float) -> float:
        """Return seconds since the start."""
        return now_s - self._start_s

    def take_frame_rate_hz(self, now_s: float) -> float:
        """Return processed frames a second since the last call."""
        elapsed_s = max(now_s - self._interval_start_s, 1e-6)
        rate_hz = self._interval_frames / elapsed_s
        self._interval_start_s, self._interval_frames = now_s, 0
        return rate_hz

    def latency_ms(self, percentile: float) -> float | None:
        """Return a percentile (0..100) of the latest capture-to-decision times; None before the first frame."""
        if not self._latencies_s:
            return None
        return round(float(np.percentile(self._latencies_s, percentile)) * 1000, 2)


def temperature_c() -> float | None:
    """Return the processor's temperature, or None where the kernel does not tell."""
    try:
        return int(_TEMPERATURE.read_text(encoding="ascii")) / 1000
    except (OSError, ValueError):
        return None
