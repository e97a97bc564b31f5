"""EfficientNetB0 (Tan & Le, "EfficientNet", 2019) with a new head; it scales its input itself."""

from __future__ import annotations

import keras

from trainer.zoo.pretrained import IMAGENET, build_on

#: Where fine-tuning starts unless told otherwise: the last group of blocks.
FINE_TUNE_FROM = "block7a_expand_conv"


def build(classes: int, weights: str = IMAGENET) -> keras.Model:
    """Return the network: float32 (n, 48, 48, 1), grey, 0..1 → float32 (n, classes), softmax."""
    return build_on(
        keras.applications.EfficientNetB0, classes=classes, weights=weights, side_px=96, scale=255.0,
        means=(0.0, 0.0, 0.0), url="https://storage.googleapis.com/keras-applications/efficientnetb0_notop.h5",
    )  # fmt: skip
