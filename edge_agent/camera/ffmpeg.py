"""Opens clips and streams with FFmpeg, which does only what their kind needs.

A playlist may name files of this computer, and a stream of 4K takes as much memory as decoders have threads: measured
with OpenCV 4.13 beside the rest, HEVC of 3840×2160 takes 164 MB with one thread and 228 MB with four.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2

#: OpenCV takes FFmpeg's options from here alone, when it opens something.
_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
_OF_FILES = "protocol_whitelist;file,crypto,data"
#: Over TCP, as OpenCV asks by itself where no options are given.
_OF_STREAMS = (
    "rtsp_transport;tcp|protocol_whitelist;rtsp,rtsps,rtp,rtcp,udp,tcp,tls,srtp,rtmp,rtmps,http,https,httpproxy,crypto"
)


def open_file(path: Path) -> cv2.VideoCapture:
    """Return a clip, opened if it can be."""
    with _environment.options(_OF_FILES):
        # An absolute name begins with a slash, so that no part of it before a colon is taken for a protocol.
        return cv2.VideoCapture(str(path.absolute()))


def open_stream(url: str, *, timeout_s: float) -> cv2.VideoCapture:
    """Return a stream, opened if it can be within `timeout_s`; each picture may take as long."""
    timeout_ms = int(timeout_s * 1000)
    timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, timeout_ms, cv2.CAP_PROP_READ_TIMEOUT_MSEC, timeout_ms]
    with _environment.options(_OF_STREAMS):
        return cv2.VideoCapture(url, cv2.CAP_FFMPEG, [*timeouts, cv2.CAP_PROP_N_THREADS, 1])


class _Environment:
    """The process's one environment, lent to all who open the same kind of thing, and left as it was found."""

    def __init__(self) -> None:
        self._free = threading.Condition()
        self._users = 0
        self._options = ""
        self._found: str | None = None

    @contextlib.contextmanager
    def options(self, options: str) -> Iterator[None]:
        with self._free:
            self._free.wait_for(lambda: not self._users or self._options == options)
            if not self._users:
                self._found = os.environ.get(_OPTIONS)
                os.environ[_OPTIONS] = self._found or options  # what whoever runs us asks for goes before
            self._users += 1
            self._options = options
        try:
            yield
        finally:
            with self._free:
                self._users -= 1
                if not self._users:
                    if self._found is None:
                        del os.environ[_OPTIONS]
                    else:
                        os.environ[_OPTIONS] = self._found
                    self._free.notify_all()


_environment = _Environment()
