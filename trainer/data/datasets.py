"""FER2013 and the FER+ votes, read from the CSV files they are published as.

Sources: Goodfellow et al., "Challenges in Representation Learning" (2013), distributed by Kaggle as
`fer2013.csv`; Barsoum et al., "Training Deep Networks for Facial Expression Recognition with
Crowd-Sourced Label Distribution" (2016), whose ten votes a face are `fer2013new.csv`.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_agent.vision.exposure import normalise_exposure
from trainer.errors import DatasetError

SIDE_PX = 48
#: FER2013's label codes 0..6, in the order of the file format.
LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
#: The four expressions a front desk can act on.
FOUR = ("angry", "happy", "neutral", "sad")
#: Share of happy, neutral and sad faces that may be taken for angry, unless somebody chooses another.
MAX_FALSE_ALARMS = 0.08
#: Share of calm people who may be paged for during a visit, unless somebody chooses another.
MAX_PEOPLE_PAGED = 0.05
#: Columns of fer2013new.csv; the first seven are LABELS under other names.
VOTE_COLUMNS = (
    "neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF",
)  # fmt: skip
#: What voters choose among, in the order of LABELS, and contempt.
VOTE_NAMES = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral", "contempt")
#: The same under the names of LABELS.
VOTE_LABELS = (*LABELS, "contempt")
#: Index into VOTE_COLUMNS for each of VOTE_LABELS.
VOTE_INDEX = tuple(VOTE_COLUMNS.index(name) for name in VOTE_NAMES)
USAGES = ("Training", "PublicTest", "PrivateTest")
ALL = "all"


@dataclass(frozen=True, slots=True)
class FaceDataset:
    """Labelled faces.

    Attributes:
        faces: uint8 (n, 48, 48), grey, 0..255.
        labels: int64 (n,), codes into classes.
        usage: str (n,), one of USAGES.
        votes: uint8 (n, 10), FER+ votes in VOTE_COLUMNS order, 0..10; None without fer2013new.csv.
        classes: names of the labels, in the order of their codes.
        scene_bits: difference hashes of pictures of one scene differ in at most so many of 64 bits.
    """

    faces: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    usage: npt.NDArray[np.str_]
    votes: npt.NDArray[np.uint8] | None = None
    classes: tuple[str, ...] = LABELS
    scene_bits: int = 0

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> FaceDataset:
        """Return the rows chosen by a mask, bool (n,), or by indices, int64 (m,)."""
        votes = None if self.votes is None else self.votes[rows]
        return replace(self, faces=self.faces[rows], labels=self.labels[rows], usage=self.usage[rows], votes=votes)

    def only(self, usage: str) -> FaceDataset:
        """Return the rows of one usage, or of ALL.

        Raises:
            DatasetError: no row has this usage.
        """
        chosen = self if usage == ALL else self.take(self.usage == usage)
        if not len(chosen):
            present = ", ".join(sorted(set(self.usage.tolist()))) or "none"
            raise DatasetError(f"no rows with Usage {usage!r}; the data has: {present}")
        return chosen

    def for_model(self, classes: tuple[str, ...]) -> FaceDataset:
        """Return the faces that a model with these classes can be judged on, coded in its order.

        Faces of other classes are left out; of a class that the data has not there are none.

        Raises:
            DatasetError: no face is left.
        """
        if any(name.startswith("not_") for name in classes):
            return self.with_classes(classes)
        shared = tuple(name for name in classes if name in self.classes)
        if len(shared) < 2:
            raise DatasetError(
                f"the data has {', '.join(self.classes)}, the model knows {', '.join(classes)}: "
                "at least two classes must be shared"
            )
        chosen = self.with_classes(shared)
        code = np.array([classes.index(name) for name in shared], dtype=np.int64)
        return replace(chosen, labels=code[chosen.labels], classes=classes)

    def with_classes(self, classes: tuple[str, ...]) -> FaceDataset:
        """Return the faces of these classes only, coded in this order.

        `not_NAME` stands for every class but NAME. FER+ votes go along only with all of LABELS.

        Raises:
            DatasetError: a class is unknown, or claimed twice.
        """
        if classes == self.classes:
            return self
        code = np.full(len(self.classes), -1, dtype=np.int64)
        for number, name in enumerate(classes):
            absent = name.removeprefix("not_")
            if absent not in self.classes:
                raise DatasetError(f"no class {name!r}; the data has {', '.join(self.classes)} (and not_NAME for each)")
            members = [i for i, c in enumerate(self.classes) if (c == name if absent == name else c != absent)]
            if (code[members] >= 0).any():
                raise DatasetError(f"the class {name!r} overlaps with another of {', '.join(classes)}")
            code[members] = number
        labels = code[self.labels]
        keep = labels >= 0
        return replace(self.take(keep), labels=labels[keep], votes=None, classes=classes)


def load_data(folder: Path, *, classes: tuple[str, ...] = (), already_cropped: bool = False) -> FaceDataset:
    """Read a data set: FER2013 (`fer2013.csv`) or photographs (`CLASS/*.jpg`).

    Args:
        classes: see `FaceDataset.with_classes`; empty for all there are.
        already_cropped: photographs are faces already; none is searched for.

    Raises:
        DatasetError: it is neither, or cannot be read.
    """
    from trainer.data.photos import load_photos

    photos = _photo_folders(folder)
    data = load_photos(folder, already_cropped=already_cropped) if photos else load_fer2013(folder)
    return data.with_classes(classes) if classes else data


def origin(folder: Path, *, with_votes: bool, with_portraits: bool = False) -> str:
    """Return what a bundle's manifest says of a data set that `load_data` reads.

    Args:
        with_votes: the FER+ votes were learned from.
        with_portraits: everyday faces were learned as well.
    """
    if photos := _photo_folders(folder):
        return f"photographs of {', '.join(path.name for path in photos)}"
    votes = ", with FER+ votes (Barsoum et al., 2016)" if with_votes else ""
    portraits = ", and portraits" if with_portraits else ""
    return f"FER2013 (Goodfellow et al., 2013), Training rows{votes}{portraits}"


def class_names(folder: Path) -> tuple[str, ...]:
    """Return the classes `load_data` would find, without reading a picture."""
    return tuple(path.name for path in _photo_folders(folder)) or LABELS


def _photo_folders(folder: Path) -> list[Path]:
    from trainer.data.photos import class_folders

    return [] if (folder / "fer2013.csv").exists() else class_folders(folder)


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


def to_input(faces: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Turn uint8 (n, 48, 48), 0..255, into the networks' input: float32 (n, 48, 48, 1), 0..1, dark faces brightened."""
    exposed = np.array([normalise_exposure(face) for face in faces], dtype=np.uint8).reshape(faces.shape)
    return (exposed[..., None] / np.float32(255)).astype(np.float32)


def has_votes(folder: Path) -> bool:
    """Tell whether FER+ votes lie beside FER2013."""
    return (folder / "fer2013.csv").exists() and (folder / "fer2013new.csv").exists()
