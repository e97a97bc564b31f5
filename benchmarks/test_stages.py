"""Times each stage of the pipeline with pytest-benchmark, on the bundled clip, on one thread. Run by `make bench`."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge_agent.camera.frames import Frame
from edge_agent.camera.opencv import OpenCVCamera
from edge_agent.camera.pacing import MotionGate
from edge_agent.config import Camera, Config, Performance
from edge_agent.demo import CLIPS
from edge_agent.pipeline import Pipeline

_SIZES = ((320, 240), (640, 480), (1280, 720), (1920, 1080))


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    cv2.setNumThreads(1)
    return Pipeline(Config(), new_id=lambda: "0" * 26)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    camera = OpenCVCamera(Camera(device=str(CLIPS["one"])), realtime=False)
    camera.open()
    frame = camera.read()
    camera.close()
    assert frame is not None
    return cv2.resize(frame.image, (640, 480), interpolation=cv2.INTER_AREA)


def with_faces(image: np.ndarray, count: int) -> np.ndarray:
    """Return a picture of 640x480 with so many copies of the face in it."""
    canvas = np.full_like(image, 96)
    side = 190
    for number in range(count):
        x, y = number % 3 * 212, number // 3 * 160
        canvas[y : y + 160, x : x + side] = cv2.resize(image, (side, 160), interpolation=cv2.INTER_AREA)
    return canvas


def test_reference(benchmark):
    matrix = np.random.default_rng(0).random((512, 512), dtype=np.float32)
    benchmark(lambda: matrix @ matrix)


def test_motion(benchmark, image):
    gate = MotionGate()
    benchmark(gate.moves, image, 1.0)


def test_detect(benchmark, pipeline, image):
    assert len(benchmark(pipeline.vision.find_faces, image)) == 1


def test_classify(benchmark, pipeline, image):
    faces = pipeline.vision.find_faces(image)
    benchmark(pipeline.vision.classify, image, faces)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 8])
def test_frame_with_faces(benchmark, pipeline, image, count):
    picture, clock = image if count == 1 else with_faces(image, count), iter(range(10**9))
    decision = benchmark(lambda: pipeline.process(Frame(picture, 0.1 * next(clock))))
    benchmark.extra_info["faces"] = len(decision.judged)


@pytest.mark.parametrize("threads", [1, 2])
def test_frame_on_threads(benchmark, image, threads):
    cv2.setNumThreads(threads)
    pipeline, clock = (
        Pipeline(Config(performance=Performance(threads=threads)), new_id=lambda: "0" * 26),
        iter(range(10**9)),
    )
    benchmark(lambda: pipeline.process(Frame(image, 0.1 * next(clock))))
    cv2.setNumThreads(1)


@pytest.mark.parametrize("size", _SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_frame_of_size(benchmark, pipeline, image, size):
    picture, clock = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), iter(range(10**9))
    benchmark(lambda: pipeline.process(Frame(picture, 0.1 * next(clock))))
