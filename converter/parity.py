"""Compares an int8 bundle with the model it was made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.datasets import LABELS, FaceDataset
from trainer.metrics import judge


@dataclass(frozen=True, slots=True)
class Parity:
    """Float and int8 on the same faces; shares are 0..1.

    Attributes:
        agreement: faces that both give the same label.
        drift_p99: 99th percentile of the largest change of any probability of a face.
        per_class: label → (float recall, int8 recall).
    """

    faces: int
    accuracy_float: float
    accuracy_int8: float
    angry_ap_float: float
    angry_ap_int8: float
    agreement: float
    drift_p99: float
    per_class: dict[str, tuple[float, float]]

    @property
    def accuracy_loss(self) -> float:
        """Float minus int8 accuracy; negative when int8 is better."""
        return self.accuracy_float - self.accuracy_int8

    def as_dict(self) -> dict[str, Any]:
        """Return the figures rounded for JSON."""
        return {
            "faces": self.faces,
            "accuracy7": {"float": round(self.accuracy_float, 4), "int8": round(self.accuracy_int8, 4)},
            "angry_average_precision": {"float": round(self.angry_ap_float, 4), "int8": round(self.angry_ap_int8, 4)},
            "agreement": round(self.agreement, 4),
            "drift_p99": round(self.drift_p99, 4),
            "recall": {k: {"float": round(a, 4), "int8": round(b, 4)} for k, (a, b) in self.per_class.items()},
        }

    def __str__(self) -> str:
        lines = [
            f"{'on ' + str(self.faces) + ' faces':24}   float    int8  change",
            _row("7-class accuracy", self.accuracy_float, self.accuracy_int8),
            _row("angry average precision", self.angry_ap_float, self.angry_ap_int8),
            *(_row(f"recall of {label}", *pair) for label, pair in self.per_class.items()),
            f"same label for {self.agreement:.1%} of the faces; 99 % of scores moved by at most {self.drift_p99:.3f}",
        ]
        return "\n".join(lines)


def _row(name: str, a: float, b: float) -> str:
    return f"{name:24}  {a:6.4f}  {b:6.4f}  {b - a:+.4f}"


def compare(
    float_probabilities: npt.NDArray[np.float32], int8_probabilities: npt.NDArray[np.float32], data: FaceDataset
) -> Parity:
    """Compare two judgements of the same faces.

    Args:
        float_probabilities, int8_probabilities: float32 (n, 7), columns in LABELS order, at the same temperature.
    """
    before, after = judge(float_probabilities, data), judge(int8_probabilities, data)
    recalls = [
        np.diag(f) / np.maximum(f.sum(axis=1), 1) for f in (np.array(before["confusion"]), np.array(after["confusion"]))
    ]
    drift = np.abs(float_probabilities - int8_probabilities).max(axis=1)
    return Parity(
        faces=len(data),
        accuracy_float=before["accuracy7"],
        accuracy_int8=after["accuracy7"],
        angry_ap_float=before["angry_average_precision"],
        angry_ap_int8=after["angry_average_precision"],
        agreement=float((float_probabilities.argmax(1) == int8_probabilities.argmax(1)).mean()),
        drift_p99=float(np.percentile(drift, 99)),
        per_class={label: (float(recalls[0][i]), float(recalls[1][i])) for i, label in enumerate(LABELS)},
    )


def with_temperature(probabilities: npt.NDArray[np.float32], temperature: float) -> npt.NDArray[np.float32]:
    """Return probabilities (n, classes) as a softmax of the same logits at another temperature."""
    powers = np.clip(probabilities, 1e-9, 1) ** (1 / temperature)
    rescaled: npt.NDArray[np.float32] = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
    return rescaled
