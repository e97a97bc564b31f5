"""ResNet50 (He et al., "Deep Residual Learning for Image Recognition", 2015) with a new head."""

from __future__ import annotations

import keras

from trainer.zoo.pretrained import IMAGENET, build_on

#: Where fine-tuning starts unless told otherwise: the last group of blocks.
FINE_TUNE_FROM = "conv5_block1_1_conv"


def build(classes: int, weights: str = IMAGENET) -> keras.Model:
    """Return the network: float32 (n, 48, 48, 1), grey, 0..1 → float32 (n, classes), softmax."""
    return build_on(
        keras.applications.ResNet50, classes=classes, weights=weights, side_px=96, scale=255.0,
        means=(103.939, 116.779, 123.68), url="https://storage.googleapis.com/tensorflow/keras-applications/resnet/resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
    )  # fmt: skip
