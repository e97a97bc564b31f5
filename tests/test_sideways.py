"""A camera that lies on its side is noticed, and one that does not is not."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from edge_agent.agent.sideways import Sideways
from edge_agent.camera import Frame
from edge_agent.config import Config
from edge_agent.pipeline import Pipeline
from edge_agent.tools.doctor import examine


def watch(frames, turn, *, seconds: int, rotate: int = 0) -> list[str]:
    """Show a turned clip's pictures one a second; return what is told."""
    config = Config()
    config = replace(config, camera=replace(config.camera, rotate=rotate))
    pipeline, told = Pipeline(config, new_id=lambda: "0" * 26), []
    sideways = Sideways(config, pipeline.vision, tell=told.append, after_s=20)
    for second in range(seconds):
        image = frames[second * 3 % len(frames)].image
        image = image.copy() if turn is None else np.ascontiguousarray(cv2.rotate(image, turn))
        frame = Frame(image, float(second))
        sideways.frame_processed(frame, pipeline.process(frame))
    return told


@pytest.mark.parametrize(
    ("turn", "rotate", "advice"),
    [
        (cv2.ROTATE_90_COUNTERCLOCKWISE, 0, "lie on its side: set camera.rotate: 90"),
        (cv2.ROTATE_90_CLOCKWISE, 0, "lie on its side: set camera.rotate: 270"),
        (cv2.ROTATE_90_CLOCKWISE, 90, "lie on its side: set camera.rotate: 0"),
        (cv2.ROTATE_180, 0, "stand on its head: set camera.rotate: 180"),
    ],
)
def test_a_camera_on_its_side_is_told_once(clip_frames, turn, rotate, advice):
    told = watch(clip_frames("one"), turn, seconds=100, rotate=rotate)
    assert len(told) == 1
    assert told[0].endswith(advice)


@pytest.mark.parametrize(
    ("turn", "verdict"),
    [
        (None, "ok: faces stand upright"),
        (cv2.ROTATE_90_COUNTERCLOCKWISE, "the camera seems to lie on its side: set camera.rotate: 90"),
        (cv2.ROTATE_90_CLOCKWISE, "the camera seems to lie on its side: set camera.rotate: 270"),
        (cv2.ROTATE_180, "the camera seems to stand on its head: set camera.rotate: 180"),
    ],
)
def test_the_doctor_names_how_to_turn_the_picture(tmp_path, clip_frames, turn, verdict):
    pictures = [frame.image if turn is None else cv2.rotate(frame.image, turn) for frame in clip_frames("one")[:60]]
    height, width = pictures[0].shape[:2]
    writer = cv2.VideoWriter(str(tmp_path / "turned.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 15, (width, height))
    for picture in pictures:
        writer.write(picture)
    writer.release()
    config = replace(Config(), camera=replace(Config().camera, device=str(tmp_path / "turned.avi"), loop=True))
    found = next(check for check in examine(config) if check.name == "rotation")
    assert f"{'ok: ' if found.ok else ''}{found.detail}" == verdict


def test_an_upright_camera_is_left_alone_with_people_and_without(clip_frames):
    assert watch(clip_frames("one"), None, seconds=60) == []
    empty = [Frame(np.full((480, 640, 3), 96, np.uint8), 0.0)]
    assert watch(empty, None, seconds=60) == []
