"""The Pi camera source against a stand-in with picamera2's interface; the real driver needs its hardware."""

from __future__ import annotations

import sys
import types

import cv2
import numpy as np
import pytest

from edge_agent.camera.picamera import PiCamera
from edge_agent.config import Camera
from edge_agent.errors import CameraError

WIDTH, HEIGHT, STRIDE = 320, 240, 384


class Picamera2:
    """Delivers a YUV420 picture whose rows are padded to STRIDE bytes, as the hardware's are."""

    cameras = 1

    def __init__(self, number: int) -> None:
        if number >= self.cameras:
            raise IndexError("list index out of range")
        self.started = self.closed = self.silent = False

    def create_video_configuration(self, **streams):
        assert streams["lores"]["format"] == "YUV420"
        return streams

    def configure(self, configuration) -> None:
        self._configuration = configuration

    def camera_configuration(self):
        return self._configuration

    def start(self) -> None:
        self.started = True

    def capture_array(self, name: str, wait: bool):
        assert (name, wait) == ("lores", False)
        return "job"

    def wait(self, job, timeout: float):
        assert job == "job"
        if self.silent:
            raise TimeoutError
        picture = np.zeros((HEIGHT, STRIDE, 3), dtype=np.uint8)
        picture[:, :WIDTH] = (40, 90, 200)
        return cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_I420)

    def stop(self) -> None:
        self.started = False

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def camera(monkeypatch):
    monkeypatch.setitem(sys.modules, "picamera2", types.SimpleNamespace(Picamera2=Picamera2))
    return PiCamera(Camera(source="picamera2", width=WIDTH, height=HEIGHT), clock=lambda: 7.0)


def test_frames_are_bgr_without_the_padding(camera):
    camera.open()
    frame = camera.read()
    assert frame.image.shape == (HEIGHT, WIDTH, 3)
    np.testing.assert_allclose(frame.image.reshape(-1, 3).mean(axis=0), (40, 90, 200), atol=3)
    assert (frame.time_s, frame.clip_s) == (7.0, None)
    driver = camera._picam
    camera.close()
    camera.close()
    assert driver.closed
    with pytest.raises(CameraError, match="not open"):
        camera.read()


def test_a_silent_camera_is_an_error_after_the_timeout(camera):
    camera.open()
    camera._picam.silent = True
    with pytest.raises(CameraError, match="stopped delivering frames: TimeoutError"):
        camera.read()


def test_an_absent_camera_says_how_to_look_for_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "picamera2", types.SimpleNamespace(Picamera2=Picamera2))
    with pytest.raises(CameraError, match="rpicam-hello --list-cameras"):
        PiCamera(Camera(source="picamera2", device="3")).open()
