"""Which frames are worth a look: all while somebody is in view, few while nothing moves, fewer when time is short.

Nothing is lost by it: who stands still before the camera is found by the look that comes every second anyway, and a
dwell time begins with the first look either way.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from edge_agent.camera.frames import Image
from edge_agent.config import Performance

#: There is a look at least this often, without motion and when time is short.
LOOK_EVERY_S = 1.0
#: How long motion keeps every frame worth a look.
_ACTIVE_S = 2.0
_STEP_PX = 16
#: A sample has changed when it differs so much from the picture's slow average, 0..255.
_CHANGED = 14
#: Motion is when so large a share of the samples has changed, or, after a light was switched, until the average knows.
_SHARE = 0.004
_FORGET_S = 2.0
#: How much processor time may be saved up, and owed while an alert is pending.
_SAVED_S, _OWED_S = 0.5, 2.0
#: When the budget was overdrawn for so long, it is too small for what the agent does besides looking.
_STARVED_AFTER_S = 10.0
STARVED_PROBLEM = "the camera alone uses up performance.max_cpu_percent: only one frame a second is looked at"


class MotionGate:
    """Compares every sixteenth pixel with its average of the last seconds."""

    def __init__(self) -> None:
        self._average: npt.NDArray[np.float32] | None = None
        self._last_s = 0.0

    def moves(self, image: Image, time_s: float) -> bool:
        """Tell whether something moved; the first frame counts as motion.

        Args:
            image: uint8 (height, width, 3).
        """
        samples = image[_STEP_PX // 2 :: _STEP_PX, _STEP_PX // 2 :: _STEP_PX, 1].astype(np.float32)
        if self._average is None or self._average.shape != samples.shape:
            self._average, self._last_s = samples, time_s
            return True
        changed = np.abs(samples - self._average) > _CHANGED
        share = min(1.0, (time_s - self._last_s) / _FORGET_S)
        self._average += share * (samples - self._average)
        self._last_s = time_s
        return bool(changed.mean() >= _SHARE)


class Pacer:
    """Decides for each frame, and how many frames the camera shall deliver.

    Args:
        rate_hz: of the camera while somebody is in view.
        cpu_s: processor time this process has used, in seconds.
    """

    def __init__(self, settings: Performance, *, rate_hz: float, cpu_s: Callable[[], float]) -> None:
        self._settings, self._active_hz, self._cpu_s = settings, rate_hz, cpu_s
        self._gate = MotionGate()
        self._active_until_s = self._look_s = float("-inf")
        self._saved_s, self._used_s = _SAVED_S, cpu_s()
        self._seen_s: float | None = None
        self._afforded_s = 0.0
        #: Frames a second the camera should deliver now.
        self.rate_hz = rate_hz

    def wants(self, image: Image, time_s: float, *, busy: bool, pending: bool) -> bool:
        """Tell whether to look at a frame.

        Args:
            busy: somebody is in view, or an alert is open.
            pending: a rule is about to page, which is worth owing processor time.
        """
        if self._can_afford(time_s, pending=pending):
            self._afforded_s = time_s
        elif time_s < self._look_s:
            return False
        if busy or self._gate.moves(image, time_s):
            self._active_until_s = time_s + _ACTIVE_S
        active = time_s < self._active_until_s
        self.rate_hz = self._active_hz if active else min(self._active_hz, self._settings.idle_rate_hz)
        if active or time_s >= self._look_s:
            self._look_s = time_s + LOOK_EVERY_S
            return True
        return False

    @property
    def problem(self) -> str:
        """STARVED_PROBLEM while the budget leaves no time to look, else nothing."""
        starved = self._seen_s is not None and self._seen_s - self._afforded_s > _STARVED_AFTER_S
        return STARVED_PROBLEM if starved else ""

    def _can_afford(self, time_s: float, *, pending: bool) -> bool:
        """Book what was used since the last frame against the budget; a token bucket."""
        used_s = self._cpu_s()
        if self._seen_s is None:
            self._seen_s = self._afforded_s = time_s
        elapsed_s = max(0.0, time_s - self._seen_s)
        self._saved_s += elapsed_s * self._settings.max_cpu_percent / 100 - (used_s - self._used_s)
        self._saved_s = min(max(self._saved_s, -_OWED_S), _SAVED_S)
        self._seen_s, self._used_s = time_s, used_s
        return self._saved_s > (-_OWED_S if pending else 0.0)
