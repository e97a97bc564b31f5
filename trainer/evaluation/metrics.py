"""The figures by which a model's predictions are compared."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn import metrics as sk

from edge_agent.vision.emotion import combine
from trainer.data.datasets import FaceDataset
from trainer.data.targets import ferplus_majority, without_contempt
from trainer.labels import FOUR, VOTE_LABELS

CALIBRATION_BINS = 15
Probabilities = npt.NDArray[np.float32]


def answers_of(probabilities: Probabilities, classes: int) -> tuple[Probabilities, Probabilities | None]:
    """Return the two answers that stand side by side: float32 (n, classes), and (n, 8) or None if there is one only."""
    votes = probabilities[:, classes:]
    return probabilities[:, :classes], votes if votes.shape[1] else None


def seen_by_rules(probabilities: Probabilities, classes: int, vote_weight: float | None) -> Probabilities:
    """Return what an agent makes of both answers, float32 (n, classes): see `edge_agent.vision.emotion.combine`."""
    labels, votes = answers_of(probabilities, classes)
    if votes is None or vote_weight is None:
        return labels
    return combine(labels, votes[:, :classes], vote_weight=vote_weight)


def figures_of(
    probabilities: Probabilities,
    data: FaceDataset,
    *,
    vote_weight: float | None = None,
    angry_threshold: float | None = None,
) -> dict[str, Any]:
    """Compare probabilities with the labels, and a second answer with the votes.

    Args:
        probabilities: float32 (n, classes), columns in data.classes order, or (n, classes + 8) with the second answer.
        vote_weight: of the second answer in what rules see, 0..1.
        angry_threshold: operating point, 0..1: a face that rules see at least so angry raises an alarm.

    Returns:
        n, labels, confusion (rows true, columns predicted), accuracyN over all N classes, macro_f1 over those that
        have faces, and ece_labels (`calibration_error` over all classes). With a class angry: angry_average_precision,
        against the rest. With all of FOUR, and faces and probabilities restricted to them: accuracy4, angry_precision4,
        angry_recall4 (of the likeliest class) and calibration_error4. With an operating point:
        angry_threshold and, among faces of FOUR, angry_precision4_at_threshold and angry_recall4_at_threshold.
        With FER+ votes: ferplus_accuracy7, of the label against the majority. With a second answer as well: of it,
        against the majority, ferplus_accuracy, ferplus_anger_ap (average precision), ferplus_anger_recall_at_1pct (at
        a threshold that 1 % of the other faces pass) and ece_votes; of what rules see, angry_average_precision_seen
        and ferplus_anger_ap_seen.
        Shares are 0..1; a figure that cannot be computed is None.
    """
    labels, votes = answers_of(probabilities, len(data.classes))
    seen = seen_by_rules(probabilities, len(data.classes), vote_weight)
    truth, predicted = data.labels, labels.argmax(axis=1)
    result: dict[str, Any] = {
        "n": len(data),
        f"accuracy{len(data.classes)}": float((predicted == truth).mean()),
        "macro_f1": float(sk.f1_score(truth, predicted, average="macro", zero_division=0, labels=np.unique(truth))),
        "ece_labels": calibration_error(labels, truth),
    }
    if "angry" in data.classes:
        angry = data.classes.index("angry")
        result["angry_average_precision"] = _average_precision(truth == angry, labels[:, angry])
        if votes is not None:
            result["angry_average_precision_seen"] = _average_precision(truth == angry, seen[:, angry])
        if set(FOUR) <= set(data.classes):
            result |= _among_four(labels, data)
            if angry_threshold is not None and result["accuracy4"] is not None:
                result |= _at_threshold(seen[:, angry], data, angry_threshold)
    if data.votes is not None:
        result |= _against_votes(predicted, votes, seen, data)
    result["confusion"] = sk.confusion_matrix(truth, predicted, labels=range(len(data.classes))).tolist()
    result["labels"] = list(data.classes)
    return result


def _average_precision(positive: npt.NDArray[np.bool_], scores: Probabilities) -> float | None:
    return float(sk.average_precision_score(positive, scores)) if positive.any() else None


def _against_votes(
    predicted: npt.NDArray[np.int64], votes: Probabilities | None, seen: Probabilities, data: FaceDataset
) -> dict[str, float | None]:
    assert data.votes is not None
    majority = ferplus_majority(data.votes)
    named = without_contempt(majority) >= 0
    result = {"ferplus_accuracy7": float((predicted == majority)[named].mean()) if named.any() else None}
    if votes is None:
        return result
    voted = majority >= 0
    if not voted.any():
        return result | dict.fromkeys(("ferplus_accuracy", "ferplus_anger_ap", "ferplus_anger_recall_at_1pct"))
    scores, truth = votes[voted], majority[voted]
    angry = VOTE_LABELS.index("angry")
    return result | {
        "ferplus_accuracy": float((scores.argmax(axis=1) == truth).mean()),
        "ferplus_anger_ap": _average_precision(truth == angry, scores[:, angry]),
        "ferplus_anger_ap_seen": _average_precision(truth == angry, seen[voted, angry]),
        "ferplus_anger_recall_at_1pct": operating_point(scores[:, angry], truth == angry, max_false_alarms=0.01)[
            "recall"
        ],
        "ece_votes": calibration_error(scores, truth),
    }


def _among_four(labels: Probabilities, data: FaceDataset) -> dict[str, float | None]:
    scores, truth = four_class(labels, data)
    predicted, angry = scores.argmax(axis=1), FOUR.index("angry")
    if not len(truth):
        return dict.fromkeys(("accuracy4", "angry_precision4", "angry_recall4", "calibration_error4"))
    return {
        "accuracy4": float((predicted == truth).mean()),
        "angry_precision4": float(sk.precision_score(truth == angry, predicted == angry, zero_division=0)),
        "angry_recall4": float(sk.recall_score(truth == angry, predicted == angry, zero_division=0)),
        "calibration_error4": calibration_error(scores, truth),
    }


def _at_threshold(scores: Probabilities, data: FaceDataset, threshold: float) -> dict[str, float]:
    rows = np.isin(data.labels, [data.classes.index(name) for name in FOUR])
    angry, alarms = data.labels[rows] == data.classes.index("angry"), scores[rows] >= threshold
    return {
        "angry_threshold": threshold,
        "angry_precision4_at_threshold": float(sk.precision_score(angry, alarms, zero_division=0)),
        "angry_recall4_at_threshold": float(sk.recall_score(angry, alarms, zero_division=0)),
    }


def four_class(probabilities: Probabilities, data: FaceDataset) -> tuple[Probabilities, npt.NDArray[np.int64]]:
    """Restrict faces and probabilities to FOUR.

    Returns:
        float32 (m, 4), rows sum to 1, and the true codes into FOUR, int64 (m,).
    """
    columns = [data.classes.index(name) for name in FOUR]
    rows = np.isin(data.labels, columns)
    scores = probabilities[rows][:, columns]
    code = np.full(len(data.classes), -1, dtype=np.int64)
    code[columns] = np.arange(len(FOUR))
    rescaled: Probabilities = scores / np.maximum(scores.sum(axis=1, keepdims=True), 1e-12)
    return rescaled, code[data.labels[rows]]


def rated(probabilities: Probabilities, data: FaceDataset) -> tuple[Probabilities, npt.NDArray[np.int64]]:
    """Return what a calibration is measured on: `four_class` where there are such classes and faces, all elsewhere.

    Args:
        probabilities: float32 (n, classes), columns in data.classes order.
    """
    if set(FOUR) <= set(data.classes):
        scores, truth = four_class(probabilities, data)
        if len(truth):
            return scores, truth
    return probabilities, data.labels


def calibration_error(probabilities: Probabilities, truth: npt.NDArray[np.int64]) -> float:
    """Return the expected calibration error (Guo et al., "On Calibration of Modern Neural Networks", 2017).

    The mean gap between the likeliest class's probability and how often it is right, over CALIBRATION_BINS equal
    bins of that probability, weighted by their faces.

    Args:
        probabilities: float32 (n, classes).
        truth: int64 (n,).

    Returns:
        0..1; 0 is perfect.
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    bins = calibration_bins(confidence)
    gaps = [abs(float(confidence[bins == b].sum() - right[bins == b].sum())) for b in range(CALIBRATION_BINS)]
    return sum(gaps) / len(truth)


def calibration_bins(confidence: Probabilities) -> npt.NDArray[np.int64]:
    """Return which of CALIBRATION_BINS equal bins each confidence, 0..1, falls in: int64 (n,)."""
    return np.minimum((confidence * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)


def calibrated(probabilities: Probabilities, classes: int, temperatures: tuple[float, float]) -> Probabilities:
    """Return both answers, side by side, each at its temperature."""
    labels, votes = answers_of(probabilities, classes)
    first = with_temperature(labels, temperatures[0])
    return first if votes is None else np.concatenate([first, with_temperature(votes, temperatures[1])], axis=1)


def fit_temperature(probabilities: Probabilities, labels: npt.NDArray[np.int64]) -> float:
    """Return the softmax temperature with the lowest negative log-likelihood (Guo et al., 2017).

    Args:
        probabilities: float32 (n, classes), uncalibrated.
        labels: int64 (n,).

    Returns:
        A temperature, 0.5..3.0 in steps of 0.01; above 1 the model was too sure of itself.
    """
    chosen = np.arange(len(labels))

    def loss(temperature: float) -> float:
        rescaled = with_temperature(probabilities, temperature)
        return float(-np.log(np.maximum(rescaled[chosen, labels], 1e-12)).mean())

    return min((round(float(t), 2) for t in np.arange(0.5, 3.001, 0.01)), key=loss)


def with_temperature(probabilities: Probabilities, temperature: float) -> Probabilities:
    """Return probabilities (n, classes) as a softmax of the same logits at another temperature."""
    powers = np.clip(probabilities, 1e-9, 1) ** (1 / temperature)
    rescaled: Probabilities = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
    return rescaled


def operating_point(
    scores: npt.NDArray[np.float32], positive: npt.NDArray[np.bool_], *, max_false_alarms: float
) -> dict[str, float]:
    """Choose the lowest threshold, that is the highest recall, that keeps false alarms within a limit.

    Args:
        scores: float32 (n,), 0..1.
        positive: bool (n,), the faces that ought to raise an alarm.
        max_false_alarms: largest share of the other faces that may raise one, 0..1.

    Returns:
        threshold (a face at or above it raises an alarm), recall, precision and false_alarms, 0..1.
    """
    others = np.sort(scores[~positive])[::-1]
    allowed = int(max_false_alarms * len(others))
    # Just above the best-scored face that must stay silent; scores are rounded up to four digits in a manifest.
    limit = float(others[allowed]) if allowed < len(others) else 0.0
    threshold = min(1.0, np.floor(limit * 1e4 + 1) / 1e4)
    alarms = scores >= threshold
    hits = int((alarms & positive).sum())
    return {
        "threshold": threshold,
        "recall": hits / max(1, int(positive.sum())),
        "precision": hits / max(1, int(alarms.sum())),
        "false_alarms": int((alarms & ~positive).sum()) / max(1, len(others)),
    }
