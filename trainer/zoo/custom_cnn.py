"""Three convolutions and two dense layers, batch norm everywhere, dropout late: 2.0 million parameters."""

from __future__ import annotations

import keras
from keras import layers

from trainer.zoo.plain import face_input, finish


def build(classes: int) -> keras.Model:
    """Return the network: float32 (n, 48, 48, 1), grey, 0..1 → float32 (n, classes), softmax."""
    face = face_input()
    x = face
    for width in (64, 128, 256):
        x = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
        x = layers.MaxPooling2D()(layers.ReLU()(layers.BatchNormalization()(x)))
    x = layers.Flatten()(x)
    for width in (176, 128):
        x = layers.ReLU()(layers.BatchNormalization()(layers.Dense(width, use_bias=False)(x)))
    return finish("custom_cnn", face, layers.Dropout(0.5)(x), classes)
