"""Every network of the training ground, and the commands around them, on drawn faces and rendered photographs."""

from __future__ import annotations

import json
import shutil
import warnings

import cv2
import numpy as np
import pytest
from test_trainer import drawn_data, run_folder, trainer  # noqa: F401

from converter.quantize import quantize
from edge_agent.demo import CLIPS
from edge_agent.vision.bundle import MODELS_DIR
from edge_agent.vision.runtime import load_interpreter
from trainer.cleaning import near_duplicate_groups
from trainer.datasets import load_data
from trainer.errors import DatasetError, ModelError, TrainerError
from trainer.zoo import NETWORKS, build, recipe_for
from trainer.zoo.mirrored import mirrored

PUBLISHED_PARAMETERS = {"happy_base": 1_023_170, "happy_tuned": 24_358_450}
PRETRAINED = [name for name, network in NETWORKS.items() if "weights" in network.options]


@pytest.fixture(autouse=True)
def _quiet():
    """Keras, in this process, warns about things that are not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def recipe(name):
    return recipe_for(name, {"weights": "random"} if name in PRETRAINED else {})


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_turns_faces_into_probabilities_of_its_classes(name):
    chosen = recipe(name)
    model = build(chosen)
    if name in PUBLISHED_PARAMETERS:
        assert model.count_params() == PUBLISHED_PARAMETERS[name]
    faces = np.random.default_rng(0).random((2, 48, 48, 1)).astype(np.float32)
    scores = np.asarray(model(faces, training=False))
    assert scores.shape == (2, len(chosen.classes))
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-5)


def test_the_shipped_networks_size_fits_the_smallest_board():
    assert build(recipe("compact")).count_params() < 2_000_000
    assert 1_800_000 < build(recipe("custom_cnn")).count_params() < 2_200_000


class TestPretrained:
    def test_fine_tuning_starts_at_the_named_layer_and_leaves_batch_norm_frozen(self):
        import keras

        from trainer.zoo.pretrained import BASE, unfreeze_from

        model = build(recipe("resnet50"))
        body = model.get_layer(BASE)
        assert not body.trainable_weights
        unfreeze_from(model, "conv5_block1_1_conv")
        learning = [layer.name for layer in body.layers if layer.trainable_weights]
        assert learning[0].startswith("conv5_block1")
        assert not [
            layer for layer in body.layers
            if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable_weights
        ]  # fmt: skip
        with pytest.raises(TrainerError, match="no layer 'conv9'; it has: "):
            unfreeze_from(model, "conv9")

    def test_weights_that_are_not_to_be_had_are_explained(self, tmp_path):
        with pytest.raises(ModelError, match="--weights takes imagenet, random or the path"):
            build(recipe_for("vgg16", {"weights": str(tmp_path / "vggface.h5")}))
        (tmp_path / "junk.h5").write_text("junk")
        with pytest.raises(ModelError, match="does not fit VGG16"):
            build(recipe_for("vgg16", {"weights": str(tmp_path / "junk.h5")}))

    def test_a_local_file_of_the_same_layers_fits(self, tmp_path):
        import keras

        source = keras.applications.VGG16(weights=None, include_top=False, input_shape=(96, 96, 3))
        source.save_weights(tmp_path / "face.weights.h5")
        model = build(recipe_for("vgg16", {"weights": str(tmp_path / "face.weights.h5")}))
        loaded = model.get_layer("base").get_layer("block5_conv3").get_weights()[0]
        np.testing.assert_array_equal(loaded, source.get_layer("block5_conv3").get_weights()[0])

    def test_a_base_is_trained_frozen_first_and_fine_tuned_then(self, drawn_data, tmp_path):  # noqa: F811
        result = trainer(
            "fit", "--model", "efficientnetb0", "--weights", "random", "--data", drawn_data, "--out", tmp_path / "run",
            "--epochs", 2, "--frozen-epochs", 1, "--batch-size", 16, "--max-faces", 32, "--classes", "angry,happy",
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        assert "Epoch 2/2" in result.stdout
        assert json.loads((tmp_path / "run" / "run.json").read_text())["recipe"]["frozen_epochs"] == 1
        assert list((tmp_path / "run" / "report" / "activations").glob("*conv*.png"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Whole frames of the demo clips: a neutral, a happy and an angry stretch, as bursts of a phone would be."""
    folder = tmp_path_factory.mktemp("photos")
    for name, first_s in (("neutral", 0.5), ("happy", 5.0), ("angry", 11.5)):
        (folder / name).mkdir()
        for clip, path in CLIPS.items():
            capture = cv2.VideoCapture(str(path))
            capture.set(cv2.CAP_PROP_POS_MSEC, first_s * 1000)
            for shot in range(12):
                _, frame = capture.read()
                cv2.imwrite(str(folder / name / f"{clip}-{shot}.jpg"), frame)
                cv2.imwrite(str(folder / name / f"{clip}-mirrored-{shot}.jpg"), cv2.flip(frame, 1))
            capture.release()
    return folder


def test_a_mirrored_network_thinks_the_same_of_a_face_and_its_mirror_image_in_int8_too():
    network = mirrored(build(recipe("compact")))
    faces = np.random.default_rng(0).random((120, 48, 48, 1), dtype=np.float32)
    flipped = np.ascontiguousarray(faces[:, :, ::-1])
    np.testing.assert_allclose(network.predict(faces, verbose=0), network.predict(flipped, verbose=0), atol=1e-5)
    assert network.count_params() == build(recipe("compact")).count_params()
    interpreter = load_interpreter(quantize(network, faces, classes=7))
    outputs = []
    for face in (faces[0], flipped[0]):
        steps = np.rint(face * 255 - 128).astype(np.int8)[None]
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], steps)
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    np.testing.assert_array_equal(*outputs)


class TestPhotographs:
    def test_faces_are_cropped_as_the_agent_crops_them(self, photos):
        data = load_data(photos)
        assert data.classes == ("angry", "happy", "neutral")
        assert data.faces.shape == (144, 48, 48)
        assert set(data.usage) <= {"Training", "PublicTest"}
        assert data.faces.std(axis=(1, 2)).min() > 10

    def test_pictures_of_one_burst_stay_on_one_side(self, photos):
        data = load_data(photos)
        group = near_duplicate_groups(data.faces, bits=8)
        assert len(set(group.tolist())) < len(group) / 2
        for number in set(group.tolist()):
            assert len(set(data.usage[group == number])) == 1

    def test_a_chain_of_near_duplicates_is_one_group(self):
        face = np.tile(np.linspace(200, 0, 48).astype(np.uint8), (48, 1))
        chain = [face.copy() for _ in range(4)]
        for number, link in enumerate(chain):
            link[: 6 * number] = link[: 6 * number, ::-1]
        other = np.random.default_rng(0).integers(0, 255, (48, 48)).astype(np.uint8)
        group = near_duplicate_groups(np.stack([*chain, other]), bits=8)
        assert len(set(group[:4].tolist())) == 1
        assert group[4] != group[0]

    def test_a_network_is_trained_on_them(self, photos, tmp_path):
        result = trainer(
            "fit", "--model", "two_conv", "--data", photos, "--classes", "angry,neutral", "--out", tmp_path / "run",
            "--epochs", 2, "--batch-size", 8, "--seed", 3,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        assert json.loads((tmp_path / "run" / "run.json").read_text())["labels"] == ["angry", "neutral"]

    def test_a_model_that_knows_more_expressions_is_judged_on_them_all(self, photos, tmp_path):
        bundle = tmp_path / "fer-compact-2"
        shutil.copytree(MODELS_DIR / "fer-compact-2", bundle)
        result = trainer("evaluate", bundle, "--data", photos, "--usage", "all", "--json")
        assert result.returncode == 0, result.stderr
        figures = json.loads(result.stdout)
        assert figures["n"] == 144
        assert [sum(row) > 0 for row in figures["confusion"]] == [
            label in ("angry", "happy", "neutral") for label in figures["labels"]
        ]
        result = trainer("threshold", bundle, "--data", photos, "--unseen", "--json")
        assert json.loads(result.stdout)["chosen_on"].startswith("144 unseen faces"), result.stderr

    def test_pictures_of_one_scene_cannot_be_kept_apart(self, tmp_path):
        picture = np.random.default_rng(0).integers(0, 255, (60, 60, 3), np.uint8)
        for brighter, name in enumerate(("cross", "merry")):
            (tmp_path / name).mkdir()
            for number in range(5):
                cv2.imwrite(str(tmp_path / name / f"{number}.png"), picture // 2 + 10 * number + 5 * brighter)
            (tmp_path / name / "a.HEIC").write_bytes(b"")
        result = trainer("fit", "--data", tmp_path, "--out", tmp_path / "run", "--already-cropped")
        assert result.returncode == 2
        left_out, refused = result.stderr.splitlines()
        assert ".heic were left out" in left_out
        assert "look like one scene" in refused

    def test_pictures_that_cannot_be_used_are_named(self, photos, tmp_path):
        broken = tmp_path / "broken"
        shutil.copytree(photos, broken)
        (broken / "happy" / "a.jpg").write_text("no picture")
        with pytest.raises(DatasetError, match=r"a\.jpg is not a picture"):
            load_data(broken)
        shutil.rmtree(broken / "happy")
        (broken / "happy").mkdir()
        cv2.imwrite(str(broken / "happy" / "wall.png"), np.full((300, 400, 3), 120, np.uint8))
        with pytest.raises(DatasetError, match=r"no face was found in any picture of .*happy"):
            load_data(broken)
        assert len(load_data(broken, already_cropped=True)) == 97


class TestCommands:
    def test_the_report_can_be_looked_at(self, run_folder):  # noqa: F811
        report = run_folder / "report"
        page = (report / "index.html").read_text()
        for name in (
            "curves", "confusion", "precision-recall", "calibration", "misclassified", "pixels", "samples",
            "augmentation", "attention",
        ):  # fmt: skip
            picture = cv2.imread(str(report / f"{name}.png"))
            assert picture is not None, name
            assert picture.std() > 1, name
            assert f'src="{name}.png"' in page
        assert "macro avg" in (report / "classification.txt").read_text()
        assert len((report / "pixels.csv").read_text().splitlines()) == 8
        assert (report / "misclassified.csv").read_text().startswith("true,predicted,faces")
        assert len(list((report / "activations").iterdir())) > 5

    def test_a_small_network_learns_from_a_teacher_and_resumes_with_the_same_views(
        self,
        drawn_data,  # noqa: F811
        run_folder,  # noqa: F811
        tmp_path,
    ):
        command = [
            "fit", "--model", "two_conv", "--classes", "angry,disgust,fear,happy,sad,surprise,neutral", "--data",
            drawn_data, "--teachers", run_folder, "--views", 2, "--epochs", 2, "--batch-size", 32, "--out",
            tmp_path / "student",
        ]  # fmt: skip
        first = trainer(*command)
        assert first.returncode == 0, first.stderr
        assert "teachers judge view 2 of 2" in first.stdout
        assert json.loads((tmp_path / "student" / "run.json").read_text())["recipe"]["teachers"] == [run_folder.name]
        (tmp_path / "student" / "run.json").unlink()
        again = trainer(*command)
        assert again.returncode == 0, again.stderr
        assert "teachers judge" not in again.stdout

    def test_a_run_goes_on_from_where_another_ended(self, drawn_data, run_folder, tmp_path):  # noqa: F811
        options = ["--data", drawn_data, "--epochs", 1, "--batch-size", 32, "--learning-rate", 1e-6, "--start-from"]
        result = trainer("fit", *options, run_folder, "--max-faces", 300, "--out", tmp_path / "more")
        assert result.returncode == 0, result.stderr
        before, after = (json.loads((run / "run.json").read_text()) for run in (run_folder, tmp_path / "more"))
        assert after["recipe"]["start_from"] == run_folder.name
        assert after["validation"]["accuracy7"] > 0.7 * before["validation"]["accuracy7"] > 2 / 7
        for model, run, problem in (
            ("custom_cnn", run_folder, "cannot be started from"), ("compact", tmp_path, "is not a finished run"),
        ):  # fmt: skip
            result = trainer("fit", "--model", model, *options, run, "--out", tmp_path / "no")
            assert result.returncode == 2
            assert problem in result.stderr

    def test_a_teacher_of_other_classes_is_refused(self, drawn_data, run_folder, tmp_path):  # noqa: F811
        result = trainer(
            "fit", "--model", "two_conv", "--data", drawn_data, "--teachers", run_folder, "--out", tmp_path / "x"
        )
        assert result.returncode == 2
        assert "tells angry, disgust" in result.stderr

    def test_an_svm_is_fitted_to_the_same_split_and_compared(self, drawn_data, run_folder, tmp_path):  # noqa: F811
        for model, more in (("svm", []), ("happy_base", ["--epochs", 1, "--batch-size", 32])):
            result = trainer(
                "fit", "--model", model, "--classes", "happy,not_happy", "--data", drawn_data, "--out",
                tmp_path / model, *more,
            )  # fmt: skip
            assert result.returncode == 0, result.stderr
        runs = [json.loads((tmp_path / name / "run.json").read_text()) for name in ("svm", "happy_base")]
        assert runs[0]["validation"]["n"] == runs[1]["validation"]["n"]
        assert runs[0]["validation"]["accuracy2"] > 0.8
        result = trainer(
            "compare", tmp_path / "happy_base", run_folder, tmp_path / "svm", "--plot", tmp_path / "compare.png"
        )
        assert result.returncode == 0, result.stderr
        rows = [line.split(" | ")[0] for line in result.stdout.splitlines()[2:]]
        assert rows == ["| drawn", "| svm", "| happy_base"]
        assert cv2.imread(str(tmp_path / "compare.png")) is not None

    def test_a_network_of_one_convolution_is_reported_on(self, drawn_data, tmp_path):  # noqa: F811
        result = trainer(
            "fit", "--model", "happy_sad_shallow", "--data", drawn_data, "--out", tmp_path / "run", "--epochs", 1,
            "--batch-size", 16,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        drawn = [path.name for path in sorted((tmp_path / "run" / "report" / "activations").iterdir())]
        assert [name.split("-")[1].split("_")[0] for name in drawn][:2] == ["conv2d", "max"]
        assert "dense" in drawn[-2]
        row = (tmp_path / "run" / "history.csv").read_text().splitlines()
        assert float(row[1].split(",")[row[0].split(",").index("seconds")]) > 0

    def test_a_search_finds_a_width_and_trains_with_it(self, drawn_data, tmp_path):  # noqa: F811
        result = trainer(
            "tune", "--model", "two_conv", "--data", drawn_data, "--out", tmp_path / "tuned", "--trials", 2,
            "--trial-epochs", 1, "--epochs", 1, "--batch-size", 32,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        trials = json.loads((tmp_path / "tuned" / "tuning.json").read_text())
        assert len(trials) == 2
        assert trials[0]["validation_loss"] <= trials[1]["validation_loss"]
        assert "trial 2 of 2: dense_units" in result.stdout
        run = json.loads((tmp_path / "tuned" / "run.json").read_text())
        assert run["recipe"]["dense_units"] == trials[0]["dense_units"]
        again = trainer("tune", "--model", "two_conv", "--data", drawn_data, "--out", tmp_path / "tuned")
        assert again.returncode == 2
        assert "holds a finished run" in again.stderr
        other = trainer("tune", "--model", "svm", "--data", drawn_data, "--out", tmp_path / "other")
        assert other.returncode == 2
        assert "no dense layer to search" in other.stderr

    def test_the_operating_point_is_written_in_the_manifest(self, drawn_data, tmp_path):  # noqa: F811
        bundle = tmp_path / "models" / "fer-compact-2"
        shutil.copytree(MODELS_DIR / "fer-compact-2", bundle)
        result = trainer("threshold", bundle, "--data", drawn_data, "--max-false-alarms", 0.25, "--json")
        assert result.returncode == 0, result.stderr
        point = json.loads(result.stdout)
        assert point["false_alarms"] <= 0.25
        assert json.loads((bundle / "manifest.json").read_text())["operating_point"] == point
        judged = json.loads(trainer("evaluate", bundle, "--data", drawn_data, "--json").stdout)
        assert judged["angry_threshold"] == point["threshold"]
        refused = trainer("threshold", bundle, "--data", drawn_data, "--max-false-alarms", 8)
        assert refused.returncode == 2
        assert "not between 0 and 1" in refused.stderr

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            (["--model", "compact", "--dense-units", "5"], "compact takes no --dense-units"),
            (["--model", "two_conv", "--frozen-epochs", "5"], "no frozen base"),
            (["--classes", "happy"], "at least two classes"),
            (["--classes", "happy,cross"], "no class 'cross'"),
            (["--precision", "int4"], "precision 'int4' is not one of"),
            (["--model", "vgg16", "--weights", "none.h5"], "no weights at none.h5"),
            (["--model", "vgg16", "--weights", "random", "--epochs", "5"], "leaves none of 5 epochs"),
            (["--model", "vgg16", "--weights", "random", "--fine-tune-from", "top"], "the base has no layer 'top'"),
        ],
    )
    def test_an_impossible_choice_is_refused_in_one_line(self, drawn_data, tmp_path, options, says):  # noqa: F811
        result = trainer("fit", "--data", drawn_data, "--out", tmp_path / "run", *options)
        assert result.returncode == 2
        assert says in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1
        assert not (tmp_path / "run").exists()

    def test_the_networks_are_listed(self):
        result = trainer("models")
        assert result.returncode == 0
        assert [line.split()[0] for line in result.stdout.splitlines()] == [*NETWORKS, "svm"]
