"""Loads whatever can score faces: a `.keras` file or an int8 bundle, through the agent's own code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_agent.errors import AgentError
from edge_agent.vision.bundle import find_bundle, load_bundle
from edge_agent.vision.emotion import EmotionClassifier
from edge_agent.vision.runtime import native_messages_hidden
from trainer.data.datasets import SIDE_PX, to_input
from trainer.errors import ModelError, TrainerError, first_line
from trainer.evaluation.metrics import Probabilities, calibrated
from trainer.labels import LABELS, VOTE_LABELS
from trainer.runs import read_run

Score = Callable[[npt.NDArray[np.uint8]], Probabilities]


@dataclass(frozen=True, slots=True)
class Predictor:
    """Scores faces when called: uint8 (n, 48, 48), grey → float32 (n, classes), calibrated probabilities.

    A model with a second answer, to what voters saw, has 8 more columns, VOTE_LABELS.

    Attributes:
        classes: what the first columns mean.
        vote_weight: the second answer's weight in what rules see, 0..1; None where there is no second answer.
        angry_threshold: operating point of a bundle, 0..1; None if it states none.
        training: what run.json, or `training` of a bundle's manifest, says of how it learned; empty if nothing.
    """

    score: Score
    classes: tuple[str, ...]
    vote_weight: float | None = None
    angry_threshold: float | None = None
    training: Mapping[str, Any] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, ...]:
        """What all columns mean."""
        return self.classes + (VOTE_LABELS if self.vote_weight is not None else ())

    def __call__(self, faces: npt.NDArray[np.uint8]) -> Probabilities:
        """Return float32 (n, classes), or (n, classes + 8)."""
        return self.score(faces)


def load_predictor(path: Path) -> Predictor:
    """Return the model at `path` as a predictor.

    Args:
        path: a `.keras` file, a run folder that holds one, a bundle folder, or the id of a shipped bundle.

    Raises:
        ModelError: there is no model, it is refused, or it takes other faces than 48x48 grey ones.
    """
    if (path / "model.keras").is_file():
        path = path / "model.keras"
    if path.suffix == ".keras":
        return _keras_predictor(path)
    try:
        bundle = load_bundle(find_bundle(str(path)), kind="emotion-classifier")
        classifier = EmotionClassifier(bundle)
    except AgentError as error:
        raise ModelError(str(error)) from None
    if classifier.side_px != SIDE_PX:
        raise ModelError(f"{path} does not judge {SIDE_PX}x{SIDE_PX} faces")
    labels = LABELS if sorted(classifier.labels) == sorted(LABELS) else classifier.labels
    columns = [classifier.labels.index(label) for label in labels]
    vote_columns = [classifier.vote_labels.index(label) for label in VOTE_LABELS] if classifier.vote_labels else []

    def score(faces: npt.NDArray[np.uint8]) -> Probabilities:
        answers = classifier.answers(list(faces))
        first = answers.labels[:, columns]
        return first if answers.votes is None else np.concatenate([first, answers.votes[:, vote_columns]], axis=1)

    stated = bundle.manifest
    return Predictor(
        score,
        labels,
        stated.votes.weight if stated.votes else None,
        stated.operating_point.threshold if stated.operating_point else None,
        stated.training or {},
    )


def score_with(model: Any) -> Score:
    """Return a function that scores faces with a Keras model of the zoo."""

    def score(faces: npt.NDArray[np.uint8]) -> Probabilities:
        return np.asarray(model.predict(to_input(faces), batch_size=256, verbose=0), dtype=np.float32)

    return score


def load_keras(path: Path) -> Any:
    """Return the Keras model in a file, uncompiled.

    Raises:
        ModelError: there is none.
    """
    if not path.is_file():
        raise ModelError(f"no model at {path}")
    with native_messages_hidden():
        import keras

    try:
        return keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras raises many kinds for files that are not its own
        raise ModelError(f"{path} is not a Keras model: {first_line(error)}") from None


def _keras_predictor(path: Path) -> Predictor:
    model = load_keras(path)
    run: dict[str, Any] = {}
    if (path.parent / "run.json").exists():
        try:
            run = read_run(path.parent)
        except TrainerError as error:
            raise ModelError(str(error)) from None
    labels, votes = tuple(run.get("labels", LABELS)), run.get("votes")
    wide = len(labels) + (len(VOTE_LABELS) if votes else 0)
    if model.input_shape[1:] != (SIDE_PX, SIDE_PX, 1) or model.output_shape[1:] != (wide,):
        raise ModelError(
            f"{path} maps {model.input_shape[1:]} to {model.output_shape[1:]}; "
            f"expected {(SIDE_PX, SIDE_PX, 1)} to {(wide,)}; is its run.json beside it?"
        )
    score = score_with(model)
    temperatures = (float(run.get("temperature", 1.0)), float(votes["temperature"]) if votes else 1.0)
    classes = LABELS if sorted(labels) == sorted(LABELS) else labels
    columns = [*(labels.index(name) for name in classes), *range(len(labels), wide)]
    return Predictor(
        lambda faces: calibrated(score(faces)[:, columns], len(labels), temperatures),
        classes,
        float(votes["weight"]) if votes else None,
        training=run,
    )
