"""A support vector machine on the grey values, to tell what a network is worth.

Cortes & Vapnik, "Support-Vector Networks" (1995), with a radial basis function on principal components, by
scikit-learn.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import sklearn
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from trainer.data.datasets import FaceDataset
from trainer.data.load import load_data, origin
from trainer.data.split import split
from trainer.errors import TrainerError
from trainer.evaluation.metrics import with_temperature
from trainer.evaluation.report import write_report
from trainer.fit.run_folder import claim, describe, versions
from trainer.recipe import Recipe
from trainer.runs import write_run

_COMPONENTS = 120


def fit_svm(recipe: Recipe, *, data_dir: Path, out: Path, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Fit on the same split as a network with the same recipe would be, and write a run folder without a model.

    Raises:
        DatasetError: the data cannot be read.
        TrainerError: `out` belongs to another run, or there are too few faces.
    """
    data = load_data(data_dir, classes=recipe.classes, already_cropped=recipe.already_cropped)
    training, validation, counts = split(data, recipe)
    known = np.unique(training.labels)
    if len(known) < 2:
        raise TrainerError("all training faces are of one class; a support vector machine needs two")
    claim(out, recipe, training, validation)
    say(f"{counts}\nfitting a support vector machine to {len(training)} faces ...")
    machine = make_pipeline(
        StandardScaler(),
        PCA(min(_COMPONENTS, len(training)), random_state=recipe.seed),
        StandardScaler(),
        SVC(C=2.0),
    )
    machine.fit(_flat(training), training.labels)
    probabilities = _probabilities(machine.decision_function(_flat(validation)), known, len(recipe.classes))
    result = {
        **describe(recipe, counts, training, validation, probabilities),
        "data": origin(data_dir, with_votes=False),
        "parameters": None,
        "versions": {**versions(), "scikit-learn": sklearn.__version__},
    }
    write_report(out, validation, with_temperature(probabilities, result["temperature"]))
    write_run(out, result)
    return result


def _flat(data: FaceDataset) -> npt.NDArray[np.float32]:
    return np.asarray(data.faces.reshape(len(data), -1) / 255, dtype=np.float32)


def _probabilities(
    margins: npt.NDArray[np.float64], known: npt.NDArray[np.int64], classes: int
) -> npt.NDArray[np.float32]:
    """Turn margins into a softmax; the run's temperature calibrates it.

    Args:
        margins: (n,) for two known classes, else (n, known).
        known: codes of the classes that training had; the others get nothing.
    """
    logits = np.full((len(margins), classes), -np.inf)
    logits[:, known] = np.stack([-margins, margins], axis=1) if margins.ndim == 1 else margins
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float32)
