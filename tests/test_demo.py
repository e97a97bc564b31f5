"""What a stranger sees first: an expression turns angry, a page arrives, somebody acknowledges it."""

from __future__ import annotations

import json
import socket

import cv2
import numpy as np
import pytest

from edge_agent.demo import CLIPS


def timeline(name: str) -> tuple[float, float]:
    """When the clip's angry expression is full, and when it ends, in seconds."""
    script = json.loads(CLIPS[name].with_suffix(".json").read_text())
    [angry] = [s for s in script["segments"] if s["expression"] == "angry"]
    return angry["start_s"], angry["end_s"]


@pytest.mark.parametrize(("clip", "people"), [("one", 1), ("two", 2)])
def test_each_clip_raises_one_page_while_the_face_is_angry(run_command, clip, people):
    result = run_command("demo", "--clip", CLIPS[clip], "--fast", "--json")
    assert (result.code, result.err) == (0, "")
    summary = json.loads(result.out)
    assert (summary["frames"], summary["faces"]) == (252, 252 * people)
    [alert] = summary["alerts"]
    begin_s, end_s = timeline(clip)
    assert begin_s < alert["clip_s"] < end_s
    assert (alert["status"], alert["delivered"], alert["acknowledged"]) == ("raised", True, True)
    assert 0 < summary["latency_ms"]["p50"] <= summary["latency_ms"]["p95"]


def test_the_terminal_shows_page_acknowledgement_chart_and_summary(run_command):
    result = run_command("demo")
    assert (result.code, result.err) == (0, "")
    for words in (
        "PLEASE SEND ASSISTANCE",
        "demo has seen it",
        "angry │",
        "▲",
        "1 delivered, 1 acknowledged",
        "p95",
    ):
        assert words in result.out


def test_a_clip_without_anger_ends_with_code_1(run_command, tmp_path):
    clip = tmp_path / "grey.avi"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"MJPG"), 10, (320, 240))
    for _ in range(10):
        writer.write(np.full((240, 320, 3), 128, dtype=np.uint8))
    writer.release()
    result = run_command("demo", "--clip", clip)
    assert result.code == 1
    assert "no page was raised" in result.out
    assert "nobody in view" in result.out
    summary = json.loads(run_command("demo", "--clip", clip, "--fast", "--json").out)
    assert (summary["frames"], summary["faces"], summary["alerts"]) == (10, 0, [])


@pytest.mark.parametrize("name", ["none.mp4", "text.mp4", "folder"])
def test_an_unusable_clip_is_refused_in_one_line(run_command, tmp_path, name):
    (tmp_path / "text.mp4").write_text("text")
    (tmp_path / "folder").mkdir()
    result = run_command("demo", "--clip", tmp_path / name)
    assert result.code == 4
    assert name in result.one_line_error()


def test_a_camera_that_is_not_there_is_refused_in_one_line(run_command):
    result = run_command("demo", "--camera", 63)
    assert result.code == 4
    assert "/dev/video63" in result.one_line_error()


def test_a_port_in_use_is_named(run_command):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = run_command("demo", "--port", port)
    assert result.code == 5
    assert str(port) in result.one_line_error()


def test_bench_measures_stages_beside_a_reference(run_command):
    result = run_command("bench", "--json", "--frames", 20)
    assert (result.code, result.err) == (0, "")
    figures = json.loads(result.out)
    assert figures["reference_ms"] > 0
    assert set(figures["stages_ms"]) == {"detect", "classify", "frame"}
    assert all(0 < stage["p50"] <= stage["p95"] for stage in figures["stages_ms"].values())
    assert run_command("bench", "--frames", 1).code == 2
