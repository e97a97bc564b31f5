"""The Pi camera source against a stand-in with picamera2's interface; the real driver needs its hardware."""

from __future__ import annotations

import os
import sys
import types

import cv2
import numpy as np
import pytest
from conftest import REPOSITORY

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


@pytest.mark.parametrize(
    ("raised", "cure"),
    [
        (
            "ImportError('libcamera.so.0.5: cannot open shared object file')",
            "apt install --reinstall python3-picamera2",
        ),
        ("ValueError('numpy.dtype size changed, may indicate binary incompatibility')", "pip install "),
        ("AttributeError('_ARRAY_API not found')", "built for another numpy"),
        ("SystemExit(1)", "--system-site-packages"),
    ],
)
def test_a_broken_picamera2_says_what_to_run(tmp_path, monkeypatch, raised, cure):
    (tmp_path / "picamera2.py").write_text(f"raise {raised}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "picamera2", raising=False)
    with pytest.raises(CameraError, match="picamera2 cannot be imported") as caught:
        PiCamera(Camera(source="picamera2")).open()
    assert cure in str(caught.value)


@pytest.mark.parametrize("name", ["cv2", "numpy"])
@pytest.mark.parametrize(
    "raised", ["ImportError('libGL.so.1: cannot open')", "ValueError('dtype size')", "SystemExit(1)"]
)
def test_a_broken_library_is_one_line_and_exit_code_4(run_command, tmp_path, name, raised):
    (tmp_path / f"{name}.py").write_text(f"raise {raised}\n")
    path = f"{tmp_path}:{REPOSITORY}"
    result = run_command("classify", "picture.jpg", env={**os.environ, "PYTHONPATH": path}, cwd=tmp_path)
    assert result.code == 4
    assert "pip install --force-reinstall" in result.one_line_error()
