"""What a network does with one face: the activations of its layers, and where it looks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.data.datasets import to_input
from trainer.evaluation.predictors import Score

MAX_LAYERS = 64


def activations(model: Any, face: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.float32]]:
    """Return what each convolution, pooling and dense layer makes of a face, of a pre-trained base its layers too.

    Args:
        model: a Keras model of the zoo.
        face: uint8 (48, 48), grey.

    Returns:
        Layer name → float32 (height, width, channels), of a dense layer (units,); of more than MAX_LAYERS
        layers, evenly chosen ones.
    """
    import keras

    kinds = keras.layers
    shown = (kinds.Conv2D, kinds.DepthwiseConv2D, kinds.MaxPooling2D, kinds.AveragePooling2D, kinds.Dense)
    found: dict[str, npt.NDArray[np.float32]] = {}
    for part, inputs in _parts(model, to_input(face[None])):
        layers = [layer for layer in part.layers if isinstance(layer, shown)]
        if layers:
            outputs = keras.Model(part.inputs[0], [layer.output for layer in layers])(inputs, training=False)
            # Keras returns a single output bare.
            for layer, output in zip(layers, outputs if len(layers) > 1 else [outputs], strict=True):
                found[layer.name] = np.asarray(keras.ops.convert_to_numpy(output), dtype=np.float32)[0]
    names = list(found)
    chosen = np.unique(np.linspace(0, len(names) - 1, min(MAX_LAYERS, len(names))).astype(int))
    return {names[index]: found[names[index]] for index in chosen}


def _parts(model: Any, inputs: npt.NDArray[np.float32]) -> Iterator[tuple[Any, Any]]:
    """Yield the model, and its base if it has one, each with what goes in."""
    import keras

    yield model, inputs
    for index, layer in enumerate(model.layers):
        if isinstance(layer, keras.Model):
            before = keras.Model(model.inputs[0], model.layers[index - 1].output)
            yield layer, before(inputs, training=False)


def occlusion(
    score: Score, face: npt.NDArray[np.uint8], label: int, *, patch_px: int = 10, step_px: int = 3
) -> npt.NDArray[np.float32]:
    """Return how much the probability of a label falls when a grey patch covers each part of a face.

    After Zeiler & Fergus, "Visualizing and Understanding Convolutional Networks" (2013).

    Args:
        score: takes uint8 (n, 48, 48), returns float32 (n, classes).
        face: uint8 (48, 48), grey.
        label: code of the class that is watched.

    Returns:
        float32 (48, 48), mean fall over the patches that cover a pixel, -1..1; positive where the network looks.
    """
    side = face.shape[0]
    starts = sorted({*range(0, side - patch_px, step_px), side - patch_px})
    places = [(top, left) for top in starts for left in starts]
    covered = np.repeat(face[None], len(places) + 1, axis=0)
    for number, (top, left) in enumerate(places, start=1):
        covered[number, top : top + patch_px, left : left + patch_px] = int(face.mean())
    scores = score(covered)[:, label]
    total, times = np.zeros((side, side), np.float32), np.zeros((side, side), np.float32)
    for fall, (top, left) in zip(scores[0] - scores[1:], places, strict=True):
        total[top : top + patch_px, left : left + patch_px] += fall
        times[top : top + patch_px, left : left + patch_px] += 1
    fallen: npt.NDArray[np.float32] = total / times
    return fallen
