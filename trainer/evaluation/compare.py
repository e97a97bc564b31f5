"""One table over several runs, for reading, for documents and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainer.runs import read_history, read_run

_COLUMNS = (
    "run", "model", "parameters", "classes", "faces", "epochs", "minutes", "accuracy", "macro-F1",
    "angry AP", "accuracy4",
)  # fmt: skip


def compare(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """Return one row for each finished run, the best accuracy first among runs with the same classes.

    Figures are those of each run's validation split.

    Raises:
        TrainerError: a folder holds no finished run.
    """
    rows = []
    for folder in folders:
        run = read_run(folder)
        figures, labels, epochs = run["validation"], run["labels"], read_history(folder)
        seconds = [float(epoch["seconds"]) for epoch in epochs if "seconds" in epoch]
        rows.append({
            "run": folder.name,
            "model": run["recipe"]["model"],
            "parameters": run["parameters"],
            "classes": " ".join(labels),
            "faces": run["training_faces"],
            "epochs": len(epochs) or None,
            "minutes": round(sum(seconds) / 60) if seconds else None,
            "accuracy": figures[f"accuracy{len(labels)}"],
            "macro-F1": figures["macro_f1"],
            "angry AP": figures.get("angry_average_precision"),
            "accuracy4": figures.get("accuracy4"),
        })  # fmt: skip
    return sorted(rows, key=lambda row: (-len(row["classes"].split()), row["classes"], -row["accuracy"]))


def as_markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as a Markdown table."""
    lines = ["| " + " | ".join(_COLUMNS) + " |", "|" + " --- |" * len(_COLUMNS)]
    lines += ["| " + " | ".join(_cell(row[column]) for column in _COLUMNS) + " |" for row in rows]
    return "\n".join(lines)


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw accuracy and macro-F1 of each run as bars into a PNG file."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(8, 1.2 + 0.55 * len(rows)), layout="constrained")
    places = range(len(rows))
    for offset, quantity in ((-0.18, "accuracy"), (0.18, "macro-F1")):
        bars = axis.barh([p + offset for p in places], [row[quantity] for row in rows], height=0.34, label=quantity)
        axis.bar_label(bars, fmt="%.3f", padding=2, fontsize=8)
    axis.set_yticks(places, [f"{row['run']}\n{len(row['classes'].split())} classes" for row in rows], fontsize=8)
    axis.invert_yaxis()
    axis.set(xlim=(0, 1.08), xlabel="on each run's validation split")
    axis.legend(loc="lower right")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
