"""The trainer's commands on drawn faces, as people use them."""

from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import pytest
from drawn import draw, in_a_process, trainer, write_data

from edge_agent.config import Config
from edge_agent.vision.bundle import MODELS_DIR
from trainer.labels import LABELS
from trainer.zoo import NETWORKS

SHIPPED = MODELS_DIR / Config().emotion.model


def test_training_leaves_a_run_folder_and_learns(run_folder):
    written = {path.name for path in run_folder.iterdir()}
    assert {"model.keras", "run.json", "history.csv", "report"} <= written
    run = json.loads((run_folder / "run.json").read_text())
    assert run["validation"]["accuracy7"] > 0.5
    assert run["recipe"]["seed"] == 1
    assert run["training_faces"] == 128
    assert run["validation_faces"] > 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--model", "giant"], "no network 'giant'; there are: compact"),
        (["--teacher-weight", "3"], "teacher_weight 3 is not from 0 to 1"),
        (["--mixup", "0.6", "--cutmix", "0.6"], "mixup 0.6 and cutmix 0.6 are shares of the batches: 1 together"),
        (["--epochs", "0"], "epochs 0"),
        (["--batch-size", "5000"], "too few for batches of 5000"),
    ],
)
def test_an_impossible_recipe_is_refused_in_one_line(drawn_data, tmp_path, options, says):
    result = trainer("fit", "--data", drawn_data, "--out", tmp_path / "run", *options)
    assert result.returncode == 2
    assert says in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_process_that_loads_tensorflow_says_nothing_but_the_refusal(drawn_data, tmp_path):
    options = ["--data", drawn_data, "--out", tmp_path / "run", "--model", "vgg16", "--weights", "none.h5"]
    result = in_a_process("trainer", "fit", *options)
    assert result.returncode == 2
    assert result.stdout == ""
    [line] = result.stderr.splitlines()
    assert line.startswith("trainer: no weights at none.h5")


def test_a_finished_run_is_not_overwritten(run_folder, drawn_data):
    result = trainer("fit", "--data", drawn_data, "--out", run_folder)
    assert result.returncode == 2
    assert "holds a finished run" in result.stderr


def test_a_keras_file_and_a_bundle_are_judged_alike(run_folder, drawn_data):
    keys = {
        "n", "accuracy7", "macro_f1", "angry_average_precision", "accuracy4", "angry_precision4",
        "angry_recall4", "calibration_error4", "ferplus_accuracy7", "confusion", "labels",
    }  # fmt: skip
    of_votes = {
        "ferplus_accuracy", "ferplus_anger_ap", "ferplus_anger_recall_at_1pct", "ece_votes",
        "angry_average_precision_seen", "ferplus_anger_ap_seen",
    }  # fmt: skip
    at_threshold = {"angry_threshold", "angry_precision4_at_threshold", "angry_recall4_at_threshold"}
    keys |= of_votes | {"ece_labels"}
    for model, figures_of in ((run_folder / "model.keras", keys), (SHIPPED, keys | at_threshold)):
        # And each once more without the near-copies of faces that were trained on.
        expected = figures_of | {f"{key}_dedup" for key in figures_of - {"labels", "confusion"}}
        result = trainer("evaluate", model, "--data", drawn_data, "--usage", "PublicTest", "--json")
        assert result.returncode == 0, result.stderr
        figures = json.loads(result.stdout)
        assert set(figures) == expected
        assert (figures["n"], figures["labels"]) == (70, list(LABELS))
        assert np.sum(figures["confusion"]) == 70


@pytest.mark.parametrize(
    ("model", "data", "says"),
    [
        ("none.keras", None, "no model at"),
        ("setup.py", None, "is the model installed"),
        ("edge_agent/models/blazeface-full-range", None, "kind"),
        ("edge_agent/models/fer-compact-3", "nowhere", "download"),
    ],
)
def test_what_cannot_be_judged_is_refused_in_one_line(drawn_data, model, data, says):
    result = trainer("evaluate", model, "--data", data or drawn_data)
    assert result.returncode == 2
    assert says in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_inspect_counts_faces(drawn_data):
    out = trainer("inspect", "--data", drawn_data).stdout
    assert "420 training faces" in out
    assert "PublicTest: 70 faces" in out


def test_the_report_can_be_looked_at(run_folder):
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
    drawn_data,
    run_folder,
    tmp_path,
):
    command = [
        "fit", "--model", "happy_sad_shallow", "--classes", ",".join(LABELS), "--data", drawn_data, "--teachers",
        run_folder, "--views", 2, "--epochs", 2, "--batch-size", 32, "--max-faces", 64, "--out", tmp_path / "student",
    ]  # fmt: skip
    first = trainer(*command)
    assert first.returncode == 0, first.stderr
    assert "teachers judge view 2 of 2" in first.stdout
    assert json.loads((tmp_path / "student" / "run.json").read_text())["recipe"]["teachers"] == [run_folder.name]
    (tmp_path / "student" / "run.json").unlink()
    again = trainer(*command)
    assert again.returncode == 0, again.stderr
    assert "teachers judge" not in again.stdout


def test_a_run_goes_on_from_where_another_ended(drawn_data, run_folder, tmp_path):
    options = ["--data", drawn_data, "--epochs", 1, "--batch-size", 32, "--learning-rate", 1e-6, "--start-from"]
    result = trainer("fit", *options, run_folder, "--max-faces", 64, "--out", tmp_path / "more")
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


def test_a_teacher_of_other_classes_is_refused(drawn_data, run_folder, tmp_path):
    result = trainer(
        "fit", "--model", "two_conv", "--data", drawn_data, "--teachers", run_folder, "--out", tmp_path / "x"
    )
    assert result.returncode == 2
    assert "tells angry, disgust" in result.stderr


def test_an_svm_is_fitted_to_the_same_split_and_compared(drawn_data, run_folder, tmp_path):
    for model, more in (("svm", []), ("happy_base", ["--epochs", 1, "--batch-size", 32, "--max-faces", 64])):
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


def test_the_operating_point_is_written_in_the_manifest(drawn_data, tmp_path):
    bundle = tmp_path / "models" / "fer-compact-3"
    shutil.copytree(MODELS_DIR / "fer-compact-3", bundle)
    command = ["threshold", bundle, "--data", drawn_data, "--max-false-alarms", 0.25, "--json"]
    other = trainer(*command)
    assert other.returncode == 2
    assert "was trained on other data" in other.stderr
    assert "--unseen" in other.stderr
    result = trainer(*command, "--unseen")
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
def test_an_impossible_choice_is_refused_in_one_line(drawn_data, tmp_path, options, says):
    result = trainer("fit", "--data", drawn_data, "--out", tmp_path / "run", *options)
    assert result.returncode == 2
    assert says in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_the_networks_are_listed():
    result = trainer("models")
    assert result.returncode == 0
    assert [line.split()[0] for line in result.stdout.splitlines()] == [*NETWORKS, "svm"]


def test_what_learned_other_faces_or_classes_is_no_start_and_no_teacher(run_folder, drawn_data, tmp_path):
    random = np.random.default_rng(5)
    write_data(tmp_path, [(n % 7, draw(n % 7, random), "Training") for n in range(200)])
    backwards = "neutral,surprise,sad,happy,fear,disgust,angry"
    for data, options, says in (
        (tmp_path, ["--teachers", run_folder], "was trained on other data"),
        (tmp_path, ["--start-from", run_folder], "was trained on other data"),
        (drawn_data, ["--start-from", run_folder, "--classes", backwards], "tells angry, disgust"),
    ):
        result = trainer("fit", "--data", data, *options, "--batch-size", 32, "--out", tmp_path / "run")
        assert result.returncode == 2
        assert says in result.stderr
        assert not (tmp_path / "run").exists()


def test_a_file_in_the_way_is_named_in_one_line(drawn_data, tmp_path):
    (tmp_path / "run").write_text("mine")
    result = trainer("fit", "--data", drawn_data, "--out", tmp_path / "run", "--batch-size", 32)
    assert result.returncode == 2
    assert str(tmp_path / "run") in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
