"""Evaluate a model, `.keras` or int8 bundle, on one usage of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from trainer.data.cleaning import near_copies
from trainer.data.datasets import ALL, FaceDataset
from trainer.data.load import load_data
from trainer.evaluation.metrics import Probabilities, figures_of
from trainer.evaluation.predictors import Predictor, load_predictor
from trainer.labels import LABELS


def evaluate(model: Path, *, data_dir: Path, usage: str, already_cropped: bool = False) -> dict[str, Any]:
    """Return the figures of `metrics.figures_of`; every face of the usage counts, none is cleaned away.

    For test rows of FER2013 that have Training rows beside them, each figure is there again with `_dedup` at the end of
    its name: without the faces that are near-copies of Training's (`cleaning.near_copies`).

    Raises:
        ModelError: the model cannot be used.
        DatasetError: the data cannot be used.
    """
    scores = load_predictor(model)
    data = load_for(scores, data_dir=data_dir, usage=usage, already_cropped=already_cropped)
    chosen = data.only(usage)
    probabilities = scores(chosen.faces)
    result = _figures(scores, probabilities, chosen)
    training = data.faces[data.usage == "Training"]
    if usage not in ("PublicTest", "PrivateTest") or data.classes != LABELS or not len(training):
        return result
    rows = ~near_copies(chosen.faces, training)
    without = _figures(scores, probabilities[rows], chosen.take(rows))
    return result | {f"{name}_dedup": value for name, value in without.items() if name not in ("labels", "confusion")}


def _figures(model: Predictor, probabilities: Probabilities, data: FaceDataset) -> dict[str, Any]:
    return figures_of(probabilities, data, vote_weight=model.vote_weight, angry_threshold=model.angry_threshold)


def load_for(model: Predictor, *, data_dir: Path, usage: str, already_cropped: bool) -> FaceDataset:
    """Return all faces that a model can be judged on, coded in its order of classes.

    Photographs are cut into the same faces as for the model's training, since it is those that were kept for testing;
    only for usage ALL, of photographs that it was not trained on, does already_cropped alone decide.

    Raises:
        DatasetError: the data cannot be used.
    """
    if usage != ALL:
        already_cropped = already_cropped or bool(model.training.get("recipe", {}).get("already_cropped", False))
    return load_data(data_dir, already_cropped=already_cropped).for_model(model.classes)


def as_text(result: dict[str, Any]) -> str:
    """Return the figures and the confusion matrix for a terminal."""
    labels = result["labels"]
    names = {
        f"accuracy{len(labels)}": f"{len(labels)}-class accuracy",
        "macro_f1": "macro-F1",
        "angry_average_precision": "angry average precision",
        "accuracy4": "4-class accuracy",
        "angry_precision4": "angry precision, 4 classes",
        "angry_recall4": "angry recall, 4 classes",
        "calibration_error4": "calibration error, 4 classes",
        "angry_threshold": "operating point, angry",
        "angry_precision4_at_threshold": "  precision there, 4 classes",
        "angry_recall4_at_threshold": "  recall there, 4 classes",
        "ece_labels": "calibration error, all classes",
        "ferplus_accuracy7": "accuracy against FER+",
        "ferplus_accuracy": "votes: accuracy against FER+",
        "ferplus_anger_ap": "  anger average precision",
        "ferplus_anger_recall_at_1pct": "  anger recall, 1 % false alarms",
        "ece_votes": "  calibration error",
        "angry_average_precision_seen": "rules: angry average precision",
        "ferplus_anger_ap_seen": "  of FER+'s anger",
    }
    again = result.get("n_dedup")
    lines = [f"{result['n']} faces" + (f"; without near-copies of training faces {again}" if again else "")]
    for key, name in names.items():
        if result.get(key) is not None:
            without = result.get(f"{key}_dedup")
            lines.append(f"{name:34}{result[key]:.4f}" + (f"  {without:.4f}" if without is not None else ""))
    lines += ["", "true \\ predicted " + "".join(f"{label:>10}" for label in (*labels, "precision", "recall", "F1"))]
    counts = np.array(result["confusion"])
    for code, label in enumerate(labels):
        hits, said, there = counts[code, code], counts[:, code].sum(), counts[code].sum()
        shares = (hits / max(1, said), hits / max(1, there), 2 * hits / max(1, said + there))
        lines.append(
            f"{label:17}" + "".join(f"{count:10}" for count in counts[code]) + "".join(f"{x:10.2f}" for x in shares)
        )
    return "\n".join(lines)
