"""The shipped models run alike in every TFLite runtime; needs nothing but pytest and the agent itself."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from edge_agent.errors import BundleError
from edge_agent.vision.blazeface import BlazeFace
from edge_agent.vision.bundle import MODELS_DIR, find_bundle, load_bundle, load_golden
from edge_agent.vision.emotion import EmotionClassifier
from edge_agent.vision.runtime import load_interpreter

RUNTIMES = {"ai-edge-litert": "ai_edge_litert", "tflite-runtime": "tflite_runtime", "tensorflow": "tensorflow"}
ABSENT = [name for name, module in RUNTIMES.items() if not importlib.util.find_spec(module)]
INSTALLED = [name for name in RUNTIMES if name not in ABSENT]


def classifier_bundle():
    return load_bundle(find_bundle("fer-compact-3"), kind="emotion-classifier")


def test_a_runtime_is_installed():
    assert INSTALLED


@pytest.mark.parametrize("runtime", INSTALLED)
@pytest.mark.parametrize("threads", [1, 2])
def test_the_shipped_classifier_reproduces_its_golden_vectors(runtime, threads):
    bundle = classifier_bundle()
    classifier = EmotionClassifier(bundle, runtime=runtime, threads=threads)
    inputs, _, _ = load_golden(bundle)
    faces = list((inputs[..., 0].astype(int) + 128).astype(np.uint8))
    answers = classifier.answers(faces)
    assert (answers.labels.shape, answers.votes.shape) == ((len(inputs), 7), (len(inputs), 8))
    for answer in (answers.labels, answers.votes):
        np.testing.assert_allclose(answer.sum(axis=1), 1, rtol=1e-5)
    # What rules see claims nothing that the two answers do not agree on.
    seen = classifier.classify(faces)
    assert (seen.sum(axis=1) < 1 + 1e-5).all()
    assert (seen <= np.maximum(answers.labels, answers.votes[:, :7]) + 1e-6).all()


@pytest.mark.parametrize("runtime", INSTALLED)
def test_the_shipped_model_is_int8_from_end_to_end(runtime):
    bundle = classifier_bundle()
    interpreter = load_interpreter(bundle.model, choice=runtime)
    tensors = [*interpreter.get_input_details(), *interpreter.get_output_details()]
    assert [t["dtype"] for t in tensors] == [np.int8, np.int8]
    assert len(bundle.model) < 5_000_000


@pytest.mark.parametrize("runtime", INSTALLED)
def test_the_shipped_detectors_load(runtime):
    for name in ("blazeface-full-range", "blazeface-short-range"):
        detector = BlazeFace(load_bundle(find_bundle(name), kind="face-detector"), runtime=runtime)
        assert detector.detect(np.zeros((480, 640, 3), dtype=np.uint8)) == []


@pytest.mark.parametrize("runtime", ABSENT)
def test_a_runtime_that_is_not_installed_is_named(runtime):
    with pytest.raises(BundleError, match=f"no TFLite runtime found .{runtime}"):
        load_interpreter(classifier_bundle().model, choice=runtime)


def test_every_shipped_bundle_credits_its_source():
    for folder in MODELS_DIR.iterdir():
        manifest = json.loads((folder / "manifest.json").read_text())
        assert manifest["licence"]
        if manifest["kind"] == "face-detector":
            assert "Apache" in (folder / "NOTICE").read_text()
    assert Path(MODELS_DIR / "fer-compact-3").is_dir()
