"""The choices a training run is made of."""

from __future__ import annotations

from dataclasses import dataclass

from trainer.errors import TrainerError
from trainer.labels import LABELS

#: Stochastic gradient descent with Nesterov momentum 0.9, and AdamW.
OPTIMIZERS = ("sgd", "adamw")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
_LIMITS = {
    "epochs": (1, 10_000),
    "batch_size": (2, 100_000),
    "learning_rate": (1e-7, 10),
    "weight_decay": (0, 1),
    "mixup": (0, 1),
    "cutmix": (0, 1),
    "label_smoothing": (0, 0.9),
    "class_balance": (0, 1),
    "portraits_weight": (0.01, 100),
    "teacher_weight": (0, 1),
    "views": (1, 1000),
    "validation_fraction": (0.01, 0.5),
    "max_faces": (2, 10_000_000),
    "patience": (1, 10_000),
    "frozen_epochs": (1, 10_000),
    "dense_units": (1, 100_000),
    "split_seed": (0, 2**31),
    "seed": (0, 2**31),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that decides how a run turns out.

    Attributes:
        classes: see `FaceDataset.with_classes`.
        optimizer: one of OPTIMIZERS; the learning rate warms up over two epochs at most and falls as a cosine.
        mixup: share of the batches whose faces are blended in pairs (Zhang et al., "mixup", 2018), 0..1.
        cutmix: share of the batches whose faces get a patch of another (Yun et al., "CutMix", 2019), 0..1 less mixup.
        votes: the network has a second answer, to what ten people said (FER+), beside the first, to the label.
        portraits: everyday faces are learned as well.
        portraits_weight: how much one of them counts against a face of FER2013.
        class_balance: faces count by their class's rarity to this power; 0 all alike, 1 all classes alike.
        teachers: names of finished runs whose mean probabilities are taught (Hinton et al., "Distilling the
            Knowledge in a Neural Network", 2015).
        start_from: name of the finished run of the same network whose weights come first; None for random ones.
        freeze_up_to: the last layer that keeps the weights of start_from; None to train all of them.
        teacher_weight: share of the teachers' probabilities in the targets, 0..1.
        views: augmented copies of each face that the teachers judge beforehand.
        validation_fraction: share of Training that chooses the epoch and the temperature, 0..1.
        split_seed: draws that share; the same for a network and its teachers, or it would be judged on faces that
            they learned.
        max_faces: train on so many faces, drawn at random; None for all.
        patience: epochs without a better validation accuracy before training stops.
        precision: Keras dtype policy while training; the saved model is float32 always.
        frozen_epochs, fine_tune_from: of networks with a frozen base.
        weights: of networks that learned elsewhere.
        dense_units: of networks whose dense layer can be chosen.
        mirrored: the finished network averages what it thinks of a face and of its mirror image.
        already_cropped: photographs are faces already; none is searched for.
    """

    model: str = "compact"
    classes: tuple[str, ...] = LABELS
    epochs: int = 100
    batch_size: int = 128
    optimizer: str = "sgd"
    learning_rate: float = 0.1
    weight_decay: float = 5e-3
    mixup: float = 0.3
    cutmix: float = 0.0
    label_smoothing: float = 0.05
    votes: bool = False
    portraits: bool = False
    portraits_weight: float = 1.0
    class_balance: float = 0.0
    teachers: tuple[str, ...] = ()
    start_from: str | None = None
    freeze_up_to: str | None = None
    teacher_weight: float = 0.8
    views: int = 24
    validation_fraction: float = 0.1
    max_faces: int | None = None
    patience: int = 25
    precision: str = "float32"
    split_seed: int = 1
    seed: int = 1
    frozen_epochs: int | None = None
    fine_tune_from: str | None = None
    weights: str | None = None
    dense_units: int | None = None
    mirrored: bool = False
    already_cropped: bool = False

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise TrainerError(f"optimizer {self.optimizer!r} is not one of {', '.join(OPTIMIZERS)}")
        if self.precision not in PRECISIONS:
            raise TrainerError(f"precision {self.precision!r} is not one of {', '.join(PRECISIONS)}")
        if len(self.classes) < 2:
            raise TrainerError("at least two classes are needed")
        for name, (low, high) in _LIMITS.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise TrainerError(f"{name} {value:g} is not from {low:g} to {high:g}")
        if self.mixup + self.cutmix > 1:
            raise TrainerError(f"mixup {self.mixup:g} and cutmix {self.cutmix:g} are shares of the batches: 1 together")
