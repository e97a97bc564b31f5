"""Happy or sad with a single convolution."""

from __future__ import annotations

import keras
from keras import layers

from trainer.zoo.plain import conv, face_input, finish


def build(classes: int) -> keras.Model:
    """Return the network: float32 (n, 48, 48, 1), grey, 0..1 → float32 (n, classes), softmax."""
    face = face_input()
    x = layers.MaxPooling2D(4)(conv(face, 32, kernel=5))
    x = layers.Dense(64, activation="relu")(layers.Flatten()(x))
    return finish("happy_sad_shallow", face, x, classes)
