"""The network that teaches: `compact`'s design, wider, too large for a kiosk and never shipped."""

from __future__ import annotations

import keras

from trainer.zoo.compact import residual_net


def build(classes: int, *, votes: bool = False) -> keras.Model:
    """Return the network: float32 (n, 48, 48, 1), grey, 0..1 → its answers, see `plain.finish`."""
    return residual_net(
        "teacher", classes, stem=24, stages=[(64, 1), (128, 2), (256, 2), (384, 1)], dropout=0.4, votes=votes
    )
