"""The networks, one a file; each has `build(...)` that returns an uncompiled Keras model.

Every network takes float32 (n, 48, 48, 1), grey, 0..1 and returns float32 (n, classes) softmax
probabilities, so that any of them can be trained, judged and converted by the same commands.
"""

from __future__ import annotations

from collections.abc import Callable

import keras

from trainer.zoo import compact

#: Name on the command line → builder taking the number of classes.
BUILDERS: dict[str, Callable[[int], keras.Model]] = {"compact": compact.build}
