"""Networks on a pre-trained base: its input made of the grey face, its weights brought, and two phases of training.

First the base is frozen and only the new head learns; then the base's upper layers are fine-tuned. Batch norm stays
frozen throughout: its statistics come from millions of pictures, a batch of faces would only spoil them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import layers

from trainer.errors import ModelError, TrainerError, first_line
from trainer.zoo.plain import face_input, finish

BASE = "base"
Tensors = dict[str, npt.NDArray[np.float32]]
#: What --weights takes besides the path of a file.
IMAGENET, RANDOM = "imagenet", "random"


def build_on(
    base: Callable[..., keras.Model],
    *,
    classes: int,
    weights: str,
    side_px: int,
    scale: float,
    means: tuple[float, float, float],
    url: str,
) -> keras.Model:
    """Return a network on one of keras.applications: float32 (n, 48, 48, 1), grey, 0..1 → (n, classes), softmax.

    Args:
        base: builder of keras.applications.
        weights: IMAGENET (downloaded by Keras), RANDOM, or the path of an .h5 file for the same layers.
        side_px: the face is enlarged to this side.
        scale, means: the base's input is scale * grey - means, channel by channel as it was trained.
        url: where the file with ImageNet weights is, for the error message.

    Raises:
        ModelError: the weights cannot be had or do not fit.
    """
    face = face_input()
    x = layers.Resizing(side_px, side_px)(face)
    x = layers.Concatenate()([x, x, x])
    x = layers.Rescaling(scale, offset=[-mean for mean in means])(x)
    body = _with_weights(base, weights, side_px, url)
    body.name = BASE
    freeze(body)
    x = layers.GlobalAveragePooling2D()(body(x, training=False))
    x = layers.Dropout(0.3)(layers.Dense(256, activation="relu")(x))
    return finish(base.__name__.lower(), face, x, classes)


def _with_weights(base: Callable[..., keras.Model], weights: str, side_px: int, url: str) -> keras.Model:
    shape: dict[str, Any] = {"include_top": False, "input_shape": (side_px, side_px, 3)}
    if weights not in (IMAGENET, RANDOM) and not Path(weights).is_file():
        raise ModelError(f"no weights at {weights}; --weights takes {IMAGENET}, {RANDOM} or the path of an .h5 file")
    try:
        return base(weights={IMAGENET: "imagenet", RANDOM: None}.get(weights, weights), **shape)
    except Exception as error:  # Keras raises whatever the network or the file brings up
        reason = first_line(error)
        if weights == IMAGENET:
            raise ModelError(
                f"Keras cannot download the ImageNet weights ({reason}); on a computer with internet access fetch "
                f"{url} and pass it with "
                "--weights FILE, or try without: --weights random"
            ) from None
        raise ModelError(f"{weights} does not fit {base.__name__} without its top: {reason}") from None


def freeze(body: keras.Model) -> None:
    """Let nothing of the base learn."""
    body.trainable = False


def layer_index(model: keras.Model, layer_name: str) -> int:
    """Return the place of a layer in the base.

    Raises:
        TrainerError: the base has no such layer.
    """
    names = [layer.name for layer in model.get_layer(BASE).layers]
    if layer_name not in names:
        raise TrainerError(f"the base has no layer {layer_name!r}; it has: {', '.join(names)}")
    return names.index(layer_name)


def unfreeze_from(model: keras.Model, layer_name: str) -> None:
    """Let the base learn from a named layer up; its batch norm stays frozen.

    Raises:
        TrainerError: the base has no such layer.
    """
    first, body = layer_index(model, layer_name), model.get_layer(BASE)
    body.trainable = True
    for index, layer in enumerate(body.layers):
        layer.trainable = index >= first and not isinstance(layer, layers.BatchNormalization)


def bring_weights(
    model: keras.Model,
    weights: str | None,
    read: Callable[[Path], Tensors],
    load: Callable[[keras.Model, Tensors], None],
    *,
    name: str,
    advice: str,
) -> None:
    """Fill a network with what it learned elsewhere, unless its weights are to be RANDOM.

    Args:
        read: returns the tensors of the file at `weights`.
        load: puts them where they belong; raises KeyError or ValueError if they are another network's.
        name: of the network that they are expected to be of.
        advice: how to get the file.

    Raises:
        ModelError: there is no such file, or it holds another network.
    """
    if weights == RANDOM:
        return
    if weights is None:
        raise ModelError(f"its weights are not here: {advice}; or try without: --weights {RANDOM}")
    tensors = read(Path(weights))
    try:
        load(model, tensors)
    except (KeyError, ValueError):
        raise ModelError(f"{weights} is not {name}") from None
