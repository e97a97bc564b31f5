"""Chooses a bundle's operating point on validation faces and writes it into the manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edge_agent.errors import AgentError
from edge_agent.vision.bundle import find_bundle, load_bundle
from trainer.datasets import FOUR, load_data
from trainer.errors import ModelError, TrainerError
from trainer.judges import load_judge
from trainer.metrics import operating_point
from trainer.runs import recipe_of, require_same_split, split, write_json


def choose_threshold(
    bundle_path: Path, *, data_dir: Path, max_false_alarms: float, unseen: bool = False, already_cropped: bool = False
) -> dict[str, Any]:
    """Return the operating point for angry faces, now also in the bundle's manifest.

    It is chosen among angry, happy, neutral and sad faces of the validation split that the model's training left
    aside; the score is the model's probability for angry among all its labels.

    Args:
        max_false_alarms: largest share of the faces that are not angry that may raise an alarm, 0..1.
        unseen: the model was not trained on this data, so all of it can be used.

    Raises:
        ModelError: the bundle is not usable.
        BundleError: it does not say how it was trained.
        TrainerError: it was trained on other data.
        DatasetError: the data cannot be read.
    """
    judge = load_judge(bundle_path)
    if not set(FOUR) <= set(judge.classes):
        raise ModelError(f"{bundle_path} does not tell {', '.join(FOUR)} apart")
    try:
        bundle = load_bundle(find_bundle(str(bundle_path)), kind="emotion-classifier")
    except AgentError as error:
        raise ModelError(str(error)) from None
    if unseen:
        validation = load_data(data_dir, already_cropped=already_cropped).for_model(judge.classes)
    else:
        training = bundle.get("training")
        recipe = recipe_of(training)
        data = load_data(data_dir, classes=judge.classes, already_cropped=recipe.already_cropped or already_cropped)
        _, validation, _ = split(data, recipe)
        try:
            require_same_split(training, validation, whose=str(bundle_path))
        except TrainerError as error:
            raise TrainerError(f"{error}; if it never saw any of this data, add --unseen") from None
    validation = validation.take(np.isin(validation.labels, [judge.classes.index(name) for name in FOUR]))
    angry = judge.classes.index("angry")
    if not 0 < int((validation.labels == angry).sum()) < len(validation):
        raise ModelError(f"{data_dir} has no angry faces among others to choose on")
    point = operating_point(
        judge(validation.faces)[:, angry], validation.labels == angry, max_false_alarms=max_false_alarms
    )
    stated_point = {
        "emotions": ["angry"],
        **{key: round(value, 4) for key, value in point.items()},
        "max_false_alarms": max_false_alarms,
        "chosen_on": f"{len(validation)} {'unseen' if unseen else 'validation'} faces: {', '.join(FOUR)}",
    }
    write_json(bundle.folder / "manifest.json", {**bundle.manifest, "operating_point": stated_point})
    return stated_point
