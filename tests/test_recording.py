"""A clip is timed by the stamps it carries, whatever it says of its frame rate and whatever it is called."""

from __future__ import annotations

import json
import os
import shutil
import struct

import cv2
import numpy as np
import pytest
from conftest import REPOSITORY

from edge_agent.camera.opencv import OpenCVCamera
from edge_agent.camera.recording import ClipClock
from edge_agent.config import Camera
from edge_agent.demo import CLIPS
from edge_agent.errors import CameraError
from edge_agent.testing import FakeClock

#: MP4 boxes that contain the table of frame durations.
CONTAINERS = (b"moov", b"trak", b"mdia", b"minf", b"stbl")


def retime(source, target, runs) -> None:
    """Copy an MP4, giving its frames new durations, in (frames, seconds each) runs.

    Works on files whose `moov` box stands at the end, so that nothing behind it moves.
    """
    data = bytearray(source.read_bytes())
    table = data.index(b"stts") - 4
    scale_hz = struct.unpack_from(">I", data, data.index(b"mdhd") + 16)[0]
    entries = b"".join(struct.pack(">II", count, round(each_s * scale_hz)) for count, each_s in runs)
    new = struct.pack(">I4sII", 16 + len(entries), b"stts", 0, len(runs)) + entries
    old_size = struct.unpack_from(">I", data, table)[0]
    for name in CONTAINERS:
        place = data.index(name) - 4
        size = struct.unpack_from(">I", data, place)[0]
        struct.pack_into(">I", data, place, size + len(new) - old_size)
    data[table : table + old_size] = new
    target.write_bytes(data)


@pytest.fixture
def write_clip(tmp_path):
    """Return a function that writes a small grey clip; frame n has brightness 8 n."""

    def write(name="clip.mp4", *, frames=30, rate_hz=10, code="mp4v"):
        path = tmp_path / "plain.mp4" if name.endswith(".mp4") else tmp_path / name
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), rate_hz, (64, 48))
        for number in range(frames):
            writer.write(np.full((48, 64, 3), number * 8 % 256, dtype=np.uint8))
        writer.release()
        return path.rename(tmp_path / name)

    return write


def play(path, **options) -> list[float]:
    camera = OpenCVCamera(Camera(device=str(path)), realtime=False, clock=lambda: 50.0, **options)
    camera.open()
    frames = list(iter(camera.read, None))
    camera.close()
    assert [frame.time_s for frame in frames] == pytest.approx([50 + frame.clip_s for frame in frames])
    return [frame.clip_s for frame in frames]


def test_frames_of_a_variable_rate_come_at_their_own_times(write_clip, tmp_path):
    retime(write_clip(), tmp_path / "variable.mp4", [(20, 0.05), (10, 0.2)])
    expected = [n * 0.05 for n in range(20)] + [1 + n * 0.2 for n in range(10)]
    assert play(tmp_path / "variable.mp4") == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(("name", "code"), [("a.avi", "MJPG"), ("a.mkv", "mp4v"), ("a.mp4", "mp4v"), ("a.ts", "mp4v")])
def test_common_containers_are_timed_from_zero(write_clip, name, code):
    assert play(write_clip(name, code=code)) == pytest.approx([n / 10 for n in range(30)], abs=1e-3)


def test_in_real_time_the_same_stamps_set_the_pace(write_clip, tmp_path):
    retime(write_clip(), tmp_path / "variable.mp4", [(20, 0.05), (10, 0.2)])
    clock, slept = FakeClock(7), []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock.advance(seconds)

    camera = OpenCVCamera(Camera(device=str(tmp_path / "variable.mp4"), loop=True), clock=clock, sleep=sleep)
    camera.open()
    times = [camera.read().time_s for _ in range(60)]
    camera.close()
    assert times[:2] == pytest.approx([7, 7.05], abs=1e-3)
    assert times[29] == pytest.approx(7 + 2.8, abs=1e-3)
    # The second round goes on one mean frame period (0.1 s) after the last frame.
    assert np.diff(times[29:])[:2] == pytest.approx([0.1, 0.05], abs=1e-3)
    assert times[59] == pytest.approx(times[30] + 2.8, abs=1e-3)


def test_a_long_gap_is_not_waited_out_in_real_time_but_keeps_its_length(write_clip, tmp_path):
    retime(write_clip(), tmp_path / "gap.mp4", [(1, 2.0), (1, 0.9), (28, 0.001)])
    clock, slept = FakeClock(0), []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock.advance(seconds)

    camera = OpenCVCamera(Camera(device=str(tmp_path / "gap.mp4"), timeout_s=1.0), clock=clock, sleep=sleep)
    camera.open()
    frames = [camera.read() for _ in range(3)]
    camera.close()
    assert [frame.clip_s for frame in frames] == pytest.approx([0, 2.0, 2.9], abs=1e-3)
    assert [frame.time_s for frame in frames] == pytest.approx([0, 1.0, 1.9], abs=1e-3)


def test_the_page_comes_at_the_time_the_file_gives_it(run_command, clip_frames, tmp_path):
    plain, clip = tmp_path / "plain.mp4", tmp_path / "variable.mp4"
    writer = cv2.VideoWriter(str(plain), cv2.VideoWriter.fourcc(*"mp4v"), 15, (640, 480))
    for frame in clip_frames("one"):
        writer.write(frame.image)
    writer.release()
    # The anger begins with frame 132; before it the clip runs at double speed, afterwards more slowly.
    retime(plain, clip, [(132, 1 / 30), (120, 12.4 / 120)])
    [alert] = json.loads(run_command("demo", "--clip", clip, "--fast", "--json").out)["alerts"]
    assert 4.4 + 1.5 < alert["clip_s"] < 8.8


def times(stamps, rate_hz=10.0, start_s=0.0) -> list[float]:
    clock = ClipClock(rate_hz, start_s=start_s)
    return [clock.tell(stamp) for stamp in stamps]


@pytest.mark.parametrize(
    ("stamps", "expected"),
    [
        pytest.param([0, 0, 0, 0], [0, 0.1, 0.2, 0.3], id="a raw stream has none"),
        pytest.param([7, 7.5, 8.5], [0, 0.5, 1.5], id="an offset of the first is left out"),
        pytest.param([0, 0.04, 0, 0.12], [0, 0.04, 0.14, 0.14], id="one is missing"),
        pytest.param([0, 0.1, 0.3, 0.2, 0.4], [0, 0.1, 0.3, 0.4, 0.4], id="two are swapped"),
        pytest.param([0, 5, 10, 0, 2, 3], [0, 5, 10, 10.1, 10.2, 11.2], id="two recordings in one file"),
        pytest.param([-0.5, 0, 0.5], [0, 0.5, 1], id="the first is negative"),
        pytest.param([0, 0.1, 6e8, 6e8 + 0.2], [0, 0.1, 0.2, 0.4], id="one is twenty years ahead"),
    ],
)
def test_time_never_goes_back(stamps, expected):
    assert times(stamps) == pytest.approx(expected)


@pytest.mark.parametrize("rate_hz", [90_000.0, 0.0, -1.0, 1e-6, float("nan"), float("inf")])
def test_an_impossible_frame_rate_is_not_believed(rate_hz):
    assert times([0, 0, 0], rate_hz) == pytest.approx([0, 1 / 15, 2 / 15])


#: FFmpeg's word for a rate that a file does not give; its time stamps then come 0.04 s apart.
UNKNOWN_HZ = 25


@pytest.mark.parametrize(
    ("period_us", "scale", "rate", "expected_hz"),
    [
        pytest.param(0, 0, 0, UNKNOWN_HZ, id="none at all"),
        pytest.param(0, 1, 0, UNKNOWN_HZ, id="0 Hz"),
        pytest.param(0, 0, 15, UNKNOWN_HZ, id="15 / 0 Hz"),
        pytest.param(0, 1, 10**9, 15, id="1e9 Hz"),
        pytest.param(0, 1, 2**32 - 1, 15, id="-1 Hz"),
        pytest.param(0, 10**6, 1, 15, id="1e-6 Hz"),
        pytest.param(0, 2**31 - 1, 1, 15, id="5e-10 Hz"),
    ],
)
def test_an_avi_of_an_impossible_rate_is_played_at_a_usual_one(
    write_clip, tmp_path, period_us, scale, rate, expected_hz
):
    data = bytearray(write_clip("a.avi", code="MJPG").read_bytes())
    # dwMicroSecPerFrame of the main header; dwScale and dwRate of the stream's (Microsoft, "AVI RIFF file reference").
    struct.pack_into("<I", data, data.index(b"avih") + 8, period_us)
    struct.pack_into("<II", data, data.index(b"strh") + 28, scale, rate)
    (tmp_path / "a.avi").write_bytes(data)
    assert play(tmp_path / "a.avi") == pytest.approx([n / expected_hz for n in range(30)], abs=1e-3)


def test_a_raw_stream_of_pictures_has_no_rate_and_is_played_all_the_same(tmp_path):
    pictures = [cv2.imencode(".jpg", np.full((48, 64, 3), 8 * n, np.uint8))[1].tobytes() for n in range(30)]
    (tmp_path / "a.mjpeg").write_bytes(b"".join(pictures))
    assert play(tmp_path / "a.mjpeg") == pytest.approx([n / UNKNOWN_HZ for n in range(30)], abs=1e-3)


def test_a_page_comes_from_raw_h264_as_well(run_command, tmp_path):
    packets = cv2.VideoCapture(str(CLIPS["one"]), cv2.CAP_FFMPEG, [cv2.CAP_PROP_FORMAT, -1])
    with (tmp_path / "clip.h264").open("wb") as file:
        while packets.grab():
            file.write(packets.retrieve()[1].tobytes())
    result = json.loads(run_command("demo", "--clip", tmp_path / "clip.h264", "--fast", "--json").out)
    assert result["frames"] == 252
    assert 132 / UNKNOWN_HZ + 1.5 < result["alerts"][0]["clip_s"] < 252 / UNKNOWN_HZ


def test_a_recording_that_changes_its_size_keeps_its_first_one(tmp_path):
    """OpenCV says of no picture how large it was before it scaled it; docs/limits.md tells of it."""
    sizes = [(64, 48), (48, 64)]
    pictures = [cv2.imencode(".jpg", np.zeros((height, width, 3), np.uint8))[1].tobytes() for width, height in sizes]
    (tmp_path / "a.mjpeg").write_bytes(pictures[0] * 10 + pictures[1] * 10)
    camera = OpenCVCamera(Camera(device=str(tmp_path / "a.mjpeg")), realtime=False)
    camera.open()
    assert [frame.image.shape for frame in iter(camera.read, None)] == [(48, 64, 3)] * 20


@pytest.mark.parametrize(
    "name",
    [
        "2026-01-05T10:30.mp4",
        "concat:a|b.mp4",
        "data:clip.mp4",
        "clip%03d.mp4",
        "100%.mp4",
        "-clip.mp4",
        "7",
        "with space ! and 'quotes'.mp4",
        "Kundin_böse_日本.mp4",
    ],
)
def test_a_clip_plays_whatever_its_name(write_clip, tmp_path, monkeypatch, name):
    shutil.move(write_clip(frames=3), tmp_path / name)
    monkeypatch.chdir(tmp_path)
    camera = OpenCVCamera(Camera(device=name if name != "7" else "./7"), realtime=False)
    camera.open()
    assert len(list(iter(camera.read, None))) == 3
    camera.close()


def test_the_demo_takes_a_name_with_a_colon_and_a_number_for_files(run_command, write_clip, tmp_path):
    for name in ("2026-01-05T10:30.mp4", "7"):
        shutil.copy(write_clip(frames=3), tmp_path / name)
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        result = run_command("demo", "--clip", name, "--fast", "--json", cwd=tmp_path, env=environment)
        assert json.loads(result.out)["frames"] == 3, result.err


def test_a_name_that_opencv_cannot_be_given_is_refused(write_clip, tmp_path):
    path = tmp_path / "\udcff.mp4"
    shutil.copy(write_clip(frames=3), path)
    with pytest.raises(CameraError, match="not UTF-8"):
        OpenCVCamera(Camera(device=str(path))).open()
