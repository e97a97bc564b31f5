"""Opens clips and streams with FFmpeg, which does only what their kind needs.

A playlist may name files of this computer, and a stream of 4K takes as much memory as decoders have threads: measured
with OpenCV 4.13 beside the rest, HEVC of 3840×2160 takes 164 MB with one thread and 228 MB with four.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import cv2

_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
_OF_FILES = "protocol_whitelist;file,crypto,data"
#: Over TCP, as OpenCV asks by itself where no options are given.
_OF_STREAMS = (
    "rtsp_transport;tcp|protocol_whitelist;rtsp,rtsps,rtp,rtcp,udp,tcp,tls,srtp,rtmp,rtmps,http,https,httpproxy,crypto"
)
#: Options of whoever runs us go before.
_GIVEN = os.environ.get(_OPTIONS)
#: FFmpeg reads its options as soon as it opens something, long before it waits for anybody.
_READ_WITHIN_S = 0.5
_lock = threading.Lock()
_given_s = float("-inf")


def open_file(path: Path) -> cv2.VideoCapture:
    """Return a clip, opened if it can be."""
    _give(_GIVEN or _OF_FILES)
    # An absolute name begins with a slash, so that no part of it before a colon is taken for a protocol.
    return cv2.VideoCapture(str(path.absolute()))


def open_stream(url: str, *, timeout_s: float) -> cv2.VideoCapture:
    """Return a stream, opened if it can be within `timeout_s`; each picture may take as long."""
    _give(_GIVEN or _OF_STREAMS)
    timeout_ms = int(timeout_s * 1000)
    timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, timeout_ms, cv2.CAP_PROP_READ_TIMEOUT_MSEC, timeout_ms]
    return cv2.VideoCapture(url, cv2.CAP_FFMPEG, [*timeouts, cv2.CAP_PROP_N_THREADS, 1])


def _give(options: str) -> None:
    """Give FFmpeg its options; what another thread has just given stays until it is read, for all share one place."""
    global _given_s
    with _lock:
        if os.environ.get(_OPTIONS) != options:
            time.sleep(max(0.0, _given_s + _READ_WITHIN_S - time.monotonic()))
            os.environ[_OPTIONS] = options
        _given_s = time.monotonic()
