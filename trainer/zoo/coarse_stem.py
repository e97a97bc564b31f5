"""A second teacher: `compact`'s design with one coarse look instead of two fine ones at its start.

It errs on other faces than `teacher` does, which is why both together teach better than either.
"""

from __future__ import annotations

import keras

from trainer.zoo.compact import residual_net


def build(classes: int, *, votes: bool = False) -> keras.Model:
    """Return the network: float32 (n, 48, 48, 1), grey, 0..1 → its answers, see `plain.finish`."""
    return residual_net(
        "coarse_stem", classes, stem=None, stages=[(32, 1), (64, 2), (128, 2), (192, 1)], dropout=0.3, votes=votes
    )
