"""FER2013 and the FER+ votes, read from the CSV files they are published as.

Sources: Goodfellow et al., "Challenges in Representation Learning" (2013), distributed by Kaggle as
`fer2013.csv`; Barsoum et al., "Training Deep Networks for Facial Expression Recognition with
Crowd-Sourced Label Distribution" (2016), whose ten votes a face are `fer2013new.csv`.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trainer.data.datasets import SIDE_PX, USAGES, FaceDataset
from trainer.errors import DatasetError
from trainer.labels import LABELS, VOTE_COLUMNS


def load_fer2013(folder: Path) -> FaceDataset:
    """Read `fer2013.csv` and, if it lies beside it, `fer2013new.csv`.

    Raises:
        DatasetError: the folder or file is missing, a row is malformed (the message names the line), or
            the two files do not have the same rows.
    """
    path = folder / "fer2013.csv"
    faces: list[npt.NDArray[np.uint8]] = []
    labels: list[int] = []
    usage: list[str] = []
    for line, row in _rows(path, {"emotion", "pixels", "Usage"}):
        try:
            label = int(row["emotion"])
            pixels = np.array(row["pixels"].split(), dtype=np.uint8)
        except (ValueError, OverflowError) as error:
            raise DatasetError(f"{path}:{line}: {error}") from None
        if not 0 <= label < len(LABELS):
            raise DatasetError(f"{path}:{line}: emotion {label} is not one of 0..{len(LABELS) - 1}")
        if pixels.size != SIDE_PX * SIDE_PX:
            raise DatasetError(f"{path}:{line}: {pixels.size} pixels instead of {SIDE_PX}x{SIDE_PX}")
        if row["Usage"] not in USAGES:
            raise DatasetError(f"{path}:{line}: Usage {row['Usage']!r} is not one of {', '.join(USAGES)}")
        faces.append(pixels.reshape(SIDE_PX, SIDE_PX))
        labels.append(label)
        usage.append(row["Usage"])
    if not faces:
        raise DatasetError(f"{path} has a header but no rows")
    votes_path = folder / "fer2013new.csv"
    votes = _load_votes(votes_path, usage) if votes_path.exists() else None
    return FaceDataset(np.stack(faces), np.array(labels), np.array(usage), votes)


def _load_votes(path: Path, usage: list[str]) -> npt.NDArray[np.uint8]:
    votes: list[list[int]] = []
    for line, row in _rows(path, {"Usage", *VOTE_COLUMNS}):
        if line - 2 < len(usage) and row["Usage"] != usage[line - 2]:
            raise DatasetError(
                f"{path}:{line}: Usage {row['Usage']!r} but fer2013.csv has {usage[line - 2]!r}; "
                "the files must have the same rows in the same order"
            )
        try:
            votes.append([int(row[column]) for column in VOTE_COLUMNS])
        except ValueError as error:
            raise DatasetError(f"{path}:{line}: {error}") from None
        if not 0 <= min(votes[-1]) <= max(votes[-1]) <= 255:
            raise DatasetError(f"{path}:{line}: votes are counts from 0 to 10, not {min(votes[-1])}..{max(votes[-1])}")
    if len(votes) != len(usage):
        raise DatasetError(f"{path} has {len(votes)} rows but fer2013.csv has {len(usage)}")
    return np.array(votes, dtype=np.uint8)


def _rows(path: Path, required: set[str]) -> list[tuple[int, dict[str, str]]]:
    """Return (line number, row) pairs with stripped column names."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.reader(file)
            header = [name.strip() for name in next(reader, [])]
            missing = required - set(header)
            if missing:
                raise DatasetError(f"{path}: no column {', '.join(sorted(missing))}; is it the published CSV?")
            rows = []
            for line, cells in enumerate(reader, start=2):
                if len(cells) != len(header):
                    raise DatasetError(f"{path}:{line}: {len(cells)} cells instead of {len(header)}")
                rows.append((line, dict(zip(header, cells, strict=True))))
            return rows
    except FileNotFoundError:
        raise DatasetError(
            f"{path} is missing; download the FER2013 challenge data from Kaggle and unpack fer2013.csv there, "
            "or name a folder with one folder of photographs for each expression"
        ) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"cannot read {path}: {error}") from None


def has_votes(folder: Path) -> bool:
    """Tell whether FER+ votes lie beside FER2013."""
    return (folder / "fer2013.csv").exists() and (folder / "fer2013new.csv").exists()
