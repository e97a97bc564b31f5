"""A network that looks at a face and at its mirror image, and averages what it thinks of both.

An expression means the same either way round, so the average of two looks errs less than one; the weights are shared,
so the file stays as small, and the second look costs what the first does. In training the network sees one of the two
at random, which is the same thing for it.
"""

from __future__ import annotations

import keras
from keras import layers

from trainer.zoo.plain import face_input


def mirrored(network: keras.Model) -> keras.Model:
    """Return a network with the same weights, input and output that averages the logits of both looks.

    Args:
        network: ends in a softmax layer.
    """
    logits = keras.Model(network.input, network.layers[-1].input, name=f"{network.name}_logits")
    image = face_input()
    both = keras.ops.concatenate([image, keras.ops.flip(image, axis=2)], axis=0)
    pairs = keras.ops.reshape(logits(both), (2, -1, network.output_shape[-1]))
    mean = keras.ops.mean(pairs, axis=0)
    return keras.Model(image, layers.Softmax(dtype="float32")(mean), name=f"{network.name}_mirrored")
