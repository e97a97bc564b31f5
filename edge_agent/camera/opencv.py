"""Everything OpenCV can read: USB cameras, RTSP streams, video files, folders of images."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge_agent import config
from edge_agent.camera.address import shown
from edge_agent.camera.ffmpeg import open_stream
from edge_agent.camera.frames import Frame, Image
from edge_agent.camera.recording import play
from edge_agent.camera.refusal import why_closed
from edge_agent.errors import CameraError
from edge_agent.logs import fields

log = logging.getLogger("edge_agent")

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
#: More is decoded in vain: faces are looked for in much smaller pictures.
_LARGE_PX = 1920 * 1080
#: Larger ones of a camera would not fit into the service's MemoryMax beside the rest: with OpenCV 4.14, reading
#: H.264 takes 206 MB at 3840x2160, 254 MB at 4000x3000 and 457 MB at 7680x4320.
MAX_FRAME_PX = 4096 * 2160
MAX_PICTURE_BYTES = 200_000_000
#: How long a camera is asked at least why it does not open; the capture thread allows for a second.
_ASK_S = 0.7
_ROTATIONS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}


class OpenCVCamera:
    """A USB index (`0`), a URL (`rtsp://…`), a video file or a folder of images.

    Recordings are played at their own speed, by their own time stamps, so that they stand in for a live camera; with
    `realtime=False` every frame comes at once, timed by the same stamps.
    """

    def __init__(
        self,
        settings: config.Camera,
        *,
        realtime: bool = True,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._settings, self._realtime = settings, realtime
        self._clock, self._sleep = clock, sleep
        self._capture: cv2.VideoCapture | None = None
        self._recording: Iterator[tuple[float, Image]] | None = None
        self._start_s = self._due_s = 0.0
        self._rate_hz = settings.frame_rate_hz

    def open(self) -> None:
        """Open the device, stream, file or folder.

        Raises:
            CameraError: it is missing, busy or unreadable.
        """
        device = self._settings.device
        path = Path(device)
        if device.isdecimal() or "://" in device or path.is_char_device():
            self._capture = self._open_live(device)
        elif path.is_dir():
            self._recording = self._folder(path)
        elif path.is_file():
            self._recording = play(path, loop=self._settings.loop)
        else:
            raise CameraError(f"no camera, clip or folder {shown(device)!r}; check camera.device")
        self._start_s = self._clock()

    def read(self) -> Frame | None:
        """Return the next frame, or None at the end of a recording.

        Raises:
            CameraError: the camera stopped delivering, or is not open.
        """
        if self._recording is not None:
            item = next(self._recording, None)
            if item is None:
                return None
            clip_s, image = item
            if self._realtime:
                self._wait(clip_s)
                return Frame(self._turned(image), self._clock(), clip_s)
            return Frame(self._turned(image), self._start_s + clip_s, clip_s)
        if self._capture is None:
            raise CameraError("the camera is not open")
        picture = self._newest(self._capture)
        if picture is None:
            raise CameraError(f"camera {shown(self._settings.device)!r} stopped delivering frames")
        return Frame(self._turned(np.asarray(picture, dtype=np.uint8)), self._clock())

    def _wait(self, clip_s: float) -> None:
        """Sleep until a picture is due, but no longer than a camera may be silent: a longer gap is cut short."""
        longest_s = max(self._settings.timeout_s, 1 / self._settings.frame_rate_hz)
        wait_s = self._start_s + clip_s - self._clock()
        if wait_s > longest_s:
            self._start_s -= wait_s - longest_s
            wait_s = longest_s
        self._sleep(max(0.0, wait_s))

    def _newest(self, capture: cv2.VideoCapture) -> Any:
        """Decode the first picture that is due; many cameras ignore the frame rate they were asked for."""
        period_s = 1 / self._rate_hz
        while capture.grab():
            now_s = self._clock()
            # A quarter of a period of grace, so that a camera of exactly this rate loses no frame to jitter.
            if now_s >= self._due_s - period_s / 4:
                self._due_s = max(self._due_s, now_s - period_s) + period_s
                ok, picture = capture.retrieve()
                return picture if ok else None
        return None

    def pace(self, rate_hz: float) -> None:
        """Decode about so many frames a second of a live camera; recordings keep their own pace."""
        self._rate_hz = rate_hz

    def close(self) -> None:
        """Release the device; safe to call twice."""
        if self._capture is not None:
            self._capture.release()
        self._capture = self._recording = None

    def _open_live(self, device: str) -> cv2.VideoCapture:
        capture = self._open_stream(device) if "://" in device else self._open_node(device)
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        width, height = (int(capture.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        if width * height > MAX_FRAME_PX:
            capture.release()
            raise _too_large(device, width, height)
        if width * height > _LARGE_PX:
            log.warning(
                "the camera's pictures are larger than faces need; its second, smaller stream costs less",
                extra=fields(width=width, height=height),
            )
        return capture

    def _open_node(self, device: str) -> cv2.VideoCapture:
        """Open a camera by its number, or by a device node whose name stays, such as /dev/v4l/by-id/…."""
        node = Path(f"/dev/video{device}" if device.isdecimal() else device)
        if not node.exists():
            raise CameraError(f"no camera at {node}; `v4l2-ctl --list-devices` shows what is there")
        capture = cv2.VideoCapture(str(node), cv2.CAP_V4L2)
        if not capture.isOpened():
            capture.release()
            raise CameraError(f"cannot open camera {device!r}: {_why_node_is_closed(node)}")
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, self._settings.width)
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, self._settings.height)
        capture.set(cv2.CAP_PROP_FPS, self._settings.frame_rate_hz)
        return capture

    def _open_stream(self, url: str) -> cv2.VideoCapture:
        start_s = time.monotonic()
        capture = open_stream(url, timeout_s=self._settings.timeout_s)
        if not capture.isOpened():
            capture.release()
            left_s = self._settings.timeout_s - (time.monotonic() - start_s)
            reason = why_closed(url, timeout_s=max(left_s, _ASK_S))
            raise CameraError(f"cannot open camera {shown(url)!r}: {reason or 'is it connected and free?'}")
        return capture

    def _folder(self, folder: Path) -> Iterator[tuple[float, Image]]:
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
        if not paths:
            raise CameraError(f"no images ({', '.join(IMAGE_SUFFIXES)}) in {folder}")
        return self._show(paths)

    def _show(self, paths: list[Path]) -> Iterator[tuple[float, Image]]:
        index, unreadable = 0, set[Path]()
        while index < len(paths) or self._settings.loop:
            path = paths[index % len(paths)]
            try:
                yield index / self._settings.frame_rate_hz, read_image(path)
            except CameraError as error:
                if path not in unreadable:
                    unreadable.add(path)
                    log.warning("a picture is left out", extra=fields(problem=str(error)))
                if len(unreadable) == len(paths):
                    raise
            index += 1

    def _turned(self, image: Image) -> Image:
        if self._settings.rotate:
            return np.asarray(cv2.rotate(image, _ROTATIONS[self._settings.rotate]), dtype=np.uint8)
        return image


def _too_large(device: str, width: int, height: int) -> CameraError:
    return CameraError(
        f"the pictures of camera {shown(device)!r} are {width}x{height} pixels, more than there is memory for "
        f"({MAX_FRAME_PX / 1e6:.1f} million): take its second, smaller stream, or a smaller size in its settings"
    )


def _why_node_is_closed(node: Path) -> str:
    try:
        os.close(os.open(node, os.O_RDWR | os.O_NONBLOCK))
    except PermissionError:
        return "this user may not use it; add the user to the group video"
    except OSError as error:
        return f"{error.strerror}; `v4l2-ctl --list-devices` shows what is there"
    return f"another program has it (`fuser -v {node}`), or it is no camera (`v4l2-ctl --list-devices`)"


def read_image(path: Path) -> Image:
    """Read a picture of any common format, depth or colour, turned as its EXIF data says.

    Returns:
        uint8 (height, width, 3), BGR, 0..255.

    Raises:
        CameraError: the file is missing, not a picture, or too large.
    """
    try:
        if path.exists() and not path.is_file():
            raise CameraError(f"{path} is not a file")
        if path.stat().st_size > MAX_PICTURE_BYTES:
            raise CameraError(f"{path} is larger than {MAX_PICTURE_BYTES // 1_000_000} MB; make it smaller first")
        data = np.fromfile(path, dtype=np.uint8)
    except CameraError:
        raise
    except OSError as error:
        raise CameraError(f"cannot read {path}: {error.strerror or error}") from None
    try:
        picture = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except cv2.error:
        raise CameraError(f"{path} has too many pixels to decode; make it smaller first") from None
    if picture is None:
        raise CameraError(f"{path} is not a picture that can be read (JPEG, PNG, WebP, BMP and TIFF can)")
    return np.asarray(picture, dtype=np.uint8)
