"""The Raspberry Pi camera, through picamera2's low-resolution YUV stream.

picamera2 comes from apt (`python3-picamera2`) and is imported only when this source is used, so the virtual
environment must have been made with `--system-site-packages`.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from edge_agent import config
from edge_agent.camera.frames import Frame
from edge_agent.errors import CameraError

#: What may come where YUV420 was asked for: a pipeline that does not know it gives its nearest format.
_TO_BGR = {"YUV420": cv2.COLOR_YUV2BGR_I420, "NV12": cv2.COLOR_YUV2BGR_NV12}


class PiCamera:
    """Frames from the lores stream, YUV420 planar, turned into BGR once: finding faces wants colour."""

    def __init__(self, settings: config.Camera, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._clock = settings, clock
        self._picam: Any = None

    def open(self) -> None:
        """Configure and start the camera named by `camera.device` (a number, 0 for the first).

        Raises:
            CameraError: picamera2 is not installed, or there is no such camera or it is busy.
        """
        try:
            from picamera2 import Picamera2
        except (Exception, SystemExit) as error:  # what it is built on may raise anything
            raise CameraError(f"picamera2 cannot be imported ({_one_line(error)}); {_cure(error)}") from None
        settings = self._settings
        size = (settings.width // 2 * 2, settings.height // 2 * 2)
        try:
            # libcamera raises plain RuntimeError and IndexError for absent and busy cameras.
            self._picam = Picamera2(int(settings.device) if settings.device.isdecimal() else 0)
            self._picam.configure(
                self._picam.create_video_configuration(
                    main={"size": size},
                    lores={"size": size, "format": "YUV420"},
                    controls={"FrameRate": settings.frame_rate_hz},
                    buffer_count=3,
                )
            )
            given = self._picam.camera_configuration()["lores"]["format"]
            if given not in _TO_BGR:
                raise CameraError(f"its format {given} is not one of {', '.join(_TO_BGR)}")
            self._picam.start()
        except (Exception, SystemExit) as error:
            self.close()
            raise CameraError(
                f"the Pi camera does not start: {_one_line(error)}; `rpicam-hello --list-cameras` shows it"
            ) from error

    def read(self) -> Frame | None:
        """Wait for the next frame.

        Raises:
            CameraError: the camera is not open, or stopped within `camera.timeout_s`.
        """
        if self._picam is None:
            raise CameraError("the camera is not open")
        lores = self._picam.camera_configuration()["lores"]
        width, height = lores["size"]
        job = self._picam.capture_array("lores", wait=False)
        try:
            planes = self._picam.wait(job, timeout=self._settings.timeout_s)
        except (Exception, SystemExit) as error:
            raise CameraError(f"the Pi camera stopped delivering frames: {_one_line(error)}") from error
        # Rows may be padded to the sensor pipeline's alignment; the picture is the left part of each plane row.
        image = cv2.cvtColor(planes, _TO_BGR[lores["format"]])[:height, :width]
        if self._settings.rotate:
            image = np.rot90(image, k=-self._settings.rotate // 90)
        return Frame(np.ascontiguousarray(image, dtype=np.uint8), self._clock())

    def pace(self, rate_hz: float) -> None:
        """Ask the sensor for another frame rate."""
        if self._picam is not None:
            with contextlib.suppress(Exception):  # a camera that is just failing says so when it is read
                self._picam.set_controls({"FrameRate": rate_hz})

    def close(self) -> None:
        """Stop and release the camera; safe to call twice."""
        picam, self._picam = self._picam, None
        if picam is not None:
            # A camera that was unplugged cannot be stopped, and need not be.
            with contextlib.suppress(Exception):
                picam.stop()
                picam.close()


def _one_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "")[:200] or type(error).__name__


def _cure(error: BaseException) -> str:
    """Return what to do about a picamera2 that cannot be imported."""
    if "numpy" in str(error) or "_ARRAY_API" in str(error):
        # apt's picamera2 is built for apt's numpy: 1.24 in Bookworm, 2.2 in Trixie.
        wanted = "'numpy<2' 'opencv-python-headless<4.12'" if np.__version__ >= "2" else "--upgrade 'numpy>=2'"
        return (
            f"it is built for another numpy than {np.__version__}; run: sudo make install, once more, or "
            f"{sys.prefix}/bin/pip install {wanted}"
        )
    install = "install" if isinstance(error, ModuleNotFoundError) else "install --reinstall"
    return f"run: sudo apt {install} python3-picamera2, and make the virtual environment with --system-site-packages"
