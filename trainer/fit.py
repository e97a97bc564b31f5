"""Train one network of the zoo and leave a run folder that explains itself.

A run folder holds `model.keras` (float32, best epoch on validation), `run.json` (recipe, versions, counts,
figures), `history.csv` and `curves.png`, and `checkpoints/` from which the same command resumes.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from trainer.augment import augment
from trainer.cleaning import CleaningCounts, clean_training, split_validation
from trainer.datasets import LABELS, FaceDataset, load_fer2013
from trainer.errors import TrainerError
from trainer.metrics import fit_temperature, judge
from trainer.recipe import Recipe
from trainer.targets import soft_targets
from trainer.zoo import BUILDERS


class FaceBatches(keras.utils.PyDataset):
    """Shuffled, augmented batches; the same seed and epoch give the same batches."""

    def __init__(
        self, faces: npt.NDArray[np.uint8], targets: npt.NDArray[np.float32], *, batch_size: int, seed: int
    ) -> None:
        super().__init__()
        self._faces, self._targets = faces, targets
        self._batch_size, self._seed = batch_size, seed
        self._epoch = 0
        self._order = self._shuffled()

    def _shuffled(self) -> npt.NDArray[np.int64]:
        return np.random.default_rng([self._seed, self._epoch]).permutation(len(self._faces))

    def start_epoch(self, epoch: int) -> None:
        """Draw the order of one epoch, so that a resumed run continues where it was."""
        self._epoch = epoch
        self._order = self._shuffled()

    def __len__(self) -> int:
        return len(self._faces) // self._batch_size

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        rows = self._order[index * self._batch_size : (index + 1) * self._batch_size]
        faces = augment(self._faces[rows], np.random.default_rng([self._seed, self._epoch, index]))
        return to_input(faces), self._targets[rows]


class StopAfterBatch(keras.callbacks.Callback):
    """Turns Ctrl-C into KeyboardInterrupt between two batches, never inside the backend's native code."""

    def __init__(self) -> None:
        super().__init__()
        self._asked = False

    def on_train_begin(self, logs: Any = None) -> None:
        """Take over SIGINT."""
        del logs
        self._before = signal.signal(signal.SIGINT, self._note)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Stop here if asked to."""
        del batch, logs
        if self._asked:
            raise KeyboardInterrupt

    def on_train_end(self, logs: Any = None) -> None:
        """Give SIGINT back."""
        del logs
        signal.signal(signal.SIGINT, self._before)

    def _note(self, *_: object) -> None:
        self._asked = True


def to_input(faces: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Turn uint8 (n, 48, 48), 0..255, into the networks' input: float32 (n, 48, 48, 1), 0..1."""
    return (faces[..., None] / np.float32(255)).astype(np.float32)


def fit(recipe: Recipe, *, data_dir: Path, out: Path, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Train, and return what run.json holds.

    Run again with the same arguments after an interruption, it resumes at the last whole epoch.

    Raises:
        DatasetError: the data cannot be read.
        TrainerError: there is no such network, or `out` belongs to a run with another recipe or a finished one.
    """
    if recipe.model not in BUILDERS:
        raise TrainerError(f"no network {recipe.model!r}; there are: {', '.join(BUILDERS)}")
    _claim(out, recipe)
    keras.utils.set_random_seed(recipe.seed)
    say(f"reading {data_dir} ...")
    cleaned, counts = clean_training(load_fer2013(data_dir))
    say(str(counts))
    training, validation = split_validation(cleaned, fraction=recipe.validation_fraction, seed=recipe.seed)
    if len(training) < recipe.batch_size or not len(validation):
        raise TrainerError(
            f"{len(training)} training and {len(validation)} validation faces are too few "
            f"for batches of {recipe.batch_size}"
        )
    say(f"training on {len(training)} faces, choosing on {len(validation)}; Keras on {keras.backend.backend()}")

    weights = out / "checkpoints" / "best.weights.h5"
    _train(recipe, training, validation, weights=weights, out=out)

    model = BUILDERS[recipe.model](len(LABELS))
    model.load_weights(weights)
    probabilities = model.predict(to_input(validation.faces), batch_size=256, verbose=0)
    model.save(out / "model.keras")
    result = _describe(recipe, counts, training, validation, probabilities, model.count_params())
    _plot_curves(out)
    (out / "run.json").write_text(json.dumps(result, indent=1) + "\n")
    return result


def _claim(out: Path, recipe: Recipe) -> None:
    out.mkdir(parents=True, exist_ok=True)
    if (out / "run.json").exists():
        raise TrainerError(f"{out} holds a finished run; choose another --out or remove it")
    mark, mine = out / "recipe.json", json.dumps(asdict(recipe), indent=1)
    if mark.exists() and mark.read_text() != mine:
        raise TrainerError(f"{out} was begun with another recipe ({mark}); use the same options to resume it")
    mark.write_text(mine)


def _train(recipe: Recipe, training: FaceDataset, validation: FaceDataset, *, weights: Path, out: Path) -> None:
    batches = FaceBatches(
        training.faces,
        soft_targets(training, ferplus_weight=recipe.ferplus_weight, label_smoothing=recipe.label_smoothing),
        batch_size=recipe.batch_size,
        seed=recipe.seed,
    )
    keras.config.set_dtype_policy(recipe.precision)
    try:
        model = BUILDERS[recipe.model](len(LABELS))
    finally:
        keras.config.set_dtype_policy("float32")
    steps = len(batches) * recipe.epochs
    schedule = keras.optimizers.schedules.CosineDecay(
        recipe.learning_rate / 20, steps, warmup_target=recipe.learning_rate, warmup_steps=2 * len(batches)
    )
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=recipe.weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    model.compile(optimizer=optimizer, loss="categorical_crossentropy", metrics=["accuracy"], jit_compile=False)
    weights.parent.mkdir(exist_ok=True)
    one_hot = np.eye(len(LABELS), dtype=np.float32)[validation.labels]
    model.fit(
        batches,
        epochs=recipe.epochs,
        validation_data=(to_input(validation.faces), one_hot),
        validation_batch_size=256,
        shuffle=False,
        verbose=1 if sys.stdout.isatty() else 2,
        callbacks=[
            StopAfterBatch(),
            keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, _logs: batches.start_epoch(epoch)),
            keras.callbacks.ModelCheckpoint(
                weights, monitor="val_accuracy", mode="max", save_best_only=True, save_weights_only=True,
                initial_value_threshold=_best_so_far(out),
            ),
            keras.callbacks.EarlyStopping(monitor="val_accuracy", mode="max", patience=recipe.patience),
            keras.callbacks.CSVLogger(out / "history.csv", append=True),
            keras.callbacks.BackupAndRestore(out / "checkpoints" / "resume"),
        ],
    )  # fmt: skip


def _best_so_far(out: Path) -> float | None:
    """Return the best validation accuracy of an interrupted run, so that resuming never keeps a worse one."""
    best = [float(row["val_accuracy"]) for row in _history(out)]
    return max(best, default=None)


def _history(out: Path) -> list[dict[str, str]]:
    import csv

    path = out / "history.csv"
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _describe(
    recipe: Recipe,
    counts: CleaningCounts,
    training: FaceDataset,
    validation: FaceDataset,
    probabilities: npt.NDArray[np.float32],
    parameters: int,
) -> dict[str, Any]:
    return {
        "recipe": asdict(recipe),
        "labels": list(LABELS),
        "parameters": parameters,
        "cleaning": asdict(counts),
        "training_faces": len(training),
        "validation_faces": len(validation),
        "temperature": fit_temperature(probabilities, validation.labels),
        "validation": judge(probabilities, validation),
        "versions": {
            "python": sys.version.split()[0],
            "keras": keras.__version__,
            "backend": keras.backend.backend(),
            "numpy": np.__version__,
        },
    }


def _plot_curves(out: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = _history(out)
    epochs = [int(row["epoch"]) + 1 for row in rows]
    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for axis, quantity in zip(axes, ("loss", "accuracy"), strict=True):
        axis.plot(epochs, [float(row[quantity]) for row in rows], label="training (augmented, soft targets)")
        axis.plot(epochs, [float(row[f"val_{quantity}"]) for row in rows], label="validation (original labels)")
        axis.set(xlabel="epoch", ylabel=quantity)
        axis.grid(alpha=0.3)
        axis.legend()
    figure.savefig(out / "curves.png", dpi=120)
    pyplot.close(figure)
