"""Which faces are learned from, and which are left aside to choose on: the same for the same data and recipe."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from trainer.data.cleaning import CleaningCounts, clean_training, near_duplicate_groups
from trainer.data.datasets import FaceDataset
from trainer.data.groups import by_picture_if_one
from trainer.errors import TrainerError
from trainer.recipe import Recipe


def split(data: FaceDataset, recipe: Recipe) -> tuple[FaceDataset, FaceDataset, CleaningCounts]:
    """Return the run's training and validation faces, the same for the same data and recipe.

    Raises:
        TrainerError: there are too few of either.
    """
    cleaned, counts = clean_training(data)
    if not len(cleaned):
        raise TrainerError(f"cleaning leaves no face: {counts}")
    training, validation = split_validation(cleaned, fraction=recipe.validation_fraction, seed=recipe.split_seed)
    if recipe.max_faces is not None:
        chosen = np.random.default_rng(recipe.seed).permutation(len(training))[: recipe.max_faces]
        training = training.take(np.sort(chosen))
    if len(training) < recipe.batch_size or not len(validation):
        raise TrainerError(
            f"{len(training)} training and {len(validation)} validation faces are too few "
            f"for batches of {recipe.batch_size}; add faces, or train with a smaller --batch-size"
        )
    return training, validation, counts


def split_validation(data: FaceDataset, *, fraction: float, seed: int) -> tuple[FaceDataset, FaceDataset]:
    """Split into (training, validation) so that near-duplicates stay on one side.

    Those are data.groups, or else faces with the same 64-bit difference hash (the sign of horizontal differences of
    the face shrunk to 9x8); FER2013 holds many re-compressed copies. Of photographs that are nearly all of one group
    each stands on its own, with a warning on standard error.

    Args:
        fraction: share of groups that goes to validation, 0..1; one with most of the faces never does.
    """
    if data.groups is None:
        group = near_duplicate_groups(data.faces, bits=0)
    else:
        group = by_picture_if_one(np.unique(data.groups, return_inverse=True)[1])
    random = np.random.default_rng(seed)
    small = np.bincount(group) <= len(group) / 2
    chosen = (random.random(len(small)) < fraction) & small
    if not chosen.any() and small.any():  # of a few groups chance may take none
        chosen[random.choice(np.flatnonzero(small))] = True
    in_validation = chosen[group]
    return data.take(~in_validation), data.take(in_validation)


def fingerprint(data: FaceDataset) -> str:
    """Return what tells one split from another: the SHA-256 of its faces."""
    return hashlib.sha256(data.faces.tobytes()).hexdigest()


def require_same_split(stated: Mapping[str, Any], validation: FaceDataset, *, whose: str) -> None:
    """Refuse a model that left other faces aside: it may have learned those that it is about to be judged on.

    Args:
        stated: run.json, or `training` of a bundle's manifest.
        whose: names the model in the error.

    Raises:
        TrainerError: it left other faces aside, or does not say which.
    """
    if "validation_sha256" not in stated:
        raise TrainerError(f"{whose} does not say which faces it left aside: it was made by an older version")
    if stated["validation_sha256"] != fingerprint(validation):
        raise TrainerError(
            f"{whose} was trained on other data, or with another split of it: it may have learned the "
            f"{len(validation)} faces that are left aside here"
        )
