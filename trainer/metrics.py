"""The figures a judge of faces is judged by."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn import metrics as sk

from trainer.datasets import LABELS, FaceDataset
from trainer.targets import ferplus_majority

#: The four expressions a front desk can act on.
FOUR = ("angry", "happy", "neutral", "sad")


def judge(probabilities: npt.NDArray[np.float32], data: FaceDataset) -> dict[str, Any]:
    """Compare probabilities with the labels.

    Args:
        probabilities: float32 (n, 7), columns in LABELS order.

    Returns:
        n, accuracy7, macro_f1, angry_average_precision (angry against the rest, all faces), accuracy4
        with angry_precision4 and angry_recall4 (faces and argmax restricted to FOUR), ferplus_accuracy7
        (against the FER+ majority; None without votes), confusion (rows true, columns predicted) and
        labels. Shares are 0..1.
    """
    truth, angry = data.labels, LABELS.index("angry")
    predicted = probabilities.argmax(axis=1)
    four = [LABELS.index(name) for name in FOUR]
    rows = np.isin(truth, four)
    truth4 = truth[rows]
    predicted4 = np.array(four)[probabilities[rows][:, four].argmax(axis=1)]
    ferplus = None
    if data.votes is not None:
        majority = ferplus_majority(data.votes)
        ferplus = float((predicted == majority)[majority >= 0].mean()) if (majority >= 0).any() else None
    return {
        "n": len(data),
        "accuracy7": float((predicted == truth).mean()),
        "macro_f1": float(sk.f1_score(truth, predicted, average="macro", zero_division=0)),
        "angry_average_precision": float(sk.average_precision_score(truth == angry, probabilities[:, angry])),
        "accuracy4": float((predicted4 == truth4).mean()) if len(truth4) else None,
        "angry_precision4": float(sk.precision_score(truth4 == angry, predicted4 == angry, zero_division=0)),
        "angry_recall4": float(sk.recall_score(truth4 == angry, predicted4 == angry, zero_division=0)),
        "ferplus_accuracy7": ferplus,
        "confusion": sk.confusion_matrix(truth, predicted, labels=range(len(LABELS))).tolist(),
        "labels": list(LABELS),
    }


def fit_temperature(probabilities: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> float:
    """Return the softmax temperature with the lowest negative log-likelihood (Guo et al., 2017).

    Args:
        probabilities: float32 (n, classes), uncalibrated.
        labels: int64 (n,).

    Returns:
        A temperature, 0.5..3.0 in steps of 0.01; above 1 the model was too sure of itself.
    """
    logits = np.log(np.clip(probabilities.astype(np.float64), 1e-9, 1))
    chosen = np.arange(len(labels))

    def loss(temperature: float) -> float:
        scaled = logits / temperature
        log_sum = np.log(np.exp(scaled - scaled.max(axis=1, keepdims=True)).sum(axis=1)) + scaled.max(axis=1)
        return float((log_sum - scaled[chosen, labels]).mean())

    return min((round(float(t), 2) for t in np.arange(0.5, 3.001, 0.01)), key=loss)
