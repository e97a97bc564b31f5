"""Shuffled, augmented batches; the same seed, epoch and number give the same batch."""

from __future__ import annotations

from typing import Protocol

import keras
import numpy as np
import numpy.typing as npt

from trainer.data.augment import augment, blend_pairs, patch_pairs
from trainer.data.datasets import to_input
from trainer.recipe import Recipe

Faces = npt.NDArray[np.uint8]
Targets = npt.NDArray[np.float32]


class TrainingSource(Protocol):
    """What batches are drawn from; `Augmented` and `Together` here, `distillation.Taught`."""

    def __len__(self) -> int:
        """Return the number of faces."""

    def draw(self, rows: npt.NDArray[np.int64], epoch: int, random: np.random.Generator) -> tuple[Faces, Targets]:
        """Return changed copies of the faces at `rows`, uint8 (n, 48, 48), and their targets, (n, classes)."""


class Augmented:
    """Faces augmented anew each time, with targets that stay.

    Args:
        margin_px: see `augment`.
    """

    def __init__(self, faces: Faces, targets: Targets, *, margin_px: int = 0) -> None:
        self._faces, self._targets, self._margin_px = faces, targets, margin_px

    def __len__(self) -> int:
        return len(self._faces)

    def draw(self, rows: npt.NDArray[np.int64], epoch: int, random: np.random.Generator) -> tuple[Faces, Targets]:
        """See TrainingSource."""
        del epoch
        return augment(self._faces[rows], random, margin_px=self._margin_px), self._targets[rows]


class Together:
    """Two sources as one: the rows of the second follow those of the first."""

    def __init__(self, first: TrainingSource, second: TrainingSource) -> None:
        self._first, self._second = first, second

    def __len__(self) -> int:
        return len(self._first) + len(self._second)

    def draw(self, rows: npt.NDArray[np.int64], epoch: int, random: np.random.Generator) -> tuple[Faces, Targets]:
        """See TrainingSource."""
        mine = rows < len(self._first)
        parts = []
        if mine.any():
            parts.append(self._first.draw(rows[mine], epoch, random))
        if not mine.all():
            parts.append(self._second.draw(rows[~mine] - len(self._first), epoch, random))
        # The order follows the rows, as the weights that go with them do.
        place = np.argsort(np.concatenate([np.flatnonzero(mine), np.flatnonzero(~mine)]))
        faces, targets = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
        return faces[place], targets[place]


class FaceBatches(keras.utils.PyDataset):
    """Batches of float32 (batch_size, 48, 48, 1) with targets (batch_size, classes) and weights (batch_size,).

    Args:
        weights: float32 (n,), how much each face counts.
        recipe: says how large batches are, how many of them are mixed and how, and what all is drawn from.
    """

    def __init__(self, source: TrainingSource, weights: Targets, recipe: Recipe) -> None:
        super().__init__()
        self._source, self._weights, self._recipe = source, weights, recipe
        self.start_epoch(0)

    def start_epoch(self, epoch: int) -> None:
        """Draw the order of one epoch, so that a resumed run continues where it was."""
        self._epoch = epoch
        self._order = np.random.default_rng([self._recipe.seed, epoch]).permutation(len(self._source))

    def __len__(self) -> int:
        return len(self._source) // self._recipe.batch_size

    def __getitem__(self, index: int) -> tuple[Targets, Targets, Targets]:
        size = self._recipe.batch_size
        rows = self._order[index * size : (index + 1) * size]
        random = np.random.default_rng([self._recipe.seed, self._epoch, index])
        faces, targets = self._source.draw(rows, self._epoch, random)
        inputs, weights = to_input(faces), self._weights[rows]
        chance = random.random()
        if chance < self._recipe.mixup:
            inputs, targets, weights = blend_pairs(inputs, targets, weights, random)
        elif chance < self._recipe.mixup + self._recipe.cutmix:
            inputs, targets, weights = patch_pairs(inputs, targets, weights, random)
        return inputs, targets, weights
