"""Random search over the width of a network's dense layer, by KerasTuner, on validation loss."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np

from trainer.data.datasets import to_input
from trainer.data.load import load_data
from trainer.data.split import split
from trainer.data.targets import class_weights, targets_for
from trainer.errors import TrainerError, first_line
from trainer.fit.batches import Augmented, FaceBatches
from trainer.fit.optimizer import compile_to_learn
from trainer.fit.run_folder import claim
from trainer.recipe import Recipe
from trainer.zoo import NETWORKS, build_to_train

UNITS = (16, 512, 16)


def search(
    recipe: Recipe,
    *,
    data_dir: Path,
    out: Path,
    trials: int,
    say: Callable[[str], None] = print,
) -> int:
    """Try `trials` widths for recipe.epochs each and return the one with the lowest validation loss.

    Widths come from UNITS (lowest, highest, step). `out/tuning.json` lists every trial; the same command continues
    an interrupted search.

    Raises:
        DatasetError: the data cannot be read.
        TrainerError: the network has no dense layer to choose.
    """
    able = [name for name, network in NETWORKS.items() if "dense_units" in network.options]
    if recipe.model not in able:
        raise TrainerError(f"{recipe.model} has no dense layer to search; {', '.join(able)} have")
    if recipe.dense_units is not None:
        raise TrainerError("the search chooses dense_units; leave --dense-units out")
    if (out / "run.json").exists():
        raise TrainerError(f"{out} holds a finished run; choose another --out or remove it")
    data = load_data(data_dir, classes=recipe.classes, already_cropped=recipe.already_cropped)
    training, validation, counts = split(data, recipe)
    # The trials that are there already are only this search's.
    claim(out / "search", recipe, training, validation)
    say(f"{counts}\nsearching dense_units in {trials} trials of {recipe.epochs} epochs ...")
    targets = targets_for(training, votes=False, label_smoothing=recipe.label_smoothing)
    source = Augmented(training.faces, targets)
    batches = FaceBatches(source, class_weights(training, recipe.class_balance), recipe)

    def hypermodel(choices: Any) -> keras.Model:
        keras.utils.set_random_seed(recipe.seed)
        low, high, step = UNITS
        model = build_to_train(replace(recipe, dense_units=choices.Int("dense_units", low, high, step=step)))
        compile_to_learn(
            model,
            recipe,
            learning_rate=recipe.learning_rate,
            epochs=recipe.epochs,
            steps_per_epoch=len(batches),
        )
        return model

    class Search(keras_tuner.RandomSearch):
        def on_trial_end(self, trial: Any) -> None:
            super().on_trial_end(trial)
            result = f"validation loss {trial.score:.4f}" if trial.score is not None else _last_line(trial.message)
            say(f"trial {len(self.oracle.trials)} of {trials}: dense_units {_units(trial)}, {result}")

    tuner = Search(
        hypermodel, objective="val_loss", max_trials=trials, seed=recipe.seed, directory=out / "search",
        project_name="tuning",
    )  # fmt: skip
    one_hot = np.eye(len(recipe.classes), dtype=np.float32)[validation.labels]
    try:
        tuner.search(
            batches, epochs=recipe.epochs, validation_data=(to_input(validation.faces), one_hot), verbose=0,
            callbacks=[keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, _logs: batches.start_epoch(epoch))],
        )  # fmt: skip
    except RuntimeError as error:  # KerasTuner gives up after some failed trials in a row
        raise TrainerError(f"the search failed: {first_line(error)}") from None
    ranking = sorted(
        (trial for trial in tuner.oracle.trials.values() if trial.score is not None), key=lambda trial: trial.score
    )
    if not ranking:
        raise TrainerError("every trial failed; what went wrong is printed above")
    table = [{"dense_units": _units(trial), "validation_loss": trial.score} for trial in ranking]
    (out / "tuning.json").write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    for row in table:
        say(f"dense_units {row['dense_units']:4}  validation loss {row['validation_loss']:.4f}")
    return int(table[0]["dense_units"])


def _last_line(traceback: str | None) -> str:
    """Return what went wrong; trials keep a whole traceback."""
    return f"failed: {(traceback or 'no reason').strip().splitlines()[-1]}"


def _units(trial: Any) -> int:
    return int(trial.hyperparameters.get("dense_units"))
