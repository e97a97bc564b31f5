"""`two_conv` with dropout against learning its few faces by heart."""

from __future__ import annotations

import keras

from trainer.zoo import two_conv


def build(classes: int, dense_units: int = 128) -> keras.Model:
    """Return the network: float32 (n, 48, 48, 1), grey, 0..1 → float32 (n, classes), softmax."""
    return two_conv.build(classes, dense_units, dropout=0.5, name="two_conv_dropout")
