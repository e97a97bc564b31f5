"""Happy or sad without convolutions: how far grey values alone go."""

from __future__ import annotations

import keras
from keras import layers

from trainer.zoo.plain import face_input, finish


def build(classes: int) -> keras.Model:
    """Return the network: float32 (n, 48, 48, 1), grey, 0..1 → float32 (n, classes), softmax."""
    face = face_input()
    x = layers.Dense(256, activation="relu")(layers.Flatten()(face))
    x = layers.Dropout(0.3)(layers.Dense(64, activation="relu")(x))
    return finish("happy_sad_dense", face, x, classes)
