"""The clock that alerts live by: that of the frames, which recordings played without pauses run ahead of."""

from __future__ import annotations

from collections.abc import Callable


class AlertClock:
    """Goes on by itself from the latest frame.

    Args:
        monotonic: seconds.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._frame_s = self._taken_s = monotonic()

    def set_by(self, frame_s: float) -> None:
        """Note that a frame, captured at `frame_s`, was taken now."""
        self._frame_s, self._taken_s = frame_s, self._monotonic()

    def now_s(self) -> float:
        """Return now, in seconds."""
        return self._frame_s + self.blind_s()

    def blind_s(self) -> float:
        """Return for how long there was no frame."""
        return self._monotonic() - self._taken_s
