"""Run folders: who owns one, how its data was split, and what run.json says about it."""

from __future__ import annotations

import csv
import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.data.cleaning import CleaningCounts, clean_training, split_validation
from trainer.data.datasets import VOTE_LABELS, FaceDataset
from trainer.data.targets import ferplus_majority
from trainer.errors import TrainerError
from trainer.evaluation.metrics import answers_of, calibrated, fit_temperature, judge, rated
from trainer.recipe import Recipe

#: Of the second answer in what rules see: half, their plain geometric mean.
VOTE_WEIGHT = 0.5
HISTORY = "history.csv"


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
    begun = _read_json(mark, problem=f"{mark} cannot be resumed from")
    if recipe_of(begun) != recipe:
        raise TrainerError(f"{out} was begun with another recipe ({mark}); use the same options to resume it")
    if begun.get("faces_sha256") != mine["faces_sha256"]:
        raise TrainerError(f"{out} was begun with other faces; give it the same --data to resume it, or another --out")


def split(data: FaceDataset, recipe: Recipe) -> tuple[FaceDataset, FaceDataset, CleaningCounts]:
    """Return the run's training and validation faces, the same for the same data and recipe.

    Raises:
        TrainerError: there are too few of either.
    """
    cleaned, counts = clean_training(data)
    if not len(cleaned):
        raise TrainerError(f"cleaning leaves no face: {counts}")
    training, validation = split_validation(cleaned, fraction=recipe.validation_fraction, seed=recipe.split_seed)
    if recipe.max_faces is not None:
        chosen = np.random.default_rng(recipe.seed).permutation(len(training))[: recipe.max_faces]
        training = training.take(np.sort(chosen))
    if not len(validation) and data.scene_bits:
        raise TrainerError(
            "all photographs look like one scene, so none can be kept apart to judge on: add some of other people, "
            "places and days"
        )
    if len(training) < recipe.batch_size or not len(validation):
        raise TrainerError(
            f"{len(training)} training and {len(validation)} validation faces are too few "
            f"for batches of {recipe.batch_size}"
        )
    return training, validation, counts


def fingerprint(data: FaceDataset) -> str:
    """Return what tells one split from another: the SHA-256 of its faces."""
    return hashlib.sha256(data.faces.tobytes()).hexdigest()


def require_same_split(stated: Mapping[str, Any], validation: FaceDataset, *, whose: str) -> None:
    """Refuse a model that left other faces aside: it may have learned those that it is about to be judged on.

    Args:
        stated: run.json, or `training` of a bundle's manifest.
        whose: names the model in the error.

    Raises:
        TrainerError: it left other faces aside, or does not say which.
    """
    if "validation_sha256" not in stated:
        raise TrainerError(f"{whose} does not say which faces it left aside: it was made by an older version")
    if stated["validation_sha256"] != fingerprint(validation):
        raise TrainerError(
            f"{whose} was trained on other data, or with another split of it: it may have learned the "
            f"{len(validation)} faces that are left aside here"
        )


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
        "validation": judge(
            calibrated(probabilities, len(validation.classes), (temperature, vote_temperature)),
            validation,
            vote_weight=VOTE_WEIGHT,
        ),
    }


def versions() -> dict[str, str]:
    """Return the versions of what every run uses."""
    return {"python": sys.version.split()[0], "numpy": np.__version__}


def write_run(out: Path, result: dict[str, Any]) -> None:
    """Write run.json, which marks the run as finished."""
    write_json(out / "run.json", result)


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)


def read_run(folder: Path) -> dict[str, Any]:
    """Return a finished run's run.json.

    Raises:
        TrainerError: there is none.
    """
    return _read_json(folder / "run.json", problem=f"{folder} is not a finished run of `python -m trainer fit`")


def _read_json(path: Path, *, problem: str) -> dict[str, Any]:
    try:
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrainerError(f"{problem}: {error}") from None
    return result


def recipe_of(run: dict[str, Any]) -> Recipe:
    """Return the recipe that run.json or a bundle's manifest states.

    Raises:
        TrainerError: it states none, or one of another version.
    """
    try:
        stated: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in run["recipe"].items()
        }
        stated.setdefault("split_seed", stated["seed"])  # runs of old drew both from one seed
        return Recipe(**stated)
    except (AttributeError, KeyError, TypeError) as error:
        raise TrainerError(f"the run's recipe cannot be read: {error}") from None


def read_history(out: Path) -> list[dict[str, str]]:
    """Return the rows of history.csv, one an epoch, the last where one was run twice; none if there is no such file."""
    path = out / HISTORY
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list({row["epoch"]: row for row in csv.DictReader(file)}.values())
