"""The emotion classifier: a cropped face in, a probability vector out."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_agent.errors import BundleError, ConfigError
from edge_agent.vision.bundle import Bundle, check_tensor, load_golden
from edge_agent.vision.exposure import normalise_exposure
from edge_agent.vision.manifest import ClassifierManifest, FaceTensor, Framing, LogitsTensor
from edge_agent.vision.runtime import Choice, load_interpreter

Probabilities = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Answers:
    """What one network says of some faces to two questions.

    Attributes:
        labels: float32 (n, labels), the probability of each expression that the training set's makers named.
        votes: float32 (n, vote labels), that of each expression that a voter would name (Barsoum et al., 2016); None
            where the model was not taught votes.
    """

    labels: Probabilities
    votes: Probabilities | None


class EmotionClassifier:
    """A full int8 TFLite model with logits out; softmax, temperatures and combining its answers are done here.

    Several threads may share it.

    Attributes:
        labels: what the columns of `classify` mean.
        vote_labels: what a second answer's columns mean; empty where there is none.

    Args:
        verify: replay the bundle's golden vectors and refuse the model when they differ.

    Raises:
        BundleError: tensors, quantization or golden vectors are not what the manifest states.
    """

    def __init__(
        self, bundle: Bundle[ClassifierManifest], *, threads: int = 1, runtime: Choice = "auto", verify: bool = True
    ) -> None:
        self.bundle = bundle
        self._lock = threading.Lock()
        manifest = bundle.manifest
        self.labels = manifest.labels
        self.vote_labels: tuple[str, ...] = manifest.votes.labels if manifest.votes is not None else ()
        self.side_px = manifest.input.shape[1]
        self._interpreter: Any = load_interpreter(bundle.model, threads=threads, choice=runtime)
        [self._input] = self._interpreter.get_input_details()
        [self._output] = self._interpreter.get_output_details()
        check_tensor(bundle, self._input, manifest.input, "input")
        check_tensor(bundle, self._output, manifest.output, "output")
        outputs = len(self.labels) + len(self.vote_labels)
        if list(self._output["shape"]) != [1, outputs]:
            raise BundleError(f"{bundle.folder}: the model has not one output for each of the {outputs} labels")
        self._input_scale, self._input_zero = _quantization(bundle, self._input, manifest.input, "input")
        self._output_scale, self._output_zero = _quantization(bundle, self._output, manifest.output, "output")
        self._temperature = manifest.temperature
        if manifest.votes is not None:
            self._vote_columns = [self.vote_labels.index(label) for label in self.labels]
            self._vote_temperature, self._vote_weight = manifest.votes.temperature, manifest.votes.weight
        if verify:
            self.verify()

    def framing(self, detector: str) -> Framing:
        """Return how faces found by this detector have to be cropped.

        Raises:
            BundleError: the manifest has no framing for it.
        """
        framing = self.bundle.manifest.crop.framing.get(detector)
        if framing is None:
            raise BundleError(f"{self.bundle.folder} does not state how faces found by {detector} are cropped")
        return framing

    def classify(self, faces: Sequence[npt.NDArray[np.uint8]]) -> Probabilities:
        """Score cropped faces as rules see them: both answers' weighted geometric mean.

        Where the answers contradict each other all labels score low, so that rows sum to 1 at most.

        Args:
            faces: uint8 (side_px, side_px) each, grey, 0..255.

        Returns:
            float32 (n, labels), 0..1.
        """
        answers = self.answers(faces)
        if answers.votes is None:
            return answers.labels
        return combine(answers.labels, answers.votes[:, self._vote_columns], vote_weight=self._vote_weight)

    def answers(self, faces: Sequence[npt.NDArray[np.uint8]]) -> Answers:
        """Return both answers by themselves; see `classify`."""
        outputs = [self._run(self.quantize(normalise_exposure(face))) for face in faces]
        steps = np.array(outputs, dtype=np.float32).reshape(-1, len(self.labels) + len(self.vote_labels))
        logits = np.float32(self._output_scale) * (steps - self._output_zero)
        first = len(self.labels)
        return Answers(
            softmax(logits[:, :first] / self._temperature),
            softmax(logits[:, first:] / self._vote_temperature) if self.vote_labels else None,
        )

    def quantize(self, face: npt.NDArray[np.uint8]) -> npt.NDArray[np.int8]:
        """Turn a grey face, uint8 (side, side), into the input tensor, int8 (1, side, side, 1)."""
        steps = np.rint(face.astype(np.float32) / (255 * self._input_scale)) + self._input_zero
        tensor: npt.NDArray[np.int8] = np.clip(steps, -128, 127).astype(np.int8)
        return tensor[None, :, :, None]

    def _run(self, tensor: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
        with self._lock:
            self._interpreter.set_tensor(self._input["index"], tensor)
            self._interpreter.invoke()
            output: npt.NDArray[np.int8] = self._interpreter.get_tensor(self._output["index"])[0]
        return output

    def verify(self) -> None:
        """Replay the golden vectors.

        Raises:
            BundleError: what this computer makes of them differs from what was tested.
        """
        inputs, expected, tolerance = load_golden(self.bundle)
        for number, (tensor, outputs) in enumerate(zip(inputs, expected, strict=True)):
            drift = int(np.abs(self._run(tensor[None]).astype(int) - outputs.astype(int)).max())
            if drift > tolerance:
                raise BundleError(
                    f"{self.bundle.folder}: golden vector {number} is off by {drift} steps (tolerance {tolerance}); "
                    "this computer does not run the model as it was tested"
                )


def combine(labels: Probabilities, votes: Probabilities, *, vote_weight: float) -> Probabilities:
    """Return the weighted geometric mean of two answers, float32 (n, labels), rows sum to 1 at most.

    A logarithmic opinion pool (Genest and Zidek, "Combining Probability Distributions", 1986) that is not scaled up
    again: of what the answers do not agree on, nothing is claimed.

    Args:
        labels, votes: float32 (n, labels), of the same labels.
        vote_weight: 0 the first alone, 1 the second alone.
    """
    return np.asarray(labels ** (1 - vote_weight) * votes**vote_weight, dtype=np.float32)


def softmax(logits: Probabilities) -> Probabilities:
    """Return row-wise softmax of float32 (n, classes)."""
    if not len(logits):
        return logits
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: Probabilities = powers / powers.sum(axis=1, keepdims=True)
    return result


def _quantization(
    bundle: Bundle[ClassifierManifest], tensor: dict[str, Any], stated: FaceTensor | LogitsTensor, name: str
) -> tuple[float, int]:
    scale, zero_point = tensor["quantization"]
    if abs(scale - stated.scale) > 1e-6 * max(scale, 1e-9) or zero_point != stated.zero_point:
        raise BundleError(f"{bundle.folder}: the {name} quantization of model and manifest differ")
    return float(scale), int(zero_point)


@dataclass(frozen=True, slots=True)
class EmotionSums:
    """Sums the model's labels into the emotions that rules and people talk about.

    Attributes:
        names: group names, in the configuration's order.
        matrix: float32 (labels, emotions) of zeros and ones.
    """

    names: tuple[str, ...]
    matrix: Probabilities

    @classmethod
    def of(cls, emotions: dict[str, tuple[str, ...]], labels: tuple[str, ...]) -> EmotionSums:
        """Build from configuration.

        Raises:
            ConfigError: a group names a label the model does not have.
        """
        matrix = np.zeros((len(labels), len(emotions)), dtype=np.float32)
        for column, (name, members) in enumerate(emotions.items()):
            for label in members:
                if label not in labels:
                    raise ConfigError(
                        f"emotion.emotions.{name}: the model has no label {label!r}; it has {', '.join(labels)}"
                    )
                matrix[labels.index(label), column] = 1
        return cls(tuple(emotions), matrix)

    def apply(self, probabilities: Probabilities) -> Probabilities:
        """Return float32 (n, emotions) from float32 (n, labels); labels in no emotion are left out."""
        return probabilities @ self.matrix
