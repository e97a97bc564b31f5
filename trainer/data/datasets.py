"""Labelled faces in memory, wherever they were read from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from edge_agent.vision.exposure import normalise_exposure
from trainer.errors import DatasetError
from trainer.labels import LABELS

SIDE_PX = 48
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
        groups: int64 (n,), faces with the same number must stay on one side of a split; None: those with the same
            difference hash.
    """

    faces: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    usage: npt.NDArray[np.str_]
    votes: npt.NDArray[np.uint8] | None = None
    classes: tuple[str, ...] = LABELS
    groups: npt.NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> FaceDataset:
        """Return the rows chosen by a mask, bool (n,), or by indices, int64 (m,)."""
        votes = None if self.votes is None else self.votes[rows]
        groups = None if self.groups is None else self.groups[rows]
        return replace(
            self, faces=self.faces[rows], labels=self.labels[rows], usage=self.usage[rows], votes=votes, groups=groups
        )

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
        shared = tuple(name for name in classes if name.lower() in self.classes)
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
            absent = name.removeprefix("not_").lower()
            if absent not in self.classes:
                raise DatasetError(f"no class {name!r}; the data has {', '.join(self.classes)} (and not_NAME for each)")
            members = [
                i for i, c in enumerate(self.classes) if (c == absent if absent == name.lower() else c != absent)
            ]
            if (code[members] >= 0).any():
                raise DatasetError(f"the class {name!r} overlaps with another of {', '.join(classes)}")
            code[members] = number
        labels = code[self.labels]
        keep = labels >= 0
        return replace(self.take(keep), labels=labels[keep], votes=None, classes=classes)


def to_input(faces: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Turn uint8 (n, 48, 48), 0..255, into the networks' input: float32 (n, 48, 48, 1), 0..1, dark faces brightened."""
    exposed = np.array([normalise_exposure(face) for face in faces], dtype=np.uint8).reshape(faces.shape)
    return (exposed[..., None] / np.float32(255)).astype(np.float32)
