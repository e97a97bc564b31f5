"""The report folder of a run: pictures and tables to look at, and one page, index.html, that shows them all.

It holds faces of the data set (galleries, samples, activations): keep it where the data is kept, never publish it.
"""

from __future__ import annotations

import csv
import html
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn import metrics as sk

from trainer.data.augment import augment
from trainer.data.datasets import FaceDataset
from trainer.evaluation import plots
from trainer.evaluation.explain import activations, occlusion
from trainer.evaluation.limits import MAX_FALSE_ALARMS
from trainer.evaluation.metrics import operating_point, rated
from trainer.evaluation.predictors import score_with
from trainer.labels import FOUR
from trainer.runs import read_history

#: What the page says under each picture, in its order.
PICTURES = {
    "curves.png": "Learning curves. Training accuracy is against augmented faces and soft targets.",
    "confusion.png": "Confusion matrix: rows are what people said, columns what the network says.",
    "precision-recall.png": "Angry against happy, neutral and sad, or against whatever the network knows, with the "
    f"operating point that keeps false alarms within {MAX_FALSE_ALARMS:.0%}.",
    "calibration.png": "Reliability: how often the network is right, by how sure it is; where it knows angry, happy, "
    "neutral and sad, of these alone.",
    "misclassified.png": "The surest mistakes: what people said → what the network says.",
    "pixels.png": "Mean and deviation of the pixels of each class.",
    "samples.png": "Faces of each class, drawn at random.",
    "augmentation.png": "One face a row: as it is, then as training sees it.",
    "attention.png": "Where the network looks: how much the probability falls when that part is covered.",
}


def write_report(
    run: Path, validation: FaceDataset, probabilities: npt.NDArray[np.float32], model: Any | None = None
) -> Path:
    """Write `run/report` and return its index.html.

    Args:
        probabilities: float32 (n, classes), of the validation faces.
        model: the Keras model, for activations and attention; None leaves them out.
    """
    out = run / "report"
    out.mkdir(exist_ok=True)
    random = np.random.default_rng(0)
    truth, predicted = validation.labels, probabilities.argmax(axis=1)
    classes = validation.classes
    text = sk.classification_report(
        truth, predicted, labels=range(len(classes)), target_names=classes, digits=3, zero_division=0
    )
    (out / "classification.txt").write_text(str(text), encoding="utf-8")
    _write_mistakes(out / "misclassified.csv", truth, predicted, classes)
    _write_pixels(out / "pixels.csv", validation)
    if rows := read_history(run):
        plots.curves(rows, out / "curves.png")
    plots.confusion(truth, predicted, classes, out / "confusion.png")
    if "angry" in classes:
        known = [code for code, name in enumerate(classes) if name in FOUR]
        among = np.isin(truth, known if len(known) > 1 else range(len(classes)))
        column = classes.index("angry")
        scores, positive = probabilities[among, column], truth[among] == column
        if positive.any() and not positive.all():
            point = operating_point(scores, positive, max_false_alarms=MAX_FALSE_ALARMS)
            plots.precision_recall(scores, positive, point, out / "precision-recall.png")
    plots.calibration(*rated(probabilities, validation), out / "calibration.png")
    plots.mistakes(validation, probabilities, out / "misclassified.png")
    plots.pixels(validation, out / "pixels.png")
    plots.samples(validation, random, out / "samples.png")
    chosen = validation.faces[random.permutation(len(validation))[:6]]
    plots.augmentation(chosen, [augment(chosen, random) for _ in range(8)], out / "augmentation.png")
    layers = []
    if model is not None:
        best = [_surest(probabilities, truth, code) for code in range(len(classes))]
        shown = validation.take(np.array([row for row in best if row is not None], dtype=np.int64))
        # A label's code is its column; a second answer's columns come after.
        score = score_with(model)
        maps = [occlusion(score, face, int(label)) for face, label in zip(shown.faces, shown.labels, strict=True)]
        plots.attention(shown, maps, out / "attention.png")
        (out / "activations").mkdir(exist_ok=True)
        for number, (name, values) in enumerate(activations(model, shown.faces[0]).items()):
            layers.append(f"activations/{number:02d}-{name}.png")
            plots.activation(name, values, out / layers[-1])
    return _write_page(out, run.name, str(text), layers)


def _surest(probabilities: npt.NDArray[np.float32], truth: npt.NDArray[np.int64], code: int) -> int | None:
    rows = np.flatnonzero(truth == code)
    return int(rows[probabilities[rows, code].argmax()]) if len(rows) else None


def _write_mistakes(
    path: Path, truth: npt.NDArray[np.int64], predicted: npt.NDArray[np.int64], classes: tuple[str, ...]
) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["true", "predicted", "faces", "share_of_true"])
        for a, name in enumerate(classes):
            for b, other in enumerate(classes):
                count = int(((truth == a) & (predicted == b)).sum())
                if a != b and count:
                    writer.writerow([name, other, count, f"{count / (truth == a).sum():.4f}"])


def _write_pixels(path: Path, data: FaceDataset) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["class", "faces", "mean", "deviation"])
        for code, name in enumerate(data.classes):
            faces = data.faces[data.labels == code]
            if len(faces):
                writer.writerow([name, len(faces), f"{faces.mean():.2f}", f"{faces.std():.2f}"])


def _write_page(out: Path, title: str, classification: str, layers: list[str]) -> Path:
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(title)}</title>",
        "<style>body{font:16px/1.5 sans-serif;max-width:70em;margin:2em auto;padding:0 1em;color:#222}"
        "img{max-width:100%}figure{margin:2em 0}figcaption{color:#555}pre{background:#f4f4f4;padding:1em;"
        "overflow:auto}</style>",
        f"<h1>{html.escape(title)}</h1><p>Figures of the validation split. Faces below belong to the data set: "
        "do not publish this page.</p>",
        f"<h2>Classification</h2><pre>{html.escape(classification)}</pre>",
    ]
    shown = [(name, caption) for name, caption in PICTURES.items() if (out / name).exists()]
    shown += [(name, f"What {Path(name).stem.split('-', 1)[1]} makes of one face.") for name in layers]
    parts += [
        f'<figure><img src="{name}" alt=""><figcaption>{html.escape(caption)}</figcaption></figure>'
        for name, caption in shown
    ]
    page = out / "index.html"
    page.write_text("\n".join(parts) + "</html>\n", encoding="utf-8")
    return page
