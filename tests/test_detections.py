"""What becomes of a network's outputs: known boxes and eyes in, known pixels of the frame out."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from edge_agent.vision import blazeface
from edge_agent.vision.blazeface import BlazeFace
from edge_agent.vision.bundle import MODELS_DIR, find_bundle, load_bundle
from edge_agent.vision.gates import sharpness

#: Of the full-range detector: the input's side, and the anchors of a row.
SIDE_PX, CELLS = 192, 48


class Told:
    """An interpreter with the shipped detector's tensors that answers as told and remembers what it was shown."""

    def __init__(self, real, answers: dict[tuple[int, int], tuple[float, list[float]]]) -> None:
        self._real = real
        self.shown = np.empty(0)
        self._outputs = {t["index"]: np.zeros(t["shape"], dtype=np.float32) for t in real.get_output_details()}
        for output in self._outputs.values():
            output[...] = -20 if output.shape[2] == 1 else 0
            for (row, column), (logit, raw) in answers.items():
                output[0, row * CELLS + column] = logit if output.shape[2] == 1 else raw

    def get_input_details(self):
        return self._real.get_input_details()

    def get_output_details(self):
        return self._real.get_output_details()

    def set_tensor(self, index, tensor) -> None:
        self.shown = tensor[0].copy()

    def invoke(self) -> None:
        pass

    def get_tensor(self, index) -> np.ndarray:
        return self._outputs[index]


@pytest.fixture
def told(monkeypatch):
    def make(answers, **options) -> tuple[BlazeFace, Told]:
        real = blazeface.load_interpreter
        made = []

        def load(model, **settings):
            made.append(Told(real(model, **settings), answers))
            return made[-1]

        monkeypatch.setattr(blazeface, "load_interpreter", load)
        bundle = load_bundle(find_bundle("blazeface-full-range"), kind="face-detector")
        return BlazeFace(bundle, **options), made[-1]

    return make


# Relative to the anchor at (98, 98): a box of 40 by 50 about (102, 96), eyes at (90, 92) and (106, 88).
RAW = [4, -2, 40, 50, -8, -6, 8, -10, 0, 0, 0, 10, -20, 0, 20, 0]


@pytest.mark.parametrize(
    ("shape", "scale", "left", "top"), [((480, 640), 0.3, 0, 24), ((640, 320), 0.3, 48, 0), ((96, 96), 2.0, 0, 0)]
)
def test_a_known_answer_of_the_network_is_a_known_face_in_the_frame(told, shape, scale, left, top):
    detector, _ = told({(24, 24): (2.0, RAW)})
    [face] = detector.detect(np.zeros((*shape, 3), dtype=np.uint8))
    found = [face.x, face.y, face.width, face.height, *face.right_eye, *face.left_eye]
    in_input = [82 - left, 71 - top, 40, 50, 90 - left, 92 - top, 106 - left, 88 - top]
    np.testing.assert_allclose(found, np.array(in_input) / scale, atol=1e-3)
    assert face.confidence == pytest.approx(1 / (1 + math.exp(-2)))
    assert face.roll_deg == pytest.approx(-math.degrees(math.atan2(4, 16)), abs=1e-3)


def test_the_network_is_shown_the_whole_frame_in_rgb_centred_on_black(told):
    detector, network = told({})
    detector.detect(np.full((480, 640, 3), (0, 51, 255), dtype=np.uint8))
    assert network.shown.shape == (SIDE_PX, SIDE_PX, 3)
    np.testing.assert_allclose(network.shown[24:168], np.broadcast_to([1.0, -0.6, -1.0], (144, 192, 3)), atol=1e-6)
    assert set(network.shown[:24].ravel()) == set(network.shown[168:].ravel()) == {-1.0}


def test_doubtful_answers_and_boxes_without_an_inside_are_no_faces(told):
    hollow = [*RAW[:2], -40, 50, *RAW[4:]]
    at_60_percent = math.log(0.6 / 0.4)
    answers = {(5, 5): (at_60_percent - 0.01, RAW), (20, 5): (3.0, hollow), (40, 40): (at_60_percent + 0.01, RAW)}
    detector, _ = told(answers, confidence=0.6)
    assert [round(face.confidence, 2) for face in detector.detect(np.zeros((192, 192, 3), dtype=np.uint8))] == [0.6]


def test_the_best_comes_first_and_one_face_found_twice_is_one(told):
    answers = {(10, 10): (1.0, RAW), (40, 40): (3.0, RAW), (40, 41): (2.0, RAW)}
    detector, _ = told(answers)
    best, other = detector.detect(np.zeros((192, 192, 3), dtype=np.uint8))
    assert best.confidence > other.confidence
    assert (round(other.x), round(other.y)) == (82 - 56, 71 - 56)


def test_sharpness_is_what_the_edges_have_beyond_rounding():
    checkers = np.where(np.indices((48, 48)).sum(axis=0) % 2, 102, 100).astype(np.uint8)
    # Each pixel differs from its four neighbours by 2: the Laplacian is ±8, the picture's deviation 1.
    assert sharpness(checkers) == pytest.approx(64 - 20 / 12, abs=1e-3)
    assert sharpness(np.full((48, 48), 100, dtype=np.uint8)) == 0


def test_a_model_that_ships_is_not_looked_for_in_the_working_folder(tmp_path, monkeypatch):
    for name in ("blazeface-full-range", "ours"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_bundle("blazeface-full-range").is_relative_to(MODELS_DIR)
    assert find_bundle("ours") == Path("ours")
