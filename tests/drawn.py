"""Data drawn for the purpose, and the commands people use on it: no picture of anybody is needed."""

from __future__ import annotations

import csv
import subprocess
import sys

import numpy as np

from trainer.labels import VOTE_COLUMNS


def draw(label: int, random: np.random.Generator) -> np.ndarray:
    """A "face" whose label is the place of its bright bar: uint8 (48, 48)."""
    face = random.integers(0, 90, (48, 48))
    face[6 * label : 6 * label + 6] += 150
    return face.astype(np.uint8)


def write_data(folder, rows, votes=None) -> None:
    with (folder / "fer2013.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["emotion", "pixels", "Usage"])
        writer.writerows([label, " ".join(map(str, face.ravel())), usage] for label, face, usage in rows)
    if votes is not None:
        with (folder / "fer2013new.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["Usage", "Image name", *VOTE_COLUMNS])
            writer.writerows(
                [row[2], f"fer{n:07d}.png", *cast] for n, (row, cast) in enumerate(zip(rows, votes, strict=True))
            )


def votes_for(label: int) -> list[int]:
    names = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
    return [8 if column == names[label] else 1 if column in ("neutral", "unknown") else 0 for column in VOTE_COLUMNS]


def trainer(*arguments, **options):
    command = [sys.executable, "-m", "trainer", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def converter(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "converter", *map(str, arguments)], capture_output=True, text=True, check=False
    )
