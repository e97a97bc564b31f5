"""Video files, picture by picture, each at the time that the file itself gives it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from edge_agent.camera.ffmpeg import open_file
from edge_agent.camera.frames import Image
from edge_agent.errors import CameraError

#: Stands in for a frame rate that a file does not know, or that no camera has: MPEG-TS often claims 90,000.
_USUAL_RATE_HZ = 15.0
_HIGHEST_RATE_HZ = 240.0
#: A time stamp so far ahead of the last one is damage, or an impossible frame rate; a slow time lapse has less.
_LONGEST_GAP_S = 86_400.0
#: A time stamp so far behind the last one begins another recording in the same file; less is disorder.
_BEGINS_ANEW_S = 1.0


class ClipClock:
    """Turns a file's presentation time stamps into seconds since its first picture, never going back.

    A picture without a stamp of its own (raw streams have none, and OpenCV then says 0), or with an impossible one,
    follows its predecessor by the file's nominal frame period.

    Args:
        rate_hz: as the file states it; replaced where it is impossible.
        start_s: time of the first picture.
    """

    def __init__(self, rate_hz: float, *, start_s: float = 0.0) -> None:
        believed = 1 / _LONGEST_GAP_S <= rate_hz <= _HIGHEST_RATE_HZ
        self.period_s = 1 / (rate_hz if believed else _USUAL_RATE_HZ)
        #: Stamps that are closer come from an impossible rate; elsewhere they are pictures in a burst.
        self._shortest_s = 0.0 if believed else 1 / _HIGHEST_RATE_HZ
        self._time_s = start_s
        self._stamp_s: float | None = None
        #: What to add to a stamp.
        self._offset_s = 0.0

    def tell(self, stamp_s: float) -> float:
        """Return the time of the next picture, whose stamp this is, in seconds."""
        last_s = self._stamp_s
        if last_s is None:
            self._stamp_s, self._offset_s = stamp_s, self._time_s - stamp_s
        elif 0 < stamp_s - last_s < self._shortest_s or stamp_s - last_s > _LONGEST_GAP_S:
            self._time_s += self.period_s
            self._stamp_s, self._offset_s = stamp_s, self._time_s - stamp_s
        elif stamp_s > last_s:
            self._stamp_s, self._time_s = stamp_s, max(self._time_s, stamp_s + self._offset_s)
        else:
            self._time_s += self.period_s
            if stamp_s != 0 and stamp_s < last_s - _BEGINS_ANEW_S:
                self._stamp_s, self._offset_s = stamp_s, self._time_s - stamp_s
        return self._time_s


def play(path: Path, *, loop: bool) -> Iterator[tuple[float, Image]]:
    """Return an iterator of (seconds since the first picture, uint8 (height, width, 3) BGR picture).

    Args:
        loop: begin anew after the last picture, time going on.

    Raises:
        CameraError: OpenCV cannot read it; raised at once, not by the first `next`.
    """
    capture, image = _open(path)
    return _pictures(path, capture, image, loop=loop)


def _open(path: Path) -> tuple[cv2.VideoCapture, Image]:
    """Return the file opened, and its first picture."""
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError:
        raise CameraError(f"the name of {str(path.absolute())!a} is not UTF-8, which OpenCV needs; rename it") from None
    capture = open_file(path)
    ok, picture = capture.read()
    if not ok or picture is None:
        capture.release()
        raise CameraError(f"{path} is not a video that OpenCV can read, or its recording was cut off")
    return capture, np.asarray(picture, dtype=np.uint8)


def _pictures(path: Path, capture: cv2.VideoCapture, image: Image, *, loop: bool) -> Iterator[tuple[float, Image]]:
    clock = ClipClock(capture.get(cv2.CAP_PROP_FPS))
    try:
        while True:
            time_s = clock.tell(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
            yield time_s, image
            ok, picture = capture.read()
            if ok and picture is not None:
                image = np.asarray(picture, dtype=np.uint8)
            elif loop:
                capture.release()
                capture, image = _open(path)
                clock = ClipClock(capture.get(cv2.CAP_PROP_FPS), start_s=time_s + clock.period_s)
            else:
                return
    finally:
        capture.release()
