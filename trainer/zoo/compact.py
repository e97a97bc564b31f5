"""The network that ships: a small residual net whose every layer quantizes well.

Pre-pooled 3x3 convolutions with batch norm, which folds into the convolution, and ReLU6, whose range is
known in advance; no squeeze-and-excite and no depthwise layers, whose int8 accuracy suffers. Residual
connections after He et al., "Deep Residual Learning for Image Recognition" (2015); ReLU6 after Sandler
et al., "MobileNetV2" (2018).
"""

from __future__ import annotations

import keras
from keras import layers

INPUT_SHAPE = (48, 48, 1)
_WIDTHS = (32, 64, 128, 192)


def build(classes: int) -> keras.Model:
    """Return the network: float32 (n, 48, 48, 1), grey, 0..1 → float32 (n, classes), softmax."""
    image = keras.Input(INPUT_SHAPE, name="face")
    x = _conv(image, 32, kernel=5, stride=2)  # 24 x 24
    x = _residual(x, _WIDTHS[0], stride=1)
    x = _residual(x, _WIDTHS[1], stride=2)  # 12 x 12
    x = _residual(x, _WIDTHS[1], stride=1)
    x = _residual(x, _WIDTHS[2], stride=2)  # 6 x 6
    x = _residual(x, _WIDTHS[2], stride=1)
    x = _residual(x, _WIDTHS[3], stride=2)  # 3 x 3
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(0.3)(x)
    logits = layers.Dense(classes, name="logits")(x)
    return keras.Model(image, layers.Softmax(name="probabilities")(logits), name="compact")


def _conv(
    x: keras.KerasTensor, width: int, *, kernel: int = 3, stride: int = 1, relu: bool = True
) -> keras.KerasTensor:
    x = layers.Conv2D(width, kernel, strides=stride, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-3)(x)
    return layers.ReLU(max_value=6.0)(x) if relu else x


def _residual(x: keras.KerasTensor, width: int, *, stride: int) -> keras.KerasTensor:
    shortcut = x
    if stride != 1 or x.shape[-1] != width:
        if stride != 1:
            shortcut = layers.AveragePooling2D(stride)(shortcut)
        shortcut = _conv(shortcut, width, kernel=1, relu=False)
    x = _conv(x, width, stride=stride)
    x = _conv(x, width, relu=False)
    return layers.ReLU(max_value=6.0)(layers.Add()([x, shortcut]))
