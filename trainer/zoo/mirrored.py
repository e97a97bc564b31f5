"""A network that looks at a face and at its mirror image, and averages what it thinks of both.

An expression means the same either way round, so the average of two looks errs less than one; the weights are shared,
so the file stays as small, and the second look costs what the first does. In training the network sees one of the two
at random, which is the same thing for it.
"""

from __future__ import annotations

import keras

from trainer.zoo.plain import answers, face_input


def mirrored(network: keras.Model) -> keras.Model:
    """Return a network with the same weights, input and output that averages the logits of both looks.

    Args:
        network: ends as `plain.finish` ends it.
    """
    heads = [layer.output for layer in network.layers if layer.name in ("logits", "vote_logits")]
    logits = keras.Model(network.input, heads, name=f"{network.name}_logits")
    image = face_input()
    both = keras.ops.concatenate([image, keras.ops.flip(image, axis=2)], axis=0)
    means = [_mean_of_pairs(logit) for logit in logits(both)]
    return keras.Model(image, answers(*means, *[None] * (2 - len(means))), name=f"{network.name}_mirrored")


def _mean_of_pairs(logits: keras.KerasTensor) -> keras.KerasTensor:
    return keras.ops.mean(keras.ops.reshape(logits, (2, -1, logits.shape[-1])), axis=0)
