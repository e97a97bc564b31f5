"""Shuffled, augmented batches; the same seed, epoch and number give the same batch."""

from __future__ import annotations

from typing import Protocol

import keras
import numpy as np
import numpy.typing as npt

from trainer.augment import augment, blend_pairs, patch_pairs
from trainer.datasets import to_input
from trainer.recipe import Recipe

Faces = npt.NDArray[np.uint8]
Targets = npt.NDArray[np.float32]


class Lessons(Protocol):
    """What a batch is made from; `Augmented` here and `views.Taught`."""

    def __len__(self) -> int:
        """Return the number of faces."""

    def draw(self, rows: npt.NDArray[np.int64], epoch: int, random: np.random.Generator) -> tuple[Faces, Targets]:
        """Return changed copies of the faces at `rows`, uint8 (n, 48, 48), and their targets, (n, classes)."""


class Augmented:
    """Faces augmented anew each time, with targets that stay."""

    def __init__(self, faces: Faces, targets: Targets) -> None:
        self._faces, self._targets = faces, targets

    def __len__(self) -> int:
        return len(self._faces)

    def draw(self, rows: npt.NDArray[np.int64], epoch: int, random: np.random.Generator) -> tuple[Faces, Targets]:
        """See Lessons."""
        del epoch
        return augment(self._faces[rows], random), self._targets[rows]


class FaceBatches(keras.utils.PyDataset):
    """Batches of float32 (batch_size, 48, 48, 1) with targets (batch_size, classes) and weights (batch_size,).

    Args:
        weights: float32 (n,), how much each face counts.
        recipe: says how large batches are, how many of them are mixed and how, and what all is drawn from.
    """

    def __init__(self, lessons: Lessons, weights: Targets, recipe: Recipe) -> None:
        super().__init__()
        self._lessons, self._weights, self._recipe = lessons, weights, recipe
        self.start_epoch(0)

    def start_epoch(self, epoch: int) -> None:
        """Draw the order of one epoch, so that a resumed run continues where it was."""
        self._epoch = epoch
        self._order = np.random.default_rng([self._recipe.seed, epoch]).permutation(len(self._lessons))

    def __len__(self) -> int:
        return len(self._lessons) // self._recipe.batch_size

    def __getitem__(self, index: int) -> tuple[Targets, Targets, Targets]:
        size = self._recipe.batch_size
        rows = self._order[index * size : (index + 1) * size]
        random = np.random.default_rng([self._recipe.seed, self._epoch, index])
        faces, targets = self._lessons.draw(rows, self._epoch, random)
        inputs, weights = to_input(faces), self._weights[rows]
        chance = random.random()
        if chance < self._recipe.mixup:
            inputs, targets, weights = blend_pairs(inputs, targets, weights, random)
        elif chance < self._recipe.mixup + self._recipe.cutmix:
            inputs, targets, weights = patch_pairs(inputs, targets, weights, random)
        return inputs, targets, weights
