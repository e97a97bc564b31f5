"""The training tools on faces drawn for the purpose: no picture of anybody is needed."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from trainer.augment import augment
from trainer.cleaning import clean_training, split_validation
from trainer.datasets import LABELS, VOTE_COLUMNS, FaceDataset, load_fer2013
from trainer.errors import DatasetError
from trainer.metrics import calibration_error, fit_temperature, judge, operating_point
from trainer.targets import class_weights, ferplus_majority, soft_targets


def draw(label: int, random: np.random.Generator) -> np.ndarray:
    """A "face" whose label is the place of its bright bar: uint8 (48, 48)."""
    face = random.integers(0, 90, (48, 48))
    face[6 * label : 6 * label + 6] += 150
    return face.astype(np.uint8)


def write_data(folder, rows, votes=None) -> None:
    with (folder / "fer2013.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["emotion", "pixels", "Usage"])
        writer.writerows([label, " ".join(map(str, face.ravel())), usage] for label, face, usage in rows)
    if votes is not None:
        with (folder / "fer2013new.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["Usage", "Image name", *VOTE_COLUMNS])
            writer.writerows(
                [row[2], f"fer{n:07d}.png", *cast] for n, (row, cast) in enumerate(zip(rows, votes, strict=True))
            )


def votes_for(label: int) -> list[int]:
    names = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
    return [8 if column == names[label] else 1 if column in ("neutral", "unknown") else 0 for column in VOTE_COLUMNS]


@pytest.fixture(scope="module")
def drawn_data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    rows = [(n % 7, draw(n % 7, random), "Training" if n < 420 else "PublicTest") for n in range(490)]
    write_data(folder, rows, [votes_for(row[0]) for row in rows])
    return folder


def trainer(*arguments, **options):
    command = [sys.executable, "-m", "trainer", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


@pytest.fixture(scope="module")
def run_folder(drawn_data, tmp_path_factory):
    """A network trained for a few epochs, by the command people use."""
    out = tmp_path_factory.mktemp("runs") / "drawn"
    result = trainer(
        "fit", "--data", drawn_data, "--out", out, "--epochs", 6, "--batch-size", 32, "--learning-rate", 0.05,
        "--max-faces", 300,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return out


class TestData:
    def test_rows_and_votes_are_read_in_order(self, drawn_data):
        data = load_fer2013(drawn_data)
        assert (data.faces.shape, data.faces.dtype) == ((490, 48, 48), np.uint8)
        assert data.labels[:8].tolist() == [0, 1, 2, 3, 4, 5, 6, 0]
        assert ferplus_majority(data.votes)[:7].tolist() == [0, 1, 2, 3, 4, 5, 6]
        assert len(data.only("PublicTest")) == 70
        with pytest.raises(DatasetError, match="'PrivateTest'; the data has: PublicTest, Training"):
            data.only("PrivateTest")

    def test_classes_can_be_chosen_ordered_and_negated(self, drawn_data):
        data = load_fer2013(drawn_data)
        four = data.with_classes(("happy", "angry"))
        assert (four.classes, len(four)) == (("happy", "angry"), 140)
        assert four.labels[:2].tolist() == [1, 0]
        either = data.with_classes(("happy", "not_happy"))
        assert (either.labels == 0).sum() == 70
        assert (either.labels == 1).sum() == 420
        for wrong, says in ((("happy", "cross"), "no class 'cross'"), (("angry", "not_happy"), "overlaps")):
            with pytest.raises(DatasetError, match=says):
                data.with_classes(wrong)

    def test_the_header_of_the_other_kaggle_file_is_understood(self, tmp_path):
        pixels = " ".join(["7"] * 2304)
        (tmp_path / "fer2013.csv").write_text(f"emotion, Usage, pixels\n3,Training,{pixels}\n")
        assert load_fer2013(tmp_path).labels.tolist() == [3]

    @pytest.mark.parametrize(
        ("row", "says"),
        [
            ("9,{p},Training", "csv:2: emotion 9"),
            ("x,{p},Training", "csv:2: invalid literal"),
            ("1,1 2 3,Training", "csv:2: 3 pixels instead of 48x48"),
            ("1,{p} 300,Training", "csv:2"),
            ("1,{p},Test", "csv:2: Usage 'Test'"),
            ("1,{p}", "csv:2: 2 cells"),
        ],
    )
    def test_a_malformed_row_is_named_with_its_line(self, tmp_path, row, says):
        text = "emotion,pixels,Usage\n" + row.format(p=" ".join(["0"] * 2304)) + "\n"
        (tmp_path / "fer2013.csv").write_text(text)
        with pytest.raises(DatasetError) as caught:
            load_fer2013(tmp_path)
        assert says in str(caught.value)

    def test_votes_of_other_rows_are_refused(self, tmp_path):
        face = np.zeros((48, 48), dtype=int)
        write_data(tmp_path, [(0, face, "Training"), (1, face, "PublicTest")], [votes_for(0), votes_for(1)])
        lines = (tmp_path / "fer2013new.csv").read_text().splitlines()
        (tmp_path / "fer2013new.csv").write_text("\n".join([lines[0], lines[2], lines[1]]))
        with pytest.raises(DatasetError, match="same rows in the same order"):
            load_fer2013(tmp_path)
        (tmp_path / "fer2013new.csv").write_text("\n".join(lines[:2]))
        with pytest.raises(DatasetError, match="1 rows but"):
            load_fer2013(tmp_path)

    def test_cleaning_removes_what_would_mislead_and_counts_it(self):
        random = np.random.default_rng(1)
        a, b, c, d = (draw(n, random) for n in range(4))
        black = np.zeros((48, 48), dtype=np.uint8)
        rows = [(a, 0), (a, 0), (b, 1), (b, 2), (c, 2), (d, 3), (black, 4)]
        data = FaceDataset(
            np.stack([face for face, _ in rows] + [d]),
            np.array([label for _, label in rows] + [3]),
            np.array(["Training"] * 7 + ["PublicTest"]),
            None,
        )
        kept, counts = clean_training(data)
        assert kept.labels.tolist() == [0, 2]
        assert (counts.before, counts.blank, counts.duplicates, counts.conflicting) == (7, 1, 1, 2)
        assert (counts.also_in_test, counts.after) == (1, 2)

    def test_near_duplicates_stay_on_one_side_of_the_split(self):
        random = np.random.default_rng(2)
        originals = np.stack([random.integers(0, 200, (48, 48)).astype(np.uint8) for _ in range(60)])
        brighter = originals + np.uint8(20)
        data = FaceDataset(np.concatenate([originals, brighter]), np.arange(120), np.array(["Training"] * 120), None)
        training, validation = split_validation(data, fraction=0.3, seed=3)
        assert len(training) + len(validation) == 120
        assert 10 < len(validation) < 70
        assert {n % 60 for n in training.labels.tolist()}.isdisjoint(n % 60 for n in validation.labels.tolist())

    def test_augmented_faces_stay_faces_and_follow_the_seed(self, drawn_data):
        faces = load_fer2013(drawn_data).faces[:20]
        once, again = (augment(faces, np.random.default_rng(5)) for _ in range(2))
        np.testing.assert_array_equal(once, again)
        assert (once.shape, once.dtype) == (faces.shape, np.uint8)
        assert (once != faces).any(axis=(1, 2)).all()


class TestTargets:
    def test_votes_soften_the_label(self):
        votes = np.array([[2, 0, 0, 0, 6, 0, 0, 1, 1, 0], [0, 0, 0, 0, 0, 0, 0, 5, 5, 0]], dtype=np.uint8)
        data = FaceDataset(np.zeros((2, 48, 48), np.uint8), np.array([0, 3]), np.array(["Training"] * 2), votes)
        target = soft_targets(data, ferplus_weight=0.5, label_smoothing=0)
        assert target[0, LABELS.index("angry")] == pytest.approx(0.5 + 0.5 * 0.75)
        assert target[0, LABELS.index("neutral")] == pytest.approx(0.5 * 0.25)
        assert target[1, LABELS.index("happy")] == 1
        smooth = soft_targets(data, ferplus_weight=0.5, label_smoothing=0.1)
        np.testing.assert_allclose(smooth.sum(axis=1), 1, rtol=1e-6)
        assert smooth.min() == pytest.approx(0.1 / 7)

    def test_rare_classes_can_count_more(self):
        data = FaceDataset(np.zeros((4, 48, 48), np.uint8), np.array([0, 0, 0, 1]), np.array(["Training"] * 4))
        np.testing.assert_allclose(class_weights(data, 0.0), 1)
        np.testing.assert_allclose(class_weights(data, 1.0), [2 / 3, 2 / 3, 2 / 3, 2])

    def test_ties_contempt_unknown_and_no_face_have_no_majority(self):
        rows = [[5, 5, 0, 0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 9, 0, 0], [1, 0, 0, 0, 0, 0, 0, 0, 8, 0],
                [0, 0, 0, 0, 0, 0, 0, 0, 0, 10], [0, 0, 0, 0, 7, 0, 3, 0, 0, 0]]  # fmt: skip
        assert ferplus_majority(np.array(rows, dtype=np.uint8)).tolist() == [-1, -1, -1, -1, 0]


class TestMetrics:
    def test_the_figures_of_a_known_case(self):
        angry, disgust, happy, sad = (LABELS.index(name) for name in ("angry", "disgust", "happy", "sad"))
        truth = np.array([angry, angry, happy, sad, disgust])
        scores = np.full((5, 7), 0.01, dtype=np.float32)
        scores[0, angry] = scores[2, happy] = scores[3, angry] = 0.9
        scores[1, disgust], scores[1, angry] = 0.8, 0.3
        scores[4, disgust] = 0.9
        votes = np.zeros((5, 10), np.uint8)
        votes[:, VOTE_COLUMNS.index("anger")] = 10
        result = judge(scores, FaceDataset(np.zeros((5, 48, 48), np.uint8), truth, np.array(["PublicTest"] * 5), votes))
        assert result["n"] == 5
        assert result["accuracy7"] == pytest.approx(3 / 5)
        assert result["accuracy4"] == pytest.approx(3 / 4)  # disgust is left out, and cannot win
        assert result["angry_precision4"] == pytest.approx(2 / 3)
        assert result["angry_recall4"] == 1
        assert "angry_threshold" not in result
        assert result["ferplus_accuracy7"] == pytest.approx(2 / 5)
        assert result["confusion"][angry][disgust] == 1
        assert result["labels"] == list(LABELS)

    def test_an_operating_point_keeps_false_alarms_within_the_limit_and_misses_as_little_as_it_can(self):
        random = np.random.default_rng(5)
        positive = random.random(3000) < 0.2
        scores = np.clip(random.normal(0.3 + 0.3 * positive, 0.15), 0, 1).astype(np.float32)
        point = operating_point(scores, positive, max_false_alarms=0.1)
        alarms = scores >= point["threshold"]
        assert point["false_alarms"] == pytest.approx(alarms[~positive].mean())
        assert 0.095 < point["false_alarms"] <= 0.1
        assert point["recall"] == pytest.approx(alarms[positive].mean())
        assert point["precision"] == pytest.approx(positive[alarms].mean())

    def test_figures_at_the_operating_point_count_faces_of_four_classes(self):
        angry, happy, fear = (LABELS.index(name) for name in ("angry", "happy", "fear"))
        truth = np.array([angry, angry, happy, happy, fear])
        scores = np.full((5, 7), 0.01, dtype=np.float32)
        scores[:, angry] = [0.5, 0.2, 0.4, 0.1, 0.9]
        data = FaceDataset(np.zeros((5, 48, 48), np.uint8), truth, np.array(["PublicTest"] * 5))
        result = judge(scores, data, angry_threshold=0.3)
        assert result["angry_recall4_at_threshold"] == pytest.approx(1 / 2)
        assert result["angry_precision4_at_threshold"] == pytest.approx(1 / 2)

    def test_the_calibration_error_is_the_gap_between_sure_and_right(self):
        sure = np.tile(np.array([0.9, 0.1], np.float32), (10, 1))
        assert calibration_error(sure, np.array([0] * 9 + [1])) == pytest.approx(0, abs=1e-6)
        assert calibration_error(sure, np.array([0] * 5 + [1] * 5)) == pytest.approx(0.4)

    def test_the_temperature_undoes_overconfidence(self):
        random = np.random.default_rng(4)
        logits = random.normal(0, 1.5, (4000, 7))
        powers = np.exp(logits)
        labels = np.array([random.choice(7, p=p) for p in powers / powers.sum(axis=1, keepdims=True)])
        sharp = np.exp(2 * logits)
        assert fit_temperature((sharp / sharp.sum(axis=1, keepdims=True)).astype(np.float32), labels) == pytest.approx(
            2, abs=0.1
        )


class TestCommands:
    def test_training_leaves_a_run_folder_and_learns(self, run_folder):
        written = {path.name for path in run_folder.iterdir()}
        assert {"model.keras", "run.json", "history.csv", "report"} <= written
        run = json.loads((run_folder / "run.json").read_text())
        assert run["validation"]["accuracy7"] > 0.5
        assert run["recipe"]["seed"] == 1
        assert run["training_faces"] == 300
        assert run["validation_faces"] > 0

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            (["--model", "giant"], "no network 'giant'; there are: compact"),
            (["--ferplus-weight", "3"], "ferplus_weight 3 is not from 0 to 1"),
            (["--epochs", "0"], "epochs 0"),
            (["--batch-size", "5000"], "too few for batches of 5000"),
        ],
    )
    def test_an_impossible_recipe_is_refused_in_one_line(self, drawn_data, tmp_path, options, says):
        result = trainer("fit", "--data", drawn_data, "--out", tmp_path / "run", *options)
        assert result.returncode == 2
        assert says in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1

    def test_a_finished_run_is_not_overwritten(self, run_folder, drawn_data):
        result = trainer("fit", "--data", drawn_data, "--out", run_folder)
        assert result.returncode == 2
        assert "holds a finished run" in result.stderr

    def test_an_interrupted_training_resumes_where_it_was(self, drawn_data, tmp_path):
        command = [
            sys.executable,
            "-u",
            "-m",
            "trainer",
            "fit",
            "--data",
            str(drawn_data),
            "--out",
            str(tmp_path / "r"),
        ]
        command += ["--epochs", "4", "--batch-size", "32"]
        first = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for line in first.stdout:
            if line.startswith("Epoch 3/4"):
                first.send_signal(signal.SIGINT)
                break
        _, err = first.communicate(timeout=120)
        assert first.returncode == 130
        assert "continues where it was" in err
        assert "Traceback" not in err
        second = subprocess.run(command, capture_output=True, text=True, check=False)
        assert second.returncode == 0, second.stderr
        assert "Epoch 3/4" in second.stdout
        assert "Epoch 1/4" not in second.stdout
        other = subprocess.run([*command, "--seed", "9"], capture_output=True, text=True, check=False)
        assert other.returncode == 2

    def test_a_keras_file_and_a_bundle_are_judged_alike(self, run_folder, drawn_data):
        keys = {
            "n", "accuracy7", "macro_f1", "angry_average_precision", "accuracy4", "angry_precision4",
            "angry_recall4", "calibration_error4", "ferplus_accuracy7", "confusion", "labels",
        }  # fmt: skip
        at_threshold = {"angry_threshold", "angry_precision4_at_threshold", "angry_recall4_at_threshold"}
        for model, expected in (
            (run_folder / "model.keras", keys),
            ("edge_agent/models/fer-compact-2", keys | at_threshold),
        ):
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
            ("edge_agent/models/fer-compact-2", "nowhere", "download"),
        ],
    )
    def test_what_cannot_be_judged_is_refused_in_one_line(self, drawn_data, model, data, says):
        result = trainer("evaluate", model, "--data", data or drawn_data)
        assert result.returncode == 2
        assert says in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1

    def test_inspect_counts_faces(self, drawn_data):
        out = trainer("inspect", "--data", drawn_data).stdout
        assert "420 training faces" in out
        assert "PublicTest: 70 faces" in out


@pytest.fixture(autouse=True)
def _quiet_tensorflow(monkeypatch):
    monkeypatch.setitem(os.environ, "TF_CPP_MIN_LOG_LEVEL", "3")
