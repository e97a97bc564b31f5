"""The camera's picture for the page: taken while somebody looks, in memory only."""

from __future__ import annotations

import dataclasses
import threading
import time

import cv2

from edge_agent import config
from edge_agent.camera import Capture, make_camera
from edge_agent.camera.frames import Image
from edge_agent.errors import CameraError

_WIDTH_PX, _JPEG_QUALITY = 960, 75
#: A camera that nobody has looked at for so long is let go.
_IDLE_S = 10.0


class Preview:
    """Keeps a camera open while it is looked at; for any thread, one at a time gets a picture."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._came = threading.Event()
        self._settings: config.Camera | None = None
        self._capture: Capture | None = None
        self._idle: threading.Timer | None = None

    def picture(self, settings: config.Camera) -> Image:
        """Wait for the next picture: uint8 (height, width, 3), BGR, turned as the settings say.

        Raises:
            CameraError: the camera gives none.
        """
        with self._lock:
            if settings != self._settings:
                self._close()
            self._let_go_later()
            capture = self._open(settings)
            until_s = time.monotonic() + settings.timeout_s + 1
            while time.monotonic() < until_s:
                self._came.clear()
                capture.check()
                frame = capture.take()
                if frame is not None:
                    return frame.image
                status = capture.status()
                if status.problem:
                    self._close()
                    raise CameraError(status.problem)
                self._came.wait(0.5)
            self._close()
            raise CameraError(f"the camera did not answer for {settings.timeout_s:.0f} s")

    def close(self) -> None:
        """Let the camera go."""
        with self._lock:
            self._close()

    def _open(self, settings: config.Camera) -> Capture:
        if self._capture is None:
            played = dataclasses.replace(settings, loop=True)
            self._settings = settings
            self._capture = Capture(lambda: make_camera(played), played, wake=self._came.set)
            self._capture.start()
        return self._capture

    def _let_go_later(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._idle = threading.Timer(_IDLE_S, self.close)
        self._idle.daemon = True
        self._idle.start()

    def _close(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        if self._capture is not None:
            self._capture.stop()
        self._capture = self._settings = None


def as_jpeg(image: Image) -> bytes:
    """Return a picture for a browser, at most _WIDTH_PX wide."""
    scale = min(1.0, _WIDTH_PX / image.shape[1])
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes()
