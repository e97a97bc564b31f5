"""Faces that would only be guessed at are seen but not judged, and what the camera shows is watched for drift."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge_agent.alerting.tracker import Observation, Tracker
from edge_agent.config import Config, Faces, Gates, Tracking
from edge_agent.pipeline import Pipeline
from edge_agent.statistics.drift import WINDOW, Drift, stability_index
from edge_agent.vision.analysis import Vision
from edge_agent.vision.faces import Face
from edge_agent.vision.gates import box_reason, crop_reason


def face(x=100.0, y=100.0, size=80.0, eyes=0.38) -> Face:
    middle = x + size / 2
    return Face(
        x, y, size, size, 0.9, (middle - eyes * size / 2, y + 0.4 * size), (middle + eyes * size / 2, y + 0.4 * size)
    )


@pytest.fixture(scope="module")
def crop(clip_frames) -> np.ndarray:
    vision = Vision(Config())
    image = clip_frames("one")[10].image
    return vision._crop(image, vision.find_faces(image)[0])


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (face(), ""),
        (face(x=-10), ""),
        (face(x=-20), "cut_off"),
        (face(y=440), "cut_off"),
        (face(eyes=0.26), ""),
        (face(eyes=0.2), "turned_away"),
        (face(eyes=0.22), "turned_away"),
        (face(size=28, eyes=0.22), ""),
        (face(size=28, eyes=0.1), "turned_away"),
    ],
)
def test_a_face_cut_off_or_turned_away_is_not_judged(seen, reason):
    assert box_reason(seen, width=640, height=480, limits=Gates()) == reason


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda crop: crop, ""),
        (lambda crop: (crop * 0.15).astype(np.uint8), ""),
        (lambda crop: (crop * 0.05).astype(np.uint8), "too_dark"),
        (lambda crop: crop * 0, "too_dark"),
        (lambda crop: cv2.convertScaleAbs(crop, alpha=1.3), ""),
        (lambda crop: cv2.convertScaleAbs(crop, alpha=3), "too_bright"),
        (lambda crop: crop * 0 + 255, "too_bright"),
        (lambda crop: (crop * 0.1 + 100).astype(np.uint8), "low_contrast"),
        (lambda crop: cv2.GaussianBlur(crop, (0, 0), 2.5), "blurred"),
        (lambda crop: cv2.resize(cv2.resize(crop, (32, 32), interpolation=cv2.INTER_AREA), (48, 48)), ""),
    ],
)
def test_a_crop_that_shows_too_little_is_not_judged(crop, change, reason):
    assert crop_reason(change(crop), Gates()) == reason


@pytest.mark.parametrize("skin", [1.0, 0.6, 0.35], ids=["light", "medium", "dark"])
@pytest.mark.parametrize("light", [1.0, 0.6, 0.35])
def test_dark_skin_in_dim_light_is_judged_as_light_skin_in_daylight(clip_frames, skin, light):
    vision = Vision(Config())
    frame = clip_frames("one")[160].image
    random = np.random.default_rng(0)
    dim = np.clip(np.rint(frame * (skin * light) + random.normal(0, 1.5, frame.shape)), 0, 255).astype(np.uint8)
    [clear] = vision.judge(frame, vision.find_faces(frame))
    [judged] = vision.judge(dim, vision.find_faces(dim))
    assert judged.scores is not None, vision.abstained
    np.testing.assert_allclose(judged.scores, clear.scores, atol=0.2)


def test_what_the_gates_keep_out_is_counted_and_keeps_its_track(clip_frames):
    clear = clip_frames("one")[10]
    settings = Config(faces=Faces(min_face_px=8))
    pipeline = Pipeline(settings, new_id=lambda: "0" * 26)
    [before] = pipeline.process(clear).tracks
    blurred = type(clear)(cv2.GaussianBlur(clear.image, (0, 0), 13), clear.time_s + 0.1)
    decision = pipeline.process(blurred)
    assert decision.judged == []
    assert pipeline.vision.abstained["blurred"] == 1
    [after] = decision.tracks
    assert (after.id, after.observations, after.judged_s) == (before.id, 1, before.judged_s)
    assert after.last_s > before.last_s
    np.testing.assert_array_equal(after.scores, before.scores)


def test_a_face_that_was_never_judged_has_no_track():
    tracker = Tracker(Tracking())
    assert tracker.update([Observation(face(), None)], time_s=0, width=640, height=480) == ()


class TestDrift:
    RANGES = {"score": (0.0, 1.0), "brightness": (0.0, 255.0)}  # noqa: RUF012

    def feed(self, drift: Drift, count: int, *, brightness: float) -> int:
        random = np.random.default_rng(0)
        values = zip(random.beta(2, 5, count), random.normal(brightness, 20, count), strict=True)
        return sum(drift.add({"score": float(s), "brightness": float(b)}) for s, b in values)

    def test_the_same_light_is_no_drift_and_another_is(self):
        drift = Drift(self.RANGES)
        assert drift.index() == {"score": None, "brightness": None}
        assert self.feed(drift, WINDOW, brightness=120) == 1
        assert self.feed(drift, WINDOW, brightness=120) == 0
        calm = drift.index()
        assert calm["score"] < 0.05
        assert calm["brightness"] < 0.05
        self.feed(drift, 2 * WINDOW, brightness=60)
        dark = drift.index()
        assert dark["score"] < 0.05
        assert dark["brightness"] > 0.25

    def test_the_baseline_outlives_a_restart_and_junk_does_not(self):
        drift = Drift(self.RANGES)
        self.feed(drift, WINDOW, brightness=120)
        again = Drift(self.RANGES, baseline=drift.baseline_text())
        assert self.feed(again, WINDOW, brightness=60) == 0
        assert again.index()["brightness"] > 0.25
        for junk in ("", "{", "[]", '{"score": [1], "brightness": [2]}'):
            assert Drift(self.RANGES, baseline=junk).index() == {"score": None, "brightness": None}

    def test_the_index_of_a_known_case(self):
        assert stability_index([50, 50], [50, 50]) == 0
        assert stability_index([50, 50], [80, 20]) == pytest.approx(0.3 * np.log(0.8 / 0.5) - 0.3 * np.log(0.2 / 0.5))
