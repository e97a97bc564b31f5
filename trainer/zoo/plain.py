"""What the plain networks have in common: an input, a flattened head and a softmax."""

from __future__ import annotations

import keras
from keras import layers

INPUT_SHAPE = (48, 48, 1)


def face_input() -> keras.KerasTensor:
    """Return the input every network has: float32 (n, 48, 48, 1), grey, 0..1."""
    return keras.Input(INPUT_SHAPE, name="face")


def conv(x: keras.KerasTensor, width: int, *, kernel: int = 3, padding: str = "same") -> keras.KerasTensor:
    """Return a convolution with ReLU."""
    return layers.Conv2D(width, kernel, padding=padding, activation="relu")(x)


def finish(name: str, face: keras.KerasTensor, features: keras.KerasTensor, classes: int) -> keras.Model:
    """Return the model that ends in a dense softmax: float32 (n, classes)."""
    logits = layers.Dense(classes, name="logits")(features)
    return keras.Model(face, layers.Softmax(name="probabilities", dtype="float32")(logits), name=name)
