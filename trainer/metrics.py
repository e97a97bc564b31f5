"""The figures a judge of faces is judged by."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn import metrics as sk

from trainer.datasets import FOUR, FaceDataset
from trainer.targets import ferplus_majority

CALIBRATION_BINS = 15
Probabilities = npt.NDArray[np.float32]


def judge(probabilities: Probabilities, data: FaceDataset, *, angry_threshold: float | None = None) -> dict[str, Any]:
    """Compare probabilities with the labels.

    Args:
        probabilities: float32 (n, classes), columns in data.classes order.
        angry_threshold: operating point, 0..1: a face whose angry probability is at least this raises an alarm.

    Returns:
        n, labels, confusion (rows true, columns predicted), accuracyN over all N classes and macro_f1 over those that
        have faces. With a class angry: angry_average_precision, against the rest. With all of FOUR, and faces and
        probabilities restricted to them: accuracy4, angry_precision4, angry_recall4 (of the likeliest class) and
        calibration_error4 (see `calibration_error`). With an operating point: angry_threshold and, among faces
        of FOUR, angry_precision4_at_threshold and angry_recall4_at_threshold. With FER+ votes:
        ferplus_accuracy7, against the majority. Shares are 0..1; a figure that cannot be computed is None.
    """
    truth, predicted = data.labels, probabilities.argmax(axis=1)
    result: dict[str, Any] = {
        "n": len(data),
        f"accuracy{len(data.classes)}": float((predicted == truth).mean()),
        "macro_f1": float(sk.f1_score(truth, predicted, average="macro", zero_division=0, labels=np.unique(truth))),
    }
    if "angry" in data.classes:
        angry = data.classes.index("angry")
        result["angry_average_precision"] = (
            float(sk.average_precision_score(truth == angry, probabilities[:, angry]))
            if (truth == angry).any()
            else None
        )
        if set(FOUR) <= set(data.classes):
            result |= _among_four(probabilities, data, angry_threshold)
    if data.votes is not None:
        majority = ferplus_majority(data.votes)
        voted = majority >= 0
        result["ferplus_accuracy7"] = float((predicted == majority)[voted].mean()) if voted.any() else None
    result["confusion"] = sk.confusion_matrix(truth, predicted, labels=range(len(data.classes))).tolist()
    result["labels"] = list(data.classes)
    return result


def _among_four(probabilities: Probabilities, data: FaceDataset, threshold: float | None) -> dict[str, Any]:
    angry_probability = probabilities[:, data.classes.index("angry")]
    scores, truth = four_class(probabilities, data)
    rows = np.isin(data.labels, [data.classes.index(name) for name in FOUR])
    predicted, angry = scores.argmax(axis=1), FOUR.index("angry")
    if not len(truth):
        return dict.fromkeys(("accuracy4", "angry_precision4", "angry_recall4", "calibration_error4"))
    result: dict[str, Any] = {
        "accuracy4": float((predicted == truth).mean()),
        "angry_precision4": float(sk.precision_score(truth == angry, predicted == angry, zero_division=0)),
        "angry_recall4": float(sk.recall_score(truth == angry, predicted == angry, zero_division=0)),
        "calibration_error4": calibration_error(scores, truth),
    }
    if threshold is not None:
        alarms = angry_probability[rows] >= threshold
        result["angry_threshold"] = threshold
        result["angry_precision4_at_threshold"] = float(sk.precision_score(truth == angry, alarms, zero_division=0))
        result["angry_recall4_at_threshold"] = float(sk.recall_score(truth == angry, alarms, zero_division=0))
    return result


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
    """Return what a calibration is judged by: `four_class` where there are such classes and faces, all elsewhere.

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
