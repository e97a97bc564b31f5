"""From grey levels to the network's steps, and from its steps to probabilities: known numbers in, known numbers out."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from edge_agent.vision import emotion
from edge_agent.vision.bundle import MODELS_DIR, load_bundle
from edge_agent.vision.emotion import EmotionClassifier
from edge_agent.vision.exposure import normalise_exposure

SHIPPED = MODELS_DIR / "fer-compact-3"


class Told:
    """An interpreter that answers as told, with the shipped model's tensors."""

    def __init__(self, real, output: np.ndarray, input_scale: float | None) -> None:
        self._real, self._output, self._scale = real, output, input_scale

    def get_input_details(self):
        [tensor] = self._real.get_input_details()
        return [tensor if self._scale is None else {**tensor, "quantization": (self._scale, -128)}]

    def get_output_details(self):
        return self._real.get_output_details()

    def set_tensor(self, index, tensor) -> None:
        assert (tensor.shape, tensor.dtype) == ((1, 48, 48, 1), np.int8)

    def invoke(self) -> None:
        pass

    def get_tensor(self, index) -> np.ndarray:
        return self._output[None]


@pytest.fixture
def told(monkeypatch, tmp_path):
    """Return a function that makes a classifier whose network says what it is told; manifest entries may differ."""

    def make(output, *, input_scale: float | None = None, **changes) -> EmotionClassifier:
        folder = tmp_path / "model"
        shutil.copytree(SHIPPED, folder)
        manifest = json.loads((folder / "manifest.json").read_text())
        if input_scale is not None:
            manifest["input"]["scale"] = input_scale
        for name, value in changes.items():
            manifest[name] = {**manifest[name], **value} if isinstance(value, dict) else value
        (folder / "manifest.json").write_text(json.dumps(manifest))
        real = emotion.load_interpreter
        monkeypatch.setattr(
            emotion,
            "load_interpreter",
            lambda model, **options: Told(real(model, **options), np.array(output, dtype=np.int8), input_scale),
        )
        return EmotionClassifier(load_bundle(folder, kind="emotion-classifier"), verify=False)

    return make


def test_each_answer_is_softened_by_its_own_temperature(told):
    steps = np.array([10, 0, -20, 30, 5, -58, 7, -3, 12, 0, 21, -40, 8, 2, -58])  # labels, then votes
    classifier = told(steps, temperature=2.0, votes={"temperature": 0.5, "weight": 0.25})
    output = json.loads((SHIPPED / "manifest.json").read_text())["output"]
    logits = output["scale"] * (steps - output["zero_point"])
    face = np.full((48, 48), 200, dtype=np.uint8)
    answers = classifier.answers([face])
    labels, votes = by_hand(logits[:7], temperature=2.0), by_hand(logits[7:], temperature=0.5)
    np.testing.assert_allclose(answers.labels[0], labels, rtol=1e-4)
    np.testing.assert_allclose(answers.votes[0], votes, rtol=1e-4)
    # Both name the labels in the same order, the votes one more at the end.
    np.testing.assert_allclose(classifier.classify([face])[0], labels**0.75 * votes[:7] ** 0.25, rtol=1e-4)


def by_hand(logits: np.ndarray, *, temperature: float) -> np.ndarray:
    powers = np.array([np.exp(logit / temperature) for logit in logits])
    return powers / powers.sum()


def test_each_grey_level_is_a_step_of_its_own_in_the_shipped_model():
    classifier = EmotionClassifier(load_bundle(SHIPPED, kind="emotion-classifier"))
    grey = np.resize(np.arange(256, dtype=np.uint8), (48, 48))
    np.testing.assert_array_equal(classifier.quantize(grey)[0, :, :, 0], grey.astype(int) - 128)


@pytest.mark.parametrize(
    ("scale", "expected"),
    [
        (2 / 255, [0, 0, 1, 2, 2, 2, 3, 4]),  # 0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5
        (4 / 255, [0, 0, 0, 1, 1, 1, 2, 2]),  # 0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75
        (1 / 510, [0, 2, 4, 6, 8, 10, 12, 14]),
    ],
)
def test_what_lies_between_two_steps_goes_to_the_nearer_and_halves_to_the_even_one(told, scale, expected):
    grey = np.resize(np.arange(8, dtype=np.uint8), (48, 48))
    steps = told(np.zeros(15), input_scale=scale).quantize(grey)
    np.testing.assert_array_equal(steps[0, 0, :8, 0], np.array(expected) - 128)


def test_what_no_step_can_hold_becomes_the_last_one(told):
    white = np.full((48, 48), 255, dtype=np.uint8)
    assert set(told(np.zeros(15), input_scale=1 / 510).quantize(white).ravel()) == {127}


def test_a_dark_face_is_brightened_to_the_highlights_the_network_knows_and_no_further_than_noise_allows():
    face = np.full((48, 48), 20, dtype=np.uint8)
    face[:8] = 55  # a sixth of the pixels: the highlights
    brightened = normalise_exposure(face)
    assert (brightened[0, 0], brightened[40, 0]) == (110, 40)
    very_dark = np.full((48, 48), 5, dtype=np.uint8)
    very_dark[0, 0] = 255  # one pixel is no highlight, and stays what a pixel can be
    brightened = normalise_exposure(very_dark)
    assert (brightened[0, 0], brightened[40, 0]) == (255, 40)
    assert set(normalise_exposure(np.zeros((48, 48), dtype=np.uint8)).ravel()) == {0}
    bright_enough = np.full((48, 48), 110, dtype=np.uint8)
    assert normalise_exposure(bright_enough) is bright_enough
