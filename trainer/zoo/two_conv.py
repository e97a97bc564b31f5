"""Two convolutions with max pooling: the first network of coursework on a few hundred selfies."""

from __future__ import annotations

import keras
from keras import layers

from trainer.zoo.plain import conv, face_input, finish


def build(classes: int, dense_units: int = 128, *, dropout: float = 0.0, name: str = "two_conv") -> keras.Model:
    """Return the network: float32 (n, 48, 48, 1), grey, 0..1 → float32 (n, classes), softmax.

    Args:
        dense_units: width of the hidden dense layer; `python -m trainer tune` searches it.
        dropout: share dropped after the pooling layers (half of it) and the dense layer, 0..1.
    """
    face = face_input()
    x = face
    for width in (32, 64):
        x = layers.MaxPooling2D()(conv(x, width))
        if dropout:
            x = layers.Dropout(dropout / 2)(x)
    x = layers.Dense(dense_units, activation="relu")(layers.Flatten()(x))
    if dropout:
        x = layers.Dropout(dropout)(x)
    return finish(name, face, x, classes)
