"""Keras → full int8 TFLite by post-training quantization, per channel, int8 in and int8 logits out.

The softmax stays outside: an int8 probability has steps of 1/256, too coarse for a threshold, while logits
keep their resolution and take a temperature.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from converter.errors import ConversionError
from edge_agent.vision.runtime import load_interpreter, native_messages_hidden
from trainer.errors import first_line

MIN_CALIBRATION_FACES = 100


def quantize(model: Any, calibration: npt.NDArray[np.float32], *, outputs: int) -> bytes:
    """Return the int8 TFLite file.

    Args:
        model: a Keras model that ends in a softmax, or in two side by side.
        calibration: float32 (n, height, width, channels), 0..1, at least MIN_CALIBRATION_FACES of them.
        outputs: how many labels the manifest will name, of both answers together.

    Raises:
        ConversionError: the model or the calibration set is not of this form, or float operators remain.
    """
    import tensorflow as tf

    check_calibration(calibration, tuple(model.input_shape[1:]))
    # One black and one white face pin the input range to 0..1, so that a pixel is its int8 step plus 128.
    pinned = np.stack([np.zeros_like(calibration[0]), np.ones_like(calibration[0]), *calibration])

    def representative() -> Iterator[list[npt.NDArray[np.float32]]]:
        for face in pinned:
            yield [face[None]]

    converter = tf.lite.TFLiteConverter.from_keras_model(without_softmax(model, outputs))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = representative
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    try:
        with native_messages_hidden(), contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content: bytes = converter.convert()
    except Exception as error:  # TensorFlow raises many kinds for layers it cannot quantize
        raise ConversionError(f"TensorFlow cannot quantize the model: {first_line(error)}") from None
    _refuse_floats(content)
    return content


def tensorflow_version() -> str:
    """Return the version of the TensorFlow that quantizes."""
    import tensorflow as tf

    return str(tf.__version__)


def check_calibration(calibration: npt.NDArray[np.float32], shape: tuple[int, ...]) -> None:
    """Raise ConversionError unless the calibration set has the model's shape, range 0..1 and enough faces."""
    if len(calibration) < MIN_CALIBRATION_FACES:
        raise ConversionError(f"{len(calibration)} calibration faces are too few; at least {MIN_CALIBRATION_FACES}")
    if calibration.shape[1:] != shape:
        raise ConversionError(f"calibration faces have shape {calibration.shape[1:]}, the model takes {shape}")
    low, high = float(calibration.min()), float(calibration.max())
    # Faces are neither all dark nor all bright: a set that is was divided twice, or not at all. NaN is no range.
    if not (0 <= low <= 0.25 and 0.75 <= high <= 1):
        raise ConversionError(f"calibration faces range from {low:g} to {high:g}; expected 0 to 1")


def without_softmax(model: Any, outputs: int) -> Any:
    """Return the model up to its logits; those of two answers side by side.

    Raises:
        ConversionError: its last layer is not a softmax, or two of them side by side, over that many labels in all.
    """
    import keras

    last = model.layers[-1]
    if model.output_shape[1:] != (outputs,):
        raise ConversionError(f"the model returns {model.output_shape[1:]}, not one score for each of {outputs} labels")
    if isinstance(last, keras.layers.Softmax):
        return keras.Model(model.input, last.input)
    if isinstance(last, keras.layers.Concatenate):
        parts = [part._keras_history.operation for part in last.input]
        if all(isinstance(part, keras.layers.Softmax) for part in parts):
            return keras.Model(model.input, keras.layers.Concatenate(name="all_logits")([part.input for part in parts]))
    if getattr(last, "activation", None) is keras.activations.softmax:
        logits = keras.layers.Dense(last.units)
        stripped = keras.Model(model.input, logits(last.input))
        logits.set_weights(last.get_weights())
        return stripped
    raise ConversionError(f"the model's last layer {last.name!r} is not a softmax")


def _refuse_floats(content: bytes) -> None:
    interpreter = load_interpreter(content)
    floats = [
        str(tensor["name"])
        for tensor in interpreter.get_tensor_details()
        if tensor["name"] and np.issubdtype(tensor["dtype"], np.floating)
    ]
    if floats:
        raise ConversionError(f"float operators are left in the result: {', '.join(floats[:3])}")
