"""Loads anything that can judge faces: a `.keras` file or an int8 bundle, through the agent's own code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_agent.errors import AgentError
from edge_agent.vision.bundle import find_bundle, load_bundle
from edge_agent.vision.emotion import EmotionClassifier
from edge_agent.vision.runtime import native_messages_hidden
from trainer.datasets import LABELS, SIDE_PX
from trainer.errors import ModelError

#: Takes uint8 (n, 48, 48), grey; returns float32 (n, 7), probabilities in LABELS order.
Judge = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]


def load_judge(path: Path) -> Judge:
    """Return a function that scores faces with the model at `path`.

    Raises:
        ModelError: there is no model, it is refused, or it has other labels or another input than FER2013.
    """
    if path.suffix == ".keras":
        return _keras_judge(path)
    try:
        bundle = load_bundle(find_bundle(str(path)), kind="emotion-classifier")
        classifier = EmotionClassifier(bundle)
    except AgentError as error:
        raise ModelError(str(error)) from None
    if sorted(classifier.labels) != sorted(LABELS) or classifier.side_px != SIDE_PX:
        raise ModelError(f"{path} does not judge FER2013's seven labels on {SIDE_PX}x{SIDE_PX} faces")
    columns = [classifier.labels.index(label) for label in LABELS]
    return lambda faces: classifier.classify(list(faces))[:, columns]


def _keras_judge(path: Path) -> Judge:
    if not path.is_file():
        raise ModelError(f"no model at {path}")
    with native_messages_hidden():
        import keras

    try:
        model = keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras raises many kinds for files that are not its own
        raise ModelError(f"{path} is not a Keras model: {str(error).splitlines()[0]}") from None
    if model.input_shape[1:] != (SIDE_PX, SIDE_PX, 1) or model.output_shape[1:] != (len(LABELS),):
        raise ModelError(
            f"{path} maps {model.input_shape[1:]} to {model.output_shape[1:]}; "
            f"expected {(SIDE_PX, SIDE_PX, 1)} to {(len(LABELS),)}"
        )

    def judge(faces: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        inputs = faces[..., None].astype(np.float32) / 255
        return np.asarray(model.predict(inputs, batch_size=256, verbose=0), dtype=np.float32)

    return judge
