"""The network that ships: a small residual net whose every layer quantizes well.

Pre-pooled 3x3 convolutions with batch norm, which folds into the convolution, and ReLU6, whose range is
known in advance; no squeeze-and-excite and no depthwise layers, whose int8 accuracy suffers. Residual
connections after He et al., "Deep Residual Learning for Image Recognition" (2015); ReLU6 after Sandler
et al., "MobileNetV2" (2018).
"""

from __future__ import annotations

import keras
from keras import layers

from trainer.zoo.plain import face_input, finish


def build(classes: int, *, votes: bool = False) -> keras.Model:
    """Return the network: float32 (n, 48, 48, 1), grey, 0..1 → its answers, see `plain.finish`."""
    return residual_net(
        "compact", classes, stem=16, stages=[(48, 1), (96, 2), (144, 2), (192, 1)], dropout=0.3, votes=votes
    )


def residual_net(
    name: str, classes: int, *, stem: int | None, stages: list[tuple[int, int]], dropout: float, votes: bool = False
) -> keras.Model:
    """Return a residual net of the family that `compact` and its teachers belong to.

    Args:
        stem: channels of the one convolution at full size, 48 x 48; None for none, a 5x5 convolution halves at once.
        stages: (channels, residual blocks) at 24 x 24, 12 x 12, 6 x 6, ...
        dropout: share of the pooled features that is dropped in training, 0..1.
    """
    image = face_input()
    x = image if stem is None else _conv(image, stem)
    x = _conv(x, stages[0][0], kernel=5 if stem is None else 3, stride=2)
    for stage, (width, blocks) in enumerate(stages):
        for block in range(blocks):
            x = _residual(x, width, stride=2 if stage and not block else 1, name=f"stage{stage + 1}_block{block + 1}")
    x = layers.GlobalAveragePooling2D()(x)
    return finish(name, image, layers.Dropout(dropout)(x), classes, votes=votes)


def _conv(
    x: keras.KerasTensor, width: int, *, kernel: int = 3, stride: int = 1, relu: bool = True
) -> keras.KerasTensor:
    x = layers.Conv2D(width, kernel, strides=stride, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-3)(x)
    return layers.ReLU(max_value=6.0)(x) if relu else x


def _residual(x: keras.KerasTensor, width: int, *, stride: int, name: str) -> keras.KerasTensor:
    shortcut = x
    if stride != 1 or x.shape[-1] != width:
        if stride != 1:
            shortcut = layers.AveragePooling2D(stride)(shortcut)
        shortcut = _conv(shortcut, width, kernel=1, relu=False)
    x = _conv(x, width, stride=stride)
    x = _conv(x, width, relu=False)
    return layers.ReLU(max_value=6.0, name=name)(layers.Add()([x, shortcut]))
