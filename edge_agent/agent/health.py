"""Counts what happened and how long it took, and makes the body of the `health` message of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edge_agent.camera.frames import Frame
from edge_agent.observer import Observer
from edge_agent.pipeline import Decision

_TEMPERATURE = Path("/sys/class/thermal/thermal_zone0/temp")
_WINDOW = 600


class Health(Observer):
    """Figures since the start, and latencies of the latest frames.

    Args:
        monotonic: seconds.
        live: frames carry the time at which they were captured on that clock; a recording played without pauses
            does not, and the latency of its frames is how long they were worked on.
    """

    def __init__(self, *, monotonic: Callable[[], float], live: bool = True) -> None:
        self._monotonic, self._live = monotonic, live
        self._start_s = self._interval_start_s = monotonic()
        self._latencies_s: deque[float] = deque(maxlen=_WINDOW)
        self._interval_frames = 0
        self.frames = 0
        self.faces = 0
        #: In view at the latest frame.
        self.people = 0
        #: Frames not looked at: nothing moved, or there was no processor time left.
        self.skipped = 0
        self._last_frame_s: float | None = None

    def frame_processed(self, frame: Frame, decision: Decision) -> None:
        """Count one frame."""
        now_s = self._last_frame_s = self._monotonic()
        self.frames += 1
        self.faces += len(decision.judged)
        self.people = len(decision.tracks)
        self._interval_frames += 1
        self._latencies_s.append(now_s - frame.time_s if self._live else decision.total_s)

    def frame_skipped(self) -> None:
        """Count a frame that was not looked at."""
        self._last_frame_s = self._monotonic()
        self.skipped += 1

    def figures(self) -> dict[str, Any]:
        """Return its part of the `health` message; the frame rate is that since the last call."""
        now_s = self._monotonic()
        elapsed_s = max(now_s - self._interval_start_s, 1e-6)
        rate_hz = self._interval_frames / elapsed_s
        self._interval_start_s, self._interval_frames = now_s, 0
        return {
            "uptime_s": round(now_s - self._start_s, 1),
            "frames": self.frames,
            "frames_skipped": self.skipped,
            "frame_rate_hz": round(rate_hz, 2),
            "latency_p50_ms": self.latency_ms(50),
            "latency_p95_ms": self.latency_ms(95),
            "people": self.people,
            "faces": self.faces,
            "temperature_c": temperature_c(),
            "frame_age_s": None if self._last_frame_s is None else round(now_s - self._last_frame_s, 1),
        }

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
