"""What the plain networks have in common: an input, a flattened head and a softmax for each answer."""

from __future__ import annotations

import keras
from keras import layers

from trainer.labels import VOTE_LABELS

INPUT_SHAPE = (48, 48, 1)


def face_input() -> keras.KerasTensor:
    """Return the input every network has: float32 (n, 48, 48, 1), grey, 0..1."""
    return keras.Input(INPUT_SHAPE, name="face")


def conv(x: keras.KerasTensor, width: int, *, kernel: int = 3, padding: str = "same") -> keras.KerasTensor:
    """Return a convolution with ReLU."""
    return layers.Conv2D(width, kernel, padding=padding, activation="relu")(x)


def finish(
    name: str, face: keras.KerasTensor, features: keras.KerasTensor, classes: int, *, votes: bool = False
) -> keras.Model:
    """Return the model that ends in a dense softmax: float32 (n, classes); with votes see `answers`."""
    logits = layers.Dense(classes, name="logits")(features)
    # Last, so that a network without it has the same weights before.
    vote_logits = layers.Dense(len(VOTE_LABELS), name="vote_logits")(features) if votes else None
    return keras.Model(face, answers(logits, vote_logits), name=name)


def answers(logits: keras.KerasTensor, vote_logits: keras.KerasTensor | None) -> keras.KerasTensor:
    """Return the probabilities of each answer, side by side: float32 (n, classes), or (n, classes + 8) with votes."""
    labels = layers.Softmax(name="probabilities", dtype="float32")(logits)
    if vote_logits is None:
        return labels
    votes = layers.Softmax(name="vote_probabilities", dtype="float32")(vote_logits)
    return layers.Concatenate(name="answers", dtype="float32")([labels, votes])
