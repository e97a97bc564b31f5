"""Happy or sad with four convolutions, batch norm and dropout."""

from __future__ import annotations

import keras
from keras import layers

from trainer.zoo.plain import conv, face_input, finish


def build(classes: int) -> keras.Model:
    """Return the network: float32 (n, 48, 48, 1), grey, 0..1 → float32 (n, classes), softmax."""
    face = face_input()
    x = face
    for width in (32, 64, 96, 128):
        x = layers.MaxPooling2D()(layers.BatchNormalization()(conv(x, width)))
    x = layers.Dropout(0.4)(layers.Dense(128, activation="relu")(layers.Flatten()(x)))
    return finish("happy_sad_deep", face, x, classes)
