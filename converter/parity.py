"""Compares an int8 bundle with the model it was made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.data.datasets import FaceDataset
from trainer.evaluation.metrics import answers_of, figures_of

_ANGRY_AP = "angry_average_precision"


@dataclass(frozen=True, slots=True)
class Parity:
    """Float and int8 on the same faces; shares are 0..1.

    Attributes:
        figures: name of a figure of `metrics.figures_of` → (float, int8).
        recall: label → (float, int8).
        agreement: faces that both give the same label.
        drift_p99: 99th percentile of the largest change of any probability of a face.
    """

    faces: int
    figures: dict[str, tuple[float, float]]
    recall: dict[str, tuple[float, float]]
    agreement: float
    drift_p99: float

    @property
    def accuracy_loss(self) -> float:
        """Float minus int8 accuracy over all classes; negative when int8 is better."""
        before, after = self.figures[f"accuracy{len(self.recall)}"]
        return before - after

    @property
    def ap_loss(self) -> float:
        """Float minus int8 average precision for angry; 0 where no face is angry."""
        before, after = self.figures.get(_ANGRY_AP, (0.0, 0.0))
        return before - after

    def as_dict(self) -> dict[str, Any]:
        """Return the figures rounded for JSON."""
        return {
            "faces": self.faces,
            **{name: _rounded(pair) for name, pair in self.figures.items()},
            "agreement": round(self.agreement, 4),
            "drift_p99": round(self.drift_p99, 4),
            "recall": {label: _rounded(pair) for label, pair in self.recall.items()},
        }

    def __str__(self) -> str:
        lines = [
            f"{'on ' + str(self.faces) + ' faces':30}   float    int8  change",
            *(_row(name, *pair) for name, pair in self.figures.items()),
            *(_row(f"recall of {label}", *pair) for label, pair in self.recall.items()),
            f"same label for {self.agreement:.1%} of the faces; 99 % of scores moved by at most {self.drift_p99:.3f}",
        ]
        return "\n".join(lines)


def compare(
    float_probabilities: npt.NDArray[np.float32], int8_probabilities: npt.NDArray[np.float32], data: FaceDataset
) -> Parity:
    """Compare two judgements of the same faces.

    Args:
        float_probabilities, int8_probabilities: float32 (n, classes), or (n, classes + 8) with the second answer,
            columns in data.classes order, at the same temperatures.
    """
    before, after = figures_of(float_probabilities, data), figures_of(int8_probabilities, data)
    names = (
        f"accuracy{len(data.classes)}", "macro_f1", _ANGRY_AP, "accuracy4", "ferplus_accuracy", "ferplus_anger_ap",
        "ferplus_anger_recall_at_1pct",
    )  # fmt: skip
    float_labels, int8_labels = (answers_of(p, len(data.classes))[0] for p in (float_probabilities, int8_probabilities))
    float_recall, int8_recall = (_recall(np.array(result["confusion"])) for result in (before, after))
    return Parity(
        faces=len(data),
        figures={name: (before[name], after[name]) for name in dict.fromkeys(names) if before.get(name) is not None},
        recall={label: (float_recall[i], int8_recall[i]) for i, label in enumerate(data.classes)},
        agreement=float((float_labels.argmax(1) == int8_labels.argmax(1)).mean()),
        drift_p99=float(np.percentile(np.abs(float_probabilities - int8_probabilities).max(axis=1), 99)),
    )


def _recall(confusion: npt.NDArray[np.int64]) -> list[float]:
    return [float(share) for share in np.diag(confusion) / np.maximum(confusion.sum(axis=1), 1)]


def _rounded(pair: tuple[float, float]) -> dict[str, float]:
    return {"float": round(pair[0], 4), "int8": round(pair[1], 4)}


def _row(name: str, before: float, after: float) -> str:
    return f"{name:30}  {before:6.4f}  {after:6.4f}  {after - before:+.4f}"
