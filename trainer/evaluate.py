"""Judge a model, `.keras` or int8 bundle, on one usage of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from trainer.datasets import ALL, FaceDataset, load_data
from trainer.judges import Judge, load_judge
from trainer.metrics import judge


def evaluate(model: Path, *, data_dir: Path, usage: str, already_cropped: bool = False) -> dict[str, Any]:
    """Return the figures of `metrics.judge`; every face of the usage counts, none is cleaned away.

    Raises:
        ModelError: the model cannot be used.
        DatasetError: the data cannot be used.
    """
    scores = load_judge(model)
    data = faces_to_judge(scores, data_dir=data_dir, usage=usage, already_cropped=already_cropped)
    return judge(scores(data.faces), data, angry_threshold=scores.angry_threshold)


def faces_to_judge(model: Judge, *, data_dir: Path, usage: str, already_cropped: bool) -> FaceDataset:
    """Return the faces of one usage, coded in the model's order of classes.

    Photographs are cut into the same faces as for the model's training, since it is those that were kept for testing;
    only for usage ALL, of photographs that it was not trained on, does already_cropped alone decide.

    Raises:
        DatasetError: the data cannot be used.
    """
    if usage != ALL:
        already_cropped = already_cropped or bool(model.training.get("recipe", {}).get("already_cropped", False))
    return load_data(data_dir, already_cropped=already_cropped).for_model(model.classes).only(usage)


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
        "ferplus_accuracy7": "accuracy against FER+",
    }
    lines = [f"{result['n']} faces"]
    lines += [f"{name:30}{result[key]:.4f}" for key, name in names.items() if result.get(key) is not None]
    lines += ["", "true \\ predicted " + "".join(f"{label:>10}" for label in (*labels, "precision", "recall", "F1"))]
    counts = np.array(result["confusion"])
    for code, label in enumerate(labels):
        hits, said, there = counts[code, code], counts[:, code].sum(), counts[code].sum()
        shares = (hits / max(1, said), hits / max(1, there), 2 * hits / max(1, said + there))
        lines.append(
            f"{label:17}" + "".join(f"{count:10}" for count in counts[code]) + "".join(f"{x:10.2f}" for x in shares)
        )
    return "\n".join(lines)
