"""Everyday faces: portraits of many people, most of them calm, with a margin around what the classifier sees.

FER2013's faces were searched for by their expression; those at a kiosk were not. A folder of portraits holds

- `portraits-NN.webp`: grey 96x96 crops, ten a row, rows filled from the left;
- `labels.csv`: a row for each crop in that order, with the columns `person` (any text that tells people apart) and
  `label` (neutral, happiness, surprise, sadness, anger, disgust, fear or contempt).

A crop is 1.5 times as wide as the classifier's: its middle 64x64, shrunk, is the face as the agent cuts it out.
"""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from trainer.data.datasets import SIDE_PX
from trainer.data.targets import smoothed
from trainer.errors import DatasetError
from trainer.labels import LABELS, VOTE_LABELS, VOTE_NAMES

#: Side of a crop, and of the part of it that the agent would cut out.
CROP_PX, FACE_PX = 96, 64
_A_ROW = 10
#: Students' labels are often wrong: so much of each goes to all expressions alike.
LABEL_NOISE = 0.15
PARTS = ("training", "held out")


@dataclass(frozen=True, slots=True)
class Portraits:
    """Faces of people who are told apart.

    Attributes:
        crops: uint8 (n, 96, 96), grey, 0..255.
        labels: int64 (n,), codes into VOTE_LABELS.
        people: str (n,).
    """

    crops: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    people: npt.NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, name: str) -> Portraits:
        """Return those of the people that fall to one of PARTS: three fifths and two, by a hash of the person."""
        rows = np.array([_part_of(person) == name for person in self.people], dtype=bool)
        return Portraits(self.crops[rows], self.labels[rows], self.people[rows])

    def faces(self) -> npt.NDArray[np.uint8]:
        """Return what the classifier would see: uint8 (n, 48, 48)."""
        edge = (CROP_PX - FACE_PX) // 2
        middle = self.crops[:, edge : edge + FACE_PX, edge : edge + FACE_PX]
        resized = [cv2.resize(face, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA) for face in middle]
        return np.array(resized, dtype=np.uint8).reshape(-1, SIDE_PX, SIDE_PX)

    def targets(self) -> npt.NDArray[np.float32]:
        """Return what both answers ought to be, softened by LABEL_NOISE: float32 (n, 7 + 8).

        The first has no contempt; its part of such a row is all 0, which makes no loss.
        """
        known = self.labels < len(LABELS)
        first = smoothed(np.where(known, self.labels, 0), len(LABELS), LABEL_NOISE) * known[:, None]
        second = smoothed(self.labels, len(VOTE_LABELS), LABEL_NOISE)
        return np.concatenate([first, second], axis=1).astype(np.float32)


def load_portraits(folder: Path) -> Portraits:
    """Read a folder of portraits.

    Raises:
        DatasetError: it is none, or strips and labels do not fit each other.
    """
    path = folder / "labels.csv"
    labels: list[int] = []
    people: list[str] = []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for line, row in enumerate(csv.DictReader(file), start=2):
                if row.get("label") not in VOTE_NAMES or not row.get("person"):
                    raise DatasetError(f"{path}:{line}: needs a person, and a label of {', '.join(VOTE_NAMES)}")
                labels.append(VOTE_NAMES.index(row["label"]))
                people.append(row["person"])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{folder} is no folder of portraits: {error}") from None
    crops = [crop for strip in sorted(folder.glob("portraits-*.webp")) for crop in _crops(strip)][: len(labels)]
    if len(crops) != len(labels) or not labels:
        raise DatasetError(f"{path} names {len(labels)} portraits, the strips beside it hold {len(crops)}")
    return Portraits(np.stack(crops), np.array(labels, dtype=np.int64), np.array(people))


def _crops(strip: Path) -> list[npt.NDArray[np.uint8]]:
    image = cv2.imread(str(strip), cv2.IMREAD_GRAYSCALE)
    if image is None or image.shape[1] != _A_ROW * CROP_PX or image.shape[0] % CROP_PX:
        raise DatasetError(f"{strip} is no strip of {CROP_PX}x{CROP_PX} crops, {_A_ROW} a row")
    rows = image.reshape(-1, CROP_PX, _A_ROW, CROP_PX).swapaxes(1, 2)
    return [np.asarray(crop, dtype=np.uint8) for crop in rows.reshape(-1, CROP_PX, CROP_PX)]


def _part_of(person: str) -> str:
    number = int.from_bytes(hashlib.sha256(person.encode()).digest()[:4], "big") % 5
    return PARTS[number >= 3]
