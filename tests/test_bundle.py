"""A bundle is refused unless everything it states holds."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tracemalloc
import zipfile

import numpy as np
import pytest
from bundles import change, change_model

from edge_agent.config import Config
from edge_agent.errors import BundleError, ConfigError
from edge_agent.vision.blazeface import BlazeFace
from edge_agent.vision.bundle import MODELS_DIR, load_bundle, load_golden
from edge_agent.vision.emotion import EmotionClassifier, EmotionSums


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(MODELS_DIR / "fer-compact-3", tmp_path / "bundle")


def use(folder) -> EmotionClassifier:
    return EmotionClassifier(load_bundle(folder, kind="emotion-classifier"))


def test_an_unchanged_bundle_is_accepted(folder):
    assert len(use(folder).labels) == 7


def test_an_altered_model_is_refused(folder):
    model = folder / "model.tflite"
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    with pytest.raises(BundleError, match="sha256 differs"):
        use(folder)


def test_a_model_that_is_no_model_is_refused(folder):
    change_model(folder, b"nonsense" * 100)
    with pytest.raises(BundleError, match="does not accept the model"):
        use(folder)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"input__shape": [1, 64, 64, 1]}, "input is int8"),
        ({"input__dtype": "float32"}, "input is int8"),
        ({"output__shape": [1, 4]}, "output is int8"),
        ({"labels": ["angry", "happy"]}, "one output for each of the 10 labels"),
        ({"input__scale": 0.5}, "quantization"),
        ({"output__zero_point": 99}, "quantization"),
        ({"schema": "other/9"}, "schema"),
        ({"kind": "face-detector"}, "kind"),
        ({"golden__sha256": "0" * 64}, "sha256 differs"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(folder, values, says):
    change(folder, **values)
    with pytest.raises(BundleError, match=says):
        use(folder)


def test_golden_vectors_that_do_not_hold_are_refused(folder):
    with np.load(folder / "golden.npz") as archive:
        inputs, outputs = archive["inputs"], archive["outputs"]
    buffer = io.BytesIO()
    np.savez(buffer, inputs=inputs, outputs=np.where(outputs > 0, outputs - 9, outputs + 9))
    (folder / "golden.npz").write_bytes(buffer.getvalue())
    change(folder, golden__sha256=hashlib.sha256(buffer.getvalue()).hexdigest())
    with pytest.raises(BundleError, match="golden vector 0 is off by"):
        use(folder)


def archive(*, compress: bool = True, **arrays) -> bytes:
    buffer = io.BytesIO()
    (np.savez_compressed if compress else np.savez)(buffer, **arrays)
    return buffer.getvalue()


def npy(array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def packed(method: int = zipfile.ZIP_DEFLATED, **files: bytes) -> bytes:
    """Return an archive of files as they are."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as opened:
        for name, content in files.items():
            opened.writestr(f"{name}.npy", content)
    return buffer.getvalue()


INPUTS, OUTPUTS = np.zeros((2, 48, 48, 1), np.int8), np.zeros((2, 15), np.int8)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04 and then nothing",
        archive(inputs=INPUTS, outputs=OUTPUTS)[:-30],
        archive(inputs=INPUTS, outputs=OUTPUTS).replace(b"inputs.npy", b"others.npy"),
        archive(inputs=INPUTS, outputs=OUTPUTS).replace(b"inputs.npy", b"inputs.txt"),
        archive(inputs=INPUTS, outputs=OUTPUTS, compress=False).replace(b"|i1", b"|i2"),
        npy(INPUTS),
        archive(inputs=INPUTS, outputs=OUTPUTS[:1]),
        archive(inputs=INPUTS[:, :24], outputs=OUTPUTS),
        archive(inputs=INPUTS, outputs=OUTPUTS[:, :7]),
        archive(inputs=INPUTS[:0], outputs=OUTPUTS[:0]),
        archive(inputs=INPUTS.astype(np.float32), outputs=OUTPUTS),
        archive(inputs=np.int8(1), outputs=OUTPUTS),
        archive(inputs=np.array([[{}, "x"]], dtype=object), outputs=OUTPUTS),
        archive(inputs=np.asfortranarray(INPUTS), outputs=OUTPUTS),
        packed(zipfile.ZIP_LZMA, inputs=npy(INPUTS), outputs=npy(OUTPUTS)),
        packed(inputs=npy(INPUTS)[:-1], outputs=npy(OUTPUTS)),
        packed(inputs=npy(INPUTS) + b"x", outputs=npy(OUTPUTS)),
        packed(inputs=npy(INPUTS).replace(b"(2, 48", b"(9, 48"), outputs=npy(OUTPUTS)),
        packed(inputs=npy(INPUTS).replace(b"'shape': (2", b"'shape': ((("), outputs=npy(OUTPUTS)),
        packed(inputs=npy(INPUTS).replace(b"\x01\x00v", b"\x02\x00v", 1), outputs=npy(OUTPUTS)),
    ],
)
def test_golden_vectors_of_any_other_form_are_refused_in_one_line(folder, content):
    (folder / "golden.npz").write_bytes(content)
    change(folder, golden__sha256=hashlib.sha256(content).hexdigest())
    with pytest.raises(BundleError, match="does not hold golden vectors") as caught:
        use(folder)
    assert "\n" not in str(caught.value)


def bomb(*, lie: bool) -> bytes:
    """Return less than a megabyte that unpacks to 300, and says so or not."""
    inputs = np.zeros((136_000, 48, 48, 1), np.int8)
    content = packed(inputs=npy(inputs), outputs=npy(np.zeros((136_000, 15), np.int8)))
    size, pretended = ((len(npy(inputs[:n]))).to_bytes(4, "little") for n in (136_000, 2))
    return content.replace(size, pretended) if lie else content


@pytest.mark.parametrize("lie", [False, True])
def test_golden_vectors_that_unpack_to_too_much_are_refused_before(folder, lie):
    content = bomb(lie=lie)
    assert len(content) < 1_000_000
    (folder / "golden.npz").write_bytes(content)
    change(folder, golden__sha256=hashlib.sha256(content).hexdigest())
    bundle = load_bundle(folder, kind="emotion-classifier")
    tracemalloc.start()
    with pytest.raises(BundleError, match=r"unpacks to more than|has not the size it states|is int8"):
        load_golden(bundle)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6


def test_a_file_of_golden_vectors_that_is_too_large_is_refused(folder):
    with (folder / "golden.npz").open("r+b") as file:
        file.truncate(2_000_000)
    with pytest.raises(BundleError, match="larger than"):
        use(folder)


@pytest.mark.parametrize("file", ["model.tflite", "manifest.json", "golden.npz"])
def test_a_missing_file_is_named(folder, file):
    (folder / file).unlink()
    with pytest.raises(BundleError, match=file):
        use(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, "x" * 300_000])
def test_a_manifest_that_is_no_manifest_is_refused(folder, text):
    (folder / "manifest.json").write_text(text)
    with pytest.raises(BundleError):
        use(folder)


def test_a_missing_statement_is_named(folder):
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["temperature"]
    path.write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="does not state 'temperature'"):
        use(folder)


def test_a_classifier_is_no_detector(folder):
    with pytest.raises(BundleError, match="kind"):
        BlazeFace(load_bundle(folder, kind="face-detector"))


def test_scores_do_not_depend_on_the_company_a_face_is_in(folder):
    classifier = use(folder)
    faces = list(np.random.default_rng(0).integers(0, 256, (3, 48, 48)).astype(np.uint8))
    together = classifier.classify(faces)
    alone = np.concatenate([classifier.classify([face]) for face in faces])
    np.testing.assert_array_equal(together, alone)
    assert classifier.classify([]).shape == (0, 7)


def test_groups_are_sums_of_labels():
    labels = ("a", "b", "c")
    grouping = EmotionSums.of({"x": ("a", "c"), "y": ("b",)}, labels)
    scores = np.array([[0.5, 0.3, 0.2]], dtype=np.float32)
    np.testing.assert_allclose(grouping.apply(scores), [[0.7, 0.3]])
    with pytest.raises(ConfigError, match="no label 'z'; it has a, b, c"):
        EmotionSums.of({"x": ("z",)}, labels)


def test_the_default_groups_cover_every_label_of_the_shipped_model(folder):
    grouping = EmotionSums.of(Config().emotion.emotions, use(folder).labels)
    np.testing.assert_array_equal(grouping.matrix.sum(axis=1), 1)
