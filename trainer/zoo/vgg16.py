"""VGG16 (Simonyan & Zisserman, "Very Deep Convolutional Networks", 2014) with a new head.

Weights of VGGFace (Parkhi et al., "Deep Face Recognition", 2015) have the same layers and fit as a local file.
"""

from __future__ import annotations

import keras

from trainer.zoo.pretrained import IMAGENET, build_on

#: Where fine-tuning starts unless told otherwise: the last block.
FINE_TUNE_FROM = "block5_conv1"


def build(classes: int, weights: str = IMAGENET) -> keras.Model:
    """Return the network: float32 (n, 48, 48, 1), grey, 0..1 → float32 (n, classes), softmax."""
    return build_on(
        keras.applications.VGG16, classes=classes, weights=weights, side_px=96, scale=255.0,
        means=(103.939, 116.779, 123.68), url="https://storage.googleapis.com/tensorflow/keras-applications/vgg16/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
    )  # fmt: skip
