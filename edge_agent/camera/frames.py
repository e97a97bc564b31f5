"""`Frame` and the `Camera` port that every source implements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture, alive for one turn of the loop.

    Attributes:
        image: uint8 (height, width, 3), BGR, 0..255; the agent may write into it (masks).
        time_s: when it was captured, on the clock that all alert timing uses (monotonic seconds).
        clip_s: its position in a recorded clip, in seconds from the start; None for live cameras.
    """

    image: Image
    time_s: float
    clip_s: float | None = None


class Camera(Protocol):
    """A source of frames, used from one thread.

    `open` and `read` raise `CameraError` when the camera cannot be used; `close` never raises and
    may be called twice. `read` returns None at the end of a recording and should return or raise within the
    configured timeout; one that does not is abandoned by the capture thread.
    """

    def open(self) -> None:
        """Start capturing; may be called again after `close`."""

    def read(self) -> Frame | None:
        """Wait for the next frame; None at the end of a recording."""

    def close(self) -> None:
        """Release the device."""


@runtime_checkable
class PacedCamera(Camera, Protocol):
    """A camera that can be asked for fewer frames while it runs."""

    def pace(self, rate_hz: float) -> None:
        """Deliver about so many frames a second from now on."""
