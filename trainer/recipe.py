"""The choices a training run is made of."""

from __future__ import annotations

from dataclasses import dataclass

from trainer.errors import TrainerError


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides how a run turns out.

    Attributes:
        validation_fraction: share of Training that chooses the epoch and the temperature, 0..1.
        ferplus_weight: share of the FER+ votes in the targets, 0..1.
        precision: Keras dtype policy while training; the saved model is float32 always.
        patience: epochs without a better validation accuracy before training stops.
    """

    model: str = "compact"
    epochs: int = 80
    batch_size: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 5e-2
    label_smoothing: float = 0.05
    ferplus_weight: float = 0.3
    validation_fraction: float = 0.1
    patience: int = 25
    precision: str = "float32"
    seed: int = 1

    def __post_init__(self) -> None:
        limits = {
            "epochs": (1, 10_000),
            "batch_size": (2, 100_000),
            "learning_rate": (1e-7, 10),
            "label_smoothing": (0, 0.9),
            "ferplus_weight": (0, 1),
            "validation_fraction": (0.01, 0.5),
            "patience": (1, 10_000),
            "seed": (0, 2**31),
        }
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise TrainerError(f"{name} {getattr(self, name):g} is not from {low:g} to {high:g}")
