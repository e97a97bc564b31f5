"""A residual net that learned to tell three million faces apart, with a new head.

dlib's face recognition network (King, "High Quality Face Recognition with Deep Metric Learning", dlib blog, 2017): 29
convolutions after He et al., "Deep Residual Learning for Image Recognition" (2015), with half the usual width. Its
weights are in the public domain (CC0) and come in the PyPI package `face_recognition_models`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
from keras import layers

from trainer.data.datasets import to_input
from trainer.errors import ModelError
from trainer.zoo.plain import face_input, finish
from trainer.zoo.pretrained import RANDOM

#: Side of the faces that it learned from; with smaller ones it no longer knows people from their mirror images.
SIDE_PX = 150
#: Mean red, green and blue of the pictures that it learned from, 0..255.
_MEANS = (122.782, 117.001, 104.298)
#: (channels, residual blocks); all but the first halve the picture.
_STAGES = ((32, 3), (64, 4), (128, 3), (256, 3), (256, 1))
_PACKAGE = "face_recognition_models"
_FILE = "models/dlib_face_recognition_resnet_model_v1.dat"
#: Faces over which the statistics of batch norm are taken.
_SETTLING_FACES = 128
_EPSILON = 1e-3

Tensors = Iterator[npt.NDArray[np.float32]]


def build(classes: int, weights: str | None = None) -> keras.Model:
    """Return the network: float32 (n, 48, 48, 1), grey, 0..1 → float32 (n, classes), softmax.

    Args:
        weights: path of dlib's file, RANDOM, or None for the file in the installed package.

    Raises:
        ModelError: there is no such file, or it holds another network.
    """
    path = Path(weights) if weights else _find()
    face = face_input()
    x = layers.Resizing(SIDE_PX, SIDE_PX)(face)
    x = layers.Concatenate()([x, x, x])
    x = layers.Rescaling(255 / 256, offset=[-mean / 256 for mean in _MEANS])(x)
    try:
        tensors = _no_tensors() if weights == RANDOM else iter(read_tensors(path))
        x = layers.ReLU()(_conv(x, 32, tensors, kernel=7, stride=2))
        x = layers.MaxPooling2D(3, 2)(x)
        for stage, (width, blocks) in enumerate(_STAGES):
            for block in range(blocks):
                x = _residual(x, width, tensors, stride=2 if stage and not block else 1)
    except ModelError:
        raise
    except (StopIteration, ValueError):
        raise ModelError(f"{path} is not dlib's face recognition network") from None
    x = layers.GlobalAveragePooling2D()(x)
    return finish("face_resnet", face, layers.Dropout(0.4)(x), classes)


def prepare(model: keras.Model, faces: npt.NDArray[np.uint8]) -> None:
    """Turn the fixed scales of the loaded network into batch norm, without changing what its features mean.

    dlib's file has folded batch norm into one factor and one offset a channel, whose sizes differ a hundredfold from
    layer to layer: no learning rate fits them all. Every convolution is rescaled to a standard deviation of 1 over
    some faces, and every block to about the same; ReLU passes positive factors on, so only the size of the features
    changes.

    Args:
        faces: uint8 (n, 48, 48); the first 128 are used.
    """
    convolutions = [layer for layer in model.layers if isinstance(layer, layers.Conv2D)]
    norms = [layer for layer in model.layers if isinstance(layer, layers.BatchNormalization)]
    inner = keras.Model(model.input, [norm.input for norm in norms])
    seen = [
        keras.ops.convert_to_numpy(keras.ops.cast(output, "float32"))
        for output in inner(to_input(faces[:_SETTLING_FACES]), training=False)
    ]
    means = [output.mean((0, 1, 2)) for output in seen]
    deviations = [output.std((0, 1, 2)) + 1e-6 for output in seen]
    sizes = [
        float(np.abs(norm.gamma.numpy() * deviation).mean()) for norm, deviation in zip(norms, deviations, strict=True)
    ]
    # The first layer and the second of each block add to the same sum, so they share one factor.
    shared = float(np.mean(sizes[0::2]))
    for index, (convolution, norm) in enumerate(zip(convolutions, norms, strict=True)):
        mean, deviation = means[index], deviations[index]
        gamma, beta, _, _ = norm.get_weights()
        size = shared if index % 2 == 0 else sizes[index]
        input_size = 1.0 if index == 0 else sizes[index - 1] if index % 2 == 0 else shared
        convolution.set_weights([convolution.get_weights()[0] * input_size / deviation])
        norm.set_weights([gamma * deviation / size, (beta + gamma * mean) / size, mean / deviation, np.ones_like(mean)])


def read_tensors(path: Path) -> list[npt.NDArray[np.float32]]:
    """Return the parameters in dlib's file, flat, a convolution's and those of its scale by turns.

    A tensor in such a file follows the name of its layer: its version, four dimensions and little-endian float32
    (`serialize` in dlib/cuda/tensor.h).

    Raises:
        ModelError: the file cannot be read.
        ValueError: it is of another form.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"no weights at {path}: {error.strerror}; --weights takes {RANDOM} or dlib's file") from None
    found: list[tuple[int, npt.NDArray[np.float32]]] = []
    for tag in (b"\x05con_4", b"\x07affine_"):
        at = content.find(tag)
        while at >= 0:
            found.append((at, _tensor(content, at + len(tag))))
            at = content.find(tag, at + 1)
    return [tensor for _, tensor in sorted(found, key=lambda pair: pair[0])]


def _tensor(content: bytes, at: int) -> npt.NDArray[np.float32]:
    sizes = []
    for _ in range(5):  # version, samples, channels, rows, columns; each a byte that tells its length, then itself
        length = content[at] & 0x0F
        sizes.append(int.from_bytes(content[at + 1 : at + 1 + length], "little"))
        at += 1 + length
    return np.frombuffer(content, "<f4", int(np.prod(sizes[1:])), at)


def _find() -> Path:
    package = importlib.util.find_spec(_PACKAGE)
    if package is None or package.origin is None:
        raise ModelError(f"its weights are not here: pip install {_PACKAGE}, or try without: --weights {RANDOM}")
    return Path(package.origin).parent / _FILE


def _no_tensors() -> Tensors:
    while True:
        yield np.zeros(0, np.float32)


def _conv(x: keras.KerasTensor, width: int, tensors: Tensors, *, kernel: int = 3, stride: int = 1) -> keras.KerasTensor:
    convolution = layers.Conv2D(
        width, kernel, strides=stride, padding="same" if stride == 1 else "valid", use_bias=False,
        kernel_initializer="he_normal",
    )  # fmt: skip
    norm = layers.BatchNormalization(momentum=0.9, epsilon=_EPSILON)
    y = norm(convolution(x))
    values, scale = next(tensors), next(tensors)
    if values.size:
        shape = (width, x.shape[-1], kernel, kernel)
        kernels, biases = values[:-width].reshape(shape).transpose(2, 3, 1, 0), values[-width:]
        gamma, beta = scale.reshape(2, width)
        convolution.set_weights([kernels])
        norm.set_weights([gamma, beta + gamma * biases, np.zeros(width), np.full(width, 1 - _EPSILON)])
    return y


def _residual(x: keras.KerasTensor, width: int, tensors: Tensors, *, stride: int) -> keras.KerasTensor:
    y = layers.ReLU()(_conv(x, width, tensors, stride=stride))
    y = _conv(y, width, tensors)
    shortcut = layers.AveragePooling2D(2)(x) if stride == 2 else x
    # dlib adds what differs in size as if the smaller were filled up with zeros.
    missing_px, missing = shortcut.shape[1] - y.shape[1], width - shortcut.shape[-1]
    if missing_px:
        y = layers.ZeroPadding2D(((0, missing_px), (0, missing_px)))(y)
    if missing:
        shortcut = keras.ops.pad(shortcut, ((0, 0), (0, 0), (0, 0), (0, missing)))
    return layers.ReLU()(layers.Add()([y, shortcut]))
