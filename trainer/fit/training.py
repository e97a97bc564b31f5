"""Train one network of the zoo and leave a run folder that explains itself.

A run folder holds `model.keras` (float32, best epoch on validation), `run.json` (recipe, versions, counts,
figures), `history.csv`, `report/` to look at, and `checkpoints/` from which the same command resumes.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from trainer.data.datasets import FaceDataset, to_input
from trainer.data.load import load_data, origin
from trainer.data.portraits import CROP_PX, FACE_PX, load_portraits
from trainer.data.split import require_same_split, split
from trainer.data.targets import class_weights, targets_for
from trainer.errors import ModelError, TrainerError, first_line
from trainer.evaluation.metrics import answers_of, with_temperature
from trainer.evaluation.predictors import load_keras
from trainer.evaluation.report import write_report
from trainer.fit.batches import Augmented, FaceBatches, Together, TrainingSource
from trainer.fit.callbacks import KeepBest, KeepLast, StopAfterBatch, StopEarly, Stopwatch, save_weights, weights_after
from trainer.fit.distillation import Taught, load_teachers
from trainer.fit.optimizer import compile_to_learn
from trainer.fit.run_folder import claim, describe, versions
from trainer.recipe import Recipe
from trainer.runs import HISTORY, read_history, read_run, write_run
from trainer.zoo import build, build_to_train, prepare
from trainer.zoo.mirrored import mirrored
from trainer.zoo.pretrained import layer_index, unfreeze_from

_BEST = "best.weights.h5"


def fit(
    recipe: Recipe,
    *,
    data_dir: Path,
    out: Path,
    teachers: Sequence[Path] = (),
    start_from: Path | None = None,
    portraits: Path | None = None,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Train, write the run folder with its report, and return what run.json holds.

    Run again with the same arguments after an interruption, it resumes at the last whole epoch.

    Args:
        teachers: run folders, in the order of recipe.teachers.
        start_from: the run folder that recipe.start_from names.
        portraits: folder of everyday faces, for a recipe with portraits; its training part is learned.

    Raises:
        DatasetError: the data cannot be read.
        ModelError: pre-trained weights or teachers cannot be loaded.
        TrainerError: there is no such network, a teacher or start_from was trained on another split, or `out` belongs
            to a run with another recipe or a finished one.
    """
    predictors = load_teachers(teachers, recipe.classes, votes=recipe.votes)
    phases = _phases(recipe)
    keras.utils.set_random_seed(recipe.seed)
    model = build_to_train(recipe)
    for phase in phases:
        if phase.unfreeze is not None:
            layer_index(model, phase.unfreeze)
    earlier = [*teachers] if start_from is None else [*teachers, start_from]
    if start_from is not None:
        _begin_with(model, start_from, recipe.classes)
    if recipe.freeze_up_to is not None:
        _freeze_up_to(model, recipe.freeze_up_to)
    say(f"reading {data_dir} ...")
    data = load_data(data_dir, classes=recipe.classes, already_cropped=recipe.already_cropped)
    if recipe.votes and data.votes is None:
        raise TrainerError(f"{data_dir} has no FER+ votes for a second answer")
    everyday = None if portraits is None else load_portraits(portraits).part("training")
    training, validation, counts = split(data, recipe)
    for run in earlier:
        require_same_split(read_run(run), validation, whose=str(run))
    # Only now: a command that was mistaken must not keep the folder from the one that is right.
    claim(out, recipe, training, validation)
    say(str(counts))
    if everyday is not None:
        say(f"and {len(everyday)} portraits of {len(set(everyday.people))} people")
    say(
        f"training {recipe.model}, {model.count_params():,} parameters, on {len(training)} faces, choosing on "
        f"{len(validation)}; Keras on {keras.backend.backend()}"
    )
    if start_from is None:
        prepare(recipe, model, training.faces)
    targets = targets_for(training, votes=recipe.votes, label_smoothing=recipe.label_smoothing)
    source: TrainingSource = Augmented(training.faces, targets)
    if predictors:
        source = Taught(
            training.faces, targets, predictors, folder=out / "checkpoints", count=recipe.views,
            weight=recipe.teacher_weight, seed=recipe.seed, say=say,
        )  # fmt: skip
    weights = class_weights(training, recipe.class_balance)
    if everyday is not None:
        source = Together(source, Augmented(everyday.crops, everyday.targets(), margin_px=(CROP_PX - FACE_PX) // 2))
        weights = np.concatenate([weights, np.full(len(everyday), recipe.portraits_weight, dtype=np.float32)])
    batches = FaceBatches(source, weights, recipe)
    for phase in phases:
        _train(model, recipe, phase, batches, validation, out=out)

    network = build(recipe)
    network.load_weights(out / "checkpoints" / _BEST)
    finished = mirrored(network) if recipe.mirrored else network
    probabilities = finished.predict(to_input(validation.faces), batch_size=256, verbose=0)
    finished.save(out / "model.keras")
    result = {
        **describe(recipe, counts, training, validation, probabilities),
        "data": origin(data_dir, with_votes=recipe.votes, with_portraits=everyday is not None),
        "parameters": finished.count_params(),
        "versions": {**versions(), "keras": keras.__version__, **_backend()},
    }
    say(f"drawing {out / 'report'} ...")
    labels, _ = answers_of(probabilities, len(recipe.classes))
    write_report(out, validation, with_temperature(labels, result["temperature"]), network)
    write_run(out, result)
    return result


def _backend() -> dict[str, str]:
    name = keras.backend.backend()
    return {"backend": name, name: importlib.import_module(name).__version__}


def _begin_with(model: keras.Model, run: Path, classes: tuple[str, ...]) -> None:
    path = run / "model.keras"
    if not path.is_file():
        raise TrainerError(f"{run} is not a finished run to start from")
    known = read_run(run)["labels"]
    if known != list(classes):
        raise TrainerError(f"{run} tells {', '.join(known)} apart, not {', '.join(classes)}")
    try:
        # A mirrored network has the weights of the one that it looks twice with, in the same order; a second answer's,
        # which only one of the two may have, come last.
        learned, random = load_keras(path).get_weights(), model.get_weights()
        model.set_weights(learned[: len(random)] + random[len(learned) :])
    except ValueError as error:
        raise ModelError(f"{path} cannot be started from: {first_line(error)}") from None


def _freeze_up_to(model: keras.Model, name: str) -> None:
    names = [layer.name for layer in model.layers]
    if name not in names:
        raise TrainerError(f"the network has no layer {name!r}; it has: {', '.join(names)}")
    for layer in model.layers[: names.index(name) + 1]:
        layer.trainable = False


@dataclass(frozen=True, slots=True)
class _Phase:
    """Epochs first..last-1; `unfreeze` names the layer of the base from which up it learns."""

    first: int
    last: int
    learning_rate: float
    unfreeze: str | None = None


def _phases(recipe: Recipe) -> list[_Phase]:
    if recipe.frozen_epochs is None:
        return [_Phase(0, recipe.epochs, recipe.learning_rate)]
    if recipe.frozen_epochs >= recipe.epochs:
        raise TrainerError(
            f"frozen_epochs {recipe.frozen_epochs} leaves none of {recipe.epochs} epochs for fine-tuning"
        )
    layer = recipe.fine_tune_from or importlib.import_module(f"trainer.zoo.{recipe.model}").FINE_TUNE_FROM
    return [
        _Phase(0, recipe.frozen_epochs, recipe.learning_rate),
        _Phase(recipe.frozen_epochs, recipe.epochs, recipe.learning_rate / 10, layer),
    ]


def _train(
    model: keras.Model, recipe: Recipe, phase: _Phase, batches: FaceBatches, validation: FaceDataset, *, out: Path
) -> None:
    checkpoints = out / "checkpoints"
    checkpoints.mkdir(exist_ok=True)
    kept = [epoch for epoch in range(phase.first + 1, phase.last + 1) if weights_after(checkpoints, epoch).exists()]
    if phase.last in kept:
        _load_weights(model, weights_after(checkpoints, phase.last))
        return
    if phase.unfreeze is not None:
        unfreeze_from(model, phase.unfreeze)
    epochs = phase.last - phase.first
    compile_to_learn(model, recipe, learning_rate=phase.learning_rate, epochs=epochs, steps_per_epoch=len(batches))
    if kept:
        model.optimizer.build(model.trainable_variables)
        _load_weights(model, weights_after(checkpoints, kept[-1]))
    begin, accuracies = kept[-1] if kept else phase.first, _accuracies(out)
    earlier = [accuracy for epoch, accuracy in sorted(accuracies.items()) if phase.first <= epoch < begin]
    targets = targets_for(validation, votes=recipe.votes, label_smoothing=0)
    model.fit(
        batches,
        initial_epoch=begin,
        epochs=phase.last,
        validation_data=(to_input(validation.faces), targets),
        validation_batch_size=256,
        shuffle=False,
        verbose=1 if sys.stdout.isatty() else 2,
        callbacks=[
            StopAfterBatch(),
            keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, _logs: batches.start_epoch(epoch)),
            KeepBest(checkpoints / _BEST, at_least=max(accuracies.values(), default=0.0)),
            StopEarly(patience=recipe.patience, earlier=earlier),
            Stopwatch(),
            keras.callbacks.CSVLogger(out / HISTORY, append=True),
            KeepLast(checkpoints, first=phase.first),
        ],
    )  # fmt: skip
    # Where it was stopped early, the phase is over nevertheless.
    save_weights(model, weights_after(checkpoints, phase.last))


def _load_weights(model: keras.Model, path: Path) -> None:
    try:
        model.load_weights(path)
    except Exception as error:  # Keras raises many kinds for files that are spoilt
        raise TrainerError(f"{path} cannot be resumed from: {first_line(error)}; remove it to train anew") from None


def _accuracies(out: Path) -> dict[int, float]:
    """Return epoch → validation accuracy of an interrupted run."""
    return {int(row["epoch"]): float(row["val_accuracy"]) for row in read_history(out)}
