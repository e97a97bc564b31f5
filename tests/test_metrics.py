"""Targets and figures of known cases."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.data.datasets import FaceDataset
from trainer.data.targets import class_weights, ferplus_majority, targets_for
from trainer.evaluation.metrics import calibration_error, figures_of, fit_temperature, operating_point, rated
from trainer.labels import LABELS, VOTE_COLUMNS, VOTE_LABELS


class TestTargets:
    def test_label_and_votes_are_two_answers(self):
        votes = np.array([[2, 0, 0, 0, 6, 0, 0, 1, 1, 0], [0, 0, 0, 0, 0, 0, 0, 0, 5, 5]], dtype=np.uint8)
        data = FaceDataset(np.zeros((2, 48, 48), np.uint8), np.array([3, 3]), np.array(["Training"] * 2), votes)
        target = targets_for(data, votes=True, label_smoothing=0)
        label, voted = target[:, :7], target[:, 7:]
        assert label.argmax(axis=1).tolist() == [LABELS.index("happy")] * 2  # whatever the voters say
        assert voted[0, VOTE_LABELS.index("angry")] == pytest.approx(0.75)  # a lone voter does not count
        assert voted[0, VOTE_LABELS.index("neutral")] == pytest.approx(0.25)
        assert not voted[1].any()  # nobody saw an expression: nothing to learn
        smooth = targets_for(data, votes=False, label_smoothing=0.1)
        np.testing.assert_allclose(smooth.sum(axis=1), 1, rtol=1e-6)
        assert smooth.min() == pytest.approx(0.1 / 7)

    def test_rare_classes_can_count_more(self):
        data = FaceDataset(np.zeros((4, 48, 48), np.uint8), np.array([0, 0, 0, 1]), np.array(["Training"] * 4))
        np.testing.assert_allclose(class_weights(data, 0.0), 1)
        np.testing.assert_allclose(class_weights(data, 1.0), [2 / 3, 2 / 3, 2 / 3, 2])

    def test_ties_unknown_and_no_face_have_no_majority(self):
        rows = [[5, 5, 0, 0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 9, 0, 0], [1, 0, 0, 0, 0, 0, 0, 0, 8, 0],
                [0, 0, 0, 0, 0, 0, 0, 0, 0, 10], [0, 0, 0, 0, 7, 0, 3, 0, 0, 0]]  # fmt: skip
        assert ferplus_majority(np.array(rows, dtype=np.uint8)).tolist() == [-1, 7, -1, -1, 0]


class TestMetrics:
    def test_the_second_answer_is_judged_by_the_votes_and_rules_see_both(self):
        angry, happy, neutral = (LABELS.index(name) for name in ("angry", "happy", "neutral"))
        truth = np.array([angry, angry, neutral, happy])
        scores = np.full((4, 15), 0.001, dtype=np.float32)
        for row, (label, vote) in enumerate(((angry, angry), (neutral, angry), (neutral, neutral), (happy, 7))):
            scores[row, label] = scores[row, 7 + vote] = 0.9
        votes = np.zeros((4, 10), np.uint8)
        for row, name in enumerate(("anger", "anger", "neutral", "contempt")):
            votes[row, VOTE_COLUMNS.index(name)] = 10
        data = FaceDataset(np.zeros((4, 48, 48), np.uint8), truth, np.array(["PublicTest"] * 4), votes)
        result = figures_of(scores, data, vote_weight=0.5, angry_threshold=0.5)
        assert result["accuracy7"] == pytest.approx(3 / 4)  # of the first answer alone
        assert result["ferplus_accuracy"] == 1
        assert result["ferplus_anger_ap"] == result["ferplus_anger_recall_at_1pct"] == 1
        assert result["ece_votes"] == pytest.approx(0.1, abs=1e-4)
        assert result["angry_recall4_at_threshold"] == pytest.approx(1 / 2)  # where the answers differ nobody is paged

    def test_the_figures_of_a_known_case(self):
        angry, disgust, happy, sad = (LABELS.index(name) for name in ("angry", "disgust", "happy", "sad"))
        truth = np.array([angry, angry, happy, sad, disgust])
        scores = np.full((5, 7), 0.01, dtype=np.float32)
        scores[0, angry] = scores[2, happy] = scores[3, angry] = 0.9
        scores[1, disgust], scores[1, angry] = 0.8, 0.3
        scores[4, disgust] = 0.9
        votes = np.zeros((5, 10), np.uint8)
        votes[:, VOTE_COLUMNS.index("anger")] = 10
        result = figures_of(
            scores, FaceDataset(np.zeros((5, 48, 48), np.uint8), truth, np.array(["PublicTest"] * 5), votes)
        )
        assert result["n"] == 5
        assert result["accuracy7"] == pytest.approx(3 / 5)
        assert result["accuracy4"] == pytest.approx(3 / 4)  # disgust is left out, and cannot win
        assert result["angry_precision4"] == pytest.approx(2 / 3)
        assert result["angry_recall4"] == 1
        assert "angry_threshold" not in result
        assert result["ferplus_accuracy7"] == pytest.approx(2 / 5)
        assert result["confusion"][angry][disgust] == 1
        assert result["labels"] == list(LABELS)

    def test_what_cannot_be_computed_is_none(self):
        truth = np.array([LABELS.index("disgust"), LABELS.index("fear")] * 3)
        data = FaceDataset(np.zeros((6, 48, 48), np.uint8), truth, np.array(["PublicTest"] * 6))
        scores = np.full((6, 7), 1 / 7, dtype=np.float32)
        result = figures_of(scores, data, angry_threshold=0.5)
        assert {name for name, value in result.items() if value is None} == {
            "accuracy4", "angry_precision4", "angry_recall4", "calibration_error4", "angry_average_precision",
        }  # fmt: skip
        chosen, labels = rated(scores, data)
        assert (chosen.shape, labels.tolist()) == ((6, 7), truth.tolist())

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
        result = figures_of(scores, data, angry_threshold=0.3)
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
