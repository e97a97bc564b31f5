"""Where frames come from: one file a source, and the thread that keeps only the newest frame."""

from __future__ import annotations

from edge_agent import config
from edge_agent.camera.capture import Capture
from edge_agent.camera.frames import Camera, Frame

__all__ = ["Camera", "Capture", "Frame", "make_camera"]


def make_camera(settings: config.Camera, *, realtime: bool = True) -> Camera:
    """Return the configured source, not yet opened; drivers are imported only here.

    Args:
        realtime: play recordings at their own speed; False hands out their frames at once.
    """
    if settings.source == "picamera2":
        from edge_agent.camera.picamera import PiCamera

        return PiCamera(settings)
    if settings.source == "synthetic":
        from edge_agent.camera.synthetic import SyntheticCamera

        return SyntheticCamera(settings)
    from edge_agent.camera.opencv import OpenCVCamera

    return OpenCVCamera(settings, realtime=realtime)
