"""Happy or not, as a search over hyperparameters left it: 24,358,450 parameters with two classes.

Convolutions 48 of 5x5, 416 of 3x3 and 192 of 5x5 without padding or pooling, then dense 80. Three thousand
million multiplications a face: train it on a few hundred faces or on a GPU.
"""

from __future__ import annotations

import keras
from keras import layers

from trainer.zoo.plain import conv, face_input, finish


def build(classes: int) -> keras.Model:
    """Return the network: float32 (n, 48, 48, 1), grey, 0..1 → float32 (n, classes), softmax."""
    face = face_input()
    x = conv(face, 48, kernel=5, padding="valid")  # 44 x 44
    x = conv(x, 416, padding="valid")  # 42 x 42
    x = conv(x, 192, kernel=5, padding="valid")  # 38 x 38
    x = layers.Dense(80, activation="relu")(layers.Flatten()(x))
    return finish("happy_tuned", face, x, classes)
