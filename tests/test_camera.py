"""Frames keep coming, whatever the camera does."""

from __future__ import annotations

import functools
import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import PATIENCE_S

from edge_agent.camera import Capture, make_camera
from edge_agent.camera.address import shown
from edge_agent.camera.opencv import OpenCVCamera, read_image
from edge_agent.config import Camera
from edge_agent.demo import CLIPS
from edge_agent.errors import CameraError
from edge_agent.testing import FakeClock, ScriptedCamera, free_port


class Watcher:
    """Runs a capture over scripted cameras and waits for what it reports."""

    def __init__(self, *scripts: list[str], **options) -> None:
        self.clock, self.release = FakeClock(), threading.Event()
        self.cameras: list[ScriptedCamera] = []
        self._scripts = list(scripts)
        self._woken = threading.Condition()
        settings = Camera(timeout_s=5, retry_first_s=0.05, retry_max_s=0.05)
        self.capture = Capture(
            self._make, settings, wake=self._wake, clock=self.clock, jitter=lambda: 1.0, **options
        )  # fmt: skip
        self.capture.start()

    def _make(self) -> ScriptedCamera:
        script = self._scripts.pop(0) if self._scripts else []
        self.cameras.append(ScriptedCamera(script, clock=self.clock, release=self.release))
        return self.cameras[-1]

    def _wake(self) -> None:
        with self._woken:
            self._woken.notify_all()

    def until(self, condition) -> None:
        with self._woken:
            assert self._woken.wait_for(condition, PATIENCE_S), self.capture.status()

    def until_state(self, state: str) -> None:
        self.until(lambda: self.capture.status().state == state)


@pytest.fixture
def watch():
    watchers: list[Watcher] = []

    def start(*scripts, **options) -> Watcher:
        watchers.append(Watcher(*scripts, **options))
        return watchers[-1]

    yield start
    for watcher in watchers:
        watcher.release.set()
        watcher.capture.stop(PATIENCE_S)


def test_only_the_newest_frame_is_kept(watch):
    watcher = watch(["frame"] * 50 + ["hang"])
    watcher.until(lambda: watcher.capture.dropped == 49)
    assert watcher.capture.take() is not None
    assert watcher.capture.take() is None


def test_every_frame_of_a_recording_can_be_had(watch):
    watcher = watch(["frame"] * 50 + ["end"], every_frame=True)
    taken = 0
    while watcher.capture.status().state != "ended":
        taken += watcher.capture.take() is not None
    taken += watcher.capture.take() is not None
    assert (taken, watcher.capture.dropped) == (50, 0)


def test_a_failed_camera_is_reported_and_opened_again(watch):
    watcher = watch(["frame", "fail"], ["refuse"], ["frame", "hang"])
    watcher.until(lambda: len(watcher.cameras) == 3 and watcher.capture.status().state == "running")
    assert watcher.cameras[0].closed
    assert watcher.cameras[1].closed


def test_a_camera_that_hangs_is_abandoned_and_opened_again(watch):
    watcher = watch(["frame", "hang"], ["frame", "hang"])
    watcher.until_state("running")
    watcher.capture.take()
    watcher.capture.check()
    assert watcher.capture.status().state == "running"
    watcher.clock.advance(7)
    watcher.until(lambda: watcher.capture.check() or len(watcher.cameras) == 2)
    watcher.until_state("running")
    assert watcher.capture.take() is not None


def test_a_driver_that_never_answers_does_not_pile_up_threads(watch):
    watcher = watch(*[["hang"]] * 20)
    for _ in range(20):
        watcher.clock.advance(7)
        watcher.capture.check()
    assert watcher.capture.status().state == "lost"
    assert "did not answer" in watcher.capture.status().problem
    assert len([t for t in threading.enumerate() if t.name.startswith("capture")]) <= 4


def test_a_clip_is_timed_by_itself(clip_frames):
    frames = clip_frames("one")
    assert len(frames) == 252
    assert frames[0].image.shape == (480, 640, 3)
    assert [frames[i].clip_s for i in (0, 15, 251)] == [0, 1, pytest.approx(251 / 15)]


def test_a_clip_plays_at_its_own_speed_and_can_loop():
    clock, slept = FakeClock(0), []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock.advance(seconds)

    camera = OpenCVCamera(Camera(device=str(CLIPS["one"]), loop=True), clock=clock, sleep=sleep)
    camera.open()
    times = [camera.read().time_s for _ in range(300)]
    camera.close()
    assert times[299] == pytest.approx(299 / 15)
    assert max(slept) == pytest.approx(1 / 15)


def test_a_folder_of_images_is_a_camera(tmp_path):
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((20, 30, 3), number * 50, dtype=np.uint8))
    camera = OpenCVCamera(Camera(device=str(tmp_path), frame_rate_hz=2), realtime=False)
    camera.open()
    frames = list(iter(camera.read, None))
    assert [int(f.image[0, 0, 0]) for f in frames] == [0, 50, 100]
    assert [f.clip_s for f in frames] == [0, 0.5, 1.0]


def test_a_picture_can_be_turned(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((20, 30, 3), dtype=np.uint8))
    camera = OpenCVCamera(Camera(device=str(tmp_path), rotate=90), realtime=False)
    camera.open()
    assert camera.read().image.shape == (30, 20, 3)


@pytest.mark.parametrize(("camera_hz", "wanted_hz", "expected"), [(30, 10, 10), (10, 10, 10), (5, 10, 5), (30, 30, 30)])
def test_a_camera_that_ignores_the_frame_rate_is_thinned_out(monkeypatch, camera_hz, wanted_hz, expected):
    clock = FakeClock(50)

    class Driver:
        """Delivers at its own rate, whatever it is asked for."""

        grabbed = 0

        def __init__(self, *arguments) -> None:
            pass

        def isOpened(self) -> bool:  # noqa: N802 (OpenCV names it so)
            return True

        def get(self, key: int) -> float:
            return 480.0

        def set(self, *setting) -> bool:
            return False

        def grab(self) -> bool:
            Driver.grabbed += 1
            clock.now_s = 50 + Driver.grabbed / camera_hz + 0.003 * (Driver.grabbed % 2)
            return True

        def retrieve(self):
            return True, np.zeros((4, 4, 3), dtype=np.uint8)

        def release(self) -> None:
            pass

    monkeypatch.setattr(cv2, "VideoCapture", Driver)
    camera = OpenCVCamera(Camera(device="rtsp://camera/stream", frame_rate_hz=wanted_hz), clock=clock)
    camera.open()
    times = []
    while clock.now_s < 54:
        times.append(camera.read().time_s)
    assert len(times) / 4 == pytest.approx(expected, rel=0.06)


@pytest.mark.parametrize("device", ["nowhere.mp4", "99", "rtsp://user:secret@127.0.0.1:9/x"])
def test_an_absent_camera_says_what_to_do_and_keeps_secrets(device, capfd):
    with pytest.raises(CameraError) as caught:
        OpenCVCamera(Camera(device=device, timeout_s=1)).open()
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_clip_is_refused(tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_text("not a video")
    with pytest.raises(CameraError, match="not a video"):
        OpenCVCamera(Camera(device=str(path))).open()
    with pytest.raises(CameraError, match="no images"):
        OpenCVCamera(Camera(device=str(tmp_path))).open()


def test_the_synthetic_camera_needs_no_hardware():
    camera = make_camera(Camera(source="synthetic", frame_rate_hz=100))
    camera.open()
    first, second = camera.read(), camera.read()
    assert first.image.shape == (480, 640, 3)
    assert (first.image != second.image).any()
    assert second.time_s > first.time_s


def test_picamera2_is_named_when_it_is_missing():
    camera = make_camera(Camera(source="picamera2"))
    with pytest.raises(CameraError, match="apt install python3-picamera2"):
        camera.open()


@pytest.mark.parametrize(
    ("flags", "shape"),
    [(["L"], (10, 20)), (["RGB"], (10, 20)), (["RGBA"], (10, 20)), (["I;16"], (10, 20)), (["P"], (10, 20))],
)
def test_pictures_of_any_kind_become_bgr(tmp_path, flags, shape):
    from PIL import Image

    Image.new(flags[0], shape[::-1]).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert (image.shape, image.dtype) == ((*shape, 3), np.uint8)


def test_a_photo_is_turned_as_its_exif_data_says(tmp_path):
    from PIL import Image

    picture = Image.new("RGB", (40, 20))
    exif = picture.getexif()
    exif[0x0112] = 6  # taken with the camera on its side
    picture.save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg").shape == (40, 20, 3)


@pytest.mark.parametrize(
    ("device", "told"),
    [
        ("rtsp://10.0.0.7/user=admin&password=hunter22&channel=1&stream=0.sdp", "rtsp://10.0.0.7/…"),
        ("rtsp://admin:hunter22@10.0.0.7:554/stream1", "rtsp://10.0.0.7:554/stream1"),
        ("rtsp://admin:hunter22@10.0.0.7:554/h264/ch1?token=hunter22", "rtsp://10.0.0.7:554/h264/…"),
        ("http://10.0.0.7/video.cgi?user=admin&pwd=hunter22", "http://10.0.0.7/video.cgi/…"),
        ("rtsp://admin:hunt/er22@10.0.0.7/stream", "rtsp://…"),
        ("rtsp://admin:hunt?er22@10.0.0.7/stream", "rtsp://…"),
        ("rtsp://admin:hunt#er22@10.0.0.7/stream", "rtsp://…"),
        ("rtsps://[fe80::1]:7441/Zm9vYmFyYmF6cXV4", "rtsps://[fe80::1]:7441/…"),
        ("rtsp://10.0.0.7:port/x", "rtsp://…"),
        ("rtsp://10.0.0.7", "rtsp://10.0.0.7/"),
        ("/dev/v4l/by-id/usb-cam-index0", "/dev/v4l/by-id/usb-cam-index0"),
    ],
)
def test_an_address_is_shown_without_what_could_be_a_secret(device, told):
    assert shown(device) == told


def test_a_cameras_password_is_in_nothing_that_leaves_or_is_logged(edge_agent, listen, site, write_config, tmp_path):
    address = f"rtsp://127.0.0.1:{free_port()}/user=admin&password=hunter22&channel=1"
    listener = listen(f"kiosk/v1/{site}/#")
    agent = edge_agent("run", "--config", write_config(camera={"device": address, "retry_first_s": 0.05}))
    listener.wait_for_json("/health", camera="lost")
    listener.wait_for_json("/state", state="degraded")
    agent.terminate()
    out, err = agent.communicate()
    assert "cannot open camera 'rtsp://127.0.0.1" in err
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".yaml")
    told = b"".join(message.payload for message in listener.messages)
    assert b"hunter22" not in out.encode() + err.encode() + kept + told


def test_a_picture_that_cannot_be_read_is_left_out_of_a_folder(tmp_path, caplog):
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((60, 80, 3), 40 * number, np.uint8))
    (tmp_path / "1.png").write_bytes(b"no picture")
    camera = OpenCVCamera(Camera(device=str(tmp_path)), realtime=False)
    camera.open()
    assert [int(frame.image[0, 0, 0]) for frame in iter(camera.read, None)] == [0, 80]
    assert "a picture is left out" in caplog.text
    for path in tmp_path.iterdir():
        path.write_bytes(b"no picture")
    camera.open()
    with pytest.raises(CameraError, match="not a picture"):
        camera.read()


@pytest.fixture
def web_folder(tmp_path):
    """A folder that a web server on this computer serves; returns it and its address."""
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield tmp_path, f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def write_clip(path: Path, *, width: int, height: int) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (width, height))
    for _ in range(5):
        writer.write(np.zeros((height, width, 3), np.uint8))
    writer.release()


def test_a_stream_is_read_but_its_playlist_opens_no_file_of_this_computer(web_folder):
    folder, address = web_folder
    write_clip(folder / "clip.avi", width=320, height=240)
    camera = OpenCVCamera(Camera(device=f"{address}/clip.avi"))
    camera.open()
    assert camera.read() is not None
    camera.close()
    for number, target in enumerate((str(CLIPS["one"].absolute()), f"file://{CLIPS['one'].absolute()}")):
        playlist = folder / f"{number}.m3u8"
        playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:20\n#EXTINF:20,\n{target}\n#EXT-X-ENDLIST\n")
        camera = OpenCVCamera(Camera(device=f"{address}/{number}.m3u8", timeout_s=2))
        with pytest.raises(CameraError, match="cannot open camera 'http://127"):
            camera.open()


def test_a_clip_opens_while_a_stream_is_waited_for_and_programs_started_later_inherit_nothing():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        stream = OpenCVCamera(Camera(device=f"rtsp://127.0.0.1:{silent.getsockname()[1]}/x", timeout_s=0.5))
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(stream.open)
            silent.accept()[0].close()
            clip = OpenCVCamera(Camera(device=str(CLIPS["one"])))
            clip.open()
            assert clip.read() is not None
            clip.close()
            with pytest.raises(CameraError):
                waiting.result()
    assert "OPENCV_FFMPEG_CAPTURE_OPTIONS" not in os.environ


def test_a_stream_that_is_larger_than_faces_need_is_told(web_folder, caplog):
    folder, address = web_folder
    write_clip(folder / "large.avi", width=2560, height=1440)
    camera = OpenCVCamera(Camera(device=f"{address}/large.avi"))
    camera.open()
    camera.close()
    assert "its second, smaller stream costs less" in caplog.text


def test_a_stream_beyond_4k_is_refused_before_it_is_decoded(web_folder):
    folder, address = web_folder
    write_clip(folder / "8k.avi", width=7680, height=4320)
    with pytest.raises(CameraError, match=r"7680x4320 pixels.*take its second, smaller stream"):
        OpenCVCamera(Camera(device=f"{address}/8k.avi")).open()


def test_a_camera_node_that_is_none_says_what_it_is(tmp_path):
    with pytest.raises(CameraError, match="it is no camera"):
        OpenCVCamera(Camera(device="/dev/null")).open()


def test_a_recording_that_was_cut_off_says_so(tmp_path):
    cut = tmp_path / "2026-01-05T10:30.mp4"
    cut.write_bytes(CLIPS["one"].read_bytes()[:50_000])
    with pytest.raises(CameraError, match="its recording was cut off"):
        OpenCVCamera(Camera(device=str(cut))).open()


@pytest.mark.parametrize("raised", [SystemExit("driver gave up"), AttributeError("no attribute"), IndexError("list")])
def test_whatever_a_driver_raises_the_camera_is_opened_again(raised):
    opened, again = [], threading.Event()

    class Driver(ScriptedCamera):
        def open(self) -> None:
            opened.append(self)
            if len(opened) == 1:
                raise raised
            again.set()

    capture = Capture(
        lambda: Driver([], clock=FakeClock(), release=threading.Event()),
        Camera(retry_first_s=0.05, retry_max_s=0.1), wake=lambda: None,
    )  # fmt: skip
    capture.start()
    assert again.wait(PATIENCE_S)
    capture.stop()
