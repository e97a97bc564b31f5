"""Times each stage on the bundled clip, single-threaded, beside a reference any machine can run.

The reference is the median time of a 512x512 float32 matrix product; ratios to it are steadier between
machines and days than milliseconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from edge_agent.camera.frames import Frame
from edge_agent.camera.opencv import OpenCVCamera
from edge_agent.config import Camera, Config
from edge_agent.demo import CLIPS
from edge_agent.pipeline import Pipeline

_WARM_UP = 10


def bench(*, frames: int) -> dict[str, Any]:
    """Return reference_ms and, for detect, classify (a face) and frame (all of it), p50 and p95 in ms.

    Needs OPENBLAS_NUM_THREADS=1 in the environment before numpy is imported.
    """
    cv2.setNumThreads(1)
    pipeline = Pipeline(Config(), new_id=lambda: "0" * 26)
    vision = pipeline.vision
    detect: list[float] = []
    classify: list[float] = []
    whole: list[float] = []
    reference: list[float] = []
    matrix = np.random.default_rng(0).random((512, 512), dtype=np.float32)
    for number, frame in enumerate(_clip(frames + _WARM_UP)):
        found: list[Any] = []
        timings = (
            _time(lambda: found.extend(vision.find_faces(frame.image))),  # noqa: B023
            _time(lambda: vision.classify(frame.image, found[:1])),  # noqa: B023
            _time(lambda: pipeline.process(frame)),  # noqa: B023
            _time(lambda: matrix @ matrix),
        )
        if number >= _WARM_UP and found:
            for series, value in zip((detect, classify, whole, reference), timings, strict=True):
                series.append(value)
    return {
        "reference_ms": round(float(np.median(reference)), 3),
        "stages_ms": {
            name: {"p50": round(float(np.percentile(series, 50)), 3), "p95": round(float(np.percentile(series, 95)), 3)}
            for name, series in (("detect", detect), ("classify", classify), ("frame", whole))
        },
        "frames": len(whole),
        "model": vision.classifier.bundle.id,
    }


def _time(work: Callable[[], Any]) -> float:
    start_s = time.perf_counter()
    work()
    return (time.perf_counter() - start_s) * 1000


def _clip(count: int) -> list[Frame]:
    camera = OpenCVCamera(Camera(device=str(CLIPS["one"]), loop=True), realtime=False)
    camera.open()
    frames = [frame for _ in range(count) if (frame := camera.read()) is not None]
    camera.close()
    return frames


def as_text(result: dict[str, Any]) -> str:
    """Return the figures for a terminal."""
    reference = result["reference_ms"]
    lines = [f"reference: 512x512 float32 matrix product {reference:.2f} ms; {result['frames']} frames, one thread", ""]
    lines.append(f"{'stage':10}{'p50 ms':>9}{'p95 ms':>9}{'p50 / reference':>18}")
    for name, stage in result["stages_ms"].items():
        lines.append(f"{name:10}{stage['p50']:9.2f}{stage['p95']:9.2f}{stage['p50'] / reference:18.2f}")
    return "\n".join(lines)
