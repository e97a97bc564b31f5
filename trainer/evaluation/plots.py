"""The figures of a report, each drawn into one PNG file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from sklearn import metrics as sk

from trainer.data.datasets import FaceDataset
from trainer.evaluation.metrics import CALIBRATION_BINS, calibration_bins, calibration_error

matplotlib.use("Agg")
from matplotlib import pyplot

Faces = npt.NDArray[np.uint8]
Codes = npt.NDArray[np.int64]
Probabilities = npt.NDArray[np.float32]


def curves(rows: Sequence[dict[str, str]], path: Path) -> None:
    """Draw loss and accuracy over the epochs of history.csv."""
    epochs = [int(row["epoch"]) + 1 for row in rows]
    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for axis, quantity in zip(axes, ("loss", "accuracy"), strict=True):
        axis.plot(epochs, [float(row[quantity]) for row in rows], label="training (augmented, soft targets)")
        axis.plot(epochs, [float(row[f"val_{quantity}"]) for row in rows], label="validation (original labels)")
        axis.set(xlabel="epoch", ylabel=quantity)
        axis.grid(alpha=0.3)
        axis.legend()
    _save(figure, path)


def confusion(truth: Codes, predicted: Codes, classes: Sequence[str], path: Path) -> None:
    """Draw the confusion matrix, in shares of each true class with counts below."""
    counts = sk.confusion_matrix(truth, predicted, labels=range(len(classes)))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = 2.2 + 0.8 * len(classes)
    figure, axis = pyplot.subplots(figsize=(size, size * 0.9), layout="constrained")
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axis.set(xticks=range(len(classes)), yticks=range(len(classes)), xlabel="the network says", ylabel="people said")
    axis.set_xticklabels(classes, rotation=45, ha="right")
    axis.set_yticklabels(classes)
    for row in range(len(classes)):
        for column in range(len(classes)):
            axis.text(
                column, row, f"{shares[row, column]:.0%}\n{counts[row, column]}", ha="center", va="center", fontsize=8,
                color="white" if shares[row, column] > 0.5 else "black",
            )  # fmt: skip
    _save(figure, path)


def precision_recall(
    scores: Probabilities, positive: npt.NDArray[np.bool_], point: dict[str, float], path: Path
) -> None:
    """Draw precision over recall, with the operating point that metrics.operating_point chose."""
    precision, recall, _ = sk.precision_recall_curve(positive, scores)
    figure, axis = pyplot.subplots(figsize=(6, 5), layout="constrained")
    axis.plot(recall, precision, label=f"average precision {sk.average_precision_score(positive, scores):.3f}")
    axis.plot(
        point["recall"], point["precision"], "o", color="tab:red",
        label=f"threshold {point['threshold']:.3f}: recall {point['recall']:.2f}, precision {point['precision']:.2f},\n"
        f"false alarms {point['false_alarms']:.1%} of the others",
    )  # fmt: skip
    axis.set(xlabel="recall of angry faces", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.01))
    axis.grid(alpha=0.3)
    axis.legend(loc="lower left")
    _save(figure, path)


def calibration(probabilities: Probabilities, truth: Codes, path: Path) -> None:
    """Draw how often the likeliest class is right over how likely it is, in CALIBRATION_BINS bins."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    bins = calibration_bins(confidence)
    used = [b for b in range(CALIBRATION_BINS) if (bins == b).any()]
    figure, axis = pyplot.subplots(figsize=(5, 5), layout="constrained")
    axis.bar(
        [(b + 0.5) / CALIBRATION_BINS for b in used], [right[bins == b].mean() for b in used],
        width=0.9 / CALIBRATION_BINS, label=f"expected calibration error {calibration_error(probabilities, truth):.3f}",
    )  # fmt: skip
    axis.plot([0, 1], [0, 1], "--", color="grey", label="perfect")
    axis.set(xlabel="how sure the network is", ylabel="how often it is right", xlim=(0, 1), ylim=(0, 1))
    axis.legend(loc="upper left")
    _save(figure, path)


def mistakes(data: FaceDataset, probabilities: Probabilities, path: Path) -> None:
    """Draw the 32 mistakes the network is surest of."""
    predicted = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != data.labels)
    chosen = wrong[np.argsort(-probabilities[wrong, predicted[wrong]])][:32]
    titles = [
        f"{data.classes[data.labels[row]]} →\n{data.classes[predicted[row]]} {probabilities[row].max():.0%}"
        for row in chosen
    ]
    heading = "" if len(wrong) else "no mistakes"
    _sheet([data.faces[row] for row in chosen], titles, columns=8, path=path, heading=heading)


def pixels(data: FaceDataset, path: Path) -> None:
    """Draw the mean face of each class, and the deviation from it."""
    pictures: list[npt.NDArray[Any]] = []
    titles = []
    for quantity, of in (("mean", np.mean), ("deviation", np.std)):
        for code, name in enumerate(data.classes):
            faces = data.faces[data.labels == code]
            pictures.append(of(faces, axis=0) if len(faces) else np.zeros(data.faces.shape[1:]))
            titles.append(f"{name}\n{quantity} {pictures[-1].mean():.0f}")
    _sheet(pictures, titles, columns=len(data.classes), path=path, spread=True)


def samples(data: FaceDataset, random: np.random.Generator, path: Path) -> None:
    """Draw up to eight faces of each class."""
    pictures, titles = [], []
    for code, name in enumerate(data.classes):
        rows = random.permutation(np.flatnonzero(data.labels == code))[:8]
        pictures += [data.faces[row] for row in rows] + [np.full_like(data.faces[0], 255)] * (8 - len(rows))
        titles += [name] * len(rows) + [""] * (8 - len(rows))
    _sheet(pictures, titles, columns=8, path=path)


def augmentation(faces: Faces, changed: Sequence[Faces], path: Path) -> None:
    """Draw faces, one a row, each followed by its changed copies."""
    pictures = [picture for row, face in enumerate(faces) for picture in (face, *(copy[row] for copy in changed))]
    titles = ["as it is" if number % (len(changed) + 1) == 0 else "" for number in range(len(pictures))]
    _sheet(pictures, titles, columns=len(changed) + 1, path=path)


def attention(data: FaceDataset, maps: Sequence[npt.NDArray[np.float32]], path: Path) -> None:
    """Draw faces with the map of explain.occlusion over each."""
    figure, axes = pyplot.subplots(1, len(data), figsize=(2 * len(data), 2.4), layout="constrained", squeeze=False)
    for axis, face, label, fall in zip(axes[0], data.faces, data.labels, maps, strict=True):
        reach = max(float(np.abs(fall).max()), 1e-6)
        axis.imshow(face, cmap="gray", vmin=0, vmax=255)
        axis.imshow(fall, cmap="coolwarm", alpha=0.5, vmin=-reach, vmax=reach)
        axis.set_title(f"{data.classes[label]} (up to {reach:.2f})", fontsize=9)
        axis.axis("off")
    _save(figure, path)


def activation(name: str, values: npt.NDArray[np.float32], path: Path) -> None:
    """Draw up to 32 channels of one layer, float32 (height, width, channels), or all of a dense one, (units,)."""
    if values.ndim == 1:
        figure, axis = pyplot.subplots(figsize=(9.6, 2.4), layout="constrained")
        axis.bar(range(len(values)), values, width=0.8)
        axis.set(xlabel="unit", ylabel="activation")
        figure.suptitle(f"{name}: {len(values)} units", fontsize=9)
        _save(figure, path)
        return
    strongest = np.argsort(-values.std(axis=(0, 1)))[:32]
    titles = [f"{channel}" for channel in strongest]
    heading = f"{name}: {values.shape[0]}×{values.shape[1]}, {values.shape[2]} channels, the most varied ones"
    _sheet([values[:, :, channel] for channel in strongest], titles, columns=8, path=path, spread=True, heading=heading)


def _sheet(
    pictures: Sequence[npt.NDArray[Any]], titles: Sequence[str],
    *, columns: int, path: Path, spread: bool = False, heading: str = "",
) -> None:  # fmt: skip
    """Draw square pictures in a grid; `spread` uses each one's own range of grey."""
    rows = max(1, -(-len(pictures) // columns))
    width_in, height_in = 1.2 * columns, 1.45 * rows + 0.3
    figure = pyplot.figure(figsize=(width_in, height_in))
    # One axis in inches holds them all: with one for each of 32 pictures a sheet takes many times as long.
    axis = figure.add_axes((0, 0, 1, 1), xlim=(0, width_in), ylim=(height_in, 0))
    axis.axis("off")
    limits = {} if spread else {"vmin": 0, "vmax": 255}
    for number, (picture, title) in enumerate(zip(pictures, titles, strict=True)):
        row, column = divmod(number, columns)
        left, top = 1.2 * column + 0.05, 1.45 * row + 0.6
        axis.imshow(picture, cmap="gray", extent=(left, left + 1.1, top + 1.1, top), **limits)
        axis.text(left + 0.55, top - 0.04, title, fontsize=7, horizontalalignment="center")
    if heading:
        figure.suptitle(heading, fontsize=9, y=1 - 0.12 / height_in)
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
