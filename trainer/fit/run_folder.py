"""What every training does with its run folder: claim it beforehand, describe in it what came out."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.data.cleaning import CleaningCounts
from trainer.data.datasets import FaceDataset
from trainer.data.split import fingerprint
from trainer.data.targets import ferplus_majority
from trainer.errors import TrainerError
from trainer.evaluation.metrics import answers_of, calibrated, figures_of, fit_temperature, rated
from trainer.labels import VOTE_LABELS
from trainer.recipe import Recipe
from trainer.runs import read_json, recipe_of, write_json

#: Of the second answer in what rules see: half, their plain geometric mean.
VOTE_WEIGHT = 0.5


def claim(out: Path, recipe: Recipe, training: FaceDataset, validation: FaceDataset) -> None:
    """Make the folder this recipe's and these faces', or find that it is already.

    Raises:
        TrainerError: it holds a finished run, or was begun with another recipe or other faces.
    """
    out.mkdir(parents=True, exist_ok=True)
    if (out / "run.json").exists():
        raise TrainerError(f"{out} holds a finished run; choose another --out or remove it")
    mark = out / "begun.json"
    mine = {"recipe": asdict(recipe), "faces_sha256": [fingerprint(training), fingerprint(validation)]}
    if not mark.exists():
        write_json(mark, mine)
        return
    begun = read_json(mark, problem=f"{mark} cannot be resumed from")
    if recipe_of(begun) != recipe:
        raise TrainerError(f"{out} was begun with another recipe ({mark}); use the same options to resume it")
    if begun.get("faces_sha256") != mine["faces_sha256"]:
        raise TrainerError(f"{out} was begun with other faces; give it the same --data to resume it, or another --out")


def describe(
    recipe: Recipe,
    counts: CleaningCounts,
    training: FaceDataset,
    validation: FaceDataset,
    probabilities: npt.NDArray[np.float32],
) -> dict[str, Any]:
    """Return what run.json says about any kind of model.

    The temperature makes the labels likeliest, among the classes of `metrics.rated`; a second answer has its own, which
    makes the voters' majorities likeliest.

    Args:
        probabilities: float32 (n, classes) or, with a second answer, (n, classes + 8), of the validation faces, at
            temperature 1.
    """
    labels, votes = answers_of(probabilities, len(validation.classes))
    temperature, vote_temperature = fit_temperature(*rated(labels, validation)), 1.0
    second: dict[str, Any] = {}
    if votes is not None:
        assert validation.votes is not None
        majority = ferplus_majority(validation.votes)
        vote_temperature = fit_temperature(votes[majority >= 0], majority[majority >= 0])
        second = {"votes": {"labels": list(VOTE_LABELS), "temperature": vote_temperature, "weight": VOTE_WEIGHT}}
    return {
        "recipe": asdict(recipe),
        "labels": list(validation.classes),
        "cleaning": asdict(counts),
        "training_faces": len(training),
        "validation_faces": len(validation),
        "validation_sha256": fingerprint(validation),
        "temperature": temperature,
        **second,
        "validation": figures_of(
            calibrated(probabilities, len(validation.classes), (temperature, vote_temperature)),
            validation,
            vote_weight=VOTE_WEIGHT,
        ),
    }


def versions() -> dict[str, str]:
    """Return the versions of what every run uses."""
    return {"python": sys.version.split()[0], "numpy": np.__version__}
