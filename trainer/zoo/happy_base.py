"""Happy or not: convolutions 32-64-128, dense 112-112, 1,023,170 parameters with two classes."""

from __future__ import annotations

import keras
from keras import layers

from trainer.zoo.plain import conv, face_input, finish


def build(classes: int) -> keras.Model:
    """Return the network: float32 (n, 48, 48, 1), grey, 0..1 → float32 (n, classes), softmax."""
    face = face_input()
    x = layers.MaxPooling2D()(conv(face, 32, padding="valid"))  # 23 x 23
    x = layers.MaxPooling2D()(conv(x, 64, padding="valid"))  # 10 x 10
    x = layers.Flatten()(conv(x, 128, padding="valid"))  # 8 x 8
    x = layers.Dense(112, activation="relu")(x)
    x = layers.Dense(112, activation="relu")(x)
    return finish("happy_base", face, x, classes)
