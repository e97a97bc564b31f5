"""Drop the faces that would mislead training, count them, and find those that are nearly the same.

A face that is present twice teaches twice; a face that is present with two labels teaches nothing; a
training face that is also a test face makes the test a lie.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from trainer.data.datasets import FaceDataset

#: From this correlation of their pixels two pictures are taken for copies; two of one person hardly reach .95.
NEAR_COPY = 0.97
#: From this correlation two pictures whose hashes are near as well are taken for one scene. See near_duplicate_groups.
SAME_SCENE = 0.9
_BLOCK = 128


@dataclass(frozen=True, slots=True)
class CleaningCounts:
    """How many rows each check removed, in faces."""

    before: int
    blank: int
    duplicates: int
    conflicting: int
    also_in_test: int
    after: int

    def __str__(self) -> str:
        return (
            f"{self.before} training faces: -{self.blank} blank, -{self.duplicates} exact duplicates, "
            f"-{self.conflicting} duplicates with conflicting labels, -{self.also_in_test} also in a test set "
            f"= {self.after}"
        )


def clean_training(data: FaceDataset) -> tuple[FaceDataset, CleaningCounts]:
    """Return the Training rows worth learning from, and what was removed.

    Of exact duplicates with one label the first is kept; of duplicates with different labels none is.
    Faces of one single grey value (all black in FER2013) are removed, as are copies of test faces.

    Raises:
        DatasetError: there are no Training rows.
    """
    training = data.only("Training")
    tests = {face.tobytes() for face in data.faces[data.usage != "Training"]}
    groups: dict[bytes, list[int]] = defaultdict(list)
    blank = 0
    for row, face in enumerate(training.faces):
        if face.min() == face.max():
            blank += 1
        else:
            groups[face.tobytes()].append(row)
    keep: list[int] = []
    duplicates = conflicting = also_in_test = 0
    for face_bytes, rows in groups.items():
        if face_bytes in tests:
            also_in_test += len(rows)
        elif len({int(training.labels[row]) for row in rows}) > 1:
            conflicting += len(rows)
        else:
            keep.append(rows[0])
            duplicates += len(rows) - 1
    counts = CleaningCounts(len(training), blank, duplicates, conflicting, also_in_test, len(keep))
    return training.take(np.array(sorted(keep), dtype=np.int64)), counts


def near_duplicate_groups(faces: npt.NDArray[np.uint8], *, bits: int) -> npt.NDArray[np.int64]:
    """Return which group of near-duplicates each face belongs to.

    With bits 0 a group has one 64-bit difference hash. Else hashes differ in at most `bits` bits from one picture to
    the next and their pixels correlate by SAME_SCENE or more: hashes alone chain strangers into one group.

    Measured on FER2013's Training rows with bits 8: of the first 7,000 the largest group is 7 faces (by hashes alone
    971), of all 28,558 it is 20, and all 1,957 pairs that are near-copies (NEAR_COPY) are together. The 7,000 take 1 to
    3 seconds on two busy cores, all 12 to 23.

    Args:
        faces: uint8 (n, height, width), grey.

    Returns:
        int64 (n,), group numbers from 0.
    """
    codes = _difference_hashes(faces)
    if bits == 0:
        return np.asarray(np.unique(codes, return_inverse=True)[1], dtype=np.int64)
    signs = np.unpackbits(codes.view(np.uint8).reshape(-1, 8), axis=1).astype(np.float32) * 2 - 1
    pixels = _standardised(faces)
    group = np.arange(len(faces))
    for at in range(0, len(faces), _BLOCK):
        block = slice(at, at + _BLOCK)
        near = signs[block] @ signs.T >= 64 - 2 * bits
        others = np.flatnonzero(near.any(axis=0))
        near[:, others] &= pixels[block] @ pixels[others].T >= SAME_SCENE
        for row in near:
            joined = np.unique(group[row])
            if len(joined) > 1:
                group[np.isin(group, joined)] = joined[0]
    return np.asarray(np.unique(group, return_inverse=True)[1], dtype=np.int64)


def _difference_hashes(faces: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    small = np.stack([cv2.resize(face, (9, 8), interpolation=cv2.INTER_AREA) for face in faces]).astype(np.int16)
    differences = (small[:, :, 1:] > small[:, :, :-1]).reshape(len(faces), 64)
    return np.packbits(differences, axis=1).view(np.uint64).ravel()


def near_copies(faces: npt.NDArray[np.uint8], others: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Tell which faces are, pixel for pixel, all but the same picture as one of the others.

    Args:
        faces, others: uint8 (n, side, side) and (m, side, side), grey.

    Returns:
        bool (n,): the correlation with some other face is at least NEAR_COPY.
    """
    known = _standardised(others).T
    blocks = [_standardised(faces[at : at + 512]) @ known for at in range(0, len(faces), 512)]
    return np.concatenate([block.max(axis=1) >= NEAR_COPY for block in blocks])


def _standardised(faces: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return rows of mean 0 and length 1, float32 (n, side * side)."""
    flat = faces.reshape(len(faces), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
    return flat
