"""Rows are read, cleaned, split and augmented as they ought to be."""

from __future__ import annotations

import numpy as np
import pytest
from drawn import draw, votes_for, write_data

from trainer.data.augment import augment, blend_pairs, patch_pairs
from trainer.data.cleaning import clean_training
from trainer.data.datasets import FaceDataset
from trainer.data.fer2013 import load_fer2013
from trainer.data.split import fingerprint, split_validation
from trainer.data.targets import ferplus_majority
from trainer.errors import DatasetError
from trainer.evaluation.predictors import Predictor
from trainer.fit.batches import FaceBatches
from trainer.fit.distillation import Taught
from trainer.recipe import Recipe


def test_rows_and_votes_are_read_in_order(drawn_data):
    data = load_fer2013(drawn_data)
    assert (data.faces.shape, data.faces.dtype) == ((490, 48, 48), np.uint8)
    assert data.labels[:8].tolist() == [0, 1, 2, 3, 4, 5, 6, 0]
    assert ferplus_majority(data.votes)[:7].tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert len(data.only("PublicTest")) == 70
    with pytest.raises(DatasetError, match="'PrivateTest'; the data has: PublicTest, Training"):
        data.only("PrivateTest")


def test_classes_can_be_chosen_ordered_and_negated(drawn_data):
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


def test_the_header_of_the_other_kaggle_file_is_understood(tmp_path):
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
def test_a_malformed_row_is_named_with_its_line(tmp_path, row, says):
    text = "emotion,pixels,Usage\n" + row.format(p=" ".join(["0"] * 2304)) + "\n"
    (tmp_path / "fer2013.csv").write_text(text)
    with pytest.raises(DatasetError) as caught:
        load_fer2013(tmp_path)
    assert says in str(caught.value)


def test_votes_of_other_rows_are_refused(tmp_path):
    face = np.zeros((48, 48), dtype=int)
    write_data(tmp_path, [(0, face, "Training"), (1, face, "PublicTest")], [votes_for(0), votes_for(1)])
    lines = (tmp_path / "fer2013new.csv").read_text().splitlines()
    (tmp_path / "fer2013new.csv").write_text("\n".join([lines[0], lines[2], lines[1]]))
    with pytest.raises(DatasetError, match="same rows in the same order"):
        load_fer2013(tmp_path)
    (tmp_path / "fer2013new.csv").write_text("\n".join(lines[:2]))
    with pytest.raises(DatasetError, match="1 rows but"):
        load_fer2013(tmp_path)
    cells = lines[1].split(",")
    (tmp_path / "fer2013new.csv").write_text("\n".join([lines[0], ",".join([*cells[:2], "300", *cells[3:]]), lines[2]]))
    with pytest.raises(DatasetError, match=r"csv:2: votes are counts from 0 to 10"):
        load_fer2013(tmp_path)


def test_cleaning_removes_what_would_mislead_and_counts_it():
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


def test_near_duplicates_stay_on_one_side_of_the_split():
    random = np.random.default_rng(2)
    originals = np.stack([random.integers(0, 200, (48, 48)).astype(np.uint8) for _ in range(60)])
    brighter = originals + np.uint8(20)
    data = FaceDataset(np.concatenate([originals, brighter]), np.arange(120), np.array(["Training"] * 120), None)
    training, validation = split_validation(data, fraction=0.3, seed=3)
    assert len(training) + len(validation) == 120
    assert 10 < len(validation) < 70
    assert {n % 60 for n in training.labels.tolist()}.isdisjoint(n % 60 for n in validation.labels.tolist())


def test_the_split_of_published_rows_is_that_of_published_models():
    """A model refuses to be judged on other faces than it left aside; these are as the first release left them."""
    random = np.random.default_rng(2)
    faces = np.stack([random.integers(0, 200, (48, 48)).astype(np.uint8) for _ in range(60)])
    data = FaceDataset(
        np.concatenate([faces, faces + np.uint8(20)]), np.arange(120), np.array(["Training"] * 120), None
    )
    _, validation = split_validation(data, fraction=0.3, seed=3)
    assert fingerprint(validation) == "008ef27e7eb79578818ae1090ab726694637e9097e55db7d1aabc9a1a29b0bf8"


@pytest.mark.parametrize("mix", [blend_pairs, patch_pairs])
def test_mixed_faces_are_told_apart_by_what_is_left_of_each(mix):
    white = np.arange(8) % 2
    faces = np.broadcast_to(white[:, None, None, None], (8, 48, 48, 1)).astype(np.float32)
    targets = np.eye(2, dtype=np.float32)[white]
    shares = set()
    for seed in range(20):
        mixed, told, weights = mix(faces, targets, 1 + white.astype(np.float32), np.random.default_rng(seed))
        np.testing.assert_allclose(told[:, 1], mixed.mean(axis=(1, 2, 3)), atol=1e-5)
        np.testing.assert_allclose(told.sum(axis=1), 1, atol=1e-6)
        np.testing.assert_allclose(weights, 1 + told[:, 1], atol=1e-6)
        assert (mixed.dtype, told.dtype, weights.dtype) == (np.float32,) * 3
        shares.update(told[:, 1].round(3))
    assert len(shares) > 10
    assert set(faces[:, 0, 0, 0]) == {0, 1}, "the batch itself is left as it was"


class TestBatches:
    FACES = np.repeat(np.arange(64, dtype=np.uint8), 48 * 48).reshape(64, 48, 48)
    TARGETS = np.eye(2, dtype=np.float32)[np.arange(64) % 2]

    def batches(self, source=None, **recipe):
        recipe = Recipe(classes=("angry", "happy"), batch_size=64, seed=3, **recipe)
        return FaceBatches(source or Unchanged(self.FACES, self.TARGETS), np.ones(64, np.float32), recipe)

    @pytest.mark.parametrize(("mixup", "cutmix"), [(1.0, 0.0), (0.0, 1.0), (0.0, 0.0)])
    def test_faces_are_mixed_as_the_recipe_says(self, mixup, cutmix):
        [(inputs, targets, _)] = self.batches(mixup=mixup, cutmix=cutmix)
        uniform = (inputs == inputs[:, :1, :1]).all(axis=(1, 2, 3))
        whole = (inputs[:, 0, 0, 0] * 255 == np.rint(inputs[:, 0, 0, 0] * 255)).all()
        assert uniform.all() == (cutmix == 0)
        assert whole == (mixup == 0)
        assert (targets.max(axis=1) == 1).all() == (mixup == cutmix == 0)

    def test_each_epoch_has_another_order_and_the_same_one_when_it_is_run_again(self):
        orders = []
        for epoch in (0, 1, 0):
            batches = self.batches(mixup=0)
            batches.start_epoch(epoch)
            orders.append(batches[0][0].tobytes())
        assert orders[0] == orders[2] != orders[1]

    def test_a_student_learns_what_the_teacher_says_of_the_very_view_it_sees(self, tmp_path):
        def dark(faces):
            share = faces.mean(axis=(1, 2)) / 255
            return np.stack([share, 1 - share], axis=1).astype(np.float32)

        random = np.random.default_rng(0)
        faces = random.integers(0, 255, (64, 1, 48), np.uint8).repeat(48, axis=1)
        teacher = Predictor(dark, ("angry", "happy"))
        labels = np.eye(2, dtype=np.float32)[np.zeros(64, np.int64)]
        for weight in (1.0, 0.25):
            source = Taught(
                faces, labels, [teacher], folder=tmp_path, count=2, weight=weight, seed=1, say=lambda _: None
            )
            for epoch in (0, 1):
                seen, targets = source.draw(np.arange(64), epoch, random)
                np.testing.assert_allclose(targets, weight * dark(seen) + (1 - weight) * labels, atol=2e-3)
                mirrored = (seen == np.load(_view(tmp_path, epoch))["faces"][:, :, ::-1]).all(axis=(1, 2))
                assert 10 < mirrored.sum() < 54


class Unchanged:
    """A training source that changes nothing."""

    def __init__(self, faces, targets):
        self.faces, self.targets = faces, targets

    def __len__(self):
        return len(self.faces)

    def draw(self, rows, epoch, random):
        del epoch, random
        return self.faces[rows], self.targets[rows]


def _view(folder, number):
    [path] = folder.glob(f"views-*/view-{number:03d}.npz")
    return path


def test_augmented_faces_stay_faces_and_follow_the_seed(drawn_data):
    faces = load_fer2013(drawn_data).faces[:20]
    once, again = (augment(faces, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(once, again)
    assert (once.shape, once.dtype) == (faces.shape, np.uint8)
    assert (once != faces).any(axis=(1, 2)).all()
